"""quatrefoil.torch.nn.S4D: parameter names and values of state-spaces/s4, states, options."""

import math

import pytest

torch = pytest.importorskip("torch")

from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import check_steps_and_splits, same, shapes  # noqa: E402
from ssm.s4d import oracle  # noqa: E402

pytestmark = pytest.mark.torch

F = torch.nn.functional


def test_s4d_state_dict():
    layer = nn.S4D(6, d_state=8)
    assert shapes(layer) == {
        "D": (6,), "kernel.C": (6, 4, 2), "kernel.log_dt": (6,), "kernel.log_A_real": (6, 4), "kernel.A_imag": (6, 4),
        "output_linear.0.weight": (12, 6, 1), "output_linear.0.bias": (12,),
    }  # fmt: skip
    torch.testing.assert_close(layer.kernel.A_imag, math.pi * torch.arange(4.0).expand(6, 4))
    torch.testing.assert_close(layer.kernel.log_A_real, torch.full((6, 4), math.log(0.5)))
    assert ((layer.kernel.log_dt >= math.log(0.001)) & (layer.kernel.log_dt <= math.log(0.1))).all()
    assert all(p.dtype == torch.float32 for p in layer.parameters())


def test_s4d_in_a_sequence_of_layers():
    layer, u = nn.S4D(6, d_state=8, transposed=False, return_state=False), torch.randn(2, 50, 6)
    assert torch.nn.Sequential(torch.nn.Linear(6, 6), layer, layer)(u).shape == u.shape


def upstream_s4d(state, u):
    """The minimal layer: the oracle, GELU, Conv1d, GLU."""
    dt, C = torch.exp(state["kernel.log_dt"]), torch.view_as_complex(state["kernel.C"])
    A = -torch.exp(state["kernel.log_A_real"]) + 1j * state["kernel.A_imag"]
    u, dt, A, C, D = (x.numpy() for x in (u, dt, A, C, state["D"]))
    y = F.gelu(torch.from_numpy(oracle.s4d_conv(u, dt, A, C, D)[0].astype(float)))
    mixed = torch.einsum("oi,bil->bol", state["output_linear.0.weight"][..., 0], y) + state["output_linear.0.bias"][:, None]
    value, gate = mixed.chunk(2, dim=1)
    return value * torch.sigmoid(gate), torch.from_numpy(oracle.s4d_kernel(dt, A, C, u.shape[-1]).astype(float))


@pytest.mark.parametrize("transposed", [True, False])
def test_s4d_is_upstreams(transposed):
    layer, source = nn.S4D(3, 8, transposed=transposed).double(), nn.S4D(3, 8).double()
    layer.load_state_dict(source.state_dict())
    u = torch.randn(2, 3, 40, dtype=torch.float64)
    y, state = layer(u if transposed else u.mT)
    expected, K = upstream_s4d(source.state_dict(), u)
    same(y if transposed else y.mT, expected)
    same(layer.kernel(40), K)
    s = torch.zeros_like(state)
    for sample in u.unbind(-1):
        _, s = layer.step(sample, s)
    same(state, s)


@pytest.mark.parametrize("options", [{}, {"disc": "bilinear"}, {"is_real": True}, {"init": "legs"}, {"bandlimit": 0.02}])
def test_s4d_steps_and_splits(options):
    check_steps_and_splits(nn.S4D(3, 8, **options).double(), torch.randn(2, 3, 30, dtype=torch.float64), -1, 11)


@pytest.mark.parametrize("transposed", [True, False])
def test_a_state_that_is_handed_on_continues(transposed):
    """The state continues from the first call on, as for torch.nn.LSTM; gradients flow from one call to the next."""
    layer, u = nn.S4D(3, 8, transposed=transposed).double(), torch.randn(2, 30, 3, dtype=torch.float64, requires_grad=True)
    axis = 2 if transposed else 1
    x = u.mT if transposed else u
    state, ys = None, []
    for chunk in x.split(7, axis):
        y, state = layer(chunk, state)
        ys.append(y)
    same(torch.cat(ys, axis), layer(x)[0])
    (got,), (expected,) = (torch.autograd.grad(y.sum(), u) for y in (ys[-1], layer(x)[0].narrow(axis, 28, 2)))
    same(got, expected)
    assert got[:, :7].abs().max() > 0


def test_s4d_both_directions():
    layer = nn.S4D(2, 4, bidirectional=True).double()
    assert layer.kernel.C.shape == (2, 2, 2, 2)
    K = layer.kernel(9)
    u = torch.zeros(1, 2, 9, dtype=torch.float64)
    u[..., 4] = 1
    before = F.pad(K[1, :, :4].flip(-1), (0, 5))
    response = before + F.pad(K[0, :, :5], (4, 0)) + layer.D[:, None] * u
    y, state = layer(u)
    same(y, layer.output_linear(F.gelu(response)))
    assert state is None
    for call in (lambda: layer(u, layer.default_state(1)), lambda: layer.step(u[..., 0], layer.default_state(1))):
        with pytest.raises(ValueError, match="S4D: a bidirectional layer"):
            call()


def test_s4d_rate_and_bandlimit():
    """At twice the sampling rate of a smooth input, rate=.5 gives nearly the same output; bandlimit=1 leaves half of the modes."""
    layer = nn.S4D(2, 4).double()
    fine = torch.sin(torch.arange(400, dtype=torch.float64) / 60).expand(1, 2, 400)
    halved, _ = layer(fine, rate=0.5)
    coarse, _ = layer(fine[..., ::2])
    other, _ = layer(fine)
    assert (halved[..., ::2] - coarse).abs().max() < 0.3 * (other[..., ::2] - coarse).abs().max()
    limited = nn.S4D(2, 8, bandlimit=1.0, dt_min=0.5, dt_max=0.5)  # cycles per sample: .5 pi n / 2 pi = n / 4 < 1/2 for n = 0, 1
    limited.kernel.C.data.fill_(1)
    assert (limited.kernel.system()[2] != 0).tolist() == [[True, True, False, False]] * 2


def test_s4d_frozen_dynamics_and_learning_rates():
    frozen = nn.S4D(2, 4, lr=0)
    assert {n for n, _ in frozen.named_buffers()} == {"kernel.log_dt", "kernel.log_A_real", "kernel.A_imag"}
    assert nn.S4D(2, 4, lr=1e-3).kernel.log_dt._optim == {"weight_decay": 0.0, "lr": 1e-3}
    assert "kernel.A_imag" not in nn.S4D(2, 4, is_real=True).state_dict()
    dropped = nn.S4D(40, 4, dropout=0.5)
    assert dropped.dropout(torch.ones(3, 40, 7)).std(-1).max() == 0  # whole channels
