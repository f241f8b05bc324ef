"""``KroneckerOperator`` with factors on a device: results agree with the host's, with NaN if the host raises."""

import numpy as np
import pytest

import devices
import quatrefoil as qf
import stand_in
from checks import check_rejected
from kron.dense import positive
from quatrefoil import _backends


def near(got, expected):
    devices.near(got, expected, 2e3 * np.finfo(np.asarray(expected).dtype).eps)


def test_other_factors(cupy, rng):
    """Factors in single precision, asymmetric ones, a repeated eigenvalue. tests/test_public_devices.py tests double precision."""
    symmetric = [f.astype("float32") for f in positive(rng, 3, 4, 2)]
    skewed = [f + np.triu(rng.standard_normal(f.shape), 1).astype("float32") for f in symmetric]
    y, Y, inputs = rng.standard_normal(24).astype("float32"), rng.standard_normal((24, 3)), rng.standard_normal((2, 12, 3))
    repeated, h, slope = [np.diag([1.0, 2.0, 2.0]), *positive(rng, 4)], lambda lam: 1 / (lam + 1), lambda lam: -1 / ((lam + 1) * (lam + 1))

    def results(t):
        K, S, R = (qf.kron.KroneckerOperator(t(f)) for f in (symmetric, skewed, repeated))
        dfactors, *others = R.apply_vjp(h, slope, *map(t, inputs))
        return [K.T @ t(Y), K.solve(t(y), 0.5), K.apply(h, t(y)), S.solve(t(Y)), S.inverse().to_dense(), *dfactors, *others]

    with stand_in.nothing_read_back():
        result = results(cupy)
    for g, e in zip(result, results(lambda x: x), strict=True):
        near(g, e)


def test_errors_of_the_host_are_nan(cupy, rng):
    a, b = positive(rng, 3, 2)
    skew, missing, negative = a + np.triu(np.ones((3, 3)), 1), np.where(np.eye(3) > 0, np.nan, a), a - 10 * np.eye(3)
    nearly = np.diag([1.0, 1.0, 1e-17])
    y, identity = cupy(rng.standard_normal(6)), lambda lam: lam
    for bad in (skew, missing):
        K = qf.kron.KroneckerOperator(cupy([bad, b]))
        for result in (K.solve(y, 0.1), K.apply(identity, y), K.eigh()[0], K.logdet(0.1)):
            assert np.isnan(result.get()).all()
    K = qf.kron.KroneckerOperator(cupy([negative, b]))
    assert np.isnan(K.solve(y, 0.1).get()).all()
    assert np.isnan(K.logdet(0.1).get())
    assert np.isfinite(K.apply(identity, y).get()).all()
    for bad in (skew, missing, negative):
        assert np.isnan(qf.kron.KroneckerOperator(cupy([bad, b])).cholesky().to_dense().get()).all()
    for bad in (missing, nearly):
        K = qf.kron.KroneckerOperator(cupy([bad, b]))
        assert np.isnan(K.inverse().to_dense().get()).all()
        for noise in (0.0, 1e-300):
            assert np.isnan(K.solve(y, noise).get()).all()
            assert np.isnan(K.logdet(noise).get())
    assert np.isnan(qf.kron.KroneckerOperator(cupy([np.diag([1.0, -1.0]), np.eye(3)])).logdet().get())


def test_errors(cupy, rng):
    factors, wide = positive(rng, 3, 2), qf.kron.KroneckerOperator(cupy([np.eye(2), np.ones((2, 3))]))
    K, y, host = qf.kron.KroneckerOperator(cupy(factors)), cupy(np.ones(6)), qf.kron.KroneckerOperator(cupy(factors), backend="numba")
    elsewhere = stand_in.ndarray(np.ones(6), 0)
    h = lambda lam: lam  # noqa: E731
    table = [
        (lambda: K.solve(y, -1.0), ValueError, r"noise is -1.0, expected a finite nonnegative number"),
        (lambda: K.apply(lambda lam: np.ones(6), y), TypeError, "h returned a numpy array of float64, expected a cupy array of 6 real"),
        (wide.logdet, ValueError, r"KroneckerOperator.logdet: factors\[1\] has shape \(2, 3\), expected a square matrix"),
        (lambda: host.apply(h, y), TypeError, "on cuda:1, but backend 'numba' runs only on the host"),
    ]
    for call in (K.solve, lambda y: K.apply(h, y)):
        table += [
            (lambda call=call: call(np.ones(6)), TypeError, r"y is a numpy array but factors\[0\] is a cupy array"),
            (lambda call=call: call(elsewhere), TypeError, r"y is on cuda:0 but factors\[0\] is on cuda:1; all arrays"),
            (lambda call=call: call(y[:5]), ValueError, r"y has shape \(5,\), expected \(6,\) or \(6, c\)"),
        ]
    check_rejected(table)


@pytest.mark.torch
def test_gradients_of_tensors(device_tensors, rng):
    """Gradients, including those of a function's own tensors, agree with the host's, which other tests compare with dense algebra."""
    import torch

    inputs = [*positive(rng, 3, 4), rng.standard_normal((12, 2)), np.array(0.5)]

    def gradients(tensors):
        *factors, y, c = [t.requires_grad_() for t in tensors]
        K = qf.kron.KroneckerOperator(factors)
        values = [K.solve(y, c), K.solve(y), K.logdet(c), K.logdet(), K.eigh()[0], K.inverse().trace(), K.cholesky().trace()]
        values += [K.apply(lambda lam: 1 / (lam + c), y)]
        return torch.autograd.grad(sum(v.sum() for v in values), tensors)

    for g, e in zip(gradients(device_tensors(inputs)), gradients([torch.from_numpy(a) for a in inputs]), strict=True):
        np.testing.assert_allclose(device_tensors.back(g), e.numpy(), rtol=1e-11, atol=1e-11)
    (factor,) = [t.requires_grad_() for t in device_tensors(inputs[:1])]
    mixes = qf.kron.KroneckerOperator([factor]).apply(lambda lam: lam / lam.max(), device_tensors(np.ones(3)))
    assert np.isnan(device_tensors.back(torch.autograd.grad(mixes.sum(), factor)[0])).all()


def test_large_factors_use_the_array_library(cupy, monkeypatch):
    calls = []
    monkeypatch.setattr(_backends.cuda, "reason", lambda: None)
    monkeypatch.setattr(_backends.cuda, "kernel", lambda op: lambda *inputs: calls.append(op.name))
    for n, expected in ((16, ["matvec", "matvec_vjp"]), (17, [])):
        factors, x = cupy([np.eye(2), np.eye(n)]), cupy(np.ones(2 * n))
        qf.kron.matvec(factors, x)
        qf.kron.matvec_vjp(factors, x, x)
        assert calls == expected
        calls.clear()
    qf.kron.matvec(factors, x, transpose=True, backend="cuda")
    assert calls == ["rmatvec"]
