"""State-space convolution against torch's rfft and irfft (batched, as users write it), SciPy, pyFFTW and the Numba backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, Work, installed

OTHER_LENGTHS = ((1, 256, 1000), (4, 64, 8760), (1, 64, 50000))  # no powers of two
SHAPES = ((1, 256, 1024), (8, 256, 4096), (1, 64, 65536), (1, 1, 1048576), (4, 128, 16384))


def problems() -> Iterator[Problem]:
    for shape in (*SHAPES, *OTHER_LENGTHS):
        yield _forward(shape, np.float32)
    yield _forward((1, 256, 1024), np.float64)
    yield _forward((1, 64, 65536), np.float64)
    if installed("torch"):
        yield _gradient((8, 256, 4096))
    yield _numba((1, 64, 4096))


def _inputs(shape: tuple[int, int, int], dtype: Any = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(dtype) for s in (shape, shape[1:], shape[1:2])]


def convolution_work(shape: tuple[int, int, int], dtype: Any = np.float32, gradient: bool = False) -> Work:
    """Transforms of L complex numbers, both ways for each row and once for each kernel; a gradient takes those of grad too."""
    B, H, L = shape
    rows, kernels = (4 * B * H, 2 * H) if gradient else (2 * B * H, H)
    arrays = (4 * B + 2) * H * L if gradient else (2 * B + 1) * H * L
    return Work((rows + kernels) * 5 * L * np.log2(L), arrays * np.dtype(dtype).itemsize, np.dtype(dtype).name)


def causal_truth(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> np.ndarray:
    from scipy import fft

    L = u.shape[-1]
    n = fft.next_fast_len(2 * L, real=True)
    u, k = u.astype(float), k.astype(float)
    y: np.ndarray = fft.irfft(fft.rfft(u, n) * fft.rfft(k, n), n)[..., :L] + D[:, None] * u
    return y


def by_torch(u: Any, k: Any, D: Any) -> Any:
    from torch import fft

    L = u.shape[-1]
    return fft.irfft(fft.rfft(u, 2 * L) * fft.rfft(k, 2 * L), 2 * L)[..., :L] + D[:, None] * u


def both_ways(f: Callable[..., Any], tensors: Any, grad: Any, which: int = 0) -> Run:
    """Forward and backward through autograd: the gradient of one of the tensors, with those of all of them computed."""
    import torch

    leaves = [x.clone().requires_grad_() for x in tensors]
    return lambda: torch.autograd.grad(f(*leaves), leaves, grad)[which]


def _forward(shape: tuple[int, int, int], dtype: Any) -> Problem:
    u, k, D = _inputs(shape, dtype)
    single, usual = dtype == np.float32, dtype == np.float32 and shape in SHAPES
    peers: dict[str, Run] = {}
    goals: dict[str, float] = {}
    if installed("torch"):
        import torch

        tensors = list(map(torch.from_numpy, (u, k, D)))
        peers["torch rfft"] = lambda: by_torch(*tensors)
        goals["torch rfft"] = 10.0 if usual else 6.0 if single else 8.0
    if installed("pyfftw"):
        peers["pyfftw"] = _pyfftw(u, k, D)
        goals["pyfftw"] = 2.5 if usual else 2.0
    peers["scipy oaconvolve"] = lambda: _oaconvolve(u, k, D)
    if usual:
        goals["scipy oaconvolve"] = 4.0 if shape[-1] >= 65536 else 5.0
    tolerance, size = 1e-6 if single else 1e-14, f"{shape} {np.dtype(dtype).name}"
    ours, truth, work = lambda: ssm.fft_conv(u, k, D), lambda: causal_truth(u, k, D), convolution_work(shape, dtype)
    return Problem("ssm", "fft_conv", size, ours, peers, truth, tolerance, goals, 10 * tolerance, work)


def _gradient(shape: tuple[int, int, int]) -> Problem:
    import torch

    arrays = _inputs(shape)
    u, k, D = map(torch.from_numpy, arrays)
    ours = both_ways(lambda x, w: ssm.fft_conv(x, w, D), (u, k), u)
    peers = {"torch autograd": both_ways(lambda x, w: by_torch(x, w, D), (u, k), u)}
    truth = lambda: causal_truth(arrays[0][..., ::-1].copy(), *arrays[1:])[..., ::-1]  # noqa: E731
    work = convolution_work(shape, gradient=True)
    return Problem("ssm", "fft_conv fwd+bwd", f"{shape} float32", ours, peers, truth, 1e-6, {"torch autograd": 8.0}, 1e-5, work)


def _oaconvolve(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> np.ndarray:
    from scipy.signal import oaconvolve

    y: np.ndarray = oaconvolve(u, k[None], axes=-1)[..., : u.shape[-1]] + D[:, None] * u
    return y


def _pyfftw(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> Run:
    """The whole convolution by planned FFTW transforms (MEASURE, planning not timed) on buffers of its own."""
    import pyfftw

    B, H, L = u.shape
    real, comp = u.dtype, np.result_type(u.dtype, np.complex64)
    pad_u, pad_k = (pyfftw.zeros_aligned((n, H, 2 * L), real) for n in (B, 1))
    spec_u, spec_k = (pyfftw.empty_aligned((n, H, L + 1), comp) for n in (B, 1))
    options = {"axes": (-1,), "flags": ("FFTW_MEASURE",), "threads": 1}
    forward_u, forward_k = pyfftw.FFTW(pad_u, spec_u, **options), pyfftw.FFTW(pad_k, spec_k, **options)
    inverse = pyfftw.FFTW(spec_u, pad_u, direction="FFTW_BACKWARD", **options)

    def whole() -> np.ndarray:
        pad_u[..., :L], pad_u[..., L:] = u, 0
        pad_k[..., :L], pad_k[..., L:] = k, 0
        forward_u()
        forward_k()
        np.multiply(spec_u, spec_k, out=spec_u)
        inverse()
        result: np.ndarray = pad_u[..., :L] + D[:, None] * u
        return result

    return whole


def _numba(shape: tuple[int, int, int]) -> Problem:
    u, k, D = _inputs(shape)
    peers = {"numba backend": lambda: ssm.fft_conv(u, k, D, backend="numba")}
    return Problem("ssm", "fft_conv", f"{shape} float32", lambda: ssm.fft_conv(u, k, D), peers, lambda: causal_truth(u, k, D), 1e-6)
