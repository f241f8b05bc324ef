"""Layers of small forecasters at published sizes, built on the stand-ins, compared with loops and plain FFTs."""

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


@pytest.mark.parametrize("size", [32, 64, 128])
def test_reverso(size):
    """Fu, Li, Papaioannou, Kim (arXiv 2602.17634): a gated long convolution, then DeltaNet, over 2048 samples."""
    L = 2048
    with qf.ssm.install("fla", "flashfftconv"):
        from fla.layers import DeltaNet
        from flashfftconv import FlashFFTConv

        conv, layer = FlashFFTConv(2 * L, dtype=torch.float32), DeltaNet(hidden_size=size, num_heads=4, conv_size=4)
    u, before, after = torch.randn(3, 1, size, L).unbind(0)
    k = torch.randn(size, L) * torch.exp(-torch.arange(L) / 100)
    y = conv(u, k, pregate=before, postgate=after)
    spectrum = torch.fft.rfft((u * before).double(), 2 * L) * torch.fft.rfft(k.double(), 2 * L)
    mixed = torch.fft.irfft(spectrum, 2 * L)[..., :L] * after.double()
    close(y, mixed)
    x = F.normalize(y, dim=1).mT
    with torch.no_grad():
        got = layer(x)[0]
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
    """Moroshan et al. (arXiv 2510.25502): gated delta products with four steps per sample, of which only the first decays. The final states
    are the initial states of the next layer; 512 channels, four heads, a convolution over 32 samples."""
    T, H, D, n = 384, 4, 128, 4
    state, exact_state = torch.zeros(1, H, D, D), torch.zeros(H, D, D).double()
    x = torch.randn(1, T, H * D)
    weight = torch.randn(H * D, 32) / 32**0.5
    mixed = qf.ssm.causal_conv1d_fn(x.mT, weight, activation="silu").mT
    close(mixed, F.silu(F.conv1d(F.pad(x.mT, (31, 0)).double(), weight[:, None].double(), groups=H * D)).mT)
    for _ in range(2):
        q = torch.zeros(1, T, n, H, D)
        q[:, :, -1] = mixed.unflatten(-1, (H, D))  # only the last step of a sample reads the state
        k, v = torch.randn(2, 1, T, n, H, D).unbind(0)
        g, beta = torch.zeros(1, T, n, H), 2 * torch.rand(1, T, n, H)
        g[:, :, 0] = -torch.rand(1, T, H)
        q, k, v, g, beta = (part.flatten(1, 2) for part in (q, F.normalize(k, dim=-1), v, g, beta))
        y, state = qf.ssm.fla.chunk_gated_delta_rule(q, k, v, g, beta, scale=1.0, initial_state=state, output_final_state=True)
        exact, exact_state = delta_rule(*(part[0].double() for part in (q, k, v, g, beta)), exact_state)
        close(y[0, n - 1 :: n], exact[n - 1 :: n])
        close(state[0], exact_state)
        mixed = F.normalize(y[:, n - 1 :: n].flatten(2), dim=-1)
