"""A problem that is stated once: its checks, that it never changes, and that its answers are those of the one-line functions."""

import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from quatrefoil import wos
from wos.walk.oracle import same, star

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
DISC, X = wos.Ball([0.0, 0.0], 1.0), np.array([[0.2, 0.1], [0.3, -0.4]])


def warm(Y):
    return Y[:, 0]


def test_other_points():
    heat = wos.Problem(wos.Polygon(star(40)), dirichlet=wos.Fourier(np.ones(5)), neumann=(np.arange(40) < 9, 1.0))
    whole = heat.solve(X, walks=16, rng=1)
    same(heat.solve(X[:1], walks=16, rng=1), wos.solve(heat.boundary, X[:1], heat.dirichlet, neumann=heat.neumann, walks=16, rng=1))
    assert heat.solve(X[0], walks=16, rng=1).value == whole.value[0]
    same(heat.solve(X, walks=16, rng=1), whole)  # nothing is kept that changes a bit
    assert wos.Problem(DISC, dirichlet=1.0).solve(X.astype(np.float32), rng=1).value.dtype == np.float32
    assert (heat.solve(X, atol=0.1, rng=1).stderr <= 0.1).all()


def test_labels(rng):
    stated = {"dirichlet": wos.Fourier(rng.normal(size=(3, 5))), "source": 1.0, "neumann": (np.arange(40) < 9, 1.0)}
    labels = wos.Problem(wos.Polygon(star(40)), **stated).labels(X, wos.Walks(6, gradient=True), rng=4)
    assert str(labels) == "NeuralOperatorLabels(0 epochs of 6 walks)"
    labels.epoch()
    same(pickle.loads(pickle.dumps(labels)).epoch(), wos.solve(wos.Polygon(star(40)), X, **stated, walks=12, rng=4, gradient=True))
    with pytest.raises(ValueError, match="labels: walks is 3; with gradient=True walks come in pairs"):
        wos.Problem(DISC, dirichlet=1.0).labels(X, wos.Walks(3, gradient=True))


def test_walks():
    """A number of walks is short for ``Walks``; its fields are keywords of the one-line function, with the same defaults."""
    heat, coarse = wos.Problem(DISC, dirichlet=wos.Fourier([0.0, 1.0, 0.0])), wos.Walks(16, epsilon=0.01, walk_offset=4)
    same(heat.solve(X, coarse, rng=1), wos.solve(DISC, X, heat.dirichlet, walks=16, epsilon=0.01, walk_offset=4, rng=1))
    same(heat.solve(X, 16, rng=1), heat.solve(X, wos.Walks(16), rng=1))
    labels = heat.labels(X, coarse, rng=1)
    labels.epoch()
    same(labels.epoch(), heat.solve(X, dataclasses.replace(coarse, walks=32), rng=1))
    for function in (wos.solve, wos.solve_vjp):
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
        assert defaults | dataclasses.asdict(wos.Walks()) == defaults
    assert pickle.loads(pickle.dumps(coarse)) == coarse
    with pytest.raises(dataclasses.FrozenInstanceError):
        coarse.epsilon = 1.0
    with pytest.raises(TypeError, match="positional"):
        wos.Walks(16, 0.01)


def test_it_never_changes():
    values, x = np.arange(4.0), X.copy()
    heat = wos.Problem(wos.Polygon(SQUARE), dirichlet=wos.PerVertex(values), source=wos.Gaussians(np.ones(1), x[:1], 0.5))
    before = heat.solve([[0.5, 0.5]], walks=8, rng=1)
    values[:], x[:] = 7, 7
    same(heat.solve([[0.5, 0.5]], walks=8, rng=1), before)
    for name in ("boundary", "dirichlet", "exterior", "new"):
        with pytest.raises(AttributeError, match=f"Problem is immutable; make a new one with another {name}"):
            setattr(heat, name, 1.0)
    with pytest.raises(AttributeError, match="Problem is immutable, and dirichlet a part of it"):
        del heat.dirichlet
    with pytest.raises(TypeError):
        wos.Problem(DISC)
    with pytest.raises(TypeError, match="Problem has no argument 'rhs'; use source"):
        wos.Problem(DISC, dirichlet=1.0, rhs=1.0)
    walls = wos.Problem(wos.Polygon(SQUARE), dirichlet=[1.0, warm], neumann=(np.arange(4) < 2, 1.0))
    assert repr(walls) == "Problem(Polygon(4 segments), dirichlet=[1.0, warm], neumann=((4,), 1.0))"


def test_methods_refuse_in_their_name():
    heat = wos.Problem(DISC, dirichlet=1.0)
    with pytest.raises(ValueError, match="solve: walks is 0"):
        heat.solve(X, walks=0)
    with pytest.raises(TypeError, match="solve has no argument 'n_walks'; use walks"):
        heat.solve(X, n_walks=3)
    with pytest.raises(TypeError, match=r"solve has no argument 'epsilon'; give it to wos.Walks, as in walks=wos.Walks\(64, epsilon"):
        heat.solve(X, epsilon=1e-4)
    with pytest.raises(ValueError, match=r"labels: epsilon is 0\.0"):
        heat.labels(X, wos.Walks(epsilon=0.0))
    with pytest.raises(ValueError, match=r"vjp: grad has shape \(3,\)"):
        heat.vjp(X, np.ones(3), rng=0)
    with pytest.raises(TypeError, match=r"vjp: rng is None.*, expected the int of result.seed"):
        heat.vjp(X, np.ones(2), rng=None)
    with pytest.raises(ValueError, match="solve: points has shape"):
        heat.solve(np.zeros((2, 3)))
