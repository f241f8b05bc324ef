"""Sums of exponentials against the product with a dense Vandermonde matrix, as upstream computes them without its kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem


def problems() -> Iterator[Problem]:
    yield _vandermonde(64, 32, 1024)


def _vandermonde(H: int, N: int, L: int) -> Problem:
    rng = np.random.default_rng(0)
    v = (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(np.complex64)
    x = (-rng.uniform(0.001, 0.1, (H, N)) + 1j * rng.uniform(-3, 3, (H, N))).astype(np.complex64)

    def dense(lib: Any, v: Any, x: Any, steps: Any) -> Any:
        return 2 * lib.einsum("hn,hnl->hl", v, lib.exp(x[..., None] * steps)).real

    peers: dict[str, Callable[[], Any]] = {"numpy dense": lambda: dense(np, v, x, np.arange(L, dtype=np.float32))}
    try:
        import torch

        given = torch.from_numpy(v), torch.from_numpy(x), torch.arange(L)
        peers["torch dense"] = lambda: dense(torch, *given)
    except ImportError:
        pass

    def ours() -> Any:
        return ssm.log_vandermonde(v, x, L)

    def truth() -> np.ndarray:
        return np.asarray(dense(np, v.astype(complex), x.astype(complex), np.arange(L)))

    return Problem("ssm", "log_vandermonde", f"{(H, N)}, L {L} float32", ours, peers, truth, 1e-6, {}, 1e-3)
