"""The layer of a diagonal model: the twin of csrc/ssm/{layer,layer_adjoint}.hpp. Rows go by the FFT, states by
sums over modes and moments of the rows."""

import math

import numpy as np

from . import kernel
from .convolution import fft_conv, fft_conv_vjp


def _split(u, C, bidirectional):
    """Rows, outputs, and C as (M, H, N)."""
    M = math.prod(C.shape[:-2])
    return math.prod(u.shape[:-2]), 1 if bidirectional else M, C.reshape((M, *C.shape[-2:]))


def _kernels(dt, A, C3, B, L, disc):
    K = np.empty((len(C3), A.shape[0], L), dt.dtype)
    kernel.s4d_kernel(dt, A, C3, B, K, L, disc, 1)
    return K


def s4d_conv(u, dt, A, C, D, B, start, y, last, disc, method, bidirectional, return_state, num_threads):
    rows, outputs, C3 = _split(u, C, bidirectional)
    H, L = u.shape[-2:]
    u3, y4 = u.reshape(rows, H, L), y.reshape(rows, outputs, H, L)
    modes, b = kernel.discretise(dt, A, disc, L)
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
    modes, b = kernel.discretise(dt, A, disc, L)
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
        dA[...], ddt[...] = kernel.pole_gradient(dt, A, disc, L, modes.z, g_log, g_b)
    dC[...] = g_C.reshape(dC.shape)
    if dB is not None:
        dB[...] = g_B
    if dstart is not None:
        dstart[...] = ds.reshape(dstart.shape)
