"""What is particular to values at scattered points: the ends of the domain, digits, memory."""

import itertools
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
from cheb.scattered import oracle
from cheb.scattered.cases import random_tensor


def test_gradient_up_to_the_ends(backend, rng):
    """dX against NumPy's derivative of the factor, at points that lie on the boundary too."""
    for axis in [0, 1, 2]:
        print(axis)
        core, factors = random_tensor(rng, (12, 9, 33), (5, 3, 9), decay=0.9)
        X = rng.uniform(-1, 1, (400, 3))
        X[:100] = np.sign(X[:100])
        X[100:200, axis] = 1 - 1e-13 * rng.random(100)
        dX = qf.cheb.tucker_eval_vjp(core, factors, X, np.ones(400))[2]
        expected = oracle.derivative(core, factors, X, axis)
        np.testing.assert_allclose(dX[:, axis], expected.astype(float), atol=2e-14 * float(np.abs(expected).max()))


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


def test_a_point_does_not_depend_on_its_neighbours(backend, rng):
    core, factors = random_tensor(rng, (17, 9, 12), (9, 5, 8))
    X, grad = rng.uniform(-1, 1, (501, 3)), rng.standard_normal(501)
    whole, dX = qf.cheb.tucker_eval(core, factors, X), qf.cheb.tucker_eval_vjp(core, factors, X, grad)[2]
    for cut in (slice(0, 1), slice(7, 120), slice(499, 501)):
        np.testing.assert_array_equal(qf.cheb.tucker_eval(core, factors, X[cut]), whole[cut])
        np.testing.assert_array_equal(qf.cheb.tucker_eval_vjp(core, factors, X[cut], grad[cut])[2], dX[cut])


def test_nan_in_the_gradient_stays_in_its_row(backend, rng):
    core, factors = random_tensor(rng, (5, 6, 7), (3, 4, 2))
    X, grad = rng.uniform(-1, 1, (200, 3)), rng.standard_normal(200)
    clean = qf.cheb.tucker_eval_vjp(core, factors, X, grad)[2]
    grad[77] = np.nan
    dirty = qf.cheb.tucker_eval_vjp(core, factors, X, grad)[2]
    assert np.isnan(dirty[77]).all()
    np.testing.assert_array_equal(np.delete(dirty, 77, 0), np.delete(clean, 77, 0))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the peak of the resident memory from /proc")
@pytest.mark.parametrize("kernel", ["eval", "vjp"])
def test_memory_does_not_grow_with_points_times_ranks(kernel):
    """NumPy's way needs P r^2 numbers, 460 MB here. The promise is 50 MB beyond the inputs and outputs."""
    code = f"""
    import re, numpy as np, quatrefoil as qf
    rng = np.random.default_rng(0)
    core, factors = rng.standard_normal((24, 24, 24)), [rng.standard_normal((33, 24)) for _ in range(3)]
    X, grad = rng.uniform(-1, 1, (100_000, 3)), np.ones(100_000)
    run = (lambda P: qf.cheb.tucker_eval(core, factors, X[:P])) if {kernel!r} == "eval" else (
        lambda P: qf.cheb.tucker_eval_vjp(core, factors, X[:P], grad[:P]))
    peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024 / 1e6
    run(200)
    before = peak()
    keep = run(len(X))
    print(peak() - before)
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1", "QUATREFOIL_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, env=env)
    results = 100_000 * 8 * (1 if kernel == "eval" else 3) / 1e6
    assert float(done.stdout) < 50 + results
