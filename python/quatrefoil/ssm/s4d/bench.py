"""Kernels and layers of diagonal models compared with PyTorch: one exponential per mode and sample, as in the S4D paper, and tuned code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, against_numba, autograd, installed, torch_peers
from ..convolution import bench as convolution
from ..modes import bench as modes

Shape = tuple[int, int, int]  # B, H, L
N = 32  # stored modes
FLOPS = 4 * N  # per element of the kernel: the real parts of N complex products
# (B, H, L): minimum speedup over the paper's and the tuned layer
GOALS = {
    (1, 256, 1024): (250.0, 12.0),
    (8, 256, 4096): (80.0, 12.0),
    (1, 64, 65536): (500.0, 25.0),
    (1, 1, 1048576): (500.0, 25.0),
    (4, 128, 16384): (120.0, 12.0),
    (1, 64, 16384): (100.0, 5.0),  # a million samples: the tuned layer's temporaries still fit in cache
}
SCAN_FLOPS = 8 * N + 48  # per sample, in chunks of 32: reading and writing the state, and the convolution within the chunk


def problems() -> Iterator[Problem]:
    for H, L in ((256, 1024), (256, 4096), (64, 65536), (1, 1048576), (128, 16384)):
        yield _kernel(H, L)
    yield _kernel(256, 1024, "float64")
    if installed("torch"):
        yield _kernel_gradient(256, 1024)
    yield against_numba(_kernel(16, 1024))
    for shape in GOALS:
        yield _layer(shape)
    if installed("torch"):
        yield _gradient((1, 64, 4096))
    yield _state((1, 64, 16384))
    yield against_numba(_layer((1, 16, 4096)))


def inputs(H: int, dtype: str = "float32") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    complex_dtype = np.result_type(dtype, np.complex64)
    dt = np.exp(rng.uniform(np.log(0.001), np.log(0.1), H)).astype(dtype)
    A = np.broadcast_to(-0.5 + 1j * np.pi * np.arange(N), (H, N)).astype(complex_dtype, order="C")
    C = (rng.standard_normal((H, N)) + 1j * rng.standard_normal((H, N))).astype(complex_dtype)
    return [dt, A, C]


def truth_of(dt: np.ndarray, A: np.ndarray, C: np.ndarray, L: int) -> np.ndarray:
    """Powers in blocks of 1024 steps, each block starting from an exponential, in double precision."""
    x = dt.astype(float)[:, None] * A.astype(complex)
    bar = 2 * C * (np.expm1(x) / A)
    K = np.empty((len(dt), L))
    steps = np.exp(x[..., None] * np.arange(min(L, 1024)))
    for l in range(0, L, 1024):
        block = steps[..., : L - l]
        K[:, l : l + 1024] = np.einsum("hn,hnl->hl", bar * np.exp(x * l), block).real
    return K


def exponentials(dt: Any, A: Any, C: Any, L: int) -> Any:
    """The kernel as in the S4D paper's code: one exponential per mode and sample, in an array of size H N L."""
    import torch

    x = dt[:, None] * A
    return modes.by_torch(C * (torch.exp(x) - 1) / A, x, L)


def two_levels(dt: Any, A: Any, C: Any, L: int) -> Any:
    """The kernel as a careful user computes it: powers in two levels in complex128, one batched product of real matrices."""
    import torch

    J = 1 << (L.bit_length() // 2)
    x = (dt.double()[:, None] * A.to(torch.complex128))[..., None]
    baby = 2 * C[..., None] * (torch.exp(x) - 1) / A[..., None] * torch.exp(x * torch.arange(J))
    giant = torch.exp(x * (J * torch.arange((L + J - 1) // J)))
    left = torch.cat([giant.real, giant.imag], 1).to(dt.dtype)
    right = torch.cat([baby.real, -baby.imag], 1).to(dt.dtype)
    return torch.bmm(left.mT, right).flatten(1)[:, :L]


def _kernel(H: int, L: int, dtype: str = "float32") -> Problem:
    dt, A, C = inputs(H, dtype)
    single = dtype == "float32"
    peers = torch_peers({"torch exponentials": partial(exponentials, L=L), "torch two levels": partial(two_levels, L=L)}, dt, A, C)
    goals = {"torch exponentials": 500.0 if L <= 4096 else 800.0, "torch two levels": 5.0} if single else {}
    size = f"{(H, L)} {dtype}"
    ours = partial(ssm.s4d_kernel, dt, A, C, L)
    truth = partial(truth_of, dt, A, C, L)
    work = Work(FLOPS * H * L, H * L * dt.itemsize, dtype)
    return Problem("ssm", "s4d_kernel", size, ours, peers, truth, 3e-7 if single else 1e-14, goals, 1e-4 if single else 1e-11, work)


def _kernel_gradient(H: int, L: int) -> Problem:
    """Forward and backward through autograd. Compares the gradient of C."""
    dt, A, C = inputs(H)
    grad = np.random.default_rng(1).standard_normal((H, L)).astype(np.float32)
    run = autograd([dt, A, C], grad, index=2)

    def truth() -> Any:
        x = dt.astype(float)[:, None] * A.astype(complex)
        moments = np.einsum("hl,hnl->hn", grad.astype(float), np.exp(x[..., None] * np.arange(L)))
        return 2 * np.conj(np.expm1(x) / A * moments)

    ours, peers = run(partial(ssm.s4d_kernel, L=L)), {"torch autograd": run(partial(exponentials, L=L))}
    work = Work(3 * FLOPS * H * L, 2 * H * L * 4)  # forward, and two moments of the gradient: its sums with z^l and with l z^l
    return Problem("ssm", "s4d_kernel fwd+bwd", f"{(H, L)} float32", ours, peers, truth, 2e-6, {"torch autograd": 80.0}, 1e-4, work)


def _arrays(shape: Shape) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(np.float32), *inputs(shape[1]), rng.standard_normal(shape[1]).astype(np.float32)]


def _truth(u: np.ndarray, dt: np.ndarray, A: np.ndarray, C: np.ndarray, D: np.ndarray) -> Any:
    return convolution.causal_truth(u, truth_of(dt, A, C, u.shape[-1]), D)


def _work(shape: Shape) -> Work:
    """The cheaper of the scan and the convolution with a kernel."""
    B, H, L = shape
    return Work(min(SCAN_FLOPS * B * H * L, convolution.convolution_work(shape).flops + FLOPS * H * L), 2 * B * H * L * 4)


def _by_torch(u: Any, dt: Any, A: Any, C: Any, D: Any, kernel: Callable[..., Any]) -> Any:
    return convolution.by_torch(u, kernel(dt, A, C, u.shape[-1]), D)


LAYERS = {"torch pedagogical": partial(_by_torch, kernel=exponentials), "torch tuned": partial(_by_torch, kernel=two_levels)}


def _layer(shape: Shape) -> Problem:
    arrays = _arrays(shape)
    ours = partial(ssm.s4d_conv, *arrays)
    peers = torch_peers(LAYERS, *arrays)
    goals = dict(zip(LAYERS, GOALS.get(shape, ())))
    return Problem("ssm", "s4d_conv", f"{shape} float32", ours, peers, partial(_truth, *arrays), 1e-6, goals, 1e-4, _work(shape))


def _gradient(shape: Shape) -> Problem:
    """Forward and backward through autograd for all parameters. Compares the gradient of u."""
    u, *parameters = arrays = _arrays(shape)
    run = autograd(arrays, grad=u)
    size = f"{shape} float32"
    ours = run(ssm.s4d_conv)
    peers = {name: run(f) for name, f in LAYERS.items()}
    goals = {"torch pedagogical": 80.0}
    return Problem(
        "ssm", "s4d_conv fwd+bwd", size, ours, peers, lambda: _truth(u[..., ::-1].copy(), *parameters)[..., ::-1], 1e-6, goals, 1e-4
    )


def _state(shape: Shape) -> Problem:
    """The layer with initial and final states, compared with itself without them, because no PyTorch convolution supports states."""
    arrays = _arrays(shape)
    start = np.zeros((shape[0], shape[1], N), np.complex64)
    size = f"{shape} float32"
    peers = {"without states": partial(ssm.s4d_conv, *arrays)}
    truth = partial(_truth, *arrays)
    return Problem(
        "ssm", "s4d_conv with states", size, lambda: ssm.s4d_conv(*arrays, initial_state=start, return_state=True)[0], peers, truth, 1e-6
    )
