"""2000 learning curves of up to 52 epochs that stop early: ``gp_solve`` against the solve of BoTorch's LatentKroneckerGP."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Run, installed

CURVES, EPOCHS, FIRST_CUT, SETTINGS = 2000, 52, 40, 7
NOISE = float(np.exp(-4))  # variance, the median of BoTorch's standard prior
SCALES = (1.0, 0.5)  # length-scales of the settings, in the unit cube, and of the epochs, from 0 to 1
TOL = 1e-4  # residual of the original system, relative to the norm of the observations


def problems() -> Iterator[Problem]:
    rng = np.random.default_rng(0)
    settings, epochs = rng.random((CURVES, SETTINGS)), np.linspace(0, 1, EPOCHS)
    factors = [_matern(np.linalg.norm(settings[:, None] - settings, axis=-1), SCALES[0]), _matern(epochs[:, None] - epochs, SCALES[1])]
    seen = (np.arange(EPOCHS) < rng.integers(FIRST_CUT, EPOCHS + 1, CURVES)[:, None]).reshape(-1)
    roots = [np.linalg.cholesky(f + 1e-10 * np.eye(len(f))) for f in factors]
    curves = roots[0] @ rng.standard_normal((CURVES, EPOCHS)) @ roots[1].T
    y = np.where(seen, curves.reshape(-1) + NOISE**0.5 * rng.standard_normal(curves.size), 0.0)

    def applied(solve: Run) -> np.ndarray:
        """C α, which is compared with y."""
        alpha = solve()
        product = factors[0] @ alpha.reshape(curves.shape) @ factors[1]
        return np.where(seen, product.reshape(-1) + NOISE * alpha, 0.0)

    ours = partial(applied, partial(kron.gp_solve, factors, y, NOISE, mask=seen, tol=TOL))
    peers = {name: partial(applied, solve) for name, solve in _botorch(settings, epochs, y, seen).items()}
    size, goals = f"{CURVES}x{EPOCHS} float64", dict.fromkeys(peers, 5.0)
    parts = {"the factors' eigendecompositions": lambda: list(map(np.linalg.eigh, factors))}
    yield Problem("kron", "gp_solve, curves cut", size, ours, peers, lambda: y, 30 * TOL, goals, parts=parts)


def _matern(distance: np.ndarray, scale: float) -> Any:
    s = 5**0.5 * np.abs(distance) / scale
    return (1 + s + s * s / 3) * np.exp(-s)


def _botorch(settings: np.ndarray, epochs: np.ndarray, y: np.ndarray, seen: np.ndarray) -> dict[str, Run]:
    """BoTorch's system for the posterior mean, solved by BoTorch's iterations; the covariances are evaluated beforehand."""
    if not installed("botorch"):
        return {}
    import torch
    from botorch.models.latent_kronecker_gp import LatentKroneckerGP

    gpytorch: Any = importlib.import_module("gpytorch")
    kernels = [gpytorch.kernels.MaternKernel() for _ in SCALES]
    for kernel, scale in zip(kernels, SCALES):
        kernel.lengthscale = scale
    curves = torch.from_numpy(np.where(seen, y, np.nan).reshape(CURVES, EPOCHS))
    inputs = torch.from_numpy(settings), torch.from_numpy(epochs[:, None])
    model = LatentKroneckerGP(*inputs, curves, covar_module_X=kernels[0], covar_module_T=kernels[1], outcome_transform=None)
    model.likelihood.noise = NOISE
    target = torch.from_numpy(y[seen])[:, None]
    with torch.no_grad():
        C = model.likelihood(model(*model.train_inputs)).lazy_covariance_matrix.evaluate_kernel()

    def solve() -> np.ndarray:
        alpha = np.zeros(y.size)
        with model.use_iterative_methods(tol=TOL), torch.no_grad():
            alpha[seen] = C.solve(target)[:, 0].numpy()
        return alpha

    return {"botorch LatentKroneckerGP": solve}
