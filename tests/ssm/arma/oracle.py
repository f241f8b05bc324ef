import numpy as np


def arma_filter(b, a, x, zi=None, return_state=None):
    """The difference equation, every term of it, in extended precision; final states from what they are for: the outputs after the end of
    x, with zeros for x, are those of a filter without a past that begins with these states."""
    real = np.longdouble
    L, order = x.shape[-1], max(b.shape[-1], a.shape[-1]) - 1
    rows = x.reshape(int(np.prod(x.shape[:-1])), L).astype(real)
    start = np.zeros((len(rows), order), real) if zi is None else zi.reshape(len(rows), order).astype(real)
    full = []
    for c in (b, a):
        c = np.broadcast_to(c, (*x.shape[:-1], c.shape[-1])).reshape(len(rows), c.shape[-1]).astype(real)
        full.append(np.concatenate([c, np.zeros((len(rows), order + 1 - c.shape[1]), real)], axis=1))
    b, a = full
    first = a[:, :1]
    y = np.zeros((len(rows), L), real)
    for t in range(L):
        value = start[:, t] if t < order else 0
        for i in range(min(t, order) + 1):
            value = value + b[:, i] / first[:, 0] * rows[:, t - i]
            if i:
                value = value - a[:, i] / first[:, 0] * y[:, t - i]
        y[:, t] = value
    if not (zi is not None if return_state is None else return_state):
        return y.reshape(x.shape)
    final = np.zeros((len(rows), order), real)
    for j in range(order):
        total = start[:, L + j] if L + j < order else np.zeros(len(rows), real)
        for i in range(j + 1, order + 1):
            if L + j - i >= 0:
                total = total + (b[:, i] * rows[:, L + j - i] - a[:, i] * y[:, L + j - i]) / first[:, 0]
        final[:, j] = total
    return y.reshape(x.shape), final.reshape(*x.shape[:-1], order)
