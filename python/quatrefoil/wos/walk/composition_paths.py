"""The walks of a batch, one step of all walks at a time, with array API functions in float64.

Equation numbers refer to csrc/wos/walk/README.md. NumPy checks at every step whether all walks have ended, and drops ended walks from its
arrays. Other libraries read one flag every LOOK steps, and one before the first step if half discs may pay off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ... import _array_tools
from ..data.composition import Data, Points
from .composition_balls import MAX_SCREENED, SHRUNK, First, bessel_series, roulette, source_weight
from .composition_batches import WalkBatch
from .composition_philox import FIRST, ROULETTE, Lanes, direction, first_words, source_point, uniform, unit_vector

LOOK = 32  # steps between checks whether any walk is active, except with NumPy
MIN_ACTIVE = 0.75  # NumPy drops ended walks if a smaller fraction is active
Callback = Callable[[Points, Any, Any, First, bool], None]


class Walked(NamedTuple):
    """The walks' ends, their weights there (``left``), first balls and steps, and whether they were cut off or escaped."""

    end: Points
    left: Any
    first: First
    steps: Any
    cut: Any
    escaped: Any

    def weighted_data(self, data: Data) -> Any:
        """The weighted data (P,) at the ends."""
        xp = data.xp
        return xp.where(self.left != 0, self.left * data.values(self.end), xp.zeros_like(self.left))

    def marks(self, batch: WalkBatch) -> Any:
        """Steps, cut off, escaped: (P, 3)."""
        xp = batch.xp
        return xp.stack([xp.astype(x, xp.int64) for x in (self.steps, self.cut, self.escaped)], axis=1)


class Ended:
    """The states of the walks that were dropped from the arrays of a batch."""

    def __init__(self) -> None:
        self.parts: list[list[Any]] = []

    def drop(self, batch: WalkBatch, active: Any, state: list[Any]) -> tuple[WalkBatch, list[Any]]:
        """Drop ended walks from a NumPy batch and its state, arrays (P, ...), if few walks are active."""
        xp = batch.xp
        if xp.__name__ != "numpy" or not 0 < xp.count_nonzero(active) < MIN_ACTIVE * active.shape[0]:
            return batch, state
        (gone,), (kept,) = xp.nonzero(~active), xp.nonzero(active)
        self.parts.append([x[gone] for x in (batch.numbers, *state)])
        return batch.only(kept), [x[kept] for x in state]

    def restore(self, batch: WalkBatch, state: list[Any]) -> list[Any]:
        """The leading arrays of the state for all walks, in their original order. ``state``: these arrays for the remaining walks."""
        if not self.parts:
            return state
        xp = batch.xp
        numbers, *whole = (xp.concat(same, axis=0) for same in zip(*self.parts, (batch.numbers, *state)))
        order = xp.argsort(numbers)
        return [x[order] for x in whole]


class Stepper:
    """Moves walks to the surfaces of their balls. Steps must run in order, because several share a block of random words."""

    def __init__(self, batch: WalkBatch, screening: float, on_source: Callback | None) -> None:
        self.batch, self.xp, self.d = batch, batch.xp, batch.at.x.shape[1]
        self.screening, self.on_source = screening, on_source
        self.words: list[Any] = []

    @property
    def lanes(self) -> Lanes:
        return self.batch.lanes

    def direction(self, step: int) -> Any:
        """Directions of a step. Four steps share a block of words in the plane, two in space."""
        if self.d > 3:
            return unit_vector(self.xp, self.lanes, step, self.d)
        sharing = 4 if self.d == 2 else 2
        if step == 0:
            self.words = self.words or first_words(self.xp, self.lanes, self.batch.pairs, self.batch.sobol, self.d)
        elif step % sharing == 0:
            (self.words,) = self.lanes.words(self.xp, step // sharing)
        column = (self.d - 1) * (step % sharing)
        return direction(self.xp, self.words[column], self.words[column + self.d - 2], self.d)

    def limited(self, radius: Any) -> Any:
        if self.screening == 0:
            return radius
        return self.xp.minimum(radius, MAX_SCREENED / math.sqrt(self.screening) / self.batch.extent)

    def _pass_source(self, x: Any, s: Any, m: Any, radius: Any, weight: Any, active: Any, first: First, entering: bool) -> None:
        area = (radius * self.batch.extent) ** 2 / (2.0 * self.d)
        assert self.on_source is not None
        self.on_source(self.batch.at._replace(x=x + (radius * s)[:, None] * m), weight * area, active, first, entering)

    def enter(self, x: Any, radius: Any, active: Any) -> tuple[Any, First]:
        """(13) The first step of pairs."""
        xp, (lanes, sign) = self.xp, self.lanes.pairs()
        sign = xp.astype(sign, xp.float64)[:, None]
        n = sign * (self.direction(0) if self.d < 4 else unit_vector(xp, lanes, FIRST, self.d))
        radius = SHRUNK * self.limited(radius)
        z2 = radius * radius * self.screening * self.batch.extent**2
        of_value, of_gradient, m, s = xp.ones_like(radius), xp.zeros_like(radius), xp.zeros_like(x), None
        if self.on_source:
            s, m = source_point(xp, lanes, 0, self.d, self.batch.sobol)
            m = sign * m
            of_value, of_gradient = source_weight(self.d, s, -xp.log(s), z2)
        entered = First.entered(xp, n, m, radius, z2, of_value, of_gradient)
        first = entered.where(xp, active, First.none(xp, x))
        if self.on_source:
            self._pass_source(x, s, m, radius, xp.ones_like(radius), active, first, True)
        return x + radius[:, None] * n, first

    def go(self, x: Any, radius: Any, n: Any, weight: Any, step: int, active: Any, first: First) -> tuple[Any, Any]:
        """(2), (9), (10), (14) The new positions of walks, and their weights."""
        xp, screening, radius = self.xp, self.screening, self.limited(radius)
        z2 = radius * radius * screening * self.batch.extent**2
        returns = self.batch.domain.outside and screening == 0
        beyond = self.batch.domain.beyond_sphere(x) if returns else None
        if self.on_source:
            s, m = source_point(xp, self.lanes, step, self.d, self.batch.sobol)
            counted = weight * source_weight(self.d, s, -xp.log(s), z2)[0] if screening > 0 else weight
            counted = counted if beyond is None else xp.where(beyond, xp.zeros_like(weight), weight)
            self._pass_source(x, s, m, radius, counted, active, first, False)
        y = x + radius[:, None] * n
        if beyond is not None:
            back, lands = self.batch.domain.return_to_sphere(x, self.lanes, step, n)
            return xp.where(beyond[:, None], back, y), xp.where(beyond & ~lands, xp.zeros_like(weight), weight)
        if screening > 0:
            left = weight / bessel_series(self.d - 2, 0.25 * z2)
            weight = roulette(xp, left, uniform(xp, self.lanes.words(xp, ROULETTE + step)[0][0]))
        return y, weight


def go_on(xp: Any, step: int, active: Any) -> bool:
    """False if no walk is active. Except with NumPy, always True between checks."""
    if xp.__name__ == "numpy":
        return bool(active.any())
    return step % LOOK != 0 or _array_tools.is_any(xp, active)


def walk_paths(batch: WalkBatch, max_steps: int, screening: float, on_source: Callback | None) -> Walked:
    """Run the walks of a batch.

    ``on_source`` receives the source points of a step: positions, weights, a mask of walks, the factors of their first balls, and whether
    the points are in these balls.
    """
    xp, x, active, whole, ended = batch.xp, batch.at.x, batch.valid, batch, Ended()
    weight, steps, first = xp.ones_like(x[:, 0]), xp.zeros(x.shape[:1], dtype=xp.int64, device=x.device), First.none(xp, x)
    stepper, landed = Stepper(batch, screening, on_source), xp.zeros_like(active)
    half_discs = batch.half_discs if batch.half_discs is not None and _array_tools.is_any(xp, batch.half_discs.pays) else None
    for step in range(max_steps):
        if step > 0:
            state = [x, weight, steps, *first, active, landed, *stepper.words]
            stepper.batch, state = ended.drop(stepper.batch, active & (weight != 0) & ~landed, state)
            (x, weight, steps, *of_first, active, landed), stepper.words = state[:9], state[9:]
            first, half_discs = First(*of_first), half_discs and stepper.batch.half_discs
        radius, k, weights = stepper.batch.domain.see(x)
        n = stepper.direction(step)
        active = active & (weight != 0) & ~landed
        moved = None
        if half_discs is not None and (step > 0 or not batch.pairs):
            moved, lands, exits = half_discs.leave(x, n, k, weights[0])
            moved = moved & active & ((radius > stepper.batch.epsilon) if step == 0 else active)
            landed = landed | (moved & lands)
        active = active & ((radius > stepper.batch.epsilon) if moved is None else (radius > stepper.batch.epsilon) | moved)
        if not go_on(xp, step, active):
            break
        walks = active if moved is None else active & ~moved
        if step == 0 and batch.pairs:
            y, first = stepper.enter(x, radius, walks)
            left = weight
        else:
            y, left = stepper.go(x, radius, n, weight, step, walks, first)
        y = y if moved is None else xp.where(moved[:, None], exits, y)
        x, steps = xp.where(active[:, None], y, x), steps + xp.astype(active, xp.int64)
        weight = xp.where(walks, left, weight)
    x, weight, steps, *of_first = ended.restore(stepper.batch, [x, weight, steps, *first])
    return landing(whole, x, weight, First(*of_first), steps)


def landing(batch: WalkBatch, x: Any, weight: Any, first: First, steps: Any) -> Walked:
    """The walks of a batch with these final positions and weights."""
    xp, domain, nonzero = batch.xp, batch.domain, weight != 0
    radius, k, weights = domain.see(x)
    end = batch.at._replace(x=xp.where(nonzero[:, None], domain.project(x, k, weights), x), facet=k, weights=weights)
    return Walked(end, weight, first, steps, nonzero & (radius > batch.epsilon), nonzero & domain.escaped(x))


def channels(xp: Any, batch: WalkBatch, walked: Walked, met: Any, in_first: Any) -> Any:
    """(13) The value and the gradient (P, C). ``met``: contributions after the first balls; ``in_first``: in them, or None."""
    if not batch.pairs:
        return met[:, None]
    along, toward = walked.first.channels(xp, batch.extent)
    return met[:, None] * along if in_first is None else met[:, None] * along + in_first[:, None] * toward
