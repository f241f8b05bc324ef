"""Toeplitz and Hankel matrices as operators, by the causal convolution in both directions.

m rows, n columns, K right-hand sides. Equation numbers: csrc/ssm/README.md.
"""

from __future__ import annotations

from typing import Any

from ... import _arrays
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import Array, Backend, T
from ..convolution import fft_conv, fft_conv_vjp
from .checks import put

# Have no kernels: describe the arguments.
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
    c : (m,)
        First column; float32 or float64.
    r : (n,), or None
        First row; as c if None. r[0] is ignored: the corner is c[0].
    x : (n,) or (..., n, K)
        A vector, or matrices, as in ``numpy.matmul``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (m,) or (..., m, K)

    Notes
    -----
    Differentiable in c, r, x (r[0] has gradient 0). Cost: O(L log L) per right-hand side, L = max(m, n), by ``fft_conv`` with a kernel in
    each direction; x is copied only if m > n. A NaN in x stays in its right-hand side.

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
    c : (m,)
        First column; float32 or float64.
    r : (n,), or None
        Last row; zeros if None. r[0] is ignored: the corner is c[m-1].
    x : (n,) or (..., n, K)
        A vector, or matrices, as in ``numpy.matmul``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (m,) or (..., m, K)

    Notes
    -----
    Differentiable in c, r, x (r[0] has gradient 0, unless m = 0). A Toeplitz matrix with reversed columns, at the same cost.
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
    """Gradients of ``toeplitz_matmul``: grad is shaped like its result -> (dc[, dr], dx) (15).

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
    """Gradients of ``hankel_matmul``: grad is shaped like its result -> (dc[, dr], dx) (15).

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
    op.infer([tuple(c.shape), tuple(r.shape), tuple(x.shape)], ())
    xp, m, inputs = _arrays.namespace_of(kind), c.shape[0], {"c": c, "r": r, "x": x}
    rows = _rows(x)
    if op is _HANKEL:
        c, r, rows = _mirrored(xp, c, r, rows)
    y = fft_conv(_padded(xp, rows, m), c[None], k_reverse=r[None, 1:], backend=backend, num_threads=num_threads)[..., :m]
    return put(op.label, out, _columns(y, len(x.shape)), inputs)


def _gradients(op: Op, c: Any, r: Any, x: Any, grad: Any, backend: Backend | None, num_threads: int | None) -> tuple[Any, ...]:
    adjoint = op.adjoint
    assert adjoint is not None
    if r is None:
        dc, dr, dx = _gradients(op, c, _row(op, c, r), x, grad, backend, num_threads)
        return (dc + dr if op is _TOEPLITZ else dc), dx
    kind, _ = check_arrays(adjoint, (c, r, x, grad))
    adjoint.infer([tuple(a.shape) for a in (c, r, x, grad)], ())
    xp, m, n = _arrays.namespace_of(kind), c.shape[0], r.shape[0]
    rows, axes = _rows(x), len(x.shape)
    column, row = c, r
    if op is _HANKEL:
        column, row, rows = _mirrored(xp, c, r, rows)
    du, dc, dr = fft_conv_vjp(
        _padded(xp, rows, m), column[None], None, row[None, 1:], _padded(xp, _rows(grad), n), backend=backend, num_threads=num_threads
    )
    dx, dc, dr = du[..., :n], dc[0], _padded(xp, dr[0], n, left=True)
    if op is _HANKEL:  # column d of the mirrored matrix is entry n-1+d of c and r joined, row d is entry n-1-d
        entries = xp.concatenate([xp.flip(dr[1:], (0,)), dc])
        dc, dr = entries[:m], _padded(xp, entries[m:], n, left=True)
        dx = xp.flip(dx, (-1,))
    return dc, dr, _columns(dx, axes)


def _row(op: Op, c: Any, r: Any) -> Any:
    """r, or SciPy's default if it is None."""
    if r is not None or _arrays.kind(c) is None:
        return r
    return c if op is _TOEPLITZ else _arrays.zeros_on_device_of(c, c.shape)


def _rows(x: Any) -> Any:
    """A vector, or the columns of matrices, as rows of one channel: (..., 1, n), a view."""
    return x[None] if len(x.shape) == 1 else x.swapaxes(-1, -2)[..., None, :]


def _columns(y: Any, axes: int) -> Any:
    return y[0] if axes == 1 else y[..., 0, :].swapaxes(-1, -2)


def _padded(xp: Any, rows: Any, length: int, left: bool = False) -> Any:
    """``rows``, padded with zeros to at least ``length``, at the end or at the beginning."""
    missing = length - rows.shape[-1]
    if missing <= 0:
        return rows
    zeros = _arrays.zeros_on_device_of(rows, (*rows.shape[:-1], missing))
    return xp.concatenate([zeros, rows] if left else [rows, zeros], -1)


def _mirrored(xp: Any, c: Any, r: Any, rows: Any) -> tuple[Any, Any, Any]:
    """First column and row of the Hankel matrix with its columns reversed, a Toeplitz matrix; x reversed alike (14)."""
    m, n = c.shape[0], r.shape[0]
    entries = xp.concatenate([c, r[1:]])  # H_ij = entries_{i+j}
    return entries[max(n - 1, 0) :][:m], xp.flip(entries[:n], (0,)), xp.flip(rows, (-1,))
