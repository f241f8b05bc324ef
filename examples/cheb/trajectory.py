"""Throws, from a simulation that fails
====================================

A simulation that runs in parallel, with values that survive a failure.

::

    python examples/cheb/trajectory.py [PICTURE]

The simulation integrates the equations of motion of a throw with air drag. It returns distance and duration for an angle, speed and drag.
Its calls run on an executor, and each value is appended to a file. After the failure the same call continues with the values in the file.
The tensors of the two outputs then give the longest throw, all angles that hit a target, and the distribution of distances for an unsteady
hand. Another program may also compute the values: the points are written to a file first, and a polynomial chaos is fitted to the values.
The picture needs matplotlib.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.integrate import solve_ivp

import quatrefoil as qf

BOX = [(20.0, 70.0), (20.0, 50.0), (0.0, 0.01)]  # angle in degrees, speed in m/s, drag / mass in 1/m
GRAVITY, TOL, TARGET, FEW = 9.81, 1e-5, 90.0, 60


def throw(angle: float, speed: float, drag: float) -> tuple[float, float]:
    """Where the ball lands, in metres, and when, in seconds."""

    def motion(_: float, state: np.ndarray) -> list[float]:
        _, _, u, w = state
        slowed = drag * np.hypot(u, w)
        return [u, w, -slowed * u, -slowed * w - GRAVITY]

    def height(_: float, state: np.ndarray) -> float:
        return float(state[1])

    height.terminal, height.direction = True, -1  # type: ignore[attr-defined]
    a = np.radians(angle)
    start = [0, 0, speed * np.cos(a), speed * np.sin(a)]
    flight = solve_ivp(motion, (0, 30), start, events=height, rtol=1e-9, atol=1e-9)
    return float(flight.y_events[0][0][0]), float(flight.t_events[0][0])


class Simulation:
    """``throw``, which counts its calls and fails at one of them."""

    def __init__(self, broken: int) -> None:
        self.calls, self.broken, self.lock = 0, broken, threading.Lock()

    def __call__(self, angle: float, speed: float, drag: float) -> tuple[float, float]:
        with self.lock:
            self.calls += 1
            if self.calls == self.broken:
                raise RuntimeError("the cluster is down")
        return throw(angle, speed, drag)


def surrogates(simulation: Simulation, history: list[tuple[int, float]]) -> Any:
    """The tensors of both outputs, from calls that continue after a failure; ``history``: numbers of values and errors."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as executor:
        options = {"executor": executor, "checkpoint": Path(folder) / "values.csv", "progress": lambda *state: history.append(state)}
        try:
            return qf.cheb.ChebTucker.from_function(simulation, BOX, tol=TOL, **options)
        except RuntimeError as error:
            print(f"{error} after {simulation.calls} calls; continuing")
            history.clear()
            return qf.cheb.ChebTucker.from_function(simulation, BOX, tol=TOL, **options)


def from_a_file() -> Any:
    """A polynomial chaos of the distance, whose points and values are exchanged as files."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.csv"
        np.savetxt(file, qf.cheb.PolynomialChaos.points(BOX, FEW), delimiter=",")
        X = np.loadtxt(file, delimiter=",")  # in another program
        np.savetxt(file, np.column_stack([X, [throw(*x)[0] for x in X]]), delimiter=",")
        table = np.loadtxt(file, delimiter=",")
    return qf.cheb.PolynomialChaos.fit(table[:, :3], table[:, 3], BOX)


def draw(history: list[tuple[int, float]], line: Any, hits: np.ndarray, values: np.ndarray, path: str) -> None:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    counts, errors = np.array([state for state in history if np.isfinite(state[1])]).T
    left.semilogy(counts, errors)
    left.set(xlabel="calls", title="relative error in the last test")
    angles = np.linspace(*BOX[0], 200)
    middle.plot(angles, line(angles))
    middle.plot(hits, np.full(hits.size, TARGET), "o")
    middle.axhline(TARGET, color="0.7", lw=1)
    middle.set(xlabel="angle in degrees", ylabel="distance in m", title="angles that hit the target")
    right.hist(values, 80, density=True)
    right.set(xlabel="distance in m", title="an unsteady hand")
    figure.savefig(path, dpi=110)


def main(path: str | None = None) -> dict[str, Any]:
    simulation, history = Simulation(broken=100), []  # type: ignore[var-annotated]
    distance, duration = surrogates(simulation, history)
    print(f"{simulation.calls} calls, relative errors {distance.error_estimate:.0e} and {duration.error_estimate:.0e}")
    best = distance.maximize()
    print(f"longest throw {best.value:.2f} m, {duration(best.point):.2f} s, at {best.point[0]:.1f} degrees and {best.point[1]:.0f} m/s")
    line = distance.at(y=40.0, z=0.005)  # a function of the angle
    farthest, hits = line.maximize(), (line - TARGET).roots()
    print(f"at 40 m/s with drag 0.005: farthest at {farthest.point[0]:.2f} degrees; {TARGET:.0f} m at {hits.round(2)} degrees")
    hand = [stats.norm(hits[0], 1.5), stats.norm(40, 1), stats.uniform(0.004, 0.002)]
    values = distance.sample_output(100_000, distributions=hand, rng=0)
    shares = distance.sobol("total", distributions=hand)
    print(f"an unsteady hand: {values.mean():.1f} +- {values.std():.1f} m, total indices of angle, speed and drag {shares.round(2)}")
    chaos = from_a_file()
    print(f"from {FEW} values in a file: error {chaos.error_estimate:.0e} of the standard deviation, mean {chaos.mean():.2f} m")
    if path is not None:
        draw(history, line, hits, values, path)
    return {"tensors": (distance, duration), "calls": simulation.calls, "best": best, "farthest": farthest, "hits": hits, "chaos": chaos}


if __name__ == "__main__":
    main(*sys.argv[1:2])
