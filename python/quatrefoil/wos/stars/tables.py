"""The tables of a partly reflecting boundary in the form that ``stars`` uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._backends import native
from .. import region


class Tables(region.Tables):
    """Scaled tables of a partly reflecting boundary.

    The absorbing part (L, 4 or 9) of polygons or a mesh, the reflecting walls (M, 6 or 11) and their corners or edges (K, 6 or 12), each
    followed by the first row of every instance.
    """

    def __init__(self, *rows: np.ndarray) -> None:
        super().__init__()
        self.rows = rows
        self._part: Any = (None, None)  # the last range of instances that ``_part_of`` returned, and its tables

    def _tables(self) -> tuple[np.ndarray, ...]:
        return self.rows

    def _compiled(self, ends: np.ndarray, first: np.ndarray) -> Any:
        core = native.core().wos
        return core.Mesh(ends) if ends.shape[1] == 9 else core.Polygons(ends, first, closed=False)

    def with_mu(self, mu: np.ndarray) -> Tables:
        rows = list(self.rows)
        rows[2] = rows[2].copy()
        rows[2][:, -2] = mu
        return Tables(*rows)

    def _part_of(self, begin: int, end: int) -> Tables:
        """The tables of instances [begin, end), or these tables if all instances share them."""
        if len(self.rows[1]) == 2 or (begin, end) == (0, len(self.rows[1]) - 1):
            return self
        instances, part = self._part
        if instances != (begin, end):
            rows: list[np.ndarray] = []
            for table, first in zip(self.rows[::2], self.rows[1::2]):
                rows += [np.ascontiguousarray(table[first[begin] : first[end]]), first[begin : end + 1] - first[begin]]
            part = Tables(*rows)
            self._part = (begin, end), part
        tables: Tables = part
        return tables

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_part": (None, None)}


@dataclass
class Reflecting:
    """A partly reflecting boundary.

    ``absorbing`` and ``reflecting``: the boundary's facets in the order of the tables. If nothing absorbs (``endless``), ``absorbing`` has
    the first facet of each polygon. ``flipped``: whether the corners of each reflecting facet are reversed in the tables.
    """

    tables: Tables
    absorbing: np.ndarray
    reflecting: np.ndarray
    flipped: np.ndarray
    endless: bool
