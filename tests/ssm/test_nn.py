"""What holds for every layer of quatrefoil.torch.nn: gradients, precision, torch.compile, no sequences, bad options."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from ssm.layers import NOUNS, output_of, same  # noqa: E402

pytestmark = pytest.mark.torch

LAYERS = {name: made for noun in NOUNS for name, made in getattr(noun, "LAYERS", {}).items()}
BAD = [bad for noun in NOUNS for bad in getattr(noun, "BAD", [])]


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_reach_every_parameter(ops, name):
    make, shape = LAYERS[name]
    layer = make().double()
    u = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters())

    def f(u, *parameters):
        return output_of(lambda x: torch.func.functional_call(layer, dict(zip(names, parameters)), (x,)), u).square().sum()

    inputs = (u, *(v.detach().requires_grad_() for v in values))
    gradients = torch.autograd.grad(f(*inputs), inputs)
    for key, gradient in zip(("u", *names), gradients):
        assert gradient.abs().max() > 0, key
    assert torch.autograd.gradcheck(f, inputs, eps=1e-6, atol=1e-4, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_near_float64(ops, name):
    make, shape = LAYERS[name]
    layer = make()
    u = torch.randn(shape)
    single = output_of(layer, u)
    assert single.dtype == torch.float32
    double = output_of(layer.double(), u.double())
    assert (single - double).abs().max() < 1e-4 * double.abs().max()


@pytest.mark.parametrize("name", [name for name in LAYERS if "-" not in name])
def test_compiled_layers(name):
    make, shape = LAYERS[name]
    layer, u = make(), torch.randn(shape)
    compiled = torch.compile(layer, backend="aot_eager")
    got = output_of(compiled, u)
    same(got, output_of(layer, u), 1e-5)
    got.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_no_sequences(name):
    make, (_, *rest) = LAYERS[name]
    assert output_of(make(), torch.zeros(0, *rest)).shape == (0, *rest)


@pytest.mark.parametrize(("make", "error", "text"), BAD)
def test_bad_options(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_importing_quatrefoil_imports_no_torch():
    code = "import sys, quatrefoil; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
