"""Tucker decompositions by their definition: full SVDs of unfoldings, sums by einsum."""

import numpy as np


def full(core, factors, modes=None):
    """core x_1 U_1 x_2 U_2 .., along all axes, or only along ``modes``."""
    result = np.asarray(core, dtype=np.float64)
    for k, U in zip(range(len(factors)) if modes is None else modes, factors, strict=True):
        result = np.moveaxis(np.tensordot(np.asarray(U, dtype=np.float64), result, axes=(1, k)), 0, k)
    return result


def tails(C, ranks):
    """The sum over axes of the squared error of the best approximation of that axis's unfolding with its rank.

    The error of a truncated (sequential) HOSVD with these ranks is at most the square root of this sum. The best possible error is at least
    the largest error of an axis.
    """
    squares = [np.linalg.svd(np.moveaxis(C, k, 0).reshape(C.shape[k], -1), compute_uv=False) ** 2 for k in range(C.ndim)]
    return sum(float(s[r:].sum()) for s, r in zip(squares, ranks))


def ranks_of(sigma, tol, d):
    """The smallest rank whose tail is at most tol / sqrt(d) times the norm."""
    left = np.sqrt(np.cumsum(sigma[::-1] ** 2)[::-1])
    return int(np.argmax(np.append(left, 0) <= tol / d**0.5 * np.linalg.norm(sigma)))


def sweeps(C, factors, count):
    factors = list(factors)
    for _ in range(count):
        for k in range(C.ndim):
            core = C
            for j, U in enumerate(factors):
                if j != k:
                    core = np.moveaxis(np.tensordot(U.T, core, axes=(1, j)), 0, j)
            U, _, _ = np.linalg.svd(np.moveaxis(core, k, 0).reshape(C.shape[k], -1), full_matrices=False)
            factors[k] = U[:, : factors[k].shape[1]]
    projected = C
    for k, U in enumerate(factors):
        projected = np.moveaxis(np.tensordot(U @ U.T, projected, axes=(1, k)), 0, k)
    return float(np.linalg.norm(C - projected))
