"""Values with gradients and Hessians: the ends of the domain, points beyond it, second derivatives of torch."""

import functools

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
from cheb.scattered import oracle
from cheb.scattered.cases import random_tensor


def test_up_to_the_ends(backend, rng):
    for dtype in precisions(backend):
        print(dtype)
        core, factors = random_tensor(rng, (12, 9, 33), (5, 3, 9), dtype, decay=0.85)
        X = rng.uniform(-1, 1, (300, 3)).astype(dtype)
        X[:100] = np.sign(X[:100])
        X[100:200, 1] = 1 - 8 * np.finfo(dtype).eps * rng.random(100)
        expected = oracle.tucker_derivatives(core, factors, X, hessian=True)
        dX = qf.cheb.tucker_eval_vjp(core, factors, X, np.ones(300, dtype))[2]
        for got, e in zip((*qf.cheb.tucker_derivatives(core, factors, X, hessian=True), dX), (*expected, expected[1])):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, e.astype(float), rtol=0, atol=90 * np.finfo(dtype).eps * float(np.abs(e).max()))


def test_flat_coefficients_inside_the_domain(backend, rng):
    """There derivatives are n and n^3 times smaller than at the ends, and so must their errors be; many points take cells."""
    for n, P in [(65, 100), (257, 100), *[(129, 12_000)] * (backend == "native")]:
        print(n, P)
        core, factors = rng.standard_normal((8, 1)), [np.ones((n, 8)), rng.standard_normal((3, 1))]
        X = rng.uniform(-0.9, 0.9, (P, 2))
        expected = oracle.tucker_derivatives(core, factors, X[:400], hessian=True)
        for got, e in zip(qf.cheb.tucker_derivatives(core, factors, X, hessian=True), expected):
            np.testing.assert_allclose(got[:400], e.astype(float), rtol=0, atol=1e-13 * float(np.abs(e).max()))


def test_points_beyond_the_domain_on_request(backend, rng):
    for order in [0, 1, 2]:
        print(order)
        core, factors = random_tensor(rng, (6, 5), (3, 4))
        ct = qf.cheb.ChebTucker(core, factors, domain=((-1, 1), (0, 4)))
        X = np.array([[1.5, 2.0], [-3.0, 9.0], [0.5, -0.1], [1 + 1e-15, 4.0]])
        with pytest.raises(ValueError, match=r"X\[0, 0\] is 1.5, expected a number within the domain"):
            ct.eval(X, order)
        got = ct.eval(X, order, extrapolate=True)
        expected = oracle.tucker_derivatives(core, factors, X, gradient=order > 0, hessian=order > 1, domain=((-1, 1), (0, 4)))
        for g, e in zip((got,) if order == 0 else got, (expected,) if order == 0 else expected):
            np.testing.assert_allclose(g, e.astype(float), rtol=0, atol=1e-12 * float(np.abs(e).max()))
        X[2, 1] = np.inf
        with pytest.raises(ValueError, match=r"X\[2, 1\] is .*expected a finite number"):
            ct.eval(X, order, extrapolate=True)


def test_a_point_does_not_depend_on_its_neighbours(backend, rng):
    """To the bit on compiled kernels; compositions go through BLAS, whose sums depend on the shape of a matrix."""
    equal = np.testing.assert_array_equal if backend == "native" else functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-11)
    core, factors = random_tensor(rng, (17, 9, 12), (9, 5, 8))
    X, grad = rng.uniform(-1, 1, (501, 3)), rng.standard_normal(501)

    def found(part):
        slopes = qf.cheb.tucker_eval_vjp(core, factors, X[part], grad[part])[2]
        return [qf.cheb.tucker_eval(core, factors, X[part]), slopes, *qf.cheb.tucker_derivatives(core, factors, X[part], hessian=True)]

    whole = found(slice(None))
    for cut in (slice(0, 1), slice(7, 120), slice(499, 501)):
        for a, b in zip(found(cut), whole):
            equal(a, b[cut])


@pytest.mark.torch
def test_hessian_three_ways(backend, rng):
    """That of eval, that of autograd through values twice, and that of the gradient once."""
    torch = pytest.importorskip("torch")
    core, factors = random_tensor(rng, (5, 4, 3), (3, 2, 2))
    ct = qf.cheb.ChebTucker(torch.tensor(core), list(map(torch.tensor, factors)))
    X = torch.tensor(rng.uniform(0.1, 0.9, (4, 3)), requires_grad=True)
    H = ct.eval(X.detach(), 2)[2]
    (g,) = torch.autograd.grad(ct(X).sum(), X, create_graph=True)
    for first in (g, ct.value_and_grad(X)[1]):
        rows = [torch.autograd.grad(first[:, k].sum(), X, retain_graph=True)[0] for k in range(3)]
        torch.testing.assert_close(torch.stack(rows, 1), H)


def test_slopes_in_float32_keep_their_digits(best_backend, rng):
    """Of coefficients that do not decay: inside the interval slopes are n times smaller than the coefficients of the derivative."""
    for n in [256, 1000]:
        print(n)
        core, X = np.ones((1, 1, 1), np.float32), rng.uniform(-0.9, 0.9, (50, 3)).astype(np.float32)
        factors, grad = [np.ones((n, 1), np.float32)] * 3, rng.standard_normal(50).astype(np.float32)
        *_, slopes = qf.cheb.tucker_eval_vjp(core, factors, X, grad)
        *_, exact = qf.cheb.tucker_eval_vjp(np.ones((1, 1, 1)), [np.ones((n, 1))] * 3, X.astype(float), grad.astype(float))
        each = np.abs(exact).max(axis=1, keepdims=True)  # of a point's; where it happens to be small errors are not
        assert np.median(np.abs(slopes - exact) / each) < 2e-8 * n
