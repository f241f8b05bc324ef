"""A differential equation with three scales
=========================================

Gaussian processes that learn the frequencies solve u'' = f, where u = sin x + sin(20 x)/10 + sin(100 x)/20 has three scales.

::

    python examples/kron/multiscale.py [N [steps [picture.png]]]

Errors are measured at 300 points, most of which are not on the grid, and do not enter the training. The result is the solution with the
smallest residual of the equation at the points of the grid.
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


def draw(x: np.ndarray, tried: dict[int, np.ndarray], gp: qf.kron.GPHM, file: str) -> None:
    """``tried``: the values at ``x`` by number of steps."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
    left.plot(x, solution(x), color="black", lw=3, alpha=0.3, label="u")
    left.plot(x, list(tried.values())[-1], color="C3", lw=0.8, label="prediction")
    left.set(xlabel="x", title="the solution")
    left.legend()
    for steps, values in tried.items():
        middle.semilogy(x, np.abs(values - solution(x)) + 1e-17, lw=0.8, label=f"after {steps} step{'s' * (steps > 1)}")
    middle.set(xlabel="x", title="error")
    middle.legend()
    params = gp.params
    right.stem(2 * np.pi * params["freqs_0"], np.exp(params["log_weights_0"]), basefmt=" ")
    for _, w in SCALES:
        right.axvline(w, color="0.5", lw=0.8, ls="--")
    right.set(xscale="log", yscale="log", xlabel="angular frequency", title="weights of the kernel's components; dashed: frequencies of u")
    figure.savefig(file, dpi=120)


def main(N: int = 300, steps: int = 60, file: str | None = None) -> None:
    x = np.linspace(0, 1, N)
    gp = qf.kron.GPHM(qf.kron.pde.Poisson(source=source, boundary=solution), [x], freq_scale=30.0)
    fine, tried = np.linspace(0, 1, 2000), {}
    begin = time.perf_counter()
    for count in (1, steps - 1):
        report = gp.fit(count, truth=solution).report()
        seconds = time.perf_counter() - begin
        print(f"error {report['error']:.1e}, residual {report['residual']:.1e} after {report['steps']} steps, {seconds:.1f} s")
        tried[report["steps"]] = gp.predict([fine])
    if file:
        draw(fine, tried, gp, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]), *sys.argv[3:4])
