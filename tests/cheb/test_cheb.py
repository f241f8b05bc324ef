"""What is particular to Chebyshev-Tucker tensors: exact polynomials, values and coefficients, grids, files, graphs."""

import numpy as np
import pytest

import quatrefoil as qf
from cheb.scattered.cases import random_tensor
from cheb.tucker.cases import tensor_of_spectrum


def polynomial(x, y, z):
    return 3 - 2 * x**3 * y + x * y * z - z**4 + x**2 * y**2


def test_exact_polynomials(backend, rng):
    for domain in [((-1, 1),) * 3, ((0, 2), (-3, 0.5), (10, 11))]:
        print(domain)
        ct = qf.cheb.ChebTucker.from_function(polynomial, domain, n=(5, 6, 7), tol=1e-14)
        lo, hi = np.array(domain).T
        X = lo + (hi - lo) * rng.random((500, 3))
        expected = polynomial(*X.T)
        np.testing.assert_allclose(ct(X), expected, atol=1e-13 * np.abs(expected).max())
        corners = np.array(np.meshgrid(*domain)).reshape(3, -1).T.astype(float)
        np.testing.assert_allclose(ct(corners), polynomial(*corners.T), atol=1e-12 * np.abs(polynomial(*corners.T)).max())


def test_separable(backend, rng):
    X = rng.uniform(-1, 1, (300, 3))
    wave = qf.cheb.ChebTucker.from_function(lambda x, y, z: np.exp(x) * np.sin(y) * np.cos(3 * z), ((-1, 1),) * 3, n=24, tol=1e-12)
    assert wave.rank == (1, 1, 1)
    np.testing.assert_allclose(wave(X), np.exp(X[:, 0]) * np.sin(X[:, 1]) * np.cos(3 * X[:, 2]), atol=1e-11)
    for f, rank in ((lambda x, y, z: x * x - y * y + 0 * z, (2, 2, 1)), (lambda x, y, z: x * y * z, (1, 1, 1))):
        ct = qf.cheb.ChebTucker.from_function(f, ((-1, 1),) * 3, n=5, tol=1e-12)
        assert ct.rank == rank
    constant = qf.cheb.ChebTucker.from_function(lambda x, y: 2.5, ((0, 1), (0, 1)), n=(1, 4))
    assert constant.rank == (1, 1)
    np.testing.assert_allclose(constant(np.array([[0.3, 1.0]])), [2.5])


def test_from_values_and_coefficients_agree(rng):
    C = tensor_of_spectrum(rng, (9, 10, 11), np.geomspace(1, 1e-6, 7))
    a = qf.cheb.ChebTucker.from_coeffs(C, domain=(0, 3), tol=1e-9)
    b = qf.cheb.ChebTucker.from_values(qf.cheb.coeffs2vals(C), domain=((0, 3),) * 3, tol=1e-9)
    assert a.rank == b.rank == (7, 7, 7)
    assert a.n == (9, 10, 11)
    assert a.domain == b.domain == ((0.0, 3.0),) * 3
    for ct in (a, b):
        assert np.linalg.norm(ct.to_full() - C) <= 1e-9 * np.linalg.norm(C)
    single = qf.cheb.ChebTucker.from_values(np.ones((3, 4), np.float32))
    assert single.core.dtype == np.float32
    assert single.rank == (1, 1)


def test_grid_is_the_tensor_grid_of_points(backend, rng):
    core, factors = random_tensor(rng, (6, 3, 8), (4, 2, 5))
    ct = qf.cheb.ChebTucker(core, factors, domain=((-2, 1), (0, 5), (3, 4)))
    x, y, z = (lo + (hi - lo) * rng.random(m) for (lo, hi), m in zip(ct.domain, (5, 1, 7)))
    points = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(ct.grid(x, y, z), ct(points).reshape(5, 1, 7), atol=1e-13)
    nodes = qf.cheb.chebpts(ct.n, ct.domain)
    np.testing.assert_allclose(ct.grid(*nodes), qf.cheb.coeffs2vals(ct.to_full()), atol=1e-13)
    assert ct.grid(x, y[:0], z).shape == (5, 0, 7)


def test_npz_round_trip(rng, tmp_path):
    for dtype in [np.float32, np.float64]:
        print(dtype)
        core, factors = random_tensor(rng, (6, 3), (4, 2), dtype)
        ct = qf.cheb.ChebTucker(core, factors, domain=((0.1, 0.2), (-5, 5)))
        for name in ("plain", "with.suffix.npz"):
            ct.save(tmp_path / name)
            again = qf.cheb.ChebTucker.load(str(tmp_path / name))
            assert again.domain == ct.domain
            assert again.core.dtype == dtype
            for a, b in zip((again.core, *again.factors), (core, *factors)):
                np.testing.assert_array_equal(a, b)
        np.savez(tmp_path / "other.npz", x=core)
        with pytest.raises(ValueError, match=r"holds \['x'\]"):
            qf.cheb.ChebTucker.load(tmp_path / "other.npz")


def test_repr(rng):
    ct = qf.cheb.ChebTucker(*random_tensor(rng, (6, 3), (4, 2)), domain=(0, 1))
    assert repr(ct) == "ChebTucker(n=(6, 3), rank=(4, 2), domain=((0.0, 1.0), (0.0, 1.0)), float64)"


@pytest.mark.torch
def test_tensors_keep_their_graph(rng):
    torch = pytest.importorskip("torch")
    core, factors = random_tensor(rng, (6, 3, 4), (4, 2, 3))
    leaves = [torch.tensor(a, requires_grad=True) for a in (core, *factors)]
    ct = qf.cheb.ChebTucker(leaves[0], leaves[1:])
    X = rng.uniform(-1, 1, (40, 3))
    value = ct(torch.tensor(X))
    got = torch.autograd.grad(value.sum(), leaves)
    dcore, dfactors, _ = qf.cheb.tucker_eval_vjp(core, factors, X, np.ones(40))
    for a, b in zip(got, (dcore, *dfactors)):
        np.testing.assert_array_equal(a.numpy(), b)
    x = [torch.tensor(p) for p in (X[:5, 0], X[:2, 1], X[:3, 2])]
    assert torch.autograd.gradcheck(lambda c, *U: qf.cheb.ChebTucker(c, U).grid(*x), leaves)
    assert torch.autograd.gradcheck(lambda V: qf.cheb.vals2coeffs(V), leaves[0])
    assert torch.autograd.gradcheck(lambda c, *U: qf.cheb.ChebTucker(c, U).to_full(), leaves)
    with pytest.raises(NotImplementedError, match="no gradient"):
        qf.cheb.tucker(leaves[0], tol=1e-3)
    with pytest.raises(NotImplementedError, match="no gradient"):
        ct.grid(x[0].requires_grad_(), *x[1:])
    plain = qf.cheb.tucker(torch.tensor(core), tol=1e-9)
    assert isinstance(plain.core, torch.Tensor)
    np.testing.assert_array_equal(plain.core.numpy(), qf.cheb.tucker(core, tol=1e-9).core)
    with pytest.raises(TypeError, match="expected a torch array of float64, as core is"):
        ct.grid(X[:, 0], X[:, 1], X[:, 2])
