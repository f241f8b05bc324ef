"""Prices and Greeks of an option
==============================

A price as a polynomial of five variables, with its five sensitivities, at one point and at a million points.

::

    python examples/cheb/option_greeks.py [POINTS] [PICTURE]

Approximates the Black-Scholes price of a call, whose Greeks are known, as a function of spot, strike, maturity, volatility and rate. A
Chebyshev tensor with tolerance 1e-7 gives the price and all five Greeks at once. It is compared with PyChebyshev (pip install
pychebyshev), which has as many points per axis as the tensor, and with SciPy's RegularGridInterpolator on a grid of the same size, with
finite differences for the Greeks. For a real model, based on trees or simulations, the number of calls matters most.
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
TOL = 1e-7
SLOW = 300  # points for the other methods, whose time is proportional to the number of points


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


def by_pychebyshev(n: tuple[int, ...], X: np.ndarray) -> tuple[int, Any, float]:
    """Number of price calls, prices and Greeks at X, and seconds per point."""
    from pychebyshev import ChebyshevApproximation

    cheb = ChebyshevApproximation(lambda x, _: float(price(*x)), 5, [list(pair) for pair in BOX], list(n))
    with contextlib.redirect_stdout(io.StringIO()):
        cheb.build(verbose=False)
    orders = [[0] * 5, *np.eye(5, dtype=int).tolist()]
    elapsed, rows = seconds(lambda: np.array([cheb.vectorized_eval_multi(x.tolist(), orders) for x in X]))
    return math.prod(n), rows, elapsed / len(X)


def by_interpolation(n: tuple[int, ...], X: np.ndarray) -> tuple[int, Any, float]:
    """The same with linear interpolation, and finite differences with steps of a thousandth of the box for the Greeks."""
    lines = [np.linspace(lo, hi, m) for (lo, hi), m in zip(BOX, n)]
    table = RegularGridInterpolator(lines, price(*np.ix_(*lines)))
    widths = np.array([hi - lo for lo, hi in BOX])

    def run() -> np.ndarray:
        columns = [table(X)]
        for k in range(5):
            step = 1e-3 * widths[k] * np.eye(5)[k]
            lo, hi = (np.clip(X + s * step, *np.array(BOX).T) for s in (-1, 1))
            columns.append((table(hi) - table(lo)) / (hi - lo)[:, k])
        return np.stack(columns, axis=-1)

    elapsed, rows = seconds(run)
    return math.prod(n), rows, elapsed / len(X)


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
    ct.value_and_grad(X[0])  # packs the tensor
    one = min(seconds(lambda: ct.value_and_grad(X[0]))[0] for _ in range(20))
    many, (value, slopes) = seconds(lambda: ct.value_and_grad(X))
    few = X[:SLOW]
    results = {"tensor": (ct.n_evaluations, np.concatenate([value[:, None], slopes], axis=1), many / points)}
    results["PyChebyshev"] = by_pychebyshev(ct.n, few)
    results["RegularGridInterpolator"] = by_interpolation(ct.n, few)
    print(f"{ct!r}: one point {one * 1e6:.0f} us, {points} points {many:.2f} s")
    errors = {}
    for name, (calls, rows, each) in results.items():
        off = np.abs(rows - exact[: len(rows)]).max(axis=0) / sizes
        errors[name] = (float(calls or 0), float(off[0]), float(off[1:].max()), each)
        print(
            f"{name:24} {calls:8} calls, error of the price {off[0]:.1e}, of the Greeks {off[1:].max():.1e}, {each * 1e6:8.2f} us per point"
        )
    if path is not None:
        draw(ct, path)
    return errors


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:2]), *sys.argv[2:3])
