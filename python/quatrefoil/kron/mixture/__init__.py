"""Covariance functions on points. N, M points, P coordinates, Q or A components; equations of csrc/kron/mixture/README.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import choice, finite, integer, is_number, keywords, number
from ..._call import call, call_vjp
from ..._dims import Shape, Sizes
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, T

# A float64 sum of some terms that may cancel, exponentials and phases of a few radians among them; float32 arrays are computed so too.
_TOLERANCE = 2e-6
_ENTRIES = "A P or A or "  # one number an entry, one a component, or one in all: () has no letters
_KINDS = ("student_t", "gaussian")

_LOG_WEIGHTS, _LOG_SCALES, _FREQS = (Arg(name, "Q") for name in ("log_weights", "log_scales", "freqs"))
_SPECTRAL = (Option("kind", str), Option("order", int))


def _rule(inputs: tuple[Arg, ...]) -> Callable[..., Sequence[Shape | None]]:
    """Dims as everywhere; the result is (N, M), M the number of x where there is no y."""

    def shapes_of(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> Sequence[Shape | None]:
        sizes = Sizes(label, 0, {})
        for arg, shape in zip(inputs, shapes):
            if shape is not None:
                sizes.match(arg.name, arg.dims, 0, shape)
        x, y = shapes[0], shapes[1]
        assert x is not None
        return [(x[0], (x if y is None else y)[0])]

    return shapes_of


_BOUNDS = {
    "scale": {"positive": True},
    "alpha": {"positive": True},
    "period": {"positive": True},
    "weights": {"least_0": True},
    "std": {"least_0": True},
}


def _check_values(inputs: tuple[Arg, ...], label: str, arrays: Sequence[Any], options: tuple[Any, ...]) -> None:
    for arg, a in zip(inputs, arrays):
        finite(a, label, arg.name, **_BOUNDS.get(arg.name, {}))


def _op(name: str, inputs: tuple[Arg, ...], options: tuple[Option, ...] = ()) -> Op:
    return Op(
        __name__, name, inputs=inputs, outputs=(Arg("K", "N M"),), options=options,
        rule=_rule(inputs), tolerance=_TOLERANCE, policy=Policy(check_values=partial(_check_values, inputs)),
    )  # fmt: skip


_RADIAL = (Arg("x", "N P?"), Arg("y", "M P?", optional=True), Arg("scale", "P or "))
RBF, MATERN12, MATERN32, MATERN52 = (_op(name, _RADIAL) for name in ("rbf", "matern12", "matern32", "matern52"))
PERIODIC = _op("periodic", (*_RADIAL, Arg("period", "P or ")))
RATIONAL_QUADRATIC = _op("rational_quadratic", (*_RADIAL, Arg("alpha", "")))
SPECTRAL_MIXTURE = _op("spectral_mixture", (Arg("x", "N"), Arg("y", "M", optional=True), _LOG_WEIGHTS, _LOG_SCALES, _FREQS), _SPECTRAL)
_LAGS = (Arg("d", "N"), _LOG_WEIGHTS, _LOG_SCALES, _FREQS)
SPECTRAL_MIXTURE_LAGS = Op(
    __name__, "spectral_mixture_lags", inputs=_LAGS, outputs=(Arg("k", "N"),), options=_SPECTRAL,
    policy=Policy(check_values=partial(_check_values, _LAGS)), tolerance=_TOLERANCE,
)  # fmt: skip
GSMP_KERNEL = _op(
    "gsmp_kernel",
    (
        Arg("x", "N P?", constant=True), Arg("y", "M P?", optional=True, constant=True),
        Arg("weights", "A"), Arg("means", "A P? or A"), Arg("std", _ENTRIES),
    ),
)  # fmt: skip
OPS = (RBF, MATERN12, MATERN32, MATERN52, PERIODIC, RATIONAL_QUADRATIC, SPECTRAL_MIXTURE, SPECTRAL_MIXTURE_LAGS, GSMP_KERNEL)


def _as_array(value: Any, x: Any, label: str, name: str, *, positive: bool) -> Any:
    """A number as an array of x's kind and dtype; an array as it is."""
    if not is_number(value):
        return value
    found = number(value, label, name, positive=positive)
    kind = _arrays.kind(x)
    if kind is None or _arrays.dtype_name(x) not in _arrays.REAL:
        return np.asarray(found)  # the call refuses x
    return x.new_full((), found) if kind == "torch" else _arrays.beside(x, np.full((), found, x.dtype))


def _spectral_options(label: str, kind: str, order: int) -> tuple[Any, ...]:
    if kind.__class__ is str and kind in _KINDS and order.__class__ is int and 0 <= order <= 2:  # whoever calls often
        return kind, order
    return choice(kind, label, "kind", _KINDS), integer(order, label, "order", 0, 2)


_AS_KERNEL = "a kernel for GridGP is functools.partial(qf.kron.{}, scale=0.3)"
_SCALE = dict.fromkeys(("lengthscale", "length_scale", "lengthscales", "ls", "std", "sigma", "l"), "use scale") | {
    "scale": "give a length in the unit of x, scale=0.3",
    "positional": "the length is given by name, scale=0.3",
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
        Other points; without them those of x.
    scale : number, () or (P,)
        Length-scale, above 0: one for all, or for points (N, P) one a column. An array where its gradient is wanted.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Raises
    ------
    ValueError
        Shapes that do not fit; a scale that is not above 0; NaN or infinity in x, y or scale (its index is named).
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in x, y and scale. Cost: an exponential and 3 P operations a pair, in float64 whatever the dtype; half the
    pairs where there is no y, and K is symmetric to the last bit. N exponentials where x is a uniform axis and there is no y, N + M - 1
    where both are, with one step (9): axes whose numbers are off x_0 + i h by at most 4 eps of the largest. The matrix is then that of
    the exact axes. Memory: a copy of y. Error: a few eps of K.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.rbf(np.array([0.0, 1.0, 2.0]), scale=1.0).round(4)
    array([[1.    , 0.6065, 0.1353],
           [0.6065, 1.    , 0.6065],
           [0.1353, 0.6065, 1.    ]])
    """
    scale = _as_array(scale, x, RBF.label, "scale", positive=True)
    K: T = call(RBF, (x, y, scale), (), (), out, backend, num_threads)
    return K


def rbf_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``rbf``.

    ``(x, y, scale, grad)``, grad (N, M), y an array or None -> (dx, dy, dscale), without dy where y is None (3).

    Two to three times the cost of the values. Memory: at most 64 sums of the size of y, 16 MB together, and two arrays like x in float64.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, scale = np.array([0.0, 1.0]), np.array(1.0)
    >>> dx, dscale = qf.kron.rbf_vjp(x, None, scale, np.ones((2, 2)))
    >>> dx.round(4)  # 2 exp(-1/2) with two signs
    array([ 1.2131, -1.2131])
    """
    return _radial_vjp(RBF, inputs_and_grad, backend, num_threads)


@keywords("kron.matern52", x=_AS_KERNEL.format("matern52"), **_SCALE, nu="it is 5/2 here")
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

    K_ij = (1 + s + s^2 / 3) exp(-s), s^2 = 5 sum_p ((x_ip - y_jp) / scale_p)^2.

    Parameters
    ----------
    x : (N,) or (N, P)
        Points; float32 or float64.
    y : (M,) or (M, P), optional
        Other points; without them those of x.
    scale : number, () or (P,)
        Length-scale, above 0: one for all, or for points (N, P) one a column. An array where its gradient is wanted.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Raises
    ------
    ValueError, TypeError
        As ``rbf``.

    Notes
    -----
    Differentiable in x, y and scale, where points coincide too. Cost, uniform axes, memory and error as ``rbf``, with a square root more
    a pair.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.matern52(np.array([0.0, 1.0, 2.0]), scale=1.0).round(4)
    array([[1.    , 0.524 , 0.1387],
           [0.524 , 1.    , 0.524 ],
           [0.1387, 0.524 , 1.    ]])
    """
    scale = _as_array(scale, x, MATERN52.label, "scale", positive=True)
    K: T = call(MATERN52, (x, y, scale), (), (), out, backend, num_threads)
    return K


def matern52_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``matern52``: ``(x, y, scale, grad)`` -> (dx, dy, dscale), as ``rbf_vjp`` (3).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, scale = np.array([0.0, 1.0]), np.array(1.0)
    >>> dx, dscale = qf.kron.matern52_vjp(x, None, scale, np.ones((2, 2)))
    >>> dx.round(4)
    array([ 1.1529, -1.1529])
    """
    return _radial_vjp(MATERN52, inputs_and_grad, backend, num_threads)


@keywords("kron.matern32", x=_AS_KERNEL.format("matern32"), **_SCALE, nu="it is 3/2 here")
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

    K_ij = (1 + s) exp(-s), s^2 = 3 sum_p ((x_ip - y_jp) / scale_p)^2. Parameters, result, errors and cost are those of ``matern52``;
    out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.matern32(np.array([0.0, 1.0, 2.0]), scale=1.0)[0].round(4)
    array([1.    , 0.4834, 0.1397])
    """
    scale = _as_array(scale, x, MATERN32.label, "scale", positive=True)
    K: T = call(MATERN32, (x, y, scale), (), (), out, backend, num_threads)
    return K


def matern32_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``matern32``: ``(x, y, scale, grad)`` -> (dx, dy, dscale), as ``rbf_vjp`` (3).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, scale = np.array([0.0, 1.0]), np.array(1.0)
    >>> dx, dscale = qf.kron.matern32_vjp(x, None, scale, np.ones((2, 2)))
    >>> dx.round(4)
    array([ 1.0615, -1.0615])
    """
    return _radial_vjp(MATERN32, inputs_and_grad, backend, num_threads)


@keywords("kron.matern12", x=_AS_KERNEL.format("matern12"), **_SCALE, nu="it is 1/2 here")
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

    K_ij = exp(-s), s^2 = sum_p ((x_ip - y_jp) / scale_p)^2. Parameters, result, errors and cost are those of ``matern52``. Where points
    coincide it has a kink: the gradient in x is 0 there, the mean of both sides. out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.matern12(np.array([0.0, 1.0, 2.0]), scale=1.0)[0].round(4)
    array([1.    , 0.3679, 0.1353])
    """
    scale = _as_array(scale, x, MATERN12.label, "scale", positive=True)
    K: T = call(MATERN12, (x, y, scale), (), (), out, backend, num_threads)
    return K


def matern12_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``matern12``: ``(x, y, scale, grad)`` -> (dx, dy, dscale), as ``rbf_vjp`` (3).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, scale = np.array([0.0, 1.0]), np.array(1.0)
    >>> dx, dscale = qf.kron.matern12_vjp(x, None, scale, np.ones((2, 2)))
    >>> dx.round(4)
    array([ 0.7358, -0.7358])
    """
    return _radial_vjp(MATERN12, inputs_and_grad, backend, num_threads)


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

    K_ij = (1 + sum_p ((x_ip - y_jp) / scale_p)^2 / (2 alpha))^-alpha; ``alpha``, a number above 0 or an array (), mixes fewer scales the
    larger it is, and ``rbf`` is its limit. Other parameters, result and errors are those of ``rbf``. Cost: a logarithm and an exponential
    per pair. Differentiable in x, y, scale and alpha. out, backend, num_threads: As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.rational_quadratic(np.array([0.0, 1.0, 2.0]), scale=1.0, alpha=1.0)[0].round(4)
    array([1.    , 0.6667, 0.3333])
    """
    scale, alpha = (_as_array(a, x, RATIONAL_QUADRATIC.label, n, positive=True) for n, a in (("scale", scale), ("alpha", alpha)))
    K: T = call(RATIONAL_QUADRATIC, (x, y, scale, alpha), (), (), out, backend, num_threads)
    return K


def rational_quadratic_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``rational_quadratic`` (3).

    ``(x, y, scale, alpha, grad)`` -> (dx, dy, dscale, dalpha), as ``rbf_vjp``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, one = np.array([0.0, 1.0]), np.array(1.0)
    >>> dx, dscale, dalpha = qf.kron.rational_quadratic_vjp(x, None, one, one, np.ones((2, 2)))
    >>> dx.round(4)
    array([ 0.8889, -0.8889])
    """
    return _radial_vjp(RATIONAL_QUADRATIC, inputs_and_grad, backend, num_threads, ("alpha",))


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
    x : (N,) or (N, P)
        Points; float32 or float64.
    y : (M,) or (M, P), optional
        Other points; without them those of x.
    scale : number, () or (P,)
        Above 0, without a unit: 1 is a smooth wave, 0.3 has details a tenth of a period long.
    period : number, () or (P,)
        Above 0, in the unit of x.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Raises
    ------
    ValueError, TypeError
        As ``rbf``.

    Notes
    -----
    Differentiable in all arrays. Cost: as ``rbf``, with a sine and a cosine per coordinate and pair; whole turns are taken off exactly.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.periodic(np.array([0.0, 1.0, 2.0]), scale=1.0, period=2.0)[0].round(4)
    array([1.    , 0.1353, 1.    ])
    """
    scale, period = (_as_array(a, x, PERIODIC.label, n, positive=True) for n, a in (("scale", scale), ("period", period)))
    K: T = call(PERIODIC, (x, y, scale, period), (), (), out, backend, num_threads)
    return K


def periodic_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``periodic`` (13).

    ``(x, y, scale, period, grad)`` -> (dx, dy, dscale, dperiod), as ``rbf_vjp``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, one = np.array([0.0, 0.25]), np.array(1.0)
    >>> dx, dscale, dperiod = qf.kron.periodic_vjp(x, None, one, one, np.ones((2, 2)))
    >>> dx.round(4)
    array([ 4.6229, -4.6229])
    """
    return _radial_vjp(PERIODIC, inputs_and_grad, backend, num_threads, ("period",))


def _radial_vjp(op: Op, given: Sequence[Any], backend: str | None, num_threads: int | None, more: Sequence[str] = ()) -> tuple[Any, ...]:
    label, names = f"{op.label}_vjp", ("scale", *more)
    if len(given) != 3 + len(names):
        raise TypeError(f"{label}: expected x, y, {', '.join(names)} and grad, got {len(given)} arguments")
    x, y, *numbers, grad = given
    arrays = [_as_array(a, x, label, name, positive=True) for name, a in zip(names, numbers)]
    return call_vjp(op, (x, y, *arrays, grad), (), (), backend, num_threads)


_LOGS = {"weights": "use log_weights", "scales": "use log_scales"}
_FREQUENCIES = dict.fromkeys(("frequencies", "means", "mixture_means"), "use freqs, in cycles")


@keywords("kron.spectral_mixture", **_LOGS, **_FREQUENCIES)
def spectral_mixture(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    log_weights: Array[T],
    log_scales: Array[T],
    freqs: Array[T],
    kind: str = "student_t",
    order: int = 0,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Spectral mixture covariance, for functions with many frequencies, or its derivative (4)-(7).

    K_ij = k^(order)(x_i - y_j), the derivative by the first argument,
    k(d) = sum_q exp(log_weights_q) g_q(d) cos(2 pi freqs_q d).

    Parameters
    ----------
    x : (N,)
        Points; float32 or float64.
    y : (M,), optional
        Other points; without them those of x.
    log_weights : (Q,)
        Logarithms of the weights.
    log_scales : (Q,)
        Logarithms of r, an inverse length-scale, for "student_t"; of p, which multiplies d^2, for "gaussian".
    freqs : (Q,)
        Frequencies in cycles, not in radians.
    kind : "student_t" or "gaussian"
        The shape of a component's spectrum: g(d) = (1 + s + s^2 / 3) exp(-s), s = sqrt(5) r |d|, or g(d) = exp(-p d^2).
    order : 0, 1 or 2
        Which derivative.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Raises
    ------
    ValueError
        Shapes that do not fit; another kind or order; NaN or infinity in an argument (its index is named).
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in all arrays: in x and y by the next derivative, in closed form also where points coincide. Cost: an exponential, a
    sine and a cosine a component and pair, in float64 whatever the dtype; half the pairs where there is no y; a component and lag where x
    is a uniform axis, and y another of the same step (9), as for ``rbf``. Memory: a copy of y. Error: a few eps of sum w (1 + 2 pi f
    |d|), with (2 pi f)^order before it: d is rounded once and its turns f d are taken off exactly.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> zero = np.zeros(1)
    >>> qf.kron.spectral_mixture(np.array([0.0, 0.25, 0.5]), log_weights=zero, log_scales=zero, freqs=zero + 1).round(3)
    array([[ 1.   ,  0.   , -0.829],
           [ 0.   ,  1.   ,  0.   ],
           [-0.829,  0.   ,  1.   ]])
    """
    options = _spectral_options(SPECTRAL_MIXTURE.label, kind, order)
    K: T = call(SPECTRAL_MIXTURE, (x, y, log_weights, log_scales, freqs), options, (), out, backend, num_threads)
    return K


def spectral_mixture_vjp(
    *inputs_and_grad: Any, kind: str = "student_t", order: int = 0, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[Any, ...]:
    """Gradients of ``spectral_mixture``.

    ``(x, y, log_weights, log_scales, freqs, grad)``, grad (N, M), y an array or None -> (dx, dy, dlog_weights, dlog_scales, dfreqs),
    without dy where y is None (8), (10).

    Twice the cost of the values; on a uniform axis 2 N^2 additions and N lags. Memory as ``rbf_vjp``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, one = np.array([0.0, 1.0]), np.zeros(1)
    >>> dx, dweights, dscales, dfreqs = qf.kron.spectral_mixture_vjp(x, None, one, one, one, np.eye(2))
    >>> dweights  # two variances of exp(0)
    array([2.])
    """
    options = _spectral_options(f"{SPECTRAL_MIXTURE.label}_vjp", kind, order)
    return call_vjp(SPECTRAL_MIXTURE, inputs_and_grad, options, (), backend, num_threads)


def spectral_mixture_lags(
    d: Array[T],
    log_weights: Array[T],
    log_scales: Array[T],
    freqs: Array[T],
    *,
    kind: str = "student_t",
    order: int = 0,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """The function behind ``spectral_mixture`` at differences that are given: d (N,) -> k^(order)(d) (N,) (7).

    What a solver asks for that knows its matrices to be Toeplitz. Differentiable in all arrays. Error: a few eps of sum w (2 pi f)^order.
    """
    options = _spectral_options(SPECTRAL_MIXTURE_LAGS.label, kind, order)
    k: T = call(SPECTRAL_MIXTURE_LAGS, (d, log_weights, log_scales, freqs), options, (), out, backend, num_threads)
    return k


def spectral_mixture_lags_vjp(
    *inputs_and_grad: Any, kind: str = "student_t", order: int = 0, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[Any, ...]:
    """Gradients of ``spectral_mixture_lags``: ``(d, log_weights, log_scales, freqs, grad)`` -> (dd, dlog_weights, dlog_scales, dfreqs)."""
    options = _spectral_options(f"{SPECTRAL_MIXTURE_LAGS.label}_vjp", kind, order)
    return call_vjp(SPECTRAL_MIXTURE_LAGS, inputs_and_grad, options, (), backend, num_threads)


@keywords("kron.gsmp_kernel", freqs="use means, in cycles", frequencies="use means, in cycles", scale="use std, of the frequencies")
def gsmp_kernel(
    x: Array[T],
    y: Array[T] | None = None,
    *,
    weights: Array[T],
    means: Array[T],
    std: Array[T] | float,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Grid spectral mixture product covariance, whose weights ``SlimKL`` learns (11).

    K_ij = sum_a weights_a prod_p exp(-2 pi^2 t_p^2 std_ap^2) cos(2 pi means_ap t_p), t = x_i - y_j.

    Parameters
    ----------
    x : (N,) or (N, P)
        Points; float32 or float64.
    y : (M,) or (M, P), optional
        Other points; without them those of x.
    weights : (A,)
        At least 0.
    means : (A, P) or (A,)
        Frequencies in cycles; (A,): the same for all coordinates.
    std : number, (), (A,) or (A, P)
        The width of a component's spectrum, at least 0: one for all, one a component, or one a component and coordinate.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Raises
    ------
    ValueError
        Shapes that do not fit; weights or std below 0; NaN or infinity in an argument (its index is named).
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in weights, means and std, not in points. Cost: P cosines a component and pair, and an exponential: one a pair where
    std is one number; in float64 whatever the dtype. Half the pairs where there is no y, and lags in place of pairs (9), as for ``rbf``.
    Error: a few eps of sum_a weights_a (1 + 2 pi sum_p means_ap |t_p|).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.array([0.0, 0.5, 1.0])
    >>> qf.kron.gsmp_kernel(x, weights=np.array([2.0]), means=np.array([1.0]), std=np.array([0.01])).round(2)  # period 1
    array([[ 2., -2.,  2.],
           [-2.,  2., -2.],
           [ 2., -2.,  2.]])
    """
    std = _as_array(std, x, GSMP_KERNEL.label, "std", positive=False)
    K: T = call(GSMP_KERNEL, (x, y, weights, means, std), (), (), out, backend, num_threads)
    return K


def gsmp_kernel_vjp(*inputs_and_grad: Any, backend: Backend | None = None, num_threads: int | None = None) -> tuple[Any, ...]:
    """Gradients of ``gsmp_kernel``.

    ``(x, y, weights, means, std, grad)``, y an array or None -> (dweights, dmeans, dstd) (12).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, one = np.array([0.0, 0.5]), np.ones(1)
    >>> dweights, dmeans, dstd = qf.kron.gsmp_kernel_vjp(x, None, one, one, 0 * one, np.eye(2))
    >>> dweights
    array([2.])
    """
    label = f"{GSMP_KERNEL.label}_vjp"
    if len(inputs_and_grad) != 6:
        raise TypeError(f"{label}: expected x, y, weights, means, std and grad, got {len(inputs_and_grad)} arguments")
    x, y, weights, means, std, grad = inputs_and_grad
    std = _as_array(std, x, label, "std", positive=False)
    return call_vjp(GSMP_KERNEL, (x, y, weights, means, std, grad), (), (), backend, num_threads)
