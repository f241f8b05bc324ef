import numpy as np

from ssm.convolution.oracle import fft_conv
from ssm.modes.oracle import exponentials


def s4d_kernel(dt, A, C, L, *, B=None, disc="zoh"):
    """The definitions, one exponential at a time."""
    dt, A, C = dt.astype(np.longdouble)[:, None], A.astype(np.clongdouble), C.astype(np.clongdouble)
    if B is not None:
        C = C * B
    x = dt * A
    zero = x == 0
    if disc == "zoh":
        b = np.where(zero, dt, np.expm1(x) / np.where(zero, 1, A))
        return 2 * exponentials(C * b, x, L).real
    if disc == "bilinear":
        return 2 * exponentials(C * dt / (1 - x / 2), np.log((1 + x / 2) / (1 - x / 2)), L).real
    grows = A.real > 0
    y = np.where(grows, -x, x)
    q = A * np.expm1(y * L)
    r = np.conj(q) / (np.abs(q) ** 2 + np.longdouble("1e-7"))
    return exponentials(C * np.expm1(y) * r, x, L, np.where(grows, x * (L - 1), 0)).real


def s4d_conv(u, dt, A, C, D=None, B=None, initial_state=None, *, disc="zoh", return_state=False, method="auto", bidirectional=False):
    """The recurrence, sample by sample; without a recurrence, the sum over taps."""
    M, batch = int(np.prod(C.shape[:-2])), u.shape[:-2]
    C3 = C.reshape((M, *C.shape[-2:]))
    D2 = np.zeros((M, u.shape[-2])) if D is None or bidirectional else D.reshape(M, u.shape[-2])
    if bidirectional or disc == "dss":
        K = s4d_kernel(dt, A, C3, u.shape[-1], B=B, disc=disc)
        if bidirectional:
            return fft_conv(u, K[0], D, k_reverse=K[1][:, :-1]), None
        rows = [fft_conv(u, K[m], D2[m]) for m in range(M)]
        return np.stack(rows, -3).reshape((*batch, *C.shape[:-2], *u.shape[-2:])), None
    step, A = dt.astype(np.longdouble)[:, None], A.astype(np.clongdouble)
    x = step * A
    zero = x == 0
    if disc == "zoh":
        z, b = np.exp(x), np.where(zero, step, np.expm1(x) / np.where(zero, 1, A))
    else:
        z, b = (1 + x / 2) / (1 - x / 2), step / (1 - x / 2)
    b = b if B is None else b * B
    s = np.zeros((*batch, *A.shape), np.clongdouble) if initial_state is None else initial_state.astype(np.clongdouble)
    y = np.zeros((*batch, len(C3), *u.shape[-2:]), np.longdouble)
    for l in range(u.shape[-1]):
        s = z * s + b * u[..., l, None]
        y[..., l] = 2 * (C3 * s[..., None, :, :]).sum(-1).real + D2 * u[..., None, :, l]
    return y.reshape((*batch, *C.shape[:-2], *u.shape[-2:])), s if return_state else None
