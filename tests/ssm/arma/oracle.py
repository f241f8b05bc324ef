import numpy as np


def arma_filter(b, a, x, zi=None, return_state=None):
    """Transposed direct form II in extended precision, with the states of scipy.signal.lfilter."""
    order, lead = max(b.shape[-1], a.shape[-1]) - 1, x.shape[:-1]
    pad = lambda c: np.concatenate([c, np.zeros((*c.shape[:-1], order + 1 - c.shape[-1]))], axis=-1).astype(np.longdouble)  # noqa: E731
    b, a = pad(b) / a[..., :1], pad(a) / a[..., :1]
    z = np.zeros((*lead, order + 1), np.longdouble)  # the last state is always 0
    if zi is not None:
        z[..., :order] = zi
    y = np.zeros(x.shape, np.longdouble)
    for t in range(x.shape[-1]):
        y[..., t] = b[..., 0] * x[..., t] + z[..., 0]
        z[..., :-1] = z[..., 1:] + b[..., 1:] * x[..., t, None] - a[..., 1:] * y[..., t, None]
    with_state = zi is not None if return_state is None else return_state
    return (y, z[..., :order]) if with_state else y
