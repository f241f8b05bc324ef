"""The lines that csrc/ssm/README.md gives to users of state-spaces/s4 run, and mean what they meant there."""

import numpy as np
import pytest

from ssm.switching import lines


def blocks():
    return lines("README.md", "### Switching from state-spaces/s4", 5)


@pytest.mark.torch
def test_the_layer_takes_upstreams_state_dict():
    torch = pytest.importorskip("torch")
    names = {}
    exec(blocks()[1], names)
    layer = names["S4D"](4, d_state=6)
    state = {
        "D": torch.randn(4), "kernel.C": torch.randn(4, 3, 2), "kernel.log_dt": torch.full((4,), -3.0),
        "kernel.log_A_real": torch.zeros(4, 3), "kernel.A_imag": torch.rand(4, 3),
        "output_linear.0.weight": torch.randn(8, 4, 1), "output_linear.0.bias": torch.randn(8),
    }  # fmt: skip
    layer.load_state_dict(state)
    layer.eval()
    u = torch.randn(2, 4, 50)
    y, _ = layer(u)
    dt, A = torch.exp(state["kernel.log_dt"]), -torch.exp(state["kernel.log_A_real"]) + 1j * state["kernel.A_imag"]
    C = torch.view_as_complex(state["kernel.C"])
    x = dt[:, None] * A  # the minimal S4D, as it is published
    K = 2 * torch.einsum("hn,hnl->hl", C * (torch.exp(x) - 1) / A, torch.exp(x[..., None] * torch.arange(50))).real
    v = torch.fft.irfft(torch.fft.rfft(u, 100) * torch.fft.rfft(K, 100), 100)[..., :50] + state["D"][:, None] * u
    v = torch.nn.functional.gelu(v)
    v = torch.nn.functional.conv1d(v, state["output_linear.0.weight"], state["output_linear.0.bias"])
    torch.testing.assert_close(y, torch.nn.functional.glu(v, dim=-2), atol=2e-5, rtol=2e-5)


def test_the_kernels_of_the_large_layer(rng):
    names = {}
    exec(blocks()[3], names)
    v, x, w = (rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3)) for _ in range(3))
    x.real = -np.abs(x.real)
    l, z = np.arange(20), np.exp(2j * np.pi * np.arange(7) / 7) * 3
    powers = np.exp(x[..., None] * l)
    np.testing.assert_allclose(names["log_vandermonde_cuda"](v, x, 20), 2 * (v[..., None] * powers).sum(1).real, atol=1e-12)
    near, far = z - w[..., None], z - w.conj()[..., None]
    np.testing.assert_allclose(names["cauchy_mult"](v, z, w), (v[..., None] / near + v.conj()[..., None] / far).sum(1), atol=1e-11)
