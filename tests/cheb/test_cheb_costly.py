"""Costly functions: saved values, parallel calls, and where a limited number of calls is spent: along fibres or at random points."""

import math
import pickle
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

import quatrefoil as qf
from cheb.recorded import Recorded
from checks import check_rejected

ChebTucker, PolynomialChaos = qf.cheb.ChebTucker, qf.cheb.PolynomialChaos
BOX = [(0.1, 1)] * 4


def root(a, b, c, d):
    return np.sqrt(1 + a + b * c) / (2 + d)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_failed_call_continues_from_its_checkpoint(tmp_path, outputs):
    def f(*x):
        return root(*x) if outputs == 1 else (root(*x), 1e-5 * x[0] * x[1] + x[2])

    file, model = tmp_path / "values.csv", Recorded(f, broken=150)
    with pytest.raises(RuntimeError, match="license"):
        ChebTucker.from_function(model, BOX, tol=1e-5, checkpoint=file)
    assert len(file.read_text().splitlines()) == 151
    with open(file, "a") as lines:  # as if the program had been killed while it wrote the last line
        lines.write("0.25,0.5,0.")
    result = ChebTucker.from_function(model, BOX, tol=1e-5, checkpoint=file)
    plain = ChebTucker.from_function(f, BOX, tol=1e-5)
    for ct, expected in zip(np.atleast_1d(result), np.atleast_1d(plain), strict=True):
        np.testing.assert_array_equal(ct.core, expected.core)
        assert ct.n_evaluations == expected.n_evaluations == model.calls == len(set(model.seen))  # one point per call
    again = Recorded(f, broken=0)  # would fail on its first call
    np.testing.assert_array_equal(np.atleast_1d(ChebTucker.from_function(again, BOX, tol=1e-5, checkpoint=file))[-1].core, ct.core)
    table = np.loadtxt(file, delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, 4], root(*table[:, :4].T))


@pytest.mark.slow
def test_checkpoints_of_a_grid_and_a_chaos(tmp_path):
    for make in (
        lambda f, **more: ChebTucker.from_function(f, BOX, n=4, tol=1e-2, **more),
        lambda f, **more: PolynomialChaos.from_function(f, BOX, max_evaluations=40, **more),
    ):
        model = Recorded(root, broken=30)
        file = tmp_path / f"{id(model)}.csv"
        with pytest.raises(RuntimeError, match="license"):
            make(model, checkpoint=file)
        surrogate = make(model, checkpoint=file)
        assert surrogate.n_evaluations == len(set(model.seen)) == len(model.seen)
        X = np.full((1, 4), 0.4)
        np.testing.assert_array_equal(surrogate(X), make(root)(X))


def test_parallel_calls(rng):
    plain = ChebTucker.from_function(root, BOX, tol=1e-5)
    with ThreadPoolExecutor(3) as threads:
        for f in (root, lambda *x: math.sqrt(1 + x[0] + x[1] * x[2]) / (2 + x[3])):  # accepts arrays, or only numbers
            ct = ChebTucker.from_function(f, BOX, tol=1e-5, executor=threads)
            np.testing.assert_allclose(ct.core, plain.core, rtol=1e-12, atol=1e-13)
            assert ct.n_evaluations == plain.n_evaluations
        chaos = PolynomialChaos.from_function(root, BOX, max_evaluations=30, executor=threads)
    X = 0.1 + 0.9 * rng.random((50, 4))
    np.testing.assert_array_equal(chaos(X), PolynomialChaos.from_function(root, BOX, max_evaluations=30)(X))


@pytest.mark.slow
def test_what_other_workers_computed_is_kept(tmp_path):
    class Pool:
        """Runs every call when it is submitted, so that all calls end before the first result is read."""

        def submit(self, f, *arguments):
            future = Future()
            try:
                future.set_result(f(*arguments))
            except RuntimeError as error:
                future.set_exception(error)
            return future

    model, file = Recorded(root, broken=3), tmp_path / "values"
    with pytest.raises(RuntimeError, match="license"):
        PolynomialChaos.from_function(model, BOX, max_evaluations=50, executor=Pool(), checkpoint=file)
    assert len(file.read_text().splitlines()) == 1 + 49
    PolynomialChaos.from_function(model, BOX, max_evaluations=50, executor=Pool(), checkpoint=file)
    assert len(model.seen) == len(set(model.seen)) == 50


def test_no_point_is_computed_twice_whatever_the_tolerances():
    model = Recorded(root)
    ct = ChebTucker.from_function(model, BOX, max_evaluations=1500)
    assert ct.n_evaluations == len(model.seen) == len(set(model.seen)) <= 1500
    assert ct.error_estimate < 1e-6
    assert ChebTucker.from_function(root, BOX, tol=1e-7).n_evaluations < 1500


def test_progress(capsys):
    reports = []
    ct = ChebTucker.from_function(root, BOX, tol=1e-5, progress=lambda count, error: reports.append((count, error)))
    counts = [count for count, _ in reports]
    assert counts == sorted(counts)
    assert counts[-1] == ct.n_evaluations
    assert reports[0][1] == math.inf
    assert reports[-1][1] < 1e-3
    PolynomialChaos.from_function(root, BOX, max_evaluations=20, progress=True)
    assert "20 values of f" in capsys.readouterr().err


@pytest.mark.slow
def test_points_first_and_values_later(rng):
    box = [(0, 1), (-2, 3), (5, 6)]
    X = ChebTucker.points((9, 8, 7), box)
    assert X.shape == (9, 8, 7, 3)
    ct = ChebTucker.from_values(np.sin(X[..., 0] + X[..., 1]) / X[..., 2], box)
    at = np.array([0, -2, 5]) + [1, 5, 1] * rng.random((50, 3))
    np.testing.assert_allclose(ct(at), np.sin(at[:, 0] + at[:, 1]) / at[:, 2], atol=1e-3)
    np.testing.assert_allclose(ChebTucker.points(3)[:, 0], [-1, 0, 1], atol=1e-15)
    X = PolynomialChaos.points(BOX, 30)
    chaos = PolynomialChaos.fit(X, root(*X.T), BOX)
    direct = PolynomialChaos.from_function(root, BOX, max_evaluations=30)
    T = 0.1 + 0.9 * rng.random((50, 4))
    np.testing.assert_array_equal(chaos(T), direct(T))
    both = PolynomialChaos.from_function(lambda *x: (x[0], root(*x)), BOX, max_evaluations=30)
    np.testing.assert_array_equal(both[1](T), direct(T))
    np.testing.assert_allclose(both[0].mean(), 0.55)


CUBE = [(-1, 1)] * 3


def sharp(x, y, z):
    """A pole close to the cube, for which polynomials in x need degree 70."""
    return (1 + y * z / 2) / (1.02 + x)


def smooth(x, y, z):
    return x**3 * y - z + x * y * z


def kinked(x, y, z):
    return abs(x - 0.3) + y * z


def surrogates(f, most):
    """Yield both kinds of results, with the points at which f was called."""
    for make in (
        PolynomialChaos.from_function,
        lambda *args, **options: ChebTucker.from_function(*args, **options, tol=1e-12, method="tt"),
    ):
        model = Recorded(f)
        yield make(model, CUBE, max_evaluations=most), model.seen


def test_a_long_line_asks_for_fibres(rng):
    mean = math.log(2.02 / 0.02) / 2
    var = (1 + 1 / 36) * (50 - 1 / 2.02) / 2 - mean**2
    X = rng.uniform(-1, 1, (1000, 3))
    for surrogate, seen in surrogates(sharp, 2000):
        assert surrogate.n_evaluations == len(seen) == len(set(seen)) <= 2000
        np.testing.assert_allclose([surrogate.mean(), surrogate.var()], [mean, var], rtol=1e-6)
        unit = 50 * 1.5 if isinstance(surrogate, ChebTucker) else math.sqrt(var)
        assert np.abs(surrogate(X) - sharp(*X.T)).max() < 20 * surrogate.error_estimate * unit


@pytest.mark.slow
def test_short_lines_ask_for_random_points():
    for surrogate, seen in surrogates(smooth, 250):
        assert surrogate.n_evaluations == len(seen) == len(set(seen)) == 250
        np.testing.assert_allclose([surrogate.mean(), surrogate.var()], [0, 1 / 21 + 1 / 3 + 1 / 27], rtol=1e-9, atol=1e-10)
        assert len({x for x, _, _ in seen}) > 200


def test_very_many_calls_are_along_fibres():
    def decaying(x, y, z):
        return np.exp(x * y) / (3 + z)

    for surrogate, seen in surrogates(decaying, 4000):
        assert surrogate.n_evaluations == len(seen) < 4000
        assert len({x for x, _, _ in seen}) < len(seen) / 2
        np.testing.assert_allclose(surrogate.mean(), 1.0572508753757286 * math.log(2) / 2, rtol=1e-11)


@pytest.mark.slow
def test_a_kink_asks_for_random_points(rng):
    X = rng.uniform(-1, 1, (1000, 3))
    for surrogate, seen in surrogates(kinked, 400):
        assert surrogate.n_evaluations == len(seen) == 400
        missed = np.sqrt(np.mean((surrogate(X) - kinked(*X.T)) ** 2))
        spread = kinked(*X.T).std() if isinstance(surrogate, PolynomialChaos) else np.abs(kinked(*X.T)).max()
        assert missed < 0.05
        assert missed / 3 < surrogate.error_estimate * spread < 3 * missed


def test_outputs_failures_and_threads(tmp_path, rng):
    def both(x, y, z):
        return sharp(x, y, z), x + 2 * y * z

    X, file, options = rng.uniform(-1, 1, (100, 3)), tmp_path / "values.csv", {"max_evaluations": 1000}
    plain = PolynomialChaos.from_function(both, CUBE, **options)
    model = Recorded(both, broken=300)
    with pytest.raises(RuntimeError, match="license"):
        PolynomialChaos.from_function(model, CUBE, checkpoint=file, **options)
    continued = PolynomialChaos.from_function(model, CUBE, checkpoint=file, **options)
    assert len(model.seen) == len(set(model.seen)) == plain[0].n_evaluations <= 1000
    with ThreadPoolExecutor(2) as threads:
        parallel = PolynomialChaos.from_function(both, CUBE, executor=threads, **options)
    for results in (continued, parallel):
        for one, expected in zip(results, plain, strict=True):
            np.testing.assert_allclose(one(X), expected(X), rtol=1e-10, atol=1e-10)


def test_bad_input(tmp_path):
    class Processes:
        def submit(self, f, *arguments):
            future = Future()
            future.set_exception(pickle.PicklingError("Can't pickle <lambda>"))
            return future

    other, broken = tmp_path / "other", tmp_path / "broken"
    other.write_text("x0,x1,f\n")
    broken.write_text("x0,x1,x2,x3,f\n1,2,3,4,5\n1,2,three,4,5\n")
    check_rejected([
        (lambda: ChebTucker.from_function(root, BOX, executor=4), TypeError, r"executor is 4, expected an executor of concurrent\.futures"),
        (lambda: ChebTucker.from_function(root, BOX, progress="yes"), TypeError, "progress is 'yes'"),
        (lambda: ChebTucker.from_function(root, BOX, checkpoint=other), ValueError, r"begins with 'x0,x1,f', expected x0,x1,x2,x3,f"),
        (lambda: ChebTucker.from_function(root, BOX, checkpoint=broken), ValueError, "line 3 of checkpoint .* expected 5 numbers"),
        (lambda: ChebTucker.from_function(lambda *x: root(*x), BOX, executor=Processes()), TypeError, "define f at module level"),
        (lambda: ChebTucker.from_function(lambda x: math.sqrt(x[3]), BOX, checkpoint=tmp_path / "new"), TypeError, "f takes one point"),
        (lambda: ChebTucker.points(0), ValueError, "n is 0, expected at least 1"),
        (lambda: PolynomialChaos.points(BOX, 1), ValueError, "count is 1, expected at least 2"),
    ])  # fmt: skip
