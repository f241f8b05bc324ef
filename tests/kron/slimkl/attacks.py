"""Random programs over ``SlimKL``: units, refits, agents, rounding, interrupts and changed arrays. They are compared with dense matrices
and with the same problem in other units."""

import copy
import pickle
import warnings
from concurrent.futures import Executor, Future

import numpy as np

from kron.slimkl.oracle import components, objective
from quatrefoil.kron import SlimKL
from quatrefoil.kron.models import slimkl_consensus


class Stopping(Executor):
    """An executor that runs calls immediately, and raises at one of them."""

    def __init__(self, count, error):
        self.count, self.error = count, error

    def submit(self, function, /, *inputs):
        self.count -= 1
        if self.count < 0:
            raise self.error
        future = Future()
        future.set_result(function(*inputs))
        return future


class Problem:
    def __init__(self, rng):
        n, P, A = int(rng.integers(1, 26)), int(rng.integers(1, 4)), int(rng.integers(1, 12))
        length, size = 10 ** rng.uniform(-12, 12), 10 ** rng.uniform(-12, 12)
        x = rng.uniform(0, 20, (n, P)) if P > 1 or rng.random() < 0.5 else np.arange(float(n))
        self.x = (x + rng.choice([0, 1000])) * length
        self.y = size * (np.sin(x.reshape(n, -1).sum(axis=1)) + 0.3 * rng.standard_normal(n)) * (rng.random() < 0.95)
        means = rng.uniform(0, 0.5, (A, P) if rng.random() < 0.5 else (A,)) / length
        std = [None, 0.01 / length, 0.0, rng.uniform(0, 0.1, A) / length, rng.uniform(0, 0.1, (A, P)) / length][rng.integers(5)]
        agents = int(rng.integers(1, min(n, 4) + 1))
        self.noise = size * size * 10 ** rng.uniform(-3, 1)
        self.arguments = {
            "means": means, "std": std, "noise": self.noise, "mean": "zero", "agents": agents, "tol": 10 ** rng.uniform(-6, -1), "rng": 5,
            "max_iter": int(rng.integers(1, 12)), "quantization": float(rng.choice([0, 1e-4, 0.01, 0.1, 0.5])),
            "consensus": str(rng.choice(["admm", "primal"])),
        }  # fmt: skip
        self.new = self.x[:1] + length * rng.uniform(-30, 30, (7, *self.x.shape[1:]))

    def fitted(self, model, length=1.0, size=1.0):
        """A model fitted in units smaller by ``length`` and ``size``. The arrays passed to it are overwritten afterwards."""
        options = {name: copy.copy(value) for name, value in self.arguments.items()}
        for name, scale in (("means", 1 / length), ("std", 1 / length), ("noise", size * size)):
            options[name] = None if options[name] is None else options[name] * scale
        x, y = self.x * length, self.y * size
        model.set_params(**options).fit(x, y)
        for array in (x, y, *(v for v in options.values() if isinstance(v, np.ndarray))):
            array[...] = np.nan
        return model

    def std(self):
        means, std = self.arguments["means"], self.arguments["std"]
        return np.broadcast_to(0.002 * means.max(axis=0), means.shape) if std is None else std

    def covariance(self, weights, x, z):
        return np.tensordot(weights, components(x, z, self.arguments["means"], self.std()), 1)

    def objective(self, weights):
        data = zip(*(np.array_split(a, self.arguments["agents"]) for a in (self.x, self.y)))
        return objective(weights, data, self.arguments["means"], self.std(), self.noise)[0]


def learnt(model):
    """The attributes that a fit sets, by name."""
    result = {name: value for name, value in vars(model).items() if name.endswith("_")}
    return result | {f"seen {i}": a for i, a in enumerate(vars(model).get("_seen", ()))}


def same(model, expected, what):
    result = learnt(model)
    assert result.keys() == expected.keys(), what
    for name, value in expected.items():
        assert np.array_equal(result[name], value), (what, name, result[name], value)


def interrupted(rng, model):
    before, error = copy.deepcopy(learnt(model)), [KeyboardInterrupt, np.linalg.LinAlgError, OSError][rng.integers(3)]
    inputs = model.get_params()
    x = np.arange(8.0)
    options = {"agents": 2, "executor": Stopping(int(rng.integers(0, 7)), error()), "tol": 0.0, "max_iter": 50}
    try:
        model.set_params(**inputs | options | {"means": np.array([0.1, 0.2]), "std": None, "noise": 1.0, "quantization": 0.0}).fit(x, x)
        raise AssertionError("the fit was not interrupted")
    except error:
        pass
    same(model, before, f"interrupted by {error.__name__}")
    assert not slimkl_consensus._workers
    model.set_params(**inputs)


def attack_fits(rng, backend):
    """Compare objective, predictions and deviations with dense matrices. Bits agree in other units, after a refit and in a copy."""
    p = Problem(rng)
    length, size = (float(2.0**k) for k in rng.integers(-30, 30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = p.fitted(SlimKL(means=np.zeros(1), noise=1.0))
        if rng.random() < 0.3:
            interrupted(rng, model)
        again = rng.random() < 0.3
        length, size = (1.0, 1.0) if again else (length, size)
        other = p.fitted(model if again else SlimKL(means=np.zeros(1), noise=1.0), length, size)
    weights, precision = model.weights_, p.arguments["quantization"]
    assert np.array_equal(other.weights_, weights * size**2), "weights in other units"
    assert (weights >= 0).all()
    if precision and p.arguments["agents"] > 1:
        multiples = np.frexp(weights)[0] / precision
        assert np.abs(multiples - np.rint(multiples)).max() <= 1e-9 / precision
    expected = p.objective(weights)
    scale = len(p.x) * (1 + abs(np.log(p.noise))) + abs(expected)  # rounding errors of C affect the data term in proportion to its size
    roundings = 1e-7 + 1e-15 * len(p.x) * weights.sum() / p.noise  # amplified by the condition number
    assert abs(model.objective_[-1] - expected) <= roundings * scale, (model.objective_[-1], expected)
    if p.arguments["agents"] == 1:
        assert (np.diff(model.objective_) <= roundings * scale).all(), model.objective_
    if rng.random() < 0.3:
        other = pickle.loads(pickle.dumps(other)) if rng.random() < 0.5 else copy.deepcopy(other)
    mean, deviation = model.predict(p.new, return_std=True)
    for got, value in zip(other.predict(p.new * length, return_std=True), (mean, deviation), strict=True):
        assert np.array_equal(got, value * size), "predictions in other units"
    C = p.covariance(weights, p.x, p.x) + p.noise * np.eye(len(p.x))
    cross, a, total = p.covariance(weights, p.new, p.x), np.linalg.solve(C, p.y), weights.sum()
    wide = 1e-9 * (np.linalg.cond(C) + 1)
    assert np.abs(mean - cross @ a).max() <= wide * (np.abs(p.y).max() + 1e-300), (mean, cross @ a)
    variance = total - np.einsum("ij,ji->i", cross, np.linalg.solve(C, cross.T))
    assert np.abs(deviation**2 - variance).max() <= wide * total, (deviation**2, variance)


ATTACKS = [attack_fits]
