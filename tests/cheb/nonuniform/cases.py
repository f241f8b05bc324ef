import numpy as np

from case import Case


def points(rng, P, d):
    return 0.95 * rng.uniform(-1, 1, (P, d))


def _eval(n, P, decay=0.8, positive=False):
    """Coefficients that decay; otherwise difference quotients of slopes of size n^2 would have no digits. positive: nothing cancels."""

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


SIZES = [
    ("d1", (9,), 37), ("d2", (13, 8), 101), ("d3", (4, 3, 5), 11), ("d4", (3, 2, 4, 3), 50), ("d5", (2, 3, 1, 2, 3), 20),
    ("one", (1, 1, 1), 5), ("no-points", (5, 4, 3), 0), ("beyond-tile", (17, 9, 10), 97),
]  # fmt: skip
CASES = [
    *[Case("cheb_eval", name, _eval(n, P)) for name, n, P in SIZES],
    Case("cheb_eval", "small", _eval((3, 2), 3, positive=True)),
    Case("cheb_eval", "one-point", _eval((5, 4, 3), 1, positive=True)),
    Case("cheb_eval", "no-coefficients", _eval((4, 0, 2), 7)),
    Case("cheb_eval", "long-axis", _eval((129,), 193, decay=0.9)),
    *[Case("cheb_moments", name, _moments(n, P)) for name, n, P in SIZES],
    Case("cheb_moments", "small", _moments((3, 2), 3)),
    Case("cheb_moments", "one-point", _moments((5, 4, 3), 1)),
    Case("cheb_moments", "long-axis", _moments((33,), 193)),
]
