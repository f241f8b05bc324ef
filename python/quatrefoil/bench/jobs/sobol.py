"""Sobol indices of the borehole and the wing weight function, with all total indices accurate to 0.01."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from . import Side

TITLE = "Sobol indices of the borehole (8 inputs) and the wing weight (10 inputs)"
MEASURE = "largest error of a total index"
QUICK = {"CALLS": 60, "SAMPLES": 2**11}
CALLS, SAMPLES = 150, 2**16  # calls to each function for our model; samples for the truth
Function = Callable[..., Any]
Box = list[tuple[float, float]]


def borehole(rw: Any, r: Any, Tu: Any, Hu: Any, Tl: Any, Hl: Any, L: Any, Kw: Any) -> Any:
    g = np.log(r / rw)
    return 2 * np.pi * Tu * (Hu - Hl) / (g * (1 + 2 * L * Tu / (g * rw**2 * Kw) + Tu / Tl))


def wing_weight(S: Any, W: Any, A: Any, L: Any, q: Any, l: Any, t: Any, N: Any, Wd: Any, Wp: Any) -> Any:
    c = np.cos(np.radians(L))
    return 0.036 * S**0.758 * W**0.0035 * (A / c**2) ** 0.6 * q**0.006 * l**0.04 * (100 * t / c) ** -0.3 * (N * Wd) ** 0.49 + S * Wp


FUNCTIONS: tuple[tuple[Function, Box], ...] = (
    (borehole, [(0.05, 0.15), (100, 50000), (63070, 115600), (990, 1110), (63.1, 116), (700, 820), (1120, 1680), (9855, 12045)]),
    (wing_weight, [(150, 200), (220, 300), (6, 10), (-10, 10), (16, 45), (0.5, 1), (0.08, 0.18), (2.5, 6), (1700, 2500), (0.025, 0.08)]),
)


class Counted:
    """A function of points (N, d) that counts its evaluations."""

    def __init__(self, f: Function) -> None:
        self.f, self.calls = f, 0

    def __call__(self, X: np.ndarray) -> Any:
        self.calls += len(X)
        return self.f(*X.T)


Answer = tuple[list[np.ndarray], int]  # total indices per function, and calls


def data() -> tuple[tuple[Function, Box], ...]:
    return FUNCTIONS


def _truth() -> list[np.ndarray]:
    """Jansen's estimator on Sobol points: errors of about 1e-4."""
    from scipy.stats import qmc

    totals = []
    for f, box in FUNCTIONS:
        low, high = np.array(box).T
        d = len(box)
        A, B = (low + (high - low) * half for half in np.hsplit(qmc.Sobol(2 * d, seed=0).random(SAMPLES), 2))
        y = f(*A.T)
        of_axis = (0.5 * np.mean((y - f(*np.where(np.arange(d) == k, B, A).T)) ** 2) for k in range(d))
        totals.append(np.array([*of_axis]) / y.var())
    return totals


def errors(data: Any, answer: Answer) -> dict[str, float]:
    totals, calls = answer
    off = [np.abs(a - b).max() for a, b in zip(totals, _truth())]
    return {"error": max(off), "calls": calls}


def both(total_indices: Callable[[Counted, Box], np.ndarray]) -> Callable[[Any], Answer]:
    """Run one method for both functions, and count its calls."""

    def run(data: tuple[tuple[Function, Box], ...]) -> Answer:
        counted = [Counted(f) for f, _ in data]
        return [total_indices(f, box) for f, (_, box) in zip(counted, data)], sum(f.calls for f in counted)

    return run


def by_quatrefoil(f: Counted, box: Box) -> Any:
    from quatrefoil import cheb

    return cheb.PolynomialChaos.from_function(lambda *x: f(np.stack(x, axis=-1)), box, max_evaluations=CALLS).sobol("total")


def by_chaospy(f: Counted, box: Box) -> np.ndarray:
    """Total degree 2, by least squares with three points per term."""
    import chaospy

    joint = chaospy.J(*(chaospy.Uniform(*pair) for pair in box))
    expansion = chaospy.generate_expansion(2, joint)
    X = joint.sample(3 * len(expansion), rule="sobol")
    return np.asarray(chaospy.Sens_t(chaospy.fit_regression(expansion, X, f(X.T)), joint))


def by_salib(f: Counted, box: Box) -> np.ndarray:
    from SALib.analyze import sobol as analyze
    from SALib.sample import sobol as sample

    names = [f"x{k}" for k in range(len(box))]
    problem = {"num_vars": len(box), "names": names, "bounds": [list(pair) for pair in box]}
    X = sample.sample(problem, 2**12, calc_second_order=False, seed=0)
    return np.asarray(analyze.analyze(problem, f(X), calc_second_order=False, seed=0)["ST"])


def by_pychebyshev(f: Counted, box: Box) -> np.ndarray:
    """A tensor train, evaluated on Saltelli's sequence, because pychebyshev's own indices assume an arcsine distribution."""
    from pychebyshev import ChebyshevTT

    d = len(box)
    train = ChebyshevTT(lambda x, _=None: float(f(np.array([x]))[0]), d, np.array(box).tolist(), [5] * d, max_rank=3)
    with contextlib.redirect_stdout(io.StringIO()):
        train.build(verbose=False)
    surrogate = Counted(lambda *x: train.eval_batch(np.stack(x, axis=-1)))
    return by_salib(surrogate, box)


SIDES = {
    "quatrefoil": Side(both(by_quatrefoil)),
    "chaospy": Side(both(by_chaospy), "chaospy"),
    "SALib": Side(both(by_salib), "SALib"),
    "PyChebyshev and SALib": Side(both(by_pychebyshev), "pychebyshev"),
}
