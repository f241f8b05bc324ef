"""The module, and the example of a real table."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from quatrefoil.cheb import orthopoly  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402

pytestmark = pytest.mark.torch
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "polynomial_chaos.py"


def test_module(rng):
    x = torch.from_numpy(rng.standard_normal((2, 5, 3)))
    layer = nn.PolyLayer(3, 4, 5, basis="chebyshev", squash=True).double()
    y = layer(x)
    assert y.shape == (2, 5, 4)
    basis = orthopoly.classical("chebyshev", 5)
    P = np.stack([basis(np.tanh(x.numpy()).reshape(-1, 3)[:, i]) for i in range(3)], axis=1)
    expected = np.einsum("nik,iko->no", P, layer.weight.detach().numpy()).reshape(2, 5, 4)
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-6)  # a and b were made in float32
    again = nn.PolyLayer(3, 4, 5, squash=True).double()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), y)
    assert "3, 4, degree=5" in repr(layer)


def test_gradients(rng):
    basis = [orthopoly.from_samples(rng.gamma(2.0, size=100), 4) for _ in range(3)]
    layer = nn.PolyLayer(3, 2, 3, basis=basis).double()
    assert layer.a.shape == (3, 4)
    x = torch.from_numpy(rng.uniform(0, 4, (7, 3))).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradcheck(lambda W: qf.cheb.poly_layer(x.detach(), W, layer.a, layer.b), (layer.weight,))


def test_it_learns(rng):
    torch.manual_seed(0)
    X = torch.from_numpy(rng.uniform(-1, 1, (400, 2)))
    y = (X[:, :1] ** 3 - X[:, 1:] ** 2 * 0.5).double()
    layer = nn.PolyLayer(2, 1, 3).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = ((layer(X) - y) ** 2).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert loss() < 1e-8  # a sum of cubics holds it


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((0, 1, 2, {}), ValueError, "in_features is 0"),
        ((2, 1, -1, {}), ValueError, "degree is -1"),
        ((2, 1, 2, {"basis": "jacobi"}), ValueError, "'jacobi'"),
        ((2, 1, 2, {"basis": [1, 2]}), TypeError, "basis is int"),
        ((3, 1, 2, {"basis": [orthopoly.classical("hermite", 2)] * 2}), ValueError, "2 entries, expected 1 or 3"),
        ((3, 1, 2, {"basis": orthopoly.classical("hermite", 1)}), ValueError, "degree 1, expected at least 2"),
    ],
)
def test_bad_modules(arguments, error, match):
    *sizes, options = arguments
    with pytest.raises(error, match=match):
        nn.PolyLayer(*sizes, **options)


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="the sources are not here")
def test_the_table(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    picture = tmp_path / "chaos.png"
    done = subprocess.run([sys.executable, EXAMPLE, "1", picture], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, ridge = map(float, re.search(r"R² of .* ([\d.]+), of ridge regression ([\d.]+)", done.stdout).groups())
    assert ours > ridge - 0.05
    assert picture.stat().st_size > 10_000
