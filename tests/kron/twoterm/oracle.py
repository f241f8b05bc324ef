"""Solutions by SciPy, refined with residuals in extended precision to convergence. Determinants come from Gaussian elimination, or from
the eigenvalues of a pencil for large matrices. Only the symmetric part of symmetric arguments matters."""

import numpy as np
import scipy.linalg

SMALL = 256  # rows of a dense matrix


def _exact(*matrices):
    return [np.asarray(a, np.longdouble) for a in matrices]


def _parts(*matrices):
    return [(a + a.T) / 2 for a in _exact(*matrices)]


def _refined(approximately, residual, B):
    X = np.zeros(B.shape, np.longdouble)
    for at in np.ndindex(*B.shape[:-2]):
        for _ in range(6):
            X[at] += approximately(np.asarray(residual(X[at], B[at]), float))
    return X


def sum_solve(K1, K2, S1, S2, B):
    (K1, K2, S1, S2), (B,) = _parts(K1, K2, S1, S2), _exact(B)
    if B.size == 0:
        return B
    k1, k2, s1, s2 = (np.asarray(a, float) for a in (K1, K2, S1, S2))
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
    while len(matrix):  # Gaussian elimination without pivots: the sums are positive definite
        total = total + np.log(matrix[0, 0])
        matrix = matrix[1:, 1:] - matrix[1:, :1] * (matrix[:1, 1:] / matrix[0, 0])
    return np.asarray(total)


def sylvester_solve(A, B, C):
    A, B, C = _exact(A, B, C)
    a, b = np.asarray(A, float), np.asarray(B, float)
    return _refined(lambda R: scipy.linalg.solve_sylvester(a, b, R), lambda X, C: C - A @ X - X @ B, C) if C.size else C
