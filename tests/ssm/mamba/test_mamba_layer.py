"""quatrefoil.torch.nn.Mamba: mamba-ssm's parameter names, initial values and numbers; its caches."""

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import check_pieces_and_steps, same, shapes  # noqa: E402

pytestmark = pytest.mark.torch

F = torch.nn.functional


def test_mamba_state_dict():
    assert shapes(nn.Mamba(20, d_state=5)) == {
        "A_log": (40, 5), "D": (40,), "in_proj.weight": (80, 20), "conv1d.weight": (40, 1, 4), "conv1d.bias": (40,),
        "x_proj.weight": (12, 40), "dt_proj.weight": (40, 2), "dt_proj.bias": (40,), "out_proj.weight": (20, 40),
    }  # fmt: skip
    other = shapes(nn.Mamba(20, d_state=5, conv_bias=False, bias=True, dt_rank=7, expand=1))
    assert other["x_proj.weight"] == (17, 20)
    assert other["in_proj.bias"] == (40,)
    assert "conv1d.bias" not in other


def test_mamba_initial_values():
    torch.manual_seed(0)
    layer = nn.Mamba(64, d_state=8, dt_scale=0.5)
    same(layer.A_log.exp(), torch.arange(1.0, 9).repeat(128, 1), 1e-5)
    assert bool((layer.D == 1).all())
    step = F.softplus(layer.dt_proj.bias)
    assert step.min() >= 0.001
    assert step.max() <= 0.1001
    assert abs(step.log().mean() - math.log(0.01)) < 0.4  # the deviation of a mean of 128 is .12
    assert layer.dt_proj.weight.abs().max() <= 0.5 / math.sqrt(4)
    assert layer.A_log._no_weight_decay
    assert layer.D._no_weight_decay
    assert layer.dt_proj.bias._no_reinit
    wide = {name for name, p in nn.Mamba(8, dtype=torch.bfloat16).named_parameters() if p.dtype == torch.float32}
    assert wide == {"A_log", "D"}
    assert {p.dtype for p in nn.Mamba(8, dtype=torch.float64).parameters()} == {torch.float64}


def upstream_mamba(w, u):
    """The layer by its formulas, one token at a time."""
    D, N = w["A_log"].shape
    W, R = w["conv1d.weight"].shape[-1], w["dt_proj.weight"].shape[1]
    x, z = (u @ w["in_proj.weight"].T + w.get("in_proj.bias", 0)).split(D, -1)
    padded = F.pad(x, (0, 0, W - 1, 0))
    state, ys = torch.zeros(u.shape[0], D, N, dtype=u.dtype), []
    for t in range(u.shape[1]):
        taps = w["conv1d.weight"][:, 0].T
        v = F.silu((padded[:, t : t + W] * taps).sum(1) + w.get("conv1d.bias", 0))
        low, B, C = (v @ w["x_proj.weight"].T).split((R, N, N), -1)
        dt = F.softplus(low @ w["dt_proj.weight"].T + w["dt_proj.bias"])
        state = torch.exp(-dt[..., None] * w["A_log"].exp()) * state + (dt * v)[..., None] * B[:, None]
        ys.append(((state * C[:, None]).sum(-1) + w["D"] * v) * F.silu(z[:, t]))
    return torch.stack(ys, 1) @ w["out_proj.weight"].T + w.get("out_proj.bias", 0)


OPTIONS = [{}, {"d_conv": 1, "bias": True}, {"d_conv": 3, "conv_bias": False, "expand": 1, "dt_rank": 3}]


@pytest.mark.parametrize("options", OPTIONS)
def test_mamba_is_upstreams(options):
    layer = nn.Mamba(10, d_state=4, **options).double()
    u = torch.randn(2, 13, 10, dtype=torch.float64)
    same(layer(u), upstream_mamba(layer.state_dict(), u), 1e-11)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cuts", [[0, 12], [0, 5, 12], [0, 1, 2, 12], [0, 0, 11, 12]])
def test_mamba_in_pieces_and_steps(options, cuts):
    layer = nn.Mamba(10, d_state=4, **options).double()
    check_pieces_and_steps(layer, torch.randn(2, 17, 10, dtype=torch.float64), cuts)


def test_mamba_keeps_states_as_upstream_does():
    layers = [nn.Mamba(6, d_state=4, layer_idx=i).double() for i in range(2)]
    u = torch.randn(3, 9, 6, dtype=torch.float64)
    whole = layers[1](layers[0](u))
    kept = SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0, max_seqlen=20, max_batch_size=3)
    with torch.no_grad():
        for _ in range(2):  # the second round begins anew
            kept.seqlen_offset, pieces = 0, []
            for piece in (u[:, :4], u[:, 4:5], u[:, 5:]):
                pieces.append(layers[1](layers[0](piece, inference_params=kept), inference_params=kept))
                kept.seqlen_offset += piece.shape[1]
            same(torch.cat(pieces, 1), whole, 1e-11)
    assert {*kept.key_value_memory_dict} == {0, 1}
    with pytest.raises(ValueError, match="Mamba: inference_params holds states of 3 sequences, but there are 2 here"):
        layers[0](u[:2], inference_params=kept)


def test_a_cache_holds_numbers():
    layer = nn.Mamba(6, d_state=4).double()
    u = torch.randn(2, 8, 6, dtype=torch.float64, requires_grad=True)
    cache = layer.allocate_inference_cache(2)
    y = torch.cat([layer(u[:, :3], cache=cache), layer(u[:, 3:], cache=cache)], 1)
    assert not any(state.requires_grad for state in cache)
    (gradient,) = torch.autograd.grad(y[:, 3:].sum(), u)
    assert bool((gradient[:, :3] == 0).all())
    assert bool((gradient[:, 3:] != 0).all())


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_caches_of_half_precision(half):
    layer = nn.Mamba(8, d_state=4).to(half)
    u = torch.randn(2, 9, 8, dtype=half)
    conv_state, ssm_state = layer.allocate_inference_cache(2)
    assert (conv_state.dtype, ssm_state.dtype) == (half, torch.float32)
    assert {state.dtype for state in layer.allocate_inference_cache(2, dtype=half)} == {half}
    with torch.no_grad():
        whole, pieces = layer(u), [layer(u[:, :4], cache=(conv_state, ssm_state))]
        pieces += [layer.step(u[:, t : t + 1], conv_state, ssm_state)[0] for t in range(4, 9)]
    got = torch.cat(pieces, 1)
    assert got.dtype == half
    assert (got.float() - whole.float()).abs().max() <= 16 * torch.finfo(half).eps * whole.float().abs().max()
