"""Kernels and layers of diagonal models against torch: an exponential for every mode and sample, as in the S4D paper's code, and tuned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, Work, installed
from ..convolution.bench import both_ways, by_torch, causal_truth, convolution_work

N = 32  # stored modes
FLOPS = 4 * N  # per number of the kernel: the real parts of N complex products
# (B, H, L): least ratio against the pedagogical and the tuned layer
GOALS = {
    (1, 256, 1024): (250.0, 12.0),
    (8, 256, 4096): (80.0, 12.0),
    (1, 64, 65536): (500.0, 25.0),
    (1, 1, 1048576): (500.0, 25.0),
    (4, 128, 16384): (120.0, 12.0),
    (1, 64, 16384): (100.0, 5.0),  # the tuned layer's temporaries still fit the caches
}
SCAN_FLOPS = 8 * N + 48  # per sample, by chunks of 32: state in, state out, and the convolution inside


def problems() -> Iterator[Problem]:
    for H, L in ((256, 1024), (256, 4096), (64, 65536), (1, 1048576), (128, 16384)):
        yield _kernel(H, L, np.float32)
    yield _kernel(256, 1024, np.float64)
    if installed("torch"):
        yield _kernel_gradient(256, 1024)
    yield _kernel_numba(16, 1024)
    for shape in GOALS:
        yield _layer(shape)
    if installed("torch"):
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
    """Powers by blocks of 1024 steps, each from an exponential, in double precision."""
    x = dt.astype(float)[:, None] * A.astype(complex)
    bar = 2 * C * (np.expm1(x) / A)
    K = np.empty((len(dt), L))
    steps = np.exp(x[..., None] * np.arange(min(L, 1024)))
    for l in range(0, L, 1024):
        block = steps[..., : L - l]
        K[:, l : l + 1024] = np.einsum("hn,hnl->hl", bar * np.exp(x * l), block).real
    return K


def exponentials(L: int, dt: Any, A: Any, C: Any) -> Any:
    """The kernel as in the S4D paper's code: an exponential for every mode and sample, an array of size H N L."""
    import torch

    x = dt[:, None] * A
    power = torch.exp(x[..., None] * torch.arange(L))
    return 2 * torch.einsum("hn,hnl->hl", C * (torch.exp(x) - 1) / A, power).real


def two_levels(L: int, dt: Any, A: Any, C: Any) -> Any:
    """The kernel as a careful user writes it: powers in two levels in complex128, one batched product of real matrices."""
    import torch

    J = 1 << (L.bit_length() // 2)
    x = (dt.double()[:, None] * A.to(torch.complex128))[..., None]
    baby = 2 * C[..., None] * (torch.exp(x) - 1) / A[..., None] * torch.exp(x * torch.arange(J))
    giant = torch.exp(x * (J * torch.arange((L + J - 1) // J)))
    left = torch.cat([giant.real, giant.imag], 1).to(dt.dtype)
    right = torch.cat([baby.real, -baby.imag], 1).to(dt.dtype)
    return torch.bmm(left.mT, right).flatten(1)[:, :L]


def _kernel(H: int, L: int, dtype: Any) -> Problem:
    dt, A, C = inputs(H, dtype)
    single = dtype == np.float32
    peers: dict[str, Run] = {}
    goals: dict[str, float] = {}
    if installed("torch"):
        import torch

        tensors = list(map(torch.from_numpy, (dt, A, C)))
        peers = {"torch exponentials": lambda: exponentials(L, *tensors), "torch two levels": lambda: two_levels(L, *tensors)}
        goals = {"torch exponentials": 500.0 if L <= 4096 else 800.0, "torch two levels": 5.0} if single else {}
    ours, truth = lambda: ssm.s4d_kernel(dt, A, C, L), lambda: truth_of(dt, A, C, L)
    tolerances = (3e-7, 1e-4) if single else (1e-14, 1e-11)
    work = Work(FLOPS * H * L, H * L * dt.itemsize, dt.dtype.name)
    return Problem("ssm", "s4d_kernel", f"{(H, L)} {dt.dtype.name}", ours, peers, truth, tolerances[0], goals, tolerances[1], work)


def _kernel_gradient(H: int, L: int) -> Problem:
    """Forward and backward through autograd."""
    import torch

    dt, A, C = inputs(H, np.float32)
    tensors = list(map(torch.from_numpy, (dt, A, C)))
    grad = np.random.default_rng(1).standard_normal((H, L)).astype(np.float32)

    def sides(kernel: Any) -> Run:
        return both_ways(kernel, tensors, torch.from_numpy(grad), 2)

    def truth() -> np.ndarray:
        x = dt.astype(float)[:, None] * A.astype(complex)
        moments = np.einsum("hl,hnl->hn", grad.astype(float), np.exp(x[..., None] * np.arange(L)))
        return np.asarray(2 * np.conj(np.expm1(x) / A * moments))

    ours, peer = sides(lambda dt, A, C: ssm.s4d_kernel(dt, A, C, L)), sides(lambda *leaves: exponentials(L, *leaves))
    peers, goals = {"torch autograd": peer}, {"torch autograd": 80.0}
    work = Work(3 * FLOPS * H * L, 2 * H * L * 4)  # two moments of the gradient: its sums with z^l and with l z^l
    return Problem("ssm", "s4d_kernel fwd+bwd", f"{(H, L)} float32", ours, peers, truth, 2e-6, goals, 1e-4, work)


def _kernel_numba(H: int, L: int) -> Problem:
    dt, A, C = inputs(H, np.float32)
    ours, truth = lambda: ssm.s4d_kernel(dt, A, C, L), lambda: truth_of(dt, A, C, L)
    peers = {"numba backend": lambda: ssm.s4d_kernel(dt, A, C, L, backend="numba")}
    return Problem("ssm", "s4d_kernel", f"{(H, L)} float32", ours, peers, truth, 3e-7)


def _arrays(shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    dt, A, C = inputs(shape[1], np.float32)
    return rng.standard_normal(shape).astype(np.float32), dt, np.ascontiguousarray(A), C, rng.standard_normal(shape[1]).astype(np.float32)


def _truth(u: np.ndarray, dt: np.ndarray, A: np.ndarray, C: np.ndarray, D: np.ndarray) -> np.ndarray:
    return causal_truth(u, truth_of(dt, A, C, u.shape[-1]), D)


def _pedagogical(u: Any, dt: Any, A: Any, C: Any, D: Any) -> Any:
    return by_torch(u, exponentials(u.shape[-1], dt, A, C), D)


def _tuned(u: Any, dt: Any, A: Any, C: Any, D: Any) -> Any:
    return by_torch(u, two_levels(u.shape[-1], dt, A, C), D)


def _layer(shape: tuple[int, int, int]) -> Problem:
    arrays = _arrays(shape)
    B, H, L = shape
    peers: dict[str, Run] = {}
    goals: dict[str, float] = {}
    if installed("torch"):
        import torch

        tensors = list(map(torch.from_numpy, arrays))
        peers = {"torch pedagogical": lambda: _pedagogical(*tensors), "torch tuned": lambda: _tuned(*tensors)}
        goals = dict(zip(peers, GOALS[shape]))
    flops = min(SCAN_FLOPS * B * H * L, convolution_work(shape).flops + FLOPS * H * L)  # a scan, or a kernel and its convolution
    ours, truth, work = lambda: ssm.s4d_conv(*arrays), lambda: _truth(*arrays), Work(flops, 2 * B * H * L * 4)
    return Problem("ssm", "s4d_conv", f"{shape} float32", ours, peers, truth, 1e-6, goals, 1e-4, work)


def _gradient(shape: tuple[int, int, int]) -> Problem:
    """Forward and backward through autograd, all parameters; compared by the gradient of u."""
    import torch

    arrays = _arrays(shape)
    tensors = list(map(torch.from_numpy, arrays))
    ours, *others = (both_ways(f, tensors, tensors[0]) for f in (ssm.s4d_conv, _pedagogical, _tuned))
    peers = dict(zip(("torch pedagogical", "torch tuned"), others))
    truth = lambda: _truth(arrays[0][..., ::-1].copy(), *arrays[1:])[..., ::-1]  # noqa: E731
    return Problem("ssm", "s4d_conv fwd+bwd", f"{shape} float32", ours, peers, truth, 1e-6, {"torch pedagogical": 80.0}, 1e-4)


def _state(shape: tuple[int, int, int]) -> Problem:
    """With a state in and out, which no convolution in torch has: against the layer without."""
    arrays = _arrays(shape)
    start = np.zeros((shape[0], shape[1], N), np.complex64)
    ours = lambda: ssm.s4d_conv(*arrays, initial_state=start, return_state=True)[0]  # noqa: E731
    peers = {"without states": lambda: ssm.s4d_conv(*arrays)}
    return Problem("ssm", "s4d_conv with states", f"{shape} float32", ours, peers, lambda: _truth(*arrays), 1e-6)


def _numba(shape: tuple[int, int, int]) -> Problem:
    arrays = _arrays(shape)
    peers = {"numba backend": lambda: ssm.s4d_conv(*arrays, backend="numba")}
    return Problem("ssm", "s4d_conv", f"{shape} float32", lambda: ssm.s4d_conv(*arrays), peers, lambda: _truth(*arrays), 1e-6)
