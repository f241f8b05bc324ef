"""Layers of products of functions of the inputs. M products of I inputs; equation numbers refer to csrc/cheb/layer/README.md.

On the host, the compositions are the kernels, in blocks of rows, because matrix products dominate if there are more than a few outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, ArrayLike, Backend, T
from ..domain import number_text
from . import composition

MAX_DEGREES = 2**20  # maximum number of degrees


def check_recurrence(label: str, inputs: Sequence[Any]) -> None:
    """Raise ValueError if an element of b is not positive and finite."""
    X, b = inputs[0], inputs[3]
    bad = ~((b > 0) & np.isfinite(b))
    if bad.any() and X.shape[1]:
        at = np.argwhere(bad)[0]
        raise ValueError(f"{label}: b[{', '.join(map(str, at))}] is {number_text(b[tuple(at)])}, expected a positive finite number")


def _kernel(compute: Callable[..., Any], inputs: int, results: int, check: Callable[..., None] | None) -> Callable[..., None]:
    """Wrap a composition as a kernel on the host."""

    def kernel(*arguments: Any, backend: str) -> None:
        operands, outputs, degrees = arguments[:inputs], arguments[inputs : inputs + results], arguments[inputs + results]
        if check is not None:
            check(operands)
        with np.errstate(all="ignore"):
            computed = compute(np, *map(_arrays.dense, operands), degrees)
        for output, result in zip(outputs, computed if isinstance(computed, tuple) else (computed,)):
            if output is not None:
                output[...] = result

    return kernel


def _check(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    X, W, *rest = shapes
    assert X is not None
    assert W is not None
    degrees = options[0]
    if len(degrees) != W[0] * X[1]:
        raise ValueError(
            f"{label}: degrees has {len(degrees)} entries, expected ({W[0]}, {X[1]}), one row per row of W, one column per input"
        )
    if min(degrees, default=0) < 0:
        raise ValueError(f"{label}: degrees contains {min(degrees)}, expected at least 0")
    max_degrees = rest[0][-1] if len(rest) > 1 and rest[0] is not None else MAX_DEGREES
    if max(degrees, default=0) >= max_degrees:
        raise ValueError(f"{label}: degrees contains {max(degrees)}, expected less than {max_degrees}")


def _op(name: str, recurrence: tuple[Arg, ...]) -> Op:
    count = 2 + len(recurrence)
    check = functools.partial(check_recurrence, f"cheb.{name}") if recurrence else None
    return Op(
        __name__, name,
        inputs=(Arg("X", "N I"), Arg("W", "M O"), *recurrence),
        outputs=(Arg("Y", "N O"),),
        options=(Option("degrees", "ints"),),
        check=_check,
        policy=Policy(
            python_kernel=_kernel(getattr(composition, name), count, 1, check),
            python_adjoint=_kernel(getattr(composition, f"{name}_vjp"), count + 1, count, check),
        ),
        tolerance=4e-6,  # recurrences, and products of a few of them
    )  # fmt: skip


PRODUCT_LAYER = _op("product_layer", (Arg("a", "I K or K", constant=True), Arg("b", "I K or K", constant=True)))
TRIG_LAYER = _op("trig_layer", ())
OPS = (PRODUCT_LAYER, TRIG_LAYER)


def flat_degrees(degrees: Any, label: str) -> tuple[int, ...]:
    """Return degrees (M, I) as a flat tuple of integers. Lists are converted without NumPy, so torch.compile can trace them."""
    rows = degrees if isinstance(degrees, (list, tuple)) else np.asarray(degrees).tolist()
    sizes = {len(row) if isinstance(row, (list, tuple)) else -1 for row in rows} if isinstance(rows, (list, tuple)) else {-1}
    flat = () if -1 in sizes else tuple(n for row in rows for n in row)
    if -1 in sizes or len(sizes) > 1 or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in flat):
        raise ValueError(f"{label}: degrees is {str(degrees)[:60]}, expected integers (M, I), one row per product")
    return tuple(int(n) for n in flat)


def product_layer(
    X: Array[T],
    W: Array[T],
    a: Array[T],
    b: Array[T],
    degrees: ArrayLike,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Apply a layer of products of orthogonal polynomials of the inputs: a learned polynomial chaos (11).

    Y[n, o] = sum over products m of W[m, o] prod_i p_k(X[n, i]) with k = degrees[m, i] and the polynomials of ``poly_layer``.
    ``poly_layer`` is the special case in which each product has one input.

    Parameters
    ----------
    X : (N, I)
        float32 or float64.
    W : (M, O)
    a, b : (K,), or (I, K) with one measure per input
        As for ``poly_layer``.
    degrees : (M, I) int, less than K
        For example ``orthopoly.multi_indices(I, degree)``.
    out, backend, num_threads
        As in ``help(qf.conventions)``. Backends on the host use BLAS, with its own number of threads.

    Returns
    -------
    Y : (N, O)

    Notes
    -----
    Differentiable in X and W. Cost: a matrix product of 2 N M O flops in blocks of rows, plus s N M for products of up to s inputs. With
    both gradients, the cost is three times that plus 2 s N M I. Memory: a few MB.

    Oladyshkin et al., Neural Networks 166 (2023) 85 (deep arbitrary polynomial chaos).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> basis = qf.cheb.orthopoly.classical("hermite", 2)
    >>> X = np.array([[0.5, 2.0], [1.0, -1.0]])
    >>> qf.cheb.product_layer(X, np.array([[1.0], [10.0]]), basis.a, basis.b, [[0, 0], [1, 1]])  # 1 + 10 x y
    array([[11.],
           [-9.]])
    """
    return call(PRODUCT_LAYER, (X, W, a, b), (flat_degrees(degrees, "cheb.product_layer"),), (), out, backend, num_threads)


def product_layer_vjp(
    X: Array[T],
    W: Array[T],
    a: Array[T],
    b: Array[T],
    grad: Array[T],
    degrees: ArrayLike,
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T]:
    """Gradients of ``product_layer``: the gradient of Y -> (dX, dW) (12), (13).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> a, b = np.zeros(2), np.ones(2)  # 1 and x
    >>> X, W, one = np.array([[0.5, 2.0]]), np.array([[3.0]]), np.ones((1, 1))
    >>> dX, dW = qf.cheb.product_layer_vjp(X, W, a, b, one, [[1, 1]])  # of 3 x y
    >>> dX, dW
    (array([[6. , 1.5]]), array([[1.]]))
    """
    options = (flat_degrees(degrees, "cheb.product_layer_vjp"),)
    dX, dW, *_ = call_vjp(PRODUCT_LAYER, (X, W, a, b, grad), options, (), backend, num_threads)
    return dX, dW


def trig_layer(
    X: Array[T],
    W: Array[T],
    degrees: ArrayLike,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Apply a layer of products of sines and cosines: Fourier series with learned coefficients (11).

    Y[n, o] = sum over products m of W[m, o] prod_i t_k(X[n, i]) with k = degrees[m, i]; t_0 = 1, t_{2j-1} = sqrt(2) cos(j x) and
    t_{2j} = sqrt(2) sin(j x), orthonormal with respect to a uniform distribution on a period.

    Parameters
    ----------
    X : (N, I)
        Angles, float32 or float64.
    W : (M, O)
    degrees : (M, I) int
        One row per product; ``k * np.eye(I, dtype=int)`` gives the functions t_k of each input.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    Y : (N, O)

    Notes
    -----
    Costs and gradients are the same as for ``product_layer``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> X = np.array([[0.0, np.pi / 2]])
    >>> qf.cheb.trig_layer(X, np.array([[1.0], [0.5]]), [[0, 0], [1, 2]]).round(12)  # 1 + cos x sin y
    array([[2.]])
    """
    return call(TRIG_LAYER, (X, W), (flat_degrees(degrees, "cheb.trig_layer"),), (), out, backend, num_threads)


def trig_layer_vjp(
    X: Array[T], W: Array[T], grad: Array[T], degrees: ArrayLike, *, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, T]:
    """Gradients of ``trig_layer``: the gradient of Y -> (dX, dW) (12), (13).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> dX, dW = qf.cheb.trig_layer_vjp(np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1)), [[2]])  # of sqrt(2) sin x
    >>> dX.round(6)
    array([[1.414214]])
    """
    dX, dW = call_vjp(TRIG_LAYER, (X, W, grad), (flat_degrees(degrees, "cheb.trig_layer_vjp"),), (), backend, num_threads)
    return dX, dW
