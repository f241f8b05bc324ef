"""Diffusion and screening at the positions of walks, with array API functions in float64.

Equation numbers refer to csrc/wos/media/README.md.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from ..data.composition import Cell, Data, Points


class Medium:
    """α (1 if None) and σ (0 if None) for a group of walks, with ``bounds`` (P, 2). ``slopes``: grids also store grad α / (2 α)."""

    def __init__(self, xp: Any, diffusion: Data | None, screening: Data | None, at: Points, bounds: Any, slopes: bool = False) -> None:
        self.xp, self.diffusion, self.screening, self.slopes = xp, diffusion, screening, slopes
        self.bound, self.step = bounds[:, 0] * at.extent**2, bounds[:, 1]
        self.slopes_at_start: Any = None  # (P, d) grad α / (2 α) where walks start, in absolute units

    def only(self, kept: Any) -> Medium:
        """The medium for the walks with these indices."""
        part = copy(self)
        part.bound, part.step = (self.xp.take(a, kept, axis=0) for a in (self.bound, self.step))
        return part

    def roots(self, at: Points) -> Any:
        """√α (P,)"""
        return self.xp.ones_like(at.extent) if self.diffusion is None else self.xp.sqrt(self.diffusion.values(at))

    def share(self, at: Points) -> Any:
        """σ' (2) over its bound (P,)."""
        return self.about(at)[0]

    def about(self, at: Points) -> tuple[Any, Any]:
        """``share``, and grad α / (2 α) (P, d) in scaled coordinates."""
        alpha, rate, slope = self._curvature(at)
        if self.screening is not None:
            rate = rate + self.screening.values(at) / alpha
        return rate * at.extent**2 / self.bound, slope

    def _curvature(self, at: Points) -> tuple[Any, Any, Any]:
        """α and (3), in absolute units; grad α / (2 α) in scaled coordinates, or 0 for a grid without it."""
        data = self.diffusion
        if data is None or data.kind == "number":
            alpha = self.xp.ones_like(at.extent) if data is None else data.values(at)
            return alpha, self.xp.zeros_like(alpha), self.xp.zeros_like(at.x)
        if data.kind == "function":
            return self._by_differences(data, at)
        if data.kind == "grid":  # consecutive tables: α, (3) and, with slopes, grad α / (2 α)
            cell = Cell(data, at)
            alpha = cell.interpolated(data.table())
            nodes: Any = 1
            for axis in range(cell.d):
                nodes = nodes * cell.sizes[:, axis]
            tables = []
            for _ in range(1 + (self.slopes and cell.d)):
                cell.begin = cell.begin + nodes
                tables.append(cell.interpolated(data.table()))
            curvature, *slopes = tables
            slope = self.xp.stack(slopes, axis=1) * at.extent[:, None] if slopes else self.xp.zeros_like(at.x)
            return alpha, curvature, slope
        alpha, slope, laplace = (self._of_powers if data.kind == "polynomial" else self._of_bells)(data, at)
        slope = slope / (2 * alpha[:, None])
        return alpha, (laplace / (2 * alpha) - self.xp.sum(slope * slope, axis=1)) / at.extent**2, slope

    def _by_differences(self, data: Data, at: Points) -> tuple[Any, Any, Any]:
        """(4) by finite differences."""
        xp, d, alpha = self.xp, at.x.shape[1], data.values(at)
        total: Any = -2 * d
        slopes = []
        for axis in range(d):
            is_axis = xp.astype(xp.arange(d, dtype=xp.int64, device=at.x.device) == axis, xp.float64)
            shifts = (at.centre + sign * self.step[:, None] * is_axis for sign in (-1, 1))
            before, after = (data.values(at._replace(centre=centre)) for centre in shifts)
            total = total + xp.sqrt(before) / xp.sqrt(alpha) + xp.sqrt(after) / xp.sqrt(alpha)
            slopes.append((after - before) / (4 * self.step * alpha) * at.extent)
        return alpha, total / self.step**2, xp.stack(slopes, axis=1)

    def _of_powers(self, data: Data, at: Points) -> tuple[Any, Any, Any]:
        """α, its gradient and Δα of a polynomial, in scaled coordinates."""
        xp, d = self.xp, at.x.shape[1]
        exponents, exists = data.powers(at)
        c = data.of_rows(at)[:, d:]
        powers = [xp.astype(e, xp.float64) for e in exponents]

        def summed(axis: int, times: int) -> Any:
            """The derivative of order ``times`` along an axis."""
            terms: Any = xp.where(exists, c, xp.zeros_like(c))
            for k, e in enumerate(powers):
                if k == axis and times:
                    factor = e if times == 1 else e * (e - 1)
                    terms = terms * factor * at.x[:, k : k + 1] ** xp.clip(e - times, min=0.0)
                else:
                    terms = terms * at.x[:, k : k + 1] ** e
            return xp.sum(xp.where(exists, terms, xp.zeros_like(terms)), axis=1)

        slope = xp.stack([summed(axis, 1) for axis in range(d)], axis=1)
        return summed(0, 0), slope, sum(summed(axis, 2) for axis in range(d))

    def _of_bells(self, data: Data, at: Points) -> tuple[Any, Any, Any]:
        """α, its gradient and Δα of Gaussians, in scaled coordinates."""
        xp, d = self.xp, at.x.shape[1]
        amplitude, q, away, r2 = data.bells(at)
        e = xp.exp(-r2 * q) * amplitude
        slope = -xp.sum((2 * q * e)[:, :, None] * away, axis=1)
        return xp.sum(e, axis=1), slope, xp.sum(2 * q * e * (2 * q * r2 - d), axis=1)
