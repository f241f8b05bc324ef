"""Gated KalmaNet against PyTorch with the states of all tokens in one array: dense solve, Cholesky, batched Chebyshev iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, installed

RIDGE, STEPS = 0.02, 30
SHAPES = ((1, 1024, 4, 64), (1, 256, 4, 128))
GOALS = (20.0, 16.0)


def problems() -> Iterator[Problem]:
    if not installed("torch"):
        return
    for shape, goal in zip(SHAPES, GOALS):
        yield _forward(shape, goal)
        yield _backward(shape)
    yield _numba((1, 64, 4, 64))


def _inputs(shape: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Queries and keys as in the layer: of length 1, keys times a gate; half of a query is its token's key."""
    rng = np.random.default_rng(0)

    def unit(x: Any) -> Any:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    k = unit(rng.standard_normal(shape))
    q = unit(k + unit(rng.standard_normal(shape)))
    gates = [rng.uniform(0, 1, shape[:3]), *[-0.05 * rng.uniform(0, 1, shape[:3])] * 2]
    return [x.astype(np.float32) for x in (q, k * rng.uniform(0, 1, (*shape[:3], 1)), rng.standard_normal(shape), *gates)]


def _work(shape: tuple[int, int, int, int]) -> Work:
    """Per token and head: both states decayed and updated, one product with H per step, one with U; half of H is stored."""
    B, T, heads, D = shape
    return Work(B * T * heads * (2 * STEPS + 2 + 3 + 1.5) * D * D, 4 * B * T * heads * D * 4)


def _truth(arrays: list[np.ndarray]) -> Any:
    """The plain iteration in float64."""
    import torch

    return _torch_ways([torch.from_numpy(x).double() for x in arrays])["torch chebyshev"]()


def _torch_ways(arrays: list[Any]) -> dict[str, Callable[[], Any]]:
    """The H of all tokens by a loop, one batched solve, and the readout as masked attention, without U."""
    import torch

    q, k, v, alpha, g, gk = arrays
    T, D = q.shape[1], q.shape[3]

    def all_H() -> Any:
        """(T, B, H, D, D), in place if no gradient is wanted."""
        decay = torch.exp(gk).movedim(1, 0)[..., None, None].unbind()
        outer = (k[..., :, None] * k[..., None, :]).movedim(1, 0)
        if not k.requires_grad:
            for t in range(1, T):
                outer[t].addcmul_(decay[t], outer[t - 1])
            return outer
        first, *steps = outer.unbind()
        states = [first]
        for e, step in zip(decay[1:], steps):
            states.append(torch.addcmul(step, e, states[-1]))
        return torch.stack(states)

    def attend(solve: Callable[[Any, Any, Any], Any]) -> Any:
        H, Q = all_H(), q.movedim(1, 0)
        F = H.flatten(3).norm(dim=3)[..., None]
        mixed = (Q + alpha.movedim(1, 0)[..., None] * (solve(H, F, Q) - Q)).movedim(0, 2)  # (B, H, T, D)
        G = g.cumsum(1).transpose(1, 2)
        weights = torch.exp((G[..., :, None] - G[..., None, :]).tril()).tril()
        scores = weights * (mixed @ k.permute(0, 2, 3, 1))
        return (scores @ v.transpose(1, 2) * D**-0.5).transpose(1, 2)

    def shifted(H: Any, F: Any) -> Any:
        if k.requires_grad:
            return H + RIDGE * F[..., None] * torch.eye(D)
        H.diagonal(dim1=-2, dim2=-1).add_(RIDGE * F)
        return H

    def cholesky(H: Any, F: Any, Q: Any) -> Any:
        return torch.cholesky_solve(Q[..., None], torch.linalg.cholesky(shifted(H, F)))[..., 0]

    def chebyshev(H: Any, F: Any, Q: Any) -> Any:
        lam = RIDGE * F
        s, rho, w = 2 / (2 * lam + F), (F / (2 * lam + F) / 2) ** 2, 2.0
        before, x = torch.zeros_like(Q), s * Q
        for _ in range(STEPS):
            w = 1 / (1 - rho * w)
            residual = (H @ x[..., None])[..., 0] + lam * x - Q
            before, x = x, w * x - (s * w * residual + (w - 1) * before)
        return x

    return {
        "torch solve": lambda: attend(lambda H, F, Q: torch.linalg.solve(shifted(H, F), Q)),
        "torch cholesky": lambda: attend(cholesky),
        "torch chebyshev": lambda: attend(chebyshev),
    }


def _ours(*inputs: Any, **options: Any) -> Any:
    return ssm.gka(*inputs, ridge_strength=RIDGE, num_iter=STEPS, **options)


def _forward(shape: tuple[int, int, int, int], goal: float) -> Problem:
    import torch

    arrays = _inputs(shape)
    peers = _torch_ways([torch.from_numpy(x) for x in arrays])
    # the exact solvers differ from 30 steps by the error of the iteration, 2e-4
    return Problem(
        "ssm", "gka", f"{shape} float32", lambda: _ours(*arrays), peers, lambda: _truth(arrays), 2e-6, {name: goal for name in peers},
        peer_tolerance=2e-3, work=_work(shape),
    )  # fmt: skip


def _backward(shape: tuple[int, int, int, int]) -> Problem:
    """Forward and backward through autograd; the value compared is the gradient of the values v, linear in the solution."""
    import torch

    arrays = _inputs(shape)
    tensors = [torch.from_numpy(x) for x in arrays]
    leaves = [x.clone().requires_grad_() for x in tensors]

    def gradient(f: Callable[[list[Any]], Any]) -> Any:
        return torch.autograd.grad(f(leaves), leaves, tensors[2])[2]

    def ours() -> Any:
        return gradient(lambda leaves: _ours(*leaves))

    def truth() -> Any:
        wide = [x.astype(float) for x in arrays]
        return ssm.gka_vjp(*wide, wide[2], ridge_strength=RIDGE, num_iter=STEPS, backend="numba")[2]

    peers = {"torch solve": lambda: gradient(lambda leaves: _torch_ways(leaves)["torch solve"]())}
    return Problem("ssm", "gka fwd+bwd", f"{shape} float32", ours, peers, truth, 1e-5, {}, peer_tolerance=2e-3)


def _numba(shape: tuple[int, int, int, int]) -> Problem:
    arrays = _inputs(shape)
    peers = {"numba backend": lambda: _ours(*arrays, backend="numba")}
    return Problem("ssm", "gka", f"{shape} float32", lambda: _ours(*arrays), peers, lambda: _truth(arrays), 4e-6)
