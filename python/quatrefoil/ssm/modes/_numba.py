"""Sums over modes and over time as compiled loops: the powers of the poles, and the sums of exponentials made of them."""

import math

import numpy as np

from ..._backends.numba import jit

_RESTART = 16  # steps of z between two exponentials


@jit
def _start(log_re, top, rest, t):
    """exp(t log z): ``top`` is so short that t * top is exact."""
    return np.exp(log_re * t) * complex(math.cos(t * top), math.sin(t * top)) * complex(math.cos(t * rest), math.sin(t * rest))


@jit
def _sums(c, log_re, top, rest, z, origin, y):
    M, H, L = y.shape
    for h in range(H):
        for n in range(c.shape[2]):
            w = 0j
            for l in range(L):
                w = _start(log_re[h, n], top[h, n], rest[h, n], l - origin[h, n]) if l % _RESTART == 0 else w * z[h, n]
                for m in range(M):
                    y[m, h, l] += c[m, h, n] * w


@jit
def _moments(g, log_re, top, rest, z, origin, s0, s1):
    M, H, L = g.shape
    for h in range(H):
        for n in range(z.shape[1]):
            w = 0j
            for l in range(L):
                w = _start(log_re[h, n], top[h, n], rest[h, n], l - origin[h, n]) if l % _RESTART == 0 else w * z[h, n]
                for m in range(M):
                    s0[m, h, n] += g[m, h, l] * w
                    s1[m, h, n] += l * (g[m, h, l] * w)


class Modes:
    """log z (its phase in two parts), z and the origin of every mode; all (H, N)."""

    def __init__(self, log, origin=None):
        with np.errstate(all="ignore"):
            phase = log.imag
            self.log_re = log.real.astype(float)
            self.top = np.where(np.isfinite(phase), phase, np.nan).astype(np.float32).astype(float)
            self.rest = (phase - self.top).astype(float)
            self.z = np.exp(log).astype(complex)
        self.origin = np.zeros(log.shape) if origin is None else origin

    def _arrays(self):
        return [np.ascontiguousarray(a) for a in (self.log_re, self.top, self.rest, self.z, self.origin)]

    def sums(self, c, L):
        """sum_n c_n z_n^l: (M, H, N) -> (M, H, L)."""
        y = np.zeros((*c.shape[:2], L), complex)
        _sums(np.ascontiguousarray(c, complex), *self._arrays(), y)
        return y

    def power(self, t):
        """z^t."""
        return np.exp(self.log_re * t) * np.exp(1j * (t * self.top)) * np.exp(1j * (t * self.rest))

    def moments(self, g):
        """sum_l g_l z^l and sum_l l g_l z^l: (M, H, L) -> two of (M, H, N)."""
        s0, s1 = (np.zeros((g.shape[0], *self.z.shape), complex) for _ in range(2))
        _moments(np.ascontiguousarray(g), *self._arrays(), s0, s1)
        return s0, s1


def _rows(array, lead):
    """(M, H, ...): ``lead`` axes of x before the last one are H."""
    H = math.prod(array.shape[array.ndim - 1 - lead : -1])
    M = math.prod(array.shape[: array.ndim - 1 - lead])
    return array.reshape(M, H, array.shape[-1])


def _poles(x):
    return Modes(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(np.clongdouble))


def log_vandermonde_complex(v, x, y, L, num_threads):
    with np.errstate(all="ignore"):
        y[...] = _poles(x).sums(_rows(v, x.ndim - 1), L).reshape(y.shape)


def log_vandermonde(v, x, y, L, num_threads):
    with np.errstate(all="ignore"):
        y[...] = 2 * _poles(x).sums(_rows(v, x.ndim - 1), L).real.reshape(y.shape)


def _sum_gradient(v, x, grad, dv, dx):
    lead = x.ndim - 1
    with np.errstate(all="ignore"):
        s0, s1 = _poles(x).moments(np.conj(_rows(grad, lead)))
        dv[...] = np.conj(s0).reshape(dv.shape)
        dx[...] = np.conj(_rows(v, lead) * s1).sum(0).reshape(dx.shape)


def log_vandermonde_complex_vjp(v, x, grad, dv, dx, L, num_threads):
    _sum_gradient(v, x, grad, dv, dx)


def log_vandermonde_vjp(v, x, grad, dv, dx, L, num_threads):
    _sum_gradient(v, x, 2 * grad, dv, dx)


def log_vandermonde_transpose_complex(u, v, x, y, L, num_threads):
    lead = x.ndim - 1
    with np.errstate(all="ignore"):
        y[...] = (_rows(v, lead) * _poles(x).moments(_rows(u, lead))[0]).reshape(y.shape)


def _transpose_gradient(u, v, x, grad, dv, dx, L):
    """The gradient of u, complex; those of v and x are written."""
    lead = x.ndim - 1
    modes, v3, g = _poles(x), _rows(v, lead).astype(complex), _rows(grad, lead).astype(complex)
    s0, s1 = modes.moments(_rows(u, lead))
    dv[...] = (g * np.conj(s0)).reshape(dv.shape)
    dx[...] = (g * np.conj(v3 * s1)).sum(0).reshape(dx.shape)
    return np.conj(modes.sums(np.conj(g) * v3, L)).reshape(u.shape)


def log_vandermonde_transpose_complex_vjp(u, v, x, grad, du, dv, dx, L, num_threads):
    with np.errstate(all="ignore"):
        du[...] = _transpose_gradient(u, v, x, grad, dv, dx, L)


def log_vandermonde_transpose_vjp(u, v, x, grad, du, dv, dx, L, num_threads):
    with np.errstate(all="ignore"):
        du[...] = _transpose_gradient(u, v, x, grad, dv, dx, L).real


log_vandermonde_transpose = log_vandermonde_transpose_complex
