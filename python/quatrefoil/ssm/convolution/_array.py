"""Causal convolution as array operations: real transforms of a power of two, long enough that nothing wraps around."""

from __future__ import annotations

from typing import Any

from ..._array_tools import resized, zeros


def length(L: int, taps: int) -> int:
    """Of the transforms: L samples, and as many taps of either direction as are used."""
    return int(1 << (L + min(max(taps, 1), L) - 2).bit_length())


def _spectrum(xp: Any, k: Any, k_reverse: Any, L: int, n: int) -> Any:
    """Of the taps: k_j at lag j, those of the future, k_reverse_j, at lag -1 - j."""
    spectrum = xp.fft.rfft(resized(xp, k, min(k.shape[-1], L)), n=n) if k.shape[-1] else None
    reverse = None if k_reverse is None else k_reverse[..., : min(k_reverse.shape[-1], L - 1)]
    if reverse is not None and reverse.shape[-1]:
        behind = zeros(xp, (*reverse.shape[:-1], n - reverse.shape[-1]), reverse)
        future = xp.fft.rfft(xp.concat([behind, xp.flip(reverse, axis=-1)], axis=-1), n=n)
        spectrum = future if spectrum is None else spectrum + future
    return spectrum


def _transform_length(k: Any, k_reverse: Any, L: int) -> int:
    return length(L, max(k.shape[-1], 0 if k_reverse is None else k_reverse.shape[-1] + 1))


def fft_conv(xp: Any, u: Any, k: Any, D: Any, k_reverse: Any) -> Any:
    """Leading axes of the taps and of D broadcast against those of u."""
    L = u.shape[-1]
    if 0 in u.shape or 0 in k.shape[:-1]:
        return zeros(xp, (*_common(k, u)[:-1], L), u)
    n = _transform_length(k, k_reverse, L)
    spectrum = _spectrum(xp, k, k_reverse, L, n)
    if spectrum is None:
        y = zeros(xp, (*_common(k, u)[:-1], L), u)
    else:
        y = xp.fft.irfft(xp.fft.rfft(u, n=n) * spectrum, n=n)[..., :L]
    return y if D is None else y + D[..., None] * u


def _common(k: Any, u: Any) -> tuple[int, ...]:
    """The shape of the result, where k has the same axes as u or fewer, or one more before the channels."""
    lead = max(k.ndim, u.ndim) - 1
    shapes = [(1,) * (lead - (x.ndim - 1)) + tuple(x.shape[:-1]) for x in (k, u)]
    return (*[b if a == 1 else a for a, b in zip(*shapes)], u.shape[-1])


def fft_conv_vjp(xp: Any, u: Any, k: Any, D: Any, k_reverse: Any, grad: Any) -> tuple[Any, Any, Any, Any]:
    L, batch = u.shape[-1], tuple(range(u.ndim - 2))
    if 0 in u.shape:
        return u, *(None if x is None else zeros(xp, x.shape, x) for x in (k, D, k_reverse))
    n = _transform_length(k, k_reverse, L)
    spectrum = _spectrum(xp, k, k_reverse, L, n)
    G, U = xp.fft.rfft(grad, n=n), xp.fft.rfft(u, n=n)
    du = zeros(xp, u.shape, u) if spectrum is None else xp.fft.irfft(G * xp.conj(spectrum), n=n)[..., :L]
    product = G * xp.conj(U)
    lags = xp.fft.irfft(xp.sum(product, axis=batch) if batch else product, n=n)  # sum_l grad_l u_{l - j} at j, at n + j where j < 0
    dk = resized(xp, lags[..., : min(L, n, k.shape[-1])], k.shape[-1])
    future = None if k_reverse is None else xp.flip(lags, axis=-1)[..., : min(L - 1, k_reverse.shape[-1])]
    dk_reverse = None if k_reverse is None else resized(xp, future, k_reverse.shape[-1])
    if D is None:
        return du, dk, None, dk_reverse
    return du + D[:, None] * grad, dk, xp.sum(u * grad, axis=(*batch, -1)), dk_reverse
