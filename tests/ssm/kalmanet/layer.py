"""The layer GatedKalmaNet: how the suite makes it, and its functions as plain loops in torch, slow and differentiable."""

import math

import torch

from quatrefoil.torch import nn

LAYERS = {
    "GatedKalmaNet": (lambda: nn.GatedKalmaNet(6, 4, 2, solver_type="exact"), (2, 6, 6)),
}
BAD = [
    (lambda: nn.GatedKalmaNet(8, 4, 4, num_k_heads=3), ValueError, "num_k_heads is 3, expected a divisor of 4"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, bp_lambda=False), ValueError, "bp_lambda"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, solver_type="cg"), ValueError, "solver_type is 'cg', expected one of 'chebyshev', 'exact'"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, conv_size=0), ValueError, "conv_size is 0"),
]


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
