"""Kernels of state-space models against torch: complex exponentials as the S4D paper's code takes them, and powers in two levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from .._problem import Problem, Work

N = 32  # stored modes
FLOPS = 4 * N  # a number of the kernel: N products of two complex numbers of which the real part is wanted


def problems() -> Iterator[Problem]:
    for H, L in ((256, 1024), (256, 4096), (64, 65536), (1, 1048576), (128, 16384)):
        yield _kernel(H, L, np.float32)
    yield _kernel(256, 1024, np.float64)
    yield _kernel_gradient(256, 1024)
    yield _kernel_numba(16, 1024)
    yield _dplr(64, 1024)


def inputs(H: int, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    complex_dtype = np.result_type(dtype, np.complex64)
    dt = np.exp(rng.uniform(np.log(0.001), np.log(0.1), H)).astype(dtype)
    A = np.broadcast_to(-0.5 + 1j * np.pi * np.arange(N), (H, N)).astype(complex_dtype)
    C = (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(complex_dtype)
    return dt, A, C


def truth_of(dt: np.ndarray, A: np.ndarray, C: np.ndarray, L: int) -> np.ndarray:
    """Powers by blocks of 1024 steps, every block from an exponential, in double precision."""
    x = dt.astype(float)[:, None] * A.astype(complex)
    bar = 2 * C * (np.expm1(x) / A)
    K = np.empty((len(dt), L))
    steps = np.exp(x[..., None] * np.arange(min(L, 1024)))
    for l in range(0, L, 1024):
        block = steps[..., : L - l]
        K[:, l : l + 1024] = np.einsum("hn,hnl->hl", bar * np.exp(x * l), block).real
    return K


def exponentials(torch: Any, L: int, dt: Any, A: Any, C: Any) -> Any:
    """The kernel as the S4D paper's code makes it: an exponential for every mode and sample, an array of size H N L."""
    x = dt[:, None] * A
    power = torch.exp(x[..., None] * torch.arange(L))
    return 2 * torch.einsum("hn,hnl->hl", C * (torch.exp(x) - 1) / A, power).real


def two_levels(torch: Any, L: int, dt: Any, A: Any, C: Any) -> Any:
    """The kernel as a careful user makes it: powers in two levels in complex128, one batched product of real matrices."""
    J = 1 << (L.bit_length() // 2)
    x = (dt.double()[:, None] * A.to(torch.complex128))[..., None]
    baby = 2 * C[..., None] * (torch.exp(x) - 1) / A[..., None] * torch.exp(x * torch.arange(J))
    giant = torch.exp(x * (J * torch.arange((L + J - 1) // J)))
    left = torch.cat([giant.real, giant.imag], 1).to(dt.dtype)
    right = torch.cat([baby.real, -baby.imag], 1).to(dt.dtype)
    return torch.bmm(left.mT, right).flatten(1)[:, :L]


def _torch_sides(dt: np.ndarray, A: np.ndarray, C: np.ndarray, L: int) -> dict[str, Callable[[], Any]]:
    try:
        import torch
    except ImportError:
        return {}
    given = list(map(torch.from_numpy, (dt, A, C)))
    return {
        "torch exponentials": lambda: exponentials(torch, L, *given),
        "torch two levels": lambda: two_levels(torch, L, *given),
    }


def _kernel(H: int, L: int, dtype: Any) -> Problem:
    dt, A, C = inputs(H, dtype)
    peers = _torch_sides(dt, A, C, L)
    goals = {"torch exponentials": 500.0 if L <= 4096 else 800.0, "torch two levels": 5.0} if dtype == np.float32 else {}
    tolerance = 3e-7 if dtype == np.float32 else 1e-14
    return Problem(
        "ssm", "s4d_kernel", f"{(H, L)} {np.dtype(dtype).name}",
        lambda: ssm.s4d_kernel(dt, A, C, L), peers, lambda: truth_of(dt, A, C, L), tolerance,
        {k: g for k, g in goals.items() if k in peers}, 1e-4 if dtype == np.float32 else 1e-11,
        Work(FLOPS * H * L, H * L * dt.itemsize, dt.dtype.name),
    )  # fmt: skip


def _kernel_gradient(H: int, L: int) -> Problem:
    """Forward and backward through autograd."""
    dt, A, C = inputs(H, np.float32)
    try:
        import torch
    except ImportError:
        raise RuntimeError("bench ssm: the gradient's benchmark needs torch: pip install 'quatrefoil[torch]'") from None
    given = list(map(torch.from_numpy, (dt, A, C)))
    grad = torch.from_numpy(np.random.default_rng(1).standard_normal((H, L)).astype(np.float32))

    leaves = [x.clone().requires_grad_() for x in given]

    def both_ways(kernel: Callable[..., Any]) -> Any:
        return torch.autograd.grad(kernel(*leaves), leaves, grad)[2]

    def truth() -> np.ndarray:
        x = dt.astype(float)[:, None] * A.astype(complex)
        moments = np.einsum("hl,hnl->hn", grad.numpy().astype(float), np.exp(x[..., None] * np.arange(L)))
        return np.asarray(2 * np.conj(np.expm1(x) / A * moments))

    return Problem(
        "ssm", "s4d_kernel fwd+bwd", f"{(H, L)} float32", lambda: both_ways(lambda dt, A, C: ssm.s4d_kernel(dt, A, C, L)),
        {"torch autograd": lambda: both_ways(lambda *leaves: exponentials(torch, L, *leaves))}, truth, 2e-6, {"torch autograd": 80.0}, 1e-4,
        Work(3 * FLOPS * H * L, 2 * H * L * 4),  # two moments of the gradient: its sums with z^l and with l z^l
    )  # fmt: skip


def _kernel_numba(H: int, L: int) -> Problem:
    dt, A, C = inputs(H, np.float32)
    peers = {"numba backend": lambda: ssm.s4d_kernel(dt, A, C, L, backend="numba")}
    return Problem(
        "ssm", "s4d_kernel", f"{(H, L)} float32", lambda: ssm.s4d_kernel(dt, A, C, L), peers, lambda: truth_of(dt, A, C, L), 3e-7
    )


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
