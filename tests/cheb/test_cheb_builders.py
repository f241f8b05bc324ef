"""Tensors from canonical sums and from scattered samples, and plots of them."""

import itertools
import pickle

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.interpolate import CubicSpline

import quatrefoil as qf
from cheb.particles.cases import relative
from cheb.tucker.oracle import full
from checks import changed, check_rejected
from quatrefoil.cheb.models import canonical, leastsquares

ChebTucker = qf.cheb.ChebTucker


def dense(weights, factors):
    letters = "abcdef"[: len(factors)]
    return np.einsum(f"r,{','.join(c + 'r' for c in letters)}->{letters}", weights, *factors, optimize=True)


def dense_of(ct):
    return full(ct.core, ct.factors)


def test_canonical_sums(rng):
    sizes = ((20, 17, 23), 6), ((8, 9, 7), 200), ((30,), 4), ((25, 31), 40), ((5, 4, 6, 3), 3), ((1, 1, 9), 5)
    for tol, (n, R) in itertools.product((1e-3, 1e-7, 1e-12), sizes):
        print(n, R, tol)
        weights = rng.standard_normal(R) * 10.0 ** rng.uniform(-8, 2, R)
        factors = [rng.standard_normal((m, R)) * 0.7 ** np.arange(m)[:, None] for m in n]
        ct = ChebTucker.from_cp(weights, factors, domain=(0, 3), tol=tol)
        expected = dense(weights, factors)
        assert relative(dense_of(ct), expected) <= tol
        assert ct.domain == ((0.0, 3.0),) * len(n)
        # the ranks of the full array, or one more if a singular value is at the tolerance
        best = qf.cheb.tucker(expected, tol=tol).core.shape
        assert all(r <= b + 1 for r, b in zip(ct.rank, best))
        for U in ct.factors:
            np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-13)


def test_terms_that_cancel(rng):
    """The sum is 1e-6 of its terms; the tolerance is relative to the sum."""
    R = 5
    U, V, W = (rng.standard_normal((m, R)) * 0.7 ** np.arange(m)[:, None] for m in (20, 21, 22))
    moved = V + 1e-6 * rng.standard_normal(V.shape)
    weights = np.concatenate([np.ones(R), -np.ones(R)])
    factors = [np.hstack([U, U]), np.hstack([moved, V]), np.hstack([W, W])]
    expected = dense(np.ones(R), [U, moved - V, W])
    for tol in (1e-3, 1e-8):
        ct = ChebTucker.from_cp(weights, factors, tol=tol)
        assert relative(dense_of(ct), expected) <= tol + 1e-9  # 1e-16 of the terms is 1e-10 of the sum
        assert max(ct.rank) <= R
    nothing = ChebTucker.from_cp(weights, [np.hstack([U, U]), np.hstack([V, V]), np.hstack([W, W])], tol=1e-8)
    assert np.linalg.norm(dense_of(nothing)) < 1e-14 * np.linalg.norm(dense(np.ones(R), [U, V, W]))


def test_in_blocks(rng, monkeypatch):
    weights, factors = rng.standard_normal(53), [rng.standard_normal((m, 53)) for m in (6, 7, 8)]  # the last block is shorter
    expected = dense_of(ChebTucker.from_cp(weights, factors, tol=1e-12))
    monkeypatch.setattr(canonical, "BLOCK", 600)
    np.testing.assert_allclose(dense_of(ChebTucker.from_cp(weights, factors, tol=1e-12)), expected, atol=1e-10)


def test_nothing(rng):
    for weights in (np.zeros(0), np.zeros(3)):
        ct = ChebTucker.from_cp(weights, [rng.standard_normal((m, weights.size)) for m in (4, 5)])
        assert ct.rank == (1, 1)
        assert ct.n == (4, 5)
        assert not ct.core.any()


def test_samples_on_a_grid(rng):
    """Splines are evaluated at Chebyshev points, including those beyond the first and last sample."""
    x = [np.linspace(-0.95, 0.93, m) + rng.uniform(-0.3, 0.3, m) / m for m in (30, 25)]
    values = [np.stack([np.sin(3 * p), np.exp(p)], axis=1) for p in x]
    weights = np.array([1.0, 0.5])
    ct = ChebTucker.from_cp(weights, values, grid=x, n=(17, 19), tol=1e-12)
    nodes = qf.cheb.chebpts((17, 19))
    expected = dense(weights, [CubicSpline(p, v)(t) for p, v, t in zip(x, values, nodes)])
    np.testing.assert_allclose(ct.grid(*nodes), expected, atol=1e-11)
    assert ChebTucker.from_cp(weights, values, grid=x).n == (30, 25)


def vandermonde(X, n):
    V = np.ones((len(X), 1))
    for x, m in zip(X.T, n):
        V = (V[:, :, None] * chebyshev.chebvander(x, m - 1)[:, None]).reshape(len(X), -1)
    return V


@pytest.mark.filterwarnings("ignore:.*held-out samples")  # the samples are noise
def test_least_squares(rng, monkeypatch):
    for block, n in itertools.product([None, 300], [(7,), (4, 5), (3, 1, 4), (2, 2, 2, 2)]):
        print(block, n)
        if block:
            monkeypatch.setattr(leastsquares, "BLOCK", block)
        X, y, w = rng.uniform(-1, 1, (400, len(n))), rng.standard_normal(400), rng.uniform(0, 2, 400)
        X[:2], w[2:50] = [[-1], [1]], 0  # the ends are treated as inside
        for weights in (None, w):
            root = np.ones(400) if weights is None else np.sqrt(weights)
            expected = np.linalg.lstsq(vandermonde(X, n) * root[:, None], y * root)[0].reshape(n)
            ct = ChebTucker.fit(X, y, n=n, domain=(-1, 1), weights=weights, tol=1e-13)
            np.testing.assert_allclose(dense_of(ct), expected, atol=1e-11)


def test_fits_without_n(rng):
    for name, f, d, noise, floor in [
        ("d = 1", lambda x: 1 / (1 + 4 * x * x), 1, 0, 1e-9),
        ("d = 3", lambda x, y, z: np.sin(3 * x) * y + z**2, 3, 0, 1e-3),
        ("d = 6", lambda *x: np.exp(sum(x) / 3), 6, 0, 0.02),
        ("few values", lambda x, y, z: np.sin(3 * x) * y + z, 3, 0, 1e-3),
        ("noise", lambda x, y: np.sin(3 * x) * y, 2, 0.1, 0.1),
        ("offset", lambda x, y: 1e6 + x * y, 2, 0, 1e-9),
    ]:
        print(name)
        X, new = rng.uniform(3, 5, (500, d)), rng.uniform(3, 5, (500, d))
        if name == "few values":
            X[:, 1], X[:, 2] = np.round(X[:, 1]), 4
            new[:, 1:] = X[:, 1:]
        truth, y = (f(*(p - 4).T) + noise * rng.standard_normal(500) for p in (new, X))
        ct = ChebTucker.fit(X, y)
        np.testing.assert_array_equal(ct.domain[0], [X[:, 0].min(), X[:, 0].max()])
        missed = (ct.eval(new, extrapolate=True) - truth).std() / y.std()
        assert missed < floor + 1.5 * noise / y.std()
        assert 0.5 * ct.error_estimate - 1e-9 < missed < 2 * ct.error_estimate
        assert pickle.loads(pickle.dumps(ct)).error_estimate == ct.error_estimate


def test_the_held_out_error(rng):
    X, w = rng.uniform(-1, 1, (40, 2)), rng.uniform(0.5, 2, 40)
    y = np.exp(X[:, 0] * X[:, 1])
    missed = np.empty(40)
    for i in range(40):
        others = np.arange(40) != i
        fitted = ChebTucker.fit(X[others], y[others], n=(2, 3), domain=(-1, 1), weights=w[others], tol=1e-14)
        missed[i] = fitted(*X[i]) - y[i]
    mean = (w @ y) / w.sum()
    expected = np.sqrt((w @ missed**2) / (w @ (y - mean) ** 2))
    ct = ChebTucker.fit(X, y, n=(2, 3), domain=(-1, 1), weights=w)
    np.testing.assert_allclose(ct.error_estimate, expected, rtol=1e-10)


def test_fits_that_are_doubtful(rng):
    X = rng.uniform(-1, 1, (100, 2))
    noise, smooth = rng.standard_normal(100), X[:, 0] * X[:, 1]
    for call, text in [
        (lambda: ChebTucker.fit(X, noise), "1 coefficients from 100 samples miss held-out samples by 1 standard .*; use more samples"),
        (lambda: ChebTucker.fit(X, noise, n=5), "25 coefficients from 100 samples miss held-out samples .*; use a smaller n, or omit n"),
        (lambda: ChebTucker.fit(X, smooth + 0.1 * noise, n=9), "81 coefficients from 100 samples miss held-out samples"),
        (lambda: ChebTucker.fit(X[:4], smooth[:4], n=2), "4 coefficients from 4 samples miss held-out samples by inf"),
        (lambda: ChebTucker.fit(X[:5], smooth[:5], n=2), "4 coefficients from 5 samples are nearly as many"),
    ]:
        with pytest.warns(RuntimeWarning, match=text) as caught:
            call()
        assert caught[0].filename == __file__


X, Y = np.linspace(-1, 1, 20).reshape(10, 2), np.ones(10)
W, F = np.ones(2), [np.ones((4, 2)), np.ones((5, 2))]


BAD = [
    (lambda: ChebTucker.from_cp(W, F[0]), TypeError, "from_cp: factors: expected a list or tuple"),
    (lambda: ChebTucker.from_cp(W, [F[0], np.ones((5, 3))]), ValueError, "has shape"),
    (lambda: ChebTucker.from_cp(W * 1j, F), TypeError, "weights has dtype complex128"),
    (lambda: ChebTucker.from_cp(changed(W, 1, np.nan), F), ValueError, r"weights\[1\] is nan"),
    (lambda: ChebTucker.from_cp(W, [F[0], F[1][:0]]), ValueError, "factors.1. has shape .* at least one coefficient"),
    (lambda: ChebTucker.from_cp(W, F, domain=(1, 0)), ValueError, "domain of axis 0"),
    (lambda: ChebTucker.from_cp(W, F, n=9), ValueError, "n requires grid="),
    (lambda: ChebTucker.from_cp(W, F, grid=[np.arange(4.0)]), ValueError, "grid has 1 entries, expected 2"),
    (lambda: ChebTucker.from_cp(W, F, grid=[np.arange(4.0)] * 2), ValueError, r"grid\[1\] has shape \(4,\), expected \(5,\)"),
    (lambda: ChebTucker.from_cp(W, F, grid=[-np.arange(4.0), np.arange(5.0)]), ValueError, r"grid\[0\] must be strictly increasing"),
    (lambda: ChebTucker.from_cp(W, F, grid=[changed(np.arange(4.0), 1, np.nan), np.arange(5.0)]), ValueError, r"grid\[0\]\[1\] is nan"),
    (lambda: ChebTucker.from_cp(W, F, grid=[np.arange(4.0), np.arange(5.0)], n=0), ValueError, "n is 0, expected at least 1"),
    (lambda: ChebTucker.fit(X, Y[:9], n=1), ValueError, "y has shape"),
    (lambda: ChebTucker.fit(X.T, Y), ValueError, r"X has shape \(2, 10\) for 10 samples, expected one point per row: np.transpose\(X\)"),
    (lambda: ChebTucker.fit(X, Y, n=4), ValueError, "X has 10 points, expected at least 16"),
    (lambda: ChebTucker.fit(X, Y, n=(1, 1, 1)), ValueError, "n has 3 entries, expected 2"),
    (lambda: ChebTucker.fit(changed(X, 1, np.nan), Y, n=1), ValueError, r"X\[1, 0\] is nan"),
    (lambda: ChebTucker.fit(2 * X, Y, n=1, domain=(-1, 1.5)), ValueError, "point 0 of axis 0 is -2"),
    (lambda: ChebTucker.fit(X, Y, n=1, weights=changed(Y, 1, np.nan)), ValueError, r"weights\[1\] is nan"),
    (lambda: ChebTucker.fit(X, Y, n=1, weights=-Y), ValueError, r"weights\[0\] is -1.0, expected a nonnegative number"),
    (lambda: ChebTucker.fit([None] * 10, Y, n=1), TypeError, "X is None, expected a list or array"),
    (lambda: ChebTucker.fit(X, Y, n=3), np.linalg.LinAlgError, "9 coefficients are not determined by these 10 points"),
    (lambda: ChebTucker.fit(X, Y, n=1, weights=0 * Y), np.linalg.LinAlgError, "not determined"),
]


@pytest.mark.torch
def test_tensors_give_tensors(rng):
    torch = pytest.importorskip("torch")
    factors = [torch.tensor(rng.standard_normal((m, 3))) for m in (4, 5)]
    assert isinstance(ChebTucker.from_cp(torch.ones(3, dtype=torch.float64), factors).core, torch.Tensor)
    assert isinstance(ChebTucker.fit(torch.tensor(X[:, :1]), torch.tensor(Y), n=2).core, torch.Tensor)
    with pytest.raises(NotImplementedError, match="no gradient with respect to weights"):
        ChebTucker.from_cp(torch.ones(3, dtype=torch.float64, requires_grad=True), factors)
    with pytest.raises(NotImplementedError, match="no gradient with respect to y"):
        ChebTucker.fit(torch.tensor(X), torch.tensor(Y, requires_grad=True), n=2)


def test_pictures():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ct = ChebTucker.from_function(lambda x, y, z: x * np.exp(y) + z, ((0, 1), (2, 3), (-1, 1)))
    try:
        ax = ct.plot(points=11)
        shown = ax.collections[0].get_array()
        x, y = np.linspace(0, 1, 11), np.linspace(2, 3, 11)
        np.testing.assert_allclose(np.ravel(shown), np.ravel(x * np.exp(y[:, None])), atol=1e-8)  # rows go upwards; z is in the middle
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x_1", "x_2")
        transposed = ct.plot(axes=(2, 0), at=[2.5], points=11).collections[0].get_array()
        np.testing.assert_allclose(np.ravel(transposed), np.ravel(x[:, None] * np.exp(2.5) + np.linspace(-1, 1, 11)), atol=1e-8)
        line = ct.plot(plt.figure().add_subplot(), axes=-1, at=(0.5, 2), points=7, color="red").lines[0]
        np.testing.assert_allclose(line.get_ydata(), 0.5 * np.exp(2) + np.linspace(-1, 1, 7), atol=1e-8)
        assert line.get_color() == "red"
        assert len(ChebTucker.from_function(np.sin, (0, 1)).plot().lines) == 1
        wrong = {"axes": (0, 0)}, {"at": [1, 2]}, {"points": 1}, {"at": 7}
        texts = "distinct", "at has 2 numbers, expected 1", "points is 1", "point 0 of axis 2 is 7"
        check_rejected([(lambda w=w: ct.plot(**w), ValueError, text) for w, text in zip(wrong, texts)])
    finally:
        plt.close("all")
