"""A problem with its points and settings, from which a Result runs more walks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import points_like
from ..data.packed import PackedData, copied, detached
from ..polygon import Solid
from .alike import ranges_of
from .fingerprint import NotComparable, fingerprint
from .harmonic import Cover, cover_of
from .prepared import Prepared, prepare
from .settings import Settings, check_range
from .statement import Statement
from .units import times

Array = Any


class Run:
    """The caller's problem, settings and a copy of the points, with fingerprints of functions. Pickles omit the prepared form."""

    def __init__(self, statement: Statement, points: Any, settings: Settings) -> None:
        self.statement, self.settings = statement, settings
        self.points = copied(points_like(points, "solve", "points"))  # (N, d), (B, N, d), or (d,), whose results have no point axis
        self.functions = [_of_functions(data) for data in self.prepared.data]  # before the caller can change them

    @cached_property
    def prepared(self) -> Prepared:
        return prepare(self.statement, self.points, self.settings)

    @cached_property
    def cover(self) -> Cover:
        """The balls of harmonic caching."""
        return cover_of(self.prepared)

    @cached_property
    def ranges(self) -> np.ndarray:
        """The smallest and the largest possible value of a walk, (B, 2), in units of u."""
        return ranges_of(self.prepared)

    def __getstate__(self) -> dict[str, Any]:
        """Omit cached properties, and the graph of a gradient, which cannot be pickled."""
        state = {name: x for name, x in vars(self).items() if name not in ("prepared", "cover", "ranges")}
        return {**state, "points": detached(self.points)}

    def slope(self, first: int, walks: int, rows: np.ndarray | None = None) -> Array:
        """Estimate ∇u, (rows, d), at all points or at ``rows``, from these walks in pairs (13); an odd number of walks is rounded up."""
        p = self.prepared
        even, end = first - first % 2, first + walks + (first + walks) % 2
        check_range("solve", even, end - even)
        whole = p.as_chunk(gradient=True)
        mean, _ = whole.run(even, end - even, rows).fold()
        return times(detached(mean)[:, 1:], whole.units_of(np.arange(p.sizes.B * p.sizes.N) if rows is None else rows))

    def differs_from(self, other: Run) -> list[str]:
        """Names of the differences between two runs, which may be merged if there are none.

        Raises ValueError if this cannot be decided.
        """
        for run in (self, other):
            for name, of_functions in zip(run.statement._names, run.functions):
                if isinstance(of_functions, NotComparable):
                    raise ValueError(f"merge: {name} depends on {of_functions}, which cannot be compared; resume one result instead")
        try:
            mine, others = self._fingerprints(), other._fingerprints()
        except NotComparable as error:
            raise ValueError(f"merge: boundary depends on {error}, which cannot be compared; resume one result instead") from None
        return [name for name in {**mine, **others} if mine.get(name) != others.get(name)]

    def _fingerprints(self) -> dict[str, Any]:
        s, p, b = self.statement, self.prepared, self.statement.boundary
        shape = (b._row(), getattr(b, "function", None)) if isinstance(b, Solid) else (b._ends,)
        parts: dict[str, Any] = self.settings._asdict()
        del parts["seed"], parts["num_threads"]
        parts |= {
            "exterior": s.exterior, "screening": s._rate, "points": fingerprint(self.points),
            "boundary": [fingerprint(x) for x in (b._centre, b._extent, *shape)],
        }  # fmt: skip
        if (r := s._reflecting) is not None:
            parts["neumann and robin"] = [fingerprint(x) for x in (r.tables.rows[2], r.absorbing, r.reflecting)]
        if s._interfaces is not None:
            parts["diffusion"] = [(alpha, fingerprint(shape._ends)) for shape, alpha, _ in s._interfaces.parts]
        for name, data, of_functions in zip(s._names, p.data, self.functions):
            if data.kind == "none":
                continue
            numbers = None if data.numbers is None else _arrays.to_host(data.numbers)
            parts[name] = data.kind, fingerprint(numbers), of_functions, fingerprint(p.units)
        return parts


def _of_functions(data: PackedData) -> bytes | NotComparable | None:
    """The fingerprint of data with functions. None for numerical data, which are compared in their packed form."""
    if data.function is None:
        return None
    try:
        return fingerprint(data.user_data)
    except NotComparable as error:
        return error
