"""Walk on Spheres and PyTorch: the same kind out, gradients in the boundary data by replay, and no silent loss of one."""

import pytest

import quatrefoil as qf
from wos.ops import walk

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")

SQUARE = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)


def points(rng, n=40):
    return torch.from_numpy(rng.uniform([0.1, 0.1], [1.9, 0.9], (n, 2)))


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
    with pytest.raises(NotImplementedError, match="vertices"):
        qf.wos.Polygon(SQUARE.clone().requires_grad_())
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="several kinds"):
        qf.wos.solve(square, X, dirichlet=[qf.wos.Fourier(theta), 1.0])
    value = qf.wos.solve(square, X, dirichlet=qf.wos.Fourier(theta), rng=1).value
    (first,) = torch.autograd.grad((value**2).sum(), theta, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(first.sum(), theta)
    leaf = X.clone().requires_grad_()
    value = qf.wos.solve(square, leaf, dirichlet=qf.wos.Fourier(theta), rng=1).value
    (first,) = torch.autograd.grad((value**2).sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(first.sum(), leaf)


def test_gradient_in_points(backend, rng):
    """Where there is a gradient it is that; else that of the same walks in pairs, one more at an odd end."""
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
        (got,) = torch.autograd.grad(torch.nansum(weight * result.value), leaf)
        expected = (weight[..., None] * known.grad)[:, 1:].sum(dim=0)
        torch.testing.assert_close(got[1:], expected)
        assert not got[0].any()
        with pytest.warns(RuntimeWarning, match="outside"):
            of_points = qf.wos.solve_vjp(square, X, weight, walks=walks, walk_offset=offset, gradient=gradient, **run)[0]
        torch.testing.assert_close(of_points, got)


def test_gradient_is_differentiable_in_data(backend, rng):
    """For given paths it is linear in the data, as the value is."""
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


@pytest.mark.parametrize("name", ["amplitude", "center", "width"])
def test_gradients_of_bells(backend, rng, name):
    """As data and as a source, against differences of the same walks: their paths do not depend on data. epsilon makes them float64."""
    X, weight, seed = points(rng, 6), torch.from_numpy(rng.standard_normal((2, 6))), 3
    bells = {
        "amplitude": torch.from_numpy(rng.standard_normal((2, 3))),
        "center": torch.from_numpy(rng.uniform(0, 1, (3, 2))),
        "width": torch.from_numpy(rng.uniform(0.5, 2, 3)),
    }

    def energy(p):
        data = qf.wos.Gaussians(**{**bells, name: p})
        value = qf.wos.solve(qf.wos.Polygon(SQUARE), X, dirichlet=data, source=data, walks=8, rng=seed, epsilon=1e-6).value
        return (weight * value).sum()

    p, direction = bells[name], torch.from_numpy(rng.standard_normal(bells[name].shape))
    leaf = p.clone().requires_grad_()
    (got,) = torch.autograd.grad(energy(leaf), leaf)
    single, double = ((energy(p + h * direction) - energy(p - h * direction)) / (2 * h) for h in (1e-4, 2e-4))
    torch.testing.assert_close((got * direction).sum(), single + (single - double) / 3, rtol=1e-6, atol=1e-7)


def ball():
    start = torch.tensor([[[0.1, 0.2], [0.3, -0.4]]], dtype=torch.float64)
    frame = torch.tensor([[0.0, 0.0, 1.0, 1e-2]], dtype=torch.float64)
    return start, frame, None, None, torch.tensor([[0.7]], dtype=torch.float64)


def test_constants_and_functions_are_refused_where_they_would_be_lost(rng):
    start, *rest = ball()
    with pytest.raises(NotImplementedError, match="start requires grad"):
        walk(start.clone().requires_grad_(), *rest, walks=2)
    with pytest.raises(NotImplementedError, match="start requires grad"):
        torch.func.grad(lambda s: walk(s, *rest, walks=2)[0].sum())(start)
    torch._dynamo.reset()
    leaf = start.clone().requires_grad_()
    with pytest.raises(Exception, match="start requires grad"):
        torch.compile(lambda s: walk(s, *rest, walks=2)[0].sum(), backend="aot_eager", fullgraph=True)(leaf).backward()
    number = rest[-1]
    options = {"walks": 2, "source_kind": "function", "f": lambda instance, Y: Y[:, 0]}
    assert walk(start, *rest, **options)[0].shape == (1, 2, 1, 1)
    with pytest.raises(TypeError, match="f is a function"):
        torch.func.grad(lambda c: walk(start, *rest[:-1], c, **options)[0].sum())(number)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="f is a function"):
        torch.compile(lambda c: walk(start, *rest[:-1], c, **options)[0], backend="aot_eager", fullgraph=True)(number)


def fourier(c):
    return qf.wos.solve(qf.wos.Polygon(SQUARE), SQUARE[:1] + 0.5, dirichlet=qf.wos.Fourier(c), walks=4, rng=0).value.sum()


def of_points(x):
    return qf.wos.solve(qf.wos.Polygon(SQUARE), x, dirichlet=1.0, walks=4, rng=0).value.sum()


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: torch.func.grad(f)(x), lambda f, x: torch.func.vmap(f)(torch.stack([x, x])),
        lambda f, x: torch.func.jvp(f, (x,), (x,)),
    ],
)  # fmt: skip
def test_transforms_are_refused(transform):
    """In words of ours: they say what cannot be, and what to do."""
    cure = "a tensor inside torch.func .*take gradients by backward or torch.autograd.grad"
    with pytest.raises(NotImplementedError, match=f"Fourier: coefficients is {cure}"):
        transform(fourier, torch.ones(3, dtype=torch.float64))
    with pytest.raises(NotImplementedError, match=f"solve: points is {cure}"):
        transform(of_points, SQUARE[:1] + 0.5)
    with pytest.raises(NotImplementedError, match=f"signed_distance: q is {cure}"):
        torch.func.vmap(lambda q: qf.wos.signed_distance(qf.wos.Polygon(SQUARE), q))(SQUARE)


@pytest.mark.filterwarnings("ignore:Dynamo:UserWarning")
def test_compiling_is_refused():
    """torch.compile reports what it traces in words of its own, around ours; with graph breaks it calls solve as it is."""
    for f, x, name in ((fourier, torch.ones(3, dtype=torch.float64), "Fourier"), (of_points, SQUARE[:1] + 0.5, "solve")):
        boundary = qf.wos.Polygon(SQUARE)

        def whole(x, f=f, boundary=boundary):
            if f is fourier:
                return qf.wos.Fourier(x).coefficients
            return qf.wos.solve(boundary, x, dirichlet=1.0, walks=4, rng=0).value

        torch.compiler.reset()
        with pytest.raises(Exception, match=f"{name}: torch.compile cannot trace it.*torch.compiler.disable"):
            torch.compile(whole, fullgraph=True, backend="eager")(x)
    torch.compiler.reset()
    c = torch.ones(3, dtype=torch.float64)
    assert torch.equal(torch.compile(fourier, backend="eager")(c), fourier(c))
