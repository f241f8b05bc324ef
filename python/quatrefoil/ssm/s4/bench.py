"""S4 kernels compared with the Cauchy sums that state-spaces/s4 computes in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, double, torch_peers
from ..s4d.bench import N, inputs


def problems() -> Iterator[Problem]:
    yield _dplr(64, 1024)


def _by_cauchy(xp: Any, omega: Any, dt: Any, A: Any, P: Any, B: Any, C: Any) -> Any:
    """Cauchy sums at the roots of unity, in NumPy or PyTorch. C contains C (I - Abar^L), as in state-spaces/s4 (the truncated kernel)."""
    h, x = (1 + omega) / 2, dt[:, None] * A

    def half(v: Any, x: Any) -> Any:
        return (2 * v[..., None] / (2 * (1 - omega) - x[..., None] * (1 + omega))).sum(-2)

    def R(a: Any, b: Any) -> Any:
        v = dt[:, None] * a * b
        return half(v, x) + half(v.conj(), x.conj())

    return xp.fft.irfft(R(B, C) - h * R(B, P.conj()) * R(P, C) / (1 + h * R(P, P.conj())), 2 * (len(omega) - 1))


def _dplr(H: int, L: int) -> Problem:
    rng = np.random.default_rng(0)
    dt, A, C = inputs(H)
    P, B = (0.3 * (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(np.complex64) for _ in range(2))
    arrays = [dt, A, P, B, C]
    omega = np.exp(-2j * np.pi * np.arange(L // 2 + 1) / L)

    def by_torch(*arrays: Any) -> Any:
        import torch

        return _by_cauchy(torch, torch.from_numpy(omega.astype(np.complex64)), *arrays)

    ours = partial(ssm.s4_kernel, dt, A, P, B, C, L, truncated=True)
    peers = torch_peers({"torch Cauchy sums": by_torch}, *arrays)
    truth = partial(_by_cauchy, np, omega, *double(*arrays))
    return Problem("ssm", "s4_kernel truncated", f"{(H, L)} float32", ours, peers, truth, 1e-6, {}, 1e-2)
