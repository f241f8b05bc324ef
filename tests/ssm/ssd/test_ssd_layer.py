"""quatrefoil.torch.nn.Mamba2: parameter names, initial values and results of mamba-ssm; packed sequences; caches; a block."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import check_chunks_and_steps, inference, same, shapes  # noqa: E402
from ssm.ssd import oracle  # noqa: E402

pytestmark = pytest.mark.torch
F = torch.nn.functional


def test_mamba2_state_dict():
    assert shapes(nn.Mamba2(20, d_state=5, headdim=8, ngroups=1)) == {
        "dt_bias": (5,), "A_log": (5,), "D": (5,), "in_proj.weight": (95, 20), "conv1d.weight": (50, 1, 4), "conv1d.bias": (50,),
        "norm.weight": (40,), "out_proj.weight": (20, 40),
    }  # fmt: skip
    other = shapes(nn.Mamba2(20, d_state=5, headdim=4, d_ssm=16, D_has_hdim=True, rmsnorm=False, bias=True))
    assert other["in_proj.weight"] == (2 * 24 + 2 * 16 + 10 + 4, 20)
    assert other["D"] == (16,)
    assert other["out_proj.bias"] == (20,)
    assert "norm.weight" not in other


def test_mamba2_initial_values():
    torch.manual_seed(0)
    layer = nn.Mamba2(128, headdim=4, A_init_range=(2, 3), conv_init=0.01)
    assert layer.A_log.exp().min() * (1 + 1e-6) >= 2
    assert layer.A_log.exp().max() <= 3 * (1 + 1e-6)
    assert layer.A_log.exp().std() > 0.2
    assert F.softplus(layer.dt_bias).min() * (1 + 1e-5) >= 0.001
    assert F.softplus(layer.dt_bias).max() <= 0.1001
    assert layer.conv1d.weight.abs().max() <= 0.01
    assert all(getattr(layer, name)._no_weight_decay for name in ("dt_bias", "A_log", "D"))
    assert bool((layer.norm.weight == 1).all())


def upstream_mamba2(layer, u, sequences=None):
    """The first projection and the block written out; ``sequences``: the indices of packed sequences."""
    w = {name: value.numpy() for name, value in layer.state_dict().items()}
    y = oracle.mamba_split_conv1d_scan_combined(
        (u @ layer.in_proj.weight.T).detach().numpy() + w.get("in_proj.bias", 0), w["conv1d.weight"][:, 0], w["conv1d.bias"], w["dt_bias"],
        -np.exp(w["A_log"]), w["D"].reshape(-1, layer.headdim) if layer.D_has_hdim else w["D"], None,
        None if sequences is None else sequences.expand(len(u), -1).numpy(), w.get("norm.weight"), w["out_proj.weight"],
        w.get("out_proj.bias"), dt_limit=layer.dt_limit, rmsnorm_eps=1e-5, headdim=layer.headdim, ngroups=layer.ngroups,
        norm_before_gate=layer.norm_before_gate,
    )  # fmt: skip
    return torch.from_numpy(y.astype(float))


OPTIONS = [
    {},
    {"ngroups": 2, "norm_before_gate": True, "d_conv": 2},
    {"d_ssm": 8, "D_has_hdim": True, "dt_limit": (0.01, 0.05)},
    {"rmsnorm": False, "bias": True, "dt_limit": (0.002, 0.02), "d_ssm": 16},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_mamba2_is_upstreams(options):
    layer = nn.Mamba2(10, d_state=3, headdim=4 if "d_ssm" in options else 5, **options).double()
    u = torch.randn(2, 13, 10, dtype=torch.float64)
    expected = upstream_mamba2(layer, u)
    same(layer(u), expected, 1e-11)
    same(layer(u.flatten(0, 1), seqlen=13), expected.flatten(0, 1), 1e-11)


def test_mamba2_keeps_packed_sequences_apart():
    layer = nn.Mamba2(10, d_state=3, headdim=5).double()
    u = torch.randn(1, 12, 10, dtype=torch.float64)
    numbers = torch.tensor([[0] * 5 + [1] + [2] * 6])
    expected = upstream_mamba2(layer, u, numbers[0])
    same(layer(u, seq_idx=numbers.int()), expected, 1e-11)
    same(layer(u, cu_seqlens=torch.tensor([0, 5, 6, 12], dtype=torch.int32)), expected, 1e-11)
    same(layer(u, seq_idx=numbers, cu_seqlens=torch.tensor([0, 5, 6, 12])), expected, 1e-11)
    other = torch.tensor([0] * 5 + [1] + [2] * 2 + [3] * 4)
    same(layer(u, seq_idx=numbers, cu_seqlens=torch.tensor([0, 8, 12])), upstream_mamba2(layer, u, other), 1e-11)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cuts", [[0, 12], [0, 5, 12], [0, 1, 2, 12], [0, 0, 11, 12]])
def test_mamba2_in_chunks_and_steps(options, cuts):
    layer = nn.Mamba2(10, d_state=3, headdim=4 if "d_ssm" in options else 5, **options).double()
    check_chunks_and_steps(layer, torch.randn(2, 17, 10, dtype=torch.float64), cuts)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["cu_seqlens", "both", "int32"])
def test_mamba2_fills_a_cache_of_packed_sequences(options, kind):
    """One item with several sequences, one empty and one shorter than the convolution; then one token for each at a time."""
    layer = nn.Mamba2(10, d_state=3, headdim=4 if "d_ssm" in options else 5, layer_idx=0, **options).double()
    cuts, later = [0, 5, 5, 7, 16], torch.randn(4, 3, 10, dtype=torch.float64)
    u = torch.randn(1, 16, 10, dtype=torch.float64)
    cu_seqlens = torch.tensor(cuts, dtype=torch.int32 if kind == "int32" else torch.int64)
    seq_idx = torch.tensor([[0] * 5 + [2] * 2 + [3] * 9]) if kind == "both" else None
    params = inference(max_batch_size=4)
    cache = tuple(s.normal_() for s in layer.allocate_inference_cache(4))  # written but not read
    with torch.no_grad():
        packed = layer(u, seq_idx=seq_idx, cu_seqlens=cu_seqlens, inference_params=params)
        same(layer(u, seq_idx=seq_idx, cu_seqlens=cu_seqlens, cache=cache), packed)
        same(cache, params.key_value_memory_dict[0])
        params.seqlen_offset = 9
        steps = [layer(later[:, t : t + 1], cu_seqlens=cu_seqlens, inference_params=params) for t in range(3)]
    for i, (a, b) in enumerate(itertools.pairwise(cuts)):
        expected = upstream_mamba2(layer, torch.cat([u[:, a:b], later[i : i + 1]], 1))
        same(packed[:, a:b], expected[:, : b - a], 1e-11)
        same(torch.cat(steps, 1)[i : i + 1], expected[:, b - a :], 1e-11)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cuts", [[0, 12], [0, 5, 12], [0, 1, 2, 12], [0, 0, 11, 12]])
def test_mamba2_goes_on_from_the_last_of_packed_sequences(options, cuts):
    """A cache belongs to the first sequence of a chunk, and afterwards to its last one."""
    layer = nn.Mamba2(10, d_state=3, headdim=4 if "d_ssm" in options else 5, **options).double()
    u = torch.randn(2, 14, 10, dtype=torch.float64)
    numbers = torch.tensor([0] * 3 + [7] + [4] * 6 + [5] * 4)
    expected = upstream_mamba2(layer, u, numbers)
    cache = layer.allocate_inference_cache(2)
    with torch.no_grad():
        outputs = []
        for a, b in itertools.pairwise(cuts):
            if a and b > a and numbers[a] != numbers[a - 1]:  # the previous chunk contains no part of the sequence that begins here
                cache = layer.allocate_inference_cache(2)
            outputs.append(layer(u[:, a:b], seq_idx=numbers[None, a:b].expand(2, -1), cache=cache))
        outputs += [layer.step(u[:, t : t + 1], *cache)[0] for t in (12, 13)]
    same(torch.cat(outputs, 1), expected, 1e-11)


def test_mamba2_rejects_incomplete_caches():
    layer = nn.Mamba2(6, d_state=4, headdim=6, layer_idx=3).double()
    u, cu_seqlens = torch.randn(1, 9, 6, dtype=torch.float64), torch.tensor([0, 4, 9])
    params = inference(max_batch_size=2)
    with pytest.raises(ValueError, match="Mamba2: cache has 1 items, expected 2, one for each sequence"):
        layer(u, cu_seqlens=cu_seqlens, cache=layer.allocate_inference_cache(1))
    layer(u, cu_seqlens=cu_seqlens, inference_params=params)
    params.seqlen_offset = 5
    with pytest.raises(ValueError, match="Mamba2: u has 1 items with seqlen_offset > 0, expected 2, one for each sequence"):
        layer(u, cu_seqlens=cu_seqlens, inference_params=params)
    with pytest.raises(ValueError, match="Mamba2: inference_params has states of 2 sequences, but the input has 1"):
        layer(u, inference_params=params)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_of_a_chunk_with_a_cache(packed):
    layer = nn.Mamba2(6, d_state=4, headdim=6).double()
    u = torch.randn(1, 9, 6, dtype=torch.float64, requires_grad=True)
    inputs = {"cu_seqlens": torch.tensor([0, 4, 9])} if packed else {"seq_idx": torch.tensor([[0] * 4 + [1] * 5])}
    expected = torch.autograd.grad(layer(u, **inputs).square().sum(), u)[0]
    y = layer(u, **inputs, cache=layer.allocate_inference_cache(2 if packed else 1))
    same(torch.autograd.grad(y.square().sum(), u)[0], expected, 1e-11)


def test_the_vjp_is_what_autograd_gives():
    H, P, N = 4, 5, 3
    inputs = [torch.randn(2, 9, 2 * H * P + 2 * N + H), torch.randn(H * P + 2 * N, 4), torch.randn(H * P + 2 * N), torch.randn(H)]
    inputs += [-torch.rand(H), torch.randn(H, P), torch.randn(2, H, P, N), None, torch.randn(H * P), torch.randn(7, H * P), torch.randn(7)]
    inputs = [t if t is None else t.double().requires_grad_() for t in inputs]
    named = dict(zip(("initial_states", "seq_idx", "rmsnorm_weight", "outproj_weight", "outproj_bias"), inputs[6:]))
    y, states = qf.ssm.mamba_split_conv1d_scan_combined(*inputs[:6], 16, **named, return_final_states=True)
    grads = torch.randn_like(y), torch.randn_like(states)
    wanted = [t for t in inputs if t is not None]
    plain = [t if t is None else t.detach() for t in inputs]
    numpy = [t if t is None else t.numpy() for t in plain], tuple(t.numpy() for t in grads)
    for arrays, grad in ((plain, grads), numpy):
        got = qf.ssm.mamba_split_conv1d_scan_combined_vjp(*arrays, grad, chunk_size=16, return_final_states=True)
        for g, e in zip(got, torch.autograd.grad((y, states), wanted, grads, retain_graph=True), strict=True):
            np.testing.assert_allclose(g, e, atol=1e-12)
