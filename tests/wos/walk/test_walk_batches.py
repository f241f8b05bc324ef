"""One geometry, one set of data or one set of points serve B instances, as NumPy's axes of length 1 do."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.data.pack import _parameters
from quatrefoil.wos.data.packed import with_arrays

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
RNG = np.random.default_rng(5)
X = RNG.uniform(0.1, 0.9, (4, 2))
POINTS = {"shared": X, "one": X[None], "each": np.stack([X, 0.9 * X, 0.8 * X])}
WHERE = np.array([True, False, False, False])


def polygon(size):
    return wos.Polygon(SQUARE if size is None else np.stack([SQUARE * (1 + 0.5 * b) for b in range(size)]))


def data(size, kind):
    rng = np.random.default_rng(7)
    lead = () if size is None else (size,)
    if kind in ("list", "functions"):
        if size is None:
            return 1.5
        factors = rng.normal(size=size)
        return [wos.Fourier(f * np.ones(3)) for f in factors] if kind == "list" else [lambda Y, f=f: f * Y[:, 0] for f in factors]
    return {
        "numbers": rng.normal(size=size) if size else 1.5,
        "fourier": wos.Fourier(rng.normal(size=(*lead, 5))),
        "amplitudes": wos.Gaussians(rng.normal(size=(*lead, 2)), rng.normal(size=(2, 2)), 0.5),
        "widths": wos.Gaussians(rng.normal(size=2), rng.normal(size=(*lead, 2, 2)), rng.uniform(0.5, 1, (*lead, 2))),
        "polynomial": wos.Polynomial(rng.normal(size=(*lead, 2, 3))),
        "grid": wos.GridField(rng.normal(size=(*lead, 3, 3)), box=([0.0, 0.0], [2.0, 2.0])),
        "per_vertex": wos.PerVertex(rng.normal(size=(*lead, 4))),
    }[kind]


def spelled(given, B):
    """The same data for each of B instances."""
    if isinstance(given, list):
        return given * (B // len(given))
    if isinstance(given, (float, np.ndarray)):
        return np.array(np.broadcast_to(given, B))
    axes = {id(x): n for x, n in _parameters(given, 2)}
    return with_arrays(given, lambda x: np.array(np.broadcast_to(x, (B, *x.shape[x.ndim - axes[id(x)] :]))))


@pytest.mark.parametrize("kind", ["numbers", "fourier", "amplitudes", "widths", "polynomial", "grid", "per_vertex", "list", "functions"])
@pytest.mark.parametrize("points", list(POINTS))
@pytest.mark.parametrize("size", [None, 1, 3])
def test_one_serves_all(size, points, kind, backend):
    given, P = polygon(size), POINTS[points]
    for of in (1, 3):
        g = data(of, kind)
        B = 3 if 3 in (size, of) or points == "each" else 1
        run = {"walks": 4, "rng": 3}
        found = wos.solve(given, P, dirichlet=g, source=np.array([1.0]), **run)
        whole = given if size == 3 or B == 1 else wos.Polygon(np.stack([SQUARE] * B))
        full = spelled(g, B) if of == 1 else g
        wide = np.array(np.broadcast_to(P, (B, 4, 2)))
        expected = wos.solve(whole, wide, dirichlet=full, source=np.ones(B), **run)
        assert found.value.shape == (B, 4)
        np.testing.assert_array_equal(found.value, expected.value)
        np.testing.assert_array_equal(found.resume(4).value, expected.resume(4).value)
        if kind not in ("list", "functions"):
            dx, dg, _ = wos.solve_vjp(given, P, np.ones((B, 4)), dirichlet=g, source=np.array([1.0]), **run)
            assert dx.shape == P.shape
            for name, gradient in dg.items():
                assert gradient.shape == np.shape(g if name == "value" else getattr(g, name))


def test_other_options(best_backend):
    for more in ({"neumann": (WHERE[None], 1.0)}, {"diffusion": wos.Polynomial(np.array([[1.0, 0.2], [0.1, 0.3]]))}):
        for given, g in ((polygon(1), np.array([1.0, 2.0, 3.0])), (polygon(3), np.array([1.0]))):
            assert wos.solve(given, X, dirichlet=g, walks=4, rng=0, **more).value.shape == (3, 4)


SIXTEEN = np.random.default_rng(9)
LEADING = {
    "numbers": lambda lead: SIXTEEN.uniform(1, 2, lead) if lead else 1.5,
    "bells": lambda lead: wos.Gaussians(
        SIXTEEN.uniform(1, 2, (*lead, 2)), SIXTEEN.normal(size=(*lead, 2, 2)), SIXTEEN.uniform(0.5, 1, (*lead, 2))
    ),
    "powers": lambda lead: wos.Polynomial(SIXTEEN.uniform(1, 2, (*lead, 2, 2))),
}  # fmt: skip
GEOMETRIES = {
    "polygon": wos.Polygon(SQUARE), "one of a batch": wos.Polygon(SQUARE[None]), "ball": wos.Ball([0.5, 0.5], 1.0),
    "box": wos.Box([0, 0], [1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(LEADING))
@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_sixteen_in_one_geometry(name, kind, best_backend):
    """16 data against 1, or a number: the bits of 16 spelled out."""
    boundary, plane = GEOMETRIES[name], name in ("polygon", "one of a batch")
    cases = [{"dirichlet": a, "source": b} for a in ((16,), (1,), ()) for b in ((16,), (1,), ())]
    cases += [{"dirichlet": (), "diffusion": (16,)}, {"dirichlet": (16,), "diffusion": (1,)}, {"dirichlet": (1,), "screening": (16,)}]
    cases += [{"dirichlet": (), "flux": (16,)}, {"dirichlet": (16,), "flux": (1,)}] if plane else []
    for leads in cases:
        data = {part: LEADING[kind](lead) for part, lead in leads.items()}

        def solve(boundary, data):
            walls = {"neumann": (WHERE, data.pop("flux"))} if "flux" in data else {}
            return wos.solve(boundary, X, **data, **walls, walks=2, rng=3, max_steps=30).value

        B = 16 if (16,) in leads.values() else 1
        batched = B > 1 or (1,) in leads.values() or name == "one of a batch"
        whole = wos.Polygon(np.stack([SQUARE] * B)) if plane else boundary
        expected = solve(whole, {part: spelled(x, B) for part, x in data.items()})
        found = solve(boundary, dict(data))
        assert found.shape == ((B, 4) if batched else (4,))
        np.testing.assert_array_equal(found.reshape(B, 4), expected.reshape(B, 4))


@pytest.mark.parametrize("leads", [((16,), (), ()), ((16,), (1,), ()), ((1,), (16,), (1,)), ((), (1,), (16,)), ((1,), (), (1,))])
def test_parameters_of_bells(leads, backend, rng):
    a, c, w = (rng.uniform(0.5, 1, (*lead, *inner)) for lead, inner in zip(leads, ((2,), (2, 2), (2,))))
    B = max(sum(leads, ()))
    wide = (np.array(np.broadcast_to(x, (B, *inner))) for x, inner in zip((a, c, w), ((2,), (2, 2), (2,))))
    run = {"walks": 2, "rng": 1}
    bells, full = wos.Gaussians(a, c, w), wos.Gaussians(*wide)
    np.testing.assert_array_equal(bells(X), full(X))
    found, expected = (wos.solve(polygon(None), X, dirichlet=g, **run).value for g in (bells, full))
    np.testing.assert_array_equal(found, expected)
    got, summed = (wos.solve_vjp(polygon(None), X, np.ones((B, 4)), dirichlet=g, **run)[1] for g in (bells, full))
    for name, x in got.items():
        assert x.shape == getattr(bells, name).shape
        total = summed[name] if x.shape[0] == B and x.ndim == summed[name].ndim else summed[name].sum(axis=0).reshape(x.shape)
        np.testing.assert_allclose(x, total, rtol=1e-12, atol=1e-15)


def test_walls_of_each_instance(best_backend):
    """where and mu with a leading B, of one polygon: those of as many equal polygons."""
    where, mu = np.arange(4) == np.array([[0], [1], [2]]), np.arange(12.0).reshape(3, 4)
    three = wos.Polygon(np.stack([SQUARE] * 3))
    g, run = wos.PerVertex(np.arange(4.0)), {"walks": 4, "rng": 1, "max_steps": 50, "gradient": True}
    for walls in ({"neumann": (where, g)}, {"robin": (where, mu, 1.0)}, {"robin": (WHERE, mu, g)}, {"robin": (where, 1.0, 2.0)}):
        for one in (polygon(None), polygon(1)):
            found, expected = (wos.solve(of, X, dirichlet=g, **walls, **run) for of in (one, three))
            assert found.value.shape == (3, 4)
            np.testing.assert_array_equal(found.value, expected.value)
            np.testing.assert_array_equal(found.grad, expected.grad)
        got, expected = (wos.solve_vjp(of, X, np.ones((3, 4)), dirichlet=g, **walls, **run) for of in (polygon(None), three))
        np.testing.assert_array_equal(got[1]["values"], expected[1]["values"])
    with pytest.raises(ValueError, match="robin's where has 2 rows, expected one for each of 3 boundaries"):
        wos.solve(polygon(None), X, dirichlet=1.0, robin=(where[:2], mu, 1.0), **run)


def test_stars_of_one_and_many():
    one, many = wos.Star(np.array([0.1]), np.array([0.0, 0.05])), wos.Star(np.array([0.1, 0.1]), np.array([0.0, 0.05]))
    np.testing.assert_array_equal(one.vertices, many.vertices)


def test_queries(backend):
    for q in (X, X[:1][0], POINTS["one"], POINTS["each"], POINTS["each"][:, None]):
        for size in (1, 3):
            B = 3 if size == 3 or (q.ndim > 2 and len(q) == 3) else 1
            whole = polygon(3) if size == 3 else wos.Polygon(np.stack([SQUARE] * B))
            wide = np.array(np.broadcast_to(q, (B, *q.shape[1:]))) if q.ndim > 2 else q
            for of in (wos.contains, wos.signed_distance):
                found = of(polygon(size), q)
                assert found.shape == (B, *(q.shape[:-1] if q.ndim < 3 else q.shape[1:-1]))
                np.testing.assert_array_equal(found, of(whole, wide))
            for a, b in zip(wos.closest_point(polygon(size), q), wos.closest_point(whole, wide)):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="with B = 3 as in boundary"):
        wos.contains(polygon(3), np.stack([X] * 2))


@pytest.mark.torch
def test_gradients_of_shared_tensors():
    torch = pytest.importorskip("torch")
    c = torch.tensor(np.arange(3.0)[None] + 1, requires_grad=True)
    x = torch.tensor(X[None], requires_grad=True)
    wos.solve(wos.Polygon(torch.tensor(np.stack([SQUARE] * 3))), x, dirichlet=wos.Fourier(c), walks=4, rng=0).value.sum().backward()
    assert c.grad.shape == (1, 3)
    assert x.grad.shape == (1, 4, 2)
