"""Learning and filling fields with holes: ``GridGP`` against BoTorch's LatentKroneckerGP, in one thread.

    python -m quatrefoil.kron.models.bench_fields [--cells 12 12 12] [--fields 3]

Matern fields of variance 1 with noise 0.1, of which clouds hide 35 %. LatentKroneckerGP treats the first two axes as one, as does the
second row. Prints CPU time of fit, mean and 64 samples, RMSE in the holes, and the share of hidden cells within 1.96 standard deviations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ... import kron
from ...bench._problem import installed
from ...bench._run import one_thread

LENGTHS, NOISE, HIDDEN, SAMPLES = (0.3, 0.3, 0.5), 0.1, 0.35, 64
Filled: TypeAlias = tuple[np.ndarray, np.ndarray]  # mean and standard deviation of all cells


def field(cells: Sequence[int], seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Axes, the field, and the measured table, NaN under clouds."""
    rng, axes = np.random.default_rng(seed), [np.linspace(0, 1, n) for n in cells]
    factors = [kron.matern52(x, scale=l) for x, l in zip(axes, LENGTHS)]
    truth, clouds = kron.gp_sample(factors, size=2, rng=rng).reshape(2, *cells)
    table = truth + NOISE**0.5 * rng.standard_normal(truth.shape)
    return axes, truth, np.where(clouds > np.quantile(clouds, 1 - HIDDEN), np.nan, table)


def by_gridgp(axes: Sequence[np.ndarray], table: np.ndarray) -> Filled:
    mean, deviation = kron.GridGP().fit(list(axes), table).predict(return_std="samples", samples=SAMPLES, rng=0)
    return mean, deviation


def in_plane(axes: Sequence[np.ndarray], table: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The first two axes as one axis of points (n, 2)."""
    plane = np.stack(np.meshgrid(*axes[:2], indexing="ij"), axis=-1).reshape(-1, 2)
    return [plane, axes[2]], table.reshape(len(plane), -1)


def by_botorch(axes: Sequence[np.ndarray], table: np.ndarray) -> Filled:
    import torch
    from botorch import fit_gpytorch_mll
    from botorch.models.latent_kronecker_gp import LatentKroneckerGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(0)
    plane, t = (torch.from_numpy(x.reshape(len(x), -1)) for x in axes)
    model = LatentKroneckerGP(plane, t, torch.from_numpy(table))
    with model.use_iterative_methods():
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            posterior = model.posterior(plane)
            mean, samples = posterior.mean, posterior.rsample(torch.Size([SAMPLES]))
            mean, _ = model.outcome_transform.untransform(mean.reshape(-1, 1))  # samples already are
    return mean.numpy().reshape(table.shape), samples.numpy().reshape(SAMPLES, *table.shape).std(axis=0)


def sides(axes: Sequence[np.ndarray], table: np.ndarray) -> Iterator[tuple[str, Callable[[], Filled]]]:
    yield "GridGP, three axes", lambda: by_gridgp(axes, table)
    yield "GridGP, the plane as one axis", lambda: by_gridgp(*in_plane(axes, table))
    if installed("botorch"):
        yield "LatentKroneckerGP", lambda: by_botorch(*in_plane(axes, table))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m quatrefoil.kron.models.bench_fields", description="Learning and filling fields.")
    parser.add_argument("--cells", type=int, nargs=3, default=(12, 12, 12))
    parser.add_argument("--fields", type=int, default=3)
    options = parser.parse_args(arguments)
    results: dict[str, list[Any]] = {}
    restore = one_thread()
    for seed in range(options.fields):
        axes, truth, table = field(options.cells, seed)
        hidden = np.isnan(table)
        for name, run in sides(axes, table):
            begin = time.process_time()
            mean, deviation = (a.reshape(truth.shape)[hidden] for a in run())
            error = mean - truth[hidden]
            row = time.process_time() - begin, np.sqrt(np.mean(error**2)), np.mean(np.abs(error) < 1.96 * deviation)
            results.setdefault(name, []).append(row)
    restore()
    for name, rows in results.items():
        seconds, rmse, within = np.mean(rows, axis=0)
        print(f"{name:30} {seconds:7.2f} s, RMSE {rmse:.3f}, within 1.96 standard deviations {within:.1%}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
