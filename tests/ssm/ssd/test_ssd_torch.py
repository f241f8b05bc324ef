"""A Mamba-2 block in PyTorch around the kernels: values and gradients of a loop, compilation, half precision."""

import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

import quatrefoil as qf  # noqa: E402
from ssm.layers import check_block  # noqa: E402
from ssm.switching import lines  # noqa: E402

pytestmark = pytest.mark.torch


class Block(torch.nn.Module):
    """Projection, convolution, scan, gated norm, projection, as in the Mamba-2 paper's figure 6."""

    def __init__(self, width=6, H=4, P=5, N=3, G=2, taps=4):
        super().__init__()
        self.H, self.P, self.N, self.G = H, P, N, G
        mixed = H * P + 2 * G * N
        self.in_proj = torch.nn.Linear(width, H * P + mixed + H, bias=False)
        self.conv_weight = torch.nn.Parameter(0.5 * torch.randn(mixed, taps))
        self.conv_bias, self.dt_bias = torch.nn.Parameter(torch.randn(mixed)), torch.nn.Parameter(torch.randn(H))
        self.A_log, self.D = torch.nn.Parameter(torch.log(torch.arange(1.0, H + 1))), torch.nn.Parameter(torch.ones(H))
        self.norm, self.out_proj = torch.nn.Parameter(torch.rand(H * P) + 0.5), torch.nn.Linear(H * P, width, bias=False)

    def forward(self, hidden):
        return qf.ssm.mamba_split_conv1d_scan_combined(
            self.in_proj(hidden), self.conv_weight, self.conv_bias, self.dt_bias, -self.A_log.exp(), self.D, 16, rmsnorm_weight=self.norm,
            rmsnorm_eps=1e-5, outproj_weight=self.out_proj.weight, headdim=self.P, ngroups=self.G, norm_before_gate=False,
        )  # fmt: skip

    def reference(self, hidden):
        H, P, N, G = self.H, self.P, self.N, self.G
        z, mixed, dt = self.in_proj(hidden).split([H * P, H * P + 2 * G * N, H], dim=-1)
        taps = self.conv_weight.shape[1]
        mixed = F.silu(F.conv1d(F.pad(mixed.mT, (taps - 1, 0)), self.conv_weight[:, None], self.conv_bias, groups=mixed.shape[2])).mT
        x, B, C = mixed.split([H * P, G * N, G * N], dim=-1)
        x, dt = x.unflatten(-1, (H, P)), F.softplus(dt + self.dt_bias)
        B, C = (m.unflatten(-1, (G, N)).repeat_interleave(H // G, dim=2) for m in (B, C))
        state, ys = torch.zeros(len(x), H, P, N, dtype=x.dtype), []
        for t in range(x.shape[1]):
            decay = torch.exp(dt[:, t] * -self.A_log.exp())[..., None, None]
            state = decay * state + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
            ys.append((state * C[:, t, :, None]).sum(-1) + self.D[:, None] * x[:, t])
        y = (torch.stack(ys, dim=1).flatten(2) * F.silu(z)).unflatten(-1, (G, -1))
        y = F.rms_norm(y, y.shape[-1:], eps=1e-5).flatten(2) * self.norm
        return self.out_proj(y)


@pytest.fixture
def block(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    return Block().double()


@pytest.mark.parametrize("length", [1, 3, 40, 70])
def test_block_gives_the_values_and_gradients_of_a_loop(block, length):
    check_block(block, torch.randn(2, length, 6, dtype=torch.float64, requires_grad=True))


def test_block_compiles(block):
    torch._dynamo.reset()
    hidden = torch.randn(2, 20, 6, dtype=torch.float64)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    parameters = list(block.parameters())
    for g, e in zip(*(torch.autograd.grad((f(hidden) ** 2).sum(), parameters) for f in (compiled, block)), strict=True):
        torch.testing.assert_close(g, e)


def arrays(half=None):
    """x, dt, A, B, C, D, z, dt_bias, the initial states; activations in half precision, parameters not."""
    shapes = (2, 30, 4, 5), (2, 30, 4), (4,), (2, 30, 2, 3), (2, 30, 2, 3), (4,), (2, 30, 4, 5), (4,), (2, 4, 5, 3)
    given = [torch.randn(s) for s in shapes]
    given[2] = -given[2].exp()
    return [t.to(half) if half and i in (0, 1, 3, 4, 6) else t for i, t in enumerate(given)]


def scan(x, dt, A, B, C, *more, **options):
    return qf.ssm.mamba_chunk_scan_combined(x, dt, A, B, C, 16, *more, dt_softplus=True, **options)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_activations_with_float32_parameters(half):
    given = [t.requires_grad_() for t in arrays(half)]
    wide = [t.detach().float().requires_grad_() for t in given]
    y, states = scan(*given, return_final_states=True)
    expected, last = scan(*wide, return_final_states=True)
    assert torch.equal(y, expected.to(half))
    assert torch.equal(states, last)
    grad = torch.randn_like(y)
    for g, e, t in zip(torch.autograd.grad(y, given, grad), torch.autograd.grad(expected, wide, grad.float()), given):
        assert torch.equal(g, e.to(t.dtype))


def test_gradients_flow_through_all_states():
    given = [t.double().requires_grad_() for t in arrays()]
    assert torch.autograd.gradcheck(
        lambda *a: scan(*a, return_final_states=True), [t[:, :6] if t.ndim > 2 and t.shape[1] == 30 else t for t in given]
    )
    one = [t[:1, :12] if t.ndim > 2 and t.shape[1] == 30 else t[:1] if t.ndim == 4 else t for t in given]
    cuts = torch.tensor([0, 5, 5, 12], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda *a: scan(*a, None, cuts, return_varlen_states=True), one)


def test_the_vjp_is_what_autograd_gives():
    H, P, N = 4, 5, 3
    given = [torch.randn(2, 9, 2 * H * P + 2 * N + H), torch.randn(H * P + 2 * N, 4), torch.randn(H * P + 2 * N), torch.randn(H)]
    given += [-torch.rand(H), torch.randn(H, P), torch.randn(2, H, P, N), None, torch.randn(H * P), torch.randn(7, H * P), torch.randn(7)]
    given = [t if t is None else t.double().requires_grad_() for t in given]
    named = dict(zip(("initial_states", "seq_idx", "rmsnorm_weight", "outproj_weight", "outproj_bias"), given[6:]))
    y, states = qf.ssm.mamba_split_conv1d_scan_combined(*given[:6], 16, **named, return_final_states=True)
    grads = torch.randn_like(y), torch.randn_like(states)
    wanted = [t for t in given if t is not None]
    plain = [t if t is None else t.detach() for t in given]
    got = qf.ssm.mamba_split_conv1d_scan_combined_vjp(*plain, grads, chunk_size=16, return_final_states=True)
    for g, e in zip(got, torch.autograd.grad((y, states), wanted, grads), strict=True):
        torch.testing.assert_close(g, e)
    numpy = [t if t is None else t.numpy() for t in plain]
    for g, e in zip(
        qf.ssm.mamba_split_conv1d_scan_combined_vjp(*numpy, tuple(t.numpy() for t in grads), chunk_size=16, return_final_states=True), got
    ):
        np.testing.assert_allclose(g, e.numpy(), atol=1e-12)


def test_the_lines_for_those_who_switch(monkeypatch):
    before, after = lines("ssd/README.md", "## Switching from mamba-ssm", 2)
    names, unchanged = {}, {}
    exec(after, names)
    package = "mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", "mamba_ssm.ops.triton.ssd_combined"
    for module in package:
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    vars(sys.modules[package[-1]]).update(names)
    exec(before, unchanged)
    found = {name: f for name, f in unchanged.items() if name[:2] != "__"}
    assert found == {name: getattr(qf.ssm, name) for name in found}
    assert len(found) == 2
