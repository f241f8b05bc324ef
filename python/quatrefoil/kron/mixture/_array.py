"""The covariance kernels in array-API terms, in double precision: same formulas, same names as csrc/kron/mixture.

All pairs in rows of K, a piece of them at a time: where an axis is uniform too, for that shows in the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..._array_tools import added, double, finite, in_pieces, nan_unless, pieces, two_product

GONE = 800.0  # e^-800 is 0: an exponent ends here
LIVE = 8  # arrays of a number a component and pair that stand at a time, about


def _points(xp: Any, x: Any) -> Any:
    """(N, P), in double precision."""
    return finite(xp, double(xp, x if x.ndim == 2 else x[:, None]))


def _positive(xp: Any, a: Any) -> Any:
    return nan_unless(xp, (a > 0) & xp.isfinite(a), a)


def _at_least_0(xp: Any, a: Any) -> Any:
    return nan_unless(xp, (a >= 0) & xp.isfinite(a), a)


def _values(xp: Any, x: Any, y: Any, width: int, value: Callable[[Any], Any]) -> Any:
    """value(d) of the differences d (rows, M, P), which makes ``width`` numbers of a pair, at all pairs."""
    X = _points(xp, x)
    Y = X if y is None else _points(xp, y)

    def rows(at: slice) -> Any:
        return xp.astype(value(X[at, None, :] - Y[None, :, :]), x.dtype)

    return in_pieces(xp, rows, X.shape[0], LIVE * width * Y.shape[0])


def _adjoint(xp: Any, x: Any, y: Any, grad: Any, width: int, adjoint: Callable[[Any, Any], Any]) -> Any:
    """adjoint(d, grad) -> (sums, slopes (rows, M, P) by d): gradients of x and y, and the sums over all pairs, by name or in an array."""
    X = _points(xp, x)
    Y = X if y is None else _points(xp, y)
    rows: list[Any] = []
    columns: Any = None
    total: Any = None
    for at in pieces(X.shape[0], LIVE * width * Y.shape[0]):
        g = double(xp, grad[at, :])
        sums, slopes = adjoint(X[at, None, :] - Y[None, :, :], g)
        steps = g[:, :, None] * slopes
        rows.append(xp.sum(steps, axis=1))
        columns = added(columns, xp.sum(steps, axis=0))
        total = sums if total is None else [a + b for a, b in zip(total, sums)]
    dX = xp.concat(rows, axis=0)
    dx = xp.reshape(xp.astype(dX - columns if y is None else dX, x.dtype), x.shape)
    return dx, None if y is None else xp.reshape(xp.astype(-columns, y.dtype), y.shape), total


# ---- radial functions


def _radial(xp: Any, u: Any, matern: bool) -> tuple[Any, Any]:
    """README (1), (2): the value at scaled differences u (..., P), and (3) its derivative by the square of the scaled distance."""
    square = xp.sum(u * u, axis=-1)
    if matern:
        s = xp.clip(xp.sqrt(5 * square), max=GONE)
        E = xp.exp(-s)
        return (1 + s + s * s / 3) * E, -5 / 6 * (1 + s) * E
    value = xp.exp(-square / 2)
    return value, -value / 2


def _inverse(xp: Any, scale: Any) -> Any:
    """1 / scale, (P,) or (1,)."""
    inverse = 1 / _positive(xp, double(xp, scale))
    return inverse if inverse.ndim else inverse[None]


def _run_radial(xp: Any, x: Any, y: Any, scale: Any, matern: bool) -> Any:
    inverse = _inverse(xp, scale)
    return _values(xp, x, y, 1 if x.ndim == 1 else x.shape[1], lambda d: _radial(xp, d * inverse, matern)[0])


def _run_radial_adjoint(xp: Any, x: Any, y: Any, scale: Any, grad: Any, matern: bool) -> Any:
    inverse = _inverse(xp, scale)

    def adjoint(d: Any, g: Any) -> Any:  # README (3)
        u = d * inverse
        slope = _radial(xp, u, matern)[1][:, :, None]
        return [xp.sum(-2 * g[:, :, None] * slope * u * u, axis=(0, 1)) * inverse], 2 * slope * u * inverse

    dx, dy, (dscale,) = _adjoint(xp, x, y, grad, 1 if x.ndim == 1 else x.shape[1], adjoint)
    return dx, dy, xp.astype(dscale if scale.ndim else xp.sum(dscale), scale.dtype)


def rbf(xp: Any, x: Any, y: Any, scale: Any) -> Any:
    return _run_radial(xp, x, y, scale, False)


def rbf_vjp(xp: Any, x: Any, y: Any, scale: Any, grad: Any) -> Any:
    return _run_radial_adjoint(xp, x, y, scale, grad, False)


def matern52(xp: Any, x: Any, y: Any, scale: Any) -> Any:
    return _run_radial(xp, x, y, scale, True)


def matern52_vjp(xp: Any, x: Any, y: Any, scale: Any, grad: Any) -> Any:
    return _run_radial_adjoint(xp, x, y, scale, grad, True)


# ---- spectral mixtures


def _envelope(xp: Any, gaussian: bool, scale: Any, d: Any) -> tuple[list[Any], list[Any]]:
    """README (4)-(6): g and its three derivatives, and the partials h of the first three by the logarithm of the scale."""
    if gaussian:
        u = xp.clip(scale * d * d, max=GONE)
        E = xp.exp(-u)
        b = 2 * scale * E
        return (
            [E, -b * d, b * (2 * u - 1), 2 * scale * b * d * (3 - 2 * u)],
            [-u * E, -b * d * (1 - u), b * ((5 - 2 * u) * u - 1)],
        )
    s, t = xp.clip(scale * xp.abs(d), max=GONE), scale * d
    E = xp.exp(-s)
    b = scale / 3 * E  # its square may leave the range where a first derivative does not
    return (
        [(1 + s + s * s / 3) * E, -b * t * (1 + s), -scale * b * (1 + s - s * s), scale * scale * b * t * (3 - s)],
        [-s * s * (1 + s) * E / 3, -b * t * (2 + (2 - s) * s), -scale * b * (2 + (2 + (s - 5) * s) * s)],
    )


def _modulated(order: int, g: list[Any], m: Any, c: Any, s: Any) -> Any:
    """README (7)."""
    if order == 0:
        return g[0] * c
    if order == 1:
        return g[1] * c - m * g[0] * s
    if order == 2:
        return (g[2] - m * m * g[0]) * c - 2 * m * g[1] * s
    return (g[3] - 3 * m * m * g[1]) * c + m * (m * m * g[0] - 3 * g[2]) * s


def _modulated_by_m(order: int, g: list[Any], m: Any, c: Any, s: Any, d: Any) -> Any:
    """README (8)."""
    if order == 0:
        return -g[0] * d * s
    if order == 1:
        return -(g[1] * d + g[0]) * s - m * g[0] * d * c
    return (m * m * g[0] * d - g[2] * d - 2 * g[1]) * s - 2 * m * (g[1] * d + g[0]) * c


def _wave(xp: Any, f: Any, d: Any) -> tuple[Any, Any]:
    """Cosine and sine of 2 pi f d: whole turns are taken off the product and its rounding."""
    turns, rest = two_product(f, d)
    angle = 2 * math.pi * ((turns - xp.round(turns)) + rest)
    return xp.cos(angle), xp.sin(angle)


def _components(xp: Any, log_weights: Any, log_scales: Any, freqs: Any, kind: str) -> Any:
    """weights, scales (a of (4), p of (5)), frequencies, whether these are Gaussian."""
    log_weights, log_scales, freqs = (finite(xp, double(xp, a)) for a in (log_weights, log_scales, freqs))
    scales = xp.exp(log_scales)
    return xp.exp(log_weights), scales if kind == "gaussian" else math.sqrt(5) * scales, freqs, kind == "gaussian"


def _spectral(xp: Any, order: int, d: Any, weights: Any, scales: Any, freqs: Any, gaussian: bool) -> Any:
    """The mixture at differences d (..., 1)."""
    g, _ = _envelope(xp, gaussian, scales, d)
    c, s = _wave(xp, freqs, d)
    return xp.sum(weights * _modulated(order, g, 2 * math.pi * freqs, c, s), axis=-1)


def _spectral_adjoint(xp: Any, order: int, d: Any, grad: Any, weights: Any, scales: Any, freqs: Any, gaussian: bool) -> Any:
    """README (8): sums for weights, scales and frequencies, and the next derivatives (..., 1)."""
    g, h = _envelope(xp, gaussian, scales, d)
    c, s = _wave(xp, freqs, d)
    m, all_pairs = 2 * math.pi * freqs, tuple(range(d.ndim - 1))
    sums = [
        weights * xp.sum(grad[..., None] * part, axis=all_pairs)
        for part in (
            _modulated(order, g, m, c, s),
            _modulated(order, h, m, c, s),
            2 * math.pi * _modulated_by_m(order, g, m, c, s, d),
        )
    ]
    return sums, xp.sum(weights * _modulated(order + 1, g, m, c, s), axis=-1)[..., None]


def spectral_mixture(xp: Any, x: Any, y: Any, log_weights: Any, log_scales: Any, freqs: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    return _values(xp, x, y, max(1, freqs.shape[0]), lambda d: _spectral(xp, order, d, *components))


def spectral_mixture_vjp(xp: Any, x: Any, y: Any, log_weights: Any, log_scales: Any, freqs: Any, grad: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    width = max(1, freqs.shape[0])
    dx, dy, sums = _adjoint(xp, x, y, grad, width, lambda d, g: _spectral_adjoint(xp, order, d, g, *components))
    return dx, dy, *(xp.astype(a, x.dtype) for a in sums)


def spectral_mixture_lags(xp: Any, d: Any, log_weights: Any, log_scales: Any, freqs: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    D = _points(xp, d)
    return in_pieces(xp, lambda at: xp.astype(_spectral(xp, order, D[at, :], *components), d.dtype), d.shape[0], LIVE * freqs.shape[0])


def spectral_mixture_lags_vjp(xp: Any, d: Any, log_weights: Any, log_scales: Any, freqs: Any, grad: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    D, g = _points(xp, d), double(xp, grad)
    slopes, total = [], None
    for at in pieces(d.shape[0], LIVE * freqs.shape[0]):
        sums, slope = _spectral_adjoint(xp, order, D[at, :], g[at], *components)
        slopes.append(g[at] * slope[:, 0])
        total = sums if total is None else [a + b for a, b in zip(total, sums)]
    assert total is not None
    return tuple(xp.astype(a, d.dtype) for a in (xp.concat(slopes, axis=0), *total))


# ---- grid spectral mixture products


def _entries(xp: Any, a: Any, A: int, P: int) -> Any:
    """One number an entry (A, P)."""
    return xp.broadcast_to(a[:, None] if a.ndim == 1 else a, (A, P))


def _product_inputs(xp: Any, x: Any, weights: Any, means: Any, std: Any) -> Any:
    A, P = weights.shape[0], 1 if x.ndim == 1 else x.shape[1]
    weights, means, std = (double(xp, a) for a in (weights, means, std))
    return _at_least_0(xp, weights), _entries(xp, finite(xp, means), A, P), _entries(xp, _at_least_0(xp, std), A, P)


def _factors(xp: Any, d: Any, weights: Any, means: Any, std: Any) -> Any:
    """The parts of (11) at differences d (rows, M, P): what a component weighs beside its waves (rows, M, A), and a cosine and a sine of
    that shape a coordinate."""
    exponent, waves = xp.zeros((*d.shape[:2], weights.shape[0]), dtype=d.dtype, device=d.device), []
    for p in range(d.shape[2]):
        t = d[:, :, p : p + 1]
        waves.append(_wave(xp, means[:, p], t))
        exponent = exponent + 2 * (math.pi * t * std[:, p]) ** 2
    return xp.exp(-exponent), waves


def gsmp_kernel(xp: Any, x: Any, y: Any, weights: Any, means: Any, std: Any) -> Any:
    components = _product_inputs(xp, x, weights, means, std)

    def value(d: Any) -> Any:  # README (11)
        product, waves = _factors(xp, d, *components)
        for c, _ in waves:
            product = product * c
        return xp.sum(components[0] * product, axis=-1)

    return _values(xp, x, y, max(1, weights.shape[0]) * max(1, components[1].shape[1]), value)


def gsmp_kernel_vjp(xp: Any, x: Any, y: Any, weights: Any, means: Any, std: Any, grad: Any) -> Any:
    components = _product_inputs(xp, x, weights, means, std)

    def adjoint(d: Any, g: Any) -> Any:
        return _product_adjoint(xp, d, g, *components), xp.zeros_like(d)

    width = max(1, weights.shape[0]) * max(1, components[1].shape[1])
    _, _, (dweights, *rest) = _adjoint(xp, x, y, grad, width, adjoint)
    P = len(rest) // 2
    dmeans, dstd = (
        xp.stack(parts, axis=-1) if parts else xp.zeros(components[1].shape, dtype=xp.float64, device=weights.device)
        for parts in (rest[:P], rest[P:])
    )
    return None, None, xp.astype(dweights, weights.dtype), *(_summed(xp, a, like) for a, like in ((dmeans, means), (dstd, std)))


def _product_adjoint(xp: Any, d: Any, grad: Any, weights: Any, means: Any, std: Any) -> list[Any]:
    """README (12): sums (A,) for the weights, for the means of every coordinate, for the widths of every coordinate."""
    product, waves = _factors(xp, d, weights, means, std)
    product = grad[:, :, None] * product
    before = []  # the product of what stands before a coordinate
    for c, _ in waves:
        before.append(product)
        product = product * c
    of_means, of_std, behind = [], [], xp.ones_like(product)
    for p in reversed(range(len(waves))):
        t, (c, s) = d[:, :, p : p + 1], waves[p]
        of_means.append(-2 * math.pi * weights * xp.sum(t * s * before[p] * behind, axis=(0, 1)))
        of_std.append(-4 * math.pi**2 * weights * xp.sum(t * std[:, p] * t * product, axis=(0, 1)))
        behind = behind * c
    return [xp.sum(product, axis=(0, 1)), *reversed(of_means), *reversed(of_std)]


def _summed(xp: Any, a: Any, like: Any) -> Any:
    """An entry each (A, P), as the argument has them."""
    return xp.astype(a if like.ndim == 2 else xp.sum(a, axis=-1) if like.ndim == 1 else xp.sum(a), like.dtype)
