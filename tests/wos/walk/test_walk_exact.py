"""Walk on Spheres: what must hold to the last bit or to rounding, whatever the random numbers are."""

import itertools
import pickle
import warnings

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.walk import oracle
from wos.walk.oracle import coordinate_sum, disc_points, same, seed, star_points

NATIVE = _backends.reason("native") is None


# ---------------------------------------------------------------- exact properties


def cases(rng):
    star, ball = wos.Polygon(oracle.star(200)), wos.Ball([0.0, 0.0], 1.2)
    return [
        (star, star_points(rng, 37)),
        (ball, disc_points(rng, 37)),
        (wos.Ball([0.0] * 3, 1.0), disc_points(rng, 37, d=3)),
    ]


def test_one_boundary_and_many_data(backend, rng):
    """(N, d) points and one polygon serve B instances of data; a permutation of the data moves only what it must."""
    star, X = wos.Polygon(oracle.star(60)), star_points(rng, 13)
    values, s = rng.normal(size=(4, 60)), seed(rng)
    together = wos.solve(star, X, dirichlet=wos.PerVertex(values), walks=30, rng=s)
    assert together.value.shape == (4, 13)
    for b in range(4):  # instance b's walks, with everybody's data set to its own
        own = wos.solve(star, X, dirichlet=wos.PerVertex(np.tile(values[b], (4, 1))), walks=30, rng=s)
        np.testing.assert_array_equal(own.value[b], together.value[b])
    shared = wos.solve(star, X, dirichlet=wos.PerVertex(values[0]), walks=30, rng=s)
    np.testing.assert_array_equal(shared.value, together.value[0])


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


# ---------------------------------------------------------------- resume, merge, pickle


def test_any_cut_gives_the_bits_of_one_run(backend, rng):
    W = 230
    for boundary, X in cases(rng):
        s = seed(rng)
        options = dict(dirichlet=coordinate_sum, source=1.0, rng=s)
        whole = wos.solve(boundary, X, walks=W, **options)
        for _ in range(4):
            cuts = np.unique(np.r_[0, rng.integers(1, W, rng.integers(1, 6)), W])
            parts = [wos.solve(boundary, X, walks=int(b - a), walk_offset=int(a), **options) for a, b in itertools.pairwise(cuts)]
            rng.shuffle(parts)
            merged = parts[0]
            for part in parts[1:]:
                merged = merged.merge(part)
            same(whole, merged)
            np.testing.assert_array_equal(whole.state.sizes, merged.state.sizes)
            resumed = wos.solve(boundary, X, walks=int(cuts[1]), **options)
            for a, b in itertools.pairwise(cuts[1:]):
                resumed = resumed.resume(int(b - a))
            same(whole, resumed)


def test_mean_and_stderr_are_those_of_the_walks(backend, rng):
    """Walks one by one, by walk_offset, against the run of all: NumPy's mean and standard deviation."""
    X = disc_points(rng, 6)
    options = dict(dirichlet=coordinate_sum, rng=seed(rng))
    single = np.stack([wos.solve(wos.Ball([0, 0], 1), X, walks=1, walk_offset=5 + w, **options).value for w in range(23)])
    r = wos.solve(wos.Ball([0, 0], 1), X, walks=23, walk_offset=5, **options)
    np.testing.assert_allclose(r.value, single.mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(r.stderr, single.std(axis=0, ddof=1) / np.sqrt(23), rtol=1e-12)


def test_pairs_cut_and_merged(backend, rng):
    """With a gradient: any even cut, any order, the same bits; cuts within a pair are refused."""
    X = disc_points(rng, 5)
    run = dict(dirichlet=coordinate_sum, source=2.0, gradient=True, screening=1.5, rng=seed(rng))
    ball = wos.Ball([0, 0], 1)
    whole = wos.solve(ball, X, walks=46, **run)
    parts = [wos.solve(ball, X, walks=n, walk_offset=at, **run) for at, n in ((0, 10), (10, 4), (14, 32))]
    for merged in (parts[0].merge(parts[1]).merge(parts[2]), parts[2].merge(parts[0]).merge(parts[1]), parts[0].resume(36)):
        same(whole, merged)
        np.testing.assert_array_equal(whole.grad, merged.grad)
        np.testing.assert_array_equal(whole.grad_stderr, merged.grad_stderr)
    with pytest.raises(ValueError, match="extra_walks is 3"):
        whole.resume(3)
    with pytest.raises(ValueError, match="gradient"):
        whole.merge(wos.solve(ball, X, walks=4, walk_offset=46, **{**run, "gradient": False}))
    threads = [wos.solve(ball, np.repeat(X, 60, axis=0), walks=64, num_threads=n, **run) for n in (1, 3)]
    np.testing.assert_array_equal(threads[0].grad, threads[1].grad)


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
    assert wos.solve(wos.Ball([0, 0], 1), X[1:], dirichlet=1.0, walks=2, rng=1).grad is None


# ---------------------------------------------------------------- gradients


@pytest.mark.torch
def test_torch(backend, rng):
    torch = pytest.importorskip("torch")
    X, ring, c = star_points(rng, 15), oracle.star(40), rng.normal(size=5)
    options = dict(source=0.5, walks=20, rng=seed(rng))
    one = wos.solve(wos.Polygon(ring), X, dirichlet=wos.Fourier(c), **options)
    two = wos.solve(wos.Polygon(torch.tensor(ring)), torch.tensor(X), dirichlet=wos.Fourier(torch.tensor(c)), **options)
    for name in ("value", "stderr", "n_walks", "mean_steps", "n_truncated", "n_escaped"):
        assert isinstance(getattr(two, name), torch.Tensor)
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name).numpy())
    with pytest.raises(TypeError, match="one kind"):
        wos.solve(wos.Polygon(ring), torch.tensor(X), dirichlet=1.0)
    with pytest.raises(TypeError, match="one kind"):
        wos.solve(wos.Ball([0, 0], 2), torch.tensor(X), dirichlet=wos.Fourier(c))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_walk_that_ends_at_epsilon_as_rounded_is_not_cut_off(dtype, backend):
    """1/8 is what float32 makes of epsilon, and how far the point is from the boundary."""
    from quatrefoil.wos.walk import walk

    frame = np.array([[0.0, 0.0, 1.0, 0.125 * (1 - 1e-9) if dtype is np.float32 else 0.125]])
    start = np.array([[[0.875, 0.0]]], dtype)
    counts = walk(start, frame, dirichlet=np.ones((1, 1)), walks=4)[2]
    if backend == "native" or dtype is np.float64:  # Numba's walks are in float64: there the point has a step to go
        assert counts.tolist() == [[[0, 0, 0]]]
    assert counts[0, 0, 1] == 0
