"""Walks outside: in the plane, where they always return, and with sources of bounded support."""

import numpy as np
import pytest
from scipy.special import erf, exp1, k0

from case import BACKENDS
from quatrefoil import wos
from wos.domains import SQUARE, bells, fourier, per_vertex
from wos.query.oracle import icosphere
from wos.test_closed_forms import RINGS
from wos.walk.oracle import check, directions, seed, star

every_backend = pytest.mark.parametrize("backend", [*BACKENDS, "array"], indirect=True)


def round_field(d, n):
    axes = np.meshgrid(*[np.linspace(-1.0, 1.0, n)] * d, indexing="ij")
    return wos.SDF(np.sqrt(sum(x * x for x in axes)) - 0.6, ([-1.0] * d, [1.0] * d))


PLANE = {
    "star": lambda: wos.Polygon(3.0 + star(300)),
    "square": lambda: wos.Polygon(SQUARE),
    "turned": lambda: wos.Polygon(SQUARE[::-1]),
    "slab": lambda: wos.Polygon(np.array(RINGS["slab"])),
    "comb": lambda: wos.Polygon(np.array(RINGS["comb"])),
    "disc": lambda: wos.Ball([1.0, -2.0], 0.5),
    "box": lambda: wos.Box([-1.0, 0.0], [1.0, 0.5]),
    "field": lambda: round_field(2, 61),
    "function": lambda: wos.SDF(lambda X: np.hypot(*(X - 3.0).T) - 0.6, ([2.0, 2.3], [4.0, 4.0])),
}
SPACE = {
    "ball": lambda: wos.Ball([0.1, 0.0, -0.1], 1.0),
    "box in space": lambda: wos.Box([0.2, -0.5, 0], [1.2, 1.0, 0.7]),
    "mesh": lambda: wos.TriangleMesh(*icosphere(2, 0.1)),
    "field in space": lambda: round_field(3, 31),
}
POLE = {"comb": np.array([2.25, 0.25]), "star": np.array([3.1, 2.9])}  # a point inside, if the centre is not inside


def around(boundary, rng, n, min_distance=0.02, max_distance=5.0):
    """Points outside, from near the boundary to a few diagonals away."""
    d, size = boundary.dimension, boundary._diagonal[0]
    X = boundary._centre[0] + size * (0.2 + max_distance ** rng.uniform(-2, 1, (8 * n, 1))) * directions(rng, 8 * n, d)
    return X[wos.signed_distance(boundary, X) > min_distance * size][:n]


def sizes(backend):
    return (200, 1024) if backend == "native" else (20, 128)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", PLANE)
def test_bounded_in_the_plane(name, pairs, best_backend, rng):
    """u = 1 + Re((1 + 2i) / (z - z0)) tends to 1 far away; only its boundary values determine this limit."""
    boundary, (n, walks) = PLANE[name](), sizes(best_backend)
    at = POLE.get(name, boundary._centre[0] + 0.02 * boundary._diagonal[0])

    def u(X):
        z = (X - at) @ [1, 1j] / boundary._diagonal[0]
        return 1 + ((1 + 2j) / z).real

    X = around(boundary, rng, n)
    options = {"walks": walks, "epsilon": 1e-6, "gradient": pairs, "rng": seed(rng)}
    check(wos.solve(boundary, X, u, exterior=True, **options), X, u)


def test_far_away_in_the_plane(best_backend, rng):
    """Every walk returns, so constant boundary values are exact at any distance."""
    for name in PLANE:
        boundary = PLANE[name]()
        X = boundary._centre[0] + boundary._diagonal[0] * 10 ** rng.uniform(0.5, 6, (50, 1)) * directions(rng, 50, 2)
        r = wos.solve(boundary, X, 2.5, exterior=True, walks=20, rng=seed(rng))
        np.testing.assert_array_equal(r.value, 2.5)
        np.testing.assert_array_equal(r.stderr, 0)
        assert r.n_escaped.sum() == r.n_truncated.sum() == 0
        if name == "disc":
            np.testing.assert_array_equal(r.mean_steps, 1)


@pytest.mark.parametrize("name", ["star", "disc", "box"])
def test_screened_in_the_plane(name, best_backend, rng):
    boundary, (n, walks) = PLANE[name](), sizes(best_backend)
    at, m = POLE.get(name, boundary._centre[0]), 2.0 / boundary._diagonal[0]

    def u(X):
        return k0(m * np.linalg.norm(X - at, axis=1))

    X = around(boundary, rng, n, max_distance=2.0)
    r = wos.solve(boundary, X, u, screening=m * m, exterior=True, walks=walks, epsilon=1e-6, rng=seed(rng))
    check(r, X, u)


def of_bell(r2, width, d):
    """A bounded solution of -Δu = exp(-r^2 / width^2); in the plane up to a constant."""
    if d == 2:
        return -(width**2) / 4 * exp1(r2 / width**2)
    r = np.sqrt(r2)
    return np.sqrt(np.pi) * width**3 * erf(r / width) / (4 * r)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", [*PLANE, *SPACE])
def test_sources(name, pairs, best_backend, rng):
    """A Gaussian around a point inside, whose tail is outside."""
    boundary, (n, walks) = (PLANE | SPACE)[name](), sizes(best_backend)
    d, size = boundary.dimension, boundary._diagonal[0]
    at, width = POLE.get(name, boundary._centre[0] + 0.02 * size), 0.7 * size

    def u(X):
        return 1.0 * (d == 2) + of_bell(((X - at) ** 2).sum(axis=1), width, d) / width**2

    X = around(boundary, rng, n, max_distance=3.0)
    source = wos.Gaussians(width**-2.0, at, width)
    r = wos.solve(boundary, X, u, source=source, exterior=True, walks=walks, epsilon=1e-6, gradient=pairs, rng=seed(rng))
    check(r, X, u)


def test_a_field_is_a_source_within_its_box(best_backend, rng):
    """The hat function of one node of a grid, far from a small disc, compared with the Green's function of the exterior of the disc."""
    values = np.zeros((5, 5))
    values[2, 2] = 1.0
    field, disc, X = (
        wos.GridField(values, ([2.0, -1.0], [4.0, 1.0])),
        wos.Ball([0.0, 0.0], 0.5),
        np.array([[3.0, 0.0], [1.0, 1.0], [-4.0, 2.0]]),
    )
    r = wos.solve(disc, X, 0.0, source=field, exterior=True, walks=20_000, epsilon=1e-6, rng=seed(rng))
    t = (np.arange(400) + 0.5) / 200 - 1
    y = np.stack(np.meshgrid(3 + 0.5 * t, 0.5 * t, indexing="ij"), axis=-1).reshape(-1, 2)
    f = field(y) * (1 / 400) ** 2
    image = 0.25 * y / (y**2).sum(axis=1, keepdims=True)
    for x, value, stderr in zip(X, r.value, r.stderr):
        r1, r2 = (np.linalg.norm(x - z, axis=1) for z in (y + 1e-9, image))
        green = np.log(np.linalg.norm(y, axis=1) * r2 / (0.5 * r1)) / (2 * np.pi)
        assert abs(value - (green * f).sum()) < 5 * stderr + 1e-5


SCENES = {
    "polygon": lambda rng: (wos.Polygon(star(9)), {"dirichlet": per_vertex(rng, 9)}),
    "pairs": lambda rng: (wos.Polygon(SQUARE), {"dirichlet": fourier(rng), "source": bells(rng), "gradient": True}),
    "many": lambda rng: (wos.Polygon([SQUARE, 2 * SQUARE[::-1]]), {"dirichlet": bells(rng, lead=(2,)), "source": bells(rng)}),
    "disc": lambda rng: (wos.Ball([0.3, 0.2], 0.5), {"dirichlet": fourier(rng), "source": bells(rng, lead=(2,))}),
    "screened": lambda rng: (wos.Polygon(SQUARE), {"dirichlet": fourier(rng), "source": fourier(rng), "screening": 3.0}),
    "box in space": lambda rng: (wos.Box([0.0] * 3, [1.0, 1.0, 0.5]), {"dirichlet": 1.0, "source": bells(rng, 3), "gradient": True}),
    "field": lambda rng: (round_field(2, 21), {"dirichlet": fourier(rng), "source": bells(rng)}),
    "field in space": lambda rng: (round_field(3, 21), {"dirichlet": bells(rng, 3), "screening": 2.0, "gradient": True}),
}


@every_backend
@pytest.mark.parametrize("name", SCENES)
def test_backends_agree(name, backend, rng):
    boundary, options = SCENES[name](rng)
    X = 3.0 * directions(rng, 6, boundary.dimension)
    options = {**options, "walks": 8, "epsilon": 1e-3, "rng": 7, "exterior": True}
    result, truth = wos.solve(boundary, X, backend=backend, **options), wos.solve(boundary, X, **options)
    for mine, theirs in ((result.value, truth.value), (result.grad, truth.grad)):
        if mine is not None:
            size = np.abs(theirs).max()
            assert (np.abs(mine - theirs) < 1e-3 * size).mean() > 0.7  # a walk may end a step earlier
            np.testing.assert_allclose(mine.mean(), theirs.mean(), rtol=0, atol=size)


def test_gradients_in_the_data(best_backend, rng):
    boundary, X = wos.Polygon(SQUARE), 2.0 * directions(rng, 5, 2)
    f, grad = bells(rng), rng.standard_normal(5)
    problem = {"dirichlet": per_vertex(rng, 4), "source": f, "walks": 9, "rng": 3, "exterior": True}
    _, of_g, of_f = wos.solve_vjp(boundary, X, grad, **problem)
    total = (grad * wos.solve(boundary, X, **problem).value).sum()
    np.testing.assert_allclose(
        (of_g["values"] * problem["dirichlet"].values).sum() + (of_f["amplitude"] * f.amplitude).sum(), total, rtol=1e-4
    )
