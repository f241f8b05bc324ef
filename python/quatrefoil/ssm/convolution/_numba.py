"""Causal convolution in plain loops: the twin of csrc/ssm/convolution."""

import math

import numpy as np

from ..._backends.numba import jit


@jit
def _transform(re, im, cos, sin, inverse):
    """In place; forward decimates in frequency and leaves the spectrum bit-reversed, inverse takes it back. No scaling."""
    n = re.size
    step = n // 2 if not inverse else 1
    while 1 <= step < n:
        stride = n // (2 * step)
        for start in range(0, n, 2 * step):
            for j in range(step):
                p, q = start + j, start + j + step
                w_re, w_im = cos[j * stride], sin[j * stride]
                if not inverse:
                    d_re, d_im = re[p] - re[q], im[p] - im[q]
                    re[p], im[p] = re[p] + re[q], im[p] + im[q]
                    re[q], im[q] = d_re * w_re + d_im * w_im, d_im * w_re - d_re * w_im
                else:
                    t_re, t_im = re[q] * w_re - im[q] * w_im, im[q] * w_re + re[q] * w_im
                    re[q], im[q] = re[p] - t_re, im[p] - t_im
                    re[p], im[p] = re[p] + t_re, im[p] + t_im
        step = step // 2 if not inverse else step * 2


@jit
def _spectrum(x, ahead, twist_cos, twist_sin, cos, sin, re, im):
    """README (2): the right-angle transform of x_n - i ahead_{N-1-n}."""
    n = re.size
    for i in range(n):
        r = x[i] if i < x.size else 0.0
        s = -ahead[n - 1 - i] if n - 1 - i < ahead.size else 0.0
        re[i] = r * twist_cos[i] - s * twist_sin[i]
        im[i] = r * twist_sin[i] + s * twist_cos[i]
    _transform(re, im, cos, sin, False)


@jit
def _back(re, im, twist_cos, twist_sin, cos, sin):
    _transform(re, im, cos, sin, True)
    n = re.size
    for i in range(n):
        r = (re[i] * twist_cos[i] + im[i] * twist_sin[i]) / n
        im[i] = (im[i] * twist_cos[i] - re[i] * twist_sin[i]) / n
        re[i] = r


def _tables(length):
    n = 1
    while n < length:
        n *= 2
    twist = np.arange(n) * (math.pi / (2 * n))
    turn = np.arange(max(n // 2, 1)) * (2 * math.pi / n)
    return np.cos(twist), np.sin(twist), np.cos(turn), np.sin(turn)


@jit
def _fft_conv(u, k, D, k_reverse, y, twist_cos, twist_sin, cos, sin):
    B, H, L = u.shape
    n = twist_cos.size
    k_re, k_im, re, im = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    none = np.zeros(0, u.dtype)
    for h in range(H):
        _spectrum(k[h, :L], k_reverse[h, : L - 1], twist_cos, twist_sin, cos, sin, k_re, k_im)
        for b in range(B):
            _spectrum(u[b, h], none, twist_cos, twist_sin, cos, sin, re, im)
            for i in range(n):
                t = re[i] * k_re[i] - im[i] * k_im[i]
                im[i] = re[i] * k_im[i] + im[i] * k_re[i]
                re[i] = t
            _back(re, im, twist_cos, twist_sin, cos, sin)
            for l in range(L):
                y[b, h, l] = re[l] + (D[h] * u[b, h, l] if D.size else 0.0)


@jit
def _fft_conv_vjp(u, k, D, k_reverse, grad, du, dk, dD, dk_reverse, twist_cos, twist_sin, cos, sin):
    B, H, L = u.shape
    n = twist_cos.size
    k_re, k_im, g_re, g_im = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    u_re, u_im, sum_re, sum_im = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    none = np.zeros(0, u.dtype)
    for h in range(H):
        _spectrum(k[h, :L], k_reverse[h, : L - 1], twist_cos, twist_sin, cos, sin, k_re, k_im)
        sum_re[:] = 0.0
        sum_im[:] = 0.0
        skip = 0.0
        for b in range(B):
            _spectrum(grad[b, h], none, twist_cos, twist_sin, cos, sin, g_re, g_im)
            _spectrum(u[b, h], none, twist_cos, twist_sin, cos, sin, u_re, u_im)
            for i in range(n):
                r, s = g_re[i], g_im[i]
                sum_re[i] += r * u_re[i] + s * u_im[i]
                sum_im[i] += s * u_re[i] - r * u_im[i]
                g_re[i] = r * k_re[i] + s * k_im[i]
                g_im[i] = s * k_re[i] - r * k_im[i]
            _back(g_re, g_im, twist_cos, twist_sin, cos, sin)
            for l in range(L):
                du[b, h, l] = g_re[l] + (D[h] * grad[b, h, l] if D.size else 0.0)
                skip += u[b, h, l] * grad[b, h, l]
        _back(sum_re, sum_im, twist_cos, twist_sin, cos, sin)
        for j in range(dk.shape[1]):
            dk[h, j] = sum_re[j] if j < L else 0.0
        for j in range(dk_reverse.shape[1]):
            dk_reverse[h, j] = -sum_im[n - 1 - j] if j < L - 1 else 0.0
        if dD.size:
            dD[h] = skip


def _conv_arrays(u, D, k_reverse):
    H = u.shape[-2]
    absent = np.zeros((H, 0), u.dtype)
    return (
        u.reshape((-1, *u.shape[-2:])) if u.size else u.reshape((0, *u.shape[-2:])),
        absent[0] if D is None else D,
        (absent if k_reverse is None else k_reverse),
    )


def fft_conv(u, k, D, k_reverse, y, num_threads):
    if u.size == 0:
        return
    u3, D, k_reverse = _conv_arrays(u, D, k_reverse)
    _fft_conv(u3, k, D, k_reverse, y.reshape(u3.shape), *_tables(u.shape[-1]))


def fft_conv_vjp(u, k, D, k_reverse, grad, du, dk, dD, dk_reverse, num_threads):
    if u.size == 0:
        for gradient in (dk, dD, dk_reverse):
            if gradient is not None:
                gradient[...] = 0
        return
    u3, D, k_reverse = _conv_arrays(u, D, k_reverse)
    absent = np.zeros((u.shape[-2], 0), u.dtype)
    _fft_conv_vjp(
        u3, k, D, k_reverse, grad.reshape(u3.shape), du.reshape(u3.shape), dk, absent[0] if dD is None else dD,
        absent if dk_reverse is None else dk_reverse, *_tables(u.shape[-1]),
    )  # fmt: skip
