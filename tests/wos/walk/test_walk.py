"""Walk on Spheres: statistics against closed forms, and that the gates see planted errors."""

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.walk import oracle
from wos.walk.oracle import disc_points, gates, seed, star_points

NATIVE = _backends.reason("native") is None


# ---------------------------------------------------------------- statistics


def sizes(backend):
    """(points, walks): the loops of the numba backend ask every segment."""
    return (600, 8192) if backend == "native" else (60, 4096)


def test_harmonic(best_backend, rng):
    n, W = sizes(best_backend)
    X = star_points(rng, n)
    r = wos.solve(wos.Polygon(oracle.star(300)), X, dirichlet=oracle.harmonic, walks=W, epsilon=1e-5, rng=seed(rng))
    assert gates(r.value, r.stderr, oracle.harmonic(X)) == []


def test_torsion_of_an_ellipse(best_backend, rng):
    n, W = sizes(best_backend)
    a, b = 1.3, 0.7
    X = disc_points(rng, n) * [a, b]
    M = 2000 if best_backend == "native" else 500  # the 500-gon is off by 2e-5 at most, a fifth of what would show
    r = wos.solve(wos.Polygon(oracle.ellipse(a, b, M)), X, dirichlet=0.0, source=1.0, walks=W, epsilon=1e-5, rng=seed(rng))
    assert gates(r.value, r.stderr, oracle.torsion_ellipse(X, a, b)) == []


def test_product_of_sines_in_a_square(best_backend, rng):
    """-Δ sin x sin y = 2 sin x sin y: a source that varies, and a hole."""
    n, W = sizes(best_backend)
    u = lambda X: np.sin(X[..., 0]) * np.sin(X[..., 1])  # noqa: E731
    square = np.array([[0, 0], [3, 0], [3, 2], [0, 2.0]])
    hole = np.array([[1, 0.5], [1.5, 0.5], [1.2, 1.1]])
    X = rng.uniform([0.02, 0.02], [2.98, 1.98], (2 * n, 2))
    X = X[oracle.inside([square, hole], X)][:n]
    r = wos.solve(
        wos.Polygon(square, holes=[hole]),
        X,
        dirichlet=u,
        source=lambda Y: 2 * u(Y),
        walks=W,
        epsilon=1e-5,
        rng=seed(rng),
    )
    assert gates(r.value, r.stderr, u(X)) == []


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.slow
def test_ball(d, best_backend, rng):
    n, W = sizes(best_backend)
    radius, center = 2.0, np.array([3.0, -1.0, 0.5])[:d]
    X = center + disc_points(rng, n, 0.95 * radius, d)
    g = lambda Y: Y[:, 0] * Y[:, -1] + 0.5 * Y[:, 1]  # noqa: E731
    truth = X[:, 0] * X[:, -1] + 0.5 * X[:, 1] + 3 * oracle.torsion_ball(X - center, radius)
    r = wos.solve(wos.Ball(center.tolist(), radius), X, dirichlet=g, source=3.0, walks=W, epsilon=1e-6, rng=seed(rng))
    assert gates(r.value, r.stderr, truth) == []


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.slow
def test_ball_with_a_source_that_varies(d, best_backend, rng):
    """-Δ(1 - |x|^4) = 4(d + 2)|x|^2 sees the law of the source's radius, not only its total mass."""
    n, W = sizes(best_backend)
    X = disc_points(rng, n, 0.9, d)
    f = lambda Y: 4 * (d + 2) * (Y**2).sum(axis=1)  # noqa: E731
    r = wos.solve(wos.Ball([0.0] * d, 1.0), X, dirichlet=0.0, source=f, walks=W, epsilon=1e-6, rng=seed(rng))
    assert gates(r.value, r.stderr, 1 - (X**2).sum(axis=1) ** 2) == []


def sines(X):
    """-Δu = d u in d dimensions."""
    return np.sin(X).prod(axis=-1)


def slope_of_sines(X):
    return np.stack([np.cos(X[..., i]) * np.delete(np.sin(X), i, axis=-1).prod(axis=-1) for i in range(X.shape[-1])], axis=-1)


def screened(boundary, X, screening, walks, rng, **options):
    f = lambda Y: (Y.shape[1] + screening) * sines(Y)  # noqa: E731
    return wos.solve(boundary, X, dirichlet=sines, source=f, screening=screening, walks=walks, epsilon=1e-5, rng=seed(rng), **options)


@pytest.mark.parametrize("screening", [0.0, 1.0, 40.0, 1000.0])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.slow
def test_gradient_and_screening(d, screening, best_backend, rng):
    """From walks of pairs and of their own; weak, strong and no screening; a source that varies."""
    n, W = sizes(best_backend)
    X = 0.8 * (star_points(rng, n // 2) if d == 2 else disc_points(rng, n // 2, 0.9, 3))
    boundary = wos.Polygon(oracle.star(300)) if d == 2 else wos.Ball([0.1, 0.0, -0.1], 1.0)
    alone = screened(boundary, X, screening, W // 2, rng)
    assert gates(alone.value, alone.stderr, sines(X)) == []
    r = screened(boundary, X, screening, W // 2, rng, gradient=True)
    assert gates(r.value, r.stderr, sines(X)) == []
    truth = slope_of_sines(X)
    for i in range(d):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], truth[:, i]) == []


def test_gradient_of_a_harmonic_function(best_backend, rng):
    n, W = sizes(best_backend)
    X = star_points(rng, n)
    r = wos.solve(wos.Polygon(oracle.star(300)), X, dirichlet=oracle.harmonic, walks=W, epsilon=1e-5, gradient=True, rng=seed(rng))
    x, y = X.T
    for i, truth in enumerate((np.exp(x) * np.cos(y), -np.exp(x) * np.sin(y))):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], truth) == []


def test_pairs_cancel_constants_in_the_gradient(backend, rng):
    """An offset of 1000 in u changes neither the gradient nor its error bar; a constant has the gradient 0."""
    X = star_points(rng, 20)
    star = wos.Polygon(oracle.star(60))
    run = dict(walks=64, gradient=True, rng=seed(rng))
    low, high = (wos.solve(star, X, dirichlet=lambda Y, c=c: oracle.harmonic(Y) + c, **run) for c in (0.0, 1000.0))
    np.testing.assert_allclose(high.grad, low.grad, rtol=0, atol=1e-9)
    np.testing.assert_allclose(high.grad_stderr, low.grad_stderr, rtol=1e-7)
    constant = wos.solve(star, X, dirichlet=3.0, **run)
    assert not constant.grad.any()
    assert not constant.grad_stderr.any()
    assert (constant.value == 3.0).all()
    assert (constant.n_walks == 64).all()


@pytest.mark.skipif(not NATIVE, reason="takes many walks")
def test_gates_see_a_gradient_3_percent_off(rng):
    X = star_points(rng, 600)
    u = lambda Y: 3 * Y[:, 0] - Y[:, 1]  # noqa: E731
    r = wos.solve(wos.Polygon(oracle.star(300)), X, dirichlet=u, walks=2048, epsilon=1e-5, gradient=True, rng=seed(rng))
    for i, truth in enumerate((3.0, -1.0)):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], np.full(len(X), truth)) == []
    assert "matched" in gates(1.03 * r.grad[:, 0], r.grad_stderr[:, 0], np.full(len(X), 3.0))


@pytest.mark.skipif(not NATIVE, reason="takes many walks")
@pytest.mark.slow
def test_gates_see_another_screening(rng):
    X = star_points(rng, 600)
    r = screened(wos.Polygon(oracle.star(300)), X, 10.0, 4096, rng)
    wrong = wos.solve(
        wos.Polygon(oracle.star(300)), X, dirichlet=sines, source=lambda Y: 12 * sines(Y), screening=10.5, walks=4096, epsilon=1e-5,
        rng=seed(rng),
    )  # fmt: skip
    assert gates(r.value, r.stderr, sines(X)) == []
    assert gates(wrong.value, wrong.stderr, sines(X)) != []


@pytest.mark.skipif(not NATIVE, reason="takes many walks")
@pytest.mark.parametrize("screening", [0.0, 3.0])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.slow
def test_harmonic_caching(d, screening, rng):
    """Points share walks, so their errors are correlated: every gate is over runs of their own, some points of each."""
    runs, n, W = 50, 120, 512
    if d == 2:
        u = lambda X: np.exp(np.sqrt(screening + 1) * X[:, 0]) * np.cos(X[:, 1])  # noqa: E731
        boundary = wos.Polygon(oracle.star(100))
    else:
        u = (lambda X: X[:, 0] * X[:, 1] - X[:, 2] + 2) if screening == 0 else (lambda X: np.exp(np.sqrt(screening) * X[:, 2]))
        boundary = wos.Ball([0.0, 0.0, 0.0], 1.0)
    value, stderr, truth = [], [], []
    for _ in range(runs):
        X = star_points(rng, n) if d == 2 else disc_points(rng, n, 0.97, 3)
        r = wos.solve(boundary, X, dirichlet=u, screening=screening, walks=W, epsilon=1e-5, cache="harmonic", rng=seed(rng))
        assert (r.n_walks == W).all()
        for i in rng.choice(len(X), 5, replace=False):
            value.append(r.value[i]), stderr.append(r.stderr[i]), truth.append(u(X[i : i + 1])[0])
    assert gates(np.array(value), np.array(stderr), np.array(truth), spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="takes many walks")
def test_harmonic_caching_is_worth_it(rng):
    """At as many walks a point the error is less than half in the plane."""
    X, run = star_points(rng, 1000), dict(dirichlet=oracle.harmonic, walks=64, rng=seed(rng))
    star = wos.Polygon(oracle.star(100))
    plain, cached = (wos.solve(star, X, cache=cache, **run).value - oracle.harmonic(X) for cache in (None, "harmonic"))
    assert np.sqrt((cached**2).mean()) < 0.5 * np.sqrt((plain**2).mean())


def test_against_a_plain_walk(best_backend, rng):
    """Data without a closed form: both answers carry an error bar."""
    c = np.array([0.3, 0.1, -0.2, 0.05, 0.15])
    amplitude, center = np.array([0.8, -0.6]), np.array([[0.3, -0.2], [-0.5, 0.6]])
    X = star_points(rng, 24)
    polygon = wos.Polygon(oracle.star(64))
    r = wos.solve(polygon, X, dirichlet=wos.Fourier(c), source=wos.Gaussians(amplitude, center, 1.0), walks=4096, rng=seed(rng))
    g, f = (lambda Y: oracle.fourier(Y, c)), (lambda Y: oracle.gaussians(Y, amplitude, center, 1.0))
    mean, error = oracle.plain_walk(oracle.segments([oracle.star(64)]), X, g, f, 1024, 1e-3 * polygon.diagonal[0], rng)
    assert np.abs((r.value - mean) / np.hypot(r.stderr, error)).max() < 7


@pytest.mark.slow
def test_the_gates_see_planted_errors(rng):
    """Every kind of mistake fails a gate that the right answer passes."""
    if not NATIVE:
        pytest.skip("thousands of points and walks")
    X = disc_points(rng, 2500, 0.9)
    X = X[np.hypot(*X.T) > 0.1]  # from the centre every walk ends after one step: no spread to judge by
    disc, truth = wos.Ball([0.0, 0.0], 1.0), oracle.torsion_ball(X, 1.0)

    def failed(epsilon=1e-6, f=1.0, W=4096, scale=1.0, max_steps=1024):
        r = wos.solve(disc, X, dirichlet=0.0, source=f, walks=W, epsilon=epsilon, rng=seed(rng), max_steps=max_steps)
        return gates(r.value, r.stderr * scale, truth)

    assert failed() == []
    assert failed(epsilon=2e-2)
    assert failed(f=1.03)
    assert failed(f=-1.0)
    assert "spread" in failed(scale=2**0.5)
    assert "spread" in failed(scale=2**-0.5)
    assert failed(max_steps=3)


def test_stderr_shrinks_and_the_bias_is_of_the_order_of_epsilon(best_backend, rng):
    X = disc_points(rng, 40, 0.5)
    few, many = (wos.solve(wos.Ball([0, 0], 1), X, dirichlet=oracle.harmonic, walks=W, rng=seed(rng)) for W in (256, 4096))
    assert 3 < (few.stderr / many.stderr).mean() < 5.5  # 4, and 256 walks know their spread to 5%
