"""Results scale with the units of data and axes, up to the limits of floating-point numbers."""

import warnings

import numpy as np
import pytest

import quatrefoil as qf

ChebTucker = qf.cheb.ChebTucker
LENGTHS = (1e-250, 1e-170, 1e-12, 1e12, 1e160, 1e290)


def test_columns_and_weights_of_many_sizes(rng):
    """Terms whose factors overflow or underflow if they are multiplied in the wrong order."""
    X, w, factors = rng.uniform(-1, 1, (90, 3)), rng.standard_normal(4), [rng.standard_normal((m, 4)) for m in (6, 5, 4)]
    expected = ChebTucker.from_cp(w, factors, tol=1e-12)
    scales = np.array([[1e250, 1e-250, 1e160, 1.0], [1e200, 1e-200, 1e-160, 1e300], [1e-300, 1e300, 1e-250, 1e-290]])
    core, weights, columns = np.zeros((4, 4, 4)), w * np.array([1e-150, 1e150, 1e250, 1e-10]), [U * s for U, s in zip(factors, scales)]
    ct = ChebTucker.from_cp(weights, columns, tol=1e-12)
    assert ct.rank == expected.rank
    np.testing.assert_allclose(ct(X), expected(X), atol=1e-11)
    core[(np.arange(4),) * 3] = weights
    wild = ChebTucker(core, columns)
    np.testing.assert_allclose(wild.norm(), expected.norm(), rtol=1e-12)
    np.testing.assert_allclose(wild.round(1e-12)(X), expected(X), atol=1e-11)


def test_values_at_the_end_of_the_range(rng):
    """The sums from which coefficients are computed exceed the range of float64."""
    X = rng.uniform(-1, 1, (90, 2))
    for s, dtype in ((1.7e308, np.float64), (3e38, np.float32)):
        V = np.full((9, 8), s, dtype)
        np.testing.assert_allclose(ChebTucker.from_values(V)(X.astype(dtype)), dtype(s), rtol=1e-5)
        constant = ChebTucker.from_function(lambda x, y, s=s: np.full(np.broadcast(x, y).shape, s), ((-1, 1),) * 2)
        np.testing.assert_allclose(constant(X), s, rtol=1e-5)
        with pytest.raises(ValueError, match=r"the norm of C overflows float"):
            ChebTucker.from_coeffs(V)
        with pytest.raises(ValueError, match=r"from_cp: the norm of the coefficients overflows float"):
            ChebTucker.from_cp(V[0, :1], [V[:, :1], V[:, :1]])
    ct = ChebTucker.from_values(np.full(3, 1e-5))
    np.testing.assert_allclose((ct / 1e-310)(np.zeros((1, 1))), 1e305, rtol=1e-9)  # 1 / 1e-310 alone would overflow


def test_axes(rng):
    X = rng.uniform(-1, 1, (90, 2))
    for L in LENGTHS:
        print(L)
        plain = ChebTucker.from_function(lambda x, y: np.exp(x) * np.cos(y), ((-1, 1), (-1, 2)), tol=1e-12)
        ct = ChebTucker.from_function(lambda x, y, L=L: np.exp(x / L) * np.cos(y), ((-L, L), (-1, 2)), tol=1e-12)
        at = X * [L, 1]
        np.testing.assert_allclose(ct.value_and_grad(at)[1] * [L, 1], plain.value_and_grad(X)[1], atol=1e-11)
        np.testing.assert_allclose(ct.diff(0)(at) * L, plain.diff(0)(X), atol=1e-11)
        np.testing.assert_allclose(ct.integrate(0)(X[:, 1:]) / L, plain.integrate(0)(X[:, 1:]), atol=1e-12)
        np.testing.assert_allclose(ct.norm() / np.sqrt(L), plain.norm(), rtol=1e-12)
        x = np.linspace(-1, 1, 9)
        samples = [np.exp(np.outer(x, [1, 2])), np.cos(np.outer(x, [1, 2]))]
        splines = [ChebTucker.from_cp(np.ones(2), samples, grid=[x * s, x], domain=((-s, s), (-1, 1)), tol=1e-12).core for s in (1.0, L)]
        np.testing.assert_allclose(*splines, atol=1e-11)


def test_a_basis_beyond_the_range():
    basis = qf.cheb.orthopoly.from_samples(np.arange(9.0) * 1e300, 3)
    with pytest.raises(OverflowError, match=r"orthopoly.Basis: b is about .* squared, out of range for float64; scale the samples"):
        basis.b  # noqa: B018


TOO_SMALL = [
    (lambda V: qf.cheb.tucker(V, tol=1e-16), "cheb.tucker"),
    (lambda V: ChebTucker.from_values(V, tol=1e-16), "cheb.ChebTucker.from_values"),
    (lambda V: ChebTucker.from_coeffs(V, tol=1e-16), "cheb.ChebTucker.from_coeffs"),
    (lambda V: ChebTucker.from_cp(np.ones(5), [V, V], tol=1e-16), "cheb.ChebTucker.from_cp"),
    (lambda V: ChebTucker.fit(V, np.ones(6), n=1, tol=1e-16), "cheb.ChebTucker.fit"),
    (lambda V: ChebTucker.from_function(lambda x, y: x * y, ((0, 1), (0, 1)), tol=1e-16), "cheb.ChebTucker.from_function"),
    (lambda V: ChebTucker.from_function(lambda x, y: x * y, ((0, 1), (0, 1)), n=3, tol=1e-16), "cheb.ChebTucker.from_function"),
    (lambda V: ChebTucker.from_coeffs(V).round(1e-16), "cheb.ChebTucker.round"),
    (lambda V: qf.cheb.potential(V[:, :3], V[:, 0], n=9, domain=(-1, 1), tol=1e-16), "cheb.potential"),
]


def test_one_warning_of_a_tolerance_that_is_too_small():
    for call, label in TOO_SMALL:
        print(label)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call(np.random.default_rng(0).uniform(-1, 1, (6, 5)))
        assert [str(w.message).partition(" is below")[0] for w in caught] == [f"{label}: tol = 1e-16"]
        assert caught[0].filename == __file__
