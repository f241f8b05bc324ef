"""Gaussian processes on grids in array-API terms, in double precision: equations of csrc/kron/gp/README.md.

On the host the number of missing cells selects the solver. Reading it from a device would mean waiting, so here only sizes decide. A full
grid with a single noise has a closed form. Otherwise the likelihood factorises the covariance of all cells, with an identity for missing
ones, even if logdet="lanczos" allows an estimate. Solves do the same for up to DENSE_UP_TO cells, and iterate for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..._array_tools import added, chunk_slices, double, gram, mode_product, nan_unless
from ..product.dense import outer
from ..product.eigen import clamped, eigen, negligible

DENSE_UP_TO = 4096  # cells: a matrix of 128 MiB
ROUNDS, ITERATIONS = 4, 100  # of conjugate gradients per round; each solves for the residual of the last. All run: none is read
LOG_2PI = math.log(2 * math.pi)


class System(NamedTuple):
    """C = K_1 ⊗ ... ⊗ K_d + S: symmetric factors, their eigenvalues and eigenvectors, and the noise, (1,) or (N,); 1 unless ``regular``.

    ``valid``: whether factors and noise were valid. ``regular``: whether C is also regular, tested only on a full grid with a single noise.
    ``negligible``: the noise up to which a singular K leaves C singular, -1 for a regular K. ``eps`` is the precision of the data's dtype.
    """

    factors: list[Any]
    values: list[Any]
    vectors: list[Any]
    noise: Any
    valid: Any
    regular: Any
    negligible: Any
    eps: float


def system_of(xp: Any, factors: Sequence[Any], noise: Any, mask: Any) -> System:
    s = double(xp, noise)
    valid = xp.all(xp.isfinite(s) & (s >= 0))
    parts, eps = [eigen(xp, f) for f in factors], float(xp.finfo(factors[0].dtype).eps)
    values = [clamped(xp, e.values) for e in parts]
    for e in parts:
        valid = valid & e.valid & e.not_negative
    limit = negligible(xp, values, eps, s)
    regular = valid & (s[0] > limit) if has_closed_form(noise, mask) else valid
    noise = xp.where(regular, s, xp.ones_like(s))
    return System([e.K for e in parts], values, [e.vectors for e in parts], noise, valid, regular, limit, eps)


def _along(xp: Any, matrices: Sequence[Any], rows: Any, transpose: bool = False, without: int = -1) -> Any:
    """(matrices[0] ⊗ matrices[1] ⊗ ...) x for every row x of ``rows`` (B, N). Matrices are square; axis ``without`` is skipped."""
    T = xp.reshape(rows, (rows.shape[0], *(m.shape[0] for m in matrices)))
    for k, m in enumerate(matrices):
        if k != without:
            T = mode_product(xp, T, m.T if transpose else m, k + 1)
    return xp.reshape(T, rows.shape)


def _observed(xp: Any, system: System, y: Any, mask: Any) -> Any:
    """y as rows (B, N), 0 where a cell is missing, NaN where the host raises an error."""
    rows = double(xp, y)
    if mask is not None:
        rows = xp.where(mask, rows, xp.zeros_like(rows))
    rows = nan_unless(xp, system.regular & xp.isfinite(rows), rows)
    return xp.reshape(rows, (math.prod(y.shape[:-1]), y.shape[-1]))


def has_closed_form(noise: Any, mask: Any) -> bool:
    return mask is None and bool(noise.shape[0] == 1)


def inverse_of(xp: Any, system: System) -> Any:
    """1 / (λ + s), (N,)."""
    return 1 / (outer(system.values) + system.noise[0])


# ---- dense systems


class Block(NamedTuple):
    """Rows that are solved together: their slice, masks (b, N) of 1 and 0, covariances (b, N, N) and Cholesky factors of their cells, and
    whether these are regular, (b,); identities replace singular ones. With a single mask for all rows, b = 1."""

    rows: slice
    seen: Any
    C: Any
    L: Any
    regular: Any


def blocks(xp: Any, system: System, mask: Any, size: int) -> Iterator[Block]:
    K = xp.ones((1, 1), dtype=xp.float64, device=system.noise.device)
    for f in system.factors:
        n = K.shape[0] * f.shape[0]
        K = xp.reshape(K[:, None, :, None] * f[None, :, None, :], (n, n))
    one = xp.eye(size, dtype=xp.float64, device=K.device)
    if mask is None or mask.ndim == 1:
        m = xp.ones((1, size), dtype=xp.float64, device=K.device) if mask is None else double(xp, mask[None, :])
    else:
        m = double(xp, xp.reshape(mask, (math.prod(mask.shape[:-1]), size)))
    shared = mask is None or mask.ndim == 1
    for at in chunk_slices(m.shape[0], size * size):
        part = m[at, :]
        C = K * part[:, :, None] * part[:, None, :] + (part * system.noise + (1 - part))[:, :, None] * one
        L, regular = _cholesky(xp, C, part, system.eps)
        valid = regular[:, None, None]
        yield Block(slice(None) if shared else at, part, xp.where(valid, C, one), xp.where(valid, L, one), regular)


def _cholesky(xp: Any, C: Any, seen: Any, eps: float) -> tuple[Any, Any]:
    """The Cholesky factors of C (b, N, N), and whether each C is regular to precision ``eps`` on the cells ``seen``."""
    if 0 in C.shape:
        return C, xp.ones((C.shape[0],), dtype=xp.bool, device=C.device)
    try:
        L = xp.linalg.cholesky(C)
    except Exception as error:  # NumPy's and PyTorch's; JAX returns NaN
        if "LinAlgError" not in type(error).__name__:
            raise
        L = xp.full_like(C, math.nan)
    pivots, size = xp.linalg.diagonal(L), xp.max(xp.sum(xp.abs(C), axis=-1) * seen, axis=-1)
    return L, xp.all((pivots * pivots > eps * size[:, None]) | (seen == 0), axis=-1)


def _solved(xp: Any, block: Block, rows: Any) -> Any:
    """C⁻¹ x for rows x (b, N), with one matrix per row or one for all; NaN if the matrix is singular."""
    if block.C.shape[0] == 1:
        solution = xp.linalg.solve(block.C[0, :, :], rows.T).T
    else:
        solution = xp.linalg.solve(block.C, rows[:, :, None])[:, :, 0]
    return nan_unless(xp, block.regular[:, None], solution)


def _contracted(xp: Any, system: System, W: Any, k: int) -> Any:
    """Return G with <W, K_1 ⊗ ... dK ... ⊗ K_d> = <G, dK>, with dK in place of factor k."""
    K, sizes = system.factors, [f.shape[0] for f in system.factors]
    for i in range(k):
        n, rest = sizes[i], math.prod(sizes[i + 1 :])
        W = xp.sum(xp.reshape(W, (n, rest, n, rest)) * K[i][:, None, :, None], axis=(0, 2))
    for i in reversed(range(k + 1, len(sizes))):
        n, rest = sizes[i], math.prod(sizes[k:i])
        W = xp.sum(xp.reshape(W, (rest, n, rest, n)) * K[i][None, :, None, :], axis=(1, 3))
    return W


def _gram(xp: Any, system: System, left: Any, right: Any, k: int) -> Any:
    """The symmetric part of README (4): the sum over rows (B, N) of left_(k) [⊗ of the other K] right_(k)ᵀ."""
    sizes = [f.shape[0] for f in system.factors]
    before, n, after = left.shape[0] * math.prod(sizes[:k]), sizes[k], math.prod(sizes[k + 1 :])
    a, b = (xp.reshape(x, (before, n, after)) for x in (left, _along(xp, system.factors, right, without=k)))
    sums = gram(xp, a, b)
    return (sums + sums.T) / 2


# ---- conjugate gradients


def _iterated(xp: Any, system: System, rows: Any, mask: Any, start: Any, tol: float) -> Any:
    """README (9), (13): C⁻¹ x for rows x (B, N); NaN if the residual is above ``tol`` |x| or the noise is negligible."""
    N = rows.shape[1]
    observed = xp.ones((1, N), dtype=xp.bool, device=rows.device) if mask is None else xp.reshape(mask, (math.prod(mask.shape[:-1]), N))
    noise = xp.broadcast_to(system.noise, observed.shape)
    zero, seen = xp.zeros_like(noise), double(xp, observed)
    endless = xp.full_like(noise, math.inf)
    base = xp.min(xp.where(observed, noise, endless), axis=-1, keepdims=True)
    base = xp.where(xp.isfinite(base), base, xp.ones_like(base))  # a row without observed cells
    extra = xp.where(observed, noise - base, endless)
    latent, extra_inverse = double(xp, extra > 0), xp.where(extra > 0, 1 / xp.where(extra > 0, extra, endless), zero)
    regular, unit = base > system.negligible, xp.where(base > 0, base, xp.ones_like(base))  # all numbers below are unitless
    extra_inverse, inverse = extra_inverse * unit, unit / (outer(system.values) + base)
    size = xp.max(xp.abs(rows), axis=-1, keepdims=True)
    size = xp.where(size > 0, size, xp.ones_like(size))
    rows = rows / size
    squares = [q * q for q in system.vectors]
    diagonal = xp.where(latent > 0, _along(xp, squares, inverse) + extra_inverse, xp.ones_like(extra_inverse))

    def closed(x: Any) -> Any:
        return _along(xp, system.vectors, _along(xp, system.vectors, x, transpose=True) * inverse)

    def residual(alpha: Any) -> Any:
        return seen * (rows - (_along(xp, system.factors, alpha) + system.noise * alpha) / unit)

    def step(left: Any) -> Any:
        first = closed(left)
        b = _conjugate_gradients(xp, lambda p: latent * closed(p) + extra_inverse * p, latent * first, 1 / diagonal)
        return seen * (first - closed(b))

    alpha = xp.zeros_like(rows) if start is None else seen * xp.reshape(double(xp, start), rows.shape) * (unit / size)
    for _ in range(ROUNDS):
        alpha = alpha + step(residual(alpha))
    left = residual(alpha)
    solved = xp.sum(left * left, axis=-1, keepdims=True) <= tol * tol * xp.sum(rows * rows, axis=-1, keepdims=True)
    return nan_unless(xp, solved & regular, alpha * (size / unit))


def _conjugate_gradients(xp: Any, apply: Callable[[Any], Any], rhs: Any, preconditioner: Any) -> Any:
    """ITERATIONS steps for every row, from 0; a row whose residual is 0 does not change."""

    def ratio(a: Any, b: Any) -> Any:
        return xp.where(b > 0, a / xp.where(b > 0, b, xp.ones_like(b)), xp.zeros_like(b))

    b, r = xp.zeros_like(rhs), rhs
    z = preconditioner * r
    p, rz = z, xp.sum(r * z, axis=-1, keepdims=True)
    for _ in range(ITERATIONS):
        q = apply(p)
        a = ratio(rz, xp.sum(p * q, axis=-1, keepdims=True))
        b, r = b + a * p, r - a * q
        z = preconditioner * r
        before, rz = rz, xp.sum(r * z, axis=-1, keepdims=True)
        p = z + ratio(rz, before) * p
    return b


# ---- ops


def _solve(xp: Any, system: System, rows: Any, mask: Any, start: Any, tol: float) -> Any:
    """C⁻¹ x for rows x that are 0 at missing cells."""
    N = rows.shape[1]
    if has_closed_form(system.noise, mask):
        z = _along(xp, system.vectors, rows, transpose=True)
        return _along(xp, system.vectors, z * inverse_of(xp, system))
    if N > DENSE_UP_TO:
        return _iterated(xp, system, rows, mask, start, tol)
    return xp.concat([_solved(xp, block, rows[block.rows, :]) for block in blocks(xp, system, mask, N)], axis=0)


def gp_solve(xp: Any, factors: list[Any], y: Any, noise: Any, mask: Any, start: Any, tol: float, progress: Any = None) -> Any:
    if progress is not None and y.shape[-1] > DENSE_UP_TO and not has_closed_form(noise, mask):
        raise NotImplementedError("kron.gp_solve: backend 'array' does not read residuals, which progress= needs; omit it")
    system = system_of(xp, factors, noise, mask)
    alpha = _solve(xp, system, _observed(xp, system, y, mask), mask, start, tol)
    return xp.reshape(xp.astype(alpha, y.dtype), y.shape)


def gp_solve_vjp(
    xp: Any, factors: list[Any], y: Any, noise: Any, mask: Any, start: Any, grad: Any, tol: float, progress: Any = None
) -> Any:
    """README (19)."""
    system = system_of(xp, factors, noise, mask)
    alpha = _solve(xp, system, _observed(xp, system, y, mask), mask, start, tol)
    mu = _solve(xp, system, _observed(xp, system, grad, mask), mask, None, tol)
    dfactors = [xp.astype(-_gram(xp, system, mu, alpha, k), y.dtype) for k in range(len(factors))]
    dnoise = -xp.sum(mu * alpha, axis=0)
    dnoise = dnoise if noise.shape[0] > 1 else xp.sum(dnoise)[None]
    return dfactors, xp.reshape(xp.astype(mu, y.dtype), y.shape), xp.astype(dnoise, y.dtype), None, None


def gp_nll(
    xp: Any, factors: list[Any], y: Any, noise: Any, mask: Any, start: Any,
    logdet: str, probes: int, seed: int, tol: float, return_error: bool,
) -> Any:  # fmt: skip
    """README (1), (2)."""
    system = system_of(xp, factors, noise, mask)
    rows = _observed(xp, system, y, mask)
    N = rows.shape[1]
    if has_closed_form(noise, mask):
        inverse = inverse_of(xp, system)
        z = _along(xp, system.vectors, rows, transpose=True)
        nll = (xp.sum(z * z * inverse, axis=1) - xp.sum(xp.log(inverse)) + N * LOG_2PI) / 2
    else:
        parts = []
        for block in blocks(xp, system, mask, N):
            own = rows[block.rows, :]
            fit = xp.sum(own * _solved(xp, block, own), axis=1)
            determinant = 2 * xp.sum(xp.log(xp.linalg.diagonal(block.L)), axis=-1)
            parts.append((fit + determinant + xp.sum(block.seen, axis=1) * LOG_2PI) / 2)
        nll = xp.concat(parts, axis=0)
    nll = xp.reshape(xp.astype(nll, y.dtype), y.shape[:-1])
    return nll, xp.zeros_like(nll) if return_error else None


def gp_nll_vjp(
    xp: Any, factors: list[Any], y: Any, noise: Any, mask: Any, start: Any, grad: Any,
    logdet: str, probes: int, seed: int, tol: float, return_error: bool,
) -> Any:  # fmt: skip
    """README (3) to (5), or the same from the inverse of a matrix of all cells."""
    system = system_of(xp, factors, noise, mask)
    rows = _observed(xp, system, y, mask)
    g = nan_unless(xp, system.regular, xp.reshape(double(xp, grad), (rows.shape[0],)))
    of_factors: list[Any]
    if has_closed_form(noise, mask):
        alpha, inverse, total = _solve(xp, system, rows, mask, start, tol), inverse_of(xp, system), xp.sum(g)
        t = [xp.sum(_with_others(xp, system, k, inverse), axis=(0, 2)) for k in range(len(factors))]
        of_factors = [xp.matmul(Q * (total * a), Q.T) for Q, a in zip(system.vectors, t)]
        trace = total * xp.sum(inverse)[None]
    else:
        solved, W = [], None
        for block in blocks(xp, system, mask, rows.shape[1]):
            m, own = block.seen, g[block.rows]
            solved.append(_solved(xp, block, rows[block.rows, :]))
            weights = nan_unless(xp, block.regular, xp.sum(own)[None] if m.shape[0] == 1 else own)
            W = added(W, xp.sum(xp.linalg.inv(block.C) * (weights[:, None] * m)[:, :, None] * m[:, None, :], axis=0))
        alpha = xp.concat(solved, axis=0)
        of_factors, trace = [_contracted(xp, system, W, k) for k in range(len(factors))], xp.linalg.diagonal(W)
    weighted = alpha * g[:, None]
    dfactors = [(a - _gram(xp, system, weighted, alpha, k)) / 2 for k, a in enumerate(of_factors)]
    dnoise = trace - xp.sum(weighted * alpha, axis=0) if noise.shape[0] > 1 else (xp.sum(trace) - xp.sum(weighted * alpha))[None]
    dfactors = [xp.astype((a + a.T) / 2, y.dtype) for a in dfactors]
    return dfactors, xp.reshape(xp.astype(weighted, y.dtype), y.shape), xp.astype(dnoise / 2, y.dtype), None, None


def _with_others(xp: Any, system: System, k: int, array: Any) -> Any:
    """Multiply ``array`` (N,) by the eigenvalues of all axes but k; returns (before, n_k, after)."""
    others = outer([xp.ones_like(l) if i == k else l for i, l in enumerate(system.values)])
    sizes = [l.shape[0] for l in system.values]
    return xp.reshape(others * array, (math.prod(sizes[:k]), sizes[k], math.prod(sizes[k + 1 :])))


def gp_spectrum(xp: Any, values: list[Any], z: Any, noise: float) -> Any:
    """README (2), (3)."""
    l = outer(values)
    inverse = 1 / (l + noise)
    a = z * inverse
    shrinkage = l * inverse
    sizes = [of_axis.shape[0] for of_axis in values]
    shrinkages = []
    for k, n in enumerate(sizes):
        shrinkages.append(xp.sum(xp.reshape(shrinkage, (math.prod(sizes[:k]), n, math.prod(sizes[k + 1 :]))), axis=(0, 2)))
    sums = xp.stack([xp.sum(z * a), xp.sum(xp.log(l + noise)), xp.sum(a * a), xp.sum(inverse)])
    return a * xp.sqrt(l), xp.concat(shrinkages, axis=0), sums


def gp_gram(xp: Any, x: Any) -> Any:
    sums = gram(xp, x, x)
    return (sums + sums.T) / 2
