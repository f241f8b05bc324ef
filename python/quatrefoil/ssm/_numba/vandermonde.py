"""Sums of exponentials: the twin of csrc/ssm/vandermonde.hpp."""

import math

import numpy as np

from .kernel import Modes


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


def log_vandermonde_transpose(u, v, x, y, L, num_threads):
    lead = x.ndim - 1
    with np.errstate(all="ignore"):
        y[...] = (_rows(v, lead) * _poles(x).moments(_rows(u, lead))[0]).reshape(y.shape)


def log_vandermonde_transpose_vjp(u, v, x, grad, du, dv, dx, L, num_threads):
    lead = x.ndim - 1
    modes, v3, g = _poles(x), _rows(v, lead).astype(complex), _rows(grad, lead).astype(complex)
    with np.errstate(all="ignore"):
        s0, s1 = modes.moments(_rows(u, lead))
        du[...] = modes.sums(np.conj(g) * v3, L).real.reshape(du.shape)
        dv[...] = (g * np.conj(s0)).reshape(dv.shape)
        dx[...] = (g * np.conj(v3 * s1)).sum(0).reshape(dx.shape)
