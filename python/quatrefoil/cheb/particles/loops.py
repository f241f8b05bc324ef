"""Short-range sums in plain loops, in double precision: the formulas of csrc/cheb/particles, with cells as wide as the cutoff."""

import numpy as np

from ..._backends.numba import jit

MAX_CELLS = 1 << 21  # per axis, so that cell indices fit in 64 bits


@jit
def _pair(s, c, scale):
    """README (7): B and 2 B', twice its derivative with respect to s = r^2."""
    x = scale * s - 1
    p, dp = c[-1], 0.0
    for k in range(c.size - 2, -1, -1):
        dp = dp * x + p
        p = p * x + c[k]
    inverse = 1 / np.sqrt(s) if s > 0 else 0.0
    return inverse - p, -(inverse**3 + 2 * scale * dp)


@jit
def _sums(keys, X, w, cell, points, cutoff, c, value, slope):
    """X is sorted by ``keys``, the indices of the cells; cell: the cell of each point."""
    scale = 2 / (cutoff * cutoff)
    for i in range(len(points)):
        total, pull = 0.0, np.zeros(3)
        for a in range(cell[i, 0] - 1, cell[i, 0] + 2):
            for b in range(cell[i, 1] - 1, cell[i, 1] + 2):
                row = (a * MAX_CELLS + b) * MAX_CELLS + cell[i, 2]
                for p in range(np.searchsorted(keys, row - 1), np.searchsorted(keys, row + 2)):
                    d = points[i] - X[p]
                    s = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
                    if s < cutoff * cutoff:
                        bracket, down = _pair(s, c, scale)
                        total += w[p] * bracket
                        for k in range(3):
                            pull[k] += w[p] * down * d[k]
        value[i] = total
        for k in range(3):
            slope[i, k] = pull[k]


def _all_sums(X, w, points, bracket):
    """The sums at all points, and the slopes of the sums."""
    cutoff, *c = bracket
    X, w, points = (np.ascontiguousarray(a, np.float64) for a in (X, w, points))
    value, slope = np.zeros(len(points)), np.zeros(points.shape)
    if len(X) == 0 or len(points) == 0:
        return value, slope
    corner = np.minimum(X.min(axis=0), points.min(axis=0))
    extent = np.maximum(X.max(axis=0), points.max(axis=0)) - corner
    width = max(cutoff * (1 + 1e-9), float(extent.max()) / (MAX_CELLS - 4))
    cells, cells_of_points = (1 + np.nan_to_num((a - corner) / width).astype(np.int64) for a in (X, points))
    keys = (cells[:, 0] * MAX_CELLS + cells[:, 1]) * MAX_CELLS + cells[:, 2]
    order = np.argsort(keys, kind="stable")
    _sums(keys[order], X[order], w[order], cells_of_points, points, cutoff, np.array(c), value, slope)
    return value, slope


def short_range(X, q, targets, f, bracket, num_threads):
    f[...] = _all_sums(X, q, targets, bracket)[0]


def short_range_vjp(X, q, targets, grad, dX, dq, dtargets, bracket, num_threads):
    dtargets[...] = _all_sums(X, q, targets, bracket)[1] * np.asarray(grad, np.float64)[:, None]
    value, slope = _all_sums(targets, grad, X, bracket)
    dq[...] = value
    dX[...] = slope * np.asarray(q, np.float64)[:, None]
