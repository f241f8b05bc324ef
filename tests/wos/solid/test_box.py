"""Boxes, and balls of more than three dimensions: queries, closed forms within their error bars, the same bits, bad input."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.solid import oracle
from wos.solid.oracle import harmonic_quadratic, points_in_box, pole, quadratic, slope_of_pole
from wos.walk.oracle import disc_points, gates, same, seed

NATIVE = _backends.reason("native") is None


def sizes(backend, d=2):
    """(points, walks): more dimensions make more steps a walk, one after the other."""
    if d > 3:
        return (60, 1024 if d < 7 else 512) if backend == "native" else (20, 128)
    return (300, 4096) if backend == "native" else (30, 1024)


def box_of(rng, d):
    lo = rng.standard_normal(d)
    return lo, lo + rng.uniform(0.7, 1.5, d)


# ---------------------------------------------------------------- queries


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 3, 4, 7])
def test_queries_of_a_box(d, dtype, backend, rng):
    lo, hi = box_of(rng, d)
    box = wos.Box(lo, hi)
    q = rng.uniform(lo - 1, hi + 1, (500, d)).astype(dtype)
    q = np.concatenate([q, points_in_box(rng, 200, lo, hi, 0.0).astype(dtype)]).reshape(7, 100, d)
    flat = q.reshape(-1, d).astype(float)
    signed, at = oracle.box_distance(lo, hi, flat)
    distance, point, face, weights = wos.closest_point(box, q)
    tolerance = 32 * np.finfo(dtype).eps  # coordinates of size 4
    assert distance.shape == face.shape == (7, 100)
    assert distance.dtype == point.dtype == dtype
    assert weights is None
    np.testing.assert_allclose(distance.reshape(-1), np.abs(signed), rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(flat - point.reshape(-1, d), axis=1), np.abs(signed), rtol=0, atol=tolerance)
    np.testing.assert_allclose(wos.signed_distance(box, q).reshape(-1), signed, rtol=0, atol=tolerance)
    sure = np.abs(signed) > tolerance
    np.testing.assert_array_equal(wos.contains(box, q).reshape(-1)[sure], signed[sure] < 0)
    k = face.reshape(-1)
    np.testing.assert_allclose(
        point.reshape(-1, d)[np.arange(700), k // 2], np.where(k % 2, hi[k // 2], lo[k // 2]), rtol=0, atol=tolerance
    )
    d2 = np.sort(np.minimum(np.abs(flat - lo), np.abs(flat - hi)), axis=1)
    clear = (signed < 0) & (d2[:, 1] - d2[:, 0] > 1e-5)
    np.testing.assert_allclose(point.reshape(-1, d)[clear], at[clear], rtol=0, atol=tolerance)


@pytest.mark.parametrize("d", [4, 7])
def test_queries_of_a_ball_of_many_dimensions(d, backend, rng):
    ball = wos.Ball(rng.standard_normal(d), 1.5)
    q = ball.center + rng.standard_normal((50, d))
    r = np.linalg.norm(q - ball.center, axis=1)
    distance, point, primitive, weights = wos.closest_point(ball, q)
    np.testing.assert_allclose(distance, np.abs(r - 1.5), atol=1e-14)
    np.testing.assert_allclose(point, ball.center + 1.5 * (q - ball.center) / r[:, None], atol=1e-14)
    np.testing.assert_array_equal(wos.contains(ball, q), r < 1.5)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize("d", [2, 3, 4, 7])
def test_harmonic_functions_in_a_box(d, backend, rng):
    """A quadratic as a Polynomial, and the fundamental solution as a function, with the gradient."""
    n, W = sizes(backend, d)
    lo, hi = box_of(rng, d)
    X = points_in_box(rng, n, lo, hi, 0.1)
    A, b, c = harmonic_quadratic(rng, d)
    run = {"epsilon": 1e-5, "rng": seed(rng)}
    r = wos.solve(wos.Box(lo, hi), X, dirichlet=wos.Polynomial(c), walks=W if d < 7 else W // 4, **run)
    assert gates(r.value, r.stderr, quadratic(A, b, X)) == []
    at = hi + 0.4
    r = wos.solve(wos.Box(lo, hi), X, dirichlet=lambda Y: pole(Y, at), walks=W, gradient=True, **run)
    assert gates(r.value, r.stderr, pole(X, at)) == []
    truth = slope_of_pole(X, at)
    for i in range(d):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], truth[:, i]) == []


@pytest.mark.parametrize("d", [4, 7])
def test_screening_and_sources_in_many_dimensions(d, backend, rng):
    """u = exp(-|x - c|^2), g as Gaussians, f = (2 d - 4 r^2 + screening) u: strong, weak and no screening, value and gradient."""
    n, W = sizes(backend, d)
    ball, at = wos.Ball(rng.standard_normal(d), 1.2), None
    at = ball.center + 0.3 * rng.standard_normal(d)
    bell = wos.Gaussians(np.ones(1), at[None], 1.0)
    X = ball.center + disc_points(rng, n, 1.0, d)
    for screening in (0.0, 2.0, 30.0):

        def f(Y, screening=screening):
            r2 = ((Y - at) ** 2).sum(axis=1)
            return (2 * d - 4 * r2 + screening) * np.exp(-r2)

        run = {"dirichlet": bell, "source": f, "screening": screening, "epsilon": 1e-5, "rng": seed(rng)}
        r = wos.solve(ball, X, walks=W, gradient=True, **run)
        u = bell(X)
        assert gates(r.value, r.stderr, u) == []
        for i in range(d):
            assert gates(r.grad[:, i], r.grad_stderr[:, i], (-2 * (X - at) * u[:, None])[:, i]) == []
        if screening == 2.0:
            alone = wos.solve(ball, X, walks=W, **run)
            assert gates(alone.value, alone.stderr, u) == []


def torsion_series(X):
    """-Δu = 1 in the unit square, u = 0 around it."""
    k = np.arange(1, 60, 2) * np.pi
    x, y = X[:, :1], X[:, 1:]
    return (4 * np.sin(k * x) / k**3 * (1 - np.cosh(k * (y - 0.5)) / np.cosh(k / 2))).sum(axis=1)


def test_torsion_of_a_square(backend, rng):
    n, W = sizes(backend)
    X = points_in_box(rng, n, [0, 0], [1, 1])
    r = wos.solve(wos.Box([0, 0], [1, 1]), X, dirichlet=0.0, source=1.0, walks=W, epsilon=1e-6, rng=seed(rng))
    assert gates(r.value, r.stderr, torsion_series(X)) == []


def test_planted_errors_show(rng):
    """A source that is off by 10%, a gradient by 30%: more than twice what these gates need to see."""
    d, backend = 5, "native" if NATIVE else "numba"
    n, W = 60, 1024
    ball = wos.Ball([0.0] * d, 1.0)
    X = disc_points(rng, n, 0.9, d)
    truth = (1 - (X**2).sum(axis=1)) / (2 * d)
    r = wos.solve(ball, X, dirichlet=0.0, source=1.1, walks=W, epsilon=1e-6, rng=seed(rng), backend=backend)
    assert gates(r.value, r.stderr, truth) != []
    r = wos.solve(ball, X, dirichlet=lambda Y: Y[:, 0], walks=W, epsilon=1e-6, gradient=True, rng=seed(rng), backend=backend)
    assert gates(r.grad[:, 0], r.grad_stderr[:, 0], np.ones(n)) == []
    assert gates(1.3 * r.grad[:, 0], 1.3 * r.grad_stderr[:, 0], np.ones(n)) != []
    coarse = wos.solve(ball, X, dirichlet=0.0, source=1.0, walks=W, epsilon=0.05, rng=seed(rng), backend=backend)
    some = coarse.stderr > 0  # not in the shell
    assert gates(coarse.value[some], coarse.stderr[some], truth[some]) != []


@pytest.mark.parametrize("d", [4, 5, 6, 7, 12, 25])
def test_green_functions(d, rng):
    """(21), (22) against Bessel functions."""
    pytest.importorskip("numba")
    from quatrefoil.wos.walk._numba_wide import source_weight_wide

    for s in (1e-3, 0.2, 0.6, 0.95, float(rng.uniform(0.01, 1))):
        for z in (1e-3, 0.4, 2.0, float(rng.uniform(0, 2))):
            # 1 - s^(d - 2) and what it divides cancel as s tends to 1
            np.testing.assert_allclose(source_weight_wide(d, s, z * z), oracle.source_weights(d, s, z), rtol=1e-12)


def test_directions_are_uniform(backend, rng):
    """One step from the middle of a ball: the ends have the moments of a uniform unit vector."""
    d, W = 7, 20_000
    ends = []

    def g(Y):
        ends.append(Y.copy())
        return Y[:, 0]

    wos.solve(wos.Ball([0.0] * d, 1.0), np.zeros((1, d)), dirichlet=g, walks=W, epsilon=1e-6, rng=seed(rng))
    n = np.concatenate(ends)[:W]
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1, atol=1e-12)
    products = n.T @ n / W  # of mean 1 / d, variances 2 (d - 1) / (d^2 (d + 2)) and 1 / (d (d + 2))
    assert np.abs(n.mean(axis=0)).max() < 7 / np.sqrt(d * W)
    assert np.abs(products - np.eye(d) / d).max() < 7 * np.sqrt(2 * (d - 1) / (d * d * (d + 2)) / W)
    assert np.abs((n**4).mean(axis=0) - 3 / (d * (d + 2))).max() < 7 * np.sqrt(105 / (d * (d + 2) * (d + 4) * (d + 6)) / W)


# ---------------------------------------------------------------- the same bits


def problems(rng):
    d = 5
    lo, hi = box_of(rng, d)
    X = points_in_box(rng, 11, lo, hi)
    yield wos.Box(lo[:2], hi[:2]), X[:, :2].copy()
    yield wos.Box(lo[:3], hi[:3]), X[:, :3].copy()
    yield wos.Box(lo, hi), X
    yield wos.Ball((lo + hi) / 2, 1.3), X


def test_bits(backend, rng):
    """Any number of threads, cuts of the walks, prefixes of the points, an executor, pickles."""
    for boundary, X in problems(rng):
        d = X.shape[1]
        bells = wos.Gaussians(rng.standard_normal(2), rng.standard_normal((2, d)), 0.9)
        for options in ({"source": bells}, {"source": bells, "gradient": True, "screening": 2.0}):
            run = {"dirichlet": bells, "walks": 40, "rng": seed(rng), **options}
            whole = wos.solve(boundary, X, **run)
            for n in (2, 3):
                same(whole, wos.solve(boundary, X, **run, num_threads=n))
            cut = int(rng.integers(1, 19)) * 2
            first = wos.solve(boundary, X, **(run | {"walks": cut}))
            same(whole, first.resume(40 - cut))
            same(whole, wos.solve(boundary, X, **(run | {"walks": 40 - cut, "walk_offset": cut})).merge(first))
            part = wos.solve(boundary, X[:5], **run)
            np.testing.assert_array_equal(part.value, whole.value[:5])
            with ThreadPoolExecutor(2) as pool:
                same(whole, wos.solve(boundary, X, **run, executor=pool))
            again = pickle.loads(pickle.dumps(first)).resume(40 - cut)
            same(whole, again)
            if options.get("gradient"):
                np.testing.assert_array_equal(again.grad, whole.grad)


def test_a_constant_is_exact(backend, rng):
    for boundary, X in problems(rng):
        for dtype in (np.float32, np.float64):
            r = wos.solve(boundary, X.astype(dtype), dirichlet=-3.7, walks=77, rng=seed(rng))
            np.testing.assert_array_equal(r.value, dtype(-3.7))
            np.testing.assert_array_equal(r.stderr, 0)
            assert r.value.dtype == dtype


def test_merging_tells_boxes_apart(backend):
    X = np.full((1, 2), 0.5)
    a = wos.solve(wos.Box([0, 0], [1, 1]), X, dirichlet=1.0, walks=2, rng=1)
    for other in (wos.Box([0, 0.25], [1, 0.75]), wos.Ball([0.5, 0.5], 1.0)):
        b = wos.solve(other, X, dirichlet=1.0, walks=2, rng=1, walk_offset=2)
        with pytest.raises(ValueError, match="boundary"):
            a.merge(b)


def test_gradients_of_parameters(backend, rng):
    """The value is linear in coefficients: differences are exact; with pairs and screening too. Centres by small differences."""
    d = 4
    ball = wos.Ball(rng.standard_normal(d), 1.0)
    X = ball.center + disc_points(rng, 6, 0.9, d)
    grad = rng.standard_normal(6)
    c, amplitude, center = rng.standard_normal((2, 1, 3, 2)), rng.standard_normal(2), ball.center + rng.standard_normal((2, d))
    for pairs in (False, True):
        run = {"walks": 10, "epsilon": 1e-4, "screening": 3.0, "rng": seed(rng), "gradient": pairs}

        def value(c, a, m, run=run):
            return (grad * wos.solve(ball, X, dirichlet=wos.Polynomial(c), source=wos.Gaussians(a, m, 1.0), **run).value).sum()

        _, of_g, of_f = wos.solve_vjp(ball, X, grad, dirichlet=wos.Polynomial(c), source=wos.Gaussians(amplitude, center, 1.0), **run)
        dc, da, dm = rng.standard_normal(c.shape), rng.standard_normal(2), 1e-5 * rng.standard_normal(center.shape)
        at = value(c, amplitude, center)
        np.testing.assert_allclose((of_g["coefficients"] * dc).sum(), value(c + dc, amplitude, center) - at, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose((of_f["amplitude"] * da).sum(), value(c, amplitude + da, center) - at, rtol=1e-9, atol=1e-9)
        change = value(c, amplitude, center + dm) - value(c, amplitude, center - dm)
        np.testing.assert_allclose((of_f["center"] * dm).sum(), change / 2, rtol=1e-5, atol=1e-12)


@pytest.mark.torch
def test_tensors(backend, rng):
    torch = pytest.importorskip("torch")
    box, d = wos.Box([0.0] * 4, [1.0] * 4), 4
    X, c = torch.tensor(points_in_box(rng, 5, [0] * d, [1] * d)), torch.tensor(rng.standard_normal((2, 2, 2, 2)), requires_grad=True)
    r = wos.solve(box, X.requires_grad_(), dirichlet=wos.Polynomial(c), walks=16, rng=3)
    r.value.sum().backward()
    again = wos.solve(box, X.detach().numpy(), dirichlet=wos.Polynomial(c.detach().numpy()), walks=16, rng=3)
    np.testing.assert_array_equal(r.value.detach().numpy(), again.value)
    of_points, of_g, _ = wos.solve_vjp(box, X.detach().numpy(), np.ones(5), dirichlet=wos.Polynomial(c.detach().numpy()), walks=16, rng=3)
    np.testing.assert_allclose(c.grad.numpy(), of_g["coefficients"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(X.grad.numpy(), of_points, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not NATIVE, reason="compares native with numba")
def test_backends_walk_alike(rng):
    """The same counters: in float64 all but rounding is equal."""
    for boundary, X in problems(rng):
        run = {"dirichlet": lambda Y: Y[:, 0] ** 2, "source": lambda Y: Y[:, 1], "screening": 1.0, "walks": 40, "epsilon": 1e-6}
        a, b = (wos.solve(boundary, X, **run, rng=9, gradient=True, backend=name) for name in ("native", "numba"))
        close = np.isclose(a.value, b.value, rtol=1e-6, atol=1e-6) & (a.mean_steps == b.mean_steps)
        assert close.mean() > 0.9  # a walk that ends within rounding of epsilon may make a step more
        np.testing.assert_allclose(a.grad[close], b.grad[close], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- bad input and the like


def test_bad_boxes():
    for lo, hi, error, text in (
        ([0, 0], [1, 1, 1], ValueError, "corners of 2 and 3 coordinates"),
        ([0, 0], [1, 0], ValueError, "the box is from 0.0 to 0.0 along axis 1, expected lo < hi"),
        ([0, 0], [-1, 1], ValueError, "lo < hi"),
        ([0.0], [1.0], ValueError, "lo has 1 coordinates, expected 2 to 1024"),
        ([0.0] * 1025, [1.0] * 1025, ValueError, "lo has 1025 coordinates"),
        ([0, np.nan], [1, 1], ValueError, r"lo\[1\] is nan"),
        ([0, 0], [1, np.inf], ValueError, r"hi\[1\] is inf"),
        ([0, 0], [1e-80, 1], ValueError, "a side of 1e-80"),
        (0.0, [1, 1], TypeError, "lo is"),
        ([0, 0], "ab", TypeError, "hi is"),
    ):
        with pytest.raises(error, match=f"Box: .*{text}"):
            wos.Box(lo, hi)
    with pytest.raises(ValueError, match="Ball: center has 1 coordinates, expected 2 to 1024"):
        wos.Ball([0.0], 1.0)


def test_what_many_dimensions_do_without():
    box, X = wos.Box([0.0] * 4, [1.0] * 4), np.full((1, 4), 0.5)
    field = wos.GridField(np.zeros((2,) * 4), ([0.0] * 4, [1.0] * 4))
    for data, text in (
        (field, "dirichlet is a GridField, which has two or three dimensions; the boundary has 4"),
        (wos.Fourier(np.ones(1)), "needs two dimensions"),
        (wos.PerVertex(np.ones(4)), "PerVertex"),
        (wos.Polynomial(np.ones((2, 2))), r"expected \(n1, n2, n3, n4\)"),
    ):
        with pytest.raises(ValueError, match=text):
            wos.solve(box, X, dirichlet=data)
    with pytest.raises(ValueError, match="a cache is for domains inside"):
        wos.solve(box, X, dirichlet=1.0, cache="harmonic")
    with pytest.raises(ValueError, match="neumann needs a Polygon or a TriangleMesh, robin a Polygon; boundary is Box"):
        wos.solve(wos.Box([0, 0], [1, 1]), X[:, :2], dirichlet=1.0, neumann=(np.ones(4, bool), 0.0))


@pytest.mark.parametrize("d", [2, 3, 5])
def test_points_outside_and_on_the_boundary(d, backend, rng):
    box = wos.Box([0.0] * d, [1.0] * d)
    X = np.full((4, d), 0.5)
    X[1, 0], X[2, 0], X[3, -1] = 1.5, 1.0, 1 + 1e-5
    g = lambda Y: Y.sum(axis=1)  # noqa: E731
    with pytest.warns(RuntimeWarning, match="1 points lie outside the boundary"):
        r = wos.solve(box, X, dirichlet=g, walks=20, rng=1)
    np.testing.assert_array_equal(np.isnan(r.value), [False, True, False, False])
    np.testing.assert_allclose(r.value[2:], 1 + 0.5 * (d - 1), atol=1e-6)
    np.testing.assert_array_equal(r.stderr[2:], 0)
    np.testing.assert_array_equal(r.n_walks, [20, 0, 20, 20])
    with pytest.raises(ValueError, match=r"points\[0, 1\] is nan"):
        wos.solve(box, np.where(np.arange(d) == 1, np.nan, 0.5)[None], dirichlet=1.0)
    assert wos.solve(box, np.zeros((0, d)), dirichlet=1.0).value.shape == (0,)


def test_a_box_far_away_and_small(backend, rng):
    """A box of size 1 at 1e6 answers as one at 0, from points recentred in float64."""
    shift, s = 1e6 * np.ones(5), seed(rng)
    X = points_in_box(rng, 9, [0] * 5, [1] * 5)
    near = wos.solve(wos.Box([0.0] * 5, [1.0] * 5), X, dirichlet=lambda Y: Y[:, 0], walks=50, rng=s)
    far = wos.solve(wos.Box(shift, shift + 1), X + shift, dirichlet=lambda Y: Y[:, 0] - 1e6, walks=50, rng=s)
    close = np.isclose(near.value, far.value, rtol=0, atol=1e-4)
    assert close.mean() > 0.7


def test_instances_share_a_box(backend, rng):
    """B data, and points of their own: the bits of any number of instances before."""
    box, X = wos.Box([0, 0, 0], [1, 2, 1]), points_in_box(rng, 12, [0, 0, 0], [1, 2, 1]).reshape(3, 4, 3)
    c, s = rng.standard_normal((3, 2, 2, 2)), seed(rng)
    whole = wos.solve(box, X, dirichlet=wos.Polynomial(c), walks=30, rng=s)
    part = wos.solve(box, X[:2], dirichlet=wos.Polynomial(c[:2]), walks=30, rng=s)
    np.testing.assert_array_equal(whole.value[:2], part.value)


def test_plot_of_a_box():
    pytest.importorskip("matplotlib").use("Agg")
    square = wos.Box([0, 0], [2, 1]).plot().collections[0].get_segments()
    assert len(square) == 4
    np.testing.assert_allclose(np.sort(np.concatenate(square), axis=0), np.repeat([[0, 0], [2, 1]], 4, axis=0))
    assert wos.Box([0, 0, 0], [1, 1, 1]).outline(0).shape == (12, 2, 3)
    with pytest.raises(ValueError, match="in 4 dimensions, expected 2 or 3"):
        wos.Box([0.0] * 4, [1.0] * 4).plot()
