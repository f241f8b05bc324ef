"""Chebyshev tensors with a tensor train as their core, compared with full cores, and functions of many variables."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from scipy import stats

import quatrefoil as qf
from checks import check_rejected

ChebTucker, TensorTrain = qf.cheb.ChebTucker, qf.cheb.TensorTrain
SIZES, SHAPE, RANKS = (6, 5, 7, 4), (3, 2, 4, 3), (2, 3, 2)
DOMAIN = ((-1.0, 2.0), (0.0, 1.0), (3.0, 5.0), (-2.0, -1.0))


def train(rng, dtype=np.float64, shape=SHAPE, ranks=RANKS):
    links = (1, *ranks, 1)
    return [rng.standard_normal((links[k], r, links[k + 1])).astype(dtype) for k, r in enumerate(shape)]


def pair(rng, dtype=np.float64):
    """One function with a train as its core and with the equivalent full core (by einsum)."""
    cores = train(rng, dtype)
    factors = [(rng.standard_normal((n, r)) / (1 + np.arange(n)[:, None]) ** 2).astype(dtype) for n, r in zip(SIZES, SHAPE)]
    full = np.einsum("aib,bjc,ckd,dle->ijkl", *cores)
    return ChebTucker(TensorTrain(cores), factors, DOMAIN), ChebTucker(full, factors, DOMAIN)


def points(rng, count=50, dtype=np.float64):
    lo, hi = np.array(DOMAIN).T
    X = lo + (hi - lo) * rng.random((count, 4))
    X[:2] = lo, hi
    return X.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_and_derivatives(rng, dtype):
    chained, full = pair(rng, dtype)
    X, rtol = points(rng, dtype=dtype), 1e-12 if dtype == np.float64 else 1e-5
    for order in (0, 1, 2):
        results = [f.eval(X, order) if order else (f.eval(X, order),) for f in (chained, full)]
        for ours, expected in zip(*results, strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, expected, rtol=0, atol=rtol * np.abs(expected).max())
    scale = np.abs(full(X)).max()
    np.testing.assert_allclose(chained(*X.T), full(X), atol=rtol * scale)
    np.testing.assert_allclose(chained(X[3]), full(X[3]), atol=rtol * scale)
    out = np.empty(50, dtype)
    assert chained(X, out=out) is out
    np.testing.assert_array_equal(out, chained(X))
    assert chained(X[:0]).shape == (0,)
    np.testing.assert_allclose(chained.to_full(), full.to_full(), atol=rtol * np.abs(full.to_full()).max())
    lines = [np.linspace(*interval, 3).astype(dtype) for interval in DOMAIN]
    np.testing.assert_allclose(chained.grid(*lines), full.grid(*lines), atol=10 * rtol * scale)
    far = X + np.float32(0.5)
    np.testing.assert_allclose(chained.eval(far, extrapolate=True), full.eval(far, extrapolate=True), rtol=1e-3)


def test_many_points_are_taken_in_chunks(rng, monkeypatch):
    chained, _ = pair(rng)
    X = points(rng, 1000)
    expected = chained.eval(X, 2)
    monkeypatch.setattr("quatrefoil._array_tools.HOST_CHUNK", 1 << 10)
    for ours, whole in zip(chained.eval(X, 2), expected):
        np.testing.assert_allclose(ours, whole, rtol=1e-13, atol=1e-13)


def test_algebra_and_calculus(rng):
    one, full = pair(rng)
    other, full_other = pair(rng)
    X = points(rng)
    for make in (
        lambda f, g: f + g,
        lambda f, g: f - 2.5 * g,
        lambda f, g: f * g,
        lambda f, g: f**2 / 3 + 1,
        lambda f, g: -f.diff(2) + g.diff(-1, 2),
        lambda f, g: f.cumsum(1),
        lambda f, g: f.round(1e-13),
    ):
        ours, expected = make(one, other), make(full, full_other)
        assert isinstance(ours.core, TensorTrain)
        assert ours.n == expected.n
        np.testing.assert_allclose(ours(X), expected(X), rtol=0, atol=1e-11 * np.abs(expected(X)).max())
    for ask in (
        lambda f: f.integrate(),
        lambda f: f.integrate([0, 3])(0.5, 4.0),
        lambda f: f.integrate(1)(0.5, 4.0, -1.5),
        lambda f: f.mean(),
        lambda f: f.mean([1])(0.5, 4.0, -1.5),
        lambda f: f.var(),
        lambda f: f.var([0, 2])(0.5, -1.5),
        lambda f: f.norm(),
        lambda f: f.at({0: 0.5})(0.5, 4.0, -1.5),
        lambda f: f.at(x0=0.5, x2=4.0, x1=0.25)(-1.5),
        lambda f: f.at({0: 0.5, 1: 0.25, 2: 4.0, 3: -1.5}),
        lambda f: f.error_estimate,
        lambda f: f.minimize().value,
        lambda f: f.transpose()(-1.5, 4.0, 0.5, 0.25),
        lambda f: f.transpose([2, 0, 3, 1])(4.0, 0.25, -1.5, 0.5),
    ):
        np.testing.assert_allclose(ask(one), ask(full), rtol=1e-9, atol=1e-9)
    assert isinstance(one.at({0: 0.5}).core, TensorTrain)
    assert isinstance(one.at({0: 0.5, 1: 0.5}).core, np.ndarray)  # a core of two axes is a matrix
    np.testing.assert_allclose(one.at({0: 0.5, 1: 0.5, 2: 4.0}).roots(), full.at({0: 0.5, 1: 0.5, 2: 4.0}).roots(), atol=1e-9)
    zero = one * 0.0
    assert (zero.norm(), zero.var(), zero.error_estimate) == (0, 0, 0)
    assert np.isnan(zero.sobol(1)).all()


def test_truncation_keeps_to_its_tolerance(rng):
    """A small summand below tol is dropped: the error is within tol of the norm, and the ranks are the same as for the large summand."""
    one, _ = pair(rng)
    small, _ = pair(rng)
    both = one + small * (1e-7 * one.norm() / small.norm())
    assert both.core.ranks > one.core.ranks
    rounded = both.round(1e-5)
    assert rounded.core.ranks == one.core.ranks
    missed = np.linalg.norm(rounded.to_full() - both.to_full()) / np.linalg.norm(both.to_full())
    assert 1e-10 < missed < 1e-5
    for U in rounded.factors:
        np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-13)


@pytest.mark.parametrize("distributions", [None, [stats.norm(0.5, 0.2), None, (3, 5), np.linspace(-2, -1, 40)]])
def test_statistics(rng, distributions):
    one, full = pair(rng)
    np.testing.assert_allclose(one.mean(distributions=distributions), full.mean(distributions=distributions), rtol=1e-11)
    np.testing.assert_allclose(one.var(distributions=distributions), full.var(distributions=distributions), rtol=1e-11)
    for order in (1, 2, "total"):
        ours, expected = (f.sobol(order, distributions=distributions) for f in (one, full))
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-14)
    a, b = (f.sample_output(100, distributions=distributions, rng=3) for f in (one, full))
    np.testing.assert_allclose(a, b, atol=1e-11 * np.abs(b).max())


def test_results_scale_with_the_units(rng):
    one, _ = pair(rng)
    for scale in (1e-150, 1e150):
        cores = [one.core.cores[0] * scale, *one.core.cores[1:]]
        scaled = ChebTucker(TensorTrain(cores), [one.factors[0] * scale, *one.factors[1:]], DOMAIN)
        small = ChebTucker(TensorTrain(cores), [one.factors[0] / scale, *one.factors[1:]], DOMAIN)
        np.testing.assert_allclose(small.norm(), one.norm(), rtol=1e-12)
        np.testing.assert_allclose(scaled.sobol("total"), one.sobol("total"), rtol=1e-9)
        X = points(rng)
        np.testing.assert_allclose(small.round(1e-12)(X), one(X), atol=1e-10 * np.abs(one(X)).max())


def test_files_and_copies(rng, tmp_path):
    one, _ = pair(rng)
    X = points(rng)
    one.save(tmp_path / "train")
    for again in (ChebTucker.load(tmp_path / "train"), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        np.testing.assert_array_equal(again(X), one(X))
        assert again.core.ranks == one.core.ranks
        with pytest.raises(ValueError, match="read-only"):
            again.core.cores[1][:] = 0
    assert "ranks=(2, 3, 2)" in repr(one.core)


def test_functions_of_many_variables(rng):
    """Twelve variables with interactions of neighbours; a full grid would have 5^12 values."""

    def f(*x):
        return np.exp(-0.3 * sum(a * b for a, b in itertools.pairwise(x))) + x[0] * x[11]

    ct = ChebTucker.from_function(f, [(0, 1)] * 12, tol=1e-6, method="tt")
    assert isinstance(ct.core, TensorTrain)
    assert ct.n_evaluations < 15_000
    X = rng.random((20_000, 12))
    expected = f(*X.T)
    np.testing.assert_allclose(ct(X), expected, rtol=0, atol=5e-6 * expected.max())
    assert ct.error_estimate <= 1e-6
    assert ct.minimize().value <= expected.min() + 1e-6


def test_twenty_variables_with_known_moments():
    """The product of 1 + c_k (x_k^2 - 1/3) has mean 1, and its variance and Sobol indices are known."""
    c = 1 / (1 + np.arange(20.0))

    def f(*x):
        return np.prod([1 + a * (t * t - 1 / 3) for a, t in zip(c, x)], axis=0)

    ct = ChebTucker.from_function(f, [(-1, 1)] * 20, method="tt")
    assert ct.core.ranks == (1,) * 19
    partial = c**2 * 4 / 45
    whole = np.prod(1 + partial)
    np.testing.assert_allclose([ct.mean(), ct.var()], [1, whole - 1], rtol=1e-9)
    np.testing.assert_allclose(ct.sobol(1), partial / (whole - 1), rtol=1e-8)
    np.testing.assert_allclose(ct.sobol("total"), partial / (1 + partial) * whole / (whole - 1), rtol=1e-8)
    np.testing.assert_allclose(ct.sobol(2)[2, 5], partial[2] * partial[5] / (whole - 1), rtol=1e-8)


def test_several_outputs_and_a_number_of_values(rng):
    def f(*x):
        return np.exp(x[0] * x[1]) + x[2], 1e5 * (np.exp(x[0] * x[1]) + 1 / (2 + x[3]))

    X = rng.random((1000, 4))
    both = ChebTucker.from_function(f, [(0, 1)] * 4, tol=1e-8, method="tt")
    for ct, expected in zip(both, f(*X.T), strict=True):
        np.testing.assert_allclose(ct(X), expected, rtol=0, atol=1e-7 * expected.max())
    assert both[0].n_evaluations == both[1].n_evaluations < 3000
    few = ChebTucker.from_function(f, [(0, 1)] * 4, max_evaluations=1500, method="tt")
    assert few[0].n_evaluations <= 1500
    for ct, expected in zip(few, f(*X.T)):
        assert np.abs(ct(X) - expected).max() <= 20 * ct.error_estimate * expected.max()
    composed = both[0].compose(np.log)
    assert isinstance(composed.core, TensorTrain)
    np.testing.assert_allclose(composed(X), np.log(both[0](X)), atol=1e-8)


def of_two_products(*x):
    """A train of rank 2 that needs many terms as a polynomial chaos."""
    return np.exp(-0.4 * sum(x)) + np.prod([1 / (2 - t) for t in x], axis=0) * 20


@pytest.mark.slow
def test_few_samples(rng):
    """Seven variables from 250 samples; polynomials of a given total degree have errors of a few percent."""
    X, T = rng.random((250, 7)), rng.random((2000, 7))
    expected = of_two_products(*T.T)
    ct = ChebTucker.fit(X, of_two_products(*X.T), domain=[(0, 1)] * 7, method="tt")
    assert isinstance(ct.core, TensorTrain)
    missed = np.sqrt(np.mean((ct(T) - expected) ** 2)) / expected.std()
    assert missed < 1e-4
    assert missed / 5 < ct.error_estimate < 5 * missed
    np.testing.assert_allclose(ct.mean(), np.prod([(1 - np.exp(-0.4)) / 0.4] * 7) + 20 * np.log(2) ** 7, rtol=1e-6)
    single = ChebTucker.fit(X.astype(np.float32), of_two_products(*X.T).astype(np.float32), domain=[(0, 1)] * 7, method="tt", tol=1e-5)
    assert single.core.dtype == np.float32
    np.testing.assert_allclose(single(T.astype(np.float32)), expected, rtol=2e-3)
    few = ChebTucker.from_function(of_two_products, [(0, 1)] * 7, max_evaluations=250, method="tt")
    assert few.n_evaluations == 250
    assert few.core.ranks == (2,) * 6
    assert np.abs(few(T) - expected).max() <= 20 * few.error_estimate * expected.max()


@pytest.mark.slow
def test_polynomial_chaos_takes_a_train_if_it_predicts_better(rng):
    inputs = [(0, 1)] * 5 + [stats.beta(2, 3), rng.random(500)]
    chaos = qf.cheb.PolynomialChaos.from_function(of_two_products, inputs, max_evaluations=250)
    assert chaos.degrees is None
    assert isinstance(chaos.coefficients, TensorTrain)
    assert "TensorTrain" in repr(chaos)
    means = [np.mean(np.exp(-0.4 * inputs[6])), np.mean(1 / (2 - inputs[6]))]
    exact = ((1 - np.exp(-0.4)) / 0.4) ** 5 * inputs[5].expect(lambda t: np.exp(-0.4 * t)) * means[0]
    exact += 20 * np.log(2) ** 5 * inputs[5].expect(lambda t: 1 / (2 - t)) * means[1]
    np.testing.assert_allclose(chaos.mean(), exact, rtol=1e-6)
    values = chaos.sample_output(20_000, rng=1)
    np.testing.assert_allclose(chaos.var(), values.var(), rtol=0.05)
    first, total = chaos.sobol()
    assert (first <= total + 1e-12).all()
    assert first.sum() < 1 < total.sum()
    X = rng.random((20, 7))
    again = pickle.loads(pickle.dumps(chaos))
    np.testing.assert_array_equal(again(X), chaos(X))
    slopes = [(chaos(X + 1e-6 * e) - chaos(X - 1e-6 * e)) / 2e-6 for e in np.eye(7)]
    np.testing.assert_allclose(chaos.value_and_grad(X)[1].T, slopes, rtol=1e-5, atol=1e-5)


def test_tensors_keep_their_graph(rng):
    torch = pytest.importorskip("torch")
    one, full = pair(rng)
    X = torch.tensor(points(rng, 7)[2:], requires_grad=True)
    moved = one.to(torch.float64)
    cores = [G.requires_grad_() for G in moved.core.cores]
    factors = [U.requires_grad_() for U in moved.factors]
    assert torch.autograd.gradcheck(
        lambda X, *parts: ChebTucker(TensorTrain(parts[:4]), parts[4:], DOMAIN).eval(X, 1), (X, *cores, *factors), fast_mode=True
    )
    np.testing.assert_allclose(moved(X).detach(), full(X.detach().numpy()), rtol=1e-12, atol=1e-12)
    number = (moved * moved + moved).norm() + moved.integrate() + moved.mean()
    number.backward()
    assert all(G.grad is not None and torch.isfinite(G.grad).all() for G in cores)
    expected = (full * full + full).norm() + full.integrate() + full.mean()
    np.testing.assert_allclose(float(number.detach()), expected, rtol=1e-9)
    with pytest.raises(NotImplementedError, match=r"cheb\.ChebTucker\.round"):
        moved.round(1e-3)


def test_bad_input(rng):
    one, full = pair(rng)
    cores = train(rng)
    check_rejected([
        (lambda: TensorTrain(cores[:2]), ValueError, r"cores have shapes .*, expected \(1, r_1, R_1\)"),
        (lambda: TensorTrain([]), ValueError, "cores: expected at least one array, got none"),
        (lambda: TensorTrain([cores[0].astype(np.float32), *cores[1:]]), TypeError, "expected the same library and dtype"),
        (lambda: ChebTucker(TensorTrain(cores), one.factors[:3], DOMAIN), ValueError, "core"),
        (lambda: one.plan(1e-6), NotImplementedError, r"cheb\.ChebTucker\.plan: the core is a tensor train"),
        (lambda: one + full, TypeError, "one core is a tensor train and the other an array"),
        (lambda: one(np.zeros((3, 4))), ValueError, r"X\[0, 2\] is 0, expected a number within the domain"),
        (lambda: one(np.full((1, 4), np.nan)), ValueError, r"X\[0, 0\] is nan"),
        (lambda: one(points(rng), backend="numba"), ValueError, "the core is a tensor train, expected 'array' or None"),
        (lambda: one.eval(points(rng), 3), ValueError, "order is 3"),
        (lambda: ChebTucker.from_function(np.add, [(0, 1)] * 2, n=3, method="tt"), ValueError, "got n and method='tt'"),
        (lambda: ChebTucker.fit(np.zeros((9, 3)), np.ones(9), n=2, method="tt"), ValueError, "got method='tt' and n"),
        (lambda: ChebTucker.from_function(np.add, [(0, 1)] * 2, method="train"), ValueError, "method is 'train'"),
    ])  # fmt: skip
