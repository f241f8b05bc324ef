"""Where a limited number of calls is spent: along fibres or at random points."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quatrefoil as qf
from cheb.recorded import Recorded

ChebTucker, PolynomialChaos = qf.cheb.ChebTucker, qf.cheb.PolynomialChaos
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
