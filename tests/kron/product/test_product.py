import functools

import numpy as np
import pytest

import quatrefoil as qf
from kron.product import oracle
from quatrefoil.kron import KroneckerOperator, matvec, matvec_vjp

EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def close(got, expected, k=64, dtype=np.float64):
    """To k roundings of the largest value: sums of a few dozen terms round a few times each, and factors multiply."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= k * EPS[dtype] * max(np.abs(expected).max(initial=0), 1e-300)


def normal(rng, *shapes):
    return [rng.standard_normal(s) for s in shapes]


def random_shapes(rng, most=24):
    d = int(rng.integers(1, 5))
    return [tuple(int(s) for s in rng.integers(1, max(3, most // d), 2)) for _ in range(d)]


# ---- identities


@pytest.mark.parametrize("repeat", range(12))
def test_dense(backend, rng, repeat):
    shapes = random_shapes(rng)
    factors = normal(rng, *shapes)
    dense = functools.reduce(np.kron, factors)
    x, g = normal(rng, (3, dense.shape[1]), (3, dense.shape[0]))
    close(matvec(factors, x), x @ dense.T)
    close(matvec(factors, g, transpose=True), g @ dense)


def test_mixed_product(backend, rng):
    A, B, C, D = normal(rng, (6, 9), (7, 5), (9, 4), (5, 8))
    x = rng.standard_normal(32)
    close(matvec([A, B], matvec([C, D], x)), matvec([A @ C, B @ D], x))


def test_associative(backend, rng):
    A, B, C, x = normal(rng, (3, 4), (5, 2), (6, 7), (2, 56))
    close(matvec([A, B, C], x), matvec([np.kron(A, B), C], x))
    close(matvec([A, B, C], x), matvec([A, np.kron(B, C)], x))


def test_permuted_modes(backend, rng):
    shapes = [(4, 6), (5, 3), (7, 2), (3, 9)]
    factors = normal(rng, *shapes)
    x = rng.standard_normal([n for _, n in shapes])
    y = matvec(factors, x.reshape(-1)).reshape([m for m, _ in shapes])
    order = rng.permutation(4)
    permuted = matvec([factors[i] for i in order], np.ascontiguousarray(x.transpose(order)).reshape(-1))
    close(permuted.reshape([shapes[i][0] for i in order]), y.transpose(order))


def test_adjoint_identity(backend, rng):
    shapes = [(6, 11), (9, 4), (5, 7)]
    factors = normal(rng, *shapes)
    x, y = normal(rng, (4, 11 * 4 * 7), (4, 6 * 9 * 5))
    left, right = np.sum(y * matvec(factors, x)), np.sum(matvec(factors, y, transpose=True) * x)
    size = np.linalg.norm(y) * np.linalg.norm(x) * np.prod([np.linalg.norm(f, 2) for f in factors])
    assert abs(left - right) <= 64 * EPS[np.float64] * size


def test_identity_copies_exactly(backend, rng):
    x = rng.standard_normal((2, 8 * 5 * 17))
    np.testing.assert_array_equal(matvec([np.eye(8), np.eye(5), np.eye(17)], x), x)


@pytest.mark.parametrize("repeat", range(8))
@pytest.mark.parametrize("transpose", [False, True])
def test_gradient_entry_by_entry(backend, rng, repeat, transpose):
    shapes = random_shapes(rng, 12)
    factors = normal(rng, *shapes)
    N, M = (int(np.prod([s[i] for s in shapes])) for i in (1, 0))
    x, grad = normal(rng, (2, M if transpose else N), (2, N if transpose else M))
    dfactors, dx = matvec_vjp(factors, x, grad, transpose=transpose)
    expected = oracle.matvec_vjp(factors, x, grad, transpose=transpose)
    terms = oracle.matvec_vjp([np.abs(f) for f in factors], np.abs(x), np.abs(grad), transpose=transpose)  # where they cancel too
    assert isinstance(dfactors, list)
    for got, want, scale in zip([*dfactors, dx], [*expected[0], expected[1]], [*terms[0], terms[1]], strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max(initial=0) <= 8 * EPS[np.float64] * scale.max(initial=0)


def test_gradient_of_a_long_batch_in_float32(backend, rng):
    """50,000 terms an entry: summed in float32 one by one, their error would be hundreds of roundings."""
    factors = [f.astype(np.float32) for f in normal(rng, (3, 4), (2, 5))]
    x, grad = (rng.standard_normal((25_000, n)).astype(np.float32) + np.float32(1) for n in (20, 6))
    dfactors, _ = matvec_vjp(factors, x, grad)
    double = [f.astype(np.float64) for f in factors]
    expected = np.einsum(
        "bik,bjl,kl->ij",
        grad.reshape(-1, 3, 2).astype(float),
        x.reshape(-1, 4, 5).astype(float),
        double[1],
        optimize=True,
    )
    close(dfactors[0], expected, 16, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(70, 70, 70), (8,) * 6, (4,) * 9, (31, 37, 41), (300, 260), (5, 512), (512, 5), (1000,)])
def test_large(backend, rng, sizes, dtype):
    """Sizes that take every path: several passes, slabs, panels, long sums. Compared in double, one axis at a time."""
    factors = [f.astype(dtype) for f in normal(rng, *[(n, n) for n in sizes])]
    x = rng.standard_normal(int(np.prod(sizes))).astype(dtype)
    y = x.astype(np.float64).reshape(sizes)
    for k, f in enumerate(factors):
        y = np.moveaxis(np.tensordot(f.astype(np.float64), y, (1, k)), 0, k)
    got = matvec(factors, x)
    # a sum of n terms rounds about sqrt(n) times in the direction of its size
    assert np.linalg.norm(got - y.reshape(-1)) <= 2 * np.sqrt(sum(sizes)) * EPS[dtype] * np.linalg.norm(y)


# ---- threads, strides, NaN


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shapes",
    [
        [(40, 40)] * 3,
        [(8, 8)] * 5,
        [(4, 4)] * 8,
        [(200, 200)] * 2,
        [(33, 17), (19, 60), (40, 21)],
        [(700, 700)],
        [(3, 3), (500, 400)],
    ],
)
def test_threads_do_not_change_a_bit(rng, shapes, dtype):
    factors = [f.astype(dtype) for f in normal(rng, *shapes)]
    N, M = (int(np.prod([s[i] for s in shapes])) for i in (1, 0))
    x, grad = (rng.standard_normal((3, n)).astype(dtype) for n in (N, M))
    K = [KroneckerOperator(factors, num_threads=t) for t in (1, 2, 3, 7)]
    results = [(matvec(factors, x, num_threads=t), *matvec_vjp(factors, x, grad, num_threads=t)) for t in (1, 2, 3, 7)]
    for y, dfactors, dx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dx, results[0][2])
        for a, b in zip(dfactors, results[0][1]):
            np.testing.assert_array_equal(a, b)
    for k in K:
        np.testing.assert_array_equal(k @ x[0], results[0][0][0])


def test_a_row_does_not_depend_on_its_batch(backend, rng):
    factors = normal(rng, (9, 9), (14, 14), (5, 5))
    x = rng.standard_normal((7, 630))
    np.testing.assert_array_equal(matvec(factors, x)[4], matvec(factors, x[4]))


def test_strides(backend, rng):
    A, B = normal(rng, (12, 10), (9, 14))
    x = rng.standard_normal((4, 140))
    expected = matvec([A, B], x)
    wide = np.zeros((4, 280))
    wide[:, ::2] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for view in (
        wide[:, ::2],
        np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        np.asfortranarray(x),
        read_only,
        x[::-1][::-1],
    ):
        np.testing.assert_array_equal(matvec([A, B], view), expected)
    transposed = np.ascontiguousarray(A.T).T
    reversed_ = np.ascontiguousarray(B[::-1, ::-1])[::-1, ::-1]
    fixed = B.copy()
    fixed.flags.writeable = False
    for factors in ([transposed, B], [A, reversed_], [A, fixed], (A, B)):
        np.testing.assert_array_equal(matvec(factors, x), expected)
    np.testing.assert_array_equal(matvec([A, B], np.broadcast_to(x[0], (3, 140)))[2], expected[0])
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(4, 140)
    assert not unaligned.flags.aligned
    np.testing.assert_array_equal(matvec([A, B], unaligned), expected)


def test_out(backend, rng):
    A, B, x = normal(rng, (4, 3), (5, 6), (2, 18))
    out = np.full((2, 20), np.nan)
    assert matvec([A, B], x, out=out) is out
    np.testing.assert_array_equal(out, matvec([A, B], x))
    with pytest.raises(ValueError, match="out has shape"):
        matvec([A, B], x, out=np.empty((2, 18)))
    with pytest.raises(ValueError, match="overlaps"):
        matvec([np.eye(18)], x, out=x)


def test_nan_stays_in_its_row(backend, rng):
    factors = normal(rng, (8, 8), (6, 9), (4, 4))
    x = rng.standard_normal((5, 8 * 9 * 4))
    clean = matvec(factors, x)
    x[2, 17] = np.nan
    got = matvec(factors, x)
    np.testing.assert_array_equal(np.delete(got, 2, 0), np.delete(clean, 2, 0))
    assert np.isnan(got[2]).any()
    grad = rng.standard_normal(clean.shape)
    grad[3, 5] = np.inf
    _, dx = matvec_vjp(factors, x, grad)
    assert np.isfinite(np.delete(dx, 3, 0)).all()


def test_signed_zero_and_infinity_of_the_identity(backend):
    y = matvec([np.array([[2.0]]), np.array([[3.0]])], np.array([[np.inf], [-1.0]]))
    np.testing.assert_array_equal(y, [[np.inf], [-6.0]])


def test_many_factors_of_one(backend, rng):
    x = rng.standard_normal(6)
    scales = rng.uniform(0.5, 2, 70)
    A = rng.standard_normal((3, 2))
    factors = [*[np.array([[s]]) for s in scales], A, np.eye(3)]
    close(matvec(factors, x), np.prod(scales) * (A @ x.reshape(2, 3)).reshape(-1), 200)
    dfactors, _ = matvec_vjp(factors, x, np.ones(9))
    terms = matvec(factors, x) / scales[5]  # their sum may cancel: the roundings are those of the terms
    assert abs(dfactors[5][0, 0] - terms.sum()) <= 400 * EPS[np.float64] * np.abs(terms).sum()


def test_a_thin_axis_between_does_not_blow_up(backend, rng):
    """Right to left without thought, the array between would have 3,000^2 times 1,000 numbers."""
    A, B = (np.abs(a) for a in normal(rng, (1, 3000), (3000, 1)))  # positive: where the one sum cancels its value says nothing
    x = rng.uniform(0, 1, (1000, 3000))
    y = matvec([A, B], x)
    close(y[7], (A @ x[7]) * B[:, 0], 64 * 60)


# ---- what is refused


def test_bad_shapes(backend, rng):
    A, B = normal(rng, (4, 3), (5, 6))
    with pytest.raises(ValueError, match=r"kron\.matvec: x has shape \(17,\), expected"):
        matvec([A, B], np.zeros(17))
    with pytest.raises(ValueError, match=r"kron\.rmatvec: x has shape \(18,\), expected .*20"):
        matvec([A, B], np.zeros(18), transpose=True)
    with pytest.raises(ValueError, match=r"factors\[1\] has shape \(5,\)"):
        matvec([A, np.zeros(5)], np.zeros(18))
    with pytest.raises(ValueError, match=r"factors\[0\] has shape \(1, 4, 3\)"):
        matvec([A[None], B], np.zeros(18))
    with pytest.raises(ValueError, match="at least one"):
        matvec([], np.zeros(1))
    with pytest.raises(ValueError, match="x has shape"):
        matvec([np.eye(1)], np.array(1.0))
    with pytest.raises(ValueError, match=r"grad has shape \(18,\), expected \(20,\)"):
        matvec_vjp([A, B], np.zeros(18), np.zeros(18))


def test_bad_kinds(backend, rng):
    A, B = normal(rng, (4, 3), (5, 6))
    x = np.zeros(18)
    bad = {
        "int64": x.astype(int),
        "complex128": x.astype(complex),
        "float16": x.astype(np.float16),
        ">f8": x.astype(">f8"),
        "list": x.tolist(),
        "masked": np.ma.masked_array(x, x == 0),
    }
    for text, value in bad.items():
        with pytest.raises(TypeError, match=rf"kron\.matvec: x .*{text}"):
            matvec([A, B], value)
    with pytest.raises(TypeError, match=r"x has dtype float32 but factors\[0\] has float64"):
        matvec([A, B], x.astype(np.float32))
    with pytest.raises(TypeError, match=r"factors\[1\] has dtype float32"):
        matvec([A, B.astype(np.float32)], x)
    with pytest.raises(TypeError, match=r"factors\[0\] is list"):
        matvec([A.tolist(), B], x)
    with pytest.raises(TypeError, match=r"factors\[1\] is None"):
        matvec([A, None], x)
    with pytest.raises(TypeError, match="list or tuple"):
        matvec(np.zeros((2, 3, 3)), np.zeros(9))
    with pytest.raises(TypeError, match="list or tuple"):
        KroneckerOperator(np.eye(3))
    with pytest.raises(ValueError, match="num_threads"):
        matvec([A, B], x, num_threads=0)


def test_sizes_beyond_memory():
    wide = np.broadcast_to(np.float64(1), (1, 1))
    tall = np.broadcast_to(np.float64(1), (1 << 16, 1))
    with pytest.raises((MemoryError, ValueError)):
        matvec([tall] * 4 + [wide], np.ones(1))


def test_table_and_public_names():
    assert {op.name for op in qf.kron.OPS if op.noun == "product"} == {"matvec", "matvec_vjp", "rmatvec", "rmatvec_vjp"}
    assert set(qf.kron.__all__) <= set(dir(qf.kron)) | {"KroneckerOperator"}
