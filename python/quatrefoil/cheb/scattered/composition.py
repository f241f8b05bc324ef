"""Chebyshev-Tucker tensors at points with array API functions, in double precision: formulas and names of csrc/cheb/scattered.

Points are processed in chunks: polynomials are (n, d, P), factor functions (P, r), and a partly contracted core (P, r_1 ... r_k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..._array_tools import added, chunk_slices, double, in_chunks, nan_unless
from ..domain import interval, to_reference


def reference(xp: Any, X: Any, domain: Sequence[float], extrapolate: bool = False) -> Any:
    """README (1), t (d, P) on [-1, 1] with rounding errors clamped; NaN where the host raises an error."""
    eps, rows = float(xp.finfo(X.dtype).eps), []
    for k in range(X.shape[1]):
        lo, hi = domain[2 * k : 2 * k + 2]
        t = to_reference(double(xp, X[:, k]), lo, hi)
        t = nan_unless(xp, xp.isfinite(t) if extrapolate else xp.abs(t) <= 1 + interval(lo, hi, eps)[3], t)
        rows.append(t if extrapolate else xp.clip(t, min=-1.0, max=1.0))
    return xp.stack(rows)


def _stacked(xp: Any, rows: list[Any], like: Any) -> Any:
    return xp.stack(rows) if rows else xp.zeros((0, *like.shape), dtype=like.dtype, device=like.device)


def polynomials(xp: Any, t: Any, n: int) -> Any:
    """README (3): T_k(t), (n, ...)."""
    sign = xp.where(t < 0, -xp.ones_like(t), xp.ones_like(t))
    u = 2 * (t * sign - 1)
    value, step = 1 + 0 * t, u / 2  # NaN stays NaN
    rows = []
    for k in range(n):
        rows.append(sign * value if k % 2 else value)
        value = value + step
        step = step + u * value
    return _stacked(xp, rows, t)


def _second_kind(xp: Any, t: Any, n: int) -> tuple[Any, Any]:
    """README (9): U_k(t) and its slopes, (n, ...)."""
    sign = xp.where(t < 0, -xp.ones_like(t), xp.ones_like(t))
    u = 2 * (t * sign - 1)
    under, under_step, value, step = 1 + 0 * t, u + 1, 0 * t, 2 + 0 * t
    rows, slopes = [], []
    for k in range(n):
        rows.append(sign * under if k % 2 else under)
        slopes.append(value if k % 2 else sign * value)
        under = under + under_step
        under_step = under_step + u * under
        value = value + step
        step = step + u * value + 2 * under
    return _stacked(xp, rows, t), _stacked(xp, slopes, t)


def _by_parity(xp: Any, c: Any) -> Any:
    """Separate even and odd degrees, (n, ...) -> (n / 2, 2, ...), padded with a zero if n is odd."""
    if c.shape[0] % 2:
        c = xp.concat([c, xp.zeros_like(c[:1, ...])], axis=0)
    return xp.reshape(c, (c.shape[0] // 2, 2, *c.shape[1:]))


def derivative(xp: Any, c: Any) -> Any:
    """README (5) along the first axis: sums of 2 k c_k over k = j + 1, j + 3, ..., halved for j = 0. The last of the n results is 0."""
    n = c.shape[0]
    if n == 0:
        return c
    k = xp.astype(xp.arange(n, dtype=xp.int64, device=c.device), c.dtype)
    pairs = _by_parity(xp, xp.reshape(2 * k, (n, *[1] * (c.ndim - 1))) * c)
    sums = xp.flip(xp.cumulative_sum(xp.flip(pairs, axis=0), axis=0), axis=0)
    after = xp.concat([sums[1:, 0, ...], xp.zeros_like(sums[:1, 0, ...])], axis=0)
    d = xp.reshape(xp.stack([sums[:, 1, ...], after], axis=1), (2 * pairs.shape[0], *c.shape[1:]))[:n, ...]
    return xp.concat([d[:1, ...] / 2, d[1:, ...]], axis=0)


def derivative_adjoint(xp: Any, g: Any) -> Any:
    """The transpose of ``derivative``: 2 k times sums of g_j over j = k - 1, k - 3, ..., g_0 halved."""
    n = g.shape[0]
    if n == 0:
        return g
    k = xp.astype(xp.arange(n, dtype=xp.int64, device=g.device), g.dtype)
    sums = xp.cumulative_sum(_by_parity(xp, xp.concat([g[:1, ...] / 2, g[1:, ...]], axis=0)), axis=0)
    before = xp.concat([xp.zeros_like(sums[:1, 1, ...]), sums[:-1, 1, ...]], axis=0)
    e = xp.reshape(xp.stack([before, sums[:, 0, ...]], axis=1), (2 * sums.shape[0], *g.shape[1:]))[:n, ...]
    return xp.reshape(2 * k, (n, *[1] * (g.ndim - 1))) * e


def contracted(xp: Any, core: Any, F: Sequence[Any]) -> list[Any]:
    """README (4): contract the core with functions (P, r) of every axis, last axis first. Return the results with 0 to d - 1 axes left."""
    left, levels = core, []
    for k in reversed(range(len(F))):
        P, r = F[k].shape
        before = math.prod(core.shape[:k])
        if k == len(F) - 1:
            left = xp.matmul(F[k], xp.reshape(core, (before, r)).T)
        else:
            left = xp.matmul(xp.reshape(left, (P, before, r)), F[k][:, :, None])[:, :, 0]
        levels.append(left)
    return levels[::-1]


def products(xp: Any, F: Sequence[Any], grad: Any) -> list[Any]:
    """grad (P,) times the products of functions of the first 0, 1, ..., d - 1 axes."""
    back = [grad[:, None]]
    for f in F[:-1]:
        P, r = f.shape
        back.append(xp.reshape(back[-1][:, :, None] * f[:, None, :], (P, back[-1].shape[1] * r)))
    return back


def contracted_adjoint(xp: Any, core: Any, F: Sequence[Any], grad: Any) -> tuple[Any, list[Any]]:
    """README (6), (7): the gradients of the core and of F, for grad (P,)."""
    levels, back, bars = contracted(xp, core, F), products(xp, F, grad), []
    for k, (P, r) in enumerate(f.shape for f in F[:-1]):
        bars.append(xp.matmul(back[k][:, None, :], xp.reshape(levels[k + 1], (P, back[k].shape[1], r)))[:, 0, :])
    bars.append(xp.matmul(back[-1], xp.reshape(core, (back[-1].shape[1], core.shape[-1]))))
    return xp.reshape(xp.matmul(back[-1].T, F[-1]), core.shape), bars


def _width(core: Any, factors: Sequence[Any]) -> int:
    """The number of elements per point in the largest array."""
    n: int = max(U.shape[0] for U in factors)
    return max(math.prod(map(int, core.shape[:-1])), len(factors) * n, *map(int, core.shape))


def _functions(xp: Any, T: Any, factors: Sequence[Any]) -> list[Any]:
    """README (2): the factor functions (P, r) from the polynomials (n, d, P)."""
    return [xp.matmul(T[: U.shape[0], k, :].T, U) for k, U in enumerate(factors)]


def _values(xp: Any, t: Any, core: Any, factors: Sequence[Any]) -> Any:
    T = polynomials(xp, t, max(U.shape[0] for U in factors))
    return contracted(xp, core, _functions(xp, T, factors))[0][:, 0]


def _eval_vjp(xp: Any, core: Any, factors: Sequence[Any], X: Any, grad: Any, domain: Sequence[float], extrapolate: bool = False) -> Any:
    """README (6)-(8), for core, factors and grad in float64."""
    n = max(U.shape[0] for U in factors)
    derivatives = [derivative(xp, U) for U in factors]
    dcore: Any = None
    dfactors: list[Any] = [None] * len(factors)
    slopes = []
    for at in chunk_slices(X.shape[0], _width(core, factors), xp):
        T = polynomials(xp, reference(xp, X[at, :], domain, extrapolate), n)
        part, bars = contracted_adjoint(xp, core, _functions(xp, T, factors), grad[at])
        dcore = added(dcore, part)
        for k, (U, bar) in enumerate(zip(factors, bars)):
            dfactors[k] = added(dfactors[k], xp.matmul(T[: U.shape[0], k, :], bar))
        of_X = [xp.sum(bar * dF, axis=-1) for bar, dF in zip(bars, _functions(xp, T, derivatives))]
        slopes.append(xp.stack([s * (2 / (domain[2 * k + 1] - domain[2 * k])) for k, s in enumerate(of_X)], axis=1))
    return dcore, dfactors, xp.concat(slopes, axis=0)


def tucker_eval(xp: Any, core: Any, factors: list[Any], X: Any, domain: Sequence[float]) -> Any:
    A, tables = double(xp, core), [double(xp, U) for U in factors]

    def part(at: slice) -> Any:
        return xp.astype(_values(xp, reference(xp, X[at, :], domain), A, tables), X.dtype)

    return in_chunks(xp, part, X.shape[0], _width(core, factors))


def tucker_eval_vjp(xp: Any, core: Any, factors: list[Any], X: Any, grad: Any, domain: Sequence[float]) -> Any:
    dcore, dfactors, dX = _eval_vjp(xp, double(xp, core), [double(xp, U) for U in factors], X, double(xp, grad), domain)
    return xp.astype(dcore, core.dtype), [xp.astype(d, core.dtype) for d in dfactors], xp.astype(dX, X.dtype)


def tucker_derivatives(
    xp: Any, core: Any, factors: list[Any], X: Any, domain: Sequence[float], gradient: bool, hessian: bool, extrapolate: bool
) -> Any:
    """README (9)."""
    A, tables = double(xp, core), [double(xp, U) for U in factors]
    slopes = []  # T_k' = k U_(k-1)
    for U in tables:
        k = xp.astype(xp.arange(U.shape[0], dtype=xp.int64, device=U.device), xp.float64)
        slopes.append((k[:, None] * U)[min(1, U.shape[0]) :, :])
    inner = [2 / (hi - lo) for lo, hi in zip(domain[::2], domain[1::2])]
    n, d = max(U.shape[0] for U in factors), len(factors)

    def replaced(functions: Sequence[Any], changes: dict[int, Any]) -> Any:
        return contracted(xp, A, [changes.get(k, F) for k, F in enumerate(functions)])[0][:, 0]

    def part(at: slice) -> Any:
        t = reference(xp, X[at, :], domain, extrapolate)
        F = _functions(xp, polynomials(xp, t, n), tables)
        results = [replaced(F, {})]
        if gradient:
            first, second = (_functions(xp, V, slopes) for V in _second_kind(xp, t, max(n - 1, 0)))
            results.append(xp.stack([inner[i] * replaced(F, {i: first[i]}) for i in range(d)], axis=1))
        if hessian:
            upper = {
                (i, j): inner[i] * inner[j] * replaced(F, {i: second[i]} if i == j else {i: first[i], j: first[j]})
                for i in range(d)
                for j in range(i, d)
            }
            rows = [xp.stack([upper[min(i, j), max(i, j)] for j in range(d)], axis=1) for i in range(d)]
            results.append(xp.stack(rows, axis=1))
        return [xp.astype(a, X.dtype) for a in results]

    parts = [part(at) for at in chunk_slices(X.shape[0], _width(core, factors), xp)]
    results = [xp.concat(list(part), axis=0) for part in zip(*parts)]
    return *results, *[None] * (3 - len(results))


def tucker_derivatives_vjp(
    xp: Any, core: Any, factors: list[Any], X: Any, grad: Any, grad_gradient: Any, grad_hessian: Any,
    domain: Sequence[float], gradient: bool, hessian: bool, extrapolate: bool,
) -> Any:  # fmt: skip
    """README (10): the adjoint of the values, once for each derivative."""
    A, tables, d = double(xp, core), [double(xp, U) for U in factors], len(factors)
    inner = [2 / (hi - lo) for lo, hi in zip(domain[::2], domain[1::2])]
    terms: list[tuple[tuple[int, ...], Any]] = [((), double(xp, grad))]
    for i in range(d if gradient else 0):
        terms.append(((i,), inner[i] * double(xp, grad_gradient[:, i])))
        for j in range(i, d if hessian else 0):
            both = double(xp, grad_hessian[:, i, j])
            both = both + double(xp, grad_hessian[:, j, i]) if i != j else both
            terms.append(((i, j), inner[i] * inner[j] * both))
    dcore, dX = xp.zeros_like(A), xp.zeros(X.shape, dtype=xp.float64, device=X.device)
    dfactors = [xp.zeros_like(U) for U in tables]
    for axes, weights in terms:
        changed = list(tables)
        for k in axes:
            changed[k] = derivative(xp, changed[k])
        of_core, of_factors, of_X = _eval_vjp(xp, A, changed, X, weights, domain, extrapolate)
        for k in axes:
            of_factors[k] = derivative_adjoint(xp, of_factors[k])
        dcore, dX, dfactors = dcore + of_core, dX + of_X, [a + b for a, b in zip(dfactors, of_factors)]
    return xp.astype(dcore, core.dtype), [xp.astype(a, core.dtype) for a in dfactors], xp.astype(dX, X.dtype)
