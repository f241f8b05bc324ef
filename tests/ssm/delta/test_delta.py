"""What is particular to the gated delta rule: its forms with one gate, splits, packed sequences, single steps, decays to 0, and NaN."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quatrefoil as qf
from ssm.delta.cases import inputs
from ssm.delta.oracle import chunk_gated_delta_rule as oracle
from ssm.delta.oracle import chunk_simple_gla as oracle_gla

OPTIONS = {"output_final_state": True, "use_qk_l2norm_in_kernel": True}
NAMES = ("q", "k", "v", "g", "beta", "initial_state")


def problem(rng, *shape, dtype=np.float64, **drawn):
    """All inputs by name."""
    arrays, more = inputs(rng, *shape, **drawn)
    named = dict(zip(NAMES, arrays)) | more
    return {name: x.astype(dtype) if x is not None and x.dtype.kind == "f" else x for name, x in named.items()}


def part(named, begin, end):
    return {name: x if x is None or name == "initial_state" else x[:, begin:end] for name, x in named.items()}


def wide(named):
    return {name: x.astype(np.float64) if x is not None and x.dtype.kind == "f" else x for name, x in named.items()}


def close(got, expected, tolerance):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= tolerance * max(np.abs(expected).max(initial=0), 1e-300)


def gradients(named, *grads, scale=None, **options):
    """By name, of the inputs that are there."""
    arrays = [named.get(name) for name in (*NAMES, "cu_seqlens")]
    grad = grads if options.get("output_final_state") else grads[0]
    made = qf.ssm.chunk_gated_delta_rule_vjp(*arrays, grad, scale=scale, **options)
    return dict(zip([n for n, x in zip(NAMES, arrays) if x is not None], made, strict=True))


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(("T", "K", "V"), [(2048, 32, 40), (300, 128, 128), (129, 64, 16)])
def test_float32_is_within_two_millionths(rng, T, K, V):
    named = problem(rng, 1, T, 2, K, V, 4, state=True, dtype=np.float32)
    got = qf.ssm.chunk_gated_delta_rule(**named, output_final_state=True)
    for g, e in zip(got, qf.ssm.chunk_gated_delta_rule(**wide(named), output_final_state=True)):
        close(g, e, 2e-6)
    grads = [rng.standard_normal(x.shape).astype(np.float32) for x in got]
    single = gradients(named, *grads, output_final_state=True)
    double = gradients(wide(named), *[x.astype(float) for x in grads], output_final_state=True)
    for name, g in single.items():
        assert g.dtype == np.float32
        close(g, double[name], 5e-6)


def test_long_float64_is_the_recurrence(backend, rng):
    T = 700 if backend == "native" else 130
    named = problem(rng, 1, T, 1, 12, 9, state=True)
    for got, expected in zip(qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS), oracle(**named, **OPTIONS)):
        close(got, expected.astype(float), 1e-13)


def test_without_decays_it_is_delta_net(backend, rng):
    named = problem(rng, 2, 40, 2, 6, 5, 4, gates="beta", state=True)
    del named["g"]
    for function in (qf.ssm.chunk_delta_rule, qf.ssm.fused_recurrent_delta_rule):
        for got, expected in zip(function(**named, **OPTIONS), oracle(**named, **OPTIONS)):
            close(got, expected.astype(float), 1e-13)
    positional = [named[n] for n in ("q", "k", "v", "beta")]
    o, state = qf.ssm.chunk_delta_rule(*positional, 0.3, named["initial_state"], True, True)
    for got, expected in zip((o, state), oracle(**named, **OPTIONS, scale=0.3)):
        close(got, expected.astype(float), 1e-13)


def test_one_decay_a_head(backend, rng):
    named = problem(rng, 2, 20, 1, 4, 3, 3, gates="", state=True)
    q, k, v = (named[n] for n in "qkv")
    gamma = -rng.uniform(0, 0.3, 3)
    g = np.broadcast_to(gamma, (2, 20, 3))
    expected = oracle_gla(q, k, v, g, named["initial_state"], output_final_state=True)
    got = qf.ssm.chunk_simple_gla(q, k, v, None, gamma, initial_state=named["initial_state"], output_final_state=True)
    for one, other in zip(got, expected):
        close(one, other.astype(float), 1e-13)


def test_heads_share_a_key_in_order(backend, rng):
    named = problem(rng, 1, 30, 2, 5, 4, 6)
    grouped, _ = qf.ssm.chunk_gated_delta_rule(**named)
    named["q"], named["k"] = (np.repeat(named[n], 3, axis=2) for n in "qk")
    np.testing.assert_array_equal(qf.ssm.chunk_gated_delta_rule(**named)[0], grouped)


def test_lengths_do_not_matter_where_they_are_taken_out(backend, rng):
    named = problem(rng, 1, 30, 2, 5, 4, unit=False)
    o, _ = qf.ssm.chunk_gated_delta_rule(**named, use_qk_l2norm_in_kernel=True)
    by_hand = dict(named)
    for n in "qk":
        by_hand[n] = named[n] / np.sqrt((named[n] ** 2).sum(-1, keepdims=True) + 1e-6)
    close(o, qf.ssm.chunk_gated_delta_rule(**by_hand)[0], 1e-14)
    zero = dict(named, k=np.zeros_like(named["k"]))
    assert (qf.ssm.chunk_gated_delta_rule(**zero, use_qk_l2norm_in_kernel=True)[0] == 0).all()


# ---------------------------------------------------------------- sequences


@pytest.mark.parametrize("cuts", [[0, 0, 150], [0, 150, 150], [0, 1, 2, 3, 150], [0, 64, 128, 150], [0, 70, 79, 150]])
def test_any_split_gives_the_same(backend, rng, cuts):
    named = problem(rng, 2, 150, 1, 6, 5, 2, state=True)
    whole, last = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    grads = rng.standard_normal(whole.shape), rng.standard_normal(last.shape)
    expected = gradients(named, *grads, **OPTIONS)
    state, outputs, starts = named["initial_state"], [], []
    for begin, end in itertools.pairwise(cuts):
        starts.append(state)
        o, state = qf.ssm.chunk_gated_delta_rule(**part(named, begin, end) | {"initial_state": state}, **OPTIONS)
        outputs.append(o)
    close(np.concatenate(outputs, axis=1), whole, 1e-13)
    close(state, last, 1e-13)
    into, found = grads[1], []
    for (begin, end), start in reversed(list(zip(itertools.pairwise(cuts), starts))):
        found.append(gradients(part(named, begin, end) | {"initial_state": start}, grads[0][:, begin:end], into, **OPTIONS))
        into = found[-1]["initial_state"]
    for name in NAMES[:-1]:
        close(np.concatenate([f[name] for f in reversed(found)], axis=1), expected[name], 1e-12)
    close(into, expected["initial_state"], 1e-12)


@pytest.mark.parametrize("lengths", [(5, 0, 90, 1, 64, 8), (160,), (1,) * 7, (0, 3, 0), (65, 63)])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_packed_sequences_are_those_apart(backend, rng, lengths, index):
    T = sum(lengths)
    named = problem(rng, 1, T, 2, 6, 5, 4, lengths=lengths, state=True)
    ends = named["cu_seqlens"].astype(index)
    together = qf.ssm.chunk_gated_delta_rule(**named | {"cu_seqlens": ends}, **OPTIONS)
    grads = [rng.standard_normal(x.shape) for x in together]
    got = gradients(named, *grads, **OPTIONS)
    for n, (begin, end) in enumerate(itertools.pairwise(ends)):
        alone = part({k: x for k, x in named.items() if k != "cu_seqlens"}, begin, end)
        alone["initial_state"] = named["initial_state"][n : n + 1]
        o, state = qf.ssm.chunk_gated_delta_rule(**alone, **OPTIONS)
        np.testing.assert_array_equal(together[0][:, begin:end], o)
        np.testing.assert_array_equal(together[1][n : n + 1], state)
        expected = gradients(alone, grads[0][:, begin:end], grads[1][n : n + 1], **OPTIONS)
        for name in NAMES[:-1]:
            np.testing.assert_array_equal(got[name][:, begin:end], expected[name])
        np.testing.assert_array_equal(got["initial_state"][n : n + 1], expected["initial_state"])


@pytest.mark.parametrize("corrects", [True, False])
def test_single_steps_are_the_whole(backend, rng, corrects):
    named = problem(rng, 2, 40, 2, 9, 7, 4, gates="g beta" if corrects else "g", state=True)
    chunk, step, options = qf.ssm.chunk_gated_delta_rule, qf.ssm.fused_recurrent_gated_delta_rule, OPTIONS
    if not corrects:
        chunk, step, options = qf.ssm.chunk_simple_gla, qf.ssm.fused_recurrent_simple_gla, {"output_final_state": True}
        del named["beta"]
    whole, last = chunk(**named, **options)
    state = named["initial_state"]
    for t in range(40):
        o, state = step(**part(named, t, t + 1) | {"initial_state": state}, **options)
        close(o[:, 0], whole[:, t], 1e-13)
    close(state, last, 1e-13)


# ---------------------------------------------------------------- gradients


def test_gradient_of_heads_that_share_a_key_is_their_sum(backend, rng):
    named = problem(rng, 2, 70, 2, 5, 4, 6, state=True)
    o, state = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    grads = rng.standard_normal(o.shape), rng.standard_normal(state.shape)
    grouped = gradients(named, *grads, **OPTIONS)
    apart = gradients(named | {n: np.repeat(named[n], 3, axis=2) for n in "qk"}, *grads, **OPTIONS)
    for n in "qk":
        close(grouped[n], apart[n].reshape(2, 70, 2, 3, 5).sum(3), 1e-14)
    for n in NAMES[2:]:
        np.testing.assert_array_equal(grouped[n], apart[n])


# ---------------------------------------------------------------- decays


@pytest.mark.parametrize("zero", [-np.inf, -1e5])
def test_a_decay_to_zero_forgets(backend, rng, zero):
    """What follows is what a sequence that begins there has, and no gradient passes."""
    named = problem(rng, 1, 100, 2, 6, 5, state=True)
    named["g"][:, 30] = zero
    o, state = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    after = part(named, 30, 100) | {"initial_state": None}
    for got, expected in zip((o[:, 30:], state), qf.ssm.chunk_gated_delta_rule(**after, **OPTIONS)):
        close(got, expected, 1e-13)
    grads = np.zeros_like(o), rng.standard_normal(state.shape)
    grads[0][:, 40:] = 1
    made = gradients(named, *grads, **OPTIONS)
    expected = gradients(part(named, 30, 100), grads[0][:, 30:], grads[1], **OPTIONS)
    for name in NAMES[:-1]:
        size = np.abs(made[name]).max()
        assert np.isfinite(made[name]).all()
        assert np.abs(made[name][:, :30]).max() <= 1e-14 * size
        close(made[name][:, 31:], expected[name][:, 1:], 1e-12)
    assert (made["g"][:, 30] == 0).all()
    assert (made["initial_state"] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strong_decays_are_never_nan(backend, rng, dtype):
    named = problem(rng, 1, 130, 1, 6, 5, state=True, dtype=dtype)
    named["g"] = (-np.exp(rng.uniform(-5, 7, named["g"].shape))).astype(dtype)
    o, state = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    expected = oracle(**wide(named), **OPTIONS)
    eps = np.finfo(dtype).eps
    close(o, expected[0].astype(float), 20 * eps)
    close(state, expected[1].astype(float), 20 * eps)
    for gradient in gradients(named, o, state, **OPTIONS).values():
        assert np.isfinite(gradient).all()


def decay_gradients(q, k, v, g, beta, grad, scale, corrects):
    """dg of one head, token by token in extended precision, and the sum of the magnitudes of the terms of each."""
    q, k, v, g, beta, grad = (x.astype(np.longdouble) for x in (q, k, v, g, beta, grad))
    before = [np.zeros((k.shape[1], v.shape[1]), np.longdouble)]
    for k_t, v_t, g_t, beta_t in zip(k, v, g, beta):
        S = np.exp(g_t) * before[-1]
        before.append(S + np.outer(k_t, beta_t * (v_t - S.T @ k_t) if corrects else v_t))
    R = terms = np.zeros_like(before[0])
    dg, size = np.zeros_like(g), np.zeros_like(g)
    for t in reversed(range(len(g))):
        read = scale * np.outer(q[t], grad[t])
        missed = np.outer(k[t], beta[t] * ((R + read).T @ k[t])) if corrects else 0 * read
        R, terms, a = R + read - missed, terms + np.abs(read) + np.abs(missed), np.exp(g[t])
        dg[t], size[t] = a * (R * before[t]).sum(), a * (terms * np.abs(before[t])).sum()
        R, terms = a * R, a * terms
    return dg, size


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("corrects", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_a_decay_has_its_own_digits(backend, dtype, corrects, composed):
    """No matter how small it is next to those of other tokens: nothing of what does not pass over the decay enters."""
    rng = np.random.default_rng(14)
    named = problem(rng, 1, 150, 1, 16, 24, dtype=dtype)
    named["g"] = rng.choice([-40.0, -5.0, 0.0], named["g"].shape, p=[0.1, 0.2, 0.7]).astype(dtype)
    grad = rng.standard_normal(named["v"].shape).astype(dtype)
    dg, size = decay_gradients(*[named[name][0, :, 0] for name in NAMES[:5]], grad[0, :, 0], 0.25, corrects)
    with qf.use_backend("array" if composed else backend):
        if corrects:
            got = gradients(named, grad, scale=0.25)["g"]
        else:
            got = qf.ssm.chunk_simple_gla_vjp(*[named[name] for name in NAMES[:4]], grad, scale=0.25)[3]
    least = np.finfo(dtype).tiny / np.finfo(dtype).eps  # below it the factors of some terms have lost digits
    assert (np.abs(got[0, :, 0] - dg) <= 8 * np.finfo(dtype).eps * size + least).all()


def test_growth_is_computed_too(backend, rng):
    named = problem(rng, 1, 80, 1, 4, 3, state=True)
    named["g"] = rng.uniform(0, 0.1, named["g"].shape)
    for got, expected in zip(qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS), oracle(**named, **OPTIONS)):
        close(got, expected.astype(float), 1e-12)


# ---------------------------------------------------------------- bits, NaN, inputs


@pytest.mark.parametrize("name", NAMES[:5])
@pytest.mark.parametrize("T", [8, 100])
def test_nan_stays_in_its_head_from_its_time_on(backend, rng, name, T):
    named = problem(rng, 2, T, 3, 6, 5)
    clean, _ = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    before = gradients(named, clean)
    at = 5 if T == 8 else 75
    named[name][1, at, 2] = np.nan
    dirty, _ = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    elsewhere = np.ones((2, 3), bool)
    elsewhere[1, 2] = False
    for a, b in ((clean, dirty), *zip(before.values(), gradients(named, clean).values())):
        np.testing.assert_array_equal(np.moveaxis(b, 2, 1)[elsewhere], np.moveaxis(a, 2, 1)[elsewhere])
    np.testing.assert_array_equal(dirty[1, :at], clean[1, :at])
    assert np.isnan(dirty[1, at, 2]).all()
    if name != "q":  # which no state remembers
        assert np.isnan(dirty[1, at:, 2]).all()


def test_half_precision_is_computed_in_float32(backend, rng):
    named = problem(rng, 1, 20, 2, 8, 8, state=True, dtype=np.float16)
    o, state = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    single = {name: x.astype(np.float32) for name, x in named.items()}
    expected, expected_state = qf.ssm.chunk_gated_delta_rule(**single, **OPTIONS)
    np.testing.assert_array_equal(o, expected.astype(np.float16))
    np.testing.assert_array_equal(state, expected_state)
    assert (o.dtype, state.dtype) == (np.float16, np.float32)
    mixed = named | {"initial_state": single["initial_state"], "g": single["g"]}  # a state goes on in the precision that it came in
    np.testing.assert_array_equal(qf.ssm.chunk_gated_delta_rule(**mixed, **OPTIONS)[1], expected_state)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shape(backend, data):
    B, H, group = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    T, K, V = data.draw(st.integers(0, 70)), data.draw(st.integers(0, 20)), data.draw(st.integers(0, 40))
    gates = " ".join(data.draw(st.sets(st.sampled_from(["g", "beta"]))))
    lengths = None
    if data.draw(st.booleans()):
        B, cuts = 1, sorted(data.draw(st.lists(st.integers(0, T), max_size=4)))
        lengths = np.diff([0, *cuts, T])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    named = problem(rng, B, T, H, K, V, H * group, gates=gates, state=data.draw(st.booleans()), lengths=lengths)
    for got, expected in zip(qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS), oracle(**named, **OPTIONS)):
        close(got, expected.astype(float), 1e-13)
