"""S4 kernels against the Cauchy sums of upstream's way in torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, installed
from ..s4d.bench import N, inputs


def problems() -> Iterator[Problem]:
    yield _dplr(64, 1024)


def _by_cauchy(lib: Any, omega: Any, L: int, dt: Any, A: Any, P: Any, B: Any, C: Any) -> Any:
    """The kernel for upstream's C (I - A^L), from Cauchy sums at the roots of unity."""
    h, x = (1 + omega) / 2, dt[:, None] * A

    def half(v: Any, x: Any) -> Any:
        return (2 * v[..., None] / (2 * (1 - omega) - x[..., None] * (1 + omega))).sum(-2)

    def R(a: Any, b: Any) -> Any:
        v = dt[:, None] * a * b
        return half(v, x) + half(v.conj(), x.conj())

    return lib.fft.irfft(R(B, C) - h * R(B, P.conj()) * R(P, C) / (1 + h * R(P, P.conj())), L)


def _dplr(H: int, L: int) -> Problem:
    rng = np.random.default_rng(0)
    dt, A, C = inputs(H, np.float32)
    P, B = (0.3 * (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(np.complex64) for _ in range(2))
    omega = np.exp(-2j * np.pi * np.arange(L // 2 + 1) / L)
    peers: dict[str, Run] = {}
    if installed("torch"):
        import torch

        tensors = list(map(torch.from_numpy, (dt, A, P, B, C)))
        peers["torch Cauchy sums"] = lambda: _by_cauchy(torch, torch.from_numpy(omega.astype(np.complex64)), L, *tensors)
    wide = [x.astype(np.result_type(x.dtype, np.float64)) for x in (dt, A, P, B, C)]
    ours = lambda: ssm.s4_kernel(dt, A, P, B, C, L, truncated=True)  # noqa: E731
    truth = lambda: _by_cauchy(np, omega, L, *wide)  # noqa: E731
    return Problem("ssm", "s4_kernel truncated", f"{(H, L)} float32", ours, peers, truth, 1e-6, {}, 1e-2)
