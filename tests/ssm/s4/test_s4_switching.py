"""The sums behind the large S4 layer, in the shapes of models/s4/s4.py of state-spaces/s4, with the lines of the README."""

import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from case import complex_normal  # noqa: E402
from quatrefoil import _arrays  # noqa: E402
from ssm.modes import oracle as modes  # noqa: E402
from ssm.s4 import oracle  # noqa: E402
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


# Each of upstream's names: the definition, the shapes that the layer gives it (C outputs, H channels, N modes), and a length
SUMS = {
    "cauchy_naive": (oracle.cauchy_mult, [(5, 2, H, N), (7,), (H, N)], ()),
    "log_vandermonde_naive": (modes.log_vandermonde, [(5, H, N), (H, N)], (L,)),
    "log_vandermonde_transpose_naive": (modes.log_vandermonde_transpose, [(2, H, L), (H, N), (H, N)], (L,)),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_the_definition_and_compiles(backend, rng, s4, monkeypatch, name):
    monkeypatch.setattr(_arrays, "_DTYPE_NAMES", {})  # as in a process that has called nothing before
    definition, shapes, length = SUMS[name]
    *others, poles = (torch.from_numpy(complex_normal(rng, shape)) for shape in shapes)
    given = [x.requires_grad_() for x in (*others, torch.complex(-poles.real.abs() - 0.1, poles.imag))]

    def f(*arrays):
        return getattr(s4, name)(*arrays, *length)

    torch._dynamo.reset()
    found, compiled = f(*given), torch.compile(f, fullgraph=True, backend="aot_eager")(*given)
    expected = definition(*(x.detach().numpy() for x in given), *length)
    for got in (found, compiled):
        np.testing.assert_allclose(got.detach().numpy(), expected.astype(got.detach().numpy().dtype), rtol=1e-9, atol=1e-9)
    grad = torch.randn_like(found)
    for a, b in zip(*(torch.autograd.grad(y, given, grad) for y in (found, compiled))):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
