"""Inputs that are not arrays: lists, integers, data frames, meshes of other libraries, a single point."""

from types import SimpleNamespace

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil import wos
from wos.domains import SQUARE
from wos.query.oracle import icosphere
from wos.walk.oracle import numbers

ROOM = [[0, 0], [3, 0], [3, 3], [0, 3]], [[[1, 1], [2, 1], [2, 2], [1, 2]]]
X = np.array([[0.5, 0.5], [2.5, 1.0]])
V, F = icosphere(1)
CIRCLE = wos.Star(0, 0, segments=16).vertices


class Frame:
    """A minimal data frame."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __array__(self, dtype=None, copy=None):
        return self.array


def value(boundary, points=X, dirichlet=1.0, **options):
    r = wos.solve(boundary, points, dirichlet=dirichlet, **{"walks": 8, "rng": 1, **options})
    return r.value, r.stderr


def disc(points=X / 4, **options):
    return value(wos.Ball([0, 0], 1), points, **options)


def polygon(vertices, holes=None):
    return value(wos.Polygon(vertices, holes), dirichlet=lambda Y: Y[:, 0])


BALL = wos.Ball([0, 0], 1)
RINGS = [ROOM[0], ROOM[0][:3]]
BUMP = [[1, 1, 1], [1, -1, 1], [1, 1, 1]]
# a call and its arguments as users type them; must equal the same call with float64 arrays
TYPED = {
    "polygon with holes": (lambda ring, hole: polygon(ring, [hole]), ROOM[0], ROOM[1][0]),
    "tuples of integers": (lambda ring: polygon(ring), [tuple(v) for v in ROOM[0]]),
    "polygons": (lambda *rings: polygon(list(rings)), *RINGS),
    "box": (lambda lo, hi: value(wos.Box(lo, hi)), [0, 0], [3, 3]),
    "star": (lambda c1, c2: wos.Star(c1, c2).vertices, [0, 0.1], 0),
    "field": (lambda v, lo, hi, x: value(wos.SDF(v, (lo, hi)), x), BUMP, [0, 0], [3, 3], [[1.5, 1.5]]),
    "points": (lambda x: disc(x), [[0, 0.5], [0, 0]]),
    "Fourier": (lambda c: disc(dirichlet=wos.Fourier(c)), [0, 1, 2]),
    "numbers": (lambda g: disc(dirichlet=np.array(g)), [0, 1]),
    "Polynomial": (lambda c: disc(dirichlet=wos.Polynomial(c)), [[0, 1]]),
    "Gaussians": (lambda a, c, w: disc(dirichlet=wos.Gaussians(a, c, w)), [1], [[0, 1]], [2]),
    "GridField": (lambda v, box: disc(source=wos.GridField(v, box)), [[0, 1], [2, 3]], [[-1, -1], [1, 1]]),
    "PerVertex": (lambda v: value(wos.Polygon(ROOM[0]), dirichlet=wos.PerVertex(v)), [0, 1, 2, 3]),
    "data at a point": (lambda x: wos.Polynomial([[0, 1], [1, 0]])(x), [1, 2]),
    "closest point": (lambda q: wos.closest_point(BALL, q)[:2], [2, 0]),
    "contains": (lambda q: wos.contains(wos.Polygon(*ROOM), q), [[0.5, 0.5], [1.5, 1.5]]),
}
# pairs of equivalent calls
SAME = {
    "one hole": (lambda: polygon(ROOM[0], ROOM[1][0]), lambda: polygon(*ROOM)),
    "shapely polygon": (lambda: polygon(shapely_like(*ROOM)), lambda: polygon(*ROOM)),
    "balls": (lambda: value(wos.Ball(Frame([1, 1]), 3)), lambda: value(wos.Ball(np.ones(2), 3.0))),
    "integer points": (lambda: disc(np.zeros((1, 2), int)), lambda: disc(np.zeros((1, 2)))),
    "a Gaussian": (lambda: disc(source=wos.Gaussians(1.0, [0, 0], 0.5)), lambda: disc(source=wos.Gaussians([1], [[0, 0]], [0.5]))),
    "by position": (lambda: wos.solve(BALL, X / 4, 2, walks=8, rng=1).value, lambda: disc(dirichlet=2.0)[0]),
    "walls": (lambda: walls([[False, True, False, False], 1]), lambda: walls((np.arange(4) == 1, 1.0))),
    "robin": (
        lambda: walls(None, [[False, True, False, False], [0, 2, 0, 0], 1]),
        lambda: walls(None, (np.arange(4) == 1, np.array([0.0, 2.0, 0.0, 0.0]), 1.0)),
    ),
    "data at points": (lambda: wos.GridField([[0, 1], [1, 2]], [(0, 0), (1, 1)])([[1, 0]]), lambda: np.array([1.0])),
    "mesh of uint32": (lambda: mesh_distance(V.astype(np.float32), F.astype(np.uint32)), lambda: mesh_distance(V.astype(np.float32), F)),
    "method signed_distance": (lambda: wos.Polygon(*ROOM).signed_distance([[0.5, 0.75]]), lambda: np.array([-0.5])),
    "method closest_point": (lambda: BALL.closest_point([2, 0])[:2], lambda: wos.closest_point(BALL, [2, 0])[:2]),
    "method contains": (lambda: wos.Polygon(*ROOM).contains([[0.5, 0.5], [1.5, 1.5]]), lambda: np.array([True, False])),
}  # fmt: skip


def shapely_like(outline, holes):
    outline, *holes = (SimpleNamespace(coords=[*ring, ring[0]]) for ring in (outline, *holes))
    return SimpleNamespace(exterior=outline, interiors=holes)


def walls(neumann, robin=None):
    return value(wos.Polygon(SQUARE), [[0.5, 0.5]], 0, neumann=neumann, robin=robin)


def mesh_distance(*mesh):
    return wos.signed_distance(wos.TriangleMesh(*mesh), np.array([0.0, 0.0, 2.0]))


def test_array_likes_give_the_results_of_arrays():
    typed = {name: (lambda f=f, x=x: f(*x), lambda f=f, x=x: f(*(np.array(a, float) for a in x))) for name, (f, *x) in TYPED.items()}
    for name, calls in (SAME | typed).items():
        print(name)
        results, expected = (x if isinstance(x, tuple) else (x,) for x in (call() for call in calls))
        for a, b in zip(results, expected, strict=True):
            assert type(a) is type(b)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_numbers_without_a_dtype_go_with_every_dtype():
    single = np.full((1, 2), 0.5, np.float32)
    for data in (wos.Fourier([0, 1, 2]), wos.PerVertex([0, 1, 2, 3]), wos.GridField([[0, 1], [0, 1]], ((0, 0), (1, 1)))):
        assert wos.solve(wos.Polygon(SQUARE), single, dirichlet=data, rng=1).value.dtype == np.float32
    with pytest.raises(TypeError, match="coefficients has dtype float64 but points has float32"):
        wos.solve(wos.Polygon(SQUARE), single, dirichlet=wos.Fourier(Frame([0.0, 1.0, 2.0])), rng=1)


def test_one_point(backend):
    """Results for a single point have no point axis."""
    square, data = wos.Polygon(SQUARE), wos.PerVertex([0, 1, 1, 0])
    for many in (False, True):
        boundary = wos.Polygon([SQUARE, SQUARE]) if many else square
        one = wos.solve(boundary, [0.5, 0.25], dirichlet=data, gradient=True, walks=8, rng=1, backend=backend)
        expected = wos.solve(boundary, [[0.5, 0.25]], dirichlet=data, gradient=True, walks=8, rng=1, backend=backend)
        for name, x in numbers(one).items():
            np.testing.assert_array_equal(x, numbers(expected)[name].take(0, axis=-2 if name.startswith("grad") else -1))
        assert one.resume(8).value.shape == ((2,) if many else ())
    grads = [wos.solve_vjp(square, p, np.ones(np.shape(p)[:-1]), dirichlet=data, walks=8, rng=1)[0] for p in ([0.5, 0.25], [[0.5, 0.25]])]
    np.testing.assert_array_equal(grads[0], grads[1][0])


def test_functions_of_one_point_are_detected_if_n_equals_d():
    for backend in ("numba", "array"):
        with pytest.raises(ValueError, match=r"it takes one point; pass lambda X: np.array\(\[f\(x\) for x in X\]\)"):
            value(wos.Polygon(SQUARE), [[0.5, 0.5]], lambda p: p[0] + p[1], walks=2, backend=backend)


def test_hints():
    """Common first attempts, and the hints that users get."""
    box, square, mesh, points = wos.Box([0, 0], [1, 1]), wos.Polygon(SQUARE), wos.TriangleMesh(V, F), X / 3
    quads = SimpleNamespace(points=V, faces=np.insert(F, 0, 4, axis=1).ravel())
    result, labels = wos.solve(box, points, 1.0, walks=8, rng=1), wos.NeuralOperatorLabels(box, 1.0, points=points)
    assert value(mesh, V[None, :2] / 4, V[:, 2])[0].shape == (42, 2)  # 42 problems, as the error message says
    check_rejected([
        (lambda: wos.TriangleMesh(V), TypeError, "V is a numpy array of float64 and F is missing, expected V and F, a mesh"),
        (lambda: wos.TriangleMesh(quads), ValueError, r"faces that are not triangles; pass mesh.triangulate\(\)"),
        (lambda: wos.Polygon([[0, 0], [2**53 + 2, 0], [0, 1]]), ValueError, r"integers above 2\*\*53, which float64 cannot"),
        (lambda: wos.Star(0, 0, segments=7), ValueError, "Star: segments is 7, expected at least 8"),
        (lambda: wos.Box([[0, 0], [1, 1]]), TypeError, "Box: hi is missing; expected lo and hi"),
        (lambda: box.contains(0, 1), TypeError, r"contains takes points by position, got 2 .* one array \(..., d\)"),
        (lambda: wos.SDF(lambda X: X[:, 0]), TypeError, r"SDF: box is missing; expected SDF\(values, \(lo, hi\)\)"),
        (lambda: wos.Polygon(points=SQUARE), TypeError, "Polygon has no argument 'points'; use vertices"),
        (lambda: wos.solve(square, points, grad=True), TypeError, "no argument 'grad'; use gradient=True"),
        (lambda: wos.solve(domain=square, points=points), TypeError, "no argument 'domain'; use boundary"),
        (lambda: value(square, points, lambda X: np.ones((3, len(X)))), ValueError, "for 3 problems pass a list of 3 functions"),
        (lambda: result.std, AttributeError, "wos.Result has no attribute 'std'; use stderr, the standard error of value"),
        (lambda: result.gradient, AttributeError, "use grad, after a call with gradient=True"),
        (lambda: result[0], TypeError, r"wos.Result is not an array; use its value, stderr or grad, such as result.value\[0\]"),
        (lambda: np.zeros(2) - result, TypeError, "wos.Result is not an array"),
        (lambda: wos.signed_distance(X, mesh), TypeError, r"the boundary must come first: signed_distance\(boundary, points\)"),
        (lambda: wos.Gaussians(amplitudes=1, centers=[0, 0], widths=1), TypeError, "Gaussians has no argument 'amplitudes'; use amplitude"),
        (lambda: wos.GridField(V, [0, 0], [1, 1]), TypeError, r"got 3 arguments; pass the box as two corners, \(lo, hi\)"),
        (lambda: wos.GridField(np.ones((2, 2)), [(0, 0), (0, 1)]), ValueError, r"from 0.0 to 0.0 .* two corners \(lo, hi\)"),
        (lambda: wos.NeuralOperatorLabels(square, points, dirichlet=0.0), TypeError, r"points is missing; .*source, points=points\)"),
        (lambda: next(labels), TypeError, r"NeuralOperatorLabels is not an iterator; call epoch\(\) in each epoch"),
        (lambda: [0 for _ in labels], TypeError, "is not an iterator"),
        (lambda: labels[0], TypeError, "is not an iterator"),
        (lambda: labels.value, AttributeError, r"use epoch\(\).value"),
        (lambda: wos.solve(square, points, tol=1), TypeError, "solve has no argument 'tol'; use atol or rtol"),
        (lambda: value(square, points, np.ones((2, 2))), ValueError, r"shape \(2, 2\), .*; for values on a grid pass GridField"),
        (lambda: value(square, points, [0, 1, 1, 0]), ValueError, r"is a list, .* For values at vertices pass PerVertex\(dirichlet\)"),
        (lambda: value(wos.Polygon(CIRCLE), X / 4, CIRCLE[:, 0]), ValueError, r"16 numbers, as many as .* pass PerVertex"),
        (lambda: value(mesh, V / 4, V[:, 2]), ValueError, r"pass PerVertex\(dirichlet\) .*, or points\[None\] for 42 problems"),
        (lambda: wos.solve(box, points, 1.0, rng=1).resume(), TypeError, r"of additional walks, such as resume\(walks=1000\), or rtol"),
        (lambda: wos.solve(box, points, 1.0, rng=1, gradient=True).resume(3), ValueError, "extra_walks is 3"),
        (lambda: wos.solve(box, points, 1.0, rng=1).resume(8, walks=8), ValueError, "got both extra_walks and walks"),
        (lambda: wos.solve(box, points, 1.0, rng=1, cache="harmonic").resume(atol=1), ValueError, "rtol and atol cannot be combined"),
    ])  # fmt: skip
    for call, text in (
        (lambda: value(square, points, np.array([0, 1, 1, 0])), r"4 numbers, as many as .* taken as 4 separate problems.*PerVertex"),
        (lambda: value(wos.Ball([0, 0, 0], 1), [[2, 0, 0]]), "lies outside the boundary; values there are NaN; .* pass exterior=True"),
    ):
        with pytest.warns(RuntimeWarning, match=text):
            call()


@pytest.mark.torch
def test_errors_suggest_how_to_wrap_functions_of_tensors():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"it takes tensors; pass lambda X: f\(torch.from_numpy\(X\)\)"):
        value(wos.Ball([0, 0], 3), dirichlet=lambda Y: torch.sin(Y[:, 0]))
    value(wos.Ball([0, 0], 3), dirichlet=lambda Y: torch.sin(torch.from_numpy(Y)[:, 0]))


@pytest.mark.torch
def test_boundaries_and_points_of_different_types():
    torch = pytest.importorskip("torch")
    x = torch.tensor([0.5, 0.25], dtype=torch.float64, requires_grad=True)
    data = wos.PerVertex([0, 1, 1, 0])
    for square in map(wos.Polygon, (SQUARE, SQUARE.tolist(), torch.from_numpy(SQUARE), torch.tensor(SQUARE).long())):
        result = wos.solve(square, x, dirichlet=data, walks=8, rng=1)
        assert result.value.shape == ()
        (slope,) = torch.autograd.grad(result.value, x)
        expected = wos.solve(square, x.detach().numpy(), dirichlet=data, walks=8, rng=1)
        np.testing.assert_array_equal(result.value.detach(), expected.value)
        np.testing.assert_array_equal(slope, wos.solve_vjp(square, [0.5, 0.25], np.ones(()), dirichlet=data, walks=8, rng=1)[0])
