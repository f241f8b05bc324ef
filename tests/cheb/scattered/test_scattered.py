"""What is particular to values at scattered points: digits, NaN, memory."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
from cheb.scattered.cases import random_tensor


def test_flat_coefficients_keep_their_digits(backend, rng):
    """Coefficients that do not decay, points crowded at the ends: there the three-term recurrence loses n^2 eps.

    Here it is n rounding errors, of sums whose terms are all of one size: 4 sqrt(n) eps leaves room for the worst of 4000 points.
    """
    for n, dtype in itertools.product([33, 65, 257], precisions(backend)):
        print(n, dtype)
        U = rng.standard_normal((n, 5)).astype(dtype)
        X = np.concatenate(
            [rng.uniform(-1, 1, 2000), np.cos(rng.uniform(0, 5 / n, 1000)), -np.cos(rng.uniform(0, 5 / n, 1000)), [-1.0, 1.0]]
        )
        X = X.astype(dtype)
        T = np.cos(np.arccos(X.astype(np.longdouble))[:, None] * np.arange(n))
        expected = T @ U.astype(np.longdouble) @ np.ones(5)
        got = qf.cheb.tucker_eval(np.ones(5, dtype), [U], X[:, None])
        assert np.abs(got - expected).max() <= 4 * n**0.5 * np.finfo(dtype).eps * np.abs(expected).max()


def test_nan_in_the_gradient_stays_in_its_row(backend, rng):
    core, factors = random_tensor(rng, (5, 6, 7), (3, 4, 2))
    X, grad = rng.uniform(-1, 1, (200, 3)), rng.standard_normal(200)
    clean = qf.cheb.tucker_eval_vjp(core, factors, X, grad)[2]
    grad[77] = np.nan
    dirty = qf.cheb.tucker_eval_vjp(core, factors, X, grad)[2]
    assert np.isnan(dirty[77]).all()
    np.testing.assert_array_equal(np.delete(dirty, 77, 0), np.delete(clean, 77, 0))


@pytest.mark.parametrize("kernel", ["eval", "vjp"])
def test_memory_does_not_grow_with_points_times_ranks(kernel, peak_memory):
    """NumPy's way needs P r^2 numbers, 460 MB here. The promise is 50 MB beyond the inputs and outputs."""
    setup = (
        "import numpy as np, quatrefoil as qf; rng = np.random.default_rng(0); qf.set_num_threads(2); tucker = qf.cheb.tucker_eval\n"
        "core, factors = rng.standard_normal((24, 24, 24)), [rng.standard_normal((33, 24)) for _ in range(3)]\n"
        "X, grad = rng.uniform(-1, 1, (100_000, 3)), np.ones(100_000); tucker(core, factors, X[:200])"
    )
    code = "y = tucker(core, factors, X)" if kernel == "eval" else "d = qf.cheb.tucker_eval_vjp(core, factors, X, grad)"
    assert peak_memory(setup, code) < 50e6 + 100_000 * 8 * (1 if kernel == "eval" else 3)
