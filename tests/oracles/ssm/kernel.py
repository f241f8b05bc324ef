import numpy as np


def _sum(c, log, L, shift=0):
    """sum_n c_n exp(log_n l - shift_n), one mode at a time, in extended precision."""
    l = np.arange(L).astype(np.longdouble)
    y = np.zeros((*np.broadcast_shapes(c.shape, log.shape)[:-1], L), np.clongdouble)
    shift = np.broadcast_to(shift, log.shape)
    for n in range(log.shape[-1]):
        y += c[..., n, None] * np.exp(log[..., n, None] * l - shift[..., n, None])
    return y


def s4d_kernel(dt, A, C, L, *, B=None, disc="zoh"):
    """The definitions, exponential by exponential."""
    dt, A, C = dt.astype(np.longdouble)[:, None], A.astype(np.clongdouble), C.astype(np.clongdouble)
    if B is not None:
        C = C * B
    x = dt * A
    zero = x == 0
    if disc == "zoh":
        b = np.where(zero, dt, np.expm1(x) / np.where(zero, 1, A))
        return 2 * _sum(C * b, x, L).real
    if disc == "bilinear":
        return 2 * _sum(C * dt / (1 - x / 2), np.log((1 + x / 2) / (1 - x / 2)), L).real
    grows = A.real > 0
    y = np.where(grows, -x, x)
    q = A * np.expm1(y * L)
    r = np.conj(q) / (np.abs(q) ** 2 + np.longdouble("1e-7"))
    return _sum(C * np.expm1(y) * r, x, L, np.where(grows, x * (L - 1), 0)).real


def log_vandermonde(v, x, L, *, conj=True):
    y = _sum(v.astype(np.clongdouble), x.astype(np.clongdouble), L)
    return 2 * y.real if conj else y


def log_vandermonde_transpose(u, v, x, L):
    powers = np.exp(x.astype(np.clongdouble)[..., None] * np.arange(L))
    return v * (powers * u[..., None, :]).sum(-1)
