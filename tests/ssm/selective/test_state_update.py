"""What is particular to a step of the selective state: in place, rows of a cache, strides, one exponential a head."""

import numpy as np

import quatrefoil as qf
from case import precisions
from checks import check_refused

update, step = qf.ssm.selective_state_update, qf.ssm.selective_state_step


def arrays_of(rng, items=3, P=9, N=5, heads=None, groups=None, rows=None, dtype=np.float64):
    H = () if heads is None else (heads,)
    mixing = (items, N) if groups is None else (items, groups, N)
    shapes = (rows or items, *H, P, N), (items, *H, P), (items, *H, P), (*H, P, N), mixing, mixing, (*H, P), (items, *H, P), (*H, P)
    made = [rng.standard_normal(s).astype(dtype) for s in shapes]
    made[3] = -np.exp(made[3])
    return made


def test_padding_is_not_even_read(backend, rng):
    arrays = arrays_of(rng, items=2, rows=2)
    for i in (1, 2, 4, 5, 7):
        arrays[i][1] = np.nan
    out, after = step(*arrays, np.array([1, -1]))
    assert np.isfinite(out).all()
    assert np.isfinite(after).all()
    grad = np.where([[True], [False]], 1.0, np.nan) + np.zeros_like(out)
    gradients = qf.ssm.selective_state_step_vjp(*arrays, np.array([1, -1]), (grad, np.ones_like(after)))
    for i, gradient in enumerate(gradients):
        assert np.isfinite(gradient).all()
        if i in (1, 2, 4, 5, 7):
            np.testing.assert_array_equal(gradient[1], 0)
    np.testing.assert_array_equal(gradients[0][0], 1)  # the row that nobody has


def test_float32_is_good_to_2e_6_and_its_gradients_to_5e_6(rng):
    arrays = arrays_of(rng, items=2, heads=8, P=64, N=128, groups=1, dtype=np.float32)
    wide = [a.astype(float) for a in arrays]
    for got, expected in zip(step(*arrays, dt_softplus=True), step(*wide, dt_softplus=True)):
        assert abs(got - expected).max() <= 2e-6 * abs(expected).max()
    grads = [rng.standard_normal(a.shape).astype(np.float32) for a in (arrays[1], arrays[0])]
    exact = qf.ssm.selective_state_step_vjp(*wide, tuple(g.astype(float) for g in grads), dt_softplus=True)
    for got, expected in zip(qf.ssm.selective_state_step_vjp(*arrays, tuple(grads), dt_softplus=True), exact):
        assert abs(got - expected).max() <= 5e-6 * abs(expected).max()


def test_the_state_is_updated_where_it_is(backend, rng):
    for heads, rows in ((None, None), (4, None), (4, np.array([6, -1, 0, 3, -9], np.int32))):
        print(heads, rows)
        arrays = arrays_of(rng, items=5, heads=heads, rows=7 if rows is not None else None)
        out, after = step(*arrays, rows, dt_softplus=True)
        before, memory = arrays[0].copy(), arrays[0].ctypes.data
        np.testing.assert_array_equal(update(*arrays, True, rows), out)
        np.testing.assert_array_equal(arrays[0], after)
        assert arrays[0].ctypes.data == memory
        assert (arrays[0] != before).any()


def test_strides_are_taken_as_they_are(backend, rng):
    for N in (5, 64):
        arrays = arrays_of(rng, heads=4, groups=2, P=19, N=N)
        for apart in (np.asfortranarray, lambda a: np.repeat(a, 3, axis=-1)[..., ::3]):
            given, plain = [apart(a) for a in arrays], [a.copy() for a in arrays]
            out, after = step(*plain, dt_softplus=True)
            np.testing.assert_array_equal(update(*given, True), out)
            np.testing.assert_allclose(given[0], after, rtol=1e-13, atol=1e-14)


def test_one_exponential_a_head(backend, rng):
    """Where a head has one A, one step size and one bias, expanded without memory, its exponential is made elsewhere."""
    for N in (5, 64):
        arrays = arrays_of(rng, heads=4, groups=2, P=19, N=N)
        for i in (2, 8):
            arrays[i] = np.broadcast_to(arrays[i][..., :1], arrays[i].shape)
        arrays[3] = np.broadcast_to(arrays[3][:, :1, :1], arrays[3].shape)
        out, after = step(*[a.copy() for a in arrays], dt_softplus=True)
        np.testing.assert_allclose(update(*arrays, True), out, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(arrays[0], after, rtol=1e-13, atol=1e-14)


def test_a_decay_that_vanishes_is_zero(backend):
    for dtype in precisions(backend):
        state, one = np.ones((1, 3, 8), dtype), np.ones((1, 3), dtype)
        A = np.repeat(np.array([[-2000.0], [-1e30], [-np.inf]], dtype), 8, axis=1)
        mixing = np.ones((1, 8), dtype)
        np.testing.assert_array_equal(update(state, one, one, A, mixing, mixing), 8)
        np.testing.assert_array_equal(state, 1)
        one_for_all = np.broadcast_to(dtype(-1e30), (3, 8))
        np.testing.assert_array_equal(update(state, one, one, one_for_all, mixing, mixing), 8)
        gradients = qf.ssm.selective_state_step_vjp(state, one, one, A[:2].repeat(2, 0)[:3], mixing, mixing, (one, 0 * state))
        assert all(np.isfinite(g).all() for g in gradients)


S, X, A, M = np.zeros((2, 3, 4)), np.zeros((2, 3)), np.zeros((3, 4)), np.zeros((2, 4))
HEADS = [np.zeros((2, 4, 3, 5)), np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), np.zeros((4, 3, 5))]
varlen = qf.ssm.causal_conv1d_varlen_states


def ends(*numbers):
    return np.array(numbers)


BAD = [
    (lambda: update(S, X, X, A, M[:, None].repeat(2, 1), M[:, None].repeat(2, 1)), ValueError, "groups that divide 1"),
    (lambda: update(*HEADS, np.zeros((2, 3, 5)), np.zeros((2, 3, 5))), ValueError, r"B has shape \(2, 3, 5\), .* the 4 heads"),
    (lambda: update(*HEADS, np.zeros((2, 2, 5)), np.zeros((2, 1, 5))), ValueError, r"C has shape \(2, 1, 5\), .* G = 2 as in B"),
    (lambda: update(np.broadcast_to(0.0, S.shape), X, X, A, M, M), ValueError, "state is read-only"),
    (lambda: update(S, X, X, A, M, M, state_batch_indices=ends(0, 2)), ValueError, r"must lie in \[0, 2\), the rows of state"),
    (lambda: update(S, X, X, A, M, M, state_batch_indices=ends(1, 1)), ValueError, "names a row twice"),
    (lambda: update(S[:0], X, X, A, M, M, state_batch_indices=ends(-1, -1)), ValueError, "at least one row"),
    (lambda: update(S, X, X, A, M, M, state_batch_indices=ends(0.0, 1)), TypeError, "expected an array of int32 or int64"),
    (lambda: varlen(X, ends(0, 3), 2), ValueError, r"expected numbers that never fall, nor leave \[0, 2\]"),
    (lambda: varlen(X, np.array([], int), 2), ValueError, "cu_seqlens has shape"),
    (lambda: varlen(X, ends(0, 2), -1), ValueError, "state_len"),
]


def test_bad_input():
    check_refused(BAD)
    np.testing.assert_array_equal(S, 0, err_msg="an update that raised has written")
