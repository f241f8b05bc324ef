"""A user's program with ``qf.kron``, which type checkers read strictly: a table of measurements, a spectrum, an equation."""

# pyright: strict

from functools import partial
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import quatrefoil as qf

Table = NDArray[np.float64]


def measured(x: Table, t: Table, rng: np.random.Generator) -> Table:
    """Noisy measurements with gaps."""
    table = 15 + np.sin(6 * x)[:, None] * np.cos(5 * t) + 0.1 * rng.standard_normal((len(x), len(t)))
    table[rng.random(table.shape) < 0.2] = np.nan
    return table


def smoothed(x: Table, t: Table, table: Table) -> tuple[Table, Table]:
    gp = qf.kron.GridGP().fit([x, t], table)
    assert_type(gp, qf.kron.GridGP)
    assert_type(gp.predict([x, t]), Table)
    assert_type(gp.predict(np.array([[0.1, 0.2]])), Table)
    assert_type(gp.log_marginal_likelihood(), float)
    assert_type(gp.log_marginal_likelihood(eval_gradient=True), tuple[float, Table])
    assert_type(gp.sample([x, t], 3, rng=0), Table)
    assert_type(gp.score([x, t], np.nan_to_num(table, nan=15.0)), float)
    return gp.predict([x, t], return_std=True)


def compared(x: Table, t: Table, table: Table) -> float:
    """Compare two kernels by their likelihoods, with settings that are common in other programs."""
    kernels = [partial(qf.kron.rbf, scale=0.3), partial(qf.kron.matern52, scale=0.5)]
    rough = qf.kron.GridGP(kernels, noise=0.01, mean="linear", rng=0, backend="numba", num_threads=1).fit([x, t], table)
    trend = qf.kron.GridGP(qf.kron.rbf, mean=lambda x, t: 15 + 0 * x * t, optimizer=None).fit([x.tolist(), t], table.tolist())
    return rough.log_marginal_likelihood_value_ - trend.log_marginal_likelihood_value_


def spectrum(t: Table, y: Table) -> Table:
    model = qf.kron.SlimKL(means=np.linspace(0, 0.5, 21), noise=0.1, max_iter=500, rng=np.random.default_rng(0)).fit(t, y)
    mean, deviation = model.predict(t, return_std=True)
    assert mean.shape == deviation.shape
    return model.weights_


def solved(x: Table) -> Table:
    equation = qf.kron.pde.Poisson(source=lambda x: -np.sin(x), boundary=0.0)
    return np.asarray(qf.kron.GPHM(equation, x, components=4).fit(steps=2).predict([0.1, 0.2]))


def main() -> None:
    rng = np.random.default_rng(0)
    x, t = np.linspace(0, 1, 12), np.linspace(0, 1, 10)
    table = measured(x, t, rng)
    mean, deviation = smoothed(x, t, table)
    assert (deviation > 0).all()
    assert abs(float(mean.mean()) - 15) < 1
    assert np.isfinite(compared(x, t, table))
    assert spectrum(np.arange(40.0), np.sin(np.arange(40.0))).shape == (21,)
    assert solved(x).shape == (2,)


TYPICAL = (main,)
