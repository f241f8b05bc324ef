"""Objects shared by threads: caches are filled once, and every result has the same bits as with a single thread."""

import itertools
import pickle
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import public
import quatrefoil as qf
from children import in_threads, run_python
from kron.dense import positive
from quatrefoil._backends import native


@pytest.fixture(autouse=True)
def frequent_thread_switches():
    """Switch threads every microsecond instead of every five milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def arrays(value):
    """The arrays of a result as NumPy arrays."""
    return [np.asarray(x.detach() if hasattr(x, "detach") else x) for x in public.arrays(value)]


def in_eight_threads(make, calls, rounds=2):
    """Make every call on one new object in eight threads, each starting with a different call; return the errors."""
    single = make()
    expected = {name: arrays(call(single)) for name, call in calls.items()}
    wrong = []
    for _ in range(rounds):
        shared = make()

        def work(first, shared=shared):
            names = list(calls)
            for name in names[first % len(names) :] + names[: first % len(names)]:
                try:
                    np.testing.assert_equal(arrays(calls[name](shared)), expected[name])
                except Exception as error:
                    wrong.append((name, repr(error)))

        in_threads(8, work)
    return wrong


OPERATOR = {
    "solve": lambda k: k.K.solve(k.y),
    "solve columns": lambda k: k.K.solve(k.Y),
    "solve with noise": lambda k: k.K.solve(k.y, 0.5),
    "logdet": lambda k: k.K.logdet(),
    "logdet with noise": lambda k: k.K.logdet(0.5),
    "eigh": lambda k: k.K.eigh()[0],
    "product": lambda k: k.K @ k.y,
    "product in float32": lambda k: k.K @ k.y.astype(np.float32) if isinstance(k.y, np.ndarray) else k.K @ k.y.float(),
    "transposed": lambda k: k.K.T @ k.y,
    "from the left": lambda k: k.K.rmatvec(k.y),
    "dense": lambda k: k.K.to_dense(),
    "diagonal": lambda k: k.K.diagonal(),
    "pickle": lambda k: pickle.loads(pickle.dumps(k.K)).solve(k.y),
}


def test_kronecker_operator(backend, rng):
    factors, Y = positive(rng, 7, 8, 9), rng.standard_normal((504, 3))
    make = lambda: SimpleNamespace(K=qf.kron.KroneckerOperator(factors), y=Y[:, 0].copy(), Y=Y)  # noqa: E731
    assert in_eight_threads(make, OPERATOR) == []


@pytest.mark.torch
def test_kronecker_operator_of_tensors(rng):
    torch = pytest.importorskip("torch")
    factors, Y = [*map(torch.tensor, positive(rng, 7, 8))], torch.tensor(rng.standard_normal((56, 3)))
    make = lambda: SimpleNamespace(K=qf.kron.KroneckerOperator(factors), y=Y[:, 0].clone(), Y=Y)  # noqa: E731
    assert in_eight_threads(make, OPERATOR) == []


def test_the_class_of_operators_is_created_once():
    """Eight threads request the class, and import SciPy, at the same time."""
    code = """
    import sys, threading, quatrefoil as qf
    sys.setswitchinterval(1e-6)
    classes, start = [], threading.Barrier(8)
    def work():
        start.wait()
        classes.append(qf.kron.KroneckerOperator)
    threads = [threading.Thread(target=work) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(classes) == 8 and set(classes) == {qf.kron.KroneckerOperator}
    """
    for _ in range(2):
        run_python(code)


def test_cheb_tucker(backend, rng):
    V, X = rng.standard_normal((6, 5, 4)), rng.uniform(-1, 1, (500, 3))
    x = np.linspace(-1, 1, 9)
    calls = {
        "points": lambda ct: ct(X),
        "grid": lambda ct: ct.grid(x, x, x),
        "dense": lambda ct: ct.to_full(),
        "derivatives": lambda ct: ct.eval(X, 2),
        "pickle": lambda ct: pickle.loads(pickle.dumps(ct))(X),
    }
    assert in_eight_threads(lambda: qf.cheb.ChebTucker.from_values(V, tol=1e-3), calls) == []


STAR = np.stack([np.cos(np.arange(40) * np.pi / 20), np.sin(np.arange(40) * np.pi / 20)], 1) * (1 + 0.3 * (np.arange(40) % 2))[:, None]
INSIDE = np.array([[0.1, 0.2], [-0.3, 0.4], [0.0, -0.5]])


@pytest.mark.parametrize("dirichlet", [qf.wos.Fourier(np.array([1.0, 2.0, 0.5])), lambda X: X[:, 0]], ids=["series", "function"])
def test_walks(best_backend, dirichlet):
    def solve(boundary, **options):
        r = qf.wos.solve(boundary, INSIDE, dirichlet=dirichlet, walks=8, rng=1, **options)
        return r.value, r.stderr

    calls = {
        "solve": solve,
        "another epsilon": lambda b: solve(b, epsilon=1e-2),
        "float64": lambda b: solve(b, epsilon=1e-6),
        "repr": lambda b: repr(b) and b._scaled_ends(),
    }
    assert in_eight_threads(lambda: qf.wos.Polygon(STAR), calls) == []

    calls = {
        "more": lambda r: r.resume(8).value,
        "both": lambda r: r.merge(later).value,
        "counts": lambda r: (r.n_walks, r.mean_steps, r.n_truncated, r.n_escaped),
    }
    if isinstance(dirichlet, qf.wos.Fourier):
        calls["pickle"] = lambda r: pickle.loads(pickle.dumps(r)).resume(8).value

    def result(offset=0):
        return qf.wos.solve(qf.wos.Polygon(STAR), INSIDE, dirichlet=dirichlet, walks=8, rng=1, walk_offset=offset)

    later = result(8)
    assert in_eight_threads(result, calls) == []


@pytest.mark.skipif(native.reason() is not None, reason="needs the compiled kernels")
def test_the_grids_of_a_polygon_are_those_of_its_segments(monkeypatch):
    """Segments computed later by another thread must not replace those of the grids."""
    scaled, first_two = qf.wos.Polygon._scaled_ends, itertools.count()

    def slowly(polygon):
        ends = scaled(polygon)
        time.sleep(0.05 * next(first_two))
        return ends

    monkeypatch.setattr(qf.wos.Polygon, "_scaled_ends", slowly)
    polygon = qf.wos.Polygon(STAR)
    in_threads(3, lambda i: (polygon._arrays_of("numpy"), polygon._memo_of("numpy")))
    assert polygon._memo_of("numpy").value_for("native", (None, None, *polygon._arrays_of("numpy"))) is not None


@pytest.mark.torch
@pytest.mark.parametrize("name", ["S4D", "S5", "GatedKalmaNet"])
def test_layers(name):
    torch = pytest.importorskip("torch")
    from ssm.layers import LAYERS, output_of

    make, shape = LAYERS[name]
    shared, u = make(), torch.randn(shape)

    def gradients(layer):
        return torch.autograd.grad(output_of(layer, u).square().sum(), list(layer.parameters()))

    calls = {"value": lambda layer: layer(u), "gradient": gradients}
    assert in_eight_threads(lambda: shared, calls) == []
