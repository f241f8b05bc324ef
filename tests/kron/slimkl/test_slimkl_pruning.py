"""Weights of components that the data do not need become exactly 0, at no cost to the objective."""

import numpy as np
import pytest

from kron.slimkl.oracle import objective
from kron.slimkl.test_slimkl import GRID, signal, split
from quatrefoil.kron import SlimKL
from quatrefoil.kron.models import slimkl_consensus as parts
from quatrefoil.kron.models.slimkl_worker import Worker

NOISE, TOL = 0.05, 1e-3


@pytest.fixture
def asked(monkeypatch):
    """For how many components t and q were computed, evaluation by evaluation."""
    counts, weigh = [], Worker._weigh

    def counted(self, weights, on):
        counts.append(len(on))
        return weigh(self, weights, on)

    monkeypatch.setattr(Worker, "_weigh", counted)
    return counts


@pytest.mark.parametrize("agents", [1, 3])
def test_weights_of_zero(agents, rng, asked, monkeypatch):
    """Fewer components are evaluated, the objective is that without pruning, and no component of weight 0 would lower it."""
    x, y = signal(rng, 60)
    model = SlimKL(means=GRID, noise=NOISE, mean="zero", tol=TOL, agents=agents).fit(x, y)
    assert min(asked) <= np.count_nonzero(model.weights_) <= 35
    assert asked[:agents] == [40] * agents
    value, gradient, t = objective(model.weights_, split(x, y, agents), GRID, 0.001, NOISE)
    assert model.objective_[-1] == pytest.approx(value, abs=1e-8)
    slack = 60 * TOL
    assert (gradient[model.weights_ == 0] > -slack * t[model.weights_ == 0]).all()
    monkeypatch.setattr(parts.Bound, "of", lambda *given: parts.Bound(0.0, 0.0))
    plain = SlimKL(means=GRID, noise=NOISE, mean="zero", tol=TOL, agents=agents).fit(x, y)
    assert np.count_nonzero(plain.weights_) == 40
    assert value <= plain.objective_[-1] + (0 if agents == 1 else slack)
    np.testing.assert_allclose(model.predict(x), plain.predict(x), atol=0.01)
    if agents == 1:
        assert (np.diff(model.objective_) <= 0).all()


def test_the_objective_never_rises(rng):
    """Pruning everything that (9) allows, at weights far from a minimum, and the step (3) of the others at once."""
    pruned = 0
    for _ in range(30):
        n, A = 25, 12
        x, y = signal(rng, n)
        means, std = rng.uniform(0, 0.5, (A, 1)), np.full((A, 1), 0.01)
        worker, slack = Worker(x[:, None], y, means, std, NOISE), 10 ** rng.uniform(-3, 0)
        weights = np.where(rng.random(A) < 0.5, slack * NOISE / (n * A), 10 ** rng.uniform(-3, 0, A))
        at = worker.weigh(weights)
        gone = (weights <= slack * NOISE / (n * A)) & ((1 + slack) * at.q <= at.t)
        for moved in (weights, weights * np.sqrt(at.q / at.t)):
            assert worker.weigh(np.where(gone, 0, moved)).objective <= at.objective
        pruned += gone.sum()
    assert pruned > 30


@pytest.mark.parametrize("agents", [1, 2])
def test_a_component_that_is_missed_comes_back(agents, rng, monkeypatch):
    """The one that carries the signal begins at 0."""
    x, y = signal(rng, 60)
    means, start = np.array([0.05, 0.17, 0.31]), Worker.start
    expected = SlimKL(means=means, noise=NOISE, mean="zero", tol=TOL, agents=agents).fit(x, y)
    if agents == 1:
        monkeypatch.setattr(Worker, "start", lambda self: start(self) * (means != 0.17))
    else:
        initial = parts._Consensus.__init__

        def without(self, *given):
            initial(self, *given)
            self._on = means != 0.17
            self.weights = self.weights * self._on

        monkeypatch.setattr(parts._Consensus, "__init__", without)
    model = SlimKL(means=means, noise=NOISE, mean="zero", tol=TOL, agents=agents, max_iter=300).fit(x, y)
    assert model.objective_[-1] <= expected.objective_[-1] + 60 * TOL
    assert model.weights_.argmax() == 1


def test_no_tolerance_no_pruning(rng):
    x, y = signal(rng, 30)
    with pytest.warns(RuntimeWarning, match="before tol was met"):
        assert SlimKL(means=GRID, noise=NOISE, mean="zero", tol=0.0, max_iter=30).fit(x, y).weights_.all()
