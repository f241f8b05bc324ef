"""Kernel and layer of a diagonal model. Poles are discretised by NumPy in extended precision where the machine has it; rows go by the
FFT, kernels and states by sums over modes and moments of the rows."""

import math

import numpy as np

from ..convolution._numba import fft_conv, fft_conv_vjp
from ..modes._numba import Modes


def _psi(x):
    tiny = np.abs(x) < 1e-20
    return np.where(tiny, 1 + x / 2, np.expm1(x) / np.where(tiny, 1, x))


def _psi_derivative(x):
    near = np.abs(x) < 1 / 8
    series = sum(x**k / (math.factorial(k) * (k + 2)) for k in range(9))
    return np.where(near, series, (np.exp(x) - _psi(x)) / np.where(near, 1, x))


def _dss(x, A, L):
    """modes README (4): sign, y, q and r."""
    sign = np.where(A.real > 0, -1, 1)
    y = sign * x
    q = A * np.expm1(y * L)
    return sign, y, q, np.conj(q) / (np.abs(q) ** 2 + 1e-7)


def discretise(dt, A, disc, L):
    """modes README (1)-(4): the modes and b of Cbar = C B b."""
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
    """modes README (11): gradients of log z and b -> of A and dt."""
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


def _split(u, C, bidirectional):
    """Rows, outputs, and C as (M, H, N)."""
    M = math.prod(C.shape[:-2])
    return math.prod(u.shape[:-2]), 1 if bidirectional else M, C.reshape((M, *C.shape[-2:]))


def _kernels(dt, A, C3, B, L, disc):
    K = np.empty((len(C3), A.shape[0], L), dt.dtype)
    s4d_kernel(dt, A, C3, B, K, L, disc, 1)
    return K


def s4d_conv(u, dt, A, C, D, B, start, y, last, disc, method, bidirectional, return_state, num_threads):
    rows, outputs, C3 = _split(u, C, bidirectional)
    H, L = u.shape[-2:]
    u3, y4 = u.reshape(rows, H, L), y.reshape(rows, outputs, H, L)
    modes, b = discretise(dt, A, disc, L)
    fed = b if B is None else B.astype(complex) * b
    if L and rows and H:
        K = _kernels(dt, A, C3, B, L, disc)
        D2 = None if D is None else D.reshape(outputs, H)
        for m in range(outputs):
            row = np.empty((rows, H, L), u.dtype)
            fft_conv(u3, K[m], None if D is None else D2[m], K[1] if bidirectional else None, row, 1)
            y4[:, m] = row
    s = None if start is None else start.reshape(rows, *A.shape).astype(complex)
    if s is not None and L:
        for r in range(rows):
            y4[r] += 2 * modes.sums(C3 * modes.z * s[r], L).real
    if last is not None:
        for r in range(rows):
            end = fed * modes.moments(np.ascontiguousarray(u3[r : r + 1, :, ::-1]))[0][0]
            last.reshape(rows, *A.shape)[r] = end if s is None else end + modes.power(L) * s[r]


def s4d_conv_vjp(
    u, dt, A, C, D, B, start, grad, grad_last, du, ddt, dA, dC, dD, dB, dstart, disc, method, bidirectional, return_state, num_threads
):  # fmt: skip
    rows, outputs, C3 = _split(u, C, bidirectional)
    H, L = u.shape[-2:]
    u3, grad4, du3 = u.reshape(rows, H, L), grad.reshape(rows, outputs, H, L), du.reshape(rows, H, L)
    modes, b = discretise(dt, A, disc, L)
    C3 = C3.astype(complex)
    one = np.ones(A.shape) if B is None else B.astype(complex)
    du3[...] = 0
    dK = np.zeros((len(C3), H, L))
    if u.size and outputs:
        K = _kernels(dt, A, C3.astype(C.dtype), B, L, disc)
        D2 = None if D is None else D.reshape(outputs, H)
        for m in range(outputs):
            part, taps, ahead = (np.zeros(shape, u.dtype) for shape in ((rows, H, L), (H, L), (H, L)))
            skip = None if D is None else np.zeros(H, u.dtype)
            fft_conv_vjp(
                u3, K[m], None if D is None else D2[m], K[1] if bidirectional else None, np.ascontiguousarray(grad4[:, m]),
                part, taps, skip, ahead if bidirectional else None, 1,
            )  # fmt: skip
            du3 += part
            dK[m] = taps
            if bidirectional:
                dK[1] = ahead
            if dD is not None:
                dD.reshape(outputs, H)[m] = skip
    elif dD is not None:
        dD[...] = 0
    factor = 1 if disc == "dss" else 2
    s0, s1 = modes.moments(dK)
    g = factor * np.conj(s0)
    g_log = factor * np.conj(C3 * one * b * s1).sum(0)
    g_b, g_B, g_C = (np.conj(C3 * one) * g).sum(0), (np.conj(C3 * b) * g).sum(0), np.conj(one * b) * g
    s = None if start is None else start.reshape(rows, *A.shape).astype(complex)
    ds = np.zeros((rows, *A.shape), complex)
    for r in range(rows):
        if s is not None:  # y_l += 2 Re sum C z^(l + 1) s
            s0, s1 = modes.moments(np.ascontiguousarray(grad4[r]))
            ds[r] = 2 * np.conj(C3 * modes.z * s0).sum(0)
            g_C = g_C + 2 * np.conj(s[r] * modes.z * s0)
            g_log = g_log + 2 * np.conj(C3 * s[r] * modes.z * (s0 + s1)).sum(0)
        if grad_last is not None:  # last = z^L s + sum_j z^(L - 1 - j) B b u_j
            g_last = grad_last.reshape(rows, *A.shape)[r].astype(complex)
            s0, s1 = (x[0] for x in modes.moments(np.ascontiguousarray(u3[r : r + 1, :, ::-1])))
            inner = one * b * s1
            if s is not None:
                power = modes.power(L)
                inner = inner + L * power * s[r]
                ds[r] += np.conj(power) * g_last
            g_log = g_log + np.conj(inner) * g_last
            g_b, g_B = g_b + np.conj(one * s0) * g_last, g_B + np.conj(b * s0) * g_last
            du3[r] += modes.sums((np.conj(g_last) * one * b)[None], L).real[0, :, ::-1]
    with np.errstate(all="ignore"):
        dA[...], ddt[...] = pole_gradient(dt, A, disc, L, modes.z, g_log, g_b)
    dC[...] = g_C.reshape(dC.shape)
    if dB is not None:
        dB[...] = g_B
    if dstart is not None:
        dstart[...] = ds.reshape(dstart.shape)
