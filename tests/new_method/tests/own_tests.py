"""Tests specific to exponential decay."""

import numpy as np

import quatrefoil as qf


def test_two_applications_equal_one_at_twice_the_rate(backend, rng):
    x, rate = rng.standard_normal((2, 3, 20)), rng.uniform(0, 1, 3)
    twice = qf.ssm.decay_apply(qf.ssm.decay_apply(x, rate), rate)
    np.testing.assert_allclose(twice, qf.ssm.decay_apply(x, 2 * rate), rtol=1e-12)
