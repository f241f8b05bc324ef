"""Gradients of potentials with respect to positions and charges: forces against the direct sum, derivatives against finite differences."""

import numpy as np
import pytest

import quatrefoil as qf
from cheb.particles import oracle
from cheb.particles.cases import CUBE, LONG_BOX, charges, relative

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def total(X, q, targets, **options):
    V = qf.cheb.potential(X, q, **options)
    return V(targets) + qf.cheb.short_range(X, q, targets, sog=V.sog)


@pytest.mark.parametrize(("n", "domain"), [(33, CUBE), ((33, 65, 16), LONG_BOX), (9, CUBE)])
@pytest.mark.parametrize("tol", [1e-4, 1e-10])
def test_forces(rng, n, domain, tol):
    """Forces are accurate to tol if computed from the energy, in which particles are both charges and targets."""
    X, q = charges(rng, 400, domain)
    x, charge = torch.tensor(X, requires_grad=True), torch.tensor(q, requires_grad=True)
    f = total(x, charge, x, n=n, domain=domain, tol=tol)
    forces, values = torch.autograd.grad((charge * f).sum() / 2, (x, charge))
    expected, slope = oracle.direct(X, q, X)
    assert relative(f.detach().numpy(), expected) <= tol
    assert relative(values.numpy(), expected) <= tol
    assert relative(forces.numpy(), q[:, None] * slope) <= tol


@pytest.mark.parametrize("differentiated", ["X", "q", "targets", "all"])
def test_derivatives_of_both_parts(rng, differentiated):
    """First derivatives with respect to any of the arrays, separately or together, and second derivatives of the long part."""
    X, q = (torch.tensor(a) for a in charges(rng, 6, LONG_BOX))
    targets = torch.tensor(charges(rng, 5, LONG_BOX)[0])
    arrays = {"X": X, "q": q, "targets": targets}
    for name, a in arrays.items():
        a.requires_grad_(differentiated in (name, "all"))
    options = {"n": (7, 8, 6), "domain": LONG_BOX, "tol": 1e-10}
    assert torch.autograd.gradcheck(lambda *a: total(*a, **options), tuple(arrays.values()), atol=1e-5, fast_mode=True)
    if differentiated != "targets":
        long = lambda X, q, targets: qf.cheb.potential(X, q, **options)(targets)  # noqa: E731
        assert torch.autograd.gradgradcheck(long, tuple(arrays.values()), atol=1e-5, fast_mode=True)


def test_func_grad(rng):
    X, q = (torch.tensor(a) for a in charges(rng, 20, CUBE))
    options = {"n": 9, "domain": CUBE, "tol": 1e-6}

    def energy(X, q):
        return (q * total(X, q, X, **options)).sum()

    leaves = [a.clone().requires_grad_() for a in (X, q)]
    expected = torch.autograd.grad(energy(*leaves), leaves)
    for got, e in zip(torch.func.grad(energy, argnums=(0, 1))(X, q), expected):
        torch.testing.assert_close(got, e)
    both = [torch.stack([a, 0.9 * a]) for a in (X, q)]
    for function in (energy, torch.func.grad(energy)):
        torch.testing.assert_close(
            torch.vmap(function)(*both), torch.stack([function(*(a[i] for a in both)) for i in range(2)]), rtol=1e-5, atol=1e-9
        )
    outside = X.clone()
    outside[3, 1] = 1.5
    with pytest.raises(ValueError, match=r"X\[3, 1\] is 1.5"):
        torch.func.grad(energy)(outside, q)


def test_with_and_without_a_gradient(rng):
    """The function is the same to 10 tol with and without a gradient. With one, everything computed from it is differentiable."""
    X, q = (torch.tensor(a) for a in charges(rng, 200, CUBE))
    at = torch.tensor(charges(rng, 50, CUBE)[0])
    options = {"n": (17, 20, 25), "domain": CUBE, "tol": 1e-7}
    plain = qf.cheb.potential(X, q, **options)
    assert not plain.core.requires_grad
    assert isinstance(plain.core, torch.Tensor)
    differentiable = qf.cheb.potential(X.clone().requires_grad_(), q, **options)
    assert differentiable.n == plain.n == differentiable.rank
    assert relative(differentiable(at).detach().numpy(), plain(at).numpy()) <= 1e-6
    x = at[:4, 0].contiguous()
    ours, expected = (
        [V.grid(x, x, x), V.value_and_grad(at)[1], V.diff(1)(at), V.integrate(), (2 * V)(at)] for V in (differentiable, plain)
    )
    for got, e in zip(ours, expected):
        assert got.requires_grad
        assert relative(got.detach().numpy(), np.asarray(e)) <= 1e-5
    with torch.no_grad():
        assert qf.cheb.potential(X.clone().requires_grad_(), q, **options).rank == plain.rank


def test_kinds_do_not_mix(rng):
    X, q = charges(rng, 5, CUBE)
    with pytest.raises(TypeError, match="q is a torch array but X is a numpy array"):
        qf.cheb.potential(X, torch.tensor(q), n=9, domain=CUBE, tol=1e-6)
