"""Distributions of inputs: uniform, from ``scipy.stats``, or given by samples; their quantiles and quadrature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arguments

OUTSIDE = 1e-3  # largest probability outside the domain that is cut off without an error
NODES = 160  # nodes of a quadrature in the quantiles, on either side of the median
REACH = 3.6  # largest value of the quadrature variable t: quantiles down to exp(-pi sinh 3.6) = 1e-25


class Distribution:
    """One input: uniform between two numbers, a frozen continuous distribution of ``scipy.stats``, or samples."""

    def __init__(self, value: Any, label: str) -> None:
        self.frozen: Any = None
        self.samples: np.ndarray | None = None
        if hasattr(value, "ppf") and hasattr(value, "cdf"):
            if hasattr(value, "pmf") and not hasattr(value, "pdf"):
                raise TypeError(f"{label}: a distribution is discrete, expected a continuous one; pass samples of it instead")
            self.frozen = value
            return
        if isinstance(value, (tuple, list)) and len(value) == 2:
            lo, hi = (_arguments.number(x, label, "an end of a distribution", negative=True) for x in value)
            if not lo < hi:
                raise ValueError(f"{label}: a distribution is ({lo}, {hi}), expected lo < hi")
            self.ends = lo, hi
            return
        host = _arguments.host_array(value, label, "a distribution", convert=True).astype(np.float64)
        if host.ndim != 1 or host.size < 2:
            raise ValueError(
                f"{label}: a distribution has shape {host.shape}, expected (lo, hi), samples (N,) or a frozen distribution of scipy.stats"
            )
        _arguments.finite(host, label, "a distribution")
        self.samples = np.sort(host)

    @property
    def is_uniform(self) -> bool:
        return self.frozen is None and self.samples is None

    def quantiles(self, u: np.ndarray) -> np.ndarray:
        """The points below which the distribution has probability u."""
        if self.frozen is not None:
            return np.asarray(self.frozen.ppf(u), np.float64)
        if self.samples is not None:
            at = np.minimum((u * self.samples.size).astype(np.int64), self.samples.size - 1)
            return self.samples[at]
        lo, hi = self.ends
        return lo * (1 - u) + hi * u

    def quadrature(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights, which sum to 1, for the mean of polynomials of degree below 2n: Gauss quadrature, all samples with equal
        weights, or the double exponential rule in the quantiles."""
        if self.samples is not None:
            return self.samples, np.full(self.samples.size, 1 / self.samples.size)
        if self.frozen is None:
            from scipy.special import roots_legendre

            t, w = roots_legendre(n)
            return self.quantiles((1 + t) / 2), w / 2
        count = max(NODES, 2 * n)
        t = np.linspace(-REACH, REACH, 2 * count + 1)
        tail = 1 / (1 + np.exp(np.pi * np.sinh(np.abs(t))))  # the smaller of u and 1 - u
        x = np.where(t <= 0, self.frozen.ppf(tail), self.frozen.isf(tail))
        w = np.cosh(t) * tail * (1 - tail)
        return x, w / w.sum()


def distributions_of(values: Any, d: int | None, label: str) -> list[Distribution]:
    """One distribution per input."""
    entries = _arguments.sequence(values, f"{label}: distributions")
    if d is not None and len(entries) != d:
        raise ValueError(f"{label}: distributions has {len(entries)} entries, expected {d}, one per input")
    return [entry if isinstance(entry, Distribution) else Distribution(entry, label) for entry in entries]


def points_of(inputs: Sequence[Distribution], count: int) -> np.ndarray:
    """Points (count, d) of a fixed Latin hypercube of low discrepancy in the quantiles of the inputs."""
    from scipy.stats import qmc

    u = qmc.LatinHypercube(len(inputs), seed=0, optimization="random-cd").random(count)
    return np.stack([distribution.quantiles(column) for distribution, column in zip(inputs, u.T)], axis=-1)
