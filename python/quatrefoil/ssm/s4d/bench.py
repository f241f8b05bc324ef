"""Kernels and layers of diagonal models against torch: an exponential for every mode and sample, as in the S4D paper's code, and tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work
from ..convolution.bench import causal_truth, convolution_work

N = 32  # stored modes
FLOPS = 4 * N  # a number of the kernel: N products of two complex numbers of which the real part is wanted
# (B, H, L): least ratio against the pedagogical and the tuned layer
GOALS = {
    (1, 256, 1024): (250.0, 12.0),
    (8, 256, 4096): (80.0, 12.0),
    (1, 64, 65536): (500.0, 25.0),
    (1, 1, 1048576): (500.0, 25.0),
    (4, 128, 16384): (120.0, 12.0),
    (1, 64, 16384): (100.0, 5.0),  # a million samples: the tuned layer's temporaries still fit the caches
}
SCAN_FLOPS = 8 * N + 48  # a sample, by chunks of 32: state in, state out, and the convolution inside


def problems() -> Iterator[Problem]:
    for H, L in ((256, 1024), (256, 4096), (64, 65536), (1, 1048576), (128, 16384)):
        yield _kernel(H, L, np.float32)
    yield _kernel(256, 1024, np.float64)
    yield _kernel_gradient(256, 1024)
    yield _kernel_numba(16, 1024)
    for shape in GOALS:
        yield _layer(shape)
    yield _gradient((1, 64, 4096))
    yield _state((1, 64, 16384))
    yield _numba((1, 16, 4096))


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


def _arrays(shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    dt, A, C = inputs(shape[1], np.float32)
    return rng.standard_normal(shape).astype(np.float32), dt, np.ascontiguousarray(A), C, rng.standard_normal(shape[1]).astype(np.float32)


def _truth(u: np.ndarray, dt: np.ndarray, A: np.ndarray, C: np.ndarray, D: np.ndarray) -> np.ndarray:
    return causal_truth(u, truth_of(dt, A, C, u.shape[-1]), D)


def _work(shape: tuple[int, int, int]) -> Work:
    """The cheaper one of the scan and of a kernel with its convolution."""
    conv = convolution_work(shape)
    B, H, L = shape
    return Work(min(SCAN_FLOPS * B * H * L, conv.flops + FLOPS * H * L), 2 * B * H * L * 4)


def _by_torch(torch: Any, kernel: Callable[..., Any], u: Any, dt: Any, A: Any, C: Any, D: Any) -> Any:
    L = u.shape[-1]
    K = kernel(torch, L, dt, A, C)
    return torch.fft.irfft(torch.fft.rfft(u, 2 * L) * torch.fft.rfft(K, 2 * L), 2 * L)[..., :L] + D[:, None] * u


def _layer(shape: tuple[int, int, int]) -> Problem:
    arrays = _arrays(shape)
    peers: dict[str, Callable[[], Any]] = {}
    try:
        import torch

        tensors = list(map(torch.from_numpy, arrays))
        peers["torch pedagogical"] = lambda: _by_torch(torch, exponentials, *tensors)
        peers["torch tuned"] = lambda: _by_torch(torch, two_levels, *tensors)
    except ImportError:
        pass
    return Problem(
        "ssm", "s4d_conv", f"{shape} float32", lambda: ssm.s4d_conv(*arrays), peers, lambda: _truth(*arrays), 1e-6,
        {k: g for k, g in zip(("torch pedagogical", "torch tuned"), GOALS[shape]) if k in peers}, 1e-4,
        _work(shape),
    )  # fmt: skip


def _gradient(shape: tuple[int, int, int]) -> Problem:
    """Forward and backward through autograd, all parameters; compared by the gradient of u."""
    arrays = _arrays(shape)
    u, dt, A, C, D = arrays
    try:
        import torch
    except ImportError:
        raise RuntimeError("bench ssm: the gradient's benchmark needs torch: pip install 'quatrefoil[torch]'") from None
    tensors = list(map(torch.from_numpy, arrays))

    leaves = [t.clone().requires_grad_() for t in tensors]

    def both_ways(f: Callable[..., Any]) -> Any:
        return torch.autograd.grad(f(*leaves), leaves, tensors[0])[0]

    def truth() -> np.ndarray:
        return _truth(u[..., ::-1].copy(), dt, A, C, D)[..., ::-1]

    return Problem(
        "ssm", "s4d_conv fwd+bwd", f"{shape} float32", lambda: both_ways(ssm.s4d_conv),
        {
            "torch pedagogical": lambda: both_ways(lambda *a: _by_torch(torch, exponentials, *a)),
            "torch tuned": lambda: both_ways(lambda *a: _by_torch(torch, two_levels, *a)),
        },
        truth, 1e-6, {"torch pedagogical": 80.0}, 1e-4,
    )  # fmt: skip


def _state(shape: tuple[int, int, int]) -> Problem:
    """With a state in and out, which no convolution in torch has: against the layer without."""
    arrays = _arrays(shape)
    start = np.zeros((shape[0], shape[1], N), np.complex64)

    def ours() -> Any:
        return ssm.s4d_conv(*arrays, initial_state=start, return_state=True)[0]

    peers = {"without states": lambda: ssm.s4d_conv(*arrays)}
    return Problem("ssm", "s4d_conv with states", f"{shape} float32", ours, peers, lambda: _truth(*arrays), 1e-6)


def _numba(shape: tuple[int, int, int]) -> Problem:
    arrays = _arrays(shape)
    peers = {"numba backend": lambda: ssm.s4d_conv(*arrays, backend="numba")}
    return Problem("ssm", "s4d_conv", f"{shape} float32", lambda: ssm.s4d_conv(*arrays), peers, lambda: _truth(*arrays), 1e-6)
