"""Values and moments by grids in plain loops, in double precision, as in csrc/cheb/nonuniform. Without a grid, the composition is used."""

import numpy as np

from ..._backends.numba import jit
from ..domain import interval
from ..scattered.composition import derivative
from ..transform.composition import coeffs2vals, coeffs2vals_vjp
from . import composition

GHOSTS, MIN_GRID, MIN_EPS = 8, 16, 1e-13
# the relative l2 error by the number of taps (README, Measured)
TAP_ERROR = (1, 1, 1.2e-1, 1.5e-2, 1.8e-3, 1.8e-4, 1.7e-5, 1.6e-6, 2.0e-7, 2.5e-8, 3.5e-9, 4.5e-10, 4.2e-11, 3.7e-12, 4.0e-13, 5.5e-14,
             1.5e-14)  # fmt: skip


@jit
def _taps(x, interval, H, taps, weights):
    """README (2), (3): writes the weights of a coordinate's taps; returns their first grid point, ghosts included."""
    t = min(max(((2 * x - interval[0]) - interval[1]) / interval[2], -1.0), 1.0)
    s = np.arctan2(np.sqrt((1 - t) * (1 + t)), -t) * (H / np.pi)
    first = int(np.ceil(s - 0.5 * taps))
    for i in range(taps):
        rest = 1 - ((s - (first + i)) * 2 / taps) ** 2
        weights[i] = np.exp(2.30 * taps * (np.sqrt(max(rest, 0.0)) - 1)) if rest >= 0 else 0.0
    return first + GHOSTS


@jit
def _taps_of(x, intervals, H, taps, at, weights):
    """The taps of a point. Missing axes, the leading ones of three, have one tap of weight 1."""
    missing = 3 - x.size
    for k in range(x.size):
        at[k + missing] = _taps(np.float64(x[k]), intervals[k], H[k], taps, weights[k + missing])


@jit
def _interpolate(grid, taps, H, X, f, intervals):
    """README (5). grid has three axes; missing ones come first and have one point."""
    P, d = X.shape
    at, reach, weights = np.zeros(3, np.int64), np.ones(3, np.int64), np.ones((3, 16))
    reach[3 - d :] = taps
    for p in range(P):
        _taps_of(X[p], intervals, H, taps, at, weights)
        total = 0.0
        for a in range(reach[0]):
            for b in range(reach[1]):
                s = 0.0
                for c in range(reach[2]):
                    s += grid[at[0] + a, at[1] + b, at[2] + c] * weights[2, c]
                total += s * weights[0, a] * weights[1, b]
        f[p] = total


@jit
def _spread(grid, taps, H, X, q, intervals):
    """README (6)."""
    P, d = X.shape
    at, reach, weights = np.zeros(3, np.int64), np.ones(3, np.int64), np.ones((3, 16))
    reach[3 - d :] = taps
    for p in range(P):
        _taps_of(X[p], intervals, H, taps, at, weights)
        for a in range(reach[0]):
            for b in range(reach[1]):
                w = q[p] * weights[0, a] * weights[1, b]
                for c in range(reach[2]):
                    grid[at[0] + a, at[1] + b, at[2] + c] += w * weights[2, c]


def _fast_length(minimum):
    best = 1 << (minimum - 1).bit_length()
    return next(size for size in (best // 8 * 5, best // 4 * 3, best) if size >= minimum)


def _sizes(n):
    return np.array([_fast_length(max(MIN_GRID, 2 * (m - 1))) for m in n])


def _taps_for(eps):
    return next((taps for taps, error in enumerate(TAP_ERROR) if error <= eps), len(TAP_ERROR) - 1)


def _takes_grid(n, P, eps, by_grid=False):
    """Whether to use a grid, which depends only on sizes; the costs of both methods are in ns, measured once."""
    if by_grid or len(n) > 3 or 0 in n or eps < max(MIN_EPS, 4 * np.finfo(float).eps * max(n)):
        return by_grid
    cells = 20.0 * float(np.prod(_sizes(n) + 1.0))
    return cells + P * (200 + 1.5 * _taps_for(eps) ** len(n)) < P * (500 + 0.2 * float(np.prod(n)))


def _scales(taps, n, H):
    """README (4)."""
    s = (np.arange(96) + 0.5) / 96 * (np.pi / 2)
    weights = np.exp(2.30 * taps * (np.cos(s) - 1)) * np.cos(s) * (np.pi / 2 / 96 * taps)
    return 1 / (np.cos(np.outer(np.arange(n), np.sin(s)) * (np.pi / 2 * taps / H)) @ weights)


def _scaled(C, taps, H):
    for k, n in enumerate(C.shape):
        C = C * _scales(taps, n, H[k]).reshape(-1, *(1,) * (C.ndim - 1 - k))
    return C


def _grid_values(C, taps, H):
    inner = np.zeros(H + 1)
    inner[tuple(slice(n) for n in C.shape)] = _scaled(np.asarray(C, np.float64), taps, H)
    return np.pad(coeffs2vals(np, inner, range(C.ndim)), GHOSTS, mode="reflect")


def _grid_moments(grid, n, taps, H):
    """The transpose of _grid_values."""
    for k in range(grid.ndim):
        rows = np.moveaxis(grid, k, 0)
        inner = rows[GHOSTS:-GHOSTS].copy()
        inner[1 : GHOSTS + 1] += rows[GHOSTS - 1 :: -1]
        inner[-GHOSTS - 1 : -1] += rows[: -GHOSTS - 1 : -1]
        grid = np.moveaxis(inner, 0, k)
    (C,) = coeffs2vals_vjp(np, grid, grid, range(grid.ndim))
    return _scaled(C[tuple(slice(m) for m in n)], taps, H)


def _intervals(domain):
    """One row per axis: lo + hi, its rounding error, hi - lo (``domain.interval``)."""
    return np.array([interval(lo, hi, 0.0)[:3] for lo, hi in zip(domain[::2], domain[1::2])])


def _three_axes(grid):
    return grid.reshape((1,) * (3 - grid.ndim) + grid.shape)


def _evaluate(C, X, eps, intervals):
    taps, H, f = _taps_for(eps), _sizes(C.shape), np.empty(len(X))
    _interpolate(_three_axes(_grid_values(C, taps, H)), taps, H, X, f, intervals)
    return f


def _sum(X, q, n, eps, intervals):
    taps, H = _taps_for(eps), _sizes(n)
    grid = np.zeros(H + 1 + 2 * GHOSTS)
    _spread(_three_axes(grid), taps, H, X, np.asarray(q, np.float64), intervals)
    return _grid_moments(grid, n, taps, H)


def _slopes(C, X, weights, dX, eps, intervals):
    """README (8)."""
    for k in range(C.ndim):
        D = derivative(np, np.moveaxis(np.asarray(C, np.float64), k, 0))
        dX[:, k] = _evaluate(np.moveaxis(D, 0, k), X, eps, intervals) * weights * 2 / intervals[k, 2]


def cheb_eval(C, X, f, eps, by_grid, domain, grid, num_threads):
    if _takes_grid(C.shape, len(X), eps, by_grid):
        f[...] = _evaluate(C, X, eps, _intervals(domain))
    else:
        f[...] = composition.cheb_eval(np, C, X, eps, by_grid, domain)


def cheb_eval_vjp(C, X, grad, dC, dX, eps, by_grid, domain, grid, num_threads):
    if _takes_grid(C.shape, len(X), eps, by_grid):
        intervals = _intervals(domain)
        dC[...] = _sum(X, grad, C.shape, eps, intervals)
        _slopes(C, X, grad, dX, eps, intervals)
    else:
        dC[...], dX[...] = composition.cheb_eval_vjp(np, C, X, grad, eps, by_grid, domain)


def cheb_moments(X, q, M, n, eps, num_threads):
    if _takes_grid(n, len(X), eps):
        M[...] = _sum(X, q, n, eps, _intervals((-1.0, 1.0) * len(n)))
    else:
        M[...] = composition.cheb_moments(np, X, q, n, eps)


def cheb_moments_vjp(X, q, grad, dX, dq, n, eps, num_threads):
    if _takes_grid(n, len(X), eps):
        intervals = _intervals((-1.0, 1.0) * len(n))
        dq[...] = _evaluate(grad, X, eps, intervals)
        _slopes(grad, X, q, dX, eps, intervals)
    else:
        dX[...], dq[...] = composition.cheb_moments_vjp(np, X, q, grad, n, eps)
