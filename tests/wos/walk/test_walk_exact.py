"""Walk on Spheres: what must hold to the last bit or to rounding, whatever the random numbers are."""

import itertools
import pickle
import warnings

import numpy as np
import pytest

import quatrefoil as qf
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [0.1, -3.7e5])
def test_a_constant_is_exact(dtype, c, backend, rng):
    for boundary, X in cases(rng):
        for g in (c, lambda Y: np.full(len(Y), c)):
            r = wos.solve(boundary, X.astype(dtype), dirichlet=g, walks=77, rng=seed(rng))
            np.testing.assert_array_equal(r.value, dtype(c))
            np.testing.assert_array_equal(r.stderr, 0)
            assert r.value.dtype == r.stderr.dtype == r.mean_steps.dtype == dtype
            assert r.n_walks.dtype == np.int64
    star = wos.Polygon(oracle.star(200))
    r = wos.solve(star, star_points(rng, 9), dirichlet=wos.PerVertex(np.full(200, c)), walks=20, rng=1)
    np.testing.assert_array_equal(r.value, c)


def test_threads(backend, rng):
    for boundary, X in cases(rng):
        s = seed(rng)
        runs = [wos.solve(boundary, X, dirichlet=coordinate_sum, source=1.0, walks=300, rng=s, num_threads=n) for n in (1, 2, 3, 7)]
        for r in runs[1:]:
            same(runs[0], r)


def test_prefixes_of_points(backend, rng):
    for boundary, X in cases(rng):
        s, W = seed(rng), 50
        bells = wos.Gaussians(rng.standard_normal(3).astype(X.dtype), rng.standard_normal((3, X.shape[1])).astype(X.dtype), 0.7)
        for g, f in ((coordinate_sum, 2.0), (1.0, bells), (bells, None)):
            whole = wos.solve(boundary, X, dirichlet=g, source=f, walks=W, rng=s)
            for n in (0, 1, 2, 17, 36):
                part = wos.solve(boundary, X[:n], dirichlet=g, source=f, walks=W, rng=s)
                np.testing.assert_array_equal(part.value, whole.value[:n])
                np.testing.assert_array_equal(part.stderr, whole.stderr[:n])


def test_a_batch_is_its_instances(backend, rng):
    """Different polygons, points, data: every prefix of the instances, and every kind of batch, gives the same bits."""
    B, N, M = 5, 11, 40
    rings = [oracle.star(M) * rng.uniform(0.5, 2) + rng.normal(size=2) for _ in range(B)]
    X = np.stack([ring.mean(axis=0) + 0.3 * rng.uniform(-1, 1, (N, 2)) for ring in rings])
    c, values = rng.normal(size=(B, 5)), rng.normal(size=(B, M))
    s = seed(rng)
    for g in (
        lambda n: wos.Fourier(c[:n], (0.1, 0.2)),
        lambda n: wos.PerVertex(values[:n]),
        lambda n: c[:n, 0].copy(),
        lambda n: [coordinate_sum] * n,
    ):
        whole = wos.solve(wos.Polygon(np.stack(rings)), X, dirichlet=g(B), source=1.0, walks=40, rng=s)
        assert whole.value.shape == (B, N)
        for n in (0, 1, 3):
            part = wos.solve(wos.Polygon(rings[:n]), X[:n], dirichlet=g(n), source=1.0, walks=40, rng=s)
            assert part.value.shape == (n, N)
            np.testing.assert_array_equal(part.value, whole.value[:n])
    alone = wos.solve(wos.Polygon(rings[0]), X[0], dirichlet=wos.Fourier(c[0], (0.1, 0.2)), source=1.0, walks=40, rng=s)
    batch = wos.solve(wos.Polygon(rings), X, dirichlet=wos.Fourier(c, (0.1, 0.2)), source=1.0, walks=40, rng=s)
    np.testing.assert_array_equal(alone.value, batch.value[0])


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


def test_linear_in_the_data(backend, rng):
    def g(Y):
        return np.sin(3 * Y[:, 0])

    def f(Y):
        return Y[:, 1] ** 2

    for boundary, X in cases(rng):
        s = seed(rng)
        only_g = wos.solve(boundary, X, dirichlet=g, walks=64, rng=s)
        only_f = wos.solve(boundary, X, dirichlet=0.0, source=f, walks=64, rng=s)
        both = wos.solve(boundary, X, dirichlet=lambda Y: 2 * g(Y), source=lambda Y: -3 * f(Y), walks=64, rng=s)
        np.testing.assert_array_equal(only_g.mean_steps, only_f.mean_steps)  # paths never depend on data
        np.testing.assert_array_equal(only_g.mean_steps, both.mean_steps)
        # a walk's sum of sources is a float32 sum of some 12 terms
        np.testing.assert_allclose(both.value, 2 * only_g.value - 3 * only_f.value, rtol=0, atol=2e-6)


def test_data_classes_are_the_functions_they_name(backend, rng):
    star, X = wos.Polygon(oracle.star(100)), star_points(rng, 20)
    s = seed(rng)
    c, center = rng.normal(size=9), (0.2, -0.1)
    a, m, w = rng.normal(size=3), rng.normal(size=(3, 2)), rng.uniform(0.3, 2, 3)
    pairs = [
        (wos.Fourier(c, center), lambda Y: oracle.fourier(Y, c, center)),
        (wos.Gaussians(a, m, w), lambda Y: oracle.gaussians(Y, a, m, w)),
    ]
    for data, function in pairs:
        for where in ({"dirichlet": data}, {"dirichlet": 0.0, "source": data}):
            by_hand = {k: function if v is data else v for k, v in where.items()}
            one, two = wos.solve(star, X, walks=50, rng=s, **where), wos.solve(star, X, walks=50, rng=s, **by_hand)
            np.testing.assert_allclose(one.value, two.value, rtol=0, atol=1e-5)  # float32: eps times four waves' derivatives
    linear = wos.PerVertex(oracle.star(100) @ [2.0, -3.0] + 1)
    one, two = (wos.solve(star, X, walks=50, rng=s, dirichlet=g) for g in (linear, lambda Y: Y @ [2.0, -3.0] + 1))
    np.testing.assert_allclose(one.value, two.value, rtol=0, atol=2e-6)


def test_gaussians_in_float64(backend, rng):
    """Below a relative epsilon of 1e-5 the walk and the data are float64: the exponential too."""
    ball, X = wos.Ball([0.0, 0.0, 0.0], 1.0), disc_points(rng, 20, d=3)
    a, m, w = rng.normal(size=3), rng.normal(size=(3, 3)), np.array([0.02, 0.3, 5.0])
    s = seed(rng)
    one, two = (
        wos.solve(ball, X, dirichlet=g, source=g, walks=20, epsilon=1e-8, rng=s)
        for g in (wos.Gaussians(a, m, w), lambda Y: oracle.gaussians(Y, a, m, w))
    )
    np.testing.assert_allclose(one.value, two.value, rtol=0, atol=1e-13)


def test_compiled_functions(backend, rng):
    import numba

    @numba.njit
    def g(X):
        return X[:, 0] ** 2 - np.abs(X[:, 1])

    @numba.cfunc(numba.types.void(numba.types.int64, numba.types.CPointer(numba.types.float64), numba.types.CPointer(numba.types.float64)))
    def pointer(n, x, out):
        for i in range(n):
            out[i] = x[2 * i] ** 2 - abs(x[2 * i + 1])

    star, X, s = wos.Polygon(oracle.star(100)), star_points(rng, 30), seed(rng)
    plain = wos.solve(
        star,
        X,
        dirichlet=lambda Y: Y[:, 0] ** 2 - np.abs(Y[:, 1]),
        source=lambda Y: Y[:, 0] ** 2 - np.abs(Y[:, 1]),
        walks=64,
        rng=s,
    )
    for f in (g, pointer):
        for threads in (1, 3):
            r = wos.solve(star, X, dirichlet=f, source=f, walks=64, rng=s, num_threads=threads)
            np.testing.assert_allclose(r.value, plain.value, rtol=0, atol=1e-7)


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


def test_a_pickled_result_goes_on(backend, rng):
    star, X = wos.Polygon(oracle.star(50)), star_points(rng, 8)
    options = dict(dirichlet=wos.Fourier(rng.normal(size=3)), source=1.5, rng=seed(rng))
    whole = wos.solve(star, X, walks=100, **options)
    half = pickle.loads(pickle.dumps(wos.solve(star, X, walks=37, **options)))
    same(whole, half.resume(63))
    other = pickle.loads(pickle.dumps(wos.solve(star, X, walks=63, walk_offset=37, **options)))
    same(whole, half.merge(other))


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
    for wrong, text in ((dict(source=1.0), "neither a source"), (dict(gradient=True), "nor a gradient"), (dict(cache="all"), "harmonic")):
        with pytest.raises(ValueError, match=text):
            wos.solve(wos.Ball([0, 0], 1), X[:3] / 2, walks=2, **{**run, **wrong})
    with pytest.raises(ValueError, match="one instance"):
        wos.solve(wos.Ball([0, 0], 1), X[None, :3] / 2, walks=2, **run)


@pytest.mark.skipif(not NATIVE, reason="compares two backends")
def test_harmonic_caching_on_both_backends(rng):
    """On a ball both see the same distances, so the walks are the same: in float64, that is, where none is decided by rounding."""
    X = disc_points(rng, 40, d=3)
    run = dict(dirichlet=coordinate_sum, walks=6, cache="harmonic", screening=2.0, epsilon=1e-6, rng=seed(rng))
    one, two = (wos.solve(wos.Ball([0, 0, 0], 1), X, backend=name, **run) for name in ("native", "numba"))
    np.testing.assert_allclose(one.value, two.value, rtol=0, atol=1e-4)


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


def test_merge_refuses(backend, rng):
    star, X = wos.Polygon(oracle.star(50)), star_points(rng, 8)
    a = wos.solve(star, X, dirichlet=1.0, walks=10, rng=5)
    with pytest.raises(ValueError, match="share walks"):
        a.merge(wos.solve(star, X, dirichlet=1.0, walks=10, walk_offset=9, rng=5))
    with pytest.raises(ValueError, match="seeds differ"):
        a.merge(wos.solve(star, X, dirichlet=1.0, walks=10, walk_offset=10, rng=6))
    with pytest.raises(ValueError, match="different problems"):
        a.merge(wos.solve(star, X, dirichlet=2.0, walks=10, walk_offset=10, rng=5))
    with pytest.raises(TypeError):
        a.merge(1)


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_linear_parameters(dtype, backend, rng):
    """value is linear in the parameters: <grad, value(p)> - <grad, value(0)> = <gradient, p>, for one and for B instances."""
    M, N, B = 30, 9, 3
    X, s = star_points(rng, N).astype(dtype), seed(rng)
    star = wos.Polygon(oracle.star(M))
    stars = wos.Polygon(np.stack([oracle.star(M) * k for k in (1.0, 1.3, 1.6)]))
    options = dict(source=1.0, walks=33, rng=s, walk_offset=4)
    for boundary, batched in ((star, False), (star, True), (stars, False), (stars, True)):
        lead = (B,) if batched else ()
        c, v = rng.normal(size=(*lead, 5)).astype(dtype), rng.normal(size=(*lead, M)).astype(dtype)
        zero = wos.solve(boundary, X, dirichlet=np.zeros(B, dtype) if batched else 0.0, **options).value
        for g, p, name in ((wos.Fourier(c), c, "coefficients"), (wos.PerVertex(v), v, "values")):
            value = wos.solve(boundary, X, dirichlet=g, **options).value
            grad = rng.normal(size=value.shape).astype(dtype)
            _, got, of_source = wos.solve_vjp(boundary, X, grad, dirichlet=g, **options)
            assert of_source == {}
            assert list(got) == [name]
            assert got[name].shape == p.shape
            assert got[name].dtype == dtype
            expected = (grad.astype(float) * (value - zero)).sum()
            assert abs((got[name].astype(float) * p).sum() - expected) < 3e-5 * np.abs(grad).sum()
    assert wos.solve_vjp(star, X, np.ones(N, dtype), dirichlet=1.0, rng=1)[1] == {}


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


def test_forced_backend_is_used(rng):
    with qf.use_backend("numba"):
        r = wos.solve(wos.Ball([0, 0], 1), np.zeros((1, 2)), dirichlet=1.0, walks=2)
    assert r.problem.ready.backend == "numba"


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


def test_numbers_that_lie_apart_give_the_same_bits(backend, rng):
    from case import LAYOUTS
    from quatrefoil.wos.walk import walk

    start, frame = rng.uniform(-0.5, 0.5, (3, 4, 2)), rng.uniform(0.5, 1, (3, 4))
    frame[:, -1] = 1e-3
    data = {"dirichlet_kind": "number", "source_kind": "fourier", "walks": 8, "seed": 5}
    for _ in range(10):
        dirichlet, source = rng.standard_normal((1, 1)), rng.standard_normal((1, 7))
        expected = walk(start, frame, dirichlet=dirichlet, source=source, **data)[0]
        for name in ("stepped", "transposed", "reversed"):
            moved = [LAYOUTS[name](a) for a in (frame, dirichlet, source)]
            got = walk(start, moved[0], dirichlet=moved[1], source=moved[2], **data)[0]
            np.testing.assert_array_equal(got, expected, err_msg=name)
