"""S5 in plain loops: the twin of csrc/ssm/s5. Arrays with a batch axis; ``initial`` is zeros where there is none."""

import numpy as np

from ..._backends.numba import jit

_CHUNK = 64  # steps between the states that the gradient keeps
_SUM = 32  # terms summed at once: a sum over hundreds of channels keeps its digits


@jit
def _states(u, poles, b, first, state, reverse, x):
    """x_i for the steps first, first + 1, ... of one sequence, counted along the scan."""
    L, H = u.shape
    for i in range(len(x)):
        t = L - 1 - (first + i) if reverse else first + i
        for p in range(poles.size):
            into = b[p, 0] * 0 if H else state[p] * 0
            for begin in range(0, H, _SUM):
                part = b[p, 0] * 0
                for h in range(begin, min(begin + _SUM, H)):
                    part += b[p, h] * u[t, h]
                into += part
            state[p] = poles[p] * state[p] + into
            x[i, p] = state[p]


@jit
def _s5_apply(u, poles, b, c, D, initial, factor, reverse, y, last):
    B, L, H = u.shape
    P = poles.size
    x = np.empty((1, P), poles.dtype)
    for n in range(B):
        state = initial[n].copy()
        for i in range(L):
            t = L - 1 - i if reverse else i
            _states(u[n], poles, b, i, state, reverse, x)
            for h in range(H):
                total = D[h] * u[n, t, h]
                for p in range(P):
                    total += factor * (c[h, p] * state[p]).real
                y[n, t, h] = y[n, t, h] + total if reverse else total
        last[n] = state


@jit
def _s5_apply_vjp(u, poles, b, c, D, initial, factor, reverse, grad, grad_last, du, dpoles, db, dc, dD, dinitial):
    """Adds to all gradients but those of c and the initial state."""
    B, L, H = u.shape
    P = poles.size
    chunks = (L + _CHUNK - 1) // _CHUNK
    kept = np.empty((chunks + 1, P), poles.dtype)
    x = np.empty((_CHUNK, P), poles.dtype)
    for n in range(B):
        state = initial[n].copy()
        for k in range(chunks):
            kept[k] = state
            _states(u[n], poles, b, k * _CHUNK, state, reverse, x[: min(_CHUNK, L - k * _CHUNK)])
        carry = grad_last[n].copy()
        for k in range(chunks - 1, -1, -1):
            state[:] = kept[k]
            steps = min(_CHUNK, L - k * _CHUNK)
            _states(u[n], poles, b, k * _CHUNK, state, reverse, x[:steps])
            for i in range(steps - 1, -1, -1):
                t = L - 1 - (k * _CHUNK + i) if reverse else k * _CHUNK + i
                for h in range(H):
                    g = grad[n, t, h]
                    du[n, t, h] += D[h] * g
                    dD[h] += u[n, t, h] * g
                for p in range(P):
                    mu = carry[p]
                    for h in range(H):
                        g = grad[n, t, h] * factor
                        mu += np.conj(c[h, p]) * g
                        dc[h, p] += np.conj(x[i, p]) * g
                    dpoles[p] += mu * np.conj(x[i - 1, p] if i else kept[k, p])
                    for h in range(H):
                        db[p, h] += mu * u[n, t, h]
                        du[n, t, h] += (np.conj(b[p, h]) * mu).real
                    carry[p] = np.conj(poles[p]) * mu
        dinitial[n] = carry


def _three(x):
    return np.ascontiguousarray(x).reshape((int(np.prod(x.shape[:-2])), *x.shape[-2:]))


def _given(x, shape, dtype):
    return np.zeros(shape, dtype) if x is None else np.ascontiguousarray(x).reshape(shape)


def s5_apply(u, Lambda_bar, B_bar, C, D, initial_state, y, last_state, conj_sym, bidirectional, return_state, num_threads):
    u3, P = _three(u), Lambda_bar.size
    initial = _given(initial_state, (len(u3), P), Lambda_bar.dtype)
    skip, none = _given(D, u.shape[-1:], u.dtype), np.zeros(u.shape[-1:], u.dtype)
    result, last = np.empty_like(u3), np.empty_like(initial)
    for reverse in range(1 + bidirectional):
        c = np.ascontiguousarray(C[:, reverse * P : (reverse + 1) * P])
        arrays = (u3, np.ascontiguousarray(Lambda_bar), np.ascontiguousarray(B_bar), c, none if reverse else skip, initial)
        _s5_apply(*arrays, u.dtype.type(1 + conj_sym), bool(reverse), result, last)
    y[...] = result.reshape(y.shape)
    if last_state is not None:
        last_state[...] = last.reshape(last_state.shape)


def s5_apply_vjp(
    u, Lambda_bar, B_bar, C, D, initial_state, grad, grad_last,
    du, dLambda_bar, dB_bar, dC, dD, dinitial_state, conj_sym, bidirectional, return_state, num_threads,
):  # fmt: skip
    u3, P = _three(u), Lambda_bar.size
    initial = _given(initial_state, (len(u3), P), Lambda_bar.dtype)
    skip, none = _given(D, u.shape[-1:], u.dtype), np.zeros(u.shape[-1:], u.dtype)
    last = _given(grad_last, initial.shape, initial.dtype)
    poles, b = np.ascontiguousarray(Lambda_bar), np.ascontiguousarray(B_bar)
    sums = [np.zeros_like(x) for x in (u3, poles, b, skip)]
    start = np.empty_like(initial)
    for reverse in range(1 + bidirectional):
        c = np.ascontiguousarray(C[:, reverse * P : (reverse + 1) * P])
        dc, dskip = np.zeros_like(c), sums[3] if not reverse else none.copy()
        arrays = (u3, poles, b, c, none if reverse else skip, initial, u.dtype.type(1 + conj_sym), bool(reverse), _three(grad), last)
        _s5_apply_vjp(*arrays, *sums[:3], dc, dskip, start)
        dC[:, reverse * P : (reverse + 1) * P] = dc
    du[...] = sums[0].reshape(du.shape)
    dLambda_bar[...], dB_bar[...] = sums[1], sums[2]
    if dD is not None:
        dD[...] = sums[3]
    if dinitial_state is not None:
        dinitial_state[...] = start.reshape(dinitial_state.shape)
