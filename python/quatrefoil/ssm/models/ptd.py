"""Perturb, then diagonalise: a small perturbation of HiPPO-LegS with well-conditioned eigenvectors.

Equation numbers: csrc/ssm/README.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arguments import MAX_NUMBERS, choice, generator, integer, number
from ..._warnings import warn
from .hippo import dplr_legs, hippo_legs

_METHODS = ("optimize", "random")
_ITERATIONS = 250  # L-BFGS iterations per value of mu
_ROUNDS = 8  # maximum number of values of mu; three or four usually suffice
_CLOSE = 0.98  # fraction of eps that ends the search
_MU = 0.12  # initial mu; the final values are .07 to .16 for N = 8 to 128
_MARGIN = 0.25  # real parts above -1/4 are penalised (8); those of LegS are -1 ... -N, those of its well-conditioned neighbours about -1/2


class PTD(NamedTuple):
    """A + E = V diag(Lambda) V^-1 for the A of HiPPO-LegS, with the size of E and cond(V).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> p = qf.ssm.ptd_init(3, eps=0.1)
    >>> p.V.shape, bool(p.eps <= 0.1), bool(p.max_real < 0)
    ((3, 3), True, True)
    """

    Lambda: np.ndarray  # (N,) complex, ascending imaginary part: a conjugate pair has indices n and N-1-n
    V: np.ndarray  # (N, N) complex, columns of norm 1
    Vinv: np.ndarray  # (N, N) complex
    E: np.ndarray  # (N, N) real
    eps: float  # ||E||_2 / ||A||_2
    cond: float  # ||V||_2 ||V^-1||_2
    max_real: float  # largest real part of an eigenvalue of A + E, before stabilising


def ptd_init(
    N: int, *, eps: float = 0.1, method: str = "optimize", rng: int | np.random.Generator | None = None, stabilize: bool = True
) -> PTD:
    """Perturb and diagonalise HiPPO-LegS: A + E = V diag(Lambda) V^-1 with ||E||_2 <= eps ||A||_2 (7).

    Use it as a diagonal system with inputs V^-1 B and outputs C V, B = ``hippo_legs(N)[1]``.

    Parameters
    ----------
    N : int
        Size of the state, at least 1.
    eps : float
        Maximum relative size of the perturbation. Small values stay close to LegS, large ones make V well conditioned.
    method : "optimize" or "random"
        "optimize" minimises the condition number of V under that bound (8), (9). "random" draws a Gaussian E of exactly that size. This is
        fast but less accurate; it warns if the transfer function changes by more than in S4D-LegS, which drops the low-rank part.
    rng : None, int or numpy.random.Generator
        Seed of the Gaussian E; None draws different numbers each time. "optimize" uses no random numbers.
    stabilize : bool
        Replace each real part by -abs(real part). If ``max_real`` > 0, V diag(Lambda) V^-1 then differs from A + E.

    Returns
    -------
    PTD
        Lambda, V, Vinv, E, and the actual eps, cond (2-norm) and max_real (before stabilising).

    Notes
    -----
    Constant inputs are handled exactly: the first column of E is 0, so (A + E)^-1 B = A^-1 B. "optimize" uses at least 98 % of eps, unless
    a smaller E already makes A + E normal. Cost: O(N^3) per step; about a second at N = 32, three at 64, twenty-five at 128. With a
    different LAPACK the result may be a different, equally good minimum.

    Source: Yu et al., arXiv 2310.01698.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B = qf.ssm.hippo_legs(4)
    >>> p = qf.ssm.ptd_init(4, eps=0.1)
    >>> bool(np.allclose(A + p.E, (p.V * p.Lambda) @ p.Vinv))
    True
    """
    N = integer(N, "ssm.ptd_init", "N", 1, MAX_NUMBERS)
    eps = number(eps, "ssm.ptd_init", "eps", positive=True)
    choice(method, "ssm.ptd_init", "method", _METHODS)
    rng = generator(rng, "ssm.ptd_init")
    A, _ = hippo_legs(N)
    radius = float(eps * np.linalg.norm(A, 2)) * (1 - 1e-12)  # so that rounding does not exceed the bound
    if method == "random":
        ptd = _report(A, radius * _unit(rng.standard_normal((N, N))), stabilize)
        Lambda, _, _, V = dplr_legs(N)  # the normal part of LegS (4)
        off, plain = _deviation(ptd.Lambda, ptd.Vinv, ptd.V), _deviation(Lambda, V.conj().T / 2, V)
        if off > plain:
            warn(
                f"ssm.ptd_init: this random perturbation changes the transfer function by {off:.2g}, more than the plain diagonal system "
                f'(s4d_init("legs"), {plain:.2g}); use method="optimize" or a smaller eps'
            )
        return ptd
    p = np.sqrt(np.arange(N) + 0.5)
    return _report(A, radius * _search(A, radius, _unit(np.outer(p, p))), stabilize)  # from A + p p^T, which is normal (4)


def _unit(E: np.ndarray) -> np.ndarray:
    """E without its first column, scaled to norm 1."""
    E[:, 0] = 0
    return E / (np.linalg.norm(E, 2) or 1.0)


def _report(A: np.ndarray, E: np.ndarray, stabilize: bool) -> PTD:
    Lambda, V = np.linalg.eig(A + E)
    order = np.lexsort((Lambda.real, Lambda.imag))
    Lambda, V = Lambda[order].astype(complex), V[:, order].astype(complex)
    max_real = float(Lambda.real.max())
    if stabilize:
        Lambda = -np.abs(Lambda.real) + 1j * Lambda.imag
    size = float(np.linalg.norm(E, 2) / np.linalg.norm(A, 2))
    return PTD(Lambda, V, np.linalg.inv(V), E, size, float(np.linalg.cond(V)), max_real)


def _objective(flat: np.ndarray, A: np.ndarray, radius: float, mu: float) -> tuple[float, np.ndarray]:
    """(8) and its gradient (9) at E = radius U, as functions of U, whose first column is fixed."""
    N = len(A)
    U = flat.reshape(N, N)
    Lambda, V = np.linalg.eig(A + radius * U)
    gap = Lambda - Lambda[:, None]  # gap_ij = Lambda_j - Lambda_i
    np.fill_diagonal(gap, 1)
    if not gap.all():  # a defective matrix: the line search steps back
        return 1e10, np.zeros(N * N)
    W = np.linalg.inv(V)
    size = np.sum(np.abs(W) ** 2)  # ||V^-1||_F^2; ||V||_F^2 = N
    M, G = W @ W.conj().T, V.conj().T @ V
    K = (np.diag(M).real * G.T - M.T) / (gap * size)
    excess = np.maximum(Lambda.real + _MARGIN, 0)
    np.fill_diagonal(K, 2 * excess)
    value = np.log(size * N) / 2 + mu * np.sum(U * U) + np.sum(excess**2)
    gradient = radius * (W.T @ K @ V.T).real + 2 * mu * U
    gradient[:, 0] = 0
    return float(value), gradient.ravel()


def _search(A: np.ndarray, radius: float, U: np.ndarray) -> np.ndarray:
    """The minimum of (8), starting from U, with mu such that ||U||_2 is just below 1."""
    from scipy.optimize import minimize

    options: Any = {"maxiter": _ITERATIONS, "maxcor": 20, "ftol": 1e-11, "gtol": 1e-5}
    mu, best, largest = _MU, None, -1.0
    for _ in range(_ROUNDS):
        U = minimize(_objective, U.ravel(), (A, radius, mu), "L-BFGS-B", jac=True, options=options).x.reshape(A.shape)
        size = float(np.linalg.norm(U, 2))
        if largest < size <= 1:
            best, largest = U, size
            if size >= _CLOSE:
                break
        # ||U||_2 is about proportional to mu^(-1/3), but jumps between minima, so bracketing would fail
        mu *= min(max((size / 0.99) ** 3, 0.1), 10)
    return U / size if best is None else best


def _deviation(Lambda: np.ndarray, Vinv: np.ndarray, V: np.ndarray) -> float:
    """sup over the imaginary axis of ||G(s) - G_LegS(s)|| with C = 1, relative to ||B||: compares a diagonal system with (3)."""
    N = len(V)
    root = np.sqrt(2.0 * np.arange(N) + 1)
    s = 1j * np.concatenate([np.linspace(0, 2 * N * N / np.pi, 1001), Lambda.imag])[:, None]  # the top eigenfrequency is about N^2/pi
    k = np.arange(N)
    ratios = np.concatenate([np.ones_like(s), (s - k[:-1]) / (s + k[:-1] + 1)], axis=1)
    true = root * np.cumprod(ratios, axis=1) / (s + k + 1)
    return float(np.linalg.norm((Vinv @ root / (s - Lambda)) @ V.T - true, axis=1).max() / N)  # ||root|| = N
