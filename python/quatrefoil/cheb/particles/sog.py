"""1/r as a sum of Gaussians, split into a long and a short part. Equation numbers refer to csrc/cheb/particles/README.md."""

from __future__ import annotations

import contextlib
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _arguments

MIN_EPS = 1e-14  # a few relative rounding errors of the sum
MIN_RATIO = 1e-15  # smallest ratio of rmin to rmax
PER_STEP = 24  # distances per period h of log r at which the error is measured
DEGREE = 72  # degree of the interpolant of the long part, whose error is below 1e-16 for t r <= 8
FAR = 8.0  # maximum of t r at the cutoff; there, the Gaussian is e^-64
TAIL = 1e-3  # fraction of eps: the allowed truncation of the long part's polynomial, so that its slope is as accurate as the sum


@dataclass(frozen=True, eq=False)
class SumOfGaussians:
    """sum_k w_k exp(-t_k^2 r^2), close to 1/r for rmin <= r <= rmax (1). Returned by ``coulomb_sog``.

    ``sog(r)`` is the sum, ``sog.long(r)`` its smooth long part, and ``sog.short(r)`` is 1/r - sog.long(r), or ``-sog.long(0)`` at r = 0. r
    is a number or an array. Instances can be pickled.

    Attributes
    ----------
    t, w : (R,)
        Nodes (1/length), in increasing order, and weights. float64, read-only.
    n_long : int
        The long part consists of the first ``n_long`` terms.
    eps, rmin, rmax : float
        Relative error, and the range of r in which it is guaranteed.
    cutoff : float
        The distance beyond which ``abs(sog.short(r))`` is at most 2 eps / r; the cutoff of ``short_range``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> sog = qf.cheb.coulomb_sog(1e-6, 0.1, 10.0)
    >>> r = np.array([0.1, 1.0, 10.0])
    >>> bool(np.allclose(np.exp(-np.outer(r, sog.t) ** 2) @ sog.w, 1 / r, rtol=1e-6))
    True
    """

    t: np.ndarray
    w: np.ndarray
    n_long: int
    eps: float
    rmin: float
    rmax: float

    def __post_init__(self) -> None:
        label = "cheb.SumOfGaussians"
        for name in ("t", "w"):
            numbers = np.array(_arguments.host_array(getattr(self, name), label, name), np.float64)
            if numbers.ndim != 1 or numbers.size == 0 or numbers.shape != np.shape(self.t):
                raise ValueError(f"{label}: {name} has shape {numbers.shape}, expected (R,), at least one node and as many weights")
            _arguments.finite(numbers, label, name)
            numbers.flags.writeable = False
            object.__setattr__(self, name, numbers)
        if self.t[0] < 0 or (np.diff(self.t) <= 0).any():
            raise ValueError(f"{label}: t must be nonnegative and strictly increasing")
        object.__setattr__(self, "n_long", _arguments.integer(self.n_long, label, "n_long", 0, self.t.size))
        for name in ("eps", "rmin", "rmax"):
            object.__setattr__(self, name, _arguments.number(getattr(self, name), label, name, positive=True))
        with contextlib.suppress(ValueError):  # short_range raises the error; computed now because torch.compile cannot trace it
            _ = self.polynomial

    def __reduce__(self) -> tuple[Any, ...]:  # makes unpickled arrays read-only
        return SumOfGaussians, (self.t, self.w, self.n_long, self.eps, self.rmin, self.rmax)

    def __call__(self, r: Any) -> Any:
        """The sum at distances r."""
        return self._sum(r, self.t.size)

    def long(self, r: Any) -> Any:
        """The first ``n_long`` terms."""
        return self._sum(r, self.n_long)

    def short(self, r: Any) -> Any:
        """1/r minus the long part; at r = 0, only minus the long part."""
        r = np.asarray(r, np.float64)
        with np.errstate(divide="ignore"):
            return np.where(r == 0, 0.0, 1 / r)[()] - self.long(r)

    def _sum(self, r: Any, count: int) -> Any:
        r = np.asarray(r, np.float64)
        total = np.zeros(r.shape)
        for t, w in zip(self.t[:count].tolist(), self.w[:count].tolist()):
            total = total + w * np.exp(-((t * r) ** 2))
        return total[()]

    @functools.cached_property
    def cutoff(self) -> float:
        """The distance beyond which ``abs(short(r))`` is at most 2 eps / r up to rmax; rmax if there is no such distance."""
        t = self.t[self.n_long - 1] if self.n_long else 0.0
        far = self.rmax if t * self.rmax <= FAR else FAR / t
        r = np.geomspace(far * 1e-3, far, 4000)
        off = np.abs(1 - r * self.long(r)) > 2 * self.eps
        if off[-1] and far < self.rmax:
            raise ValueError(f"cheb.SumOfGaussians: long(r) differs from 1/r by more than 2 eps / r at r = {far:g}, eps = {self.eps:g}")
        return float(far if off[-1] else r[min(int(off.nonzero()[0].max(initial=-1)) + 1, r.size - 1)])

    @functools.cached_property
    def polynomial(self) -> tuple[float, ...]:
        """Coefficients of the long part for r <= cutoff in powers of 2 r^2 / cutoff^2 - 1 (6)."""
        angles = (np.arange(DEGREE + 1) + np.longdouble(0.5)) * (np.arccos(np.longdouble(-1)) / (DEGREE + 1))
        values = self.long((self.cutoff * np.sqrt((1 + np.cos(angles)) / 2)).astype(np.float64))
        c = np.cos(np.outer(np.arange(DEGREE + 1), angles)) @ values * (2 / np.longdouble(DEGREE + 1))
        c[0] /= 2
        size = np.abs(c)  # decreases, because the k-th coefficients of all Gaussians have the same sign
        small = size <= max(TAIL * self.eps / self.cutoff, 4 * np.finfo(np.float64).eps * size[0])  # negligible, or rounding
        return tuple(_powers(c[: max(1, int(small.argmax())) if small.any() else None]).tolist())

    def __repr__(self) -> str:
        return f"SumOfGaussians({self.t.size} terms, {self.n_long} of them long, eps={self.eps:g}, rmin={self.rmin:g}, rmax={self.rmax:g})"


def _powers(c: np.ndarray) -> np.ndarray:
    """Convert Chebyshev coefficients to those of powers. Terms cancel, so this uses extended precision if the machine has it."""
    low, high = np.zeros((2, c.size), np.longdouble)
    total = np.zeros(c.size, np.longdouble)
    low[0] = 1
    if c.size > 1:
        high[1] = 1
    for value in c:
        total += value * low
        low, high = high, 2 * np.concatenate([[0], high[:-1]]) - low
    return total.astype(np.float64)


def coulomb_sog(eps: float, rmin: float, rmax: float, *, split: float | None = None) -> SumOfGaussians:
    """Approximate 1/r from ``rmin`` to ``rmax`` with the fewest Gaussians of a trapezoidal rule (1).

    Parameters
    ----------
    eps : float
        Relative error for rmin <= r <= rmax, from 1e-14 to below 1.
    rmin, rmax : float
        Lengths, rmin < rmax; rmin at least 1e-15 rmax.
    split : float, optional
        t* in 1/length: terms with t <= t* are the long part, and one node equals t* if the nodes extend that far. By default, all terms.

    Returns
    -------
    SumOfGaussians

    Notes
    -----
    Applies the trapezoidal rule to 1/r = 2 / sqrt(pi) int_0^inf exp(-t^2 r^2) dt with t = sinh(u) / rmax. Its step is the largest at which
    the error, measured at 24 distances per period, is below eps. There are about log(rmax / rmin) log(1 / eps) / 3 terms. Takes a few ms.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> sog = qf.cheb.coulomb_sog(1e-8, 0.1, 4.0, split=3.0)
    >>> r = np.linspace(0.1, 4.0, 1000)
    >>> bool(np.abs(r * sog(r) - 1).max() <= 1e-8)
    True
    >>> bool(np.isclose(sog.t[sog.n_long - 1], 3.0)), sog.n_long < sog.t.size
    (True, True)
    >>> bool(np.allclose(sog.long(r) + sog.short(r), 1 / r))
    True
    """
    label = "cheb.coulomb_sog"
    eps = _arguments.number(eps, label, "eps", positive=True)
    if not MIN_EPS <= eps < 1:
        raise ValueError(f"{label}: eps is {eps}, expected a number of at least {MIN_EPS:g} and less than 1")
    rmin, rmax = (_arguments.number(r, label, name, positive=True) for r, name in ((rmin, "rmin"), (rmax, "rmax")))
    if not MIN_RATIO * rmax <= rmin < rmax:
        raise ValueError(f"{label}: rmin is {rmin} and rmax is {rmax}, expected {MIN_RATIO:g} rmax <= rmin < rmax")
    ratio, h = rmin / rmax, 1.4 * math.pi**2 / (2 * math.log(10 / eps))
    while _error(h, ratio, eps) > eps:
        h *= 0.98
    last = 0.0 if split is None else math.asinh(_arguments.number(split, label, "split") * rmax)
    count = max(1, math.ceil(last / h))
    while last > 0 and _error(last / count, ratio, eps) > eps:
        count += 1
    t, w = _terms(last / count if last > 0 else h, ratio, eps)
    n_long = t.size if split is None else min(t.size, count + 1 if last > 0 else 1)
    return SumOfGaussians(t / rmax, w / rmax, n_long, eps, rmin, rmax)


def _terms(h: float, ratio: float, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (1) in units of 1 / rmax, up to a Gaussian that is negligible at rmin."""
    u = h * np.arange(math.ceil(math.asinh(math.sqrt(3 - math.log(eps)) / ratio) / h) + 1)
    w = 2 / math.sqrt(math.pi) * h * np.cosh(u)
    w[0] /= 2
    return np.sinh(u), w


def _error(h: float, ratio: float, eps: float) -> float:
    """The largest relative error of the sum for r from ratio to 1."""
    t, w = _terms(h, ratio, eps)
    r = np.geomspace(ratio, 1.0, 64 + math.ceil(PER_STEP * math.log(1 / ratio) / h))
    return float(np.abs(1 - r * (np.exp(-np.square(np.outer(r, t))) @ w)).max())
