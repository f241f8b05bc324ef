"""Three scales in one solution: u'' = f with u = sin x + sin(20 x)/10 + sin(100 x)/20, by Gaussian processes that learn the frequencies.

    python examples/multiscale.py [N] [steps]

A mixture finds the waves; a smooth process on top of it then takes what is left. Errors are against u at 300 points, most of which are not
on the grid; nothing of them goes into the training.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import quatrefoil as qf

SCALES = ((1.0, 1), (0.1, 20), (0.05, 100))  # amplitude, angular frequency


def solution(x: np.ndarray) -> np.ndarray:
    return sum(a * np.sin(w * x) for a, w in SCALES)


def source(x: np.ndarray) -> np.ndarray:
    return sum(-a * w**2 * np.sin(w * x) for a, w in SCALES)


def main(N: int = 300, steps: int = 100) -> None:
    x = np.linspace(0, 1, N)
    equation = qf.kron.Poisson(source=source, boundary=solution)
    gp = qf.kron.GPHM(equation, [x], freq_scale=30.0, optimizer="projection")
    for name in ("mixture", "with a smooth component"):
        begin = time.perf_counter()
        gp.fit(steps, truth=solution)
        print(f"{name}: error {gp.report()['error']:.1e} after {gp.report()['steps']} steps, {time.perf_counter() - begin:.1f} s")
        if gp.held_params is None:
            gp.add_smooth_component()


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]))
