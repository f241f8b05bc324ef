"""What is particular to the kernels of a Mamba block: closed forms, states, packed sequences, updates in place, bad input."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quatrefoil as qf
from ssm.mamba import oracle

scan, conv, update = qf.ssm.selective_scan_fn, qf.ssm.causal_conv1d_fn, qf.ssm.causal_conv1d_update


def scan_arrays(rng, items=2, D=5, N=3, L=40, dtype=np.float64):
    shapes = (items, D, L), (items, D, L), (D, N), (items, N, L), (items, N, L), (D,), (items, D, L), (D,)
    arrays = [rng.standard_normal(s).astype(dtype) for s in shapes]
    arrays[1], arrays[2], arrays[7] = abs(arrays[1]), -abs(arrays[2]), abs(arrays[7])
    return arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_and_gate_are_right_far_out(backend, dtype):
    u = np.ones((1, 4, 1), dtype)
    far = np.array([-1000, -80, 80, 1000], dtype).reshape(u.shape)
    one = np.ones((4, 1), dtype)
    y = scan(u, far, 0 * one, one, one, delta_softplus=True)
    np.testing.assert_allclose(y.ravel(), [0, np.exp(-80.0), 80, 1000], rtol=1e-6)
    y = scan(u, 0 * u, 0 * one, one, one, np.ones(4, dtype), z=far)
    np.testing.assert_allclose(y.ravel(), [0, -80 * np.exp(-80.0), 80, 1000], rtol=1e-6, atol=1e-37)
    for g in qf.ssm.selective_scan_fn_vjp(u, far, -one, one, one, one[:, 0], far, u, delta_softplus=True):
        assert np.isfinite(g).all()


def test_states_grow_and_vanish_without_a_clamp(backend):
    u = np.ones((1, 3, 3), np.float32)
    A = np.array([[60.0], [-2000.0], [-np.inf]], np.float32)
    y = scan(u, u, A, np.ones((3, 1), np.float32), np.ones((3, 1), np.float32))[0]
    np.testing.assert_array_equal(y[1:], 1)
    assert y[0, 1] == pytest.approx(np.exp(60.0), rel=1e-5)
    assert y[0, 2] == np.inf


@pytest.mark.parametrize("cuts", [[1], [64], [2, 3, 70], [0, 199]])
def test_any_cut_with_states_is_one_run(backend, rng, cuts):
    x, weight, bias, start = (rng.standard_normal(s) for s in ((2, 3, 200), (3, 4), (3,), (2, 3, 3)))
    whole, end = conv(x, weight, bias, initial_states=start, return_final_states=True, activation="silu")
    pieces, state = [], start
    for part in np.split(x, cuts, axis=2):
        y, state = conv(part, weight, bias, initial_states=state, return_final_states=True, activation="swish")
        pieces.append(y)
    np.testing.assert_allclose(np.concatenate(pieces, axis=2), whole, rtol=1e-13)
    np.testing.assert_array_equal(state, end)


def test_packed_sequences_do_not_see_each_other(backend, rng):
    lengths = [1, 2, 3, 60, 5]
    x, weight = rng.standard_normal((1, 3, sum(lengths))), rng.standard_normal((3, 4))
    idx = np.repeat(np.arange(5, dtype=np.int32), lengths)[None]
    x[..., 0] = np.nan  # a sequence of its own: a tap that does not count must not even be multiplied by 0
    expected = [conv(part, weight) for part in np.split(x, np.cumsum(lengths)[:-1], axis=2)]
    np.testing.assert_array_equal(conv(x, weight, seq_idx=idx), np.concatenate(expected, axis=2))


@pytest.mark.parametrize("activation", [None, "silu"])
def test_padding_between_sequences_is_not_there(backend, rng, activation):
    x, weight, bias, grad = (rng.standard_normal(s) for s in ((1, 3, 90), (3, 4), (3,), (1, 3, 90)))
    idx = np.repeat([[0, -1, 1, -1, -7, 2]], [20, 3, 30, 1, 9, 27], axis=1)
    padding = np.broadcast_to(idx[:, None] < 0, x.shape)
    x[padding] = grad[padding] = np.nan  # not even multiplied by 0
    y = conv(x, weight, bias, idx, activation=activation)
    np.testing.assert_array_equal(y[padding], 0)
    parts = [conv(part, weight, bias, activation=activation) for part in (x[..., :20], x[..., 23:53], x[..., 63:])]
    np.testing.assert_array_equal(np.concatenate([y[..., :20], y[..., 23:53], y[..., 63:]], axis=2), np.concatenate(parts, axis=2))
    dx, dweight, dbias = qf.ssm.causal_conv1d_fn_vjp(x, weight, bias, idx, grad, activation=activation)
    np.testing.assert_array_equal(dx[padding], 0)
    x[padding] = grad[padding] = 3.0
    for found, without in zip((dx, dweight, dbias), qf.ssm.causal_conv1d_fn_vjp(x, weight, bias, idx, grad, activation=activation)):
        np.testing.assert_array_equal(found, without)


def test_final_states_are_written_where_asked(backend, rng):
    x, weight = rng.standard_normal((2, 3, 2)), rng.standard_normal((3, 4))
    room = np.full((3, 2, 6), np.nan).transpose(1, 0, 2)[..., ::2]  # any strides
    y, states = conv(x, weight, return_final_states=True, final_states_out=room)
    assert states is room
    np.testing.assert_array_equal(room, np.concatenate([np.zeros((2, 3, 1)), x], axis=2))
    room[...] = np.nan
    np.testing.assert_array_equal(conv(x, weight, final_states_out=room), y)
    assert np.isfinite(room).all()


@pytest.mark.parametrize(("W", "S"), [(4, 3), (4, 7), (1, 0), (1, 2), (2, 1)])
def test_updates_are_the_convolution_step_by_step(backend, rng, W, S):
    x, weight, bias = rng.standard_normal((2, 3, 12)), rng.standard_normal((3, W)), rng.standard_normal(3)
    whole = conv(x, weight, bias, activation="silu")
    state = np.zeros((2, 3, S))
    steps = [update(x[..., t], state, weight, bias, "silu") for t in range(5)]
    steps = [*np.moveaxis(np.array(steps), 0, 2)[None], update(x[..., 5:], state, weight, bias, "silu")]
    np.testing.assert_allclose(np.concatenate(steps, axis=2), whole, rtol=1e-13)
    np.testing.assert_array_equal(state, x[..., 12 - S :])


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


@pytest.mark.parametrize("rows", [[4, -1, 1], [-1, 2, -1], [-1, -1, -1], [3, 0, -5]])
@pytest.mark.parametrize("start", [None, [3, 13, 7]])
def test_padding_leaves_the_states_alone(backend, rng, rows, start):
    weight, bias, states, x = (rng.standard_normal(s) for s in ((3, 4), (3,), (6, 3, 5), (3, 3, 2)))
    rows = np.array(rows, np.int32)
    real = rows >= 0
    x[~real] = np.nan
    expected, found = states.copy(), states.copy()
    start = None if start is None else np.array(start)
    y = update(x, found, weight, bias, "silu", start, rows)  # by position, as upstream
    some = None if start is None else start[real]
    np.testing.assert_array_equal(y[real], update(x[real], expected, weight, bias, "silu", some, rows[real]))
    np.testing.assert_array_equal(y[~real], 0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_in_its_channel(backend, rng, dtype):
    arrays = scan_arrays(rng, items=3, D=37, L=100, dtype=dtype)
    clean = scan(*arrays, delta_softplus=True)
    gradients = qf.ssm.selective_scan_fn_vjp(*arrays, clean, delta_softplus=True)
    for i in (0, 1, 6):
        arrays[i][1, 20 + i, 50] = np.nan
    arrays[2][5, 1] = np.inf
    arrays[3][2, 0, 60] = np.nan
    dirty = scan(*arrays, delta_softplus=True)
    untouched = np.ones((3, 37), bool)
    untouched[1, [20, 21, 26]] = untouched[2] = untouched[:, 5] = False
    np.testing.assert_array_equal(dirty[untouched], clean[untouched])
    np.testing.assert_array_equal(dirty[1, [20, 21, 26], :50], clean[1, [20, 21, 26], :50])
    others = np.arange(37) != 5
    np.testing.assert_array_equal(dirty[2, others, :60], clean[2, others, :60])
    assert np.isnan(dirty[1, [20, 21, 26]]).any(axis=1).all()
    for g, before in zip(qf.ssm.selective_scan_fn_vjp(*arrays, clean, delta_softplus=True), gradients):
        if g.shape == clean.shape:
            np.testing.assert_array_equal(g[untouched], before[untouched])

    x, weight = rng.standard_normal((2, 37, 100)).astype(dtype), rng.standard_normal((37, 4)).astype(dtype)
    clean = conv(x, weight)
    x[1, 7, 50] = weight[3, 0] = np.nan
    dirty = conv(x, weight)
    assert np.isnan(dirty[1, 7, 50:54]).all()
    dirty[1, 7, 50:54] = clean[1, 7, 50:54]
    np.testing.assert_array_equal(np.delete(dirty, 3, 1), np.delete(clean, 3, 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shape(backend, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    items, G, N, L = (
        data.draw(st.integers(0, 3)),
        data.draw(st.integers(1, 4)),
        data.draw(st.integers(0, 5)),
        data.draw(st.integers(0, 140)),
    )
    D = G * data.draw(st.integers(0, 20))
    arrays = scan_arrays(rng, items, D, N, L)
    for i in (3, 4):
        arrays[i] = rng.standard_normal(data.draw(st.sampled_from([(D, N), (items, N, L), (items, G, N, L)])))
    for i in (5, 6, 7):
        arrays[i] = arrays[i] if data.draw(st.booleans()) else None
    for got, e in zip(scan(*arrays, return_last_state=True), oracle.selective_scan_fn(*arrays, return_last_state=True)):
        np.testing.assert_allclose(got, e.astype(float), rtol=1e-9, atol=1e-9 * max(abs(e).max(initial=0), 1))
    W = data.draw(st.integers(1, 90))
    x, weight, start = rng.standard_normal((items, D, L)), rng.standard_normal((D, W)), rng.standard_normal((items, D, W - 1))
    got = conv(x, weight, initial_states=start, return_final_states=True)
    for g, e in zip(got, oracle.causal_conv1d_fn(x, weight, initial_states=start, return_final_states=True)):
        np.testing.assert_allclose(g, e.astype(float), atol=1e-11)


def test_gradients_in_float32_are_good_to_2e_6_of_the_largest(rng):
    """With Mamba's initial parameters, whose memory is 1000 steps at most: over more, rounding decays to float32 costs more than that."""
    arrays = scan_arrays(rng, items=2, D=40, N=16, L=1000, dtype=np.float32)
    arrays[1] = 0.5 * rng.standard_normal(arrays[1].shape).astype(np.float32)
    arrays[2] = np.repeat(-np.arange(1, 17, dtype=np.float32)[None], 40, axis=0)
    arrays[7] = np.log(np.expm1(np.exp(rng.uniform(np.log(1e-3), np.log(0.1), 40)))).astype(np.float32)
    grad = rng.standard_normal(arrays[0].shape).astype(np.float32)
    exact = qf.ssm.selective_scan_fn_vjp(*[a.astype(float) for a in arrays], grad.astype(float), delta_softplus=True)
    for g, e in zip(qf.ssm.selective_scan_fn_vjp(*arrays, grad, delta_softplus=True), exact):
        assert abs(g - e).max() <= 2e-6 * abs(e).max()


@pytest.mark.parametrize("layout", ["pairs", "complex"])
def test_half_precision_beside_float32_parameters(backend, rng, layout):
    arrays = scan_arrays(rng, dtype=np.float32)
    if layout == "pairs":
        arrays[2] = (arrays[2] + 1j).astype(np.complex64)
        arrays[3:5] = [np.repeat(a, 2, axis=-1) for a in arrays[3:5]]
    halves = [a.astype(np.float16) if i in (0, 1, 3, 4, 6) else a for i, a in enumerate(arrays)]
    wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in halves]
    y, last = scan(*halves, return_last_state=True)
    expected, expected_last = scan(*wide, return_last_state=True)
    np.testing.assert_array_equal(y, expected.astype(np.float16))
    np.testing.assert_array_equal(last, expected_last)
    for g, e, a in zip(qf.ssm.selective_scan_fn_vjp(*halves, y), qf.ssm.selective_scan_fn_vjp(*wide, y.astype(np.float32)), halves):
        np.testing.assert_array_equal(g, e.astype(a.dtype))
        assert g.dtype == a.dtype


def test_out(backend, rng):
    arrays, x, weight = scan_arrays(rng), rng.standard_normal((2, 5, 40)), rng.standard_normal((5, 4))
    for f, inputs in ((scan, arrays), (conv, (x, weight))):
        room = np.full((2, 5, 40), np.nan)
        assert f(*inputs, out=room) is room
        np.testing.assert_array_equal(room, f(*inputs))
    with pytest.raises(TypeError, match="several"):
        scan(*arrays, return_last_state=True, out=room)
    with pytest.raises(ValueError, match="overlaps x"):
        conv(x, weight, out=x)


F, A, M, W4 = np.zeros((2, 3, 10)), np.zeros((3, 4)), np.zeros((2, 4, 10)), np.zeros((3, 4))
STATE = np.zeros((2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: scan(F[0], F, A, M, M), ValueError, r"ssm\.selective_scan_fn: u has shape \(3, 10\), expected \(B, D, L\)"),
        (
            lambda: scan(F, F[..., 1:], A, M, M),
            ValueError,
            r"delta has shape \(2, 3, 9\), expected \(B, D, L\) with B = 2, D = 3, L = 10 as in u",
        ),
        (lambda: scan(F, F, A[1:], M, M), ValueError, r"A has shape \(2, 4\), expected \(D, N\) with D = 3"),
        (lambda: scan(F, F, A, M[..., 1:], M), ValueError, r"B has shape \(2, 4, 9\), expected"),
        (
            lambda: scan(F, F, A, M, M[:, None].repeat(2, 1)),
            ValueError,
            r"C has shape \(2, 2, 4, 10\), expected .* groups that divide the 3",
        ),
        (lambda: scan(F, F, A, M, M, np.zeros(2)), ValueError, r"D has shape \(2,\)"),
        (lambda: scan(F, F, A, M, M, z=F[:1]), ValueError, "z has shape"),
        (lambda: scan(F, F, A, M, M, delta_bias=np.zeros((3, 1))), ValueError, "delta_bias has shape"),
        (lambda: scan(F, F, A + 0j, M[..., :5].repeat(1, 2), M), ValueError, r"expected pairs \(re, im\)"),
        (lambda: scan(F, F, A, M + 0j, M), TypeError, "B has dtype complex128 but A has float64"),
        (lambda: scan(F, F, A + 0j, A, A), TypeError, "B has dtype float64 but A has complex128"),
        (lambda: scan(F + 0j, F, A, M, M), TypeError, "u has dtype complex128"),
        (lambda: scan(F, F, A, M.tolist(), M), TypeError, "B is list"),
        (lambda: scan(F, F.astype(np.float32), A, M, M), TypeError, "delta has dtype float32 but u has float64"),
        (lambda: scan(F.astype(np.float16), F, A, M, M), TypeError, "u has dtype float16 but delta has float64; expected float64"),
        (lambda: qf.ssm.selective_scan_fn_vjp(F, F, A, M), TypeError, "expected the inputs"),
        (lambda: qf.ssm.selective_scan_fn_vjp(F, F, A, M, M, F, return_last_state=True), ValueError, "grad_last_state is missing"),
        (lambda: conv(F[0], W4), ValueError, r"ssm\.causal_conv1d_fn: x has shape \(3, 10\)"),
        (lambda: conv(F, W4[:2]), ValueError, r"weight has shape \(2, 4\), expected \(D, W\) with D = 3"),
        (lambda: conv(F, W4[:, :0]), ValueError, "W at least 1"),
        (lambda: conv(F, W4, np.zeros(2)), ValueError, "bias has shape"),
        (
            lambda: conv(F, W4, initial_states=F),
            ValueError,
            r"initial_states has shape .* \(B, D, W - 1\) with B = 2, D = 3 as in x and W = 4 as in weight",
        ),
        (lambda: conv(F, W4, seq_idx=np.zeros((2, 9), int)), ValueError, "seq_idx has shape"),
        (
            lambda: conv(F, W4, seq_idx=np.zeros((2, 10))),
            TypeError,
            "seq_idx is a numpy array of float64, expected an array of int32 or int64",
        ),
        (lambda: conv(F, W4, seq_idx=np.zeros((2, 10), int), return_final_states=True), ValueError, "seq_idx with"),
        (lambda: conv(F, W4, seq_idx=np.zeros((2, 10), int), initial_states=STATE), ValueError, "seq_idx with"),
        (lambda: conv(F, W4, activation="gelu"), ValueError, "activation is 'gelu', expected one of None, 'silu', 'swish'"),
        (lambda: conv(F, W4, final_states_out=F), ValueError, "final_states_out has shape"),
        (lambda: conv(F, W4, final_states_out=np.broadcast_to(0.0, STATE.shape)), ValueError, "final_states_out is read-only"),
        (lambda: conv(F, W4, final_states_out=STATE.tolist()), TypeError, "final_states_out is list"),
        (lambda: conv(F, W4.astype(np.float32)), TypeError, "weight has dtype float32"),
        (lambda: update(F, np.broadcast_to(0.0, STATE.shape), W4), ValueError, "conv_state is read-only"),
        (lambda: update(F, STATE[..., 1:], W4), ValueError, r"conv_state has shape \(2, 3, 2\), expected .* S at least W - 1 = 3"),
        (lambda: update(F[:1], STATE, W4), ValueError, "conv_state has shape"),
        (lambda: update(F[0, 0], STATE, W4), ValueError, r"x has shape \(10,\)"),
        (lambda: update(F, STATE.astype(np.float32), W4), TypeError, "conv_state has dtype float32 but x has float64"),
        (lambda: update(F, STATE, W4[0]), ValueError, "weight has shape"),
        (lambda: update(F.tolist(), STATE, W4), TypeError, "x is list"),
        (lambda: update(F, STATE, W4, activation="relu"), ValueError, "activation is 'relu'"),
        (lambda: update(F, STATE, W4, conv_state_indices=np.array([0, 2])), ValueError, r"must lie in \[0, 2\)"),
        (lambda: update(F, STATE[:0], W4, conv_state_indices=np.array([-1, -1])), ValueError, "at least one row"),
        (lambda: update(F, STATE, W4, conv_state_indices=np.array([1, 1])), ValueError, "names a row twice"),
        (lambda: update(F, STATE, W4, cache_seqlens=np.array([1])), ValueError, "cache_seqlens has shape"),
        (lambda: update(F, STATE, W4, cache_seqlens=[0, 1]), TypeError, "cache_seqlens is list"),
    ],
)
def test_bad_input(backend, call, error, text):
    for _ in range(2):  # a remembered signature must not be a hole
        with pytest.raises(error, match=text):
            call()
    np.testing.assert_array_equal(STATE, 0, err_msg="an update that raised has written")
