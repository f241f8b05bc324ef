"""Boundary values and sources of one instance in array code, as in field.hpp. Equation numbers: csrc/wos/data/README.md."""

import numpy as np

from . import Cells, interpolated, polynomial


def row_of(kind, numbers, instance, first):
    """The numbers of one instance; values at vertices are pairs, one per segment, of all polygons in one row."""
    if kind == "per_vertex" and len(first) > 2:
        return numbers[0, 2 * first[instance] : 2 * first[instance + 1]]
    return numbers[instance if len(numbers) > 1 else 0]


def modes_of(numbers, X):
    """(..., K): the functions that the coefficients multiply; and the distance and angle from the centre."""
    dx, dy = X[:, 0] - numbers[0], X[:, 1] - numbers[1]
    r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)[:, None]
    m = np.arange(1, (len(numbers) - 1) // 2)
    waves = np.stack([np.cos(m * theta), np.sin(m * theta)], axis=-1).reshape(len(X), 2 * len(m))
    return np.concatenate([np.ones_like(theta), waves], axis=1), r, theta[:, 0], m


def table_of(kind, numbers, d, of=None):
    """The coefficients of a polynomial or the values of a grid, or the same part of ``of``: a view."""
    sizes = numbers[:d].astype(np.int64)
    begin = 3 * d if kind == "grid" else d
    return (numbers if of is None else of)[begin : begin + int(sizes.prod())].reshape(sizes)


def box_of(numbers, d):
    """(2, d): the corners of a grid's box, a view."""
    return numbers[d : 3 * d].reshape(2, d)


def data_values(kind, numbers, function, instance, frame, X, piece=None, place=None):
    """Data at scaled points, or on segments and triangles. No BLAS: a value has the same bits among any others."""
    if kind == "function":
        return function(instance, np.ascontiguousarray(frame[:-2] + frame[-2] * X))
    if kind == "number":
        return np.full(len(X), numbers[0])
    if kind == "fourier":
        return (modes_of(numbers, X)[0] * numbers[2:]).sum(axis=1)
    if kind == "polynomial":
        return polynomial(table_of(kind, numbers, X.shape[1]), X)
    if kind == "grid":
        values, box = table_of(kind, numbers, X.shape[1]), box_of(numbers, X.shape[1])
        cell = Cells(values.shape, box, frame[:-2] + frame[-2] * X)
        return interpolated(values, cell.corner, cell.place)
    if kind == "per_vertex":
        at_corners = numbers.reshape(-1, X.shape[1])[piece]
        return at_corners[:, 0] + (place * (at_corners[:, 1:] - at_corners[:, :1])).sum(axis=1)
    bells = numbers.reshape(-1, X.shape[1] + 2)
    r2 = ((X[:, None, :] - bells[:, 1:-1]) ** 2).sum(axis=-1)
    return (np.exp(-r2 * bells[:, -1]) * bells[:, 0]).sum(axis=1)


def _add_to_grid(numbers, share, to, frame, X):
    """(9)"""
    d = X.shape[1]
    values, box = table_of("grid", numbers, d), box_of(numbers, d)
    cell = Cells(values.shape, box, frame[:-2] + frame[-2] * X)
    of_values, of_box = to[3 * d : 3 * d + values.size], to[d : 3 * d].reshape(2, d)
    for corner in np.ndindex(*[2] * d):
        weight = np.prod(np.where(corner, cell.place, 1 - cell.place), axis=1)
        node = np.ravel_multi_index((cell.corner + corner).T, values.shape)
        of_values += np.bincount(node, share * weight, minlength=values.size)
    for axis in range(d):
        ends = [np.copy(cell.place) for _ in range(2)]
        ends[0][:, axis], ends[1][:, axis] = 0.0, 1.0
        slope = interpolated(values, cell.corner, ends[1]) - interpolated(values, cell.corner, ends[0])
        moved = np.where(cell.inside[:, axis], share * slope, 0.0) / (box[1, axis] - box[0, axis])
        of_box[0, axis] += (moved * (cell.t[:, axis] - (values.shape[axis] - 1))).sum()
        of_box[1, axis] -= (moved * cell.t[:, axis]).sum()


def add_gradient(kind, numbers, share, to, frame, X, piece=None, place=None):
    """Adds d sum(share values) / d numbers to ``to``: data README (3)-(5), (7), (9)."""
    if kind == "number":
        to[0] += share.sum()
    elif kind == "grid":
        _add_to_grid(numbers, share, to, frame, X)
    elif kind == "polynomial":
        c = table_of(kind, numbers, X.shape[1], to)
        powers = [x[:, None] ** np.arange(n) for x, n in zip(X.T, c.shape)]
        monomials = share[:, None]
        for power in powers:
            monomials = (monomials[:, :, None] * power[:, None, :]).reshape(len(X), monomials.shape[1] * power.shape[1])
        c += monomials.sum(axis=0).reshape(c.shape)
    elif kind == "fourier":
        modes, r, theta, m = modes_of(numbers, X)
        to[2:] += share @ modes
        waves = m * (modes[:, 1::2] * numbers[4::2] - modes[:, 2::2] * numbers[3::2])
        slope = share * waves.sum(axis=1) / np.where(r > 0, r, np.inf)
        to[0] += (slope * np.sin(theta)).sum()
        to[1] -= (slope * np.cos(theta)).sum()
    elif kind == "per_vertex":
        corners = to.reshape(-1, X.shape[1])
        weights = np.concatenate([1 - place.sum(axis=1, keepdims=True), place], axis=1)
        for k in range(X.shape[1]):
            corners[:, k] += np.bincount(piece, share * weights[:, k], minlength=len(corners))
    elif kind == "gaussians":
        bells, d = numbers.reshape(-1, X.shape[1] + 2), to.reshape(-1, X.shape[1] + 2)
        away = X[:, None, :] - bells[:, 1:-1]
        r2 = (away**2).sum(axis=-1)
        e = np.exp(-r2 * bells[:, -1]) * share[:, None]
        d[:, 0] += e.sum(axis=0)
        d[:, 1:-1] += 2 * (bells[:, :1] * bells[:, -1:]) * (e[..., None] * away).sum(axis=0)
        d[:, -1] -= bells[:, 0] * (e * r2).sum(axis=0)
