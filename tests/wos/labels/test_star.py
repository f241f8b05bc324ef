"""The star: vertices on the curve, a polygon like any other, and coefficients that leave no radius."""

import pickle

import numpy as np
import pytest

from quatrefoil import wos
from wos.labels import oracle


def test_vertices_are_on_the_curve(rng):
    c1, c2 = rng.uniform(-0.3, 0.3, 2)
    star = wos.Star(c1, c2, segments=77)
    theta = 2 * np.pi * np.arange(77) / 77
    np.testing.assert_allclose(np.hypot(*star.vertices.T), oracle.radius(theta, c1, c2), rtol=1e-14)
    np.testing.assert_allclose(np.arctan2(*star.vertices.T[::-1]) % (2 * np.pi), theta, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_is_its_instances(backend, rng, dtype):
    c1, c2 = rng.uniform(-0.2, 0.2, (2, 3)).astype(dtype)
    stars = wos.Star(c1, c2, segments=64)
    X = oracle.points(rng, 11, 0.2, -0.1, within=0.5).astype(dtype)
    both = wos.solve(stars, X, dirichlet=oracle.solution, source=1.0, walks=8, rng=5)
    assert both.value.shape == (3, 11)
    assert stars._batch == 3
    assert both.value.dtype == dtype
    one = wos.solve(wos.Star(float(c1[0]), float(c2[0]), segments=64), X, dirichlet=oracle.solution, source=1.0, walks=8, rng=5)
    np.testing.assert_array_equal(both.value[0], one.value)  # a walk's random words depend on the instance
    mixed = wos.Star(c1, 0.1, segments=64).vertices
    np.testing.assert_allclose(mixed, wos.Star(c1, np.full(3, 0.1, dtype), segments=64).vertices, rtol=np.finfo(dtype).eps)
    assert wos.Star(0.1, c2, segments=64)._batch == 3


def test_pickles_and_repr():
    star = pickle.loads(pickle.dumps(wos.Star(np.array([0.1, 0.2]), 0.0, segments=40)))
    assert repr(star) == "Star(2 x 40 segments)"
    assert repr(wos.Star(0.1, 0.0)) == "Star(1024 segments)"
    assert wos.solve(star, np.zeros((1, 2)), dirichlet=2.0, walks=3).value.tolist() == [[2.0], [2.0]]


def test_the_least_radius(rng):
    """What is refused is what has a radius of 0 or less somewhere."""
    theta = np.linspace(0, np.pi / 4, 20_001)
    refused = 0
    for c1, c2 in rng.uniform(-1.5, 1.5, (300, 2)):
        least = oracle.radius(theta, c1, c2).min()
        if abs(least) < 1e-6:
            continue
        if least < 0:
            refused += 1
            with pytest.raises(ValueError, match=r"Star: the least radius is -\S+ for c1"):
                wos.Star(c1, c2, segments=16)
        else:
            wos.Star(c1, c2, segments=64)
    assert refused > 50
