"""Layers of polynomials in extended precision, a degree at a time."""

import numpy as np


def values(x, a, b, K):
    """p_k(x), k < K, in extended precision; a and b (K,)."""
    x, a, b = (np.asarray(v, np.longdouble) for v in (x, a, b))
    p = []
    for k in range(K):
        before = p[k - 2] if k > 1 else 0
        risen = ((x - a[k - 1]) * p[k - 1] - np.sqrt(b[k - 1]) * before) if k else np.ones_like(x)
        p.append(risen / np.sqrt(b[k]))
    return p


def poly_layer(X, W, a, b):
    (N, I), K = X.shape, W.shape[1]
    a, b = np.broadcast_to(a, (I, K)), np.broadcast_to(b, (I, K))
    P = np.zeros((N, I, K), np.longdouble)
    for i in range(I):
        for k, p in enumerate(values(X[:, i], a[i], b[i], K)):
            P[:, i, k] = p
    return np.tensordot(P, np.asarray(W, np.longdouble), ((1, 2), (0, 1)))
