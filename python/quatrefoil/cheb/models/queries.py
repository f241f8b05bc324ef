"""Slices, antiderivatives, compositions, extrema and roots of Chebyshev-Tucker tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from ... import _arguments
from ..domain import Domain, flat_domain, reference
from ..transform import chebpts, polynomials, vals2coeffs
from . import algebra
from .parts import TensorParts
from .train import TensorTrain

SEARCHED = 2**16  # values on the grid of a search for an extremum
STARTS = 8  # number of local searches
PIECE = 96  # maximum number of coefficients of a piece whose roots are computed as eigenvalues
SPLIT = -0.004849834917525  # where longer series are split: not at 0, where roots are likely (as in chebfun)


class Extremum(NamedTuple):
    """A minimum or maximum: the value and the point (d,) where f attains it.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> low = qf.cheb.ChebTucker.from_function(lambda x: (x - 1) ** 2, (0, 4)).minimize()
    >>> bool(abs(low.value) < 1e-12), low.point.round(6)
    (True, array([1.]))
    """

    value: float
    point: np.ndarray


class Queries(TensorParts):
    """Methods of ``ChebTucker`` for slices, restrictions, antiderivatives, compositions, extrema and roots."""

    __slots__ = ()

    def at(self, coordinates: Mapping[int, float] | None = None, /, **named: float) -> Any:
        """Fix some coordinates: return a ``ChebTucker`` of the other axes, or a number if none is left.

        Select axes by number, ``ct.at({0: 0.5, -1: 2.0})``, or by name: x, y, z for up to three axes, x0, x1, ... for any number of axes.
        Differentiable in core and factors.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y, z: x * y + z, [(0, 1), (0, 2), (0, 3)])
        >>> ct.at(x=0.5, z=1.0)(1.0).round(10)
        np.float64(1.5)
        >>> ct.at({0: 0.5}).domain
        ((0.0, 2.0), (0.0, 3.0))
        """
        label, d = "cheb.ChebTucker.at", len(self.factors)
        names = {f"x{k}": k for k in range(d)} | (dict(zip("xyz", range(d))) if d <= 3 else {})
        if unknown := [name for name in named if name not in names]:
            raise TypeError(f"{label}: {unknown[0]!r} is not an axis, expected one of {', '.join(names)}")
        if not (coordinates is None or isinstance(coordinates, Mapping)):
            raise TypeError(f"{label}: got {coordinates!r}, expected coordinates by axis, such as at({{0: 0.5}}) or at(x=0.5)")
        pairs = [(_arguments.integer(k, label, "an axis", -d, d - 1) % d, x) for k, x in (coordinates or {}).items()]
        pairs += [(names[name], x) for name, x in named.items()]
        if len({k for k, _ in pairs}) < len(pairs):
            raise ValueError(f"{label}: an axis has two coordinates, expected distinct axes")
        weights = {}
        for k, x in pairs:
            t = reference(np.array([_arguments.number(x, label, f"the coordinate of axis {k}", negative=True)]), k, self.domain[k], label)
            weights[k] = polynomials(t, self.n[k])[0]
        return self._contracted(weights)

    def transpose(self, axes: Sequence[int] | None = None) -> Self:
        """Permute the axes: axis k of the result is axis ``axes[k]``; by default they are reversed.

        A tensor train is recomputed, with different ranks; NotImplementedError if it requires a gradient.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: x - y, [(0, 1), (2, 3)])
        >>> ct.transpose()(2.5, 0.5).round(10)
        np.float64(-2.0)
        """
        label, d = "cheb.ChebTucker.transpose", len(self.factors)
        order = tuple(range(d))[::-1] if axes is None else tuple(k % d for k in _arguments.integers(axes, d, label, "axes", -d, d - 1))
        if len(set(order)) < d:
            raise ValueError(f"{label}: axes is {axes!r}, expected a permutation of {d} axes")
        core, factors = algebra.permuted(self.core, self.factors, order, label)
        return type(self)(core, factors, domain=tuple(self.domain[k] for k in order))

    def restrict(self, domain: Domain | Mapping[int, Any]) -> Self:
        """Return the same function on a smaller domain, with the same numbers of coefficients.

        ``domain`` has one pair per axis, or is a mapping of some axes to pairs. Differentiable in core and factors.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: x * y, [(0, 2), (0, 3)])
        >>> part = ct.restrict({0: (0.5, 1)})
        >>> part.domain, part(0.75, 2.0).round(10)
        (((0.5, 1.0), (0.0, 3.0)), np.float64(1.5))
        """
        label, d = "cheb.ChebTucker.restrict", len(self.factors)
        pairs = list(self.domain)
        if isinstance(domain, Mapping):
            for k, pair in domain.items():
                pairs[_arguments.integer(k, label, "an axis", -d, d - 1)] = pair
        else:
            flat = flat_domain(domain, d, label)
            pairs = list(zip(flat[::2], flat[1::2]))
        factors = []
        for k, (U, whole, pair) in enumerate(zip(self.factors, self.domain, pairs)):
            t = reference(chebpts(len(U), pair), k, whole, label)
            factors.append(U if pair == whole else algebra.like(vals2coeffs(polynomials(t, len(U)), 0), U) @ U)
        return type(self)(self.core, factors, domain=tuple(pairs))

    def cumsum(self, axis: int) -> Self:
        """Return the integral along an axis from the lower end of the domain, with one more coefficient along it.

        Differentiable in core and factors.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: np.cos(x) * y, [(0, 2), (0, 1)])
        >>> bool(abs(ct.cumsum(0)(1.0, 0.5) - np.sin(1.0) * 0.5) < 1e-9)
        True
        """
        k = _arguments.integer(axis, "cheb.ChebTucker.cumsum", "axis", -len(self.factors), len(self.factors) - 1) % len(self.factors)
        lo, hi = self.domain[k]
        U = algebra.antiderivative(self.factors[k]) * ((hi - lo) / 2)
        return self._with(self.core, [*self.factors[:k], U, *self.factors[k + 1 :]])

    def compose(self, f: Callable[..., Any], *others: Any, tol: float = 1e-10) -> Self:
        """Resample f(self, *others) by ``from_function``; f takes and returns NumPy arrays (P,).

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: 2 + x * y, [(0, 1), (0, 1)])
        >>> bool(abs(ct.compose(np.log)(0.5, 0.5) - np.log(2.25)) < 1e-9)
        True
        """
        label = "cheb.ChebTucker.compose"
        parts = []
        operands: tuple[Any, ...] = (self, *others)
        for part in operands:
            if getattr(part, "domain", None) != self.domain:
                raise ValueError(f"{label}: got {part!r}, expected a ChebTucker on the domain {self.domain}")
            parts.append(part._on_host(label))
        method: Literal["tucker", "tt"] = "tt" if isinstance(self.core, TensorTrain) else "tucker"
        return self.from_function(lambda *x: f(*(part(np.stack(x, axis=-1)) for part in parts)), self.domain, tol=tol, method=method)

    def minimize(self) -> Extremum:
        """Return the smallest value on the domain and its location.

        For one variable, the roots of the derivative are compared. Otherwise local searches with gradients start from the 8 lowest local
        minima on a tensor grid of at most 65536 points, or, for more than ten variables, from the 8 lowest of 65536 random points. A narrow
        valley between the points is missed. For extrema of a derivative use ``ct.diff(0).minimize()``.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: (x - 0.3) ** 2 + (y - 0.2) ** 2 + 1, [(0, 1), (0, 1)])
        >>> value, point = ct.minimize()
        >>> round(value, 8), point.round(5).tolist()
        (1.0, [0.3, 0.2])
        """
        return self._extremum(1.0, "cheb.ChebTucker.minimize")

    def maximize(self) -> Extremum:
        """Return the largest value on the domain and its location; see ``minimize``.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> value, point = qf.cheb.ChebTucker.from_function(np.sin, (0, 3)).maximize()
        >>> round(value, 10), point.round(6)
        (1.0, array([1.570796]))
        """
        best = self._extremum(-1.0, "cheb.ChebTucker.maximize")
        return Extremum(-best.value, best.point)

    def roots(self) -> np.ndarray:
        """Return the real roots of a function of one variable in its domain, ascending: eigenvalues of colleague matrices.

        A root of even multiplicity may be missed or returned twice. For several variables fix the others: ``ct.at(y=0.5).roots()``.

        Boyd, SIAM J. Numer. Anal. 40 (2002) 1666; Good, Quart. J. Math. 12 (1961) 61.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> qf.cheb.ChebTucker.from_function(lambda x: np.cos(np.pi * x), (0, 3)).roots().round(10)
        array([0.5, 1.5, 2.5])
        """
        label = "cheb.ChebTucker.roots"
        if len(self.factors) != 1:
            raise ValueError(f"{label}: the tensor has {len(self.factors)} axes, expected one; fix the others, as in ct.at(y=0.5).roots()")
        line = self._on_host(label)
        (lo, hi), t = self.domain[0], _roots(line.factors[0] @ line.core)
        return np.clip(lo * ((1 - t) / 2) + hi * ((1 + t) / 2), lo, hi)

    def _extremum(self, sign: float, label: str) -> Extremum:
        ct = self._on_host(label) * sign
        d = len(self.factors)
        if d == 1:
            X = np.concatenate([ct.diff(0).roots(), self.domain[0]])[:, None]
        else:
            X = _descended(ct)
        values = ct(X)
        best = int(values.argmin())
        return Extremum(float(values[best]), X[best])


def _descended(ct: Any) -> np.ndarray:
    """Start points and results (P, d) of local searches from the lowest local minima on a tensor grid."""
    from scipy.ndimage import minimum_filter
    from scipy.optimize import minimize

    lo, hi = np.array(ct.domain).T
    if 3 ** len(ct.n) > SEARCHED:
        X = lo + (hi - lo) * np.random.Generator(np.random.Philox(key=0)).random((SEARCHED, len(ct.n)))
        values = ct(X)
        starts = X[np.argsort(values, kind="stable")[:STARTS]]
    else:
        share = min(1.0, (SEARCHED / math.prod(2 * n + 1 for n in ct.n)) ** (1 / len(ct.n)))
        lines = [chebpts(max(3, int(share * (2 * n + 1))), pair) for n, pair in zip(ct.n, ct.domain)]
        values = ct.grid(*lines)
        valleys = np.argwhere(values == minimum_filter(values, size=3, mode="nearest"))
        valleys = valleys[np.argsort(values[tuple(valleys.T)], kind="stable")[:STARTS]]
        starts = np.stack([x[i] for x, i in zip(lines, valleys.T)], axis=-1)
    scale = float(np.abs(values).max()) or 1.0

    def value_and_slope(t: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = ct.value_and_grad(np.clip(lo + (hi - lo) * t, lo, hi))
        return float(value) / scale, slope * (hi - lo) / scale

    options = {"ftol": 0.0, "gtol": 1e-14, "maxiter": 200}
    minima = [
        minimize(value_and_slope, (x - lo) / (hi - lo), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * lo.size, options=options).x
        for x in starts
    ]
    return np.concatenate([starts, np.clip(lo + (hi - lo) * np.array(minima), lo, hi)])


def _roots(c: np.ndarray) -> np.ndarray:
    """Real roots of sum_k c_k T_k in [-1, 1], ascending; long series are split and resampled."""
    from numpy.polynomial.chebyshev import chebroots

    largest = np.abs(c).max(initial=0.0)
    c = c[: 1 + int(np.flatnonzero(np.append(True, np.abs(c[1:]) > algebra.EPS * largest))[-1])]
    if largest == 0 or c.size == 1:
        return np.zeros(0)
    if c.size > PIECE:
        halves = []
        for lo, hi in ((-1.0, SPLIT), (SPLIT, 1.0)):
            n = 3 * c.size // 4 + 16  # the local degree is at most 0.71 of the degree of c
            inner = _roots(vals2coeffs(polynomials(chebpts(n, (lo, hi)), c.size) @ c))
            halves.append((lo + hi) / 2 + (hi - lo) / 2 * inner)
        both: np.ndarray = np.concatenate(halves)
        return both[np.append(True, np.diff(both) > 1e-12)] if both.size else both
    roots = chebroots(c)
    near = np.sqrt(algebra.EPS)
    real = roots[(np.abs(roots.imag) < near) & (np.abs(roots.real) <= 1 + near)].real
    t: np.ndarray = np.clip(np.sort(real), -1, 1)
    for _ in range(2):  # Newton steps that only refine
        slope = polynomials(t, c.size - 1) @ algebra.derivative(c[:, None])[:, 0]
        step = np.where(slope != 0, (polynomials(t, c.size) @ c) / np.where(slope != 0, slope, 1), 0)
        t = np.clip(t - np.where(np.abs(step) < 1e-6, step, 0), -1, 1)
    return t
