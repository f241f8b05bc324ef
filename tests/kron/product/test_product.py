import numpy as np
import pytest

from checks import check_rejected
from kron.dense import close, normal
from quatrefoil.kron import KroneckerOperator, matvec, matvec_vjp


def test_gradient_of_a_long_batch_in_float32(backend, rng):
    """Each entry has 50,000 terms. Summing them one by one in float32 would add hundreds of rounding errors."""
    factors = [f.astype(np.float32) for f in normal(rng, (3, 4), (2, 5))]
    x, grad = (rng.standard_normal((25_000, n)).astype(np.float32) + np.float32(1) for n in (20, 6))
    dfactors, _ = matvec_vjp(factors, x, grad)
    expected, _ = matvec_vjp([f.astype(float) for f in factors], x.astype(float), grad.astype(float))
    close(dfactors[0], expected[0], 16, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(70, 70, 70), (8,) * 6, (4,) * 9, (31, 37, 41), (300, 260), (5, 512), (512, 5), (1000,)])
def test_large(backend, rng, sizes, dtype):
    """Sizes for every path: several passes, slabs, panels and long sums. The reference is in double precision."""
    factors = [f.astype(dtype) for f in normal(rng, *[(n, n) for n in sizes])]
    x = rng.standard_normal(int(np.prod(sizes))).astype(dtype)
    y = x.astype(np.float64).reshape(sizes)
    for k, f in enumerate(factors):
        y = np.moveaxis(np.tensordot(f.astype(np.float64), y, (1, k)), 0, k)
    got = matvec(factors, x)
    # the rounding error of a sum of n terms grows as sqrt(n)
    assert np.linalg.norm(got - y.reshape(-1)) <= 2 * np.sqrt(sum(sizes)) * np.finfo(dtype).eps * np.linalg.norm(y)


def test_many_factors_of_one(backend, rng):
    x = rng.standard_normal(6)
    scales = rng.uniform(0.5, 2, 70)
    A = rng.standard_normal((3, 2))
    factors = [*[np.array([[s]]) for s in scales], A, np.eye(3)]
    close(matvec(factors, x), np.prod(scales) * (A @ x.reshape(2, 3)).reshape(-1), 200)
    dfactors, _ = matvec_vjp(factors, x, np.ones(9))
    terms = matvec(factors, x) / scales[5]  # the sum may cancel, so the tolerance is relative to its terms
    assert abs(dfactors[5][0, 0] - terms.sum()) <= 400 * 2.0**-52 * np.abs(terms).sum()


def test_a_thin_axis_between_does_not_blow_up(backend, rng):
    """Multiplying from right to left, the intermediate array would have 3,000^2 times 1,000 elements."""
    A, B = (np.abs(a) for a in normal(rng, (1, 3000), (3000, 1)))  # positive, so that the sum does not cancel
    x = rng.uniform(0, 1, (1000, 3000))
    y = matvec([A, B], x)
    close(y[7], (A @ x[7]) * B[:, 0], 64 * 60)


def test_rejected():
    """Wrong arguments that tests/test_entry.py and tests/test_bindings.py do not generate."""
    A, B, x = np.ones((4, 3)), np.ones((5, 6)), np.ones(18)
    check_rejected([
        (lambda: matvec([A, B], x[1:]), ValueError, r"kron\.matvec: x has shape \(17,\), expected"),
        (lambda: matvec([A, B], x, transpose=True), ValueError, r"kron\.rmatvec: x has shape \(18,\), expected .*20"),
        (lambda: matvec([A, x], x), ValueError, r"factors\[1\] has shape \(18,\)"),
        (lambda: matvec([], x), ValueError, "at least one"),
        (lambda: matvec([np.eye(1)], np.array(1.0)), ValueError, "x has shape"),
        (lambda: matvec([A, None], x), TypeError, r"factors\[1\] is None"),
        (lambda: matvec(np.zeros((2, 3, 3)), np.zeros(9)), TypeError, "list or tuple"),
        (lambda: KroneckerOperator(np.eye(3)), TypeError, "list or tuple"),
        (lambda: matvec([np.ones((1 << 16, 1))] * 4, np.ones(1)), (MemoryError, ValueError), ".+"),  # more numbers than fit in any memory
    ])  # fmt: skip
