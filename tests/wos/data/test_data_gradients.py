"""Gradients in the numbers of polynomials and grids: exact for given walks, of every instance its own, in NumPy and in PyTorch."""

import numpy as np
import pytest

from quatrefoil import _array_tools, wos
from quatrefoil._backends import native
from quatrefoil.wos.data.composition import Data, Places
from wos.walk import oracle
from wos.walk.oracle import disc_points, seed, star_points

BOX = {2: ((-1.1, -0.8), (0.9, 1.2)), 3: ((-1.1, -0.8, -0.9), (0.9, 1.2, 0.7))}
NAMES = {"polynomial": "coefficients", "grid": "values"}


def make(kind, table, d):
    return wos.Polynomial(table) if kind == "polynomial" else wos.GridField(table, BOX[d])


def domain(rng, d, n, B=None):
    if d == 3:
        return wos.Ball([0.1, 0.0, -0.2], 1.1), disc_points(rng, n, 0.8, d)
    rings = [oracle.star(40) * (1 + 0.2 * b) for b in range(B or 1)]
    return wos.Polygon(rings if B else rings[0]), star_points(rng, n)


def test_threads_and_cuts_of_walks(backend, rng):
    """A gradient has the same bits for any number of threads, also where a grid has so many values that there are few partial sums."""
    boundary, X = domain(rng, 2, 9)
    for table in (rng.normal(size=(3, 3)), rng.normal(size=(700, 800))):
        run = dict(dirichlet=wos.GridField(table, BOX[2]), walks=2000, rng=seed(rng))
        first, *others = [wos.solve_vjp(boundary, X, np.ones(9), num_threads=n, **run)[1]["values"] for n in (1, 2, 5)]
        assert abs(first.sum() - 9) < 9 * 2.0**-23  # the shares of the nodes add up to one a point; a walk's is of its precision
        for other in others:
            np.testing.assert_array_equal(other, first)


@pytest.mark.skipif(native.reason() is not None, reason="the Numba twin has one sum")
def test_the_gradient_of_a_large_grid_takes_little_memory(peak_memory):
    """2 MB of values: 8 partial sums of them, not 64."""
    setup = """
import numpy as np
import quatrefoil as qf
X = np.random.default_rng(0).uniform(-0.6, 0.6, (64, 2))
ball, field = qf.wos.Ball([0.0, 0.0], 1.0), qf.wos.GridField(np.ones((512, 512)), ((-1, -1), (1, 1)))
run = dict(dirichlet=field, rng=1, backend="native")
qf.wos.solve_vjp(ball, X, np.ones(64), walks=2, **run)
"""
    assert peak_memory(setup, "qf.wos.solve_vjp(ball, X, np.ones(64), walks=1 << 12, **run)") < 30 << 20


def test_a_composition_adds_up_all_pieces_of_points(monkeypatch, rng):
    at = Places(rng.uniform(-1, 1, (7, 2)), np.zeros(7, np.int64), np.zeros((7, 2)), np.ones(7), [])
    data, share = Data(np, "wos.walk", "fourier", rng.normal(size=(1, 9)), None), rng.normal(size=7)
    whole = data.gradient(at, share)
    monkeypatch.setattr(_array_tools, "CHUNK", 1)
    np.testing.assert_allclose(data.gradient(at, share), whole, rtol=0, atol=1e-14 * np.abs(whole).sum())


@pytest.mark.torch
@pytest.mark.parametrize("kind", NAMES)
def test_gradients_of_lists(kind, backend, rng):
    """Are those of the same tables in one array, and each instance has its own."""
    torch = pytest.importorskip("torch")
    X, table = disc_points(rng, 5, 0.7), rng.normal(size=(3, 3, 2))
    ball, run = wos.Ball([0.1, 0.0], 1.1), dict(walks=9, epsilon=1e-7, rng=seed(rng))
    leaf, weight = torch.tensor(table, requires_grad=True), rng.normal(size=(3, 5))
    data = [make(kind, t, 2) for t in leaf]
    value = wos.solve(ball, torch.tensor(X), dirichlet=data, source=data, **run).value
    (got,) = torch.autograd.grad(value, leaf, torch.tensor(weight), retain_graph=True)
    _, *found = wos.solve_vjp(ball, X, weight, dirichlet=make(kind, table, 2), source=make(kind, table, 2), **run)
    by_hand = sum(g[NAMES[kind]] for g in found)
    np.testing.assert_allclose(got.numpy(), by_hand, rtol=0, atol=1e-13 * np.abs(by_hand).sum())
    (of_last,) = torch.autograd.grad(value[-1].sum(), leaf)
    assert not of_last[:-1].any()
    assert of_last[-1].any()


@pytest.mark.torch
def test_what_has_no_gradient_raises():
    torch = pytest.importorskip("torch")
    leaf = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="box"):
        wos.GridField(leaf, (torch.zeros(2, requires_grad=True), torch.ones(2)))
    with pytest.raises(TypeError, match="one kind"):
        wos.solve(wos.Ball([0, 0], 1), np.zeros((1, 2)), dirichlet=wos.Polynomial(leaf), walks=2)
