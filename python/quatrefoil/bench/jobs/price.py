"""The price of a call option with its five Greeks at a million points of (spot, strike, maturity, volatility, rate)."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from . import Side

TITLE = "A price of five variables with its Greeks at a million points"
MEASURE = "largest error of a Greek, relative to its largest value"
QUICK = {"POINTS": 2000}
BOX = ((80.0, 120.0), (90.0, 110.0), (0.25, 1.0), (0.15, 0.35), (0.01, 0.08))
POINTS, SIZES = 1_000_000, (13, 13, 9, 9, 7)


class Data(NamedTuple):
    X: np.ndarray  # (POINTS, 5)
    exact: np.ndarray  # (POINTS, 6): the price, then the Greeks


def _parts(S: Any, K: Any, T: Any, v: Any, r: Any) -> tuple[Any, Any]:
    d1 = (np.log(S / K) + (r + v**2 / 2) * T) / (v * np.sqrt(T))
    return d1, d1 - v * np.sqrt(T)


def price(S: Any, K: Any, T: Any, v: Any, r: Any) -> Any:
    """The Black-Scholes formula."""
    d1, d2 = _parts(S, K, T, v, r)
    return S * ndtr(d1) - K * np.exp(-r * T) * ndtr(d2)


def greeks(S: Any, K: Any, T: Any, v: Any, r: Any) -> Any:
    """The derivatives of the price (..., 5)."""
    d1, d2 = _parts(S, K, T, v, r)
    discounted, density = K * np.exp(-r * T), np.exp(-(d1**2) / 2) / math.sqrt(2 * math.pi)
    by_time = S * density * v / (2 * np.sqrt(T)) + r * discounted * ndtr(d2)
    return np.stack([ndtr(d1), -np.exp(-r * T) * ndtr(d2), by_time, S * density * np.sqrt(T), T * discounted * ndtr(d2)], axis=-1)


def data() -> Data:
    low, high = np.array(BOX).T
    X = low + (high - low) * np.random.default_rng(0).random((POINTS, 5))
    return Data(X, np.concatenate([price(*X.T)[:, None], greeks(*X.T)], axis=1))


def errors(data: Data, answer: np.ndarray) -> dict[str, float]:
    exact = data.exact[: len(answer)]
    off = np.abs(answer - exact).max(axis=0) / np.abs(exact).max(axis=0)
    return {"error of a Greek": off[1:].max(), "of the price": off[0]}


def by_quatrefoil(data: Data) -> np.ndarray:
    import quatrefoil as qf

    model = qf.cheb.ChebTucker.from_function(price, BOX, tol=1e-5)
    value, slopes = model.value_and_grad(data.X)
    return np.concatenate([value[:, None], slopes], axis=1)


def by_pychebyshev(data: Data, share: float) -> np.ndarray:
    from pychebyshev import ChebyshevApproximation

    model = ChebyshevApproximation(lambda x, _: float(price(*x)), 5, np.array(BOX).tolist(), list(SIZES))
    with contextlib.redirect_stdout(io.StringIO()):
        model.build(verbose=False)
    few = data.X[: round(len(data.X) * share)]
    return np.stack([model.vectorized_eval_batch(few, order) for order in ([0] * 5, *np.eye(5, dtype=int).tolist())], axis=-1)


def by_regular_grid(data: Data) -> np.ndarray:
    """Linear interpolation in cells; the Greeks are finite differences with a step of a thousandth of the box."""
    from scipy.interpolate import RegularGridInterpolator

    lines = [np.linspace(lo, hi, m) for (lo, hi), m in zip(BOX, (25, 25, 17, 17, 13))]
    table = RegularGridInterpolator(lines, price(*np.ix_(*lines)))
    low, high = np.array(BOX).T
    columns = [table(data.X)]
    for k in range(5):
        step = 1e-3 * (high - low)[k] * np.eye(5)[k]
        before, after = (np.clip(data.X + s * step, low, high) for s in (-1, 1))
        columns.append((table(after) - table(before)) / (after - before)[:, k])
    return np.stack(columns, axis=-1)


SIDES = {
    "quatrefoil": Side(by_quatrefoil),
    "PyChebyshev": Side(by_pychebyshev, "pychebyshev", (0.005, 0.01)),
    "RegularGridInterpolator": Side(by_regular_grid, "scipy"),
}
