"""Layers of polynomials in extended precision, a degree at a time."""

import numpy as np


def values(x, a, b, K):
    """p_k(x), k < K, and their derivatives, in extended precision; a and b (K,)."""
    x, a, b = (np.asarray(v, np.longdouble) for v in (x, a, b))
    p, d = [], []
    for k in range(K):
        root = np.sqrt(b[k])
        if k == 0:
            p.append(np.ones_like(x) / root), d.append(np.zeros_like(x))
            continue
        before, d_before = (p[k - 2], d[k - 2]) if k > 1 else (np.zeros_like(x), np.zeros_like(x))
        p.append(((x - a[k - 1]) * p[k - 1] - np.sqrt(b[k - 1]) * before) / root)
        d.append((p[k - 1] + (x - a[k - 1]) * d[k - 1] - np.sqrt(b[k - 1]) * d_before) / root)
    return p, d


def _tables(X, W, a, b):
    (N, I), K = X.shape, W.shape[1]
    a, b = np.broadcast_to(a, (I, K)), np.broadcast_to(b, (I, K))
    P, D = np.zeros((2, N, I, K), np.longdouble)
    for i in range(I):
        for k, (p, d) in enumerate(zip(*values(X[:, i], a[i], b[i], K))):
            P[:, i, k], D[:, i, k] = p, d
    return P, D


def poly_layer(X, W, a, b):
    P, _ = _tables(X, W, a, b)
    return np.tensordot(P, np.asarray(W, np.longdouble), ((1, 2), (0, 1)))


def poly_layer_vjp(X, W, a, b, grad):
    P, D = _tables(X, W, a, b)
    grad, W = np.asarray(grad, np.longdouble), np.asarray(W, np.longdouble)
    dX = (D * np.tensordot(grad, W, (1, 2))).sum(axis=2) if W.shape[1] else np.zeros(X.shape)
    return dX, np.tensordot(P, grad, (0, 0))
