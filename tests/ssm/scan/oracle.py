import numpy as np


def linear_scan(a, b, h0=None, *, reverse=False, axis=-1):
    """The recurrence, one step at a time."""
    precise = np.clongdouble if np.iscomplexobj(b) else np.longdouble
    b = np.moveaxis(b.astype(precise), axis, 0)
    a = np.moveaxis(np.broadcast_to(a, np.moveaxis(b, 0, axis).shape).astype(precise), axis, 0)
    h = np.empty_like(b)
    state = np.zeros(b.shape[1:], precise) if h0 is None else h0.astype(precise)
    for t in range(len(b))[:: -1 if reverse else 1]:
        state = a[t] * state + b[t]
        h[t] = state
    return np.moveaxis(h, 0, axis)
