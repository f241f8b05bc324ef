"""A boundary value problem: an equation, a domain and data. Checked once and immutable."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NoReturn, Self

import numpy as np

from ..._arguments import is_number, keywords, number, reject_tracing
from ..._warnings import warn
from ..data import Data, Fourier
from ..data.pack import check, is_varying
from ..data.packed import DataClass, any_requires_grad, copied, describe, detached, with_arrays
from ..mesh import Boundary
from ..polygon import Polygon
from ..region import check_boundary
from ..regions import Regions
from ..stars.conditions import by_facet, conditions, instances_of, reflecting
from ..stars.tables import Reflecting
from .interfaces import Interfaces
from .per_ring import expected_for
from .settings import HINTS
from .support import support

_MEDIUM = ("diffusion", "screening")
_DEFAULTS = {"source": None, "screening": 0.0, "diffusion": None, "neumann": None, "robin": None, "exterior": False}


class Statement:
    """Boundary, data and options. Arrays are copied, so later changes to the caller's arrays have no effect."""

    boundary: Boundary
    dirichlet: Data
    source: Data | None
    screening: float | Data
    diffusion: Data | Regions | None
    neumann: tuple[Any, Data] | None
    robin: tuple[Any, Any, Data] | None
    exterior: bool
    _caller: str | None  # the function named in errors; None for methods of this object
    _batches: dict[str, int | None]  # the leading B of each kind of data, or None
    _warned: list[bool]  # not empty after the first solve has checked the diffusion near reflecting walls

    @keywords("Problem", **HINTS)
    def __init__(
        self,
        boundary: Boundary,
        *,
        dirichlet: Data,
        source: Data | None = None,
        screening: float | Data = 0.0,
        diffusion: Data | Regions | None = None,
        neumann: tuple[Any, Data] | None = None,
        robin: tuple[Any, Any, Data] | None = None,
        exterior: bool = False,
    ) -> None:
        others = {"source": source, "screening": screening, "diffusion": diffusion, "neumann": neumann, "robin": robin}
        self._fill(None, boundary, {"dirichlet": dirichlet, **others}, exterior)

    @classmethod
    def _create(cls, caller: str, boundary: Any, exterior: Any, **data: Any) -> Self:
        """A problem whose errors name the function ``caller``."""
        statement = cls.__new__(cls)
        statement._fill(caller, boundary, data, exterior)
        return statement

    def _fill(self, caller: str | None, boundary: Any, data: dict[str, Any], exterior: Any) -> None:
        label = caller or "Problem"
        reject_tracing(label)
        check_boundary(boundary, label)
        dirichlet = data["dirichlet"]
        if dirichlet is None or isinstance(dirichlet, dict):
            what = "a dict" if dirichlet else dirichlet
            raise TypeError(f"{label}: dirichlet is {what}, expected boundary values: {expected_for(boundary)}")
        if not is_varying(data["screening"]):
            data["screening"] = number(data["screening"], label, "screening")
        if not isinstance(exterior, bool):
            raise TypeError(f"{label}: exterior is {exterior!r}, expected True or False")
        for name in ("neumann", "robin"):
            value = data[name]
            data[name] = by_facet(boundary, name, value, label)
            if data[name] is not value and not np.any(np.concatenate(data[name][0]) if isinstance(data[name][0], list) else data[name][0]):
                warn(f"solve: {name}'s where(X) is nowhere True on the boundary; add a tolerance, because coordinates are rounded")
        copies = {name: with_arrays(value, copied) for name, value in data.items()}
        vars(self).update(boundary=boundary, **copies, exterior=exterior, _caller=caller, _warned=[])
        vars(self)["_batches"] = self._check(label)

    def _check(self, label: str) -> dict[str, int | None]:
        if self.exterior:
            _check_exterior(self, label)
        if isinstance(self.diffusion, Regions):
            _check_regions(self, self.diffusion, label)
        b = self._shared_boundary
        batches = {name: check(getattr(self, name), b, label, name) for name in ("dirichlet", "source")}
        if self._varies:
            _check_medium(self, label)
            batches |= {name: check(getattr(self, name), b, label, name) for name in _MEDIUM}
        elif is_varying(self.screening):  # with Regions
            _check_medium(self, label)
            batches["screening"] = check(self.screening, b, label, "screening")
        if self._reflecting is not None:
            batches |= {name: check(self._argument(name), b, label, name) for name in ("neumann", "robin")}
            batches |= instances_of(self.neumann, self.robin)
        common_batch({"boundary": self.boundary._batch, **batches}, label)
        _ = self._reach  # raises an error if it is infinite
        return batches

    @cached_property
    def _shared_boundary(self) -> Boundary:
        """The boundary for all instances. A single one serves any number of instances; it is repeated if their walls differ."""
        b, walls = self.boundary, max(instances_of(self.neumann, self.robin).values(), default=1)
        if not isinstance(b, Polygon):
            return b
        b = b._with_margin() if self.exterior else b
        return b._shared()._repeated(walls) if walls > 1 and b._count == 1 else b._shared()

    @cached_property
    def _reflecting(self) -> Reflecting | None:
        """The boundary with its reflecting walls, or None if no part reflects."""
        if self.neumann is None and self.robin is None:
            return None
        screening = self.screening if isinstance(self.screening, float) else 1.0  # a varying one is assumed to be positive somewhere
        return reflecting(self._shared_boundary, self.neumann, self.robin, screening, self._caller or "Problem")

    def _check_shared(self, label: str, fix: str) -> None:
        """Raise an error if paths depend on an argument that differs between instances."""
        counts = instances_of(self.neumann, self.robin) | {name: self._batches.get(name) for name in _MEDIUM}
        for name, count in counts.items():
            if count not in (None, 1):
                raise ValueError(f"{label} requires the same {name} for all instances, got {count}; {fix}")

    @cached_property
    def _method(self) -> str:
        """The name of the op that solves the problem; "jumps" if NumPy moves its walks from region to region."""
        if isinstance(self.diffusion, Regions):
            return "jumps"
        if self._reflecting is not None:
            return "stars"
        return "media" if self._varies else "walk"

    @cached_property
    def _interfaces(self) -> Interfaces | None:
        """The regions of a diffusion with jumps."""
        if not isinstance(self.diffusion, Regions):
            return None
        b, walls = self._shared_boundary, self._reflecting is not None
        of_facets = conditions(b, self.neumann, self.robin, self._caller or "Problem") if walls else ()
        return Interfaces(b, self.diffusion, *of_facets)

    @property
    def _varies(self) -> bool:
        """Whether the diffusion or the screening varies in space."""
        return (self.diffusion is not None or is_varying(self.screening)) and not isinstance(self.diffusion, Regions)

    @cached_property
    def _reach(self) -> float:
        """For exterior problems without screening, the largest distance of a source from the centre of its boundary; otherwise 0."""
        if not self.exterior or self.source is None or self._rate > 0:
            return 0.0
        return float(np.max(support(self.source, self._shared_boundary._centre, self._caller or "Problem"), initial=0.0))

    @property
    def _names(self) -> tuple[str, ...]:
        """The names of the data, in the order of the op's inputs."""
        walls: tuple[str, ...] = () if self._reflecting is None else ("neumann", "robin")
        varying = (*walls, "screening") if is_varying(self.screening) else walls
        more = {"stars": ("neumann", "robin", *_MEDIUM), "media": _MEDIUM, "jumps": varying}
        return ("dirichlet", "source", *more.get(self._method, ()))

    @property
    def _rate(self) -> float:
        """The screening if the medium is constant or jumps, otherwise 0."""
        constant = self.diffusion is None or isinstance(self.diffusion, Regions)
        return self.screening if isinstance(self.screening, float) and constant else 0.0

    def _argument(self, name: str) -> Any:
        """The data with this name; for walls, the flux h. None if it is 0 everywhere."""
        data = getattr(self, name)
        if name in ("neumann", "robin") and data is not None:
            data = data[-1]
            return None if type(data) in (int, float) and data == 0 else data  # then no points are drawn on the walls
        return None if name == "screening" and isinstance(data, float) and (data == 0 or not self._varies) else data

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable; create a new one with a different {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable; {name} cannot be deleted")

    def __getstate__(self) -> dict[str, Any]:
        """Omits derived attributes, and autograd graphs, which cannot be pickled."""
        derived = ("_shared_boundary", "_reflecting", "_method", "_interfaces", "_reach")
        return {name: with_arrays(x, detached) for name, x in vars(self).items() if name not in derived}

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("dirichlet", *_DEFAULTS)}
        parts = (
            f"{name}={repr(x) if is_number(x) or isinstance(x, (bool, DataClass)) else describe(x)}"
            for name, x in shown.items()
            if x is not _DEFAULTS.get(name, ...) and not (name == "screening" and is_number(x) and x == 0)
        )
        return f"{type(self).__name__}({self.boundary!r}, {', '.join(parts)})"


def common_batch(sizes: dict[str, int | None], label: str) -> int | None:
    """The common number of instances: 1 broadcasts, and None means without a leading B."""
    batches = {name: n for name, n in sizes.items() if n is not None}
    several = {n for n in batches.values() if n != 1}
    if len(several) > 1:
        raise ValueError(
            f"{label}: the arguments have different numbers of instances: {', '.join(f'{name} {n}' for name, n in batches.items())}"
        )
    return several.pop() if several else 1 if batches else None


def _check_exterior(s: Statement, label: str) -> None:
    if is_varying(s.screening):
        raise ValueError(f"{label}: exterior=True requires a screening that is a number")
    if s.neumann is not None or s.robin is not None:
        raise ValueError(f"{label}: exterior=True cannot be combined with neumann or robin")


def _check_regions(s: Statement, regions: Regions, label: str) -> None:
    b = s.boundary
    if b.dimension > 3 or b._batch is not None or not getattr(b, "watertight", True) or s.exterior:
        side = "the outside of " if s.exterior else ""
        raise ValueError(
            f"{label}: a diffusion of Regions requires the inside of a single boundary without gaps in two or three dimensions; "
            f"the domain is {side}{b!r}"
        )
    if instances_of(s.neumann, s.robin):
        raise ValueError(f"{label}: a diffusion of Regions requires the same walls for all instances, without a leading axis")
    regions._check(b, label)


def _check_medium(s: Statement, label: str) -> None:
    if s.exterior:
        raise ValueError(
            f"{label}: a diffusion, or a screening that is not a number, is not supported outside {s.boundary!r}; it needs the inside"
        )
    if any(isinstance(x, Fourier) for x in (s.diffusion if isinstance(s.diffusion, (list, tuple)) else [s.diffusion])):
        raise ValueError(f"{label}: diffusion is Fourier data, which has no derivatives at its centre; pass a function")
    for name in _MEDIUM:
        if any_requires_grad(getattr(s, name)):
            raise ValueError(f"{label}: {name} requires grad, but gradients with respect to it are not supported; detach it")
