"""Data of any magnitude that float64 represents. u is linear in them, so scaling by a power of two is exact."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import SQUARE
from wos.walk.oracle import NUMBERS, same

X = np.array([[0.3, 0.4], [0.6, 0.2], [0.97, 0.5]])
SIZES = [2.0**-1000, 2.0**-133, 2.0**129, 2.0**1000]
WHERE = np.array([True, False, False, False])


def data(s, L=1.0):
    """Data with the unit s of u and the unit L of length."""
    powers = L ** -np.add.outer(np.arange(3.0), np.arange(3))
    return {
        "number": 0.7 * s,
        "fourier": wos.Fourier(np.array([0.1, 1.0, 0.0, 0.5, 0.2]) * s),
        "gaussians": wos.Gaussians(np.array([1.0, -0.4]) * s, np.array([[0.1, 0.2], [0.8, 0.5]]) * L, 0.4 * L),
        "polynomial": wos.Polynomial(np.array([[0.1, 0.3, -0.8], [0.5, 0.0, 0.0], [0.7, 0.0, 0.0]]) * powers * s),
        "grid": wos.GridField(np.array([[0.1, 0.2], [0.3, 0.7]]) * s, box=([0.0, 0.0], [L, L])),
    }


@pytest.mark.parametrize(("s", "L"), [(2.0**-1000, 1.0), (2.0**-133, 2.0**40), (2.0**129, 2.0**-40), (2.0**700, 2.0**-49), (1.0, 2.0**45)])
@pytest.mark.parametrize("kind", [*data(1.0), "per_vertex"])
def test_boundary_values_and_sources(kind, s, L, backend):
    """If lengths scale with L, sources and screenings scale with 1 / L^2, and fluxes with 1 / L."""

    def run(s, L, **more):
        g = wos.PerVertex(np.array([0.0, 1.0, 0.0, 0.5]) * s) if kind == "per_vertex" else data(s, L)[kind]
        f = 0.7 * s / L**2 if kind in ("fourier", "per_vertex") else data(s / L**2, L)[kind]
        boundary = wos.Ball([0.4 * L, 0.5 * L], 0.75 * L) if more.pop("ball", False) else wos.Polygon(SQUARE * L)
        screening = more.pop("screening", 0.0) / L**2
        if more.pop("walls", False):
            more["neumann"] = WHERE, 0.5 * s / L
        return wos.solve(boundary, X * L, dirichlet=g, source=f, screening=screening, walks=16, rng=1, **more)

    for more in ({"gradient": True}, {"screening": 3.0}, {"walls": True}, *[{"ball": True, "gradient": True}] * (kind != "per_vertex")):
        print(more)
        same(run(s, L, **more), run(1.0, 1.0, **more), unit=s, length=L)


@pytest.mark.parametrize("shape", [lambda L: wos.Polygon(SQUARE * L), lambda L: wos.Ball([0.4 * L, 0.5 * L], 0.75 * L)])
def test_the_smallest_and_the_largest_domains(shape, backend):
    """A relative epsilon, and an absolute one that scales with the domain, give the same values in domains of any size."""

    def run(L, **epsilon):
        data = {"dirichlet": lambda Y: Y[:, 0] / L, "source": 1 / L**2, **epsilon}
        return wos.solve(shape(L), X * L, walks=16, rng=1, **data).value

    expected = run(1.0, epsilon=1e-6)
    for L in (2.0**-230, 1.0, 2.0**230):
        np.testing.assert_allclose(run(L, epsilon=1e-6), expected, rtol=1e-9)
        np.testing.assert_allclose(run(L, epsilon=1e-6 * shape(L)._diagonal[0], relative=False), expected, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-300, 1e-40, 1e39, 1e300])
@pytest.mark.filterwarnings("ignore:solve. .* jumps:RuntimeWarning")
@pytest.mark.parametrize("kind", ["number", "polynomial", "gaussians", "grid", "function"])
def test_media(kind, alpha, backend):
    """Multiplying α, σ and f by a number gives an equivalent equation."""

    def run(s):
        powers = wos.Polynomial(np.array([[1.0, 0.2], [0.1, 0.3]]) * s)
        bells = wos.Gaussians(np.array([1.0, 0.4]) * s, np.array([[0.1, 0.2], [0.8, 0.5]]), 2.0)
        medium = {**data(s), "polynomial": powers, "gaussians": bells, "function": lambda Y: s * (1 + 0.1 * Y[:, 0])}[kind]
        more = {"diffusion": medium, "screening": powers, "source": 0.3 * s}
        return wos.solve(wos.Polygon(SQUARE), X, dirichlet=1.0, walks=16, rng=1, gradient=True, **more)

    result, base = run(alpha), run(1.0)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(result, name), getattr(base, name), rtol=2e-3, err_msg=name)


def test_grids_with_different_numbers_of_nodes(backend):
    """Rows of a table of grids are padded. The tables of derivatives after α in a row do not depend on its unit."""
    grids = [np.linspace(1, 5, n)[:, None] * np.ones(4) for n in (3, 7)]

    def run(s):
        fields = [wos.GridField(s * values, ([-0.1, -0.1], [1.1, 1.1])) for values in grids]
        polygons = wos.Polygon([SQUARE] * len(fields))
        return wos.solve(polygons, X, dirichlet=1.0, diffusion=fields, source=0.3 * s, walks=16, rng=1).value

    np.testing.assert_allclose(run(2.0**600), run(1.0), rtol=1e-6)


def test_functions_with_large_and_small_values(backend):
    """Both magnitudes in one walk. Values that are not finite stay that way. Squares that overflow or underflow cause a warning."""
    for f, expected in (
        (lambda Y: np.where(Y[:, 0] < 0.5, 1e60, 1e-60), lambda u: (u > 0) & np.isfinite(u)),
        (lambda Y: np.full(len(Y), np.nan), np.isnan),
        (lambda Y: np.full(len(Y), np.inf), lambda u: ~np.isfinite(u)),
    ):
        assert expected(wos.solve(wos.Polygon(SQUARE), X, dirichlet=0.0, source=f, walks=8, rng=1).value).all()
    for s in (1e-200, 1e200):
        with pytest.warns(RuntimeWarning, match="stderr of 3 points may be 0 or infinite"):
            wos.solve(wos.Polygon(SQUARE), X, dirichlet=lambda Y: s * Y[:, 0], walks=8, rng=1)  # noqa: B023


@pytest.mark.parametrize("s", SIZES)
def test_how_walks_are_drawn(s, best_backend):
    """Resumed and merged runs, tasks, caches and runs with tolerances use the same unit, which depends only on the problem."""
    polygon, c = wos.Polygon(SQUARE), np.array([0.1, 1.0, 0.0, 0.5, 0.2])

    def run(s, walks=64, **more):
        return wos.solve(polygon, X, dirichlet=wos.Fourier(c * s), source=0.25 * s, walks=walks, rng=1, **more)

    whole, tolerant = run(s), run(1.0, atol=0.02)
    same(whole, run(1.0), unit=s)
    same(run(s, 36).merge(run(s, 28, walk_offset=36)), whole)
    same(pickle.loads(pickle.dumps(run(s, 36))).resume(28), whole)
    with ThreadPoolExecutor(1) as executor:
        same(run(s, executor=executor), whole)
        same(run(s, atol=0.02 * s, executor=executor), tolerant, unit=s)
    same(run(s, atol=0.02 * s), tolerant, unit=s)
    same(run(s, rtol=0.1, max_walks=500), run(1.0, rtol=0.1, max_walks=500), unit=s)
    with pytest.raises(ValueError, match="differ in dirichlet, source"):
        whole.merge(run(1.0, walk_offset=64))
    balls = {"cache": "harmonic", "walks": 8, "rng": 1}
    same(*(wos.solve(polygon, X, dirichlet=wos.Fourier(c * t), **balls) for t in (s, 1.0)), unit=s)


@pytest.mark.parametrize("s", [2.0**-900, 2.0**900])
def test_each_instance_has_a_unit(s, backend):
    polygons = wos.Polygon([SQUARE, SQUARE, SQUARE])
    g, f = np.array([s, 1.0, 0.0]), np.array([0.0, 1.0, s])
    many = wos.solve(wos.Polygon(SQUARE), X, dirichlet=g, source=f, walks=16, rng=1, gradient=True)
    for b in range(3):
        same(many, wos.solve(polygons, X, dirichlet=g[b], source=f[b], walks=16, rng=1, gradient=True), b)
    values = np.array([0.0, 1.0, 0.0, 0.5])
    mixed = wos.solve(polygons, X, dirichlet=wos.PerVertex([s * values, values, 0 * values]), walks=16, rng=1)
    plain = wos.solve(polygons, X, dirichlet=wos.PerVertex([values, values, values]), walks=16, rng=1)
    np.testing.assert_array_equal(mixed.value, plain.value * np.array([[s], [1.0], [0.0]]))


@pytest.mark.parametrize(("s", "size"), [(2.0**-600, 2.0**140), (2.0**-133, 2.0**-140), (2.0**129, 1.0), (2.0**600, 2.0**-400)])
def test_gradients(s, size, backend):
    """Gradients with respect to data and points, for values of any magnitude."""
    for more in ({}, {"neumann": (WHERE, 0.5)}, {"diffusion": wos.Polynomial(np.array([[1.0, 0.2], [0.1, 0.3]]))}):

        def run(s, size):
            inputs = {"dirichlet": data(s)["gaussians"], "source": data(s)["polynomial"], **more}  # noqa: B023
            if "neumann" in inputs:
                inputs["neumann"] = WHERE, wos.Polynomial(s * np.ones((2, 2)))
            return wos.solve_vjp(wos.Polygon(SQUARE), X, np.full(3, size), walks=16, rng=1, **inputs)

        (dx, *gradients), (its, *base) = run(s, size), run(1.0, 1.0)
        np.testing.assert_array_equal(dx, its * s * size)
        for mine, other in zip(gradients, base):
            for name in other:
                unit = size * (s if name == "center" else 1.0)
                np.testing.assert_array_equal(mine[name], other[name] * unit, err_msg=name)


def test_screening_outside_the_range_of_float32(backend):
    """Deep inside, u = f / σ."""
    for d in (2, 3):
        run = {"dirichlet": 0.0, "walks": 64, "rng": 1}
        ball = wos.Ball([0.0] * d, 1.0)
        result, base = (wos.solve(ball, np.zeros((1, d)), source=t, screening=t, **run) for t in (1e60, 1e4))
        np.testing.assert_allclose(result.value, base.value, rtol=1e-5)
        assert abs(result.value[0] - 1) < 6 * result.stderr[0]
