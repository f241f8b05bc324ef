"""The Chebyshev-Tucker kernels in plain loops, in double precision: formulas and names of csrc/cheb/scattered."""

import numpy as np

from ..._backends.numba import jit
from ..domain import interval
from .composition import derivative


@jit
def _reference(x, interval):
    """README (1)."""
    return ((2 * x - interval[0]) - interval[1]) / interval[2]


@jit
def _polynomials(x, interval, n, T):
    """README (3): T[k] = T_k at one coordinate."""
    t = min(max(_reference(x, interval), -interval[3]), interval[3])
    sign = -1.0 if t < 0 else 1.0
    u = 2 * (t * sign - 1)
    value, step, s = 1.0, u / 2, 1.0
    for k in range(n):
        T[k] = s * value
        value += step
        step += u * value
        s *= sign


@jit
def _second_kind(x, interval, n, U, V):
    """README (9): U[k] = U_k at one coordinate, V[k] its slope."""
    t = min(max(_reference(x, interval), -interval[3]), interval[3])
    sign = -1.0 if t < 0 else 1.0
    u = 2 * (t * sign - 1)
    under, under_step, value, step, s = 1.0, u + 1, 0.0, 2.0, 1.0
    for k in range(n):
        U[k], V[k] = s * under, s * sign * value
        under += under_step
        under_step += u * under
        value += step
        step += u * value + 2 * under
        s *= sign


@jit
def _functions(table, start, n, r, T, F):
    """README (2): the factor functions of one axis from its polynomials."""
    for c in range(r):
        F[c] = 0.0
    for k in range(n):
        for c in range(r):
            F[c] += T[k] * table[start + k * r + c]


@jit
def _contract(core, r, F, levels, at):
    """README (4): the core contracted one axis after another, the last first. levels[at[k] ...] is the result with k axes left."""
    d = r.size
    levels[at[d] : at[d] + core.size] = core
    for k in range(d - 1, -1, -1):
        for i in range(at[k + 1] - at[k]):
            s = 0.0
            for c in range(r[k]):
                s += levels[at[k + 1] + i * r[k] + c] * F[k, c]
            levels[at[k] + i] = s


@jit
def _tucker_eval(core, table, start, n, r, at, X, f, intervals):
    P, d = X.shape
    T, F, levels = np.empty(n.max()), np.zeros((d, max(1, r.max()))), np.empty(at[d] + core.size)
    for p in range(P):
        for k in range(d):
            _polynomials(np.float64(X[p, k]), intervals[k], n[k], T)
            _functions(table, start[k], n[k], r[k], T, F[k])
        _contract(core, r, F, levels, at)
        f[p] = levels[0]


@jit
def _tucker_eval_vjp(core, table, derivative, start, n, r, at, X, grad, dcore, dtable, dX, intervals):
    P, d = X.shape
    width = max(1, r.max())
    T, F, dF, bar = np.empty((d, n.max())), np.zeros((d, width)), np.zeros(width), np.zeros(width)
    levels, back = np.empty(at[d] + core.size), np.empty(at[d] + core.size)
    for p in range(P):
        for k in range(d):
            _polynomials(np.float64(X[p, k]), intervals[k], n[k], T[k])
            _functions(table, start[k], n[k], r[k], T[k], F[k])
        _contract(core, r, F, levels, at)
        back[0] = grad[p]
        for k in range(d):
            bar[:] = 0.0
            for i in range(at[k + 1] - at[k]):  # README (6)
                for c in range(r[k]):
                    bar[c] += back[at[k] + i] * levels[at[k + 1] + i * r[k] + c]
                    back[at[k + 1] + i * r[k] + c] = back[at[k] + i] * F[k, c]
            for j in range(n[k]):  # README (7)
                for c in range(r[k]):
                    dtable[start[k] + j * r[k] + c] += T[k, j] * bar[c]
            _functions(derivative, start[k], n[k], r[k], T[k], dF)
            s = 0.0
            for c in range(r[k]):  # README (8)
                s += bar[c] * dF[c]
            dX[p, k] = s * 2 / intervals[k, 2]
        for i in range(core.size):
            dcore[i] += back[at[d] + i]


@jit
def _tucker_derivatives(core, table, slopes, start, n, r, at, X, f, gradient, hessian, order, intervals):
    """README (9)."""
    P, d = X.shape
    T, F, G = np.empty((3, n.max())), np.zeros((3, d, max(1, r.max()))), np.zeros((d, max(1, r.max())))
    levels = np.empty(at[d] + core.size)
    for p in range(P):
        for k in range(d):
            _polynomials(np.float64(X[p, k]), intervals[k], n[k], T[0])
            _second_kind(np.float64(X[p, k]), intervals[k], n[k], T[1], T[2])
            _functions(table, start[k], n[k], r[k], T[0], F[0, k])
            for q in range(1, order + 1):
                _functions(slopes, start[k], n[k], r[k], T[q], F[q, k])
        _contract(core, r, F[0], levels, at)
        f[p] = levels[0]
        for i in range(d):
            G[:] = F[0]
            G[i] = F[1, i]
            _contract(core, r, G, levels, at)
            gradient[p, i] = levels[0] * 2 / intervals[i, 2]
            if order == 2:
                for j in range(i, d):
                    G[:] = F[0]
                    G[i] = F[1, i]
                    G[j] = F[2, i] if i == j else F[1, j]
                    _contract(core, r, G, levels, at)
                    hessian[p, i, j] = levels[0] * 2 / intervals[i, 2] * 2 / intervals[j, 2]
                    hessian[p, j, i] = hessian[p, i, j]


def _layout(core, factors):
    """core and factors as flat arrays; the start of each factor, sizes, the start of each level of the contraction."""
    n, r = (np.array([U.shape[i] for U in factors]) for i in (0, 1))
    start = np.concatenate([[0], np.cumsum(n * r)])
    at = np.concatenate([[0], np.cumsum(np.concatenate([[1], np.cumprod(r)]))])[: len(factors) + 1]
    table = np.concatenate([np.asarray(U, np.float64).reshape(-1) for U in factors])
    return np.asarray(core, np.float64).reshape(-1), table, start, n, r, at


def _intervals(X, domain, extrapolate=False):
    """One row per axis: lo + hi, its rounding error, hi - lo (``domain.interval``), and the bound to which |t| is clamped."""
    eps, most = float(np.finfo(X.dtype).eps), np.finfo(float).max if extrapolate else 1
    return np.array([(*interval(lo, hi, eps)[:3], most) for lo, hi in zip(domain[::2], domain[1::2])])


def tucker_eval(core, factors, X, f, domain, packed, num_threads):
    intervals = _intervals(X, domain)
    if core.size == 0 or min(U.shape[0] for U in factors) == 0:
        f[...] = 0
        return
    _tucker_eval(*_layout(core, factors), X, f, intervals)


def tucker_eval_vjp(core, factors, X, grad, dcore, dfactors, dX, domain, packed, num_threads):
    if core.size == 0 or min(U.shape[0] for U in factors) == 0:
        for g in (dcore, *dfactors, dX):
            g[...] = 0
        return
    flat, table, start, n, r, at = _layout(core, factors)
    slopes = np.concatenate([derivative(np, np.asarray(U, np.float64)).reshape(-1) for U in factors])
    sums, sums_of_factors = np.zeros(flat.size), np.zeros(table.size)
    _tucker_eval_vjp(flat, table, slopes, start, n, r, at, X, grad, sums, sums_of_factors, dX, _intervals(X, domain))
    dcore[...] = sums.reshape(core.shape)
    for k, g in enumerate(dfactors):
        g[...] = sums_of_factors[start[k] : start[k + 1]].reshape(g.shape)


def tucker_derivatives(core, factors, X, f, gradient, hessian, domain, with_gradient, with_hessian, extrapolate, packed, num_threads):
    intervals = _intervals(X, domain, extrapolate)
    if core.size == 0 or min(U.shape[0] for U in factors) == 0:
        for result in (f, gradient, hessian):
            if result is not None:
                result[...] = 0
        return
    flat, table, *rest = _layout(core, factors)
    if not with_gradient:
        _tucker_eval(flat, table, *rest, X, f, intervals)
        return
    order = 2 if with_hessian else 1
    slopes = [np.append(np.arange(1, len(U))[:, None] * U[1:], np.zeros((1, U.shape[1])), axis=0) for U in map(np.float64, factors)]
    flat_slopes = np.concatenate([E.reshape(-1) for E in slopes])
    none = np.empty((0, 0, 0), f.dtype)
    _tucker_derivatives(flat, table, flat_slopes, *rest, X, f, gradient, hessian if with_hessian else none, order, intervals)
