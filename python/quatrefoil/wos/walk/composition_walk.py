"""The nodes of walks and their gradients, in array-API terms and float64: csrc/wos/walk/README.md (5) to (8), (13)."""

from __future__ import annotations

from typing import Any

from ..._array_tools import added
from ..data.composition import Data, Places
from .composition_balls import First
from .composition_paths import channels, of_first, walk_paths
from .composition_pieces import Piece, Walks


def walk(
    xp: Any, start: Any, frame: Any, ends: Any, first: Any, dirichlet: Any, source: Any, dirichlet_kind: str, source_kind: str, seed: int,
    first_walk: int, walks: int, max_steps: int, gradient: bool, screening: float, first_instance: int, first_point: int, outside: bool,
    grids: Any = None, g: Any = None, f: Any = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The nodes of walks [first_walk, first_walk + walks) of every point."""
    label = "wos.walk"
    at_ends = Data(xp, label, dirichlet_kind, dirichlet, g)
    sources = None if source_kind == "none" else Data(xp, label, source_kind, source, f)
    all_walks = _walks(xp, label, start, frame, ends, first, seed, first_walk, walks, gradient, screening, first_instance, first_point,
                       outside, sources is None)  # fmt: skip

    def compute(piece: Piece) -> tuple[Any, Any]:
        later, here = Sum(xp, sources), Sum(xp, sources)

        def found(at: Places, weight: Any, active: Any, _: First, entering: bool) -> None:
            (here if entering else later).add(at, weight, active)

        walked = walk_paths(piece, max_steps, screening, None if sources is None else found)
        met = added(later.total, walked.found(at_ends))
        return channels(xp, piece, walked, met, here.total), walked.marks(piece)

    return all_walks.nodes(1 + gradient * start.shape[2], 3, compute)


class Sum:
    """What data count, where walks meet them."""

    def __init__(self, xp: Any, data: Data | None) -> None:
        self.xp, self.data = xp, data
        self.total: Any = None

    def add(self, at: Places, weight: Any, active: Any) -> None:
        assert self.data is not None
        met = weight * self.data.values(at, active)
        self.total = added(self.total, self.xp.where(active, met, self.xp.zeros_like(met)))


def _walks(
    xp: Any, label: str, start: Any, frame: Any, ends: Any, first: Any, seed: int, first_walk: int, walks: int, gradient: bool,
    screening: float, first_instance: int, first_point: int, outside: bool, no_source: bool,
) -> Walks:  # fmt: skip
    laplace = no_source and screening == 0 and not outside
    return Walks(xp, label, start, frame, ends, first, seed, first_walk, walks, gradient, first_instance, first_point, outside=outside,
                 laplace=laplace)  # fmt: skip


def walk_vjp(
    xp: Any, start: Any, frame: Any, ends: Any, first: Any, dirichlet: Any, source: Any, grad: Any, dirichlet_kind: str, source_kind: str,
    seed: int, first_walk: int, walks: int, max_steps: int, gradient: bool, screening: float, first_instance: int, first_point: int,
    outside: bool, grids: Any = None, g: Any = None, f: Any = None,
) -> tuple[Any, ...]:  # fmt: skip
    """(7), (8): the walks again."""
    label = "wos.walk_vjp"
    at_ends = None if dirichlet is None else Data(xp, label, dirichlet_kind, dirichlet, g)
    sources = None if source is None else Data(xp, label, source_kind, source, f)
    all_walks = _walks(xp, label, start, frame, ends, first, seed, first_walk, walks, gradient, screening, first_instance, first_point,
                       outside, source_kind == "none")  # fmt: skip
    of_ends, of_sources = Gradient(xp, at_ends), Gradient(xp, sources)

    def compute(piece: Piece, share: Any) -> None:
        def found(at: Places, weight: Any, active: Any, entered: First, entering: bool) -> None:
            of_sources.add(at, weight * share_of(xp, piece, share, entered, entering), active)

        walked = walk_paths(piece, max_steps, screening, None if sources is None else found)
        of_ends.add(walked.end, walked.left * share_of(xp, piece, share, walked.first, False), piece.good & (walked.left != 0))

    all_walks.replay(grad, compute)
    return None, None, None, None, of_ends.total(), of_sources.total()


def share_of(xp: Any, piece: Piece, share: Any, first: First, entering: bool) -> Any:
    """(P,) of what walks meet, after their first balls or in these, of the gradient in their channels."""
    if not piece.pairs:
        return share[:, 0]
    return of_first(xp, share, first.channels(xp, piece.extent)[entering])


class Gradient:
    """The sum of gradients in the numbers of data; of none None."""

    def __init__(self, xp: Any, data: Data | None) -> None:
        self.xp, self.data = xp, data
        self.sum: Any = None

    def add(self, at: Places, share: Any, active: Any) -> None:
        if self.data is not None:
            self.sum = added(self.sum, self.data.gradient(at, self.xp.where(active, share, self.xp.zeros_like(share))))

    def total(self) -> Any:
        if self.data is None or self.sum is not None:
            return self.sum
        return self.xp.zeros_like(self.data.numbers)
