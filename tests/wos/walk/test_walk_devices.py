"""``solve`` with backend "array", compared with the host.

Device points are arrays that stand in for CuPy's. The tests on the host cover the domains that the op cases omit because
kernels use distance bounds there.
"""

import functools
import itertools
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quatrefoil as qf
import stand_in
from checks import check_rejected
from children import run_python
from quatrefoil import _array_tools, _arrays, _backends, wos
from quatrefoil.wos.walk import composition_paths
from wos.domains import DOMAINS, ON_HOST, SQUARE, arrays_of, corner, moved, problem, u
from wos.ops import walk
from wos.walk.replay import philox

PROBLEMS = [name for name in DOMAINS if name not in (*ON_HOST, "five dimensions")]  # excluded because its composition is slow
# Copied to the host for bounds, or for the support of sources.
READ_BACK = ["medium", "media", "medium with walls", "media of many", "shared walks, medium", "shared walks, medium with walls"]
READ_BACK += ["outside of a polygon", "outside of a box in four", "medium in five"]


def results(r):
    return [r.value, r.stderr, r.grad, r.grad_stderr, r.n_walks, r.mean_steps, r.n_truncated, r.n_escaped]


def check(got, expected, location, back):
    for g, e in zip(arrays_of(got), arrays_of(expected), strict=True):
        assert _arrays.location(g) == location
        assert (tuple(g.shape), _arrays.dtype_name(g)) == (e.shape, e.dtype.name)
        np.testing.assert_allclose(back(g), e, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(e), initial=0))


@pytest.mark.filterwarnings("ignore:solve. . points? lies?:RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), [*[(m, "float64") for m in PROBLEMS], ("star", "float32"), ("mesh", "float32")])
def test_like_the_host(name, dtype, cupy, rng, recwarn):
    boundary, X, options = problem(name, rng, dtype, outside=True)
    expected = wos.solve(boundary, X, **options, backend="array")
    grad = rng.standard_normal(expected.value.shape).astype(dtype)
    on_device = moved(cupy, options)
    _backends.warn_of_composing()  # once per process
    recwarn.clear()
    stand_in.WAITED.clear()
    got = wos.solve(boundary, cupy(X), **on_device)
    assert stand_in.WAITED == [] or name in READ_BACK
    assert not recwarn.list
    equal = (expected.state.fold()[1] == 0).all(axis=1).reshape(expected.value.shape)
    assert equal.sum() <= 1
    expected.stderr[equal] = 0  # README (26) is used on the host only
    check(results(got), results(expected), "cupy@cuda:1", stand_in.cupy.asnumpy)
    if isinstance(options["dirichlet"], list) or isinstance(options.get("source"), list):
        return
    options["rng"] = on_device["rng"] = 5
    pulled = wos.solve_vjp(boundary, cupy(X), cupy(grad), **on_device)
    check(pulled, wos.solve_vjp(boundary, X, grad, **options, backend="array"), "cupy@cuda:1", stand_in.cupy.asnumpy)


def test_merged_and_kept(cupy, rng):
    """Ranges of walks merge to the same bits as a single run, a result can be pickled, and tables are created once, on the device."""
    polygon, X, g = wos.Polygon(cupy(SQUARE)), cupy(corner(rng, 3)), wos.Polynomial(cupy(rng.standard_normal((2, 2))))
    run, reports = {"dirichlet": g, "rng": 2}, []
    parts = [wos.solve(polygon, X, walks=n, walk_offset=at, **run) for at, n in ((6, 3), (0, 6))]
    before = polygon._arrays_of("cupy@cuda:1")
    whole = wos.solve(polygon, X, walks=9, **run)
    assert polygon._arrays_of("cupy@cuda:1")[0] is before[0]
    assert set(polygon._arrays) == {"cupy@cuda:1"}
    assert not polygon._memos
    labels = wos.NeuralOperatorLabels(polygon, g, points=X, walks=3, rng=2)
    for _ in range(3):
        epoch = labels.epoch()
    in_parts = wos.solve(polygon, X, walks=9, progress=lambda walks, left: reports.append(left), **run)
    assert reports[-1] == 0
    for r in (parts[0].merge(parts[1]), pickle.loads(pickle.dumps(parts[1])).resume(3), in_parts, epoch):
        for a, b in zip(results(r)[:2], results(whole)[:2]):
            np.testing.assert_array_equal(a.get(), b.get())
    other = wos.solve(polygon, cupy(corner(rng, 3)), walks=3, walk_offset=20, **run)
    with pytest.raises(ValueError, match="belong to different problems, which differ in points"):
        whole.merge(other)


@pytest.mark.filterwarnings("ignore:solve. . points? lies?:RuntimeWarning")
@pytest.mark.parametrize(("name", "options"), [("grid", {"atol": 0.05}), ("star", {"rtol": 0.1, "atol": 1e-3}), ("walls", {"atol": 0.2})])
def test_until_errors_are_small(name, options, cupy, rng):
    """Every point stops as on the host, whose composition rounds the same way, and resumes from there."""
    boundary, X, setup = problem(name, rng, outside=True)
    setup |= {"walks": 8, "max_walks": 40, **options}
    expected, got = wos.solve(boundary, X, **setup, backend="array"), wos.solve(boundary, cupy(X), **moved(cupy, setup))
    check(results(got), results(expected), "cupy@cuda:1", stand_in.cupy.asnumpy)
    check(results(got.resume(4)), results(expected.resume(4)), "cupy@cuda:1", stand_in.cupy.asnumpy)


def test_what_is_rejected(cupy, rng):
    """Invalid calls. Points that are not finite are not an error: they give NaN for that point alone."""
    X = np.where(np.arange(6).reshape(3, 2) == 2, np.nan, 0.3)
    r = wos.solve(wos.Polygon(SQUARE), cupy(X), dirichlet=1.0, walks=4, rng=0)
    np.testing.assert_array_equal(r.value.get(), [1.0, np.nan, 1.0])
    np.testing.assert_array_equal(r.n_walks.get(), [4, 0, 4])
    polygon, X, elsewhere = wos.Polygon(SQUARE), cupy(corner(rng, 3)), stand_in.ndarray(np.ones((2, 2)), 0)

    def solve(X=X, dirichlet=1.0, boundary=polygon, **options):
        return wos.solve(boundary, X, dirichlet=dirichlet, walks=2, **options)

    at, because = "points is on cuda:1, but backend", "cannot be used, because points is on cuda:1"
    fix = ".* omit it, or move the arrays to the host"
    with ThreadPoolExecutor(1) as executor:
        check_rejected([
            *[
                (lambda b=b: solve(backend=b), TypeError, f"solve: {at} '{b}' runs only on the host; omit the choice")
                for b in ("native", "numba") if not _backends.reason(b)
            ],
            (lambda: solve(dirichlet=wos.Polynomial(elsewhere)), TypeError, r"dirichlet.coefficients is on cuda:0 but points is on cuda:1"),
            (lambda: solve(source=wos.Polynomial(np.ones((2, 2)))), TypeError, "coefficients is a numpy array but points is a cupy"),
            (lambda: solve(cache="harmonic"), NotImplementedError, f"solve: cache {because}, {fix}"),
            (lambda: solve(executor=executor), NotImplementedError, f"solve: executor {because}, {fix}"),
            (lambda: solve().resume(2, executor=executor), NotImplementedError, f"resume: executor {because}"),
            (lambda: solve(dirichlet=[1.0, u]), NotImplementedError, "dirichlet is a list of different kinds of data"),
            (lambda: solve(dirichlet=None, dirichlet_per_ring=[1.0, u], boundary=wos.Polygon(3 * SQUARE, [SQUARE + 1])),
             NotImplementedError, r"dirichlet_per_ring\[1\] is neither a number nor PerVertex, as a device requires"),
            (lambda: wos.solve_vjp(polygon, X, np.ones(3), dirichlet=1.0, rng=0), TypeError, "grad is on cpu but points is on cuda:1"),
            (
                lambda: solve(corner(rng, 3), backend="cuda"), (TypeError, ValueError),
                r"solve.*backend 'cuda'.*(is not available|runs only on a GPU; move the arrays to a GPU)",
            ),
        ])  # fmt: skip


def compare(seed):
    """Compare values and gradients of every problem, walk by walk. Rounding changes a walk's decision once in 1e9."""
    cases = [*zip(DOMAINS, itertools.cycle(({}, {"gradient": True}))), ("half discs", {"cache": "harmonic"})]
    for name, more in cases:
        if name in ON_HOST:
            continue
        rng = np.random.default_rng(seed)
        boundary, X, options = problem(name, rng)
        options |= {"rng": int(rng.integers(2**31)), **more}
        runs = [wos.solve(boundary, X, **options, backend=backend) for backend in ("array", "numba")]
        got, expected = ([r.value, r.stderr, r.grad, r.state.counts] for r in runs)
        if "cache" not in options and not any(isinstance(value, list) for value in options.values()):
            grad = rng.standard_normal(runs[0].value.shape)
            both = zip((got, expected), ("array", "numba"))
            got, expected = ([*results, wos.solve_vjp(boundary, X, grad, **options, backend=b)] for results, b in both)
        for g, e in zip(arrays_of(got), arrays_of(expected), strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(e), initial=0), err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(_backends.reason("numba") is not None, reason="numba is missing")
def test_walk_by_walk(rng):
    """Compared with the plain loops, which also use exact distances. Not compiled: that would take longer than these few walks."""
    seed = int(rng.integers(2**31))
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = os.pathsep.join([root, os.path.dirname(os.path.dirname(qf.__file__)), os.environ.get("PYTHONPATH", "")])
    run = f"import warnings; warnings.simplefilter('ignore'); from wos.walk import test_walk_devices as t; t.compare({seed})"
    run_python(run, NUMBA_DISABLE_JIT=1, PYTHONPATH=paths)


def test_known_answers_of_philox():
    """Known answers for the oracle's Philox4x32-10, with which all others are compared."""
    full = 2**32 - 1
    assert [int(w) for w in philox((0,) * 4, 0)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert [int(w) for w in philox((full,) * 4, 2**64 - 1)] == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


@pytest.mark.torch
def test_device_flags_are_read_rarely(monkeypatch):
    """Flags are read from the device once before the walks and every 32 steps. NumPy looks at every step."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    reads = []
    is_any = _array_tools.is_any
    monkeypatch.setattr(_array_tools, "is_any", lambda xp, flags: reads.append(1) or is_any(xp, flags))
    arrays = np.full((1, 3, 2), 0.3), np.array([[0.0, 0.0, 1.0, 1e-3]]), None, None, np.ones((1, 1))
    tensors = [x if x is None else torch.from_numpy(x) for x in arrays]
    _, _, counts = walk(*tensors, walks=64, max_steps=100, seed=1, backend="array")
    assert 100 >= counts[0, :, 0].max() / 64 > 5
    assert len(reads) <= 1 + 1 + 100 // composition_paths.LOOK


def test_compiled_functions():
    numba = pytest.importorskip("numba")
    compiled = numba.njit(lambda X: X[:, 0])
    with pytest.raises(TypeError, match=r"wos.walk: backend 'array' cannot call a function compiled by Numba; pass the Python function"):
        wos.solve(wos.Ball([0.0, 0.0], 1.0), np.zeros((1, 2)), dirichlet=compiled, backend="array")
    disc = wos.SDF(lambda X: np.hypot(*X.T) - 1, box=((-1.1, -1.1), (1.1, 1.1)))
    for call in (wos.contains, functools.partial(wos.solve, dirichlet=1.0)):
        with pytest.raises(NotImplementedError, match="backend 'array' cannot call a compiled distance function"):
            call(disc, np.zeros((1, 2)), backend="array")


@pytest.mark.torch
def test_functions_of_tensors(rng):
    """Functions receive arrays of the same type as the walks' arguments."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    seen = []

    def f(instance, X):
        seen.append(type(X))
        return X[:, 0] + instance

    start, frame = rng.uniform(-0.5, 0.5, (2, 3, 2)), np.array([[0.0, 0.0, 1.0, 1e-2], [1.0, 0.0, 2.0, 1e-2]])
    options = {"dirichlet_kind": "function", "source_kind": "function", "g": f, "f": f, "walks": 8, "seed": 3}
    expected = walk(start, frame, **options, backend="array")
    assert set(seen) == {np.ndarray}
    seen.clear()
    got = walk(torch.from_numpy(start), torch.from_numpy(frame), **options, backend="array")
    assert set(seen) == {torch.Tensor}
    for g, e in zip(got, expected):
        np.testing.assert_allclose(g.numpy(), e, rtol=1e-12, atol=1e-12)
