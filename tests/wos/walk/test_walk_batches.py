"""One geometry, one set of data or one set of points is broadcast to B instances, like NumPy axes of length 1."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.data.pack import _parameters
from quatrefoil.wos.data.packed import with_arrays
from wos.domains import SQUARE

X = np.random.default_rng(5).uniform(0.1, 0.9, (4, 2))
POINTS = {"shared": X, "one": X[None], "each": np.stack([X, 0.9 * X, 0.8 * X])}
WHERE = np.array([True, False, False, False])


def polygon(size):
    return wos.Polygon(SQUARE if size is None else np.stack([SQUARE * (1 + 0.5 * b) for b in range(size)]))


def data(size, kind):
    """Data that are positive in the square."""
    rng = np.random.default_rng(7)
    lead = () if size is None else (size,)

    def draw(*shape):
        return rng.uniform(0.5, 1.5, shape)

    if kind in ("list", "functions"):
        if size is None:
            return 1.5
        return [wos.Fourier(f * np.ones(3)) if kind == "list" else lambda Y, f=f: f * Y[:, 0] for f in draw(size)]
    return {
        "numbers": draw(size) if size else 1.5,
        "fourier": wos.Fourier(draw(*lead, 5)),
        "amplitudes": wos.Gaussians(draw(*lead, 2), draw(2, 2), 0.5),
        "widths": wos.Gaussians(draw(2), draw(*lead, 2, 2), draw(*lead, 2)),
        "centers": wos.Gaussians(draw(*(lead and (1,)), 2), draw(*lead, 2, 2), draw(2)),
        "polynomial": wos.Polynomial(draw(*lead, 2, 3)),
        "grid": wos.GridField(draw(*lead, 3, 3), box=([0.0, 0.0], [2.0, 2.0])),
        "per_vertex": wos.PerVertex(draw(*lead, 4)),
    }[kind]


KINDS = ["numbers", "fourier", "amplitudes", "widths", "centers", "polynomial", "grid", "per_vertex", "list", "functions"]


def spelled(value, B):
    """The same data, repeated for each of B instances."""
    if isinstance(value, list):
        return value * (B // len(value))
    if isinstance(value, (float, np.ndarray)):
        return np.array(np.broadcast_to(value, B))
    axes = {id(x): n for x, n in _parameters(value, 2)}
    return with_arrays(value, lambda x: np.array(np.broadcast_to(x, (B, *x.shape[x.ndim - axes[id(x)] :]))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", list(POINTS))
@pytest.mark.parametrize("size", [None, 1, 3])
def test_broadcast_arguments_equal_repeated_ones(size, points, kind, backend):
    """Gradients of broadcast arguments are sums over the instances."""
    boundary, P, run = polygon(size), POINTS[points], {"source": np.array([1.0]), "walks": 4, "rng": 3}
    for count in (1, 3):
        g = data(count, kind)
        B = 3 if 3 in (size, count) or points == "each" else 1
        whole = boundary if size == 3 or B == 1 else wos.Polygon(np.stack([SQUARE] * B))
        full = spelled(g, B) if count == 1 or kind == "centers" else g
        wide = np.array(np.broadcast_to(P, (B, 4, 2)))
        result, expected = wos.solve(boundary, P, dirichlet=g, **run), wos.solve(whole, wide, dirichlet=full, **run)
        assert result.value.shape == (B, 4)
        np.testing.assert_array_equal(result.value, expected.value)
        np.testing.assert_array_equal(result.resume(4).value, expected.resume(4).value)
        if kind in ("list", "functions"):
            continue
        dx, dg, _ = wos.solve_vjp(boundary, P, np.ones((B, 4)), dirichlet=g, **run)
        assert dx.shape == P.shape
        for name, each in wos.solve_vjp(whole, wide, np.ones((B, 4)), dirichlet=full, **run)[1].items():
            assert dg[name].shape == np.shape(g if name == "value" else getattr(g, name))
            total = each if dg[name].shape == each.shape else each.sum(axis=0).reshape(dg[name].shape)
            np.testing.assert_allclose(dg[name], total, rtol=1e-12, atol=1e-14)


GEOMETRIES = {
    "polygon": wos.Polygon(SQUARE), "one of a batch": wos.Polygon(SQUARE[None]), "ball": wos.Ball([0.5, 0.5], 1.0),
    "box": wos.Box([0, 0], [1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["numbers", "widths", "polynomial"])
@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_sixteen_in_one_geometry(name, kind, best_backend):
    """16 sets of data combined with a single set or a number give the same bits as 16 explicit copies."""
    boundary, plane = GEOMETRIES[name], name in ("polygon", "one of a batch")
    cases = [{"dirichlet": a, "source": b} for a in (16, 1, None) for b in (16, 1, None)]
    cases += [{"dirichlet": None, "diffusion": 16}, {"dirichlet": 16, "diffusion": 1}, {"dirichlet": 1, "screening": 16}]
    cases += [{"dirichlet": None, "flux": 16}, {"dirichlet": 16, "flux": 1}] if plane else []

    def solve(boundary, data):
        walls = {"neumann": (WHERE, data.pop("flux"))} if "flux" in data else {}
        return wos.solve(boundary, X, **data, **walls, walks=2, rng=3, max_steps=30).value

    for sizes in cases:
        inputs, B = {part: data(size, kind) for part, size in sizes.items()}, 16 if 16 in sizes.values() else 1
        batched = B > 1 or 1 in sizes.values() or name == "one of a batch"
        whole = wos.Polygon(np.stack([SQUARE] * B)) if plane else boundary
        expected, result = solve(whole, {part: spelled(x, B) for part, x in inputs.items()}), solve(boundary, dict(inputs))
        assert result.shape == ((B, 4) if batched else (4,))
        np.testing.assert_array_equal(result.reshape(B, 4), expected.reshape(B, 4))


def test_walls_of_each_instance(best_backend):
    """where and mu with a leading B for one polygon give the same result as B equal polygons."""
    where, mu = np.arange(4) == np.array([[0], [1], [2]]), np.arange(12.0).reshape(3, 4)
    three = wos.Polygon(np.stack([SQUARE] * 3))
    g, run = wos.PerVertex(np.arange(4.0)), {"walks": 4, "rng": 1, "max_steps": 50, "gradient": True}
    assert wos.solve(polygon(3), X, dirichlet=1.0, neumann=(WHERE[None], 1.0), **run).value.shape == (3, 4)
    for walls in ({"neumann": (where, g)}, {"robin": (where, mu, 1.0)}, {"robin": (WHERE, mu, g)}, {"robin": (where, 1.0, 2.0)}):
        for one in (polygon(None), polygon(1)):
            result, expected = (wos.solve(boundary, X, dirichlet=g, **walls, **run) for boundary in (one, three))
            assert result.value.shape == (3, 4)
            np.testing.assert_array_equal(result.value, expected.value)
            np.testing.assert_array_equal(result.grad, expected.grad)
        got, expected = (wos.solve_vjp(boundary, X, np.ones((3, 4)), dirichlet=g, **walls, **run) for boundary in (polygon(None), three))
        np.testing.assert_array_equal(got[1]["values"], expected[1]["values"])
    with pytest.raises(ValueError, match="robin's where has 2 rows, expected one for each of 3 boundaries"):
        wos.solve(polygon(None), X, dirichlet=1.0, robin=(where[:2], mu, 1.0), **run)


def test_queries(backend):
    for q in (X, X[:1][0], POINTS["one"], POINTS["each"], POINTS["each"][:, None]):
        for size in (1, 3):
            B = 3 if size == 3 or (q.ndim > 2 and len(q) == 3) else 1
            whole = polygon(3) if size == 3 else wos.Polygon(np.stack([SQUARE] * B))
            wide = np.array(np.broadcast_to(q, (B, *q.shape[1:]))) if q.ndim > 2 else q
            for question in (wos.contains, wos.signed_distance):
                result = question(polygon(size), q)
                assert result.shape == (B, *(q.shape[:-1] if q.ndim < 3 else q.shape[1:-1]))
                np.testing.assert_array_equal(result, question(whole, wide))
            for a, b in zip(wos.closest_point(polygon(size), q), wos.closest_point(whole, wide)):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="with B = 3 as in boundary"):
        wos.contains(polygon(3), np.stack([X] * 2))
