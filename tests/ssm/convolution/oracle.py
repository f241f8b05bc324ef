import numpy as np


def fft_conv(u, k, D=None, *, k_reverse=None):
    """The definition: a sum over taps."""
    L = u.shape[-1]
    y = np.zeros_like(u, dtype=np.longdouble)
    for j in range(min(k.shape[-1], L)):
        y[..., j:] += k[:, j : j + 1] * u[..., : L - j]
    if D is not None:
        y += D[:, None] * u
    if k_reverse is not None:
        for j in range(min(k_reverse.shape[-1], L - 1)):
            y[..., : L - 1 - j] += k_reverse[:, j : j + 1] * u[..., j + 1 :]
    return y
