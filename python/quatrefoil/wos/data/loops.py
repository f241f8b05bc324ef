"""Boundary values and sources of one instance in array code, like field.hpp."""

import numpy as np

from . import Cells, interpolated, polynomial


def row_of(kind, numbers, instance, first):
    """The parameters of one instance. Values at vertices are pairs, one per segment; all polygons share one row."""
    if kind == "per_vertex" and len(first) > 2:
        return numbers[0, 2 * first[instance] : 2 * first[instance + 1]]
    return numbers[instance if len(numbers) > 1 else 0]


def _modes(numbers, X):
    """The basis functions (n, K) of a Fourier series."""
    theta = np.arctan2(X[:, 1] - numbers[1], X[:, 0] - numbers[0])[:, None]
    m = np.arange(1, (len(numbers) - 1) // 2)
    waves = np.stack([np.cos(m * theta), np.sin(m * theta)], axis=-1).reshape(len(X), 2 * len(m))
    return np.concatenate([np.ones_like(theta), waves], axis=1)


def table_of(kind, numbers, d):
    """A view of the coefficients of a polynomial or the values of a grid."""
    sizes = numbers[:d].astype(np.int64)
    begin = 3 * d if kind == "grid" else d
    return numbers[begin : begin + int(sizes.prod())].reshape(sizes)


def box_of(numbers, d):
    """A view (2, d) of the corners of a grid's box."""
    return numbers[d : 3 * d].reshape(2, d)


def data_values(kind, numbers, function, instance, frame, X, facet=None, weights=None):
    """Data at scaled points, or on segments and triangles. Avoids BLAS, so that a value does not depend on the other points."""
    if kind == "function":
        return function(instance, np.ascontiguousarray(frame[:-2] + frame[-2] * X))
    if kind == "number":
        return np.full(len(X), numbers[0])
    if kind == "fourier":
        return (_modes(numbers, X) * numbers[2:]).sum(axis=1)
    if kind == "polynomial":
        return polynomial(table_of(kind, numbers, X.shape[1]), X)
    if kind == "grid":
        values, box = table_of(kind, numbers, X.shape[1]), box_of(numbers, X.shape[1])
        cell = Cells(values.shape, box, frame[:-2] + frame[-2] * X)
        return interpolated(values, cell.corner, cell.fraction)
    if kind == "per_vertex":
        at_corners = numbers.reshape(-1, X.shape[1])[facet]
        return at_corners[:, 0] + (weights * (at_corners[:, 1:] - at_corners[:, :1])).sum(axis=1)
    bells = numbers.reshape(-1, X.shape[1] + 2)
    r2 = ((X[:, None, :] - bells[:, 1:-1]) ** 2).sum(axis=-1)
    return (np.exp(-r2 * bells[:, -1]) * bells[:, 0]).sum(axis=1)
