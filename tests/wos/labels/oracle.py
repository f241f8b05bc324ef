"""The star by its formula, and a solution that is known on any domain."""

import numpy as np


def radius(theta, c1, c2):
    return 1 + c1 * np.cos(4 * theta) + c2 * np.cos(8 * theta)


def solution(X):
    """-Δu = 1: a harmonic function and -|x|²/4."""
    x, y = X[..., 0], X[..., 1]
    return np.exp(x) * np.cos(y) + 0.5 * (x**3 - 3 * x * y**2) - 0.25 * (x**2 + y**2)


def points(rng, n, c1, c2, within=0.9):
    """(n, 2) in the star scaled by ``within``."""
    t = rng.uniform(0, 2 * np.pi, n)
    r = within * radius(t, c1, c2) * np.sqrt(rng.uniform(0, 1, n))
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=-1)
