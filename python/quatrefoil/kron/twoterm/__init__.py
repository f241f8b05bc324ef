"""Systems of two Kronecker terms: K_1 ⊗ K_2 + S_1 ⊗ S_2, and Sylvester equations. Equation numbers refer to csrc/kron/README.md.

Array code that calls LAPACK, in float64 for data of any precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import _arguments
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Policy
from ..._typing import Array, Backend, T
from ..product.dense import inverse_lower, require_symmetric
from . import composition
from .schur import double, negligible, sylvester


def sum_solve(
    K1: Array[T],
    K2: Array[T],
    S1: Array[T],
    S2: Array[T],
    B: Array[T],
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Solve K_1 X K_2^T + S_1 X S_2^T = B for X (1).

    Equivalently, (K_1 ⊗ K_2 + S_1 ⊗ S_2) vec X = vec B in C order.

    Used for Gaussian processes on a grid with structured noise S_1 ⊗ S_2. With S_2 = I, the rows of X are correlated tasks, each with its
    own noise (the linear model of coregionalisation).

    Parameters
    ----------
    K1, S1 : (M, M)
        Symmetric, S_1 positive definite; float32 or float64.
    K2, S2 : (N, N)
        The same.
    B : (..., M, N)
        Right-hand sides.
    out, backend, num_threads
        As in ``help(qf.conventions)``. On the host all backends use LAPACK, which chooses its own number of threads.

    Returns
    -------
    X : (..., M, N)

    Raises
    ------
    ValueError, TypeError
        Incompatible shapes or dtypes; a matrix that is not symmetric up to rounding, or contains NaN or infinity.
    numpy.linalg.LinAlgError
        S_1 or S_2 is not positive definite to working precision, or the sum is singular: some 1 + w_i u_j of (2) is 0
        relative to the largest.

    Notes
    -----
    Differentiable in all five; gradients of the matrices are symmetric. Cost: one generalised eigendecomposition of each
    pair, about 14 (M^3 + N^3) flops, and 4 M N (M + N) per right-hand side. Error: a few eps times the condition numbers of
    S_1, S_2 and the sum. float32 inputs are converted to float64. A NaN in B stays in its right-hand side.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K, I2, I3 = np.ones((2, 2)), np.eye(2), np.eye(3)
    >>> X = qf.kron.sum_solve(K, I3, I2, I3, np.arange(6.0).reshape(2, 3))
    >>> np.round(K @ X + X, 12)
    array([[0., 1., 2.],
           [3., 4., 5.]])
    """
    return call(SUM_SOLVE, (K1, K2, S1, S2, B), (), (), out, backend, num_threads)


def sum_solve_vjp(
    K1: Array[T],
    K2: Array[T],
    S1: Array[T],
    S2: Array[T],
    B: Array[T],
    grad: Array[T],
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``sum_solve``.

    ``grad`` (..., M, N) is the gradient of X. Returns the gradients of K1, K2, S1, S2 and B (4). Takes two solves.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K, S = 3 * np.eye(2), np.eye(2)
    >>> *others, dB = qf.kron.sum_solve_vjp(K, S, S, S, np.ones((2, 2)), np.ones((2, 2)))
    >>> dB.round(12)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return call_vjp(SUM_SOLVE, (K1, K2, S1, S2, B, grad), (), (), backend, num_threads)


def sum_logdet(
    K1: Array[T],
    K2: Array[T],
    S1: Array[T],
    S2: Array[T],
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:
    """log det(K_1 ⊗ K_2 + S_1 ⊗ S_2), a scalar (3).

    Same arguments and exceptions as ``sum_solve``; a negative determinant also raises ``numpy.linalg.LinAlgError``.
    backend, num_threads: As in ``help(qf.conventions)``.

    Notes
    -----
    Differentiable in all four, even at repeated eigenvalues: nothing is divided by their differences (5). The gradients are symmetric.
    Cost: that of ``sum_solve`` without right-hand sides. The result is 0 if M or N is 0.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> float(qf.kron.sum_logdet(np.ones((2, 2)), np.eye(3), np.eye(2), np.eye(3)))  # three eigenvalues 3, three 1
    3.295836866004329
    """
    y = call(SUM_LOGDET, (K1, K2, S1, S2), (), (), None, backend, num_threads)
    return y[()] if isinstance(y, np.ndarray) else y


def sum_logdet_vjp(
    K1: Array[T],
    K2: Array[T],
    S1: Array[T],
    S2: Array[T],
    grad: Array[T],
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``sum_logdet``.

    ``grad``, a 0-d array, is the gradient of the result. Returns the gradients of K1, K2, S1 and S2 (5).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K, S = 3 * np.eye(2), np.eye(2)
    >>> dK, *others = qf.kron.sum_logdet_vjp(K, S, S, S, np.array(1.0))
    >>> dK.round(12)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    return call_vjp(SUM_LOGDET, (K1, K2, S1, S2, grad), (), (), backend, num_threads)


def sylvester_solve(
    A: Array[T],
    B: Array[T],
    C: Array[T],
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Solve the Sylvester equation A X + X B = C for X (6).

    Parameters
    ----------
    A : (M, M)
        Any real matrix, float32 or float64.
    B : (N, N)
        The same.
    C : (..., M, N)
        Right-hand sides.
    out, backend, num_threads
        As in ``help(qf.conventions)``; on the host as for ``sum_solve``.

    Returns
    -------
    X : (..., M, N)

    Raises
    ------
    ValueError, TypeError
        Incompatible shapes or dtypes; NaN or infinity in A or B.
    numpy.linalg.LinAlgError
        An eigenvalue of A and one of B add up to 0, so X is not unique or does not exist. A sum counts as 0 if it is negligible relative to
        the largest one or, if A or B is not symmetric, to |A| + |B| in the Frobenius norm, because of rounding in the Schur forms.

    Notes
    -----
    Differentiable in A, B and C (8). If A and B are symmetric up to float64 rounding, their eigenbases are used (7): about 9 (M^3 + N^3)
    flops, and 4 M N (M + N) per right-hand side. Otherwise real Schur forms are used, about 25 (M^3 + N^3), and LAPACK's ``trsyl`` (Bartels
    and Stewart, CACM 15 (1972) 820). float32 inputs are converted to float64. A NaN in C stays in its right-hand side. Backend "array"
    solves the M N equations as a dense system, 2/3 (M N)^3 flops and 8 (M N)^2 bytes, and detects a singular one only by a zero pivot.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.diag([1.0, 2.0, 3.0])
    >>> X = qf.kron.sylvester_solve(A, B, np.ones((2, 3)))
    >>> np.round(A @ X + X @ B, 12)
    array([[1., 1., 1.],
           [1., 1., 1.]])
    """
    return call(SYLVESTER_SOLVE, (A, B, C), (), (), out, backend, num_threads)


def sylvester_solve_vjp(
    A: Array[T], B: Array[T], C: Array[T], grad: Array[T], *, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``sylvester_solve``.

    ``grad`` (..., M, N) is the gradient of X. Returns the gradients of A, B and C (8). Takes two solves.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B, C = 3 * np.eye(2), np.eye(2), np.ones((2, 2))
    >>> dA, dB, dC = qf.kron.sylvester_solve_vjp(A, B, C, np.ones((2, 2)))
    >>> dC.round(12)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return call_vjp(SYLVESTER_SOLVE, (A, B, C, grad), (), (), backend, num_threads)


# ---- two terms


class Pencil(NamedTuple):
    """K V = S V diag(w), V^T S V = I (2), and S = L L^T."""

    w: np.ndarray
    V: np.ndarray
    L: np.ndarray

    @property
    def logdet(self) -> float:
        """log det S."""
        return 2 * float(np.log(self.L.diagonal()).sum())


def _pencils(K1: np.ndarray, K2: np.ndarray, S1: np.ndarray, S2: np.ndarray, label: str) -> tuple[Pencil, Pencil, np.ndarray]:
    """Both pencils, and D = 1 + w u^T."""
    first, second = pencil(K1, S1, ("K1", "S1"), label), pencil(K2, S2, ("K2", "S2"), label)
    D = 1 + first.w[:, None] * second.w
    at, largest = np.unravel_index(int(np.abs(D).argmin()), D.shape), float(np.abs(D).max())
    if D.min() < 1 and np.abs(D[at]) <= negligible(K1, *D.shape) * largest:  # D >= 1 if K1 and K2 are positive semidefinite
        raise np.linalg.LinAlgError(
            f"{label}: K1 ⊗ K2 + S1 ⊗ S2 is singular: the eigenvalues {first.w[at[0]]:.6g} of (K1, S1) and {second.w[at[1]]:.6g} of "
            f"(K2, S2) give 1 + w u = {D[at]:.3g}, compared with a largest value of {largest:.3g}"
        )
    return first, second, D


def pencil(K: np.ndarray, S: np.ndarray, names: tuple[str, str], label: str) -> Pencil:
    """Solve (2) with the Cholesky factor of S and its inverse. Multithreaded steps use only NumPy: SciPy loads a second BLAS, and its
    idle threads would keep cores from NumPy's BLAS for up to 20 ms per call."""
    from scipy.linalg import lapack

    for a, name in zip((K, S), names):
        _arguments.finite(a, label, name)
        require_symmetric(a, float(np.finfo(a.dtype).eps), f"{label}: {name}", "expected a symmetric matrix")
    if not len(K):
        return Pencil(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)))
    try:
        L = np.linalg.cholesky(double(S))
        reciprocal_condition = lapack.dpocon(L.T, np.abs(S).sum(axis=0, dtype=np.float64).max(), uplo="U")[0]  # without threads
    except np.linalg.LinAlgError:
        reciprocal_condition = 0.0
    if reciprocal_condition < np.finfo(S.dtype).eps:
        smallest = np.linalg.eigvalsh(double(S))[0]
        raise np.linalg.LinAlgError(
            f"{label}: {names[1]} is not positive definite to working precision (its smallest eigenvalue is {smallest:.3g}); "
            "add jitter to its diagonal"
        )
    w, V = composition.reduced(np, double(K), inverse_lower(L))
    rounding = len(w) * np.finfo(K.dtype).eps * np.abs(w).max()
    if w[0] >= -rounding:  # K is positive semidefinite: negative values are rounding errors of 0
        w = np.maximum(w, 0.0)
    return Pencil(w, V, L)


def _sum_solve(
    K1: np.ndarray, K2: np.ndarray, S1: np.ndarray, S2: np.ndarray, B: np.ndarray, X: np.ndarray, num_threads: int, *, backend: str
) -> None:
    if X.size:
        X[...] = composition.solved(np, _pencils(K1, K2, S1, S2, SUM_SOLVE.label), B)


def _sum_solve_vjp(
    K1: np.ndarray, K2: np.ndarray, S1: np.ndarray, S2: np.ndarray, B: np.ndarray, grad: np.ndarray,
    dK1: np.ndarray, dK2: np.ndarray, dS1: np.ndarray, dS2: np.ndarray, dB: np.ndarray, num_threads: int, *, backend: str,
) -> None:  # fmt: skip
    if dB.size == 0:
        dK1[...] = dK2[...] = dS1[...] = dS2[...] = 0
        return
    pencils = _pencils(K1, K2, S1, S2, f"{SUM_SOLVE.label}_vjp")
    dK1[...], dK2[...], dS1[...], dS2[...], dB[...] = composition.solve_gradients(np, pencils, K1, K2, S1, S2, B, grad)


def _sum_logdet(K1: np.ndarray, K2: np.ndarray, S1: np.ndarray, S2: np.ndarray, y: np.ndarray, num_threads: int, *, backend: str) -> None:
    y[...] = 0
    if len(K1) == 0 or len(K2) == 0:
        return
    first, second, D = _pencils(K1, K2, S1, S2, SUM_LOGDET.label)
    if np.count_nonzero(D < 0) % 2:
        raise np.linalg.LinAlgError(f"{SUM_LOGDET.label}: the determinant is negative, expected a positive one")
    y[...] = np.log(np.abs(D)).sum() + len(K2) * first.logdet + len(K1) * second.logdet


def _sum_logdet_vjp(
    K1: np.ndarray, K2: np.ndarray, S1: np.ndarray, S2: np.ndarray, grad: np.ndarray,
    dK1: np.ndarray, dK2: np.ndarray, dS1: np.ndarray, dS2: np.ndarray, num_threads: int, *, backend: str,
) -> None:  # fmt: skip
    dK1[...] = dK2[...] = dS1[...] = dS2[...] = 0
    if len(K1) == 0 or len(K2) == 0:
        return
    pencils = _pencils(K1, K2, S1, S2, f"{SUM_LOGDET.label}_vjp")
    dK1[...], dK2[...], dS1[...], dS2[...] = composition.logdet_gradients(np, pencils, grad)


# ---- Sylvester


def _sylvester_solve(A: np.ndarray, B: np.ndarray, C: np.ndarray, X: np.ndarray, num_threads: int, *, backend: str) -> None:
    if X.size:
        X[...] = sylvester(A, B, SYLVESTER_SOLVE.label)(double(C), False)


def _sylvester_solve_vjp(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, grad: np.ndarray,
    dA: np.ndarray, dB: np.ndarray, dC: np.ndarray, num_threads: int, *, backend: str,
) -> None:  # fmt: skip
    if dC.size == 0:
        dA[...] = dB[...] = 0
        return
    solve = sylvester(A, B, f"{SYLVESTER_SOLVE.label}_vjp")
    X, Z = solve(double(C), False), solve(double(grad), True)
    dC[...], dA[...], dB[...] = Z, -composition.rows(np, Z, X), -composition.columns(np, X, Z)


_MATRICES = (Arg("K1", "M M"), Arg("K2", "N N"), Arg("S1", "M M"), Arg("S2", "N N"))
# About 500 eps: both results that are compared have rounding errors from LAPACK, amplified by condition numbers of up to a few dozen.
SUM_SOLVE = Op(
    __name__, "sum_solve", inputs=(*_MATRICES, Arg("B", "... M N")), outputs=(Arg("X", "... M N"),),
    tolerance=6e-5, policy=Policy(python_kernel=_sum_solve, python_adjoint=_sum_solve_vjp),
)  # fmt: skip
SUM_LOGDET = Op(
    __name__, "sum_logdet", inputs=_MATRICES, outputs=(Arg("y", ""),),
    tolerance=6e-5, policy=Policy(python_kernel=_sum_logdet, python_adjoint=_sum_logdet_vjp),
)  # fmt: skip
SYLVESTER_SOLVE = Op(
    __name__, "sylvester_solve", inputs=(Arg("A", "M M"), Arg("B", "N N"), Arg("C", "... M N")), outputs=(Arg("X", "... M N"),),
    tolerance=6e-5, policy=Policy(python_kernel=_sylvester_solve, python_adjoint=_sylvester_solve_vjp),
)  # fmt: skip
OPS = (SUM_SOLVE, SUM_LOGDET, SYLVESTER_SOLVE)
