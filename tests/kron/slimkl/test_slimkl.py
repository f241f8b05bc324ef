"""SlimKL against dense algebra, its optimality conditions, and the messages of its agents."""

import copy
import itertools
import pickle
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from checks import check_rejected
from kron.slimkl.oracle import objective
from quatrefoil.kron import SlimKL
from quatrefoil.kron.models import slimkl_consensus

GRID = np.linspace(0, 0.5, 40)


def signal(rng, n):
    x = np.arange(float(n))
    return x, np.sin(2 * np.pi * 0.17 * x) + 0.2 * rng.standard_normal(n)


def split(x, y, agents):
    return list(zip(np.array_split(x, agents), np.array_split(y, agents)))


def fitted(x, y, **options):
    with pytest.warns(RuntimeWarning, match=r"SlimKL\.fit: stopped after max_iter = \d+ iterations, before reaching tol"):
        return SlimKL(**{"means": GRID, "noise": 0.05, "mean": "zero", "tol": 0.0, "max_iter": 20, **options}).fit(x, y)


@pytest.mark.parametrize(("agents", "iterations", "tol"), [(1, 1000, 1e-6), pytest.param(3, 1000, 1e-3, marks=pytest.mark.slow)])
def test_optimality(rng, agents, iterations, tol):
    """The gradient t - q of the agents' summed objective, relative to t, is 0 for positive weights and nonnegative otherwise."""
    x, y = signal(rng, 60)
    model = fitted(x, y, max_iter=iterations, agents=agents)
    weights = model.weights_
    _, gradient, t = objective(weights, split(x, y, agents), GRID, 0.001, 0.05)
    assert (weights >= 0).all()
    assert (gradient / t).min() >= -tol
    assert np.abs(weights * gradient / t).max() <= tol * weights.max()
    assert abs(GRID[weights.argmax()] - 0.17) < 1 / 20  # 60 points resolve frequencies 1 / 60 apart


def test_rounding_has_no_bias(rng):
    a = np.array([0.0, 0.3, 0.5, 1.0, 2.8, 3e-200])
    drawn = np.stack([slimkl_consensus.rounded(a, 0.125, rng) for _ in range(4000)])
    unit = np.array([1.0, 0.0625, 0.125, 0.25, 0.5, 0.125 * 2.0 ** np.frexp(3e-200)[1]])
    np.testing.assert_array_equal(drawn, unit * np.rint(drawn / unit))
    assert (np.abs(drawn - a) < unit).all()
    assert (np.abs(drawn.mean(axis=0) - a) < 6 * 0.5 * unit / 4000**0.5).all()  # six standard deviations of the mean of coin flips
    np.testing.assert_array_equal(drawn[:, [0, 2, 3]], np.broadcast_to(a[[0, 2, 3]], (4000, 3)))
    assert slimkl_consensus.rounded(a, 0, rng) is a
    positive = 10 ** rng.uniform(-300, 300, 1000)
    for precision in (1e-3, 0.3, 0.5):  # precisions of at most 1/2 round no positive number to 0
        assert (slimkl_consensus.rounded(positive, precision, rng) > 0).all()


class Recorder(Executor):
    """An executor that runs calls immediately and records function, arguments and result."""

    def __init__(self):
        self.calls = []

    def submit(self, function, /, *inputs):
        future = Future()
        result = function(*inputs)
        self.calls.append((function.__name__, inputs, result))
        future.set_result(result)
        return future


def leaves(x):
    if isinstance(x, (tuple, list)):
        return [n for item in x for n in leaves(item)]
    return [x]


@pytest.mark.parametrize("consensus", ["admm", "primal"])
def test_data_do_not_leave_the_agents(rng, consensus):
    x, y = signal(rng, 61)
    recorder = Recorder()
    fitted(x, y, agents=3, executor=recorder, consensus=consensus, quantization=1e-3)
    set_ups, steps = recorder.calls[:3], recorder.calls[3:]
    assert {s[0] for s in set_ups} == {"set_up"}
    assert {s[0] for s in steps} == {"step"}
    for _, inputs, result in steps:
        for one in leaves((inputs, result)):
            if isinstance(one, np.ndarray):
                assert one.shape in (GRID.shape, (1,))  # weights, multipliers and penalties, but no points
                for secret in (x, y):
                    assert not np.isin(secret[secret != 0], one).any()
            else:
                assert isinstance(one, (str, int, float))
    for (_, inputs, start), (a, b) in zip(set_ups, split(x, y, 3)):
        assert start.shape == GRID.shape
        np.testing.assert_array_equal(inputs[2][0][:, 0], a)
        np.testing.assert_array_equal(inputs[2][1], b)
    messages = [inputs[2] for _, inputs, _ in steps]
    for one, *others in zip(messages[::3], messages[1::3], messages[2::3], strict=True) if consensus == "primal" else ():
        assert not one.multipliers.any()
        for other, name in itertools.product(others, ("anchor", "consensus", "penalty")):  # the same for every agent, except the seed
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.slow
def test_the_same_bits_by_any_executor(rng):
    x, y = signal(rng, 40)
    options = {"agents": 3, "quantization": 1e-4, "rng": 1, "max_iter": 4}
    expected = fitted(x, y, **options)
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(2, get_context("spawn")) as processes:
        for executor in (threads, processes, Recorder()):
            for _ in range(2):
                got = fitted(x, y, executor=executor, **options)
                np.testing.assert_array_equal(got.weights_, expected.weights_)
                np.testing.assert_array_equal(got.objective_, expected.objective_)
    assert not slimkl_consensus._workers


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_bits_on_a_cluster_of_dask(rng, processes):
    distributed = pytest.importorskip("distributed")
    x, y = signal(rng, 40)
    inputs = {"agents": 3, "quantization": 1e-4, "rng": 1, "max_iter": 3}
    expected = fitted(x, y, **inputs)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": processes, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        for executor in (client.get_executor(), client):
            got = fitted(x, y, executor=executor, **inputs)
            for a, b in zip((got.weights_, got.objective_, got.predict(x)), (expected.weights_, expected.objective_, expected.predict(x))):
                np.testing.assert_array_equal(a, b)
        with pytest.raises(np.linalg.LinAlgError, match="the covariance is not positive definite"):  # errors of agents propagate
            SlimKL(means=np.zeros(1), std=0.0, noise=1e-300, agents=2, executor=client.get_executor()).fit(x, y)


class Forgetful(Recorder):
    """An executor that forgets all agents before each call, as if it ran in a new process."""

    def submit(self, function, /, *inputs):
        slimkl_consensus._workers.clear()
        return super().submit(function, *inputs)


def test_new_processes_request_the_agents(rng):
    x, y = signal(rng, 30)
    forgetful = Forgetful()
    got = fitted(x, y, agents=2, executor=forgetful, max_iter=3)
    np.testing.assert_array_equal(got.weights_, fitted(x, y, agents=2, max_iter=3).weights_)
    assert {s[0] for s in forgetful.calls} == {"set_up", "step", "set_up_and_step"}


def test_old_fits_make_room(rng):
    x, y = signal(rng, 10)
    data = (x[:, None], y, GRID[:, None], np.full((40, 1), 0.01), 0.1)
    for k in range(7):
        slimkl_consensus.set_up(f"fit {k}", 0, data)
    assert list(slimkl_consensus._workers) == [f"fit {k}" for k in range(3, 7)]
    for k in range(7):
        slimkl_consensus.forget(f"fit {k}")
    assert not slimkl_consensus._workers


def test_errors_of_agents_propagate(rng):
    x, y = signal(rng, 30)
    for executor in (None, Recorder()):
        with pytest.raises(np.linalg.LinAlgError, match=r"SlimKL\.fit: the covariance is not positive definite .*noise, which is 1e-300"):
            SlimKL(means=np.zeros(1), std=0.0, noise=1e-300, agents=2, executor=executor).fit(x, y)
        assert not slimkl_consensus._workers


def test_it_continues_a_signal(rng):
    x, y = signal(rng, 100)
    model = SlimKL(means=np.linspace(0, 0.5, 101), noise=0.04).fit(x[:80], y[:80])
    ahead = model.predict(x[80:])
    assert np.sqrt(np.mean((ahead - np.sin(2 * np.pi * 0.17 * x[80:])) ** 2)) < 0.25
    assert model.n_iter_ == len(model.objective_) <= 100
    left, y = y[80:] - ahead, y[80:]
    assert model.score(x[80:], y) == pytest.approx(1 - left @ left / np.sum((y - y.mean()) ** 2), rel=1e-12)


@pytest.mark.slow
def test_example(tmp_path, example):
    pytest.importorskip("matplotlib")
    program = example("slim_kl")
    model, errors = program.run()
    alone, shared, nothing = errors.T
    assert (shared < 0.95 * alone).all()
    assert (alone < 0.5 * nothing).all()
    assert np.count_nonzero(model.weights_) < 201
    on = model.means[model.weights_ > 0.05 * model.weights_.max()]
    assert all(np.abs(on - 1 / months).min() < 1 / 360 for months in (6, 12, 43))
    program.draw(model, str(tmp_path / "months.png"))
    assert (tmp_path / "months.png").stat().st_size > 10_000


def test_float32(rng):
    x, y = (a.astype(np.float32) for a in signal(rng, 30))
    model = SlimKL(means=GRID, noise=0.1).fit(x, y)
    assert model.weights_.dtype == np.float64
    assert [a.dtype for a in model.predict(x, return_std=True)] == [np.float32] * 2


def test_executors_are_not_pickled(rng):
    """scikit-learn's checks in test_estimators.py cover parameters and clones."""
    with ThreadPoolExecutor(1) as executor:
        model = SlimKL(means=GRID, noise=0.2, tol=0.9, executor=executor).fit(*signal(rng, 20))
        clone = model.__sklearn_clone__()  # called by sklearn.base.clone
        assert not hasattr(clone, "weights_")
        assert all(clone.get_params()[k] is v for k, v in model.get_params().items())
        assert [again.executor for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model))] == [None, None]
    assert repr(SlimKL(means=GRID, noise=0.5, agents=3)) == "SlimKL(noise=0.5, agents=3)"


X, Y = np.arange(6.0), np.ones(6)
BAD_MODELS = [
    ({}, {"X": X + 0j}, TypeError, "X has dtype complex128"),
    ({}, {"X": np.full(6, np.nan)}, ValueError, r"X\[0\] is nan"),
    ({}, {"X": np.zeros((2, 3, 1))}, ValueError, r"X has shape \(2, 3, 1\)"),
    ({}, {"X": X[:0], "y": Y[:0]}, ValueError, r"X has shape \(0,\)"),
    ({}, {"y": Y[:5]}, ValueError, r"y has shape \(5,\), expected \(6,\)"),
    ({}, {"y": np.full(6, np.inf)}, ValueError, r"y\[0\] is inf"),
    ({"means": "all"}, {}, TypeError, "means is 'all'"),
    ({"means": np.zeros((3, 2))}, {}, ValueError, r"means has shape \(3, 2\), expected \(A,\) or \(A, 1\)"),
    ({"means": np.zeros(0)}, {}, ValueError, "means has shape"),
    ({"means": np.array([np.nan])}, {}, ValueError, r"means\[0\] is nan"),
    ({"std": -1.0}, {}, ValueError, "std is -1"),
    ({"std": np.full(40, -1.0)}, {}, ValueError, "std contains -1"),
    ({"std": np.zeros(3)}, {}, ValueError, r"std has shape \(3,\), expected a number, \(40,\) or \(40, 1\)"),
    ({"std": "wide"}, {}, TypeError, "std is 'wide'"),
    ({"noise": 0.0}, {}, ValueError, "noise is 0.0, expected a finite positive"),
    ({"tol": -1.0}, {}, ValueError, "tol is -1"),
    ({"mean": "linear"}, {}, ValueError, "mean is 'linear', expected one of 'constant', 'zero'"),
    ({}, {"X": ["monday"] * 6}, TypeError, r"X, expected numbers or dates: 'monday' is neither a number nor an ISO date; convert it"),
    ({}, {"y": None}, TypeError, r"y is missing; pass X and y, or a Series whose index is X: df.stack\(\)"),
    ({"max_iter": 0}, {}, ValueError, "max_iter is 0, expected at least 1"),
    ({"agents": 7}, {}, ValueError, "agents is 7, expected at most 6"),
    ({"quantization": -0.1}, {}, ValueError, "quantization is -0.1"),
    ({"quantization": 0.6}, {}, ValueError, "quantization is 0.6, expected a relative precision of at most 0.5"),
    ({"consensus": "dual"}, {}, ValueError, "consensus is 'dual', expected 'admm' or 'primal'"),
    ({"executor": 3}, {}, TypeError, r"executor is int, expected a concurrent\.futures\.Executor"),
]


def test_array_likes_and_defaults():
    t = np.arange(40)
    y = np.sin(2 * np.pi * 0.1 * t) + 0.1 * np.random.default_rng(0).standard_normal(40)
    inputs = {"means": GRID.tolist(), "noise": 0.01, "max_iter": 3, "tol": 0.0}
    with pytest.warns(RuntimeWarning, match="stopped after max_iter"):
        expected = SlimKL(**{**inputs, "means": GRID}).fit(t * 1.0, y).predict(t[:5] * 1.0)
    with pytest.warns(RuntimeWarning, match="stopped after max_iter"):
        np.testing.assert_array_equal(SlimKL(**inputs).fit(t, list(y)).predict([0, 1, 2, 3, 4]), expected)
    model = SlimKL().fit(t[:30], 1e3 * (15 + y[:30]))
    assert np.abs(model.predict([30, 31, 32]) - 1e3 * (15 + np.sin(2 * np.pi * 0.1 * t[30:33]))).max() < 300
    known, zero = (SlimKL(mean=mean).fit(t[:30], 15 + y[:30]).predict(t) for mean in (15.0, "zero"))
    np.testing.assert_allclose(known, 15 + SlimKL(mean="zero").fit(t[:30], y[:30]).predict(t), atol=1e-9)
    assert abs(zero[30:33] - known[30:33]).max() > 0.1
    assert model.weights_.shape == (500,)


def test_series_frames_and_dates():
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2026-01-01", periods=40, freq="12h", name="day")
    t = np.arange(40) / 2
    series = pandas.Series(15 + np.sin(t) + 0.1 * np.cos(9 * t), index=days, name="warmth")
    options = {"means": GRID, "noise": 0.01, "tol": 1e-2}
    plain, model = SlimKL(**options).fit(t, series.to_numpy()), SlimKL(**options).fit(series)
    np.testing.assert_allclose(model.weights_, plain.weights_, rtol=1e-6)  # days since 1970 have larger rounding errors
    mean, deviation = model.predict(return_std=True)
    assert mean.index is series.index
    np.testing.assert_allclose(mean.to_numpy(), plain.predict(t), rtol=1e-6)
    np.testing.assert_array_equal(plain.predict(), plain.predict(t))
    assert model.predict(days[:3]).index.equals(days[:3])
    np.testing.assert_allclose(deviation[:3], model.predict(days[:3], return_std=True)[1], rtol=1e-9)
    dates = days[:3]
    for inputs in (dates.to_numpy(), list(map(str, dates)), dates.to_pydatetime().tolist(), pandas.DataFrame({"day": dates})):
        np.testing.assert_allclose(model.predict(inputs), mean[:3], rtol=1e-9)
    assert model.score(series) == model.score(days, series) == model.score(series.to_frame()) > 0.9
    for inputs in ((series.to_frame(),), (days, series), (pandas.DataFrame({"day": days}), series.tolist())):
        np.testing.assert_array_equal(SlimKL(**options).fit(*inputs).weights_, model.weights_)
    again = pickle.loads(pickle.dumps(model))
    pandas.testing.assert_series_equal(again.predict(), mean)

    frame = pandas.DataFrame({"x": [0.0, 1.0, 2.0], "day": days[[2, 0, 7]]})
    points = pandas.Series([1.0, 2.0, 4.0], index=frame.set_index(["x", "day"]).index)
    model = SlimKL(means=np.array([[0.1, 0.2], [0.3, 0.1]]), noise=0.1).fit(points)
    assert model.predict().index is points.index
    np.testing.assert_array_equal(model.predict(frame), model.predict())
    check_rejected([
        (lambda: model.predict(np.zeros((3, 2))), TypeError, r"X\[:, 1\] has numbers, but fit had dates; pass dates such as"),
        (lambda: model.fit(frame), TypeError, r"y is missing; pass X and y, or a Series whose index is X: .* df.set_index"),
    ])  # fmt: skip


def test_rejected():
    model, fitted_model = SlimKL(means=GRID, noise=0.5), SlimKL(means=GRID, noise=0.5).fit(X, Y)

    def fit(options, data):
        return lambda: SlimKL(**{"means": GRID, "noise": 0.5, **options}).fit(**{"X": X, "y": Y, **data})

    check_rejected([(fit(options, data), error, rf"SlimKL\.fit: {text}") for options, data, error, text in BAD_MODELS])
    check_rejected([
        (lambda: model.predict(X), ValueError, r"SlimKL\.predict: the model has no weights yet; call fit first"),
        (lambda: fitted_model.predict(np.zeros((3, 2))), ValueError, "X has 2 coordinates per point, expected 1, as in fit"),
        (lambda: fitted_model.score(X, Y[:5]), ValueError, r"SlimKL\.score: y has shape \(5,\), expected \(6,\)"),
        (lambda: model.set_params(sigma=1), ValueError, "unknown parameter 'sigma', expected means, std, noise"),
        (lambda: SlimKL(GRID, noise=0.5), TypeError, "SlimKL takes nothing by position, got 1 argument; pass by keyword: means="),
        (lambda: SlimKL(random_state=0), TypeError, "SlimKL has no argument 'random_state'; use rng"),
    ])  # fmt: skip
