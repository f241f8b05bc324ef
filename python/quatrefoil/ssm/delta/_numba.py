"""The gated delta rule in plain loops, token by token: the twin of csrc/ssm/delta. All of it is float64 whatever the arrays are."""

from itertools import pairwise

import numpy as np

from ..._backends.numba import jit

_STEPS = 64  # between two states that the gradient keeps


@jit
def _step(q, k, v, e, beta, corrects, S, u):
    """README (1): S of one token in place; u is what the value lacks, before beta."""
    K, V = S.shape
    for j in range(V):
        held = 0.0
        for i in range(K):
            S[i, j] *= e
            held += S[i, j] * k[i]
        u[j] = v[j] - held if corrects else v[j]
        for i in range(K):
            S[i, j] += beta * u[j] * k[i]


@jit
def _forward(q, k, v, e, beta, corrects, scale, S, o, u):
    for t in range(len(q)):
        _step(q[t], k[t], v[t], e[t], beta[t], corrects, S, u)
        for j in range(S.shape[1]):
            total = 0.0
            for i in range(S.shape[0]):
                total += S[i, j] * q[t, i]
            o[t, j] = scale * total


@jit
def _token_back(q, k, grad, e, beta, corrects, S, before, u, R, dq, dk, dv):
    """README (10) and what it is of one token: S after it, ``before`` it, R the gradient of S, which becomes that of the state before.
    Returns the gradients of g and beta."""
    K, V = S.shape
    dg = dbeta = 0.0
    for i in range(K):
        dq[i] = dk[i] = 0.0
    for j in range(V):
        dx = 0.0
        for i in range(K):
            dq[i] += S[i, j] * grad[j]
            R[i, j] += q[i] * grad[j]
            dk[i] += R[i, j] * beta * u[j]
            dx += R[i, j] * k[i]
        dbeta += dx * u[j]
        dv[j] = beta * dx
        for i in range(K):
            kept = e * before[i, j]
            if corrects:
                dk[i] -= kept * dv[j]
                R[i, j] -= k[i] * dv[j]
            dg += R[i, j] * kept
            R[i, j] *= e
    return dg, dbeta


@jit
def _back(q, k, v, e, beta, corrects, scale, grad, S, R, dq, dk, dv, dg, dbeta):
    """S: the initial state. R: the gradient of the final one, and then of the initial one. States are made again from every 64th."""
    T, K = q.shape
    V = v.shape[1]
    runs = (T + _STEPS - 1) // _STEPS
    first, u = np.empty((runs, K, V)), np.empty((_STEPS, V))
    states = np.empty((_STEPS + 1, K, V))
    for t in range(T):
        if t % _STEPS == 0:
            first[t // _STEPS] = S
        _step(q[t], k[t], v[t], e[t], beta[t], corrects, S, u[0])
    for run in range(runs - 1, -1, -1):
        begin, end = run * _STEPS, min(run * _STEPS + _STEPS, T)
        states[0] = first[run]
        for t in range(begin, end):
            states[t - begin + 1] = states[t - begin]
            _step(q[t], k[t], v[t], e[t], beta[t], corrects, states[t - begin + 1], u[t - begin])
        for t in range(end - 1, begin - 1, -1):
            after, before = states[t - begin + 1], states[t - begin]
            dg[t], dbeta[t] = _token_back(
                q[t], k[t], scale * grad[t], e[t], beta[t], corrects, after, before, u[t - begin], R, dq[t], dk[t], dv[t]
            )


def _normalized(x, normalizes):
    """(2): rows of length 1, and what they were multiplied by."""
    f = 1 / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6) if normalizes else np.ones((*x.shape[:-1], 1))
    return f * x, f


def _normalized_back(x, f, d, normalizes):
    return f * (d - x * (x * d).sum(-1, keepdims=True)) if normalizes else d


class _Heads:
    """The sequences of all heads, in double precision."""

    def __init__(self, q, k, v, g, beta, initial_state, cu_seqlens, normalizes, corrects):
        self.q, self.k, self.v, self.g, self.beta, self.initial_state = q, k, v, g, beta, initial_state
        self.normalizes, self.group = normalizes, v.shape[2] // max(q.shape[2], 1)
        B, T = q.shape[:2]
        ends = [int(n) for n in cu_seqlens] if cu_seqlens is not None else []
        self.sequences = [(b, 0, T) for b in range(B)] if cu_seqlens is None else [(0, i, j) for i, j in pairwise(ends)]
        if ends and (ends[0] != 0 or ends[-1] != T or sorted(ends) != ends):
            name = "chunk_gated_delta_rule" if corrects else "chunk_simple_gla"
            raise ValueError(f"ssm.{name}: cu_seqlens must begin with 0, never fall, and end with the number of tokens")

    def __iter__(self):
        """(number of the sequence, head, where it lies: in q and k, in v and the gates)."""
        if 0 in self.v.shape[2:] or self.q.shape[3] == 0:
            return
        for n, (b, begin, end) in enumerate(self.sequences):
            for h in range(self.v.shape[2]):
                yield n, h, (b, slice(begin, end), h // self.group), (b, slice(begin, end), h)

    def gates(self, value_at):
        T = self.v[value_at].shape[0]
        e = np.ones(T) if self.g is None else np.exp(self.g[value_at].astype(np.float64))
        return e, np.ones(T) if self.beta is None else self.beta[value_at].astype(np.float64)

    def state(self, given, n, h):
        return np.zeros((self.q.shape[3], self.v.shape[3])) if given is None else given[n, h].astype(np.float64)


def _wide(x):
    return np.ascontiguousarray(x, np.float64)


def _run(q, k, v, g, beta, initial_state, cu_seqlens, o, final_state, scale, normalizes, corrects):
    heads = _Heads(q, k, v, g, beta, initial_state, cu_seqlens, normalizes, corrects)
    o[...] = 0
    for n, h, key_at, value_at in heads:
        rows = [_normalized(_wide(x[key_at]), normalizes)[0] for x in (q, k)]
        S, result, u = heads.state(initial_state, n, h), np.empty(v[value_at].shape), np.empty(v.shape[3])
        _forward(*rows, _wide(v[value_at]), *heads.gates(value_at), corrects, scale, S, result, u)
        o[value_at] = result
        if final_state is not None:
            final_state[n, h] = S


def _run_vjp(
    q, k, v, g, beta, initial_state, cu_seqlens, grad, grad_final, dq, dk, dv, dg, dbeta, dinitial, scale, normalizes, corrects
):  # fmt: skip
    heads = _Heads(q, k, v, g, beta, initial_state, cu_seqlens, normalizes, corrects)
    sums = [np.zeros(x.shape) for x in (q, k)]
    for target in (dv, dg, dbeta, dinitial):
        if target is not None:
            target[...] = 0
    for n, h, key_at, value_at in heads:
        rows, factors = zip(*[_normalized(_wide(x[key_at]), normalizes) for x in (q, k)])
        T, V = v[value_at].shape
        of_rows, of_v, of_gates = [np.empty(x.shape) for x in rows], np.empty((T, V)), np.empty((2, T))
        R = heads.state(grad_final, n, h)
        _back(
            *rows, _wide(v[value_at]), *heads.gates(value_at), corrects, scale, _wide(grad[value_at]), heads.state(initial_state, n, h), R,
            *of_rows, of_v, *of_gates,
        )  # fmt: skip
        for total, x, f, d in zip(sums, rows, factors, of_rows):
            total[key_at] += _normalized_back(x, f, d, normalizes)
        for target, made in ((dv, of_v), (dg, of_gates[0]), (dbeta, of_gates[1])):
            if target is not None:
                target[value_at] = made
        if dinitial is not None:
            dinitial[n, h] = R
    dq[...], dk[...] = sums


def chunk_gated_delta_rule(
    q, k, v, g, beta, initial_state, cu_seqlens, o, final_state, scale, use_qk_l2norm_in_kernel, output_final_state, num_threads
):  # fmt: skip
    _run(q, k, v, g, beta, initial_state, cu_seqlens, o, final_state, scale, use_qk_l2norm_in_kernel, True)


def chunk_gated_delta_rule_vjp(
    q, k, v, g, beta, initial_state, cu_seqlens, grad, grad_final, dq, dk, dv, dg, dbeta, dinitial, dcu_seqlens, scale,
    use_qk_l2norm_in_kernel, output_final_state, num_threads,
):  # fmt: skip
    inputs = (q, k, v, g, beta, initial_state, cu_seqlens)
    _run_vjp(*inputs, grad, grad_final, dq, dk, dv, dg, dbeta, dinitial, scale, use_qk_l2norm_in_kernel, True)


def chunk_simple_gla(q, k, v, g, initial_state, cu_seqlens, o, final_state, scale, output_final_state, num_threads):
    _run(q, k, v, g, None, initial_state, cu_seqlens, o, final_state, scale, False, False)


def chunk_simple_gla_vjp(
    q, k, v, g, initial_state, cu_seqlens, grad, grad_final, dq, dk, dv, dg, dinitial, dcu_seqlens, scale, output_final_state, num_threads
):  # fmt: skip
    inputs = (q, k, v, g, None, initial_state, cu_seqlens)
    _run_vjp(*inputs, grad, grad_final, dq, dk, dv, dg, None, dinitial, scale, False, False)
