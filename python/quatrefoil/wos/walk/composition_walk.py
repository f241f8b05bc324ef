"""The nodes of walks and their gradients, with array API functions in float64: csrc/wos/walk/README.md (5) to (8), (13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..._array_tools import added
from ..._spec import Op
from ..data.composition import Data, Points
from . import WALK
from .composition_balls import First
from .composition_batches import LANE, WalkBatch, Walks, named
from .composition_paths import Callback, Walked, channels, walk_paths

Run = Callable[[WalkBatch, Callback | None], Sequence[Any]]  # runs a batch; returns Walked, and optionally another mark per walk


class Problem:
    """The common parts of a walk op and its adjoint: the arguments by name, the walks, and the data of every right-hand side.

    An adjoint omits differentiable data without parameters.
    """

    def __init__(
        self, xp: Any, op: Op, inputs: Sequence[Any], options: Sequence[Any], functions: dict[str, Any], *, adjoint: bool, lane: int = LANE
    ) -> None:
        self.xp, self.args, label = xp, named(op, inputs, options), f"{op.label}_vjp" if adjoint else op.label
        self.nrhs = getattr(self.args, "nrhs", 1)  # one if walks are recorded
        self.walks = Walks(xp, label, self.args, max(lane, 2 * self.nrhs * (1 + self.args.gradient * self.args.start.shape[2])))
        tables = [arg for arg in op.inputs if hasattr(self.args, f"{arg.name}_kind")]
        self.data: list[Sequence[Data | None]] = []
        for arg, function in zip(tables, (extra.name for extra in op.extras if extra.function)):
            kind, numbers = getattr(self.args, f"{arg.name}_kind"), getattr(self.args, arg.name)
            kind = "none" if adjoint and numbers is None and not arg.constant else kind
            self.data.append(_of_sides(xp, label, kind, numbers, functions.get(function), 1 if arg.constant else self.nrhs))

    def nodes(self, run: Run, marks: int = 3) -> tuple[Any, Any, Any]:
        """mean, m2 and the sums of marks over the walks of every point."""
        xp, (at_ends, sources) = self.xp, self.data[:2]

        def compute(batch: WalkBatch) -> tuple[Any, Any]:
            later, in_first = ([Sum(xp, data) for data in sources] for _ in range(2))

            def on_source(at: Points, weight: Any, active: Any, _: First, entering: bool) -> None:
                for total in in_first if entering else later:
                    total.add(at, weight, active)

            walked, *more = run(batch, on_source if any(sources) else None)
            met = [added(a.total, walked.weighted_data(data)) for a, data in zip(later, at_ends)]
            return self.values(batch, walked, met, in_first), marks_of(batch, walked, more)

        return self.nodes_of(marks, compute)

    def values(self, batch: WalkBatch, walked: Walked, met: Sequence[Any], in_first: Sequence[Sum]) -> Any:
        """The channels of all right-hand sides, from contributions after the first balls and in them."""
        xp = self.xp
        none = xp.zeros((batch.at.x.shape[0], 0), dtype=xp.float64, device=batch.at.x.device)
        return xp.concat([none, *(channels(xp, batch, walked, m, b.total) for m, b in zip(met, in_first))], axis=1)

    def nodes_of(self, marks: int, compute: Callable[[WalkBatch], tuple[Any, Any]]) -> tuple[Any, Any, Any]:
        """mean, m2 and the sums of marks from ``compute``, which returns the values and the marks of a batch."""
        mean, m2, counts = self.walks.nodes(self.nrhs * (1 + self.walks.pairs * self.walks.shape[2]), marks, compute)
        if self.nrhs == 1:
            return mean, m2, counts
        mean, m2 = (_sides_first(self.xp, x, self.nrhs) for x in (mean, m2))
        return mean, m2, self.xp.concat([counts[:0], *self.nrhs * [counts]], axis=0)

    def gradients(self, run: Run, grad: Any) -> tuple[Any, Any]:
        """(7), (8): gradients with respect to the parameters of boundary values and sources, by replaying the walks."""
        xp = self.xp
        of_ends, of_sources = ([Gradient(xp, data) for data in of_sides] for of_sides in self.data[:2])

        def compute(batch: WalkBatch, shares: Sequence[Any]) -> None:
            def on_source(at: Points, weight: Any, active: Any, entered: First, entering: bool) -> None:
                for gradient, own in zip(of_sources, shares):
                    gradient.add(at, weight * share_of(xp, batch, at, own, entered, entering), active)

            walked = run(batch, on_source if any(self.data[1]) else None)[0]
            for gradient, own in zip(of_ends, shares):
                gradient.add(
                    walked.end, walked.left * share_of(xp, batch, walked.end, own, walked.first, False), batch.valid & (walked.left != 0)
                )

        self.replay(grad, compute)
        return total_of(xp, of_ends, self.args.dirichlet), total_of(xp, of_sources, self.args.source)

    def replay(self, grad: Any, compute: Callable[[WalkBatch, Sequence[Any]], None]) -> None:
        """Repeat every batch with the walks' shares of ``grad``, (P, channels) for each right-hand side."""
        C = grad.shape[-1]
        if self.nrhs != 1:
            grad = self.xp.reshape(self.xp.permute_dims(grad, (1, 2, 0, 3)), (1, *grad.shape[1:3], self.nrhs * C))
        self.walks.replay(grad, lambda batch, share: compute(batch, [share[:, side * C : (side + 1) * C] for side in range(self.nrhs)]))


def _problem(xp: Any, inputs: Sequence[Any], options: Sequence[Any], functions: dict[str, Any], adjoint: bool) -> tuple[Problem, Run]:
    problem = Problem(xp, WALK, inputs, options, functions, adjoint=adjoint)
    return problem, lambda batch, on_source: (walk_paths(batch, problem.args.max_steps, problem.args.screening, on_source),)


def walk(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, Any, Any]:
    """The nodes of walks [first_walk, first_walk + walks) of every point."""
    problem, run = _problem(xp, arguments[:6], arguments[6:], functions, False)
    return problem.nodes(run)


def walk_vjp(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    problem, run = _problem(xp, arguments[:6], arguments[7:], functions, True)
    return None, None, None, None, *problem.gradients(run, arguments[6])


def _of_sides(xp: Any, label: str, kind: str, numbers: Any, function: Any, nrhs: int) -> Sequence[Data | None]:
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
    """The sum of weighted data at the ends or source points of walks."""

    def __init__(self, xp: Any, data: Data | None) -> None:
        self.xp, self.data = xp, data
        self.total: Any = None

    def add(self, at: Points, weight: Any, active: Any) -> None:
        assert self.data is not None
        met = weight * self.data.values(at, active)
        self.total = added(self.total, at.spread(self.xp, self.xp.where(active, met, self.xp.zeros_like(met))))


def marks_of(batch: WalkBatch, walked: Walked, more: Sequence[Any]) -> Any:
    """The marks of walks, and more of them."""
    return batch.xp.concat([walked.marks(batch), *(mark[:, None] for mark in more)], axis=1)


def total_of(xp: Any, of_sides: list[Gradient], numbers: Any) -> Any:
    """The gradient for parameters with one row for all right-hand sides, or with one row for each."""
    totals = [gradient.total() for gradient in of_sides]
    if numbers is None or len(totals) == 1:
        return totals[0] if totals else None
    if numbers.shape[0] == len(totals):
        return xp.concat([numbers[:0, :], *totals], axis=0)
    return sum(totals, xp.zeros_like(numbers))


def share_of(xp: Any, batch: WalkBatch, at: Points, share: Any, first: First, entering: bool) -> Any:
    """The share (P,) of the gradient for points in the first ball if ``entering``, otherwise after it. ``share``: that of all walks."""
    share = share if at.kept is None else xp.take(share, at.kept[0], axis=0)
    if not batch.pairs:
        return share[:, 0]
    factors = first.channels(xp, at.extent)[entering]
    return xp.sum(xp.where(share == 0, xp.zeros_like(share), share * factors), axis=1)  # the factor of a zero share may be NaN


class Gradient:
    """The sum of gradients with respect to the parameters of data; None without data."""

    def __init__(self, xp: Any, data: Data | None) -> None:
        self.xp, self.data = xp, data
        self.sum: Any = None

    def add(self, at: Points, share: Any, active: Any) -> None:
        if self.data is not None:
            self.sum = added(self.sum, self.data.gradient(at, self.xp.where(active, share, self.xp.zeros_like(share))))

    def total(self) -> Any:
        if self.data is None or self.sum is not None:
            return self.sum
        return self.xp.zeros_like(self.data.numbers)
