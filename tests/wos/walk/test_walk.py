"""Walk on Spheres: rounding, harmonic caching, error bars, and walks until an error is small."""

import pickle

import numpy as np
import pytest
from scipy.special import i0

from quatrefoil import wos
from wos.domains import SQUARE, needs_native
from wos.ops import walk
from wos.walk import oracle
from wos.walk.oracle import circle, coordinate_sum, disc_points, gates, same, seed, star_points


@needs_native
def test_python_functions_get_large_blocks(rng):
    got = []

    def g(X):
        got.append(len(X))
        return X[:, 0]

    X = star_points(rng, 400)
    wos.solve(wos.Polygon(oracle.star(100)), X, dirichlet=g, source=g, walks=100, rng=1, num_threads=1)
    assert np.median(got) >= 4096


def test_mean_and_stderr_are_those_of_the_walks(backend, rng):
    """Single walks, selected by walk_offset, compared with a run of all: NumPy's mean and standard deviation."""
    X = disc_points(rng, 6)
    options = dict(dirichlet=coordinate_sum, rng=seed(rng))
    single = np.stack([wos.solve(wos.Ball([0, 0], 1), X, walks=1, walk_offset=5 + w, **options).value for w in range(23)])
    r = wos.solve(wos.Ball([0, 0], 1), X, walks=23, walk_offset=5, **options)
    np.testing.assert_allclose(r.value, single.mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(r.stderr, single.std(axis=0, ddof=1) / np.sqrt(23), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:solve. 1 point lies outside")
def test_harmonic_caching_cut_and_merged(backend, rng):
    """Samples with harmonic caching can be split and merged like walks. Threads and pickling change no bit."""
    star, X = wos.Polygon(oracle.star(30)), np.concatenate([star_points(rng, 30), [[5.0, 5.0]]])
    run = dict(dirichlet=wos.Fourier(rng.normal(size=5)), cache="harmonic", screening=0.5, rng=seed(rng))
    whole = wos.solve(star, X, walks=14, **run)
    parts = [wos.solve(star, X, walks=n, walk_offset=at, **run) for at, n in ((0, 5), (5, 9))]
    same(whole, parts[1].merge(parts[0]))
    same(whole, wos.solve(star, X, walks=14, num_threads=3, **run))
    same(whole, pickle.loads(pickle.dumps(parts[0])).resume(9))
    assert np.isnan(whole.value[-1])
    assert whole.n_walks[-1] == 0


def test_one_sample_has_no_error_bar(backend):
    """A sample is one walk, or with a gradient one pair."""
    one, pair = (wos.solve(wos.Ball([0, 0], 1), [0.0, 0.5], coordinate_sum, gradient=n == 2, walks=n, rng=1) for n in (1, 2))
    assert one.grad is None
    assert np.isfinite(pair.grad).all()
    for stderr in (one.stderr, pair.stderr, pair.grad_stderr):
        assert np.isnan(stderr).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_walk_that_ends_at_epsilon_as_rounded_is_not_cut_off(dtype, backend):
    """Epsilon rounded to float32 is 1/8, which is also the point's distance from the boundary."""
    frame = np.array([[0.0, 0.0, 1.0, 0.125 * (1 - 1e-9) if dtype is np.float32 else 0.125]])
    start = np.array([[[0.875, 0.0]]], dtype)
    counts = walk(start, frame, dirichlet=np.ones((1, 1)), walks=4)[2]
    # Numba walks in float64, where epsilon is smaller than the distance and the walk takes a step
    if backend == "native" or dtype is np.float64:
        assert counts.tolist() == [[[0, 0, 0]]]
    assert counts[0, 0, 1] == 0


def test_pairs_cancel_constants_in_the_gradient(backend, rng):
    """An offset of 1000 in u changes neither the gradient nor its error bar. The gradient of a constant is 0."""
    X = star_points(rng, 20)
    star = wos.Polygon(oracle.star(60))
    run = dict(walks=64, gradient=True, rng=seed(rng))
    low, high = (wos.solve(star, X, dirichlet=lambda Y, c=c: oracle.harmonic(Y) + c, **run) for c in (0.0, 1000.0))
    np.testing.assert_allclose(high.grad, low.grad, rtol=0, atol=1e-9)
    np.testing.assert_allclose(high.grad_stderr, low.grad_stderr, rtol=1e-7)
    constant = wos.solve(star, X, dirichlet=3.0, **run)
    assert not constant.grad.any()
    assert not constant.grad_stderr.any()


@needs_native
@pytest.mark.parametrize("screening", [0.0, 3.0])
@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.slow
def test_harmonic_caching(d, screening, rng):
    """Points share walks, so their errors are correlated. Each test uses separate runs and a few points of each."""
    runs, n, W = (50, 120, 512) if d < 4 else (50, 30, 128)
    u = lambda X: np.exp(np.sqrt(screening + 1) * X[:, 0]) * np.cos(X[:, 1])  # noqa: E731
    boundary = wos.Polygon(oracle.star(100)) if d == 2 else wos.Ball([0.0] * d, 1.0)
    value, stderr, truth = [], [], []
    for _ in range(runs):
        X = star_points(rng, n) if d == 2 else disc_points(rng, n, 0.97 if d == 3 else 0.5, d)
        r = wos.solve(boundary, X, dirichlet=u, screening=screening, walks=W, epsilon=1e-5, cache="harmonic", rng=seed(rng))
        assert (r.n_walks == W).all()
        for i in rng.choice(len(X), 5, replace=False):
            value.append(r.value[i]), stderr.append(r.stderr[i]), truth.append(u(X[i : i + 1])[0])
    assert gates(np.array(value), np.array(stderr), np.array(truth), spread=False) == []


@needs_native
def test_harmonic_caching_is_worth_it(rng):
    """In the plane, the error is less than half of that without a cache, for the same number of walks per point."""
    X, run = star_points(rng, 1000), dict(dirichlet=oracle.harmonic, walks=64, rng=seed(rng))
    star = wos.Polygon(oracle.star(100))
    plain, cached = (wos.solve(star, X, cache=cache, **run).value - oracle.harmonic(X) for cache in (None, "harmonic"))
    assert np.sqrt((cached**2).mean()) < 0.5 * np.sqrt((plain**2).mean())


def g(Y):
    return np.sin(Y[:, 0]) + np.cos(2 * Y[:, 1])


def batch(rng, **options):
    """Polygons with different kinds of boundary values, a source, a point outside and a point on the boundary."""
    rings = [oracle.star(40), 1.1 * oracle.star(31), 0.9 * oracle.star(25)]
    X = rng.uniform(-0.5, 0.5, (17, 2))
    X[4], X[5] = 9.0, rings[0][3]
    data = [g, 1.5, wos.Fourier(np.array([1.0, 2, 3]))]
    return (wos.Polygon(rings), X), {"dirichlet": data, "source": 0.3, "rng": seed(rng), "epsilon": 1e-2, **options}


@pytest.mark.filterwarnings("ignore:solve. the stderr of")
def test_equal_walks_do_not_stop_early(backend):
    """The value is 0.0062 because few walks reach 1: two thirds of all rounds of 64 walks do not reach it."""
    room = wos.Polygon(SQUARE * 4, holes=[SQUARE * 0.2 + 3.6])
    for rng in range(8 if backend == "native" else 1):
        u = wos.solve(room, [[1.0, 1.0], [3.7, 3.6]], dirichlet_per_ring=[0, 1], atol=0.01, rng=rng)
        assert u.stderr[0] > 0
        assert abs(u.value[0] - 0.00624) < 3 * u.stderr[0]
        assert (u.value[1], u.stderr[1], u.n_walks[1]) == (1, 0, 64)  # a point on the hole
    never = wos.solve(room, [[1.0, 1.0]], dirichlet_per_ring=[0, 0], atol=0.01, rng=0)
    assert (never.value[0], never.stderr[0], never.n_walks[0]) == (0, 0, 1024)


def test_a_tolerance_selects_a_thin_shell(best_backend):
    """Around a hole, the bias of the default epsilon is seven standard errors of a mean with the error that ``rtol`` requests."""
    ring = wos.Polygon(2 * circle(400), holes=[0.5 * circle(400)])
    X = 0.55 * circle(400)[:: 1 if best_backend == "native" else 40]
    run = {"dirichlet_per_ring": [20.0, 100.0], "rtol": 0.01, "walks": 256, "rng": 1}
    u = wos.solve(ring, X, **run)
    expected = 20 + 80 * np.log(2 / 0.55) / np.log(4)
    assert abs(u.value.mean() - expected) < 4 * u.stderr.mean() / np.sqrt(len(X))
    np.testing.assert_array_equal(u.value, wos.solve(ring, X, **run, epsilon=1e-5).value)


@pytest.mark.filterwarnings("ignore:solve.*outside")
def test_points_with_different_walks_are_resumed_and_merged(backend, rng):
    problem, data = batch(rng, gradient=True)
    run = {"walks": 8, "atol": 0.2, **data}
    r = wos.solve(*problem, max_walks=64, **run)
    plain, shares = wos.solve(*problem, walks=8, **data), []
    same(plain.resume(walks=8, atol=0.2, max_walks=64, progress=lambda walks, left: shares.append(left)), r)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0
    same(plain.resume(atol=0.2, max_walks=64), r)
    same(r.resume(8, atol=0.1, max_walks=64), wos.solve(*problem, max_walks=64, **{**run, "atol": 0.1}))
    same(r.resume(8, atol=0.2, max_walks=64), r)
    more = r.resume(walks=22)
    for n in np.unique(r.n_walks[r.n_walks > 0]):
        same(more, wos.solve(*problem, walks=int(n) + 22, **data), r.n_walks == n)
    same(pickle.loads(pickle.dumps(more)), more)
    same(pickle.loads(pickle.dumps(r)).resume(22), more)
    later = wos.solve(*problem, max_walks=48, walk_offset=100, **run)
    both = r.merge(later)
    same(later.merge(r), both)
    np.testing.assert_array_equal(both.n_walks, r.n_walks + later.n_walks)
    for n, m in {(int(a), int(b)) for a, b in zip(r.n_walks.ravel(), later.n_walks.ravel()) if a}:
        apart = wos.solve(*problem, walks=n, **data).merge(wos.solve(*problem, walks=m, walk_offset=100, **data))
        same(both, apart, (r.n_walks == n) & (later.n_walks == m))
    filled = r.merge(wos.solve(*problem, walks=10, walk_offset=64, **data))
    assert (filled.n_walks[r.n_walks > 0] == r.n_walks[r.n_walks > 0] + 10).all()
    for other in (r, more, wos.solve(*problem, walks=2, walk_offset=8, **data), later.merge(r)):
        with pytest.raises(ValueError, match="share walks"):
            r.merge(other)


def test_where_no_more_walks_are_spent(rng):
    """If all points stop in the first round, a plain call gives the same result. NaN values stop a point. A single walk has no error bar,
    so two run."""
    X, square = rng.uniform(0.2, 0.8, (9, 2)), wos.Polygon(SQUARE)
    r = wos.solve(square, X, dirichlet=g, atol=9.0, walks=4, rng=1)
    assert isinstance(r.state, wos.State)
    assert (r.n_walks == 4).all()
    r = wos.solve(square, X, dirichlet=lambda Y: np.where(Y[:, 0] > 0.5, np.nan, Y[:, 1]), atol=1e-3, walks=64, rng=1)
    assert np.isnan(r.value).all()
    assert (r.n_walks == 64).all()
    assert (wos.solve(square, X, dirichlet=g, atol=np.finfo(float).max, walks=1, rng=1).n_walks == 2).all()


def test_warnings_name_the_line_of_the_call():
    outside = np.full((1, 2), 7.0)
    for call in (
        lambda: wos.solve(wos.Polygon(SQUARE), outside, dirichlet=1.0, rng=1),
        lambda: wos.solve(wos.Polygon(SQUARE), outside, dirichlet=1.0, rng=1, atol=0.1, progress=lambda *at: None),
        lambda: wos.solve_vjp(wos.Polygon(SQUARE), outside, np.ones(1), dirichlet=1.0, rng=1),
    ):
        with pytest.warns(RuntimeWarning, match="1 point lies outside") as caught:
            call()
        assert {w.filename for w in caught} == {__file__}


def test_progress_tells_walks_and_what_is_left(capsys, rng):
    X = rng.uniform(0.1, 0.9, (40, 2))
    square, reports = wos.Polygon(SQUARE), []
    r = wos.solve(square, X, dirichlet=g, rtol=0.02, walks=32, rng=1, progress=lambda *at: reports.append(at))
    walks, left = np.array(reports).T
    assert walks[-1] == r.n_walks.sum()
    assert left[-1] == 0
    assert (np.diff(walks) > 0).all()
    assert (np.diff(left) <= 0).all()
    wos.solve(square, X, dirichlet=g, rng=1, progress=True)
    assert capsys.readouterr().err == "wos.solve: 2560 walks, 0% left\n"

    def stop(walks, left):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        wos.solve(square, X, dirichlet=g, rng=1, progress=stop)


@pytest.mark.torch
def test_gradients_are_those_of_the_walks_that_were_made(backend, rng):
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(rng.uniform(0.1, 0.9, (30, 2))).requires_grad_()
    c = torch.tensor([1.0, 1.0, -0.5, 0.5, 0.3], dtype=torch.float64).requires_grad_()
    data = {"dirichlet": wos.Fourier(c, (0.4, 0.4)), "source": 1.0, "rng": 3, "epsilon": 1e-3}
    square, weight = wos.Polygon(torch.tensor(SQUARE)), torch.from_numpy(rng.standard_normal(30))
    r = wos.solve(square, X, walks=10, atol=0.15, max_walks=75, **data)
    assert len(np.unique(r.n_walks)) > 2
    of_points, of_data = torch.autograd.grad((weight * r.value).sum(), (X, c))
    expected_points, expected_data = torch.zeros_like(X), torch.zeros_like(c)
    for n in np.unique(r.n_walks):
        plain = wos.solve(square, X, walks=int(n), **data)
        a, b = torch.autograd.grad((torch.where(r.n_walks == int(n), weight, 0.0) * plain.value).sum(), (X, c))
        expected_points, expected_data = expected_points + a, expected_data + b
    torch.testing.assert_close(of_points, expected_points)
    torch.testing.assert_close(of_data, expected_data, rtol=2e-6, atol=2e-6)  # sums in float32, split differently


@needs_native
@pytest.mark.parametrize("which", ["atol", "rtol"])
def test_the_bias_of_stopping_is_the_known_one(which, rng):
    """README (20), for exp(2x) at the centre of a disc, whose moments are Bessel functions."""
    u, variance = i0(2), i0(4) - i0(2) ** 2
    skewness = (i0(6) - 3 * i0(4) * u + 2 * u**3) / variance**1.5
    stderr, points = np.sqrt(variance / 400), 40_000
    rule = {"atol": stderr} if which == "atol" else {"rtol": stderr / u}
    data = {"dirichlet": lambda Y: np.exp(2 * np.clip(Y[:, 0], -1, 1)), "rng": seed(rng), "epsilon": 1e-6}
    r = wos.solve(wos.Ball([0.0, 0.0], 1.0), np.zeros((points, 2)), walks=64, max_walks=2**14, **rule, **data)
    bias, known = (r.value.mean() - u) / stderr, -skewness / 20 + (2 * stderr / u if which == "rtol" else 0)
    # higher-order terms, which (20) omits, are about a fourth of it and smaller by 1 / sqrt(N)
    assert abs(bias - known) < 6 / np.sqrt(points) + 0.01
    assert abs(bias - known) < abs(bias + known)
