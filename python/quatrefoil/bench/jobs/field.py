"""A field with cloud-shaped holes: hyperparameters, mean and standard deviations from 64 samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ... import kron
from . import Side

TITLE = "A field of 12 x 12 x 12 cells, 35 % of them under clouds, learnt and filled"
MEASURE = "RMSE in the holes of fields of variance 1 with noise 0.1"
QUICK = {"CELLS": (5, 5, 4)}
CELLS = (12, 12, 12)
LENGTHS, NOISE, HIDDEN, SAMPLES = (0.3, 0.3, 0.5), 0.1, 0.35, 64
Filled: TypeAlias = tuple[np.ndarray, np.ndarray]  # mean and standard deviation of all cells


class Data(NamedTuple):
    axes: list[np.ndarray]
    truth: np.ndarray
    table: np.ndarray  # NaN under clouds


def data() -> Data:
    """A Matern field and a table of its values with noise, NaN under clouds."""
    rng, axes = np.random.default_rng(0), [np.linspace(0, 1, n) for n in CELLS]
    factors = [kron.matern52(x, scale=l) for x, l in zip(axes, LENGTHS)]
    truth, clouds = kron.gp_sample(factors, size=2, rng=rng).reshape(2, *CELLS)
    table = truth + NOISE**0.5 * rng.standard_normal(truth.shape)
    return Data(axes, truth, np.where(clouds > np.quantile(clouds, 1 - HIDDEN), np.nan, table))


def errors(data: Data, answer: Filled) -> dict[str, float]:
    hidden = np.isnan(data.table)
    mean, deviation = (a.reshape(data.truth.shape)[hidden] for a in answer)
    error = mean - data.truth[hidden]
    return {"RMSE": np.sqrt(np.mean(error**2)), "within 1.96 standard deviations": np.mean(np.abs(error) < 1.96 * deviation)}


def by_gridgp(axes: Sequence[np.ndarray], table: np.ndarray) -> Filled:
    mean, deviation = kron.GridGP().fit(list(axes), table).predict(return_std="samples", samples=SAMPLES, rng=0)
    return mean, deviation


def in_plane(data: Data) -> tuple[list[np.ndarray], np.ndarray]:
    """The first two axes as one axis of points (n, 2)."""
    plane = np.stack(np.meshgrid(*data.axes[:2], indexing="ij"), axis=-1).reshape(-1, 2)
    return [plane, data.axes[2]], data.table.reshape(len(plane), -1)


def by_quatrefoil(data: Data) -> Filled:
    return by_gridgp(data.axes, data.table)


def by_two_axes(data: Data) -> Filled:
    return by_gridgp(*in_plane(data))


def by_latent_kronecker(data: Data) -> Filled:
    """LatentKroneckerGP has only two axes, so the plane is one of them."""
    import torch
    from botorch import fit_gpytorch_mll
    from botorch.models.latent_kronecker_gp import LatentKroneckerGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(0)
    axes, table = in_plane(data)
    plane, t = (torch.from_numpy(x.reshape(len(x), -1)) for x in axes)
    model = LatentKroneckerGP(plane, t, torch.from_numpy(table))
    with model.use_iterative_methods():
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            posterior = model.posterior(plane)
            mean, samples = posterior.mean, posterior.rsample(torch.Size([SAMPLES]))
            mean, _ = model.outcome_transform.untransform(mean.reshape(-1, 1))  # the samples are already untransformed
    return mean.numpy().reshape(table.shape), samples.numpy().reshape(SAMPLES, *table.shape).std(axis=0)


def by_gpytorch(data: Data) -> Filled:
    """An exact Gaussian process on the cells without clouds, one Matern kernel with a scale per axis, 60 steps of Adam."""
    import gpytorch
    import torch

    cells = torch.from_numpy(np.stack(np.meshgrid(*data.axes, indexing="ij"), axis=-1).reshape(-1, 3))
    table = torch.from_numpy(data.table.reshape(-1))
    seen = ~table.isnan()

    class Field(gpytorch.models.ExactGP):  # type: ignore[misc]
        def __init__(self, likelihood: Any) -> None:
            super().__init__(cells[seen], table[seen], likelihood)
            self.mean = gpytorch.means.ConstantMean()
            self.kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(2.5, ard_num_dims=3))

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Field(likelihood).double()
    likelihood_of_data = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (-likelihood_of_data(model(cells[seen]), table[seen])).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad(), gpytorch.settings.fast_pred_var():
        posterior = model(cells)
        return posterior.mean.numpy(), posterior.variance.sqrt().numpy()


def by_interpolation(data: Data) -> Filled:
    """Linear interpolation between the cells around a hole; the nearest cell elsewhere."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    cells = np.stack(np.meshgrid(*data.axes, indexing="ij"), axis=-1)
    seen = ~np.isnan(data.table)
    filled = LinearNDInterpolator(cells[seen], data.table[seen])(cells)
    outside = np.isnan(filled)
    filled[outside] = NearestNDInterpolator(cells[seen], data.table[seen])(cells[outside])
    return filled, np.full(filled.shape, np.nan)


SIDES = {
    "quatrefoil": Side(by_quatrefoil),
    "quatrefoil, the plane as one axis": Side(by_two_axes),
    "BoTorch, LatentKroneckerGP": Side(by_latent_kronecker, "botorch"),
    "GPyTorch, exact": Side(by_gpytorch, "gpytorch"),
    "SciPy, linear interpolation": Side(by_interpolation, "scipy"),
}
