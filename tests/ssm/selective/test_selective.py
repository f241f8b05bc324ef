"""Tests specific to the kernels of a Mamba block: closed forms, states, packed sequences, in-place updates, strides, bad input."""

import numpy as np
import pytest

import quatrefoil as qf
from case import Case, build, precisions
from checks import check_float32, check_rejected
from ssm.selective.cases import scan as scan_case
from ssm.selective.cases import step as step_case

scan, conv, update = qf.ssm.selective_scan_fn, qf.ssm.causal_conv1d_fn, qf.ssm.causal_conv1d_update
advance, step, varlen = qf.ssm.selective_state_update, qf.ssm.selective_state_step, qf.ssm.causal_conv1d_varlen_states


def scan_arrays(rng, *shape, N):
    return build("ssm", Case("selective_scan_fn", "drawn", scan_case(shape, N)), rng, "float32")[0]


def test_states_grow_and_vanish_without_a_clamp(backend):
    u = np.ones((1, 3, 3), np.float32)
    A = np.array([[60.0], [-2000.0], [-np.inf]], np.float32)
    y = scan(u, u, A, np.ones((3, 1), np.float32), np.ones((3, 1), np.float32))[0]
    np.testing.assert_array_equal(y[1:], 1)
    assert y[0, 1] == pytest.approx(np.exp(60.0), rel=1e-5)
    assert y[0, 2] == np.inf


def test_final_states_are_written_where_asked(backend, rng):
    x, weight = rng.standard_normal((2, 3, 2)), rng.standard_normal((3, 4))
    buffer = np.full((3, 2, 6), np.nan).transpose(1, 0, 2)[..., ::2]  # any strides
    y, states = conv(x, weight, return_final_states=True, final_states_out=buffer)
    assert states is buffer
    np.testing.assert_array_equal(buffer, np.concatenate([np.zeros((2, 3, 1)), x], axis=2))
    buffer[...] = np.nan
    np.testing.assert_array_equal(conv(x, weight, final_states_out=buffer), y)
    assert np.isfinite(buffer).all()


def test_a_ring_and_chosen_rows_are_the_same_states_elsewhere(backend, rng):
    weight, plain = rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 5))
    start, rows = np.array([3, 13], np.int32), np.array([4, 1], np.int32)
    ring = np.stack([np.roll(s, n, axis=-1) for s, n in zip(plain, start)])
    many = np.full((6, 3, 5), np.nan)
    many[rows] = plain
    for count in (1, 2, 7):
        x = rng.standard_normal((2, 3, count))
        y = update(x, plain, weight)
        np.testing.assert_array_equal(update(x, ring, weight, cache_seqlens=start), y)
        np.testing.assert_array_equal(update(x, many, weight, conv_state_indices=rows), y)
        start = start + count
        np.testing.assert_array_equal(ring, np.stack([np.roll(s, n, axis=-1) for s, n in zip(plain, start)]))
        np.testing.assert_array_equal(many[rows], plain)
    assert np.isnan(many[[0, 2, 3, 5]]).all()


def test_gradients_in_float32_are_good_to_2e_6_of_the_largest(rng):
    """Uses Mamba's initial parameters, whose memory is at most 1000 steps; over more steps, rounding the decays to float32 costs more."""
    arrays = scan_arrays(rng, 2, 40, 1000, N=16)
    arrays[1] = 0.5 * rng.standard_normal(arrays[1].shape).astype(np.float32)
    arrays[2] = np.repeat(-np.arange(1, 17, dtype=np.float32)[None], 40, axis=0)
    arrays[7] = np.log(np.expm1(np.exp(rng.uniform(np.log(1e-3), np.log(0.1), 40)))).astype(np.float32)
    grad = rng.standard_normal(arrays[0].shape).astype(np.float32)
    check_float32(qf.ssm.selective_scan_fn_vjp, [*arrays, grad], 2e-6, delta_softplus=True)


def test_softplus_and_gate_of_large_arguments(backend):
    for dtype in (np.float32, np.float64):
        u = np.ones((1, 4, 1), dtype)
        far = np.array([-1000, -80, 80, 1000], dtype).reshape(u.shape)
        one = np.ones((4, 1), dtype)
        y = scan(u, far, 0 * one, one, one, delta_softplus=True)
        np.testing.assert_allclose(y.ravel(), [0, np.exp(-80.0), 80, 1000], rtol=1e-6)
        y = scan(u, 0 * u, 0 * one, one, one, np.ones(4, dtype), z=far)
        np.testing.assert_allclose(y.ravel(), [0, -80 * np.exp(-80.0), 80, 1000], rtol=1e-6, atol=1e-37)
        for g in qf.ssm.selective_scan_fn_vjp(u, far, -one, one, one, one[:, 0], far, u, delta_softplus=True):
            assert np.isfinite(g).all()


def test_sequences_and_padding_do_not_see_each_other(backend, rng):
    """A NaN in a different sequence or in padding is not even multiplied by 0."""
    x, weight, bias, grad = (rng.standard_normal(s) for s in ((1, 3, 91), (3, 4), (3,), (1, 3, 91)))
    idx = np.repeat([[9, 0, -1, 1, -1, -7, 2]], [1, 20, 3, 30, 1, 9, 27], axis=1)
    padding = np.broadcast_to(idx[:, None] < 0, x.shape)
    x[padding] = grad[padding] = x[..., 0] = np.nan
    for activation in (None, "silu"):
        y = conv(x, weight, bias, idx, activation=activation)
        np.testing.assert_array_equal(y[padding], 0)
        for part in (slice(0, 1), slice(1, 21), slice(24, 54), slice(64, 91)):
            np.testing.assert_array_equal(y[..., part], conv(x[..., part], weight, bias, activation=activation))
        clean, other = (np.where(padding, fill, np.nan_to_num(x)) for fill in (np.nan, 3.0))
        grads = np.where(padding, 3.0, grad)
        dx, *rest = qf.ssm.causal_conv1d_fn_vjp(clean, weight, bias, idx, grad, activation=activation)
        np.testing.assert_array_equal(dx[padding], 0)
        without = qf.ssm.causal_conv1d_fn_vjp(other, weight, bias, idx, grads, activation=activation)
        np.testing.assert_equal((dx, *rest), without)


def test_updates_are_the_convolution_step_by_step(backend, rng):
    for W, S in [(4, 3), (4, 7), (1, 0), (1, 2), (2, 1)]:
        print(W, S)
        x, weight, bias = rng.standard_normal((2, 3, 12)), rng.standard_normal((3, W)), rng.standard_normal(3)
        state = np.zeros((2, 3, S))
        steps = [update(x[..., t], state, weight, bias, "silu")[..., None] for t in range(5)]
        steps.append(update(x[..., 5:], state, weight, bias, "silu"))
        np.testing.assert_allclose(np.concatenate(steps, axis=2), conv(x, weight, bias, activation="silu"), rtol=1e-13)
        np.testing.assert_array_equal(state, x[..., 12 - S :])


@pytest.mark.parametrize("start", [None, np.array([3, 13, 7])])
def test_padding_leaves_the_states_alone(backend, rng, start):
    for rows in np.array([[4, -1, 1], [-1, 2, -1], [-1, -1, -1], [3, 0, -5]], np.int32):
        print(rows)
        weight, bias, states, x = (rng.standard_normal(s) for s in ((3, 4), (3,), (6, 3, 5), (3, 3, 2)))
        real = rows >= 0
        x[~real] = np.nan
        expected, result = states.copy(), states.copy()
        y = update(x, result, weight, bias, "silu", start, rows)  # by position, as in causal-conv1d
        some = None if start is None else start[real]
        np.testing.assert_array_equal(y[real], update(x[real], expected, weight, bias, "silu", some, rows[real]))
        np.testing.assert_array_equal(y[~real], 0)
        np.testing.assert_array_equal(result, expected)


def test_pairs_in_half_precision(rng):
    u, delta, A, B, C, *more = scan_arrays(rng, 2, 5, 40, N=3)
    halves = [u, delta, *(np.repeat(m, 2, axis=-1) for m in (B, C)), more[1]]
    halves = [a.astype(np.float16) for a in halves]
    u, delta, B, C, z = (a.astype(np.float32) for a in halves)
    y = scan(*halves[:2], A + np.complex64(1j), *halves[2:4], more[0], halves[4], more[2])
    np.testing.assert_array_equal(y, scan(u, delta, A + np.complex64(1j), B, C, more[0], z, more[2]).astype(np.float16))


def arrays_of(rng, items=3, P=9, N=5, precision="float64", **drawn):
    return build("ssm", Case("selective_state_step", "drawn", step_case(items, P, N, **drawn)), rng, precision)[0][:9]


def test_padding_is_not_even_read(backend, rng):
    arrays = arrays_of(rng, items=2)
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
    np.testing.assert_array_equal(gradients[0][0], 1)  # the row that no item uses


def test_float32_is_good_to_2e_6_and_its_gradients_to_5e_6(rng):
    arrays = arrays_of(rng, 2, 64, 128, "float32", heads=8, groups=1)
    check_float32(step, arrays, 2e-6, dt_softplus=True)
    grads = tuple(rng.standard_normal(a.shape).astype(np.float32) for a in (arrays[1], arrays[0]))
    check_float32(qf.ssm.selective_state_step_vjp, [*arrays, grads], 5e-6, dt_softplus=True)


def test_the_state_is_updated_where_it_is(backend, rng):
    for heads, rows in ((None, None), (4, None), (4, np.array([6, -1, 0, 3, -9], np.int32))):
        print(heads, rows)
        arrays = arrays_of(rng, 5, heads=heads, rows=rows, count=7)
        out, after = step(*arrays, rows, dt_softplus=True)
        before, memory = arrays[0].copy(), arrays[0].ctypes.data
        np.testing.assert_array_equal(advance(*arrays, True, rows), out)
        np.testing.assert_array_equal(arrays[0], after)
        assert arrays[0].ctypes.data == memory
        assert (arrays[0] != before).any()


def test_one_exponential_per_head(backend, rng):
    """If a head has one A, one step size and one bias, expanded without copying, its exponential is computed only once."""
    for N in (5, 64):
        arrays = arrays_of(rng, heads=4, groups=2, P=19, N=N)
        for i in (2, 8):
            arrays[i] = np.broadcast_to(arrays[i][..., :1], arrays[i].shape)
        arrays[3] = np.broadcast_to(arrays[3][:, :1, :1], arrays[3].shape)
        out, after = step(*[a.copy() for a in arrays], dt_softplus=True)
        np.testing.assert_allclose(advance(*arrays, True), out, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(arrays[0], after, rtol=1e-13, atol=1e-14)


def test_a_decay_that_vanishes_is_zero(backend):
    for dtype in precisions(backend):
        state, one = np.ones((1, 3, 8), dtype), np.ones((1, 3), dtype)
        A = np.repeat(np.array([[-2000.0], [-1e30], [-np.inf]], dtype), 8, axis=1)
        mixing = np.ones((1, 8), dtype)
        np.testing.assert_array_equal(advance(state, one, one, A, mixing, mixing), 8)
        np.testing.assert_array_equal(state, 1)
        one_for_all = np.broadcast_to(dtype(-1e30), (3, 8))
        np.testing.assert_array_equal(advance(state, one, one, one_for_all, mixing, mixing), 8)
        gradients = qf.ssm.selective_state_step_vjp(state, one, one, A[:2].repeat(2, 0)[:3], mixing, mixing, (one, 0 * state))
        assert all(np.isfinite(g).all() for g in gradients)


def ends(*numbers):
    return np.array(numbers)


F, A, M, W4 = np.zeros((2, 3, 10)), np.zeros((3, 4)), np.zeros((2, 4, 10)), np.zeros((3, 4))
STATE, SEQUENCES = np.zeros((2, 3, 3)), np.zeros((2, 10), int)
S, X, MIX = np.zeros((2, 3, 4)), np.zeros((2, 3)), np.zeros((2, 4))
HEADS = [np.zeros((2, 4, 3, 5)), np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), np.zeros((4, 3, 5))]
BAD = [
    (lambda: scan(F, F, A, M, M[:, None].repeat(2, 1)), ValueError, "C has shape .* where G divides the number of channels, 3"),
    (lambda: scan(F, F, A + 0j, M[..., :5].repeat(1, 2), M), ValueError, r"expected pairs \(re, im\)"),
    (lambda: conv(F, W4[:, :0]), ValueError, r"ssm\.causal_conv1d_fn: .* W at least 1"),
    (lambda: conv(F, W4, seq_idx=SEQUENCES + 0.0), TypeError, "seq_idx is a numpy array of float64, expected .* int32 or int64"),
    (lambda: conv(F, W4, seq_idx=SEQUENCES, return_final_states=True), ValueError, "seq_idx cannot be combined with"),
    (lambda: conv(F, W4, seq_idx=SEQUENCES, initial_states=STATE), ValueError, "seq_idx cannot be combined with"),
    (lambda: conv(F, W4, activation="gelu"), ValueError, "activation is 'gelu', expected one of None, 'silu', 'swish'"),
    (lambda: conv(F, W4, final_states_out=F), ValueError, "final_states_out has shape"),
    (lambda: conv(F, W4, final_states_out=np.broadcast_to(0.0, STATE.shape)), ValueError, "final_states_out is read-only"),
    (lambda: conv(F, W4, final_states_out=STATE.tolist()), TypeError, "final_states_out is list"),
    (lambda: conv(F, W4, final_states_out=STATE.astype(int)), TypeError, "final_states_out has dtype int64 but x has float64"),
    (lambda: update(F, np.broadcast_to(0.0, STATE.shape), W4), ValueError, "conv_state is read-only"),
    (lambda: update(F, STATE[..., 1:], W4), ValueError, r"conv_state has shape \(2, 3, 2\), expected .* S at least W - 1 = 3"),
    (lambda: update(F[:1], STATE, W4), ValueError, "conv_state has shape"),
    (lambda: update(F[0, 0], STATE, W4), ValueError, r"x has shape \(10,\)"),
    (lambda: update(F, STATE.astype(np.float32), W4), TypeError, "conv_state has dtype float32 but x has float64"),
    (lambda: update(F, STATE, W4[0]), ValueError, "weight has shape"),
    (lambda: update(F.tolist(), STATE, W4), TypeError, "x is list"),
    (lambda: update(F, STATE, W4, activation="relu"), ValueError, "activation is 'relu'"),
    (lambda: update(F, STATE, W4, conv_state_indices=np.array([0, 2])), ValueError, r"in \[0, 2\), or negative"),
    (lambda: update(F, STATE[:0], W4, conv_state_indices=np.array([-1, -1])), ValueError, "at least one row"),
    (lambda: update(F, STATE, W4, conv_state_indices=np.array([1, 1])), ValueError, "a row twice"),
    (lambda: update(F, STATE, W4, cache_seqlens=np.array([1])), ValueError, "cache_seqlens has shape"),
    (lambda: update(F, STATE, W4, cache_seqlens=[0, 1]), TypeError, "cache_seqlens is list"),
    (lambda: advance(S, X, X, A, MIX[:, None].repeat(2, 1), MIX[:, None].repeat(2, 1)), ValueError, "where G divides 1"),
    (lambda: advance(*HEADS, np.zeros((2, 3, 5)), np.zeros((2, 3, 5))), ValueError, r"B has shape \(2, 3, 5\), .* the number of heads, 4"),
    (lambda: advance(*HEADS, np.zeros((2, 2, 5)), np.zeros((2, 1, 5))), ValueError, r"C has shape \(2, 1, 5\), .* G = 2 as in B"),
    (lambda: advance(np.broadcast_to(0.0, S.shape), X, X, A, MIX, MIX), ValueError, "state is read-only"),
    (lambda: advance(S, X, X, A, MIX, MIX, state_batch_indices=ends(0, 2)), ValueError, r"must be row numbers of state, in \[0, 2\)"),
    (lambda: advance(S, *np.zeros((2, 3, 3)), A, *np.zeros((2, 3, 4)), state_batch_indices=ends(1, -1, 1)), ValueError, r"1, -1, 1\]"),
    (lambda: advance(S[:0], X, X, A, MIX, MIX, state_batch_indices=ends(-1, -1)), ValueError, "at least one row"),
    (lambda: advance(S, X, X, A, MIX, MIX, state_batch_indices=ends(0.0, 1)), TypeError, "expected an array of int32 or int64"),
    (lambda: varlen(X, ends(0, 3), 2), ValueError, r"expected numbers that stay in \[0, 2\] and never decrease"),
    (lambda: varlen(X, np.array([], int), 2), ValueError, "cu_seqlens has shape"),
    (lambda: varlen(X, ends(0, 2), -1), ValueError, "state_len"),
]


def test_bad_input():
    check_rejected(BAD)
    for state in (STATE, S):
        np.testing.assert_array_equal(state, 0, err_msg="an update that raised has written")
