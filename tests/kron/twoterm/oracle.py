"""The definitions as one dense system where it is small; where not, only one of the two axes is diagonalised, and a system is solved for
each of its eigenvalues. Either way refined until the residual, in extended precision, makes no difference. Of the matrices that must be
symmetric the symmetric part counts."""

import numpy as np
import scipy.linalg

SMALL = 256  # unknowns of a dense system


def _exact(*matrices):
    return [np.asarray(a, np.longdouble) for a in matrices]


def _parts(*matrices):
    return [(a + a.T) / 2 for a in _exact(*matrices)]


def _refined(approximately, residual, B):
    """An item of the batch at a time."""
    X = np.zeros(B.shape, np.longdouble)
    for at in np.ndindex(*B.shape[:-2]):
        for _ in range(6):
            X[at] += approximately(np.asarray(residual(X[at], B[at]), float))
    return X


def _by_inverse(matrix):
    inverse = np.linalg.inv(matrix)
    return lambda R: (inverse @ R.reshape(-1)).reshape(R.shape)


def sum_solve(K1, K2, S1, S2, B):
    (K1, K2, S1, S2), (B,) = _parts(K1, K2, S1, S2), _exact(B)
    k1, k2, s1, s2 = (np.asarray(a, float) for a in (K1, K2, S1, S2))
    if B.size == 0:
        return B
    if len(k1) * len(k2) <= SMALL:
        approximately = _by_inverse(np.kron(k1, k2) + np.kron(s1, s2))
    else:
        u, U = scipy.linalg.eigh(k2, s2)

        def approximately(R):
            return np.stack([np.linalg.solve(uj * k1 + s1, r) for uj, r in zip(u, (R @ U).T)], axis=1) @ U.T

    return _refined(approximately, lambda X, B: B - K1 @ X @ K2 - S1 @ X @ S2, B)


def sum_logdet(K1, K2, S1, S2):
    K1, K2, S1, S2 = _parts(K1, K2, S1, S2)
    if len(K1) * len(K2) > SMALL:
        k1, k2, s1, s2 = (np.asarray(a, float) for a in (K1, K2, S1, S2))
        each = [np.linalg.slogdet(uj * k1 + s1)[1] for uj in scipy.linalg.eigh(k2, s2, eigvals_only=True)]
        return np.asarray(sum(each) + len(k1) * np.linalg.slogdet(s2)[1])
    matrix, total = np.kron(K1, K2) + np.kron(S1, S2), np.longdouble(0)
    while len(matrix):  # Gauss, which needs no pivots: the sums of the cases are positive definite
        total = total + np.log(matrix[0, 0])
        matrix = matrix[1:, 1:] - matrix[1:, :1] * (matrix[:1, 1:] / matrix[0, 0])
    return np.asarray(total)


def sylvester_solve(A, B, C):
    A, B, C = _exact(A, B, C)
    a, b = np.asarray(A, float), np.asarray(B, float)
    if C.size == 0:
        return C
    if len(a) * len(b) <= SMALL:
        approximately = _by_inverse(np.kron(a, np.eye(len(b))) + np.kron(np.eye(len(a)), b.T))
    else:
        approximately = lambda R: scipy.linalg.solve_sylvester(a, b, R)  # noqa: E731
    return _refined(approximately, lambda X, C: C - A @ X - X @ B, C)
