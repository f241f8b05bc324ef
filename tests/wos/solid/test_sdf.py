"""Fields of signed distances: queries, closed forms within their error bars, a wrong lipschitz shows, the same bits, bad input."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.solid.oracle import harmonic_quadratic, quadratic
from wos.walk import oracle
from wos.walk.oracle import disc_points, gates, same, seed

NATIVE = _backends.reason("native") is None
CENTER, RADIUS = np.array([0.1, -0.2, 0.15]), 1.1


def nodes(lo, hi, sizes):
    return np.stack(np.meshgrid(*(np.linspace(a, b, n) for a, b, n in zip(lo, hi, sizes)), indexing="ij"), axis=-1)


def ball_field(d, n=None, factor=1.0, dtype=np.float64):
    """Of a ball, in a box whose sides and numbers of nodes are all different."""
    lo, hi = np.array([-1.4, -1.5, -1.3])[:d], np.array([1.5, 1.3, 1.6])[:d]
    sizes = np.array([n or (401 if d == 2 else 121)] * d) + np.arange(d)
    phi = np.linalg.norm(nodes(lo, hi, sizes) - CENTER[:d], axis=-1) - RADIUS
    return (factor * phi).astype(dtype), (lo, hi)


def sizes(backend):
    return (200, 2048) if backend == "native" else (30, 1024)


@pytest.mark.parametrize("d", [2, 3])
def test_queries(d, backend, rng):
    values, box = ball_field(d)
    sdf, q = wos.SDF(values, box), rng.uniform(*box, (500, d))
    q = q[np.linalg.norm(q - CENTER[:d], axis=1) > 0.1]  # at the centre the field has a kink
    r = np.linalg.norm(q - CENTER[:d], axis=1)
    h = 2.9 / (400 if d == 2 else 120)
    near = h * h / 0.1  # of the interpolation, of second derivatives up to 10
    distance, point, primitive, weights = wos.closest_point(sdf, q)
    np.testing.assert_allclose(wos.signed_distance(sdf, q), r - RADIUS, rtol=0, atol=near)
    np.testing.assert_allclose(distance, np.abs(r - RADIUS), rtol=0, atol=near)
    np.testing.assert_allclose(np.linalg.norm(point - CENTER[:d], axis=1), RADIUS, rtol=0, atol=near)
    clear = np.abs(r - RADIUS) < 0.5  # there slopes, which are those of cells, are off by h / 0.6 at most
    assert np.abs(point - (CENTER[:d] + RADIUS * (q - CENTER[:d]) / r[:, None]))[clear].max() < 0.5 * h / 0.6 + near
    sure = np.abs(r - RADIUS) > near
    np.testing.assert_array_equal(wos.contains(sdf, q)[sure], r[sure] < RADIUS)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


def test_the_field_is_linear_between_nodes(backend, rng):
    values = np.pad(rng.uniform(-1, -0.5, (3, 4)), 1, constant_values=1.0)
    box = (np.array([1.0, -2.0]), np.array([3.0, 1.0]))
    q = rng.uniform(*box, (300, 2))
    np.testing.assert_allclose(wos.signed_distance(wos.SDF(values, box), q), oracle.grid(q, values, *box), rtol=0, atol=1e-13)


@pytest.mark.parametrize("d", [2, 3])
def test_harmonic_and_torsion(d, best_backend, rng):
    n, W = sizes(best_backend)
    values, box = ball_field(d)
    X = CENTER[:d] + disc_points(rng, n, 0.97 * RADIUS, d)
    A, b, c = harmonic_quadratic(rng, d)
    run = {"epsilon": 1e-5, "rng": seed(rng)}
    r = wos.solve(wos.SDF(values, box), X, dirichlet=wos.Polynomial(c), source=1.0, walks=W, gradient=True, **run)
    # the field interpolates a sphere, whose chords cut h^2 / 8 off: 7e-6, or 8e-5 in space, where there are fewer nodes
    truth = quadratic(A, b, X) + oracle.torsion_ball(X - CENTER[:d], RADIUS)
    shift = 0 if d == 2 else 1e-4
    assert gates(r.value, np.hypot(r.stderr, shift), truth, spread=d == 2) == []
    slope = 2 * X @ A + b - (X - CENTER[:d]) / d
    for i in range(d):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], slope[:, i]) == []


def test_screened(best_backend, rng):
    """u = |x|^2, g as a function, f = -4 + 3 |x|^2."""
    n, W = sizes(best_backend)
    values, box = ball_field(2)
    X = CENTER[:2] + disc_points(rng, n, 0.9 * RADIUS)
    u = lambda Y: (Y**2).sum(axis=1)  # noqa: E731
    r = wos.solve(wos.SDF(values, box), X, dirichlet=u, source=lambda Y: 3 * u(Y) - 4, screening=3.0, walks=W, epsilon=1e-5, rng=seed(rng))
    assert gates(r.value, r.stderr, u(X)) == []


def test_faces_on_nodes(backend, rng):
    """A rectangle whose sides are lines of nodes is that rectangle; its field has kinks along the diagonals."""
    n, W = sizes(backend)
    x = nodes([-1, -1], [1, 1], [41, 41])
    outside = np.abs(x) - [0.8, 0.5]
    phi = np.where((outside > 0).any(-1), np.linalg.norm(np.maximum(outside, 0), axis=-1), outside.max(-1))
    X = rng.uniform([-0.78, -0.48], [0.78, 0.48], (n, 2))
    A, b, c = harmonic_quadratic(rng, 2)
    r = wos.solve(wos.SDF(phi, ([-1, -1], [1, 1])), X, dirichlet=wos.Polynomial(c), walks=W, epsilon=1e-5, rng=seed(rng))
    assert gates(r.value, r.stderr, quadratic(A, b, X)) == []


def test_lipschitz(backend, rng):
    """A field three times as steep with lipschitz=3 walks as the field itself; without it, balls reach out of the domain."""
    n, W = sizes(backend)
    X = CENTER[:2] + disc_points(rng, n, 0.9 * RADIUS)
    run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": W, "epsilon": 1e-5, "rng": seed(rng)}
    (values, box), (steep, _) = ball_field(2), ball_field(2, factor=3.0)
    a, b = wos.solve(wos.SDF(values, box), X, **run), wos.solve(wos.SDF(steep, box, lipschitz=3.0), X, **run)
    close = np.isclose(a.value, b.value, rtol=0, atol=1e-3)
    assert close.mean() > 0.9
    truth = X[:, 0] + oracle.torsion_ball(X - CENTER[:2], RADIUS)
    assert gates(b.value, b.stderr, truth) == []
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        wrong = wos.solve(wos.SDF(steep, box), X, **run)
    assert gates(wrong.value, wrong.stderr, truth) != []


# ---------------------------------------------------------------- functions


def ball_function(d):
    return lambda X: np.sqrt(((X - CENTER[:d]) ** 2).sum(axis=1)) - RADIUS


def compiled_functions():
    numba = pytest.importorskip("numba")

    @numba.njit
    def of_points(X):
        return np.sqrt((X[:, 0] - 0.1) ** 2 + (X[:, 1] + 0.2) ** 2) - 1.1

    @numba.cfunc(numba.types.void(numba.int64, numba.types.CPointer(numba.float64), numba.types.CPointer(numba.float64)))
    def of_pointers(n, x, out):
        for i in range(n):
            out[i] = ((x[2 * i] - 0.1) ** 2 + (x[2 * i + 1] + 0.2) ** 2) ** 0.5 - 1.1

    return of_points, of_pointers


@pytest.mark.parametrize("d", [2, 3])
def test_queries_of_a_function(d, backend, rng):
    """Far from the boundary too: the projection of a true distance is the closest point."""
    sdf, q = wos.SDF(ball_function(d), ball_field(d, 9)[1]), rng.uniform(-1.2, 1.2, (4, 50, d))
    q = q[np.linalg.norm(q - CENTER[:d], axis=-1) > 0.01]
    r = np.linalg.norm(q - CENTER[:d], axis=1)
    distance, point, primitive, weights = wos.closest_point(sdf, q)
    np.testing.assert_allclose(distance, np.abs(r - RADIUS), rtol=0, atol=1e-14)
    np.testing.assert_allclose(point, CENTER[:d] + RADIUS * (q - CENTER[:d]) / r[:, None], rtol=0, atol=1e-6)
    np.testing.assert_allclose(wos.signed_distance(sdf, q), r - RADIUS, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(wos.contains(sdf, q), r < RADIUS)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


@pytest.mark.parametrize("d", [2, 3])
def test_harmonic_and_torsion_of_a_function(d, best_backend, rng):
    n, W = (60, 512) if best_backend == "native" else (30, 256)
    X = CENTER[:d] + disc_points(rng, n, 0.97 * RADIUS, d)
    A, b, c = harmonic_quadratic(rng, d)
    sdf = wos.SDF(ball_function(d), ball_field(d, 9)[1])
    r = wos.solve(sdf, X, dirichlet=wos.Polynomial(c), source=1.0, walks=W, gradient=True, epsilon=1e-5, rng=seed(rng))
    truth = quadratic(A, b, X) + oracle.torsion_ball(X - CENTER[:d], RADIUS)
    assert gates(r.value, r.stderr, truth, spread=False) == []
    slope = 2 * X @ A + b - (X - CENTER[:d]) / d
    for i in range(d):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], slope[:, i], spread=False) == []


def test_compiled_functions_walk_as_others(backend, rng):
    box, X = ball_field(2, 9)[1], CENTER[:2] + disc_points(rng, 20, 0.9)
    run = {"dirichlet": lambda Y: Y[:, 0] ** 2, "walks": 60, "epsilon": 1e-6, "rng": seed(rng)}
    plain = wos.solve(wos.SDF(ball_function(2), box), X, **run)
    for f in compiled_functions():
        found = wos.solve(wos.SDF(f, box), X, **run)
        assert np.isclose(found.value, plain.value, rtol=0, atol=1e-9).mean() > 0.8  # rounding may add a step
        same(found, wos.solve(wos.SDF(f, box), X, **run, num_threads=3))


def test_bits_of_a_function(backend, rng):
    """Threads, cuts, executors, the harmonic cache; a merge knows another function."""
    box, X = ball_field(2, 9)[1], CENTER[:2] + disc_points(rng, 9, 0.9)
    sdf = wos.SDF(ball_function(2), box)
    run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": 40, "rng": seed(rng)}
    whole = wos.solve(sdf, X, **run)
    same(whole, wos.solve(sdf, X, **run, num_threads=3))
    first = wos.solve(sdf, X, **(run | {"walks": 14}))
    same(whole, first.resume(26))
    rest = run | {"walks": 26, "walk_offset": 14}
    same(whole, first.merge(wos.solve(wos.SDF(ball_function(2), box), X, **rest)))
    with pytest.raises(ValueError, match="boundary"):
        first.merge(wos.solve(wos.SDF(lambda X: ball_function(2)(X) + 0.01, box), X, **rest))
    with ThreadPoolExecutor(2) as pool:
        same(whole, wos.solve(sdf, X, **run, executor=pool))
    cached = wos.solve(sdf, X, dirichlet=lambda Y: Y[:, 0], walks=256, cache="harmonic", rng=1)
    assert (np.abs(cached.value - X[:, 0]) < 7 * cached.stderr + 5e-3).all()


def sphere(X):
    return np.sqrt((X**2).sum(axis=1)) - 1


def test_functions_pickle(backend):
    sdf, X = wos.SDF(sphere, ([-1.5] * 2, [1.5] * 2)), np.array([[0.3, 0.2]])
    run = {"dirichlet": 1.0, "source": 1.0, "walks": 20, "rng": 1}
    same(wos.solve(sdf, X, **run), wos.solve(pickle.loads(pickle.dumps(sdf)), X, **run))
    assert repr(sdf) == "SDF(of a function)"


def test_bad_functions(backend):
    box = ([-1.5] * 2, [1.5] * 2)
    for f, text in (
        (lambda X: sphere(X) - 1, "SDF: values below 0 on a face of the box across axis 0"),
        (lambda X: X, r"the SDF\(X\) with X of shape .* gave shape .*, expected shape"),
        (lambda X: np.where(X[:, 0] > 1, np.nan, sphere(X)), r"values of the function\[.*\] is nan"),
    ):
        with pytest.raises(ValueError, match=text):
            wos.SDF(f, box)

    def sometimes(X):
        if len(X) < 1000:
            raise KeyError("mine")
        return sphere(X)

    with pytest.raises(KeyError, match="mine"):
        wos.solve(wos.SDF(sometimes, box), np.zeros((1, 2)), dirichlet=1.0)
    X = np.array([[0.5, 0.0]])  # a field that is too steep: walks leave its box, end there and are counted
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        r = wos.solve(wos.SDF(lambda X: np.minimum(100 * sphere(X), 1.0), box), X, dirichlet=1.0, walks=100, rng=1)
    assert r.value[0] == 1
    assert r.n_escaped[0] > 0


@pytest.mark.parametrize("d", [2, 3])
def test_bits(d, backend, rng):
    for dtype in (np.float32, np.float64):
        values, box = ball_field(d, 33, dtype=dtype)
        sdf, X = wos.SDF(values, box), (CENTER[:d] + disc_points(rng, 19, 0.9, d)).astype(dtype)
        run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": 40, "rng": seed(rng), "gradient": True}
        whole = wos.solve(sdf, X, **run)
        for n in (2, 3):
            same(whole, wos.solve(sdf, X, **run, num_threads=n))
        first = wos.solve(sdf, X, **(run | {"walks": 14}))
        same(whole, pickle.loads(pickle.dumps(sdf)) and first.resume(26))
        same(whole, first.merge(wos.solve(pickle.loads(pickle.dumps(sdf)), X, **(run | {"walks": 26, "walk_offset": 14}))))
        with ThreadPoolExecutor(2) as pool:
            same(whole, wos.solve(sdf, X, **run, executor=pool))
    other = wos.solve(wos.SDF(values * 0.5, box), X, **(run | {"walks": 26, "walk_offset": 14}))
    with pytest.raises(ValueError, match="boundary"):
        first.merge(other)


@pytest.mark.skipif(not NATIVE, reason="compares native with numba")
@pytest.mark.parametrize("d", [2, 3])
def test_backends_walk_alike(d, rng):
    sdf, X = wos.SDF(*ball_field(d, 33)), CENTER[:d] + disc_points(rng, 30, 0.9, d)
    run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": 30, "epsilon": 1e-6, "rng": 9}
    a, b = (wos.solve(sdf, X, **run, backend=name) for name in ("native", "numba"))
    assert np.isclose(a.value, b.value, rtol=0, atol=1e-6).mean() > 0.8


def test_harmonic_caching(backend, rng):
    """Balls of a field serve many points, as those of other boundaries."""
    sdf, X = wos.SDF(*ball_field(2)), CENTER[:2] + disc_points(rng, 100, 0.9)
    r = wos.solve(sdf, X, dirichlet=lambda Y: Y[:, 0] * Y[:, 1], walks=256, cache="harmonic", epsilon=1e-4, rng=seed(rng))
    z = (r.value - X[:, 0] * X[:, 1]) / r.stderr
    assert np.abs(z).max() < 7


def test_bad_fields():
    box, good = ([0.0, 0.0], [1.0, 1.0]), np.pad(np.full((2, 2), -0.1), 1, constant_values=0.2)
    bad = good.copy()
    bad[0, 2] = -1e-3
    for values, at, lipschitz, error, text in (
        (good, box, 0.0, ValueError, "lipschitz is 0.0"),
        (good, box, np.nan, ValueError, "lipschitz is nan"),
        (np.abs(good), box, 1.0, ValueError, "values has none below 0"),
        (bad, box, 1.0, ValueError, "values below 0 on a face of the box across axis 0; make the box larger"),
        (bad.T, box, 1.0, ValueError, "across axis 1"),
        (np.where(good < 0, np.nan, good), box, 1.0, ValueError, r"values\[1, 1\] is nan"),
        (good[:1], box, 1.0, ValueError, r"values has shape \(1, 4\), expected \(n1, n2\)"),
        (good[0], box, 1.0, ValueError, "values has shape"),
        (good.astype(int), box, 1.0, TypeError, "values has dtype int64"),
        (good.tolist(), box, 1.0, TypeError, "values is list"),
        (good, ([0.0, 0.0], [1.0, 0.0]), 1.0, ValueError, "expected lo < hi"),
        (good, ([0.0] * 4, [1.0] * 4), 1.0, ValueError, "box has corners of 4 coordinates, expected 2 or 3"),
        (good, 1.0, 1.0, TypeError, "box is float"),
    ):
        with pytest.raises(error, match=f"SDF: .*{text}"):
            wos.SDF(values, at, lipschitz)
    sdf = wos.SDF(good, box)
    with pytest.raises(ValueError, match="PerVertex"):
        wos.solve(sdf, np.full((1, 2), 0.5), dirichlet=wos.PerVertex(np.ones(4)))
    for walls in ({"neumann": (np.ones(4, bool), 0.0)}, {"robin": (np.ones(4, bool), 1.0, 0.0)}):
        with pytest.raises(ValueError, match="neumann needs a Polygon or a TriangleMesh, robin a Polygon; boundary is SDF"):
            wos.solve(sdf, np.full((1, 2), 0.5), dirichlet=1.0, **walls)


@pytest.mark.torch
def test_tensors(backend, rng):
    torch = pytest.importorskip("torch")
    values, box = ball_field(2, 33)
    sdf = wos.SDF(torch.tensor(values), box)
    X = CENTER[:2] + disc_points(rng, 5, 0.9)
    a = wos.solve(sdf, torch.tensor(X), dirichlet=lambda Y: Y[:, 0], walks=8, rng=1)
    b = wos.solve(wos.SDF(values, box), X, dirichlet=lambda Y: Y[:, 0], walks=8, rng=1)
    np.testing.assert_array_equal(a.value.numpy(), b.value)
    with pytest.raises(NotImplementedError, match="no gradient in values"):
        wos.SDF(torch.tensor(values, requires_grad=True), box)


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    lines = np.concatenate(wos.SDF(*ball_field(2, 81)).plot().collections[0].get_segments())
    np.testing.assert_allclose(np.linalg.norm(lines - CENTER[:2], axis=1), RADIUS, atol=2e-3)
    with pytest.raises(ValueError, match="plot: an SDF in space has no lines to draw"):
        wos.SDF(*ball_field(3, 9)).plot()
