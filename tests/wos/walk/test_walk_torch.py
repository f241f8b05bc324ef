"""Walk on Spheres and PyTorch: the same kind out, gradients in the boundary data by replay, and no silent loss of one."""

import numpy as np
import pytest

import quatrefoil as qf

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")

SQUARE = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)


def points(rng, n=40):
    return torch.from_numpy(rng.uniform([0.1, 0.1], [1.9, 0.9], (n, 2)))


@pytest.mark.parametrize("kind", ["fourier", "vertices"])
def test_gradient_is_that_of_the_same_walks(backend, rng, kind):
    """The value is linear in the parameters for given paths: differences with the same seed are exact."""
    X = points(rng)
    theta = torch.from_numpy(rng.standard_normal(5 if kind == "fourier" else 4)).requires_grad_()

    def value(t, seed=7, walks=32):
        data = qf.wos.Fourier(t, (1.0, 0.5)) if kind == "fourier" else qf.wos.PerVertex(t)
        return qf.wos.solve(qf.wos.Polygon(SQUARE), X, dirichlet=data, walks=walks, rng=seed).value

    weight = torch.from_numpy(rng.standard_normal(len(X)))
    (got,) = torch.autograd.grad(value(theta), theta, weight)
    with torch.no_grad():
        columns = [value(e) for e in torch.eye(len(theta), dtype=torch.float64)]
    expected = torch.stack([(weight * c).sum() for c in columns])
    torch.testing.assert_close(got, expected, rtol=2e-6, atol=2e-6)  # the walk itself is float32


def test_resume_and_merge_keep_the_gradient(rng):
    X, theta = points(rng, 10), torch.from_numpy(rng.standard_normal(4)).requires_grad_()
    run = {"dirichlet": qf.wos.PerVertex(theta), "rng": 3}
    square = qf.wos.Polygon(SQUARE)
    whole = qf.wos.solve(square, X, walks=24, **run)
    apart = qf.wos.solve(square, X, walks=4, **run).merge(qf.wos.solve(square, X, walks=8, walk_offset=16, **run))
    joined = apart.merge(qf.wos.solve(square, X, walks=12, walk_offset=4, **run))
    (expected,) = torch.autograd.grad(whole.value.sum(), theta)
    (got,) = torch.autograd.grad(joined.value.sum(), theta, retain_graph=True)  # the nodes of both runs are in it
    torch.testing.assert_close(got, expected)
    (partial,) = torch.autograd.grad(apart.value.sum(), theta)
    assert abs(float(partial.sum()) - 10) < 1e-5  # the shares of the vertices add up to one a point
    assert not joined.stderr.requires_grad


def test_what_has_no_gradient_raises(rng):
    X = points(rng, 5)
    square = qf.wos.Polygon(SQUARE)
    with pytest.raises(NotImplementedError, match="points"):
        qf.wos.solve(square, X.clone().requires_grad_(), dirichlet=1.0)
    with pytest.raises(NotImplementedError, match="vertices"):
        qf.wos.Polygon(SQUARE.clone().requires_grad_())
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="several kinds"):
        qf.wos.solve(square, X, dirichlet=[qf.wos.Fourier(theta), 1.0])
    value = qf.wos.solve(square, X, dirichlet=qf.wos.Fourier(theta), rng=1).value
    (first,) = torch.autograd.grad((value**2).sum(), theta, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(first.sum(), theta)


def test_same_as_numpy(backend, rng):
    X = points(rng)
    given = qf.wos.solve(qf.wos.Polygon(SQUARE), X, dirichlet=qf.wos.PerVertex(torch.arange(4.0, dtype=torch.float64)), rng=5)
    plain = qf.wos.solve(qf.wos.Polygon(SQUARE.numpy()), X.numpy(), dirichlet=qf.wos.PerVertex(np.arange(4.0)), rng=5)
    assert isinstance(given.value, torch.Tensor)
    np.testing.assert_array_equal(given.value.numpy(), plain.value)
    np.testing.assert_array_equal(given.stderr.numpy(), plain.stderr)
