"""Sums of exponentials against the product with a dense Vandermonde matrix, as upstream computes them without its kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, installed


def problems() -> Iterator[Problem]:
    yield _vandermonde(64, 32, 1024)


def _dense(lib: Any, v: Any, x: Any, steps: Any) -> Any:
    return 2 * lib.einsum("hn,hnl->hl", v, lib.exp(x[..., None] * steps)).real


def _vandermonde(H: int, N: int, L: int) -> Problem:
    rng = np.random.default_rng(0)
    v = (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(np.complex64)
    x = (-rng.uniform(0.001, 0.1, (H, N)) + 1j * rng.uniform(-3, 3, (H, N))).astype(np.complex64)
    peers: dict[str, Run] = {"numpy dense": lambda: _dense(np, v, x, np.arange(L, dtype=np.float32))}
    if installed("torch"):
        import torch

        tensors = torch.from_numpy(v), torch.from_numpy(x), torch.arange(L)
        peers["torch dense"] = lambda: _dense(torch, *tensors)
    truth = lambda: _dense(np, v.astype(complex), x.astype(complex), np.arange(L))  # noqa: E731
    size = f"{(H, N)}, L {L} float32"
    return Problem("ssm", "log_vandermonde", size, lambda: ssm.log_vandermonde(v, x, L), peers, truth, 1e-6, {}, 1e-3)
