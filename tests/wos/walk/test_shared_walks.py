"""Right-hand sides that share walks: each has the same values as when solved alone. Splits and autograd: ``test_every_domain.py``."""

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil import wos
from wos import domains
from wos.domains import SQUARE, field, fourier, instance, instances_of
from wos.query.oracle import icosphere
from wos.walk import oracle
from wos.walk.oracle import directions, disc_points, same, seed, star_points

B = 19  # more than the lanes of any machine, and not a multiple of them


def bells(rng, n=B, d=2):
    return domains.bells(rng, d, lead=(n,))


def functions(rng):
    return [lambda X, a=a: np.exp(a * X[:, 0]) for a in rng.uniform(-1, 1, 3)]


def far_functions(rng):
    return [lambda X, a=a: a * np.exp(X[:, 0]) for a in (1e60, 1.0, -1e-60)]


def _star(rng, *more, **options):
    return wos.Polygon(oracle.star(60)), star_points(rng, 5), *more, options


SCENES = {
    "fourier and bells": lambda rng: _star(rng, fourier(rng, B), bells(rng)),
    "in pairs": lambda rng: _star(rng, fourier(rng, B), bells(rng), gradient=True),
    "screened": lambda rng: _star(rng, bells(rng), fourier(rng, B), gradient=True, screening=8.0),
    "double precision": lambda rng: _star(rng, fourier(rng, B), bells(rng), epsilon=1e-6, gradient=True),
    "numbers": lambda rng: _star(rng, rng.standard_normal(B), rng.standard_normal(B), max_steps=5),
    "one source for all": lambda rng: _star(rng, wos.PerVertex(rng.standard_normal((B, 60))), domains.bells(rng)),
    # more than 64 right-hand sides: the walks are repeated for every 64 of them
    "one boundary value for all": lambda rng: _star(rng, fourier(rng), bells(rng, 70)),
    "functions": lambda rng: _star(rng, functions(rng), functions(rng), gradient=True),
    "far functions": lambda rng: _star(rng, 1.0, far_functions(rng), gradient=True),
    "half discs": lambda rng: (wos.Polygon(SQUARE), rng.uniform(0.1, 0.9, (6, 2)), fourier(rng, B), None, {"epsilon": 1e-4}),
    "field": lambda rng: (
        field(), disc_points(rng, 3), wos.GridField(rng.standard_normal((3, 4, 5)), ([-1, -1], [1, 1])), bells(rng, 3), {},
    ),
    "mesh": lambda rng: (
        wos.TriangleMesh(*icosphere(1)), disc_points(rng, 4, 0.7, 3), bells(rng, B, 3),
        wos.Polynomial(rng.standard_normal((B, 2, 2, 2))), {},
    ),
    "ball in space": lambda rng: (
        wos.Ball([0.1] * 3, 1.0), disc_points(rng, 4, 0.8, 3), bells(rng, B, 3), bells(rng, B, 3), {"screening": 2.0, "gradient": True},
    ),
    "outside": lambda rng: (
        wos.Ball([0.0] * 3, 1.0), 1.5 * directions(rng, 4), bells(rng, B, 3), None, {"exterior": True, "gradient": True},
    ),
    "five dimensions": lambda rng: (
        wos.Box([0.0] * 5, [1.0] * 5), rng.uniform(0.2, 0.8, (3, 5)), bells(rng, 3, 5), bells(rng, 3, 5), {"gradient": True},
    ),
}  # fmt: skip


ON_WALLS, ABSORBING = np.arange(60) % 20 < 7, np.arange(60) % 20 > 12
WALLS = {
    "walls": lambda rng: _star(
        rng, fourier(rng, B), bells(rng), neumann=(ON_WALLS, wos.PerVertex(rng.standard_normal((B, 60)))), gradient=True
    ),
    # more than 64 right-hand sides
    "robin": lambda rng: _star(
        rng, rng.standard_normal(70), None, neumann=(ON_WALLS, bells(rng, 70)), robin=(~ON_WALLS & ~ABSORBING, 1.5, fourier(rng, 70))
    ),
    "walls with functions": lambda rng: (
        wos.Polygon(SQUARE), rng.uniform(0.1, 0.9, (5, 2)), functions(rng), functions(rng),
        {"neumann": (domains.WHERE, functions(rng)), "epsilon": 1e-6, "screening": 2.0},
    ),
    "no end": lambda rng: (
        wos.Polygon(SQUARE), rng.uniform(0.1, 0.9, (5, 2)), 1.0, bells(rng),
        {"neumann": (domains.WHERE | True, fourier(rng, B)), "screening": 9.0, "gradient": True},
    ),
    "walls in space": lambda rng: (
        wos.TriangleMesh(*icosphere(1)), disc_points(rng, 4, 0.7, 3), bells(rng, B, 3), bells(rng, B, 3),
        {"neumann": (np.arange(80) < 20, wos.PerVertex(rng.standard_normal((B, 42)))), "robin": (np.arange(80) > 60, 0.5, 1.0)},
    ),
}  # fmt: skip
MEDIA = {
    "medium": lambda rng: _star(
        rng, fourier(rng, B), bells(rng), diffusion=wos.Gaussians([1.0, 0.5], [[0.0, 0.0], [0.5, 0.3]], [2.0, 0.8]), gradient=True
    ),
    "medium of functions": lambda rng: (
        field(), disc_points(rng, 3), functions(rng), functions(rng), {"diffusion": domains.squared, "screening": domains.squared},
    ),
    "screening in a ball": lambda rng: (
        wos.Ball([0.1] * 3, 1.0), disc_points(rng, 4, 0.8, 3), bells(rng, B, 3), bells(rng, B, 3),
        {"screening": wos.Polynomial([[[3.0], [0.5]], [[0.8], [0.2]]]), "gradient": True, "epsilon": 1e-6},
    ),
    "medium with walls": lambda rng: (
        wos.Polygon(SQUARE), rng.uniform(0.1, 0.9, (5, 2)), fourier(rng, B), bells(rng),
        {
            "neumann": (np.arange(4) == 0, fourier(rng, B)), "robin": (np.arange(4) == 1, 1.5, wos.PerVertex(rng.standard_normal((B, 4)))),
            "diffusion": wos.Polynomial([[1.6, 0.3, 0.2], [1.0, 0.1, 0.0]]), "gradient": True, "max_steps": 100,
        },
    ),
}  # fmt: skip


def scene(name, rng):
    """A boundary, points, the number of right-hand sides, all of them, and a function that selects one."""
    boundary, X, g, f, options = (SCENES | WALLS | MEDIA)[name](rng)
    every = {"dirichlet": g, "source": f, **{name: options.pop(name) for name in ("neumann", "robin") if name in options}}
    options |= {"rng": seed(rng), "walks": 38}
    count, d = max(instances_of(x, X.shape[1]) or 1 for x in every.values()), X.shape[1]
    return boundary, X, count, every | options, lambda i: {k: instance(x, i, d) for k, x in every.items()} | options


def check_alone(name, rng, backend):
    """Every right-hand side has the same values and gradient as when solved alone, up to rounding of sums."""
    boundary, X, count, all_of_them, one = scene(name, rng)
    result = wos.solve(boundary, X, **all_of_them, shared_walks=True, backend=backend)
    grad = rng.standard_normal(result.value.shape)
    pulled = wos.solve_vjp(boundary, X, grad, **all_of_them, shared_walks=True, backend=backend) if backend != "array" else None
    assert result.value.shape == (count, len(X))
    for i in sorted({0, 1, count // 2, count - 1} | ({63, 64} if count > 64 else set())):
        print(i)
        same(result, wos.solve(boundary, X, **one(i), backend=backend), rows=i)
        if pulled is None:
            continue
        alone = wos.solve_vjp(boundary, X, grad[i], **one(i), backend=backend)
        for kind, mine, others in zip(domains.DATA, pulled[1:], alone[1:]):
            data = all_of_them.get(kind)
            for key in others if instances_of(data, X.shape[1]) else ():
                size = np.abs(others[key]).max(initial=1e-300)
                np.testing.assert_allclose(mine[key][i], others[key], rtol=0, atol=1e-4 * size, err_msg=f"{name}, {key} of {i}")


@pytest.mark.parametrize("name", [*SCENES, *WALLS, *MEDIA])
def test_each_is_what_it_is_alone(name, backend, rng):
    check_alone(name, rng, backend)


@pytest.mark.parametrize("name", ["in pairs", "functions", "half discs", "ball in space", "no end", "medium", "medium with walls"])
def test_each_is_what_it_is_alone_in_a_composition(name, rng):
    check_alone(name, rng, "array")


@pytest.mark.parametrize("name", ["walls", "medium", "medium with walls"])
def test_closed_forms(name, best_backend, rng):
    """Solutions with different data along the same walks, with α = 1 + x / 2 in a medium."""
    square, alpha = wos.Polygon(SQUARE, holes=[domains.HOLE]), 0.0 if name == "walls" else 0.5
    solutions = [lambda X: X[:, 0] * X[:, 1], lambda X: X[:, 0] ** 2 + 0.5]
    slopes = [lambda X: X[:, ::-1], lambda X: X * [2, 0]]
    data = {
        "dirichlet": solutions,
        "source": [lambda X: -alpha * X[:, 1], lambda X: -2 - 4 * alpha * X[:, 0]],
        "diffusion": wos.Polynomial([[1.0], [alpha]]) if alpha else None,
    }
    if name != "medium":
        data["neumann"] = (np.isin(np.arange(7), [0, 4, 5, 6]), [domains.flux(square, slope) for slope in slopes])
        data["robin"] = (np.arange(7) == 1, 2.0, [domains.flux(square, s, 2.0, u) for s, u in zip(slopes, solutions)])
    X = domains.points_in(square, rng, 100 if best_backend == "native" else 5, 0.02)
    r = wos.solve(square, X[None], **data, walks=512, epsilon=1e-5, max_steps=20000, gradient=True, rng=seed(rng), shared_walks=True)
    for value, stderr, grad, grad_stderr, u, slope in zip(r.value, r.stderr, r.grad, r.grad_stderr, solutions, slopes):
        assert oracle.gates(value, stderr, u(X)) == []
        for i in range(2):
            assert oracle.gates(grad[:, i], grad_stderr[:, i], slope(X)[:, i]) == []


def test_the_gradient_of_shared_numbers_is_the_sum(backend, rng):
    boundary, X, count, all_of_them, one = scene("one source for all", rng)
    grad = rng.standard_normal((count, len(X)))
    points, _, of_source = wos.solve_vjp(boundary, X, grad, **all_of_them, shared_walks=True)
    alone = [wos.solve_vjp(boundary, X, grad[i], **one(i)) for i in range(count)]
    np.testing.assert_allclose(points, sum(a[0] for a in alone), rtol=1e-9, atol=1e-9 * np.abs(points).max())
    for key, mine in of_source.items():
        others = sum(a[2][key] for a in alone)
        np.testing.assert_allclose(mine, others, rtol=0, atol=1e-5 * np.abs(others).max(), err_msg=key)


def test_each_stops_when_its_error_is_small(backend, rng):
    """A point of a right-hand side is bitwise equal to a plain solve with as many walks."""
    X, g = star_points(rng, 6), wos.Fourier(np.array([[0.0, 1.0, 0.0], [0.0, 0.2, 0.0], [3.0, 0.0, 0.0]]))
    run = {"dirichlet": g, "walks": 32, "rng": seed(rng), "shared_walks": True, "epsilon": 1e-3}
    star = wos.Polygon(oracle.star(60))
    first = wos.solve(star, X, **run, atol=0.08, max_walks=512)
    same(first, wos.solve(star, X, **run, atol=0.2, max_walks=512).resume(32, atol=0.08, max_walks=512))
    assert len(np.unique(first.n_walks)) > 2
    for n in np.unique(first.n_walks):
        same(first, wos.solve(star, X, **{**run, "walks": int(n)}), first.n_walks == n)


@pytest.mark.parametrize("count", [0, 1])
def test_few_or_none(count, backend, rng):
    """A single right-hand side is an ordinary call. No right-hand sides or no points give empty results."""
    star, X, g = wos.Polygon(oracle.star(60)), star_points(rng, 3), fourier(rng, count)
    run = {"dirichlet": g, "source": domains.bells(rng), "walks": 5, "rng": seed(rng)}
    same(wos.solve(star, X, **run, shared_walks=True), wos.solve(star, X, **run))
    assert wos.solve(star, X[:0], **run, shared_walks=True).value.shape == (count, 0)
    grads = wos.solve_vjp(star, X, np.ones((count, 3)), **run, shared_walks=True)
    assert grads[1]["coefficients"].shape == (count, 5)
    if count == 0:
        assert not any(x.any() for x in grads[2].values())
    outside = np.concatenate([X, [[7.0, 7.0]]])
    with pytest.warns(RuntimeWarning, match="1 point lies outside"):
        r = wos.solve(star, outside, **{**run, "dirichlet": fourier(rng, 3)}, shared_walks=True)
    assert np.isnan(r.value[:, 3]).all()
    assert r.n_walks.tolist() == [[5, 5, 5, 0]] * 3


def test_rejected(rng):
    star, X, g = wos.Polygon(oracle.star(60)), star_points(rng, 3), fourier(rng, 2)
    many, run = wos.Polygon([oracle.star(60), 2 * oracle.star(60)]), {"dirichlet": g, "walks": 4, "rng": 1, "shared_walks": True}
    check_rejected([
        (lambda: wos.solve(many, X, **run), ValueError, "a single boundary and a single set of points"),
        (lambda: wos.solve(star, np.stack([X, X]), **run), ValueError, "a single boundary and a single set of points"),
        (lambda: wos.solve(star, X, cache="harmonic", **run), ValueError, "cache requires a single instance"),
        (lambda: wos.solve(star, X, **{**run, "shared_walks": 1}), TypeError, "shared_walks is 1, expected"),
        (lambda: wos.solve(star, X, neumann=(np.stack(2 * [ON_WALLS]), 0.0), **run), ValueError, "the same neumann's where for all"),
        (lambda: wos.solve(star, X, robin=(ON_WALLS, np.ones((2, 60)), 0.0), **run), ValueError, "the same robin's mu for all instances"),
        (lambda: wos.solve(star, X, diffusion=[1.0, domains.squared], **run), ValueError, "the same diffusion for all instances, got 2"),
        (lambda: wos.solve(star, X, screening=np.ones(2), **run), ValueError, "the same screening for all instances, got 2"),
        (lambda: wos.solve(star, X, **run).merge(wos.solve(star, X, g, walk_offset=4, walks=4, rng=1)), ValueError, "shared_walks"),
    ])  # fmt: skip


def test_a_walk_is_worth_the_same_wherever_it_stands(rng):
    """In a loop over walks that ended together, the compiler must not fuse products and sums for the first few walks only."""
    square = wos.Polygon([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    data = {"dirichlet": wos.Polynomial(rng.standard_normal((3, 3))), "source": wos.Polynomial(rng.standard_normal((3, 3)))}
    options = {**data, "screening": 0.5, "gradient": True, "epsilon": 1e-6, "rng": 3}
    whole = wos.solve(square, [[0.3, 0.4]], walks=300, **options)
    for cut in range(2, 300, 14):
        resumed = wos.solve(square, [[0.3, 0.4]], walks=cut, **options).resume(300 - cut)
        np.testing.assert_array_equal(resumed.state.mean, whole.state.mean)
        np.testing.assert_array_equal(resumed.state.m2, whole.state.m2)
