"""The nodes of walks and their gradients, in array-API terms and float64: csrc/wos/walk/README.md (5) to (8), (13)."""

from __future__ import annotations

from typing import Any

from ..._array_tools import added
from ..data.composition import Data, Places
from .composition_balls import First
from .composition_paths import channels, of_first, walk_paths
from .composition_pieces import LANE, Piece, Walks


def walk(
    xp: Any, start: Any, frame: Any, ends: Any, first: Any, dirichlet: Any, source: Any, dirichlet_kind: str, source_kind: str, seed: int,
    first_walk: int, walks: int, max_steps: int, gradient: bool, screening: float, first_instance: int, first_point: int, outside: bool,
    nrhs: int, grids: Any = None, g: Any = None, f: Any = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The nodes of walks [first_walk, first_walk + walks) of every point."""
    label, C = "wos.walk", 1 + gradient * start.shape[2]
    at_ends = of_sides(xp, label, dirichlet_kind, dirichlet, g, nrhs)
    sources = of_sides(xp, label, source_kind, source, f, nrhs)
    all_walks = _walks(xp, label, start, frame, ends, first, seed, first_walk, walks, gradient, screening, first_instance, first_point,
                       outside, source_kind == "none", nrhs * C)  # fmt: skip

    def compute(piece: Piece) -> tuple[Any, Any]:
        later, in_first = ([Sum(xp, data) for data in sources] for _ in range(2))

        def on_source(at: Places, weight: Any, active: Any, _: First, entering: bool) -> None:
            for total in in_first if entering else later:
                total.add(at, weight, active)

        walked = walk_paths(piece, max_steps, screening, None if source_kind == "none" else on_source)
        met = [added(a.total, walked.found(data)) for a, data in zip(later, at_ends)]
        values = [channels(xp, piece, walked, m, b.total) for m, b in zip(met, in_first)]
        none = xp.zeros((piece.at.x.shape[0], 0), dtype=xp.float64, device=frame.device)
        return xp.concat([none, *values], axis=1), walked.marks(piece)

    mean, m2, counts = all_walks.nodes(nrhs * C, 3, compute)
    if nrhs == 1:
        return mean, m2, counts
    return _sides_first(xp, mean, nrhs), _sides_first(xp, m2, nrhs), xp.concat([counts[:0], *nrhs * [counts]], axis=0)


def of_sides(xp: Any, label: str, kind: str, numbers: Any, function: Any, nrhs: int) -> list[Any]:
    """The data of every right-hand side that shares the walks, or None for each."""
    if kind == "none":
        return nrhs * [None]
    rows = nrhs > 1 and numbers is not None and numbers.shape[0] > 1
    return [Data(xp, label, kind, numbers[side : side + 1, :] if rows else numbers, function, side) for side in range(nrhs)]


def _sides_first(xp: Any, x: Any, nrhs: int) -> Any:
    """(1, N, K, nrhs C) -> (nrhs, N, K, C)."""
    _, N, K, all_channels = x.shape
    C = all_channels // max(nrhs, 1)
    return xp.permute_dims(xp.reshape(x, (N, K, nrhs, C)), (2, 0, 1, 3))


class Sum:
    """The sum of weighted data at the points that walks meet."""

    def __init__(self, xp: Any, data: Data | None) -> None:
        self.xp, self.data = xp, data
        self.total: Any = None

    def add(self, at: Places, weight: Any, active: Any) -> None:
        assert self.data is not None
        met = weight * self.data.values(at, active)
        self.total = added(self.total, self.xp.where(active, met, self.xp.zeros_like(met)))


def _walks(
    xp: Any, label: str, start: Any, frame: Any, ends: Any, first: Any, seed: int, first_walk: int, walks: int, gradient: bool,
    screening: float, first_instance: int, first_point: int, outside: bool, no_source: bool, numbers: int,
) -> Walks:  # fmt: skip
    laplace = no_source and screening == 0 and not outside
    return Walks(xp, label, start, frame, ends, first, seed, first_walk, walks, gradient, first_instance, first_point, outside=outside,
                 laplace=laplace, lane=max(LANE, 2 * numbers))  # fmt: skip


def walk_vjp(
    xp: Any, start: Any, frame: Any, ends: Any, first: Any, dirichlet: Any, source: Any, grad: Any, dirichlet_kind: str, source_kind: str,
    seed: int, first_walk: int, walks: int, max_steps: int, gradient: bool, screening: float, first_instance: int, first_point: int,
    outside: bool, nrhs: int, grids: Any = None, g: Any = None, f: Any = None,
) -> tuple[Any, ...]:  # fmt: skip
    """(7), (8): the walks again."""
    label, C = "wos.walk_vjp", grad.shape[-1]
    all_walks = _walks(xp, label, start, frame, ends, first, seed, first_walk, walks, gradient, screening, first_instance, first_point,
                       outside, source_kind == "none", nrhs * C)  # fmt: skip
    of_ends, of_sources = (
        [Gradient(xp, data) for data in of_sides(xp, label, "none" if numbers is None else kind, numbers, function, nrhs)]
        for kind, numbers, function in ((dirichlet_kind, dirichlet, g), (source_kind, source, f))
    )

    def compute(piece: Piece, share: Any) -> None:
        shares = [share[:, side * C : (side + 1) * C] for side in range(nrhs)]

        def on_source(at: Places, weight: Any, active: Any, entered: First, entering: bool) -> None:
            for gradient, own in zip(of_sources, shares):
                gradient.add(at, weight * share_of(xp, piece, own, entered, entering), active)

        walked = walk_paths(piece, max_steps, screening, None if source is None else on_source)
        for gradient, own in zip(of_ends, shares):
            gradient.add(walked.end, walked.left * share_of(xp, piece, own, walked.first, False), piece.good & (walked.left != 0))

    if nrhs != 1:
        grad = xp.reshape(xp.permute_dims(grad, (1, 2, 0, 3)), (1, *grad.shape[1:3], nrhs * C))
    all_walks.replay(grad, compute)
    return None, None, None, None, _total(xp, of_ends, dirichlet), _total(xp, of_sources, source)


def _total(xp: Any, of_sides: list[Gradient], numbers: Any) -> Any:
    """The gradient in numbers that all right-hand sides share, or with a row for each."""
    totals = [gradient.total() for gradient in of_sides]
    if numbers is None or len(totals) == 1:
        return totals[0] if totals else None
    if numbers.shape[0] == len(totals):
        return xp.concat([numbers[:0, :], *totals], axis=0)
    return sum(totals, xp.zeros_like(numbers))


def share_of(xp: Any, piece: Piece, share: Any, first: First, entering: bool) -> Any:
    """(P,): the share of the channels' gradient for points after the first ball, or in it."""
    if not piece.pairs:
        return share[:, 0]
    return of_first(xp, share, first.channels(xp, piece.extent)[entering])


class Gradient:
    """The sum of gradients in the numbers of data; None without data."""

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
