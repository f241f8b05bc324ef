"""S4 kernels and sums over simple poles in plain loops."""

import math

import numpy as np

from ..._backends.numba import jit
from .composition import Parameters, input_gradients


@jit
def _reciprocal(d):
    """1 / d; NaN if d is 0, where Numba's complex division would raise an error."""
    size = d.real * d.real + d.imag * d.imag
    return complex(d.real / size, -d.imag / size)


@jit
def _cauchy(v, z, w, y, symmetric):
    for row in range(v.shape[0]):
        for l in range(z.size):
            total = 0j
            for n in range(v.shape[1]):
                total += v[row, n] * _reciprocal(z[l] - w[row, n])
                if symmetric:
                    total += np.conj(v[row, n]) * _reciprocal(z[l] - np.conj(w[row, n]))
            y[row, l] = total


@jit
def _cauchy_vjp(v, z, w, grad, dv, dz, dw, symmetric):
    for row in range(v.shape[0]):
        for l in range(z.size):
            g = grad[row, l]
            for n in range(v.shape[1]):
                a, c = v[row, n], _reciprocal(z[l] - w[row, n])
                slope = a * c * c
                dv[row, n] += np.conj(c) * g
                dw[row, n] += np.conj(slope) * g
                if symmetric:
                    e = _reciprocal(z[l] - np.conj(w[row, n]))
                    dv[row, n] += e * np.conj(g)
                    dw[row, n] += np.conj(a) * e * e * np.conj(g)
                    slope += np.conj(a) * e * e
                dz[l] -= np.conj(slope) * g


def _rows(x):
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(complex)


def cauchy_mult(v, z, w, y, symmetric, num_threads):
    result = np.empty((math.prod(v.shape[:-1]), z.size), complex)
    _cauchy(_rows(v), z.astype(complex), _rows(w), result, symmetric)
    with np.errstate(all="ignore"):
        y[...] = result.reshape(y.shape)


def cauchy_mult_vjp(v, z, w, grad, dv, dz, dw, symmetric, num_threads):
    v2 = _rows(v)
    gv, gw, gz = np.zeros(v2.shape, complex), np.zeros(v2.shape, complex), np.zeros(z.shape, complex)
    _cauchy_vjp(v2, z.astype(complex), _rows(w), _rows(grad), gv, gz, gw, symmetric)
    with np.errstate(all="ignore"):
        dv[...], dw[...], dz[...] = gv.reshape(v.shape), gw.reshape(w.shape), gz


@jit
def _run(E, p, q, c, x, K):
    """README (5): K_l = 2 Re sum c x_l, x <- E x - p Re sum q x; x is (H, N) and is overwritten."""
    for h in range(E.shape[0]):
        for l in range(K.shape[1]):
            s = k = 0.0
            for n in range(E.shape[1]):
                s += (q[h, n] * x[h, n]).real
                k += (c[h, n] * x[h, n]).real
            K[h, l] = 2 * k
            for n in range(E.shape[1]):
                x[h, n] = E[h, n] * x[h, n] - p[h, n] * s


@jit
def _backward(E, p, q, c, x0, grad, gE, gp, gq, gc, mu):
    """README (7). Stores every sqrt(L)-th state and recomputes those in between."""
    H, L = grad.shape
    N = E.shape[1]
    segment = max(1, math.ceil(math.sqrt(L)))
    checkpoints = np.empty(((L + segment - 1) // segment + 1, N), np.complex128)
    states = np.empty((segment, N), np.complex128)
    feedback = np.empty(segment)
    x = np.empty(N, np.complex128)
    for h in range(H):
        x[:] = x0[h]
        for l in range(L):
            if l % segment == 0:
                checkpoints[l // segment] = x
            s = (q[h] * x).real.sum()
            x[:] = E[h] * x - p[h] * s
        mu[h] = 0
        for part in range((L + segment - 1) // segment - 1, -1, -1):
            x[:] = checkpoints[part]
            count = min(segment, L - part * segment)
            for k in range(count):
                states[k] = x
                feedback[k] = (q[h] * x).real.sum()
                x[:] = E[h] * x - p[h] * feedback[k]
            for k in range(count - 1, -1, -1):
                g = 2 * grad[h, part * segment + k]
                g_s = 0.0
                for n in range(N):
                    g_s -= (np.conj(mu[h, n]) * p[h, n]).real
                for n in range(N):
                    m, back = mu[h, n], np.conj(states[k, n])
                    gE[h, n] += back * m
                    gp[h, n] -= feedback[k] * m
                    gq[h, n] += g_s * back
                    gc[h, n] += g * back
                    mu[h, n] = np.conj(E[h, n]) * m + np.conj(q[h, n]) * g_s + np.conj(c[h, n]) * g


class _System(Parameters):
    """README (4): E, p, q, b and c of all channels, (H, N) in double precision."""

    def __init__(self, dt, Lambda, P, B, C, Q, L, truncated):
        super().__init__(np, dt, Lambda, P, B, Q)
        self.b, self.c = self.step * self.unscaled, C.astype(complex)
        self.truncated = truncated and L > 0
        if self.truncated:
            size = 2 * self.E.shape[1]
            self.M = np.empty((len(self.E), size, size))
            for h in range(len(self.E)):
                self.M[h] = np.eye(size) - self._power(h, L)
            self.c = self._to_complex(self._solve(np.swapaxes(self.M, 1, 2), self._to_real(np.conj(self.c))), conj=True)

    def _power(self, h, L):
        E, p, q = self.E[h], self.p[h], self.q[h]
        step = np.block([[np.diag(E.real), -np.diag(E.imag)], [np.diag(E.imag), np.diag(E.real)]])
        step -= np.outer(np.concatenate([p.real, p.imag]), np.concatenate([q.real, -q.imag]))
        return np.linalg.matrix_power(step, L)

    @staticmethod
    def _to_real(x):
        return np.concatenate([x.real, x.imag], axis=-1)

    @staticmethod
    def _to_complex(x, conj=False):
        N = x.shape[-1] // 2
        return x[..., :N] + (-1j if conj else 1j) * x[..., N:]

    @staticmethod
    def _solve(matrices, right):
        """Solve channel by channel, so that a singular or NaN matrix affects no other channel."""
        result = np.full(right.shape, np.nan)
        for h, (matrix, r) in enumerate(zip(matrices, right)):
            try:
                result[h] = np.linalg.solve(matrix, r)
            except np.linalg.LinAlgError:
                continue
        return result

    def arrays(self):
        return [np.ascontiguousarray(a) for a in (self.E, self.p, self.q, self.c)]

    def gradient(self, grad):
        gE, gp, gq, gc, mu = (np.zeros(self.E.shape, complex) for _ in range(5))
        _backward(*self.arrays(), self.b, grad, gE, gp, gq, gc, mu)
        if self.truncated:
            y = self._solve(self.M, self._to_real(np.conj(gc)))
            last = np.zeros((len(self.E), grad.shape[1] + 1))
            last[:, -1] = 0.5
            _backward(*self.arrays(), self._to_complex(y), last, gE, gp, gq, np.zeros_like(gc), np.zeros_like(mu))
            gc = self._to_complex(y, conj=True)
        return gE, gp, gq, gc, mu


def s4_kernel(dt, Lambda, P, B, C, Q, K, L, truncated, num_threads):
    with np.errstate(all="ignore"):
        system = _System(dt, Lambda, P, B, C, Q, L, truncated)
        result = np.empty(K.shape)
        _run(*system.arrays(), system.b.copy(), result)
        K[...] = result


def s4_kernel_vjp(dt, Lambda, P, B, C, Q, grad, ddt, dLambda, dP, dB, dC, dQ, L, truncated, num_threads):
    with np.errstate(all="ignore"):
        system = _System(dt, Lambda, P, B, C, Q, L, truncated)
        ddt[...], dLambda[...], to_P, dB[...], dC[...], to_Q = input_gradients(np, system, np.ascontiguousarray(grad, float))
        dP[...] = to_P + to_Q if dQ is None else to_P
        if dQ is not None:
            dQ[...] = to_Q
