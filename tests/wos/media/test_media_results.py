"""What results of walks through media have in common with others: bits, cuts, gradients in the data, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.media import media
from quatrefoil.wos.walk import draw
from wos.walk.oracle import disc_points, gates, same, seed, star, star_points
from wos.walk.test_walk_scaleout import Pickled


def rippled(X):
    return 2 + np.sin(X[:, 0]) * X[:, 1]


def squared(X):
    return X[:, 0] ** 2


BELLS = wos.Gaussians(np.array([0.8, 1.2, 1.0]), np.array([[0.3, 0.2], [-0.4, 0.1], [0.0, 0.0]]), np.array([0.9, 1.1, 1e4]))
SIGMA = wos.Polynomial(np.array([[3.0, 0.0], [1.0, 2.0]]))
MEDIA = {
    "polynomial": {"diffusion": wos.Polynomial(np.array([[2.0, 0.3], [-0.4, 0.1]]))},
    "gaussians": {"diffusion": BELLS, "screening": SIGMA},
    "grid": {"diffusion": wos.GridField(np.array([[1.0, 1.3, 1.2], [1.1, 1.4, 1.0], [1.5, 1.2, 1.1]]), ([-1.5, -1.5], [1.5, 1.5]))},
    "function": {"diffusion": rippled, "screening": squared},
    "number": {"diffusion": 2.0, "screening": SIGMA},
}
FOURIER = wos.Fourier(np.array([0.4, 1.0, -0.5, 0.3, 0.2]))
POLYGON = wos.Polygon(star(64))


def cube(X):
    return X[:, 0] ** 3


@numba.njit
def compiled(X):
    return 2 + np.sin(X[:, 0]) * X[:, 1]


def solve(medium, X, walks=100, **options):
    given = {"dirichlet": FOURIER, "source": cube, **MEDIA[medium]}
    return wos.solve(POLYGON, X, **{**given, "walks": walks, **options})


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("gradient", [False, True])
def test_bits(medium, gradient, rng, backend):
    """Any number of threads, any cut, an executor, and the first points alone."""
    X, key = star_points(rng, 30), seed(rng)
    options = {"rng": key, "gradient": gradient, "backend": backend}
    whole = solve(medium, X, **options)
    for other in (
        solve(medium, X, num_threads=3, **options),
        solve(medium, X, 38, **options).resume(62),
        solve(medium, X, 62, walk_offset=38, **options).merge(solve(medium, X, 38, **options)),
    ):
        same(whole, other)
        if gradient:
            np.testing.assert_array_equal(whole.grad, other.grad)
            np.testing.assert_array_equal(whole.grad_stderr, other.grad_stderr)
    first = solve(medium, X[:7], **options)
    np.testing.assert_array_equal(first.value, whole.value[:7])


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("gradient", [False, True])
def test_an_executor_gives_the_same_bits(medium, gradient, rng, backend, monkeypatch):
    """Of parts of a few points, and of some of the walks of one; threads, and workers that tasks are pickled for."""
    X, key = star_points(rng, 20), seed(rng)
    options = {"rng": key, "gradient": gradient, "backend": backend}
    whole = solve(medium, X, **options)
    for most in (512, 32):
        monkeypatch.setattr(draw, "PART_WALKS", most)
        with ThreadPoolExecutor(2) as pool:
            same(whole, solve(medium, X, executor=pool, num_threads=1, **options))
        pickled = Pickled()
        same(whole, solve(medium, X, executor=pickled, **options))
        assert len(pickled.tasks) > 3


def test_tolerances(rng):
    X, key = star_points(rng, 20), seed(rng)
    result = solve("gaussians", X, 64, rng=key, atol=0.02, max_walks=1024)
    assert ((result.stderr <= 0.02) | (result.n_walks == 1024)).all()
    one = int(result.n_walks[3])
    assert solve("gaussians", X, one, rng=key).value[3] == result.value[3]


def test_instances_are_as_if_alone(rng, monkeypatch):
    """B boundaries, data and media, each of which has a bound of its own."""
    rings, X, key = np.stack([star(32), 1.5 * star(32)]), star_points(rng, 9), seed(rng)
    values = rng.uniform(1, 2, (2, 4, 4))
    field = wos.GridField(values, ([-2.0, -2.0], [2.0, 2.0]))
    rates = wos.Gaussians(rng.uniform(1, 2, (2, 1)), np.zeros((1, 2)), 1.0)
    both = wos.solve(wos.Polygon(rings), X, dirichlet=FOURIER, diffusion=field, screening=rates, walks=50, rng=key)
    assert both.value.shape == (2, 9)
    first = wos.solve(
        wos.Polygon(rings[:1]), X, dirichlet=FOURIER, diffusion=wos.GridField(values[:1], field.box),
        screening=wos.Gaussians(rates.amplitude[:1], rates.center, 1.0), walks=50, rng=key,
    )  # fmt: skip
    np.testing.assert_array_equal(both.value[:1], first.value)
    listed = wos.solve(
        wos.Polygon(rings), X, dirichlet=FOURIER, diffusion=[wos.GridField(v, field.box) for v in values], screening=rates, walks=50,
        rng=key,
    )  # fmt: skip
    np.testing.assert_array_equal(listed.value, both.value)
    monkeypatch.setattr(draw, "PART_WALKS", 64)
    again = wos.solve(wos.Polygon(rings), X, dirichlet=FOURIER, diffusion=field, screening=rates, walks=50, rng=key, executor=Pickled())
    same(both, again)


def test_linear_in_the_data(rng, backend):
    X, key = star_points(rng, 20), seed(rng)
    options = {**MEDIA["gaussians"], "walks": 64, "rng": key, "backend": backend}

    def u(g, f):
        return wos.solve(POLYGON, X, dirichlet=g, source=f, **options).value

    g, f = (lambda X: X[:, 0] * X[:, 1]), cube
    together = u(lambda X: 2 * g(X) + 3, lambda X: f(X) - 1)
    np.testing.assert_allclose(together, 2 * u(g, 0.0) + 3 * u(1.0, 0.0) + u(0.0, f) - u(0.0, 1.0), rtol=1e-5, atol=1e-6)


def test_the_same_medium_however_it_is_given(rng):
    """The same bits of njit and Python functions; nearly the same of a Polynomial, whose derivatives are its own."""
    X, key = star_points(rng, 20), seed(rng)
    options = {"dirichlet": FOURIER, "walks": 64, "rng": key}
    python = wos.solve(POLYGON, X, diffusion=rippled, **options)
    njit = wos.solve(POLYGON, X, diffusion=compiled, **options)
    np.testing.assert_allclose(njit.value, python.value, rtol=1e-5)
    c = np.array([[2.0, 0.3], [-0.4, 0.1]])
    of = wos.Polynomial(c)
    one, two = wos.solve(POLYGON, X, diffusion=of, **options), wos.solve(POLYGON, X, diffusion=lambda X: of(X), **options)
    np.testing.assert_allclose(one.value, two.value, rtol=0, atol=0.05)
    single = wos.solve(POLYGON, X.astype(np.float32), dirichlet=lambda X: FOURIER(X), diffusion=lambda X: of(X), walks=64, rng=key)
    assert single.value.dtype == np.float32
    np.testing.assert_allclose(single.value, two.value, rtol=0, atol=0.05)


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


@pytest.mark.parametrize("gradient", [False, True])
def test_gradients_in_the_data(gradient, rng, backend):
    """value is linear in them, so a difference is exact but for rounding."""
    X, key = star_points(rng, 6), seed(rng)
    c, a, centre = rng.standard_normal(5), rng.standard_normal(2), 0.3 * rng.standard_normal((2, 2))
    options = {**MEDIA["gaussians"], "walks": 64, "rng": key, "backend": backend, "epsilon": 1e-6, "gradient": gradient}

    def value(c, a):
        return wos.solve(POLYGON, X, dirichlet=wos.Fourier(c), source=wos.Gaussians(a, centre, 1.0), **options).value

    grad = rng.standard_normal(6)
    points, of_g, of_f = wos.solve_vjp(POLYGON, X, grad, dirichlet=wos.Fourier(c), source=wos.Gaussians(a, centre, 1.0), **options)
    for k, direction in enumerate(np.eye(5)):
        assert np.isclose(of_g["coefficients"][k], grad @ (value(c + direction, a) - value(c, a)), rtol=1e-8, atol=1e-9)
    for k, direction in enumerate(np.eye(2)):
        assert np.isclose(of_f["amplitude"][k], grad @ (value(c, a + direction) - value(c, a)), rtol=1e-8, atol=1e-9)
    again = wos.solve(POLYGON, X, dirichlet=wos.Fourier(c), source=wos.Gaussians(a, centre, 1.0), **{**options, "gradient": True})
    np.testing.assert_allclose(points, grad[:, None] * again.grad, rtol=1e-12)


def test_torch(rng):
    torch = pytest.importorskip("torch")
    X, key = star_points(rng, 6), seed(rng)
    polygon = wos.Polygon(torch.tensor(star(64)))
    c, points = torch.tensor(rng.standard_normal(5), requires_grad=True), torch.tensor(X, requires_grad=True)
    bells = wos.Gaussians(*(torch.tensor(x) for x in (BELLS.amplitude, BELLS.center, BELLS.width)))
    result = wos.solve(polygon, points, dirichlet=wos.Fourier(c), diffusion=bells, screening=1.0, walks=64, rng=key)
    plain = wos.solve(POLYGON, X, dirichlet=wos.Fourier(c.detach().numpy()), diffusion=BELLS, screening=1.0, walks=64, rng=key)
    np.testing.assert_array_equal(result.value.detach().numpy(), plain.value)
    weight = torch.tensor(rng.standard_normal(6))
    (result.value * weight).sum().backward()
    grads = wos.solve_vjp(
        POLYGON, X, weight.numpy(), dirichlet=wos.Fourier(c.detach().numpy()), diffusion=BELLS, screening=1.0, walks=64, rng=key,
    )  # fmt: skip
    np.testing.assert_allclose(points.grad.numpy(), grads[0], rtol=1e-10)
    np.testing.assert_allclose(c.grad.numpy(), grads[1]["coefficients"], rtol=1e-10)


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


def test_merge_compares_media(rng):
    X, key = star_points(rng, 3), seed(rng)
    one = solve("gaussians", X, rng=key)
    with pytest.raises(ValueError, match="differ in screening"):
        one.merge(solve("gaussians", X, rng=key, walk_offset=100, screening=wos.Polynomial(np.array([[3.0]]))))
    with pytest.raises(ValueError, match="differ in diffusion"):
        one.merge(solve("gaussians", X, rng=key, walk_offset=100, diffusion=wos.Polynomial(np.array([[3.0]]))))


WRONG = {
    "negative": ({"diffusion": wos.Polynomial(np.array([[0.1, 0.0], [1.0, 0.0]]))}, ValueError, "diffusion is .* at .*expected positive"),
    "zero": ({"diffusion": 0.0}, ValueError, "diffusion is 0 at"),
    "negative-number": ({"diffusion": -1.0}, ValueError, "diffusion is -1 at"),
    "negative-node": ({"diffusion": wos.GridField(-np.ones((2, 2)), ([-1.0, -1], [1, 1]))}, ValueError, "at a node, expected positive"),
    "nan": ({"diffusion": lambda X: np.where(X[:, 0] > 0, np.nan, 1.0)}, ValueError, "diffusion is nan at"),
    "screening": ({"screening": wos.Polynomial(np.array([[0.0], [1.0]]))}, ValueError, "screening is .* at .*expected 0 or more"),
    "fourier": ({"diffusion": wos.Fourier(np.array([1.0]))}, ValueError, "diffusion is Fourier data"),
    "per-vertex": ({"diffusion": wos.PerVertex(np.ones(64))}, ValueError, "diffusion is PerVertex data"),
    "screening-per-vertex": ({"screening": wos.PerVertex(np.ones(64))}, ValueError, "screening is PerVertex data"),
    "cache": ({"diffusion": 2.0, "cache": "harmonic"}, ValueError, "a cache does not go with a diffusion"),
    "neumann": ({"diffusion": 2.0, "neumann": (np.arange(64) < 3, 1.0)}, ValueError, "do not go with neumann"),
    "odd": ({"diffusion": 2.0, "gradient": True, "walks": 3}, ValueError, "must be even|even number"),
    "shape": ({"diffusion": lambda X: X}, ValueError, r"diffusion\(X\)"),
    "type": ({"diffusion": "iron"}, TypeError, "diffusion is str"),
    "instances": ({"diffusion": np.ones(3), "screening": np.ones(2)}, ValueError, "different numbers of instances"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_refused(name):
    options, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        wos.solve(POLYGON, np.zeros((1, 2)), **{"dirichlet": 1.0, "walks": 2, "rng": 0, **options})


def test_no_gradient_in_the_medium():
    torch = pytest.importorskip("torch")
    alpha = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="diffusion requires grad"):
        wos.solve(wos.Ball([0.0, 0.0], 1.0), torch.zeros((1, 2), dtype=torch.float64), dirichlet=1.0, diffusion=alpha, rng=0)


def test_only_inside_of_what_it_knows(rng):
    """Boxes, and no field of distances, no higher dimension, no exterior."""
    alpha = wos.Polynomial(np.array([[1.0, 0.5], [0.2, 0.0]]))
    box, ring = wos.Box([0.0, 0.0], [1.0, 1.0]), np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    X = rng.uniform(0.1, 0.9, (20, 2))
    options = {"dirichlet": lambda Y: Y[:, 0] - Y[:, 1], "source": 1.0, "diffusion": alpha, "walks": 2048}
    a, b = (wos.solve(where, X, rng=k, **options) for k, where in enumerate((box, wos.Polygon(ring))))
    assert (np.abs(a.value - b.value) < 7 * np.hypot(a.stderr, b.stderr)).all()
    field = wos.SDF(np.array([[1.0, 1, 1], [1, -1, 1], [1, 1, 1]]), ([-1.0, -1], [1.0, 1]))
    for boundary, more in ((field, {}), (wos.Ball([0.0] * 4, 1.0), {}), (wos.Ball([0.0] * 3, 1.0), {"exterior": True})):
        with pytest.raises(ValueError, match="a diffusion, or a screening that is no number"):
            wos.solve(boundary, np.full((1, boundary.dimension), 0.1), dirichlet=1.0, diffusion=2.0, **more)


@pytest.mark.parametrize("dimension", [4, 7])
def test_the_op_knows_the_plane_and_space_only(dimension, backend):
    start, frame = np.zeros((1, 2, dimension)), np.concatenate([np.zeros(dimension), [1.0, 0.01]])[None]
    with pytest.raises(ValueError, match=r"media: start has \d coordinates, expected two or three"):
        media(start, frame, dirichlet=np.ones((1, 1)), bounds=np.array([[1.0, 1e-3]]))
