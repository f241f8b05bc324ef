"""Two terms and Sylvester's equation: identities, limits, invalid input. tests/test_ops.py compares values with dense systems."""

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from kron.dense import EPS, close, with_eigenvalues
from kron.twoterm.cases import _matrices, _wishart

LinAlgError = np.linalg.LinAlgError


def test_tiny_noise_on_a_singular_term(backend, rng):
    """As in KroneckerOperator with noise, eigenvalues of K that are rounding errors of 0 are treated as 0, without an error."""
    a, b = rng.standard_normal(6), rng.standard_normal(4)
    K1, K2, noise = np.outer(a, a), np.outer(b, b), 1e-13
    got = qf.kron.sum_logdet(K1, K2, noise * np.eye(6), np.eye(4))
    big = (a @ a) * (b @ b)
    # each of the 23 eigenvalues 0 has an error of up to n eps times the largest eigenvalue, and the noise is not much larger
    assert abs(got - np.log(big + noise) - 23 * np.log(noise)) <= 23 * np.log1p(10 * EPS * big / noise) + 1e-12


def test_the_scalar(rng):
    for dtype in (np.float32, np.float64):
        assert isinstance(qf.kron.sum_logdet(*[a.astype(dtype) for a in _matrices(rng, 3, 4, "positive")]), dtype)


def test_gradients_are_symmetric_and_finite_at_equal_eigenvalues(backend, rng):
    I, J = np.eye(4), np.eye(3)
    gradients = qf.kron.sum_logdet_vjp(I, J, I, J, np.ones(()))
    for g, expected in zip(gradients, (1.5 * I, 2 * J, 1.5 * I, 2 * J)):  # d log det(2 I): half the trace
        close(g, expected, 64)
    gradients = qf.kron.sum_solve_vjp(*_matrices(rng, 4, 3, "positive"), *rng.standard_normal((2, 2, 4, 3)))
    for g in gradients[:4]:
        np.testing.assert_array_equal(g, g.T)


def test_float32_is_computed_in_float64(backend, rng):
    """With condition numbers of about 1e4, float32 would leave 3 digits."""
    S1, S2 = with_eigenvalues(rng, *np.logspace(-4, 0, 9)), with_eigenvalues(rng, *np.logspace(-4, 0, 8))
    K1, K2 = _wishart(rng, 9, 0), _wishart(rng, 8, 0)
    inputs = [a.astype(np.float32) for a in (K1, K2, S1, S2, rng.standard_normal((9, 8)))]
    got = qf.kron.sum_solve(*inputs)
    expected = qf.kron.sum_solve(*[a.astype(float) for a in inputs])
    assert got.dtype == np.float32
    close(got, expected, 0.5, np.float32)


BAD_MATRICES = [
    ("K1", np.triu(np.ones((4, 4))), ValueError, r"K1 is not symmetric .*by up to 1\)"),
    ("S2", np.triu(np.ones((3, 3))), ValueError, "S2 is not symmetric"),
    ("K2", np.full((3, 3), np.nan), ValueError, r"K2\[0, 0\] is nan"),
    ("S1", np.diag([1.0, np.inf, 1.0, 1.0]), ValueError, r"S1\[1, 1\] is inf"),
    ("S1", np.diag([1.0, 2.0, 0.0, 1.0]), LinAlgError, r"S1 is not positive definite .*smallest eigenvalue is 0"),
    ("S2", np.diag([1.0, -2.0, 1.0]), LinAlgError, r"S2 is not positive definite .*smallest eigenvalue is -2"),
    ("S2", np.diag([1.0, 1e-17, 1.0]), LinAlgError, "S2 is not positive definite to working precision"),
]


def test_rejected(rng):
    matrices = dict(zip(("K1", "K2", "S1", "S2"), _matrices(rng, 4, 3, "positive")))
    C, one, kron = np.ones((4, 3)), np.ones(()), qf.kron
    for name, bad, error, text in BAD_MATRICES:
        inputs = list((matrices | {name: bad}).values())
        calls = [lambda g=inputs: kron.sum_solve(*g, C), lambda g=inputs: kron.sum_logdet(*g)]
        calls += [lambda g=inputs: kron.sum_solve_vjp(*g, C, C), lambda g=inputs: kron.sum_logdet_vjp(*g, one)]
        check_rejected([(call, error, rf"^kron\.sum_\w+: .*({text})") for call in calls])
    nan, infinite = np.full((4, 4), np.nan), np.full((3, 3), np.inf)
    for A, B, text in ((nan, np.eye(3), r"A\[0, 0\] is nan"), (np.eye(4), infinite, r"B\[0, 0\] is inf")):
        calls = [lambda A=A, B=B: kron.sylvester_solve(A, B, C), lambda A=A, B=B: kron.sylvester_solve_vjp(A, B, C, C)]
        check_rejected([(call, ValueError, rf"^kron\.sylvester_solve\w*: .*({text})") for call in calls])


def test_a_singular_sum(backend, rng):
    K1, K2 = with_eigenvalues(rng, 2.0, 1, 0.5, -1, 3), with_eigenvalues(rng, 0.5, 1, 2)  # -1 times 1
    I, J, B = np.eye(5), np.eye(3), np.ones((5, 3))
    text = r"singular: the eigenvalues -1 of \(K1, S1\) and 1 of \(K2, S2\) give 1 \+ w u = (0|-?\d.*e-1\d), "
    calls = (lambda: qf.kron.sum_solve(K1, K2, I, J, B), lambda: qf.kron.sum_logdet(K1, K2, I, J))
    check_rejected([(call, LinAlgError, text) for call in calls])
    with pytest.raises(LinAlgError, match="determinant is negative"):
        qf.kron.sum_logdet(np.diag([-3.0, 1.0]), np.eye(3), np.eye(2), np.eye(3))
    K = np.diag([-3.0, 1.0])
    assert qf.kron.sum_logdet(K, np.eye(2), np.eye(2), np.eye(2)) == pytest.approx(np.log(16))  # (-2)^2 2^2
    close(qf.kron.sum_solve(K, np.eye(2), np.eye(2), np.eye(2), np.ones((2, 2))), np.array([[-0.5, -0.5], [0.5, 0.5]]), 8)


def test_shared_eigenvalues(backend, rng):
    for dtype in (np.float32, np.float64):
        A, B = with_eigenvalues(rng, 1.0, 2, 3, 4), with_eigenvalues(rng, -2.0, 5, 7)
        with pytest.raises(LinAlgError, match=r"the eigenvalues 2 of A and -2 of B add up to .*, 0 relative to the largest sum, 11"):
            qf.kron.sylvester_solve(A.astype(dtype), B.astype(dtype), np.ones((4, 3), dtype))
    P = np.linalg.qr(rng.standard_normal((4, 4)))[0] * [1, 2, 1, 3]  # condition number 3: eigenvalues keep their digits
    A = P @ np.kron(np.diag([1.0, 2.0]), np.array([[0, 1], [-1, 0]])) @ np.linalg.inv(P)  # +-i, +-2i
    with pytest.raises(LinAlgError, match=r"of A and .* of B add up to .*, 0 relative to \|A\| \+ \|B\|, "):
        qf.kron.sylvester_solve(A, np.array([[0, 2.0], [-2, 0]]), np.ones((4, 2)))
    for zero in (np.zeros((1, 1)), np.zeros((2, 2))):
        with pytest.raises(LinAlgError, match="X does not exist or is not unique"):
            qf.kron.sylvester_solve(zero, zero, zero)
    nilpotent = np.diag(np.ones(4), 1)  # no method computes these eigenvalues to more than eps^(1/5)
    with pytest.raises(LinAlgError, match="X does not exist or is not unique"):
        qf.kron.sylvester_solve(nilpotent, -nilpotent, np.ones((5, 5)))


def test_almost_symmetric_takes_either_way(backend, rng):
    A, B, C = _wishart(rng, 6, 0.5), _wishart(rng, 5, 0.5), rng.standard_normal((6, 5))
    X = qf.kron.sylvester_solve(A, B, C)
    for size in (1e-17, 1e-15, 1e-12):
        tilt = A.copy()
        tilt[0, 1] += size
        close(qf.kron.sylvester_solve(tilt, B, C), X, 1e3 + 10 * size / EPS)
