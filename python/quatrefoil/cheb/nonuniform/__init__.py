"""Nonuniform cosine transforms: dense Chebyshev coefficients at scattered points, and moments of particles.

n coefficients per axis, d axes, P points. Equation numbers refer to csrc/cheb/nonuniform/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import _arguments
from ..._array_tools import added
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, T
from ..scattered import check_points
from ..transform import derivative, derivative_adjoint

MAX_AXES = 16


def _points(label: str, X: Shape, d: int) -> int:
    if len(X) != 2 or X[1] != d:
        raise ValueError(f"{label}: X has shape {X}, expected (P, {d}), one coordinate per axis of the coefficients")
    return X[0]


def _axes(label: str, d: int) -> None:
    if not 1 <= d <= MAX_AXES:
        raise ValueError(f"{label}: the coefficients have {d} axes, expected 1 to {MAX_AXES}")


def _of_points(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    C, X = shapes[:2]
    assert C is not None
    assert X is not None
    _axes(label, len(C))
    return [(_points(label, X, len(C)),)]


def _of_coefficients(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    X, q = shapes[:2]
    n = options[0]
    assert X is not None
    assert q is not None
    _axes(label, len(n))
    P = _points(label, X, len(n))
    if q != (P,):
        raise ValueError(f"{label}: q has shape {q}, expected ({P},), one number per point of X")
    return [tuple(n)]


def _second_of_values(
    arrays: Sequence[Any], bars: Sequence[Any], options: tuple[Any, ...], backend: Backend | None, num_threads: int | None
) -> list[Any]:
    """Second derivatives of ``cheb_eval`` (9): gradients with respect to C, X and grad."""
    (C, X, grad), (C_bar, X_bar), domain = arrays, bars, options[2]
    total: list[Any] = [None, None, None]

    def add(C: Any, weight: Any) -> Any:
        """Add the gradients of sum_p grad_p weight_p f(x_p) with respect to X and grad; return the gradient with respect to C."""
        f = call(CHEB_EVAL, (C, X), options, (None,), None, backend, num_threads)
        dC, dX = call_vjp(CHEB_EVAL, (C, X, grad * weight), options, (), backend, num_threads)
        total[1:] = added(total[1], dX), added(total[2], f * weight)
        return dC

    if C_bar is not None:
        add(C_bar, 1.0)
    for k in range(C.ndim if X_bar is not None else 0):
        scale = 2 / (domain[2 * k + 1] - domain[2 * k])
        total[0] = added(total[0], derivative_adjoint(add(derivative(C, k) * scale, X_bar[:, k]), k) * scale)
    return total


def _second_of_moments(
    arrays: Sequence[Any], bars: Sequence[Any], options: tuple[Any, ...], backend: Backend | None, num_threads: int | None
) -> list[Any]:
    """Second derivatives of ``cheb_moments`` (9): those of ``cheb_eval`` with q in place of grad and the gradient in place of C."""
    (X, q, grad), (X_bar, q_bar) = arrays, bars
    n, eps = options
    dC, dX, dq = None, None, None
    if X_bar is not None:
        dC, dX, dq = _second_of_values((grad, X, q), (None, X_bar), (eps, False, (-1.0, 1.0) * len(n)), backend, num_threads)
    if q_bar is not None:  # <grad, moments of q_bar>: the moments' own adjoint
        dC = added(dC, call(CHEB_MOMENTS, (X, q_bar), options, (), None, backend, num_threads))
        dX = added(dX, call_vjp(CHEB_MOMENTS, (X, q_bar, grad), options, (), backend, num_threads)[0])
    return [dX, dq, dC]


CHEB_EVAL = Op(
    __name__, "cheb_eval",
    inputs=(Arg("C", "..."), Arg("X", "P d")),
    outputs=(Arg("f", "P"),),
    options=(Option("eps", float), Option("by_grid", bool), Option("domain", "floats")),
    extras=("grid",),
    rule=_of_points,
    policy=Policy(check_values=lambda label, inputs, options: check_points(label, inputs[1], options[2]), second_vjp=_second_of_values),
    tolerance=4e-6,  # sums over n^3 coefficients that do not decay
)  # fmt: skip
CHEB_MOMENTS = Op(
    __name__, "cheb_moments",
    inputs=(Arg("X", "P d"), Arg("q", "P")),
    outputs=(Arg("M", "..."),),
    options=(Option("n", "ints"), Option("eps", float)),
    rule=_of_coefficients,
    policy=Policy(
        check_values=lambda label, inputs, options: check_points(label, inputs[0], (-1.0, 1.0) * len(options[0])),
        second_vjp=_second_of_moments,
    ),
    tolerance=4e-6,
)  # fmt: skip
OPS = (CHEB_EVAL, CHEB_MOMENTS)


def cheb_eval(
    C: Array[T],
    X: Array[T],
    *,
    eps: float | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Evaluate dense Chebyshev coefficients at scattered points by a nonuniform FFT (1).

    f(x) = sum_{a,b,..} C[a,b,..] T_a(x_1) T_b(x_2) ...

    Parameters
    ----------
    C : (n_1, ..., n_d)
        float32 or float64; up to 16 axes.
    X : (P, d)
        Points of [-1, 1]^d. A point that is outside only by rounding (1e-14 in float64, 6e-6 in float32) is moved to the boundary; one that
        is further outside, or NaN, raises a ValueError with its index.
    eps : float, optional
        The allowed l2 error over the points, relative to the results, between 0 and 1. By default, results are as accurate as the dtype
        allows, 1e-13 in float64.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    f : (P,)

    Notes
    -----
    Differentiable in C and X, up to the boundary, any number of times. Without eps, the cost is 2 prod(n) flops per point. With eps, and up
    to three axes, values on a grid of 2n points per axis are computed by cosine transforms and interpolated (5) if that costs less. Each
    point reads W^d grid values, with W = 8 for eps = 1e-6 and 12 for 1e-10. The grid takes (2n + 15)^d numbers or more, and twice that
    during construction. The choice depends only on shapes and eps. eps below 1e-13 or 9e-16 n (float32: 1e-5) is ignored. ``cheb_moments``
    with the same eps is the exact transpose, up to rounding. Backend "array" never uses a grid.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> C = np.zeros((3, 2))
    >>> C[2, 1] = 1.0  # T_2(x) T_1(y) = (2 x^2 - 1) y
    >>> qf.cheb.cheb_eval(C, np.array([[0.5, 0.4], [1.0, -1.0]])).round(15)
    array([-0.2, -1. ])
    """
    return call(CHEB_EVAL, (C, X), _options(C, eps, "cheb.cheb_eval"), (None,), out, backend, num_threads)


def cheb_eval_vjp(
    C: Array[T], X: Array[T], grad: Array[T], *, eps: float | None = None, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``cheb_eval``: ``grad`` (P,) -> (dC, dX) (8).

    dC is ``cheb_moments`` of grad; dX costs as much as d evaluations.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> C, X = np.eye(3), np.array([[0.5, 0.2]])
    >>> dC, dX = qf.cheb.cheb_eval_vjp(C, X, np.ones(1))
    >>> dC.round(4)  # T_a(0.5) T_b(0.2)
    array([[ 1.  ,  0.2 , -0.92],
           [ 0.5 ,  0.1 , -0.46],
           [-0.5 , -0.1 ,  0.46]])
    """
    return call_vjp(CHEB_EVAL, (C, X, grad), _options(C, eps, "cheb.cheb_eval_vjp"), (), backend, num_threads)


def cheb_moments(
    X: Array[T],
    q: Array[T],
    n: int | Sequence[int],
    *,
    eps: float | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Compute Chebyshev moments of weighted points, the transpose of ``cheb_eval`` (1).

    M[a,b,..] = sum_p q_p T_a(x_p1) T_b(x_p2) ...

    Parameters
    ----------
    X : (P, d)
        Points of [-1, 1]^d, as in ``cheb_eval``; float32 or float64.
    q : (P,)
        Their weights.
    n : int, or one per axis
        Moments per axis, from degree 0.
    eps
        As in ``cheb_eval``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    M : (n_1, ..., n_d)

    Notes
    -----
    Differentiable in X, up to the boundary, and q, any number of times. Cost, memory and errors are as for ``cheb_eval``; eps is relative
    to what the results would be without cancellation. The order of the sums depends only on shapes.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.cheb.cheb_moments(np.array([[0.5], [1.0]]), np.array([1.0, 2.0]), 3).round(15)  # 1, x and 2 x^2 - 1
    array([3. , 2.5, 1.5])
    """
    label = "cheb.cheb_moments"
    return call(CHEB_MOMENTS, (X, q), (_counts(n, X, label), tolerance(eps, label)), (), out, backend, num_threads)


def cheb_moments_vjp(
    X: Array[T],
    q: Array[T],
    grad: Array[T],
    *,
    n: int | Sequence[int],
    eps: float | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``cheb_moments``: ``grad`` (n_1, ..., n_d) -> (dX, dq) (8).

    dq is ``cheb_eval`` of grad; dX costs as much as d evaluations.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> X, q = np.array([[0.5, 0.2]]), np.ones(1)
    >>> dX, dq = qf.cheb.cheb_moments_vjp(X, q, np.eye(3), n=(3, 3))
    >>> dq.round(4)  # the sum of T_a(0.5) T_a(0.2)
    array([1.56])
    """
    label = "cheb.cheb_moments_vjp"
    return call_vjp(CHEB_MOMENTS, (X, q, grad), (_counts(n, X, label), tolerance(eps, label)), (), backend, num_threads)


def tolerance(eps: Any, label: str) -> float:
    """The eps passed to the kernels: 0 for None."""
    if eps is None:
        return 0.0
    value = _arguments.number(eps, label, "eps", positive=True)
    if value >= 1:
        raise ValueError(f"{label}: eps is {value}, expected a number between 0 and 1")
    return value


def _options(C: Any, eps: Any, label: str) -> tuple[Any, ...]:
    return tolerance(eps, label), False, (-1.0, 1.0) * len(getattr(C, "shape", ()))


def _counts(n: Any, X: Any, label: str) -> tuple[int, ...]:
    """n as one number per axis. An X that is not an array of points raises an error later."""
    shape = tuple(getattr(X, "shape", ()))
    d = int(shape[-1]) if len(shape) == 2 else None
    return _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
