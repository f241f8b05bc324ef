"""Layers of polynomials in extended precision, one degree at a time."""

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


def waves(x, K):
    """1, sqrt(2) cos x, sqrt(2) sin x, sqrt(2) cos 2x, .. in extended precision."""
    x = np.asarray(x, np.longdouble)
    return [np.ones_like(x) if k == 0 else np.sqrt(np.longdouble(2)) * (np.cos if k % 2 else np.sin)((k + 1) // 2 * x) for k in range(K)]


def products(tables, W, degrees):
    Y = np.zeros((tables[0][0].size if tables else 0, W.shape[1]), np.longdouble)
    for row, w in zip(degrees, np.asarray(W, np.longdouble)):
        product = np.ones(len(Y), np.longdouble)
        for table, k in zip(tables, row):
            product = product * table[k]
        Y += product[:, None] * w
    return Y


def product_layer(X, W, a, b, degrees):
    I, K = X.shape[1], a.shape[-1]
    a, b = np.broadcast_to(a, (I, K)), np.broadcast_to(b, (I, K))
    return products([values(X[:, i], a[i], b[i], K) for i in range(I)], W, degrees)


def trig_layer(X, W, degrees):
    return products([waves(x, np.max(degrees, initial=0) + 1) for x in X.T], W, degrees)
