"""Values of Chebyshev-Tucker tensors at scattered points, and their derivatives. n coefficients and rank r per axis, d axes, P points.

Equation numbers refer to csrc/cheb/scattered/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._arguments import sequence
from ..._array_tools import added
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, T
from ..domain import UNIT, Domain, flat_domain, number_text
from ..transform import derivative, derivative_adjoint
from .composition import reference


def check_points(label: str, X: np.ndarray, domain: Sequence[float], extrapolate: bool = False) -> None:
    """Raise ValueError for the first coordinate of X (P, d) that is not finite or, unless ``extrapolate``, outside its interval."""
    with np.errstate(over="ignore", invalid="ignore"):
        bad = np.isnan(reference(np, X, domain, extrapolate)).T
    if bad.any():
        p, k = np.argwhere(bad)[0]
        x, lo, hi = map(number_text, (X[p, k], *domain[2 * k : 2 * k + 2]))
        expected = "a finite number" if extrapolate else f"a number within the domain [{lo}, {hi}] of axis {k}"
        raise ValueError(f"{label}: X[{p}, {k}] is {x}, expected {expected}")


def _check_values(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    check_points(label, inputs[2], options[0], *options[3:])


def _second(
    arrays: Sequence[Any], bars: Sequence[Any], options: tuple[Any, ...], backend: Backend | None, num_threads: int | None
) -> list[Any]:
    """Second derivatives (11) in the inputs and grad. ``bars``: gradients with respect to the inputs' gradients, None for 0."""
    core, *factors, X, grad = arrays
    core_bar, *factor_bars, X_bar = bars
    (domain,) = options
    total: list[Any] = [None] * len(arrays)

    def add_value(core: Any, factors: Sequence[Any], weight: Any, without: int, scale: float = 0.0) -> None:
        """Add the gradients of sum_p grad_p weight_p f(x_p). Array ``without`` is not an input; with a scale, it is the derivative of an
        input, times the scale."""
        f = call(TUCKER_EVAL, (core, *factors, X), options, (None,), None, backend, num_threads)
        gradients = call_vjp(TUCKER_EVAL, (core, factors, X, grad * weight), options, (), backend, num_threads)
        for at, gradient in enumerate(TUCKER_EVAL.flatten(gradients)):
            if at != without:
                total[at] = added(total[at], gradient)
            elif scale:
                total[at] = added(total[at], derivative_adjoint(gradient) * scale)
        total[-1] = added(total[-1], f * weight)

    if core_bar is not None:
        add_value(core_bar, factors, 1.0, 0)
    for k, (U, bar) in enumerate(zip(factors, factor_bars)):
        if bar is not None:
            add_value(core, [*factors[:k], bar, *factors[k + 1 :]], 1.0, 1 + k)
        if X_bar is not None:
            scale = 2 / (domain[2 * k + 1] - domain[2 * k])
            add_value(core, [*factors[:k], derivative(U) * scale, *factors[k + 1 :]], X_bar[:, k], 1 + k, scale)
    return total


TUCKER_EVAL = Op(
    __name__, "tucker_eval",
    inputs=(Arg("core", "r_*"), Arg("factors", "n_ r_", sequence=True), Arg("X", "P #")),
    outputs=(Arg("f", "P"),),
    options=(Option("domain", "floats"),),
    extras=("packed",),
    policy=Policy(check_values=_check_values, second_vjp=_second),
    tolerance=2e-6,  # sums over k in float32 have errors of about sqrt(n) eps if the coefficients do not decay
)  # fmt: skip
TUCKER_DERIVATIVES = Op(
    __name__, "tucker_derivatives",
    inputs=TUCKER_EVAL.inputs,
    outputs=(Arg("f", "P"), Arg("gradient", "P #", only_if="gradient"), Arg("hessian", "P # #", only_if="hessian")),
    options=(*TUCKER_EVAL.options, Option("gradient", bool), Option("hessian", bool), Option("extrapolate", bool)),
    extras=("packed",),
    policy=Policy(check_values=_check_values),
    tolerance=4e-6,  # differentiation increases the coefficients more than the largest values
)  # fmt: skip
OPS = (TUCKER_EVAL, TUCKER_DERIVATIVES)


def tucker_eval(
    core: Array[T],
    factors: Sequence[Array[T]],
    X: Array[T],
    *,
    domain: Domain = UNIT,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Evaluate a Chebyshev-Tucker tensor at scattered points, without forming the full tensor (2).

    f(x) = sum_{a,b,..} core[a,b,..] u_a(x_1) v_b(x_2) ..., with factor functions u_a = sum_k factors[0][k, a] T_k and so on, T_k on the
    domain mapped to [-1, 1] (1).

    Parameters
    ----------
    core : (r_1, ..., r_d)
        float32 or float64; up to 16 axes.
    factors : d arrays (n_k, r_k)
        Chebyshev coefficients, one function per column.
    X : (P, d)
        Points. A point that is outside only by rounding (48 eps of the larger end of its interval: 1e-14 on [-1, 1] in float64) is moved to
        the boundary; one that is further outside, or NaN, raises a ValueError with its index.
    domain : (lo, hi), or one such pair per axis
        ``(lo_1, hi_1, lo_2, hi_2, ...)`` is also accepted.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    f : (P,)

    Notes
    -----
    Differentiable in core, factors and X, any number of times. Cost: 2 sum(n_k r_k) + 2 prod(r_k) flops per point, with ranks rounded up to
    multiples of 4. If n_k is above about 60 and there are thousands of points, 2 n_k r_k becomes 40 r_k, and up to 40 n_k r_k numbers are
    stored (12). Further memory: a copy of core and factors, and a few kB per thread, for any P. Error: a few eps of the largest |f|, up to
    the ends of the domain (3).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> core, factors = np.ones((1, 1)), [np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])]  # x_1, constant in x_2
    >>> qf.cheb.tucker_eval(core, factors, np.array([[0.5, 0.3], [-1.0, 0.0]]))
    array([ 0.5, -1. ])
    """
    factor_list = sequence(factors, "cheb.tucker_eval: factors")
    options = flat_domain(domain, len(factor_list), "cheb.tucker_eval")
    return call(TUCKER_EVAL, (core, *factor_list, X), (options,), (None,), out, backend, num_threads)


def tucker_eval_vjp(
    *inputs_and_grad: Any, domain: Domain = UNIT, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[Any, ...]:
    """Gradients of ``tucker_eval`` (6)-(8).

    ``(core, factors, X, grad)``, grad (P,) -> (dcore, [dfactors], dX).

    Three to four times the cost of the values. Memory: at most 64 partial sums of core and factors, 16 MB together (more if one of them is
    larger), and per thread 2.3 kB per factor column and 0.8 kB per coefficient of the longest axis, in float64.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> core, factors = np.ones((1, 1)), [np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])]
    >>> dcore, dfactors, dX = qf.cheb.tucker_eval_vjp(core, factors, np.array([[0.5, 0.3]]), np.ones(1))
    >>> dX
    array([[1., 0.]])
    """
    label = "cheb.tucker_eval_vjp"
    arrays = _arrays_of_vjp(inputs_and_grad, label, "grad")
    return call_vjp(TUCKER_EVAL, arrays, (flat_domain(domain, len(arrays[1]), label),), (), backend, num_threads)


def _arrays_of_vjp(arguments: tuple[Any, ...], label: str, last: str) -> tuple[Any, ...]:
    if len(arguments) != 4:
        raise TypeError(f"{label}: expected core, factors, X and {last}, got {len(arguments)} arguments")
    core, factors, X, grad = arguments
    return core, sequence(factors, f"{label}: factors"), X, grad


def tucker_derivatives(
    core: Array[T],
    factors: Sequence[Array[T]],
    X: Array[T],
    *,
    gradient: bool = True,
    hessian: bool = False,
    domain: Domain = UNIT,
    extrapolate: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:
    """Evaluate a Chebyshev-Tucker tensor with gradients and Hessians at scattered points (9).

    Parameters
    ----------
    core, factors, X, domain
        As in ``tucker_eval``.
    gradient, hessian : bool
        Whether to return the gradient and the Hessian too. ``hessian`` implies ``gradient``.
    extrapolate : bool
        Accept all finite points. Outside the domain, the polynomial and its error grow like (2 |t|)^n, where t is in [-1, 1] within the
        domain.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    f, (f, g) or (f, g, H)
        f (P,), g (P, d) with g[p, i] = df/dx_i, H (P, d, d), exactly symmetric; derivatives with respect to the coordinates of the domain.

    Notes
    -----
    Differentiable once in core, factors and X, through all results (10). Cost: m (2 sum(n_k r_k) + 2 prod(r_k)) flops per point, with m =
    2 for the gradient and 3 for the Hessian. The adjoint costs as much as ``tucker_eval_vjp`` for every derivative whose gradient is
    not 0. Memory: the results, and as for ``tucker_eval``. Error: a few eps of the largest derivative, up to the ends of the domain.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> U = np.array([[0.0], [0.0], [1.0]])  # T_2(t) = 2 t^2 - 1
    >>> f, g, H = qf.cheb.tucker_derivatives(np.ones(1), [U], np.array([[0.5]]), hessian=True)
    >>> f, g, H
    (array([-0.5]), array([[2.]]), array([[[4.]]]))
    """
    factor_list = sequence(factors, "cheb.tucker_derivatives: factors")
    options = _derivative_options(gradient, hessian, domain, extrapolate, len(factor_list), "cheb.tucker_derivatives")
    return present(call(TUCKER_DERIVATIVES, (core, *factor_list, X), options, (None,), None, backend, num_threads))


def _derivative_options(gradient: Any, hessian: Any, domain: Any, extrapolate: Any, d: int, label: str) -> tuple[Any, ...]:
    return flat_domain(domain, d, label), bool(gradient or hessian), bool(hessian), bool(extrapolate)


def present(results: tuple[Any, ...]) -> Any:
    """Return f, (f, g) or (f, g, H)."""
    arrays = tuple(r for r in results if r is not None)
    return arrays if len(arrays) > 1 else arrays[0]


def tucker_derivatives_vjp(
    *inputs_and_grad: Any,
    gradient: bool = True,
    hessian: bool = False,
    domain: Domain = UNIT,
    extrapolate: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Any, ...]:
    """Gradients of ``tucker_derivatives`` (10).

    ``(core, factors, X, grads)``, grads with the shapes of its results -> (dcore, [dfactors], dX).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> core, factors = np.ones((1, 1)), [np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])]
    >>> grads = np.ones(1), np.ones((1, 2))  # of values and gradients
    >>> dcore, dfactors, dX = qf.cheb.tucker_derivatives_vjp(core, factors, np.array([[0.5, 0.3]]), grads)
    >>> dcore
    array([[1.5]])
    """
    label = "cheb.tucker_derivatives_vjp"
    arrays = _arrays_of_vjp(inputs_and_grad, label, "the gradients of the results")
    options = _derivative_options(gradient, hessian, domain, extrapolate, len(arrays[1]), label)
    return call_vjp(TUCKER_DERIVATIVES, arrays, options, (), backend, num_threads)
