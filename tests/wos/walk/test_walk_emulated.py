"""The kernel for GPUs on boundaries that the one suite has no cases of, on many walks, and what it refuses."""

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil.wos.models.prepared import prepare
from quatrefoil.wos.models.settings import Settings
from wos.domains import field
from wos.ops import walk, walk_vjp
from wos.query.oracle import icosphere

pytestmark = pytest.mark.emulator
EPS = 2.0**-52


def prepared(boundary, points, dirichlet, source=None, epsilon=1e-3, **options):
    """The op's inputs and options, as solve has them, for walks in double precision."""
    whole = chunk(boundary, points, dirichlet, source, epsilon, **options)
    keywords = {name: whole.options[name] for name in ("dirichlet_kind", "source_kind", "outside", "gradient")}
    return [whole.inputs[0].astype(np.float64), *whole.inputs[1:]], keywords


def chunk(boundary, points, dirichlet, source=None, epsilon=1e-3, gradient=False, exterior=False):
    problem = qf.wos.Problem(boundary, dirichlet=dirichlet, source=source, exterior=exterior)
    return prepare(problem, points, Settings(0, epsilon, True, 1024, gradient, "native", None)).as_chunk()


def both(inputs, keywords):
    """Mean, m2 and counts by the kernels of the host and of the emulator."""
    results = []
    for backend in ("native", "emulator"):
        with qf.use_backend(backend):
            results.append(walk(*inputs, **keywords))
    return results


def inside(rng, n, d, radius=0.4):
    x = rng.standard_normal((n, d))
    return radius * rng.random((n, 1)) * x / np.linalg.norm(x, axis=1, keepdims=True)


def scenes(rng):
    bells2, bells3 = (qf.wos.Gaussians(rng.standard_normal(2), rng.standard_normal((2, d)), rng.uniform(0.5, 1, 2)) for d in (2, 3))
    away = inside(rng, 3, 3)
    away *= (1.8 + rng.random((3, 1))) / np.linalg.norm(away, axis=1, keepdims=True)
    return {
        "field": (field(), inside(rng, 3, 2), bells2, bells2),
        "field in space, in pairs": (field(3), inside(rng, 2, 3), bells3, 1.0, {"gradient": True}),
        "outside of a ball": (qf.wos.Ball(np.zeros(3), 1.0), away, bells3, None, {"exterior": True}),
        "outside of a box": (qf.wos.Box([-0.5, -0.6, -0.7], [0.5, 0.7, 0.6]), away, bells3, None, {"exterior": True, "gradient": True}),
        "many walks": (qf.wos.Ball(np.zeros(2), 1.0), inside(rng, 3, 2), bells2, 1.0),
    }


@pytest.mark.parametrize("name", ["field", "field in space, in pairs", "outside of a ball", "outside of a box", "many walks"])
def test_emulated_walks_are_those_of_the_host(name, rng):
    """The distances are the same, so the walks are, but for one that rounding turns: a step that ends within rounding of epsilon."""
    boundary, points, g, f, *more = scenes(rng)[name]
    inputs, keywords = prepared(boundary, points, g, f, epsilon=0.02, **(more[0] if more else {}))
    walks = (6, 150) if name == "many walks" else (2, 16)
    keywords |= {"seed": int(rng.integers(2**60)), "first_walk": walks[0], "walks": walks[1]}
    (mean, m2, counts), (mean_e, m2_e, counts_e) = both(inputs, keywords)
    np.testing.assert_array_equal(counts_e, counts)
    size = np.abs(mean).max()
    np.testing.assert_allclose(mean_e, mean, rtol=0, atol=1e-9 * size)  # a rounding error may double at each of some 20 steps
    np.testing.assert_allclose(m2_e, m2, rtol=0, atol=1e-9 * np.abs(m2).max())


def test_emulated_pieces_are_the_closest(rng):
    """Where epsilon is as large as the domain a walk ends at the closest point, of which the host has a grid and the emulator boxes."""
    corners = np.sort(rng.uniform(0, 2 * np.pi, 300))
    ring = rng.uniform(0.5, 1, (300, 1)) * np.stack([np.cos(corners), np.sin(corners)], axis=1)
    mesh = qf.wos.TriangleMesh(*icosphere(2, 0.1))
    for boundary, points in ((qf.wos.Polygon(ring), inside(rng, 40, 2)), (mesh, inside(rng, 40, 3))):
        values = rng.standard_normal(len(mesh.vertices) if boundary is mesh else len(ring))
        inputs, keywords = prepared(boundary, points, qf.wos.PerVertex(values), epsilon=0.02)
        inputs[1] = inputs[1].copy()
        inputs[1][:, -1] = 2
        (mean, *_), (mean_e, *_) = both(inputs, {**keywords, "walks": 1})
        np.testing.assert_allclose(mean_e, mean, rtol=0, atol=1e-12 * np.abs(values).max())


def meshes(rng):
    """A ball of 320 triangles, some points inside, and the slope of a harmonic function."""
    mesh = qf.wos.TriangleMesh(*icosphere(2))
    a = rng.standard_normal(3)
    return mesh, inside(rng, 2, 3), a


def test_emulated_walks_in_a_mesh(rng):
    mesh, points, a = meshes(rng)
    inputs, keywords = prepared(mesh, points, qf.wos.PerVertex(mesh.vertices @ a), epsilon=0.02)
    with qf.use_backend("emulator"):
        mean, m2, counts = walk(*inputs, **keywords, seed=int(rng.integers(2**60)), walks=256)
    stderr = np.sqrt(m2[..., 0, 0] / 255 / 256)
    assert np.all(np.abs(mean[..., 0, 0] - points @ a) < 6 * stderr + 0.03 * np.linalg.norm(a)), "in standard errors, and epsilon"
    assert (counts[..., 1:] == 0).all()


def test_emulated_gradients_in_a_mesh_and_outside_of_it(rng):
    """Means are linear in the numbers at the corners: their gradients are the numbers' weights."""
    mesh, points, a = meshes(rng)
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
    """Rows of no instances have no memory to clear."""
    inputs = np.zeros((0, 3, 2)), np.zeros((0, 4)), None, None, np.zeros((0, 7)), None
    with qf.use_backend("emulator"):
        of_numbers, *_ = walk_vjp(*inputs, np.zeros((0, 3, 1, 1)), dirichlet_kind="fourier", walks=4)
    assert of_numbers.shape == (0, 7)


def test_emulated_walks_ask_no_function(rng):
    ball = qf.wos.Ball(np.zeros(2), 1.0)
    inputs, keywords = prepared(ball, inside(rng, 2, 2), lambda x: x[:, 0])
    with qf.use_backend("emulator"), pytest.raises(TypeError, match="a function of the host"):
        walk(*inputs, **keywords, g=lambda instance, x: x[:, 0])
    shape = qf.wos.SDF(lambda x: np.linalg.norm(x, axis=1) - 1, ([-1.2, -1.2], [1.2, 1.2]))
    whole = chunk(shape, inside(rng, 2, 2), 1.0, epsilon=1e-2)
    with qf.use_backend("emulator"), pytest.raises(TypeError, match="signed distances are a function of the host"):
        walk(*whole.inputs, grids=whole.extras[0])
