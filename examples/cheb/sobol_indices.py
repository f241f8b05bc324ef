"""Which inputs determine a wing's weight
=========================================

Sobol indices of ten inputs from 100 and from 300 calls to a function, compared with a tensor that reproduces it to six digits.

::

    python examples/cheb/sobol_indices.py [PICTURE]

The function is the weight of a light aircraft's wing in terms of its area, fuel, shape and load (Forrester, Sobester and Keane,
*Engineering Design via Surrogate Modelling*, 2008), with uniform inputs. A polynomial chaos computes the indices from few calls, and
estimates its own error at other points.
"""

from __future__ import annotations

import sys

import numpy as np

import quatrefoil as qf

INPUTS = {
    "wing area": (150, 200),
    "fuel weight": (220, 300),
    "aspect ratio": (6, 10),
    "sweep": (-10, 10),
    "dynamic pressure": (16, 45),
    "taper": (0.5, 1),
    "thickness": (0.08, 0.18),
    "load factor": (2.5, 6),
    "gross weight": (1700, 2500),
    "paint weight": (0.025, 0.08),
}
CALLS = (100, 300)


def weight(
    S: np.ndarray, W: np.ndarray, A: np.ndarray, L: np.ndarray, q: np.ndarray, l: np.ndarray, t: np.ndarray, N: np.ndarray, Wd: np.ndarray,
    Wp: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The weight in pounds."""
    c = np.cos(np.radians(L))
    return 0.036 * S**0.758 * W**0.0035 * (A / c**2) ** 0.6 * q**0.006 * l**0.04 * (100 * t / c) ** -0.3 * (N * Wd) ** 0.49 + S * Wp


def draw(totals: dict[str, np.ndarray], path: str) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    x = np.arange(len(INPUTS))
    for i, (label, total) in enumerate(totals.items()):
        ax.bar(x + 0.27 * (i - 1), total, 0.25, label=label)
    ax.set_xticks(x, INPUTS, rotation=40, ha="right")
    ax.set_ylabel("total Sobol index")
    ax.legend()
    figure.savefig(path, dpi=120)


def main(path: str | None = None) -> dict[str, np.ndarray]:
    ct = qf.cheb.ChebTucker.from_function(weight, list(INPUTS.values()), tol=1e-6)
    totals = {}
    for calls in CALLS:
        chaos = qf.cheb.PolynomialChaos.from_function(weight, list(INPUTS.values()), max_evaluations=calls)
        totals[f"{calls} calls"] = chaos.sobol("total")
        off = np.abs(chaos.sobol("total") - ct.sobol("total")).max()
        spread = abs(chaos.var() / ct.var() - 1)
        print(f"{calls} calls: indices off by {off:.1e}, variance by {spread:.1e}, estimated error {chaos.error_estimate:.1e}")
    totals[f"tensor, {ct.n_evaluations} calls"] = ct.sobol("total")
    if path is not None:
        draw(totals, path)
    return totals


if __name__ == "__main__":
    main(*sys.argv[1:2])
