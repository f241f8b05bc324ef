"""S4 kernels against the Cauchy sums of upstream's way in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem
from ..s4d.bench import N, inputs


def problems() -> Iterator[Problem]:
    yield _dplr(64, 1024)


def _dplr(H: int, L: int) -> Problem:
    """Against the Cauchy sums at the roots of unity in torch, for upstream's C (I - Abar^L), which is what those sums take."""
    rng = np.random.default_rng(0)
    dt, A, C = inputs(H, np.float32)
    P, B = (0.3 * (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(np.complex64) for _ in range(2))

    def by_cauchy(lib: Any, where: Any, dt: Any, A: Any, P: Any, B: Any, C: Any) -> Any:
        omega = where(np.exp(-2j * np.pi * np.arange(L // 2 + 1) / L))
        h, x = (1 + omega) / 2, dt[:, None] * A

        def half(v: Any, x: Any) -> Any:
            return (2 * v[..., None] / (2 * (1 - omega) - x[..., None] * (1 + omega))).sum(-2)

        def R(a: Any, b: Any) -> Any:
            v = dt[:, None] * a * b
            return half(v, x) + half(v.conj(), x.conj())

        return lib.fft.irfft(R(B, C) - h * R(B, P.conj()) * R(P, C) / (1 + h * R(P, P.conj())), L)

    peers: dict[str, Callable[[], Any]] = {}
    try:
        import torch

        given = list(map(torch.from_numpy, (dt, A, P, B, C)))
        peers["torch Cauchy sums"] = lambda: by_cauchy(torch, lambda z: torch.from_numpy(z.astype(np.complex64)), *given)
    except ImportError:
        pass
    wide = [x.astype(np.result_type(x.dtype, np.float64)) for x in (dt, A, P, B, C)]

    def ours() -> Any:
        return ssm.s4_kernel(dt, A, P, B, C, L, truncated=True)

    def truth() -> np.ndarray:
        return np.asarray(by_cauchy(np, lambda z: z, *wide))

    return Problem("ssm", "s4_kernel truncated", f"{(H, L)} float32", ours, peers, truth, 1e-6, {}, 1e-2)
