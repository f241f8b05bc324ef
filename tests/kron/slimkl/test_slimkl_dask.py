"""SlimKL's agents on Dask: the same weights as here, to the last bit."""

import numpy as np
import pytest

from quatrefoil.kron import SlimKL

distributed = pytest.importorskip("distributed")


def fitted(x, y, executor=None):
    options = {"tol": 0.0, "max_iter": 3, "agents": 3, "quantization": 1e-4, "rng": 1, "executor": executor}
    with pytest.warns(RuntimeWarning, match="stopped after max_iter"):
        return SlimKL(means=np.linspace(0, 0.5, 40), noise=0.05, **options).fit(x, y)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_bits_on_a_cluster(rng, processes):
    """Threads of this process, or others, which Dask starts afresh; by its executor, and by the client itself."""
    x = np.arange(40.0)
    y = np.sin(2 * np.pi * 0.17 * x) + 0.2 * rng.standard_normal(40)
    expected = fitted(x, y)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": processes, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        for executor in (client.get_executor(), client):
            got = fitted(x, y, executor)
            np.testing.assert_array_equal(got.weights_, expected.weights_)
            np.testing.assert_array_equal(got.objective_, expected.objective_)
            np.testing.assert_array_equal(got.predict(x), expected.predict(x))
        with pytest.raises(np.linalg.LinAlgError, match="the covariance is not positive definite"):  # what an agent raises comes here
            SlimKL(means=np.zeros(1), std=0.0, noise=1e-300, agents=2, executor=client.get_executor()).fit(x, y)
