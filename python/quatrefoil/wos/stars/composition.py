"""Walks on stars with array API functions in float64, step by step, with the counters of csrc/wos/stars/walker.hpp.

Equation numbers refer to csrc/wos/stars/README.md. Every step tests every segment, wall and corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ... import _array_tools
from ..._array_tools import added, nan_unless
from ..._spec import Op
from ..data.composition import Data, Points
from ..media.composition import BEYOND, enter, of_root
from ..media.composition_medium import Medium
from ..query.composition import LIVE
from ..walk.composition_balls import SHRUNK, First, bessel_series, hit_weight, roulette, source_weight
from ..walk.composition_batches import LANE, WalkBatch
from ..walk.composition_domain import beyond_box
from ..walk.composition_paths import Callback, Stepper, Walked, go_on
from ..walk.composition_philox import BOUNDARY, ROULETTE, direction, source_point, uniform
from ..walk.composition_trace import from_start, record
from ..walk.composition_walk import Gradient, Problem, Sum, marks_of, total_of
from . import STARS, STARS_TRACE
from .composition_facets import Facets
from .composition_walls import LARGEST, NOWHERE, SLACK, Walls

__all__ = ["stars", "stars_trace", "stars_vjp"]
_INPUTS = len(STARS.inputs)
_SOURCE, _NEUMANN, _ROBIN = 1, 2, 3  # indices of data
_REAL = [i for i, arg in enumerate(STARS_TRACE.outputs) if arg.dtype == "double"]


class _Met(NamedTuple):
    """Callbacks for source points and points on the walls, or None."""

    sources: Callback | None
    flux: Callback | None


class _State(NamedTuple):
    """Every walk's position, the wall it is on (-1 for none), its weight, and the number of its jumps beyond a medium's bounds."""

    x: Any
    own: Any
    weight: Any
    beyond: Any


class _Jump(NamedTuple):
    """The possible jumps of a step in a medium: to source points y, if ``inside``, and to points z on walls (-1 for none)."""

    inside: Any
    y: Any
    likely: Any
    wall: Any
    z: Any
    odds: Any


def _step(
    batch: WalkBatch, walls: Walls, at: _State, distance: Any, step: int, active: Any, first: First, met: _Met, medium: Medium | None
) -> _State:
    """(1) One step of every walk."""
    xp, d, x, own, weight = batch.xp, walls.d, at.x, at.own, at.weight
    words, *more = batch.lanes.words(xp, step, *([BOUNDARY + step] if met.flux or medium else []))
    n = walls.turn_inward(direction(xp, words[0], words[1], d), own)
    R, mass = walls.star(x, distance, batch.epsilon, own)
    factor = xp.where(own >= 0, xp.full_like(R, 2.0), xp.ones_like(R))
    weight = weight if mass is None else weight / (1.0 + factor * mass)
    wall, t = walls.hit(x, n, R, own, NOWHERE)
    z2: Any = None if walls.screening is None else R * R * walls.screening
    if met.sources or medium:
        s = xp.sqrt(uniform(xp, words[1]) * uniform(xp, words[2])) if d == 2 else source_point(xp, batch.lanes, step, d)[0]
        share = xp.ones_like(s) if z2 is None else source_weight(d, s, -xp.log(s), z2)[0]
        y, inside = x + (R * s)[:, None] * n, s * R < t
    if met.sources:
        met.sources(batch.at._replace(x=y), weight * share * (R * batch.extent) ** 2 / (2.0 * d), active & inside, first, False)
    if met.flux or medium:
        k, corner_weights, green = walls.flux(x, R, own, factor, [uniform(xp, word) for word in more[0]])
        z = walls.point(k, corner_weights)
    if met.flux:
        on_wall = batch.at._replace(x=z, facet=xp.clip(k, min=0), weights=corner_weights)
        met.flux(on_wall, weight * green * batch.extent, active & (k >= 0), first, False)
    lands = wall >= 0
    if medium:
        to = xp.where(lands[:, None], walls.land(x, n, t, wall), x + R[:, None] * n)
        odds = xp.where(k >= 0, green * walls.exchanged(k)[:, 0], xp.zeros_like(green))
        at = _jumped(batch, walls, medium, _State(to, wall, weight, at.beyond), _Jump(inside, y, z2 / (2.0 * d) * share, k, z, odds), step)
        return at._replace(weight=roulette(xp, at.weight, uniform(xp, words[3])))
    if z2 is not None:
        s = t / R if d == 3 else xp.clip(t / R, min=1e-10)
        through = hit_weight(d, s, -xp.log(s), z2)
        weight = xp.where(lands, weight * through, weight / bessel_series(d - 2, 0.25 * z2))
    x = xp.where(lands[:, None], walls.land(x, n, t, wall), x + R[:, None] * n)
    return _State(x, wall, roulette(xp, weight, uniform(xp, words[3])), at.beyond)


def _jumped(batch: WalkBatch, walls: Walls, medium: Medium, to: _State, jump: _Jump, step: int) -> _State:
    """(12) The state after a step in a medium. Walks that do not jump arrive at ``to``."""
    xp = batch.xp
    ((_, to_source, to_wall, _),) = batch.lanes.words(xp, ROULETTE + step)
    on_wall = uniform(xp, to_wall) * (1.0 + jump.odds) < jump.odds
    inside = ~on_wall & jump.inside & (uniform(xp, to_source) < jump.likely)
    x = xp.where(on_wall[:, None], jump.z, xp.where(inside[:, None], jump.y, to.x))
    own = xp.where(on_wall, jump.wall, xp.where(inside, xp.full_like(to.own, -1), to.own))
    rate, slope = medium.about(batch.at._replace(x=x))
    bound, constant = walls.exchanged(own)[:, 0], walls.exchanged(own)[:, 1]
    nu, bound = xp.sum(walls.inward(own) * slope, axis=1) + constant, xp.where(on_wall, bound, xp.ones_like(bound))
    ratio = xp.where(on_wall, nu / bound, xp.where(inside, rate, xp.zeros_like(rate)))
    weight = to.weight * (1.0 + jump.odds) * xp.where(on_wall, -ratio, 1.0 - ratio)
    return _State(x, own, weight, to.beyond + xp.astype(xp.abs(ratio) > BEYOND, xp.int64))


def _enter(batch: WalkBatch, walls: Walls, medium: Medium, at: _State, clearance: Any, enters: Any, met: _Met) -> tuple[_State, First]:
    """Media (8): the first step of pairs."""
    xp, x, d = batch.xp, at.x, walls.d
    R = SHRUNK * xp.minimum(clearance, walls.limit())
    drawn, entered = enter(xp, batch.lanes, d, R, medium.bound)
    first = of_root(entered, medium.slopes_at_start, batch.extent).where(xp, enters, First.none(xp, x))
    y = x + (R * drawn.s)[:, None] * drawn.m
    if met.sources:
        met.sources(batch.at._replace(x=xp.where(enters[:, None], y, x)), (R * batch.extent) ** 2 / (2.0 * d), enters, first, True)
    to, jumps = xp.where(drawn.jumped[:, None], y, x + R[:, None] * drawn.n), enters & drawn.jumped
    ratio = xp.where(jumps, medium.share(batch.at._replace(x=xp.where(enters[:, None], to, x))), xp.zeros_like(R))
    weight = roulette(xp, 1.0 - ratio, uniform(xp, batch.lanes.words(xp, 0)[0][3]))
    return _State(to, xp.full_like(at.own, -1), weight, xp.astype(xp.abs(ratio) > BEYOND, xp.int64)), first


def _walk(batch: WalkBatch, walls: Walls, max_steps: int, screening: float, met: _Met, medium: Medium | None) -> tuple[Walked, Any]:
    """Run the walks of a batch. Also returns the number of each walk's jumps beyond a medium's bounds."""
    xp, x, active, epsilon = batch.xp, batch.at.x, batch.valid, batch.epsilon
    at = _State(x, walls.nearest(x, 4 * SLACK)[0], xp.ones_like(x[:, 0]), xp.zeros(x.shape[:1], dtype=xp.int64, device=x.device))
    first, enters = First.none(xp, x), xp.zeros_like(active)
    steps, stepper = xp.zeros(x.shape[:1], dtype=xp.int64, device=x.device), Stepper(batch, screening, met.sources)
    for step in range(max_steps):
        distance, _, _ = batch.domain.see_far(at.x)
        active = active & (distance > epsilon) & (at.weight != 0) & ~beyond_box(xp, at.x)
        if not go_on(xp, step, active):
            break
        if step == 0 and batch.pairs:
            clearance = walls.nearest(at.x, xp.clip(distance, max=LARGEST))[1]
            enters = active & (clearance > epsilon)
            if medium:
                ball, first = _enter(batch, walls, medium, at, clearance, enters, met)
            else:
                inside, first = stepper.enter(at.x, clearance, enters)
                ball = at._replace(x=inside, own=xp.full_like(at.own, -1))
        moved = _step(batch, walls, at, distance, step, active & ~enters, first, met, medium)
        if step == 0 and batch.pairs:
            moved = _State(*(xp.where(enters if a.ndim == 1 else enters[:, None], a, b) for a, b in zip(ball, moved)))
            enters = xp.zeros_like(enters)
        at = _State(*(xp.where(active if a.ndim == 1 else active[:, None], a, b) for a, b in zip(moved, at)))
        steps = steps + xp.astype(active, xp.int64)
    distance, k, weights = batch.domain.see_far(at.x)
    end = batch.at._replace(x=batch.domain.project(at.x, k, weights), facet=k, weights=weights)
    goes, weight = at.weight != 0, at.weight
    if medium:
        weight = xp.where(goes & (steps > 0), weight * medium.roots(end) / medium.roots(batch.at), weight)
    return Walked(end, weight, first, steps, goes & (distance > epsilon), goes & beyond_box(xp, at.x)), at.beyond


class _Problem(Problem):
    """Adds the tables of walls and corners."""

    def __init__(
        self, xp: Any, inputs: Sequence[Any], options: Sequence[Any], functions: dict[str, Any], adjoint: bool = False, op: Op = STARS
    ) -> None:
        lane = LANE + LIVE * (inputs[4].shape[0] + inputs[6].shape[0])
        super().__init__(xp, op, inputs, options, functions, adjoint=adjoint, lane=lane)

    def _mine(self, batch: WalkBatch, table: Any, first: Any) -> Any:
        """Which rows of the table belong to each walk's instance, (P, rows)."""
        xp, (low, high) = self.xp, (first[:-1], first[1:])
        row = batch.at.row if first.shape[0] > 2 else 0 * batch.at.row
        k = xp.arange(table.shape[0], dtype=xp.int64, device=table.device)
        return (xp.take(low, row, axis=0)[:, None] <= k) & (k < xp.take(high, row, axis=0)[:, None])

    def unless_wrong(self, x: Any) -> Any:
        """x, or NaN if the row offsets of a table do not match it (on the host this raises an error). None if x is None."""
        g = self.args
        tables = ((g.ends, g.first), (g.walls, g.first_wall), (g.corners, g.first_corner))
        fits = [(first[0] == 0) & (first[-1] == table.shape[0]) for table, first in tables]
        return None if x is None else nan_unless(self.xp, fits[0] & fits[1] & fits[2], x)

    def medium(self, batch: WalkBatch) -> Medium | None:
        if not self.args.varies:
            return None
        (diffusion,), (screening,) = self.data[4:]
        return Medium(self.xp, diffusion, screening, batch.at, self.xp.take(self.args.bounds, batch.at.row, axis=0), slopes=True)

    def walk(self, batch: WalkBatch, met: _Met) -> tuple[Walked, Any]:
        xp, g, table, d = self.xp, self.args, self.args.walls, batch.at.x.shape[1]
        mine = self._mine(batch, table, g.first_wall)
        if table.shape[0] == 0:  # add one wall that belongs to no walk
            eye = [float(i == j) for j in range(d) for i in range(d)]
            table = xp.asarray([[*eye, 0.0, 0.0]], dtype=xp.float64, device=table.device)
            mine = xp.zeros((batch.at.x.shape[0], 1), dtype=xp.bool, device=table.device)
        corners = (g.corners, self._mine(batch, g.corners, g.first_corner)) if g.corners.shape[0] else None
        absorbs = _array_tools.is_any(xp, table[:, d * d] > 0)
        medium, screening = self.medium(batch), g.rate * batch.extent**2 if g.rate > 0 else None
        walls = (Walls if d == 2 else Facets)(xp, table, mine, corners, batch.extent, medium.bound if medium else screening, absorbs)
        if medium is None:
            return _walk(batch, walls, g.max_steps, g.rate, met, None)
        walls.exchange, root = g.exchange, medium.roots(batch.at)
        if g.slopes is not None:
            B, N, _ = g.slopes.shape
            medium.slopes_at_start = xp.take(xp.reshape(g.slopes, (B * N, d)), batch.of_row, axis=0)

        def converted(callback: Callback | None, power: int) -> Callback | None:
            """A callback with weights for u instead of U, media (1)."""

            def convert(at: Points, weight: Any, *rest: Any) -> None:
                assert callback is not None
                callback(at, weight * medium.roots(at) ** power / root, *rest)

            return callback and convert

        return _walk(batch, walls, g.max_steps, 0.0, _Met(converted(met.sources, -1), converted(met.flux, 1)), medium)

    def flux(self, add: Callable[..., None]) -> Callback:
        """A callback for points on the walls, which calls ``add`` with the index of their data and the arguments of a callback."""

        def on_walls(at: Points, weight: Any, active: Any, first: First, entering: bool) -> None:
            is_robin = self.xp.take(self.args.walls[:, -1], at.facet, axis=0) > 0
            for kind, mine in ((_NEUMANN, ~is_robin), (_ROBIN, is_robin)):
                add(kind, at, weight, active & mine, first, entering)

        return on_walls


def stars(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    """The nodes of the walks of every point."""
    problem = _Problem(xp, arguments[:_INPUTS], arguments[_INPUTS:], functions)
    at_ends, sources, neumann, robin, *_ = problem.data

    def compute(batch: WalkBatch) -> tuple[Any, Any]:
        in_first, *later = ([Sum(xp, data) for data in of_sides] for of_sides in (sources, sources, neumann, robin))

        def add(kind: int, at: Points, weight: Any, active: Any, _: First, entering: bool) -> None:
            for one in in_first if entering else later[kind - _SOURCE]:
                if one.data is not None:
                    one.add(at, weight, active)

        on_walls = problem.flux(add) if any(neumann) or any(robin) else None
        walked, beyond = problem.walk(batch, _Met(partial(add, _SOURCE) if any(sources) else None, on_walls))
        met = [_total(xp, walked, None if problem.args.endless else data, sums) for data, *sums in zip(at_ends, *later)]
        return problem.values(batch, walked, met, in_first), marks_of(batch, walked, [beyond])

    mean, m2, counts = problem.nodes_of(4, compute)
    beyond = counts[:, :, 3] if problem.args.varies else None
    return problem.unless_wrong(mean), problem.unless_wrong(m2), counts[:, :, :3], beyond


def stars_trace(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    """The ends of walks, their source points, and their points on the walls."""
    problem = _Problem(xp, arguments[:_INPUTS], arguments[_INPUTS:], functions, op=STARS_TRACE)
    _, sources, neumann, robin, *_ = problem.data

    def run(batch: WalkBatch, on_points: list[Callback | None]) -> tuple[Walked, Any]:
        def add(kind: int, *rest: Any) -> None:
            if (callback := on_points[kind - _SOURCE]) is not None:
                callback(*rest)

        on_walls = problem.flux(add) if any(neumann) or any(robin) else None
        walked, beyond = problem.walk(batch, _Met(on_points[0], on_walls))
        walked = walked._replace(left=xp.zeros_like(walked.left)) if problem.args.endless else walked
        return from_start(batch, walked), beyond

    recorded = record(xp, problem.walks, problem.args.events, [any(sources), any(neumann), any(robin)], run)
    return tuple(problem.unless_wrong(x) if i in _REAL else x for i, x in enumerate(recorded))


def stars_vjp(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    """Gradients, by replaying the walks."""
    problem = _Problem(xp, arguments[:_INPUTS], arguments[_INPUTS + 1 :], functions, True)
    gradients = [[Gradient(xp, data) for data in of_sides] for of_sides in problem.data[:4]]
    _, sources, neumann, robin, *_ = problem.data

    def compute(batch: WalkBatch, shares: Sequence[Any]) -> None:
        def add(kind: int, at: Points, weight: Any, active: Any, entered: First, entering: bool) -> None:
            for gradient, share in zip(gradients[kind], shares):
                if gradient.data is not None:
                    gradient.add(at, weight * _share_of(xp, batch, share, entered, entering), active)

        on_walls = problem.flux(add) if any(neumann) or any(robin) else None
        walked, _ = problem.walk(batch, _Met(partial(add, _SOURCE) if any(sources) else None, on_walls))
        if not problem.args.endless:
            add(0, walked.end, walked.left, batch.valid & (walked.left != 0), walked.first, False)

    problem.replay(arguments[_INPUTS], compute)
    tables = (getattr(problem.args, name) for name in ("dirichlet", "source", "neumann", "robin"))
    totals = (problem.unless_wrong(total_of(xp, of_sides, table)) for of_sides, table in zip(gradients, tables))
    return *[None] * 8, *totals, *[None] * 5


def _total(xp: Any, walked: Walked, at_ends: Data | None, sums: Sequence[Sum]) -> Any:
    """(P,): the data at the ends of walks and the contributions of their steps."""
    total = None if at_ends is None else walked.weighted_data(at_ends)
    for one in sums:
        total = total if one.total is None else added(total, one.total)
    return xp.zeros_like(walked.left) if total is None else total


def _share_of(xp: Any, batch: WalkBatch, share: Any, first: First, entering: bool) -> Any:
    """Like ``share_of`` of walk, but walks without a first ball, which have no gradient, contribute 0."""
    if not batch.pairs:
        return share[:, 0]
    factors = first.channels(xp, batch.extent)[entering]
    return xp.sum(share * xp.where(xp.isnan(factors), xp.zeros_like(factors), factors), axis=1)
