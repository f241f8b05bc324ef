"""Mamba-2's scan in plain loops, a step at a time: the twin of csrc/ssm/ssd. States and sums in double precision."""

from itertools import pairwise

import numpy as np

from ..._backends.numba import jit
from ..selective._numba import _silu, _step_size, _wide

KEPT = 64  # steps between two states that a gradient keeps


@jit
def _clipped(raw, bias, softplus, least, most):
    """README (1): the step size and its slope."""
    step, slope = _step_size(raw, bias, softplus)
    if step < least:
        return least, 0.0
    if step > most:
        return most, 0.0
    return step, slope


@jit
def _advance(x, step, a, B, state):
    """README (2): one step of one head."""
    for p in range(state.shape[0]):
        u = step * x[p]
        for n in range(state.shape[1]):
            state[p, n] = a * state[p, n] + u * B[n]


@jit
def _scan(x, dt, A, B, C, D, z, bias, initial, fresh, ends, softplus, least, most, out, final, varlen, state):
    items, L, heads, P = x.shape
    for b in range(items):
        for h in range(heads):
            g = h // (heads // B.shape[2])
            if initial.size:
                state[:] = initial[b, h]
            else:
                state[:] = 0
            for t in range(L):
                if t and fresh[b, t]:
                    state[:] = 0
                step, _ = _clipped(dt[b, t, h], bias[h], softplus, least, most)
                _advance(x[b, t, h], step, np.exp(step * A[h]), B[b, t, g], state)
                for p in range(P):
                    y = D[h, p] * x[b, t, h, p]
                    for n in range(state.shape[1]):
                        y += state[p, n] * C[b, t, g, n]
                    out[b, t, h, p] = y * _silu(z[b, t, h, p])[0] if z.size else y
                if varlen.size and ends[t + 1] >= 0:
                    varlen[ends[t + 1], h] = state
            if final.size:
                final[b, h] = state


@jit
def _step_vjp(x, step, a, B, C, D, z, state, before, carry, grad, dx, dB, dC, dD, dz):
    """README (8)-(15) for one step of one head: ``carry``, the gradient of the state after it, becomes that of the one before; what the
    step size gets as a factor of x and as an exponent."""
    as_factor = as_exponent = 0.0
    for p in range(state.shape[0]):
        g = float(grad[p])
        if z.size:
            gate, slope = _silu(z[p])
            y = D[p] * x[p]
            for n in range(state.shape[1]):
                y += state[p, n] * C[n]
            dz[p] = g * slope * y
            g *= gate
        du = 0.0
        for n in range(state.shape[1]):
            mu = carry[p, n] + g * C[n]
            dC[n] += g * state[p, n]
            dB[n] += mu * step * x[p]
            du += mu * B[n]
            as_exponent += mu * a * before[p, n]
            carry[p, n] = a * mu
        dx[p] = step * du + D[p] * g
        dD[p] += g * x[p]
        as_factor += du * x[p]
    return as_factor, as_exponent


@jit
def _scan_vjp(
    x, dt, A, B, C, D, z, bias, initial, fresh, ends, softplus, least, most, grad, grad_final, grad_varlen, dx, ddt, dA, dB, dC, dD, dz,
    dbias, dinitial, kept, states, carry, nothing,
):  # fmt: skip
    items, L, heads, _ = x.shape
    none = np.zeros(0, z.dtype)
    for b in range(items):
        for h in range(heads):
            g = h // (heads // B.shape[2])
            states[0] = initial[b, h] if initial.size else nothing
            for t in range(L):
                if t % KEPT == 0:
                    kept[t // KEPT] = states[0]
                if t and fresh[b, t]:
                    states[0] = nothing
                step, _ = _clipped(dt[b, t, h], bias[h], softplus, least, most)
                _advance(x[b, t, h], step, np.exp(step * A[h]), B[b, t, g], states[0])
            carry[:] = grad_final[b, h] if grad_final.size else nothing
            for first in range((L - 1) // KEPT * KEPT, -1, -KEPT):
                last = min(first + KEPT, L)
                states[0] = kept[first // KEPT]
                for t in range(first, last):
                    states[t - first + 1] = nothing if t and fresh[b, t] else states[t - first]
                    step, _ = _clipped(dt[b, t, h], bias[h], softplus, least, most)
                    _advance(x[b, t, h], step, np.exp(step * A[h]), B[b, t, g], states[t - first + 1])
                for t in range(last - 1, first - 1, -1):
                    if t + 1 < L and fresh[b, t + 1]:
                        carry[:] = nothing
                    if grad_varlen.size and ends[t + 1] >= 0:
                        carry += grad_varlen[ends[t + 1], h]
                    before = nothing if t and fresh[b, t] else states[t - first]
                    step, slope = _clipped(dt[b, t, h], bias[h], softplus, least, most)
                    factor, exponent = _step_vjp(
                        x[b, t, h], step, np.exp(step * A[h]), B[b, t, g], C[b, t, g], D[h], z[b, t, h] if z.size else none,
                        states[t - first + 1], before, carry, grad[b, t, h], dx[b, t, h], dB[b, t, g], dC[b, t, g], dD[h],
                        dz[b, t, h] if z.size else none,
                    )  # fmt: skip
                    ddt[b, t, h] = (factor + A[h] * exponent) * slope
                    dA[h] += step * exponent
                    dbias[h] += ddt[b, t, h]
            if dinitial.size:
                dinitial[b, h] = carry


def _inputs(x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, cu_seqlens, softplus, least, most):
    """With B, C and the parameters in double precision, D a number a channel; whether the state starts anew at a step, and which sequence
    has ended before one."""
    items, L, heads, P = x.shape
    fresh, ends = np.zeros((items, L + 1), bool), np.full(L + 1, -1)
    if seq_idx is not None and L:
        fresh[:, 1:L] = seq_idx[:, 1:] != seq_idx[:, :-1]
    if cu_seqlens is not None:
        if cu_seqlens[0] != 0 or cu_seqlens[-1] != L or (cu_seqlens[1:] < cu_seqlens[:-1]).any():
            raise ValueError("ssm.mamba_chunk_scan_combined: cu_seqlens must ascend from 0 to the length")
        fresh[:, cu_seqlens] = True
        for i, (begin, end) in enumerate(pairwise(cu_seqlens)):
            if begin < end:
                ends[end] = i
    skip = np.zeros((heads, P)) if D is None else np.broadcast_to(_wide(D) if D.ndim == 2 else _wide(D)[:, None], (heads, P)).copy()
    gate = np.zeros((0, 0, 0, 0), x.dtype) if z is None else z
    bias = np.zeros(heads) if dt_bias is None else _wide(dt_bias)
    initial = np.zeros((0, 0, 0, 0)) if initial_states is None else _wide(initial_states)
    return x, dt, _wide(A), _wide(B), _wide(C), skip, gate, bias, initial, fresh, ends, softplus, least, most


def mamba_chunk_scan_combined(
    x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, cu_seqlens, out, final, varlen, chunk_size, dt_softplus, dt_min, dt_max,
    return_final_states, return_varlen_states, num_threads,
):  # fmt: skip
    if varlen is not None:
        varlen[...] = 0
    inputs = _inputs(x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, cu_seqlens, dt_softplus, dt_min, dt_max)
    state = np.zeros((x.shape[3], B.shape[3]))
    _scan(*inputs, out, *(np.zeros((0, 0, 0, 0), out.dtype) if s is None else s for s in (final, varlen)), state)


def mamba_chunk_scan_combined_vjp(
    x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, cu_seqlens, grad, grad_final, grad_varlen, dx, ddt, dA, dB, dC, dD, dz,
    ddt_bias, dinitial, dseq_idx, dcu_seqlens, chunk_size, dt_softplus, dt_min, dt_max, return_final_states, return_varlen_states,
    num_threads,
):  # fmt: skip
    inputs = _inputs(x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, cu_seqlens, dt_softplus, dt_min, dt_max)
    (_, L, heads, P), N = x.shape, B.shape[3]
    to_A, to_B, to_C, to_D, to_bias = np.zeros(heads), np.zeros(B.shape), np.zeros(C.shape), np.zeros((heads, P)), np.zeros(heads)
    kept, states, carry, nothing = np.zeros((L // KEPT + 1, P, N)), np.zeros((KEPT + 1, P, N)), np.zeros((P, N)), np.zeros((P, N))
    absent = (0, 0, 0, 0)
    _scan_vjp(
        *inputs, grad, *(np.zeros(absent) if s is None else _wide(s) for s in (grad_final, grad_varlen)), dx, ddt, to_A, to_B, to_C, to_D,
        np.zeros(absent, x.dtype) if dz is None else dz, to_bias, np.zeros(absent) if dinitial is None else dinitial, kept, states, carry,
        nothing,
    )  # fmt: skip
    if dD is not None and dD.ndim == 1:
        to_D = to_D.sum(axis=1)
    for output, total in ((dA, to_A), (dB, to_B), (dC, to_C), (dD, to_D), (ddt_bias, to_bias)):
        if output is not None:
            output[...] = total
