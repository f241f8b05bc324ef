"""State-space convolution against torch's rfft and irfft (batched, as users write it), SciPy, pyFFTW and the Numba backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work

OTHER_LENGTHS = ((1, 256, 1000), (4, 64, 8760), (1, 64, 50000))  # no powers of two
SHAPES = ((1, 256, 1024), (8, 256, 4096), (1, 64, 65536), (1, 1, 1048576), (4, 128, 16384))


def problems() -> Iterator[Problem]:
    for shape in SHAPES:
        yield _conv(shape, np.float32)
    for shape in OTHER_LENGTHS:
        yield _conv(shape, np.float32)
    yield _conv((1, 256, 1024), np.float64)
    yield _conv((1, 64, 65536), np.float64)
    yield _conv((8, 256, 4096), np.float32, gradient=True)
    yield _conv_numba((1, 64, 4096))


def _conv_inputs(shape: tuple[int, int, int], dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(dtype) for s in (shape, shape[1:], shape[1:2])]


def convolution_work(shape: tuple[int, int, int], dtype: Any = np.float32, gradient: bool = False) -> Work:
    """Transforms of L complex numbers: of every row there and back and of every kernel; with gradients those of grad and back, too."""
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


def _conv(shape: tuple[int, int, int], dtype: Any, gradient: bool = False) -> Problem:
    u, k, D = _conv_inputs(shape, dtype)
    L = shape[-1]
    peers: dict[str, Callable[[], Any]] = {}
    goals: dict[str, float] = {}
    try:
        import torch

        tu, tk, tD = map(torch.from_numpy, (u, k, D))

        def by_torch(tu: Any = tu, tk: Any = tk) -> Any:
            return torch.fft.irfft(torch.fft.rfft(tu, 2 * L) * torch.fft.rfft(tk, 2 * L), 2 * L)[..., :L] + tD[:, None] * tu

        leaves = tuple(x.clone().requires_grad_() for x in (tu, tk)) if gradient else ()

        def both_ways(f: Callable[..., Any]) -> Any:
            return torch.autograd.grad(f(*leaves), leaves, tu)[0]

        if gradient:
            peers["torch autograd"] = lambda: both_ways(by_torch)
        else:
            peers["torch rfft"] = by_torch
            goals = {"torch rfft": 8.0 if dtype == np.float64 else 10.0 if shape in SHAPES else 6.0}
    except ImportError:
        if gradient:
            raise RuntimeError("bench ssm: the gradient's benchmark needs torch: pip install 'quatrefoil[torch]'") from None
    if not gradient:
        peers.update(_pyfftw(u, k, D))
        if "pyfftw" in peers:
            goals["pyfftw"] = 2.5 if dtype == np.float32 and shape in SHAPES else 2.0
        if dtype == np.float32 and shape in SHAPES:
            goals["scipy oaconvolve"] = 4.0 if L >= 65536 else 5.0
        peers["scipy oaconvolve"] = lambda: _oaconvolve(u, k, D)
    size = f"{shape} {np.dtype(dtype).name}"
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    if not gradient:
        return Problem(
            "ssm", "fft_conv", size, lambda: ssm.fft_conv(u, k, D), peers, lambda: causal_truth(u, k, D), tolerance, goals, 10 * tolerance,
            work=convolution_work(shape, dtype),
        )  # fmt: skip

    def truth() -> np.ndarray:
        return causal_truth(u[..., ::-1].copy(), k, D)[..., ::-1]

    return Problem(
        "ssm",
        "fft_conv fwd+bwd",
        size,
        lambda: both_ways(lambda x, w: ssm.fft_conv(x, w, tD)),
        peers,
        truth,
        tolerance,
        {"torch autograd": 8.0},
        10 * tolerance,
        convolution_work(shape, dtype, gradient=True),
    )


def _oaconvolve(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> np.ndarray:
    from scipy.signal import oaconvolve

    y: np.ndarray = oaconvolve(u, k[None], axes=-1)[..., : u.shape[-1]] + D[:, None] * u
    return y


def _pyfftw(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The whole convolution by planned FFTW transforms (MEASURE, planning not timed) on buffers of its own."""
    try:
        import pyfftw
    except ImportError:
        return {}
    B, H, L = u.shape
    real, comp = u.dtype, np.result_type(u.dtype, np.complex64)
    pad_u, pad_k = (pyfftw.zeros_aligned((n, H, 2 * L), real) for n in (B, 1))
    spec_u, spec_k = (pyfftw.empty_aligned((n, H, L + 1), comp) for n in (B, 1))
    options = {"axes": (-1,), "flags": ("FFTW_MEASURE",), "threads": 1}
    there_u, there_k = pyfftw.FFTW(pad_u, spec_u, **options), pyfftw.FFTW(pad_k, spec_k, **options)
    back = pyfftw.FFTW(spec_u, pad_u, direction="FFTW_BACKWARD", **options)

    def whole() -> np.ndarray:
        pad_u[..., :L], pad_u[..., L:] = u, 0
        pad_k[..., :L], pad_k[..., L:] = k, 0
        there_u()
        there_k()
        np.multiply(spec_u, spec_k, out=spec_u)
        back()
        result: np.ndarray = pad_u[..., :L] + D[:, None] * u
        return result

    return {"pyfftw": whole}


def _conv_numba(shape: tuple[int, int, int]) -> Problem:
    u, k, D = _conv_inputs(shape, np.float32)
    peers = {"numba backend": lambda: ssm.fft_conv(u, k, D, backend="numba")}
    return Problem("ssm", "fft_conv", f"{shape} float32", lambda: ssm.fft_conv(u, k, D), peers, lambda: causal_truth(u, k, D), 1e-6)
