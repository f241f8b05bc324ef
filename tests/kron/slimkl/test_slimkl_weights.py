"""SlimKL's weights: unneeded ones become exactly 0 without loss, rounding costs little, and consensus without multipliers
(``consensus="primal"``) reaches the objective of one process with all data."""

import copy
import itertools
import tracemalloc

import numpy as np
import pytest

from kron.slimkl.attacks import learnt, same
from kron.slimkl.oracle import objective
from kron.slimkl.test_slimkl import GRID, signal, split
from quatrefoil.kron import SlimKL
from quatrefoil.kron.models import slimkl_components, slimkl_consensus
from quatrefoil.kron.models.slimkl_components import Components
from quatrefoil.kron.models.slimkl_worker import Worker

NOISE, TOL, MEANS = 0.05, 1e-3, np.linspace(0, 0.5, 51)


def slim(**options):
    return SlimKL(**{"means": GRID, "noise": NOISE, "mean": "zero", "tol": TOL} | options)


def wave(n=40, amplitude=1.0, seed=7):
    rng = np.random.default_rng(seed)
    x = np.arange(float(n))
    return x, amplitude * np.sin(2 * np.pi * 0.1 * x) + 0.2 * rng.standard_normal(n)


@pytest.fixture
def evaluated(monkeypatch):
    """Record for how many components each evaluation computes t and q."""
    counts, weigh = [], Worker._weigh

    def counted(self, weights, on):
        counts.append(len(on))
        return weigh(self, weights, on)

    monkeypatch.setattr(Worker, "_weigh", counted)
    return counts


@pytest.mark.parametrize("agents", [1, 3])
def test_weights_of_zero(agents, rng, evaluated, monkeypatch):
    x, y = signal(rng, 60)
    model = slim(agents=agents).fit(x, y)
    assert min(evaluated) <= np.count_nonzero(model.weights_) <= 35
    assert evaluated[:agents] == [40] * agents
    value, gradient, t = objective(model.weights_, split(x, y, agents), GRID, 0.001, NOISE)
    assert model.objective_[-1] == pytest.approx(value, abs=1e-8)
    slack = 60 * TOL
    assert (gradient[model.weights_ == 0] > -slack * t[model.weights_ == 0]).all()
    monkeypatch.setattr(slimkl_consensus.Bound, "from_tolerance", lambda *inputs: slimkl_consensus.Bound(0.0, 0.0))
    plain = slim(agents=agents).fit(x, y)
    assert np.count_nonzero(plain.weights_) == 40
    assert value <= plain.objective_[-1] + (0 if agents == 1 else slack)
    np.testing.assert_allclose(model.predict(x), plain.predict(x), atol=0.01)
    if agents == 1:
        assert (np.diff(model.objective_) <= 0).all()


def test_the_objective_never_rises(rng):
    """Prune everything that (9) allows, far from a minimum, with and without step (3) for the other weights."""
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
    x, y = signal(rng, 60)
    means, start = np.array([0.05, 0.17, 0.31]), Worker.start
    expected = slim(means=means, agents=agents).fit(x, y)
    if agents == 1:
        monkeypatch.setattr(Worker, "start", lambda self: start(self) * (means != 0.17))
    else:
        initial = slimkl_consensus._Consensus.__init__

        def without(self, *inputs):
            initial(self, *inputs)
            self._on = means != 0.17
            self.weights = self.weights * self._on

        monkeypatch.setattr(slimkl_consensus._Consensus, "__init__", without)
    model = slim(means=means, agents=agents, max_iter=300).fit(x, y)
    assert model.objective_[-1] <= expected.objective_[-1] + 60 * TOL
    assert model.weights_.argmax() == 1


def test_no_tolerance_no_pruning(rng):
    x, y = signal(rng, 30)
    with pytest.warns(RuntimeWarning, match="before reaching tol"):
        assert slim(tol=0.0, max_iter=30).fit(x, y).weights_.all()


def single_process(x, y, agents, tol):
    """Iterate (3) for the sum of the agents' objectives, with dense matrices, to convergence."""
    data = split(x, y, agents)
    weights, last = np.full(len(MEANS), np.mean(y**2) / len(MEANS)), np.inf
    while True:
        value, gradient, t = objective(weights, data, MEANS, 0.001, NOISE)
        if last - value < tol * len(y):
            return value, weights
        weights, last = weights * np.sqrt((t - gradient) / t), value


@pytest.mark.parametrize("precision", [0, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("agents", [2, 4])
def test_primal_consensus_reaches_the_objective_of_one_process(precision, agents):
    x, y = wave(60, 2.0, 0)
    expected, _ = single_process(x, y, agents, TOL)
    model = slim(means=MEANS, agents=agents, quantization=precision, consensus="primal", rng=0).fit(x, y)
    value = objective(model.weights_, split(x, y, agents), MEANS, 0.001, NOISE)[0]
    assert value == pytest.approx(model.objective_[-1], abs=1e-4)
    assert value < expected + TOL * len(x)


def test_agents_alike(rng):
    """All agents have the same data, so their weights equal the mean, and consensus takes the steps of (3)."""
    x, y = wave(30, 2.0, 0)
    with pytest.warns(RuntimeWarning, match="before reaching tol"):
        model = slim(means=MEANS, tol=0.0, max_iter=100, agents=3, consensus="primal").fit(np.tile(x, 3), np.tile(y, 3))
    with pytest.warns(RuntimeWarning, match="before reaching tol"):
        alone = slim(means=MEANS, tol=0.0, max_iter=100).fit(x, y)
    assert model.objective_[-1] / 3 == pytest.approx(alone.objective_[-1], abs=0.01)


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("noise", [1e-30, 1.0, 1e30])
def test_data_of_zeros(noise, agents):
    model = SlimKL(means=np.zeros(1), noise=noise, agents=agents).fit(np.arange(9.0), np.zeros(9))
    assert model.weights_.max() <= 1e-3 * noise
    assert not model.predict(np.arange(3.0)).any()


@pytest.mark.parametrize("precision", [1e-4, 1e-3, 0.01, 0.1])
@pytest.mark.parametrize("agents", [2, 4])
def test_rounding_costs_little(precision, agents):
    x, y = wave(60, 2.0, 0)
    values, largest = [], []
    for quantization in (0.0, precision):
        model = slim(means=MEANS, agents=agents, quantization=quantization, rng=0).fit(x, y)
        values.append(objective(model.weights_, split(x, y, agents), MEANS, 0.001, NOISE)[0])
        largest.append(model.weights_.max())
        assert model.objective_[-1] == pytest.approx(values[-1], abs=1e-3)  # the objective at the returned weights
    assert values[1] < values[0] + 3.0  # values[0] is about -111 for 2 agents and -95 for 4
    assert largest[1] > 0.8 * largest[0]


def test_a_warning_raised_as_an_error_keeps_the_state():
    x, y = wave()
    model = SlimKL(means=GRID, noise=0.05, tol=1e-2).fit(x, y)
    before = copy.deepcopy(learnt(model))
    with pytest.raises(RuntimeWarning, match="stopped after max_iter"):  # all warnings of this suite are errors
        model.set_params(max_iter=1, tol=0.0).fit(x[:9], y[:9])
    same(model, before, "model")


WAVES = np.array(list(itertools.product([0.1, 0.3], [0.0, 0.1, 0.2], [0.4], [0.0, 0.2, 0.3], [0.1, 0.2, 0.3])))


def frequencies(rng, A, P):
    return rng.uniform(0, 0.5, (A, P))


# points, means, std, and h of (7) in csrc/kron/README.md
CASES = {
    "one dimension": (20, lambda r: frequencies(r, 5, 1), lambda m: np.full(m.shape, 0.01), 0),
    "no width": (20, lambda r: frequencies(r, 5, 2), lambda m: np.zeros(m.shape), 0),
    "frequencies of 0": (20, lambda r: frequencies(r, 9, 4) * (r.random((9, 4)) < 0.5), lambda m: np.full(m.shape, 0.02), 0),
    "frequencies below 0": (9, lambda r: -frequencies(r, 4, 2), lambda m: np.full(m.shape, 0.02), 0),
    "a grid": (90, lambda r: WAVES, lambda m: np.full(m.shape, 0.05), 2),
    "many dimensions": (40, lambda r: frequencies(r, 6, 8), lambda m: np.full(m.shape, 0.003), 4),
    "a width each, narrow": (50, lambda r: frequencies(r, 7, 1), lambda m: np.linspace(0, 0.01, m.size).reshape(m.shape), 0),
    "a width each, of both kinds": (150, lambda r: frequencies(r, 7, 2), lambda m: np.geomspace(1e-4, 2, m.size).reshape(m.shape), 2),
    "wide": (40, lambda r: frequencies(r, 1, 1), lambda m: np.full(m.shape, 2.0), 1),
    "three dimensions": (31, lambda r: frequencies(r, 4, 3), lambda m: np.full(m.shape, 0.02), 0),
    "one point": (1, lambda r: frequencies(r, 3, 2), lambda m: np.full(m.shape, 0.1), 0),
}


@pytest.mark.parametrize("small", [False, True], ids=["whole", "chunks"])
@pytest.mark.parametrize("name", CASES)
def test_objective_and_gradient(name, small, rng, monkeypatch):
    """Some weights are 0. ``small`` selects chunks of one component and tiles of 32 rows."""
    for setting in ("_TILE", "_CHUNK", "_ROWS") if small else ():
        monkeypatch.setattr(slimkl_components, setting, 1)
    n, means, std, leading = CASES[name]
    means = means(rng)
    std, x, y = std(means), rng.uniform(-30, 30, (n, means.shape[1])) + 1000, rng.standard_normal(n)
    weights = np.where(rng.random(len(means)) < 0.7, rng.uniform(0, 1, len(means)), 0) / len(means)
    at, on = Worker(x, y, means, std, 0.1).weigh(weights), weights > 0
    value, gradient, t = objective(weights, [(x, y)], means, std, 0.1)
    assert at.objective == pytest.approx(value, rel=1e-10)  # for condition numbers up to 1e3
    np.testing.assert_allclose(at.t[on], t[on], rtol=1e-10)
    np.testing.assert_allclose((at.t - at.q)[on], gradient[on], atol=1e-9 * np.abs(t).max() * max(1, y @ y))
    every = Components(x, means, std)
    every.total(np.ones(len(means)))
    assert small or every._chunks[1] == leading


def test_no_component(rng):
    result = Components(rng.uniform(0, 1, (5, 2)), frequencies(rng, 3, 2), np.zeros((3, 2)))
    assert not result.total(np.zeros(3)).any()


def test_memory(rng):
    """300 components of 400 points in 5 dimensions: their matrices take 384 MB, the cosines and sines of all frequencies 10 MB."""
    x, means = rng.uniform(0, 1, (400, 5)), frequencies(rng, 300, 5)
    tracemalloc.start()
    try:
        result = Components(x, means, np.full(means.shape, 0.05))
        result.products(result.total(np.ones(300)), x[:, 0].copy(), np.arange(300))
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
