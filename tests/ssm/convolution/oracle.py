import numpy as np


def fft_conv(u, k, D=None, *, k_reverse=None):
    """The definition: a sum over taps, in extended precision."""
    L = u.shape[-1]
    y = np.zeros(u.shape, np.longdouble)
    if D is not None:
        y += D[:, None] * u
    for *row, channel in np.ndindex(u.shape[:-1]) if L else ():
        at = (*row, channel)
        x = u[at].astype(np.longdouble)
        if k.shape[-1]:
            y[at] += np.convolve(x, k[channel, :L])[:L]
        if k_reverse is not None and k_reverse.shape[-1] and L > 1:
            y[at][:-1] += np.convolve(x[:0:-1], k_reverse[channel, : L - 1])[: L - 1][::-1]
    return y
