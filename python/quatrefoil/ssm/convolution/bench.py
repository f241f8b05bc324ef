"""State-space convolution compared with rfft and irfft of PyTorch (batched, as users write it), SciPy, pyFFTW and the Numba backend."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, Work, against_numba, autograd, installed, tensors, torch_peers

Shape = tuple[int, int, int]  # B, H, L
OTHER_LENGTHS = ((1, 256, 1000), (4, 64, 8760), (1, 64, 50000))  # not powers of two
SHAPES = ((1, 256, 1024), (8, 256, 4096), (1, 64, 65536), (1, 1, 1048576), (4, 128, 16384))


def problems() -> Iterator[Problem]:
    for shape in (*SHAPES, *OTHER_LENGTHS):
        yield _conv(shape)
    yield _conv((1, 256, 1024), "float64")
    yield _conv((1, 64, 65536), "float64")
    if installed("torch"):
        yield _gradient((8, 256, 4096))
    yield against_numba(_conv((1, 64, 4096)))


def _inputs(shape: Shape, dtype: str = "float32") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(dtype) for s in (shape, shape[1:], shape[1:2])]


def convolution_work(shape: Shape, dtype: str = "float32", gradient: bool = False) -> Work:
    """Transforms of L complex numbers: forward and inverse for each row, forward for each kernel; twice as many with ``gradient``."""
    B, H, L = shape
    rows, kernels = (4 * B * H, 2 * H) if gradient else (2 * B * H, H)
    arrays = (4 * B + 2) * H * L if gradient else (2 * B + 1) * H * L
    return Work((rows + kernels) * 5 * L * np.log2(L), arrays * np.dtype(dtype).itemsize, dtype)


def causal_truth(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> Any:
    from scipy import fft

    L = u.shape[-1]
    n = fft.next_fast_len(2 * L, real=True)
    u, k = u.astype(float), k.astype(float)
    return fft.irfft(fft.rfft(u, n) * fft.rfft(k, n), n)[..., :L] + D[:, None] * u


def by_torch(u: Any, k: Any, D: Any) -> Any:
    from torch import fft

    L = u.shape[-1]
    return fft.irfft(fft.rfft(u, 2 * L) * fft.rfft(k, 2 * L), 2 * L)[..., :L] + D[:, None] * u


def _by_scipy(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> Any:
    from scipy.signal import oaconvolve

    return oaconvolve(u, k[None], axes=-1)[..., : u.shape[-1]] + D[:, None] * u


def _pyfftw(u: np.ndarray, k: np.ndarray, D: np.ndarray) -> dict[str, Run]:
    """The complete convolution by planned FFTW transforms (MEASURE; planning is not timed) in FFTW's own buffers."""
    if not installed("pyfftw"):
        return {}
    import pyfftw

    B, H, L = u.shape

    @cache
    def planned() -> Any:  # in the first call, because FFTW measures for minutes on a busy machine
        real, comp = u.dtype, np.result_type(u.dtype, np.complex64)
        pads = [pyfftw.zeros_aligned((n, H, 2 * L), real) for n in (B, 1)]
        spectra = [pyfftw.empty_aligned((n, H, L + 1), comp) for n in (B, 1)]
        options = {"axes": (-1,), "flags": ("FFTW_MEASURE",), "threads": 1}
        forward = [pyfftw.FFTW(pad, spectrum, **options) for pad, spectrum in zip(pads, spectra)]
        return pads, spectra, forward, pyfftw.FFTW(spectra[0], pads[0], direction="FFTW_BACKWARD", **options)

    def run() -> Any:
        (pad_u, pad_k), (spec_u, spec_k), (forward_u, forward_k), back = planned()
        pad_u[..., :L], pad_u[..., L:] = u, 0
        pad_k[..., :L], pad_k[..., L:] = k, 0
        forward_u()
        forward_k()
        np.multiply(spec_u, spec_k, out=spec_u)
        back()
        return pad_u[..., :L] + D[:, None] * u

    return {"pyfftw": run}


def _conv(shape: Shape, dtype: str = "float32") -> Problem:
    arrays, tolerance = _inputs(shape, dtype), 1e-6 if dtype == "float32" else 1e-14
    peers: dict[str, Run] = {
        "scipy oaconvolve": partial(_by_scipy, *arrays),
        **torch_peers({"torch rfft": by_torch}, *arrays),
        **_pyfftw(*arrays),
    }
    goals = {"torch rfft": 8.0 if dtype == "float64" else 6.0, "pyfftw": 2.0}
    if dtype == "float32" and shape in SHAPES:
        goals = {"torch rfft": 10.0, "pyfftw": 2.5, "scipy oaconvolve": 4.0 if shape[2] >= 65536 else 5.0}
    ours = partial(ssm.fft_conv, *arrays)
    truth = partial(causal_truth, *arrays)
    work = convolution_work(shape, dtype)
    return Problem("ssm", "fft_conv", f"{shape} {dtype}", ours, peers, truth, tolerance, goals, 10 * tolerance, work)


def _gradient(shape: Shape) -> Problem:
    """Forward and backward through autograd. Compares the gradient of u."""
    u, k, D = _inputs(shape)
    run, (D_tensor,) = autograd([u, k], grad=u), tensors([D])
    size = f"{shape} float32"
    ours = run(lambda u, k: ssm.fft_conv(u, k, D_tensor))
    peers = {"torch autograd": run(lambda u, k: by_torch(u, k, D_tensor))}
    goals = {"torch autograd": 8.0}
    work = convolution_work(shape, gradient=True)
    return Problem(
        "ssm", "fft_conv fwd+bwd", size, ours, peers, lambda: causal_truth(u[..., ::-1].copy(), k, D)[..., ::-1], 1e-6, goals, 1e-5, work
    )
