import functools

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

from checks import check_rejected
from kron.dense import close, normal, positive, smooth, with_eigenvalues
from quatrefoil import use_backend
from quatrefoil._backends import native
from quatrefoil._call import call
from quatrefoil._memo import Memo
from quatrefoil.kron import KroneckerOperator, gp_solve, sum_solve
from quatrefoil.kron.product import MATVEC


def square_factors(rng, *sizes):
    return [rng.standard_normal((n, n)) + 3 * np.eye(n) for n in sizes]


@pytest.mark.parametrize(
    "shapes", [[(3, 4), (5, 2)], [(6, 6)], [(2, 2), (4, 4), (3, 3)], [(1, 7), (4, 1), (2, 3)], [(8, 8), (8, 8), (8, 8)]]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_operator_products(backend, rng, shapes, dtype, precision):
    """The result has the precision of the factors or of the argument, whichever is higher."""
    factors = [f.astype(dtype) for f in normal(rng, *shapes)]
    K = KroneckerOperator(factors)
    dense = functools.reduce(np.kron, [f.astype(np.float64) for f in factors])
    M, N = dense.shape
    x, y, X, Y = (a.astype(precision) for a in normal(rng, N, M, (N, 5), (M, 5)))
    wide = np.result_type(dtype, precision)
    assert isinstance(K, LinearOperator)
    assert K.shape == (M, N)
    assert K.dtype == dtype
    of_x, of_y = np.empty(M, wide), np.empty(N, wide)
    assert K.matvec(x, out=of_x) is of_x
    assert K.rmatvec(y, out=of_y) is of_y
    for got, expected in [
        (of_x, dense @ x),
        (K @ x, dense @ x),
        (K.matmat(x[:, None]), dense @ x[:, None]),
        (K @ X, dense @ X),
        (K.matmat(X), dense @ X),
        (of_y, dense.T @ y),
        (K.rmatmat(Y), dense.T @ Y),
        (K.T @ y, dense.T @ y),
        (K.H @ Y, dense.T @ Y),
        (K.T.T @ x, dense @ x),
        ((2 * K + K) @ x, 3 * (dense @ x)),
        (K @ X[:, :0], dense @ X[:, :0]),
    ]:
        assert got.dtype == wide
        close(got, expected, 64, wide)
    for got, expected in ((K.to_dense(), dense), (K.T.to_dense(), dense.T)):
        assert got.dtype == dtype
        close(got, expected, 64, dtype)
    assert K.T.T is K


def test_operator_packs_once_per_direction(rng):
    if native.reason():
        pytest.skip("no compiled kernels")
    K = KroneckerOperator(normal(rng, (3, 4), (5, 2)))
    x, y = normal(rng, 8, 15)
    packed = lambda: [memo._now[1] for (memo,) in (K._forward, K._backward)]  # noqa: E731
    with use_backend("numba"):
        _ = K @ x
    assert packed() == [None, None]
    with use_backend("native"):
        first, output, again = [K @ x, K.rmatvec(y), K.T @ y], packed(), [K @ x, K.rmatvec(y), K.T @ y]
    assert packed() == output
    for a, b in zip([*again, first[2]], [*first, first[1]]):
        np.testing.assert_array_equal(a, b)


def test_foreign_memos_are_rejected(rng):
    if native.reason():
        pytest.skip("no compiled kernels")
    A, x = normal(rng, (4, 4), 4)
    plan = native.core().kron.Plan([A], True)
    for output, error, text in (("packed", TypeError, r"kron\.matvec: packed is str"), (plan, ValueError, "opposite value of transpose")):
        with pytest.raises(error, match=text):
            call(MATVEC, (A, x), (), (Memo(output, "native", [A]),), None, "native")
    single = Memo(native.core().kron.Plan([A.astype(np.float32)], False), "native", [A])
    with pytest.raises(TypeError, match="float32"):
        call(MATVEC, (A, x), (), (single,), None, "native")


@pytest.mark.parametrize("columns", [(), (1,), (4,), (0,)])
def test_solve(backend, rng, columns):
    for factors, noises in ((square_factors(rng, 7, 1, 6, 4), [0.0]), ([smooth(6, 0.3), smooth(9, 0.2), smooth(4, 5.0)], [1e-3, 0.5, 20])):
        K, dense = KroneckerOperator(factors), functools.reduce(np.kron, factors)
        y = rng.standard_normal((len(dense), *columns))
        before = y.copy()
        for noise in noises:
            close(K.solve(y, noise), np.linalg.solve(dense + noise * np.eye(len(dense)), y), 1e5)
        np.testing.assert_array_equal(y, before)
        if not noises[0]:
            close(K.T.solve(y), np.linalg.solve(dense.T, y), 1e5)


def test_solve_in_float32(backend, rng):
    factors = [smooth(n, 0.3).astype(np.float32) for n in (6, 5)]
    K, y = KroneckerOperator(factors), rng.standard_normal(30).astype(np.float32)
    for noise in (0.1, 0.0):
        got = K.solve(y, noise)
        assert got.dtype == np.float32
        close(got, np.linalg.solve(np.kron(*[f.astype(float) for f in factors]) + noise * np.eye(30), y), 1e3, np.float32)
    assert K.solve(y.astype(np.float64), 0.1).dtype == np.float64


def test_logdet_of_tiny_eigenvalues(rng):
    """Eigenvalues far below 1e-7: clamping them to that would change log det by hundreds."""
    spectra = [np.logspace(-12, 0, 8), np.logspace(-9, 2, 5)]
    factors = [with_eigenvalues(rng, *s) for s in spectra]
    expected = 5 * np.log(spectra[0]).sum() + 8 * np.log(spectra[1]).sum()
    # the smallest of the eight eigenvalues has a relative error of eps / 1e-12 = 2e-4
    assert abs(KroneckerOperator(factors).logdet() - expected) <= 0.05


def test_logdet_sign(rng):
    flip = np.diag([-1.0, 1.0])
    assert KroneckerOperator([flip, np.eye(2)]).logdet() == pytest.approx(0.0)  # (-1)^2
    assert KroneckerOperator([np.array([[0.0, 1.0], [-1.0, 0.0]]), np.eye(3)]).logdet() == pytest.approx(0.0)
    with pytest.raises(np.linalg.LinAlgError, match="negative"):
        KroneckerOperator([flip, np.eye(3)]).logdet()


def test_empty_operator(backend):
    K = KroneckerOperator([np.zeros((0, 0)), np.eye(3)])
    assert (K @ np.zeros(0)).shape == (0,)
    assert K.solve(np.zeros(0)).shape == (0,)
    assert K.solve(np.zeros((0, 2)), 1.0).shape == (0, 2)
    assert K.logdet() == 0.0
    assert K.logdet(1.0) == 0.0
    assert K.diagonal().shape == (0,)


def test_singular_factors(rng):
    ones = np.ones((3, 3))
    flat = smooth(60, 0.5)  # a condition number above 1 / eps
    y = np.ones(180)
    for bad, text in ((ones, "pivot"), (flat, "working precision")):
        K = KroneckerOperator([np.eye(180 // len(bad)), bad])
        for run in (lambda K=K: K.solve(y), K.logdet):
            with pytest.raises(np.linalg.LinAlgError, match=rf"factors\[1\] is singular.*{text}"):
                run()
        assert np.isfinite(K.solve(y, 0.1)).all()
        assert np.isfinite(K.logdet(0.1))


def test_negative_eigenvalues(rng):
    K = KroneckerOperator([np.eye(2), np.array([[1.0, 2.0], [2.0, 1.0]])])
    for run in (lambda: K.solve(np.ones(4), 0.5), lambda: K.logdet(0.5)):
        with pytest.raises(np.linalg.LinAlgError, match=r"factors\[1\] is not positive semidefinite .*-1"):
            run()
    lam, _ = K.eigh()  # does not clamp
    assert lam.min() == pytest.approx(-1)
    close(K.solve(np.ones(4)), np.linalg.solve(K.to_dense(), np.ones(4)))


def test_rejected():
    A = np.arange(9.0).reshape(3, 3)
    K, y, broken = KroneckerOperator([A, A]), np.zeros(9), KroneckerOperator([np.full((2, 2), np.nan)])
    check_rejected([
        (lambda: KroneckerOperator([A, np.eye(2, dtype=int)]), TypeError, r"factors\[1\] has dtype int64, expected float32 or float64"),
        (lambda: KroneckerOperator([A.tolist()]), TypeError, r"factors\[0\] is list, expected a NumPy, PyTorch, CuPy or JAX array of"),
        (lambda: KroneckerOperator([A, A.astype(np.float32)]), TypeError, r"factors\[1\] has dtype float32"),
        (lambda: KroneckerOperator([A[0]]), ValueError, r"factors\[0\] has shape \(3,\), expected \(m_1, n_1\)"),
        (lambda: KroneckerOperator([]), ValueError, "at least one"),
        (lambda: KroneckerOperator([A, A], 0.1), TypeError, r"one list, .*K.solve\(y, noise=0.1\)"),
        (lambda: KroneckerOperator(A, A), TypeError, r"pass the factors as one list, KroneckerOperator\(\[K1, K2\]\)"),
        (lambda: KroneckerOperator([A], noise=0.1), TypeError, r"no argument 'noise'; pass noise to the methods"),
        *[(call, TypeError, r"K.solve\(y, noise=0.1\)") for call in (lambda: K + 0.1, lambda: 0.1 + K)],
        (lambda: K @ (y + 0j), TypeError, "complex128"),
        (lambda: K @ y[:8], ValueError, r"(?i)dimension mismatch"),
        (lambda: K.matvec(y, out=np.empty(10)), ValueError, "out has shape"),
        (lambda: K.matvec(y[:, None], out=np.empty(9)), ValueError, "x has shape"),
        (lambda: K.solve(y[:8]), ValueError, r"expected \(9,\)"),
        (lambda: K.solve(y.astype(int)), TypeError, r"solve: y has dtype int64"),
        (lambda: K.solve(y, 0.1), ValueError, "not symmetric"),
        (K.eigh, ValueError, "not symmetric"),
        *[(lambda bad=bad: K.solve(y, bad), ValueError, r"solve: noise") for bad in (-0.1, np.nan, np.inf)],
        *[(lambda bad=bad: K.logdet(bad), ValueError, r"logdet: noise") for bad in (-0.1, np.nan, np.inf)],
        *[(lambda bad=bad: K.logdet(bad), TypeError, "noise") for bad in ("0.1", True, None, 1j, np.zeros(9))],
        *[(call, ValueError, "NaN") for call in (lambda: broken.solve(y[:2]), broken.logdet, lambda: broken.logdet(1.0), broken.eigh)],
        (lambda: KroneckerOperator([np.ones((2, 3))]).solve(y[:2]), ValueError, "square"),
        (KroneckerOperator([np.eye(2), np.ones((2, 3))]).diagonal, ValueError, r"factors\[1\] has shape \(2, 3\), expected a square"),
    ])  # fmt: skip


@pytest.mark.parametrize("count", [1, 2])
def test_nobody_writes_to_an_operator(rng, count):
    factors = [rng.standard_normal((3, 3)) for _ in range(count)]
    K, x = KroneckerOperator(factors), rng.standard_normal(3**count)
    expected = K @ x
    for array in (*factors, K.to_dense(), K.diagonal(), K.T.to_dense(), K[0], K[...]):
        array[...] = 7
    np.testing.assert_array_equal(K @ x, expected)
    for operator in (K, 2 * K, K @ K, K.inverse()):
        with pytest.raises(ValueError, match="read-only"):
            operator.factors[0][...] = 7


SYMMETRIC = {
    "operator": lambda K, y: KroneckerOperator([K]).solve(y, 1.0),
    "process": lambda K, y: gp_solve([K], y, 1.0),
    "two terms": lambda K, y: sum_solve(K, K[-1:, -1:], np.eye(len(K), dtype=K.dtype), K[-1:, -1:], y[:, None])[:, 0],
}


@pytest.mark.parametrize("call", SYMMETRIC)
@pytest.mark.parametrize("n", [2, 5, 8, 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_bound_for_asymmetry(rng, call, n, dtype):
    """max(n, 8) eps of the largest entry is accepted as rounding; slightly more raises."""
    K, y = np.eye(n, dtype=dtype), rng.standard_normal(n).astype(dtype)
    bound = max(n, 8) * float(np.finfo(dtype).eps)
    K[0, 1] = bound
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(SYMMETRIC[call](K, y), y / 2, atol=2 * bound * np.abs(y).max() + 4 * eps)
    K[0, 1] = 1.01 * bound
    with pytest.raises(ValueError, match="is not symmetric"):
        SYMMETRIC[call](K, y)


def exact_logdet(factors, noise):
    """log det from the logarithms of the eigenvalues, in extended precision."""
    logs = functools.reduce(np.add.outer, [np.log(np.linalg.eigvalsh(f).astype(np.longdouble)) for f in factors])
    return float(np.logaddexp(logs, np.log(np.longdouble(noise))).sum())


SCALES = [(1e200, 1e200), (1e-200, 1e-200), (1e200, 1e200, 1e-300), (1e-300, 1e200, 1e200), (1e-200, 1e-200, 1e300), (1e300, 1e-300)]


@pytest.mark.parametrize("scales", SCALES)
def test_logdet_with_products_out_of_range(rng, scales):
    factors = [s * f for s, f in zip(scales, positive(rng, 3, 4, 2))]
    for noise in (1e-300, 1.0, 1e300):
        assert KroneckerOperator(factors).logdet(noise) == pytest.approx(exact_logdet(factors, noise), rel=1e-12, abs=1e-12)


def test_logdet_of_single_precision(rng):
    factors = [f.astype(np.float32) * np.float32(1e30) for f in positive(rng, 3, 4, *[2] * 9)]
    assert KroneckerOperator(factors).logdet(1.0) == pytest.approx(exact_logdet(factors, 1.0), rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 1e80])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1)])
def test_solve_and_eigenvalues_with_partial_products_out_of_range(rng, order, noise):
    plain = positive(rng, 3, 4, 2)
    factors = [plain[i] * np.array([2.0**700, 2.0**600, 2.0**-1000])[i] for i in order]
    one, y = KroneckerOperator([plain[i] for i in order]), rng.standard_normal(24)
    K = KroneckerOperator(factors)
    np.testing.assert_allclose(K.solve(y, noise) * 2.0**300, one.solve(y, noise / 2.0**300), rtol=1e-10)
    np.testing.assert_allclose(K.eigh()[0], one.eigh()[0] * 2.0**300, rtol=1e-12)


def test_no_bit_changes_in_range(rng):
    factors = positive(rng, 3, 4, 2)
    K, y = KroneckerOperator(factors), rng.standard_normal(24)
    lam = functools.reduce(lambda a, b: (a[:, None] * b).reshape(-1), [np.linalg.eigh(f)[0] for f in factors])
    np.testing.assert_array_equal(K.eigh()[0], lam)
    assert K.logdet(0.5) == float(np.log(np.maximum(lam, 0) + 0.5).sum())
    scaled = KroneckerOperator([f * 2.0**300 for f in factors]).solve(y)
    np.testing.assert_array_equal(scaled * 2.0**450 * 2.0**450, K.solve(y))
