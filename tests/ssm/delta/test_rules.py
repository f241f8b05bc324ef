"""Tests of all delta rules: steps, packed sequences, weak and strong decays, gates in the kernel, layouts of states, special cases."""

import functools
import itertools

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
from checks import close
from ssm.delta import oracle
from ssm.delta.cases import channels, delta, gla

ssm = qf.ssm
LAST = {"output_final_state": True}
NORM = LAST | {"use_qk_l2norm_in_kernel": True}
OPS = {  # the names of the gates, and options
    "chunk_gated_delta_rule": (("g", "beta"), NORM),
    "chunk_simple_gla": (("g",), LAST),
    "chunk_kda": (("g", "beta"), NORM),
    "chunk_gdn2": (("g", "b", "w"), NORM),
    "chunk_dplr_delta_rule": (("a", "b", "gk"), LAST),
}
of_every_op = pytest.mark.parametrize(("op", "options"), [(op, options) for op, (_, options) in OPS.items()], ids=list(OPS))
growth_is_intended = pytest.mark.filterwarnings("ignore:.*g is positive for all of the first tokens")


def problem(op, rng, *shape, dtype=np.float64, state=True, **drawn):
    """All inputs in a dictionary."""
    make = {"chunk_gated_delta_rule": delta, "chunk_simple_gla": gla}.get(op) or channels(op)
    arrays, more = make(*shape, state=state, **drawn)(rng)
    named = dict(zip(("q", "k", "v", *OPS[op][0]), arrays)) | more
    return {name: x.astype(dtype) if x.dtype.kind == "f" else x for name, x in named.items()}


def gradients(op, named, *grads, **options):
    """Gradients in a dictionary."""
    names = ("q", "k", "v", *OPS[op][0], "initial_state")
    arrays = [named.get(name) for name in (*names, "cu_seqlens")]
    results = getattr(ssm, f"{op}_vjp")(*arrays, grads if options.get("output_final_state") else grads[0], **options)
    return dict(zip([n for n, x in zip(names, arrays) if x is not None], results, strict=True))


def part(named, begin, end):
    return {name: x if name == "initial_state" else x[:, begin:end] for name, x in named.items()}


def wide(named):
    return {name: x.astype(np.float64) if x.dtype.kind == "f" else x for name, x in named.items()}


@of_every_op
def test_steps_are_the_whole_sequence(backend, rng, op, options):
    named = problem(op, rng, 2, 40, 1, 9, 7, HV=2)
    o, state = getattr(ssm, op)(**named, **options)
    step, now, last = getattr(ssm, op.replace("chunk", "fused_recurrent")), [], named["initial_state"]
    for t in range(40):
        one, last = step(**part(named, t, t + 1) | {"initial_state": last}, **options)
        now.append(one)
    close(np.concatenate(now, axis=1), o, 1e-13)
    close(last, state, 1e-13)


@of_every_op
def test_packed_sequences_have_the_bits_of_those_apart(backend, rng, op, options):
    """Compositions multiply different matrices for packed sequences, so their results agree only up to rounding."""
    tolerance = 0 if backend == "native" else 1e-12
    same = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    for lengths, index in [((5, 0, 90, 1, 64, 8), np.int32), ((1,) * 7, np.int64), ((0, 3, 0), np.int64), ((33, 65, 63), np.int32)]:
        print(lengths)
        named = problem(op, rng, 1, sum(lengths), 2, 6, 5, HV=4, lengths=lengths)
        ends = named["cu_seqlens"].astype(index)
        together = getattr(ssm, op)(**named | {"cu_seqlens": ends}, **options)
        grads = [rng.standard_normal(x.shape) for x in together]
        got = gradients(op, named, *grads, **options)
        del named["cu_seqlens"]
        for n, (begin, end) in enumerate(itertools.pairwise(ends)):
            alone = part(named, begin, end) | {"initial_state": named["initial_state"][n : n + 1]}
            o, state = getattr(ssm, op)(**alone, **options)
            same(together[0][:, begin:end], o)
            same(together[1][n : n + 1], state)
            for name, expected in gradients(op, alone, grads[0][:, begin:end], grads[1][n : n + 1], **options).items():
                same(got[name][n : n + 1] if name == "initial_state" else got[name][:, begin:end], expected)


@growth_is_intended
@of_every_op
def test_decays_of_any_strength(backend, rng, op, options):
    """Decays of any size, including -inf, which clears the state, and growth. Float32 results agree with float64."""
    for dtype, strength in itertools.product(precisions(backend), ("weak", "mixed", "strong", "forget", "growth")):
        print(dtype, strength)
        named = problem(op, rng, 1, 130, 1, 6, 5)
        g = named["gk" if "gk" in named else "g"]
        if strength == "growth":
            g[:] = rng.uniform(-0.02, 0.1, g.shape)
            g[:, 65] = -2.0
        elif strength == "mixed":
            g[:] = -np.exp(rng.uniform(-5, 7, g.shape))
        else:
            g[:] = {"weak": -0.01, "strong": -40.0, "forget": -1e4}[strength] * rng.choice([0, 0.1, 1], g.shape)
            g[:, 50, ..., -1] = -np.inf
        named = {name: x.astype(dtype) for name, x in named.items()}
        got = getattr(ssm, op)(**named, **options)
        expected = [x.astype(float) for x in getattr(oracle, op)(**wide(named), **options)]
        close(got, expected, 20 * np.finfo(dtype).eps * (50 if strength == "growth" else 1))
        computed = gradients(op, named, *got, **options)
        for name, expected in gradients(op, wide(named), *[x.astype(float) for x in got], **options).items():
            expected[np.abs(expected) < np.finfo(dtype).tiny] = 0  # as kernels treat subnormal numbers
            close(computed[name], expected, 100 * np.finfo(dtype).eps * (50 if strength == "growth" else 1))


def decay_gradients(q, k, u, e, g, grad, scale):
    """dg of one head, token by token in extended precision, and for each element the sum of the magnitudes of its terms."""
    q, k, u, e, g, grad = (x.astype(np.longdouble) for x in (q, k, u, e, g, grad))
    before = [np.zeros((k.shape[1], u.shape[1]), np.longdouble)]
    for k_t, u_t, e_t, g_t in zip(k, u, e, g):
        S = np.exp(g_t)[:, None] * before[-1]
        before.append(S + np.outer(k_t, u_t - S.T @ e_t))
    R = terms = np.zeros_like(before[0])
    dg, size = np.zeros_like(g), np.zeros_like(g)
    for t in reversed(range(len(g))):
        read = scale * np.outer(q[t], grad[t])
        missed = np.outer(e[t], (R + read).T @ k[t])
        R, terms, a = R + read - missed, terms + np.abs(read) + np.abs(missed), np.exp(g[t])[:, None]
        dg[t], size[t] = (a * R * before[t]).sum(1), (a * terms * np.abs(before[t])).sum(1)
        R, terms = a * R, a * terms
    return dg, size


@pytest.mark.parametrize("op", ["chunk_gated_delta_rule", "chunk_simple_gla", "chunk_gdn2"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_a_decay_has_its_own_digits(backend, dtype, op):
    """A gradient much smaller than those of other tokens is accurate too, because only terms that pass over its decay contribute.

    With a decay per channel, the 16 eps allow for products of up to 64 rounded decays.
    """
    rng = np.random.default_rng(14)
    named = problem(op, rng, 1, 150, 1, 16, 24, dtype=dtype, state=False)
    named["g"] = rng.choice([-40.0, -5.0, 0.0], named["g"].shape, p=[0.1, 0.2, 0.7]).astype(dtype)
    grad = rng.standard_normal(named["v"].shape).astype(dtype)
    q, k, v, *gates = (x[0, :, 0].astype(np.longdouble) for x in named.values())
    g, erase, write = {
        "chunk_gated_delta_rule": lambda g, beta: (g[:, None], beta[:, None], beta[:, None]),
        "chunk_simple_gla": lambda g: (g[:, None], 0, 1),
        "chunk_gdn2": lambda g, b, w: (g, b, w),
    }[op](*gates)
    dg, size = decay_gradients(q, k, write * v, erase * k, g + 0 * k, grad[0, :, 0], 0.25)
    if op != "chunk_gdn2":
        dg, size = dg.sum(1), size.sum(1)
    smallest = np.finfo(dtype).tiny / np.finfo(dtype).eps  # below this the factors of some terms have lost digits
    for name in (backend, "array"):
        with qf.use_backend(name):
            got = gradients(op, named, grad, scale=0.25)["g"]
        allowed = (16 if op == "chunk_gdn2" else 8) * np.finfo(dtype).eps * size + smallest
        assert (np.abs(got[0, :, 0] - dg) <= allowed).all()


def test_which_attention_is_which(best_backend, rng):
    """The gated rule is KDA with one decay for all channels. KDA is GDN-2 with one gate, and also DPLR with suitable vectors."""
    named = problem("chunk_kda", rng, 1, 70, 1, 9, 7, HV=2)
    g, beta, v, k = named["g"], named.pop("beta"), named["v"], named["k"]
    g[:] = np.maximum(g, -5.0)
    expected = ssm.chunk_kda(**named, beta=beta, **LAST)
    k2, every = np.repeat(k, 2, axis=2), beta[..., None]
    gates = {"b": every + 0 * g, "w": every + 0 * v}
    erase = {"a": np.exp(g) * k2, "b": -every * k2, "gk": g, "k": np.broadcast_to(k2, g.shape), "q": np.repeat(named["q"], 2, axis=2)}
    rest = {name: x for name, x in named.items() if name not in ("g", "k", "q", "v")}
    for got in (ssm.chunk_gdn2(**named, **gates, **LAST), ssm.chunk_dplr_delta_rule(**erase, **rest, v=every * v, **LAST, scale=1 / 3)):
        close(got, expected, 1e-13)
    one = g[..., :1]
    alone = ssm.chunk_kda(**named | {"g": one + 0 * g}, beta=beta, **LAST)
    close(alone, ssm.chunk_gated_delta_rule(**named | {"g": one[..., 0]}, beta=beta, **LAST), 1e-13)


def test_rwkv7_has_other_names_and_no_scale(best_backend, rng):
    named = problem("chunk_dplr_delta_rule", rng, 1, 20, 2, 9, 7)
    inputs = (named["q"], named["gk"], named["k"], named["v"], named["a"], named["b"])
    got = ssm.fla.chunk_rwkv7(*inputs, initial_state=named["initial_state"], **LAST)
    np.testing.assert_equal(got, ssm.chunk_dplr_delta_rule(**named, scale=1.0, **LAST))


def softplus(x):
    return np.logaddexp(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gates_in_the_kernel(best_backend, rng):
    named = problem("chunk_kda", rng, 1, 20, 1, 6, 5, HV=2)
    raw, beta = rng.standard_normal(named.pop("g").shape), 3 * named.pop("beta") - 1
    A, bias = rng.standard_normal((1, 1, 2, 1)), rng.standard_normal(12)
    rate, x = np.exp(A), raw + bias.reshape(2, 6)
    shifted = {"use_gate_in_kernel": True, "dt_bias": bias}
    for options, g in (
        ({**shifted, "A_log": A}, -rate * softplus(x)),
        ({"use_gate_in_kernel": True, "A_log": A.ravel()}, -rate * softplus(raw)),
        ({**shifted, "A_log": A, "lower_bound": -5}, -5 * sigmoid(rate * x)),
        ({**shifted, "lower_bound": -5.0}, -5 * sigmoid(x)),
    ):
        for more, fraction in (
            ({}, beta),
            ({"use_beta_sigmoid_in_kernel": True}, sigmoid(beta)),
            ({"use_beta_sigmoid_in_kernel": True, "allow_neg_eigval": True}, 2 * sigmoid(beta)),
        ):
            o, _ = ssm.chunk_kda(**named, g=raw, beta=beta, **options, **more)
            close(o, ssm.chunk_kda(**named, g=g, beta=fraction)[0], 1e-13)
    rate, x = np.exp(A[0, 0, :, 0]), raw[..., 0] + bias[:2]
    gated = {"use_gate_in_kernel": True, "dt_bias": bias[:2], "A_log": A, "use_beta_sigmoid_in_kernel": True, "allow_neg_eigval": True}
    o, _ = ssm.fused_recurrent_gated_delta_rule(**named, g=raw[..., 0], beta=beta, **gated)
    close(o, ssm.chunk_gated_delta_rule(**named, g=-rate * softplus(x), beta=2 * sigmoid(beta))[0], 1e-13)


def test_states_with_the_values_first(best_backend, rng):
    for op in ("chunk_kda", "chunk_gdn2"):
        named = problem(op, rng, 1, 20, 1, 6, 5, HV=2)
        o, state = getattr(ssm, op)(**named, **LAST)
        v_first = {"initial_state": named["initial_state"].swapaxes(2, 3), "state_v_first": True}
        np.testing.assert_equal(getattr(ssm, op)(**named | v_first, **LAST), (o, state.swapaxes(2, 3)))
    named = {name: x for name, x in named.items() if name not in ("g", "b", "w")} | v_first
    for function in (ssm.chunk_gated_delta_rule, ssm.fused_recurrent_simple_gla):
        assert function(**named, **LAST)[1].shape == (1, 2, 5, 6)
    named["transpose_state_layout"] = named.pop("state_v_first")
    with pytest.warns(DeprecationWarning, match="ssm.chunk_gated_delta_rule: transpose_state_layout is deprecated; use state_v_first"):
        assert ssm.chunk_gated_delta_rule(**named, **LAST)[1].shape == (1, 2, 5, 6)


Q, V = np.zeros((1, 5, 3, 4)), np.zeros((1, 5, 3, 7))
BETA = np.zeros((1, 5, 3))
kda = functools.partial(ssm.chunk_kda, Q, Q, V, Q, BETA)
gate = functools.partial(kda, use_gate_in_kernel=True)
rule = functools.partial(ssm.chunk_gated_delta_rule, Q, Q, V)

BAD = [
    (lambda: ssm.chunk_kda(Q, Q, V, BETA, BETA), ValueError, r"ssm\.chunk_kda: g has shape \(1, 5, 3\), expected"),
    (lambda: ssm.chunk_gdn2(Q, Q, V, Q, BETA, V), ValueError, r"ssm\.chunk_gdn2: b has shape \(1, 5, 3\)"),
    (lambda: ssm.chunk_dplr_delta_rule(Q, Q, V, Q, Q, V), ValueError, r"ssm\.chunk_dplr_delta_rule: gk has shape \(1, 5, 3, 7\)"),
    (lambda: ssm.chunk_kda(Q, Q, V, Q), TypeError, "ssm.chunk_kda: beta is missing"),
    (lambda: gate(), ValueError, r"A_log is missing; use_gate_in_kernel=True requires it, unless lower_bound is passed"),
    (lambda: kda(A_log=BETA[0, 0]), ValueError, "A_log has no effect without use_gate_in_kernel=True"),
    (lambda: gate(lower_bound=5), ValueError, r"lower_bound is 5\.0, expected a negative number, the logarithm of a decay"),
    (lambda: gate(A_log=BETA[0]), ValueError, r"A_log has shape \(5, 3\), expected 3 numbers, of shape \(3, 1\)"),
    (lambda: gate(A_log=BETA[0, 0].astype(np.float32)), TypeError, "A_log has dtype float32, expected float64, like g"),
    (lambda: gate(A_log=[0.0] * 3), TypeError, "A_log is list, expected an array of the same library as g"),
    (lambda: kda(allow_neg_eigval=True), ValueError, "allow_neg_eigval=True requires use_beta_sigmoid_in_kernel=True"),
    (lambda: rule(use_gate_in_kernel=True), ValueError, r"ssm\.chunk_gated_delta_rule: A_log is missing"),
    (lambda: kda(cp_context=object()), ValueError, r"ssm\.chunk_kda: cp_context is not supported: a sequence cannot be split over devices"),
    (lambda: kda(return_intermediate_states=True), ValueError, "return_intermediate_states is not supported"),
    (lambda: kda(state_v_first=True, transpose_state_layout=True), ValueError, "the old name of state_v_first; omit transpose_state"),
    (lambda: kda(use_graph=True), ValueError, "use_graph is not supported"),
    (lambda: ssm.fused_recurrent_dplr_delta_rule(Q, Q, V, Q, Q, Q, reverse=True), ValueError, "reverse is not supported: reverse the tok"),
    (lambda: rule(gk=Q), TypeError, r"ssm\.chunk_gated_delta_rule has no argument 'gk'; .* chunk_kda"),
]


def test_options_for_other_kernels_are_accepted():
    accepted = {"safe_gate": True, "disable_recompute": True, "cu_seqlens_cpu": None, "cp_context": None, "use_graph": False}
    np.testing.assert_array_equal(kda(**accepted, chunk_size=64)[0], V)


@pytest.mark.torch
def test_gradients_through_gates(rng):
    torch = pytest.importorskip("torch")
    named = problem("chunk_kda", rng, 1, 4, 1, 3, 2, HV=2)
    named["A_log"], named["dt_bias"], named["g"] = rng.standard_normal(2), rng.standard_normal(6), 0 * named["g"]
    names = [name for name in named if name != "initial_state"]
    inputs = [torch.from_numpy(np.asarray(named[name])).requires_grad_() for name in names]

    def run(*arrays, lower_bound):
        flags = {"use_gate_in_kernel": True, "use_beta_sigmoid_in_kernel": True, "use_qk_l2norm_in_kernel": True}
        return ssm.chunk_kda(**dict(zip(names, arrays)), **flags, lower_bound=lower_bound)[0]

    for lower_bound in (None, -5.0):
        assert torch.autograd.gradcheck(functools.partial(run, lower_bound=lower_bound), inputs, eps=1e-6, atol=1e-6)
