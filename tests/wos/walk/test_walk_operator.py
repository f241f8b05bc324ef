"""Operators: u as a linear map of data that become available later, from the walks of ``solve``."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil import wos
from wos.domains import SQUARE, cfunc, every_backend, fourier, u
from wos.walk import oracle
from wos.walk import test_shared_walks as shared
from wos.walk.oracle import harmonic, star_points

STAR = wos.Polygon(oracle.star(60))
BOX = [-1.5, -1.5], [1.5, 1.5]

ALONE = shared.SCENES | {"list": lambda rng: (STAR, star_points(rng, 5), [1.0, harmonic, fourier(rng)], harmonic, {})}
SCENES = ALONE | shared.WALLS | shared.MEDIA


def scene(name, rng):
    """Boundary, points, boundary values, sources, options of the problem, and options of walks."""
    *data, options = SCENES[name](rng)
    of_problem = {key: options[key] for key in ("screening", "exterior", "diffusion", "neumann", "robin") if key in options}
    return *data, of_problem, {key: options[key] for key in ("epsilon", "max_steps") if key in options}


def fluxes(options):
    return {kind: options[kind][-1] for kind in ("neumann", "robin") if kind in options}


def check_scene(name, rng):
    boundary, X, g, f, more, how = scene(name, rng)
    X = np.concatenate([X, np.full((1, X.shape[1]), 0.0 if "exterior" in more else 9.0)])  # the last point is outside
    run = wos.Walks(12, **how, walk_offset=3)
    with pytest.warns(RuntimeWarning, match="points? lies?"):
        matrices = wos.Problem(boundary, dirichlet=0.0, source=None if f is None else 0.0, **more).operator(X, run, rng=5)
    with pytest.warns(RuntimeWarning, match="points? lies?"):
        truth = wos.Problem(boundary, dirichlet=g, source=f, **more).solve(X, replace(run, shared_walks=True), rng=5)
    u = matrices.solve(g, f, **fluxes(more))
    size = np.nanmax(np.abs(truth.value)) + np.nanmax(truth.stderr)
    assert u.value.shape == truth.value.shape
    np.testing.assert_allclose(u.value, truth.value, rtol=0, atol=1e-4 * size)
    np.testing.assert_allclose(u.stderr, truth.stderr, rtol=0, atol=1e-4 * size)
    np.testing.assert_array_equal(matrices.n_truncated, np.broadcast_to(truth.n_truncated, u.value.shape).reshape(-1, len(X))[0])
    assert matrices.outside.tolist() == [False] * (len(X) - 1) + [True]


@every_backend
@pytest.mark.parametrize("name", ["fourier and bells", "screened", "walls", "no end", "medium", "medium with walls"])
def test_the_values_of_solve_in_each_backend(name, backend, rng):
    check_scene(name, rng)


@pytest.mark.parametrize("name", [name for name in SCENES if name != "far functions"])  # errors are relative to the largest
def test_the_values_of_solve(name, best_backend, rng):
    check_scene(name, rng)


def test_constants_are_exact(best_backend, rng):
    matrices = wos.Problem(STAR, dirichlet=0.0).operator(star_points(rng, 9), 10, rng=1)
    value, stderr = matrices.solve(3.0)
    assert (value == 3).all()
    assert (stderr == 0).all()
    np.testing.assert_allclose(np.asarray(matrices.A.sum(axis=1)), 1, rtol=1e-12)


def test_matrices(best_backend, rng):
    """A and B, and their products with interpolations, agree with ``solve``. Their transposes agree with the gradients of ``solve``."""
    X, V, F = star_points(rng, 8), rng.standard_normal(60), rng.standard_normal((5, 7))
    data = {"dirichlet": wos.PerVertex(V), "source": wos.GridField(F, BOX)}
    matrices, truth = (wos.Problem(STAR, **data).operator(X, 9, rng=5), wos.solve(STAR, X, **data, walks=9, rng=5).value)
    u = matrices.per_vertex() @ V + matrices.on_grid(F.shape, BOX) @ F.reshape(-1)
    np.testing.assert_allclose(u, truth, rtol=1e-4, atol=1e-5)
    f = data["source"](matrices.source_points)
    np.testing.assert_allclose(matrices.solve(data["dirichlet"]).value + matrices.B @ f, u, rtol=1e-12, atol=1e-12)
    at_ends = wos.GridField(F, BOX)
    np.testing.assert_allclose(
        matrices.on_grid(F.shape, BOX, "dirichlet") @ F.reshape(-1), matrices.solve(at_ends).value, rtol=1e-12, atol=1e-12
    )
    grad = rng.standard_normal(len(X))
    _, of_g, of_f = wos.solve_vjp(STAR, X, grad, **data, walks=9, rng=5)
    np.testing.assert_allclose(matrices.per_vertex().T @ grad, of_g["values"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((matrices.on_grid(F.shape, BOX).T @ grad).reshape(F.shape), of_f["values"], rtol=1e-3, atol=1e-4)


def test_matrices_of_walls(best_backend, rng):
    """The same for fluxes."""
    X, (V, H), K = rng.uniform(0.1, 0.9, (8, 2)), rng.standard_normal((2, 4)), rng.standard_normal((5, 7))
    h, k = wos.PerVertex(H), wos.GridField(K, BOX)
    data = {"dirichlet": wos.PerVertex(V), "neumann": (np.arange(4) == 1, h), "robin": (np.arange(4) == 2, 1.5, k)}
    square, run = wos.Polygon(SQUARE), {"walks": 9, "rng": 5}
    of, truth = wos.Problem(square, **data).operator(X, **run), wos.solve(square, X, **data, **run)
    u = of.per_vertex() @ V + of.per_vertex("neumann") @ H + of.on_grid(K.shape, BOX, "robin") @ K.reshape(-1)
    np.testing.assert_allclose(u, truth.value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of.solve(data["dirichlet"], neumann=h, robin=k).value, u, rtol=1e-12, atol=1e-12)
    at_ends, at_h, at_k = (wos.GridField(K, BOX)(x) for x in (of.boundary_points, of.neumann_points, of.robin_points))
    np.testing.assert_allclose(of.apply(at_ends, None, at_h, at_k), of.A @ at_ends + of.C @ at_h + of.D @ at_k, rtol=1e-12)
    assert (of.source_points, of.B) == (None, None)
    np.testing.assert_allclose(of.neumann_points[:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(of.robin_points[:, 1], 1, atol=1e-6)
    grad = rng.standard_normal(len(X))
    _, of_g, _, of_h, of_k = wos.solve_vjp(square, X, grad, **data, **run)
    np.testing.assert_allclose(of.per_vertex().T @ grad, of_g["values"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(of.per_vertex("neumann").T @ grad, of_h["values"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((of.on_grid(K.shape, BOX, "robin").T @ grad).reshape(K.shape), of_k["values"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("unit", [1.0, 2.0**60, 1e-30])
def test_units_of_a_medium(unit, best_backend, rng):
    """The equation may be multiplied by a number."""
    X, alpha = star_points(rng, 4), wos.Gaussians([unit, 0.5 * unit], [[0.0, 0.0], [0.5, 0.3]], [2.0, 0.8])
    of = wos.Problem(STAR, dirichlet=0.0, source=0.0, diffusion=alpha).operator(X, 9, rng=5)
    truth = wos.solve(STAR, X, 2.0, source=unit, diffusion=alpha, walks=9, rng=5).value
    np.testing.assert_allclose(of.solve(2.0, unit).value, truth, rtol=1e-5)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_tensors(columns, rng):
    torch = pytest.importorskip("torch")
    X = np.concatenate([star_points(rng, 5), [[7.0, 7.0]]])
    with pytest.warns(RuntimeWarning, match="outside"):
        matrices = wos.Problem(STAR, dirichlet=0.0, source=0.0).operator(torch.from_numpy(X), 6, rng=1)
    g, f = (rng.standard_normal((len(x), *columns)) for x in (matrices.boundary_points, matrices.source_points))
    tensors = [torch.tensor(x, requires_grad=True) for x in (g, f)]
    u = matrices.apply(*tensors)
    np.testing.assert_allclose(u.detach().numpy(), matrices.apply(g, f), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(matrices.apply(g, f)[:-1], (matrices.A @ g + matrices.B @ f)[:-1], rtol=1e-12, atol=1e-13)
    assert u[-1].isnan().all()
    grad = rng.standard_normal((5, *columns))
    u[:-1].backward(torch.from_numpy(grad))
    for x, matrix in zip(tensors, (matrices.A, matrices.B)):
        np.testing.assert_allclose(x.grad.numpy(), matrix.T @ np.concatenate([grad, 0 * grad[:1]]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["fourier and bells", "half discs", "mesh", "outside", "walls in space", "medium with walls"])
def test_saved_and_pickled(name, best_backend, rng, tmp_path):
    boundary, X, g, f, more, how = scene(name, rng)
    problem = wos.Problem(boundary, dirichlet=0.0, source=None if f is None else 0.0, **more)
    matrices = problem.operator(X, wos.Walks(5, **how), rng=2**64 - 1)
    matrices.save(tmp_path / "operator.npz")
    for other in (wos.Operator.load(tmp_path / "operator.npz"), pickle.loads(pickle.dumps(matrices))):
        for mine, theirs in zip(matrices.solve(g, f, **fluxes(more)), other.solve(g, f, **fluxes(more))):
            np.testing.assert_array_equal(mine, theirs)
        assert (other.seed, other.walks, repr(other)) == (2**64 - 1, 5, repr(matrices))
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="is not a saved operator: it lacks"):
        wos.Operator.load(tmp_path / "other.npz")


def test_functions_that_are_compiled(best_backend, rng):
    pytest.importorskip("numba")
    X = star_points(rng, 3)
    matrices = wos.Problem(STAR, dirichlet=0.0).operator(X, 4, rng=1)
    np.testing.assert_allclose(matrices.solve(cfunc(u)).value, wos.solve(STAR, X, cfunc(u), walks=4, rng=1).value, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 2), (2,)])
def test_no_points_and_a_single_point(shape, best_backend):
    matrices = wos.Problem(STAR, dirichlet=0.0, source=0.0).operator(np.zeros(shape), 4, rng=1)
    assert matrices.solve(1.0, 2.0).value.shape == (1 if shape == (2,) else 0,)
    assert matrices.solve([1.0, 2.0], 2.0).value.shape == (2, 1 if shape == (2,) else 0)
    assert np.isnan(wos.Problem(STAR, dirichlet=0.0).operator([0.0, 0.0], 1, rng=1).solve(1.0).stderr).all()


def test_rejected(rng):
    X, where = star_points(rng, 3), np.arange(60) < 3
    matrices, plain = (wos.Problem(STAR, dirichlet=0.0, source=f).operator(X, 4, rng=1) for f in (0.0, None))
    ball = wos.Problem(wos.Ball([0, 0], 1.0), dirichlet=0.0).operator(0.5 * X, 4, rng=1)

    def operator(boundary=STAR, points=X, walks=4, **options):
        return wos.Problem(boundary, dirichlet=0.0, **options).operator(points, walks)

    check_rejected([
        (lambda: operator(neumann=(np.stack(2 * [where]), 0.0)), ValueError, "an operator requires the same neumann's where for all"),
        (lambda: operator(diffusion=[1.0, 2.0]), ValueError, "an operator requires the same diffusion for all instances, got 2; use solve"),
        (lambda: operator(wos.Polygon([SQUARE, 2 * SQUARE])), ValueError, "an operator requires a single boundary"),
        (lambda: operator(points=X[None]), ValueError, "operator: points has shape"),
        (lambda: operator(walks=wos.Walks(4, gradient=True)), NotImplementedError, "operators do not support gradient"),
        (lambda: wos.Problem(STAR, dirichlet=0.0).operator(X, epsilon=1.0), TypeError, "pass it to wos.Walks"),
        (lambda: plain.solve(1.0, 2.0), ValueError, "has no source; construct the problem with one, such as source=0.0"),
        (lambda: plain.apply(np.zeros(12), np.zeros(1)), ValueError, "has no source"),
        (lambda: plain.solve(1.0, robin=2.0), ValueError, r"has no robin; .* such as robin=\(where, mu, 0.0\)"),
        (lambda: plain.per_vertex("neumann"), ValueError, r"has no neumann; .* such as neumann=\(where, 0.0\)"),
        (lambda: plain.per_vertex("source"), ValueError, "of is 'source'"),
        (lambda: plain.apply(np.zeros(11)), ValueError, r"g has shape \(11,\), expected \(12,\)"),
        (lambda: matrices.solve([1.0, 2.0], [1.0, 2.0, 3.0]), ValueError, "different numbers of instances"),
        (lambda: matrices.solve(1.0, wos.PerVertex(np.ones(60))), ValueError, "source is PerVertex data"),
        (lambda: matrices.solve(wos.PerVertex(np.ones(59))), ValueError, r"shape \(59,\), but the boundary has 60 vertices"),
        (lambda: matrices.solve([fourier(rng, 3)]), ValueError, "list whose entries have several instances"),
        (lambda: matrices.solve("1"), TypeError, "dirichlet is str, expected a number, Fourier"),
        (lambda: matrices.solve(np.ones((2, 2))), ValueError, "expected a number or"),
        (ball.per_vertex, ValueError, "the boundary has no vertices"),
        (lambda: matrices.on_grid((1, 2), BOX), ValueError, "shape is 1"),
        (lambda: matrices.on_grid((3, 2), BOX, "screening"), ValueError, "of is 'screening'"),
        (wos.Operator, TypeError, "create one with Problem.operator"),
    ])  # fmt: skip
