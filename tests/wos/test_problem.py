"""A Problem is immutable and agrees with the one-call functions; labels by epoch; the star."""

import dataclasses
import functools
import inspect
import pickle

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil import wos
from wos.domains import SQUARE
from wos.walk.oracle import same, star

DISC, X = wos.Ball([0.0, 0.0], 1.0), np.array([[0.2, 0.1], [0.3, -0.4]])


def warm(Y):
    return Y[:, 0]


def test_other_points():
    heat = wos.Problem(wos.Polygon(star(40)), dirichlet=wos.Fourier(np.ones(5)), neumann=(np.arange(40) < 9, 1.0))
    whole = heat.solve(X, walks=16, rng=1)
    same(heat.solve(X[:1], walks=16, rng=1), wos.solve(heat.boundary, X[:1], heat.dirichlet, neumann=heat.neumann, walks=16, rng=1))
    assert heat.solve(X[0], walks=16, rng=1).value == whole.value[0]
    same(heat.solve(X, walks=16, rng=1), whole)  # caches change no bit
    assert wos.Problem(DISC, dirichlet=1.0).solve(X.astype(np.float32), rng=1).value.dtype == np.float32
    assert (heat.solve(X, atol=0.1, rng=1).stderr <= 0.1).all()


def test_walks():
    """A number of walks is short for ``Walks``. Its fields are keywords of ``solve``, with the same defaults."""
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


def test_problems_are_immutable():
    values, x = np.arange(4.0), X.copy()
    heat = wos.Problem(wos.Polygon(SQUARE), dirichlet=wos.PerVertex(values), source=wos.Gaussians(np.ones(1), x[:1], 0.5))
    before = heat.solve([[0.5, 0.5]], walks=8, rng=1)
    values[:], x[:] = 7, 7
    same(heat.solve([[0.5, 0.5]], walks=8, rng=1), before)
    for name in ("boundary", "dirichlet", "exterior", "new"):
        with pytest.raises(AttributeError, match=f"Problem is immutable; create a new one with a different {name}"):
            setattr(heat, name, 1.0)
    with pytest.raises(AttributeError, match="Problem is immutable; dirichlet cannot be deleted"):
        del heat.dirichlet
    with pytest.raises(TypeError):
        wos.Problem(DISC)
    with pytest.raises(TypeError, match="Problem has no argument 'rhs'; use source"):
        wos.Problem(DISC, dirichlet=1.0, rhs=1.0)
    walls = wos.Problem(wos.Polygon(SQUARE), dirichlet=[1.0, warm], neumann=(np.arange(4) < 2, 1.0))
    assert repr(walls) == "Problem(Polygon(4 segments), dirichlet=[1.0, warm], neumann=((4,), 1.0))"


def test_errors_name_the_method():
    heat = wos.Problem(DISC, dirichlet=1.0)
    check_rejected([
        (lambda: heat.solve(X, walks=0), ValueError, "solve: walks is 0"),
        (lambda: heat.solve(X, n_walks=3), TypeError, "solve has no argument 'n_walks'; use walks"),
        (lambda: heat.solve(X, epsilon=1e-4), TypeError, r"no argument 'epsilon'; pass it to wos.Walks, as in walks=wos.Walks\(64"),
        (lambda: heat.solve(np.zeros((2, 3))), ValueError, "solve: points has shape"),
        (lambda: heat.labels(X, wos.Walks(epsilon=0.0)), ValueError, r"labels: epsilon is 0\.0"),
        (lambda: heat.labels(X, wos.Walks(3, gradient=True)), ValueError, "labels: walks is 3, expected an even number"),
        (lambda: heat.vjp(X, np.ones(3), rng=0), ValueError, r"vjp: grad has shape \(3,\)"),
        (lambda: heat.vjp(X, np.ones(2), rng=None), TypeError, r"vjp: rng is None.*, expected the int of result.seed"),
    ])  # fmt: skip


def radius(theta, c1, c2):
    return 1 + c1 * np.cos(4 * theta) + c2 * np.cos(8 * theta)


@pytest.mark.filterwarnings("ignore:solve. .* points? lies? outside")
@pytest.mark.parametrize("walks", [1, 10, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_epochs_are_one_solve(backend, rng, walks, dtype):
    star, X = wos.Star(*rng.uniform(-0.2, 0.2, (2, 3)), segments=96), rng.uniform(-1, 1, (3, 9, 2)).astype(dtype)  # some outside
    g, a, c = (rng.normal(size=(3, *shape)).astype(dtype) for shape in ((5,), (2,), (2, 2)))
    g, f = wos.Fourier(g), wos.Gaussians(a, c, 1.0)
    options, problem = {"gradient": walks == 10, "epsilon": 2e-3, "max_steps": 20}, {"screening": 0.5, "backend": backend}
    labels = wos.NeuralOperatorLabels(star, g, f, points=X, walks=wos.Walks(walks, **options), rng=11, **problem)
    assert labels.result is None
    for epoch in range(1, 6):
        labels = pickle.loads(pickle.dumps(labels))
        result = labels.epoch()
        assert result is labels.result
        assert labels.epochs == epoch
        same(result, wos.solve(star, X, dirichlet=g, source=f, walks=epoch * walks, rng=11, **options, **problem))
    assert f"{labels}" == f"NeuralOperatorLabels(5 epochs of {walks} walks)"


def test_progress():
    seen, where = [], dict(points=[[0.1, 0.2]], rng=0)
    labels = wos.NeuralOperatorLabels(wos.Ball([0, 0], 1), 1.0, progress=lambda *report: seen.append(report), **where)
    for _ in range(2):
        labels.epoch()
        assert seen.pop() == (10, 0.0)
    assert pickle.loads(pickle.dumps(labels)).epoch().n_walks.tolist() == [30]
    with pytest.raises(ValueError, match="NeuralOperatorLabels: epsilon is 0"):
        wos.NeuralOperatorLabels(wos.Ball([0, 0], 1), 1.0, walks=wos.Walks(epsilon=0.0), **where)
    with pytest.raises(TypeError, match="NeuralOperatorLabels: progress is 3, expected True or a callable"):
        wos.NeuralOperatorLabels(wos.Ball([0, 0], 1), 1.0, progress=3, **where)


def test_seeds_and_epochs_that_fail():
    make = functools.partial(wos.NeuralOperatorLabels, DISC, warm, None, points=X)
    assert make().seed != make().seed
    generator, again = np.random.default_rng(3), np.random.default_rng(3)
    a, b = make(rng=generator), make(rng=generator)
    assert a.seed != b.seed
    same(wos.solve(DISC, X, dirichlet=warm, walks=10, rng=again), a.epoch())
    labels = wos.NeuralOperatorLabels(DISC, lambda Y: Y, None, points=X)
    with pytest.raises(ValueError, match="dirichlet"):
        labels.epoch()
    assert labels.epochs == 0
    assert labels.result is None


@pytest.mark.parametrize("c2", [0.1, np.array([0.1, -0.2, 0.0])])
def test_vertices_are_on_the_curve(c2, rng):
    c1 = rng.uniform(-0.3, 0.3, 3)
    star, theta = wos.Star(c1, c2, segments=77), 2 * np.pi * np.arange(77) / 77
    x, y = np.moveaxis(star.vertices, -1, 0)
    np.testing.assert_allclose(np.hypot(x, y), [radius(theta, *c) for c in zip(c1, c2 + np.zeros(3))], rtol=1e-14)
    np.testing.assert_allclose(np.arctan2(y, x) % (2 * np.pi), theta + np.zeros((3, 1)), atol=1e-14)


def test_the_least_radius(rng):
    """Stars with a radius of 0 or less somewhere raise an error; others do not."""
    theta = np.linspace(0, np.pi / 4, 20_001)
    rejected = 0
    for c1, c2 in rng.uniform(-1.5, 1.5, (300, 2)):
        smallest = radius(theta, c1, c2).min()
        if abs(smallest) < 1e-6:
            continue
        if smallest < 0:
            rejected += 1
            with pytest.raises(ValueError, match=r"Star: the smallest radius is -\S+ for c1"):
                wos.Star(c1, c2, segments=16)
        else:
            wos.Star(c1, c2, segments=64)
    assert rejected > 50


@pytest.mark.torch
def test_labels_as_a_data_set():
    """A pass is an epoch. The labels after all passes equal those of a single solve."""
    torch = pytest.importorskip("torch")
    g = wos.Fourier(np.random.default_rng(0).standard_normal((5, 3)))
    labels = wos.NeuralOperatorLabels(DISC, g, points=X, walks=wos.Walks(8, shared_walks=True), rng=3)
    data = labels.dataset(g.coefficients, np.arange(5), shuffle=True)
    assert len(data) == 5
    assert labels.epochs == 0
    for _ in range(3):
        batches = list(torch.utils.data.DataLoader(data, batch_size=2))
        assert [len(b[0]) for b in batches] == [2, 2, 1]
        coefficients, number, value, stderr = (torch.cat(column) for column in zip(*batches))
        assert sorted(number.tolist()) == [0, 1, 2, 3, 4]
        np.testing.assert_array_equal(coefficients, g.coefficients[number])
    once = wos.solve(DISC, X, g, walks=24, shared_walks=True, rng=3)
    np.testing.assert_array_equal(value, once.value[number])
    np.testing.assert_array_equal(stderr, once.stderr[number])
    points = wos.NeuralOperatorLabels(DISC, 1.0, points=torch.tensor(X), walks=2, rng=3)
    assert [tuple(x.shape) for x in next(iter(points.dataset(X)))] == [(2,), (), ()]
    assert len(points.dataset()) == 2
    with pytest.raises(ValueError, match=r"inputs\[0\] has shape \(2, 2\), expected \(5, ...\)"):
        labels.dataset(X)
    with pytest.raises(RuntimeError, match="pass num_workers=0"):
        list(torch.utils.data.DataLoader(data, num_workers=1))
