"""``solve`` of points on a device: the numbers of the host, by arrays that stand for CuPy's and tensors that stand for CUDA's."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stand_in
from quatrefoil import _arrays, _backends, wos
from wos.domains import DOMAINS, ON_HOST, SQUARE, WHERE, arrays_of, corner, moved, problem, u

PROBLEMS = [name for name in DOMAINS if name not in (*ON_HOST, "five dimensions")]  # which takes long to compose
READ_BACK = ["medium", "media", "media of many"]  # for their bounds


def results(r):
    return [r.value, r.stderr, r.grad, r.grad_stderr, r.n_walks, r.mean_steps, r.n_truncated, r.n_escaped]


def check(got, expected, place, back):
    for g, e in zip(arrays_of(got), arrays_of(expected), strict=True):
        assert _arrays.location(g) == place
        assert (tuple(g.shape), _arrays.dtype_name(g)) == (e.shape, e.dtype.name)
        np.testing.assert_allclose(back(g), e, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(e), initial=0))


def problem_of(name, rng, dtype):
    """With a point beyond."""
    boundary, X, options = problem(name, rng, dtype)
    X[..., :1, :] = 7.0 if "exterior" not in options else 0.1
    return boundary, X, options


@pytest.mark.filterwarnings("ignore:solve. . points? lies?:RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), [*[(m, "float64") for m in PROBLEMS], ("star", "float32"), ("mesh", "float32")])
def test_like_the_host(name, dtype, cupy, rng, recwarn):
    boundary, X, options = problem_of(name, rng, dtype)
    expected = wos.solve(boundary, X, **options, backend="array")
    grad = rng.standard_normal(expected.value.shape).astype(dtype)
    there = moved(cupy, options)
    recwarn.clear()
    stand_in.WAITED.clear()
    got = wos.solve(boundary, cupy(X), **there)
    assert stand_in.WAITED == [] or name in READ_BACK
    assert not recwarn.list
    check(results(got), results(expected), "cupy@cuda:1", stand_in.cupy.asnumpy)
    if name == "star":
        check(results(got.resume(4)), results(expected.resume(4)), "cupy@cuda:1", stand_in.cupy.asnumpy)
    if isinstance(options["dirichlet"], list) or isinstance(options.get("source"), list):
        return
    options["rng"] = there["rng"] = 5
    pulled = wos.solve_vjp(boundary, cupy(X), cupy(grad), **there)
    check(pulled, wos.solve_vjp(boundary, X, grad, **options, backend="array"), "cupy@cuda:1", stand_in.cupy.asnumpy)


def test_tables_stay_on_the_device(cupy, rng):
    polygon, X = wos.Polygon(SQUARE), cupy(corner(rng, 3))
    wos.solve(polygon, X, dirichlet=1.0, walks=4, rng=0)
    before = polygon._arrays_of("cupy@cuda:1")
    wos.solve(polygon, X, dirichlet=1.0, walks=4, rng=0)
    assert polygon._arrays_of("cupy@cuda:1")[0] is before[0]
    assert set(polygon._arrays) == {"cupy@cuda:1"}  # nothing was made for the host
    assert not polygon._memos


def test_merged_and_kept(cupy, rng):
    """Ranges of walks join to the bits of one, and a result pickles."""
    polygon, X, g = wos.Polygon(cupy(SQUARE)), cupy(corner(rng, 3)), wos.Polynomial(cupy(rng.standard_normal((2, 2))))
    parts = [wos.solve(polygon, X, dirichlet=g, walks=n, walk_offset=at, rng=2) for at, n in ((6, 3), (0, 6))]
    whole = wos.solve(polygon, X, dirichlet=g, walks=9, rng=2)
    told = []
    in_parts = wos.solve(polygon, X, dirichlet=g, walks=9, rng=2, progress=lambda walks, left: told.append(left))
    assert told[-1] == 0
    for r in (parts[0].merge(parts[1]), pickle.loads(pickle.dumps(parts[1])).resume(3), in_parts):
        for a, b in zip(results(r)[:2], results(whole)[:2]):
            np.testing.assert_array_equal(a.get(), b.get())
    other = wos.solve(polygon, cupy(corner(rng, 3)), dirichlet=g, walks=3, walk_offset=20, rng=2)
    with pytest.raises(ValueError, match="of different problems: they differ in points"):
        whole.merge(other)


@pytest.mark.filterwarnings("ignore:solve. . points? lies?:RuntimeWarning")
@pytest.mark.parametrize(("name", "options"), [("grid", {"atol": 0.05}), ("star", {"rtol": 0.1, "atol": 1e-3}), ("walls", {"atol": 0.2})])
def test_until_errors_are_small(name, options, cupy, rng):
    """Every point as on the host, whose composition rounds alike; and it goes on from there."""
    boundary, X, given = problem_of(name, rng, "float64")
    given |= {"walks": 8, "max_walks": 40, **options}
    expected, got = wos.solve(boundary, X, **given, backend="array"), wos.solve(boundary, cupy(X), **moved(cupy, given))
    check(results(got), results(expected), "cupy@cuda:1", stand_in.cupy.asnumpy)
    check(results(got.resume(4)), results(expected.resume(4)), "cupy@cuda:1", stand_in.cupy.asnumpy)


@pytest.mark.torch
def test_slopes_where_points_have_different_walks(device_tensors, rng):
    """Autograd's gradient in the points: of every instance that of its own walks."""
    import torch

    ball, data, X = wos.Ball([0.2, 0.1], 0.6), np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 2.0]]), corner(rng, 3)
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
    labels = wos.NeuralOperatorLabels(*given, points=cupy(corner(rng, 3)), walks=4, rng=0)
    for _ in range(2):
        found = labels.epoch()
    once = wos.solve(given[0], cupy(labels.result.run.points.get()), dirichlet=given[1], source=1.0, walks=8, rng=0)
    np.testing.assert_array_equal(found.value.get(), once.value.get())


def test_what_is_refused(cupy, rng):
    polygon, X = wos.Polygon(SQUARE), cupy(corner(rng, 3))
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
        wos.solve(polygon, corner(rng, 3), dirichlet=1.0, backend="cuda")
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
    polygon, X = wos.Polygon(SQUARE), cupy(corner(rng, 3))
    for backend in (None, "cuda"):
        wos.solve(polygon, X, dirichlet=1.0, walks=4, rng=0, backend=backend)
        assert asked.pop() == "walk"
        assert not asked
    wos.solve(polygon, X, dirichlet=u, walks=4, rng=0)
    wos.solve(polygon, X, dirichlet=1.0, neumann=(WHERE, 0.0), walks=4, max_steps=30, rng=0)
    assert not asked
    with pytest.raises(NotImplementedError, match=r"wos.stars: no backend can run this \(cuda: has no such kernel\)"):
        wos.solve(polygon, X, dirichlet=1.0, neumann=(WHERE, 0.0), backend="cuda")
