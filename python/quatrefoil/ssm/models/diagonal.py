"""Initial diagonal systems. Equation numbers: csrc/ssm/README.md."""

from __future__ import annotations

import functools

import numpy as np

from ..._arguments import MAX_NUMBERS, choice, generator, integer, number
from .hippo import dplr_legs, hippo_legs
from .ptd import ptd_init

S4D_NAMES = ("lin", "inv", "inv2", "quad", "real", "legs", "ptd", "random")


def s4d_init(name: str, N: int, *, rng: int | np.random.Generator | None = None, eps: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Initial poles and inputs of a diagonal layer, by their names in state-spaces/s4 (6).

    Each of the N stored modes stands for itself and its conjugate: the full state has F = 2N entries. A_n = -re - i im:

    ======  ==========================  ======
    name    im                          re
    ======  ==========================  ======
    lin     pi n                        1/2
    inv     F/pi (F/(2n+1) - 1)         1/2
    inv2    F/pi (F/(n+1) - 1)          1/2
    quad    (2n+1)^2/pi                 1/2
    real    0                           n + 1
    random  e^x, x standard normal      1/2
    legs    eigenvalues of (4)          1/2
    ptd     eigenvalues of (7)          > 0
    ======  ==========================  ======

    Parameters
    ----------
    name : str
        One of the above.
    N : int
        Number of stored modes.
    rng : None, int or numpy.random.Generator
        Seed for "random"; None draws different numbers each time.
    eps : float
        Maximum relative size of the perturbation for "ptd", as in ``ptd_init``.

    Returns
    -------
    A, B : (N,) complex
        B = 1, with two exceptions. "legs": V^* B_legs with the imaginary part clipped to +-2 and without the theory's factor 1/2, as in
        state-spaces/s4. "ptd": V^-1 B_legs, so that the full state is the same as in ``ptd_init``.

    Notes
    -----
    "ptd" takes as long as ``ptd_init`` at F = 2N. If some eigenvalues are real, it repeats that at 2N - 1, 2N - 2, ... until there are N
    modes; real modes are stored with half their input. Sources: Gu, Gupta, Goel, Re, arXiv 2206.11893; "ptd" is S4-PTD, Yu, Nigmetov,
    Morozov, Mahoney, Erichson, arXiv 2310.01698.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B = qf.ssm.s4d_init("lin", 3)
    >>> A.round(3)
    array([-0.5+0.j   , -0.5-3.142j, -0.5-6.283j])
    """
    if not isinstance(name, str) and isinstance(N, str):
        raise TypeError(f"ssm.s4d_init: the name must come first: s4d_init({N!r}, {name!r})")
    choice(name, "ssm.s4d_init", "name", S4D_NAMES)
    N = integer(N, "ssm.s4d_init", "N", 0, MAX_NUMBERS)
    rng = generator(rng, "ssm.s4d_init")
    n, F = np.arange(N, dtype=float), 2.0 * N
    if name == "ptd":
        A, B = _perturbed(N, number(eps, "ssm.s4d_init", "eps"))
        return A.copy(), B.copy()
    if name == "legs":
        Lambda, _, B, _ = dplr_legs(2 * N)
        return Lambda[:N], B[:N].real + 1j * np.clip(B[:N].imag, -2, 2)
    im = {
        "lin": np.pi * n,
        "inv": F / np.pi * (F / (2 * n + 1) - 1),
        "inv2": F / np.pi * (F / (n + 1) - 1),
        "quad": (2 * n + 1) ** 2 / np.pi,
        "real": np.zeros(N),
    }
    re = n + 1 if name == "real" else np.full(N, 0.5)
    return -re - 1j * (np.exp(rng.standard_normal(N)) if name == "random" else im[name]), np.ones(N, complex)


@functools.lru_cache(maxsize=8)  # all layers of a model request the same modes
def _perturbed(N: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """N stored modes of A + E (7): one of each conjugate pair. Real modes have half their input, because each stored mode counts twice."""
    for F in range(2 * N, 0, -1):
        ptd = ptd_init(F, eps=eps)
        Lambda, B = ptd.Lambda, ptd.Vinv @ hippo_legs(F)[1]
        real = np.abs(Lambda.imag) <= 1e-9 * np.abs(Lambda).max()
        stored = real | (Lambda.imag < 0)
        if stored.sum() == N:
            return np.where(real, Lambda.real, Lambda)[stored], np.where(real, B.real / 2, B)[stored]
    return np.zeros(0, complex), np.zeros(0, complex)
