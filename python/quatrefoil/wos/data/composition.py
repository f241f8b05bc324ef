"""Boundary values and sources at many points of many instances, with array API functions in float64.

Equation numbers refer to csrc/wos/data/README.md. A polynomial's sizes are data, and a composition does not branch on data. So it evaluates
as many powers as fit into a row, and treats those beyond the sizes as 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..._array_tools import chunk_slices, double, in_chunks, resized, sums_by_index, zeros
from .functions import Compiled, Function, PerInstance, Scaled, is_cfunc, is_njit


class Points(NamedTuple):
    """Scaled points (P, d), the rows and frames of their instances, and for functions each instance's global index with its points.

    Points on a boundary also have their segments or triangles (P,), and the weights of the corners after the first. ``home``: points of
    the domain that replace those of inactive walks. ``kept``: the indices of these walks in their batch, and its size; None for all.
    """

    x: Any
    row: Any
    centre: Any
    extent: Any
    spans: list[tuple[int, slice]]
    facet: Any = None
    weights: Any = ()
    home: Any = None
    kept: tuple[Any, int] | None = None

    def cut(self, at: slice) -> Points:
        facet = None if self.facet is None else self.facet[at]
        return Points(self.x[at, :], self.row[at], self.centre[at, :], self.extent[at], self.spans, facet, [w[at] for w in self.weights])

    def only(self, xp: Any, chosen: Any) -> Points:
        """The points in a domain with these indices, in increasing order."""
        x, row, centre, extent, home = (xp.take(a, chosen, axis=0) for a in (self.x, self.row, self.centre, self.extent, self.home))
        spans = [(b, slice(*(int(xp.searchsorted(chosen, end)) for end in (some.start, some.stop)))) for b, some in self.spans]
        spans = [(b, some) for b, some in spans if some.start < some.stop]
        kept = (chosen, self.x.shape[0]) if self.kept is None else (xp.take(self.kept[0], chosen, axis=0), self.kept[1])
        return self._replace(x=x, row=row, centre=centre, extent=extent, spans=spans, home=home, kept=kept)

    @property
    def absolute(self) -> Any:
        return self.centre + self.extent[:, None] * self.x

    def spread(self, xp: Any, x: Any) -> Any:
        """Values of these walks as an array for the whole batch, with 0 for walks that were dropped."""
        if self.kept is None:
            return x
        numbers, P = self.kept
        whole = zeros(xp, (P, *x.shape[1:]), x)
        whole[numbers] = x
        return whole


class Data:
    """One kind of data with a single row or one row per instance. Functions receive the instance's index plus ``side``."""

    def __init__(self, xp: Any, label: str, kind: str, numbers: Any, function: Any, side: int = 0) -> None:
        if kind == "function":
            _reject_compiled(label, function)
        self.xp, self.kind, self.numbers, self.function, self.side = xp, kind, double(xp, numbers), function, side

    def values(self, at: Points, active: Any = None) -> Any:
        """Values (P,). Functions receive points of the domain in place of inactive points, which may be anywhere."""
        if self.kind == "function":
            if active is not None:
                at = at._replace(x=self.xp.where(active[:, None], at.x, at.home))
            return _evaluate(self.xp, self.function, at, self.side)
        if self.kind == "number":
            return self.of_rows(at)[:, 0] + 0 * at.x[:, 0]
        evaluate: Callable[[Points], Any] = getattr(self, f"_{self.kind}")
        return in_chunks(self.xp, lambda some: evaluate(at.cut(some)), at.x.shape[0], self._width(at))

    def gradient(self, at: Points, share: Any) -> Any:
        """The gradient of sum(share values) with respect to the parameters, (R, parameters). Ignores points with share 0."""
        xp, (R, L) = self.xp, self.numbers.shape
        if self.kind in ("grid", "per_vertex"):
            nodes, shares = self._of_nodes(at, share)
            sums = xp.reshape(sums_by_index(xp, nodes, shares[:, None], R * L), (R, L))
            return sums + self._of_box(at, share) if self.kind == "grid" else sums
        evaluate: Callable[[Points, Any], Any] = getattr(self, f"_{self.kind}_gradient")
        total: Any = 0
        for some in chunk_slices(at.x.shape[0], self._width(at)):
            part = evaluate(at.cut(some), share[some])
            row = at.row[some] if R > 1 else xp.zeros_like(at.row[some])
            total = total + sums_by_index(xp, row, part, R)
        return resized(xp, total, L)

    def of_rows(self, at: Points) -> Any:
        """The rows of the points (P, parameters), or (1, parameters) if all share one row."""
        return self.numbers if self.numbers.shape[0] == 1 else self.xp.take(self.numbers, at.row, axis=0)

    def _width(self, at: Points) -> int:
        return int(2 * at.x.shape[1] * (self.numbers.shape[1] + 1))

    def _number_gradient(self, at: Points, share: Any) -> Any:
        return share[:, None]

    def _waves(self, at: Points) -> tuple[Any, Any, Any, Any]:
        """The cosines and sines (P, M) of multiples of the angle, the angle, and the distance."""
        xp, numbers = self.xp, self.of_rows(at)
        dx, dy = at.x[:, 0] - numbers[:, 0], at.x[:, 1] - numbers[:, 1]
        theta, modes = xp.atan2(dy, dx), (numbers.shape[1] - 3) // 2
        m = xp.arange(1, modes + 1, dtype=xp.float64, device=theta.device)
        return xp.cos(theta[:, None] * m), xp.sin(theta[:, None] * m), theta, xp.sqrt(dx * dx + dy * dy)

    def _fourier(self, at: Points) -> Any:
        xp, numbers = self.xp, self.of_rows(at)
        c, s, theta, _ = self._waves(at)
        K = 2 * c.shape[1]
        return numbers[:, 2] + 0 * theta + xp.sum(c * numbers[:, 3 : 3 + K : 2], axis=1) + xp.sum(s * numbers[:, 4 : 3 + K : 2], axis=1)

    def _fourier_gradient(self, at: Points, share: Any) -> Any:
        xp, numbers = self.xp, self.of_rows(at)
        c, s, theta, r = self._waves(at)
        P, M = c.shape
        m = xp.arange(1, M + 1, dtype=xp.float64, device=r.device)
        angular = xp.sum(m * (c * numbers[:, 4 : 3 + 2 * M : 2] - s * numbers[:, 3 : 3 + 2 * M : 2]), axis=1)
        slope = share * angular / xp.where(r > 0, r, xp.full_like(r, math.inf))
        slope = xp.where(share == 0, xp.zeros_like(slope), slope)
        waves = xp.reshape(xp.stack([c, s], axis=2), (P, 2 * M))
        first = xp.stack([slope * xp.sin(theta), -slope * xp.cos(theta), share], axis=1)
        return xp.concat([first, share[:, None] * waves], axis=1)

    def sizes(self, at: Points) -> Any:
        """The sizes of a table's axes, (P or 1, d) int64."""
        return self.xp.astype(self.of_rows(at)[:, : at.x.shape[1]], self.xp.int64)

    def powers(self, at: Points) -> tuple[list[Any], Any]:
        """The exponents (P or 1, L) of a polynomial's coefficients on each axis, and whether each coefficient exists."""
        xp, d = self.xp, at.x.shape[1]
        sizes = self.sizes(at)
        left = xp.arange(self.numbers.shape[1] - d, dtype=xp.int64, device=sizes.device) + 0 * sizes[:, :1]
        exponents = []
        for axis in reversed(range(d)):
            n = xp.clip(sizes[:, axis : axis + 1], min=1)
            exponents.append(left % n)
            left = left // n
        return exponents[::-1], left == 0

    def _monomials(self, at: Points) -> Any:
        xp = self.xp
        exponents, exists = self.powers(at)
        product: Any = 1.0
        for axis, e in enumerate(exponents):
            product = product * at.x[:, axis : axis + 1] ** xp.astype(e, xp.float64)
        return xp.where(exists, product, xp.zeros_like(product))

    def _polynomial(self, at: Points) -> Any:
        xp, c = self.xp, self.of_rows(at)[:, at.x.shape[1] :]
        monomials = self._monomials(at)
        return xp.sum(xp.where(self.powers(at)[1], c * monomials, xp.zeros_like(monomials)), axis=1)

    def _polynomial_gradient(self, at: Points, share: Any) -> Any:
        shares = share[:, None] * self._monomials(at)
        return self.xp.concat([self.xp.zeros_like(share[:, None] + 0 * at.x), shares], axis=1)

    def bells(self, at: Points) -> tuple[Any, Any, Any, Any]:
        """The amplitudes and exponents (P or 1, J) of Gaussians, x - centre (P, J, d), and its squared length."""
        xp, d, numbers = self.xp, at.x.shape[1], self.of_rows(at)
        bells = xp.reshape(numbers, (numbers.shape[0], numbers.shape[1] // (d + 2), d + 2))
        away = at.x[:, None, :] - bells[:, :, 1:-1]
        return bells[:, :, 0], bells[:, :, -1], away, xp.sum(away * away, axis=2)

    def _gaussians(self, at: Points) -> Any:
        amplitude, q, _, r2 = self.bells(at)
        return self.xp.sum(self.xp.exp(-r2 * q) * amplitude, axis=1)

    def _gaussians_gradient(self, at: Points, share: Any) -> Any:
        xp = self.xp
        amplitude, q, away, r2 = self.bells(at)
        e = xp.exp(-r2 * q) * share[:, None]
        of_centre = 2 * (amplitude * q * e)[:, :, None] * away
        gradients = xp.concat([e[:, :, None], of_centre, -(amplitude * e * r2)[:, :, None]], axis=2)
        return xp.reshape(gradients, (e.shape[0], self.numbers.shape[1]))

    def _corners(self, at: Points) -> tuple[list[Any], list[Any]]:
        """The indices (P,) of a segment's or triangle's corners in the concatenated rows, and their weights."""
        d, L = at.x.shape[1], self.numbers.shape[1]
        begin = d * at.facet + (at.row * L if self.numbers.shape[0] > 1 else 0)
        rest = 1 + 0 * at.x[:, 0]
        for w in at.weights:
            rest = rest - w
        return [begin + j for j in range(d)], [rest, *at.weights]

    def _per_vertex(self, at: Points) -> Any:
        xp, flat = self.xp, self.xp.reshape(self.numbers, (-1,))
        nodes, weights = self._corners(at)
        first = xp.take(flat, nodes[0], axis=0)
        values = first
        for node, w in zip(nodes[1:], weights[1:]):
            values = values + w * (xp.take(flat, node, axis=0) - first)
        return values

    def _grid(self, at: Points) -> Any:
        return Cell(self, at).interpolated(self.table())

    def table(self) -> Any:
        """All rows, concatenated."""
        return self.xp.reshape(self.numbers, (-1,))

    def _of_nodes(self, at: Points, share: Any) -> tuple[Any, Any]:
        """(9) Indices into the concatenated rows, and the gradients there."""
        xp = self.xp
        if self.kind == "per_vertex":
            nodes, weights = self._corners(at)
        else:
            cell = Cell(self, at)
            nodes, weights = [], []
            for bits in itertools.product((0, 1), repeat=at.x.shape[1]):
                nodes.append(cell.node(bits))
                weight: Any = 1.0
                for axis, bit in enumerate(bits):
                    weight = weight * (cell.fraction[:, axis] if bit else 1 - cell.fraction[:, axis])
                weights.append(weight)
        return xp.concat(nodes, axis=0), xp.concat([share * w for w in weights], axis=0)

    def _of_box(self, at: Points, share: Any) -> Any:
        """(9) The gradient with respect to the corners of a grid's box, with 0 in the remainder of the row."""
        xp, d, (R, L) = self.xp, at.x.shape[1], self.numbers.shape
        cell = Cell(self, at)
        low, high = [], []
        for axis in range(d):
            slope = cell.step(self.table(), axis)
            moved = xp.where(cell.inside[:, axis] & (share != 0), share * slope, xp.zeros_like(share)) / cell.side[:, axis]
            low.append(moved * (cell.t[:, axis] - cell.last[:, axis]))
            high.append(-moved * cell.t[:, axis])
        row = at.row if R > 1 else xp.zeros_like(at.row)
        sums = sums_by_index(xp, row, xp.stack([*low, *high], axis=1), R)
        return resized(xp, xp.concat([zeros(xp, (R, d), sums), sums], axis=1), L)


class Cell:
    """(8) The positions of points in the grids of their instances."""

    def __init__(self, data: Data, at: Points) -> None:
        xp, d = data.xp, at.x.shape[1]
        numbers = data.of_rows(at)
        self.xp, self.d, low = xp, d, numbers[:, d : 2 * d]
        self.last, self.side = numbers[:, :d] - 1, numbers[:, 2 * d : 3 * d] - low
        t = (at.absolute - low) * (self.last / self.side)
        zero = xp.zeros_like(t)
        self.inside = (t >= 0) & (t <= self.last)
        self.t = xp.where(t > 0, xp.minimum(t, self.last + zero), zero)  # NaN is treated as 0
        corner = xp.minimum(xp.floor(self.t), self.last - 1 + zero)
        self.fraction, self.corner, self.sizes = self.t - corner, xp.astype(corner, xp.int64), data.sizes(at)
        self.begin = 3 * d + (at.row * data.numbers.shape[1] if data.numbers.shape[0] > 1 else 0)

    def node(self, bits: tuple[int, ...]) -> Any:
        """The indices (P,) of one corner of each point's cell in the concatenated rows."""
        node: Any = 0
        for axis, bit in enumerate(bits):
            node = node * self.sizes[:, axis] + (self.corner[:, axis] + bit)
        return self.begin + node

    def along(self, at_corners: list[Any], fractions: list[Any]) -> Any:
        """Interpolate the values at all corners linearly along every axis, the last axis first."""
        for fraction in reversed(fractions):
            at_corners = [a + fraction * (b - a) for a, b in zip(at_corners[::2], at_corners[1::2])]
        return at_corners[0]

    def interpolated(self, table: Any) -> Any:
        values = [self.xp.take(table, self.node(bits), axis=0) for bits in itertools.product((0, 1), repeat=self.d)]
        return self.along(values, [self.fraction[:, axis] for axis in range(self.d)])

    def step(self, table: Any, axis: int) -> Any:
        """The difference of the values across a cell along an axis."""
        values = [self.xp.take(table, self.node(bits), axis=0) for bits in itertools.product((0, 1), repeat=self.d)]
        zero = self.xp.zeros_like(self.fraction[:, 0])
        ends = [[zero + end if k == axis else self.fraction[:, k] for k in range(self.d)] for end in (0.0, 1.0)]
        return self.along(values, ends[1]) - self.along(values, ends[0])


def _reject_compiled(label: str, function: Any) -> None:
    function = function.function if isinstance(function, Scaled) else function
    for one in function.parts if isinstance(function, PerInstance) else [function]:
        if isinstance(one, Compiled) or is_njit(one) or is_cfunc(one):
            what = "backend 'array' cannot call a function compiled by Numba; pass the Python function"
            raise TypeError(f"{label}: {what}")


def _evaluate(xp: Any, function: Any, at: Points, side: int) -> Any:
    """Call a user's function at the points of one instance at a time."""
    X, parts, scaled = at.absolute, [], function if isinstance(function, Scaled) else None
    function = function if scaled is None else scaled.function
    for instance, some in ((number + side, some) for number, some in at.spans):
        one = function.parts[instance - function.first] if isinstance(function, PerInstance) else function
        one = _plain(xp, one) if isinstance(one, Function) else one
        values = double(xp, xp.asarray(one(instance, X[some, :])))
        parts.append(values if scaled is None else scaled.scale(instance, values))
    return xp.concat(parts, axis=0)


def _plain(xp: Any, wrapped: Function) -> Any:
    """A user's function without the conversion to NumPy, for other array types."""
    if xp.__name__ == "numpy":
        return wrapped
    return lambda instance, X: wrapped.function(xp.astype(X, getattr(xp, str(wrapped.dtype))))
