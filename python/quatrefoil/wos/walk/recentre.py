"""Polynomials in scaled coordinates: data (6). Plain array code for NumPy arrays and tensors alike, with the same bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any


def shifts(sizes: Sequence[int], centre: np.ndarray, extent: np.ndarray) -> list[np.ndarray]:
    """Of every axis (rows, n, n): what power i of centre + extent t is in powers k of t, C(i, k) centre^(i - k) extent^k.

    ``centre`` (rows, d), ``extent`` (rows,). Numbers that leave float64 are infinite.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return [_shift(n, centre[:, axis, None, None], extent[:, None, None]) for axis, n in enumerate(sizes)]


def _shift(n: int, centre: np.ndarray, extent: np.ndarray) -> np.ndarray:
    choose = np.zeros((n, n))
    for i in range(n):
        choose[0, i] = 1.0
        choose[1 : i + 1, i] = choose[:i, i - 1] + choose[1 : i + 1, i - 1] if i else 0.0
    k = np.arange(n)[:, None]
    lower = np.maximum(np.arange(n) - k, 0)
    return np.where(choose > 0, choose * centre**lower * extent**k, 0.0)


def along_axes(c: Array, matrices: Sequence[Array]) -> Array:
    """(rows, n1, ..., nd) times a matrix (rows, n, n) along every axis but the first. Sums in the order of the powers."""
    sizes = tuple(c.shape[1:])
    rows = max(len(c), *(len(m) for m in matrices)) if len(c) and all(map(len, matrices)) else 0
    for axis, m in enumerate(matrices):
        n = sizes[axis]
        flat = c.reshape(len(c), math.prod(sizes[:axis]), n, math.prod(sizes[axis + 1 :]))
        total = m[:, None, :, :1] * flat[:, :, :1]
        for i in range(1, n):
            total = total + m[:, None, :, i : i + 1] * flat[:, :, i : i + 1]
        c = total.reshape(rows, *sizes)
    return c
