"""Labels epoch by epoch: the bits of one solve, through a pickle too; the star, whose vertices lie on its curve."""

import functools
import pickle

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import as_walks
from wos.labels import oracle
from wos.walk.oracle import same


def instances(rng, B, N, dtype=np.float32):
    c = rng.uniform(-0.2, 0.2, (2, B))
    X = np.stack([oracle.points(rng, N, *c[:, b]) for b in range(B)])
    X[:, : N // 4] *= 2  # some lie outside
    g = wos.Fourier(rng.normal(size=(B, 5)).astype(dtype))
    f = wos.Gaussians(rng.normal(size=(B, 2)).astype(dtype), rng.normal(size=(B, 2, 2)).astype(dtype), 1.0)
    return wos.Star(*c, segments=96), g, f, X.astype(dtype)


@pytest.mark.filterwarnings("ignore:solve. .* points? lies? outside")
@pytest.mark.parametrize("walks", [1, 10, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_epochs_are_one_solve(backend, rng, walks, dtype):
    star, g, f, X = instances(rng, 3, 9, dtype)
    options = {"gradient": walks == 10, "epsilon": 2e-3, "max_steps": 20, "screening": 0.5, "backend": backend}
    labels = wos.NeuralOperatorLabels(star, g, f, points=X, **as_walks({"walks": walks, "rng": 11, **options}))
    assert labels.result is None
    for epoch in range(1, 6):
        labels = pickle.loads(pickle.dumps(labels))
        found = labels.epoch()
        assert found is labels.result
        assert labels.epochs == epoch
        same(found, wos.solve(star, X, dirichlet=g, source=f, walks=epoch * walks, rng=11, **options))
    assert f"{labels}" == f"NeuralOperatorLabels(5 epochs of {walks} walks)"


def test_seeds(rng):
    make = functools.partial(wos.NeuralOperatorLabels, wos.Ball([0.0, 0.0], 1.0), lambda X: X[:, 0], None, points=np.full((1, 2), 0.1))
    assert make().seed != make().seed
    generator, again = np.random.default_rng(3), np.random.default_rng(3)
    a, b = make(rng=generator), make(rng=generator)
    assert a.seed != b.seed
    same(wos.solve(wos.Ball([0.0, 0.0], 1.0), np.full((1, 2), 0.1), dirichlet=lambda X: X[:, 0], walks=10, rng=again), a.epoch())


def test_progress():
    seen = []
    labels = wos.NeuralOperatorLabels(wos.Ball([0, 0], 1), 1.0, points=[[0.1, 0.2]], rng=0, progress=lambda *told: seen.append(told))
    labels.epoch()
    assert seen[-1] == (10, 0.0)
    labels.epoch()
    assert seen[-1] == (10, 0.0)
    assert pickle.loads(pickle.dumps(labels)).epoch().n_walks.tolist() == [30]
    with pytest.raises(ValueError, match="NeuralOperatorLabels: epsilon is 0"):
        wos.NeuralOperatorLabels(wos.Ball([0, 0], 1), 1.0, points=[[0, 0]], walks=wos.Walks(epsilon=0.0))
    with pytest.raises(TypeError, match="NeuralOperatorLabels: progress is 3, expected True or a callable"):
        wos.NeuralOperatorLabels(wos.Ball([0, 0], 1), 1.0, points=[[0, 0]], progress=3)


def test_a_failed_epoch_does_not_count():
    labels = wos.NeuralOperatorLabels(wos.Star(0.0, 0.0), lambda X: X, None, points=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="dirichlet"):
        labels.epoch()
    assert labels.epochs == 0
    assert labels.result is None


def test_vertices_are_on_the_curve(rng):
    c1, c2 = rng.uniform(-0.3, 0.3, 2)
    star = wos.Star(c1, c2, segments=77)
    theta = 2 * np.pi * np.arange(77) / 77
    np.testing.assert_allclose(np.hypot(*star.vertices.T), oracle.radius(theta, c1, c2), rtol=1e-14)
    np.testing.assert_allclose(np.arctan2(*star.vertices.T[::-1]) % (2 * np.pi), theta, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_is_its_instances(backend, rng, dtype):
    c1, c2 = rng.uniform(-0.2, 0.2, (2, 3)).astype(dtype)
    stars = wos.Star(c1, c2, segments=64)
    X = oracle.points(rng, 11, 0.2, -0.1, within=0.5).astype(dtype)
    both = wos.solve(stars, X, dirichlet=oracle.solution, source=1.0, walks=8, rng=5)
    assert both.value.shape == (3, 11)
    assert stars._batch == 3
    assert both.value.dtype == dtype
    one = wos.solve(wos.Star(float(c1[0]), float(c2[0]), segments=64), X, dirichlet=oracle.solution, source=1.0, walks=8, rng=5)
    np.testing.assert_array_equal(both.value[0], one.value)  # a walk's random words depend on the instance
    mixed = wos.Star(c1, 0.1, segments=64).vertices
    np.testing.assert_allclose(mixed, wos.Star(c1, np.full(3, 0.1, dtype), segments=64).vertices, rtol=np.finfo(dtype).eps)
    assert wos.Star(0.1, c2, segments=64)._batch == 3


def test_the_least_radius(rng):
    """What is refused is what has a radius of 0 or less somewhere."""
    theta = np.linspace(0, np.pi / 4, 20_001)
    refused = 0
    for c1, c2 in rng.uniform(-1.5, 1.5, (300, 2)):
        least = oracle.radius(theta, c1, c2).min()
        if abs(least) < 1e-6:
            continue
        if least < 0:
            refused += 1
            with pytest.raises(ValueError, match=r"Star: the least radius is -\S+ for c1"):
                wos.Star(c1, c2, segments=16)
        else:
            wos.Star(c1, c2, segments=64)
    assert refused > 50
