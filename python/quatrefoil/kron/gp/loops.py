"""One pass over the spectrum in plain loops, with the names of csrc/kron/gp."""

import math

import numpy as np

from ..._backends.numba import jit


@jit
def _rows(weights, l, z, noise, weighted, shrinkage, row_shrinkages, sums):
    """Rows of the last axis (L, n): README (2), (3)."""
    for i in range(len(weights)):
        w = weights[i]
        for j in range(len(l)):
            value = w * l[j]
            d = value + noise
            inverse = 1 / d
            a = z[i, j] * inverse
            weighted[i, j] = a * math.sqrt(value)
            part = value * inverse
            shrinkage[j] += part
            row_shrinkages[i] += part
            sums[0] += z[i, j] * a
            sums[1] += math.log(d)
            sums[2] += a * a
            sums[3] += inverse


def gp_spectrum(values, z, weighted, shrinkages, sums, noise, num_threads):
    shape = [len(l) for l in values]
    weights = np.ones(1)
    for l in values[:-1]:
        weights = np.multiply.outer(weights, l).reshape(-1)
    row_shrinkages = np.zeros(len(weights))
    shrinkages[...] = sums[...] = 0
    begin = sum(shape[:-1])
    rows = z.reshape(len(weights), shape[-1])
    _rows(weights, values[-1], rows, noise, weighted.reshape(rows.shape), shrinkages[begin:], row_shrinkages, sums)
    per_row, at = row_shrinkages.reshape(shape[:-1]), 0
    for k in range(len(shape) - 1):
        shrinkages[at : at + shape[k]] = per_row.sum(axis=tuple(i for i in range(len(shape) - 1) if i != k))
        at += shape[k]
