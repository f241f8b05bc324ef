"""Tests specific to the gated delta rule: its forms with one gate, decays to 0, bad input."""

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_float32, close
from ssm.delta.test_rules import gradients, part, problem

LAST = {"output_final_state": True}
OPTIONS = LAST | {"use_qk_l2norm_in_kernel": True}
RULE = "chunk_gated_delta_rule"
rule, gla = qf.ssm.chunk_gated_delta_rule, qf.ssm.chunk_simple_gla


def test_other_names_are_the_same_functions(best_backend, rng):
    """Without decays, the gated rule is DeltaNet. fused_recurrent functions use chunks too. g_gamma: one decay for all tokens of a head."""
    named = problem(RULE, rng, 1, 20, 2, 9, 7, 4) | {"scale": 0.3, "cu_seqlens": np.array([0, 20])}
    ungated, simple = ({n: x for n, x in named.items() if n != left_out} for left_out in ("g", "beta"))
    gamma = {n: x for n, x in simple.items() if n != "g"} | {"g_gamma": named["g"][0, 0]}
    spread = simple | {"g": np.broadcast_to(named["g"][:, :1], named["g"].shape)}
    ssm = qf.ssm
    for function, arguments, same, other, options in (
        (ssm.fused_recurrent_gated_delta_rule, named, ssm.chunk_gated_delta_rule, named, OPTIONS),
        (ssm.chunk_delta_rule, ungated, ssm.chunk_gated_delta_rule, ungated, OPTIONS),
        (ssm.fused_recurrent_delta_rule, ungated, ssm.chunk_gated_delta_rule, ungated, OPTIONS),
        (ssm.fused_recurrent_simple_gla, simple, ssm.chunk_simple_gla, simple, LAST),
        (ssm.fused_recurrent_simple_gla, gamma, ssm.chunk_simple_gla, spread, LAST),
        (ssm.chunk_simple_gla, gamma, ssm.chunk_simple_gla, spread, LAST),
    ):
        np.testing.assert_equal(function(**arguments, **options), same(**other, **options))
    by_place = ssm.chunk_delta_rule(*(named[n] for n in ("q", "k", "v", "beta")), 0.3, named["initial_state"], True, True)
    np.testing.assert_equal(by_place, ssm.chunk_gated_delta_rule(**ungated, **OPTIONS))


@pytest.mark.parametrize("zero", [-np.inf, -1e5])
def test_a_decay_to_zero_forgets(backend, rng, zero):
    """The remaining tokens equal a sequence that begins there, and no gradient flows across it."""
    named = problem(RULE, rng, 1, 100, 2, 6, 5)
    named["g"][:, 30] = zero
    o, state = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    after = part(named, 30, 100)
    del after["initial_state"]
    close((o[:, 30:], state), rule(**after, **OPTIONS), 1e-13)
    grads = np.zeros_like(o), rng.standard_normal(state.shape)
    grads[0][:, 40:] = 1
    results = gradients(RULE, named, *grads, **OPTIONS)
    expected = gradients(RULE, after, grads[0][:, 30:], grads[1], **OPTIONS)
    for name in expected:
        size = np.abs(results[name]).max()
        assert np.isfinite(results[name]).all()
        assert np.abs(results[name][:, :30]).max() <= 1e-14 * size
        close(results[name][:, 31:], expected[name][:, 1:], 1e-12)
    assert (results["g"][:, 30] == 0).all()
    assert (results["initial_state"] == 0).all()


def test_float32_is_within_two_millionths(rng):
    for T, K, V in [(2048, 32, 40), (300, 128, 128), (129, 64, 16)]:
        print(T, K, V)
        named = problem(RULE, rng, 1, T, 2, K, V, 4, dtype=np.float32)
        check_float32(lambda *x, names=tuple(named): rule(**dict(zip(names, x)), **LAST), list(named.values()), 2e-6)
        grads = [rng.standard_normal(shape).astype(np.float32) for shape in (named["v"].shape, named["initial_state"].shape)]

        def of_inputs(*x, names=tuple(named)):
            return tuple(gradients(RULE, dict(zip(names, x)), *x[len(names) :], **LAST).values())

        check_float32(of_inputs, [*named.values(), *grads], 5e-6)


Q = np.zeros((2, 5, 3, 4))
V = np.zeros((2, 5, 6, 7))
GATE = np.zeros((2, 5, 6))
STATE = np.zeros((2, 6, 4, 7))
ONE = Q[:1], Q[:1], V[:1]


def cu(*ends):
    return np.array(ends)


BAD = [
    (lambda: rule(Q, Q, V[:, :, :5]), ValueError, r"v has shape \(2, 5, 5, 7\), expected \(B, T, HV, V\) with HV a multiple of H = 3"),
    (lambda: rule(Q, Q, V, cu_seqlens=cu(0, 5)), ValueError, r"q has shape .*, expected batch size B = 1 with cu_seqlens"),
    (lambda: rule(*ONE, cu_seqlens=cu(0, 4)), ValueError, r"cu_seqlens is \[0, 4\], expected .* start with 0, never decrease, .* 5"),
    (lambda: rule(*ONE, cu_seqlens=np.zeros(0, int)), ValueError, "cu_seqlens"),
    (lambda: rule(*ONE, cu_seqlens=cu(0.0, 5.0)), TypeError, "cu_seqlens is a numpy array of float64, expected .* int32 or int64"),
    (lambda: rule(Q, Q, V, scale="1"), TypeError, r"ssm\.chunk_gated_delta_rule: scale is '1', expected a real number"),
    (lambda: rule(Q, Q, V, scale=np.inf), ValueError, "scale is inf, expected a finite number"),
    (lambda: qf.ssm.chunk_gated_delta_rule_vjp(Q, Q, V, V, output_final_state=True), ValueError, "grad_final_state is None"),
    (lambda: gla(Q, Q, V, GATE, GATE[0, 0]), ValueError, r"ssm\.chunk_simple_gla: got both g and g_gamma, expected one of them"),
    (lambda: gla(Q, Q, V, g_gamma=GATE[0]), ValueError, r"g_gamma has shape \(5, 6\), expected \(HV,\) = \(6,\), like v"),
    (lambda: gla(Q, Q, V, g_gamma=0.5), TypeError, r"g_gamma is float, expected an array \(HV,\)"),
    (lambda: gla(Q, Q, V, g_gamma=GATE[0, 0].astype(np.float32)), TypeError, "g has dtype float32"),
    (lambda: rule(Q, Q, V, head_first=True), TypeError, r"chunk_gated_delta_rule has no argument 'head_first'; .* q\.transpose\(1, 2\)"),
    (lambda: qf.ssm.fla.fused_recurrent_simple_gla(Q, Q, V, head_first=False), TypeError, "fused_recurrent_simple_gla has no .*'head_fi"),
]


def test_warnings_about_implausible_layouts_and_decays():
    heads_first, decays = Q.swapaxes(1, 2), GATE + 0.5
    for call, text in (
        (lambda: rule(heads_first, heads_first, heads_first), r"q has shape \(2, 3, 5, 4\), more heads than tokens, .*transpose\(1, 2\)"),
        (lambda: rule(Q, Q, V, decays), "g is positive for all of the first tokens, so the state grows .*; expected the logarithms"),
        (lambda: gla(Q, Q, V, g_gamma=decays[0, 0]), "ssm.chunk_simple_gla: g is positive for all of the first"),
    ):
        with pytest.warns(RuntimeWarning, match=text):
            call()
    rule(Q[:, :1], Q[:, :1], V[:, :1], decays[:, :1])  # a decoding step does not warn
    rule(Q[:, :2], Q[:, :2], V[:, :2], initial_state=STATE)


GATED = ({"v": V.astype(np.float32)}, TypeError), ({"scale": "1"}, TypeError), ({"cu_seqlens": [0]}, TypeError), ({"out": V}, ValueError)
SIMPLE = ({"g": GATE, "g_gamma": GATE[0, 0]}, ValueError), ({"cu_seqlens": cu(0, 5)}, ValueError), ({"g_gamma": GATE}, ValueError)


def test_errors_name_the_function_that_was_called():
    for kind, wrong in (("gated_delta_rule", GATED), ("delta_rule", GATED), ("simple_gla", SIMPLE)):
        for name in (f"chunk_{kind}", f"fused_recurrent_{kind}"):
            for bad, error in (({"k": Q[0]}, ValueError), *wrong):
                with pytest.raises(error, match=rf"^ssm\.{name}: "):
                    getattr(qf.ssm, name)(**{"q": Q, "k": Q, "v": V, **bad})


@pytest.mark.torch
def test_gradient_of_one_decay_per_head(rng):
    torch = pytest.importorskip("torch")
    q, k = (torch.from_numpy(x).requires_grad_() for x in rng.standard_normal((2, 2, 5, 1, 3)))
    v = torch.from_numpy(rng.standard_normal((2, 5, 2, 2))).requires_grad_()
    gamma = torch.from_numpy(-rng.uniform(0, 1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: gla(*x[:3], None, x[3])[0], (q, k, v, gamma), eps=1e-6, atol=1e-6)
