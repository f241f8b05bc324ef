"""Sums over walks, which any cut into runs and any order of merging lead to: csrc/wos/walk/README.md (5), (6).

Plain array code for NumPy arrays and tensors alike, with the same bits for both; torch differentiates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _arrays
from ..walk.nodes import Node, push

Array = Any
_MANY = 1024  # rows that are folded channel by channel
COUNTS = ("steps", "truncated", "escaped")  # the columns of State.counts


@dataclass
class State:
    """Means and squared deviations of walks, from which results are put together bit by bit.

    K nodes of samples, each with the mean and the sum of squared deviations, of every row: a point of an instance.

    A sample is a walk, or the mean of a pair of walks where there is a gradient (13); its channels are the value and the gradient. Very
    large or small data have a unit, a power of two, that their problem decides: ``mean`` and ``m2`` are in this unit and its square.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, x = qf.wos.Ball((0, 0), 1), np.array([[0.5, 0.0]])
    >>> u = qf.wos.solve(disc, x, dirichlet=1.0, walks=100, rng=0)
    >>> u.state.walks, u.state.end  # those from 0 to 99
    (100, 100)
    """

    starts: list[int]  # K of them
    sizes: list[int]  # powers of two; starts are their multiples
    mean: Array  # (rows, K, channels)
    m2: Array  # (rows, K, channels)
    counts: Array  # (rows, 3): steps, walks cut off at max_steps, walks that left the box by rounding

    @property
    def samples(self) -> int:
        return sum(self.sizes)

    @property
    def group(self) -> int:
        """The walks of a sample."""
        return 1 if self.mean.shape[-1] == 1 else 2

    @property
    def walks(self) -> int:
        return self.group * self.samples

    @property
    def end(self) -> int:
        """The first walk after all."""
        return self.group * (self.starts[-1] + self.sizes[-1]) if self.starts else 0

    def overlaps(self, other: State) -> bool:
        both = sorted(zip(self.starts + other.starts, self.sizes + other.sizes))
        return any(start + size > after for (start, size), (after, _) in pairwise(both))

    def join(self, other: State) -> State:
        """Both ranges. Buddies coalesce, in the one way there is: the same bits for any cut and any order."""
        stack: list[Node] = []
        for node in sorted([*self._nodes(), *other._nodes()], key=lambda node: node[0]):
            push(stack, node)
        xp = _arrays.namespace(self.mean)
        return State(
            [n[0] for n in stack], [n[1] for n in stack],
            xp.stack([n[2] for n in stack], axis=1), xp.stack([n[3] for n in stack], axis=1), self.counts + other.counts,
        )  # fmt: skip

    def _nodes(self) -> list[Node]:
        return [(start, size, self.mean[:, k], self.m2[:, k]) for k, (start, size) in enumerate(zip(self.starts, self.sizes))]

    def fold(self) -> tuple[Array, Array]:
        """(rows, channels): mean and M2 of all samples: the nodes merged in order (6)."""
        (rows, _, C), n, mean, m2 = self.mean.shape, self.sizes[0], self.mean[:, 0], self.m2[:, 0]
        if len(self.sizes) == 1:
            return mean, m2
        if rows > _MANY and C > 1 and self.mean.__class__ is np.ndarray:  # NumPy's inner loops would be of C numbers
            of_each = [State(self.starts, self.sizes, self.mean[..., c, None], self.m2[..., c, None], self.counts).fold() for c in range(C)]
            return np.concatenate([x for x, _ in of_each], axis=1), np.concatenate([x for _, x in of_each], axis=1)
        with np.errstate(invalid="ignore", over="ignore"):  # as in merge_equal
            for k in range(1, len(self.sizes)):
                more = self.sizes[k]
                delta = self.mean[:, k] - mean
                mean = mean + delta * (more / (n + more))
                m2 = (m2 + self.m2[:, k]) + (delta * delta) * (n * more / (n + more))
                n += more
        return mean, m2

    def take(self, rows: np.ndarray) -> State:
        """Those rows, by their numbers or by a mask."""
        if rows.dtype != bool and len(rows) == len(self.counts) and bool((rows == np.arange(len(rows))).all()):
            return self
        return State(self.starts, self.sizes, *(taken(x, rows) for x in (self.mean, self.m2, self.counts)))

    def __getstate__(self) -> dict[str, Any]:
        """Without the graph of a gradient, which cannot be pickled."""
        return {name: x.detach() if hasattr(x, "detach") else x for name, x in self.__dict__.items()}


def taken(array: Array, rows: np.ndarray) -> Array:
    """Those rows, by their numbers or by a mask."""
    return array[rows if isinstance(array, np.ndarray) else _arrays.of_kind(_arrays.place(array), rows)]


def error_bars(samples: Any, m2: Array, steps: Array | None, mean: Array) -> Array:
    """(rows, channels) standard errors from sums of squared deviations; NaN for one sample, 0 where no walk made a step. As NumPy arrays,
    or where m2 lies on a device there."""
    if m2.__class__ is not np.ndarray:
        if not _arrays.on_host(m2):
            return _error_bars_on_device(samples, m2, steps, mean)
        m2, steps, mean = (x if x is None else _arrays.to_host(x) for x in (m2, steps, mean))
    if isinstance(samples, int):
        stderr = np.sqrt(m2 / (samples - 1) / samples) if samples > 1 else np.full(m2.shape, np.nan)
    else:
        n = samples.astype(np.float64)[:, None]
        stderr = np.where(n > 1, np.sqrt(m2 / np.maximum(n - 1, 1) / n), np.nan)
    if steps is not None and not steps.all():  # within epsilon every walk ends where it starts; outside there is none
        stderr = np.where((steps == 0)[:, None] & np.isfinite(mean), 0.0, stderr)
    found: np.ndarray = stderr
    return found


def _error_bars_on_device(samples: Any, m2: Array, steps: Array, mean: Array) -> Array:
    """What nobody looks at is counted everywhere."""
    xp = _arrays.namespace(m2)
    m2, steps, mean = (x.detach() if hasattr(x, "detach") else x for x in (m2, steps, mean))
    if not isinstance(samples, int):
        samples = _arrays.of_kind(_arrays.place(m2), samples.astype(np.float64)[:, None])
    stderr = xp.sqrt(m2 / (samples - 1) / samples) if not isinstance(samples, int) or samples > 1 else xp.full_like(m2, np.nan)
    return xp.where((steps == 0)[:, None] & xp.isfinite(mean), xp.zeros_like(stderr), stderr)
