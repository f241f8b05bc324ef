"""The kernels of a Mamba block in plain loops, with the algorithms of csrc/ssm/selective. Exponentials and sums are in double precision."""

from itertools import pairwise

import numpy as np

from ..._backends.numba import jit


@jit
def _step_size(raw, bias, softplus):
    """README (1): the step size and its slope."""
    x = float(raw) + bias
    if not softplus:
        return x, 1.0
    if x > 0:
        return x + np.log1p(np.exp(-x)), 1 / (1 + np.exp(-x))
    e = np.exp(x)
    return np.log1p(e), e / (1 + e)


@jit
def _silu(x):
    """README (4): silu and its slope."""
    x = float(x)
    e = np.exp(-abs(x))
    s = 1 / (1 + e) if x >= 0 else e / (1 + e)
    return x * s, s * (1 + x * (1 - s))


@jit
def _states(u, delta, A, B, C, bias, softplus, pair, b, d, x, y):
    """README (2), (3): all states of one channel, x[t + 1] after step t, and y without the skip term. pair: 2 if A is complex, else 1."""
    Bg, Cg = B[b if B.shape[0] > 1 else 0, d // (u.shape[1] // B.shape[1])], C[b if C.shape[0] > 1 else 0, d // (u.shape[1] // C.shape[1])]
    for n in range(A.shape[1]):
        state = x[0, n]
        for t in range(u.shape[2]):
            step, _ = _step_size(delta[b, d, t], bias[d], softplus)
            state = np.exp(step * A[d, n]) * state + step * u[b, d, t] * Bg[n, t if Bg.shape[1] > 1 else 0]
            x[t + 1, n] = state
            y[t] += pair * (Cg[n, t if Cg.shape[1] > 1 else 0] * state).real


@jit
def _scan(u, delta, A, B, C, D, z, bias, initial, softplus, pair, out, last, x, y):
    items, channels, L = u.shape
    for b in range(items):
        for d in range(channels):
            y[:] = 0
            x[0] = initial[b, d]
            _states(u, delta, A, B, C, bias, softplus, pair, b, d, x, y)
            for t in range(L):
                value = y[t] + D[d] * u[b, d, t]
                out[b, d, t] = value * _silu(z[b, d, t])[0] if z.size else value
            if last.size:
                last[b, d] = x[L]


@jit
def _scan_vjp(inputs, softplus, pair, grad, grad_last, gradients, x, y, along_A, along_B):
    """README (4)-(9)."""
    u, delta, A, B, C, D, z, bias, initial = inputs
    du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial = gradients
    items, channels, L = u.shape
    N = A.shape[1]
    for b in range(items):
        for d in range(channels):
            gb, gc = d // (channels // B.shape[1]), d // (channels // C.shape[1])
            ib, ic = b if B.shape[0] > 1 else 0, b if C.shape[0] > 1 else 0
            y[:] = 0
            along_A[:] = 0
            along_B[:] = 0
            x[0] = initial[b, d]
            _states(u, delta, A, B, C, bias, softplus, pair, b, d, x, y)
            for n in range(N):
                carry = grad_last[b, d, n]
                for t in range(L - 1, -1, -1):
                    tb, tc = t if B.shape[3] > 1 else 0, t if C.shape[3] > 1 else 0
                    step, _ = _step_size(delta[b, d, t], bias[d], softplus)
                    g = pair * (grad[b, d, t] * _silu(z[b, d, t])[0] if z.size else float(grad[b, d, t]))
                    a = np.exp(step * A[d, n])
                    mu = g * np.conj(C[ic, gc, n, tc]) + carry
                    dC[ic, gc, n, tc] += g * np.conj(x[t + 1, n])
                    dB[ib, gb, n, tb] += step * u[b, d, t] * mu
                    m = mu * np.conj(a * x[t, n])
                    dA[d, n] += step * m
                    along_A[t] += (np.conj(A[d, n]) * m).real
                    along_B[t] += (np.conj(B[ib, gb, n, tb]) * mu).real
                    carry = np.conj(a) * mu
                dinitial[b, d, n] = carry
            for t in range(L):
                step, slope = _step_size(delta[b, d, t], bias[d], softplus)
                g = float(grad[b, d, t])
                if z.size:
                    gate, gate_slope = _silu(z[b, d, t])
                    dz[b, d, t] = g * gate_slope * (y[t] + D[d] * u[b, d, t])
                    g *= gate
                dd = (along_A[t] + u[b, d, t] * along_B[t]) * slope
                ddelta[b, d, t] = dd
                du[b, d, t] = step * along_B[t] + D[d] * g
                dD[d] += g * u[b, d, t]
                dbias[d] += dd


def _wide(x):
    return np.zeros(0) if x is None else x.astype(np.result_type(x.dtype, np.float64))


def _mixing(m):
    """B or C as (1 or B, groups, N, 1 or L), in double precision."""
    m = _wide(m)
    return m[None, :, :, None] if m.ndim == 2 else m[:, None] if m.ndim == 3 else m


def _scan_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state):
    A = _wide(A)
    initial = np.zeros((*u.shape[:2], A.shape[1]), A.dtype) if initial_state is None else _wide(initial_state)
    zero = np.zeros(u.shape[1])
    gate = np.zeros((0, 0, 0), u.dtype) if z is None else z
    skip, bias = (zero if v is None else _wide(v) for v in (D, delta_bias))
    return u, delta, A, _mixing(B), _mixing(C), skip, gate, bias, initial


def selective_scan_fn(u, delta, A, B, C, D, z, delta_bias, initial_state, out, last_state, delta_softplus, return_last_state, num_threads):
    if u.size == 0:
        if last_state is not None:
            last_state[...] = 0 if initial_state is None else initial_state
        return
    inputs = _scan_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
    wide = inputs[2].dtype
    last = np.zeros((0, 0, 0), A.dtype) if last_state is None else last_state
    x, y = np.zeros((u.shape[2] + 1, A.shape[1]), wide), np.zeros(u.shape[2])
    _scan(*inputs, delta_softplus, 2.0 if wide.kind == "c" else 1.0, out, last, x, y)


def selective_scan_fn_vjp(
    u, delta, A, B, C, D, z, delta_bias, initial_state, grad, grad_last, du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial,
    delta_softplus, return_last_state, num_threads,
):  # fmt: skip
    wide, states = _wide(A).dtype, (*u.shape[:2], A.shape[1])
    sum_A, sum_D, sum_bias, sum_initial = (np.zeros(s, t) for s, t in ((A.shape, wide), (len(A), float), (len(A), float), (states, wide)))
    sum_B, sum_C = (np.zeros_like(_mixing(m)) for m in (B, C))
    if u.size:
        inputs = _scan_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state)
        last = np.zeros(states, wide) if grad_last is None else _wide(grad_last)
        x, (y, along_A, along_B) = np.zeros((u.shape[2] + 1, A.shape[1]), wide), np.zeros((3, u.shape[2]))
        gradients = (du, ddelta, sum_A, sum_B, sum_C, sum_D, np.zeros((0, 0, 0), u.dtype) if dz is None else dz, sum_bias, sum_initial)
        _scan_vjp(inputs, delta_softplus, 2.0 if wide.kind == "c" else 1.0, grad, last, gradients, x, y, along_A, along_B)
    elif grad_last is not None:
        sum_initial[...] = grad_last
    _put_sums((dA, dB, dC, dD, ddelta_bias, dinitial), (sum_A, sum_B, sum_C, sum_D, sum_bias, sum_initial))


def _put_sums(outputs, sums):
    """Write each sum to its output, unless that is None."""
    for output, total in zip(outputs, sums):
        if output is not None:
            output[...] = total.reshape(output.shape)


def causal_conv1d_varlen_states(x, cu_seqlens, states, state_len, num_threads):
    """README (14)."""
    states[...] = 0
    for state, (begin, end) in zip(states, pairwise(cu_seqlens.tolist())):
        n = min(end - begin, state_len)
        state[:, state_len - n :] = x[end - n : end].T


def causal_conv1d_varlen_states_vjp(x, cu_seqlens, grad, dx, dcu_seqlens, state_len, num_threads):
    dx[...] = 0
    for g, (begin, end) in zip(grad, pairwise(cu_seqlens.tolist())):
        n = min(end - begin, state_len)
        dx[end - n : end] = g[:, state_len - n :].T


@jit
def _step(state, x, dt, A, B, C, D, z, bias, rows, softplus, out, after):
    """README (15)."""
    items, heads, dims = x.shape
    N, per_group = A.shape[2], heads // B.shape[1]
    for b in range(items):
        row = rows[b]
        if row < 0:
            out[b] = 0
            continue
        for h in range(heads):
            g = h // per_group
            for p in range(dims):
                step, _ = _step_size(dt[b, h, p], bias[h, p], softplus)
                u, y = float(x[b, h, p]), 0.0
                for n in range(N):
                    value = np.exp(step * A[h, p, n]) * state[row, h, p, n] + step * u * B[b, g, n]
                    after[row, h, p, n] = value
                    y += C[b, g, n] * value
                y += D[h, p] * u
                out[b, h, p] = y * _silu(z[b, h, p])[0] if z.size else y


@jit
def _step_vjp(
    state, x, dt, A, B, C, D, z, bias, rows, softplus, grad, grad_next, dstate, dx, ddt, dA, dB, dC, dD, dz, dbias,
):  # fmt: skip
    """README (16)-(18)."""
    items, heads, dims = x.shape
    N, per_group = A.shape[2], heads // B.shape[1]
    for b in range(items):
        row = rows[b]
        if row < 0:
            continue
        for h in range(heads):
            group = h // per_group
            for p in range(dims):
                step, slope = _step_size(dt[b, h, p], bias[h, p], softplus)
                u, y, along_A, along_B = float(x[b, h, p]), 0.0, 0.0, 0.0
                gate, gate_slope = _silu(z[b, h, p]) if z.size else (1.0, 0.0)
                g = gate * grad[b, h, p]
                for n in range(N):
                    a = np.exp(step * A[h, p, n])
                    decayed = a * state[row, h, p, n]
                    value = decayed + step * u * B[b, group, n]
                    mu = g * C[b, group, n] + grad_next[row, h, p, n]
                    m = mu * decayed
                    y += C[b, group, n] * value
                    along_A += A[h, p, n] * m
                    along_B += B[b, group, n] * mu
                    dA[h, p, n] += step * m
                    dB[b, group, n] += step * u * mu
                    dC[b, group, n] += g * value
                    dstate[row, h, p, n] = a * mu
                dd = (along_A + u * along_B) * slope
                ddt[b, h, p] = dd
                dx[b, h, p] = step * along_B + D[h, p] * g
                dD[h, p] += g * u
                dbias[h, p] += dd
                if z.size:
                    dz[b, h, p] = grad[b, h, p] * gate_slope * (y + D[h, p] * u)


def _with_heads(x, axis, heads):
    """x with an axis of one head, unless it has heads already."""
    return x if x is None or heads else np.expand_dims(x, axis)


def _step_inputs(state, x, dt, A, B, C, D, z, dt_bias, rows, dt_softplus):
    heads = state.ndim == 4
    state, x, dt, z = (_with_heads(v, 1, heads) for v in (state, x, dt, z))
    A, D, dt_bias = (_with_heads(v, 0, heads) for v in (A, D, dt_bias))
    B, C = (v if v.ndim == 3 else v[:, None] for v in (B, C))
    zero = np.zeros(x.shape[1:])
    return (
        state, x, dt, _wide(A), _wide(B), _wide(C), zero if D is None else _wide(D), np.zeros((0, 0, 0), x.dtype) if z is None else z,
        zero if dt_bias is None else _wide(dt_bias), np.arange(x.shape[0]) if rows is None else rows, dt_softplus,
    )  # fmt: skip


def selective_state_step(state, x, dt, A, B, C, D, z, dt_bias, rows, out, next_state, dt_softplus, num_threads):
    heads = state.ndim == 4
    if rows is not None and next_state is not state:
        next_state[...] = state
    inputs = _step_inputs(state, x, dt, A, B, C, D, z, dt_bias, rows, dt_softplus)
    _step(*inputs, *(_with_heads(output, 1, heads) for output in (out, next_state)))


def selective_state_step_vjp(
    state, x, dt, A, B, C, D, z, dt_bias, rows, grad, grad_next, dstate, dx, ddt, dA, dB, dC, dD, dz, dt_bias_grad, drows, dt_softplus,
    num_threads,
):  # fmt: skip
    heads = state.ndim == 4
    inputs = _step_inputs(state, x, dt, A, B, C, D, z, dt_bias, rows, dt_softplus)
    after = _with_heads(_wide(grad_next), 1, heads)
    _, x, dt, *fixed, _, bias, _, _ = inputs
    sums = (after.copy(), *(np.zeros(v.shape) for v in (x, dt, *fixed, x, bias)))
    _step_vjp(*inputs, _with_heads(grad, 1, heads), after, *sums)
    _put_sums((dstate, dx, ddt, dA, dB, dC, dD, dz, dt_bias_grad), sums)
