"""quatrefoil.torch.nn.Mamba: mamba-ssm's parameter names, initial values and numbers; its caches."""

import math

import pytest

torch = pytest.importorskip("torch")

from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import check_pieces_and_steps, same, shapes  # noqa: E402
from ssm.selective.test_state_update_torch import inner_reference  # noqa: E402

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
    """The first projection, and the block's inside by its formulas."""
    names = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "out_proj.weight", "out_proj.bias")
    xz = (u @ w["in_proj.weight"].T + w.get("in_proj.bias", 0)).mT
    return inner_reference(xz, *map(w.get, names), -w["A_log"].exp(), D=w["D"], delta_bias=w["dt_proj.bias"])


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
