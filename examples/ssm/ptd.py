"""How close diagonal systems come to HiPPO-LegS
=============================================

Compares two diagonal approximations of HiPPO-LegS, the plain one and the perturbed-then-diagonalised one: their distance from it at every
frequency, and their memory of a slow input and of a tone.

::

    python examples/ssm/ptd.py [N] [picture.png]

The plain diagonal system differs from LegS by 2/pi at its top eigenfrequency for any N; the perturbed one does not. LegS remembers its
input as Legendre coefficients. A tone at that frequency fills the memory of the plain system with unrelated values. The perturbed system
preserves it, and slow inputs too if eps is small, at the cost of a larger condition number. S4-PTD stores half of the modes (``s4d_conv``),
S5-PTD all of them (``s5_apply``). Only the picture needs matplotlib.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
from scipy.linalg import expm

import quatrefoil as qf


def differences(N: int, w: np.ndarray, result: qf.ssm.PTD) -> tuple[np.ndarray, np.ndarray]:
    """||G - G_LegS|| along the imaginary axis, all states as outputs, inputs scaled to ||B|| = 1: plain diagonal, PTD."""
    A, B = qf.ssm.hippo_legs(N)
    Lambda, _, B_diagonal, V = qf.ssm.dplr_legs(N)
    s = 1j * w
    legs = qf.ssm.transfer_function(s, A, B, np.eye(N))
    plain = qf.ssm.transfer_function(s, Lambda, B_diagonal / 2, V)
    ptd = qf.ssm.transfer_function(s, result.Lambda, result.Vinv @ B, result.V)
    return np.linalg.norm(plain - legs, axis=1) / N, np.linalg.norm(ptd - legs, axis=1) / N  # ||B|| = N


def frequencies(N: int) -> np.ndarray:
    """Frequencies that are dense around every eigenfrequency of the plain system, where peaks have a width of 1."""
    top = qf.ssm.dplr_legs(N)[0].imag[N // 2 :]
    around = np.concatenate([[0.0], top])[:, None] + np.linspace(-3, 3, 61)
    return np.sort(np.concatenate([around[around >= 0], np.geomspace(0.01, 2 * top[-1], 1000)]))


def inputs(N: int, steps: int = 4000) -> tuple[float, dict[str, np.ndarray]]:
    """The step size and two inputs (steps,) that fade in: four slow waves, and a tone at the plain system's top eigenfrequency."""
    top = qf.ssm.dplr_legs(N)[0].imag[-1]
    dt = 0.2 / top
    t = dt * np.arange(steps)
    fade = np.minimum(1, 4 * t / t[-1])
    slow = sum(np.sin((k + 1) * 2 * np.pi * t / t[-1] + k) for k in range(4)) / 4
    return dt, {"slow": fade * slow, "tone": fade * np.sin(top * t)}


def memories(N: int, u: np.ndarray, dt: float, eps: float) -> dict[str, np.ndarray]:
    """The states of LegS along the input, (steps, N): exact, and from three diagonal layers that return all states."""
    A, B = qf.ssm.hippo_legs(N)
    step, drive = expm(dt * A), np.linalg.solve(A, (expm(dt * A) - np.eye(N)) @ B)
    exact, x = np.empty((u.size, N)), np.zeros(N)
    for t in range(u.size):
        exact[t] = x = step @ x + drive * u[t]
    half, dts = N // 2, np.array([dt])
    Lambda, _, B_diagonal, V = qf.ssm.dplr_legs(N)
    A_ptd, B_ptd = qf.ssm.s4d_init("ptd", half, eps=eps)
    result = qf.ssm.ptd_init(N, eps=eps)
    size = N - int((A_ptd.imag == 0).sum())  # a real mode leaves N - 1 states: the first ones of LegS, which do not depend on the last
    V_ptd = qf.ssm.ptd_init(size, eps=eps).V[:, :half]

    def s4d(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
        return qf.ssm.s4d_conv(u[None], dts, A, C[:, None, :], B=B)[:, 0].T

    poles, drives = qf.ssm.discretize(result.Lambda, np.outer(result.Vinv @ B, np.eye(N)[0]), dt)  # S5 has as many inputs as outputs
    return {
        "LegS": exact,
        "plain diagonal": s4d(Lambda[:half], B_diagonal[:half] / 2, V[:, :half]),
        "S4-PTD": s4d(A_ptd, B_ptd, V_ptd),
        "S5-PTD": qf.ssm.s5_apply(np.outer(u, np.eye(N)[0]), poles, drives, result.V, conj_sym=False),
    }


def draw(N: int, w: np.ndarray, plain: np.ndarray, ptd: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    ax.loglog(w, plain, lw=1, label=r"plain diagonal ($A^{(N)}$, $B/2$)")
    ax.loglog(w, ptd, lw=1.5, label="perturbed, then diagonalised")
    ax.axhline(2 / np.pi, color="black", lw=0.8, ls="--", label=r"$2/\pi$")
    ax.set(xlabel=r"$\omega$", ylabel=r"$\|G(i\omega) - G_{LegS}(i\omega)\|\;/\;\|B\|$", xlim=(0.1, w[-1]), ylim=(ptd.max() * 1e-3, 2))
    ax.set_title(f"Distance from HiPPO-LegS, N = {N}")
    ax.legend(loc="lower left")
    figure.savefig(file, dpi=130)
    plt.close(figure)


def main(N: int = 32, file: str | None = None) -> None:
    start = time.perf_counter()
    result = qf.ssm.ptd_init(N)
    seconds = time.perf_counter() - start
    w = frequencies(N)
    plain, ptd = differences(N, w, result)
    print(f"N = {N}: ||E|| / ||A|| = {result.eps:.4f}, cond V = {result.cond:.2f}, max Re = {result.max_real:.3f} in {seconds:.2f} s")
    at = w[plain.argmax()]
    print(f"largest ||G - G_LegS||: plain diagonal {plain.max():.4f} at w = {at:.2f} (2/pi = {2 / np.pi:.4f}), PTD {ptd.max():.4f}")
    dt, signals = inputs(N)
    for name, eps in itertools.product(signals, (0.1, 0.01)):
        memory = memories(N, signals[name], dt, eps)
        exact = memory.pop("LegS")
        errors = ", ".join(
            f"{layer} {np.linalg.norm(x - exact[:, : x.shape[1]]) / np.linalg.norm(exact):.2g}" for layer, x in memory.items()
        )
        print(f"error of the memory, {name}, eps {eps}: {errors}")
    if file is not None:
        draw(N, w, plain, ptd, file)
        print(f"picture: {file}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 32, sys.argv[2] if len(sys.argv) > 2 else None)
