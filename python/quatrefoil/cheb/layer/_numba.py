"""The layer as array code: a product a degree, so that NumPy's BLAS does the work. Plain loops would take longer."""

import numpy as np


def _polynomials(X, a, b, slopes=False):
    """README (1), (3): p_k (N, I) or (p_k, p_k') for k = 0, 1, ..., two degrees in memory at a time."""
    bad = ~((b > 0) & np.isfinite(b)).ravel()
    if bad.any() and X.shape[1]:
        i = int(bad.argmax())
        raise ValueError(f"cheb.poly_layer: number {i} of b is {b.flat[i]:.17g}, expected a positive finite one")
    before, d_before = np.zeros_like(X), np.zeros_like(X)
    for k in range(a.shape[-1]):
        scale = 1 / np.sqrt(b[..., k])
        if k == 0:
            at, d_at = np.zeros_like(X) + scale, np.zeros_like(X)
        else:
            back, x = np.sqrt(b[..., k - 1]) * scale, X - a[..., k - 1]
            if slopes:
                d_before, d_at = d_at, scale * (at + x * d_at) - back * d_before
            before, at = at, x * scale * at - back * before
        yield (at, d_at) if slopes else at


def poly_layer(X, W, a, b, Y, num_threads):
    Y[...] = 0
    for k, p in enumerate(_polynomials(X, a, b)):
        Y += p @ W[:, k]


def poly_layer_vjp(X, W, a, b, grad, dX, dW, da, db, num_threads):
    if dX is not None:
        dX[...] = 0
    for k, (p, slope) in enumerate(_polynomials(X, a, b, slopes=True)):
        if dW is not None:
            dW[:, k] = p.T @ grad
        if dX is not None:
            dX += slope * (grad @ W[:, k].T)
