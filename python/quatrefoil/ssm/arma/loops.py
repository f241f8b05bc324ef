"""Rational filters in plain loops, in double precision."""

import numpy as np

from ..._backends.numba import jit


@jit
def _filter(b, a, x, z, y):
    """README (2) for rows of x, with b and a divided by a_0 and of equal length; overwrites z with the final states."""
    order = b.shape[1] - 1
    for r in range(x.shape[0]):
        for t in range(x.shape[1]):
            u = float(x[r, t])
            v = b[r, 0] * u + (z[r, 0] if order else 0.0)
            for i in range(order):
                after = z[r, i + 1] if i + 1 < order else 0.0
                z[r, i] = after + b[r, i + 1] * u - a[r, i + 1] * v
            y[r, t] = v


@jit
def _filter_vjp(b, a, x, y, mu, db, da, dx):
    """README (4)-(6). mu starts as the gradient of y followed by that of the final states."""
    order, L = b.shape[1] - 1, x.shape[1]
    for r in range(x.shape[0]):
        for t in range(L - 1, -1, -1):
            for i in range(1, order + 1):
                mu[r, t] -= a[r, i] * mu[r, t + i]
        for t in range(L):
            total = 0.0
            for i in range(order + 1):
                total += b[r, i] * mu[r, t + i]
                db[r, i] += x[r, t] * mu[r, t + i]
                da[r, i] -= y[r, t] * mu[r, t + i]
            dx[r, t] = total


def _coefficients(b, a, rows):
    """b and a divided by a_0, (rows, order + 1) each; a_0, (rows, 1); and the order."""
    order = max(b.shape[-1], a.shape[-1]) - 1
    full = np.zeros((2, rows, order + 1))
    for wide, c in zip(full, (b, a)):
        wide[:, : c.shape[-1]] = c.reshape(-1, c.shape[-1]) if c.ndim > 1 else c
    first = full[1, :, :1]
    return full[0] / first, full[1] / first, first, order


def _rows(x):
    return x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])


def _states(zi, rows, order):
    return np.zeros((rows, order)) if zi is None else _rows(zi).astype(float)


def arma_filter(b, a, x, zi, y, zf, return_state, num_threads):
    flat = _rows(x)
    b, a, _, order = _coefficients(b, a, len(flat))
    z, result = _states(zi, len(flat), order), np.zeros(flat.shape)
    _filter(b, a, flat, z, result)
    y[...] = result.reshape(y.shape)
    if zf is not None:
        zf[...] = z.reshape(zf.shape)


def arma_filter_vjp(b, a, x, zi, grad, grad_zf, db, da, dx, dzi, return_state, num_threads):
    flat = _rows(x)
    b_scaled, a_scaled, first, order = _coefficients(b, a, len(flat))
    y, dx_ = np.zeros(flat.shape), np.zeros(flat.shape)
    _filter(b_scaled, a_scaled, flat, _states(zi, len(flat), order), y)
    mu = np.concatenate((_rows(grad).astype(float), _states(grad_zf, len(flat), order)), axis=1)
    b_sums, a_sums = np.zeros(b_scaled.shape), np.zeros(b_scaled.shape)
    _filter_vjp(b_scaled, a_scaled, flat, y, mu, b_sums, a_sums, dx_)
    a_sums[:, 0] = -(b_scaled * b_sums).sum(axis=1) - (a_scaled * a_sums)[:, 1:].sum(axis=1)  # README (7)
    for output, total in ((db, b_sums / first), (da, a_sums / first)):
        total = total[:, : output.shape[-1]]
        output[...] = total.reshape(output.shape) if output.ndim > 1 else total.sum(axis=0)
    dx[...] = dx_.reshape(dx.shape)
    if dzi is not None:
        dzi[...] = mu[:, :order].reshape(dzi.shape)
