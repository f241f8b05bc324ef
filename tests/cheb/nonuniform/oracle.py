import numpy as np


def _polynomials(X, n):
    """cos(k arccos x) in extended precision; d arrays (P, n_k). Finite differences need points at least one step from the ends."""
    angles = np.arccos(np.clip(X.astype(np.longdouble), -1, 1))
    return [np.cos(angles[:, k : k + 1] * np.arange(m)) for k, m in enumerate(n)]


def cheb_eval(C, X, *, eps=None):
    *others, last = _polynomials(X, C.shape)
    f = np.moveaxis(np.tensordot(C.astype(np.longdouble), last, (-1, 1)), -1, 0)
    for T in reversed(others):
        f = (f * T.reshape(len(X), *(1,) * (f.ndim - 2), T.shape[1])).sum(axis=-1)
    return f


def cheb_moments(X, q, n, *, eps=None):
    n = (n,) * X.shape[1] if isinstance(n, int) else n
    terms = q.astype(np.longdouble)
    for T in _polynomials(X, n):
        terms = terms[..., None] * T.reshape(len(X), *(1,) * (terms.ndim - 1), T.shape[1])
    return terms.sum(axis=0)
