"""Layers of small forecasters at the sizes of their published configurations, on the stand-ins, compared with loops and plain FFTs."""

import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402

pytestmark = pytest.mark.torch
F = torch.nn.functional


def close(got, expected):
    """Compare float32 results that are summed in different orders over two thousand steps."""
    scale = expected.abs().max()
    assert (got.double() - expected).abs().max() <= 200 * torch.finfo(torch.float32).eps * scale


def delta_rule(q, k, v, g, beta, state):
    """q, k, v (T, H, D), g and beta (T, H), state (H, K, V) -> outputs (T, H, V) before scaling, and the final state."""
    outputs = []
    for t in range(len(q)):
        state = g[t].exp()[:, None, None] * state
        x = beta[t][:, None] * (v[t] - (state.mT @ k[t][..., None])[..., 0])
        state = state + k[t][..., None] * x[:, None]
        outputs.append((state.mT @ q[t][..., None])[..., 0])
    return torch.stack(outputs), state


@pytest.mark.parametrize("size", [32, 64, 128])  # channels of its three published models, each over 2048 samples
def test_reverso(size):
    """Fu, Li, Papaioannou, Kim (arXiv 2602.17634): a long convolution with a gate before it, circular over all samples, then DeltaNet."""
    L = 2048
    with qf.ssm.install("fla", "flashfftconv"):
        from fla.layers import DeltaNet
        from flashfftconv import FlashFFTConv

        conv = FlashFFTConv(L, dtype=torch.bfloat16)
        layer = DeltaNet(
            mode="chunk",
            d_model=size,
            expand_k=1.0,
            expand_v=1.0,
            num_heads=4,
            use_beta=True,
            use_gate=False,
            use_short_conv=True,
            conv_size=4,
            allow_neg_eigval=False,
            qk_activation="silu",
            qk_norm="l2",
            layer_idx=0,
        )
    u, gate = torch.randn(2, 1, size, L).unbind(0)
    k = torch.randn(size, L) * torch.exp(-torch.arange(L) / 100)
    y = conv(u, k, pregate=gate, postgate=torch.ones_like(u))
    close(y, torch.fft.irfft(torch.fft.rfft((u * gate).double()) * torch.fft.rfft(k.double()), L))
    x = F.normalize(y, dim=1).mT.clone()
    x[:, 0] += x[:, -1]  # "state weaving"
    with torch.no_grad():
        got = layer(hidden_states=x, attention_mask=None)[0]
        exact, x = layer.double(), x.double()
        parts = []
        for name in "qkv":
            part = getattr(exact, f"{name}_proj")(x).mT
            weight = getattr(exact, f"{name}_conv1d").weight
            parts.append(F.silu(F.conv1d(F.pad(part, (3, 0)), weight, groups=size))[0].mT.unflatten(-1, (4, -1)))
        q, k, v = parts
        q, k = (part / (part.square().sum(-1, True) + 1e-6).sqrt() for part in (q, k))
        o, _ = delta_rule(q, k, v, torch.zeros(L, 4), torch.sigmoid(exact.b_proj(x))[0], torch.zeros(4, size // 4, size // 4).double())
        o = o * (size // 4) ** -0.5
        o = o * torch.rsqrt(o.square().mean(-1, True) + 1e-5) * exact.o_norm.weight
        close(got[0], exact.o_proj(o.flatten(1)))


def test_tempopfn():
    """Moroshan et al. (arXiv 2510.25502): gated delta products with four steps per sample, of which only the first decays and only the last
    is read. A layer starts from the final states of the one before plus learned ones. 512 channels, four heads, convolutions over 32
    samples."""
    T, H, D, n = 384, 4, 128, 4
    x = torch.randn(1, T, H * D)
    state, exact_state = torch.zeros(1, H, D, D), torch.zeros(H, D, D).double()
    for _ in range(2):
        parts = []
        for steps in (1, n, n):
            u = torch.randn(1, steps * H * D, T) if steps > 1 else x.mT
            weight = torch.randn(steps * H * D, 32) / 32**0.5
            part = qf.ssm.causal_conv1d_fn(u, weight, activation="silu").mT
            close(part, F.silu(F.conv1d(F.pad(u, (31, 0)).double(), weight[:, None].double(), groups=steps * H * D)).mT)
            parts.append(part.reshape(1, T * steps, H, D))
        q, k, v = parts
        q = F.pad(q[:, :, None], (0, 0, 0, 0, n - 1, 0)).flatten(1, 2)  # zeros for all steps of a sample but the last
        g, beta = torch.zeros(1, T, n, H), 2 * torch.rand(1, T * n, H)
        g[:, :, 0] = -torch.rand(1, T, H)
        g, learned = g.flatten(1, 2), torch.randn(H, D, D) / D
        options = {"initial_state": state + learned, "output_final_state": True, "use_qk_l2norm_in_kernel": True}
        y, state = qf.ssm.fla.chunk_gated_delta_rule(q, k, v, g, beta, **options)
        q, k, v, g, beta = (part[0].double() for part in (q, k, v, g, beta))
        q, k = (part / (part.square().sum(-1, True) + 1e-6).sqrt() for part in (q, k))
        exact, exact_state = delta_rule(q, k, v, g, beta, exact_state + learned)
        close(y[0, n - 1 :: n], exact[n - 1 :: n] * D**-0.5)
        close(state[0], exact_state)
        x = F.normalize(y[:, n - 1 :: n].flatten(2), dim=-1)
