"""Causal convolution as array operations: real transforms whose length is a power of two, long enough to avoid wrap-around."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import in_chunks, resized, zeros


def _spectrum(xp: Any, k: Any, k_reverse: Any, L: int, n: int) -> Any:
    """The spectrum of the taps: k_j at lag j, k_reverse_j at lag -1 - j."""
    spectrum = xp.fft.rfft(resized(xp, k, min(k.shape[-1], L)), n=n) if k.shape[-1] else None
    reverse = None if k_reverse is None else k_reverse[..., : min(k_reverse.shape[-1], L - 1)]
    if reverse is not None and reverse.shape[-1]:
        padding = zeros(xp, (*reverse.shape[:-1], n - reverse.shape[-1]), reverse)
        future = xp.fft.rfft(xp.concat([padding, xp.flip(reverse, axis=-1)], axis=-1), n=n)
        spectrum = future if spectrum is None else spectrum + future
    return spectrum


def _transform_length(k: Any, k_reverse: Any, L: int) -> int:
    """The length for L samples and up to L taps in either direction."""
    taps = max(k.shape[-1], 0 if k_reverse is None else k_reverse.shape[-1] + 1)
    return int(1 << (L + min(max(taps, 1), L) - 2).bit_length())


def fft_conv(xp: Any, u: Any, k: Any, D: Any, k_reverse: Any) -> Any:
    """(1), (2). Leading axes of the taps and of D broadcast against those of u."""
    shape = _common(k, u)
    if 0 in shape:
        return zeros(xp, shape, u)
    L, n = u.shape[-1], _transform_length(k, k_reverse, u.shape[-1])

    def compute(channels: slice) -> Any:
        selected: list[Any] = [None if a is None else a[..., channels, :] for a in (u, k, k_reverse)]
        x, taps, taps_reverse = selected
        spectrum = _spectrum(xp, taps, taps_reverse, L, n)
        y = zeros(xp, _common(taps, x), u) if spectrum is None else xp.fft.irfft(xp.fft.rfft(x, n=n) * spectrum, n=n)[..., :L]
        return y if D is None else y + D[..., channels, None] * x

    return in_chunks(xp, compute, shape[-2], 4 * n * math.prod(shape[:-2]), axis=-2)


def _common(k: Any, u: Any) -> tuple[int, ...]:
    """The shape of the result. k has as many axes as u, fewer, or one more before the channels."""
    lead = max(k.ndim, u.ndim) - 1
    shapes = [(1,) * (lead - (x.ndim - 1)) + tuple(x.shape[:-1]) for x in (k, u)]
    return (*[b if a == 1 else a for a, b in zip(*shapes)], u.shape[-1])


def fft_conv_vjp(xp: Any, u: Any, k: Any, D: Any, k_reverse: Any, grad: Any) -> tuple[Any, Any, Any, Any]:
    L, batch = u.shape[-1], tuple(range(u.ndim - 2))
    if 0 in u.shape:
        return u, *(None if x is None else zeros(xp, x.shape, x) for x in (k, D, k_reverse))
    n = _transform_length(k, k_reverse, L)

    def compute(channels: slice) -> tuple[Any, ...]:
        selected: list[Any] = [None if a is None else a[..., channels, :] for a in (u, grad, k, k_reverse)]
        x, g, taps, taps_reverse = selected
        spectrum = _spectrum(xp, taps, taps_reverse, L, n)
        G, U = xp.fft.rfft(g, n=n), xp.fft.rfft(x, n=n)
        du = xp.zeros_like(x) if spectrum is None else xp.fft.irfft(G * xp.conj(spectrum), n=n)[..., :L]
        product = G * xp.conj(U)
        lags = xp.fft.irfft(xp.sum(product, axis=batch) if batch else product, n=n)  # sum_l g_l x_{l - j} at j, or at n + j if j < 0
        gradients = [du, resized(xp, lags[..., : min(L, n, k.shape[-1])], k.shape[-1])]
        if D is not None:
            gradients = [du + D[channels, None] * g, gradients[1], xp.sum(x * g, axis=(*batch, -1))[:, None]]
        if taps_reverse is not None:
            gradients.append(resized(xp, xp.flip(lags, axis=-1)[..., : min(L - 1, taps_reverse.shape[-1])], taps_reverse.shape[-1]))
        return tuple(gradients)

    du, dk, *others = in_chunks(xp, compute, u.shape[-2], 6 * n * math.prod(u.shape[:-2]), axis=-2)
    return du, dk, None if D is None else others.pop(0)[:, 0], None if k_reverse is None else others.pop(0)
