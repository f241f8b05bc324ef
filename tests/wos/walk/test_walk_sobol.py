"""Walks whose first steps are points of the Sobol' sequence. Their words are tested by the cases of the ops, their bits in every domain."""

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil import wos
from wos.domains import SQUARE, needs_native
from wos.ops import walk
from wos.walk import oracle
from wos.walk.oracle import disc_points, harmonic, same

BALL = wos.Ball([0.0, 0.0, 0.0], 1.0)
DISC = wos.Ball([0.0, 0.0], 1.0)


def bowl(d):
    """Solves -Δu = 1 in the unit ball, with u = x there on the boundary."""
    return lambda X: (1 - (X**2).sum(axis=-1)) / (2 * d) + X[..., 0]


def mean_square(u, boundary, X, seeds, **options):
    """The mean square of errors and of standard errors, and z-scores (points, channels) of the mean over the seeds."""
    results = [wos.solve(boundary, X, rng=seed, **options) for seed in range(seeds)]
    value = np.array([r.value - u(X) for r in results])
    if results[0].grad is not None:
        value = np.concatenate([value[..., None], np.array([r.grad for r in results]) - oracle.slope(u, X)], axis=-1)
    z = value.mean(axis=0) / (value.std(axis=0, ddof=1) / np.sqrt(seeds))
    return (value**2).mean(), np.mean([r.stderr**2 for r in results]), z


PROBLEMS = {
    "harmonic": (wos.Polygon(SQUARE), harmonic, {"dirichlet": harmonic}),
    "source": (DISC, bowl(2), {"dirichlet": wos.Fourier([0.0, 1.0, 0.0]), "source": 1.0}),
    "space": (BALL, harmonic, {"dirichlet": harmonic}),
    "source in space": (BALL, bowl(3), {"dirichlet": wos.Polynomial(np.array([[[0.0]], [[1.0]]])), "source": 1.0}),
}


@needs_native
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", PROBLEMS)
def test_no_bias(name, pairs, rng):
    """Means over many seeds agree with closed forms, for numbers of walks that are not powers of two and do not start with walk 0."""
    boundary, u, data = PROBLEMS[name]
    d = boundary.dimension
    X = 0.5 + 0.4 * rng.uniform(-1, 1, (20, 2)) if boundary.dimension == 2 and name == "harmonic" else disc_points(rng, 20, 0.8, d)
    options = {"walks": 6, "walk_offset": 10, "epsilon": 1e-5, "gradient": pairs, "sampling": "sobol"}
    z = mean_square(u, boundary, X, 600, **data, **options)[2]
    assert abs(z).max() < 6
    assert 0.5 < (z**2).mean() < 2


LESS = {8: 1.1, 16: 1.2, 64: 1.6}  # factors by which the mean square error is at least smaller


@needs_native
@pytest.mark.parametrize("walks", LESS)
@pytest.mark.parametrize("name", ["harmonic", "space"])
def test_smaller_errors(name, walks, rng):
    """Errors are smaller than those of independent walks, whose stderr is reported."""
    boundary, u, data = PROBLEMS[name]
    X = rng.uniform(0.1, 0.9, (2000, 2)) if name == "harmonic" else disc_points(rng, 2000, 0.8, 3)
    (random, _, _), (sobol, reported, _) = (
        mean_square(u, boundary, X, 3, **data, walks=walks, epsilon=1e-5, sampling=sampling) for sampling in ("random", "sobol")
    )
    assert random > LESS[walks] * sobol
    assert 0.9 < reported / random < 1.15


def test_operators_record_the_same_walks(best_backend, rng):
    X, g, f = disc_points(rng, 9, 0.9, 2), wos.Fourier(rng.standard_normal(5)), wos.Gaussians(np.ones(2), rng.random((2, 2)), 0.5)
    problem, walks = wos.Problem(DISC, dirichlet=g, source=f), wos.Walks(11, walk_offset=3, sampling="sobol")
    recorded, solved = problem.operator(X, walks, rng=5).solve(g, f), problem.solve(X, walks, rng=5)
    np.testing.assert_allclose(recorded.value, solved.value, rtol=1e-4)
    assert abs(solved.value - problem.solve(X, wos.Walks(11, walk_offset=3), rng=5).value).min() > 0


def test_labels(best_backend, rng):
    labels = wos.NeuralOperatorLabels(DISC, 1.0, 1.0, points=disc_points(rng, 9, 0.9, 2), walks=wos.Walks(6, sampling="sobol"), rng=3)
    for _ in range(3):
        epoch = labels.epoch()
    same(epoch, wos.solve(DISC, epoch.run.points, 1.0, source=1.0, walks=18, rng=3, sampling="sobol"))


def test_rejected():
    X, run = np.full((1, 2), 0.5), {"dirichlet": 1.0, "sampling": "sobol"}
    square, jump = wos.Polygon(SQUARE), wos.Regions(1.0, [(wos.Polygon(0.4 + 0.2 * SQUARE), 2.0)])

    def solve(boundary=square, points=X, **options):
        return wos.solve(boundary, points, **{**run, **options})

    with_what = "solve: sampling='sobol' is not available yet with {}; omit sampling"
    other = solve(rng=1, sampling="random")
    check_rejected([
        (lambda: solve(sampling="halton"), ValueError, "solve: sampling is 'halton', expected one of 'random', 'sobol'"),
        (lambda: wos.solve(square, X, 1.0, qmc=True), TypeError, "use sampling='sobol'"),
        (lambda: solve(neumann=(lambda X: X[:, 0] == 0, 1.0)), NotImplementedError, with_what.format("neumann or robin")),
        (lambda: solve(diffusion=lambda X: 1 + X[:, 0]), NotImplementedError, with_what.format("a diffusion, or a screening.*")),
        (lambda: solve(diffusion=jump), NotImplementedError, with_what.format("a diffusion of Regions")),
        (lambda: solve(cache="harmonic"), NotImplementedError, with_what.format("cache")),
        (lambda: solve(wos.Ball([0] * 4, 1.0), [[0.1] * 4]), NotImplementedError, with_what.format("more than three dimensions")),
        (lambda: other.merge(solve(rng=1, walk_offset=64)), ValueError, "different problems, which differ in sampling"),
        (
            lambda: walk(np.zeros((1, 1, 4)), np.array([[0.0, 0, 0, 0, 1, 0.1]]), dirichlet=np.ones((1, 1)), sobol=True),
            ValueError, "wos.walk: sobol is not supported in 4 dimensions",
        ),
    ])  # fmt: skip
