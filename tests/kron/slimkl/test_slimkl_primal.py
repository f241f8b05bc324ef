"""Consensus without multipliers, ``consensus="primal"``: the objective of one process that holds all data, whatever the rounding."""

import numpy as np
import pytest

from kron.slimkl.oracle import objective
from kron.slimkl.test_slimkl import Recorder, split
from quatrefoil.kron import SlimKL

MEANS, NOISE, TOL = np.linspace(0, 0.5, 51), 0.05, 1e-3


def signal(n=60):
    rng = np.random.default_rng(0)
    x = np.arange(float(n))
    return x, 2 * np.sin(2 * np.pi * 0.1 * x) + 0.2 * rng.standard_normal(n)


def by_one(x, y, agents, tol):
    """(3) for the sum of the agents' objectives, by dense matrices, until it settles."""
    data = split(x, y, agents)
    weights, last = np.full(len(MEANS), np.mean(y**2) / len(MEANS)), np.inf
    while True:
        value, gradient, t = objective(weights, data, MEANS, 0.001, NOISE)
        if last - value < tol * len(y):
            return value, weights
        weights, last = weights * np.sqrt((t - gradient) / t), value


@pytest.mark.parametrize("precision", [0, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("agents", [2, 4])
def test_the_objective_of_one(precision, agents):
    x, y = signal()
    expected, _ = by_one(x, y, agents, TOL)
    model = SlimKL(means=MEANS, noise=NOISE, mean="zero", tol=TOL, agents=agents, quantization=precision, consensus="primal", rng=0).fit(
        x, y
    )
    value = objective(model.weights_, split(x, y, agents), MEANS, 0.001, NOISE)[0]
    assert value == pytest.approx(model.objective_[-1], abs=1e-4)
    assert value < expected + TOL * len(x)


def test_agents_alike(rng):
    """Every agent has the same data, and agrees with the mean: the steps are (3)."""
    x, y = signal(30)
    with pytest.warns(RuntimeWarning, match="before tol was met"):
        model = SlimKL(means=MEANS, noise=NOISE, mean="zero", tol=0.0, max_iter=300, agents=3, consensus="primal").fit(
            np.tile(x, 3), np.tile(y, 3)
        )
    with pytest.warns(RuntimeWarning, match="before tol was met"):
        alone = SlimKL(means=MEANS, noise=NOISE, mean="zero", tol=0.0, max_iter=300).fit(x, y)
    assert model.objective_[-1] / 3 == pytest.approx(alone.objective_[-1], abs=0.01)


def test_only_weights_travel():
    """And penalties; the same message to every agent, but for the seed."""
    x, y = signal(31)
    recorder = Recorder()
    SlimKL(means=MEANS, noise=NOISE, mean="zero", agents=2, consensus="primal", quantization=1e-3, executor=recorder, tol=0.1).fit(x, y)
    messages = [given[2] for name, given, _ in recorder.said if name == "step"]
    assert messages
    assert all(m.multipliers.shape == (1,) and not m.multipliers.any() for m in messages)
    for one, other in zip(messages[::2], messages[1::2], strict=True):
        for name in ("anchor", "consensus", "penalty"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
