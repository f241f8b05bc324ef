"""The module, and the example with real data."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quatrefoil.cheb import orthopoly  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402

pytestmark = pytest.mark.torch
HERMITE = orthopoly.classical("hermite", 2)


def test_module(rng):
    x = torch.from_numpy(rng.standard_normal((2, 5, 3)))
    layer = nn.PolyLayer(3, 4, 5, basis="chebyshev", squash=True).double()
    y = layer(x)
    assert y.shape == (2, 5, 4)
    basis = orthopoly.classical("chebyshev", 5)
    P = np.stack([basis(np.tanh(x.numpy()).reshape(-1, 3)[:, i]) for i in range(3)], axis=1)
    expected = np.einsum("nik,iko->no", P, layer.weight.detach().numpy()).reshape(2, 5, 4)
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-6)  # a and b were computed in float32
    again = nn.PolyLayer(3, 4, 5, squash=True).double()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), y)
    assert "3, 4, degree=5" in repr(layer)


def test_one_basis_per_input(rng):
    bases = [orthopoly.from_samples(rng.gamma(2.0, size=100), 4) for _ in range(3)]
    layer = nn.PolyLayer(3, 2, 3, basis=bases).double()
    x = rng.uniform(0, 4, (7, 3))
    expected = sum(basis(z)[:, :4] @ W for basis, z, W in zip(bases, x.T, layer.weight.detach().numpy()))
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-5)  # a, b in float32


def test_products(rng):
    degrees = orthopoly.multi_indices(3, 2)
    layer = nn.PolyLayer(3, 2, 2, basis="hermite", degrees=degrees).double()
    x = rng.standard_normal((4, 5, 3))
    P = orthopoly.classical("hermite", 2)(x.ravel()).reshape(20, 3, 3)
    rows = np.stack([P[:, 0, i] * P[:, 1, j] * P[:, 2, k] for i, j, k in degrees], axis=1)
    expected = rows @ layer.weight.detach().numpy()
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy().reshape(20, 2), expected, rtol=1e-6, atol=1e-6)
    assert "10 products" in repr(layer)
    waves = nn.TrigLayer(3, 2, 2).double()
    flat = x.reshape(20, 3)
    parts = [np.ones((20, 1)), *(2**0.5 * f(j * flat) for j in (1, 2) for f in (np.cos, np.sin))]
    np.testing.assert_allclose(
        waves(torch.from_numpy(flat)).detach().numpy(), np.concatenate(parts, axis=1) @ waves.weight.detach().numpy()
    )
    product = nn.TrigLayer(2, 1, 1, degrees=[[1, 2]]).double()
    product.weight.data[:] = 1
    np.testing.assert_allclose(product(torch.tensor([[0.3, 0.4]]).double()).item(), 2 * np.cos(0.3) * np.sin(0.4))


BAD = [
    (lambda: nn.PolyLayer(0, 1, 2), ValueError, "in_features is 0"),
    (lambda: nn.PolyLayer(2, 1, -1), ValueError, "degree is -1"),
    (lambda: nn.PolyLayer(2, 1, 2, basis="jacobi"), ValueError, "'jacobi'"),
    (lambda: nn.PolyLayer(2, 1, 2, basis=[1, 2]), TypeError, "basis is int"),
    (lambda: nn.PolyLayer(3, 1, 2, basis=[HERMITE] * 2), ValueError, "2 entries, expected 1 or 3"),
    (lambda: nn.PolyLayer(3, 1, 3, basis=HERMITE), ValueError, "degree 2, expected at least 3"),
    (lambda: nn.PolyLayer(3, 1, 2, degrees=[[0, 0, 3]]), ValueError, r"degrees\[:, 2\] ranges from 3 to 3, expected 0 to 2"),
    (lambda: nn.TrigLayer(3, 1, 1, degrees=[[0, 3, 0]]), ValueError, "from 3 to 3, expected 0 to 2"),
]


@pytest.mark.slow
def test_the_table(example, printed):
    pytest.importorskip("sklearn")
    text = printed(example("polynomial_chaos"), 1)
    ours, ridge = map(float, re.search(r"R² of .* ([\d.]+), of ridge regression ([\d.]+)", text).groups())
    assert ours > ridge - 0.05
