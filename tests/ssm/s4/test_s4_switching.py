"""The sums behind the large S4 layer, in the shapes of models/s4/s4.py of state-spaces/s4, with the lines of the README."""

import sys
import types

import pytest

torch = pytest.importorskip("torch")

from quatrefoil import _arrays  # noqa: E402
from ssm.switching import lines  # noqa: E402

pytestmark = pytest.mark.torch
H, N, L = 3, 4, 30


@pytest.fixture
def s4(monkeypatch):
    """Upstream's module as the README's lines leave it."""
    upstream = types.ModuleType("models.s4.s4")
    for name in ("models", "models.s4", "models.s4.s4"):
        monkeypatch.setitem(sys.modules, name, upstream if name == "models.s4.s4" else types.ModuleType(name))
    monkeypatch.setattr(sys.modules["models.s4"], "s4", upstream, raising=False)
    upstream.has_pykeops = upstream.cauchy_naive = upstream.log_vandermonde_naive = upstream.log_vandermonde_transpose_naive = None
    names = {}
    exec(lines("README.md", "### Switching from state-spaces/s4", 5)[4], names)
    yield upstream
    names["installed"].undo()
    assert upstream.has_pykeops is upstream.cauchy_naive is None


def numbers(rng, *shape, complex=True):
    x = torch.tensor(rng.standard_normal(shape))
    return torch.complex(x, torch.tensor(rng.standard_normal(shape))) if complex else x


def sums():
    """Each of upstream's names, the shapes that the layer gives it (C outputs, H channels, N modes), and the definition."""

    def cauchy(v, z, w):
        return (v[..., None] / (z - w[..., None]) + v.conj()[..., None] / (z - w.conj()[..., None])).sum(-2)

    def vandermonde(v, x):
        return 2 * (v[..., None] * torch.exp(x[..., None] * torch.arange(L))).sum(-2).real

    def transpose(u, v, x):
        return v * (u[..., None, :] * torch.exp(x[..., None] * torch.arange(L))).sum(-1)

    return {
        "cauchy_naive": (cauchy, [(5, 2, H, N), (7,), (H, N)], ()),
        "log_vandermonde_naive": (vandermonde, [(5, H, N), (H, N)], (L,)),
        "log_vandermonde_transpose_naive": (transpose, [(2, H, L), (H, N), (H, N)], (L,)),
    }


@pytest.mark.parametrize("name", sums())
def test_a_sum_is_the_definition_and_compiles(backend, rng, s4, monkeypatch, name):
    monkeypatch.setattr(_arrays, "_DTYPE_NAMES", {})  # as in a process that has called nothing before
    definition, shapes, length = sums()[name]
    *others, poles = (numbers(rng, *shape) for shape in shapes)
    given = [*others, torch.complex(-poles.real.abs() - 0.1, poles.imag)]
    given = [x.requires_grad_() for x in given]

    def f(*arrays):
        return getattr(s4, name)(*arrays, *length)

    torch._dynamo.reset()
    found, compiled, expected = f(*given), torch.compile(f, fullgraph=True, backend="aot_eager")(*given), definition(*given)
    grad = numbers(rng, *expected.shape, complex=expected.is_complex())
    for got in (found, compiled):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        for a, b in zip(*(torch.autograd.grad(y, given, grad, retain_graph=True) for y in (got, expected))):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
