"""Diffusion and screening at the positions of walks, with array API functions in float64.

Equation numbers refer to csrc/wos/media/README.md.
"""

from __future__ import annotations

from typing import Any

from ..data.composition import Cell, Data, Places


class Medium:
    """α and σ for a group of walks, with their ``bounds`` (P, 2). None stands for α = 1 or σ = 0."""

    def __init__(self, xp: Any, diffusion: Data | None, screening: Data | None, at: Places, bounds: Any) -> None:
        self.xp, self.diffusion, self.screening = xp, diffusion, screening
        self.bound, self.step = bounds[:, 0] * at.extent**2, bounds[:, 1]

    def roots(self, at: Places) -> Any:
        """√α (P,)"""
        return self.xp.ones_like(at.extent) if self.diffusion is None else self.xp.sqrt(self.diffusion.values(at))

    def share(self, at: Places) -> Any:
        """σ' (2) over its bound (P,)."""
        alpha, rate = self._curvature(at)
        if self.screening is not None:
            rate = rate + self.screening.values(at) / alpha
        return rate * at.extent**2 / self.bound

    def _curvature(self, at: Places) -> tuple[Any, Any]:
        """α and (3), in absolute units."""
        data = self.diffusion
        if data is None or data.kind == "number":
            alpha = self.xp.ones_like(at.extent) if data is None else data.values(at)
            return alpha, self.xp.zeros_like(alpha)
        if data.kind == "function":
            return self._by_differences(data, at)
        if data.kind == "grid":  # two tables, one after the other
            cell = Cell(data, at)
            alpha = cell.interpolated(data.table())
            nodes: Any = 1
            for axis in range(cell.d):
                nodes = nodes * cell.sizes[:, axis]
            cell.begin = cell.begin + nodes
            return alpha, cell.interpolated(data.table())
        alpha, slope2, laplace = (self._of_powers if data.kind == "polynomial" else self._of_bells)(data, at)
        return alpha, (laplace / (2 * alpha) - slope2 / (4 * alpha**2)) / at.extent**2

    def _by_differences(self, data: Data, at: Places) -> tuple[Any, Any]:
        """(4) by finite differences."""
        xp, d, alpha = self.xp, at.x.shape[1], data.values(at)
        total: Any = -2 * d
        for axis in range(d):
            is_axis = xp.astype(xp.arange(d, dtype=xp.int64, device=at.x.device) == axis, xp.float64)
            for sign in (-1, 1):
                shifted = at._replace(centre=at.centre + sign * self.step[:, None] * is_axis)
                total = total + xp.sqrt(data.values(shifted)) / xp.sqrt(alpha)
        return alpha, total / self.step**2

    def _of_powers(self, data: Data, at: Places) -> tuple[Any, Any, Any]:
        """α, |grad α|^2 and Δα of a polynomial, in scaled coordinates."""
        xp, d = self.xp, at.x.shape[1]
        exponents, exists = data.powers(at)
        c = data.of_rows(at)[:, d:]
        powers = [xp.astype(e, xp.float64) for e in exponents]

        def summed(axis: int, times: int) -> Any:
            """The derivative along an axis."""
            terms: Any = xp.where(exists, c, xp.zeros_like(c))
            for k, e in enumerate(powers):
                if k == axis and times:
                    factor = e if times == 1 else e * (e - 1)
                    terms = terms * factor * at.x[:, k : k + 1] ** xp.clip(e - times, min=0.0)
                else:
                    terms = terms * at.x[:, k : k + 1] ** e
            return xp.sum(xp.where(exists, terms, xp.zeros_like(terms)), axis=1)

        slope2, laplace = 0, 0
        for axis in range(d):
            slope2, laplace = slope2 + summed(axis, 1) ** 2, laplace + summed(axis, 2)
        return summed(0, 0), slope2, laplace

    def _of_bells(self, data: Data, at: Places) -> tuple[Any, Any, Any]:
        """α, |grad α|^2 and Δα of Gaussians, in scaled coordinates."""
        xp, d = self.xp, at.x.shape[1]
        amplitude, q, away, r2 = data.bells(at)
        e = xp.exp(-r2 * q) * amplitude
        slope = xp.sum((2 * q * e)[:, :, None] * away, axis=1)
        return xp.sum(e, axis=1), xp.sum(slope * slope, axis=1), xp.sum(2 * q * e * (2 * q * r2 - d), axis=1)
