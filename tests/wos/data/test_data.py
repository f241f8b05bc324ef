"""Data classes: their values at points and in walks, gradients with respect to their parameters, domains far from 0."""

import numpy as np
import pytest

from quatrefoil import _array_tools, wos
from quatrefoil.wos.data.composition import Data, Points
from quatrefoil.wos.data.packed import with_arrays
from wos.domains import SQUARE, instance
from wos.walk import oracle
from wos.walk.oracle import disc_points, seed, star_points

EPS = np.finfo(np.float64).eps
CENTRE = np.array([[0.5, 0.5]])


def kinds(rng, d, lead=(), dtype=np.float64):
    """For every class in d dimensions: name, data with instances first, the function it represents for an instance, size of its terms."""

    def draw(*shape, low=None):
        x = (rng.normal(size=(*lead, *shape)) if low is None else rng.uniform(low, 2, (*lead, *shape))).astype(dtype)
        return x, x.astype(np.float64)

    sizes = [int(n) for n in rng.choice([2, 3, 5, 7], d)]
    lo, hi = rng.uniform(-0.9, -0.3, d), rng.uniform(0.2, 0.8, d)
    (c, C), (v, V), (a, A), (m, M), (w, W) = draw(*sizes), draw(*sizes), draw(3), draw(3, d), draw(3, low=0.5)
    yield "polynomial", wos.Polynomial(c), lambda b: lambda Y: oracle.polynomial(Y, C[b]), np.abs(c).max() * c[(0,) * len(lead)].size
    yield "grid", wos.GridField(v, (lo, hi)), lambda b: lambda Y: oracle.grid(Y, V[b], lo, hi), np.abs(v).max()
    yield "gaussians", wos.Gaussians(a, m, w), lambda b: lambda Y: oracle.gaussians(Y, A[b], M[b], W[b]), 3 * np.abs(a).max()
    if d == 2:
        (f, F), at = draw(5), (0.2, -0.1)
        yield "fourier", wos.Fourier(f, at), lambda b: lambda Y: oracle.fourier(Y, F[b], at), 5 * np.abs(f).max()


def domain(rng, d, n):
    return (wos.Polygon(oracle.star(60)), star_points(rng, n)) if d == 2 else (wos.Ball([0.1, 0.0, -0.2], 1.1), disc_points(rng, n, 0.8, d))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_at_points(d, lead, rng):
    """Points shared by all instances, and separate points per instance."""
    X, each = rng.uniform(-1.5, 1.5, (20, d)), rng.uniform(-1.5, 1.5, (3, 20, d))
    for name, data, function, size in kinds(rng, d, lead):
        near = dict(rtol=0, atol=50 * EPS * size * 1.5 ** (7 * d), err_msg=name)  # rounding of a product of powers
        functions = [function(b if lead else ()) for b in range(3)]
        np.testing.assert_allclose(data(X), [f(X) for f in functions] if lead else functions[0](X), **near)
        np.testing.assert_allclose(data(each), [f(x) for f, x in zip(functions, each)], **near)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 3])
def test_every_class_is_the_function_by_hand(d, dtype, backend, rng):
    """Data classes and equivalent functions agree for the same walks, in float32 and float64, as boundary values, as sources and as
    both."""
    boundary, X = domain(rng, d, 12)

    def typed(f):
        def g(Y):
            assert Y.dtype == dtype
            return f(Y)

        return g

    for name, data, function, size in kinds(rng, d, dtype=dtype):
        size = max(size, 1.0) * 1.5 ** (2 * d)
        for epsilon, eps in ((1e-3, 2.0**-23), (1e-7, EPS)):
            run = dict(walks=12, epsilon=epsilon, rng=seed(rng))
            for g, f in ((data, None), (0.0, data), (data, data)):
                by_hand = [typed(function(())) if x is data else x for x in (g, f)]
                one = wos.solve(boundary, X.astype(dtype), dirichlet=g, source=f, **run)
                two = wos.solve(boundary, X.astype(dtype), dirichlet=by_hand[0], source=by_hand[1], **run)
                assert one.value.dtype == dtype
                rounded = max(eps, np.finfo(dtype).eps)  # functions receive points of their own dtype
                np.testing.assert_allclose(one.value, two.value, rtol=0, atol=30 * rounded * size, err_msg=f"{name} {epsilon}")
                np.testing.assert_array_equal(one.mean_steps, two.mean_steps)


@pytest.mark.parametrize("shift", [1e3, 1e6])
def test_a_polynomial_far_from_the_origin(shift, backend, rng):
    """Errors are eps times the sizes of the terms. Float32 walks add an error relative to the variation of u, not to u itself."""
    at = np.array([shift, -2 * shift])
    polygon, X, c, s = wos.Polygon(oracle.star(60) + at), star_points(rng, 10) + at, rng.normal(size=(3, 3)), seed(rng)
    terms, varies = oracle.polynomial(np.abs(at) + 2, np.abs(c)), np.ptp(oracle.polynomial(oracle.star(60) + at, c))
    for epsilon, names, lost in ((1e-7, ("dirichlet", "source"), 0), (1e-3, ("dirichlet",), 20 * 2.0**-23 * varies)):
        run = dict(walks=10, epsilon=epsilon, rng=s)
        forms = wos.Polynomial(c), lambda Y: oracle.polynomial(Y.astype(np.longdouble), c).astype(float)
        one, two = (wos.solve(polygon, X, **dict.fromkeys(names, g), **run).value for g in forms)
        assert np.abs(one - two).max() < 20 * EPS * terms + lost


def test_a_grid_far_from_the_origin(backend, rng):
    """A domain of size 1 at 1e6, and a box much larger than its domain. Positions in the grid are computed in float64."""
    v, s = rng.normal(size=(5, 9)), seed(rng)
    for at, lo, hi in (((1e6, -2e6), (-0.8, -0.9), (1.0, 0.7)), ((0.0, 0.0), (-1e5, -2e5), (2e5, 1e5))):
        polygon, X = wos.Polygon(oracle.star(60) + at), star_points(rng, 10) + at
        field = wos.GridField(v, (np.add(lo, at), np.add(hi, at)))
        one, two = (
            wos.solve(polygon, X, dirichlet=g, source=g, walks=10, rng=s).value
            for g in (field, lambda Y, field=field: oracle.grid(Y, v, *field.box))
        )
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-7)


def boundaries(d, n):
    if d == 2:
        return wos.Polygon([oracle.star(40 + 3 * b) * (1 + 0.3 * b) + [b, -b] for b in range(n)])
    return wos.Ball([0.2, 0.1, 0.0], 1.2)


@pytest.mark.parametrize("d", [2, 3])
def test_a_batch_is_its_instances(d, backend, rng):
    """B sets of data on B boundaries or on one: each instance equals a separate solve, for arrays, lists and fewer instances."""
    X = np.stack([star_points(rng, 5) * 0.8 + [b, -b] for b in range(3)]) if d == 2 else np.stack([disc_points(rng, 5, d=3)] * 3)
    for name, data, function, size in kinds(rng, d, (3,)):
        run = dict(walks=8, epsilon=1e-7, rng=seed(rng))

        def solve(data, n=3, run=run):
            return wos.solve(boundaries(d, n), X[:n], dirichlet=data, source=data, **run).value

        whole = solve(data)
        np.testing.assert_allclose(whole, solve([function(b) for b in range(3)]), rtol=0, atol=1e-11 * size, err_msg=name)
        np.testing.assert_array_equal(solve([instance(data, b, d) for b in range(3)]), whole, err_msg=name)
        for n in (0, 1, 2):
            np.testing.assert_array_equal(solve(with_arrays(data, lambda x, n=n: x[:n]), n), whole[:n], err_msg=name)


def test_lists_of_tables_of_different_sizes(backend, rng):
    """Lists of polynomials of different degrees and of grids of different sizes and boxes, and one field for polygons with different
    boxes."""
    polynomials = [wos.Polynomial(rng.normal(size=shape)) for shape in ((1, 1), (3, 2), (2, 5))]
    grids = [wos.GridField(rng.normal(size=shape), (lo, hi)) for shape, lo, hi in (
        ((2, 2), (-1, -1), (1, 1)), ((3, 7), (0, -2), (2, 1)), ((5, 2), (-1, -3), (3, 0)))]  # fmt: skip
    X = np.stack([star_points(rng, 5) * 0.8 + [b, -b] for b in range(3)])
    run = dict(walks=8, epsilon=1e-7, rng=seed(rng))
    for listed in (polynomials, grids, [grids[0], polynomials[1], 2.0]):
        by_hand = [g if isinstance(g, float) else g.__call__ for g in listed]
        one, two = (wos.solve(boundaries(2, 3), X, dirichlet=g, source=g, **run).value for g in (listed, by_hand))
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)
    one, two = (wos.solve(boundaries(2, 3), X, dirichlet=g, **run).value for g in (polynomials[2], [polynomials[2]] * 3))
    np.testing.assert_array_equal(one, two)
    # the row has as many elements as the segments of all polygons have ends: 6 + 242
    shared = wos.GridField(rng.normal(size=(2, 121)), ((-1, -3), (3, 1)))
    assert 6 + shared.values.size == 2 * len(boundaries(2, 3)._ends) - 10
    rings = [oracle.star(40), oracle.star(40) * 2, oracle.star(44)]
    one, two = (wos.solve(wos.Polygon(rings), X[0], dirichlet=g, **run).value for g in (shared, shared.__call__))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)


def test_powers_that_overflow(backend):
    c = np.zeros((60, 1))
    c[1] = 1.0
    assert np.isfinite(wos.solve(wos.Polygon(SQUARE), CENTRE, dirichlet=wos.Polynomial(c), walks=2, rng=0).value).all()
    with pytest.raises(ValueError, match="powers up to 59, which overflow float64"):
        wos.solve(wos.Polygon(SQUARE + 1e6), CENTRE + 1e6, dirichlet=wos.Polynomial(c), walks=2, rng=0)


def test_threads_and_cuts_of_walks(backend, rng):
    """A gradient has the same bits for any number of threads, even if a grid has so many values that there are only a few partial sums."""
    boundary, X = wos.Polygon(oracle.star(40)), star_points(rng, 9)
    for table in (rng.normal(size=(3, 3)), rng.normal(size=(700, 800))):
        run = dict(dirichlet=wos.GridField(table, ((-1.1, -0.8), (0.9, 1.2))), walks=2000, rng=seed(rng))
        first, *others = [wos.solve_vjp(boundary, X, np.ones(9), num_threads=n, **run)[1]["values"] for n in (1, 2, 5)]
        assert abs(first.sum() - 9) < 9 * 2.0**-23  # the shares of all nodes add up to 1 per point, within the precision of a walk
        for other in others:
            np.testing.assert_array_equal(other, first)


def test_a_composition_adds_up_all_pieces_of_points(monkeypatch, rng):
    at = Points(rng.uniform(-1, 1, (7, 2)), np.zeros(7, np.int64), np.zeros((7, 2)), np.ones(7), [])
    data, share = Data(np, "wos.walk", "fourier", rng.normal(size=(1, 9)), None), rng.normal(size=7)
    whole = data.gradient(at, share)
    monkeypatch.setattr(_array_tools, "CHUNK", 1)
    np.testing.assert_allclose(data.gradient(at, share), whole, rtol=0, atol=1e-14 * np.abs(whole).sum())


@pytest.mark.torch
@pytest.mark.parametrize("name", ["coefficients", "values"])
def test_gradients_of_lists(name, backend, rng):
    """Gradients equal those of the same tables in one array, and each instance has a separate gradient."""
    torch = pytest.importorskip("torch")
    make = wos.Polynomial if name == "coefficients" else lambda table: wos.GridField(table, ((-1.1, -0.8), (0.9, 1.2)))
    X, table = disc_points(rng, 5, 0.7), rng.normal(size=(3, 3, 2))
    ball, run = wos.Ball([0.1, 0.0], 1.1), dict(walks=9, epsilon=1e-7, rng=seed(rng))
    leaf, weight = torch.tensor(table, requires_grad=True), rng.normal(size=(3, 5))
    data = [make(t) for t in leaf]
    value = wos.solve(ball, torch.tensor(X), dirichlet=data, source=data, **run).value
    (got,) = torch.autograd.grad(value, leaf, torch.tensor(weight), retain_graph=True)
    _, *gradients = wos.solve_vjp(ball, X, weight, dirichlet=make(table), source=make(table), **run)
    by_hand = sum(g[name] for g in gradients)
    np.testing.assert_allclose(got.numpy(), by_hand, rtol=0, atol=1e-13 * np.abs(by_hand).sum())
    (of_last,) = torch.autograd.grad(value[-1].sum(), leaf)
    assert not of_last[:-1].any()
    assert of_last[-1].any()
