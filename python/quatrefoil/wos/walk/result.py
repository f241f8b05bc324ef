"""The answer of a solve, and how more walks continue it bit for bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import integer
from .problem import Problem, _cast
from .state import State

Array = Any


@dataclass
class Result:
    """What ``solve`` returns. Shapes are ``points.shape[:-1]``, with B in front where the boundary or the data has instances.

    value, stderr
        Mean of the walks and its standard error; dtype of the points. NaN outside; stderr is 0 within epsilon of
        the boundary, NaN for one walk.
    grad, grad_stderr
        None in this version.
    n_walks, n_truncated, n_escaped : int64
        Walks; of them, cut off at max_steps; left the box by rounding. Both end at the closest boundary point.
    mean_steps
        Steps a walk.
    seed : int
        ``rng=result.seed`` repeats the call.
    state
        The nodes that ``resume`` and ``merge`` continue.
    """

    value: Array
    stderr: Array
    n_walks: Array
    mean_steps: Array
    n_truncated: Array
    n_escaped: Array
    seed: int
    state: State = field(repr=False)
    problem: Problem = field(repr=False)
    grad: Array | None = None
    grad_stderr: Array | None = None

    def resume(self, extra_walks: int) -> Result:
        """A new Result with ``extra_walks`` more walks a point: the bits of one longer run."""
        extra = integer(extra_walks, "resume", "extra_walks", 1)
        return finish(self.problem, self.state.join(self.problem.run(self.state.end, extra)))

    def merge(self, other: Result) -> Result:
        """A new Result of both runs' walks: the same problem and seed, disjoint walk ranges (``walk_offset``), in any order.

        The same walks twice are not new information: a ValueError.
        """
        if not isinstance(other, Result):
            raise TypeError(f"merge: other is {type(other).__name__}, expected a Result")
        if self.seed != other.seed:
            raise ValueError(
                f"merge: the seeds differ, {self.seed} and {other.seed}; give both runs the same rng and different walk_offset"
            )
        if self.problem.fingerprint() != other.problem.fingerprint():
            raise ValueError("merge: the two results are of different problems (boundary, points, data, epsilon, max_steps or backend)")
        if self.state.overlaps(other.state):
            raise ValueError("merge: the two results share walks; give the second run another walk_offset")
        return finish(self.problem, self.state.join(other.state))


def finish(problem: Problem, state: State) -> Result:
    """From nodes to numbers: plain array code, which torch differentiates."""
    p = problem.ready
    xp = _arrays.namespace_of(p.kind)
    n, dtype = state.walks, getattr(xp, str(p.dtype))
    steps, truncated, escaped = state.counts[:, 0], state.counts[:, 1], state.counts[:, 2]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        mean, m2 = state.fold()
        m2 = m2.detach() if hasattr(m2, "detach") else m2  # an error bar has no gradient
        stderr = xp.sqrt(m2 / (n - 1) / n) if n > 1 else m2 * math.nan
    still = steps == 0
    if bool(still.any()):  # within epsilon every walk ends where it starts; outside there is none
        stderr = xp.where(still & xp.isfinite(mean), 0.0, stderr)
    walks = xp.full_like(steps, n)
    if p.outside is not None:
        walks[p.outside] = 0
    mean_steps = _cast(_cast(steps, xp.float64) / n, dtype)
    return Result(
        value=_cast(mean, dtype).reshape(p.shape),
        stderr=_cast(stderr, dtype).reshape(p.shape),
        n_walks=walks.reshape(p.shape),
        mean_steps=mean_steps.reshape(p.shape),
        n_truncated=truncated.reshape(p.shape),
        n_escaped=escaped.reshape(p.shape),
        seed=problem.seed,
        state=state,
        problem=problem,
    )
