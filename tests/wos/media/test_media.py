"""Walks through media: values and gradients compared with closed forms, kinds of media, positions of domains, points on the boundary."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.media import bound
from quatrefoil.wos.models import chunk
from wos.domains import field, quarter_or_slow
from wos.query.oracle import icosphere
from wos.walk.oracle import check, disc_points, seed, star, star_points

EPSILON = 1e-4


def wave(X):
    """A function that is not harmonic."""
    return np.sin(1.5 * X[..., 0] + 0.3) + X[..., -1] * X[..., 1] + 0.5


def wave_squared(X):
    return wave(X) ** 2


def rippled(X, nu=0.5):
    """The diffusion of the neural operators' problem in space."""
    return np.exp(-(X[..., 1] ** 2) + np.cos(4 * np.pi * nu * X[..., 0]) * np.sin(3 * np.pi * nu * X[..., 1]))


POWERS = wos.Polynomial(np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))  # (2 + x y)^2, whose square root is harmonic
POWERS_IN_FOUR = wos.Polynomial(POWERS.coefficients[:, None, None, :])  # in the first and the last coordinate
HILL = wos.Polynomial(np.array([[1.3, 0.3, 0.2], [1.0, 0.1, 0.0], [0.3, 0.0, 0.1]]))
BOWL = wos.Polynomial(np.array([[0.5, 0.2, 1.0, 0.0], [0.4, -0.6, 0.0, 0.5], [-0.7, 0.3, 0.0, 0.0]]))  # not harmonic
SIGMA = wos.Polynomial(np.array([[3.0, 0.0], [1.0, 2.0]]))
CENTERS = np.array([[0.3, 0.2, 0], [-0.4, 0.1, 0.2], [0, 0, 0]])
BELLS, BELLS_IN_SPACE, BELLS_IN_FIVE = (
    wos.Gaussians(np.array([0.8, 1.2, 1]), np.pad(CENTERS, ((0, 0), (0, 2)))[:, :d].copy(), np.array([0.9, 1.1, 1e4])) for d in (2, 3, 5)
)


def nodes(f, n):
    at = np.linspace(-1.1, 1.1, n)
    X = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1)
    return wos.GridField(f(X.reshape(-1, 2)).reshape(n, n), ([-1.1] * 2, [1.1] * 2))


def source(u, alpha, sigma, h=1e-3):
    """-div(alpha grad u) + sigma u by finite differences, accurate to 1e-6."""

    def f(X):
        total = sigma(X) * u(X)
        for e in h * np.eye(X.shape[-1]):
            for step in (e, -e):
                total = total - alpha(X + 0.5 * step) * (u(X + step) - u(X)) / h**2
        return total

    return f


def stated(u, alpha=None, sigma=None, medium=None):
    """Keywords of solve for a solution u. ``medium``: an approximation of alpha."""
    one, none = (lambda X: 1.0), (lambda X: 0.0)
    options = {"dirichlet": u, "source": source(u, one if alpha is None else alpha, none if sigma is None else sigma)}
    options |= {} if alpha is None else {"diffusion": alpha if medium is None else medium}
    return options | ({} if sigma is None else {"screening": sigma})


def problems():
    """Name -> boundary, radius of the points, keywords of solve, u."""
    disc, ball = wos.Ball([0.0, 0.0], 1.0), wos.Ball([0.0, 0.0, 0.0], 1.0)
    outline, mesh = wos.Polygon(star(256)), wos.TriangleMesh(0.5 * (sphere := icosphere(2))[0], sphere[1])
    decay, over = (lambda X: np.exp(-X[..., 0])), (lambda X: (1 + X[..., 0] ** 2 - X[..., -1] ** 2) / (2 + X[..., 0] * X[..., -1]))

    def of(boundary, radius, u, *medium):
        return boundary, radius, stated(u, *medium), u

    rising = lambda X: np.exp(2 * X[..., 0])  # noqa: E731
    return {
        "exponential": of(disc, 0.75, decay, rising),
        "harmonic-root": (outline, None, {"dirichlet": over, "diffusion": POWERS}, over),
        "polynomial": of(disc, 0.75, BOWL.__call__, HILL),
        "gaussians": of(outline, None, wave, BELLS, SIGMA),
        "grid": of(disc, 0.75, BOWL.__call__, HILL, None, nodes(HILL, 65)),
        "screening": of(disc, 0.75, wave, None, SIGMA),
        "numbers": of(disc, 0.75, wave, lambda X: 2.5, SIGMA, 2.5),
        "field": of(field(2, 201), 0.75, wave, BELLS, SIGMA),
        "function": of(wos.SDF(lambda X: np.hypot(*X.T) - 1, ([-1.1] * 2, [1.1] * 2)), 0.75, wave, HILL),
        "space": of(ball, 0.75, wave, BELLS_IN_SPACE),
        "rippled-mesh": of(mesh, 0.35, wave, rippled),
        "four": (wos.Box([-1.0] * 4, [1.0] * 4), 0.75, {"dirichlet": over, "diffusion": POWERS_IN_FOUR}, over),
        "five": of(wos.Ball([0.0] * 5, 1.0), 0.75, wave, BELLS_IN_FIVE, wave_squared),
    }


PROBLEMS = problems()


def points(name, rng, n):
    """Points clear of the boundary, near which error bars from few walks are unreliable."""
    boundary, radius, *_ = PROBLEMS[name]
    return 0.75 * star_points(rng, n) if radius is None else disc_points(rng, n, radius, boundary.dimension)


def solved(name, rng, n, walks, **more):
    (boundary, _, options, _), X = PROBLEMS[name], points(name, rng, n)
    return X, wos.solve(boundary, X, walks=walks, rng=seed(rng), epsilon=EPSILON, **options, **more)


@quarter_or_slow
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", PROBLEMS)
def test_closed_forms(name, pairs, share, best_backend, rng):
    """The slow test detects a bias of 1.9 % of a walk's standard deviation, or 3.7 % if a source or a medium is a function."""
    n, walks = (40, 512) if best_backend == "numba" else (100, 1024) if name == "harmonic-root" else (50, 512)
    X, r = solved(name, rng, n // share, walks, gradient=pairs, backend=best_backend)
    check(r, X, PROBLEMS[name][3])
    assert r.state.counts[:, 3].sum() == 0  # no jumps beyond the bound


def test_the_bound_may_be_too_small(rng, monkeypatch):
    """With too small a bound, jumps beyond it are counted, and values stay unbiased."""
    monkeypatch.setattr(bound, "SLACK", 0.3)
    monkeypatch.setattr(bound, "SPREAD", 0.0)
    with pytest.warns(RuntimeWarning, match=r"solve: \d+ jumps went to points"):
        X, result = solved("gaussians", rng, 100, 512)
    count = int(result.state.counts[:, 3].sum())
    assert count > 0
    with pytest.warns(RuntimeWarning, match="jumps"):
        assert result.resume(64).state.counts[:, 3].sum() > count
    check(result, X, wave)


FOURIER = wos.Fourier(np.array([0.4, 1.0, -0.5, 0.3, 0.2]))
POLYGON = wos.Polygon(star(64))


def waves(X):
    return 2 + np.sin(X[:, 0]) * X[:, 1]


def test_the_same_medium_however_it_is_given(rng):
    """An njit function and a Python function agree, in float64 and in float32."""
    X, key = star_points(rng, 20), seed(rng)
    options = {"dirichlet": FOURIER, "walks": 64, "rng": key}
    python = wos.solve(POLYGON, X, diffusion=waves, **options)
    njit = wos.solve(POLYGON, X, diffusion=pytest.importorskip("numba").njit(waves), **options)
    np.testing.assert_allclose(njit.value, python.value, rtol=1e-5)
    single = wos.solve(POLYGON, X.astype(np.float32), dirichlet=lambda X: FOURIER(X), diffusion=waves, walks=64, rng=key)
    assert single.value.dtype == np.float32
    np.testing.assert_allclose(single.value, python.value, rtol=0, atol=0.05)


def test_far_from_the_origin_and_small(rng):
    """u = e^-x, alpha = e^2x in the coordinates of a domain of size 0.01 at 300."""
    place, size = np.array([300.0, -200.0]), 0.01
    X = place + size * disc_points(rng, 100, 0.75)
    x = lambda Y: (Y - place)[:, 0] / size  # noqa: E731
    result = wos.solve(
        wos.Ball(place, size), X, dirichlet=lambda Y: np.exp(-x(Y)), source=lambda Y: (np.exp(x(Y)) + 2 * np.exp(-x(Y))) / size**2,
        diffusion=lambda Y: np.exp(2 * x(Y)), screening=2 / size**2, walks=1024, epsilon=1e-4, rng=seed(rng),
    )  # fmt: skip
    check(result, X, lambda Y: np.exp(-x(Y)))


def test_a_function_per_domain(backend, monkeypatch):
    """Each domain uses its own medium, even when domains are solved one at a time."""
    run = {"dirichlet": FOURIER, "diffusion": [lambda X, a=a: a + X[:, 0] ** 2 for a in (1, 3)], "walks": 4, "rng": 3}
    domains, X = wos.Polygon([POLYGON.vertices] * 2), np.array([[0.1, 0.2], [0.3, -0.1]])
    whole = wos.solve(domains, X, **run)
    monkeypatch.setattr(chunk, "MAX_INSTANCES", 1)
    np.testing.assert_array_equal(wos.solve(domains, X, progress=lambda *at: None, **run).value, whole.value)
