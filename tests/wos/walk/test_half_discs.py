"""Steps that leave a half disc on a long segment: Laplace's equation in polygons of few segments."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.walk import loops_half_discs
from wos.test_closed_forms import BOUNDARIES, points
from wos.walk.oracle import seed


def test_steps_do_not_grow_with_a_smaller_epsilon(best_backend, rng):
    polygon = BOUNDARIES["corner"]()
    X = points(polygon, rng, 200, 0.01)
    steps = [wos.solve(polygon, X, dirichlet=1.0, walks=64, epsilon=e, rng=seed(rng)).mean_steps.mean() for e in (1e-3, 1e-9)]
    assert steps[1] < steps[0] + 1
    plain = wos.solve(polygon, X, dirichlet=1.0, source=0.0, walks=64, epsilon=1e-9, rng=seed(rng)).mean_steps.mean()
    assert plain > 2 * steps[1]


def test_no_shell(best_backend, rng):
    """What ends on the segment itself is not shifted by a large epsilon; with a source, which takes no half discs, it is."""
    saddle = lambda X: (X[:, 0] - 0.5) ** 2 - (X[:, 1] - 0.5) ** 2  # noqa: E731
    X = rng.uniform([0.1, 0.4], [0.3, 0.6], (600, 2))
    truth = saddle(X)
    run = dict(dirichlet=saddle, walks=4096 if best_backend == "native" else 2048, epsilon=0.01, rng=seed(rng))
    half, plain = (wos.solve(BOUNDARIES["square"](), X, source=source, **run) for source in (None, 0.0))
    assert abs(((half.value - truth) / half.stderr).sum()) / np.sqrt(600) < 6
    assert ((plain.value - truth) / plain.stderr).sum() / np.sqrt(600) > 6


@pytest.mark.parametrize("height", [0.01, 0.3, 0.7])
def test_where_a_half_disc_is_left(height):
    """Means of harmonic polynomials over all directions are their values, on either side of the segment."""
    ends = np.array([[-1.0, 0.0, 1.0, 0.0], [9.0, 9.0, 9.0, 8.0]])
    angle = (np.arange(20000) + 0.5) * (2 * np.pi / 20000)
    for side in (1, -1):
        left, on = np.empty((len(angle), 2)), 0
        for i, a in enumerate(angle):
            x, weights = np.array([0.0, side * height]), np.array([0.5])
            moved, landed = loops_half_discs.leave_half_disc(ends, 0, weights, x, np.array([np.cos(a), np.sin(a)]), 1e-3)
            assert moved
            on += landed
            left[i] = x
            assert landed == (x[1] == 0)
            if landed:
                assert abs(2 * weights[0] - 1 - x[0]) < 1e-12
            else:
                assert abs(np.hypot(*x) - 1) < 1e-12
                assert x[1] * side > 0
        z = left[:, 0] + 1j * left[:, 1]
        for k in range(7):
            assert abs(np.mean(z**k) - (1j * side * height) ** k) < 3e-5  # the midpoint rule's error where the tangent is infinite
        assert abs(on / len(angle) - (1 - 4 / np.pi * np.arctan(height))) < 1e-3
