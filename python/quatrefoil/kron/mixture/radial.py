"""Covariance functions of a scaled distance: rbf, Matern, rational quadratic, periodic; equations of csrc/kron/mixture/README.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..._arguments import keywords
from ..._call import call, call_vjp
from ..._spec import Arg, Op
from ..._typing import Array, Backend, T
from .rules import as_array, op

_RADIAL = (Arg("x", "N P?"), Arg("y", "M P?", optional=True), Arg("scale", "P or "))
RBF, MATERN12, MATERN32, MATERN52 = (op(name, _RADIAL) for name in ("rbf", "matern12", "matern32", "matern52"))
PERIODIC = op("periodic", (*_RADIAL, Arg("period", "P or ")))
RATIONAL_QUADRATIC = op("rational_quadratic", (*_RADIAL, Arg("alpha", "")))

_AS_KERNEL = "a kernel for GridGP is functools.partial(qf.kron.{}, scale=0.3)"
_SCALE = dict.fromkeys(("lengthscale", "length_scale", "lengthscales", "ls", "std", "sigma", "l"), "use scale") | {
    "scale": "pass a length in the unit of x, scale=0.3",
    "positional": "pass the length by keyword, scale=0.3",
}


@keywords("kron.rbf", x=_AS_KERNEL.format("rbf"), **_SCALE)
def rbf(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    scale: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Squared exponential covariance, K_ij = exp(-1/2 sum_p ((x_ip - y_jp) / scale_p)^2) (1).

    Parameters
    ----------
    x : (N,) or (N, P)
        Points; float32 or float64.
    y : (M,) or (M, P), optional
        Other points, by default x.
    scale : number, () or (P,)
        Length-scale, above 0: one for all coordinates, or one per column of points (N, P). Pass an array if you need its gradient.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Raises
    ------
    ValueError
        Incompatible shapes; a scale that is not above 0; NaN or infinity in x, y or scale (with its index).
    TypeError
        Unsupported dtypes, or mixed array types or dtypes.

    Notes
    -----
    Differentiable in x, y and scale. Cost: an exponential and 3 P operations per pair, in float64 for any dtype. Without y, half the pairs
    are evaluated, and K is bitwise symmetric. A uniform axis x without y takes N exponentials, and two uniform axes with the same step take
    N + M - 1 (9). An axis is uniform if its points differ from x_0 + i h by at most 4 eps times the largest |x|; K is then that of the
    points x_0 + i h. Memory: a copy of y. Error: a few eps of K.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.rbf(np.array([0.0, 1.0, 2.0]), scale=1.0).round(4)
    array([[1.    , 0.6065, 0.1353],
           [0.6065, 1.    , 0.6065],
           [0.1353, 0.6065, 1.    ]])
    """
    return _matrix(RBF, x, y, (scale,), out, backend, num_threads)


def rbf_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``rbf``.

    ``(x, y, scale, grad)``, grad (N, M), y an array or None -> (dx, dy, dscale). If y is None, dy is omitted (3). Two to three times the
    cost of the values. Memory: at most 64 sums of the size of y, 16 MB in all, and two float64 arrays of the size of x.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, scale = np.array([0.0, 1.0]), np.array(1.0)
    >>> dx, dscale = qf.kron.rbf_vjp(x, None, scale, np.ones((2, 2)))
    >>> dx.round(4)  # 2 exp(-1/2) and its negative
    array([ 1.2131, -1.2131])
    """
    return _radial_vjp(RBF, inputs_and_grad, backend, num_threads)


@keywords("kron.matern52", x=_AS_KERNEL.format("matern52"), **_SCALE, nu="nu is fixed at 5/2")
def matern52(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    scale: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Matern covariance with nu = 5/2, for functions with two derivatives (2).

    K_ij = (1 + s + s^2 / 3) exp(-s), s^2 = 5 sum_p ((x_ip - y_jp) / scale_p)^2. Same parameters, result, errors and cost as ``rbf``,
    with one more square root per pair. Differentiable in x, y and scale, even where points coincide.
    out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.matern52(np.array([0.0, 1.0, 2.0]), scale=1.0).round(4)
    array([[1.    , 0.524 , 0.1387],
           [0.524 , 1.    , 0.524 ],
           [0.1387, 0.524 , 1.    ]])
    """
    return _matrix(MATERN52, x, y, (scale,), out, backend, num_threads)


@keywords("kron.matern32", x=_AS_KERNEL.format("matern32"), **_SCALE, nu="nu is fixed at 3/2")
def matern32(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    scale: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Matern covariance with nu = 3/2, for functions with one derivative (2).

    K_ij = (1 + s) exp(-s), s^2 = 3 sum_p ((x_ip - y_jp) / scale_p)^2. Same parameters, result, errors and cost as ``matern52``.
    out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.matern32(np.array([0.0, 1.0, 2.0]), scale=1.0)[0].round(4)
    array([1.    , 0.4834, 0.1397])
    """
    return _matrix(MATERN32, x, y, (scale,), out, backend, num_threads)


@keywords("kron.matern12", x=_AS_KERNEL.format("matern12"), **_SCALE, nu="nu is fixed at 1/2")
def matern12(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    scale: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Matern covariance with nu = 1/2, the exponential one, for continuous rough functions (2).

    K_ij = exp(-s), s^2 = sum_p ((x_ip - y_jp) / scale_p)^2. Same parameters, result, errors and cost as ``matern52``. The kernel has
    a kink where points coincide: the gradient in x is 0 there, the mean of both sides.
    out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.matern12(np.array([0.0, 1.0, 2.0]), scale=1.0)[0].round(4)
    array([1.    , 0.3679, 0.1353])
    """
    return _matrix(MATERN12, x, y, (scale,), out, backend, num_threads)


@keywords("kron.rational_quadratic", x=_AS_KERNEL.format("rational_quadratic"), **_SCALE)
def rational_quadratic(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    scale: Array[T] | float,
    alpha: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Rational quadratic covariance, a mixture of squared exponentials of many length scales (2).

    K_ij = (1 + sum_p ((x_ip - y_jp) / scale_p)^2 / (2 alpha))^-alpha, with ``alpha`` a number above 0 or an array (). The larger it is, the
    fewer scales are mixed; the limit is ``rbf``. Other parameters, result and errors are as for ``rbf``. Cost: a logarithm and an
    exponential per pair. Differentiable in x, y, scale and alpha. out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.rational_quadratic(np.array([0.0, 1.0, 2.0]), scale=1.0, alpha=1.0)[0].round(4)
    array([1.    , 0.6667, 0.3333])
    """
    return _matrix(RATIONAL_QUADRATIC, x, y, (scale, alpha), out, backend, num_threads)


@keywords("kron.periodic", **_SCALE, **dict.fromkeys(("periodicity", "period_length"), "use period, in the unit of x"))
def periodic(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    scale: Array[T] | float,
    period: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Covariance of periodic functions, MacKay's exp-sine-squared (13).

    K_ij = exp(-2 sum_p sin^2(pi (x_ip - y_jp) / period_p) / scale_p^2): ``rbf`` on circles.

    Parameters
    ----------
    x, y
        Points as in ``rbf``.
    scale : number, () or (P,)
        Above 0, unitless: 1 gives smooth waves, 0.3 gives details a tenth of a period long.
    period : number, () or (P,)
        Above 0, in the unit of x.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Notes
    -----
    Exceptions are as for ``rbf``. Differentiable in all arrays. Cost: as for ``rbf``, plus a sine and a cosine per coordinate and pair.
    Whole turns are removed exactly.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.periodic(np.array([0.0, 1.0, 2.0]), scale=1.0, period=2.0)[0].round(4)
    array([1.    , 0.1353, 1.    ])
    """
    return _matrix(PERIODIC, x, y, (scale, period), out, backend, num_threads)


def _matrix(op: Op, x: Array[T], y: Any, numbers: Sequence[Any], out: Any, backend: Backend | None, num_threads: int | None) -> T:
    return call(op, (x, y, *_arrays_of(op, x, numbers, op.label)), (), (), out, backend, num_threads)


def _radial_vjp(op: Op, inputs_and_grad: Sequence[Any], backend: str | None, num_threads: int | None) -> tuple[Any, ...]:
    label, names = f"{op.label}_vjp", [arg.name for arg in op.inputs]
    if len(inputs_and_grad) != len(names) + 1:
        raise TypeError(f"{label}: expected {', '.join(names)} and grad, got {len(inputs_and_grad)} arguments")
    x, y, *numbers, grad = inputs_and_grad
    return call_vjp(op, (x, y, *_arrays_of(op, x, numbers, label), grad), (), (), backend, num_threads)


def _arrays_of(op: Op, x: Any, numbers: Sequence[Any], label: str) -> list[Any]:
    """The arguments after x and y, which must be above 0, as arrays."""
    return [as_array(a, x, label, arg.name, positive=True) for arg, a in zip(op.inputs[2:], numbers)]


_GRADIENTS = """Gradients of ``{name}``.

    ``(x, y, {names}, grad)`` -> (dx, dy, {gradients}), as ``rbf_vjp`` ({equation}).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, one = np.array([0.0, {at}]), np.array(1.0)
    >>> dx, {gradients} = qf.kron.{name}_vjp(x, None, {ones}, np.ones((2, 2)))
    >>> dx.round(4)
    array([ {example}, -{example}])
    """


def _vjp_of(op: Op, example: float, equation: int = 3, at: float = 1.0) -> Callable[..., tuple[Any, ...]]:
    def vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
        return _radial_vjp(op, inputs_and_grad, backend, num_threads)

    names = [arg.name for arg in op.inputs[2:]]
    lists = {"names": names, "gradients": [f"d{name}" for name in names], "ones": ["one"] * len(names)}
    joined = {key: ", ".join(words) for key, words in lists.items()}
    vjp.__name__ = vjp.__qualname__ = f"{op.name}_vjp"
    vjp.__doc__ = _GRADIENTS.format(name=op.name, equation=equation, at=at, example=example, **joined)
    return vjp


matern12_vjp, matern32_vjp, matern52_vjp = _vjp_of(MATERN12, 0.7358), _vjp_of(MATERN32, 1.0615), _vjp_of(MATERN52, 1.1529)
periodic_vjp = _vjp_of(PERIODIC, 4.6229, 13, at=0.25)
rational_quadratic_vjp = _vjp_of(RATIONAL_QUADRATIC, 0.8889)
