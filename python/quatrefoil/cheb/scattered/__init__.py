"""Values of Chebyshev-Tucker tensors at scattered points. n coefficients and r ranks per axis, d axes, P points.

Equation numbers are those of csrc/cheb/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._arguments import sequence
from ..._dispatch import call, call_vjp
from ..._spec import Arg, Op, Option
from ..._typing import Array, T
from ..domain import UNIT, Domain, flat_domain

TUCKER_EVAL = Op(
    __name__, "tucker_eval",
    inputs=(Arg("core", "r_*"), Arg("factors", "n_ r_", many=True), Arg("X", "P #")),
    outputs=(Arg("f", "P"),),
    options=(Option("domain", "floats"),),
    extras=("packed",),
    tolerance=2e-6,  # the sums over k in float32 lose about sqrt(n) eps of coefficients that do not decay
)  # fmt: skip
OPS = (TUCKER_EVAL,)


def tucker_eval(
    core: Array[T],
    factors: Sequence[Array[T]],
    X: Array[T],
    *,
    domain: Domain = UNIT,
    out: Array[T] | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> T:
    """Values of a Chebyshev-Tucker tensor at scattered points, f(x) = sum_{a,b,..} core[a,b,..] u_a(x_1) v_b(x_2) ... (2).

    The factor functions are u_a = sum_k factors[0][k, a] T_k and so on, T_k on the domain mapped to [-1, 1] (1).

    Parameters
    ----------
    core : (r_1, ..., r_d)
        float32 or float64; up to 16 axes.
    factors : d arrays (n_k, r_k)
        Chebyshev coefficients, a function a column.
    X : (P, d)
        Points. One outside by rounding (48 eps of the larger end of its interval: 1e-14 on [-1, 1] in float64) counts as on the
        boundary.
    domain : (lo, hi), or one such pair per axis
        ``(lo_1, hi_1, lo_2, hi_2, ...)`` is taken too.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    f : (P,)

    Raises
    ------
    ValueError
        Shapes that do not fit; a point outside the domain, or NaN (its index is named); an empty interval.
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in core, factors, X. Cost: 2 sum(n_k r_k) + 2 prod(r_k) flops a point, ranks rounded up to the tile; memory a few kB a
    thread whatever P is: no array of P r^2 numbers exists. Error: a few eps of the largest |f|, up to the ends of the domain (3).
    """
    given = sequence(factors, "cheb.tucker_eval: factors")
    options = flat_domain(domain, len(given), "cheb.tucker_eval")
    f: T = call(TUCKER_EVAL, (core, *given, X), (options,), (None,), out, backend, num_threads)
    return f


def tucker_eval_vjp(
    *inputs_and_grad: Any, domain: Domain = UNIT, backend: str | None = None, num_threads: int | None = None
) -> tuple[Any, ...]:
    """Gradients of ``tucker_eval``: ``(core, factors, X, grad)``, grad (P,) -> (dcore, [dfactors], dX) (6)-(8).

    Three to four times the cost of the values; points are summed in an order that depends on the sizes alone. Memory: at most 64 partial
    sums of core and factors, 16 MB together (or one of them), and per thread 2.3 kB a factor column and 0.8 kB a coefficient of the
    longest axis, in float64.
    """
    label = "cheb.tucker_eval_vjp"
    if len(inputs_and_grad) == 4:
        core, factors, X, grad = inputs_and_grad
        factors = sequence(factors, f"{label}: factors")
        options = flat_domain(domain, len(factors), label)
        return call_vjp(TUCKER_EVAL, (core, factors, X, grad), (options,), (), backend, num_threads)
    raise TypeError(f"{label}: expected core, factors, X and grad, got {len(inputs_and_grad)} arguments")
