"""The state-space functions that the layers call, as plain loops in torch: slow, differentiable, and nothing of quatrefoil."""

import math

import torch
from torch.nn import functional as F


def _discrete(dt, A, C, B, disc):
    x = dt[:, None] * A
    if disc == "zoh":
        z, b = torch.exp(x), (torch.exp(x) - 1) / A
    else:
        z, b = (1 + x / 2) / (1 - x / 2), dt[:, None] / (1 - x / 2)
    return z, b if B is None else b * B


def s4d_kernel(dt, A, C, L, *, B=None, disc="zoh"):
    z, b = _discrete(dt, A, C, B, disc)
    powers = z[..., None] ** torch.arange(L)
    return 2 * (C[..., None] * b[..., None] * powers).sum(-2).real


def s4d_step(u, state, dt, A, C, D=None, B=None, *, disc="zoh"):
    z, b = _discrete(dt, A, C, B, disc)
    state = z * state + b * u[..., None]
    y = 2 * (C * state).sum(-1).real
    return (y if D is None else y + D * u), state


def s4d_conv(
    u, dt, A, C, D=None, B=None, *, disc="zoh", initial_state=None, return_state=False, method="auto", bidirectional=False
):  # fmt: skip
    def run(u, C, state, D):
        ys = []
        for l in range(u.shape[-1]):
            y, state = s4d_step(u[..., l], state, dt, A, C, D, B, disc=disc)
            ys.append(y)
        return torch.stack(ys, -1), state

    start = torch.zeros(*u.shape[:-1], A.shape[-1], dtype=A.dtype) if initial_state is None else initial_state
    if bidirectional:
        future = run(u.flip(-1), C[1], start, None)[0].flip(-1)
        return run(u, C[0], start, D)[0] + F.pad(future[..., 1:], (0, 1))  # its first tap has lag 1
    y, state = run(u, C, start, D)
    return (y, state) if return_state else y


def s5_apply(u, Lambda_bar, B_bar, C, D=None, *, conj_sym=True, bidirectional=False, initial_state=None, return_state=False):
    P = Lambda_bar.shape[0]

    def scan(u, state):
        states = []
        for l in range(u.shape[-2]):
            state = Lambda_bar * state + u[..., l, :].to(B_bar.dtype) @ B_bar.T
            states.append(state)
        return torch.stack(states, -2)

    start = torch.zeros(*u.shape[:-2], P, dtype=Lambda_bar.dtype) if initial_state is None else initial_state
    x = scan(u, start)
    last = x[..., -1, :]
    if bidirectional:
        x = torch.cat([x, scan(u.flip(-2), start).flip(-2)], -1)
    y = (x @ C.T).real * (2 if conj_sym else 1)
    y = y if D is None else y + D * u
    return (y, last) if return_state else y


def causal_conv1d_fn(x, weight, bias=None, *, initial_states=None, return_final_states=False, activation=None):
    W = weight.shape[1]
    start = torch.zeros(*x.shape[:2], W - 1, dtype=x.dtype) if initial_states is None else initial_states
    whole = torch.cat([start, x], -1)
    y = sum(weight[:, j, None] * whole[..., j : j + x.shape[-1]] for j in range(W))
    y = y if bias is None else y + bias[:, None]
    y = F.silu(y) if activation in ("silu", "swish") else y
    return (y, whole[..., whole.shape[-1] - (W - 1) :]) if return_final_states else y


def gka(
    q, k, v, alpha=None, g=None, gk=None, *,
    ridge_strength=0.02, num_iter=30, solver="chebyshev", initial_state=None, output_final_state=False,
):  # fmt: skip
    B, T, heads, D = q.shape
    zeros = torch.zeros(B, heads, D, D, dtype=q.dtype)
    H, U = (zeros, zeros) if initial_state is None else initial_state
    ys = []
    for t in range(T):
        qt, kt, vt = q[:, t], k[:, t], v[:, t]
        H = (H if gk is None else torch.exp(gk[:, t])[..., None, None] * H) + kt[..., :, None] * kt[..., None, :]
        U = (U if g is None else torch.exp(g[:, t])[..., None, None] * U) + vt[..., :, None] * kt[..., None, :]
        norm = H.square().sum((-1, -2), keepdim=True).sqrt()
        x = _solve(H, norm, qt[..., None], ridge_strength, num_iter, solver)[..., 0]
        mixed = x if alpha is None else qt + alpha[:, t, :, None] * (x - qt)
        ys.append((U @ mixed[..., None])[..., 0] / math.sqrt(D))
    y = torch.stack(ys, 1)
    return (y, (H, U)) if output_final_state else y


def _solve(H, norm, q, ridge, num_iter, solver):
    lam = ridge * norm
    if solver == "exact":
        return torch.linalg.solve(H + lam * torch.eye(H.shape[-1], dtype=H.dtype), q)
    if num_iter == 0:
        return q
    s, rho = 2 / (2 * lam + norm), (norm / (2 * lam + norm) / 2) ** 2
    previous, x, w = torch.zeros_like(q), s * q, 2.0
    for _ in range(num_iter):
        w = 1 / (1 - rho * w)
        previous, x = x, w * x - (s * w * (H @ x + lam * x - q) + (w - 1) * previous)
    return x
