"""The inside of a Mamba-2 block with PyTorch, and the README's lines for those who switch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


import quatrefoil as qf  # noqa: E402
from ssm.switching import check_own, lines  # noqa: E402

pytestmark = pytest.mark.torch


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
    numpy = [t if t is None else t.numpy() for t in plain], tuple(t.numpy() for t in grads)
    for arrays, grad in ((plain, grads), numpy):
        got = qf.ssm.mamba_split_conv1d_scan_combined_vjp(*arrays, grad, chunk_size=16, return_final_states=True)
        for g, e in zip(got, torch.autograd.grad((y, states), wanted, grads, retain_graph=True), strict=True):
            np.testing.assert_allclose(g, e, atol=1e-12)


def test_the_lines_for_those_who_switch():
    before, after = lines("ssd/README.md", "## Switching from mamba-ssm", 2)
    check_own(after, 2)
    with qf.ssm.install("mamba_ssm"):
        check_own(before, 2)
