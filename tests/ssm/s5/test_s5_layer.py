"""quatrefoil.torch.nn.S5: parameter names and values of lindermanlab/S5, states, options."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import check_steps_and_splits, same, shapes  # noqa: E402
from ssm.s5 import oracle  # noqa: E402

pytestmark = pytest.mark.torch


def test_s5_state_dict():
    names = {"Lambda_re": (4,), "Lambda_im": (4,), "B": (4, 6, 2), "D": (6,), "log_step": (4, 1)}
    assert shapes(nn.S5(6, 8)) == {**names, "C": (6, 4, 2)}
    assert shapes(nn.S5(6, 8, bidirectional=True)) == {**names, "C1": (6, 4, 2), "C2": (6, 4, 2)}
    assert shapes(nn.S5(6, 8, bidirectional=True, C_init="complex_normal")) == {**names, "C": (6, 8, 2)}
    assert shapes(nn.S5(6, 4, conj_sym=False)) == {**names, "C": (6, 4, 2)}


@pytest.mark.parametrize("blocks", [1, 2])
def test_s5_begins_as_legs(blocks):
    """Every block has the poles of the normal part of HiPPO-LegS or, with "ptd", of the perturbed HiPPO-LegS."""
    size = 16 // blocks
    A, _ = qf.ssm.hippo_legs(size)
    p = np.sqrt(np.arange(size) + 0.5)
    layer = nn.S5(2, 16, blocks=blocks)
    Lambda = torch.complex(layer.Lambda_re, layer.Lambda_im).detach().numpy()
    expected = np.tile(np.linalg.eigvals(A + np.outer(p, p)), blocks)
    np.testing.assert_allclose(np.sort(np.concatenate([Lambda, Lambda.conj()]).imag), np.sort(expected.imag), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(Lambda.real, -0.5, rtol=1e-6)
    layer = nn.S5(2, 16, blocks=blocks, init="ptd", eps=0.05, conj_sym=False)
    Lambda = torch.complex(layer.Lambda_re, layer.Lambda_im).detach().numpy().reshape(blocks, size)
    assert (Lambda == Lambda[0]).all()
    assert (Lambda.real < 0).all()
    assert abs(Lambda.sum(1) - np.trace(A)).max() < 0.05 * size * np.linalg.norm(A, 2)  # |tr E| <= size ||E||


def test_s5_is_upstreams():
    layer, u = nn.S5(3, 8).double(), torch.randn(2, 25, 3, dtype=torch.float64)
    with torch.no_grad():
        Lambda, B, C = torch.complex(layer.Lambda_re, layer.Lambda_im), *map(torch.view_as_complex, (layer.B, layer.C))
        poles = torch.exp(Lambda * torch.exp(layer.log_step[:, 0]))
        inputs = (1 / Lambda * (poles - 1))[:, None] * B
        same(layer(u), torch.from_numpy(oracle.s5_apply(*(t.numpy() for t in (u, poles, inputs, C, layer.D))).astype(float)))


@pytest.mark.parametrize(
    "options", [{}, {"discretization": "bilinear"}, {"conj_sym": False}, {"init": "ptd", "conj_sym": False}, {"clip_eigs": True}]
)
def test_s5_steps_and_splits(options):
    check_steps_and_splits(nn.S5(3, 8, **options).double(), torch.randn(2, 20, 3, dtype=torch.float64), 1, 7)


def test_s5_both_directions():
    layer = nn.S5(3, 8, bidirectional=True).double()
    one, other = nn.S5(3, 8).double(), nn.S5(3, 8).double()
    for way, C in ((one, "C1"), (other, "C2")):
        way.load_state_dict({**{n: v for n, v in layer.state_dict().items() if n not in ("C1", "C2")}, "C": layer.state_dict()[C]})
    other.D.data.zero_()
    u = torch.randn(2, 20, 3, dtype=torch.float64)
    same(layer(u), one(u) + other(u.flip(1)).flip(1))
    with pytest.raises(ValueError, match="S5: a bidirectional layer has no state"):
        layer(u, layer.default_state(2))


def test_s5_clip_and_rescale():
    layer = nn.S5(2, 4, clip_eigs=True).double()
    layer.Lambda_re.data[0] = 0.5
    assert layer.system()[0].abs().max() < 1
    layer.clip_eigs = False
    assert layer.system()[0].abs().max() > 1
    poles = layer.system()[0]
    layer.step_rescale = 2.0
    same(layer.system()[0], poles**2)
