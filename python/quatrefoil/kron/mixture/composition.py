"""The covariance kernels in array-API terms, in double precision, with the formulas and names of csrc/kron/mixture.

Rows of K are computed in chunks. For NumPy arrays, uniform axes are evaluated at their lags, README (9), and without ``y`` only the pairs
i <= j are computed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._array_tools import added, chunk_slices, double, finite, in_chunks, nan_unless, two_product

GONE = 800.0  # largest exponent; e^-800 is 0
LARGEST = 1e300  # largest ρ² in the rational quadratic
LIVE = 8  # approximate number of arrays with one number per pair and component in memory at a time
SLACK = 4.0  # rounding of a uniform axis, in eps of the largest |x|


def _points(xp: Any, x: Any) -> Any:
    """Points (N, P), in double precision."""
    return finite(xp, double(xp, x if x.ndim == 2 else x[:, None]))


def _positive(xp: Any, a: Any) -> Any:
    return nan_unless(xp, (a > 0) & xp.isfinite(a), a)


def _at_least_0(xp: Any, a: Any) -> Any:
    return nan_unless(xp, (a >= 0) & xp.isfinite(a), a)


def _differences(X: Any, Y: Any) -> list[Any]:
    """One (N, M) array per coordinate of points (N, P) and (M, P); one of zeros if P = 0."""
    return [X[:, p][:, None] - Y[:, p] for p in range(X.shape[1])] or [X @ Y.T]


def _lags(x: Any, y: Any) -> Any:
    """The differences (N + M - 1, 1) of uniform axes with the same step, README (9), for i - j = N - 1, ..., 1 - M; otherwise None."""
    if not all(z.ndim == 1 or z.shape[1] == 1 for z in (x, y)) or min(len(x), len(y)) < 2:
        return None
    a, b = (np.asarray(z, np.float64).reshape(-1) for z in (x, y))
    longer, eps = max(a, b, key=len), np.finfo(x.dtype).eps
    h = (longer[-1] - longer[0]) / (len(longer) - 1)
    for z in (a, b):
        if not np.abs(z - (z[0] + np.arange(len(z)) * h)).max() <= SLACK * eps * np.abs(z).max() < np.inf:
            return None
    return ((a[0] - b[0]) + np.arange(len(a) - 1, -len(b), -1) * h)[:, None]


def _mirrored(lags: Any, odd: bool) -> Any:
    """Values at the lags N - 1, ..., 1 - N, from those at N - 1, ..., 0."""
    return np.concatenate([lags, (-lags if odd else lags)[-2::-1]])


def _toeplitz(lags: Any, M: int) -> Any:
    """The matrix (N, M) with these values at its lags, README (10), without copies."""
    return np.lib.stride_tricks.sliding_window_view(lags, M)[::-1]


def _values(xp: Any, x: Any, y: Any, width: int, value: Callable[[Any], Any], odd: bool = False) -> Any:
    """value(d) at all pairs, for lists d of differences (n, M), one per coordinate. ``value`` uses ``width`` numbers per pair."""
    X = _points(xp, x)
    Y = X if y is None else _points(xp, y)
    N, M = X.shape[0], Y.shape[0]
    if xp is not np:
        return in_chunks(xp, lambda at: xp.astype(value(_differences(X[at, :], Y)), x.dtype), N, LIVE * width * M)
    if (lags := _lags(x, x if y is None else y)) is not None:
        at_lags = value([lags if y is not None else lags[:N]])[:, 0]
        return _toeplitz(at_lags if y is not None else _mirrored(at_lags, odd), M)
    K = np.empty((N, M), x.dtype)
    for at in chunk_slices(N, LIVE * width * M, np):
        first = at.start if y is None else 0  # earlier columns are mirrored
        K[at, first:] = value(_differences(X[at], Y[first:]))
        if y is None:
            K[at.stop :, at] = K[at, at.stop :].T * (-1 if odd else 1)
    return K


def _both(xp: Any, rows: Any, columns: Any, start: int, odd: bool) -> Any:
    """The gradient with respect to k(d_ij) for i <= j, from rows i >= ``start`` (n, M) and the same columns (M, n) of grad; 0 for i > j."""
    i, j = (xp.arange(n, dtype=xp.int64, device=rows.device) for n in rows.shape)
    offset = j - start - i[:, None]
    mirrored = xp.where(offset > 0, -columns.T if odd else columns.T, xp.zeros_like(rows))
    return xp.where(offset >= 0, rows, xp.zeros_like(rows)) + mirrored


def _points_of(xp: Any, steps: list[Any], axis: int, points: Any) -> Any:
    """Sums of ``steps`` (n, M), one array per coordinate, over one axis; zeros if there are no coordinates."""
    return xp.stack([xp.sum(step, axis=axis) for step in steps], axis=-1) if steps else xp.zeros_like(points)


def _adjoint(xp: Any, x: Any, y: Any, grad: Any, width: int, adjoint: Callable[[Any, Any], Any], odd: bool = False) -> Any:
    """Gradients of x and y, and sums over all pairs. adjoint(d, grad) -> (sums, derivatives with respect to d, a list of (n, M))."""
    X = _points(xp, x)
    Y = X if y is None else _points(xp, y)
    if xp is np and (lags := _lags(x, x if y is None else y)) is not None:
        g = np.ascontiguousarray(grad, np.float64)
        sums = np.array([np.trace(g, -l) for l in range(len(X) - 1, -len(Y), -1)])
        if y is None:
            lags, negative = lags[: len(X)], sums[: len(X) - 1 : -1]
            sums = sums[: len(X)] + np.append(-negative if odd else negative, 0.0)
        total, slopes = adjoint([lags], sums[:, None])
        at_lags = slopes[0][:, 0] if y is not None else _mirrored(slopes[0][:, 0], not odd)
        steps = np.multiply(_toeplitz(at_lags, len(Y)), g, out=np.empty(g.shape))  # the same sums for any layout of grad
        dX, columns = steps.sum(axis=1)[:, None], steps.sum(axis=0)[:, None]
    else:
        rows: list[Any] = []
        columns, total = None, None
        for at in chunk_slices(X.shape[0], LIVE * width * Y.shape[0], xp):
            g = double(xp, grad[at, :])
            if y is None:  # (i, j) and (j, i) together, for i <= j
                g = _both(xp, g, double(xp, grad[:, at]), at.start, odd)
            first = at.start if y is None else 0
            sums, slopes = adjoint(_differences(X[at, :], Y[first:, :]), g[:, first:])
            steps = [g[:, first:] * slope for slope in slopes]
            rows.append(_points_of(xp, steps, 1, X[at, :]))
            part = _points_of(xp, steps, 0, Y[first:, :])
            columns = added(columns, part if first == 0 else xp.concat([xp.zeros_like(Y[:first, :]), part], axis=0))
            total = sums if total is None else [a + b for a, b in zip(total, sums)]
        dX = xp.concat(rows, axis=0)
    dx = xp.reshape(xp.astype(dX - columns if y is None else dX, x.dtype), x.shape)
    return dx, None if y is None else xp.reshape(xp.astype(-columns, y.dtype), y.shape), total


# ---- radial functions, README (1) to (3): the value and its derivative with respect to ρ², the squared scaled distance


def _squared_exponential(xp: Any, square: Any) -> tuple[Any, Any]:
    value = xp.exp(-square / 2)
    return value, -value / 2


def _matern12(xp: Any, square: Any) -> tuple[Any, Any]:
    s = xp.clip(xp.sqrt(square), max=GONE)
    value = xp.exp(-s)
    return value, xp.where(s > 0, -value / 2 / xp.where(s > 0, s, xp.ones_like(s)), xp.zeros_like(s))


def _matern32(xp: Any, square: Any) -> tuple[Any, Any]:
    s = xp.clip(xp.sqrt(3 * square), max=GONE)
    return (1 + s) * xp.exp(-s), -3 / 2 * xp.exp(-s)


def _matern52(xp: Any, square: Any) -> tuple[Any, Any]:
    s = xp.clip(xp.sqrt(5 * square), max=GONE)
    return (1 + s + s * s / 3) * xp.exp(-s), -5 / 6 * (1 + s) * xp.exp(-s)


def _rational_quadratic(xp: Any, square: Any, alpha: Any) -> tuple[Any, Any]:
    q = xp.clip(square, max=LARGEST) / (2 * alpha)
    value = xp.exp(-xp.clip(alpha * xp.log1p(q), max=GONE))
    return value, -value / 2 / (1 + q)


def _coordinates(xp: Any, x: Any, a: Any) -> list[Any]:
    """1 / a for every coordinate, for a scale or a period above 0: one number or (P,)."""
    inverse = 1 / _positive(xp, double(xp, a))
    return [inverse[p] if inverse.ndim else inverse for p in range(1 if x.ndim == 1 else x.shape[1])]


def _scaled(xp: Any, d: list[Any], inverse: list[Any], freqs: list[Any] | None) -> list[tuple[Any, Any]]:
    """(u, du/dd) for every coordinate, ρ² = Σ u²; for periodic kernels, which have ``freqs``, as in (13)."""
    if freqs is None:
        return [(t * i, i) for t, i in zip(d, inverse)]
    waves = [_wave(xp, f / 2, t) for t, f in zip(d, freqs)]
    return [(2 * s * i, 2 * math.pi * f * c * i) for (c, s), i, f in zip(waves, inverse, freqs)]


def _square(xp: Any, d: list[Any], scaled: list[tuple[Any, Any]]) -> Any:
    square = xp.zeros_like(d[0])
    for u, _ in scaled:
        square = square + u * u
    return square


def _radial(form: Any, xp: Any, x: Any, y: Any, scale: Any, period: Any = None, alpha: Any = None) -> Any:
    inverse, freqs = _coordinates(xp, x, scale), None if period is None else _coordinates(xp, x, period)
    numbers = [] if alpha is None else [_positive(xp, double(xp, alpha))]
    return _values(xp, x, y, 1, lambda d: form(xp, _square(xp, d, _scaled(xp, d, inverse, freqs)), *numbers)[0])


def _radial_vjp(form: Any, xp: Any, x: Any, y: Any, scale: Any, grad: Any, period: Any = None, alpha: Any = None) -> Any:
    inverse, freqs = _coordinates(xp, x, scale), None if period is None else _coordinates(xp, x, period)
    numbers = [] if alpha is None else [_positive(xp, double(xp, alpha))]

    def adjoint(d: Any, g: Any) -> Any:  # README (3), (13)
        scaled = _scaled(xp, d, inverse, freqs)
        square = _square(xp, d, scaled)
        value, slope = form(xp, square, *numbers)
        slopes = [2 * slope * (u * step) for u, step in scaled]
        sums = [-xp.sum(g * (2 * slope) * u * u) * i for (u, _), i in zip(scaled, inverse)]
        sums += [-xp.sum(g * s * t) * f for s, t, f in zip(slopes, d, freqs or [])]
        q = [xp.clip(square, max=LARGEST) / (2 * a) for a in numbers]
        return sums + [xp.sum(g * value * (r / (1 + r) - xp.log1p(r))) for r in q], slopes

    dx, dy, sums = _adjoint(xp, x, y, grad, max(1, len(inverse)), adjoint)

    def summed(a: Any, begin: int) -> Any:
        parts = sums[begin : begin + len(inverse)]
        total = xp.stack(parts) if parts else xp.zeros((0,), dtype=xp.float64, device=x.device)
        return xp.astype(xp.reshape(total, a.shape) if a.ndim else xp.sum(total), a.dtype)

    of_period = [] if period is None else [summed(period, len(inverse))]
    return dx, dy, summed(scale, 0), *of_period, *([] if alpha is None else [xp.astype(sums[-1], alpha.dtype)])


rbf, rbf_vjp = (functools.partial(f, _squared_exponential) for f in (_radial, _radial_vjp))
matern12, matern12_vjp = (functools.partial(f, _matern12) for f in (_radial, _radial_vjp))
matern32, matern32_vjp = (functools.partial(f, _matern32) for f in (_radial, _radial_vjp))
matern52, matern52_vjp = (functools.partial(f, _matern52) for f in (_radial, _radial_vjp))
periodic = rbf


def periodic_vjp(xp: Any, x: Any, y: Any, scale: Any, period: Any, grad: Any) -> Any:
    return rbf_vjp(xp, x, y, scale, grad, period)


def rational_quadratic(xp: Any, x: Any, y: Any, scale: Any, alpha: Any) -> Any:
    return _radial(_rational_quadratic, xp, x, y, scale, alpha=alpha)


def rational_quadratic_vjp(xp: Any, x: Any, y: Any, scale: Any, alpha: Any, grad: Any) -> Any:
    return _radial_vjp(_rational_quadratic, xp, x, y, scale, grad, alpha=alpha)


# ---- spectral mixtures


def _envelope(xp: Any, gaussian: bool, scale: Any, d: Any, order: int, partials: bool = False) -> Any:
    """README (4)-(6): g and its derivatives up to ``order``, or their partial derivatives with respect to the log of the scale."""
    t = d if gaussian else scale * d
    u = xp.clip(scale * d * d if gaussian else xp.abs(t), max=GONE)
    E = xp.exp(-u)
    # the square of a scale may exceed the range of float64 although first derivatives do not
    b = 2 * scale * E if gaussian else scale / 3 * E
    g: list[Callable[[], Any]]
    if gaussian and partials:
        g = [lambda: -u * E, lambda: -b * t * (1 - u), lambda: b * ((5 - 2 * u) * u - 1)]
    elif gaussian:
        g = [lambda: E, lambda: -b * t, lambda: b * (2 * u - 1), lambda: 2 * scale * b * t * (3 - 2 * u)]
    elif partials:
        g = [lambda: -u * u * (1 + u) * E / 3, lambda: -b * t * (2 + (2 - u) * u), lambda: -scale * b * (2 + (2 + (u - 5) * u) * u)]
    else:
        g = [lambda: (1 + u + u * u / 3) * E, lambda: b * t * (-1 - u), lambda: -scale * b * (1 + u - u * u),
             lambda: scale * scale * b * t * (3 - u)]  # fmt: skip
    return [derivative() for derivative in g[: order + 1]]


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


def _wave(xp: Any, f: Any, d: Any, sine: bool = True) -> tuple[Any, Any]:
    """Cosine and, if requested, sine of 2 pi f d; whole turns are removed from the product before its rounding error is added."""
    turns, rest = two_product(f, d)
    angle = 2 * math.pi * ((turns - xp.round(turns)) + rest)
    return xp.cos(angle), xp.sin(angle) if sine else None


def _components(xp: Any, log_weights: Any, log_scales: Any, freqs: Any, kind: str) -> Any:
    """Weights, scales (a of (4), p of (5)), frequencies, and whether the kind is Gaussian."""
    log_weights, log_scales, freqs = (finite(xp, double(xp, a)) for a in (log_weights, log_scales, freqs))
    scales = xp.exp(log_scales)
    return xp.exp(log_weights), scales if kind == "gaussian" else math.sqrt(5) * scales, freqs, kind == "gaussian"


def _spectral(xp: Any, order: int, d: Any, weights: Any, scales: Any, freqs: Any, gaussian: bool) -> Any:
    """The mixture at differences d (..., 1)."""
    g = _envelope(xp, gaussian, scales, d, order)
    c, s = _wave(xp, freqs, d, order > 0)
    return xp.sum(weights * _modulated(order, g, 2 * math.pi * freqs, c, s), axis=-1)


def _spectral_adjoint(xp: Any, order: int, d: Any, grad: Any, weights: Any, scales: Any, freqs: Any, gaussian: bool) -> Any:
    """README (8): sums for weights, scales and frequencies, and the next derivative (...)."""
    g, h = _envelope(xp, gaussian, scales, d, order + 1), _envelope(xp, gaussian, scales, d, order, partials=True)
    c, s = _wave(xp, freqs, d)
    m, all_pairs = 2 * math.pi * freqs, tuple(range(d.ndim - 1))
    parts = _modulated(order, g, m, c, s), _modulated(order, h, m, c, s), 2 * math.pi * _modulated_by_m(order, g, m, c, s, d)
    sums = [weights * xp.sum(grad[..., None] * part, axis=all_pairs) for part in parts]
    return sums, xp.sum(weights * _modulated(order + 1, g, m, c, s), axis=-1)


def spectral_mixture(xp: Any, x: Any, y: Any, log_weights: Any, log_scales: Any, freqs: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    return _values(xp, x, y, max(1, freqs.shape[0]), lambda d: _spectral(xp, order, d[0][..., None], *components), order == 1)


def spectral_mixture_vjp(xp: Any, x: Any, y: Any, log_weights: Any, log_scales: Any, freqs: Any, grad: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    width = max(1, freqs.shape[0])

    def adjoint(d: Any, g: Any) -> Any:
        sums, slopes = _spectral_adjoint(xp, order, d[0][..., None], g, *components)
        return sums, [slopes]

    dx, dy, sums = _adjoint(xp, x, y, grad, width, adjoint, order == 1)
    return dx, dy, *(xp.astype(a, x.dtype) for a in sums)


def spectral_mixture_lags(xp: Any, d: Any, log_weights: Any, log_scales: Any, freqs: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    D = _points(xp, d)
    return in_chunks(xp, lambda at: xp.astype(_spectral(xp, order, D[at, :], *components), d.dtype), d.shape[0], LIVE * freqs.shape[0])


def spectral_mixture_lags_vjp(xp: Any, d: Any, log_weights: Any, log_scales: Any, freqs: Any, grad: Any, kind: str, order: int) -> Any:
    components = _components(xp, log_weights, log_scales, freqs, kind)
    D, g = _points(xp, d), double(xp, grad)
    slopes, total = [], None
    for at in chunk_slices(d.shape[0], LIVE * freqs.shape[0], xp):
        sums, slope = _spectral_adjoint(xp, order, D[at, :], g[at], *components)
        slopes.append(g[at] * slope)
        total = sums if total is None else [a + b for a, b in zip(total, sums)]
    assert total is not None
    return tuple(xp.astype(a, d.dtype) for a in (xp.concat(slopes, axis=0), *total))


# ---- grid spectral mixture products


def _entries(xp: Any, a: Any, A: int, P: int) -> Any:
    """One number per entry (A, P)."""
    return xp.broadcast_to(a[:, None] if a.ndim == 1 else a, (A, P))


def _product_inputs(xp: Any, x: Any, weights: Any, means: Any, std: Any) -> Any:
    A, P = weights.shape[0], 1 if x.ndim == 1 else x.shape[1]
    weights, means, std = (double(xp, a) for a in (weights, means, std))
    return _at_least_0(xp, weights), _entries(xp, finite(xp, means), A, P), _entries(xp, _at_least_0(xp, std), A, P)


def _factors(xp: Any, d: list[Any], means: Any, std: Any, sine: bool = True) -> Any:
    """The factors of (11) at differences d: envelopes (n, M, A), and a cosine and a sine of that shape per coordinate."""
    exponent, waves = xp.zeros((*d[0].shape, means.shape[0]), dtype=xp.float64, device=d[0].device), []
    for p in range(means.shape[1]):
        t = d[p][..., None]
        waves.append(_wave(xp, means[:, p], t, sine))
        exponent = exponent + 2 * (math.pi * t * std[:, p]) ** 2
    return xp.exp(-exponent), waves


def gsmp_kernel(xp: Any, x: Any, y: Any, weights: Any, means: Any, std: Any) -> Any:
    w, mu, sigma = _product_inputs(xp, x, weights, means, std)

    def value(d: Any) -> Any:  # README (11)
        product, waves = _factors(xp, d, mu, sigma, sine=False)
        for c, _ in waves:
            product = product * c
        return xp.sum(w * product, axis=-1)

    return _values(xp, x, y, max(1, mu.shape[0]) * max(1, mu.shape[1]), value)


def gsmp_kernel_vjp(xp: Any, x: Any, y: Any, weights: Any, means: Any, std: Any, grad: Any) -> Any:
    components = _product_inputs(xp, x, weights, means, std)
    A, P = components[1].shape

    def adjoint(d: Any, g: Any) -> Any:
        return _product_adjoint(xp, d, g, *components), [xp.zeros_like(t) for t in d[:P]]

    _, _, (dweights, *rest) = _adjoint(xp, x, y, grad, max(1, A) * max(1, P), adjoint)
    dmeans, dstd = (
        xp.stack(parts, axis=-1) if parts else xp.zeros(components[1].shape, dtype=xp.float64, device=weights.device)
        for parts in (rest[:P], rest[P:])
    )
    return None, None, xp.astype(dweights, weights.dtype), *(_summed(xp, a, like) for a, like in ((dmeans, means), (dstd, std)))


def _product_adjoint(xp: Any, d: Any, grad: Any, weights: Any, means: Any, std: Any) -> list[Any]:
    """README (12): sums (A,) for the weights, for the means per coordinate, and for the widths per coordinate."""
    product, waves = _factors(xp, d, means, std)
    product = grad[:, :, None] * product
    before = []  # the product over earlier coordinates
    for c, _ in waves:
        before.append(product)
        product = product * c
    of_means, of_std, after = [], [], xp.ones_like(product)
    for p in reversed(range(len(waves))):
        t, (c, s) = d[p][..., None], waves[p]
        of_means.append(-2 * math.pi * weights * xp.sum(t * s * before[p] * after, axis=(0, 1)))
        of_std.append(-4 * math.pi**2 * weights * xp.sum(t * std[:, p] * t * product, axis=(0, 1)))
        after = after * c
    return [xp.sum(product, axis=(0, 1)), *reversed(of_means), *reversed(of_std)]


def _summed(xp: Any, a: Any, like: Any) -> Any:
    """Sums entries (A, P) to the shape of the argument."""
    return xp.astype(a if like.ndim == 2 else xp.sum(a, axis=-1) if like.ndim == 1 else xp.sum(a), like.dtype)
