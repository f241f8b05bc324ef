"""Rings of segments in the plane: crossings, inside tests, and whether holes lie inside their outline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

FLAT = 1e-9  # sine below which an angle is treated as 0
_SLANTED = np.array([0.8310, 0.5563])  # a direction to which few segments are perpendicular


def crossings(segments: np.ndarray) -> np.ndarray:
    """Pairs (n, 2) of segments that cross. Segments that only touch do not count."""
    pairs, cross = _meetings(segments)
    return np.asarray(pairs[cross])


def _meetings(segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n, 2) of segments that cross or may touch, and which of them cross."""
    a, b = segments[:, :2] @ _SLANTED, segments[:, 2:] @ _SLANTED
    low, high = np.minimum(a, b), np.maximum(a, b)
    order = np.argsort(low, kind="stable")
    stop = np.searchsorted(low[order], high[order], side="right")  # pairs with overlapping ranges
    counts = np.maximum(stop - np.arange(len(order)) - 1, 0)
    i = np.repeat(np.arange(len(order)), counts)
    j = i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    pairs = np.sort(np.stack([order[i], order[j]], axis=1), axis=1)
    one, other = segments[pairs[:, 0]], segments[pairs[:, 1]]

    def sides(segments: np.ndarray, x: np.ndarray) -> np.ndarray:
        """1 if both ends of x are on the same side of ``segments``, -1 if on opposite sides, 0 if an end is on the line."""
        along = segments[:, 2:] - segments[:, :2]
        side = [along[:, 0] * (x[:, k + 1] - segments[:, 1]) - along[:, 1] * (x[:, k] - segments[:, 0]) for k in (0, 2)]
        return np.asarray(np.where(np.minimum(*np.abs(side)) > FLAT * np.hypot(*along.T), np.sign(side[0]) * np.sign(side[1]), 0))

    first, second = sides(one, other), sides(other, one)
    meet = (first <= 0) & (second <= 0)
    pairs, cross = pairs[meet], ((first < 0) & (second < 0))[meet]
    order = np.lexsort(pairs.T[::-1])
    return pairs[order], cross[order]


def inside(segments: np.ndarray, x: np.ndarray) -> bool:
    """Whether x is inside: the crossing number is odd."""
    ax, ay, bx, by = segments.T
    side = (bx - ax) * (x[1] - ay) - (x[0] - ax) * (by - ay)
    return bool((((ay <= x[1]) & (x[1] < by) & (side > 0)) | ((by <= x[1]) & (x[1] < ay) & (side < 0))).sum() % 2)


def check_holes(segments: np.ndarray, sizes: Sequence[int], what: str) -> None:
    """Raise ValueError for a hole that crosses the outline or lies outside it.

    Segments are scaled, with those of the outline first. Holes may touch the outline.
    """
    outline, ends = segments[: sizes[0]], np.cumsum(sizes)
    low, high = np.minimum(outline[:, :2], outline[:, 2:]), np.maximum(outline[:, :2], outline[:, 2:])
    for k, (begin, end) in enumerate(pairwise(ends)):
        hole = segments[begin:end]
        near = outline[((low <= hole[:, :2].max(axis=0)) & (high >= hole[:, :2].min(axis=0))).all(axis=1)]
        pairs, cross = _meetings(np.concatenate([near, hole]))
        both = (pairs[:, 0] < len(near)) & (pairs[:, 1] >= len(near))
        if (cross & both).any():
            raise ValueError(f"{what}: holes[{k}] crosses the outline, expected a ring inside it")
        of_outline, of_hole = near[pairs[both, 0]], hole[pairs[both, 1] - len(near)]
        vertices, at = np.unique(of_hole.reshape(-1, 2), axis=0, return_inverse=True)
        met = np.stack([_touches(of_outline, x) for x in (of_hole[:, :2], of_hole[:, 2:])], axis=1).reshape(-1)
        free = np.delete(vertices, at.reshape(-1)[met], axis=0)  # a ring can change sides only next to touching vertices
        for x in np.concatenate([hole[:1, :2], free]):
            if not (inside(outline, x) or _touches(near, x).any()):
                raise ValueError(f"{what}: holes[{k}] lies outside the outline, expected a ring inside it")


def _touches(segments: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether points (n, 2), or one point, are on the segments, (n,)."""
    along, to = segments[:, 2:] - segments[:, :2], x - segments[:, :2]
    t = np.clip((along * to).sum(axis=1) / (along**2).sum(axis=1), 0, 1)
    return np.asarray(np.hypot(*(to - t[:, None] * along).T) < FLAT)
