import numpy as np
from numpy.polynomial import polynomial

TWO_PI = 2 * np.longdouble("3.14159265358979323846264338327950288")


def _differences(x, y):
    x = np.asarray(x, np.longdouble).reshape(len(x), *(x.shape[1:] or (1,)))
    y = x if y is None else np.asarray(y, np.longdouble).reshape(len(y), *(y.shape[1:] or (1,)))
    return x[:, None] - y


def _square(x, y, scale):
    return ((_differences(x, y) / np.asarray(scale, np.longdouble)) ** 2).sum(-1)


def rbf(x, y=None, *, scale):
    return np.exp(-_square(x, y, scale) / 2)


def matern52(x, y=None, *, scale):
    s = np.sqrt(5 * _square(x, y, scale))
    return (1 + s + s**2 / 3) * np.exp(-s)


def matern12(x, y=None, *, scale):
    return np.exp(-np.sqrt(_square(x, y, scale)))


def matern32(x, y=None, *, scale):
    s = np.sqrt(3 * _square(x, y, scale))
    return (1 + s) * np.exp(-s)


def rational_quadratic(x, y=None, *, scale, alpha):
    a = np.longdouble(alpha)
    return np.exp(-a * np.log1p(_square(x, y, scale) / (2 * a)))


def periodic(x, y=None, *, scale, period):
    chord = 2 * np.sin(TWO_PI / 2 * _differences(x, y) / np.asarray(period, np.longdouble))
    return np.exp(-((chord / np.asarray(scale, np.longdouble)) ** 2).sum(-1) / 2)


def _derivative(coefficients, exponent):
    """Coefficients of the derivative of sum_i c_i d^i exp(E(d)). ``exponent`` has the coefficients of E'."""
    return polynomial.polyadd(polynomial.polyder(coefficients), polynomial.polymul(coefficients, exponent))


def spectral_mixture_lags(d, log_weights, log_scales, freqs, *, kind="student_t", order=0):
    """For d >= 0, a component is the real part of a polynomial times the exponential of another. The kernel is even."""
    d = np.asarray(d, np.longdouble)
    w, scales = (np.exp(np.asarray(a, np.longdouble)) for a in (log_weights, log_scales))
    k, size = np.zeros(d.shape, np.longdouble), np.abs(d)
    for weight, scale, m in zip(w, scales, TWO_PI * np.asarray(freqs, np.longdouble)):
        if kind == "student_t":
            a = np.sqrt(np.longdouble(5)) * scale
            coefficients, exponent = [1, a, a**2 / 3], [-a + 1j * m]
        else:
            coefficients, exponent = [1], [1j * m, -2 * scale]
        coefficients, exponent = (np.array(c, np.clongdouble) for c in (coefficients, exponent))
        decay = -a * size if kind == "student_t" else -scale * size**2
        for _ in range(order):
            coefficients = _derivative(coefficients, exponent)
        k += weight * np.exp(decay) * np.real(polynomial.polyval(size, coefficients) * (np.cos(m * size) + 1j * np.sin(m * size)))
    return np.sign(d) * k if order == 1 else k


def spectral_mixture(x, y=None, *, log_weights, log_scales, freqs, kind="student_t", order=0):
    return spectral_mixture_lags(_differences(x, y)[..., 0], log_weights, log_scales, freqs, kind=kind, order=order)


def gsmp_kernel(x, y=None, *, weights, means, std):
    t = _differences(x, y)[:, :, None]  # (N, M, 1, P)
    shape = (len(weights), t.shape[-1])
    means, std = (np.broadcast_to(a[:, None] if a.ndim == 1 else a, shape) for a in (np.asarray(b, np.longdouble) for b in (means, std)))
    factors = np.exp(-((TWO_PI * t * std) ** 2) / 2) * np.cos(TWO_PI * means * t)
    return factors.prod(-1) @ np.asarray(weights, np.longdouble)
