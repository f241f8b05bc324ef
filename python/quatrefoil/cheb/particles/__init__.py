"""Potentials of charges: 1/r as a sum of Gaussians. A Chebyshev-Tucker tensor sums the wide ones; the rest is summed over nearby pairs.

P particles, N targets. Equation numbers refer to csrc/cheb/particles/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, T
from .sog import SumOfGaussians


def _check_values(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    for name, a in (("X", inputs[0]), ("targets", inputs[2])):
        bad = ~np.isfinite(a)
        if bad.any():
            i, k = np.argwhere(bad)[0]
            raise ValueError(f"{label}: {name}[{i}, {k}] is {a[i, k]}, expected a finite number")


SHORT_RANGE = Op(
    __name__, "short_range",
    inputs=(Arg("X", "P 3"), Arg("q", "P"), Arg("targets", "N 3")),
    outputs=(Arg("f", "N"),),
    options=(Option("bracket", "floats"),),  # the cutoff, then the coefficients of the long part
    policy=Policy(check_values=_check_values),
    tolerance=2e-6,  # 1/r and the long part, a few times as large as the result, cancel
)  # fmt: skip
OPS = (SHORT_RANGE,)

PLAIN = 24  # largest |exponent| of 2 in the cutoff for which squares of lengths fit in float32


def short_range(
    X: Array[T],
    q: Array[T],
    targets: Array[T],
    *,
    sog: SumOfGaussians,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Sum over nearby charges, the part that ``potential`` omits, at scattered targets (6), (7).

    f(x) = sum_p q_p (1/r_p - sog.long(r_p)), r_p = |x - x_p|.

    Parameters
    ----------
    X : (P, 3)
        Positions of the charges; float32 or float64. A NaN or infinite coordinate raises a ValueError with its index.
    q : (P,)
        Charges.
    targets : (N, 3)
        Points of evaluation, finite; ``X`` itself for the potential at every charge.
    sog : SumOfGaussians
        ``V.sog`` of the ``potential`` to which this is added, or one from ``coulomb_sog`` with a split.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    f : (N,)

    Notes
    -----
    Pairs farther apart than ``sog.cutoff`` would add at most 2 eps of their 1/r, and are omitted. For a target exactly at a charge, the
    pair's 1/r is omitted and its long part subtracted, so that adding ``potential`` gives the sum over the other charges. As a
    consequence, two charges at the same position do not act on each other.

    Differentiable in X, q and targets. Cost: 2 ns per pair within the cutoff on one core, plus 0.5 us per target (README, Measured).
    Charges are sorted into the cells of a grid, and the sum of Gaussians is one polynomial in r^2. Memory: 40 bytes per charge, 8 per
    target, and up to 32 per charge for cells. Backend "array" has no cells and computes all P N pairs.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> X, q = np.array([[0.0, 0, 0], [0.5, 0, 0]]), np.array([1.0, -1.0])
    >>> sog = qf.cheb.coulomb_sog(1e-8, 0.5, 4.0, split=2.0)
    >>> f = qf.cheb.short_range(X, q, X, sog=sog)
    >>> bool(np.allclose(f, q * sog.short(0.0) - q * sog.short(0.5)))  # minus its own long part, plus the other charge
    True
    """
    unit, options = _options(sog, "cheb.short_range")
    f: Any = call(SHORT_RANGE, (_scaled(X, unit), q, _scaled(targets, unit)), options, (), out, backend, num_threads)
    if out is None:
        f = _scaled(f, unit)
    elif unit != 1:
        f *= unit
    return f


def short_range_vjp(
    X: Array[T],
    q: Array[T],
    targets: Array[T],
    grad: Array[T],
    *,
    sog: SumOfGaussians,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``short_range``: ``grad`` (N,) -> (dX, dq, dtargets) (8).

    If a target is exactly at a charge, the slope of that pair is 0.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> X, q, at = np.zeros((1, 3)), np.ones(1), np.array([[0.1, 0.0, 0.0]])
    >>> sog = qf.cheb.coulomb_sog(1e-6, 0.01, 4.0, split=1.0)
    >>> dX, dq, dat = qf.cheb.short_range_vjp(X, q, at, np.ones(1), sog=sog)
    >>> bool(np.allclose(dX, -dat))
    True
    """
    unit, options = _options(sog, "cheb.short_range_vjp")
    scaled = _scaled(X, unit), q, _scaled(targets, unit), _scaled(grad, unit)
    dX, dq, dtargets = call_vjp(SHORT_RANGE, scaled, options, (), backend, num_threads)
    return _scaled(dX, unit), dq, _scaled(dtargets, unit)


def _options(sog: Any, label: str) -> tuple[float, tuple[Any, ...]]:
    """The power of two that scales lengths so that their squares neither overflow nor underflow, and the bracket in that unit."""
    if not isinstance(sog, SumOfGaussians):
        raise TypeError(f"{label}: sog is {type(sog).__name__}, expected a SumOfGaussians, such as V.sog or a result of coulomb_sog")
    power = math.frexp(sog.cutoff)[1]
    unit = math.ldexp(1.0, -power) if abs(power) > PLAIN else 1.0
    return unit, ((sog.cutoff * unit, *(c / unit for c in sog.polynomial)),)


def _scaled(array: Any, unit: float) -> Any:
    """The array times the unit. Anything but a real array raises an error later."""
    return array * unit if unit != 1 and _arrays.kind(array) and _arrays.dtype_name(array) in _arrays.REAL else array
