"""Reflecting walls together with a diffusion or a varying screening: closed forms, kinds of media, both signs of μ."""

import re
import warnings

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import points_in
from wos.media.test_media import BELLS, BELLS_IN_SPACE, SIGMA, nodes, rippled, source, wave
from wos.stars.shapes import prism
from wos.stars.test_stars import ELL, RECTANGLE, decay, flux, which
from wos.walk.oracle import check, seed

EPSILON = 1e-4
HILL = wos.Polynomial(np.array([[1.6, 0.3, 0.2], [1.0, 0.1, 0.0], [0.3, 0.0, 0.1]]))
CUBE = prism(np.array([[0.0, 0], [1, 0], [1, 0.8], [0, 0.8]]), 0.9)


def rising(X):
    return np.exp(0.5 * X[..., 0])


def none(X):
    return 0.0


def problems():
    """Name -> boundary, keywords of solve, u."""
    r, e, cube = wos.Polygon(RECTANGLE), wos.Polygon(ELL), wos.TriangleMesh(*CUBE[:2])
    inner = wos.Polygon(RECTANGLE, holes=[[[0.4, 0.3], [0.6, 0.3], [0.5, 0.5]]])
    on, slit = CUBE[2], np.isin(np.arange(7), [4, 5, 6])

    def of(boundary, u, alpha, sigma=none, *, medium=None, neumann=None, robin=None, mu=0.0):
        options = {"dirichlet": u, "source": source(u, alpha, sigma)}
        if alpha is not none_but_one:
            options["diffusion"] = alpha if medium is None else medium
        if sigma is not none:
            options["screening"] = sigma
        if neumann is not None:
            options["neumann"] = (neumann, flux(boundary, u))
        if robin is not None:
            options["robin"] = (robin, mu, flux(boundary, u, mu))
        return boundary, options, u

    def none_but_one(X):
        return 1.0

    nu = np.array([0.5, 0.0, 2.0, 1.0])
    return {
        "exponential": of(r, decay, rising, neumann=which(RECTANGLE, 0, 1, 2)),
        "polynomial": of(r, wave, HILL, neumann=which(RECTANGLE, 1, 3)),
        "gaussians": of(r, wave, BELLS, SIGMA, neumann=which(RECTANGLE, 0, 2, 3)),
        "grid": of(r, wave, HILL, medium=nodes(HILL, 65), neumann=which(RECTANGLE, 0, 1, 2)),
        "screening": of(r, wave, none_but_one, SIGMA, neumann=which(RECTANGLE, 0, 1, 2)),
        "corner": of(e, wave, BELLS, neumann=which(ELL, 0, 5, 1)),
        "hole": of(inner, wave, HILL, neumann=slit),
        "all-reflect": of(r, wave, HILL, SIGMA, neumann=which(RECTANGLE, 0, 1, 2, 3)),
        "robin": of(r, wave, HILL, robin=which(RECTANGLE, 1, 2), mu=1.0),
        "robin-and-neumann": of(r, decay, rising, SIGMA, neumann=which(RECTANGLE, 0), robin=which(RECTANGLE, 1, 2), mu=nu),
        "cube": of(cube, wave, BELLS_IN_SPACE, neumann=on != 3),
        "cube-rippled": of(cube, wave, rippled, neumann=on == 1),
        "cube-robin": of(cube, wave, BELLS_IN_SPACE, SIGMA_IN_SPACE, neumann=on == 0, robin=(on == 1) | (on == -1), mu=1.5),
    }


SIGMA_IN_SPACE = wos.Polynomial(np.array([[[3.0, 0.5], [0.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]]))
PROBLEMS = problems()
EVERY_DAY = ["polynomial", "gaussians", "corner", "robin-and-neumann", "cube-rippled"]
MARKED = [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.slow) for name in PROBLEMS]


def sizes(name, backend):
    slow = "robin" in name or name == "cube-rippled"
    if backend == "numba":
        return (5 if slow else 20), 256
    return (60, 256) if slow else (100, 1024)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MARKED)
def test_closed_forms(name, pairs, best_backend, rng):
    boundary, options, u = PROBLEMS[name]
    n, walks = sizes(name, best_backend)
    X = points_in(boundary, rng, n, 0.08)
    r = wos.solve(boundary, X, epsilon=EPSILON, max_steps=20000, walks=walks, gradient=pairs, rng=seed(rng), **options)
    check(r, X, u)
    assert r.state.counts[:, 3].sum() == 0  # no jumps beyond the bounds


@pytest.mark.parametrize("space", [False, True])
def test_infinite_variance(space, best_backend):
    """A warning, once per problem, if α rises by more than a factor of three towards a wall that does not exchange heat."""
    boundary, walls = (wos.TriangleMesh(*CUBE[:2]), CUBE[2] == 1) if space else (wos.Polygon(RECTANGLE), which(RECTANGLE, 1))

    def problem(rate, **walls):
        return wos.Problem(boundary, dirichlet=1.0, diffusion=lambda X: np.exp(rate * X[:, 0]), **walls)

    X = boundary._centre
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rate, conditions in ((2.0, {"neumann": (walls, 0.0)}), (0.8, {"neumann": (walls, 0.0)}), (2.0, {"robin": (walls, 1.5, 0.0)})):
            stated = problem(rate, **conditions)
            for _ in range(2):
                stated.solve(X, 8, rng=1, backend=best_backend)
        problem(-2.0, neumann=(walls, 0.0)).solve(X, 8, rng=1, backend=best_backend)
    assert len(caught) == 1
    assert re.search(r"increases by a factor of [67]\.\d+ towards a reflecting wall; beyond about 3 the", str(caught[0].message))
