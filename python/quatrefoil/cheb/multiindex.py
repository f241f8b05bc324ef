"""Multi-indices: the degrees of products of polynomials of several variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arguments

MAX_TERMS = 10**6


def cross(d: int, degree: int, norm: float, max_terms: int) -> np.ndarray | None:
    """Multi-indices (K, d) with (sum_k i_k^norm)^(1/norm) <= degree, by total degree, constant first; None if more than ``max_terms``."""
    table, left = np.zeros((1, 0), np.int64), np.array([float(degree) ** norm * (1 + 1e-12)])
    for _ in range(d):
        counts = np.maximum(left, 0) ** (1 / norm)
        if counts.sum() > max_terms:
            return None
        repeats = counts.astype(np.int64) + 1
        i = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        table = np.concatenate([np.repeat(table, repeats, axis=0), i[:, None]], axis=1)
        left = np.repeat(left, repeats) - i**norm
    return table[np.argsort(table.sum(axis=1), kind="stable")] if len(table) <= max_terms else None


def table_of(degrees: Any, d: int, largest: list[int], label: str) -> np.ndarray:
    """Check a caller's degrees (K, d); none may exceed the ``largest`` of its input."""
    table = np.asarray(degrees)
    if table.ndim != 2 or table.shape[1] != d or not len(table) or table.dtype.kind not in "iu":
        raise ValueError(
            f"{label}: degrees has shape {table.shape} and dtype {table.dtype}, expected integers (K, {d}), one row per product"
        )
    for k, limit in enumerate(largest):
        if not 0 <= table[:, k].min() <= table[:, k].max() <= limit:
            raise ValueError(f"{label}: degrees[:, {k}] ranges from {table[:, k].min()} to {table[:, k].max()}, expected 0 to {limit}")
    if len(np.unique(table, axis=0)) < len(table):
        raise ValueError(f"{label}: degrees contains a row twice, expected distinct products")
    return table.astype(np.int64)


def multi_indices(inputs: int, degree: int, *, norm: float = 1.0) -> np.ndarray:
    """Return the degrees (K, inputs) of all products up to a total degree, or of a hyperbolic cross.

    Returns rows i with (sum_k i_k^norm)^(1/norm) <= degree, ordered by total degree, the constant first. norm = 1 is the total degree. A
    smaller norm gives fewer products of several inputs.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> qf.cheb.orthopoly.multi_indices(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [0, 2], [1, 1], [2, 0]]
    >>> len(qf.cheb.orthopoly.multi_indices(5, 4)), len(qf.cheb.orthopoly.multi_indices(5, 4, norm=0.5))
    (126, 31)
    """
    label = "orthopoly.multi_indices"
    counts = (_arguments.integer(inputs, label, "inputs", 1), _arguments.integer(degree, label, "degree", 0))
    table = cross(*counts, _arguments.number(norm, label, "norm", positive=True), MAX_TERMS)
    if table is None:
        raise ValueError(f"{label}: the set has more than {MAX_TERMS} products; use a smaller degree or norm")
    return table
