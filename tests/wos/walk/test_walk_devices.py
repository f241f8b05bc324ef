"""``solve`` of points on a device: the numbers of the host, by arrays that stand for CuPy's and tensors that stand for CUDA's."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stand_in
from namespaces import mapped
from quatrefoil import _arrays, _backends, wos
from quatrefoil.wos.data import CLASSES
from quatrefoil.wos.walk.packing import with_arrays
from wos.walk import oracle

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
TETRAHEDRON = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
WHERE = np.array([True, False, True, True])


def u(X):
    return X[:, 0] + 2 * X[:, 1] * X[:, 0] - 0.5


def _points(rng, n, d=2, low=0.1, high=0.4):
    return rng.uniform(low, high, (n, d))


def _number(rng):
    return wos.Ball([0.2, 0.1], 0.6), _points(rng, 6, high=0.9), {"dirichlet": 2.0, "source": 1.0}


def _fourier(rng):
    return wos.Ball([0.2, 0.1], 0.6), _points(rng, 4), {"dirichlet": wos.Fourier(rng.standard_normal((3, 5))), "gradient": True}


def _numbers(rng):
    return wos.Box([0.0] * 3, [1.0, 0.5, 0.7]), _points(rng, 4, 3), {"dirichlet": rng.standard_normal(2), "screening": 3.0}


def _gaussians(rng):
    bells = wos.Gaussians(rng.standard_normal(2), rng.random((2, 2)), rng.uniform(0.3, 1.0, 2))
    return wos.Polygon(SQUARE), _points(rng, 4), {"dirichlet": bells, "source": wos.Gaussians(np.ones(1), np.zeros((1, 2)), 0.5)}


def _polynomial(rng):
    return wos.Polygon(SQUARE), _points(rng, 4), {"dirichlet": wos.Polynomial(rng.standard_normal((2, 3))), "gradient": True}


def _grid(rng):
    field = wos.GridField(rng.standard_normal((4, 5)), ((0.0, 0.0), (1.0, 1.0)))
    return wos.Polygon(SQUARE), _points(rng, 2).reshape(1, 2, 2), {"dirichlet": 0.0, "source": field}


def _lists(rng):
    bells = [wos.Gaussians(rng.standard_normal(J), rng.random((J, 2)), 0.5) for J in (1, 3)]
    return wos.Polygon(SQUARE), _points(rng, 3), {"dirichlet": bells, "source": [1.0, 2.0]}


def _functions(rng):
    return wos.Polygon(SQUARE), _points(rng, 3), {"dirichlet": u, "source": [u, lambda X: X[:, 0] ** 2]}


def _polygons(rng):
    rings = [SQUARE, SQUARE * [1, 0.5]]
    return wos.Polygon(rings), _points(rng, 3), {"dirichlet": wos.PerVertex(rng.standard_normal((2, 4)))}


def _mesh(rng):
    g = wos.PerVertex(rng.standard_normal(4))
    return wos.TriangleMesh(*TETRAHEDRON), _points(rng, 4, 3) * 0.6, {"dirichlet": g, "source": 1.0, "gradient": True}


def _outside_of_a_box(rng):
    return wos.Box([0.0] * 3, [1.0, 0.5, 0.7]), -1 - rng.random((3, 3)), {"dirichlet": 1.0, "exterior": True}


def _field(rng):
    t = np.linspace(-1.2, 1.2, 21)
    return wos.SDF(np.hypot(t[:, None], t) - 1, box=((-1.2, -1.2), (1.2, 1.2))), oracle.disc_points(rng, 4, 0.8), {"dirichlet": u}


def _walls(rng):
    options = {"dirichlet": wos.PerVertex(rng.standard_normal(4)), "neumann": (WHERE, 0.5), "source": 1.0}
    return wos.Polygon(SQUARE), _points(rng, 4), options


def _robin(rng):
    where = WHERE & [False, False, True, True]
    values = wos.PerVertex(rng.standard_normal(4))
    return wos.Polygon(SQUARE), _points(rng, 3), {"dirichlet": 1.0, "robin": (where, 2.0, values), "gradient": True}


def _facets(rng):
    return wos.TriangleMesh(*TETRAHEDRON), _points(rng, 2, 3) * 0.6, {"dirichlet": 1.0, "neumann": (WHERE, 1.0)}


def _medium(rng):
    options = {"dirichlet": u, "source": 1.0, "diffusion": lambda X: 2 + X[:, 0] * X[:, 1], "gradient": True}
    return wos.Polygon(SQUARE), _points(rng, 4), options


def _media(rng):
    bells = wos.Gaussians(np.array([1.0, 2.0]), np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([1.0, 2.0]))
    field = wos.GridField(rng.uniform(1, 2, (4, 4)), ((0.0, 0.0), (1.0, 1.0)))
    return wos.Polygon(SQUARE), _points(rng, 3), {"dirichlet": 1.0, "diffusion": bells, "screening": field}


PROBLEMS = [_number, _fourier, _numbers, _gaussians, _polynomial, _grid, _lists, _functions, _polygons, _mesh, _outside_of_a_box]
PROBLEMS += [_field, _walls, _robin, _facets, _medium, _media]
READ_BACK = [_medium, _media]  # for their bounds


def moved(there, options):
    """Data with other arrays; where walls are is asked for on the host."""
    found = {}
    for name, given in options.items():
        inner = isinstance(given, CLASSES) or name in ("dirichlet", "source", "diffusion", "screening")
        found[name] = with_arrays(given, there) if inner else mapped(CLASSES, lambda x: with_arrays(x, there), given)
    return found


def arrays_of(x):
    if isinstance(x, (tuple, list)):
        return [a for item in x for a in arrays_of(item)]
    return arrays_of(list(x.values())) if isinstance(x, dict) else [] if x is None else [x]


def results(r):
    return [r.value, r.stderr, r.grad, r.grad_stderr, r.n_walks, r.mean_steps, r.n_truncated, r.n_escaped]


def check(got, expected, place, back):
    for g, e in zip(arrays_of(got), arrays_of(expected), strict=True):
        assert _arrays.place(g) == place
        assert (tuple(g.shape), _arrays.dtype_name(g)) == (e.shape, e.dtype.name)
        np.testing.assert_allclose(back(g), e, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(e), initial=0))


def problem_of(make, rng, dtype):
    boundary, X, options = make(rng)
    X[..., :1, :] = 7.0 if "exterior" not in options else 0.1  # beyond
    convert = lambda a: a.astype(dtype) if a.dtype == np.float64 else a  # noqa: E731
    return boundary, X.astype(dtype), {"walks": 4, "rng": 5, "max_steps": 60, **moved(convert, options)}


@pytest.mark.filterwarnings("ignore:solve. . points lie:RuntimeWarning")
@pytest.mark.parametrize(("make", "dtype"), [*[(m, "float64") for m in PROBLEMS], (_gaussians, "float32"), (_mesh, "float32")])
def test_like_the_host(make, dtype, cupy, rng, recwarn):
    boundary, X, options = problem_of(make, rng, dtype)
    expected = wos.solve(boundary, X, **options, backend="array")
    grad = rng.standard_normal(expected.value.shape).astype(dtype)
    there = moved(cupy, options)
    recwarn.clear()
    stand_in.WAITED.clear()
    got = wos.solve(boundary, cupy(X), **there)
    resumed = got.resume(4)
    assert stand_in.WAITED == [] or make in READ_BACK
    assert not recwarn.list
    check(results(got), results(expected), "cupy@cuda:1", stand_in.cupy.asnumpy)
    check(results(resumed), results(expected.resume(4)), "cupy@cuda:1", stand_in.cupy.asnumpy)
    if isinstance(options["dirichlet"], list) or isinstance(options.get("source"), list):
        return
    options["rng"] = there["rng"] = 5
    pulled = wos.solve_vjp(boundary, cupy(X), cupy(grad), **there)
    check(pulled, wos.solve_vjp(boundary, X, grad, **options, backend="array"), "cupy@cuda:1", stand_in.cupy.asnumpy)


def test_tables_stay_on_the_device(cupy, rng):
    polygon, X = wos.Polygon(SQUARE), cupy(_points(rng, 3))
    wos.solve(polygon, X, dirichlet=1.0, walks=4, rng=0)
    before = polygon.arrays("cupy@cuda:1")
    wos.solve(polygon, X, dirichlet=1.0, walks=4, rng=0)
    assert polygon.arrays("cupy@cuda:1")[0] is before[0]
    assert set(polygon._scaled) == {"cupy@cuda:1"}  # nothing was made for the host
    assert not polygon._memos


def test_merged_and_kept(cupy, rng):
    """Ranges of walks join to the bits of one, and a result pickles."""
    polygon, X, g = wos.Polygon(cupy(SQUARE)), cupy(_points(rng, 3)), wos.Polynomial(cupy(rng.standard_normal((2, 2))))
    assert polygon.kind == "cupy"
    parts = [wos.solve(polygon, X, dirichlet=g, walks=n, walk_offset=at, rng=2) for at, n in ((6, 3), (0, 6))]
    whole = wos.solve(polygon, X, dirichlet=g, walks=9, rng=2)
    told = []
    in_parts = wos.solve(polygon, X, dirichlet=g, walks=9, rng=2, progress=lambda walks, left: told.append(left))
    assert told[-1] == 0
    for r in (parts[0].merge(parts[1]), pickle.loads(pickle.dumps(parts[1])).resume(3), in_parts):
        for a, b in zip(results(r)[:2], results(whole)[:2]):
            np.testing.assert_array_equal(a.get(), b.get())
    other = wos.solve(polygon, cupy(_points(rng, 3)), dirichlet=g, walks=3, walk_offset=20, rng=2)
    with pytest.raises(ValueError, match="of different problems: they differ in points"):
        whole.merge(other)


@pytest.mark.filterwarnings("ignore:solve. . points lie:RuntimeWarning")
@pytest.mark.parametrize(("make", "options"), [(_grid, {"atol": 0.05}), (_fourier, {"rtol": 0.1, "atol": 1e-3}), (_walls, {"atol": 0.2})])
def test_until_errors_are_small(make, options, cupy, rng):
    """Every point as on the host, whose composition rounds alike; and it goes on from there."""
    boundary, X, given = problem_of(make, rng, "float64")
    given |= {"walks": 8, "max_walks": 40, **options}
    expected, got = wos.solve(boundary, X, **given, backend="array"), wos.solve(boundary, cupy(X), **moved(cupy, given))
    check(results(got), results(expected), "cupy@cuda:1", stand_in.cupy.asnumpy)
    check(results(got.resume(4)), results(expected.resume(4)), "cupy@cuda:1", stand_in.cupy.asnumpy)


@pytest.mark.torch
@pytest.mark.parametrize("gradient", [False, True])
def test_points_end_when_their_own_errors_are_small(gradient, device_tensors, rng):
    """A constant is known after the first round; what is not has all its walks, and they are those of a plain solve."""
    data, X = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 2.0]]), _points(rng, 3)
    options = {"dirichlet": wos.Fourier(device_tensors(data)), "rng": 5, "max_steps": 60, "gradient": gradient}
    got = wos.solve(wos.Ball([0.2, 0.1], 0.6), device_tensors(X), walks=4, atol=1e-9, max_walks=10, **options)
    np.testing.assert_array_equal(device_tensors.back(got.n_walks), [[4] * 3, [10] * 3])
    whole = wos.solve(wos.Ball([0.2, 0.1], 0.6), device_tensors(X), walks=10, **options)
    np.testing.assert_array_equal(device_tensors.back(got.value)[1], device_tensors.back(whole.value)[1])
    np.testing.assert_array_equal(device_tensors.back(got.resume(6).n_walks), [[10] * 3, [16] * 3])


@pytest.mark.torch
def test_slopes_where_points_have_different_walks(device_tensors, rng):
    """Autograd's gradient in the points: of every instance that of its own walks."""
    import torch

    ball, data, X = wos.Ball([0.2, 0.1], 0.6), np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 2.0]]), _points(rng, 3)
    points, options = device_tensors(X).requires_grad_(), {"rng": 5, "max_steps": 60}
    r = wos.solve(ball, points, walks=4, atol=1e-9, max_walks=10, dirichlet=wos.Fourier(device_tensors(data)), **options)
    (got,) = torch.autograd.grad(r.value.sum(), [points])
    expected = np.zeros_like(X)
    for i, walks in enumerate((4, 10)):
        grad = np.zeros((2, 3))
        grad[i] = 1.0
        expected += wos.solve_vjp(ball, X, grad, walks=walks, dirichlet=wos.Fourier(data), backend="array", **options)[0]
    np.testing.assert_allclose(device_tensors.back(got), expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_labels(cupy, rng):
    given = wos.Star(np.array([0.1, -0.2]), np.array([0.0, 0.1])), wos.Fourier(cupy(rng.standard_normal((2, 3)))), 1.0
    labels = wos.NeuralOperatorLabels(*given, points=cupy(_points(rng, 3)), walks=4, rng=0)
    for _ in range(2):
        found = labels.epoch()
    once = wos.solve(given[0], cupy(labels.result.problem.points.get()), dirichlet=given[1], source=1.0, walks=8, rng=0)
    np.testing.assert_array_equal(found.value.get(), once.value.get())


def test_what_is_refused(cupy, rng):
    polygon, X = wos.Polygon(SQUARE), cupy(_points(rng, 3))
    for backend in ("native", "numba"):
        if _backends.reason(backend):
            continue
        with pytest.raises(
            TypeError, match=rf"solve: points is on cuda:1, where backend '{backend}' does not run; leave the choice .* or move the arrays"
        ):
            wos.solve(polygon, X, dirichlet=1.0, backend=backend)
    elsewhere = stand_in.ndarray(np.ones((2, 2)), 0)
    with pytest.raises(TypeError, match=r"dirichlet.coefficients is on cuda:0 but points is on cuda:1; .* on one device: move one of them"):
        wos.solve(polygon, X, dirichlet=wos.Polynomial(elsewhere))
    with pytest.raises(TypeError, match=r"source.coefficients is a numpy array but points is a cupy array; .* of one kind"):
        wos.solve(polygon, X, dirichlet=1.0, source=wos.Polynomial(np.ones((2, 2))))
    with pytest.raises(TypeError, match=r"dirichlet.coefficients has dtype float32 but points has float64"):
        wos.solve(polygon, X, dirichlet=wos.Polynomial(cupy(np.ones((2, 2), np.float32))))
    with pytest.raises(TypeError, match=r"points has dtype float16, expected float32 or float64"):
        wos.solve(polygon, X.astype("float16"), dirichlet=1.0)
    with ThreadPoolExecutor(1) as executor:
        for name, given in (("cache", "harmonic"), ("executor", executor)):
            text = rf"{name} is given, but points is on cuda:1, .* leave {name} out, or move the arrays to the host"
            with pytest.raises(NotImplementedError, match=f"solve: {text}"):
                wos.solve(polygon, X, dirichlet=1.0, **{name: given})
        with pytest.raises(NotImplementedError, match=f"resume: {text}"):
            wos.solve(polygon, X, dirichlet=1.0, walks=2).resume(2, executor=executor)
    with pytest.raises(NotImplementedError, match=r"dirichlet is a list of data of several kinds, which a device does not take"):
        wos.solve(polygon, X, dirichlet=[1.0, u])
    with pytest.raises(TypeError, match=r"grad is on cpu but points is on cuda:1; all arrays of a call must be on one device"):
        wos.solve_vjp(polygon, X, np.ones(3), dirichlet=1.0, rng=0)
    with pytest.raises((TypeError, ValueError), match=r"solve.*backend 'cuda'.*(is not available|does not run; move the arrays to a GPU)"):
        wos.solve(polygon, _points(rng, 3), dirichlet=1.0, backend="cuda")
    numba = pytest.importorskip("numba")
    with pytest.raises(TypeError, match="compiled by Numba; give the Python function"):
        wos.solve(polygon, X, dirichlet=numba.njit(lambda X: X[:, 0]))


def test_not_finite(cupy):
    """Nobody looks: NaN in, NaN out, of that point alone."""
    X = np.full((3, 2), 0.3)
    X[1, 0] = np.nan
    r = wos.solve(wos.Polygon(SQUARE), cupy(X), dirichlet=1.0, walks=4, rng=0)
    np.testing.assert_array_equal(r.value.get(), [1.0, np.nan, 1.0])
    np.testing.assert_array_equal(r.n_walks.get(), [4, 0, 4])


def test_a_walk_by_the_kernel(cupy, rng, monkeypatch):
    """Where the installation has kernels: numbers are theirs, functions are the composition's, and so is what is around walks."""
    asked = []

    def kernel(op):
        return (lambda *given: asked.append(op.name)) if op.name == "walk" else None

    monkeypatch.setattr(_backends.cuda, "reason", lambda: None)
    monkeypatch.setattr(_backends.cuda, "kernel", kernel)
    polygon, X = wos.Polygon(SQUARE), cupy(_points(rng, 3))
    for backend in (None, "cuda"):
        wos.solve(polygon, X, dirichlet=1.0, walks=4, rng=0, backend=backend)
        assert asked.pop() == "walk"
        assert not asked
    wos.solve(polygon, X, dirichlet=u, walks=4, rng=0)
    wos.solve(polygon, X, dirichlet=1.0, neumann=(WHERE, 0.0), walks=4, max_steps=30, rng=0)
    assert not asked
    with pytest.raises(NotImplementedError, match=r"wos.stars: no backend can run this \(cuda: has no such kernel\)"):
        wos.solve(polygon, X, dirichlet=1.0, neumann=(WHERE, 0.0), backend="cuda")


# ---------------------------------------------------------------- tensors


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:solve. . points lie:RuntimeWarning")
@pytest.mark.parametrize("make", [m for m in PROBLEMS if m not in READ_BACK])
def test_tensors(make, device_tensors, rng):
    """Values, and autograd's gradients against those of ``solve_vjp``."""
    import torch

    boundary, X, options = problem_of(make, rng, "float64")
    expected = wos.solve(boundary, X, **options, backend="array")
    leaves = []

    def leaf(a):
        made = device_tensors(a)
        if made.is_floating_point():
            leaves.append(made.requires_grad_())
        return made

    there = moved(leaf, options)
    points = device_tensors(X).requires_grad_()
    r = wos.solve(_of_tensors(boundary), points, **there)
    is_list = any(isinstance(options.get(name), list) for name in ("dirichlet", "source"))
    inside = np.isfinite(expected.value)
    grad = np.where(inside, rng.standard_normal(expected.value.shape), 0.0)
    given = device_tensors(grad)
    pulled = torch.autograd.grad(torch.where(given == 0, given, r.value * given).sum(), [points, *leaves], allow_unused=True)
    got = [r.value, r.stderr, r.mean_steps, r.n_walks]
    pairs = list(zip(got, [expected.value, expected.stderr, expected.mean_steps, expected.n_walks], strict=True))
    if not is_list:
        pairs += zip(pulled, arrays_of(wos.solve_vjp(boundary, X, grad, **options, backend="array")))
    for g, e in pairs:
        np.testing.assert_allclose(device_tensors.back(g), e, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(e), initial=0))


def _of_tensors(boundary):
    """A boundary that goes with every kind of array."""
    boundary.kind = None
    return boundary
