import numpy as np


def exponentials(c, log, L, shift=0):
    """sum_n c_n exp(log_n l - shift_n), one mode at a time, in extended precision."""
    l = np.arange(L).astype(np.longdouble)
    y = np.zeros((*np.broadcast_shapes(c.shape, log.shape)[:-1], L), np.clongdouble)
    shift = np.broadcast_to(shift, log.shape)
    for n in range(log.shape[-1]):
        y += c[..., n, None] * np.exp(log[..., n, None] * l - shift[..., n, None])
    return y


def log_vandermonde(v, x, L, *, conj=True):
    y = exponentials(v.astype(np.clongdouble), x.astype(np.clongdouble), L)
    return 2 * y.real if conj else y


def log_vandermonde_transpose(u, v, x, L):
    powers = np.exp(x.astype(np.clongdouble)[..., None] * np.arange(L))
    return v * (powers * u[..., None, :]).sum(-1)
