"""One geometry, one set of data or one set of points serve B instances, as NumPy's axes of length 1 do."""

import numpy as np
import pytest

from quatrefoil import wos

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


def repeated(given):
    """Data of one instance for three."""
    if isinstance(given, list):
        return given * 3
    if isinstance(given, np.ndarray):
        return np.repeat(given, 3)
    parts = {name: x for name, x in vars(given).items() if name not in ("box", "center") or isinstance(x, np.ndarray)}
    axes = {"amplitude": 2, "center": 3, "width": 2, "coefficients": 2 + isinstance(given, wos.Polynomial), "values": 2}
    wide = {name: np.repeat(x, 3, axis=0) if getattr(x, "ndim", 0) == axes[name] else x for name, x in parts.items()}
    if isinstance(given, wos.GridField):
        return wos.GridField(np.repeat(given.values, 3, axis=0), box=given.box)
    return type(given)(**wide)


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
        full = repeated(g) if B == 3 and of == 1 else g
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
