"""The kernels of a Mamba block with PyTorch: pairs for complex numbers, updates in place; the README's lines for those who switch."""

import pytest

torch = pytest.importorskip("torch")


import quatrefoil as qf  # noqa: E402
from ssm.modes_of_torch import check_every_mode  # noqa: E402
from ssm.switching import check_own, lines  # noqa: E402

pytestmark = pytest.mark.torch


def test_gradients_reach_interleaved_pairs():
    u, delta = torch.randn(2, 3, 8, dtype=torch.float64), torch.rand(2, 3, 8, dtype=torch.float64)
    A = torch.complex(-torch.rand(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64))
    B, C = torch.randn(2, 2, 16, dtype=torch.float64), torch.randn(2, 1, 2, 16, dtype=torch.float64)
    given = tuple(t.requires_grad_() for t in (u, delta, A, B, C))

    def f(*arrays):
        y, last = qf.ssm.selective_scan_fn(*arrays, return_last_state=True)
        return y, torch.view_as_real(last)

    check_every_mode(f, given)
    with torch.no_grad():  # a conjugate view has memory that does not say what its numbers are
        torch.testing.assert_close(f(u, delta, A.conj(), B, C), f(u, delta, A.conj().resolve_conj(), B, C))


def test_interleaved_pairs_may_lie_anywhere():
    u, delta, A, C = torch.randn(2, 3, 5), torch.rand(2, 3, 5), torch.complex(-torch.rand(3, 2), torch.randn(3, 2)), torch.randn(2, 2, 10)

    scan = qf.ssm.selective_scan_fn
    for B in (
        torch.randn(41)[1:].view(2, 2, 10),  # an odd storage offset
        torch.randn(2, 2, 11)[..., 1:],
        torch.randn(2, 10, 2).mT,
        torch.randn(2, 2, 10, dtype=torch.complex64).conj().imag,
    ):
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

    check_every_mode(f, tuple(t.requires_grad_() for t in (x, start, weight)))


def test_final_states_out_is_part_of_the_graph():
    x, weight = (t.requires_grad_() for t in (torch.randn(2, 3, 7), torch.randn(3, 4)))
    room = torch.zeros(2, 3, 3)
    _, states = qf.ssm.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=room)
    assert states is room
    (dx,) = torch.autograd.grad(states.sum(), x)
    assert torch.equal(dx, (torch.arange(7) >= 4).expand(2, 3, 7).float())


def test_the_lines_for_those_who_switch():
    before, after, elsewhere = lines("README.md", "### Switching from mamba-ssm and causal-conv1d", 3)
    check_own(after, 6)
    standing_in = {}
    exec(elsewhere, standing_in)
    try:
        check_own(before, 6)
    finally:
        standing_in["installed"].undo()
