"""The whole diagonal layer against torch: the pedagogical one (an exponential for every mode and sample) and a tuned one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from .._problem import Problem, Work
from .convolution import causal_truth, convolution_work
from .kernel import FLOPS, N, exponentials, inputs, truth_of, two_levels

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
    for shape in GOALS:
        yield _layer(shape)
    yield _gradient((1, 64, 4096))
    yield _state((1, 64, 16384))
    yield _numba((1, 16, 4096))


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
