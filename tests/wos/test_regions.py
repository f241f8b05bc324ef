"""Problems whose diffusion jumps between polygons or meshes."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from case import first_backend_or_slow
from checks import check_rejected
from quatrefoil import wos
from wos.domains import SQUARE, field, flux
from wos.query.oracle import cube
from wos.walk.oracle import check, circle, same, seed, slope

OUTER, CORE = (wos.Polygon(r * (2 * SQUARE - 1)) for r in (1.0, 0.5))
CUBE, INNER = (wos.TriangleMesh(r * (2 * cube()[0] - 1), cube()[1]) for r in (1.0, 0.5))
FEW = wos.Polygon(0.8 * np.array([[-1, -0.9], [0.9, -1], [1, 1], [-0.8, 0.9]]))


def level(X):
    """A function that is 0 on the sides of the core."""
    return (X**2 - 0.25).prod(axis=-1) * (1 + X[..., 0] + 0.5 * X[..., 1])


def laplacian(X, h=1e-3):
    return sum(level(X + e) + level(X - e) - 2 * level(X) for e in h * np.eye(X.shape[1])) / h**2


def core_problem(alphas, domain=OUTER, core=CORE, screening=0.0, walls=None, mu=None):
    """u = level / α + 1: continuous, with the flux of ``level`` on both sides, and -Δ level + σu as the source."""
    (outside, inside), sigma = alphas, screening if callable(screening) else lambda X: screening

    def u(X):
        return 1 + level(X) / np.where(wos.contains(core, X), inside, outside)

    data = {"dirichlet": lambda Y: 1 + level(Y) / outside, "source": lambda Y: sigma(Y) * u(Y) - laplacian(Y)}
    if walls is not None:  # two of the sides: one with ``mu``, if it is not None
        h = [flux(domain, lambda Y: slope(u, Y), m, u) for m in (0.0, mu or 0.0)]
        data["neumann"] = lambda Y: Y[:, 0] == walls[0], h[0]
        data["robin"] = None if mu is None else (lambda Y: Y[:, 1] == walls[1], mu, h[1])
    return wos.Problem(domain, **data, screening=screening, diffusion=wos.Regions(outside, [(core, inside)])), u


def rising(X):
    """A screening that varies, and jumps with α."""
    return np.where(abs(X).max(axis=-1) < 0.5, 9.0, 5 + 4 * X[..., 0])


def insulated(fed=False):
    """The layers with two insulated sides, which they touch, and optionally a flux where they end."""
    problem, u = layers(2)
    side = wos.Polygon(SQUARE)
    walls = (np.array([True, fed, True, False]), lambda Y: np.where(Y[:, 0] > 1 - 1e-9, 2.0, 0.0))
    return wos.Problem(side, dirichlet=u, diffusion=problem.diffusion, neumann=walls), u


def clear_points(rng, n, domain=OUTER, *parts):
    """Points of the domain, clear of its boundary and of the interfaces: those of the core if no parts are named."""
    half = 0.95 if isinstance(domain, wos.Ball) else 0.475
    X = domain._centre + half * domain._extent * rng.uniform(-1, 1, (4 * n, domain.dimension))
    clear = [wos.signed_distance(domain, X) < -0.02, *(abs(wos.signed_distance(part, X)) > 0.02 for part in parts or [CORE])]
    return X[np.all(clear, axis=0)][:n]


def layers(d):
    """Three layers that touch each other and all sides of a unit square or cube, and u with the flux 1 through them."""
    ends, alphas = np.array([0.0, 0.4, 0.7, 1.0]), np.array([1.0, 5.0, 0.5])

    def box(low, high):
        at, size = np.zeros(d), np.ones(d)
        at[0], size[0] = low, high - low
        return wos.Polygon(at + size * SQUARE) if d == 2 else wos.TriangleMesh(at + size * cube()[0], cube()[1])

    def u(X):
        return sum(np.clip(X[..., 0] - low, 0, high - low) / alpha for low, high, alpha in zip(ends, ends[1:], alphas))

    parts = [(box(*ends[k : k + 2]), alphas[k]) for k in (1, 2)]
    return wos.Problem(wos.Box([0.0] * d, [1.0] * d) if d == 2 else box(0.0, 1.0), dirichlet=u, diffusion=wos.Regions(alphas[0], parts)), u


PROBLEMS = {
    "core": lambda: core_problem((1.0, 3.0)),
    "less inside": lambda: core_problem((2.0, 0.5)),
    "no jump": lambda: core_problem((2.0, 2.0)),
    "cube": lambda: core_problem((1.0, 4.0), CUBE, INNER),
    "screened": lambda: core_problem((1.0, 5.0), screening=6.0),
    "screened, less inside": lambda: core_problem((2.0, 0.5), screening=6.0),
    "varying screening": lambda: core_problem((2.0, 0.5), screening=rising),
    "layers": lambda: layers(2),
    "layers in space": lambda: layers(3),
    "walls": lambda: core_problem((2.0, 0.5), walls=(1, 1)),
    "disc": lambda: core_problem((2.0, 0.5), wos.Ball([0.0, 0.0], 1.0), wos.Box([-0.5] * 2, [0.5] * 2)),
}
MANY_WALKS = {  # and whether they come in pairs
    "twenty times inside": (lambda: core_problem((1.0, 20.0)), True),
    "askew": (lambda: core_problem((3.0, 1.0), FEW), False),
    "a tenth inside": (lambda: core_problem((10.0, 1.0)), False),
    "walls with exchange": (lambda: core_problem((2.0, 0.5), walls=(1, 1), mu=2.0), True),
    "screened walls": (lambda: core_problem((2.0, 0.5), walls=(1, 1), mu=2.0, screening=6.0), True),
    "walls, varying screening": (lambda: core_problem((2.0, 0.5), walls=(1, 1), mu=2.0, screening=rising), False),
    "insulated layers": (lambda: insulated(), True),
    "insulated layers with a flux": (lambda: insulated(True), True),
    "walls of a box": (lambda: core_problem((2.0, 0.5), CUBE, INNER, walls=(1, 1), mu=2.0), True),
    "varying screening, three times inside": (lambda: core_problem((1.0, 3.0), screening=rising), True),
    "askew, varying screening": (lambda: core_problem((2.0, 0.5), wos.Ball([0.0, 0.0], 1.0), CORE, rising), True),
    "field": (lambda: core_problem((2.0, 0.5), field()), True),
    "box": (lambda: core_problem((1.0, 3.0), wos.Box([-1.0] * 3, [1.0] * 3), wos.Box([-0.5] * 3, [0.5] * 3)), True),
    "ball": (lambda: core_problem((2.0, 0.5), wos.Ball([0.0] * 3, 1.0), INNER), True),
    "screened ball": (lambda: core_problem((1.0, 3.0), wos.Ball([0.0] * 3, 1.0), INNER, 6.0), False),
    "screened disc": (lambda: core_problem((1.0, 3.0), wos.Ball([0.0, 0.0], 1.0), CORE, 6.0), True),
    "field in space": (lambda: core_problem((2.0, 0.5), field(3), INNER), True),
    "cube, less inside": (lambda: core_problem((2.0, 0.5), CUBE, INNER), False),
    "screened cube": (lambda: core_problem((1.0, 4.0), CUBE, INNER, 20.0), False),
    "screened cube in pairs": (lambda: core_problem((1.0, 4.0), CUBE, INNER, 20.0), True),
}


def check_problem(problem, u, rng, n, walks, pairs=True):
    X = clear_points(rng, n, problem.boundary, *(part for part, _ in problem.diffusion.parts))
    check(problem.solve(X, wos.Walks(walks, epsilon=1e-5, max_steps=20_000, gradient=pairs), rng=seed(rng)), X, u)


@first_backend_or_slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_closed_forms(name, backend, rng):
    n, walks = (20, 256 if name.startswith("layers") else 128) if backend == "native" else (8, 64)
    check_problem(*PROBLEMS[name](), rng, n, walks)


@pytest.mark.slow
@pytest.mark.parametrize("name", MANY_WALKS)
def test_closed_forms_with_many_walks(name, best_backend, rng):
    make, pairs = MANY_WALKS[name]
    # Values of "askew" are so skewed that over many points the mean of z, -skewness / (2 sqrt(walks)), exceeds its limit.
    n, walks = (50, 2048) if name.startswith("askew") else (100 if name.endswith(("ball", "disc", "box", "space")) else 400, 256)
    check_problem(*make(), rng, n, walks, pairs)


@pytest.mark.parametrize("pairs", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_walls_in_operators_and_gradients(pairs, best_backend, rng):
    """Operators record the points on walls, and the gradients times the data are u, also with PyTorch."""
    torch, walls = pytest.importorskip("torch"), (np.arange(4) == 1, np.arange(4) == 2)
    X, how = clear_points(rng, 2), wos.Walks(2, epsilon=1e-2, gradient=pairs, max_steps=20_000)
    data = [torch.tensor(rng.standard_normal(4), requires_grad=True) for _ in range(3)]
    regions = wos.Regions(2.0, [(CORE, 1.0)])

    def stated(g, h, k):
        return wos.Problem(OUTER, dirichlet=g, source=1.0, neumann=(walls[0], h), robin=(walls[1], 2.0, k), diffusion=regions)

    numbers = [wos.PerVertex(x.detach().numpy()) for x in data]
    value = stated(*numbers).solve(X, how, rng=1).value
    if not pairs:
        of = stated(0.0, 0.0, 0.0).operator(X, how, rng=1)
        np.testing.assert_allclose(of.solve(numbers[0], 1.0, *numbers[1:]).value, value, rtol=1e-10)
    tensors = stated(*map(wos.PerVertex, data)).solve(torch.tensor(X), how, rng=1).value
    np.testing.assert_array_equal(tensors.detach().numpy(), value)
    tensors.sum().backward()
    _, of_g, _, of_h, of_k = stated(*numbers).vjp(X, np.ones(2), how, rng=1)
    np.testing.assert_allclose([x["values"] for x in (of_g, of_h, of_k)], [x.grad for x in data], rtol=1e-9, atol=1e-12)
    base = stated(0.0, 0.0, 0.0).solve(X, how, rng=1).value
    np.testing.assert_allclose(sum((x * x.grad).sum().item() for x in data), (value - base).sum(), rtol=1e-9)


@pytest.mark.slow
def test_an_operator_with_varying_screening(best_backend, rng):
    """The records and the gradients of walks with a varying screening are those of ``solve``, and instances have their own screening."""
    X, walks, regions = clear_points(rng, 4), wos.Walks(20, max_steps=20_000), wos.Regions(1.0, [(CORE, 3.0)])
    bells, numbers = wos.Gaussians([1.0, 2.0], 0.3 * np.ones((2, 2)), [0.5, 0.8]), wos.PerVertex(rng.standard_normal(4))
    for f in (None, bells):
        data = {"dirichlet": numbers, "source": f, "screening": rising, "diffusion": regions}
        problem = wos.Problem(OUTER, **data)
        value = problem.solve(X, walks, rng=3).value
        np.testing.assert_allclose(problem.operator(X, walks, rng=3).solve(numbers, f).value, value, rtol=1e-10)
        *_, of_g, of_f = problem.vjp(X, np.ones(4), walks, rng=3)
        total = (of_g["values"] * numbers.values).sum() + (0 if f is None else (of_f["amplitude"] * f.amplitude).sum())
        np.testing.assert_allclose(total, value.sum(), rtol=1e-9)
        two = wos.Problem(OUTER, **{**data, "screening": [1.0, rising]}).solve(X, walks, rng=3).value
        assert np.isfinite(two).all()
        assert (two[0] != two[1]).any()


@pytest.mark.parametrize("space", [False, True])
def test_an_operator_records_the_same_walks(space, best_backend, rng):
    domain, core = (CUBE, INNER) if space else (OUTER, CORE)
    X, walks, M = clear_points(rng, 4, domain, core), wos.Walks(20, max_steps=20_000), len(domain.vertices)
    regions = wos.Regions(1.0, [(core, 3.0)])
    of = wos.Problem(domain, dirichlet=0.0, source=0.0, diffusion=regions).operator(X, walks, rng=3)
    bells = wos.Gaussians([1.0, 2.0], 0.3 * np.ones((2, domain.dimension)), [0.5, 0.8])
    for g, f in ((wos.PerVertex(rng.standard_normal(M)), 2.0), (bells, bells), (1.5, wos.Polynomial(np.ones((2,) * domain.dimension)))):
        r = wos.Problem(domain, dirichlet=g, source=f, diffusion=regions).solve(X, walks, rng=3)
        value, stderr = of.solve(g, f)
        np.testing.assert_allclose(r.value, value, rtol=1e-10)
        np.testing.assert_allclose(r.stderr, stderr, rtol=1e-8)


@pytest.mark.parametrize("domain", [OUTER, pytest.param(wos.Ball([0.0, 0.0], 1.0), marks=pytest.mark.slow)])
def test_runs_can_be_split(domain, best_backend, rng):
    """Runs that are resumed or merged, on threads, for some of the points, or with a tolerance have the bits of one run."""
    (problem, _), X = core_problem((2.0, 0.5), domain), clear_points(rng, 2)
    how = {"epsilon": 1e-2, "gradient": True}
    whole = problem.solve(X, wos.Walks(300, **how), rng=5)
    begun = problem.solve(X, wos.Walks(120, **how), rng=5)
    same(begun.resume(180), whole)
    same(begun.merge(problem.solve(X, wos.Walks(180, **how, walk_offset=120), rng=5)), whole)
    with ThreadPoolExecutor(1) as pool:
        same(problem.solve(X, wos.Walks(300, **how), rng=5, executor=pool), whole)
    same(problem.solve(X[:1], wos.Walks(300, **how), rng=5), whole, slice(1))
    some = problem.solve(X, wos.Walks(60, **how), rng=5, atol=float(np.median(whole.stderr)), max_walks=300)
    assert set(some.n_walks.tolist()) <= set(range(60, 301, 60))
    same(some, whole, some.n_walks == 300)


def test_instances(best_backend, rng):
    """Right-hand sides with a leading B have walks of their own; constants are exact."""
    problem = wos.Problem(OUTER, dirichlet=np.array([1.0, -2.0]), source=np.zeros(2), diffusion=wos.Regions(1.0, [(CORE, 3.0)]))
    r = problem.solve(clear_points(rng, 3), wos.Walks(20, gradient=True), rng=1)
    np.testing.assert_array_equal(r.value, [[1.0] * 3, [-2.0] * 3])
    np.testing.assert_array_equal(r.grad, np.zeros((2, 3, 2)))
    with pytest.warns(RuntimeWarning, match="2 points lie outside"):
        outer = problem.solve(np.array([[3.0, 0.0], [1.0, 0.3], [0.5, 0.2]]), wos.Walks(20, gradient=True), rng=1)
    np.testing.assert_array_equal(outer.value[0], [np.nan, 1.0, 1.0])
    assert np.isnan(outer.grad).all()  # outside, on the boundary, on an interface
    assert problem.solve(np.zeros((0, 2)), 20, rng=1).value.shape == (2, 0)


def test_shared_walks(best_backend, rng):
    """Shared walks give the same bits as one call per right-hand side."""
    X, g, f = clear_points(rng, 3), np.array([1.0, -2.0]), wos.Polynomial(rng.standard_normal((2, 2, 2)))
    regions, how = wos.Regions(1.0, [(CORE, 3.0)]), {"epsilon": 1e-2, "gradient": True}
    both = wos.Problem(OUTER, dirichlet=g, source=f, diffusion=regions).solve(X, wos.Walks(20, shared_walks=True, **how), rng=1)
    for b in range(2):
        one = wos.Problem(OUTER, dirichlet=g[b], source=wos.Polynomial(f.coefficients[b]), diffusion=regions)
        alone = one.solve(X, wos.Walks(20, **how), rng=1)
        np.testing.assert_array_equal(both.value[b], alone.value)
        np.testing.assert_array_equal(both.grad_stderr[b], alone.grad_stderr)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("space", [False, True])
def test_gradients_with_respect_to_data(space, pairs, best_backend, rng):
    """u is linear in the data, and its gradients times the data are u, for the same walks."""
    domain, core = (CUBE, INNER) if space else (OUTER, CORE)
    d, (low, high) = domain.dimension, ([-1.0] * domain.dimension, [1.0] * domain.dimension)
    X, grad = clear_points(rng, 3, domain, core), rng.standard_normal(3)
    of_vertices, of_grid = wos.PerVertex(rng.standard_normal(2**d)), wos.GridField(rng.standard_normal((4,) * d), (low, high))
    powers = wos.Polynomial(rng.standard_normal((2,) * d))
    for g, f in ((of_vertices, powers), (powers, of_grid)):
        problem = wos.Problem(domain, dirichlet=g, source=f, screening=2.0, diffusion=wos.Regions(1.0, [(core, 3.0)]))
        how = wos.Walks(8, epsilon=1e-2, gradient=pairs)
        value = problem.solve(X, how, rng=1).value
        of_points, of_g, of_f = problem.vjp(X, grad, how, rng=1)
        name = {wos.PerVertex: "values", wos.Polynomial: "coefficients", wos.GridField: "values"}
        total = sum((of[name[type(x)]] * getattr(x, name[type(x)])).sum() for x, of in ((g, of_g), (f, of_f)))
        np.testing.assert_allclose(total, (grad * value).sum(), rtol=1e-9)
        assert of_points.shape == X.shape


@pytest.mark.parametrize("pairs", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_with_pytorch(pairs, best_backend, rng):
    """Backward gives the gradients of ``vjp``. Values and gradients of two problems with shared walks are linear in their data."""
    torch = pytest.importorskip("torch")
    X, regions = torch.tensor(clear_points(rng, 3)), wos.Regions(1.0, [(CORE, 3.0)])
    g, f = (torch.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((2, 4), (2, 2, 2)))
    data = {"dirichlet": wos.PerVertex(g), "source": wos.Polynomial(f)}
    how = wos.Walks(8, epsilon=1e-2, gradient=pairs, shared_walks=True)
    r = wos.Problem(OUTER, **data, screening=2.0, diffusion=regions).solve(X, how, rng=1).resume(4)
    of_value, of_grad = torch.tensor(rng.standard_normal((2, 3))), torch.tensor(rng.standard_normal((2, 3, 2)))
    total = (of_value * r.value).sum() + ((of_grad * r.grad).sum() if pairs else 0)
    total.backward()
    np.testing.assert_allclose(((g * g.grad).sum(dim=1) + (f * f.grad).sum(dim=(1, 2))).sum().item(), total.item(), rtol=1e-9)
    alone = wos.Problem(OUTER, dirichlet=wos.PerVertex(g[0].detach()), source=1.0, diffusion=regions)
    expected = alone.vjp(X, of_value[0], wos.Walks(8, gradient=pairs), rng=1)[1]["values"]
    once = wos.Problem(OUTER, dirichlet=wos.PerVertex(g[:1]), source=1.0, diffusion=regions).solve(X, wos.Walks(8, gradient=pairs), rng=1)
    (of_g,) = torch.autograd.grad((of_value[:1] * once.value).sum(), g)
    np.testing.assert_allclose(of_g[0].numpy(), expected.numpy(), rtol=1e-12)


def test_gradients_with_respect_to_points(best_backend):
    torch = pytest.importorskip("torch")
    problem, _ = core_problem((1.0, 3.0))
    points = torch.tensor([[0.2, 0.1], [0.8, 0.3]], dtype=torch.float64, requires_grad=True)
    r = problem.solve(points, 64, rng=1)
    r.value.sum().backward()
    expected = problem.solve(points.detach().numpy(), wos.Walks(64, gradient=True), rng=1).grad
    np.testing.assert_array_equal(points.grad.numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("domain", [wos.Polygon(circle(100)), wos.Ball([0.0, 0.0], 1.0)])
def test_transmission_through_a_circle(domain, best_backend, rng):
    """u = A x in the disc of radius 1/2, x (1 + B / r^2) around it. Using the sides of a polygon causes an error of 1 / M^2."""
    a, inner, outer, M = 0.5, 4.0, 1.0, 24
    B, X = a**2 * (outer - inner) / (outer + inner), rng.uniform(-0.65, 0.65, (60, 2))
    regions = wos.Regions(outer, [(wos.Polygon(a * circle(M)), inner)])
    problem = wos.Problem(domain, dirichlet=0.0, diffusion=regions)
    operator = problem.operator(X, wos.Walks(200, max_steps=20_000), rng=seed(rng))
    r2 = (X**2).sum(axis=1)
    u = X[:, 0] * np.where(r2 > a**2, 1 + B / r2, 1 + B / a**2)
    value, stderr = operator.solve(lambda Y: Y[:, 0] * (1 + B / (Y**2).sum(axis=1)))
    z = (value - u) / np.hypot(stderr, 0.01)
    assert abs(z).max() < 6
    assert (z**2).mean() < 2


@pytest.mark.slow
def test_two_parts_and_a_hole(best_backend, rng):
    """Constants are exact, points in the hole are outside, and matrices act on the vertices of the domain."""
    parts = [(wos.Polygon(0.1 * SQUARE + at), alpha) for at, alpha in (([0.1, 0.1], 5.0), ([-0.5, 0.2], 0.2))]
    domain = wos.Polygon(OUTER.vertices, [0.2 * SQUARE - 0.6])
    problem = wos.Problem(domain, dirichlet=0.0, source=0.0, diffusion=wos.Regions(1.0, parts))
    with pytest.warns(RuntimeWarning, match="1 point lies outside"):
        operator = problem.operator([[0.15, 0.15], [-0.45, 0.25], [0.5, -0.5], [-0.5, -0.5]], 40, rng=1)
    assert operator.outside.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(operator.solve(2.0).value[:3], 2.0)
    assert np.isnan(operator.solve(2.0).value[3])
    np.testing.assert_allclose((operator.per_vertex() @ np.ones(8))[:3], 1)
    assert (operator.solve(0.0, 1.0).value[:3] > 0).all()
    again = pickle.loads(pickle.dumps(problem)).operator([[0.15, 0.15], [-0.45, 0.25]], 40, rng=1)
    np.testing.assert_array_equal(again.solve(0.0, 1.0).value, operator.solve(0.0, 1.0).value[:2])


def test_cut_off(best_backend):
    operator = wos.Problem(OUTER, dirichlet=0.0, diffusion=wos.Regions(1.0, [(CORE, 50.0)])).operator(
        [0.0, 0.0], wos.Walks(50, max_steps=1), rng=1
    )
    assert operator.n_truncated.tolist() == [50]
    np.testing.assert_allclose(wos.signed_distance(OUTER, operator.boundary_points), 0, atol=1e-6)


def test_rejected(rng):
    def stated(parts, boundary=OUTER, outside=1.0, **more):
        return wos.Problem(boundary, dirichlet=0.0, diffusion=wos.Regions(outside, parts), **more)

    core, small = (CORE, 2.0), (wos.Polygon(0.3 * SQUARE), 2.0)
    V, F = cube()
    big, tips = wos.TriangleMesh(8 * V - 4, F), np.array([[0.0, 0, 3], [0.1, 0, -3], [-0.1, 0.1, -3], [-0.1, -0.1, -3]])
    spike = wos.TriangleMesh(tips, [[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])  # goes through INNER, with all corners outside
    shifted, opened = wos.TriangleMesh(0.6 * V, F), wos.TriangleMesh(0.5 * V, F[1:], watertight=False)
    check_rejected([
        (lambda: stated([core]).solve([[0.0, 0.0]], cache="harmonic"), ValueError, "cache cannot be combined with a diffusion"),
        (lambda: stated([(INNER, 2.0)]), ValueError, r"parts\[0\] of diffusion is TriangleMesh\(12 triangles\), but boundary is Polygon"),
        (lambda: stated([core], CUBE), ValueError, r"parts\[0\] of diffusion is Polygon\(4 segments\), but boundary is TriangleMesh"),
        (lambda: stated([(spike, 2.0)], CUBE), ValueError, r"parts\[0\] of diffusion crosses the boundary; it must be inside"),
        (lambda: stated([(INNER, 2.0), (spike, 2.0)], big), ValueError, r"parts\[0\] of diffusion crosses parts\[1\]"),
        (lambda: stated([(INNER, 2.0), (shifted, 2.0)], CUBE), ValueError, r"crosses parts\[1\]; it must be outside it"),
        (lambda: stated([(opened, 2.0)], CUBE), ValueError, "with gaps, expected a closed mesh"),
        (lambda: stated([core, small]), ValueError, r"parts\[0\] of diffusion crosses parts\[1\]; it must be outside it"),
        (lambda: stated([small, core]), ValueError, r"parts\[0\] of diffusion crosses parts\[1\]"),
        (lambda: stated([core, core]), ValueError, r"parts\[0\] of diffusion crosses parts\[1\]"),
        (lambda: stated([core], wos.Polygon(SQUARE)), ValueError, "crosses the boundary; it must be inside it"),
        (lambda: stated([core], wos.Polygon(OUTER.vertices, [0.2 * SQUARE])), ValueError, "crosses the boundary; it must be inside it"),
        (lambda: stated([(OUTER, 2.0)]), ValueError, "the parts of diffusion fill the domain; use outside for one of them"),
        (lambda: stated([core], wos.Ball([0, 0], 0.6)), ValueError, "crosses the boundary; it must be inside it"),
        (lambda: stated([core], field(radius=0.6)), ValueError, "crosses the boundary"),
        (lambda: stated([core], wos.Box([-1, -1], [0.4, 1])), ValueError, "crosses the boundary; it must be inside it"),
        (lambda: stated([core], wos.Ball([0] * 4, 1.0)), ValueError, "requires the inside of a single boundary without gaps in two or"),
        (lambda: stated([core], exterior=True), ValueError, r"the domain is the outside of Polygon\(4 segments\)"),
        (lambda: stated([core], screening=level).solve([[0.7, 0.7]]), ValueError, "screening is .* expected 0 or more"),
        (lambda: stated([core], neumann=(np.eye(2, 4) == 1, 0.0)), ValueError, "requires the same walls for all instances"),
        (lambda: stated([core], neumann=(np.ones(4, bool), 0.0)), ValueError, "all of polygon 0 reflects"),
        (lambda: stated([core], wos.Ball([0, 0], 1.0), neumann=(np.ones(4, bool), 0.0)), ValueError, "need a Polygon or a TriangleMesh"),
        (lambda: stated([(wos.Polygon([SQUARE]), 1.0)]), ValueError, "expected one polygon without holes"),
        (lambda: stated([(CORE, 0.0)]), ValueError, r"parts\[0\] is 0.0, expected"),
        (lambda: stated([core], outside=-1.0), ValueError, "outside is -1.0, expected"),
        (lambda: stated([CORE]), TypeError, r"parts\[0\] is Polygon\(4 segments\), expected \(Polygon, TriangleMesh or Box, value\)"),
        (lambda: stated([]), TypeError, "expected a list of"),
    ])  # fmt: skip
    assert repr(wos.Regions(1.0, [core])) == "Regions(1.0, [(Polygon(4 segments), 2.0)])"
