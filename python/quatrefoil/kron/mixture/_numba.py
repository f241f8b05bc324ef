"""The covariance kernels in plain loops, in double precision: same formulas, same names as csrc/kron/mixture.

Kernels see differences: ``d`` (n, P) of one row of pairs, or the lags of a uniform axis.
"""

import math

import numpy as np

from ..._backends.numba import jit

GONE = 800.0  # e^-800 is 0: an exponent ends here
SPLIT = 2.0**27 + 1
SLACK = 4.0  # eps of the largest |x|, by which a uniform axis may be off


@jit
def _radial(d, inverse, matern, value, slope):
    """README (1), (2): value (n,), and slope (n,), its derivative by the square of the scaled distance."""
    n, P = d.shape
    for j in range(n):
        square = 0.0
        for p in range(P):
            square += (d[j, p] * inverse[p]) ** 2
        if matern:
            s = min(math.sqrt(5 * square), GONE)
            E = math.exp(-s)
            value[j], slope[j] = (1 + s + s * s / 3) * E, -5 / 6 * (1 + s) * E
        else:
            value[j] = math.exp(-min(square / 2, GONE))
            slope[j] = -value[j] / 2


@jit
def _radial_adjoint(d, inverse, matern, grad, sums, slopes):
    """README (3): adds to sums (P,), writes the derivatives (n, P) by d."""
    n, P = d.shape
    value, slope = np.empty(n), np.empty(n)
    _radial(d, inverse, matern, value, slope)
    for j in range(n):
        for p in range(P):
            u = d[j, p] * inverse[p]
            sums[p] -= grad[j] * 2 * slope[j] * u * u * inverse[p]
            slopes[j, p] = 2 * slope[j] * u * inverse[p]


@jit
def _envelope(gaussian, scale, d, g, h):
    """README (4)-(6): g and its three derivatives, and the partials h of the first three by the logarithm of the scale."""
    if gaussian:
        u = min(scale * d * d, GONE)
        E = math.exp(-u)
        b = 2 * scale * E
        g[0], g[1], g[2], g[3] = E, -b * d, b * (2 * u - 1), 2 * scale * b * d * (3 - 2 * u)
        h[0], h[1], h[2] = -u * E, -b * d * (1 - u), b * ((5 - 2 * u) * u - 1)
    else:
        s, t = min(scale * abs(d), GONE), scale * d
        E = math.exp(-s)
        b = scale / 3 * E  # its square may leave the range where a first derivative does not
        g[0], g[1] = (1 + s + s * s / 3) * E, -b * t * (1 + s)
        g[2], g[3] = -scale * b * (1 + s - s * s), scale * scale * b * t * (3 - s)
        h[0], h[1], h[2] = -s * s * (1 + s) * E / 3, -b * t * (2 + (2 - s) * s), -scale * b * (2 + (2 + (s - 5) * s) * s)


@jit
def _modulated(order, g, m, c, s):
    """README (7)."""
    if order == 0:
        return g[0] * c
    if order == 1:
        return g[1] * c - m * g[0] * s
    if order == 2:
        return (g[2] - m * m * g[0]) * c - 2 * m * g[1] * s
    return (g[3] - 3 * m * m * g[1]) * c + m * (m * m * g[0] - 3 * g[2]) * s


@jit
def _modulated_by_m(order, g, m, c, s, d):
    """README (8)."""
    if order == 0:
        return -g[0] * d * s
    if order == 1:
        return -(g[1] * d + g[0]) * s - m * g[0] * d * c
    return (m * m * g[0] * d - g[2] * d - 2 * g[1]) * s - 2 * m * (g[1] * d + g[0]) * c


@jit
def _halves(a):
    """Veltkamp's: two numbers of 26 bits whose sum is a."""
    high = SPLIT * a
    high = high - (high - a)
    return high, a - high


@jit
def _wave(f, d):
    """Cosine and sine of 2 pi f d: whole turns are taken off the product and its rounding, by Dekker's product."""
    turns = f * d
    (a, b), (c, e) = _halves(f), _halves(d)
    rest = ((a * c - turns) + a * e + b * c) + b * e
    angle = 2 * math.pi * ((turns - np.round(turns)) + rest)
    return math.cos(angle), math.sin(angle)


@jit
def _spectral(d, weights, scales, freqs, gaussian, order, value):
    g, h = np.empty(4), np.empty(3)
    for j in range(d.shape[0]):
        k = 0.0
        for q in range(weights.size):
            _envelope(gaussian, scales[q], d[j, 0], g, h)
            c, s = _wave(freqs[q], d[j, 0])
            k += weights[q] * _modulated(order, g, 2 * math.pi * freqs[q], c, s)
        value[j] = k


@jit
def _spectral_adjoint(d, weights, scales, freqs, gaussian, order, grad, sums, slopes):
    """README (8): adds to sums (3 Q,), writes the next derivatives (n, 1)."""
    Q = weights.size
    g, h = np.empty(4), np.empty(3)
    for j in range(d.shape[0]):
        following = 0.0
        for q in range(Q):
            _envelope(gaussian, scales[q], d[j, 0], g, h)
            c, s = _wave(freqs[q], d[j, 0])
            m, w = 2 * math.pi * freqs[q], weights[q] * grad[j]
            sums[q] += w * _modulated(order, g, m, c, s)
            sums[Q + q] += w * _modulated(order, h, m, c, s)
            sums[2 * Q + q] += w * 2 * math.pi * _modulated_by_m(order, g, m, c, s, d[j, 0])
            following += weights[q] * _modulated(order + 1, g, m, c, s)
        slopes[j, 0] = following


@jit
def _product(d, weights, means, std, value):
    """README (11)."""
    n, P = d.shape
    for j in range(n):
        k = 0.0
        for a in range(weights.size):
            exponent, product = 0.0, 1.0
            for p in range(P):
                exponent += 2 * (math.pi * d[j, p] * std[a, p]) ** 2
                product *= _wave(means[a, p], d[j, p])[0]
            k += weights[a] * product * math.exp(-min(exponent, GONE))
        value[j] = k


@jit
def _product_adjoint(d, weights, means, std, grad, sums, slopes):
    """README (12): adds to sums (A (1 + 2 P),), of weights, means and std."""
    n, P = d.shape
    A = weights.size
    cosines, sines, before = np.empty(P), np.empty(P), np.empty(P)
    for j in range(n):
        for a in range(A):
            exponent = 0.0
            for p in range(P):
                exponent += 2 * (math.pi * d[j, p] * std[a, p]) ** 2
            product = grad[j] * math.exp(-min(exponent, GONE))
            for p in range(P):
                cosines[p], sines[p] = _wave(means[a, p], d[j, p])
                before[p] = product
                product *= cosines[p]
            sums[a] += product
            behind = 1.0
            for p in range(P - 1, -1, -1):
                t = d[j, p]
                sums[A + a * P + p] -= weights[a] * 2 * math.pi * t * sines[p] * before[p] * behind
                sums[A * (1 + P) + a * P + p] -= weights[a] * 4 * math.pi**2 * std[a, p] * t * t * product
                behind *= cosines[p]


def _points(x):
    return np.ascontiguousarray(x[:, None] if x.ndim == 1 else x, np.float64)


def _lags(x, y):
    """Where all differences are lags, README (9), these: for x with itself those from 0 on, else those of i - j = N - 1, ..., 1 - M.
    None where they are not."""
    if x.ndim > 1 and x.shape[1] != 1:
        return None
    a, b = (None if z is None else np.asarray(z, np.float64).reshape(-1) for z in (x, y))
    if b is None:
        h = _step(a)
        return np.arange(a.size)[:, None] * h if _is_uniform(a, h, x.dtype) else None
    if min(a.size, b.size) < 2:
        return None
    h = _step(a if a.size >= b.size else b)
    if not (_is_uniform(a, h, x.dtype) and _is_uniform(b, h, x.dtype)):
        return None
    return ((a[0] - b[0]) + np.arange(a.size - 1, -b.size, -1) * h)[:, None]


def _step(a):
    return (a[-1] - a[0]) / (a.size - 1) if a.size > 1 else 0.0


def _is_uniform(a, h, dtype):
    off = np.abs(a - (a[:1] + np.arange(a.size) * h)).max(initial=0)
    return off <= SLACK * np.finfo(dtype).eps * np.abs(a).max(initial=0)


def _mirrored(lags, odd):
    """What belongs to the lags N - 1, ..., 1 - N from what belongs to 0, 1, ..."""
    return np.concatenate([lags[:0:-1], lags[:1], -lags[1:] if odd else lags[1:]])


def _toeplitz(lags, M):
    """(N, M) without copies, README (10), from what belongs to the lags N - 1, ..., 1 - M."""
    return np.lib.stride_tricks.sliding_window_view(lags, M)[::-1]


def _values(x, y, out, odd, kernel):
    """kernel(d, value) at all pairs."""
    d = _lags(x, y)
    if d is not None and x.size:
        values = np.empty(len(d))
        kernel(d, values)
        out[...] = _toeplitz(_mirrored(values, odd) if y is None else values, out.shape[1])
        return
    X, Y = _points(x), _points(x if y is None else y)
    row = np.empty(len(Y))
    for i in range(len(X)):
        first = i if y is None else 0  # what is before it has been mirrored
        kernel(X[i] - Y[first:], row[first:])
        out[i, first:] = row[first:]
        if y is None:
            out[i + 1 :, i] = -row[i + 1 :] if odd else row[i + 1 :]


def _adjoint(x, y, grad, dx, dy, odd, kernel):
    """kernel(d, grad, slopes) at all pairs, and the gradients of the points where there are such."""
    d = _lags(x, y)
    X, Y = _points(x), _points(x if y is None else y)
    rows, columns = np.zeros(X.shape), np.zeros(Y.shape)
    if d is not None and x.size:
        n, m, grad = len(X), len(Y), np.ascontiguousarray(grad, np.float64)
        sums = np.array([np.trace(grad, -l) for l in range(n - 1, -m, -1)])
        if y is None:
            sums = np.concatenate([sums[n - 1 : n], sums[: n - 1][::-1] + (-1 if odd else 1) * sums[n:]])
        slopes = np.zeros((len(d), 1))
        kernel(d, sums, slopes)
        at_lags = _mirrored(slopes[:, 0], not odd) if y is None else slopes[:, 0]
        steps = np.multiply(_toeplitz(at_lags, m), grad, out=np.empty((n, m)))  # whatever layout grad had: the same sums
        rows[:, 0], columns[:, 0] = steps.sum(1), steps.sum(0)
    else:
        slopes = np.zeros(Y.shape)
        for i in range(len(X)):
            g = np.ascontiguousarray(grad[i], np.float64)
            kernel(X[i] - Y, g, slopes)
            steps = g[:, None] * slopes
            rows[i] = steps.sum(0)
            columns += steps
    if dx is not None:
        dx[...] = (rows - columns if y is None else rows).reshape(dx.shape)
    if dy is not None:
        dy[...] = -columns.reshape(dy.shape)


def _check(label, expected, **arrays):
    """All finite; above 0 where "positive" is expected, not below it where "at least 0"."""
    for name, a in arrays.items():
        if a is None:
            continue
        bad = ~np.isfinite(a) | (a <= 0 if "positive" in expected else a < 0 if "least" in expected else False)
        if bad.any():
            at = np.unravel_index(int(bad.argmax()), a.shape)
            place = f"[{', '.join(map(str, at))}]" if a.ndim else ""
            raise ValueError(f"{label}: {name}{place} is {a[at]:g}, expected {expected}")


def _check_finite(label, **arrays):
    _check(label, "finite numbers", **arrays)


def _inverse(label, x, y, scale):
    _check_finite(label, x=x, y=y)
    _check(label, "finite positive numbers", scale=scale)
    return np.ascontiguousarray(np.broadcast_to(1 / np.asarray(scale, np.float64), x.shape[1:] or (1,)))


def _run_radial(name, x, y, scale, out):
    inverse = _inverse(f"kron.{name}", x, y, scale)
    _values(x, y, out, False, lambda d, value: _radial(d, inverse, name == "matern52", value, np.empty(len(d))))


def _run_radial_adjoint(name, x, y, scale, grad, dx, dy, dscale):
    inverse = _inverse(f"kron.{name}_vjp", x, y, scale)
    sums = np.zeros(inverse.size)
    _adjoint(x, y, grad, dx, dy, False, lambda d, g, slopes: _radial_adjoint(d, inverse, name == "matern52", g, sums, slopes))
    dscale[...] = sums.sum() if scale.ndim == 0 else sums


def rbf(x, y, scale, out, num_threads):
    _run_radial("rbf", x, y, scale, out)


def rbf_vjp(x, y, scale, grad, dx, dy, dscale, num_threads):
    _run_radial_adjoint("rbf", x, y, scale, grad, dx, dy, dscale)


def matern52(x, y, scale, out, num_threads):
    _run_radial("matern52", x, y, scale, out)


def matern52_vjp(x, y, scale, grad, dx, dy, dscale, num_threads):
    _run_radial_adjoint("matern52", x, y, scale, grad, dx, dy, dscale)


@jit
def _exponentials(a):
    """Number by number: NumPy's own loop depends on strides."""
    e = np.empty(a.size)
    for i in range(a.size):
        e[i] = math.exp(a[i])
    return e


def _components(log_weights, log_scales, freqs, kind):
    """weights, scales (a of (4), p of (5)), frequencies, whether these are Gaussian."""
    weights, scales = (_exponentials(np.ascontiguousarray(a, np.float64)) for a in (log_weights, log_scales))
    return weights, scales if kind == "gaussian" else math.sqrt(5) * scales, np.ascontiguousarray(freqs, np.float64), kind == "gaussian"


def spectral_mixture(x, y, log_weights, log_scales, freqs, out, kind, order, num_threads):
    _check_finite("kron.spectral_mixture", x=x, y=y, log_weights=log_weights, log_scales=log_scales, freqs=freqs)
    components = _components(log_weights, log_scales, freqs, kind)
    _values(x, y, out, order == 1, lambda d, value: _spectral(d, *components, order, value))


def spectral_mixture_vjp(
    x, y, log_weights, log_scales, freqs, grad, dx, dy, dlog_weights, dlog_scales, dfreqs, kind, order, num_threads
):  # fmt: skip
    _check_finite("kron.spectral_mixture_vjp", x=x, y=y, log_weights=log_weights, log_scales=log_scales, freqs=freqs)
    components = _components(log_weights, log_scales, freqs, kind)
    sums = np.zeros(3 * freqs.size)
    _adjoint(x, y, grad, dx, dy, order == 1, lambda d, g, slopes: _spectral_adjoint(d, *components, order, g, sums, slopes))
    dlog_weights[...], dlog_scales[...], dfreqs[...] = np.split(sums, 3)


def spectral_mixture_lags(d, log_weights, log_scales, freqs, out, kind, order, num_threads):
    _check_finite("kron.spectral_mixture_lags", d=d, log_weights=log_weights, log_scales=log_scales, freqs=freqs)
    value = np.empty(d.size)
    _spectral(_points(d), *_components(log_weights, log_scales, freqs, kind), order, value)
    out[...] = value


def spectral_mixture_lags_vjp(d, log_weights, log_scales, freqs, grad, dd, dlog_weights, dlog_scales, dfreqs, kind, order, num_threads):
    _check_finite("kron.spectral_mixture_lags_vjp", d=d, log_weights=log_weights, log_scales=log_scales, freqs=freqs)
    sums, slopes, g = np.zeros(3 * freqs.size), np.empty((d.size, 1)), np.ascontiguousarray(grad, np.float64)
    _spectral_adjoint(_points(d), *_components(log_weights, log_scales, freqs, kind), order, g, sums, slopes)
    dd[...] = g * slopes[:, 0]
    dlog_weights[...], dlog_scales[...], dfreqs[...] = np.split(sums, 3)


def _entries(a, A, P):
    """One number an entry (A, P)."""
    a = np.asarray(a, np.float64)
    return np.ascontiguousarray(np.broadcast_to(a[:, None] if a.ndim == 1 else a, (A, P)))


def _product_inputs(label, x, y, weights, means, std):
    _check_finite(label, x=x, y=y, means=means)
    _check(label, "finite numbers, at least 0", weights=weights, std=std)
    A, P = weights.size, _points(x).shape[1]
    return np.ascontiguousarray(weights, np.float64), _entries(means, A, P), _entries(std, A, P)


def gsmp_kernel(x, y, weights, means, std, out, num_threads):
    components = _product_inputs("kron.gsmp_kernel", x, y, weights, means, std)
    _values(x, y, out, False, lambda d, value: _product(d, *components, value))


def gsmp_kernel_vjp(x, y, weights, means, std, grad, dx, dy, dweights, dmeans, dstd, num_threads):
    components = _product_inputs("kron.gsmp_kernel_vjp", x, y, weights, means, std)
    A, P = components[1].shape
    sums = np.zeros(A * (1 + 2 * P))
    _adjoint(x, y, grad, None, None, False, lambda d, g, slopes: _product_adjoint(d, *components, g, sums, slopes))
    dweights[...] = sums[:A]
    for to, part in ((dmeans, sums[A : A * (1 + P)]), (dstd, sums[A * (1 + P) :])):
        part = part.reshape(A, P)
        to[...] = part if to.ndim == 2 else part.sum(1) if to.ndim == 1 else part.sum()
