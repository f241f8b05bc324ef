"""The gated delta rule: what bad input gets, and PyTorch with states and packed sequences in all its modes."""

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_refused
from quatrefoil.ssm.delta import composition

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
    (lambda: rule(Q, Q, V, cu_seqlens=cu(0, 5)), ValueError, r"q has shape .*, expected a batch of one, B = 1, with cu_seqlens"),
    (lambda: rule(*ONE, cu_seqlens=cu(0, 4)), ValueError, r"cu_seqlens is \[0, 4\], expected .* begin with 0, never fall, .* 5"),
    (lambda: rule(*ONE, cu_seqlens=np.zeros(0, int)), ValueError, "cu_seqlens"),
    (lambda: rule(*ONE, cu_seqlens=cu(0.0, 5.0)), TypeError, "cu_seqlens is a numpy array of float64, expected .* int32 or int64"),
    (lambda: rule(Q, Q, V, scale="1"), TypeError, r"ssm\.chunk_gated_delta_rule: scale is '1', expected a real number"),
    (lambda: rule(Q, Q, V, scale=np.inf), ValueError, "scale is inf, expected a finite number"),
    (lambda: qf.ssm.chunk_gated_delta_rule_vjp(Q, Q, V, V, output_final_state=True), ValueError, "grad_final_state is missing"),
    (lambda: gla(Q, Q, V, GATE, GATE[0, 0]), ValueError, r"ssm\.chunk_simple_gla: g and g_gamma are both given, expected one of them"),
    (lambda: gla(Q, Q, V, g_gamma=GATE[0]), ValueError, r"g_gamma has shape \(5, 6\), expected \(HV,\) = \(6,\) as in v"),
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


def test_bad_input():
    check_refused(BAD)


def test_layouts_and_decays_that_look_wrong_are_warned_of():
    heads_first, decays = Q.swapaxes(1, 2), GATE + 0.5
    for call, text in (
        (lambda: rule(heads_first, heads_first, heads_first), r"q has shape \(2, 3, 5, 4\), more heads than tokens, .*transpose\(1, 2\)"),
        (lambda: rule(Q, Q, V, decays), "all g of the first tokens are positive, so that the state grows by e.g; expected the logarithms"),
        (lambda: gla(Q, Q, V, g_gamma=decays[0, 0]), "ssm.chunk_simple_gla: all g of the first"),
    ):
        with pytest.warns(RuntimeWarning, match=text):
            call()
    rule(Q[:, :1], Q[:, :1], V[:, :1], decays[:, :1])  # a step of decoding is not looked at
    rule(Q[:, :2], Q[:, :2], V[:, :2], initial_state=STATE)


GATED = ({"v": V.astype(np.float32)}, TypeError), ({"scale": "1"}, TypeError), ({"cu_seqlens": [0]}, TypeError), ({"out": V}, ValueError)
SIMPLE = ({"g": GATE, "g_gamma": GATE[0, 0]}, ValueError), ({"cu_seqlens": cu(0, 5)}, ValueError), ({"g_gamma": GATE}, ValueError)


def test_errors_name_the_function_that_was_called():
    for kind, wrong in (("gated_delta_rule", GATED), ("delta_rule", GATED), ("simple_gla", SIMPLE)):
        for name in (f"chunk_{kind}", f"fused_recurrent_{kind}"):
            for bad, error in (({"k": Q[0]}, ValueError), *wrong):
                with pytest.raises(error, match=rf"^ssm\.{name}: "):
                    getattr(qf.ssm, name)(**{"q": Q, "k": Q, "v": V, **bad})


def test_the_composition_makes_nan_of_sequences_that_are_none(rng):
    """It looks at no number: on a device that would wait."""
    q, v = rng.standard_normal((1, 5, 1, 3)), rng.standard_normal((1, 5, 1, 2))
    for ends in (cu(0, 2, 9), cu(1, 2, 5), cu(0, 4, 3, 5), cu(-7, 5)):
        results = composition.chunk_simple_gla(np, q, q, v, None, None, ends, 1.0, True)
        gradients = composition.chunk_simple_gla_vjp(np, q, q, v, None, None, ends, v, None, 1.0, False)[:3]
        assert all(np.isnan(x).all() for x in (*results, *gradients))


@pytest.mark.torch
@pytest.mark.parametrize("packed", [False, True])
def test_every_mode_of_torch(rng, packed):
    torch = pytest.importorskip("torch")
    from ssm.modes_of_torch import check_every_mode

    B, lengths = (1, (2, 0, 7)) if packed else (2, None)
    T = 9 if packed else 4
    arrays = [*rng.standard_normal((2, B, T, 1, 3)), rng.standard_normal((B, T, 2, 2))]
    arrays += [rng.uniform(-0.5, 0, (B, T, 2)), rng.uniform(0, 1, (B, T, 2)), rng.standard_normal((3 if packed else B, 2, 3, 2))]
    ends = torch.tensor(np.cumsum([0, *lengths])) if packed else None
    given = [torch.from_numpy(x).requires_grad_() for x in arrays]
    check_every_mode(lambda *a: rule(*a[:5], None, a[5], True, True, ends), given)


@pytest.mark.torch
def test_gradient_of_a_decay_a_head(rng):
    torch = pytest.importorskip("torch")
    q, k = (torch.from_numpy(x).requires_grad_() for x in rng.standard_normal((2, 2, 5, 1, 3)))
    v = torch.from_numpy(rng.standard_normal((2, 5, 2, 2))).requires_grad_()
    gamma = torch.from_numpy(-rng.uniform(0, 1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: gla(*x[:3], None, x[3])[0], (q, k, v, gamma), eps=1e-6, atol=1e-6)
