"""``SlimKL`` with data on a device: results agree with the host's, and only the documented values are read back."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stand_in
from checks import check_rejected
from devices import near
from quatrefoil.kron import SlimKL

GRID = np.linspace(0, 0.5, 12)


def data(rng, P, n=24):
    x = rng.uniform(0, 9, (n, P)) if P else np.arange(float(n))
    return x, np.sin(x.reshape(n, -1).sum(axis=1)) + 0.1 * rng.standard_normal(n), rng.uniform(0, 9, (7, P)) if P else rng.uniform(0, 9, 7)


def fitted(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # warnings about the small number of iterations
        return model.fit(x, y)


@pytest.mark.parametrize(("agents", "consensus"), [(1, "admm"), (3, "admm"), (3, "primal")])
@pytest.mark.parametrize(("P", "std"), [(0, 0.001), (1, np.linspace(0, 0.2, 12)), (2, 0.02)])
def test_fit_and_predict(P, std, agents, consensus, cupy, rng):
    """After four iterations, the ratios of gradients still agree to about 1e-12, the rounding of the condition number."""
    x, y, new = data(rng, P)
    options = {"means": GRID, "std": std, "noise": 0.05, "tol": 0.0, "max_iter": 4, "agents": agents, "consensus": consensus}
    host, model = fitted(SlimKL(**options), x, y), fitted(SlimKL(**options), cupy(x), cupy(y))
    assert isinstance(model.weights_, np.ndarray)
    np.testing.assert_allclose(model.weights_, host.weights_, rtol=0, atol=1e-8 * host.weights_.max())
    np.testing.assert_allclose(model.objective_, host.objective_, rtol=1e-9, atol=1e-9)
    model.weights_ = host.weights_
    cupy.reads.clear()
    got = model.predict(cupy(new), return_std=True)
    for g, e in zip(got, host.predict(new, return_std=True), strict=True):
        near(g, e)
    near(model.predict(cupy(new)), host.predict(new))
    assert model.predict(cupy(new[:0])).shape == (0,)
    assert not cupy.reads
    assert model.score(cupy(x), cupy(y)) == pytest.approx(host.score(x, y), abs=1e-9)


def test_transfers_to_the_host(cupy, rng):
    """One check for data, and per iteration the objective and two numbers per wave (one for frequency 0)."""
    x, y, _ = data(rng, 0)
    model = fitted(SlimKL(means=GRID, std=0.0, noise=0.05, tol=0.0, max_iter=5), cupy(x), cupy(y))
    assert cupy.reads == [(2,), *[(2 * 23 + 1,)] * (model.n_iter_ + 1)]


def test_single_precision_and_parameters_on_the_device(cupy, rng):
    x, y, new = (a.astype(np.float32) for a in data(rng, 2))
    host = fitted(SlimKL(means=GRID, std=0.02, noise=0.05, max_iter=3), x, y)
    model = fitted(SlimKL(means=cupy(GRID), std=cupy(np.full(12, 0.02)), noise=0.05, max_iter=3), cupy(x), cupy(y))
    for g, e in zip(model.predict(cupy(new), True), host.predict(new, True), strict=True):
        near(g, e, 1e-6)


def test_weights_that_vanish(cupy, rng):
    x, y, new = data(rng, 0)
    host, model = (fitted(SlimKL(means=GRID, noise=0.05, max_iter=2), *inputs) for inputs in ((x, y), (cupy(x), cupy(y))))
    for weights in (np.where(np.arange(12) % 3, 0.0, 0.5), np.zeros(12)):
        host.weights_ = model.weights_ = weights
        for g, e in zip(model.predict(cupy(new), True), host.predict(new, True), strict=True):
            near(g, e)


def test_errors(cupy, rng):
    x, y, new = data(rng, 0)
    fit, at, missing = SlimKL(means=GRID, noise=0.05, max_iter=2).fit, (cupy(x), cupy(y)), np.where(np.arange(24) == 3, np.nan, x)
    on_device, host = (fitted(SlimKL(means=GRID, noise=0.05, max_iter=2), *inputs) for inputs in (at, (x, y)))
    agents = SlimKL(means=GRID, noise=0.05, agents=2, executor=ThreadPoolExecutor(1))
    elsewhere = SlimKL(means=GRID, std=stand_in.ndarray(0 * GRID, 0), noise=0.05)
    singular = SlimKL(means=np.zeros(1), std=0.0, noise=1e-300)
    check_rejected([
        (lambda: fit(at[0], y), TypeError, r"SlimKL.fit: y is on cpu but X is on cuda:1; all arrays of a call must be on one device"),
        (lambda: SlimKL(means=cupy(GRID), noise=0.05).fit(x, y), TypeError, r"SlimKL.fit: means is on cuda:1 but X is on cpu"),
        (lambda: elsewhere.fit(*at), TypeError, r"SlimKL.fit: std is on cuda:0 but X is on cuda:1"),
        (lambda: agents.fit(*at), NotImplementedError, r"SlimKL.fit: executor cannot be used, because X is on cuda:1, .* omit it"),
        (lambda: on_device.predict(new), TypeError, r"SlimKL.predict: X is on cpu but the X of fit is on cuda:1"),
        (lambda: host.predict(cupy(new)), TypeError, r"SlimKL.predict: X is on cuda:1 but the X of fit is on cpu"),
        (lambda: fit(at[0], cupy(y[1:])), ValueError, r"SlimKL.fit: y has shape \(23,\), expected \(24,\)"),
        (lambda: fit(cupy(missing), at[1]), ValueError, r"SlimKL.fit: X or y contains NaN or infinity"),
        (lambda: fit(at[0], cupy(missing)), ValueError, r"SlimKL.fit: X or y contains NaN or infinity"),
        (lambda: singular.fit(*at), np.linalg.LinAlgError, r"SlimKL.fit: the covariance is not positive definite .*noise, which is 1e-300"),
    ])  # fmt: skip


def test_copies(cupy, rng):
    x, y, new = data(rng, 0)
    on_device = cupy(x), cupy(y)
    model = fitted(SlimKL(means=GRID, noise=0.05, max_iter=2), *on_device)
    expected = model.predict(cupy(new)).get()
    on_device[0][0], on_device[1][0] = 100.0, 7.0
    for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(cupy(new)).get(), expected)
