"""Toeplitz and Hankel matrices as operators, by convolution in both directions.

m rows, n columns, K right-hand sides. Equation numbers: csrc/ssm/README.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import _arrays
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import Array, Backend, T
from ..convolution import fft_conv, fft_conv_vjp
from .checks import put

# These only describe the arguments: there are no kernels.
_TOEPLITZ, _HANKEL = (
    Op(__name__, name, inputs=(Arg("c", "m"), Arg("r", "n"), Arg("x", "... n K?")), outputs=(Arg("y", "... m K?"),))
    for name in ("toeplitz_matmul", "hankel_matmul")
)


def toeplitz_matmul(
    c: Array[T],
    r: Array[T] | None,
    x: Array[T],
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Toeplitz matrix times x, ``scipy.linalg.toeplitz(c, r) @ x`` without the matrix (13).

    Parameters
    ----------
    c : (m,) or (..., m)
        First column, or one per matrix; float32 or float64.
    r : (n,) or (..., n), or None
        First row; the same as c if None. r[0] is ignored: the corner is c[0].
    x : (n,) or (..., n, K)
        A vector or matrices, as in ``numpy.matmul``. With one Toeplitz matrix for each of H channels, c is (H, m) and x is (..., H, n, K).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., m) if x is a vector, or (..., m, K)

    Notes
    -----
    Differentiable in c, r, x (r[0] has gradient 0). Cost: O(L log L) per right-hand side, L = max(m, n), by ``fft_conv`` with a kernel in
    each direction; x is copied only if m > n. A NaN in x affects only its right-hand side.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> c, r = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 0.0])  # lower triangular
    >>> qf.ssm.toeplitz_matmul(c, r, np.ones(3)).round(12)
    array([1., 3., 6.])
    """
    y: T = _apply(_TOEPLITZ, c, r, x, out, backend, num_threads)
    return y


def hankel_matmul(
    c: Array[T],
    r: Array[T] | None,
    x: Array[T],
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Hankel matrix times x, ``scipy.linalg.hankel(c, r) @ x`` without the matrix (14).

    Parameters
    ----------
    c : (m,) or (..., m)
        First column, or one per matrix; float32 or float64.
    r : (n,) or (..., n), or None
        Last row; zeros if None. r[0] is ignored: the corner is c[m-1].
    x : (n,) or (..., n, K)
        A vector or matrices, as in ``numpy.matmul``. With one Hankel matrix for each of H channels, c is (H, m) and x is (..., H, n, K).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., m) if x is a vector, or (..., m, K)

    Notes
    -----
    Differentiable in c, r, x (r[0] has gradient 0, unless m = 0). Computed as a Toeplitz matrix with reversed columns, at the same cost.
    ``hankel_matmul(s[: T - d + 1], s[T - d :], w)`` applies the weights w (d,) to every window of d samples of s (T,).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> c, r = np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])
    >>> qf.ssm.hankel_matmul(c, r, np.ones(3)).round(12)
    array([ 6.,  9., 12.])
    """
    y: T = _apply(_HANKEL, c, r, x, out, backend, num_threads)
    return y


def toeplitz_matmul_vjp(
    c: Array[T], r: Array[T] | None, x: Array[T], grad: Array[T], *, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``toeplitz_matmul`` (15): ``grad`` has the shape of its result. Returns (dc[, dr], dx).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> c, r = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 0.0])
    >>> dc, dr, dx = qf.ssm.toeplitz_matmul_vjp(c, r, np.ones(3), np.ones(3))
    >>> dx.round(12)
    array([6., 3., 1.])
    """
    return _gradients(_TOEPLITZ, c, r, x, grad, backend, num_threads)


def hankel_matmul_vjp(
    c: Array[T], r: Array[T] | None, x: Array[T], grad: Array[T], *, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``hankel_matmul`` (15): ``grad`` has the shape of its result. Returns (dc[, dr], dx).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> c, r = np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])
    >>> dc, dr, dx = qf.ssm.hankel_matmul_vjp(c, r, np.ones(3), np.ones(3))
    >>> dx.round(12)
    array([ 6.,  9., 12.])
    """
    return _gradients(_HANKEL, c, r, x, grad, backend, num_threads)


def _apply(op: Op, c: Any, r: Any, x: Any, out: Any, backend: Backend | None, num_threads: int | None) -> Any:
    r = _row(op, c, r)
    kind, _ = check_arrays(op, (c, r, x))
    xp, batch = _arrays.namespace_of(kind), _Batch(op, c, r, x)
    op.infer(batch.core, ())
    column, row, rows = batch.matrices(xp, c), batch.matrices(xp, r), batch.rows(xp, x)
    if op is _HANKEL:
        column, row, rows = _mirrored(xp, column, row, rows)
    m = c.shape[-1]
    y = fft_conv(_padded(xp, rows, m), column, k_reverse=row[:, 1:], backend=backend, num_threads=num_threads)[..., :m]
    return put(op.label, out, batch.columns(xp, y), {"c": c, "r": r, "x": x})


def _gradients(op: Op, c: Any, r: Any, x: Any, grad: Any, backend: Backend | None, num_threads: int | None) -> tuple[Any, ...]:
    adjoint = op.adjoint
    assert adjoint is not None
    if r is None:
        dc, dr, dx = _gradients(op, c, _row(op, c, r), x, grad, backend, num_threads)
        return (dc + dr if op is _TOEPLITZ else dc), dx
    kind, _ = check_arrays(adjoint, (c, r, x, grad))
    xp, batch = _arrays.namespace_of(kind), _Batch(op, c, r, x)
    adjoint.infer([*batch.core, batch.core_of_result(grad)], ())
    m, n = c.shape[-1], r.shape[-1]
    column, row, rows = batch.matrices(xp, c), batch.matrices(xp, r), batch.rows(xp, x)
    if op is _HANKEL:
        column, row, rows = _mirrored(xp, column, row, rows)
    du, dc, dr = fft_conv_vjp(
        _padded(xp, rows, m), column, None, row[:, 1:], _padded(xp, batch.rows(xp, grad), n), backend=backend, num_threads=num_threads
    )
    dx, dr = du[..., :n], _padded(xp, dr, n, left=True)
    if op is _HANKEL:  # column[d] of the mirrored matrix is entry n-1+d of c and r concatenated, row[d] is entry n-1-d
        entries = xp.concatenate([xp.flip(dr[:, 1:], (-1,)), dc], -1)
        dc, dr = entries[:, :m], _padded(xp, entries[:, m:], n, left=True)
        dx = xp.flip(dx, (-1,))
    dc, dr = (_arrays.sum_to_shape(g.reshape((*batch.trail, g.shape[-1])), array.shape) for g, array in ((dc, c), (dr, r)))
    return dc, dr, _arrays.sum_to_shape(batch.columns(xp, dx), x.shape)


def _row(op: Op, c: Any, r: Any) -> Any:
    """r, or SciPy's default if it is None."""
    if r is not None or _arrays.kind(c) is None:
        return r
    return c if op is _TOEPLITZ else _arrays.zeros_on_device_of(c, c.shape)


class _Batch:
    """The batch axes of a product: ``lead``, the axes that only x has, then ``trail``, those of the matrices."""

    def __init__(self, op: Op, c: Any, r: Any, x: Any) -> None:
        self.vector = len(x.shape) == 1
        try:
            self.trail: tuple[int, ...] = np.broadcast_shapes(c.shape[:-1], r.shape[:-1])
            both = np.broadcast_shapes(self.trail, x.shape[:-2])
        except ValueError:
            what = f"c has shape {tuple(c.shape)}, r has {tuple(r.shape)} and x has {tuple(x.shape)}"
            raise ValueError(f"{op.label}: {what}, expected (..., m), (..., n) and (..., n, K) with leading axes that broadcast") from None
        self.lead = both[: len(both) - len(self.trail)]
        self.trail = both[len(self.lead) :]
        self.core = [tuple(c.shape[-1:]), tuple(r.shape[-1:]), tuple(x.shape) if self.vector else (*both, *x.shape[-2:])]

    def core_of_result(self, grad: Any) -> tuple[int, ...]:
        """The shape of a result; without the batch axes if x is a vector."""
        shape: tuple[int, ...] = tuple(grad.shape)
        return shape[len(self.trail) :] if self.vector and shape[: len(self.trail)] == self.trail else shape

    def matrices(self, xp: Any, c: Any) -> Any:
        """First columns or rows as (matrices, m)."""
        return xp.broadcast_to(c, (*self.trail, c.shape[-1])).reshape((math.prod(self.trail), c.shape[-1]))

    def rows(self, xp: Any, x: Any) -> Any:
        """Reshape a vector, or the columns of matrices, into rows, with one channel per matrix: (lead, K, matrices, n)."""
        x = x[..., None] if self.vector else x
        size: tuple[int, ...] = tuple(x.shape[-2:])
        x = xp.broadcast_to(x, (*self.lead, *self.trail, *size)).reshape((*self.lead, math.prod(self.trail), *size))
        return xp.moveaxis(x, -1, -3)

    def columns(self, xp: Any, y: Any) -> Any:
        """The reverse of ``rows``."""
        y = xp.moveaxis(y, -3, -1)
        y = y.reshape((*self.lead, *self.trail, *y.shape[-2:]))
        return y[..., 0] if self.vector else y


def _padded(xp: Any, rows: Any, length: int, left: bool = False) -> Any:
    """``rows``, padded with zeros to at least ``length``, at the end or at the beginning."""
    missing = length - rows.shape[-1]
    if missing <= 0:
        return rows
    zeros = _arrays.zeros_on_device_of(rows, (*rows.shape[:-1], missing))
    return xp.concatenate([zeros, rows] if left else [rows, zeros], -1)


def _mirrored(xp: Any, c: Any, r: Any, rows: Any) -> tuple[Any, Any, Any]:
    """Convert Hankel to Toeplitz matrices by reversing the order of columns: first columns, first rows, and the reversed x (14)."""
    m, n = c.shape[-1], r.shape[-1]
    entries = xp.concatenate([c, r[:, 1:]], -1)  # H_ij = entries_{i+j}
    return entries[:, max(n - 1, 0) :][:, :m], xp.flip(entries[:, :n], (-1,)), xp.flip(rows, (-1,))
