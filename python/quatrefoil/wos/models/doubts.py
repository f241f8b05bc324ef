"""Warnings about a result: walks that escaped, and error bars that cannot be trusted."""

from __future__ import annotations

import numpy as np

from ... import _arrays
from .prepared import Prepared
from .state import COUNTS, Groups, State
from .units import each_instance
from .warn import warn

_ESCAPED = COUNTS.index("escaped")
MAX_ESCAPED = 0.01  # of all walks
MAX_DOUBTED = 0.05  # of all points: there may be a few where u is almost 0
FEW = 5  # walks that carry a value: with fewer, it is often 0 or off by many error bars
_ENOUGH = 100  # samples: with fewer, an error bar is rough anyway
_SMALLEST, _LARGEST = 2.0**-480, 2.0**480  # numbers whose squares float64 holds


def report(p: Prepared, state: State | Groups, mean: np.ndarray, m2: np.ndarray) -> None:
    """Warnings on the host about a state with those means and sums of squared deviations, in units of u."""
    counts = _arrays.to_host(state.counts)
    if p.bound is not None and (beyond := int(counts[:, len(COUNTS)].sum())):
        warn(
            f"{beyond} jumps went to places where the diffusion and the screening vary more than the bound of the walks' rate, which was "
            "found from samples: answers are right, but their errors may be large; are there small features?"
        )
    of_each = counts[:, _ESCAPED]
    if of_each.any():
        escaped = int(of_each.sum())
        walks = int(np.broadcast_to(state.walks, len(counts))[counts[:, 0] > 0].sum())
        if escaped > MAX_ESCAPED * walks:
            warn(
                f"{escaped / walks:.1%} of the walks left the domain (n_escaped) and end at the closest boundary point, which biases the "
                "values; close the gaps of the mesh, or give the SDF the lipschitz constant of its values"
            )
    samples = state.samples
    if (samples if isinstance(samples, int) else samples.max(initial=0)) >= _ENOUGH or p.calls:
        _of_error_bars(p, counts[:, 0] > 0, np.asarray(samples), _arrays.to_host(mean)[:, 0], _arrays.to_host(m2)[:, 0])


def _of_error_bars(p: Prepared, walked: np.ndarray, n: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> None:
    size = np.abs(mean)
    if p.calls and (odd := walked & np.isfinite(mean) & (size > 0) & ((size < _SMALLEST) | (size > _LARGEST))).any():
        warn(
            f"the stderr of {int(odd.sum())} points may be 0 or infinite: the squares of their walks' values leave float64; "
            "u is linear in the data: give functions of values near 1 and scale the result"
        )
    with np.errstate(all="ignore"):
        carrying = np.where(size > 0, n / (1 + m2 / (n * mean * mean)), 0.0)  # README (25)
    few = walked & (n >= _ENOUGH) & (carrying < FEW)
    if few.any() and (few := few & np.repeat(_one_signed(p), p.sizes.N)).sum() > MAX_DOUBTED * walked.sum():
        warn(
            f"the stderr of {int(few.sum())} of {len(few)} points cannot be trusted: fewer than {FEW} of their walks carry the value, and "
            "the others are close to 0; take more walks"
        )


def _one_signed(p: Prepared) -> np.ndarray:
    """(B,): whether all data of an instance are known to have one sign, so that no two walks cancel."""
    low, high = np.zeros((2, p.sizes.B))
    for data in p.linear:
        if data.function is not None:
            return np.zeros(p.sizes.B, bool)
        if data.numbers is not None:
            series = data.kind in ("fourier", "polynomial")
            low = np.minimum(low, each_instance(data, _least_of_series if series else _least))
            high = np.maximum(high, each_instance(data, _largest_of_series if series else _largest))
    return np.asarray((low == 0) != (high == 0))


def _least(c: np.ndarray) -> np.ndarray:
    """The least number of each row."""
    return np.asarray(c.min(axis=1, initial=np.inf))


def _largest(c: np.ndarray) -> np.ndarray:
    return -_least(-c)


def _largest_of_series(c: np.ndarray) -> np.ndarray:
    return -_least_of_series(-c)


def _least_of_series(c: np.ndarray) -> np.ndarray:
    """A lower bound for each row: the terms after the first are at most as large as their coefficients."""
    return np.asarray(c[:, 0] - np.abs(c[:, 1:]).sum(axis=1))
