"""Warnings about escaped walks and unreliable error bars."""

from __future__ import annotations

import numpy as np

from ... import _arrays
from ..._warnings import warn
from .run import Run
from .state import COUNTS, Groups, State

_ESCAPED = COUNTS.index("escaped")
MAX_ESCAPED = 0.01  # fraction of all walks
MAX_DOUBTED = 0.05  # fraction of all points; a few points may have u close to 0
FEW = 5  # walks that contribute to a value; with fewer, the value is often 0 or off by many error bars
_ENOUGH = 100  # samples; with fewer, an error bar is rough anyway
_SMALLEST, _LARGEST = 2.0**-480, 2.0**480  # range in which float64 can represent squares


def report(run: Run, state: State | Groups, mean: np.ndarray, m2: np.ndarray) -> None:
    """Warn about a state, given its means and sums of squared deviations on the host, in units of u."""
    p, counts = run.prepared, _arrays.to_host(state.counts)
    if p.statement._varies:
        warn_of_jumps("solve", int(counts[:, len(COUNTS)].sum()))
    escaped = int(counts[:, _ESCAPED].sum())
    walks = int(np.broadcast_to(state.walks, len(counts))[counts[:, 0] > 0].sum()) if escaped else 0
    if escaped > MAX_ESCAPED * walks:
        warn(
            f"solve: {escaped / walks:.1%} of the walks left the domain (n_escaped) and ended at the closest boundary point, which biases "
            "the values; close the gaps of the mesh, or pass the Lipschitz constant of the values to SDF as lipschitz"
        )
    samples = state.samples
    if (samples if isinstance(samples, int) else samples.max(initial=0)) >= _ENOUGH or p.calls:
        _warn_of_error_bars(run, counts[:, 0] > 0, np.asarray(samples), _arrays.to_host(mean)[:, 0], _arrays.to_host(m2)[:, 0])


def warn_of_jumps(label: str, beyond: int) -> None:
    """Warn if walks have jumped to points where a medium exceeds its bound."""
    if beyond:
        warn(
            f"{label}: {beyond} jumps went to points where the diffusion and the screening vary more than the bound on the walks' rate "
            "allows. The bound was estimated from samples. The values are unbiased, but their errors may be large; check for small features"
        )


def _warn_of_error_bars(run: Run, walked: np.ndarray, n: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> None:
    p, size = run.prepared, np.abs(mean)
    if p.calls and (odd := walked & np.isfinite(mean) & (size > 0) & ((size < _SMALLEST) | (size > _LARGEST))).any():
        warn(
            f"solve: the stderr of {int(odd.sum())} points may be 0 or infinite: the squares of their walks' values exceed the range of "
            "float64; u is linear in the data, so pass functions with values near 1 and scale the result"
        )
    size = np.abs(mean - np.repeat(_closest_to_zero(run), p.sizes.N))
    with np.errstate(all="ignore"):
        carrying = np.where(size > 0, n / (1 + m2 / (n * size * size)), 0.0)  # csrc/wos/walk/README.md (25)
    few = walked & (n >= _ENOUGH) & (carrying < FEW) & ~np.isnan(size)
    if few.any() and few.sum() > MAX_DOUBTED * walked.sum():
        warn(
            f"solve: the stderr of {int(few.sum())} of {len(few)} points cannot be trusted: fewer than {FEW} of their walks determine the "
            "value, and the others end where the data are closest to 0; use more walks"
        )


def _closest_to_zero(run: Run) -> np.ndarray:
    """(25) a, (B,): the value of the data closest to 0, or 0 with a source or a flux.

    NaN if the values have both signs or are all the same, and for functions.
    """
    p = run.prepared
    if any(data.function is not None for data in p.linear):
        return np.full(p.sizes.B, np.nan)
    low, high = run.ranges.T
    if any(data.numbers is not None for data in p.linear[1:]):
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    return np.where(low == high, np.nan, np.where(low >= 0, low, np.where(high <= 0, high, np.nan)))
