"""The lines that the READMEs give to users of state-spaces/s4 and of lindermanlab/S5 run, and mean what they meant there: functions of this
library, the sums behind the large S4 layer in the shapes of its models/s4/s4.py, the scan of S5."""

import sys
import types

import numpy as np
import pytest

import quatrefoil as qf
from case import complex_normal
from quatrefoil import _arrays
from ssm.modes import oracle as modes
from ssm.s4 import oracle
from ssm.switching import lines

H, N, L = 3, 4, 30


def names_of(block):
    names = {}
    exec(lines("README.md", "### Switching from state-spaces/s4", 5)[block], names)
    return names


@pytest.mark.torch
def test_the_layer():
    pytest.importorskip("torch")
    from quatrefoil.torch import nn

    assert names_of(1)["S4D"] is nn.S4D


def test_the_kernels_of_the_large_layer():
    names = names_of(3)
    assert names["log_vandermonde_cuda"] is qf.ssm.log_vandermonde
    assert names["cauchy_mult"] is qf.ssm.cauchy_mult


@pytest.fixture
def large_layer(monkeypatch):
    """Upstream's module as the README's lines leave it."""
    upstream = types.ModuleType("models.s4.s4")
    for name in ("models", "models.s4", "models.s4.s4"):
        monkeypatch.setitem(sys.modules, name, upstream if name == "models.s4.s4" else types.ModuleType(name))
    monkeypatch.setattr(sys.modules["models.s4"], "s4", upstream, raising=False)
    upstream.has_pykeops = upstream.cauchy_naive = upstream.log_vandermonde_naive = upstream.log_vandermonde_transpose_naive = None
    names = names_of(4)
    yield upstream
    names["installed"].undo()
    assert upstream.has_pykeops is upstream.cauchy_naive is None


# Each of upstream's names: the definition, the shapes that the layer gives it (C outputs, H channels, N modes), and a length
SUMS = {
    "cauchy_naive": (oracle.cauchy_mult, [(5, 2, H, N), (7,), (H, N)], ()),
    "log_vandermonde_naive": (modes.log_vandermonde, [(5, H, N), (H, N)], (L,)),
    "log_vandermonde_transpose_naive": (modes.log_vandermonde_transpose, [(2, H, L), (H, N), (H, N)], (L,)),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_the_definition_and_compiles(backend, rng, large_layer, monkeypatch, name):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(_arrays, "_DTYPE_NAMES", {})  # as in a process that has called nothing before
    definition, shapes, length = SUMS[name]
    *others, poles = (torch.from_numpy(complex_normal(rng, shape)) for shape in shapes)
    given = [x.requires_grad_() for x in (*others, torch.complex(-poles.real.abs() - 0.1, poles.imag))]

    def f(*arrays):
        return getattr(large_layer, name)(*arrays, *length)

    torch._dynamo.reset()
    found, compiled = f(*given), torch.compile(f, fullgraph=True, backend="aot_eager")(*given)
    expected = definition(*(x.detach().numpy() for x in given), *length)
    for got in (found, compiled):
        np.testing.assert_allclose(got.detach().numpy(), expected.astype(got.detach().numpy().dtype), rtol=1e-9, atol=1e-9)
    grad = torch.randn_like(found)
    for a, b in zip(*(torch.autograd.grad(y, given, grad) for y in (found, compiled))):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("conj_sym", "bidirectional"), [(True, False), (False, False), (True, True)])
def test_the_line_for_s5_is_upstreams_scan(rng, conj_sym, bidirectional):
    before, after = lines("s5/README.md", "## Switching from lindermanlab/S5", 2)
    with pytest.raises(ModuleNotFoundError):
        exec(before, {})
    P, H, L = 4, 3, 25
    names = {"conj_sym": conj_sym, "bidirectional": bidirectional, "u": rng.standard_normal((L, H))}
    names["Lambda_bar"] = 0.9 * np.exp(1j * rng.uniform(0, 3, P))
    names["B_bar"] = rng.standard_normal((P, H)) + 1j * rng.standard_normal((P, H))
    names["C_tilde"] = rng.standard_normal((H, P * (1 + bidirectional))) + 1j * rng.standard_normal((H, P * (1 + bidirectional)))
    exec(after, names)
    fed = names["u"] @ names["B_bar"].T

    def scan(fed):  # what associative_scan computes there, one step at a time
        x, states = np.zeros(P, complex), []
        for row in fed:
            x = names["Lambda_bar"] * x + row
            states.append(x)
        return np.array(states)

    states = scan(fed)
    if bidirectional:
        states = np.concatenate([states, scan(fed[::-1])[::-1]], axis=-1)
    np.testing.assert_allclose(names["y"], (2 if conj_sym else 1) * (states @ names["C_tilde"].T).real, atol=1e-11)
