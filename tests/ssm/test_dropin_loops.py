"""Replacements of loops in mambapy, FlowState and MiniMax. The modules of mambapy and FlowState are mocks."""

import importlib
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from ssm.layers import same  # noqa: E402

pytestmark = pytest.mark.torch

PSCAN = """
import torch

def pscan(A, X):
    states = [X[:, 0]]
    for t in range(1, X.shape[1]):
        states.append(A[:, t] * states[-1] + X[:, t])
    return torch.stack(states, 1)
"""
FLOWSTATE = """
import torch
from types import SimpleNamespace

class FlowStateS5Block(torch.nn.Module):
    def __init__(self, P, H, last, gated):
        super().__init__()
        self.last, self.output_gating, self.config = last, gated, SimpleNamespace(min_context=4)
        if gated:
            self.output_gate = torch.nn.Linear(H, H)
        shapes = {"log_Lambda_real": P, "Lambda_imag": P, "log_Delta": P, "D": H}
        shapes |= {"B_tilde_r": (P, H), "B_tilde_i": (P, H), "C_tilde_r": (H, P), "C_tilde_i": (H, P)}
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.randn(shape)))

    def forward(self, u, scale_factor):
        poles = -self.log_Lambda_real.exp() + 1j * self.Lambda_imag
        B, C = self.B_tilde_r + 1j * self.B_tilde_i, self.C_tilde_r + 1j * self.C_tilde_i
        outputs = []
        for item in range(u.shape[1]):
            x = poles * scale_factor[item] * self.log_Delta.exp()
            state, rows = 0 * poles, []
            for t in range(len(u)):
                state = x.exp() * state + ((x.exp() - 1) / poles)[:, None] * B @ u[t, item].to(B.dtype)
                rows.append((C @ state).real)
            outputs.append(torch.stack(rows))
        y = torch.stack(outputs, 1)
        if self.last:
            y, u = y[3:], u[3:]
        if self.output_gating:
            y = torch.sigmoid(self.output_gate(y)) * y
        return y + self.D * u
"""
FILES = {"mambapy/pscan": PSCAN, "mambapy/mamba": "from mambapy.pscan import pscan"}
FILES |= {"tsfm_public/models/flowstate/modeling_flowstate": FLOWSTATE}


@pytest.fixture(autouse=True)
def packages(mock_packages):
    mock_packages(FILES)


@pytest.mark.parametrize("when", ["before", "within"])
def test_mambapy(when):
    if when == "before":
        importlib.import_module("mambapy.mamba")
    A, X = (torch.rand(2, 9, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    with qf.ssm.install("mambapy"):
        module = importlib.import_module("mambapy.mamba")
        used = module.pscan
    own = importlib.import_module("mambapy.pscan").pscan
    assert own is module.pscan is not used
    y, expected = used(A, X), own(A, X)
    same(y, expected)
    weight = torch.randn_like(y)
    same(*(torch.autograd.grad((h * weight).sum(), (A, X)) for h in (y, expected)))


@pytest.mark.parametrize("last", [False, True])
def test_flowstate(last):
    block_class = importlib.import_module("tsfm_public.models.flowstate.modeling_flowstate").FlowStateS5Block
    block, u = block_class(4, 3, last, not last).double(), torch.randn(9, 5, 3).double()
    scales = torch.tensor([1.0, 0.25, 1.0, 2.0, 0.25]).double()

    def result_and_gradients():
        y = block(u, scales)
        return y, *torch.autograd.grad(y.square().sum(), tuple(block.parameters()))

    expected = result_and_gradients()
    with qf.ssm.install("tsfm_public"):
        got = result_and_gradients()
    same(got, expected, 1e-9)
    assert torch.equal(block(u, scales), expected[0])


def test_another_release_keeps_its_own_code():
    module = importlib.import_module("mambapy.mamba")
    del module.pscan
    with pytest.warns(RuntimeWarning, match=r"ssm.install: mambapy.mamba lacks pscan and keeps its own code"):
        qf.ssm.install("mambapy").undo()


def test_lightning_attention_of_a_token_whose_mask_is_that_of_its_past():
    """In transformers 4.57, the mask of a decoding step covers the previous tokens too, which earlier calls have masked already."""
    from quatrefoil.torch.nn._loops import lightning_attention

    states = {}
    cache = SimpleNamespace(get_linear_cache=states.get, set_linear_cache=states.__setitem__)
    linear = [torch.nn.Linear(6, size, bias=False) for size in (18, 6, 6)]
    layer = SimpleNamespace(
        act_fn=torch.tanh, qkv_proj=linear[0], out_proj=linear[1], output_gate=linear[2], norm=torch.nn.Identity(), layer_idx=0,
        num_attention_heads=2, head_dim=3, slope_rate=torch.tensor([0.3, 0.7])[:, None, None],
    )  # fmt: skip
    x, mask = torch.randn(2, 7, 6), torch.ones(2, 7)
    mask[1, :3] = 0
    expected, _ = lightning_attention(layer, x, None, mask)
    got = [lightning_attention(layer, x[:, :6], None, mask[:, :6], past_key_values=cache)[0]]
    got.append(lightning_attention(layer, x[:, 6:], None, mask, past_key_values=cache)[0])
    same(torch.cat(got, 1), expected, 1e-6)
