"""What solve is given: warnings, empty arrays, seeds."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import wos
from wos.walk import oracle

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
X = np.array([[0.5, 0.5], [0.25, 0.75]])


@pytest.fixture(params=["", "array"])
def any_backend(request, backend):
    return request.param or backend


def solve(boundary=None, points=X, dirichlet=1.0, **options):
    return wos.solve(
        wos.Polygon(SQUARE) if boundary is None else boundary,
        points,
        dirichlet=dirichlet,
        walks=options.pop("walks", 2),
        **options,
    )


def test_warnings():
    with pytest.warns(RuntimeWarning, match="1 segments of length 0"):
        twice = wos.Polygon(np.insert(SQUARE, 1, SQUARE[1], axis=0))
    assert (solve(twice, dirichlet=wos.PerVertex(np.full(5, 2.0))).value == 2).all()
    with pytest.warns(RuntimeWarning, match="out of order"):
        wos.Polygon(oracle.star(200)[np.random.default_rng(0).permutation(200)])
    with pytest.warns(RuntimeWarning, match="epsilon is as large as the domain"):
        solve(epsilon=0.6)


EVERY_COUNT = ("value", "stderr", "n_walks", "mean_steps", "n_truncated", "n_escaped")


@pytest.mark.parametrize(
    "options",
    [
        {}, {"source": 1.0}, {"screening": 1.0}, {"rtol": 0.1}, {"progress": lambda walks, left: None}, {"executor": ThreadPoolExecutor(1)},
        {"executor": ThreadPoolExecutor(1), "atol": 0.1}, {"diffusion": lambda Y: 1 + 0.1 * Y[:, 0] ** 2},
        {"neumann": (np.array([True, False, False, True]), 1.0)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("B", "N"), [(None, 0), (2, 0), (0, 3)])
def test_empty_results(B, N, gradient, options, any_backend):
    boundary = wos.Polygon(SQUARE if B is None else np.tile(SQUARE, (B, 1, 1)))
    lead = () if B is None else (B,)
    if "neumann" in options and B is not None:
        options = {"neumann": (np.tile(options["neumann"][0], (B, 1)), 1.0)}
    options = {"gradient": gradient, "backend": any_backend, **options}
    r = solve(boundary, np.zeros((N, 2)), **options)
    for found in (r, r.resume(2)):
        for name in EVERY_COUNT:
            assert getattr(found, name).shape == (*lead, N), name
        for name in ("grad", "grad_stderr"):
            assert (getattr(found, name).shape == (*lead, N, 2)) if gradient else getattr(found, name) is None
    if not {"rtol", "atol", "progress", "executor"} & set(options):
        assert r.merge(solve(boundary, np.zeros((N, 2)), walk_offset=2, rng=r.seed, **options)).value.shape == (*lead, N)
        dx, dg, *_ = wos.solve_vjp(
            boundary, np.zeros((N, 2)), np.zeros((*lead, N)), dirichlet=wos.Fourier(np.ones(3)), walks=2, rng=0, **options
        )
        assert dx.shape == (N, 2)
        np.testing.assert_array_equal(dg["coefficients"], np.zeros(3))


def test_empty_solids(any_backend):
    for boundary in (wos.Ball([0.0] * 3, 1.0), wos.Box([0.0] * 4, [1.0] * 4)):
        d = boundary.dimension
        r = solve(boundary, np.zeros((0, d)), source=1.0, gradient=True, backend=any_backend)
        assert r.grad.shape == r.grad_stderr.shape == (0, d)
    walks, polygon = wos.Walks(10, gradient=True), wos.Polygon(SQUARE)
    labels = wos.NeuralOperatorLabels(polygon, 1.0, None, points=np.zeros((0, 2)), walks=walks, backend=any_backend)
    assert labels.epoch().grad.shape == labels.epoch().grad.shape == (0, 2)
    if any_backend != "array":  # in which there are no caches
        assert solve(wos.Polygon(SQUARE), np.zeros((0, 2)), cache="harmonic", backend=any_backend).value.shape == (0,)


def test_generator_and_seed(backend):
    r = solve(rng=np.random.default_rng(3), dirichlet=oracle.harmonic)
    again = solve(rng=np.random.default_rng(3), dirichlet=oracle.harmonic)
    same = solve(rng=r.seed, dirichlet=oracle.harmonic)
    assert r.seed == again.seed
    np.testing.assert_array_equal(r.value, same.value)
    assert solve(rng=None).seed != solve(rng=None).seed
