import numpy as np

import quatrefoil as qf
from case import Case
from cheb.particles import oracle

CLEAR = 1e-4  # fraction of the cutoff: no pair is closer to it, so neither rounding nor a finite-difference step moves a pair across


def _short(P, N, box, split, eps=1e-13):
    """Charges of one sign, so that little cancels, and none at a target."""

    def make(rng):
        sog = qf.cheb.coulomb_sog(eps, 0.1, 10.0, split=split)
        while True:
            X, targets = rng.uniform(0, box, (P, 3)), rng.uniform(0, box, (N, 3))
            r = np.linalg.norm(targets[:, None] - X, axis=2)
            if not (np.abs(r / sog.cutoff - 1) < CLEAR).any() and not (r < 0.02).any():
                return [X, 1 + rng.random(P), targets], {"sog": sog}

    return make


def _close(arguments):
    """Place a charge close to each target, because the short-range part of distant charges is a difference of larger numbers."""
    X, q, targets = arguments
    count = min(len(X), len(targets))
    X = X.copy()
    X[:count] = targets[:count] + 0.1
    return [X, q, targets]


CASES = [
    Case("short_range", "some", _short(7, 5, 1.0, 0.3)),
    Case("short_range", "more", _short(60, 40, (1.0, 3.0, 1e-9), 0.3)),
    Case("short_range", "cells", _short(60, 40, 3.0, 6.0), fitted=_close),
    Case("short_range", "one", _short(1, 1, 0.5, 1.0)),
    Case("short_range", "no-particles", _short(0, 3, 1.0, 1.0)),
    Case("short_range", "no-targets", _short(3, 0, 1.0, 1.0)),
]
ROWS = {"short_range": "N"}

CUBE = ((-1, 1),) * 3
LONG_BOX = ((0, 2), (-1, 5), (3, 4))


def charges(rng, P, domain, neutral=True):
    lo, hi = np.array(domain, float).T
    return rng.uniform(lo, hi, (P, 3)), rng.choice([-1.0, 1.0], P) if neutral else rng.uniform(0.5, 1.5, P)


def relative(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


CLOUDS = {
    "cube": lambda rng, P: rng.uniform(0, 1, (P, 3)),
    "plane": lambda rng, P: rng.uniform(0, 1, (P, 3)) * [1, 1, 0],
    "line": lambda rng, P: rng.uniform(0, 1, (P, 1)) * [1.0, 2.0, -1.0],
    "one point": lambda rng, P: np.full((P, 3), 0.3),
    "two clusters": lambda rng, P: 0.03 * rng.standard_normal((P, 3)) + 5.0 * rng.integers(0, 2, (P, 1)),
    "far away": lambda rng, P: rng.uniform(0, 1, (P, 3)) + np.array([1e6, -3e5, 0]),
    "lattice": lambda rng, P: rng.integers(0, 9, (P, 3)) / 8,
    "scales": lambda rng, P: rng.standard_normal((P, 3)) * 10 ** rng.uniform(-4, 6, (P, 1)),
}


def attack_cells(rng, backend):
    """Compare sums over a random cloud, of any size and with any split, to the oracle.

    Errors are relative to the terms of the sum, because 1/r and the long part cancel. A pair at the cutoff may be on either side.
    """
    dtype = np.float32 if rng.random() < 0.3 else np.float64
    P, N = (int(rng.choice([1, 2, 7, 60, 400])) for _ in range(2))
    cloud, sog = CLOUDS[str(rng.choice(list(CLOUDS)))], qf.cheb.coulomb_sog(1e-9, 0.01, 10.0, split=10 ** rng.uniform(-1, 2))
    X, q = cloud(rng, P).astype(dtype), rng.standard_normal(P).astype(dtype)
    targets = np.concatenate([cloud(rng, N).astype(dtype), X[:3]])
    got = qf.cheb.short_range(X, q, targets, sog=sog, backend=backend)
    expected = oracle.short_range(X.astype(float), q.astype(float), targets.astype(float), sog=sog)
    r = np.linalg.norm(targets[:, None].astype(float) - X, axis=2)
    near = r < 1.01 * sog.cutoff
    terms = (near * np.abs(q) * (np.divide(1, r, out=np.zeros_like(r), where=r > 0) + sog.long(r))).sum(axis=1)
    rounding = np.finfo(dtype).eps
    assert (np.abs(got - expected) <= (4e-9 + 40 * rounding) * terms).all()
    assert near.any()


ATTACKS = [attack_cells]
