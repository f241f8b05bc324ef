"""Walk on Spheres and PyTorch: tensors in and out, gradients with respect to boundary data by replay, and errors for missing gradients."""

import pytest

import quatrefoil as qf
from quatrefoil.wos.models.run import Run
from wos.ops import walk

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")

SQUARE = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)


def points(rng, n=40):
    return torch.from_numpy(rng.uniform([0.1, 0.1], [1.9, 0.9], (n, 2)))


def test_what_has_no_gradient_raises(rng):
    X, square, theta = points(rng, 5), qf.wos.Polygon(SQUARE), torch.ones(1, dtype=torch.float64, requires_grad=True)
    table, corner = torch.ones(2, 2, dtype=torch.float64, requires_grad=True), torch.zeros(2, requires_grad=True)
    for call, error, text in (
        (lambda: qf.wos.Polygon(SQUARE.clone().requires_grad_()), NotImplementedError, "vertices"),
        (lambda: qf.wos.GridField(table, (corner, torch.ones(2))), NotImplementedError, "box"),
        (lambda: qf.wos.solve(square, X, dirichlet=[qf.wos.Fourier(theta), 1.0]), NotImplementedError, "different kinds"),
        (lambda: qf.wos.solve(square, X, dirichlet=1.0, diffusion=theta), ValueError, "diffusion requires grad"),
        (lambda: qf.wos.solve(square, X.numpy(), dirichlet=qf.wos.Polynomial(table)), TypeError, "from one library"),
    ):
        with pytest.raises(error, match=text):
            call()
    leaf = X.clone().requires_grad_()
    value = qf.wos.solve(square, leaf, dirichlet=qf.wos.Fourier(theta), rng=1).value
    for tensor in (theta, leaf):
        (first,) = torch.autograd.grad((value**2).sum(), tensor, create_graph=True)
        with pytest.raises(NotImplementedError, match="second derivative"):
            torch.autograd.grad(first.sum(), tensor)


def test_gradient_in_points(backend, rng, monkeypatch):
    """The gradient with respect to points equals ``grad`` if that is computed. Otherwise it comes from the same walks in pairs, with one
    more walk if their number is odd."""
    X, weight = points(rng, 7), torch.from_numpy(rng.standard_normal((2, 7)))
    run = {"dirichlet": qf.wos.Fourier(torch.from_numpy(rng.standard_normal((2, 5)))), "source": 1.0, "rng": 5}
    square = qf.wos.Polygon(SQUARE)
    for walks, offset, pairs, gradient in ((8, 0, 8, False), (8, 2, 8, True), (7, 0, 8, False), (7, 3, 8, False)):
        X[0] = torch.tensor([3.0, 3.0])
        leaf = X.clone().requires_grad_()
        with pytest.warns(RuntimeWarning, match="outside"):
            result = qf.wos.solve(square, leaf, walks=walks, walk_offset=offset, gradient=gradient, **run)
        with pytest.warns(RuntimeWarning, match="outside"):
            known = qf.wos.solve(square, X, walks=pairs, walk_offset=offset - offset % 2, gradient=True, **run)
        with monkeypatch.context() as patch:
            if gradient:
                patch.setattr(Run, "slope", None)  # no more walks
            (got,) = torch.autograd.grad(torch.nansum(weight * result.value), leaf)
        expected = (weight[..., None] * known.grad)[:, 1:].sum(dim=0)
        torch.testing.assert_close(got[1:], expected)
        assert not got[0].any()
        with pytest.warns(RuntimeWarning, match="outside"):
            of_points = qf.wos.solve_vjp(square, X, weight, walks=walks, walk_offset=offset, gradient=gradient, **run)[0]
        torch.testing.assert_close(of_points, got)


def test_gradient_is_differentiable_in_data(backend, rng):
    """For given paths the gradient is linear in the data, like the value."""
    X, theta = points(rng, 6), torch.from_numpy(rng.standard_normal(5)).requires_grad_()
    run = {"walks": 6, "gradient": True, "rng": 5, "epsilon": 1e-6, "screening": 2.0}

    def grad(g, f):
        return qf.wos.solve(qf.wos.Polygon(SQUARE), X, dirichlet=g, source=f, **run).grad

    weight = torch.from_numpy(rng.standard_normal((6, 2)))
    for as_source in (False, True):
        on = (lambda t: (0.0, qf.wos.Fourier(t))) if as_source else (lambda t: (qf.wos.Fourier(t), None))
        (got,) = torch.autograd.grad((weight * grad(*on(theta))).sum(), theta)
        columns = [(weight * grad(*on(e))).sum() for e in torch.eye(5, dtype=torch.float64)]
        torch.testing.assert_close(got, torch.stack(columns), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["center", "width"])
def test_gradients_of_bells(backend, rng, name):
    """Gaussians as boundary data and as a source, compared with finite differences of the same walks. The small epsilon selects float64."""
    X, weight = points(rng, 6), torch.from_numpy(rng.standard_normal((2, 6)))
    amplitude, center, width = rng.standard_normal((2, 3)), rng.uniform(0, 1, (3, 2)), rng.uniform(0.5, 2, 3)
    bells = {"amplitude": torch.from_numpy(amplitude), "center": torch.from_numpy(center), "width": torch.from_numpy(width)}

    def energy(p):
        data = qf.wos.Gaussians(**{**bells, name: p})
        value = qf.wos.solve(qf.wos.Polygon(SQUARE), X, dirichlet=data, source=data, walks=8, rng=3, epsilon=1e-6).value
        return (weight * value).sum()

    p, direction = bells[name], torch.from_numpy(rng.standard_normal(bells[name].shape))
    leaf = p.clone().requires_grad_()
    (got,) = torch.autograd.grad(energy(leaf), leaf)
    single, double = ((energy(p + h * direction) - energy(p - h * direction)) / (2 * h) for h in (1e-4, 2e-4))
    torch.testing.assert_close((got * direction).sum(), single + (single - double) / 3, rtol=1e-6, atol=1e-7)


def test_constants_are_rejected_where_their_gradient_would_be_lost():
    start = torch.tensor([[[0.1, 0.2], [0.3, -0.4]]], dtype=torch.float64)
    rest = torch.tensor([[0.0, 0.0, 1.0, 1e-2]], dtype=torch.float64), None, None, torch.tensor([[0.7]], dtype=torch.float64)
    value, leaf = lambda s: walk(s, *rest, walks=2)[0].sum(), start.clone().requires_grad_()
    for call in (lambda: value(leaf), lambda: torch.func.grad(value)(start)):
        with pytest.raises(NotImplementedError, match="not differentiable with respect to start"):
            call()
    torch._dynamo.reset()
    with pytest.raises(Exception, match="not differentiable with respect to start"):
        torch.compile(value, backend="aot_eager", fullgraph=True)(leaf).backward()


PLATE = qf.wos.Polygon(SQUARE)


def of_data(c):
    return qf.wos.solve(PLATE, SQUARE[:1] + 0.5, dirichlet=qf.wos.Fourier(c), walks=4, rng=0).value.sum()


def of_points(x):
    return qf.wos.solve(PLATE, x, dirichlet=1.0, walks=4, rng=0).value.sum()


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_transforms_are_rejected():
    """Transforms raise an error with our message: what is not supported, and what to do instead."""
    fix, c = "a tensor inside torch.func .*compute gradients with backward or torch.autograd.grad", torch.ones(3, dtype=torch.float64)
    for transform in (
        lambda f, x: torch.func.grad(f)(x), lambda f, x: torch.func.vmap(f)(torch.stack([x, x])),
        lambda f, x: torch.func.jvp(f, (x,), (x,)),
    ):  # fmt: skip
        for f, x, name in ((of_data, c, "Fourier: coefficients"), (of_points, SQUARE[:1] + 0.5, "solve: points")):
            with pytest.raises(NotImplementedError, match=f"{name} is {fix}"):
                transform(f, x)
    with pytest.raises(NotImplementedError, match=f"signed_distance: q is {fix}"):
        torch.func.vmap(lambda q: qf.wos.signed_distance(PLATE, q))(SQUARE)


@pytest.mark.filterwarnings("ignore:Dynamo:UserWarning")
def test_compiling_is_rejected():
    """torch.compile wraps our error in its own message. With graph breaks it calls the function normally."""
    c = torch.ones(3, dtype=torch.float64)
    for f, x, name in ((lambda x: qf.wos.Fourier(x).coefficients, c, "Fourier"), (of_points, SQUARE[:1] + 0.5, "solve")):
        torch.compiler.reset()
        with pytest.raises(Exception, match=f"{name}: torch.compile cannot trace it.*torch.compiler.disable"):
            torch.compile(f, fullgraph=True, backend="eager")(x)
    torch.compiler.reset()
    assert torch.equal(torch.compile(lambda x: 2 * qf.wos.Fourier(x).coefficients, backend="eager")(c), 2 * c)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo:UserWarning")
def test_compiling_with_graph_breaks():
    c = torch.ones(3, dtype=torch.float64)
    torch.compiler.reset()
    assert torch.equal(torch.compile(of_data, backend="eager")(c), of_data(c))
