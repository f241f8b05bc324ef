"""Loss and gradient of GPHM against PyTorch's autograd of the same loss."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, torch_peers
from ..mixture.bench import by_numpy

COMPONENTS, WEIGHT, JITTER = 30, 200.0, 1e-6


def problems() -> Iterator[Problem]:
    yield _step(120)


def _step(n: int) -> Problem:
    """The gradient with respect to U, which enters every term of the loss, at initial hyperparameters and a U that solves the equation."""
    x = np.linspace(0, 2 * np.pi, n)
    U = np.sin(6 * x)[:, None] * np.cos(4 * x)
    source = -52 * U
    gp = kron.GPHM(kron.Poisson(source=source, boundary=U), [x, x], components=COMPONENTS, boundary_weight=WEIGHT, jitter=JITTER)
    params, jitter = gp.params | {"U": U}, JITTER * gp._state.units.size  # README (19)

    # the covariance has a condition number of 1e8; the truth is the gradient from dense inverses, without autograd
    size = f"{n}x{n} Q{COMPONENTS} float64"
    peers = torch_peers({"torch autograd": partial(_autograd, params, jitter)}, x, source, U)
    truth = partial(_by_inverses, x, params, source, jitter)
    goals = {"torch autograd": 80.0}
    return Problem("kron", "GPHM step, gradients", size, lambda: gp.value_and_grad(params)[1]["U"], peers, truth, 1e-3, goals)


def _kernels(xp: Any, x: Any, params: Any, axis: int) -> list[Any]:
    """k and its second derivative at all pairs."""
    weights, scales, freqs = (params[f"{name}_{axis}"] for name in ("log_weights", "log_scales", "freqs"))
    return [by_numpy(x[:, None] - x, weights, scales, freqs, order, xp) for order in (0, 2)]


def _by_inverses(x: np.ndarray, params: Any, source: np.ndarray, jitter: float) -> Any:
    U = params["U"]
    (K1, D1), (K2, D2) = (_kernels(np, x, params, axis) for axis in (0, 1))
    first, second = (np.linalg.inv(K + jitter * np.eye(len(x))) for K in (K1, K2))
    e = np.exp(params["log_v"]) * (D1 @ first @ U + (D2 @ second @ U.T).T - source)
    return first @ U @ second + first @ (D1.T @ e) + (e @ D2) @ second  # no misfit, because U has the boundary values


def _autograd(params: Any, jitter: float, axis: Any, source: Any, boundary: Any) -> Any:
    import torch

    p = {name: torch.from_numpy(np.array(value)).requires_grad_() for name, value in params.items()}
    U, eye = p["U"], jitter * torch.eye(len(axis), dtype=torch.float64)
    (K1, D1), (K2, D2) = (_kernels(torch, axis, p, k) for k in (0, 1))
    K1, K2 = K1 + eye, K2 + eye
    first, second = torch.linalg.solve(K1, U), torch.linalg.solve(K2, U.T)
    e = D1 @ first + (D2 @ second).T - source
    off = U - boundary
    misfit = (off[0] ** 2).sum() + (off[-1] ** 2).sum() + (off[:, 0] ** 2).sum() + (off[:, -1] ** 2).sum()
    loss = len(axis) / 2 * (torch.linalg.slogdet(K1)[1] + torch.linalg.slogdet(K2)[1])
    loss = loss + (U * torch.linalg.solve(K2, first.T).T).sum() / 2
    loss = loss + WEIGHT / 2 * (p["log_tau"].exp() * misfit - 4 * len(axis) * p["log_tau"])
    loss = loss + (p["log_v"].exp() * (e**2).sum() - U.numel() * p["log_v"]) / 2
    loss.backward()
    return U.grad
