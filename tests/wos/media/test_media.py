"""Walks through media against closed forms and finite differences; what a wrong walk would fail."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from quatrefoil import wos
from quatrefoil._backends import native
from quatrefoil.wos.walk import medium
from wos.media import oracle
from wos.walk.oracle import disc_points, plain_walk, segments, star, star_points

NATIVE = native.reason() is None
EPSILON = 1e-4


def columns(*parts):
    return np.stack(parts, axis=-1)


def source(alpha, slope, u, gradient, laplace, sigma=lambda X: 0.0):
    """f of -div(alpha grad u) + sigma u = f; ``slope`` is that of log alpha."""

    def f(X):
        return -alpha(X) * (laplace(X) + (slope(X) * gradient(X)).sum(axis=-1)) + sigma(X) * u(X)

    return f


def wave(X):
    """Not harmonic."""
    return np.sin(1.5 * X[..., 0] + 0.3) + X[..., -1] * X[..., 1] + 0.5


def wave_gradient(X):
    last = X.shape[-1] - 1
    found = np.zeros(X.shape)
    found[..., 0] = 1.5 * np.cos(1.5 * X[..., 0] + 0.3)
    found[..., 1] += X[..., last]
    found[..., last] += X[..., 1]
    return found


def wave_laplace(X):
    return -2.25 * np.sin(1.5 * X[..., 0] + 0.3) + (2.0 if X.shape[-1] == 2 else 0.0)


def rippled(X, nu=0.5):
    """The diffusion of the neural operators' problem in space."""
    return np.exp(-(X[..., 1] ** 2) + np.cos(4 * np.pi * nu * X[..., 0]) * np.sin(3 * np.pi * nu * X[..., 1]))


def rippled_slope(X, nu=0.5):
    a, b, x, y = 4 * np.pi * nu, 3 * np.pi * nu, X[..., 0], X[..., 1]
    found = np.zeros(X.shape)
    found[..., 0], found[..., 1] = -a * np.sin(a * x) * np.sin(b * y), -2 * y + b * np.cos(a * x) * np.cos(b * y)
    return found


POWERS = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]])  # (2 + x y)^2, whose root is harmonic
HILL = np.array([[1.3, 0.3, 0.2], [1.0, 0.1, 0.0], [0.3, 0.0, 0.1]])
BOWL = np.array([[0.5, 0.2, 1.0, 0.0], [0.4, -0.6, 0.0, 0.5], [-0.7, 0.3, 0.0, 0.0]])  # of u, not harmonic
BELLS = np.array([0.8, 1.2, 1.0]), np.array([[0.3, 0.2], [-0.4, 0.1], [0.0, 0.0]]), np.array([0.9, 1.1, 1e4])  # the last: a constant
BELLS_IN_SPACE = np.array([0.8, 1.2, 1.0]), np.array([[0.3, 0.2, 0], [-0.4, 0.1, 0.2], [0, 0, 0]]), np.array([0.9, 1.1, 1e4])


def hill(X):
    return np.polynomial.polynomial.polyval2d(X[..., 0], X[..., 1], HILL)


def hill_slope(X):
    of, at = np.polynomial.polynomial, (X[..., 0], X[..., 1])
    return columns(*(of.polyval2d(*at, of.polyder(HILL, axis=i)) for i in (0, 1))) / hill(X)[..., None]


def bowl(X):
    return np.polynomial.polynomial.polyval2d(X[..., 0], X[..., 1], BOWL)


def bowl_gradient(X):
    of, at = np.polynomial.polynomial, (X[..., 0], X[..., 1])
    return columns(*(of.polyval2d(*at, of.polyder(BOWL, axis=i)) for i in (0, 1)))


def bowl_source():
    """-div(hill grad bowl), a polynomial too."""
    of = np.polynomial.polynomial
    total = np.zeros((5, 6))
    for i in (0, 1):
        term = of.polyder(convolve2d(HILL, of.polyder(BOWL, axis=i)), axis=i)
        total[: term.shape[0], : term.shape[1]] -= term
    return wos.Polynomial(total)


def bells(X):
    a, c, w = BELLS if X.shape[-1] == 2 else BELLS_IN_SPACE
    return (a * np.exp(-((X[..., None, :] - c) ** 2).sum(axis=-1) / w**2)).sum(axis=-1)


def bells_slope(X):
    a, c, w = BELLS if X.shape[-1] == 2 else BELLS_IN_SPACE
    away = X[..., None, :] - c
    each = a * np.exp(-(away**2).sum(axis=-1) / w**2)
    return -(2 * (each / w**2)[..., None] * away).sum(axis=-2) / bells(X)[..., None]


def sigma(X):
    return 3 + 2 * X[..., 0] * X[..., 1] + X[..., 0]


SIGMA = wos.Polynomial(np.array([[3.0, 0.0], [1.0, 2.0]]))


def nodes(f, n, d):
    at = np.linspace(-1.1, 1.1, n)
    return wos.GridField(f(np.stack(np.meshgrid(*[at] * d, indexing="ij"), axis=-1)), ([-1.1] * d, [1.1] * d))


def sphere(level=2):
    """Vertices and faces of a sphere of radius 1/2 from an octahedron; its plane faces lie up to a few percent inside."""
    V = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    F = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(level):
        corners = V[F]
        middle = 0.5 * (corners + np.roll(corners, -1, axis=1))
        V, at = np.unique(np.concatenate([V, middle.reshape(-1, 3)]).round(12), axis=0, return_inverse=True)
        at = at.reshape(-1)
        F, m = at[F], at[-3 * len(F) :].reshape(-1, 3)
        F = np.concatenate([np.stack([F[:, i], m[:, i], m[:, i - 1]], axis=1) for i in range(3)] + [m])
        V = V / np.linalg.norm(V, axis=1, keepdims=True)
    return 0.5 * V, F


def problems():
    """Name -> boundary, radius of points, keywords of solve, u, its gradient."""
    disc, ball, small = wos.Ball([0.0, 0.0], 1.0), wos.Ball([0.0, 0.0, 0.0], 1.0), wos.Ball([0.0, 0.0, 0.0], 0.5)
    outline, mesh = wos.Polygon(star(256)), wos.TriangleMesh(*sphere())

    def decay(X):
        return np.exp(-X[..., 0])

    def decay_gradient(X):
        return columns(-decay(X), 0 * X[..., 0])

    def over(X):
        return (1 + X[..., 0] ** 2 - X[..., 1] ** 2) / (2 + X[..., 0] * X[..., 1])

    def over_gradient(X):
        x, y, h = X[..., 0], X[..., 1], 2 + X[..., 0] * X[..., 1]
        return columns(2 * x - over(X) * y, -2 * y - over(X) * x) / h[..., None]

    def made(alpha, slope, at=None, with_sigma=False, by=lambda f: f):
        f = source(alpha, slope, wave, wave_gradient, wave_laplace, sigma if with_sigma else lambda X: 0.0)
        options = {"dirichlet": wave, "source": f, "diffusion": by(alpha) if at is None else at}
        return options | ({"screening": SIGMA} if with_sigma else {}), wave, wave_gradient

    straight = {"dirichlet": wos.Polynomial(BOWL), "source": bowl_source()}
    one, none = (lambda X: np.ones(X.shape[:-1])), np.zeros_like
    screened = made(one, none, 1.0, with_sigma=True)
    del screened[0]["diffusion"]
    rising = {"dirichlet": decay, "source": lambda X: np.exp(X[:, 0]), "diffusion": lambda X: np.exp(2 * X[:, 0])}
    return {
        "exponential": (disc, 0.75, rising, decay, decay_gradient),
        "exponential-polygon": (outline, None, rising, decay, decay_gradient),
        "harmonic-root": (outline, None, {"dirichlet": over, "diffusion": wos.Polynomial(POWERS)}, over, over_gradient),
        "function": (disc, 0.75, *made(hill, hill_slope)),
        "polynomial": (disc, 0.75, {**straight, "diffusion": wos.Polynomial(HILL)}, bowl, bowl_gradient),
        "gaussians": (outline, None, *made(bells, bells_slope, wos.Gaussians(*BELLS), with_sigma=True)),
        "grid": (disc, 0.75, {**straight, "diffusion": nodes(hill, 65, 2)}, bowl, bowl_gradient),
        "screening": (disc, 0.75, *screened),
        "numbers": (disc, 0.75, *made(lambda X: 2.5 * one(X), none, 2.5)),
        "space": (ball, 0.75, *made(bells, bells_slope, wos.Gaussians(*BELLS_IN_SPACE), with_sigma=False)),
        "rippled": (small, 0.37, *made(rippled, rippled_slope)),
        "rippled-mesh": (mesh, 0.35, *made(rippled, rippled_slope)),
    }


PROBLEMS = problems()


def points(name, rng, n):
    boundary, radius, *_ = PROBLEMS[name]
    # closer to the boundary few walks know little of their own spread
    return 0.75 * star_points(rng, n) if radius is None else disc_points(rng, n, radius, boundary.dimension)


def solved(name, rng, n=200, walks=1024, **changed):
    boundary, _, options, *_ = PROBLEMS[name]
    X = points(name, rng, n)
    return X, wos.solve(boundary, X, walks=walks, rng=oracle.seed(rng), **{"epsilon": EPSILON, **options, **changed})


def sizes(name, backend):
    """Points and walks: fewer where a source or a medium is called."""
    if not NATIVE or backend == "numba":
        return 40, 512
    return (400, 2048) if name in ("harmonic-root", "polynomial", "grid") else (100, 1024)


@pytest.mark.parametrize("name", PROBLEMS)
def test_closed_forms(name, best_backend, rng):
    X, result = solved(name, rng, *sizes(name, best_backend), backend=best_backend)
    assert oracle.gates(result.value, result.stderr, PROBLEMS[name][3](X), spread=False) == []
    assert (result.n_truncated == 0).all()
    assert (result.n_escaped == 0).all()


@pytest.mark.parametrize("name", ["exponential", "gaussians", "numbers", "grid", "space", "rippled"])
def test_gradients(name, best_backend, rng):
    X, result = solved(name, rng, *sizes(name, best_backend), gradient=True, backend=best_backend)
    _, _, _, u, gradient = PROBLEMS[name]
    assert oracle.gates(result.value, result.stderr, u(X), spread=False) == []
    assert oracle.gates(result.grad, result.grad_stderr, gradient(X), spread=False) == []


def test_finite_differences(rng):
    """No closed form: diffusion, screening, source and boundary values all vary."""
    n = 160

    def alpha(X):
        return 1.2 + np.sin(3 * X[..., 0]) * np.cos(2 * X[..., 1])

    def rate(X):
        return 4 * X[..., 0] ** 2 + X[..., 1]

    def f(X):
        return np.exp(X[..., 0]) * (1 + X[..., 1])

    def g(X):
        return X[..., 0] - np.cos(2 * X[..., 1])

    u = oracle.finite_differences(n, alpha, rate, f, g)
    at = rng.integers(30, n - 29, (200, 2))
    square = wos.Polygon(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    result = wos.solve(
        square, at / n, dirichlet=g, source=f, diffusion=alpha, screening=rate, epsilon=EPSILON, walks=512, rng=oracle.seed(rng)
    )
    assert oracle.gates(result.value, np.hypot(result.stderr, 1e-4), u[at[:, 0], at[:, 1]], spread=False) == []


def test_a_constant_is_the_plain_walk(rng):
    """-2.5 Laplace u + 4 u = f is -Laplace u + 1.6 u = f / 2.5, which walks of another kind solve."""
    disc, X = wos.Ball([0.0, 0.0], 1.0), disc_points(rng, 400, 0.75)
    one = wos.solve(disc, X, dirichlet=wave, source=bells, screening=4.0, diffusion=2.5, walks=1024, rng=oracle.seed(rng))
    two = wos.solve(disc, X, dirichlet=wave, source=lambda X: bells(X) / 2.5, screening=1.6, walks=1024, rng=oracle.seed(rng))
    both = np.hypot(one.stderr, two.stderr)
    assert oracle.gates(one.value - two.value + 1, both, np.ones(400), spread=False) == []


def test_without_a_rate_the_numbers_are_those_of_a_plain_walk(rng):
    """By another walk altogether."""
    segs = segments([star(24)])
    X = 0.75 * star_points(rng, 60)
    value, stderr = plain_walk(segs, X, wave, bells, 400, 1e-3, rng)
    result = wos.solve(wos.Polygon(star(24)), X, dirichlet=wave, source=bells, diffusion=1.0, walks=1024, rng=oracle.seed(rng))
    assert (abs(result.value - value) < 7 * np.hypot(result.stderr, stderr)).all()


def failing(name, rng, n=400, walks=4096, **changed):
    X, result = solved(name, rng, n, walks, **changed)
    return oracle.gates(result.value, result.stderr, PROBLEMS[name][3](X), spread=False)


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_wrong_walks_fail(rng, monkeypatch):
    """The gates of the closed forms would see them."""
    f, g = (x.coefficients for x in (PROBLEMS["grid"][2]["source"], PROBLEMS["grid"][2]["dirichlet"]))
    assert failing("grid", rng) == []
    assert failing("grid", rng, source=wos.Polynomial(1.1 * f))
    assert failing("grid", rng, dirichlet=wos.Polynomial(1.01 * g))
    assert failing("grid", rng, epsilon=2e-2)
    assert failing("grid", rng, diffusion=1.0)
    first, second = medium._first, medium._second
    monkeypatch.setattr(medium, "_first", lambda values, axis: 0 * values)  # without |grad ln alpha|^2
    assert failing("grid", rng)
    monkeypatch.setattr(medium, "_first", first)
    monkeypatch.setattr(medium, "_second", lambda values, axis: 0 * second(values, axis))  # within cells alone
    assert failing("grid", rng)


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_a_wrong_gradient_fails(rng):
    X, result = solved("grid", rng, 400, 8192, gradient=True)
    gradient = PROBLEMS["grid"][4](X)
    u = result.value[:, None]
    assert oracle.gates(result.grad, result.grad_stderr, gradient, spread=False) == []
    assert oracle.gates(1.03 * result.grad, result.grad_stderr, gradient, spread=False)
    assert oracle.gates(result.grad + u * hill_slope(X) / 2, result.grad_stderr, gradient, spread=False)  # that of U alone


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_error_bars(rng):
    """Far from where few walks know their own spread."""
    X, result = solved("polynomial", rng, 2000, 1024)
    inner = (X**2).sum(axis=1) < 0.8
    z = ((result.value - bowl(X)) / result.stderr)[inner]
    assert abs((z**2).mean() - 1) < 7 * np.sqrt(2 / len(z))


def test_the_bound_may_be_too_small(rng, monkeypatch):
    """Then jumps beyond it are counted, and answers are as right as ever."""
    monkeypatch.setattr(medium, "_SLACK", 0.3)
    monkeypatch.setattr(medium, "_SPREAD", 0.0)
    with pytest.warns(RuntimeWarning, match=r"solve: \d+ jumps went to places"):
        X, result = solved("gaussians", rng, 100, 512)
    count = int(result.state.counts[:, 3].sum())
    assert count > 0
    with pytest.warns(RuntimeWarning, match="jumps"):
        assert result.resume(64).state.counts[:, 3].sum() > count
    assert oracle.gates(result.value, result.stderr, wave(X), spread=False) == []


@pytest.mark.parametrize("name", ["exponential", "gaussians", "rippled"])
def test_nothing_is_beyond_the_bound(name, rng):
    _, result = solved(name, rng, 100, 512)
    assert (result.state.counts[:, 3] == 0).all()
