"""Walk on Spheres: rounding, the harmonic cache, and what error bars do. Cuts of walks: ``test_every_domain.py``."""

import pickle
import warnings

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.ops import walk
from wos.walk import oracle
from wos.walk.oracle import coordinate_sum, disc_points, gates, same, seed, star_points

NATIVE = _backends.reason("native") is None


def test_python_functions_get_large_blocks(rng):
    if not NATIVE:
        pytest.skip("a rule of the native backend")
    got = []

    def g(X):
        got.append(len(X))
        return X[:, 0]

    X = star_points(rng, 400)
    wos.solve(wos.Polygon(oracle.star(100)), X, dirichlet=g, source=g, walks=100, rng=1, num_threads=1)
    assert np.median(got) >= 4096


def test_mean_and_stderr_are_those_of_the_walks(backend, rng):
    """Walks one by one, by walk_offset, against the run of all: NumPy's mean and standard deviation."""
    X = disc_points(rng, 6)
    options = dict(dirichlet=coordinate_sum, rng=seed(rng))
    single = np.stack([wos.solve(wos.Ball([0, 0], 1), X, walks=1, walk_offset=5 + w, **options).value for w in range(23)])
    r = wos.solve(wos.Ball([0, 0], 1), X, walks=23, walk_offset=5, **options)
    np.testing.assert_allclose(r.value, single.mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(r.stderr, single.std(axis=0, ddof=1) / np.sqrt(23), rtol=1e-12)


def test_harmonic_caching_cut_merged_and_refused(backend, rng):
    """Samples of cached balls are cut and merged like walks; threads and pickles change no bit; what does not go with it raises."""
    star, X = wos.Polygon(oracle.star(30)), np.concatenate([star_points(rng, 30), [[5.0, 5.0]]])
    run = dict(dirichlet=wos.Fourier(rng.normal(size=5)), cache="harmonic", screening=0.5, rng=seed(rng))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a point lies outside
        whole = wos.solve(star, X, walks=14, **run)
        parts = [wos.solve(star, X, walks=n, walk_offset=at, **run) for at, n in ((0, 5), (5, 9))]
        others = [wos.solve(star, X, walks=14, num_threads=3, **run), pickle.loads(pickle.dumps(parts[0])).resume(9)]
    for merged in (parts[1].merge(parts[0]), *others):
        same(whole, merged)
    assert np.isnan(whole.value[-1])
    assert whole.n_walks[-1] == 0


def test_where_there_is_no_gradient(backend, rng):
    """Outside nothing is known; within epsilon the value is; one pair has no error bar."""
    X = np.array([[2.0, 0.0], [0.9999, 0.0], [0.0, 0.5]])
    with pytest.warns(RuntimeWarning, match="1 points lie outside"):
        r = wos.solve(wos.Ball([0, 0], 1), X, dirichlet=coordinate_sum, gradient=True, walks=2, rng=1)
    assert np.isnan(r.grad[:2]).all()
    assert np.isfinite(r.grad[2]).all()
    assert np.isnan(r.grad_stderr).all()
    assert r.value[1] == pytest.approx(1.0)
    one = wos.solve(wos.Ball([0, 0], 1), X[1:], dirichlet=1.0, walks=1, rng=1)
    assert one.grad is None
    assert np.isnan(one.stderr[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_walk_that_ends_at_epsilon_as_rounded_is_not_cut_off(dtype, backend):
    """1/8 is what float32 makes of epsilon, and how far the point is from the boundary."""
    frame = np.array([[0.0, 0.0, 1.0, 0.125 * (1 - 1e-9) if dtype is np.float32 else 0.125]])
    start = np.array([[[0.875, 0.0]]], dtype)
    counts = walk(start, frame, dirichlet=np.ones((1, 1)), walks=4)[2]
    if backend == "native" or dtype is np.float64:  # Numba's walks are in float64: there the point has a step to go
        assert counts.tolist() == [[[0, 0, 0]]]
    assert counts[0, 0, 1] == 0


# ---------------------------------------------------------------- statistics


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
