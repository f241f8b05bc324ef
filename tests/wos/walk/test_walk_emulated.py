"""The GPU kernel on boundaries without op cases, with many walks; and its errors."""

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil.wos.models.prepared import prepare
from quatrefoil.wos.models.settings import Settings
from wos.domains import problem
from wos.ops import walk, walk_vjp
from wos.query.oracle import icosphere
from wos.walk.oracle import disc_points

pytestmark = pytest.mark.emulator
EPS = 2.0**-52


def prepared(boundary, points, dirichlet, source=None, epsilon=1e-3, **options):
    """The op's inputs and options, prepared as solve does, for walks in double precision."""
    whole = chunk(boundary, points, dirichlet, source, epsilon, **options)
    keywords = {name: whole.options[name] for name in ("dirichlet_kind", "source_kind", "outside", "gradient")}
    return [whole.inputs[0].astype(np.float64), *whole.inputs[1:]], keywords


def chunk(boundary, points, dirichlet, source=None, epsilon=1e-3, gradient=False, exterior=False):
    problem = qf.wos.Problem(boundary, dirichlet=dirichlet, source=source, exterior=exterior)
    return prepare(problem, points, Settings(0, epsilon, True, 1024, gradient, "native", None)).as_chunk()


def both(inputs, keywords):
    """Mean, m2 and counts from the host's kernels and from the emulator."""
    results = []
    for backend in ("native", "emulator"):
        with qf.use_backend(backend):
            results.append(walk(*inputs, **keywords))
    return results


@pytest.mark.parametrize("name", ["field", "field in space", "outside of a ball", "outside of a box", "fourier"])
@pytest.mark.parametrize("pairs", [False, True])
def test_emulated_walks_are_those_of_the_host(name, pairs, rng):
    """Distances are the same, so walks are the same unless a step ends within rounding of epsilon."""
    boundary, points, options = problem(name, rng)
    data = {key: options[key] for key in ("dirichlet", "source", "exterior") if key in options}
    inputs, keywords = prepared(boundary, points, epsilon=0.02, gradient=pairs, **data)
    walks = (6, 150) if name == "fourier" else (2, 16)
    keywords |= {"seed": int(rng.integers(2**60)), "first_walk": walks[0], "walks": walks[1]}
    (mean, m2, counts), (mean_e, m2_e, counts_e) = both(inputs, keywords)
    np.testing.assert_array_equal(counts_e, counts)
    size = np.abs(mean).max()
    np.testing.assert_allclose(mean_e, mean, rtol=0, atol=1e-9 * size)  # a rounding error may double at each of about 20 steps
    np.testing.assert_allclose(m2_e, m2, rtol=0, atol=1e-9 * np.abs(m2).max())


def test_emulated_pieces_are_the_closest(rng):
    """With epsilon as large as the domain, a walk ends at the closest point. The host finds it with a grid, the emulator with boxes."""
    corners = np.sort(rng.uniform(0, 2 * np.pi, 300))
    ring = rng.uniform(0.5, 1, (300, 1)) * np.stack([np.cos(corners), np.sin(corners)], axis=1)
    mesh = qf.wos.TriangleMesh(*icosphere(2, 0.1))
    for boundary, points in ((qf.wos.Polygon(ring), disc_points(rng, 40, 0.4, 2)), (mesh, disc_points(rng, 40, 0.4, 3))):
        values = rng.standard_normal(len(mesh.vertices) if boundary is mesh else len(ring))
        inputs, keywords = prepared(boundary, points, qf.wos.PerVertex(values), epsilon=0.02)
        inputs[1] = inputs[1].copy()
        inputs[1][:, -1] = 2
        (mean, *_), (mean_e, *_) = both(inputs, {**keywords, "walks": 1})
        np.testing.assert_allclose(mean_e, mean, rtol=0, atol=1e-12 * np.abs(values).max())


def test_emulated_walks_in_a_mesh(rng):
    mesh, points, a = qf.wos.TriangleMesh(*icosphere(2)), disc_points(rng, 2, 0.4, 3), rng.standard_normal(3)
    inputs, keywords = prepared(mesh, points, qf.wos.PerVertex(mesh.vertices @ a), epsilon=0.02)
    with qf.use_backend("emulator"):
        mean, m2, counts = walk(*inputs, **keywords, seed=int(rng.integers(2**60)), walks=256)
    stderr = np.sqrt(m2[..., 0, 0] / 255 / 256)
    assert np.all(np.abs(mean[..., 0, 0] - points @ a) < 6 * stderr + 0.03 * np.linalg.norm(a)), "in standard errors, and epsilon"
    assert (counts[..., 1:] == 0).all()


def test_emulated_gradients_in_a_mesh_and_outside_of_it(rng):
    """Means are linear in the values at the corners: <gradient, values> = <grad, mean>."""
    mesh, points, a = qf.wos.TriangleMesh(*icosphere(2)), disc_points(rng, 2, 0.4, 3), rng.standard_normal(3)
    for more in ({}, {"exterior": True}):
        at = 3 * points / np.linalg.norm(points, axis=1, keepdims=True) if more else points
        inputs, keywords = prepared(mesh, at, qf.wos.PerVertex(mesh.vertices @ a), epsilon=0.05, **more)
        keywords |= {"seed": int(rng.integers(2**60)), "walks": 12}
        with qf.use_backend("emulator"):
            mean, *_ = walk(*inputs, **keywords)
            grad = rng.standard_normal(mean.shape)
            of_numbers, *_ = walk_vjp(*inputs, grad, **keywords)
        terms = of_numbers * inputs[4]
        assert abs(terms.sum() - (grad * mean).sum()) <= 1e3 * EPS * np.abs(terms).sum()


def test_emulated_gradients_of_no_instances():
    """Gradients without instances have no memory to clear."""
    inputs = np.zeros((0, 3, 2)), np.zeros((0, 4)), None, None, np.zeros((0, 7)), None
    with qf.use_backend("emulator"):
        of_numbers, *_ = walk_vjp(*inputs, np.zeros((0, 3, 1, 1)), dirichlet_kind="fourier", walks=4)
    assert of_numbers.shape == (0, 7)


def test_emulated_walks_ask_no_function(rng):
    ball = qf.wos.Ball(np.zeros(2), 1.0)
    inputs, keywords = prepared(ball, disc_points(rng, 2, 0.4, 2), lambda x: x[:, 0])
    with qf.use_backend("emulator"), pytest.raises(TypeError, match="a host function cannot be called"):
        walk(*inputs, **keywords, g=lambda instance, x: x[:, 0])
    shape = qf.wos.SDF(lambda x: np.linalg.norm(x, axis=1) - 1, ([-1.2, -1.2], [1.2, 1.2]))
    whole = chunk(shape, disc_points(rng, 2, 0.4, 2), 1.0, epsilon=1e-2)
    with qf.use_backend("emulator"), pytest.raises(TypeError, match="a device cannot call a host function of signed distances"):
        walk(*whole.inputs, grids=whole.extras[0])
