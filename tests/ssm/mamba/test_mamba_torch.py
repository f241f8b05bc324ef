"""A Mamba block in plain PyTorch around the kernels: values, gradients, steps, compilation; and the README's lines for those who switch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

import quatrefoil as qf  # noqa: E402
from ssm.layers import check_block  # noqa: E402
from ssm.switching import lines  # noqa: E402

pytestmark = pytest.mark.torch


class Block(torch.nn.Module):
    """Projections around a short convolution and a selective scan, as in the Mamba paper's figure 3."""

    def __init__(self, width=6, inner=20, states=4, taps=4, rank=2):
        super().__init__()
        self.rank, self.states, self.taps = rank, states, taps
        self.in_proj = torch.nn.Linear(width, 2 * inner, bias=False)
        self.conv_weight = torch.nn.Parameter(0.5 * torch.randn(inner, taps))
        self.conv_bias = torch.nn.Parameter(torch.randn(inner))
        self.x_proj = torch.nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = torch.nn.Linear(rank, inner)
        self.A_log = torch.nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(inner, 1))
        self.D = torch.nn.Parameter(torch.ones(inner))
        self.out_proj = torch.nn.Linear(inner, width, bias=False)

    def mixed(self, x):
        """(B, D, L) -> step sizes before their bias (B, D, L), B and C (B, N, L): views with no contiguous axis of time."""
        dt, B, C = self.x_proj(x.transpose(1, 2)).split([self.rank, self.states, self.states], dim=-1)
        return (dt @ self.dt_proj.weight.T).transpose(1, 2), B.transpose(1, 2), C.transpose(1, 2)

    def forward(self, hidden):
        x, z = self.in_proj(hidden).transpose(1, 2).chunk(2, dim=1)
        x = qf.ssm.causal_conv1d_fn(x, self.conv_weight, self.conv_bias, activation="silu")
        dt, B, C = self.mixed(x)
        y = qf.ssm.selective_scan_fn(x, dt, -self.A_log.exp(), B, C, self.D, z, self.dt_proj.bias, delta_softplus=True)
        return self.out_proj(y.transpose(1, 2))

    def reference(self, hidden):
        x, z = self.in_proj(hidden).transpose(1, 2).chunk(2, dim=1)
        x = F.silu(F.conv1d(F.pad(x, (self.taps - 1, 0)), self.conv_weight[:, None], self.conv_bias, groups=x.shape[1]))
        dt, B, C = self.mixed(x)
        dt = F.softplus(dt + self.dt_proj.bias[:, None])
        state, ys = torch.zeros(*x.shape[:2], self.states, dtype=x.dtype), []
        for t in range(x.shape[2]):
            a = torch.exp(dt[:, :, t, None] * -self.A_log.exp())
            state = a * state + (dt * x)[:, :, t, None] * B[:, None, :, t]
            ys.append((state * C[:, None, :, t]).sum(-1))
        y = (torch.stack(ys, dim=2) + self.D[:, None] * x) * F.silu(z)
        return self.out_proj(y.transpose(1, 2))

    def step(self, hidden, conv_state, state):
        """One token (B, width); both states are updated in place."""
        x, z = self.in_proj(hidden).chunk(2, dim=1)
        x = qf.ssm.causal_conv1d_update(x, conv_state, self.conv_weight, self.conv_bias, "silu")
        dt, B, C = (v[..., 0] for v in self.mixed(x[..., None]))
        dt = F.softplus(dt + self.dt_proj.bias)
        state.copy_(torch.exp(dt[..., None] * -self.A_log.exp()) * state + (dt * x)[..., None] * B[:, None])
        y = ((state * C[:, None]).sum(-1) + self.D * x) * F.silu(z)
        return self.out_proj(y)


@pytest.fixture
def block(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    return Block().double()


@pytest.mark.parametrize("length", [1, 3, 40, 70])
def test_block_gives_the_values_and_gradients_of_a_loop(block, length):
    check_block(block, torch.randn(2, length, 6, dtype=torch.float64, requires_grad=True))


def test_block_steps_to_the_same_outputs(block):
    hidden = torch.randn(2, 12, 6, dtype=torch.float64)
    conv_state, state = torch.zeros(2, 20, 4, dtype=torch.float64), torch.zeros(2, 20, 4, dtype=torch.float64)
    with torch.no_grad():
        steps = [block.step(hidden[:, t], conv_state, state) for t in range(12)]
        torch.testing.assert_close(torch.stack(steps, dim=1), block(hidden), rtol=1e-11, atol=1e-12)


def test_block_learns_compiled_and_not(block):
    torch._dynamo.reset()
    hidden = torch.randn(2, 20, 6, dtype=torch.float64)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    for f in (block, compiled):
        loss = (f(hidden) ** 2).sum()
        gradients = torch.autograd.grad(loss, list(block.parameters()))
        expected = torch.autograd.grad((block.reference(hidden) ** 2).sum(), list(block.parameters()))
        for g, e in zip(gradients, expected, strict=True):
            torch.testing.assert_close(g, e)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_activations_with_float32_parameters(half):
    u, delta, B, C, z = (torch.randn(s).to(half).requires_grad_() for s in ((2, 6, 30), (2, 6, 30), (2, 3, 30), (2, 3, 30), (2, 6, 30)))
    A, D, bias = (-torch.rand(6, 3)).requires_grad_(), torch.randn(6).requires_grad_(), torch.randn(6).requires_grad_()
    given = [u, delta, A, B, C, D, z, bias]
    wide = [t.detach().float().requires_grad_() for t in given]
    y, last = qf.ssm.selective_scan_fn(*given, delta_softplus=True, return_last_state=True)
    expected, expected_last = qf.ssm.selective_scan_fn(*wide, delta_softplus=True, return_last_state=True)
    assert torch.equal(y, expected.to(half))
    assert torch.equal(last, expected_last)
    grad = torch.randn_like(y)
    for g, e, t in zip(torch.autograd.grad(y, given, grad), torch.autograd.grad(expected, wide, grad.float()), given):
        assert torch.equal(g, e.to(t.dtype))
    x = torch.randn(2, 6, 30).to(half)
    weight, state = torch.randn(6, 4), torch.zeros(2, 6, 3, dtype=half)
    whole = qf.ssm.causal_conv1d_fn(x.float(), weight, activation="silu").to(half)
    assert torch.equal(qf.ssm.causal_conv1d_fn(x, weight, activation="silu"), whole)
    steps = [qf.ssm.causal_conv1d_update(x[..., t], state, weight, activation="silu") for t in range(30)]
    torch.testing.assert_close(torch.stack(steps, dim=2), whole)
    assert torch.equal(state, x[..., 27:])


def test_gradients_reach_interleaved_pairs():
    u, delta = torch.randn(2, 3, 8, dtype=torch.float64), torch.rand(2, 3, 8, dtype=torch.float64)
    A = torch.complex(-torch.rand(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64))
    B, C = torch.randn(2, 2, 16, dtype=torch.float64), torch.randn(2, 1, 2, 16, dtype=torch.float64)
    given = tuple(t.requires_grad_() for t in (u, delta, A, B, C))

    def f(*arrays):
        y, last = qf.ssm.selective_scan_fn(*arrays, return_last_state=True)
        return y, torch.view_as_real(last)

    assert torch.autograd.gradcheck(f, given)
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    for g, e in zip(
        torch.autograd.grad(sum(r.square().sum() for r in compiled(*given)), given),
        torch.autograd.grad(sum(r.square().sum() for r in f(*given)), given),
    ):
        torch.testing.assert_close(g, e)
    with torch.no_grad():  # a conjugate view has memory that does not say what its numbers are
        torch.testing.assert_close(f(u, delta, A.conj(), B, C), f(u, delta, A.conj().resolve_conj(), B, C))


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_interleaved_pairs_may_lie_anywhere(kind):
    u, delta, A, C = torch.randn(2, 3, 5), torch.rand(2, 3, 5), torch.complex(-torch.rand(3, 2), torch.randn(3, 2)), torch.randn(2, 2, 10)

    def scan(*arrays):
        if kind == "torch":
            return qf.ssm.selective_scan_fn(*arrays)
        views = [np.lib.stride_tricks.as_strided(a.numpy(), a.shape, [4 * n for n in a.stride()]) for a in arrays[3:]]  # torch's own differ
        return torch.as_tensor(qf.ssm.selective_scan_fn(*[a.numpy() for a in arrays[:3]], *views))

    for B in (
        torch.randn(41)[1:].view(2, 2, 10),  # an odd storage offset
        torch.randn(2, 2, 11)[..., 1:],
        torch.randn(2, 10, 2).mT,
        torch.randn(2, 2, 10, dtype=torch.complex64).conj().imag,
    ):
        B = B if kind == "torch" else B.resolve_neg()
        assert torch.equal(scan(u, delta, A, B, C), scan(u, delta, A, B.clone(memory_format=torch.contiguous_format), C))
    none, no_items = torch.zeros(0), torch.zeros(0, 3, 5)
    for B in (torch.randn(2, 2, 7)[..., :0], torch.randn(2, 2, 7)[..., 1:1], none.reshape(2, 2, 0), none.as_strided((2, 2, 0), (1, 1, 1))):
        assert scan(u[..., :0], delta[..., :0], A, B, B).shape == (2, 3, 0)
    for B in (none.reshape(0, 2, 10), none.as_strided((0, 2, 10), (3, 3, 1)), torch.randn(7, 2, 20)[:0, :, ::2]):
        assert scan(no_items, no_items, A, B, B).shape == (0, 3, 5)


@pytest.mark.parametrize("rows", [[3, 0], [-1, 2], [3, -1], [-1, -1]])
def test_an_update_in_place_has_its_gradient_and_compiles(rows):
    x, weight = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    start, rows, lengths = torch.randn(4, 3, 6, dtype=torch.float64), torch.tensor(rows), torch.tensor([1, 9], dtype=torch.int32)

    def f(x, start, weight):
        state = start.clone()
        y = qf.ssm.causal_conv1d_update(x, state, weight, activation="silu", conv_state_indices=rows, cache_seqlens=lengths)
        return y, qf.ssm.causal_conv1d_update(x, state[:2], weight), state

    given = tuple(t.requires_grad_() for t in (x, start, weight))
    assert torch.autograd.gradcheck(f, given)
    torch._dynamo.reset()
    for got, expected in zip(torch.compile(f, fullgraph=True, backend="aot_eager")(*given), f(*given)):
        torch.testing.assert_close(got, expected)


def test_final_states_out_is_part_of_the_graph():
    x, weight = (t.requires_grad_() for t in (torch.randn(2, 3, 7), torch.randn(3, 4)))
    room = torch.zeros(2, 3, 3)
    _, states = qf.ssm.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=room)
    assert states is room
    (dx,) = torch.autograd.grad(states.sum(), x)
    assert torch.equal(dx, (torch.arange(7) >= 4).expand(2, 3, 7).float())


def test_the_lines_for_those_who_switch():
    before, after, elsewhere = lines("README.md", "### Switching from mamba-ssm and causal-conv1d", 3)
    names = {}
    exec(after, names)
    for name in (
        "selective_scan_fn", "selective_state_update", "mamba_inner_fn", "causal_conv1d_fn", "causal_conv1d_update",
        "causal_conv1d_varlen_states",
    ):  # fmt: skip
        assert names[name] is getattr(qf.ssm, name)
    standing_in = {}
    exec(elsewhere, standing_in)
    unchanged = {}
    try:
        exec(before, unchanged)
    finally:
        standing_in["installed"].undo()
    assert {k: v for k, v in unchanged.items() if k in names and not k.startswith("__")} == {
        k: v for k, v in names.items() if k[:2] != "__"
    }
