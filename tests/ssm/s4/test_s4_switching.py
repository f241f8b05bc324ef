"""The sums behind the large S4 layer, called as models/s4/s4.py of state-spaces/s4 calls them, with the lines of the README."""

import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quatrefoil import _arrays  # noqa: E402
from ssm.s4 import block  # noqa: E402
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


def system(rng, rank):
    dt = torch.tensor(rng.uniform(0.1, 0.4, (H, 1)))
    Lambda = torch.complex(torch.tensor(-rng.uniform(0.5, 1.5, (H, N))), torch.tensor(rng.uniform(-4, 4, (H, N))))
    return dt, Lambda, 0.4 * numbers(rng, rank, H, N), numbers(rng, 1, H, N), numbers(rng, 2, H, N), numbers(rng, 5, H, N)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_block_of_low_rank_with_state(backend, rng, s4, rank):
    dt, Lambda, P, B, C, state = given = [x.requires_grad_() for x in system(rng, rank)]
    K, from_state, step = block.dense(dt, Lambda, P, B, C, L, state)
    found = block.kernels(s4.cauchy_naive, dt, Lambda, P, B, block.cut_off(C, step, L), L, state)
    weights = [numbers(rng, *x.shape, complex=False) for x in (K, from_state)]
    for a, b in zip(found, (K, from_state)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    gradients = [
        torch.autograd.grad(sum((w * x).sum() for w, x in zip(weights, pair)), given, retain_graph=True)
        for pair in (found, (K, from_state))
    ]
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_the_state_after_a_sequence(backend, rng, s4):
    u, state = numbers(rng, 2, H, L, complex=False).requires_grad_(), numbers(rng, 2, H, N)
    dA, dB = (0.9 * torch.exp(1j * torch.tensor(rng.uniform(0, 3, (H, N))))).requires_grad_(), numbers(rng, H, N).requires_grad_()
    found, expected = block.forward_state(s4.log_vandermonde_transpose_naive, dA, dB, u, state), state
    for t in range(L):
        expected = dA * expected + dB * u[..., t, None]
    torch.testing.assert_close(found, expected)
    grad = numbers(rng, *found.shape)
    for a, b in zip(*(torch.autograd.grad(y, (u, dA, dB), grad, retain_graph=True) for y in (found, expected))):
        torch.testing.assert_close(a, b)


def test_a_diagonal_block(backend, rng, s4):
    C, x = numbers(rng, 5, H, N), torch.complex(torch.tensor(-rng.uniform(0, 0.1, (H, N))), torch.tensor(rng.uniform(-1, 1, (H, N))))
    expected = 2 * torch.einsum("chn,hnl->chl", C, torch.exp(x[..., None] * torch.arange(L))).real
    torch.testing.assert_close(s4.log_vandermonde_naive(C, x, L), expected)


def test_a_block_compiles(backend, rng, s4, monkeypatch):
    monkeypatch.setattr(_arrays, "_DTYPE_NAMES", {})  # as in a process that has called nothing before
    dt, Lambda, P, B, C, state = (x.requires_grad_() for x in system(rng, 2))

    def f(dt, Lambda, P, B, C, state):
        return block.kernels(s4.cauchy_naive, dt, Lambda, P, B, C, L, state)

    torch._dynamo.reset()
    given = (dt, Lambda, P, B, C, state)
    pairs = [torch.compile(f, fullgraph=True, backend="aot_eager")(*given), f(*given)]
    for a, b in zip(*pairs):
        torch.testing.assert_close(a, b)
    for a, b in zip(*(torch.autograd.grad(sum(x.square().sum() for x in pair), given) for pair in pairs)):
        torch.testing.assert_close(a, b)


def test_the_same_with_numpy(backend, rng):
    """What is broadcast gets a gradient of its own shape."""
    import quatrefoil as qf

    v, w, z = (numbers(rng, *s).numpy() for s in ((2, 1, H, N), (4, 1, N), (7,)))
    y = qf.ssm.cauchy_mult(v, z, w)
    assert y.shape == (2, 4, H, 7)
    tensors = [torch.tensor(a, requires_grad=True) for a in (v, z, w)]
    qf.ssm.cauchy_mult(*tensors).backward(torch.tensor(y))
    for a, b in zip(qf.ssm.cauchy_mult_vjp(v, z, w, y), tensors):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-12)
