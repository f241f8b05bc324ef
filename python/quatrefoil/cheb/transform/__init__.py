"""Chebyshev points of the second kind, and transforms between values on them and Chebyshev coefficients.

Equation numbers refer to csrc/cheb/transform/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from ... import _arguments, _array_tools, _arrays
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, T
from ..domain import UNIT, Domain, flat_domain


def _check_axes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    (shape,), (axes,) = shapes, options
    assert shape is not None
    if len(set(axes)) < len(axes) or not all(0 <= axis < len(shape) for axis in axes):
        raise ValueError(f"{label}: axes is {axes}, expected distinct axes of an array with {len(shape)} dimensions")
    for axis in axes:
        if shape[axis] < 1:
            raise ValueError(f"{label}: axis {axis} of shape {shape} has no points, expected at least 1")


_AXES = (Option("axes", "ints"),)
VALS2COEFFS = Op(__name__, "vals2coeffs", (Arg("V", "..."),), (Arg("C", "..."),), _AXES, check=_check_axes, tolerance=2e-6)
COEFFS2VALS = Op(__name__, "coeffs2vals", (Arg("C", "..."),), (Arg("V", "..."),), _AXES, check=_check_axes, tolerance=2e-6)
OPS = (VALS2COEFFS, COEFFS2VALS)


@overload
def chebpts(n: int, domain: Domain = UNIT) -> np.ndarray: ...
@overload
def chebpts(n: Sequence[int], domain: Domain = UNIT) -> tuple[np.ndarray, ...]: ...
def chebpts(n: int | Sequence[int], domain: Domain = UNIT) -> np.ndarray | tuple[np.ndarray, ...]:
    """Return the n Chebyshev points of the second kind, at which a smooth function should be sampled (1).

    Ascending, x_j = sin(pi (2j-n+1) / (2(n-1))) mapped to the domain.

    Parameters
    ----------
    n : int, or one per axis
        Number of points, at least 1. A single point is the midpoint of the interval.
    domain : (lo, hi), or one such pair per axis
        The first and the last point are exactly lo and hi.

    Returns
    -------
    x : (n,) float64, or a tuple of such arrays if n is a sequence

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.cheb.chebpts(5, (0, 2)).round(4)
    array([0.    , 0.2929, 1.    , 1.7071, 2.    ])
    """
    label = "cheb.chebpts"
    if _arguments.is_sequence(n, label, "n"):
        counts = _arguments.integers(n, None, label, "n", 1, _arguments.MAX_NUMBERS)
        flat = flat_domain(domain, len(counts), label)
        return tuple(_points(m, *flat[2 * k : 2 * k + 2]) for k, m in enumerate(counts))
    return _points(_arguments.integer(n, label, "n", 1, _arguments.MAX_NUMBERS), *flat_domain(domain, 1, label))


def vals2coeffs(
    V: Array[T],
    axes: int | Sequence[int] | None = None,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Compute Chebyshev coefficients of the polynomial through values on Chebyshev points (2).

    c_k = (2/(n-1)) sum'' v_j T_k(x_j).

    Parameters
    ----------
    V : (..., n, ...)
        Values on ``chebpts(n)``, ascending; float32 or float64.
    axes : int or ints, optional
        The axes to transform, distinct and with at least one point; all by default. All other axes are batch axes.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    C : same shape as V
        C[k] is the coefficient of T_k, degree up to n-1.

    Notes
    -----
    The inverse of ``coeffs2vals``. Differentiable. Error: a few eps of max|V|. Cost per pencil of n numbers: about n^2/4 multiply-adds (4),
    (5), or for long axes about 24 n log2(n) flops for any factors of n - 1 (6). Memory: the result and a few pencils per thread. A NaN
    affects only its pencils.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> x = qf.cheb.chebpts(4)
    >>> qf.cheb.vals2coeffs(4 * x**3 - 3 * x + 1).round(12) + 0.0
    array([1., 0., 0., 1.])
    """
    return call(VALS2COEFFS, (V,), (_axes(axes, V, VALS2COEFFS.label),), (), out, backend, num_threads)


def vals2coeffs_vjp(
    V: Array[T],
    grad: Array[T],
    *,
    axes: int | Sequence[int] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T]:
    """Gradient of ``vals2coeffs``: the gradient of C -> (dV,) (8).

    The map is linear: only the shape, dtype and kind of V are used.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> (dV,) = qf.cheb.vals2coeffs_vjp(np.zeros(3), np.array([1.0, 0.0, 0.0]))
    >>> dV.round(12)  # the weights of c_0
    array([0.25, 0.5 , 0.25])
    """
    return (call_vjp(VALS2COEFFS, (V, grad), (_axes(axes, V, VALS2COEFFS.label),), (), backend, num_threads)[0],)


def coeffs2vals(
    C: Array[T],
    axes: int | Sequence[int] | None = None,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Compute values on Chebyshev points of the polynomial with these Chebyshev coefficients (3).

    v_j = sum_k c_k T_k(x_j): the inverse of ``vals2coeffs``, with the same parameters, errors and costs.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.cheb.coeffs2vals(np.array([1.0, 0.0, 2.0]))  # 1 + 2 T_2 at -1, 0, 1
    array([ 3., -1.,  3.])
    """
    return call(COEFFS2VALS, (C,), (_axes(axes, C, COEFFS2VALS.label),), (), out, backend, num_threads)


def coeffs2vals_vjp(
    C: Array[T],
    grad: Array[T],
    *,
    axes: int | Sequence[int] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T]:
    """Gradient of ``coeffs2vals``: the gradient of V -> (dC,) (8).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> (dC,) = qf.cheb.coeffs2vals_vjp(np.zeros(3), np.ones(3))
    >>> dC.round(12) + 0.0  # the sums of T_0, T_1, T_2 over the points
    array([3., 0., 1.])
    """
    return (call_vjp(COEFFS2VALS, (C, grad), (_axes(axes, C, COEFFS2VALS.label),), (), backend, num_threads)[0],)


def mode_product(A: Any, matrix: Any, axis: int) -> Any:
    """sum_j matrix[i, j] A[..., j, ...] along one axis, for NumPy arrays and tensors (differentiable)."""
    return _array_tools.mode_product(_arrays.namespace(A), A, matrix, axis)


def polynomials(t: np.ndarray, n: int) -> np.ndarray:
    """T_k(t), (len(t), n), for t in [-1, 1]."""
    return np.cos(np.arccos(t)[:, None] * np.arange(n))


def derivative(C: Any, axis: int = 0) -> Any:
    """Chebyshev coefficients of the derivative along an axis on [-1, 1]: d_j = sum of 2k c_k over k = j+1, j+3, ..., d_0 halved.

    The number of coefficients stays the same; the last one is 0. For NumPy arrays and tensors (differentiable).
    """
    xp = _arrays.namespace(C)
    pairs = _by_parity(_weighted(xp.swapaxes(C, axis, 0), False))
    sums = xp.flip(xp.cumsum(xp.flip(pairs, (0,)), 0), (0,))
    after = xp.concatenate([sums[1:, 0], _arrays.zeros_on_device_of(C, sums[:1, 0].shape)], 0)
    d = xp.stack([sums[:, 1], after], 1).reshape(-1, *sums.shape[2:])[: C.shape[axis]]
    return xp.swapaxes(_weighted(d, True), 0, axis)


def derivative_adjoint(G: Any, axis: int = 0) -> Any:
    """The transpose of ``derivative``: 2k times the sum of g_j over j = k-1, k-3, ..., g_0 halved."""
    xp = _arrays.namespace(G)
    sums = xp.cumsum(_by_parity(_weighted(xp.swapaxes(G, axis, 0), True)), 0)
    before = xp.concatenate([_arrays.zeros_on_device_of(G, sums[:1, 1].shape), sums[:-1, 1]], 0)
    c = xp.stack([before, sums[:, 0]], 1).reshape(-1, *sums.shape[2:])[: G.shape[axis]]
    return xp.swapaxes(_weighted(c, False), 0, axis)


def _weighted(C: Any, of_slopes: bool) -> Any:
    """c_k times 2k; for slopes, only the first one halved."""
    k = np.arange(C.shape[0])
    weights = np.where(k == 0, 0.5, 1.0) if of_slopes else 2.0 * k
    return C * _arrays.to_device_of(weights.astype(_arrays.dtype_name(C)).reshape(-1, *[1] * (C.ndim - 1)), C)


def _by_parity(C: Any) -> Any:
    """Separate even and odd degrees, (n, ...) -> (n / 2, 2, ...), padded with a zero if n is odd."""
    if C.shape[0] % 2:
        C = _arrays.namespace(C).concatenate([C, _arrays.zeros_on_device_of(C, C[:1].shape)], 0)
    return C.reshape(-1, 2, *C.shape[1:])


def _points(n: int, lo: float, hi: float) -> np.ndarray:
    x = np.sin(np.pi * np.arange(1 - n, n, 2) / (2 * max(n - 1, 1)))
    return np.clip(lo * ((1 - x) / 2) + hi * ((1 + x) / 2), lo, hi)


def _axes(axes: Any, array: Any, label: str) -> tuple[int, ...]:
    """The caller's axes, counted from the front. An argument that is not an array raises an error later."""
    rank = len(getattr(array, "shape", ()))
    if axes is None or not hasattr(array, "shape"):
        return tuple(range(rank))
    result: list[int] = []
    for at in _arguments.integers(axes, None, label, "axes"):
        if not -rank <= at < rank or at % rank in result:
            raise ValueError(f"{label}: axes is {axes!r}, expected distinct axes of an array with {rank} dimensions")
        result.append(at % rank)
    return tuple(result)
