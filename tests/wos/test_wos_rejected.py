"""Errors of boundaries, data, solve and queries."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from checks import changed, check_rejected
from quatrefoil import wos
from wos.domains import SQUARE
from wos.ops import gather, media
from wos.query.oracle import tetrahedron

X = np.array([[0.5, 0.5], [0.25, 0.75]])
X3, X4 = np.full((1, 3), 0.1), np.full((1, 4), 0.5)
ONE, TWO = np.ones((2, 2)), np.ones((2, 2, 2))
BOX2, BOX3 = ((0, 0), (1, 1)), ((0, 0, 0), (1, 1, 1))
TIE = SQUARE[[0, 2, 1, 3]]
V, F = tetrahedron()


def nan_at(array, *index):
    return changed(array, index, np.nan)


GOOD = np.pad(np.full((2, 2), -0.1), 1, constant_values=0.2)  # signed distances
LEAKING = changed(GOOD, (0, 2), -1e-3)
SHAPES = {
    wos.Polygon: [
        ([nan_at(SQUARE, 2, 1)], ValueError, r"vertices\[2, 1\] is nan"),
        ([SQUARE[:2]], ValueError, "at least 3"),
        ([np.array([[0, 0], [1, 1], [2, 2.0]])], ValueError, "zero area"),
        ([np.array([[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [1, 0.0]])], ValueError, "zero area"),
        ([np.zeros((4, 3))], ValueError, "expected"),
        ([SQUARE + 0j], TypeError, "complex128"),
        ([[*SQUARE.tolist(), [None, 0]]], TypeError, "vertices is None, expected a list or array of numbers"),
        ([SQUARE, 3], TypeError, "list"),
        ([[SQUARE, SQUARE], [[]]], ValueError, "holes"),
    ],
    wos.Ball: [
        ([[0, 0], 0], ValueError, "positive"), ([[0, 0], "1"], TypeError, "radius"), ([[0] * 1025, 1], ValueError, "2 to 1024"),
    ],
    wos.Box: [
        ([[0, 0], [1, 1, 1]], ValueError, "corners of 2 and 3 coordinates"),
        ([[0, 0], [1, 0]], ValueError, "the box ranges from 0.0 to 0.0 along axis 1, expected lo < hi"),
        ([[0, 0], [1e-80, 1]], ValueError, "a side of 1e-80"),
        ([0.0, [1, 1]], TypeError, "lo is"),
        ([[0, 0], "ab"], TypeError, "hi is"),
    ],
    wos.SDF: [
        ([GOOD, BOX2, 0.0], ValueError, "lipschitz is 0.0"),
        ([lambda Y: Y, BOX2], ValueError, r"values\(X\) with X of shape .* returned shape .*, expected shape"),
        ([np.abs(GOOD), BOX2], ValueError, "values are nowhere negative"),
        ([LEAKING, BOX2], ValueError, "values are negative on a face of the box normal to axis 0; make the box larger"),
        ([LEAKING.T, BOX2], ValueError, "normal to axis 1"),
        ([np.where(GOOD < 0, np.nan, GOOD), BOX2], ValueError, r"values\[1, 1\] is nan"),
        ([GOOD[:1], BOX2], ValueError, r"values has shape \(1, 4\), expected \(n1, n2\)"),
        ([GOOD + 0j, BOX2], TypeError, "values has dtype complex128"),
        ([GOOD, ([0.0, 0.0], [1.0, 0.0])], ValueError, "expected lo < hi"),
        ([GOOD, ([0.0] * 4, [1.0] * 4)], ValueError, "box has corners of 4 coordinates, expected 2 or 3"),
        ([GOOD, 1.0], TypeError, "box is float"),
        ([lambda X: np.hypot(*X.T) - 2, ([-1.5] * 2, [1.5] * 2)], ValueError, "values are negative on a face of the box normal to axis 0"),
        ([lambda X: np.where(X[:, 0] > 0.7, np.nan, 1.0), BOX2], ValueError, r"values of the function\[.*\] is nan"),
    ],
    wos.TriangleMesh: [
        ([nan_at(V, 1, 2), F], ValueError, r"V\[1, 2\] is nan"),
        ([V[:, :2], F], ValueError, r"V has shape \(4, 2\), expected \(P, 3\)"),
        ([V, F[:, :2]], ValueError, r"F has shape \(4, 2\), expected \(M, 3\)"),
        ([V, F[:0]], ValueError, "F has no triangles"),
        ([V, changed(F, (2, 1), 4)], ValueError, r"F\[2, 1\] is 4, expected a row of V, 0 to 3"),
        ([V, changed(F, (0, 0), -1)], ValueError, r"F\[0, 0\] is -1, expected a row of V, 0 to 3"),
        ([V, F[:3]], ValueError, r"not closed: the edge from vertex \d to \d of triangle \d has no opposite edge \(the first of 3\)"),
        ([V, changed(F, 3, F[3, ::-1])], ValueError, "not closed"),
        ([np.outer(np.arange(4.0), [1, 2, 3]), F], ValueError, "all triangles have zero area"),
        ([V, F.astype(float)], TypeError, r"F has dtype float64, expected integers; convert it: F.astype\(int\)"),
        ([V, np.ma.masked_array(F)], TypeError, "F is a masked array"),
    ],
    wos.Star: [
        ([np.nan, 0.0], ValueError, "c1 is nan, expected a finite number"),
        ([0.0, np.array([0.0, np.inf])], ValueError, r"c2\[1\] is inf, expected finite numbers"),
        ([np.zeros((1, 2)), 0.0], ValueError, r"c1 has shape \(1, 2\), expected a number or \(B,\)"),
        ([np.zeros(2), np.zeros(3)], ValueError, "c1 has 2 numbers and c2 has 3"),
        ([np.array([0.0, 2.0]), 0.0], ValueError, "the smallest radius of star 1 is -1"),
        ([1.0, 0.0], ValueError, "the smallest radius is 0 for c1 = 1"),
        ([np.zeros(2, complex), 0.0], TypeError, "c1"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    check_rejected([(lambda args=args: shape(*args), error, f"{shape.__name__}.*{text}") for args, error, text in SHAPES[shape]])


@pytest.mark.parametrize("scale", [1e-310, 1e-100, 1e100, 1e308])
def test_extents_whose_squares_overflow(scale):
    check_rejected([
        (lambda: wos.Polygon(SQUARE * scale), ValueError, r"Polygon: polygon 0 has an extent of .*, expected 1e-70 to .*; choose another"),
        (lambda: wos.Polygon(np.stack([SQUARE, SQUARE * scale])), ValueError, r"Polygon: polygon 1 has an extent of"),
        (lambda: wos.Ball([0, 0], scale), ValueError, r"Ball: the ball has an extent of .*, expected 1e-70 to 1e\+70"),
        (lambda: wos.TriangleMesh(V * scale, F), ValueError, r"extent of .*, expected 1e-70 to 1e\+70"),
        (lambda: wos.Polygon((2 * SQUARE - 1) * 1.7e308), ValueError, "extent of inf"),
    ])  # fmt: skip


def test_data():
    fourier, gaussians, powers, grid = wos.Fourier, wos.Gaussians, wos.Polynomial, wos.GridField
    check_rejected([
        (lambda: fourier(np.zeros(4)), ValueError, "odd"),
        (lambda: fourier(nan_at(np.zeros(3), 1)), ValueError, "nan"),
        (lambda: fourier([1j]), TypeError, "coefficients has dtype complex128"),
        (lambda: wos.PerVertex(TWO), ValueError, "expected"),
        (lambda: gaussians(np.ones(2), np.zeros((3, 2)), 1.0), ValueError, "expected"),
        (lambda: gaussians(np.ones(2), np.zeros((2, 2)), 0.0), ValueError, "positive"),
        (lambda: powers(np.ones(3)), ValueError, r"shape \(3,\), expected \(n1, n2\) or \(n1, n2, n3\)"),
        (lambda: powers(np.ones((2, 0))), ValueError, "n >= 1"),
        (lambda: powers(np.array([[1.0, np.inf]])), ValueError, r"coefficients\[0, 1\] is inf"),
        (lambda: powers([[1.0], [1.0, 2.0]]), ValueError, "coefficients is not an array of numbers"),
        (lambda: powers(ONE.astype(complex)), TypeError, "complex128"),
        (lambda: powers(ONE)(np.ones((4, 3))), ValueError, "2 dimensions"),
        (lambda: powers(np.ones((5, 2, 2)))(np.ones((4, 3, 2))), ValueError, r"\(4, 3, 2\)"),
        (lambda: grid(ONE, 3), TypeError, "box is int"),
        (lambda: grid(ONE, ((0, 0), (1, 1, 1))), ValueError, "2 and 3"),
        (lambda: grid(ONE, ((0, 1), (1, 1))), ValueError, "from 1.0 to 1.0 along axis 1, expected lo < hi"),
        (lambda: grid(ONE, ((0, 0), (1, 1e90))), ValueError, "side of 1e[+]90"),
        (lambda: grid(ONE[:, :1], BOX2), ValueError, r"shape \(2, 1\), expected \(n1, n2\) or \(B, n1, n2\)"),
        (lambda: grid(ONE.astype(object), BOX2), TypeError, "object"),
        (lambda: grid(ONE, BOX2)(np.ones((4, 3))), ValueError, "2 dimensions"),
    ])  # fmt: skip


def solve(boundary=None, points=None, dirichlet=1.0, **options):
    boundary = wos.Polygon(SQUARE) if boundary is None else boundary
    points = X if points is None else points
    return wos.solve(boundary, points, dirichlet=dirichlet, **{"walks": 2, "rng": 1, **options})


STATED = {"boundary", "dirichlet", "source", "screening", "diffusion", "neumann", "robin", "exterior"}


def stated(boundary=None, points=None, dirichlet=1.0, **options):
    return wos.Problem(wos.Polygon(SQUARE) if boundary is None else boundary, dirichlet=dirichlet, **options)


def check_solve(*rows, later=()):
    """Errors in the statement of a problem are raised when it is created, with its name. ``later``: errors that are raised when walks
    run."""
    check_rejected([(lambda options=options: solve(**options), error, text) for options, error, text in (*rows, *later)])
    of_problem = [row for row in rows if row[0].keys() <= {*STATED, *(["points"] if "boundary" in row[0] else [])}]
    check_rejected([(lambda options=options: stated(**options), error, f"Problem.*?{text}") for options, error, text in of_problem])


def test_solve():
    three = wos.Polygon(np.stack([SQUARE] * 3))
    check_solve(
        (dict(points=nan_at(X, 1, 0)), ValueError, r"points\[1, 0\] is nan"),
        (dict(points=np.zeros((3, 3))), ValueError, "points has shape"),
        (dict(points=X.astype(np.float16)), TypeError, "float16"),
        (dict(boundary=SimpleNamespace(vertices=X, faces=X)), TypeError, r"expected .* or SDF; pass TriangleMesh\(boundary\)"),
        (dict(boundary=SQUARE), TypeError, r"expected a Polygon, .* or SDF; pass Polygon\(boundary\)"),
        (dict(seed=1), TypeError, "solve has no argument 'seed'; use rng"),
        (dict(epsilon=0.0), ValueError, "positive"),
        (dict(walks=0), ValueError, "at least 1"),
        (dict(walks=2.0), TypeError, "integer"),
        (dict(walks=1, walk_offset=2**32), ValueError, "were requested"),
        (dict(max_steps=0), ValueError, "at least 1"),
        (dict(max_steps=2**20), ValueError, "at most"),
        (dict(num_threads=0), ValueError, "num_threads"),
        (dict(backend="fortran"), ValueError, "fortran"),
        (dict(screening=-1.0), ValueError, "screening is -1.0"),
        (dict(gradient=np.ones(2)), TypeError, "gradient"),
        (dict(gradient=True, walks=3), ValueError, "walks is 3, .*even"),
        (dict(gradient=True, walks=4, walk_offset=1), ValueError, "walk_offset is 1, .*even"),
        (dict(executor="processes"), TypeError, r"executor is str, expected a concurrent.futures.Executor$"),
        (dict(cache="harmonic", source=1.0), ValueError, "neither a source"),
        (dict(cache="harmonic", gradient=True), ValueError, "nor gradient=True"),
        (dict(cache="all"), ValueError, "harmonic"),
        (dict(cache="harmonic", points=X[None]), ValueError, "a single instance"),
        (dict(cache="harmonic", neumann=(np.arange(4) == 1, 0.0)), ValueError, "cache"),
        (dict(source=np.array([0.0, np.nan])), ValueError, r"source\[1\] is nan"),
        (dict(dirichlet=np.ones(2), source=np.ones(3)), ValueError, "different numbers of instances: dirichlet 2, source 3"),
        (dict(dirichlet=wos.Gaussians(np.ones((2, 1)), np.ones((3, 1, 2)), 1.0)), ValueError, r"parameters for \[2, 3\] instances"),
        (dict(neumann=1.0), TypeError, "neumann is float, expected a tuple"),
        later=(
            (dict(boundary=three, points=np.stack([X, X])), ValueError, "points 2, boundary 3"),
            (dict(screening=np.array([1.0, -2.0])), ValueError, "screening is -2 at"),
        ),
    )  # fmt: skip


def test_solve_until_errors_are_small():
    check_solve(
        (dict(max_walks=100), ValueError, "max_walks requires rtol or atol"),
        (dict(walks=64, atol=1.0, max_walks=63), ValueError, "max_walks is 63, expected at least 64, the walks"),
        (dict(atol=1.0, walks=2**20 + 1), ValueError, "max_walks is 1048576, its default"),
        (dict(rtol=-1e-3), ValueError, "rtol is -0.001"),
        (dict(rtol=0.1, max_walks=1e6), TypeError, "max_walks is 1000000.0"),
        (dict(rtol=0.1, max_walks=101, gradient=True), ValueError, "max_walks is 101, expected an even number"),
        (dict(rtol=0.1, walk_offset=2**32 - 2**20 + 1), ValueError, "expected at most 4294967296"),
        (dict(progress="yes"), TypeError, "progress is 'yes'"),
    )  # fmt: skip


@pytest.mark.parametrize("where", ["dirichlet", "source"])
def test_data_that_do_not_fit_the_boundary(where):
    ball, mesh, box = SimpleNamespace(boundary=wos.Ball([0] * 3, 1), points=X3), wos.TriangleMesh(V, F), wos.Box([0] * 4, [1] * 4)
    two, three = ({"boundary": wos.Polygon(np.stack([SQUARE] * B)), where: None} for B in (2, 3))
    of_boundaries = (
        ({}, "1", TypeError, "str"),
        ({}, True, TypeError, "bool"),
        ({}, float("nan"), ValueError, "nan"),
        ({}, wos.PerVertex(np.zeros(5)), ValueError, "4 vertices" if where == "dirichlet" else "source is PerVertex"),
        ({}, wos.Gaussians(np.ones(1), np.zeros((1, 3)), 1.0), ValueError, "3 coordinates"),
        ({}, wos.Polynomial(np.ones((2, 2, 2, 2))), ValueError, r"shape \(2, 2, 2, 2\), expected \(n1, n2\) or \(B, n1, n2\)"),
        ({}, wos.GridField(TWO, BOX3), ValueError, "GridField in 3 dimensions, but the boundary has 2"),
        (two, wos.Polynomial(np.ones((3, 2, 2))), ValueError, r"coefficients has shape \(3, 2, 2\), 3 instances, but"),
        (two, wos.Gaussians(np.ones((3, 1)), np.ones((1, 2)), 1.0), ValueError, r"amplitude has shape \(3, 1\), 3 instances"),
        (two, [wos.Polynomial(ONE)] * 3, ValueError, "list of length 3"),
        (two, [wos.Polynomial(TWO)] * 2, ValueError, r"\[0\] has several instances, expected data of one instance"),
        (two, [wos.GridField(TWO, BOX3)] * 2, ValueError, "3 dimensions"),
        (two, [wos.Polynomial(np.ones((1, 2))), None], TypeError, "None"),
        (three, np.array([1.0, 2.0]), ValueError, rf"boundary 3, {where} 2"),
        ({"screening": np.ones(3)}, wos.Fourier(np.zeros((2, 3))), ValueError, rf"{where} 2, screening 3"),
        (vars(ball), wos.Fourier(np.zeros(3)), ValueError, "two dimensions"),
        (vars(ball), wos.Polynomial(np.ones((0, 2, 2))), ValueError, r"shape \(0, 2, 2\), expected \(n1, n2, n3\)"),
        ({"boundary": mesh, "points": X3}, wos.PerVertex(np.zeros(11)), ValueError, "4 vertices|PerVertex"),
        (vars(ball), wos.PerVertex(np.zeros(12)), ValueError, "PerVertex data, which is defined only on the boundary of a polygon"),
        ({"boundary": box, "points": X4}, wos.GridField(np.zeros((2,) * 4), ([0] * 4, [1] * 4)), ValueError, "boundary has 4"),
        ({"boundary": box, "points": X4}, wos.Polynomial(ONE), ValueError, r"expected \(n1, n2, n3, n4\)"),
    )  # fmt: skip
    of_values = (
        (wos.Fourier(np.zeros(3, np.float32)), TypeError, "float32"),
        (wos.Polynomial(ONE.astype(np.float32)), TypeError, "float32"),
        (wos.GridField(ONE.astype(np.float32), BOX2), TypeError, "float32"),
        (lambda Y: Y, ValueError, r"expected shape \(\d+,\)"),
        (lambda Y: float(Y.sum()), ValueError, r"expected shape .*; it takes one point; pass lambda X: np.array\(\[f\(x\) for"),
        (lambda x, y: x * y, TypeError, r"\(X\) failed for X of shape .*; it takes separate coordinates x, y; pass lambda X: f\(\*X.T\)"),
        (lambda x, y: math.hypot(x, y), TypeError, r"it takes scalars x, y; pass lambda X: np.array\(\[f\(\*x\) for x in X\]"),
        (lambda p: p[0] if p[0] > p[1] else p[1], TypeError, r"it takes one point; pass lambda X: np.array\(\[f\(x\) for x in X"),
        (lambda p: p[0] - p[1], ValueError, r"returned shape \(2,\), expected .*; it takes one point"),
        (lambda Y: Y[:, 0].tolist(), ValueError, "returned a list, expected shape"),
        ([1.0, lambda Y: Y], ValueError, rf"{where}\[1\]\(X\)"),
    )  # fmt: skip
    check_solve(
        *[({"dirichlet": 0.0, **options, where: data}, error, text) for options, data, error, text in of_boundaries],
        later=[({"dirichlet": 0.0, where: data}, error, text) for data, error, text in of_values],
    )
    check_solve((dict(dirichlet=None), TypeError, "dirichlet is None"))


def test_walls():
    one, cube = np.arange(4) == 1, {"boundary": wos.TriangleMesh(V, F), "points": X3}
    gaps = {"boundary": wos.TriangleMesh(V, F, watertight=False), "points": X3}
    crossing = {"boundary": wos.Polygon(TIE), "points": np.array([[0.1, 0.5]])}
    rings = [SQUARE, np.array([[0, 0], [1, 0], [1, 1], [2, -0.5], [0, 1.0]])]
    no_walls = "neumann and robin need a Polygon or a TriangleMesh; boundary is (a )?"
    check_solve(
        (dict(neumann=(np.ones(4, bool), 0.0)), ValueError, "all of polygon 0 reflects"),
        (dict(robin=(np.ones(4, bool), 0.0, 0.0)), ValueError, "all of polygon 0 reflects"),
        (dict(neumann=(one, 0.0), robin=(one, 1.0, 0.0)), ValueError, "segment 1 of polygon 0 is in both"),
        (dict(neumann=(np.ones(5, bool), 0.0)), ValueError, r"expected \(4,\)"),
        (dict(neumann=(np.ones(4), 0.0)), TypeError, "expected bool"),
        (dict(neumann=(one,)), TypeError, r"\(where, h\)"),
        (dict(robin=(one, 1.0)), TypeError, r"\(where, mu, h\)"),
        (dict(neumann=lambda Y: Y[:, 0]), TypeError, r"neumann is function, expected a tuple \(where, h\): where is a function of points"),
        (dict(robin=(one, lambda Y: Y[:, 0], 0.0)), TypeError, "robin's mu is a function, expected a number, or one number per segment"),
        (dict(neumann=(lambda Y: Y[:, 0], one)), TypeError, r"where\(X\) returned float64 of shape \(12,\), expected one bool per point"),
        (dict(robin=(lambda Y: Y[:, 0] < 0.3, 1.0, 0.0)), ValueError, r"where\(X\) is True on only a part of segment 0 of polygon 0"),
        (dict(robin=(one, -1.0, 0.0)), ValueError, "mu"),
        (dict(neumann=(one, wos.PerVertex(np.zeros(3)))), ValueError, r"expected \(4,\)"),
        ({**cube, "robin": (one | True, 0.0, 0.0)}, ValueError, "all of the mesh reflects"),
        ({**cube, "neumann": (one | True, 0.0)}, ValueError, "all of the mesh reflects"),
        ({**cube, "neumann": (np.ones(13, bool), 0.0)}, ValueError, r"expected \(4,\): one entry per triangle"),
        ({**cube, "neumann": (one, wos.PerVertex(np.zeros(9)))}, ValueError, r"expected \(4,\)"),
        ({**cube, "neumann": (one, 0.0), "robin": (one, 1.0, 0.0)}, ValueError, "triangle 1 is in both"),
        ({**cube, "robin": (one, lambda Y: Y[:, 0], 0.0)}, TypeError, "robin's mu is a function, .* or one number per triangle"),
        ({**gaps, "neumann": (one, 0.0)}, ValueError, "watertight=False"),
        (dict(boundary=wos.Ball([0, 0], 1), neumann=(one, 0.0)), ValueError, f"{no_walls}Ball"),
        (dict(boundary=wos.Box([0, 0], [1, 1]), robin=(one, 1.0, 0.0)), ValueError, f"{no_walls}Box"),
        # the domain would be on both sides of crossing segments; absorbing segments may cross
        ({**crossing, "neumann": (np.arange(4) == 0, 0.0)}, ValueError, "segments 0 and 2 of polygon 0 cross.*as separate polygons"),
        (dict(boundary=wos.Polygon(rings), neumann=([np.arange(len(r)) > 0 for r in rings], 0.0)), ValueError, r"\d of polygon 1 cross"),
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="1 segments of length 0"):  # the first one counts in ``where`` and in messages
        repeated, tie = wos.Polygon([SQUARE, SQUARE[[0, 0, 1, 2, 3]]]), wos.Polygon(TIE[[0, 0, 1, 2, 3]])
    where, both = [np.zeros(4, bool), np.arange(5) == 3], "segment 3 of polygon 1 is in both"
    check_solve(
        (dict(boundary=repeated, neumann=(where, 0.0), robin=(where, 1.0, 0.0)), ValueError, both),
        (dict(boundary=repeated, neumann=(lambda Y: Y[:, 0] > 0.5, 0.0)), ValueError, "on only a part of segment 0 of polygon 0"),
        ({**crossing, "boundary": tie, "neumann": (np.arange(5) == 1, 0.0)}, ValueError, "segments 1 and 3 of polygon 0 cross"),
    )
    with pytest.warns(RuntimeWarning, match="1 point lies outside .* NaN; segments 1 and 3 of the polygon cross"):
        solve(tie, [[0.5, 0.9]])
    with pytest.warns(RuntimeWarning, match="1 point lies outside .* NaN; segments 0 and 2 of the polygon cross"):
        solve(crossing["boundary"], [[0.5, 0.9]])
    with pytest.warns(RuntimeWarning, match=r"neumann's where\(X\) is nowhere True on the boundary"):
        solve(crossing["boundary"], [[0.5, 0.5]], neumann=(lambda X: X[:, 1] == 7.0, 0.0))
    assert solve(**crossing, neumann=(np.arange(4) % 2 == 1, 0.0)).value.shape == (1,)
    ring = wos.Polygon(3 * SQUARE, holes=[SQUARE, SQUARE + 1.5])  # the first hole touches two sides
    assert solve(ring, np.array([[2.7, 1.0]]), neumann=(np.arange(12) > 2, 0.0)).value.shape == (1,)


def test_media():
    knows = "a diffusion, or a screening that is not a number"
    check_solve(
        (dict(diffusion=wos.Fourier(np.array([1.0]))), ValueError, "diffusion is Fourier data"),
        (dict(diffusion=wos.PerVertex(np.ones(4))), ValueError, "diffusion is PerVertex data"),
        (dict(screening=wos.PerVertex(np.ones(4))), ValueError, "screening is PerVertex data"),
        (dict(diffusion=2.0, cache="harmonic"), ValueError, "cache cannot be combined with a diffusion"),
        (dict(diffusion=2.0, gradient=True, walks=3), ValueError, "must be even|even number"),
        (dict(diffusion="iron"), TypeError, "diffusion is str"),
        (dict(diffusion=np.ones(3), screening=np.ones(2)), ValueError, "different numbers of instances"),
        (dict(boundary=wos.Ball([0.0] * 3, 1.0), points=X3, diffusion=2.0, exterior=True), ValueError, knows),
        later=(
            (dict(diffusion=wos.Polynomial(np.array([[0.1, 0.0], [-1.0, 0.0]]))), ValueError, "diffusion is .* at .*expected positive"),
            (dict(diffusion=0.0), ValueError, "diffusion is 0 at"),
            (dict(diffusion=wos.GridField(-ONE, BOX2)), ValueError, "at a node, expected a positive"),
            (dict(diffusion=lambda X: np.where(X[:, 0] > 0, np.nan, 1.0)), ValueError, "diffusion is nan at"),
            (dict(screening=wos.Polynomial(np.array([[0.0], [-1.0]]))), ValueError, "screening is .* at .*expected 0 or more"),
            (dict(diffusion=lambda X: X), ValueError, r"diffusion\(X\)"),
        ),
    )  # fmt: skip
    for d in (4, 7):
        start, frame = np.zeros((1, 2, d)), np.concatenate([np.zeros(d), [1.0, 0.01]])[None]
        with pytest.raises(ValueError, match="media are supported only in two and three dimensions"):
            media(start, frame, dirichlet=np.ones((1, 1)), bounds=np.array([[1.0, 1e-3]]))


def test_outside():
    ball = {"boundary": wos.Ball([0, 0, 0], 1.0), "points": np.full((1, 3), 2.0), "exterior": True}
    check_solve(
        ({**ball, "source": 1.0}, ValueError, "requires a source that is 0 far away; pass Gaussians, or a GridField that is 0 on"),
        ({**ball, "source": lambda Y: Y[:, 0]}, ValueError, "requires a source that is 0 far away"),
        ({**ball, "source": wos.GridField(np.ones((3, 3, 3)), BOX3)}, ValueError, "requires a source that is 0 far away"),
        ({**ball, "screening": lambda Y: 1 + Y[:, 0] ** 2}, ValueError, "requires a screening that is a number"),
        ({**ball, "neumann": (np.ones(4, bool), 0.0)}, (TypeError, ValueError), "neumann"),
        ({**ball, "cache": "harmonic"}, ValueError, "cache requires the inside"),
        ({**ball, "exterior": 1}, TypeError, "exterior is 1, expected True or False"),
    )  # fmt: skip


@pytest.mark.parametrize("function", [wos.closest_point, wos.contains, wos.signed_distance])
def test_queries(function):
    mesh, three, name = wos.TriangleMesh(V, F), wos.Polygon([SQUARE] * 3), function.__name__
    expected = r"q has shape .*, expected \(N, 2\) or \(B, ..., 2\) with B = 3"
    check_rejected([
        (lambda: function(mesh, nan_at(np.zeros((1, 3)), 0, 2)), ValueError, rf"{name}: q\[0, 2\] is nan, expected finite numbers"),
        (lambda: function(mesh, np.zeros((3, 2))), ValueError, r"q has shape \(3, 2\), expected \(..., 3\)"),
        (lambda: function(mesh, np.zeros(())), ValueError, "expected"),
        (lambda: function(mesh, np.zeros((3, 3), complex)), TypeError, "q has dtype complex128"),
        (lambda: function(X3, X3), TypeError, rf"{name}: boundary is ndarray, expected a Polygon, TriangleMesh, Ball, Box or SDF"),
        (lambda: function(three, np.zeros((2, 5, 2))), ValueError, expected),
        (lambda: function(three, np.zeros((4, 1, 1, 2))), ValueError, expected),
    ])  # fmt: skip


def test_invalid_indices_of_balls(backend):
    for begin, ball, text in (
        ([0, 1], [1], "ball is out of range"), ([0, 1], [-1], "ball is out of range"), ([0, 2, 1], [0], "begin must never decrease"),
        ([0, 2], [0], "begin must start with 0"),
    ):  # fmt: skip
        arguments = np.ones((1, 2, 3)), np.zeros(1), np.array(begin), np.array(ball), np.zeros((1, 2)), np.ones(1)
        with pytest.raises(ValueError, match=f"wos.gather: {text}"):
            gather(*arguments, modes=1, backend=backend)
        assert np.isnan(gather(*arguments, modes=1, backend="array")).all()  # raises nothing on a device
