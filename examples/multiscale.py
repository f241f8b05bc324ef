"""Three scales in one solution
============================

Three scales in one solution: u'' = f with u = sin x + sin(20 x)/10 + sin(100 x)/20, by Gaussian processes that learn the frequencies.

::

    python examples/multiscale.py [N] [steps]

Errors are against u at 300 points, most of which are not on the grid. Nothing of them goes into the training, which keeps the solution of
least residual: the equation's at all points of the grid, of which it solves a part.
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


def main(N: int = 300, steps: int = 60) -> None:
    x = np.linspace(0, 1, N)
    gp = qf.kron.GPHM(qf.kron.Poisson(source=source, boundary=solution), [x], freq_scale=30.0)
    begin = time.perf_counter()
    for count in (1, steps - 1):
        found = gp.fit(count, truth=solution).report()
        seconds = time.perf_counter() - begin
        print(f"error {found['error']:.1e}, residual {found['residual']:.1e} after {found['steps']} steps, {seconds:.1f} s")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]))
