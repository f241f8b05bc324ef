"""``KroneckerOperator`` of factors on a device: the numbers of the host, and NaN where that raises."""

import numpy as np
import pytest

import devices
import quatrefoil as qf
import stand_in
from checks import check_refused
from kron.dense import positive
from quatrefoil import _backends


def near(got, expected):
    devices.near(got, expected, 2e3 * np.finfo(np.asarray(expected).dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_like_the_host(dtype, cupy, rng):
    factors = [f.astype(dtype) for f in positive(rng, 3, 4, 2)]
    skewed = [f + np.triu(rng.standard_normal(f.shape), 1).astype(dtype) for f in factors]
    y, Y = rng.standard_normal(24).astype(dtype), rng.standard_normal((24, 3))
    K, there = qf.kron.KroneckerOperator(factors), qf.kron.KroneckerOperator(cupy(factors))
    S, skewed_there = qf.kron.KroneckerOperator(skewed), qf.kron.KroneckerOperator(cupy(skewed))
    with stand_in.nothing_read_back():
        found = [there @ cupy(y), there.T @ cupy(Y), there.solve(cupy(y)), there.solve(cupy(Y), 0.5), skewed_there.solve(cupy(Y))]
        found += [there.apply(lambda lam: lam**0.5, cupy(Y)), there.apply(lambda lam: 1 / (lam + 1), cupy(y)), there.diagonal()]
        U, s, Vt = skewed_there.svd()
        found += [there.to_dense(), skewed_there.inverse().to_dense(), there.cholesky().to_dense(), U @ (s * (Vt @ cupy(y))), there.trace()]
        found += [(2 * there - there @ skewed_there) @ cupy(y), there[3], there[:, [0, -1]], (there + there)[1:3, 2]]
        determinants = [there.logdet(), there.logdet(0.3)]
        lam, Q = there.eigh()
    expected = [K @ y, K.T @ Y, K.solve(y), K.solve(Y, 0.5), S.solve(Y)]
    expected += [K.apply(np.sqrt, Y), K.apply(lambda lam: 1 / (lam + 1), y), K.diagonal(), K.to_dense(), S.inverse().to_dense()]
    expected += [K.cholesky().to_dense(), S @ y, K.trace(), 2 * (K @ y) - K @ (S @ y), K[3], K[:, [0, -1]], 2 * K[1:3, 2]]
    for g, e in zip(found, expected, strict=True):
        near(g, e)
    for g, e in zip(determinants, [K.logdet(), K.logdet(0.3)]):
        assert g.shape == ()
        near(g, np.float64(e))
    near(Q @ (lam * (Q.T @ cupy(y))), K @ y)


def test_gradients_of_functions(cupy, rng):
    """With an eigenvalue that is there twice."""
    factors = [np.diag([1.0, 2.0, 2.0]), *positive(rng, 4)]
    y, grad = rng.standard_normal((2, 12, 3))
    h, slope = lambda lam: 1 / (lam + 1), lambda lam: -1 / ((lam + 1) * (lam + 1))
    expected = qf.kron.KroneckerOperator(factors).apply_vjp(h, slope, y, grad)
    with stand_in.nothing_read_back():
        got = qf.kron.KroneckerOperator(cupy(factors)).apply_vjp(h, slope, cupy(y), cupy(grad))
    for g, e in zip([*got[0], *got[1:]], [*expected[0], *expected[1:]], strict=True):
        near(g, e)


def test_what_raises_on_the_host_is_nan(cupy, rng):
    a, b = positive(rng, 3, 2)
    skew, missing, negative = a + np.triu(np.ones((3, 3)), 1), np.where(np.eye(3) > 0, np.nan, a), a - 10 * np.eye(3)
    nearly = np.diag([1.0, 1.0, 1e-17])
    y, identity = cupy(rng.standard_normal(6)), lambda lam: lam
    for bad in (skew, missing):
        K = qf.kron.KroneckerOperator(cupy([bad, b]))
        for found in (K.solve(y, 0.1), K.apply(identity, y), K.eigh()[0], K.logdet(0.1)):
            assert np.isnan(found.get()).all()
    K = qf.kron.KroneckerOperator(cupy([negative, b]))
    assert np.isnan(K.solve(y, 0.1).get()).all()
    assert np.isnan(K.logdet(0.1).get())
    assert np.isfinite(K.apply(identity, y).get()).all()
    for bad in (skew, missing, negative):
        assert np.isnan(qf.kron.KroneckerOperator(cupy([bad, b])).cholesky().to_dense().get()).all()
    for bad in (missing, nearly):
        K = qf.kron.KroneckerOperator(cupy([bad, b]))
        assert np.isnan(K.inverse().to_dense().get()).all()
        assert np.isnan(K.solve(y).get()).all()
        assert np.isnan(K.logdet().get())
    assert np.isnan(qf.kron.KroneckerOperator(cupy([np.diag([1.0, -1.0]), np.eye(3)])).logdet().get())


def test_what_is_refused(cupy, rng):
    factors, wide = positive(rng, 3, 2), qf.kron.KroneckerOperator(cupy([np.eye(2), np.ones((2, 3))]))
    K, y, host = qf.kron.KroneckerOperator(cupy(factors)), cupy(np.ones(6)), qf.kron.KroneckerOperator(cupy(factors), backend="numba")
    elsewhere = stand_in.ndarray(np.ones(6), 0)
    table = [
        (lambda: K.solve(y, -1.0), ValueError, r"noise is -1.0, expected a finite number, at least 0"),
        (
            lambda: K.apply(lambda lam: np.ones(6), y),
            TypeError,
            r"h gave a numpy array of float64, expected a cupy array of 6 real numbers",
        ),
        (wide.logdet, ValueError, r"KroneckerOperator.logdet: factors\[1\] has shape \(2, 3\), expected a square matrix"),
        (lambda: host.apply(lambda lam: lam, y), TypeError, r"on cuda:1, where backend 'numba' does not run"),
    ]
    for call in (K.solve, lambda y: K.apply(lambda lam: lam, y)):
        table += [
            (lambda call=call: call(np.ones(6)), TypeError, r"y is a numpy array but factors\[0\] is a cupy array"),
            (
                lambda call=call: call(elsewhere),
                TypeError,
                r"y is on cuda:0 but factors\[0\] is on cuda:1; all arrays of a call must be on one",
            ),
            (lambda call=call: call(y[:5]), ValueError, r"y has shape \(5,\), expected \(6,\) or \(6, c\)"),
        ]
    check_refused(table)


@pytest.mark.torch
def test_tensors(device_tensors, rng):
    """Values of CUDA's, autograd in factors, y and what h computes with."""
    import torch

    factors, y = positive(rng, 3, 4), rng.standard_normal((12, 2))
    K = qf.kron.KroneckerOperator(factors)
    expected = [K.solve(y, 0.5), K.solve(y)]
    gradients = K.apply_vjp(lambda lam: 1 / (lam + 2.0), lambda lam: -1 / (lam + 2.0) ** 2, y, np.ones_like(y))
    there = qf.kron.KroneckerOperator(device_tensors(factors))
    found = [there.solve(device_tensors(y), 0.5), there.solve(device_tensors(y))]
    leaves = [t.requires_grad_() for t in device_tensors([*factors, y])]
    c = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    graded = qf.kron.KroneckerOperator(leaves[:2])
    pulled = torch.autograd.grad(graded.apply(lambda lam: 1 / (lam + c), leaves[2]).sum(), [*leaves, c])
    bad = graded.apply(lambda lam: lam / lam.max(), leaves[2])
    nowhere = torch.autograd.grad(bad.sum(), leaves[0])[0]
    for g, e in zip([*found, *pulled[:3]], [*expected, *gradients[0], gradients[2]], strict=True):
        np.testing.assert_allclose(device_tensors.back(g), e, rtol=1e-11, atol=1e-11)
    of_c = -(gradients[1] / (K.eigh()[0] + 2.0) ** 2).sum()
    np.testing.assert_allclose(device_tensors.back(pulled[3]), of_c, rtol=1e-11)
    assert np.isnan(device_tensors.back(nowhere)).all()


@pytest.mark.torch
def test_gradients_of_systems(device_tensors, rng):
    """Those of the host, which others tests compare with dense algebra."""
    import torch

    given = [*positive(rng, 3, 4), rng.standard_normal((12, 2)), np.array(0.5)]

    def gradients(tensors):
        *factors, y, noise = [t.requires_grad_() for t in tensors]
        K = qf.kron.KroneckerOperator(factors)
        values = [K.solve(y, noise), K.solve(y), K.logdet(noise), K.logdet(), K.eigh()[0], K.inverse().trace(), K.cholesky().trace()]
        return torch.autograd.grad(sum(v.sum() for v in values), tensors)

    for g, e in zip(gradients(device_tensors(given)), gradients([torch.from_numpy(a) for a in given]), strict=True):
        np.testing.assert_allclose(device_tensors.back(g), e.numpy(), rtol=1e-11, atol=1e-11)


def test_large_factors_are_left_to_the_library(cupy, monkeypatch):
    """Where an installation has a kernel, and nobody asks for it."""
    asked = []
    monkeypatch.setattr(_backends.cuda, "reason", lambda: None)
    monkeypatch.setattr(_backends.cuda, "kernel", lambda op: lambda *given: asked.append(op.name))
    for n, expected in ((127, ["matvec", "matvec_vjp"]), (128, [])):
        factors, x = cupy([np.eye(2), np.eye(n)]), cupy(np.ones(2 * n))
        qf.kron.matvec(factors, x)
        qf.kron.matvec_vjp(factors, x, x)
        assert asked == expected
        asked.clear()
    qf.kron.matvec(factors, x, transpose=True, backend="cuda")
    assert asked == ["rmatvec"]
