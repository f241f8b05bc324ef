"""Inputs and messages of solve: warnings, empty arrays, seeds, error bars from too few walks, memory."""

import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from quatrefoil.wos.models import harmonic
from wos.domains import SQUARE, every_backend
from wos.walk import oracle
from wos.walk.oracle import numbers, same

X = np.array([[0.5, 0.5], [0.25, 0.75]])


def solve(boundary=None, points=X, dirichlet=1.0, **options):
    return wos.solve(boundary or wos.Polygon(SQUARE), points, dirichlet=dirichlet, **{"walks": 2, **options})


def test_warnings():
    with pytest.warns(RuntimeWarning, match="1 segments of length 0"):
        twice = wos.Polygon(np.insert(SQUARE, 1, SQUARE[1], axis=0))
    assert (solve(twice, dirichlet=wos.PerVertex(np.full(5, 2.0))).value == 2).all()
    with pytest.warns(RuntimeWarning, match="out of order"):
        wos.Polygon(oracle.star(200)[np.random.default_rng(0).permutation(200)])
    with pytest.warns(RuntimeWarning, match="epsilon is as large as the domain"):
        solve(epsilon=0.6)


@every_backend
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
def test_empty_results(B, N, gradient, options, backend):
    boundary = wos.Polygon(SQUARE if B is None else np.tile(SQUARE, (B, 1, 1)))
    lead = () if B is None else (B,)
    if "neumann" in options and B is not None:
        options = {"neumann": (np.tile(options["neumann"][0], (B, 1)), 1.0)}
    options = {"gradient": gradient, **options}
    r = solve(boundary, np.zeros((N, 2)), **options)
    for result in (r, r.resume(2)):
        for name, x in numbers(result).items():
            of_grad = name.startswith("grad")
            assert x is None if of_grad and not gradient else x.shape == (*lead, N, 2) if of_grad else x.shape == (*lead, N), name
    if not {"rtol", "atol", "progress", "executor"} & set(options):
        assert r.merge(solve(boundary, np.zeros((N, 2)), walk_offset=2, rng=r.seed, **options)).value.shape == (*lead, N)
        dx, dg, *_ = wos.solve_vjp(
            boundary, np.zeros((N, 2)), np.zeros((*lead, N)), dirichlet=wos.Fourier(np.ones(3)), walks=2, rng=0, **options
        )
        assert dx.shape == (N, 2)
        np.testing.assert_array_equal(dg["coefficients"], np.zeros(3))


@every_backend
def test_empty_solids_labels_and_caches(backend):
    for boundary in (wos.Ball([0.0] * 3, 1.0), wos.Box([0.0] * 4, [1.0] * 4)):
        r = solve(boundary, np.zeros((0, boundary.dimension)), source=1.0, gradient=True)
        assert r.grad.shape == r.grad_stderr.shape == (0, boundary.dimension)
    walks = wos.Walks(10, gradient=True)
    labels = wos.NeuralOperatorLabels(wos.Polygon(SQUARE), 1.0, None, points=np.zeros((0, 2)), walks=walks)
    assert labels.epoch().grad.shape == labels.epoch().grad.shape == (0, 2)
    if backend != "array":  # the array backend has no cache
        assert solve(points=np.zeros((0, 2)), cache="harmonic").value.shape == (0,)


def test_largest_number_of_walks_with_a_cache(monkeypatch):
    """A sample uses pairs of walks. The last walk's index must stay below those of the pilot walks, whose means are subtracted from u."""
    monkeypatch.setattr(harmonic, "_PILOT_WALK", 2**12)
    with pytest.raises(ValueError, match="at most") as error:
        solve(walks=2**12, cache="harmonic")
    limit = int(re.search(r"expected at most (\d+)", str(error.value))[1])
    assert (solve(walks=limit, cache="harmonic").n_walks == limit).all()
    with pytest.raises(ValueError, match=f"{limit + 1} walks per point were requested, expected at most {limit} with a cache"):
        solve(walks=limit + 1, cache="harmonic")


def test_generator_and_seed(backend):
    r, again = (solve(rng=np.random.default_rng(3), dirichlet=oracle.harmonic) for _ in range(2))
    assert r.seed == again.seed
    same(r, solve(rng=r.seed, dirichlet=oracle.harmonic))
    assert solve(rng=None).seed != solve(rng=None).seed


FEW = "the stderr of {} of {} points cannot be trusted: fewer than 5 of their walks determine the value"


def warnings_of(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught]


def test_warning_if_few_walks_contribute(backend):
    """Few walks contribute with strong screening, or if data are 0 on most of the boundary. A value of 0 +- 0 must cause a warning."""
    ball, X, strong = wos.Ball((0.0, 0.0), 1.0), np.array([[0.0, 0.0], [0.9, 0.0]]), {"screening": 300.0, "rng": 0}
    for g in (1.0, -2.0, np.array([3.0]), wos.Fourier(np.array([2.0, 1.0, 0.5])), wos.Gaussians(np.ones(1), np.zeros((1, 2)), 1.0)):
        (text,) = warnings_of(lambda: wos.solve(ball, X, dirichlet=g, walks=1024, **strong))  # noqa: B023
        assert FEW.format(1, 2) in text
    result = wos.solve(ball, X, dirichlet=1.0, walks=64, **strong)  # too few walks for a warning
    (text,) = warnings_of(lambda: result.resume(1000))
    assert FEW.format(1, 2) in text
    disc, data = wos.Polygon(oracle.circle(400)), wos.PerVertex(np.eye(400)[0])
    (text,) = warnings_of(lambda: wos.solve(disc, np.zeros((1, 2)), dirichlet=data, walks=300, rng=0))
    assert FEW.format(1, 1) in text


OUTER = oracle.circle(256)
RING = wos.Polygon(OUTER, holes=[OUTER / 2])


@pytest.mark.parametrize("gradient", [False, True])
def test_walks_that_all_end_at_one_value(gradient, backend):
    """Next to a wall at 20, few walks reach the other wall, at 100. If none does, stderr is (26) instead of 0, and covers the error."""
    depth = np.repeat(np.geomspace(4e-3, 0.02, 6), 8)
    X = (1 - depth)[:, None] * OUTER[:: len(OUTER) // 48][:48]
    data = [20, 100]
    r = wos.solve(RING, X, dirichlet_per_ring=data, walks=64, rng=2, gradient=gradient, backend=backend)
    exact = 20 + 80 * np.log(np.hypot(*X.T)) / np.log(0.5)
    samples, equal = 32 if gradient else 64, r.value == 20
    assert equal.sum() > 10
    np.testing.assert_allclose(r.stderr[equal], 80 * np.sqrt(2 / ((samples + 2) * (samples + 3))), rtol=1e-6)
    z = (r.value - exact)[equal] / r.stderr[equal]
    assert np.sqrt((z**2).mean()) < 1
    assert np.abs(z).max() < 2
    if gradient:
        slope = 80 / np.log(0.5) * X / (X**2).sum(axis=1, keepdims=True)
        assert (r.grad[equal] == 0).all()
        assert (np.abs(slope)[equal] < 3 * r.grad_stderr[equal]).all()
    assert (wos.solve(RING, X[:1], dirichlet_per_ring=data, walks=1, rng=2, backend=backend).stderr != 0).all()


@every_backend
def test_errors_of_equal_walks_by_kinds_of_data(backend):
    """(26) uses the range of boundary values, sources and fluxes, including functions, in any unit. Constant data have no error."""
    X, rare, run = np.array([[0.995, 0.0]]), np.sqrt(2 / (34 * 35)), {"walks": 32, "rng": 0}
    hot = np.repeat([20.0, 100.0], len(OUTER))

    def jump(Y):
        return np.where(np.hypot(*Y.T) < 0.75, 100.0, 20.0)

    for g in (wos.PerVertex(hot), jump, wos.PerVertex(np.stack([hot, hot])), [jump, jump]):
        r = wos.solve(RING, X[None], dirichlet=g, **run)
        np.testing.assert_allclose(r.stderr[r.value == 20], 80 * rare, rtol=1e-6)
        assert r.value[0, 0] == 20
    r = wos.solve(RING, X, dirichlet=wos.PerVertex(1e40 * hot), **run)
    np.testing.assert_allclose(r.stderr, 80e40 * rare, rtol=1e-6)
    ball = wos.Ball([0.0, 0.0], 1.0)
    for g in (wos.PerVertex(20 + 0 * hot), 20.0, lambda Y: 0 * Y[:, 0] + 20):
        assert wos.solve(RING, X, dirichlet=g, **run).stderr == 0
    assert wos.solve(ball, X, dirichlet=0.0, source=0.0, **run).stderr == 0
    r = wos.solve(ball, X, dirichlet=0.0, source=lambda Y: np.where(Y[:, 0] < -0.5, 8.0, 0.0), **run)
    np.testing.assert_allclose(r.stderr, 8 * 8 / 16 * rare, rtol=1e-6)
    square, near = wos.Polygon(SQUARE), np.array([[0.5, 0.004]])
    flux = wos.solve(square, near, dirichlet=0.0, neumann=(np.arange(4) == 2, lambda Y: 3.0 + 0 * Y[:, 0]), **run)
    np.testing.assert_allclose(flux.stderr, 3 * np.sqrt(2) * rare, rtol=1e-6)


def test_ordinary_results_cause_no_warning(backend):
    """Warnings are errors here. Ordinary results cause none, nor does one point among many with u close to 0."""
    square, X, run = wos.Polygon(SQUARE), np.array([[0.5, 0.5], [0.2, 0.3]]), {"walks": 256, "rng": 0}
    for g in (0.0, 1.0, wos.Fourier(np.array([0.0, 1.0, 0.0])), wos.PerVertex(np.array([0.0, 1.0, 0.0, 0.0])), lambda Y: Y[:, 0] - 0.5):
        wos.solve(square, X, dirichlet=g, **run)
    both = wos.solve(square, X, dirichlet=np.array([0.0, 1.0]), **run)  # if all data are 0, the error is 0
    np.testing.assert_array_equal(both.value, [[0, 0], [1, 1]])
    ball, many = wos.Ball((0.0, 0.0), 1.0), np.concatenate([np.zeros((1, 2)), np.tile([[0.9, 0.0]], (30, 1))])
    for X, data in ((many, {"dirichlet": 1.0}), (many[:1], {"dirichlet": 0.0, "source": 1.0})):
        wos.solve(ball, X, screening=300.0, **data, **run)


SETUP = """
import numpy as np
import quatrefoil as qf
X = np.random.default_rng(0).uniform(-0.6, 0.6, (64, 2))
square = qf.wos.Polygon(np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]))
field = qf.wos.GridField(np.ones((512, 512)), ((-1, -1), (1, 1)))
g, f = qf.wos.PerVertex(np.arange(4.0)), qf.wos.Gaussians(np.ones(3), np.zeros((3, 2)), np.ones(3))
run, of_field = dict(dirichlet=g, source=f, rng=1, backend="native"), dict(dirichlet=field, rng=1, backend="native")
qf.wos.solve(square, X, walks=2, **run)
qf.wos.solve_vjp(square, X, np.ones(64), walks=2, **run)
qf.wos.solve_vjp(square, X, np.ones(64), walks=2, **of_field)
"""


@pytest.mark.slow
@pytest.mark.skipif(native.reason() is not None, reason="the Numba backend stores the values of a whole round and has a single partial sum")
def test_memory(peak_memory):
    """The values of 4 million walks would take 48 MB; a round takes 12 MB. Gradients of 2 MB use 8 partial sums, not 64."""
    assert peak_memory(SETUP, "qf.wos.solve(square, X, walks=1 << 16, **run)") < 20 << 20
    assert peak_memory(SETUP, "qf.wos.solve_vjp(square, X, np.ones(64), walks=1 << 14, **run)") < 4 << 20
    assert peak_memory(SETUP, "qf.wos.solve_vjp(square, X, np.ones(64), walks=1 << 12, **of_field)") < 30 << 20
