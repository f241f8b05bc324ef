"""Properties of every domain with every kind of data: reproducible bits, gradients by replay, tensors."""

import pickle

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import DATA, DOMAINS, LINEAR, arrays_of, instance, moved, of_any_kind, problem
from wos.walk.oracle import same

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


@pytest.mark.parametrize(("dtype", "pairs"), [("float32", False), ("float64", True)])
@pytest.mark.parametrize("name", DOMAINS)
def test_bits(name, dtype, pairs, backend, rng):
    """The bits of a point do not depend on the number of threads, on how walks are split, or on the points after it. A result has its own
    copy of points and data."""
    boundary, X, options = problem(name, rng, dtype)

    def solve(walks=30, first=0, X=X, boundary=boundary, **more):
        return wos.solve(boundary, X, **{**options, "gradient": pairs, "walks": walks, "walk_offset": first, **more})

    whole = solve()
    assert whole.value.dtype == whole.stderr.dtype == dtype
    same(whole, solve(num_threads=3))
    same(whole, pickle.loads(pickle.dumps(solve(14))).resume(16))
    parts = solve(18), solve(6, 18, boundary=pickle.loads(pickle.dumps(boundary))), solve(6, 24)
    merged = parts[2].merge(parts[0]).merge(parts[1])
    same(whole, merged)
    np.testing.assert_array_equal(whole.state.sizes, merged.state.sizes)
    np.testing.assert_array_equal(solve(X=X[..., :2, :]).value, whole.value[..., :2])
    arrays = [X]
    moved(lambda a: arrays.append(a) or a, options)
    part = solve(14)
    for a in arrays:
        a[...] = 0.25
    same(whole, part.resume(16))
    same(whole, pickle.loads(pickle.dumps(part)).resume(16))


SHARED = [name for name in DOMAINS if name.startswith("shared walks")]
MANY = ["numbers", "fourier", "lists", "functions", "polygons", "walls of many", "media of many", *SHARED]


@pytest.mark.parametrize("name", MANY)
def test_the_first_instance_has_the_bits_of_it_alone(name, backend, rng):
    """The random words, the boundary and the bounds of a medium of the first instance do not depend on the number of instances."""
    boundary, X, options = problem(name, rng)
    of_one = {k: instance(x, 0, X.shape[-1]) for k, x in options.items() if k in (*DATA, "diffusion", "screening")}
    first = wos.Polygon(boundary.vertices[0]) if boundary._batch else boundary
    whole = wos.solve(boundary, X, **options)
    alone = wos.solve(first, X[0] if X.ndim == 3 else X, **{**options, **of_one, "shared_walks": False})
    same(whole, alone, rows=0)
    assert len(whole.value) > 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", LINEAR)
def test_gradients(name, pairs, dtype, backend, rng):
    """value is linear in the parameters p of the data: <grad, value> = <gradient, p>. The gradient in points comes from the same pairs."""
    boundary, X, options = problem(name, rng, dtype)
    options |= {"gradient": pairs, "walks": 8} | ({"epsilon": 1e-6} if dtype == "float64" else {})
    value = wos.solve(boundary, X, **options).value
    grad = rng.standard_normal(value.shape).astype(dtype)
    points, *gradients = wos.solve_vjp(boundary, X, grad, **options)
    total = size = 0.0
    for data, parts in zip([options[k] for k in DATA if k in options], [g for k, g in zip(DATA, gradients) if k in options], strict=True):
        data = data[-1] if isinstance(data, tuple) else data
        for parameter, gradient in parts.items():
            numbers = data if parameter == "value" else getattr(data, parameter)
            for p, g in zip(arrays_of(numbers), arrays_of(gradient), strict=True):
                assert (g.shape, g.dtype) == (p.shape, dtype)
                if parameter not in ("center", "width"):
                    total, size = total + (g.astype(float) * p).sum(), size + np.abs(g * p).sum()
    assert abs(total - (grad.astype(float) * value).sum()) <= 100 * EPS[dtype] * (size + np.abs(grad * value).sum())
    slopes = wos.solve(boundary, X, **{**options, "gradient": True}).grad
    expected = (grad[..., None] * slopes).reshape(-1, *X.shape[-2:]).sum(axis=0) if X.ndim == 2 else grad[..., None] * slopes
    np.testing.assert_allclose(points, expected, rtol=1e3 * EPS[dtype], atol=1e2 * EPS[dtype] * np.abs(expected).max())
    assert wos.solve_vjp(boundary, X, grad, points_gradient=False, **options)[0] is None


@pytest.mark.torch
@pytest.mark.parametrize("name", DOMAINS)
def test_tensors(name, backend, rng):
    """Tensors give the same bits, and autograd gives the gradients of solve_vjp, including after resume."""
    torch = pytest.importorskip("torch")
    boundary, X, options = problem(name, rng)
    leaves = []

    def leaf(a):
        leaf_tensor = torch.tensor(a)
        if leaf_tensor.is_floating_point():
            leaves.append(leaf_tensor.requires_grad_())
        return leaf_tensor

    rest = {k: options.pop(k) for k in list(options) if k not in DATA}  # may include a medium, which has no gradient
    there = {**moved(leaf, {k: options[k] for k in DATA if k in options}), **moved(torch.tensor, rest)}
    points = torch.tensor(X, requires_grad=True)
    r, expected = wos.solve(of_any_kind(boundary), points, **there), wos.solve(boundary, X, **options, **rest)
    for field in ("value", "stderr", "n_walks", "mean_steps", "n_truncated", "n_escaped"):
        tensor = getattr(r, field)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(tensor.detach().numpy(), getattr(expected, field), err_msg=field)
    grad = rng.standard_normal(expected.value.shape)
    pulled = torch.autograd.grad((r.value * torch.tensor(grad)).sum(), [points, *leaves], retain_graph=True, allow_unused=True)
    if not any(isinstance(options.get(k), list) for k in DATA):
        by_hand = arrays_of(wos.solve_vjp(boundary, X, grad, **options, **rest))
        for g, e in zip(pulled, by_hand, strict=True):
            np.testing.assert_allclose(g.numpy(), e, rtol=1e-12, atol=1e-13 * np.abs(by_hand[0]).max())
    more, whole = r.resume(4), wos.solve(boundary, points, **{**there, "walks": 8})
    for one, other in zip(*(torch.autograd.grad(x.value.sum(), [points, *leaves], allow_unused=True) for x in (more, whole))):
        if one is not None:  # data are in single precision, and their gradient is summed walk by walk
            torch.testing.assert_close(one, other, rtol=2 * EPS["float32"], atol=2 * EPS["float32"] * float(other.abs().max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in DOMAINS if not name.startswith(("outside", "robin", "no end", "medi", "shared"))])
def test_a_constant_is_exact(name, dtype, backend, rng):
    """A constant given as a number, a function or values at vertices is exact for any walks."""
    boundary, X, options = problem(name, rng, dtype)
    walls = {"neumann": (options["neumann"][0], 0.0)} if "neumann" in options else {}
    for c in (0.1, -3.7e5):
        constants = [c, lambda Y, c=c: np.full(len(Y), c), wos.Polynomial(np.full((1,) * X.shape[-1], c, dtype))]
        if isinstance(options["dirichlet"], wos.PerVertex) and name != "polygons" and "many" not in name:
            constants.append(wos.PerVertex(np.full_like(options["dirichlet"].values, c)))
        for g in constants:
            r = wos.solve(boundary, X, dirichlet=g, walks=7, rng=1, **walls)
            np.testing.assert_array_equal(r.value, dtype(c))
            np.testing.assert_array_equal(r.stderr, 0)
            assert r.value.dtype == r.mean_steps.dtype == dtype
