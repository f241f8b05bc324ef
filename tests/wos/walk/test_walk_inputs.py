"""What solve and its boundaries refuse, and how they say it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.walk import expansion
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


def nan_at(array, *index):
    array = array.copy()
    array[index] = np.nan
    return array


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: wos.Polygon(nan_at(SQUARE, 2, 1)), ValueError, r"vertices\[2, 1\] is nan"),
        (lambda: wos.Polygon(SQUARE[:2]), ValueError, "at least 3"),
        (lambda: wos.Polygon(np.array([[0, 0], [1, 1], [2, 2.0]])), ValueError, "no area"),
        (lambda: wos.Polygon(np.zeros((4, 3))), ValueError, "expected"),
        (lambda: wos.Polygon(np.zeros(4)), ValueError, "expected"),
        (lambda: wos.Polygon(SQUARE.astype(int)), TypeError, "int64"),
        (lambda: wos.Polygon(SQUARE.astype(np.float16)), TypeError, "float16"),
        (lambda: wos.Polygon(np.ma.masked_array(SQUARE)), TypeError, "masked"),
        (lambda: wos.Polygon([[0, 0], [1, 0], [1, 1]]), TypeError, "list"),
        (lambda: wos.Polygon(SQUARE, holes=[SQUARE[:2]]), ValueError, "at least 3"),
        (lambda: wos.Polygon(SQUARE, holes=3), TypeError, "list"),
        (lambda: wos.Polygon([SQUARE, SQUARE], holes=[[]]), ValueError, "holes"),
        (lambda: wos.Ball([0, 0], 0), ValueError, "positive"),
        (lambda: wos.Ball([0, 0], float("nan")), ValueError, "finite"),
        (lambda: wos.Ball([0, float("inf")], 1), ValueError, r"center\[1\]"),
        (lambda: wos.Ball([0, 0], "1"), TypeError, "radius"),
        (lambda: wos.Ball([0] * 1025, 1), ValueError, "2 to 1024"),
        (lambda: wos.Fourier(np.zeros(4)), ValueError, "odd"),
        (lambda: wos.Fourier(np.array([1.0, np.nan, 0.0])), ValueError, "nan"),
        (lambda: wos.Fourier([1.0]), TypeError, "list"),
        (lambda: wos.Fourier(np.zeros(3), (0, np.nan)), ValueError, "center"),
        (lambda: wos.PerVertex(np.zeros((2, 2, 2))), ValueError, "expected"),
        (lambda: wos.Gaussians(np.ones(2), np.zeros((3, 2)), 1.0), ValueError, "expected"),
        (lambda: wos.Gaussians(np.ones(2), np.zeros((2, 2)), 0.0), ValueError, "positive"),
    ],
)
def test_boundaries_and_data(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (dict(points=nan_at(X, 1, 0)), ValueError, r"points\[1, 0\] is nan"),
        (dict(points=X[0]), ValueError, "points has shape"),
        (dict(points=np.zeros((3, 3))), ValueError, "points has shape"),
        (dict(points=X.astype(np.float16)), TypeError, "float16"),
        (dict(points=X.tolist()), TypeError, "list"),
        (dict(points=np.ma.masked_array(X)), TypeError, "masked"),
        (dict(boundary=SQUARE), TypeError, "expected a Polygon"),
        (dict(dirichlet=None), TypeError, "dirichlet is None"),
        (dict(dirichlet="1"), TypeError, "str"),
        (dict(dirichlet=True), TypeError, "bool"),
        (dict(dirichlet=float("nan")), ValueError, "nan"),
        (dict(dirichlet=1.0, source=float("inf")), ValueError, "inf"),
        (dict(dirichlet=wos.Fourier(np.zeros(3, np.float32))), TypeError, "float32"),
        (dict(dirichlet=wos.PerVertex(np.zeros(5))), ValueError, "4 vertices"),
        (dict(dirichlet=1.0, source=wos.PerVertex(np.zeros(4))), ValueError, "source is PerVertex"),
        (dict(dirichlet=wos.Gaussians(np.ones(1), np.zeros((1, 3)), 1.0)), ValueError, "3 coordinates"),
        (dict(dirichlet=lambda Y: Y), ValueError, r"expected shape \(\d+,\)"),
        (dict(dirichlet=lambda Y: 1.0), ValueError, "expected shape"),
        (dict(dirichlet=wos.Fourier(np.zeros((2, 3))), source=np.zeros(3)), ValueError, "dirichlet 2, source 3"),
        (dict(boundary=wos.Polygon(np.stack([SQUARE] * 3)), dirichlet=[1.0, 2.0]), ValueError, "list of 2"),
        (
            dict(boundary=wos.Polygon(np.stack([SQUARE] * 3)), points=np.stack([X, X])),
            ValueError,
            "points 2, boundary 3",
        ),
        (
            dict(boundary=wos.Ball([0, 0, 0], 1), points=np.zeros((1, 3)), dirichlet=wos.Fourier(np.zeros(3))),
            ValueError,
            "two dimensions",
        ),
        (dict(epsilon=0.0), ValueError, "positive"),
        (dict(epsilon=float("nan")), ValueError, "positive"),
        (dict(epsilon="small"), TypeError, "epsilon"),
        (dict(walks=0), ValueError, "at least 1"),
        (dict(walks=2.0), TypeError, "integer"),
        (dict(walks=True), TypeError, "integer"),
        (dict(walks=1, walk_offset=2**32), ValueError, "asked for"),
        (dict(max_steps=0), ValueError, "at least 1"),
        (dict(max_steps=2**20), ValueError, "at most"),
        (dict(walk_offset=-1), ValueError, "at least 0"),
        (dict(rng=-1), ValueError, "rng is -1, expected at least 0"),
        (dict(rng=2**64), ValueError, "expected at most 18446744073709551615"),
        (dict(rng="a"), TypeError, "Generator"),
        (dict(rng=1.5), TypeError, "float"),
        (dict(num_threads=0), ValueError, "num_threads"),
        (dict(backend="fortran"), ValueError, "fortran"),
        (dict(screening=-1.0), ValueError, "screening is -1.0"),
        (dict(screening=float("inf")), ValueError, "screening is inf"),
        (dict(screening="strong"), TypeError, "screening"),
        (dict(screening=np.array([1.0, -2.0])), ValueError, "screening is -2 at"),
        (dict(gradient=np.ones(2)), TypeError, "gradient"),
        (dict(gradient=True, walks=3), ValueError, "walks is 3; .*even"),
        (dict(gradient=True, walks=4, walk_offset=1), ValueError, "walk_offset is 1; .*even"),
        (dict(unknown=1), TypeError, "unknown"),
    ],
)
def test_solve(options, error, text, backend):
    options = {"rng": 1, **options}
    with pytest.raises(error, match=text):
        solve(**options)


def test_njit_of_the_wrong_shape(backend):
    import numba

    @numba.njit
    def wrong(Y):
        return Y

    with pytest.raises(ValueError, match="expected shape"):
        solve(dirichlet=wrong)


def test_an_error_of_a_python_function_comes_through(backend):
    def fails(Y):
        raise ZeroDivisionError("mine")

    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError, match="mine"):
            wos.solve(wos.Polygon(SQUARE), np.tile(X, (500, 1)), dirichlet=fails, walks=100, num_threads=threads)


def test_warnings():
    with pytest.warns(RuntimeWarning, match="1 segments of length 0"):
        twice = wos.Polygon(np.insert(SQUARE, 1, SQUARE[1], axis=0))
    assert (solve(twice, dirichlet=wos.PerVertex(np.full(5, 2.0))).value == 2).all()
    with pytest.warns(RuntimeWarning, match="out of order"):
        wos.Polygon(oracle.star(200)[np.random.default_rng(0).permutation(200)])
    with pytest.warns(RuntimeWarning, match="epsilon is as large as the domain"):
        solve(epsilon=0.6)


def test_empty(backend):
    for points in (np.zeros((0, 2)), np.zeros((0, 2), np.float32)):
        r = solve(points=points)
        assert r.value.shape == r.stderr.shape == r.n_walks.shape == (0,)
        assert r.value.dtype == points.dtype
    r = solve(wos.Polygon(np.zeros((0, 5, 2))), points=np.zeros((0, 3, 2)), source=1.0)
    assert r.value.shape == (0, 3)


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
    labels = wos.NeuralOperatorLabels(wos.Polygon(SQUARE), 1.0, None, points=np.zeros((0, 2)), gradient=True, backend=any_backend)
    assert labels.epoch().grad.shape == labels.epoch().grad.shape == (0, 2)
    if any_backend != "array":  # in which there are no caches
        assert solve(wos.Polygon(SQUARE), np.zeros((0, 2)), cache="harmonic", backend=any_backend).value.shape == (0,)


def test_a_bow_tie(any_backend):
    """Inside means an odd number of crossings, whatever the signed area is."""
    tie = wos.Polygon(np.array([[0, 0], [1, 1], [1, 0], [0, 1.0]]))
    q = np.array([[0.1, 0.5], [0.9, 0.5], [0.5, 0.1], [0.5, 0.9]])
    np.testing.assert_array_equal(wos.contains(tie, q, backend=any_backend), [True, True, False, False])
    g = wos.Polynomial(np.array([[0.0, 1.0], [1.0, 0.0]]))
    r = wos.solve(tie, q[:2], dirichlet=g, walks=1024, epsilon=1e-4, rng=0, backend=any_backend)
    assert (np.abs(r.value - q[:2].sum(axis=1)) < 6 * r.stderr).all()
    wos.Polygon(np.stack([np.sin(np.arange(64) * np.pi / 32), np.sin(np.arange(64) * np.pi / 16)], axis=-1))
    for nothing in (
        [[0, 0], [1, 0], [2, 0], [1, 0]],
        [[0, 0], [2, 0], [1, 0], [1, 1], [1, 0]],
        [[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [1, 0]],
    ):
        with pytest.raises(ValueError, match="no area"):
            wos.Polygon(np.array(nothing, float))


def test_inputs_are_left_alone_and_strides_do_not_matter(backend):
    wide = np.zeros((40, 6), np.float32)
    wide[:, ::3] = np.random.default_rng(0).uniform(0.1, 0.9, (40, 2))
    ring = np.asfortranarray(SQUARE[::-1])
    points = wide[:, ::3]
    before, ring_before = points.copy(), ring.copy()
    points.setflags(write=False)
    a = solve(wos.Polygon(ring), points, dirichlet=oracle.harmonic, rng=2)
    b = solve(wos.Polygon(ring.copy()), before.copy(), dirichlet=oracle.harmonic, rng=2)
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(ring, ring_before)


def test_generator_and_seed(backend):
    r = solve(rng=np.random.default_rng(3), dirichlet=oracle.harmonic)
    again = solve(rng=np.random.default_rng(3), dirichlet=oracle.harmonic)
    same = solve(rng=r.seed, dirichlet=oracle.harmonic)
    assert r.seed == again.seed
    np.testing.assert_array_equal(r.value, same.value)
    assert solve(rng=None).seed != solve(rng=None).seed


@pytest.mark.parametrize(
    ("begin", "ball", "text"),
    [
        ([0, 1], [1], "no such ball"), ([0, 1], [-1], "no such ball"), ([0, 2, 1], [0], "begin does not rise"),
        ([0, 2], [0], "begin does not fit ball"),
    ],
)  # fmt: skip
def test_balls_that_are_not_there(begin, ball, text, backend):
    arguments = np.ones((1, 2, 3)), np.zeros(1), np.array(begin), np.array(ball), np.zeros((1, 2)), np.ones(1)
    with pytest.raises(ValueError, match=f"wos.gather: {text}"):
        expansion.gather(*arguments, modes=1, backend=backend)
    assert np.isnan(expansion.gather(*arguments, modes=1, backend="array")).all()  # which raises nothing on a device


def test_reflecting_segments_do_not_cross():
    """The domain would lie on both of their sides; those that touch, and crossings of absorbing ones, are as ever."""
    tie = wos.Polygon(np.array([[0, 0], [1, 1], [1, 0], [0, 1.0]]))
    inside = np.array([[0.1, 0.5]])
    for where in ([True, False, False, False], [False, False, True, False]):
        with pytest.raises(ValueError, match=r"segments 0 and 2 of polygon 0 cross.*give the loops as polygons of their own"):
            solve(tie, inside, neumann=(np.array(where), 0.0))
    assert solve(tie, inside, neumann=(np.array([False, True, False, True]), 0.0)).value.shape == (1,)
    ring = wos.Polygon(3 * SQUARE, holes=[SQUARE, SQUARE + 1.5])  # the first hole touches two sides
    assert solve(ring, np.array([[2.7, 1.0]]), neumann=(np.arange(12) > 2, 0.0)).value.shape == (1,)
    rings = [SQUARE, np.array([[0, 0], [1, 0], [1, 1], [2, -0.5], [0, 1.0]])]
    with pytest.raises(ValueError, match=r"segments \d and \d of polygon 1 cross"):
        solve(wos.Polygon(rings), X, neumann=([np.arange(4) > 0, np.arange(5) > 0], 0.0))
