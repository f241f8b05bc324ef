import functools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, cg

from quatrefoil import use_backend
from quatrefoil._backends import native
from quatrefoil._dispatch import call
from quatrefoil._memo import Memo
from quatrefoil.kron import KroneckerOperator
from quatrefoil.kron.product import MATVEC

EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def close(got, expected, k=64, dtype=np.float64):
    """To k roundings of the largest value: sums of a few dozen terms round a few times each, and factors multiply."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= k * EPS[dtype] * max(np.abs(expected).max(initial=0), 1e-300)


def normal(rng, *shapes):
    return [rng.standard_normal(s) for s in shapes]


def kernel(n, scale, jitter=0.0):
    """A smooth kernel on n points: symmetric, positive, ill-conditioned for a large scale."""
    x = np.linspace(0, 1, n)
    return np.exp(-0.5 * ((x[:, None] - x) / scale) ** 2) + jitter * np.eye(n)


def square_factors(rng, *sizes):
    return [rng.standard_normal((n, n)) + 3 * np.eye(n) for n in sizes]


def positive_factors(rng, *sizes):
    return [(lambda a: a @ a.T / n + 0.1 * np.eye(n))(rng.standard_normal((n, n))) for n in sizes]


@pytest.mark.parametrize(
    "shapes", [[(3, 4), (5, 2)], [(6, 6)], [(2, 2), (4, 4), (3, 3)], [(1, 7), (4, 1), (2, 3)], [(8, 8), (8, 8), (8, 8)]]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operator_products(backend, rng, shapes, dtype):
    factors = [f.astype(dtype) for f in normal(rng, *shapes)]
    K = KroneckerOperator(factors)
    dense = functools.reduce(np.kron, [f.astype(np.float64) for f in factors])
    M, N = dense.shape
    x, y, X, Y = (a.astype(dtype) for a in normal(rng, N, M, (N, 5), (M, 5)))
    assert isinstance(K, LinearOperator)
    assert K.shape == (M, N)
    assert K.dtype == dtype
    for got, expected in [
        (K @ x, dense @ x),
        (K.matmat(x[:, None]), dense @ x[:, None]),
        (K @ X, dense @ X),
        (K.matmat(X), dense @ X),
        (K.rmatvec(y), dense.T @ y),
        (K.rmatmat(Y), dense.T @ Y),
        (K.T @ y, dense.T @ y),
        (K.H @ Y, dense.T @ Y),
        (K.T.T @ x, dense @ x),
        (K.to_dense(), dense),
        (K.T.to_dense(), dense.T),
        ((2 * K + K) @ x, 3 * (dense @ x)),
        (K @ X[:, :0], dense @ X[:, :0]),
    ]:
        assert got.dtype == dtype
        close(got, expected, 64, dtype)
    assert K.T.T is K


def test_operator_keeps_the_wider_precision(backend, rng):
    factors = normal(rng, (3, 3), (4, 4))
    narrow = [f.astype(np.float32) for f in factors]
    x = rng.standard_normal(12)
    assert (KroneckerOperator(factors) @ x.astype(np.float32)).dtype == np.float64
    got = KroneckerOperator(narrow) @ x
    assert got.dtype == np.float64
    close(got, np.kron(*[f.astype(np.float64) for f in narrow]) @ x)


def test_operator_copies_its_factors(backend, rng):
    A = rng.standard_normal((4, 4))
    K = KroneckerOperator([A, A])
    x = rng.standard_normal(16)
    before = K @ x
    A[...] = 0
    np.testing.assert_array_equal(K @ x, before)
    with pytest.raises(ValueError, match="read-only"):
        K.factors[0][0, 0] = 1


def test_operator_packs_once_a_direction(rng):
    if native.reason():
        pytest.skip("no compiled part")
    K = KroneckerOperator(normal(rng, (3, 4), (5, 2)))
    x, y = normal(rng, 8, 15)
    with use_backend("numba"):
        _ = K @ x
    assert [memo._now[1] for (memo,) in (K._forward, K._backward)] == [None, None]
    with use_backend("native"):
        first = [K @ x, K.rmatvec(y), K.T @ y]
        made = [memo._now[1] for (memo,) in (K._forward, K._backward)]
        again = [K @ x, K.rmatvec(y), K.T @ y]
    assert [memo._now[1] for (memo,) in (K._forward, K._backward)] == made
    for a, b in zip([*again, first[2]], [*first, first[1]]):
        np.testing.assert_array_equal(a, b)


def test_foreign_memos_are_refused(rng):
    if native.reason():
        pytest.skip("no compiled part")
    A, x = normal(rng, (4, 4), 4)
    plan = native.core().kron.Plan([A], True)
    for made, error, text in (("packed", TypeError, r"kron\.matvec: packed is str"), (plan, ValueError, "other direction")):
        with pytest.raises(error, match=text):
            call(MATVEC, (A, x), (), (Memo(made, "native", [A]),), None, "native")
    single = Memo(native.core().kron.Plan([A.astype(np.float32)], False), "native", [A])
    with pytest.raises(TypeError, match="float32"):
        call(MATVEC, (A, x), (), (single,), None, "native")


def test_operator_out(backend, rng):
    K = KroneckerOperator(normal(rng, (3, 4), (5, 2)))
    x, y = normal(rng, 8, 15)
    for multiply, given, size in ((K.matvec, x, 15), (K.rmatvec, y, 8)):
        out = np.full(size, np.nan)
        assert multiply(given, out=out) is out
        np.testing.assert_array_equal(out, multiply(given))
        with pytest.raises(ValueError, match="out has shape"):
            multiply(given, out=np.empty(size + 1))
        with pytest.raises(ValueError, match="x has shape"):
            multiply(given[:, None], out=np.empty(size))
    with pytest.raises(TypeError, match="out has dtype float32"):
        K.matvec(x, out=np.empty(15, np.float32))


def test_operator_pickles(rng):
    K = KroneckerOperator(normal(rng, (3, 4), (5, 2)), num_threads=2)
    x = rng.standard_normal(8)
    _ = K @ x
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(K)) @ x, K @ x)


def test_operator_in_several_threads_at_once(rng):
    K = KroneckerOperator(square_factors(rng, 30, 30, 30))
    x = rng.standard_normal((8, 27000))
    results = [None] * 8

    def run(i):
        for _ in range(5):
            results[i] = K @ x[i]

    workers = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    for i in range(8):
        np.testing.assert_array_equal(results[i], K @ x[i])


def test_operator_in_scipy_cg(backend, rng):
    K = KroneckerOperator(positive_factors(rng, 9, 7, 5))
    b = rng.standard_normal(315)
    x, info = cg(K, b, rtol=1e-10, maxiter=5000)
    assert info == 0
    assert np.linalg.norm(K @ x - b) <= 1e-9 * np.linalg.norm(b)


@pytest.mark.parametrize("columns", [None, 1, 4, 0])
def test_solve_without_noise(backend, rng, columns):
    K = KroneckerOperator(square_factors(rng, 7, 1, 6, 4))
    y = rng.standard_normal(168 if columns is None else (168, columns))
    before = y.copy()
    close(K.solve(y), np.linalg.solve(K.to_dense(), y), 1e5)
    close(K @ K.solve(y), y, 1e5)
    close(K.T.solve(y), np.linalg.solve(K.to_dense().T, y), 1e5)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("noise", [1e-3, 0.5, 20])
def test_solve_with_noise(backend, rng, columns, noise):
    K = KroneckerOperator([kernel(6, 0.3), kernel(9, 0.2), kernel(4, 5.0)])
    y = rng.standard_normal(216 if columns is None else (216, columns))
    close(K.solve(y, noise), np.linalg.solve(K.to_dense() + noise * np.eye(216), y), 1e5)


def test_solve_in_float32(backend, rng):
    K = KroneckerOperator([kernel(6, 0.3).astype(np.float32), kernel(5, 0.3).astype(np.float32)])
    y = rng.standard_normal(30).astype(np.float32)
    dense = K.to_dense().astype(np.float64)
    for noise in (0.1, 0.0):
        got = K.solve(y, noise)
        assert got.dtype == np.float32
        close(
            got,
            np.linalg.solve(np.kron(*[f.astype(np.float64) for f in K.factors]) + noise * np.eye(30), y),
            1e3,
            np.float32,
        )
    assert K.solve(y.astype(np.float64), 0.1).dtype == np.float64
    assert dense.shape == (30, 30)


@pytest.mark.parametrize("noise", [0, 0.0, 1e-4, 1.5])
def test_logdet(rng, noise):
    K = KroneckerOperator(positive_factors(rng, 5, 6, 4))
    sign, expected = np.linalg.slogdet(K.to_dense() + noise * np.eye(120))
    assert sign == 1
    assert abs(K.logdet(noise) - expected) <= 1e-10 * max(abs(expected), 120)


def test_logdet_of_tiny_eigenvalues(rng):
    """Far below 1e-7: a clamp there would be off by hundreds."""
    spectra = [np.logspace(-12, 0, 8), np.logspace(-9, 2, 5)]
    factors = []
    for s in spectra:
        Q, _ = np.linalg.qr(rng.standard_normal((len(s), len(s))))
        factors.append(Q * s @ Q.T)
    factors = [(f + f.T) / 2 for f in factors]
    expected = 5 * np.log(spectra[0]).sum() + 8 * np.log(spectra[1]).sum()
    # eps over the smallest eigenvalue, relative: 2e-4 for one of the eight
    assert abs(KroneckerOperator(factors).logdet() - expected) <= 0.05


def test_logdet_without_overflow(rng):
    """det = 1e-400 and 1e+400 are beyond float64, their logarithms are not."""
    for scale in (1e-4, 1e4):
        got = KroneckerOperator([scale * np.eye(10), np.eye(10)]).logdet()
        assert got == pytest.approx(100 * np.log(scale), rel=1e-14)


def test_logdet_sign(rng):
    flip = np.diag([-1.0, 1.0])
    assert KroneckerOperator([flip, np.eye(2)]).logdet() == pytest.approx(0.0)  # (-1)^2
    assert KroneckerOperator([np.array([[0.0, 1.0], [-1.0, 0.0]]), np.eye(3)]).logdet() == pytest.approx(0.0)
    with pytest.raises(np.linalg.LinAlgError, match="negative"):
        KroneckerOperator([flip, np.eye(3)]).logdet()


def test_eigh(backend, rng):
    K = KroneckerOperator([kernel(5, 0.3), kernel(4, 0.5), kernel(3, 0.2)])
    lam, Q = K.eigh()
    dense = Q.to_dense()
    assert lam.shape == (60,)
    close(dense.T @ dense, np.eye(60), 1e3)
    close(dense * lam @ dense.T, K.to_dense(), 1e3)
    close(np.sort(lam), np.sort(np.linalg.eigvalsh(K.to_dense())), 1e3)
    parts = [np.linalg.eigvalsh(f) for f in K.factors]
    close(lam, np.multiply.outer(np.multiply.outer(parts[0], parts[1]), parts[2]).reshape(-1), 1e3)


def test_eigh_of_repeated_eigenvalues(backend):
    lam, Q = KroneckerOperator([np.eye(3), 2 * np.eye(4)]).eigh()
    np.testing.assert_array_equal(lam, np.full(12, 2.0))
    np.testing.assert_allclose(Q.to_dense() @ Q.to_dense().T, np.eye(12), atol=1e-15)


def test_diagonal(rng):
    K = KroneckerOperator(square_factors(rng, 3, 1, 5))
    np.testing.assert_allclose(K.diagonal(), np.diagonal(K.to_dense()), rtol=1e-15)
    with pytest.raises(ValueError, match=r"factors\[1\] has shape \(2, 3\), expected a square"):
        KroneckerOperator([np.eye(2), np.ones((2, 3))]).diagonal()


def test_operator_of_nothing(backend):
    K = KroneckerOperator([np.zeros((0, 0)), np.eye(3)])
    assert (K @ np.zeros(0)).shape == (0,)
    assert K.solve(np.zeros(0)).shape == (0,)
    assert K.solve(np.zeros((0, 2)), 1.0).shape == (0, 2)
    assert K.logdet() == 0.0
    assert K.logdet(1.0) == 0.0
    assert K.diagonal().shape == (0,)


def test_singular_factors(rng):
    ones = np.ones((3, 3))
    smooth = kernel(60, 0.5)  # condition number beyond 1 / eps
    y = np.ones(180)
    for bad, text in ((ones, "pivot"), (smooth, "working precision")):
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
    lam, _ = K.eigh()  # which clamps nothing
    assert lam.min() == pytest.approx(-1)
    close(K.solve(np.ones(4)), np.linalg.solve(K.to_dense(), np.ones(4)))


def test_operator_refuses(rng):
    A = rng.standard_normal((3, 3))
    with pytest.raises(TypeError, match=r"factors\[1\] has dtype int64, expected float32 or float64"):
        KroneckerOperator([A, np.eye(2, dtype=int)])
    with pytest.raises(TypeError, match=r"factors\[0\] is list, expected a NumPy, PyTorch, CuPy or JAX array of float32 or float64"):
        KroneckerOperator([A.tolist()])
    with pytest.raises(TypeError, match=r"factors\[1\] has dtype float32"):
        KroneckerOperator([A, A.astype(np.float32)])
    with pytest.raises(TypeError, match="masked array"):
        KroneckerOperator([np.ma.masked_array(A)])
    with pytest.raises(ValueError, match=r"factors\[0\] has shape \(3,\), expected \(m_1, n_1\)"):
        KroneckerOperator([A[0]])
    with pytest.raises(ValueError, match="at least one"):
        KroneckerOperator([])
    with pytest.raises(ValueError, match="unknown backend"):
        KroneckerOperator([A], backend="fortran")
    K = KroneckerOperator([A, A])
    with pytest.raises(TypeError, match="complex128"):
        K @ np.zeros(9, complex)
    with pytest.raises(TypeError, match="int64"):
        K @ np.zeros(9, int)
    with pytest.raises(ValueError, match=r"(?i)dimension mismatch"):
        K @ np.zeros(8)
    with pytest.raises(ValueError, match="expected \\(9,\\)"):
        K.solve(np.zeros(8))
    with pytest.raises(TypeError, match=r"solve: y has dtype int64"):
        K.solve(np.zeros(9, int))
    with pytest.raises(ValueError, match=r"solve with noise|not symmetric"):
        K.solve(np.zeros(9), 0.1)
    with pytest.raises(ValueError, match="not symmetric"):
        K.eigh()
    for bad in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"solve: noise"):
            K.solve(np.zeros(9), bad)
        with pytest.raises(ValueError, match=r"logdet: noise"):
            K.logdet(bad)
    for bad in ("0.1", True, None, 1j, np.zeros(9)):
        with pytest.raises(TypeError, match="noise"):
            K.logdet(bad)
    broken = KroneckerOperator([np.full((2, 2), np.nan)])
    for run in (lambda: broken.solve(np.zeros(2)), broken.logdet, lambda: broken.logdet(1.0), broken.eigh):
        with pytest.raises(ValueError, match="NaN"):
            run()
    with pytest.raises(ValueError, match="square"):
        KroneckerOperator([np.ones((2, 3))]).solve(np.zeros(2))


def test_import_does_not_load_scipy():
    code = (
        "import sys, quatrefoil as qf; assert not any(m.partition('.')[0] == 'scipy' for m in sys.modules)\n"
        "assert qf.kron.KroneckerOperator is qf.kron.KroneckerOperator and 'scipy' in sys.modules\n"
        "import numpy as np, pytest\n"
        "with pytest.raises(AttributeError, match='no attribute'): qf.kron.nothing"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("count", [1, 2])
def test_nobody_writes_to_an_operator(rng, count):
    """Neither by the factors that it was made of nor by its results."""
    factors = [rng.standard_normal((3, 3)) for _ in range(count)]
    K, x = KroneckerOperator(factors), rng.standard_normal(3**count)
    expected = K @ x
    for array in (*factors, K.to_dense(), K.diagonal(), K.T.to_dense()):
        array[...] = 7
    np.testing.assert_array_equal(K @ x, expected)
    with pytest.raises(ValueError, match="read-only"):
        K.factors[0][...] = 7
