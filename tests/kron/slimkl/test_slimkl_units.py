"""SlimKL: rounded weights cost little; a fit that does not end leaves what was."""

import copy
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


@pytest.mark.parametrize("unit", [1e-4, 1e-3, 0.005, 0.02])
@pytest.mark.parametrize("agents", [2, 4])
def test_rounding_costs_little(unit, agents):
    """Of 51 weights that begin at 0.04: the objective of the weights that are found, by dense matrices, beside that without rounding."""
    x, y = signal(60, 2.0, 0)
    means = np.linspace(0, 0.5, 51)
    values, largest = [], []
    for quantization in (0.0, unit):
        model = SlimKL(means=means, noise=0.05, agents=agents, quantization=quantization, rng=0).fit(x, y)
        values.append(objective(model.weights_, split(x, y, agents), means, 0.001, 0.05)[0])
        largest.append(model.weights_.max())
        assert model.objective_[-1] == pytest.approx(values[-1], abs=1e-3)  # of the weights, not of others beside them
    assert values[1] < values[0] + 3.0  # -94 and -110 without; -50 at 0.005, 9 at 0.02 as long as no weight could stay at 0
    assert largest[1] > 0.8 * largest[0]


def test_warnings_of_a_coarse_unit():
    x, y = signal(40)
    with pytest.warns(UserWarning, match=r"SlimKL\.fit: quantization is 0.1, above 0.013\d*, the weights at the start: .* smaller quant"):
        SlimKL(means=GRID, noise=0.05, agents=2, quantization=0.1, tol=1.0).fit(x, y)
    with (
        pytest.warns(UserWarning, match="above"),
        pytest.warns(RuntimeWarning, match=r"SlimKL\.fit: all weights were rounded to 0, multiples of quantization = 1e\+06; expected"),
    ):
        model = SlimKL(means=GRID, noise=0.05, agents=2, quantization=1e6, rng=1, tol=1.0).fit(x, y)
    assert not model.weights_.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SlimKL(means=GRID, noise=0.05, quantization=1e6, tol=1.0).fit(x, y)  # of one agent nothing travels
        SlimKL(means=GRID, noise=0.05, agents=2, quantization=1e-3, tol=1.0).fit(x, y)
        SlimKL(means=GRID, noise=0.05, agents=2, quantization=1e-3, tol=1.0).fit(x, 0 * y)


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
