"""HiPPO-LegS and its diagonal-plus-low-rank form. Equation numbers: csrc/ssm/README.md."""

from __future__ import annotations

import numpy as np

from ..._arguments import MAX_NUMBERS, integer


def hippo_legs(N: int) -> tuple[np.ndarray, np.ndarray]:
    """HiPPO-LegS, whose state contains Legendre coefficients of the whole past of the input (1).

    x' = A x + B u.

    Parameters
    ----------
    N : int
        Size of the state.

    Returns
    -------
    A : (N, N)
        Lower triangular: -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it.
    B : (N,)
        sqrt(2n+1).

    Notes
    -----
    Not diagonalisable in practice: the condition number of its eigenvectors exceeds 1e17 at N = 32. Use ``dplr_legs`` or ``ptd_init``.
    Source: Gu et al., arXiv 2008.07669.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B = qf.ssm.hippo_legs(2)
    >>> A[1].round(4)
    array([-1.7321, -2.    ])
    """
    N = integer(N, "ssm.hippo_legs", "N", 0, MAX_NUMBERS)
    B = np.sqrt(2.0 * np.arange(N) + 1)
    A = -np.tril(np.outer(B, B), -1) - np.diag(np.arange(1.0, N + 1))
    return A, B


def dplr_legs(N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """HiPPO-LegS in the form used to initialise S4 layers: diagonal plus rank one in a unitary basis (4).

    A = V (diag(Lambda) - P P^*) V^*, B_legs = V B.

    Parameters
    ----------
    N : int
        Size of the state.

    Returns
    -------
    Lambda : (N,) complex
        -1/2 + i w, ascending in w; a conjugate pair has indices n and N-1-n.
    P, B : (N,) complex
        V^* sqrt(n + 1/2) and V^* sqrt(2n + 1), not clipped.
    V : (N, N) complex
        Unitary; its first row is real and positive.

    Notes
    -----
    Cost: one Hermitian eigenproblem, O(N^3). Source: Gu, Goel, Re, arXiv 2111.00396.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda, P, B, V = qf.ssm.dplr_legs(4)
    >>> A = V @ (np.diag(Lambda) - np.outer(P, P.conj())) @ V.conj().T
    >>> bool(np.allclose(A, qf.ssm.hippo_legs(4)[0]))
    True
    """
    N = integer(N, "ssm.dplr_legs", "N", 0, MAX_NUMBERS)
    A, B = hippo_legs(N)
    P = np.sqrt(np.arange(N) + 0.5)
    skew = A + np.outer(P, P) + 0.5 * np.eye(N)
    w, V = np.linalg.eigh(-1j * (skew - skew.T) / 2)  # removes the symmetric part of the rounding error
    V = V * np.exp(-1j * np.angle(V[:1]))
    return -0.5 + 1j * w, V.conj().T @ P, V.conj().T @ B, V
