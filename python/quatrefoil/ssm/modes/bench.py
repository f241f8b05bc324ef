"""Sums of exponentials compared with a dense Vandermonde product, as state-spaces/s4 computes them without its kernels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, double, torch_peers


def problems() -> Iterator[Problem]:
    yield _vandermonde(64, 32, 1024)


def dense(xp: Any, steps: Any, v: Any, x: Any) -> Any:
    """2 Re sum_n v_n exp(x_n l), with one exponential for every mode and sample, in NumPy or PyTorch."""
    return 2 * xp.einsum("hn,hnl->hl", v, xp.exp(x[..., None] * steps)).real


def by_torch(v: Any, x: Any, L: int) -> Any:
    import torch

    return dense(torch, torch.arange(L, device=x.device), v, x)


def _vandermonde(H: int, N: int, L: int) -> Problem:
    rng = np.random.default_rng(0)
    v = (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(np.complex64)
    x = (-rng.uniform(0.001, 0.1, (H, N)) + 1j * rng.uniform(-3, 3, (H, N))).astype(np.complex64)
    peers: dict[str, Run] = {
        "numpy dense": partial(dense, np, np.arange(L, dtype=np.float32), v, x),
        **torch_peers({"torch dense": partial(by_torch, L=L)}, v, x),
    }
    ours = partial(ssm.log_vandermonde, v, x, L)
    truth = partial(dense, np, np.arange(L), *double(v, x))
    return Problem("ssm", "log_vandermonde", f"{(H, N)}, L {L} float32", ours, peers, truth, 1e-6, {}, 1e-3)
