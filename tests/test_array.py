"""Backend "array" with a stand-in for CuPy and with tensors; NaN for values that raise on the host."""

import numpy as np
import pytest

import quatrefoil as qf
from case import call_with_adjoint, op_of, parametrize, simplest, structures
from namespaces import check_composition, check_like_the_host, composed_ops, forget_plans
from quatrefoil import _array_tools, _backends
from wos.ops import stars

COMPOSED = [(family, case) for family, case in structures() if op_of(family, case.op).key in composed_ops()]
FIRST = [(family, case) for family, case in simplest() if op_of(family, case.op).key in composed_ops()]


@parametrize(FIRST)
def test_cupy_arrays(family, case, cupy, rng):
    check_like_the_host(family, case, rng, "float64", lambda *arguments: call_with_adjoint(family, case, *arguments, cupy, cupy.back))


def test_cupy_arrays_do_not_mix_with_host_arrays(cupy, entry_point, monkeypatch):
    A, x = cupy([np.eye(3), np.ones(3)])
    with pytest.raises(TypeError, match=r"the arrays are on cuda:1, but backend 'native' runs only on the host; omit backend="):
        qf.kron.matvec([A], x, backend="native")
    with qf.use_backend("numba"), pytest.raises(TypeError, match=r"on cuda:1, but backend 'numba' runs only on the host"):
        qf.kron.matvec([A], x)
    with pytest.raises(TypeError, match=r"x is a numpy array but factors\[0\] is a cupy array"):
        qf.kron.matvec([A], np.ones(3))
    out = cupy(np.zeros(3))
    assert qf.kron.matvec([A], x, out=out) is out
    with pytest.raises(TypeError, match=r"out is .* expected a CuPy array like the inputs"):
        qf.kron.matvec([A], x, out=np.zeros(3))
    with pytest.raises(ValueError, match=r"out shares memory with x"):
        qf.kron.matvec([A], x, out=x)
    monkeypatch.setattr(_backends.array, "kernel", lambda op: None)
    forget_plans()
    with pytest.raises(NotImplementedError, match=r"no backend can run this call \(cuda: installed without GPU kernels: .*; array: has no"):
        qf.kron.matvec([A], x)


@pytest.mark.parametrize("library", ["numpy", pytest.param("torch", marks=pytest.mark.torch)])
def test_results_share_no_memory(library, monkeypatch):
    """The composition may return its inputs, one array twice, or broadcast views."""
    x = np.arange(6.0).reshape(2, 3)
    A = np.eye(3)
    if library == "torch":
        pytest.importorskip("array_api_compat")
        torch = pytest.importorskip("torch")
        A, x = torch.from_numpy(A), torch.from_numpy(x)
    forget_plans()
    with qf.use_backend("array"), monkeypatch.context() as patch:
        patch.setattr(
            _backends.array,
            "kernel",
            lambda op: (lambda xp, K, x: x) if op.name == "matvec" else lambda xp, K, x, g: ([g[:1] + 0 * K[0]], g),
        )
        y = qf.kron.matvec([A], x)
        y += 1
        _, dx = qf.kron.matvec_vjp([A], x, x)
        dx += 1
        assert (np.asarray(x) == np.arange(6.0).reshape(2, 3)).all()
        patch.setattr(_backends.array, "kernel", lambda op: lambda xp, K, x: xp.broadcast_to(x[:1, :1], x.shape))
        forget_plans()
        y = qf.kron.matvec([A], x)
        y[0, 0] = 7
        assert np.asarray(y).tolist() == [[7, 0, 0], [0, 0, 0]]
    forget_plans()


@parametrize([(family, case) for family, case in COMPOSED if family != "wos" or (family, case) in FIRST])
def test_chunks(family, case, monkeypatch, rng):
    """Compositions that work in chunks to bound their memory give the same result with one item per chunk."""
    monkeypatch.setattr(_array_tools, "CHUNK", 1)
    check_composition(family, case, rng, "numpy")


@pytest.mark.slow
@parametrize([(family, case) for family, case in COMPOSED if family == "wos" and (family, case) not in FIRST])
def test_chunks_of_walks(family, case, monkeypatch, rng):
    test_chunks(family, case, monkeypatch, rng)


def test_scans_with_factors_that_overflow():
    """A state of 0 stays 0 for any coefficients, and a NaN affects only its own scan, from its time on."""
    a, b = np.full((3, 70), 1e200), np.zeros((3, 70))
    a[1, 40], a[2] = np.nan, 0.5
    b[2, 0] = 1
    h = qf.ssm.linear_scan(a, b, backend="array")
    assert (h[0] == 0).all()
    assert (h[1, :40] == 0).all()
    assert np.isnan(h[1, 40:]).all()
    np.testing.assert_array_equal(h[2], 0.5 ** np.arange(70))
    assert (qf.ssm.linear_scan(a[:1, :1], b[:1], backend="array") == 0).all()  # a constant coefficient
    grown = qf.ssm.linear_scan(np.full((1, 1), 2.0), np.ones((1, 1100)), backend="array")
    assert np.isposinf(grown[0, 1025:]).all()
    np.testing.assert_array_equal(grown[0, :52], 2.0 ** np.arange(1, 53) - 1)


def bad_numbers(rng):
    """{name: (a call with values that raise on the host, mask of the affected results)}."""
    normal, kron, cheb = rng.standard_normal, qf.kron, qf.cheb
    radial, skew, indefinite, signs = normal(5), np.eye(3), np.diag([-1.0, 1.0]), np.array([1.0, -0.5])
    radial[2], skew[0, 1] = np.inf, 0.5
    pairs, triples, targets = rng.uniform(-1, 1, (6, 2)), rng.uniform(-1, 1, (6, 3)), rng.uniform(0, 1, (3, 3))
    pairs[1, 0], pairs[4, 1], triples[5, 2], targets[1, 1] = 1.5, np.nan, -1.01, np.nan
    sog = cheb.coulomb_sog(1e-6, 0.1, 10.0, split=1.0)
    ends, walls = np.array([[-0.5, -0.5, 0.5, -0.5]]), np.array([[0.5, -0.5, 0.0, 0.5, 0, 0], [0.0, 0.5, -0.5, -0.5, 0, 0]])
    star = [ends, np.array([0, 1]), walls, np.array([0, 3]), np.zeros((0, 6)), np.array([0, 0])]
    start, frame = rng.uniform(-0.1, 0.1, (1, 2, 2)), np.array([[0.0, 0.0, 1.0, 0.01]])
    mixed = {"log_weights": np.zeros(3), "log_scales": np.array([0.0, np.nan, 0.0]), "freqs": np.zeros(3)}
    x, X, W, factors, charges = normal(4), normal((4, 2)), normal((3, 3, 4)), [normal((1, 2))] * 2, rng.uniform(0, 1, (4, 3))
    coefficients, right = normal((3, 1, 4)), normal((3, 3))
    return {
        "stars": (lambda: stars(start, frame, *star, np.ones((1, 1)), walks=4)[0], np.ones((1, 2, 1, 1), bool)),
        "points": (lambda: kron.rbf(radial, scale=1.0), np.isinf(radial)[:, None] | np.isinf(radial)),
        "scale": (lambda: kron.matern52(X, scale=np.array([1.0, -1.0])), np.ones((4, 4), bool)),
        "mixture": (lambda: kron.spectral_mixture(x, **mixed), np.ones((4, 4), bool)),
        "product": (lambda: kron.gsmp_kernel(x, weights=signs, means=signs, std=0.1), np.ones((4, 4), bool)),
        "sum": (lambda: kron.sum_solve(skew, skew, np.diag([1.0, 2.0, 3.0]), np.diag([1.0, 2.0, 3.0]), right), np.ones((3, 3), bool)),
        "singular": (lambda: kron.sum_solve(indefinite, *[np.eye(2)] * 3, right[:2, :2]), np.ones((2, 2), bool)),
        "negative": (lambda: kron.sum_logdet(np.diag([-2.0, 1.0]), np.eye(1), np.eye(2), np.eye(1)), np.array(True)),
        "tucker": (lambda: cheb.tucker_eval(np.ones((2, 2)), factors, pairs), (np.abs(np.nan_to_num(pairs, nan=9)) > 1).any(1)),
        "coefficients": (lambda: cheb.cheb_eval(coefficients, triples), np.arange(6) == 5),
        "moments": (lambda: cheb.cheb_moments(pairs, np.ones(6), n=(1, 2)), np.ones((1, 2), bool)),
        "layer": (lambda: cheb.poly_layer(right[:2], W, np.zeros(3), np.array([1.0, 0.5, 0.0])), np.ones((2, 4), bool)),
        "short range": (lambda: cheb.short_range(charges, np.ones(4), targets, sog=sog), np.arange(3) == 1),
    }


def test_nan_where_the_host_raises(rng):
    for name, (call, bad) in bad_numbers(rng).items():
        print(name)
        with pytest.raises((ValueError, np.linalg.LinAlgError)):
            call()
        with qf.use_backend("array"):
            got = call()
        np.testing.assert_array_equal(np.isnan(got), bad)


@pytest.mark.emulator
@pytest.mark.parametrize("bad", [1.5, np.nan, -np.inf])
def test_emulated_points_outside_are_nan(bad, rng):
    """In an emulated CUDA kernel, the values at a point outside the domain and the gradients of core and factors are NaN."""
    X = rng.uniform(-1, 1, (150, 2))
    X[140, 1] = bad
    arrays = rng.standard_normal((2, 3)), [rng.standard_normal((4, 2)), rng.standard_normal((1, 3))], X
    with qf.use_backend("emulator"):
        f = qf.cheb.tucker_eval(*arrays)
        results = qf.cheb.tucker_derivatives(*arrays, hessian=True)
        dcore, dfactors, dX = qf.cheb.tucker_eval_vjp(*arrays, np.ones(150))
    for got in (f, *results, dX):
        nan = np.isnan(got).reshape(150, -1)
        np.testing.assert_array_equal(nan.all(axis=1), np.arange(150) == 140)
        np.testing.assert_array_equal(nan.any(axis=1), np.arange(150) == 140)
    assert all(np.isnan(a).all() for a in (dcore, *dfactors))
