import numpy as np

from case import Case


def points(rng, P, d):
    return 0.95 * rng.uniform(-1, 1, (P, d))


def _eval(n, P, decay=0.8, positive=False):
    """Coefficients that decay: a difference quotient of n^2 slopes would have no digits. positive: nothing cancels."""

    def make(rng):
        C = np.asarray(rng.standard_normal(n))
        for k, m in enumerate(n):
            C = C * (decay ** np.arange(m)).reshape(-1, *(1,) * (len(n) - 1 - k))
        if positive:
            C[(0,) * len(n)] = 3 + np.abs(C).sum()
        return [C, points(rng, P, len(n))], {}

    return make


def _moments(n, P):
    def make(rng):
        return [points(rng, P, len(n)), 1 + rng.random(P)], {"n": n}

    return make


CASES = [
    Case("cheb_eval", "d1", _eval((9,), 37)),
    Case("cheb_eval", "d2", _eval((13, 8), 101)),
    Case("cheb_eval", "d3", _eval((4, 3, 5), 11)),
    Case("cheb_eval", "small", _eval((3, 2), 3, positive=True)),
    Case("cheb_eval", "d4", _eval((3, 2, 4, 3), 50)),
    Case("cheb_eval", "d5", _eval((2, 3, 1, 2, 3), 20)),
    Case("cheb_eval", "one", _eval((1, 1, 1), 5)),
    Case("cheb_eval", "no-points", _eval((5, 4, 3), 0)),
    Case("cheb_eval", "one-point", _eval((5, 4, 3), 1, positive=True)),
    Case("cheb_eval", "no-coefficients", _eval((4, 0, 2), 7)),
    Case("cheb_eval", "beyond-tile", _eval((17, 9, 10), 97)),
    Case("cheb_eval", "long-axis", _eval((129,), 193, decay=0.9)),
    Case("cheb_moments", "d1", _moments((9,), 37)),
    Case("cheb_moments", "d2", _moments((13, 8), 101)),
    Case("cheb_moments", "d3", _moments((4, 3, 5), 11)),
    Case("cheb_moments", "small", _moments((3, 2), 3)),
    Case("cheb_moments", "d4", _moments((3, 2, 4, 3), 50)),
    Case("cheb_moments", "d5", _moments((2, 3, 1, 2, 3), 20)),
    Case("cheb_moments", "one", _moments((1, 1, 1), 5)),
    Case("cheb_moments", "no-points", _moments((5, 4, 3), 0)),
    Case("cheb_moments", "one-point", _moments((5, 4, 3), 1)),
    Case("cheb_moments", "beyond-tile", _moments((17, 9, 10), 97)),
    Case("cheb_moments", "long-axis", _moments((33,), 193)),
]
