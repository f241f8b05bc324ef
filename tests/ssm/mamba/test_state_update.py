"""What is particular to a step of the selective state: in place, rows of a cache, strides, one exponential a head; scans in pieces."""

import numpy as np
import pytest

import quatrefoil as qf

update, step, scan = qf.ssm.selective_state_update, qf.ssm.selective_state_step, qf.ssm.selective_scan_fn


def arrays_of(rng, items=3, P=9, N=5, heads=None, groups=None, rows=None, dtype=np.float64):
    H = () if heads is None else (heads,)
    mixing = (items, N) if groups is None else (items, groups, N)
    shapes = (rows or items, *H, P, N), (items, *H, P), (items, *H, P), (*H, P, N), mixing, mixing, (*H, P), (items, *H, P), (*H, P)
    made = [rng.standard_normal(s).astype(dtype) for s in shapes]
    made[3] = -np.exp(made[3])
    return made


def test_steps_are_the_scan(backend, rng):
    items, D, N, L = 2, 7, 16, 20
    u, delta, z, B, C = (rng.standard_normal(s) for s in ((items, D, L), (items, D, L), (items, D, L), (items, N, L), (items, N, L)))
    A, skip, bias = -np.exp(rng.standard_normal((D, N))), rng.standard_normal(D), rng.standard_normal(D)
    whole, last = scan(u, delta, A, B, C, skip, z, bias, True, True)
    state = np.zeros((items, D, N))
    for t in range(L):
        y = update(state, u[..., t], delta[..., t], A, B[..., t], C[..., t], skip, z[..., t], bias, True)
        np.testing.assert_allclose(y, whole[..., t], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(state, last, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("heads", [None, 4])
def test_the_state_is_updated_where_it_is(backend, rng, heads):
    arrays = arrays_of(rng, heads=heads)
    out, after = step(*arrays, dt_softplus=True)
    before, memory = arrays[0].copy(), arrays[0].ctypes.data
    np.testing.assert_array_equal(update(*arrays, True), out)
    np.testing.assert_array_equal(arrays[0], after)
    assert arrays[0].ctypes.data == memory
    assert (arrays[0] != before).any()


def test_rows_of_a_cache(backend, rng):
    arrays = arrays_of(rng, items=5, heads=4, groups=2, rows=7)
    rows = np.array([6, -1, 0, 3, -9], np.int32)
    before = arrays[0].copy()
    out, after = step(*arrays, rows, dt_softplus=True)
    got = update(*arrays, True, rows)
    np.testing.assert_array_equal(got, out)
    np.testing.assert_array_equal(arrays[0], after)
    np.testing.assert_array_equal(after[[1, 2, 4, 5]], before[[1, 2, 4, 5]])
    np.testing.assert_array_equal(out[[1, 4]], 0)
    real = [0, 2, 3]
    chosen = [a[real] if i in (1, 2, 4, 5, 7) else a for i, a in enumerate(arrays)]
    chosen[0] = before[rows[real]]
    alone, alone_after = step(*chosen, dt_softplus=True)
    np.testing.assert_array_equal(out[real], alone)
    np.testing.assert_array_equal(after[rows[real]], alone_after)


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


@pytest.mark.parametrize("layout", ["expanded", "strided", "fortran"])
@pytest.mark.parametrize("N", [5, 64])
def test_strides_are_taken_as_they_are(backend, rng, layout, N):
    arrays = arrays_of(rng, heads=4, groups=2, P=19, N=N)
    if layout == "expanded":  # as where a head has one A, one step size and one bias
        for i in (2, 8):
            arrays[i] = np.broadcast_to(arrays[i][..., :1], arrays[i].shape)
        arrays[3] = np.broadcast_to(arrays[3][:, :1, :1], arrays[3].shape)
        for i in (0, 4, 6):
            arrays[i] = arrays[i].copy()
    elif layout == "strided":
        arrays = [np.repeat(a, 3, axis=-1)[..., ::3] for a in arrays]
    else:
        arrays = [np.asfortranarray(a) for a in arrays]
    plain = [a.copy() for a in arrays]
    out, after = step(*plain, dt_softplus=True)
    found = update(*arrays, True)
    np.testing.assert_allclose(found, out, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(arrays[0], after, rtol=1e-13, atol=1e-14)
    if layout != "expanded":  # where A does not vary its exponential is made elsewhere
        np.testing.assert_array_equal(found, out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_decay_that_vanishes_is_zero(backend, dtype):
    state, one = np.ones((1, 3, 8), dtype), np.ones((1, 3), dtype)
    A = np.repeat(np.array([[-2000.0], [-1e30], [-np.inf]], dtype), 8, axis=1)
    mixing = np.ones((1, 8), dtype)
    y = update(state, one, one, A, mixing, mixing)
    np.testing.assert_array_equal(y, 8)
    np.testing.assert_array_equal(state, 1)
    one_for_all = np.broadcast_to(dtype(-1e30), (3, 8))
    np.testing.assert_array_equal(update(state, one, one, one_for_all, mixing, mixing), 8)
    gradients = qf.ssm.selective_state_step_vjp(state, one, one, A[:2].repeat(2, 0)[:3], mixing, mixing, (one, 0 * state))
    assert all(np.isfinite(g).all() for g in gradients)


def test_float32_is_good_to_2e_6_and_its_gradients_to_5e_6(rng):
    arrays = arrays_of(rng, items=2, heads=8, P=64, N=128, groups=1, dtype=np.float32)
    wide = [a.astype(float) for a in arrays]
    for got, expected in zip(step(*arrays, dt_softplus=True), step(*wide, dt_softplus=True)):
        assert abs(got - expected).max() <= 2e-6 * abs(expected).max()
    grads = [rng.standard_normal(a.shape).astype(np.float32) for a in (arrays[1], arrays[0])]
    exact = qf.ssm.selective_state_step_vjp(*wide, tuple(g.astype(float) for g in grads), dt_softplus=True)
    for got, expected in zip(qf.ssm.selective_state_step_vjp(*arrays, tuple(grads), dt_softplus=True), exact):
        assert abs(got - expected).max() <= 5e-6 * abs(expected).max()


def test_half_precision_beside_float32(backend, rng):
    arrays = arrays_of(rng, dtype=np.float32)
    arrays[2], arrays[8] = abs(arrays[2]), abs(arrays[8])  # so that no state grows beyond half precision
    halves = [a.astype(np.float16) if i in (1, 2, 4, 5, 7) else a for i, a in enumerate(arrays)]
    wide = [a.astype(np.float32) for a in halves]
    out, after = step(*wide)
    found = update(*halves)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, out.astype(np.float16))
    np.testing.assert_array_equal(halves[0], after)
    narrow = [wide[0].astype(np.float16), *halves[1:]]
    out, after = step(narrow[0].astype(np.float32), *wide[1:])
    np.testing.assert_array_equal(update(*narrow), out.astype(np.float16))
    np.testing.assert_array_equal(narrow[0], after.astype(np.float16))


@pytest.mark.parametrize("cuts", [[1], [64], [2, 3, 129], [0, 199, 200]])
@pytest.mark.parametrize("complex", [False, True])
def test_a_scan_in_pieces_is_the_whole(backend, rng, cuts, complex):
    """Values, and gradients: those of a piece begin with what its last state is told by the next."""
    u, delta, B, C, z, g = (rng.standard_normal(s) for s in ((2, 5, 200), (2, 5, 200), (2, 3, 200), (2, 3, 200), (2, 5, 200), (2, 5, 200)))
    A = -np.exp(rng.standard_normal((5, 3))) + (1j * rng.standard_normal((5, 3)) if complex else 0)
    B, C = (m.astype(A.dtype) for m in (B, C))
    D, bias, start = rng.standard_normal(5), rng.standard_normal(5), rng.standard_normal((2, 5, 3)).astype(A.dtype)
    options = {"delta_softplus": True, "return_last_state": True}
    whole, last = scan(u, delta, A, B, C, D, z, bias, initial_state=start, **options)
    gradients = qf.ssm.selective_scan_fn_vjp(u, delta, A, B, C, D, z, bias, start, (g, np.zeros_like(start)), **options)
    pieces = list(zip(*(np.split(v, cuts, axis=-1) for v in (u, delta, B, C, z, g))))
    states, out = [start], []
    for pu, pd, pB, pC, pz, _ in pieces:
        y, state = scan(pu, pd, A, pB, pC, D, pz, bias, initial_state=states[-1], **options)
        out.append(y)
        states.append(state)
    np.testing.assert_allclose(np.concatenate(out, axis=-1), whole, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(states[-1], last, rtol=1e-11, atol=1e-12)
    carry, back = np.zeros_like(start), []
    for (pu, pd, pB, pC, pz, pg), state in reversed(list(zip(pieces, states))):
        back.append(qf.ssm.selective_scan_fn_vjp(pu, pd, A, pB, pC, D, pz, bias, state, (pg, carry), **options))
        carry = back[-1][8]
    np.testing.assert_allclose(carry, gradients[8], rtol=1e-9, atol=1e-11)
    for i in (0, 1, 3, 4, 6):
        np.testing.assert_allclose(np.concatenate([b[i] for b in reversed(back)], axis=-1), gradients[i], rtol=1e-9, atol=1e-10)
    for i in (2, 5, 7):
        np.testing.assert_allclose(sum(b[i] for b in back), gradients[i], rtol=1e-9, atol=1e-9)


def test_states_of_packed_sequences_go_on(backend, rng):
    """Packed, then one step each: as every sequence alone with that sample behind it."""
    lengths, weight = [5, 1, 3, 9], rng.standard_normal((4, 3))
    x, more = rng.standard_normal((sum(lengths), 4)), rng.standard_normal((4, 4))
    ends = np.cumsum([0, *lengths]).astype(np.int32)
    states = qf.ssm.causal_conv1d_varlen_states(x, ends, 3)
    y = qf.ssm.causal_conv1d_update(more, states, weight)
    for b, part in enumerate(np.split(x, ends[1:-1])):
        alone = qf.ssm.causal_conv1d_fn(np.concatenate([part, more[b : b + 1]]).T[None], weight)
        np.testing.assert_allclose(y[b], alone[0, :, -1], rtol=1e-13, atol=1e-14)


S, X, A, M, U = np.zeros((2, 3, 4)), np.zeros((2, 3)), np.zeros((3, 4)), np.zeros((2, 4)), np.zeros((2, 3, 5))
HEADS = [np.zeros((2, 4, 3, 5)), np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), np.zeros((4, 3, 5))]
varlen, conv = qf.ssm.causal_conv1d_varlen_states, qf.ssm.causal_conv1d_fn


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: update(S[0], X, X, A, M, M), ValueError, r"ssm\.selective_state_update: state has shape \(3, 4\)"),
        (lambda: update(S, X[:, :2], X, A, M, M), ValueError, r"x has shape \(2, 2\), expected \(B, P\) with P = 3 as in state"),
        (lambda: update(S, X, X[:1], A, M, M), ValueError, r"dt has shape \(1, 3\)"),
        (lambda: update(S, X, X, A[:, 1:], M, M), ValueError, r"A has shape \(3, 3\), expected \(P, N\)"),
        (lambda: update(S, X, X, A, M[:, None].repeat(2, 1), M[:, None].repeat(2, 1)), ValueError, "groups that divide 1"),
        (lambda: update(*HEADS, np.zeros((2, 3, 5)), np.zeros((2, 3, 5))), ValueError, r"B has shape \(2, 3, 5\), .* the 4 heads"),
        (lambda: update(*HEADS, np.zeros((2, 2, 5)), np.zeros((2, 1, 5))), ValueError, r"C has shape \(2, 1, 5\), .* G = 2 as in B"),
        (lambda: update(*HEADS, np.zeros((2, 5)), np.zeros((2, 5)), np.zeros(3)), ValueError, r"D has shape \(3,\), expected \(H, P\)"),
        (lambda: update(S, X[:1], X[:1], A, M[:1], M[:1]), ValueError, r"state has shape .* expected B = 1"),
        (lambda: update(S, X.astype(np.float32), X, A, M, M), TypeError, "x has dtype float32 but state has float64"),
        (lambda: update(S, X, X, A.astype(complex), M, M), TypeError, "A has dtype complex128"),
        (lambda: update(S, X, X, A, M.tolist(), M), TypeError, "B is list"),
        (lambda: update(np.broadcast_to(0.0, S.shape), X, X, A, M, M), ValueError, "state is read-only"),
        (lambda: update(S, X, X, A, M, M, state_batch_indices=np.array([0, 2])), ValueError, r"must lie in \[0, 2\), the rows of state"),
        (lambda: update(S, X, X, A, M, M, state_batch_indices=np.array([1, 1])), ValueError, "names a row twice"),
        (lambda: update(S[:0], X, X, A, M, M, state_batch_indices=np.array([-1, -1])), ValueError, "at least one row"),
        (lambda: update(S, X, X, A, M, M, state_batch_indices=np.array([1])), ValueError, "state_batch_indices has shape"),
        (lambda: update(S, X, X, A, M, M, state_batch_indices=np.array([0.0, 1])), TypeError, "expected an array of int32 or int64"),
        (lambda: step(S, X, X, A, M, M[:1]), ValueError, r"ssm\.selective_state_step: C has shape"),
        (lambda: scan(U, U, A, A, A, initial_state=np.zeros((2, 3, 3))), ValueError, "initial_state has shape"),
        (lambda: scan(U, U, A, A, A, initial_state=np.zeros((2, 3, 4), complex)), TypeError, "initial_state has dtype"),
        (lambda: conv(U, A, final_states_out=np.zeros((2, 3, 3), int)), TypeError, "final_states_out has dtype int64 but x has float64"),
        (lambda: conv(U, A, final_states_out=np.zeros((2, 3, 3), np.float32)), TypeError, "final_states_out has dtype float32"),
        (lambda: varlen(X, np.array([0, 3]), 2), ValueError, r"expected numbers that never fall, nor leave \[0, 2\]"),
        (lambda: varlen(X, np.array([0, 2, 1]), 2), ValueError, "never fall"),
        (lambda: varlen(X, np.array([-1, 2]), 2), ValueError, "nor leave"),
        (lambda: varlen(X, np.array([], int), 2), ValueError, "cu_seqlens has shape"),
        (lambda: varlen(X, np.array([0, 2]), -1), ValueError, "state_len"),
        (lambda: varlen(X, np.array([0.0, 2]), 1), TypeError, "cu_seqlens is a numpy array of float64"),
        (lambda: varlen(S, np.array([0, 2]), 1), ValueError, "x has shape"),
    ],
)  # fmt: skip
def test_bad_input(backend, call, error, text):
    for _ in range(2):
        with pytest.raises(error, match=text):
            call()
    np.testing.assert_array_equal(S, 0, err_msg="an update that raised has written")
