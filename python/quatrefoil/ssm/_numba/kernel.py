"""Kernels of diagonal state-space models: the twin of csrc/ssm/{formula_kernel,modes,kernel}.hpp.

Poles are discretised by NumPy in extended precision where the machine has it; the sums over modes and over time are the compiled loops.
"""

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


def _psi(x):
    tiny = np.abs(x) < 1e-20
    return np.where(tiny, 1 + x / 2, np.expm1(x) / np.where(tiny, 1, x))


def _psi_derivative(x):
    near = np.abs(x) < 1 / 8
    series = sum(x**k / (math.factorial(k) * (k + 2)) for k in range(9))
    return np.where(near, series, (np.exp(x) - _psi(x)) / np.where(near, 1, x))


def _dss(x, A, L):
    """README (13): sign, y, q and r."""
    sign = np.where(A.real > 0, -1, 1)
    y = sign * x
    q = A * np.expm1(y * L)
    return sign, y, q, np.conj(q) / (np.abs(q) ** 2 + 1e-7)


def discretise(dt, A, disc, L):
    """README (10)-(13): the modes and b of Cbar = C B b."""
    step, A = dt.astype(np.longdouble)[:, None], A.astype(np.clongdouble)
    with np.errstate(all="ignore"):
        x = step * A
        if disc == "zoh":
            return Modes(x), (step * _psi(x)).astype(complex)
        if disc == "bilinear":
            log = 2 * np.arctanh(x / 2)
            log = np.where(x == -2, -69, np.maximum(log.real, -69) + 1j * log.imag)  # a pole at 0 keeps its derivatives
            return Modes(log), (step / (1 - x / 2)).astype(complex)
        _, y, _, r = _dss(x, A, L)
        return Modes(x, np.where(A.real > 0, L - 1.0, 0.0)), (np.expm1(y) * r).astype(complex)


def pole_gradient(dt, A, disc, L, z, g_log, g_b):
    """README (20): gradients of log z and b -> of A and dt."""
    step, A = dt.astype(float)[:, None], A.astype(complex)
    x = step * A
    if disc == "zoh":
        g_x = g_log + np.conj(step * _psi_derivative(x)) * g_b
        return step * g_x, (np.conj(A) * g_x + np.conj(_psi(x)) * g_b).real.sum(-1)
    if disc == "bilinear":
        d = 1 / (1 - x / 2)
        g_x = np.conj(d * d) * (g_log / np.conj(z) + step / 2 * g_b)
        return step * g_x, (np.conj(A) * g_x + np.conj(d) * g_b).real.sum(-1)
    sign, y, q, r = _dss(x, A, L)
    m = np.abs(q) ** 2 + 1e-7
    g_r = np.conj(np.expm1(y)) * g_b
    g_q = np.conj(g_r) / m - 2 * (g_r * q).real / m**2 * q
    g_x = g_log + sign * (np.conj(r * np.exp(y)) * g_b + np.conj(A * L * np.exp(y * L)) * g_q)
    return step * g_x + np.conj(np.expm1(y * L)) * g_q, (np.conj(A) * g_x).real.sum(-1)


def _outputs(C):
    return C.reshape((math.prod(C.shape[:-2]), *C.shape[-2:]))


def s4d_kernel(dt, A, C, B, K, L, disc, num_threads):
    modes, b = discretise(dt, A, disc, L)
    with np.errstate(all="ignore"):
        c = _outputs(C) * (b if B is None else B.astype(complex) * b)
        K[...] = ((1 if disc == "dss" else 2) * modes.sums(c, L).real).reshape(K.shape)


def s4d_kernel_vjp(dt, A, C, B, grad, ddt, dA, dC, dB, L, disc, num_threads):
    modes, b = discretise(dt, A, disc, L)
    C3, M = _outputs(C).astype(complex), math.prod(C.shape[:-2])
    factor = 1 if disc == "dss" else 2
    one = np.ones(A.shape) if B is None else B.astype(complex)
    with np.errstate(all="ignore"):
        s0, s1 = modes.moments(grad.reshape(M, A.shape[0], L))
        g = factor * np.conj(s0)
        g_log = factor * np.conj(C3 * one * b * s1).sum(0)
        g_b = (np.conj(C3 * one) * g).sum(0)
        dA[...], ddt[...] = pole_gradient(dt, A, disc, L, modes.z, g_log, g_b)
        dC[...] = (np.conj(one * b) * g).reshape(dC.shape)
        if dB is not None:
            dB[...] = (np.conj(C3 * b) * g).sum(0)
