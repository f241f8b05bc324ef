"""User functions: every kind gives what the class by hand gives, on the same walks; what they may not be is said."""

import functools

import numpy as np
import pytest

from case import first_backend_or_slow
from quatrefoil import wos
from wos.walk import oracle
from wos.walk.oracle import disc_points, seed, star_points

numba = pytest.importorskip("numba")
POINTER = numba.types.CPointer(numba.types.float64)
SIGNATURE = numba.types.void(numba.types.int64, POINTER, POINTER)
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])


def bell(Y, amplitude, center, width):
    return oracle.gaussians(Y, amplitude, center, width)


def closed(a, c, w):
    return lambda Y: bell(Y, a, c, w)


def compiled(a, c, w):
    @numba.njit
    def f(Y):
        out = np.zeros(len(Y))
        for i in range(len(Y)):
            for j in range(len(a)):
                out[i] += a[j] * np.exp(-((Y[i] - c[j]) ** 2).sum() / w**2)
        return out

    return f


def typed(a, c, w):
    f = compiled(a, c, w)
    return numba.njit("float64[:](float64[:,:])")(lambda Y: f(Y))


def pointer(a, c, w):
    d = c.shape[1]

    @numba.cfunc(SIGNATURE)
    def f(n, x, out):
        for i in range(n):
            out[i] = 0.0
            for j in range(len(a)):
                r2 = 0.0
                for k in range(d):
                    r2 += (x[d * i + k] - c[j, k]) ** 2
                out[i] += a[j] * np.exp(-r2 / w**2)

    return f


KINDS = {
    "callable": closed,
    "partial": lambda *given: functools.partial(bell, amplitude=given[0], center=given[1], width=given[2]),
    "njit": compiled,
    "njit of one type": typed,
    "partial of njit": lambda *given: functools.partial(compiled(*given)),
    "cfunc": pointer,
}


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("name", KINDS)
@first_backend_or_slow
def test_every_kind_of_function_is_the_class_by_hand(name, d, backend, rng):
    """As dirichlet, as source, both, and a list with one an instance; float64 walks, so that only the order of sums differs."""
    boundary, X = (
        (wos.Polygon(oracle.star(40)), star_points(rng, 5)) if d == 2 else (wos.Ball([0.1, 0, 0.2], 1.3), disc_points(rng, 5, d=3))
    )
    given = [(rng.normal(size=3), rng.normal(size=(3, d)), rng.uniform(0.5, 2)) for _ in range(2)]
    by_class, by_hand = [wos.Gaussians(*g) for g in given], [KINDS[name](*g) for g in given]
    run = dict(walks=10, epsilon=1e-7, rng=seed(rng))
    for where in ("dirichlet", "source"):
        for one, two in ((by_class[0], by_hand[0]), (by_class, by_hand), (by_class, [by_class[0], by_hand[1]])):
            expected, got = (wos.solve(boundary, X, **{"dirichlet": 0.0, where: f}, **run) for f in (one, two))
            np.testing.assert_allclose(got.value, expected.value, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(got.mean_steps, expected.mean_steps)
    one, two = (wos.solve(boundary, X, dirichlet=f[0], source=f[1], **run).value for f in (by_class, by_hand))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-12)


def test_functions_get_absolute_coordinates_of_their_instance(backend, rng):
    """B polygons, a function each: instance b's gets points of polygon b only, in the points' dtype."""
    seen = [[], [], []]

    def watch(b):
        def f(Y):
            seen[b].append(Y)
            return np.full(len(Y), float(b))

        return f

    shifts = np.array([[0, 0], [100, 5], [-1e6, 1e6]])
    polygon, X = wos.Polygon(SQUARE + shifts[:, None]), (shifts[:, None] + rng.uniform(0.1, 0.9, (3, 4, 2)))
    r = wos.solve(polygon, X, dirichlet=[watch(b) for b in range(3)], walks=6, rng=1)
    np.testing.assert_array_equal(r.value, np.arange(3.0)[:, None] * np.ones(4))
    for b in range(3):
        Y = np.concatenate(seen[b])
        assert Y.dtype == np.float64
        assert np.abs(Y - shifts[b] - 0.5).max() < 0.51
    wos.solve(wos.Polygon(SQUARE), X[0].astype(np.float32), dirichlet=watch(0), walks=2, rng=1)
    assert seen[0][-1].dtype == np.float32


@pytest.mark.parametrize("name", ["callable", "njit", "cfunc"])
def test_many_instances(name, backend, rng):
    """More of them than are walked together: everyone has its own function."""
    a, c = rng.normal(size=(2, 1)), np.zeros((1, 2))
    two = [KINDS[name](a[k], c, 1.0) for k in range(2)]
    which = rng.integers(0, 2, 70)
    run = dict(walks=3, epsilon=1e-7, rng=seed(rng))
    X, ball = disc_points(rng, 2, 0.5), wos.Ball([0, 0], 1)
    one = wos.solve(ball, X, dirichlet=[two[k] for k in which], source=[two[k] for k in which], **run)
    expected = wos.solve(ball, X, dirichlet=wos.Gaussians(a[which], c, 1.0), source=wos.Gaussians(a[which], c, 1.0), **run)
    np.testing.assert_allclose(one.value, expected.value, rtol=0, atol=1e-13)


def test_an_njit_function_of_no_instances(backend):
    r = wos.solve(wos.Polygon(np.zeros((0, 4, 2))), np.zeros((0, 3, 2)), dirichlet=compiled(np.ones(1), np.zeros((1, 2)), 1.0), walks=2)
    assert r.value.shape == (0, 3)


@pytest.mark.parametrize("n", [3, 5])
def test_an_njit_function_of_a_fixed_number_of_values(n, backend):
    """Its values would be read beyond their end."""
    f = numba.njit(lambda Y: np.ones(n))
    with pytest.raises(ValueError, match=rf"dirichlet\(X\) with X of shape \(\d, 2\) gave shape \({n},\), expected shape \(\d,\)"):
        wos.solve(wos.Polygon(SQUARE), np.array([[0.5, 0.5]]), dirichlet=f, walks=4, rng=0)


def test_an_njit_function_whose_values_run_out(backend):
    """It is right where it is tried and wrong in a block: NaN, and nothing is read that is not there."""
    f = numba.njit(lambda Y: np.ones(min(len(Y), 7)))
    r = wos.solve(wos.Polygon(SQUARE), np.full((40, 2), 0.5), dirichlet=f, walks=4, rng=0)
    assert np.isnan(r.value).any()
    assert (np.isnan(r.value) | (r.value == 1)).all()


def test_a_cfunc_of_another_signature(backend):
    t = numba.types
    others = [
        t.float64(t.float64),
        t.void(t.int32, POINTER, POINTER),
        t.void(t.int64, POINTER, t.CPointer(t.float32)),
        t.void(t.int64, POINTER),
    ]
    bodies = [lambda x: x, lambda n, x, out: None, lambda n, x, out: None, lambda n, x: None]
    for signature, body in zip(others, bodies):
        for where in ("dirichlet", "source"):
            given = {"dirichlet": 0.0, where: numba.cfunc(signature)(body)}
            with pytest.raises(TypeError, match=rf"solve: {where} is a cfunc .*expected void\(int64 n, const double\* x, double\* out\)"):
                wos.solve(wos.Polygon(SQUARE), np.array([[0.5, 0.5]]), walks=4, rng=0, **given)


def test_values_of_other_types(backend):
    for f in (lambda Y: np.ones(len(Y), np.int64), numba.njit(lambda Y: Y[:, 0] < 9), lambda Y: np.ones(len(Y), np.float32)):
        np.testing.assert_array_equal(wos.solve(wos.Polygon(SQUARE), np.array([[0.5, 0.5]]), dirichlet=f, walks=4, rng=0).value, 1)


SHAPES = {
    "ell": wos.Polygon(np.array([[0, 0], [1, 0], [1, 0.3], [0.3, 0.3], [0.3, 1], [0, 1.0]])),
    "ring": wos.Polygon(SQUARE * 3, holes=[SQUARE + 1]),
    "ball": wos.Ball((1.0, 1.0), 2.0),
    "tetrahedron": wos.TriangleMesh(np.eye(4, 3), np.array([[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]])),
    "box": wos.Box([0.0] * 4, [1.0] * 4),
}


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("what", ["plain", "gradient", "screening", "walls", "medium", "exterior"])
@pytest.mark.filterwarnings("ignore:solve. .* points? lies?:RuntimeWarning")
def test_functions_are_asked_in_the_domain(what, array, backend):
    """Also where walks have ended, and where points lie outside: interpolators raise there."""
    shapes = {"walls": ["ell", "ring", "tetrahedron"], "medium": ["ell", "ring", "ball", "tetrahedron"], "exterior": ["tetrahedron"]}
    for shape in shapes.get(what, SHAPES):
        boundary, asked = SHAPES[shape], set()

        def known(name, boundary=boundary, asked=asked):
            def f(Y):
                distance = wos.signed_distance(boundary, Y.astype(np.float64))
                assert (distance * (-1 if what == "exterior" else 1) <= 1e-6 * boundary._extent[0]).all(), (shape, name)  # noqa: B023
                asked.add(name)
                return 1 + 0.1 * Y[:, 0]

            return f

        more = {
            "plain": {}, "gradient": {"gradient": True}, "screening": {"screening": 5.0}, "exterior": {"exterior": True},
            "walls": {"neumann": (np.arange(len(getattr(boundary, "_ends", []))) % 2 == 0, known("h"))},
            "medium": {"diffusion": lambda Y: 1 + 0.1 * np.sin(Y[:, 0]), "screening": known("sigma")},
        }[what]  # fmt: skip
        more = {**more, "source": None if what == "exterior" else known("f"), "backend": "array" if array else backend}
        X = boundary._centre[0] + boundary._extent[0] * np.random.default_rng(3).uniform(-0.6, 0.6, (37, boundary.dimension))
        wos.solve(boundary, X, dirichlet=known("g"), walks=6, rng=1, **more)
        assert asked >= {"g"} | ({"f"} if what != "exterior" else set())
