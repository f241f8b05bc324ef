"""The layers DeltaNet, GatedDeltaNet and KimiDeltaAttention compared with the oracle; modules from ``install``."""

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from checks import check_rejected  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402
from ssm.delta import oracle  # noqa: E402
from ssm.layers import same  # noqa: E402

pytestmark = pytest.mark.torch

F = torch.nn.functional
DELTA = {
    "DeltaNet": lambda i=0, **o: nn.DeltaNet(hidden_size=6, num_heads=2, layer_idx=i, **o).double(),
    "DeltaNet-reverso": lambda i=0: nn.DeltaNet(  # as in Reverso, Fu, Li, Papaioannou, Kim (arXiv 2602.17634)
        mode="chunk", d_model=6, expand_k=1.0, expand_v=1.0, num_heads=2, use_beta=True, use_gate=False, use_short_conv=True, conv_size=4,
        allow_neg_eigval=False, qk_activation="silu", qk_norm="l2", layer_idx=i,
    ).double(),
    "DeltaNet-gated": lambda i=0: DELTA["DeltaNet"](i, use_gate=True, qk_activation="elu", qk_norm="sum", allow_neg_eigval=True),
    "GatedDeltaNet": lambda i=0: nn.GatedDeltaNet(6, head_dim=3, num_heads=2, num_v_heads=4, layer_idx=i).double(),
    "KimiDeltaAttention": lambda i=0: nn.KimiDeltaAttention(6, head_dim=3, num_heads=2, lower_bound=-5.0, layer_idx=i).double(),
}  # fmt: skip


def by_oracle(name, layer, u):
    """The layer's output for one sequence (T, 6), from its state_dict."""
    p, T = dict(layer.state_dict()), len(u)
    gated = name not in ("DeltaNet", "DeltaNet-reverso")

    def projected(part, act):
        x = F.pad((u @ p[f"{part}_proj.weight"].T).T, (3, 0))[None]
        return act(F.conv1d(x, p[f"{part}_conv1d.weight"], groups=x.shape[1])[0].T)

    elu = name == "DeltaNet-gated"
    q, k = (projected(part, (lambda x: F.elu(x) + 1) if elu else F.silu).reshape(T, 2, 3) for part in "qk")
    v = projected("v", F.silu)
    q, k = (x / x.abs().sum(-1, True) if elu else x for x in (q, k))
    heads = p["b_proj.weight"].shape[0]
    beta = torch.sigmoid(u @ p["b_proj.weight"].T) * (2 if elu else 1)
    g = torch.zeros(T, heads)
    if name == "GatedDeltaNet":
        g = -p["A_log"].exp() * F.softplus(u @ p["a_proj.weight"].T + p["dt_bias"])
    elif name == "KimiDeltaAttention":
        raw = (u @ p["f_proj.0.weight"].T @ p["f_proj.1.weight"].T + p["dt_bias"]).reshape(T, heads, 3)
        g = -5 * torch.sigmoid(p["A_log"].exp()[:, None] * raw)
    arrays = [x.numpy()[None] for x in (q, k, v.reshape(T, heads, -1), g, beta)]
    o = torch.from_numpy(oracle.chunk_gated_delta_rule(*arrays, use_qk_l2norm_in_kernel=not elu)[0].astype(float))
    o = o * torch.rsqrt(o.square().mean(-1, True) + 1e-5) * p["o_norm.weight"]
    if gated:
        to_gate = p["g_proj.weight"] if "g_proj.weight" in p else p["g_proj.1.weight"] @ p["g_proj.0.weight"]
        gate = u @ to_gate.T + p.get("g_proj.1.bias", 0)
        o = o * (torch.sigmoid if name == "KimiDeltaAttention" else F.silu)(gate.reshape(o.shape))
    return o.flatten(1) @ p["o_proj.weight"].T


@pytest.mark.parametrize("name", DELTA)
def test_layers(name):
    """A whole sequence, chunks, packed and left-padded sequences give the same results as the oracle for each sequence."""
    layer, u = DELTA[name](), torch.randn(2, 12, 6, dtype=torch.float64)
    expected = torch.stack([by_oracle(name, layer, row) for row in u])
    same(layer(hidden_states=u, attention_mask=None)[0], expected)
    states = {}
    with torch.no_grad():
        outputs = [layer(u[:, a:b], past_key_values=states, use_cache=True)[0] for a, b in ((0, 2), (2, 9), (9, 10), (10, 12))]
    same(torch.cat(outputs, 1), expected)
    row = torch.cat([u[:1, :2], u[1:]], 1)
    bounds = torch.tensor([0, 2, 14], dtype=torch.int32)
    same(layer(row, cu_seqlens=bounds)[0][0], torch.cat([expected[0, :2], expected[1]]))
    mask = torch.ones(2, 12)
    mask[0, :5] = 0
    padded, states = torch.cat([torch.randn(1, 5, 6).double(), u[:1, :7]], 1), {}
    both = torch.cat([padded, u[1:]])
    y = layer(both[:, :10], mask[:, :10], past_key_values=states, use_cache=True)[0]
    y = torch.cat([y, layer(both[:, 10:], mask, past_key_values=states, use_cache=True)[0]], 1)
    same(y[0], torch.cat([torch.zeros(5, 6).double(), expected[0, :7]]))
    same(y[1], expected[1])


class FlaCache(list):
    """The part of flash-linear-attention's Cache that its layers use."""

    def update(self, layer_idx, **states):
        self[layer_idx : layer_idx + 1] = [states]


def test_states_in_the_cache_of_fla():
    layers, u, cache = [DELTA["GatedDeltaNet"](i) for i in range(2)], torch.randn(1, 8, 6).double(), FlaCache()

    def run(x, **options):
        for layer in layers:
            x = layer(x, **options)[0]
        return x

    with torch.no_grad():
        got = torch.cat([run(part, past_key_values=cache, use_cache=True) for part in u.split(5, 1)], 1)
    same(got, run(u))
    assert cache[1]["recurrent_state"].shape == (1, 4, 6, 3)
    assert cache[0]["conv_state"][0].shape == (1, 6, 4)


BAD = [
    (lambda: nn.GatedDeltaNet(6, head_dim=3, num_heads=2, num_v_heads=3), ValueError, "num_v_heads is 3, expected a multiple of num_heads"),
    (lambda: nn.GatedDeltaNet(6, head_dim=3, expand_v=0.5), ValueError, "heads of values have size 1.5, expected a positive integer"),
    (lambda: nn.KimiDeltaAttention(6, head_dim=3, safe_gate=True), ValueError, "safe_gate=True requires lower_bound"),
    (lambda: nn.DeltaNet(hidden_size=4, num_heads=2)(torch.ones(1, 3, 4), past_key_values={}), ValueError, "layer_idx is None, expected"),
    (lambda: nn.DeltaNet(hidden_size=4, num_heads=2)(torch.ones(1, 4, 3)), ValueError, r"DeltaNet: input has shape \(1, 4, 3\)"),
]


def test_padding_after_cached_states_raises():
    layer, u, states = DELTA["DeltaNet"](), torch.randn(1, 4, 6).double(), {}
    layer(u, past_key_values=states, use_cache=True)
    check_rejected([(lambda: layer(u, torch.tensor([[1, 1, 1, 0]]), states), ValueError, "attention_mask has padding after cached")])


@pytest.mark.parametrize("seqlen", [16, 13, 10, 8])
def test_flash_fft_conv(seqlen):
    """Causal for inputs up to half of seqlen, circular for longer ones."""
    u, k, gate = torch.randn(2, 3, 8), torch.randn(3, 8), torch.randn(2, 3, 8)
    with qf.ssm.install("flashfftconv"):
        from flashfftconv import FlashFFTConv

        conv = FlashFFTConv(seqlen, dtype=torch.float16)
    padded = F.pad(u * gate, (0, seqlen - 8))
    expected = torch.fft.irfft(torch.fft.rfft(padded) * torch.fft.rfft(k, seqlen), seqlen)[..., :8]
    same(conv(u, k, pregate=gate), expected, 1e-5)
    half = conv(u.half(), k, gate.half(), gate.half())
    assert half.dtype == torch.float16
    assert (half - expected * gate).abs().max() < 0.02 * expected.abs().max()
    check_rejected([(lambda: conv(torch.ones(1, 3, 17), k), ValueError, "FlashFFTConv: u has 17 samples and k has 8, expected")])


def test_gated_norms_under_their_names():
    x, z, weight = torch.randn(2, 5, 6).double(), torch.randn(2, 5, 6).double(), torch.randn(6).double()
    with qf.ssm.install("mamba_ssm", "fla"):
        from fla.modules import FusedRMSNormGated, ShortConvolution
        from mamba_ssm.ops.triton.layernorm_gated import RMSNorm, rmsnorm_fn
    groups = (x * F.silu(z)).unflatten(-1, (2, 3))
    expected = (groups / (groups.square().mean(-1, True) + 1e-5).sqrt()).flatten(-2) * weight
    same(rmsnorm_fn(x, weight, None, z, 1e-5, 3, False), expected)
    norm = RMSNorm(6, 1e-5, 3, False).double()
    norm.load_state_dict({"weight": weight})
    same(norm(x, z), expected)
    fused = FusedRMSNormGated(6, eps=1e-3, activation="sigmoid").double()
    same(fused(x, z), x / (x.square().mean(-1, True) + 1e-3).sqrt() * torch.sigmoid(z))
    conv = ShortConvolution(6, 3, bias=True, activation=None).double()
    mask = torch.tensor([[0, 1, 1, 1, 1], [1] * 5])
    y, state = conv(x, residual=z, mask=mask, output_final_state=True)
    masked = x * mask[..., None]
    same(y, F.conv1d(F.pad(masked.mT, (2, 0)), conv.weight, conv.bias, groups=6).mT + z)
    same(state, masked[:, -3:].mT)


def test_a_short_convolution_continues_packed_sequences():
    """Packed sequences (one empty, one shorter than the kernel, one of one sample) give the results and gradients of separate ones."""
    with qf.ssm.install("fla"):
        from fla.modules import ShortConvolution
    conv = ShortConvolution(5, 4, bias=True).double()
    bounds = torch.tensor([0, 7, 7, 9, 10])
    x, z, cache = (torch.randn(*shape).double().requires_grad_() for shape in ((1, 10, 5), (1, 10, 5), (4, 5, 4)))
    y, after = conv(x, z, cache=cache, cu_seqlens=bounds, output_final_state=True)
    parts = [conv(x[:, a:b], z[:, a:b], cache=cache[n : n + 1], output_final_state=True) for n, (a, b) in enumerate(pairwise(bounds))]
    alone, states = torch.cat([part for part, _ in parts], 1), torch.cat([state for _, state in parts])
    same(y, alone)
    same(after, states)
    weights = torch.randn_like(y), torch.randn_like(after)
    leaves = (x, z, cache, conv.weight, conv.bias)
    same(*(torch.autograd.grad((p * weights[0]).sum() + (s * weights[1]).sum(), leaves) for p, s in ((y, after), (alone, states))))
    with pytest.raises(ValueError, match="ShortConvolution: mask and cu_seqlens cannot be combined"):
        conv(x, mask=torch.ones(1, 10), cu_seqlens=bounds)


@torch.no_grad()
def test_a_short_convolution_steps_in_place():
    with qf.ssm.install("fla"):
        from fla.modules import ShortConvolution
    conv = ShortConvolution(5, 4, bias=True).double()
    x, z, cache = torch.randn(3, 1, 5).double(), torch.randn(3, 1, 5).double(), torch.randn(3, 5, 4).double()
    expected, state = conv(x, z, cache=cache, output_final_state=True)
    for shape, bounds in (((3, 1, 5), None), ((1, 3, 5), torch.arange(4))):
        before = cache.clone()
        y, after = conv.step(x.view(shape), z.view(shape), before, True, bounds)
        same(y.view(3, 1, 5), expected)
        same(before, state)
        assert after is before
