"""A boundary of which a part reflects, in the tables that ``stars`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _arrays, _backends
from ..._memo import Memo

Array = Any


class Tables:
    """What walks on stars see, scaled: the absorbing part (L, 4 or 9) of polygons or a mesh, the walls of the rest (M, 6 or 11) and their
    corners or edges (K, 6 or 12), each followed by the ``first`` row of every instance. Pickles without what is compiled.
    """

    def __init__(self, *rows: np.ndarray) -> None:
        self.rows = rows
        self._arrays: dict[str, tuple[Array, ...]] = {}
        self._memos: dict[str, Memo] = {}
        self._part: tuple[Any, Any] = (None, None)  # the last one that was asked for

    def _arrays_of(self, kind: str) -> tuple[Array, ...]:
        made = self._arrays.get(kind)
        if made is None:  # what is compiled is of these very ones
            made = self._arrays.setdefault(kind, tuple(_arrays.of_kind(kind, x) for x in self.rows))
        return made

    def _memo_of(self, kind: str) -> Memo | None:
        """The compiled grids of the absorbing part, for calls whose arrays 2 and 3 are those of ``arrays(kind)``; None on a device."""
        if "@" in kind:
            return None
        core = _backends.native.core()
        if kind not in self._memos and core is not None:
            ends, first = self.rows[:2]
            made = core.wos.Mesh(ends) if ends.shape[1] == 9 else core.wos.Polygons(ends, first, closed=False)
            self._memos[kind] = Memo(made, "native", self._arrays_of(kind)[:2], at=2)
        return self._memos.get(kind)

    def _part_of(self, begin: int, end: int) -> Tables:
        """Those of instances [begin, end): these where all instances share them."""
        if len(self.rows[1]) == 2 or (begin, end) == (0, len(self.rows[1]) - 1):
            return self
        asked, part = self._part
        if asked != (begin, end):
            cut: list[np.ndarray] = []
            for table, first in zip(self.rows[::2], self.rows[1::2]):
                cut += [np.ascontiguousarray(table[first[begin] : first[end]]), first[begin : end + 1] - first[begin]]
            part = Tables(*cut)
            self._part = (begin, end), part
        found: Tables = part
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_memos": {}, "_part": (None, None)}


@dataclass
class Reflecting:
    """A boundary of which a part reflects.

    ``absorbing`` and ``reflecting``: the segments or triangles of the tables in their order; if nothing absorbs the first of each polygon.
    ``turned``: reflecting ones whose corners go the other way. ``endless``: nothing absorbs.
    """

    tables: Tables
    absorbing: np.ndarray
    reflecting: np.ndarray
    turned: np.ndarray
    endless: bool
