"""Prices and Greeks of an option
==============================

A price as a polynomial of five variables, with its five sensitivities, at one point and at a million points.

::

    python examples/cheb/option_greeks.py [POINTS] [PICTURE]

Approximates the Black-Scholes price of a call, whose Greeks are known, as a function of spot, strike, maturity, volatility and rate. A
Chebyshev tensor with tolerance 1e-5 gives the price and all five Greeks at once. It is compared with PyChebyshev (pip install pychebyshev)
on a full grid of Chebyshev points, and with SciPy's RegularGridInterpolator on a finer grid, with finite differences for the Greeks. The
methods are as in ``quatrefoil bench jobs price``. For a real model, based on trees or simulations, the number of calls matters most.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.special import ndtr

import quatrefoil as qf

BOX = [(80.0, 120.0), (90.0, 110.0), (0.25, 1.0), (0.15, 0.35), (0.01, 0.08)]
NAMES = ("spot", "strike", "maturity", "volatility", "rate")
TOL, CHEBYSHEV, UNIFORM = 1e-5, (13, 13, 9, 9, 7), (25, 25, 17, 17, 13)  # tolerance, points per axis of the other methods
SLOW = 500  # points for the other methods, whose time is proportional to the number of points


def _d1(S: Any, K: Any, T: Any, v: Any, r: Any) -> Any:
    return (np.log(S / K) + (r + v**2 / 2) * T) / (v * np.sqrt(T))


def price(S: Any, K: Any, T: Any, v: Any, r: Any) -> Any:
    d1 = _d1(S, K, T, v, r)
    return S * ndtr(d1) - K * np.exp(-r * T) * ndtr(d1 - v * np.sqrt(T))


def greeks(S: Any, K: Any, T: Any, v: Any, r: Any) -> Any:
    """The derivatives (.., 5) of the price."""
    d1 = _d1(S, K, T, v, r)
    d2, discounted = d1 - v * np.sqrt(T), K * np.exp(-r * T)
    density = np.exp(-(d1**2) / 2) / math.sqrt(2 * math.pi)
    by_time = S * density * v / (2 * np.sqrt(T)) + r * discounted * ndtr(d2)
    return np.stack([ndtr(d1), -np.exp(-r * T) * ndtr(d2), by_time, S * density * np.sqrt(T), T * discounted * ndtr(d2)], axis=-1)


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


Answer = tuple[int, np.ndarray, float, float]


def timed(calls: int, run: Callable[[np.ndarray], np.ndarray], X: np.ndarray, one: Callable[[np.ndarray], Any] | None = None) -> Answer:
    """Return calls, values (P, 6) at X, seconds for one point (by ``one``), seconds per point."""
    single = one or run
    least = min(seconds(lambda: single(X[:1]))[0] for _ in range(20))
    many, rows = seconds(lambda: run(X))
    return calls, rows, least, many / len(X)


def by_tensor(ct: Any, X: np.ndarray) -> Answer:
    def run(X: np.ndarray) -> np.ndarray:
        value, slopes = ct.value_and_grad(X)
        return np.concatenate([value[:, None], slopes], axis=1)

    return timed(ct.n_evaluations, run, X)


def by_pychebyshev(X: np.ndarray) -> Answer:
    from pychebyshev import ChebyshevApproximation

    model = ChebyshevApproximation(lambda x, _: float(price(*x)), 5, [list(pair) for pair in BOX], list(CHEBYSHEV))
    with contextlib.redirect_stdout(io.StringIO()):
        model.build(verbose=False)
    orders = [[0] * 5, *np.eye(5, dtype=int).tolist()]

    def run(X: np.ndarray) -> np.ndarray:
        return np.stack([model.vectorized_eval_batch(X, order) for order in orders], axis=-1)

    return timed(math.prod(CHEBYSHEV), run, X, lambda X: model.vectorized_eval_multi(X[0].tolist(), orders))


def by_interpolation(X: np.ndarray) -> Answer:
    """Linear interpolation; the Greeks by central differences with steps of 0.1 % of the box."""
    lines = [np.linspace(lo, hi, m) for (lo, hi), m in zip(BOX, UNIFORM)]
    table = RegularGridInterpolator(lines, price(*np.ix_(*lines)))
    low, high = np.array(BOX).T

    def run(X: np.ndarray) -> np.ndarray:
        columns = [table(X)]
        for k in range(5):
            step = 1e-3 * (high - low)[k] * np.eye(5)[k]
            before, after = (np.clip(X + s * step, low, high) for s in (-1, 1))
            columns.append((table(after) - table(before)) / (after - before)[:, k])
        return np.stack(columns, axis=-1)

    return timed(math.prod(UNIFORM), run, X)


def draw(ct: Any, path: str) -> None:
    import matplotlib.pyplot as plt

    S = np.linspace(80, 120, 201)
    X = np.stack(np.broadcast_arrays(S, 100.0, 0.5, 0.2, 0.03), axis=-1)
    value, slopes = ct.value_and_grad(X)
    figure, axes = plt.subplots(2, 3, figsize=(11, 5), sharex=True, layout="constrained")
    exact = greeks(*X.T)
    for ax, name, ours, truth in zip(axes.flat, ("price", *NAMES), (value, *slopes.T), (price(*X.T), *exact.T)):
        ax.plot(S, truth, lw=4, color="0.8", label="formula")
        ax.plot(S, ours, label="tensor")
        ax.set_title(name if name == "price" else f"sensitivity to the {name}")
    axes[0, 0].legend()
    figure.supxlabel("spot")
    figure.savefig(path, dpi=110)


def main(points: int = 1_000_000, path: str | None = None) -> dict[str, tuple[float, ...]]:
    ct = qf.cheb.ChebTucker.from_function(price, BOX, tol=TOL)
    X = np.array(BOX)[:, 0] + np.ptp(BOX, axis=1) * np.random.default_rng(0).random((points, 5))
    exact = np.concatenate([price(*X.T)[:, None], greeks(*X.T)], axis=1)
    sizes = np.abs(exact).max(axis=0)
    few = X[:SLOW]
    results = {
        "tensor": by_tensor(ct, X),
        "PyChebyshev": by_pychebyshev(few),
        "RegularGridInterpolator": by_interpolation(few),
    }
    print(ct)
    errors = {}
    for name, (calls, rows, one, each) in results.items():
        off = np.abs(rows - exact[: len(rows)]).max(axis=0) / sizes
        errors[name] = (float(calls), float(off[0]), float(off[1:].max()), each)
        accuracy = f"error of the price {off[0]:.1e}, of the Greeks {off[1:].max():.1e}"
        print(f"{name:24} {calls:8} calls, {accuracy}, one point {one * 1e6:8.1f} us, {len(rows):8} points {each * 1e6:8.2f} us each")
    if path is not None:
        draw(ct, path)
    return errors


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:2]), *sys.argv[2:3])
