"""The answer of a solve, and the state from which more walks continue it bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._arguments import integer

if TYPE_CHECKING:
    from .problem import Problem

Array = Any


def schedule(first: int, walks: int) -> tuple[np.ndarray, np.ndarray]:
    """(7) The range [first, first + walks) as aligned powers of two: starts and sizes, in order."""
    starts, sizes = [], []
    at, end = first, first + walks
    while at < end:
        size = 1
        while at % (2 * size) == 0 and at + 2 * size <= end:
            size *= 2
        starts.append(at)
        sizes.append(size)
        at += size
    return np.array(starts, np.int64), np.array(sizes, np.int64)


@dataclass
class State:
    """Nodes of the dyadic tree over walk indices: K of them, each with the mean and the sum of squared deviations of its walks."""

    starts: np.ndarray  # (K,)
    sizes: np.ndarray  # (K,) powers of two; starts are their multiples
    mean: np.ndarray  # (rows, K)
    m2: np.ndarray  # (rows, K)
    steps: np.ndarray  # (rows,)
    truncated: np.ndarray
    escaped: np.ndarray

    @property
    def walks(self) -> int:
        return int(self.sizes.sum())

    @property
    def end(self) -> int:
        return int((self.starts + self.sizes).max()) if len(self.starts) else 0

    def overlaps(self, other: State) -> bool:
        order = np.argsort(np.concatenate([self.starts, other.starts]), kind="stable")
        starts = np.concatenate([self.starts, other.starts])[order]
        ends = starts + np.concatenate([self.sizes, other.sizes])[order]
        return bool((starts[1:] < ends[:-1]).any())

    def join(self, other: State) -> State:
        """Both ranges. Buddies coalesce, in the one way there is: the same bits for any cut and any order."""
        starts = np.concatenate([self.starts, other.starts])
        sizes = np.concatenate([self.sizes, other.sizes])
        mean, m2 = np.concatenate([self.mean, other.mean], axis=1), np.concatenate([self.m2, other.m2], axis=1)
        stack: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        for k in np.argsort(starts, kind="stable"):
            node = (int(starts[k]), int(sizes[k]), mean[:, k], m2[:, k])
            while stack and stack[-1][1] == node[1] and stack[-1][0] + node[1] == node[0] and stack[-1][0] % (2 * node[1]) == 0:
                node = _merge_equal(stack.pop(), node)
            stack.append(node)
        return State(
            np.array([n[0] for n in stack], np.int64), np.array([n[1] for n in stack], np.int64),
            np.stack([n[2] for n in stack], axis=1), np.stack([n[3] for n in stack], axis=1),
            self.steps + other.steps, self.truncated + other.truncated, self.escaped + other.escaped,
        )  # fmt: skip

    @staticmethod
    def stack(parts: list[State]) -> State:
        """The rows of several instances with the same walks."""
        rows = [np.concatenate([getattr(p, name) for p in parts]) for name in ("mean", "m2", "steps", "truncated", "escaped")]
        return State(parts[0].starts, parts[0].sizes, *rows)

    @staticmethod
    def of_values(first: int, values: np.ndarray, steps: np.ndarray, truncated: np.ndarray, escaped: np.ndarray) -> State:
        """(rows, walks) values -> their nodes, as reduce in csrc/wos/cpu.cpp."""
        starts, sizes = schedule(first, values.shape[1])
        nodes = []
        for start, size in zip(starts, sizes):
            mean = values[:, start - first : start - first + size]
            m2 = np.zeros_like(mean)
            half = 1
            while half < size:
                _, _, mean, m2 = _merge_equal((0, half, mean[:, ::2], m2[:, ::2]), (0, half, mean[:, 1::2], m2[:, 1::2]))
                half *= 2
            nodes.append((mean[:, 0], m2[:, 0]))
        return State(
            starts,
            sizes,
            np.stack([n[0] for n in nodes], axis=1),
            np.stack([n[1] for n in nodes], axis=1),
            steps,
            truncated,
            escaped,
        )

    def fold(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and M2 of all walks: the nodes merged in order (8)."""
        n, mean, m2 = int(self.sizes[0]), self.mean[:, 0], self.m2[:, 0]
        for k in range(1, len(self.sizes)):
            more = int(self.sizes[k])
            delta = self.mean[:, k] - mean
            mean = mean + delta * (more / (n + more))
            m2 = (m2 + self.m2[:, k]) + (delta * delta) * (n * more / (n + more))
            n += more
        return mean, m2


def _merge_equal(
    a: tuple[int, int, np.ndarray, np.ndarray], b: tuple[int, int, np.ndarray, np.ndarray]
) -> tuple[int, int, np.ndarray, np.ndarray]:
    """(8) for nodes of one size: the bits of merge_equal in csrc/wos/formula.hpp, fused or not."""
    n = a[1]
    with np.errstate(invalid="ignore", over="ignore"):  # what a NaN or an infinity of the data becomes
        delta = b[2] - a[2]
        return a[0], 2 * n, a[2] + delta * 0.5, (a[3] + b[3]) + (delta * delta) * (n * 0.5)


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
    """From nodes to numbers."""
    p = problem.ready
    n = state.walks
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        mean, m2 = state.fold()
        stderr = np.sqrt(m2 / (n - 1) / n) if n > 1 else np.full_like(mean, np.nan)
    live = p.live.reshape(-1)
    stderr = np.where(live & (state.steps == 0) & np.isfinite(mean), 0.0, stderr)  # within epsilon: every walk ends where it starts
    dtype = p.points.dtype

    def shaped(array: np.ndarray) -> Array:
        array = array.reshape(p.shape)
        if p.kind != "torch":
            return array
        import sys

        return sys.modules["torch"].from_numpy(array)

    value = shaped(mean.astype(dtype))
    if p.kind == "torch":
        from ...torch import _wos

        value = _wos.attach(p, state, value)
    return Result(
        value, shaped(stderr.astype(dtype)), shaped(np.where(live, n, 0)), shaped((state.steps / n).astype(dtype)),
        shaped(state.truncated), shaped(state.escaped), problem.seed, state, problem,
    )  # fmt: skip
