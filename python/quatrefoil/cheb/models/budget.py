"""Where to spend a limited number of values: along fibres, for an adaptive tensor train, or at random points, for a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..distributions import Distribution, points_of
from . import regression, sampling
from .function import Function, NotResolved

FEW = 60  # up to this many values per variable, all are at random points
LINE = 1e-5  # tolerance to which a line along each axis is sampled first
LONGEST = 129  # points of such a line; one that needs more has a kink
MANY = 30  # with more than this many times the values of the lines, fibres are used even if all lines are short
LINES, FIRST = 1 / 6, 1 / 2  # fractions of the values that all lines and the first tolerance of the train may use
LEVELS = [1e-2, *0.1 ** np.arange(4.0, 17.0)]  # successive tolerances of the train


def trains(f: Function, max_evaluations: int, tol: float) -> tuple[sampling.Tensors, np.ndarray] | None:
    """Adaptive trains from at most ``max_evaluations`` values and their errors (``sampling.sampled``); None if random points are better.

    A line along each axis decides. Random points do not determine polynomials of a high degree in one variable, so fibres are used if a
    line is smooth but needs a high degree. Otherwise random points need fewer values for the same error. With very many values, a fit would
    take long, so fibres are used.
    """
    result = None
    if f.d > 2 and max_evaluations > FEW * f.d:
        f.max_evaluations = int(LINES * max_evaluations)
        try:
            if _length(f) > regression.MAX_DEGREE + 1 or max_evaluations > MANY * f.count:
                f.max_evaluations = int(FIRST * max_evaluations)
                for level in [*(t for t in LEVELS if t > tol), tol]:
                    result = sampling.sampled(f, float(level), chained=True)
                    f.max_evaluations = max_evaluations
        except NotResolved:
            pass
    f.max_evaluations = max_evaluations
    return result


def samples(f: Function, inputs: Sequence[Distribution], max_evaluations: int) -> np.ndarray:
    """The points (P, d) of a fit to ``max_evaluations`` values: random ones, and those of the lines unless a train has failed."""
    X = points_of(inputs, max_evaluations - f.count)
    known = np.array([np.frombuffer(key) for key in f.cache or ()]).reshape(-1, f.d)
    return np.concatenate([np.unique(known, axis=0), X]) if len(known) <= LINES * max_evaluations else X


def _length(f: Function) -> int:
    """The largest number of points that a line along an axis needs."""
    numbers, axes = np.random.Generator(np.random.Philox(key=0)), [sampling.Axis(f, k, LONGEST) for k in range(f.d)]
    for axis in axes:
        axis.add(f.random_points(numbers, sampling.PROBES, sampling.CORNERS)[:1], LINE)
    return max(axis.n for axis in axes)
