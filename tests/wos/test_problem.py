"""A problem that is stated once: its checks, that it never changes, and that its answers are those of the one-line functions."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import DOMAINS, as_walks, problem
from wos.walk.oracle import same, seed, star

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
DISC, X = wos.Ball([0.0, 0.0], 1.0), np.array([[0.2, 0.1], [0.3, -0.4]])
STATED = ("dirichlet", "source", "screening", "diffusion", "neumann", "robin", "exterior")


def parts(options):
    """Keywords of a problem and of ``wos.solve``."""
    return {k: x for k, x in options.items() if k in STATED}, {k: x for k, x in options.items() if k not in STATED}


@pytest.mark.parametrize("name", DOMAINS)
def test_answers_are_those_of_solve(name, best_backend, rng):
    boundary, points, options = problem(name, rng)
    stated, run = parts({**options, "gradient": True, "walks": 8, "rng": seed(rng)})
    once, again = wos.Problem(boundary, **stated), wos.solve(boundary, points, **stated, **run)
    same(once.solve(points, **as_walks(run)), again)
    same(once.solve(points, **as_walks(run)), again)  # nothing is kept that changes a bit
    if name == "lists":  # have no gradient here
        return
    grad = np.ones_like(again.value)
    for a, b in zip(once.vjp(points, grad, **as_walks(run)), wos.solve_vjp(boundary, points, grad, **stated, **run), strict=True):
        for x, y in zip(a.values() if isinstance(a, dict) else [a], b.values() if isinstance(b, dict) else [b], strict=True):
            for one, other in zip(x, y) if isinstance(x, list) else [(x, y)]:
                np.testing.assert_array_equal(one, other)


def test_other_points():
    heat = wos.Problem(wos.Polygon(star(40)), dirichlet=wos.Fourier(np.ones(5)), neumann=(np.arange(40) < 9, 1.0))
    whole = heat.solve(X, walks=16, rng=1)
    same(heat.solve(X[:1], walks=16, rng=1), wos.solve(heat.boundary, X[:1], heat.dirichlet, neumann=heat.neumann, walks=16, rng=1))
    assert heat.solve(X[0], walks=16, rng=1).value == whole.value[0]
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


def test_short_signatures():
    for function in (wos.Problem, wos.Problem.solve, wos.Problem.vjp, wos.Problem.labels, wos.NeuralOperatorLabels, wos.Result.resume):
        assert len(inspect.signature(function).parameters) <= 12


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


@pytest.mark.parametrize("name", DOMAINS)
def test_pickles_and_copies(name, best_backend, rng):
    boundary, points, options = problem(name, rng)
    stated, run = parts({**options, "walks": 4, "rng": seed(rng)})
    heat = wos.Problem(boundary, **stated)
    expected = heat.solve(points, **as_walks(run))
    for again in (pickle.loads(pickle.dumps(heat)), copy.copy(heat), copy.deepcopy(heat)):
        assert type(again) is wos.Problem
        assert repr(again) == repr(heat)
        same(again.solve(points, **as_walks(run)), expected)


def test_how_it_reads():
    def warm(Y):
        return Y[:, 0]

    for given, text in (
        ({"dirichlet": 1}, "Problem(Ball([0.0, 0.0], 1.0), dirichlet=1)"),
        ({"dirichlet": warm, "source": np.ones(16)}, "dirichlet=test_how_it_reads.<locals>.warm, source=(16,))"),
        ({"dirichlet": [1.0, warm], "screening": 2}, "dirichlet=[1.0, test_how_it_reads.<locals>.warm], screening=2.0)"),
        ({"dirichlet": wos.Gaussians(np.ones((16, 3)), np.ones((3, 2)), 0.5)}, "Gaussians(amplitude (16, 3), center (3, 2), width 0.5)"),
        ({"dirichlet": wos.Polynomial(np.ones((2, 2))), "diffusion": 3.0}, "Polynomial(coefficients (2, 2)), diffusion=3.0)"),
    ):
        assert text in repr(wos.Problem(DISC, **given))
    walls = wos.Problem(wos.Polygon(SQUARE), dirichlet=0.0, neumann=(np.arange(4) < 2, 1.0))
    assert repr(walls) == "Problem(Polygon(4 segments), dirichlet=0.0, neumann=((4,), 1.0))"
    outside = wos.Problem(wos.Ball([0.0] * 3, 1.0), dirichlet=0.0, exterior=True)
    assert repr(outside) == "Problem(Ball([0.0, 0.0, 0.0], 1.0), dirichlet=0.0, exterior=True)"


CROSSED = SQUARE[[0, 2, 1, 3]]
WRONG = {
    "boundary": (dict(boundary=SQUARE), TypeError, "boundary is ndarray, expected .*give Polygon"),
    "none": (dict(dirichlet=None), TypeError, "dirichlet is None, expected boundary values"),
    "text": (dict(dirichlet="g"), TypeError, "dirichlet is str, expected a number"),
    "nan": (dict(dirichlet=np.nan), ValueError, "dirichlet is nan"),
    "nans": (dict(source=np.array([0.0, np.nan])), ValueError, r"source\[1\] is nan"),
    "list": (dict(source=[1.0, None]), TypeError, r"source\[1\] is None"),
    "plane": (dict(boundary=wos.Ball([0.0] * 3, 1.0), dirichlet=wos.Fourier(np.ones(3))), ValueError, "needs two dimensions"),
    "vertices": (dict(dirichlet=wos.PerVertex(np.ones(5))), ValueError, r"polygon 0 has 4 vertices: expected \(4,\)"),
    "inside": (dict(source=wos.PerVertex(np.ones(4))), ValueError, "source is PerVertex data"),
    "axes": (dict(source=wos.Polynomial(np.ones((2, 2, 2, 2)))), ValueError, r"source.coefficients has shape \(2, 2, 2, 2\)"),
    "grid": (dict(source=wos.GridField(np.ones((2, 2, 2)), ([0.0] * 3, [1.0] * 3))), ValueError, "GridField in 3 dimensions"),
    "centre": (dict(source=wos.Gaussians(1.0, [0.0] * 3, 1.0)), ValueError, "source.center has 3 coordinates"),
    "batch": (dict(dirichlet=np.ones(2), source=np.ones(3)), ValueError, "different numbers of instances: dirichlet 2, source 3"),
    "boundaries": (
        dict(boundary=wos.Polygon(np.stack([SQUARE] * 3)), dirichlet=wos.Fourier(np.ones((2, 3)))), ValueError, "the boundary has 3",
    ),
    "parts": (
        dict(dirichlet=wos.Gaussians(np.ones((2, 1)), np.ones((3, 1, 2)), 1.0)), ValueError, r"parameters of \[2, 3\] instances",
    ),
    "screening": (dict(screening=-1.0), ValueError, "screening is -1.0"),
    "diffusion": (dict(diffusion=wos.Fourier(np.ones(3))), ValueError, "diffusion is Fourier data"),
    "both": (dict(diffusion=2.0, neumann=(np.arange(4) < 2, 0.0)), ValueError, "do not go with neumann or robin"),
    "where": (dict(neumann=(np.arange(3) < 2, 0.0)), ValueError, r"neumann's where has shape \(3,\)"),
    "flux": (dict(neumann=(np.arange(4) < 2, wos.PerVertex(np.ones(3)))), ValueError, "neumann.values"),
    "tuple": (dict(neumann=1.0), TypeError, "neumann is float, expected a tuple"),
    "all": (dict(neumann=(np.arange(4) < 4, 0.0)), ValueError, "known only up to a constant"),
    "twice": (dict(neumann=(np.arange(4) < 2, 0.0), robin=(np.arange(4) < 1, 1.0, 0.0)), ValueError, "is in both neumann and robin"),
    "crossed": (dict(boundary=wos.Polygon(CROSSED), neumann=(np.arange(4) < 2, 0.0)), ValueError, "cross"),
    "exterior": (dict(exterior=True), ValueError, "exterior=True with Polygon"),
    "outside": (dict(boundary=wos.Ball([0.0] * 3, 1.0), source=1.0, exterior=True), ValueError, "without a source"),
    "switch": (dict(exterior=1), TypeError, "exterior is 1, expected True or False"),
    "word": (dict(rhs=1.0), TypeError, "has no argument 'rhs'; use source"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_when_it_is_stated(name):
    given, error, text = WRONG[name]
    given = {"boundary": wos.Polygon(SQUARE), "dirichlet": 1.0, **given}
    with pytest.raises(error, match=f"Problem.*?{text}"):
        wos.Problem(given.pop("boundary"), **given)


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
