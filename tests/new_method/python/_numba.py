"""Exponential decay in plain loops: the twin of csrc/ssm/decay."""

import math

from ..._backends.numba import dense, jit


@jit
def _scale(rate, x, y):
    """README (1), (2)."""
    for b in range(x.shape[0]):
        for h in range(x.shape[1]):
            for l in range(x.shape[2]):
                y[b, h, l] = math.exp(-float(rate[h]) * l) * x[b, h, l]


@jit
def _slope(x, dx, drate):
    """README (3)."""
    for h in range(x.shape[1]):
        total = 0.0
        for b in range(x.shape[0]):
            for l in range(x.shape[2]):
                total += l * float(x[b, h, l]) * float(dx[b, h, l])
        drate[h] = -total


def _items(x):
    """(B, H, L), without a copy where x is contiguous."""
    return dense(x).reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def decay_apply(x, rate, y, num_threads):
    _scale(dense(rate), _items(x), _items(y))


def decay_apply_vjp(x, rate, grad, dx, drate, num_threads):
    _scale(dense(rate), _items(grad), _items(dx))
    _slope(_items(x), _items(dx), drate)
