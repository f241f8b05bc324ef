"""SlimKL: rounded weights cost little; a fit that does not end leaves what was."""

import copy
import functools
import warnings

import numpy as np
import pytest

from kron.slimkl.attacks import Stopping, learnt, same
from kron.slimkl.oracle import objective
from kron.slimkl.test_slimkl import GRID, split
from quatrefoil.kron import SlimKL
from quatrefoil.kron.models import slimkl_consensus as parts


def signal(n=40, amplitude=1.0, seed=7):
    rng = np.random.default_rng(seed)
    x = np.arange(float(n))
    return x, amplitude * np.sin(2 * np.pi * 0.1 * x) + 0.2 * rng.standard_normal(n)


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("noise", [1e-30, 1.0, 1e30])
def test_data_of_zeros(noise, agents):
    model = SlimKL(means=np.zeros(1), noise=noise, agents=agents).fit(np.arange(9.0), np.zeros(9))
    assert model.weights_.max() <= 1e-3 * noise
    assert not model.predict(np.arange(3.0)).any()


def test_widths_by_default():
    x, y = signal()
    means, points = np.stack([GRID, 10 * GRID[::-1]], axis=1), np.stack([x, x**2 / 100], axis=1)
    plain, given = (
        SlimKL(means=means, std=std, noise=0.1, tol=1e-2).fit(points, y) for std in (None, np.broadcast_to([0.001, 0.01], (40, 2)))
    )
    np.testing.assert_allclose(plain.weights_, given.weights_, rtol=1e-9)


# ---- rounded weights


@pytest.mark.parametrize("precision", [1e-4, 1e-3, 0.01, 0.1])
@pytest.mark.parametrize("agents", [2, 4])
def test_rounding_costs_little(precision, agents):
    """The objective of the weights that are found, by dense matrices, compared with that without rounding."""
    x, y = signal(60, 2.0, 0)
    means = np.linspace(0, 0.5, 51)
    values, largest = [], []
    for quantization in (0.0, precision):
        model = SlimKL(means=means, noise=0.05, mean="zero", agents=agents, quantization=quantization, rng=0).fit(x, y)
        values.append(objective(model.weights_, split(x, y, agents), means, 0.001, 0.05)[0])
        largest.append(model.weights_.max())
        assert model.objective_[-1] == pytest.approx(values[-1], abs=1e-3)  # of the weights, not of others beside them
    assert values[1] < values[0] + 3.0  # -94 and -110 without
    assert largest[1] > 0.8 * largest[0]


@pytest.mark.parametrize("precision", [1e-4, 1e-3])
def test_precision_is_relative(precision):
    """501 weights begin far below the variance: a quantum of 1e-4 or 1e-3 on that scale would remove most of them for good."""
    x = np.arange(240.0)
    y = 0.01 * x + np.sin(2 * np.pi * x / 12) + 0.3 * np.sin(2 * np.pi * x / 6) + 0.1 * np.random.default_rng(0).standard_normal(240)
    seen = slice(0, 216)
    model = functools.partial(SlimKL, means=np.linspace(0, 0.5, 501), noise=0.01, max_iter=30)
    errors = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # max_iter
        for options in ({}, {"agents": 4}, {"agents": 4, "quantization": precision, "rng": 0}):
            fitted = model(**options).fit(x[seen], y[seen] - y[seen].mean())
            errors.append(np.sqrt(np.mean((fitted.predict(x[216:]) + y[seen].mean() - y[216:]) ** 2)))
    assert errors[2] <= 1.2 * max(errors[:2])


# ---- fits that do not end, and copies


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no machine")])
def test_a_fit_that_does_not_end_leaves_what_was(error):
    x, y = signal()
    model = SlimKL(means=GRID, noise=0.05, agents=2, tol=1e-2).fit(x, y)
    before = copy.deepcopy(learnt(model))
    for count in (0, 1, 2, 3, 7):
        for other in (model.set_params(executor=Stopping(count, error), agents=4), SlimKL(**model.get_params())):
            with pytest.raises(type(error)):
                other.fit(x[:20], y[:20])
            same(other, before if other is model else {}, count)
            assert not parts._workers


def test_a_warning_that_is_an_error_leaves_what_was():
    x, y = signal()
    model = SlimKL(means=GRID, noise=0.05, tol=1e-2).fit(x, y)
    before = copy.deepcopy(learnt(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="stopped after max_iter"):
            model.set_params(max_iter=1, tol=0.0).fit(x[:9], y[:9])
    same(model, before, "model")
