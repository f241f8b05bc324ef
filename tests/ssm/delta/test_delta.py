"""Tests specific to the gated delta rule: its forms with one gate, packed sequences, decays to 0, bad input."""

import functools
import itertools

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
from checks import close
from ssm.delta.cases import inputs
from ssm.delta.oracle import chunk_gated_delta_rule as oracle

OPTIONS = {"output_final_state": True, "use_qk_l2norm_in_kernel": True}
NAMES = ("q", "k", "v", "g", "beta", "initial_state")


def problem(rng, *shape, dtype=np.float64, **drawn):
    """All inputs in a dictionary."""
    arrays, more = inputs(rng, *shape, **drawn)
    named = dict(zip(NAMES, arrays)) | more
    return {name: x.astype(dtype) if x is not None and x.dtype.kind == "f" else x for name, x in named.items()}


def part(named, begin, end):
    return {name: x if x is None or name == "initial_state" else x[:, begin:end] for name, x in named.items()}


def wide(named):
    return {name: x.astype(np.float64) if x is not None and x.dtype.kind == "f" else x for name, x in named.items()}


def gradients(named, *grads, scale=None, **options):
    """Gradients of the inputs that are present, in a dictionary."""
    arrays = [named.get(name) for name in (*NAMES, "cu_seqlens")]
    grad = grads if options.get("output_final_state") else grads[0]
    results = qf.ssm.chunk_gated_delta_rule_vjp(*arrays, grad, scale=scale, **options)
    return dict(zip([n for n, x in zip(NAMES, arrays) if x is not None], results, strict=True))


def test_other_names_are_the_same_functions(best_backend, rng):
    """Without decays, the gated rule is DeltaNet. fused_recurrent names use chunks too. g_gamma is one decay for all tokens of a head."""
    named = problem(rng, 1, 20, 2, 9, 7, 4, gates="g beta", state=True) | {"scale": 0.3, "cu_seqlens": np.array([0, 20])}
    ungated, simple = ({n: x for n, x in named.items() if n != left_out} for left_out in ("g", "beta"))
    gamma = {n: x for n, x in simple.items() if n != "g"} | {"g_gamma": named["g"][0, 0]}
    spread = simple | {"g": np.broadcast_to(named["g"][:, :1], named["g"].shape)}
    last, ssm = {"output_final_state": True}, qf.ssm
    for function, arguments, same, other, options in (
        (ssm.fused_recurrent_gated_delta_rule, named, ssm.chunk_gated_delta_rule, named, OPTIONS),
        (ssm.chunk_delta_rule, ungated, ssm.chunk_gated_delta_rule, ungated, OPTIONS),
        (ssm.fused_recurrent_delta_rule, ungated, ssm.chunk_gated_delta_rule, ungated, OPTIONS),
        (ssm.fused_recurrent_simple_gla, simple, ssm.chunk_simple_gla, simple, last),
        (ssm.fused_recurrent_simple_gla, gamma, ssm.chunk_simple_gla, spread, last),
        (ssm.chunk_simple_gla, gamma, ssm.chunk_simple_gla, spread, last),
    ):
        for got, expected in zip(function(**arguments, **options), same(**other, **options)):
            np.testing.assert_array_equal(got, expected)
    by_place = ssm.chunk_delta_rule(*(named[n] for n in ("q", "k", "v", "beta")), 0.3, named["initial_state"], True, True)
    for got, expected in zip(by_place, ssm.chunk_gated_delta_rule(**ungated, **OPTIONS)):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("zero", [-np.inf, -1e5])
def test_a_decay_to_zero_forgets(backend, rng, zero):
    """The remaining tokens equal a sequence that begins there, and no gradient flows across it."""
    named = problem(rng, 1, 100, 2, 6, 5, state=True)
    named["g"][:, 30] = zero
    o, state = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
    after = part(named, 30, 100) | {"initial_state": None}
    for got, expected in zip((o[:, 30:], state), qf.ssm.chunk_gated_delta_rule(**after, **OPTIONS)):
        close(got, expected, 1e-13)
    grads = np.zeros_like(o), rng.standard_normal(state.shape)
    grads[0][:, 40:] = 1
    results = gradients(named, *grads, **OPTIONS)
    expected = gradients(part(named, 30, 100), grads[0][:, 30:], grads[1], **OPTIONS)
    for name in NAMES[:-1]:
        size = np.abs(results[name]).max()
        assert np.isfinite(results[name]).all()
        assert np.abs(results[name][:, :30]).max() <= 1e-14 * size
        close(results[name][:, 31:], expected[name][:, 1:], 1e-12)
    assert (results["g"][:, 30] == 0).all()
    assert (results["initial_state"] == 0).all()


def decay_gradients(q, k, v, g, beta, grad, scale, corrects):
    """dg of one head, token by token in extended precision, and for each element the sum of the magnitudes of its terms."""
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


def test_float32_is_within_two_millionths(rng):
    for T, K, V in [(2048, 32, 40), (300, 128, 128), (129, 64, 16)]:
        print(T, K, V)
        named = problem(rng, 1, T, 2, K, V, 4, state=True, dtype=np.float32)
        got = qf.ssm.chunk_gated_delta_rule(**named, output_final_state=True)
        for g, e in zip(got, qf.ssm.chunk_gated_delta_rule(**wide(named), output_final_state=True)):
            close(g, e, 2e-6)
        grads = [rng.standard_normal(x.shape).astype(np.float32) for x in got]
        double = gradients(wide(named), *[x.astype(float) for x in grads], output_final_state=True)
        for name, g in gradients(named, *grads, output_final_state=True).items():
            assert g.dtype == np.float32
            close(g, double[name], 5e-6)


def test_packed_sequences_have_the_bits_of_those_apart(backend, rng):
    """Compositions multiply different matrices for packed sequences, so they are compared to rounding only."""
    tolerance = 0 if backend == "native" else 1e-12
    same = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    for lengths, index in [((5, 0, 90, 1, 64, 8), np.int32), ((1,) * 7, np.int64), ((0, 3, 0), np.int64), ((65, 63), np.int32)]:
        print(lengths)
        named = problem(rng, 1, sum(lengths), 2, 6, 5, 4, lengths=lengths, state=True)
        ends = named["cu_seqlens"].astype(index)
        together = qf.ssm.chunk_gated_delta_rule(**named | {"cu_seqlens": ends}, **OPTIONS)
        grads = [rng.standard_normal(x.shape) for x in together]
        got = gradients(named, *grads, **OPTIONS)
        del named["cu_seqlens"]
        for n, (begin, end) in enumerate(itertools.pairwise(ends)):
            alone = part(named, begin, end) | {"initial_state": named["initial_state"][n : n + 1]}
            o, state = qf.ssm.chunk_gated_delta_rule(**alone, **OPTIONS)
            same(together[0][:, begin:end], o)
            same(together[1][n : n + 1], state)
            for name, expected in gradients(alone, grads[0][:, begin:end], grads[1][n : n + 1], **OPTIONS).items():
                result = got[name][n : n + 1] if name == "initial_state" else got[name][:, begin:end]
                same(result, expected)


@pytest.mark.filterwarnings("ignore:.*g is positive for all of the first tokens")
def test_strong_decays_and_growth(backend, rng):
    for dtype, grows in itertools.product(precisions(backend), (False, True)):
        print(dtype, grows)
        named = problem(rng, 1, 130, 1, 6, 5, state=True, dtype=dtype)
        g = rng.uniform(0, 0.1, named["g"].shape) if grows else -np.exp(rng.uniform(-5, 7, named["g"].shape))
        named["g"] = g.astype(dtype)
        got = qf.ssm.chunk_gated_delta_rule(**named, **OPTIONS)
        for a, e in zip(got, oracle(**wide(named), **OPTIONS)):
            close(a, e.astype(float), 20 * np.finfo(dtype).eps * (50 if grows else 1))
        for gradient in gradients(named, *got, **OPTIONS).values():
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("corrects", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_a_decay_has_its_own_digits(backend, dtype, corrects):
    """A gradient much smaller than those of other tokens is accurate too, because only terms that pass over its decay contribute."""
    rng = np.random.default_rng(14)
    named = problem(rng, 1, 150, 1, 16, 24, dtype=dtype)
    named["g"] = rng.choice([-40.0, -5.0, 0.0], named["g"].shape, p=[0.1, 0.2, 0.7]).astype(dtype)
    grad = rng.standard_normal(named["v"].shape).astype(dtype)
    dg, size = decay_gradients(*[named[name][0, :, 0] for name in NAMES[:5]], grad[0, :, 0], 0.25, corrects)
    smallest = np.finfo(dtype).tiny / np.finfo(dtype).eps  # below this the factors of some terms have lost digits
    for name in (backend, "array"):
        with qf.use_backend(name):
            if corrects:
                got = gradients(named, grad, scale=0.25)["g"]
            else:
                got = qf.ssm.chunk_simple_gla_vjp(*[named[name] for name in NAMES[:4]], grad, scale=0.25)[3]
        assert (np.abs(got[0, :, 0] - dg) <= 8 * np.finfo(dtype).eps * size + smallest).all()


Q = np.zeros((2, 5, 3, 4))
V = np.zeros((2, 5, 6, 7))
GATE = np.zeros((2, 5, 6))
STATE = np.zeros((2, 6, 4, 7))
ONE = Q[:1], Q[:1], V[:1]
rule, gla = qf.ssm.chunk_gated_delta_rule, qf.ssm.chunk_simple_gla


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
    (
        lambda: rule(Q, Q, V, head_first=True),
        TypeError,
        r"ssm\.chunk_gated_delta_rule has no argument 'head_first'; .* q\.transpose\(1, 2\)",
    ),
    (
        lambda: qf.ssm.fla.fused_recurrent_simple_gla(Q, Q, V, head_first=False),
        TypeError,
        r"ssm\.fused_recurrent_simple_gla has no .*'head_fi",
    ),
]


def test_layouts_and_decays_that_look_wrong_are_warned_of():
    heads_first, decays = Q.swapaxes(1, 2), GATE + 0.5
    for call, text in (
        (lambda: rule(heads_first, heads_first, heads_first), r"q has shape \(2, 3, 5, 4\), more heads than tokens, .*transpose\(1, 2\)"),
        (
            lambda: rule(Q, Q, V, decays),
            "g is positive for all of the first tokens, so the state grows by a factor of e.g; expected the logarithms",
        ),
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
def test_gradient_of_a_decay_a_head(rng):
    torch = pytest.importorskip("torch")
    q, k = (torch.from_numpy(x).requires_grad_() for x in rng.standard_normal((2, 2, 5, 1, 3)))
    v = torch.from_numpy(rng.standard_normal((2, 5, 2, 2))).requires_grad_()
    gamma = torch.from_numpy(-rng.uniform(0, 1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: gla(*x[:3], None, x[3])[0], (q, k, v, gamma), eps=1e-6, atol=1e-6)
