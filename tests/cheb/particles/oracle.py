"""Direct sums over all pairs, in extended precision; the long and short parts by their definitions, one Gaussian at a time."""

import numpy as np


def _pairs(targets, X):
    d = targets[:, None].astype(np.longdouble) - X[None].astype(np.longdouble)
    return d, np.sqrt((d**2).sum(axis=-1))


def short_range(X, q, targets, *, sog):
    r = _pairs(targets, X)[1]
    long = np.zeros(r.shape, np.longdouble)
    for t, w in zip(sog.t[: sog.n_long], sog.w[: sog.n_long]):
        long += w * np.exp(-((np.longdouble(t) * r) ** 2))
    inverse = np.divide(1, r, out=np.zeros_like(r), where=r > 0)
    return (np.where(r < sog.cutoff, inverse - long, 0) * q.astype(np.longdouble)).sum(axis=1)


def direct(X, q, targets):
    """sum_p q_p / |x - x_p| and its gradient with respect to x; a charge at x itself is left out."""
    value, gradient = np.zeros(len(targets)), np.zeros((len(targets), 3))
    for i, x in enumerate(targets):
        d = x - X
        r = np.sqrt((d**2).sum(axis=-1))
        inverse = np.divide(1, r, out=np.zeros_like(r), where=r > 0)
        value[i] = (q * inverse).sum()
        gradient[i] = -(q * inverse**3) @ d
    return value, gradient


def long_part(X, q, targets, sog):
    value = np.zeros(len(targets))
    for i, x in enumerate(targets):
        square = ((x - X) ** 2).sum(axis=-1)
        value[i] = np.exp(-np.outer(square, sog.t[: sog.n_long] ** 2)) @ sog.w[: sog.n_long] @ q
    return value
