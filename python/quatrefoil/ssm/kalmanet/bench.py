"""Gated KalmaNet compared with PyTorch, with the states of all tokens in memory: dense solve, Cholesky, batched Chebyshev iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, against_numba, autograd, double, installed, torch_peers

RIDGE, STEPS = 0.02, 30
SHAPES = ((1, 1024, 4, 64), (1, 256, 4, 128))
GOALS = (20.0, 16.0)


def problems() -> Iterator[Problem]:
    for shape, goal in zip(SHAPES, GOALS):
        yield _forward(shape, goal)
        if installed("torch"):
            yield _backward(shape)
    yield against_numba(_forward((1, 64, 4, 64), GOALS[0]))


def _inputs(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Queries and keys as in the layer: of norm 1, with keys multiplied by a gate; half of each query is its token's key."""
    rng = np.random.default_rng(0)

    def unit(x: np.ndarray) -> Any:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    k = unit(rng.standard_normal(shape))
    q = unit(k + unit(rng.standard_normal(shape)))
    gates = [rng.uniform(0, 1, shape[:3]), *[-0.05 * rng.uniform(0, 1, shape[:3])] * 2]
    return [x.astype(np.float32) for x in (q, k * rng.uniform(0, 1, (*shape[:3], 1)), rng.standard_normal(shape), *gates)]


def _work(shape: tuple[int, ...]) -> Work:
    """Per token and head: decay and update of both states, one product with H per solver step, and one with U. Half of H is stored."""
    B, T, heads, D = shape
    return Work(B * T * heads * (2 * STEPS + 2 + 3 + 1.5) * D * D, 4 * B * T * heads * D * 4)


def _truth(q: np.ndarray, k: np.ndarray, v: np.ndarray, alpha: np.ndarray, g: np.ndarray, gk: np.ndarray) -> np.ndarray:
    """Token by token in float64, by the same iteration."""
    q, k, v, alpha, g, gk = double(q, k, v, alpha, g, gk)
    B, T, heads, D = q.shape
    H, U, y = np.zeros((B, heads, D, D)), np.zeros((B, heads, D, D)), np.empty_like(q)
    for t in range(T):
        H = np.exp(gk[:, t, :, None, None]) * H + k[:, t, :, :, None] * k[:, t, :, None, :]
        U = np.exp(g[:, t, :, None, None]) * U + v[:, t, :, :, None] * k[:, t, :, None, :]
        x = chebyshev(H, np.linalg.norm(H, axis=(-1, -2))[..., None], q[:, t])
        mixed = q[:, t] + alpha[:, t, :, None] * (x - q[:, t])
        y[:, t] = np.einsum("bhij,bhj->bhi", U, mixed) / np.sqrt(D)
    return y


def by_torch(solver: Callable[[Any, Any, Any], Any], q: Any, k: Any, v: Any, alpha: Any, g: Any, gk: Any) -> Any:
    """Compute H for all tokens in a loop, solve in one batch, and read out by masked attention, which does not need U."""
    import torch

    H, Q = _all_H(k, gk), q.movedim(1, 0)
    F = H.flatten(3).norm(dim=3)[..., None]
    mixed = (Q + alpha.movedim(1, 0)[..., None] * (solver(H, F, Q) - Q)).movedim(0, 2)  # (B, H, T, D)
    G = g.cumsum(1).transpose(1, 2)
    weights = torch.exp((G[..., :, None] - G[..., None, :]).tril()).tril()
    scores = weights * (mixed @ k.permute(0, 2, 3, 1))
    return (scores @ v.transpose(1, 2) * q.shape[3] ** -0.5).transpose(1, 2)


def _all_H(k: Any, gk: Any) -> Any:
    """The matrices H of all tokens, (T, B, H, D, D), written in place if no gradient is needed."""
    import torch

    decay = torch.exp(gk).movedim(1, 0)[..., None, None].unbind()
    outer = (k[..., :, None] * k[..., None, :]).movedim(1, 0)
    if not k.requires_grad:
        for t in range(1, len(outer)):
            outer[t].addcmul_(decay[t], outer[t - 1])
        return outer
    states = list(outer.unbind())
    for t in range(1, len(states)):
        states[t] = torch.addcmul(states[t], decay[t], states[t - 1])
    return torch.stack(states)


def _shifted(H: Any, F: Any) -> Any:
    import torch

    if H.requires_grad:
        return H + RIDGE * F[..., None] * torch.eye(H.shape[-1])
    H.diagonal(dim1=-2, dim2=-1).add_(RIDGE * F)
    return H


def _solve(H: Any, F: Any, Q: Any) -> Any:
    import torch

    return torch.linalg.solve(_shifted(H, F), Q)


def _cholesky(H: Any, F: Any, Q: Any) -> Any:
    import torch

    return torch.cholesky_solve(Q[..., None], torch.linalg.cholesky(_shifted(H, F)))[..., 0]


def chebyshev(H: Any, F: Any, Q: Any) -> Any:
    lam = RIDGE * F
    s, rho, w = 2 / (2 * lam + F), (F / (2 * lam + F) / 2) ** 2, 2.0
    before, x = 0 * Q, s * Q
    for _ in range(STEPS):
        w = 1 / (1 - rho * w)
        residual = (H @ x[..., None])[..., 0] + lam * x - Q
        before, x = x, w * x - (s * w * residual + (w - 1) * before)
    return x


SOLVERS = {"torch solve": _solve, "torch cholesky": _cholesky, "torch chebyshev": chebyshev}


def _forward(shape: tuple[int, ...], goal: float) -> Problem:
    arrays = _inputs(shape)
    peers = torch_peers({name: partial(by_torch, solver) for name, solver in SOLVERS.items()}, *arrays)
    # the exact solvers differ from 30 steps of the iteration by its remaining error, 2e-4
    ours = partial(ssm.gka, *arrays, ridge_strength=RIDGE, num_iter=STEPS)
    goals = dict.fromkeys(SOLVERS, goal)
    return Problem("ssm", "gka", f"{shape} float32", ours, peers, partial(_truth, *arrays), 2e-6, goals, 2e-3, _work(shape))


def _backward(shape: tuple[int, ...]) -> Problem:
    """Forward and backward through autograd. Compares the gradient of the values v, which is linear in the solution."""
    arrays = _inputs(shape)
    options: dict[str, Any] = {"ridge_strength": RIDGE, "num_iter": STEPS}
    run = autograd(arrays, grad=arrays[2], index=2)

    def truth() -> Any:
        wide = double(*arrays)
        return ssm.gka_vjp(*wide, wide[2], **options, backend="numba")[2]

    peers = {"torch solve": run(partial(by_torch, SOLVERS["torch solve"]))}
    return Problem("ssm", "gka fwd+bwd", f"{shape} float32", run(partial(ssm.gka, **options)), peers, truth, 1e-5, {}, 2e-3)
