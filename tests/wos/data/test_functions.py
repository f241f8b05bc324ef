"""User functions: every kind gives the same result as the equivalent class for the same walks; errors of invalid functions."""

import functools

import numpy as np
import pytest

from case import first_backend_or_slow
from quatrefoil import wos
from wos.domains import SQUARE, cfunc
from wos.walk import oracle
from wos.walk.oracle import disc_points, seed, star_points

numba = pytest.importorskip("numba")
POINTER = numba.types.CPointer(numba.types.float64)


def compiled(a, c, w):
    @numba.njit
    def f(Y):
        out = np.zeros(len(Y))
        for i in range(len(Y)):
            for j in range(len(a)):
                out[i] += a[j] * np.exp(-((Y[i] - c[j]) ** 2).sum() / w**2)
        return out

    return f


KINDS = {
    "callable": lambda *arguments: lambda Y: oracle.gaussians(Y, *arguments),
    "partial": lambda *arguments: functools.partial(oracle.gaussians, **dict(zip(("amplitude", "center", "width"), arguments))),
    "njit": compiled,
    "njit of one type": lambda *arguments: numba.njit("float64[:](float64[:,:])")(compiled(*arguments).py_func),
    "partial of njit": lambda *arguments: functools.partial(compiled(*arguments)),
    "cfunc": lambda a, c, w: cfunc(compiled(a, c, w), c.shape[1]),
}


IN_SPACE = pytest.param(3, marks=pytest.mark.slow)  # compilation is slow, and does not depend on the dimension


@pytest.mark.parametrize("d", [2, IN_SPACE])
@pytest.mark.parametrize("name", KINDS)
@first_backend_or_slow
def test_every_kind_of_function_is_the_class_by_hand(name, d, backend, rng):
    """As dirichlet, as source, as both, and as a list with one function per instance. In float64, only the order of sums differs."""
    boundary, X = (
        (wos.Polygon(oracle.star(40)), star_points(rng, 5)) if d == 2 else (wos.Ball([0.1, 0, 0.2], 1.3), disc_points(rng, 5, d=3))
    )
    parameters = [(rng.normal(size=3), rng.normal(size=(3, d)), rng.uniform(0.5, 2)) for _ in range(2)]
    by_class, by_hand = [wos.Gaussians(*g) for g in parameters], [KINDS[name](*g) for g in parameters]
    run = dict(walks=10, epsilon=1e-7, rng=seed(rng))
    for where in ("dirichlet", "source"):
        for one, two in ((by_class[0], by_hand[0]), (by_class, by_hand), (by_class, [by_class[0], by_hand[1]])):
            expected, got = (wos.solve(boundary, X, **{"dirichlet": 0.0, where: f}, **run) for f in (one, two))
            np.testing.assert_allclose(got.value, expected.value, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(got.mean_steps, expected.mean_steps)
    one, two = (wos.solve(boundary, X, dirichlet=f[0], source=f[1], **run).value for f in (by_class, by_hand))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["callable", "njit", "cfunc"])
@first_backend_or_slow
def test_many_instances(name, backend, rng):
    """More instances than are walked together. Each has a separate function."""
    a, c = rng.normal(size=(2, 1)), np.zeros((1, 2))
    two = [KINDS[name](a[k], c, 1.0) for k in range(2)]
    which = rng.integers(0, 2, 70)
    run = dict(walks=3, epsilon=1e-7, rng=seed(rng))
    X, ball = disc_points(rng, 2, 0.5), wos.Ball([0, 0], 1)
    one = wos.solve(ball, X, dirichlet=[two[k] for k in which], source=[two[k] for k in which], **run)
    expected = wos.solve(ball, X, dirichlet=wos.Gaussians(a[which], c, 1.0), source=wos.Gaussians(a[which], c, 1.0), **run)
    np.testing.assert_allclose(one.value, expected.value, rtol=0, atol=1e-13)


def test_values_of_compiled_functions(backend):
    """No instances; unsupported dtypes; too few or too many values; a function that is correct when tested but not for large blocks."""
    none, ones = compiled(np.ones(1), np.zeros((1, 2)), 1.0), lambda n: numba.njit(lambda Y: np.ones(n))

    def solve(f, count=1):
        return wos.solve(wos.Polygon(SQUARE), np.full((count, 2), 0.5), dirichlet=f, walks=4, rng=0).value

    assert wos.solve(wos.Polygon(np.zeros((0, 4, 2))), np.zeros((0, 3, 2)), dirichlet=none, walks=2).value.shape == (0, 3)
    for f in (lambda Y: np.ones(len(Y), np.int64), numba.njit(lambda Y: Y[:, 0] < 9), lambda Y: np.ones(len(Y), np.float32)):
        np.testing.assert_array_equal(solve(f), 1)
    for n in (3, 5):
        with pytest.raises(ValueError, match=rf"dirichlet\(X\) with X of shape \(\d, 2\) returned shape \({n},\), expected shape \(\d,\)"):
            solve(ones(n))
    values = solve(numba.njit(lambda Y: np.ones(min(len(Y), 7))), 40)
    assert np.isnan(values).any()
    assert (np.isnan(values) | (values == 1)).all()


def test_a_cfunc_of_another_signature(backend):
    t = numba.types
    for signature, body in (
        (t.float64(t.float64), lambda x: x),
        (t.void(t.int32, POINTER, POINTER), lambda n, x, out: None),
        (t.void(t.int64, POINTER, t.CPointer(t.float32)), lambda n, x, out: None),
        (t.void(t.int64, POINTER), lambda n, x: None),
    ):
        for where in ("dirichlet", "source"):
            data = {"dirichlet": 0.0, where: numba.cfunc(signature)(body)}
            with pytest.raises(TypeError, match=rf"solve: {where} is a cfunc .*expected void\(int64 n, const double\* x, double\* out\)"):
                wos.solve(wos.Polygon(SQUARE), np.array([[0.5, 0.5]]), walks=4, rng=0, **data)


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
def test_functions_are_called_in_the_domain(what, array, backend):
    """Functions are evaluated only in the domain, even for ended walks and points outside, because interpolators raise errors elsewhere."""
    shapes = {"walls": ["ell", "ring", "tetrahedron"], "medium": ["ell", "ring", "ball", "tetrahedron"], "exterior": ["tetrahedron", "ell"]}
    for shape in shapes.get(what, SHAPES):
        boundary, names = SHAPES[shape], set()

        def known(name, boundary=boundary, names=names):
            def f(Y):
                distance = wos.signed_distance(boundary, Y.astype(np.float64))
                assert (distance * (-1 if what == "exterior" else 1) <= 1e-6 * boundary._extent[0]).all(), (shape, name)  # noqa: B023
                names.add(name)
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
        assert names >= {"g"} | ({"f"} if what != "exterior" else set())
