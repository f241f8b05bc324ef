import numpy as np

from case import Case

BOX = (-2.0, 3.0, -0.5, 0.25, -10.0, 30.0)  # contains 2x/3 for every x in it


def _tucker(n, r, P, *, decay=0.8, domain=None, positive=False):
    """A tensor whose coefficients decay, because a difference quotient of slopes of size n^2 would have no correct digits; points away from
    the ends.

    positive: nothing cancels, so that even with few points the largest value measures the terms of the sum.
    """

    def make(rng):
        core = np.asarray(rng.standard_normal(r))
        factors = [rng.standard_normal((m, s)) * decay ** np.arange(m)[:, None] for m, s in zip(n, r)]
        if positive:
            core = 1 + np.abs(core)
            for U in factors:
                U[0] = 3 + np.abs(U).sum(axis=0)
        lo, hi = np.broadcast_to(np.reshape(domain or (-1, 1), (-1, 2)), (len(n), 2)).T
        X = (lo + hi) / 2 + 0.95 * (hi - lo) / 2 * rng.uniform(-1, 1, (P, len(n)))
        return [core, factors, X], {} if domain is None else {"domain": domain}

    return make


def _derivatives(*arguments, order, extrapolate=False, **keywords):
    """``_tucker`` with derivatives, and with points outside the domain if ``extrapolate``."""

    def make(rng):
        (core, factors, X), options = _tucker(*arguments, **keywords)(rng)
        if extrapolate:
            X *= 1.2
        return [core, factors, X], {**options, "gradient": order > 0, "hessian": order > 1, "extrapolate": extrapolate}

    return make


def _slopes(name, make):
    """Short axes: resized coefficients do not decay, and in float32 the gradient of a Hessian would have no digits (README, Limits)."""
    return Case("tucker_derivatives", name, make, longest=33)


def random_tensor(rng, n, r, dtype=np.float64, decay=0.8):
    core = np.asarray(rng.standard_normal(r), dtype)
    return core, [(rng.standard_normal((m, s)) * decay ** np.arange(m)[:, None]).astype(dtype) for m, s in zip(n, r)]


CASES = [
    Case("tucker_eval", "d1", _tucker((9,), (3,), 37)),
    Case("tucker_eval", "d1-one", _tucker((1,), (1,), 1)),
    Case("tucker_eval", "d2", _tucker((13, 8), (5, 3), 101)),
    Case("tucker_eval", "d3", _tucker((5, 7, 4), (3, 5, 2), 29, domain=BOX)),
    Case("tucker_eval", "small", _tucker((3, 2), (2, 2), 3, domain=(-1.0, 1.0, -4.0, 2.0), positive=True)),
    Case("tucker_eval", "d4", _tucker((5, 3, 6, 4), (2, 3, 5, 4), 77)),
    Case("tucker_eval", "d5", _tucker((2, 3, 1, 4, 5), (2, 1, 1, 3, 2), 50)),
    Case("tucker_eval", "no-points", _tucker((5, 4, 3), (2, 3, 2), 0)),
    Case("tucker_eval", "one-point", _tucker((5, 4, 3), (2, 3, 2), 1, positive=True)),
    Case("tucker_eval", "ones", _tucker((1, 1, 1), (1, 1, 1), 5)),
    Case("tucker_eval", "no-ranks", _tucker((4, 3, 2), (2, 0, 2), 7)),
    Case("tucker_eval", "no-coefficients", _tucker((4, 0, 2), (2, 3, 2), 7)),
    Case("tucker_eval", "tile", _tucker((33, 33, 33), (8, 8, 8), 96)),
    Case("tucker_eval", "beyond-tile", _tucker((17, 31, 10), (9, 17, 7), 97)),
    Case("tucker_eval", "prime", _tucker((37, 2, 23), (13, 2, 11), 1009)),
    Case("tucker_eval", "long-axis", _tucker((129, 1, 5), (3, 1, 4), 193, decay=0.9)),
    Case("tucker_eval", "rank-above-n", _tucker((2, 3, 2), (5, 4, 9), 60)),
    Case("tucker_eval", "one-domain", _tucker((8, 9), (4, 4), 55, domain=(100.0, 101.0))),
    Case("tucker_eval", "pairs", _tucker((8, 9, 4), (4, 4, 3), 55, domain=((0.1, 0.7), (-3, 5), (21.1, 22.3)))),
    Case("tucker_eval", "many-points", _tucker((6, 5, 4), (3, 4, 2), 20011)),
    _slopes("d1", _derivatives((9,), (3,), 37, order=2)),
    _slopes("d2", _derivatives((13, 8), (5, 3), 101, order=2)),
    _slopes("d3", _derivatives((5, 7, 4), (3, 5, 2), 29, order=2)),
    _slopes("d3-gradient", _derivatives((5, 7, 4), (3, 5, 2), 29, order=1)),
    _slopes("small", _derivatives((3, 2), (2, 2), 3, order=1, domain=(-1.0, 1.0, -4.0, 2.0), positive=True)),
    _slopes("domain", _derivatives((8, 9, 4), (4, 4, 3), 55, order=2, domain=((0.1, 0.7), (-3, 5), (21.1, 22.3)))),
    _slopes("d4", _derivatives((5, 3, 6, 4), (2, 3, 5, 4), 77, order=2)),
    _slopes("d5", _derivatives((2, 3, 1, 4, 5), (2, 1, 1, 3, 2), 50, order=2)),
    _slopes("value", _derivatives((5, 7, 4), (3, 5, 2), 29, order=0)),
    _slopes("beyond", _derivatives((5, 7, 4), (3, 5, 2), 29, order=2, extrapolate=True)),
    _slopes("beyond-value", _derivatives((5, 7), (3, 5), 29, order=0, extrapolate=True)),
    _slopes("no-points", _derivatives((5, 4, 3), (2, 3, 2), 0, order=2)),
    _slopes("ones", _derivatives((1, 1, 1), (1, 1, 1), 5, order=2)),
    _slopes("no-ranks", _derivatives((4, 3, 2), (2, 0, 2), 7, order=2)),
    _slopes("no-coefficients", _derivatives((4, 0, 2), (2, 3, 2), 7, order=1)),
    _slopes("tile", _derivatives((33, 33, 33), (8, 8, 8), 96, order=1)),
    _slopes("beyond-tile", _derivatives((17, 31, 10), (9, 17, 7), 97, order=2)),
    _slopes("prime", _derivatives((37, 2, 23), (13, 2, 11), 1009, order=1)),
]
ROWS = {"tucker_eval": "P", "tucker_derivatives": "P"}
