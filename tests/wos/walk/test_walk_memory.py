"""Walks and their gradients take no memory that grows with the number of walks."""

import pytest

from quatrefoil._backends import native

pytestmark = pytest.mark.skipif(native.reason() is not None, reason="the Numba twin holds the values of a round of walks")

SETUP = """
import numpy as np
import quatrefoil as qf
X = np.random.default_rng(0).uniform(-0.6, 0.6, (32, 2))
ring = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
square = qf.wos.Polygon(ring)
g, f = qf.wos.PerVertex(np.arange(4.0)), qf.wos.Gaussians(np.ones(3), np.zeros((3, 2)), np.ones(3))
run = dict(dirichlet=g, source=f, rng=1, backend="native")
qf.wos.solve(square, X, walks=2, **run)
qf.wos.solve_vjp(square, X, np.ones(32), walks=2, **run)
"""


def test_many_walks(peak_memory):
    """2 million walks: their values alone would be 24 MB; a round of them is 12."""
    assert peak_memory(SETUP, "qf.wos.solve(square, X, walks=1 << 16, **run)") < 20 << 20


def test_gradients_of_many_walks(peak_memory):
    assert peak_memory(SETUP, "qf.wos.solve_vjp(square, X, np.ones(32), walks=1 << 15, **run)") < 4 << 20
