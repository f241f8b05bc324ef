"""Tests specific to Chebyshev points and the transforms: exact points, inverses, both algorithms, bitwise equality."""

import functools
import itertools
import tracemalloc

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import quatrefoil as qf
from case import BACKENDS, precisions
from cheb.transform import oracle
from quatrefoil._backends import native
from quatrefoil.cheb import transform
from quatrefoil.cheb.scattered import composition

SIZES = (1, 2, 3, 7, 64, 65, 97, 98, 257)
needs_native = pytest.mark.skipif(native.reason() is not None, reason="only the compiled kernels promise this")
LONG = (131, 513, 524, 1100)  # by folds and by chirps; n - 1 is a power of two for 513, a prime for 524


@pytest.mark.parametrize("n", SIZES)
def test_points(n):
    x = qf.cheb.chebpts(n)
    np.testing.assert_array_equal(x, -x[::-1])
    np.testing.assert_allclose(x, np.cos(np.pi * np.arange(n)[::-1] / max(n - 1, 1)) if n > 1 else [0.0], atol=2e-16)
    y = qf.cheb.chebpts(n, (0.1, 0.7))
    if n > 1:
        assert y[0] == 0.1
        assert y[-1] == 0.7
        assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(y, 0.4 + 0.3 * x, atol=2e-16)


def test_points_of_several_axes():
    x, y = qf.cheb.chebpts((3, 5), ((0, 1), (-2, 2)))
    np.testing.assert_allclose(x, [0, 0.5, 1])
    np.testing.assert_allclose(y, [-2, -(2**0.5), 0, 2**0.5, 2], atol=1e-15)
    assert [p.size for p in qf.cheb.chebpts([2, 4], domain=[0, 1])] == [2, 4]


@pytest.mark.parametrize("backend", [*BACKENDS, "array"])
def test_long_axes(backend, rng):
    """A sequential sum of n numbers has a rounding error of about eps sqrt(n) times their norm."""
    for n, dtype, name in itertools.product(LONG, precisions(backend), ["vals2coeffs", "coeffs2vals"]):
        print(name, n, dtype)
        x = rng.standard_normal((2, n)).astype(dtype)
        got = getattr(qf.cheb, name)(x, axes=1, backend=backend)
        expected = getattr(oracle, name)(x, axes=1)
        size = np.linalg.norm(x) * (2 / n if name == "vals2coeffs" else 1)
        assert np.abs(got - expected).max() <= n**0.5 * float(np.finfo(dtype).eps) * size
        g = rng.standard_normal((2, n)).astype(dtype)
        (back,) = getattr(qf.cheb, f"{name}_vjp")(x, g, axes=1, backend=backend)
        left, right = np.sum(g.astype(float) * expected), np.sum(back.astype(float) * x)
        assert abs(left - right) <= n**0.5 * float(np.finfo(dtype).eps) * size * np.linalg.norm(g)


@needs_native
def test_result_does_not_depend_on_layout_or_batch(rng):
    sizes = 2, 3, 8, 17, 34, 65, 100, 257, 513, 524, 600
    for n, dtype, name in itertools.product(sizes, (np.float32, np.float64), ("vals2coeffs", "coeffs2vals")):
        print(name, n)
        transform = getattr(qf.cheb, name)
        x = rng.standard_normal((53, n)).astype(dtype)
        expected = transform(x, axes=1, backend="native")
        for count in (1, 2, 7, 9, 16, 17, 24, 33):
            np.testing.assert_array_equal(transform(x[:count], axes=1, backend="native"), expected[:count])
        np.testing.assert_array_equal(transform(x[52], backend="native"), expected[52])
        np.testing.assert_array_equal(transform(x.T, axes=0, backend="native").T, expected)
        stacked = np.ascontiguousarray(np.moveaxis(np.stack([x, -x, x[::-1]]), 2, 1))  # (3, n, 53)
        np.testing.assert_array_equal(transform(stacked, axes=1, backend="native")[1].T, -expected)


@needs_native
def test_a_nan_is_seen_in_all_of_its_pencil(rng):
    """Results are NaN even where the weight of the NaN is 0. A fold alone would skip such an element."""
    for n, name in itertools.product([2, 3, 4, 6, 9, 10, 31, 64, 66, 68, 70, 257, 524], ["vals2coeffs", "coeffs2vals"]):
        print(name, n)
        x = rng.standard_normal((n, 3))
        transform = functools.partial(getattr(qf.cheb, name), backend="native")
        clean = transform(x, axes=0)
        for j in sorted({0, 1, n // 4, (n - 1) // 4, (n - 1) // 2, n // 2, 3 * n // 4, n - 1}):
            for bad in (np.nan, np.inf):
                dirty = x.copy()
                dirty[j, 1] = bad
                got = transform(dirty, axes=0)
                assert not np.isfinite(got[:, 1]).any()
                np.testing.assert_array_equal(got[:, [0, 2]], clean[:, [0, 2]])


def test_strided_input_gives_identical_results(backend, rng):
    """A vector-matrix product sums in a different order if the vector is strided."""
    for function in [qf.cheb.vals2coeffs, qf.cheb.coeffs2vals]:
        for shape in [(n, 1) for n in range(2, 40)] + [(5, 7), (3, 4, 5)]:
            x = rng.standard_normal(shape)
            apart = np.zeros([2 * k for k in shape])
            view = apart[tuple(slice(0, None, 2) for _ in shape)]
            view[...] = x
            np.testing.assert_array_equal(function(view), function(x))
            np.testing.assert_array_equal(function(view, axes=0), function(x, axes=0))


def test_axes_as_arrays(rng):
    V = rng.standard_normal((4, 3, 5))
    for function in (qf.cheb.vals2coeffs, qf.cheb.coeffs2vals):
        for axes in (np.array([0, -1], np.int8), range(0, 3, 2)):
            np.testing.assert_array_equal(function(V, axes), function(V, (0, 2)))
        np.testing.assert_array_equal(function(V, np.array(1)), function(V, 1))


@pytest.mark.parametrize("n", [1, 2, 3, 6, 9])
def test_derivatives_and_their_transposes(rng, n):
    """Compares the host code and the device code, which do not form the square matrix."""
    matrix = np.zeros((n, n))
    for k in range(1, n):
        matrix[:k, k] = chebyshev.chebder(np.eye(n)[k])[:k]
    C = rng.standard_normal((n, 3))
    for apply, expected in ((transform.derivative, matrix @ C), (transform.derivative_adjoint, matrix.T @ C)):
        np.testing.assert_allclose(apply(C), expected, atol=1e-12)
        np.testing.assert_allclose(apply(C.T.copy(), 1), expected.T, atol=1e-12)
        np.testing.assert_allclose(apply(C[:, 0]), expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(composition.derivative(np, C), matrix @ C, atol=1e-12)
    np.testing.assert_allclose(composition.derivative_adjoint(np, C), matrix.T @ C, atol=1e-12)


@pytest.mark.torch
def test_gradient_memory_is_linear_in_axis_length(rng):
    """8193 coefficients: a square matrix would take 537 MB."""
    torch = pytest.importorskip("torch")
    U, X = rng.standard_normal((8193, 1)), rng.uniform(-1, 1, (5, 1))
    leaves = [torch.tensor(a, requires_grad=True) for a in (U, X)]

    def twice():
        f = qf.cheb.tucker_eval(torch.ones(1, dtype=torch.float64), [leaves[0]], leaves[1])
        (slope,) = torch.autograd.grad(f.sum(), leaves[1], create_graph=True)
        return torch.autograd.grad(slope.sum(), leaves)

    twice()
    tracemalloc.start()
    twice()
    composition.tucker_eval_vjp(np, np.ones(1), [U], X, np.ones(5), (-1.0, 1.0))
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
