"""Linear recurrences in plain loops."""

import math

import numpy as np

from ..._backends.numba import jit


@jit
def _linear_scan(a, b, h0, h, reverse):
    rows, length = b.shape
    for row in range(rows):
        state = h0[row]
        for i in range(length):
            t = length - 1 - i if reverse else i
            state = a[row, t] * state + b[row, t]
            h[row, t] = state


@jit
def _linear_scan_vjp(a, b, h0, grad, da, db, dh0, reverse):
    _linear_scan(a, b, h0, da, reverse)
    rows, length = b.shape
    for row in range(rows):
        mu = b[row, 0] * 0 if length else h0[row] * 0
        a_next = mu
        for i in range(length - 1, -1, -1):
            t = length - 1 - i if reverse else i
            before = t + 1 if reverse else t - 1
            mu = np.conj(a_next) * mu + grad[row, t]
            a_next = a[row, t]
            db[row, t] = mu
            da[row, t] = mu * np.conj(da[row, before] if i else h0[row])
        dh0[row] = np.conj(a_next) * mu


def _rows(x, shape, axis):
    """x as (rows, length), with the scanned axis last; a copy if necessary."""
    full = np.moveaxis(np.broadcast_to(x, shape), axis, -1)
    return np.ascontiguousarray(full).reshape(-1, shape[axis])


def _unrows(x, shape, axis):
    moved = shape[:axis] + shape[axis + 1 :] + (shape[axis],)
    return np.moveaxis(x.reshape(moved), -1, axis)


def _start(h0, b, axis):
    shape = b.shape[:axis] + b.shape[axis + 1 :]
    return np.zeros(math.prod(shape), b.dtype) if h0 is None else np.ascontiguousarray(h0).reshape(-1)


def linear_scan(a, b, h0, h, reverse, axis, num_threads):
    if b.size == 0:
        return
    rows = _rows(b, b.shape, axis)
    result = np.empty_like(rows)
    _linear_scan(_rows(a, b.shape, axis), rows, _start(h0, b, axis), result, reverse)
    h[...] = _unrows(result, b.shape, axis)


def linear_scan_vjp(a, b, h0, grad, da, db, dh0, reverse, axis, num_threads):
    start = _start(h0, b, axis)
    if b.size == 0:
        if dh0 is not None:
            dh0[...] = 0
        return
    a, b2, grad = (_rows(x, b.shape, axis) for x in (a, b, grad))
    da2, db2, dh2 = np.empty_like(b2), np.empty_like(b2), np.empty_like(start)
    _linear_scan_vjp(a, b2, start, grad, da2, db2, dh2, reverse)
    da[...] = _unrows(da2, b.shape, axis)
    db[...] = _unrows(db2, b.shape, axis)
    if dh0 is not None:
        dh0[...] = dh2.reshape(dh0.shape)
