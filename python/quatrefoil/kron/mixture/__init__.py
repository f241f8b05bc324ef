"""Covariance functions on points. N, M points, P coordinates, Q or A components; equations of csrc/kron/mixture/README.md."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..._arguments import choice, integer, keywords
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, T
from .radial import MATERN12, MATERN32, MATERN52, PERIODIC, RATIONAL_QUADRATIC, RBF
from .radial import matern12 as matern12
from .radial import matern12_vjp as matern12_vjp
from .radial import matern32 as matern32
from .radial import matern32_vjp as matern32_vjp
from .radial import matern52 as matern52
from .radial import matern52_vjp as matern52_vjp
from .radial import periodic as periodic
from .radial import periodic_vjp as periodic_vjp
from .radial import rational_quadratic as rational_quadratic
from .radial import rational_quadratic_vjp as rational_quadratic_vjp
from .radial import rbf as rbf
from .radial import rbf_vjp as rbf_vjp
from .rules import TOLERANCE, as_array, check_values, op

_ENTRIES = "A P or A or "  # one number per entry, one per component, or one for all
_KINDS = ("student_t", "gaussian")
_LOG_WEIGHTS, _LOG_SCALES, _FREQS = (Arg(name, "Q") for name in ("log_weights", "log_scales", "freqs"))
_SPECTRAL = (Option("kind", str), Option("order", int))

SPECTRAL_MIXTURE = op("spectral_mixture", (Arg("x", "N"), Arg("y", "M", optional=True), _LOG_WEIGHTS, _LOG_SCALES, _FREQS), _SPECTRAL)
_LAGS = (Arg("d", "N"), _LOG_WEIGHTS, _LOG_SCALES, _FREQS)
SPECTRAL_MIXTURE_LAGS = Op(
    __name__, "spectral_mixture_lags", inputs=_LAGS, outputs=(Arg("k", "N"),), options=_SPECTRAL,
    policy=Policy(check_values=partial(check_values, _LAGS)), tolerance=TOLERANCE,
)  # fmt: skip
GSMP_KERNEL = op(
    "gsmp_kernel",
    (
        Arg("x", "N P?", constant=True), Arg("y", "M P?", optional=True, constant=True),
        Arg("weights", "A"), Arg("means", "A P? or A"), Arg("std", _ENTRIES),
    ),
)  # fmt: skip
OPS = (RBF, MATERN12, MATERN32, MATERN52, PERIODIC, RATIONAL_QUADRATIC, SPECTRAL_MIXTURE, SPECTRAL_MIXTURE_LAGS, GSMP_KERNEL)


def _spectral_options(label: str, kind: str, order: int) -> tuple[Any, ...]:
    if kind.__class__ is str and kind in _KINDS and order.__class__ is int and 0 <= order <= 2:  # fast path for frequent calls
        return kind, order
    return choice(kind, label, "kind", _KINDS), integer(order, label, "order", 0, 2)


_LOGS = {"weights": "use log_weights", "scales": "use log_scales"}
_FREQUENCIES = dict.fromkeys(("frequencies", "means", "mixture_means"), "use freqs, in cycles per unit of x")


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

    K_ij = k^(order)(x_i - y_j), the derivative in the first argument,
    k(d) = sum_q exp(log_weights_q) g_q(d) cos(2 pi freqs_q d).

    Parameters
    ----------
    x : (N,)
        Points; float32 or float64.
    y : (M,), optional
        Other points, by default x.
    log_weights : (Q,)
        Logarithms of the weights.
    log_scales : (Q,)
        Logarithms of r, an inverse length-scale, for "student_t"; of p, a factor of d^2, for "gaussian".
    freqs : (Q,)
        Frequencies in cycles per unit of x, not in radians.
    kind : "student_t" or "gaussian"
        The shape of a component's spectrum: g(d) = (1 + s + s^2 / 3) exp(-s) with s = sqrt(5) r |d|, or g(d) = exp(-p d^2).
    order : 0, 1 or 2
        Order of the derivative.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Notes
    -----
    Exceptions are as for ``rbf``. Differentiable in all arrays, even where points coincide. Cost: an exponential, a sine and a cosine per
    component and pair, in float64 for any dtype. Without y, half the pairs are evaluated; for uniform axes with the same step, only the
    lags (9), as in ``rbf``. Memory: a copy of y. Error: a few eps of sum w (1 + 2 pi f |d|), for derivatives times (2 pi f)^order.

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
    return call(SPECTRAL_MIXTURE, (x, y, log_weights, log_scales, freqs), options, (), out, backend, num_threads)


def spectral_mixture_vjp(
    *inputs_and_grad: Any, kind: str = "student_t", order: int = 0, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[Any, ...]:
    """Gradients of ``spectral_mixture``.

    ``(x, y, log_weights, log_scales, freqs, grad)``, grad (N, M), y an array or None -> (dx, dy, dlog_weights, dlog_scales, dfreqs).
    If y is None, dy is omitted (8), (10). Twice the cost of the values; on a uniform axis 2 N^2 additions and N lags. Memory as in
    ``rbf_vjp``.

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
    """``spectral_mixture`` as a function of differences: d (N,) -> k^(order)(d) (N,) (7).

    For solvers whose matrices are Toeplitz. Differentiable in all arrays. Error: a few eps of sum w (2 pi f)^order.
    """
    options = _spectral_options(SPECTRAL_MIXTURE_LAGS.label, kind, order)
    return call(SPECTRAL_MIXTURE_LAGS, (d, log_weights, log_scales, freqs), options, (), out, backend, num_threads)


def spectral_mixture_lags_vjp(
    *inputs_and_grad: Any, kind: str = "student_t", order: int = 0, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[Any, ...]:
    """Gradients of ``spectral_mixture_lags``: ``(d, log_weights, log_scales, freqs, grad)`` -> (dd, dlog_weights, dlog_scales, dfreqs)."""
    options = _spectral_options(f"{SPECTRAL_MIXTURE_LAGS.label}_vjp", kind, order)
    return call_vjp(SPECTRAL_MIXTURE_LAGS, inputs_and_grad, options, (), backend, num_threads)


@keywords(
    "kron.gsmp_kernel",
    **dict.fromkeys(("freqs", "frequencies"), "use means, in cycles per unit of x"),
    scale="use std, the standard deviations of the frequencies",
)
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
    x, y
        Points as in ``rbf``.
    weights : (A,)
        At least 0.
    means : (A, P) or (A,)
        Frequencies in cycles per unit of x; (A,): the same for all coordinates.
    std : number, (), (A,) or (A, P)
        Width of a component's spectrum, at least 0: one for all, one per component, or one per component and coordinate.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (N, M)

    Notes
    -----
    Exceptions are as for ``rbf``; weights and std must be at least 0. Differentiable in weights, means and std, not in points. Cost: P
    cosines and an exponential per component and pair, in float64 for any dtype. If std is one number, there is only one exponential per
    pair. Without y, half the pairs are evaluated; for uniform axes with the same step, only the lags (9), as in ``rbf``. Error: a few eps
    of sum_a weights_a (1 + 2 pi sum_p means_ap |t_p|).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.array([0.0, 0.5, 1.0])
    >>> qf.kron.gsmp_kernel(x, weights=np.array([2.0]), means=np.array([1.0]), std=np.array([0.01])).round(2)  # period 1
    array([[ 2., -2.,  2.],
           [-2.,  2., -2.],
           [ 2., -2.,  2.]])
    """
    std = as_array(std, x, GSMP_KERNEL.label, "std", positive=False)
    return call(GSMP_KERNEL, (x, y, weights, means, std), (), (), out, backend, num_threads)


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
    std = as_array(std, x, label, "std", positive=False)
    return call_vjp(GSMP_KERNEL, (x, y, weights, means, std, grad), (), (), backend, num_threads)
