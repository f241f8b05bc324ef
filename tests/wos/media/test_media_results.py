"""Walks through media: instances, kinds of media, where domains lie, and points on the boundary."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.media.test_media import BELLS
from wos.walk.oracle import disc_points, gates, seed, star, star_points

FOURIER = wos.Fourier(np.array([0.4, 1.0, -0.5, 0.3, 0.2]))
POLYGON = wos.Polygon(star(64))


def rippled(X):
    return 2 + np.sin(X[:, 0]) * X[:, 1]


def test_the_same_medium_however_it_is_given(rng):
    """A njit and a Python function, in float64 and in float32."""
    X, key = star_points(rng, 20), seed(rng)
    options = {"dirichlet": FOURIER, "walks": 64, "rng": key}
    python = wos.solve(POLYGON, X, diffusion=rippled, **options)
    njit = wos.solve(POLYGON, X, diffusion=pytest.importorskip("numba").njit(rippled), **options)
    np.testing.assert_allclose(njit.value, python.value, rtol=1e-5)
    single = wos.solve(POLYGON, X.astype(np.float32), dirichlet=lambda X: FOURIER(X), diffusion=rippled, walks=64, rng=key)
    assert single.value.dtype == np.float32
    np.testing.assert_allclose(single.value, python.value, rtol=0, atol=0.05)


def test_far_from_the_origin_and_small(rng):
    """u = e^-x, alpha = e^2x in coordinates of a domain of size 0.01 at 300."""
    place, size = np.array([300.0, -200.0]), 0.01
    X = place + size * disc_points(rng, 100, 0.75)
    x = lambda Y: (Y - place)[:, 0] / size  # noqa: E731
    result = wos.solve(
        wos.Ball(place, size), X, dirichlet=lambda Y: np.exp(-x(Y)), source=lambda Y: (np.exp(x(Y)) + 2 * np.exp(-x(Y))) / size**2,
        diffusion=lambda Y: np.exp(2 * x(Y)), screening=2 / size**2, walks=1024, epsilon=1e-4, rng=seed(rng),
    )  # fmt: skip
    assert gates(result.value, result.stderr, np.exp(-x(X)), spread=False) == []


def test_points_on_the_boundary_and_outside(rng):
    disc = wos.Ball([0.0, 0.0], 1.0)
    with pytest.warns(RuntimeWarning, match="1 points lie outside"):
        result = wos.solve(
            disc, np.array([[1.0, 0.0], [2.0, 0.0], [0.1, 0.2]]), dirichlet=3.0, diffusion=BELLS, walks=8, rng=1, max_steps=2
        )
    assert result.value[0] == 3
    assert result.stderr[0] == 0
    assert np.isnan(result.value[1])
    assert result.n_walks.tolist() == [8, 0, 8]
    assert result.n_truncated[2] > 0


def test_no_gradient_in_the_medium():
    torch = pytest.importorskip("torch")
    alpha = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="diffusion requires grad"):
        wos.solve(wos.Ball([0.0, 0.0], 1.0), torch.zeros((1, 2), dtype=torch.float64), dirichlet=1.0, diffusion=alpha, rng=0)
