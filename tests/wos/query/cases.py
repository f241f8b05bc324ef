"""Cases for queries. Points avoid ties that rounding could change: equally close segments or triangles, and the boundary."""

import numpy as np

import quatrefoil as qf
from case import Case, ShapesOnly

from . import oracle

CLEAR = 1e-3  # relative to the extent


def _polygons(rng, count):
    tables = []
    for b in range(count):
        n = 3 + 2 * b
        t = 2 * np.pi * (np.arange(n) + rng.uniform(0, 0.7, n)) / n
        ring = rng.uniform(0.2, 0.5, (n, 1)) * np.stack([np.cos(t), np.sin(t)], axis=1)
        tables.append(np.concatenate([ring, np.roll(ring, -1, axis=0)], axis=1))
    return tables


def _mesh(rng, name):
    V, F = {
        "tetrahedron": oracle.tetrahedron,
        "ball": lambda: oracle.icosphere(2, 0.1),
        "large": lambda: oracle.icosphere(3, 0.1),
        "needles": lambda: oracle.needles(rng, thickness=1e-2),
        "gaps": lambda: oracle.icosphere(1),
    }[name]()
    if name == "gaps":
        F = F[rng.permutation(len(F))[:77]]
    V = V @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    low, high = V.min(axis=0), V.max(axis=0)
    V = (V - (low + high) / 2) / (high - low).max()
    return V[F[:, rng.permutation(3)] if name == "tetrahedron" else F].reshape(-1, 9)


def _clear(x, facets, min_distance):
    """Select points that have a unique closest facet by a margin and are not close to the boundary."""
    if facets is None:
        return np.abs(np.linalg.norm(x, axis=-1) - 1) > min_distance
    if oracle.is_box(facets, x):
        d = np.sort(oracle.box_faces(facets[0], x)[0], axis=1)
    else:
        d = np.sqrt(np.sort(oracle.all_distances(facets, x)[0], axis=1)[:, :2])
    return (d[:, 0] > min_distance) & (d[:, 1] - d[:, 0] > CLEAR)


def _case(op, name, N, *, d=2, B=1, rings=0, mesh=None, box=False, shared=False, min_distance=CLEAR, **options):
    def make(rng):
        tables = _polygons(rng, rings) if rings else [_mesh(rng, mesh)] if mesh else [rng.uniform(0.3, 0.5, (1, d))] if box else [None]
        frame = np.concatenate([rng.standard_normal((B, d)), rng.uniform(0.5, 2, (B, 1))], axis=1)
        if shared:
            frame[:] = frame[0]
        rows, clear = [], (lambda x, *_: np.ones(len(x), bool)) if isinstance(rng, ShapesOnly) else _clear
        for b in range(1 if shared else B):
            x = np.zeros((0, d))
            while len(x) < N:
                more = rng.uniform(-1.0, 1.0, (4 * N + 8, d))
                clear_of = [clear(more, table, min_distance) for table in (tables if shared else [tables[b if len(tables) > 1 else 0]])]
                x = np.concatenate([x, more[np.all(clear_of, axis=0)]])
            rows.append(frame[b, :d] + frame[b, d] * x[:N])
        points = rows[0] if shared else np.array(rows).reshape(B, N, d)
        facets = (None, None) if tables[0] is None else (np.concatenate(tables), np.cumsum([0, *map(len, tables)]))
        return [points, frame, *facets], options

    return Case(op, name, make)


CASES = [
    _case("nearest", "tetrahedron", 7, d=3, mesh="tetrahedron", weights=True),
    _case("nearest", "mesh", 101, d=3, mesh="ball", weights=True, sign=True),
    _case("nearest", "large-mesh", 24, d=3, mesh="large", weights=True),
    _case("nearest", "mesh-distances", 33, d=3, mesh="ball", where=False, sign=True),
    _case("nearest", "mesh-shared", 5, d=3, mesh="ball", shared=True),
    _case("nearest", "mesh-with-gaps", 20, d=3, mesh="gaps", sign=True, closed=False),
    _case("nearest", "needles", 40, d=3, mesh="needles"),
    _case("nearest", "one-point", 1, d=3, mesh="ball", weights=True, min_distance=0.05),  # errors are relative to this single distance
    _case("nearest", "polygon", 50, rings=1, weights=True, sign=True),
    _case("nearest", "polygons", 9, B=3, rings=3, weights=True),
    _case("nearest", "polygon-for-all", 9, B=3, rings=1, sign=True),
    _case("nearest", "polygons-shared", 6, B=2, rings=2, shared=True, weights=True),
    _case("nearest", "disc", 20, B=2, sign=True),
    _case("nearest", "ball", 20, d=3),
    _case("nearest", "box", 30, B=2, box=True, sign=True),
    _case("nearest", "box-in-space", 30, d=3, B=2, box=True),
    _case("nearest", "box-in-five", 30, d=5, box=True, sign=True),
    _case("nearest", "ball-in-five", 9, d=5, sign=True),
    _case("inside", "tetrahedron", 40, d=3, mesh="tetrahedron"),
    _case("inside", "mesh", 101, d=3, mesh="ball"),
    _case("inside", "large-mesh", 24, d=3, mesh="large"),
    _case("inside", "needles", 60, d=3, mesh="needles"),
    _case("inside", "mesh-with-gaps", 60, d=3, mesh="gaps", closed=False),
    _case("inside", "polygons", 40, B=2, rings=2),
    _case("inside", "polygons-shared", 9, B=2, rings=2, shared=True),
    _case("inside", "ball", 20, d=3),
    _case("inside", "box", 40, d=3, box=True),
    _case("inside", "box-in-four", 40, d=4, box=True),
]


def _drawn(op):
    def draw(rng):
        N, options = int(rng.integers(0, 80)), {}
        if op == "nearest":
            options = {"where": bool(rng.integers(2)), "sign": bool(rng.integers(2))}
        if rng.random() < 0.6:
            return _case(op, "drawn", N, d=3, mesh=str(rng.choice(["tetrahedron", "ball", "large", "needles"])), **options)
        B = int(rng.integers(1, 4))
        if rng.random() < 0.3:
            return _case(op, "drawn", N, B=B, d=int(rng.integers(2, 7)), box=bool(rng.integers(2)), **options)
        return _case(op, "drawn", N, B=B, rings=int(rng.choice([1, B])), shared=bool(rng.integers(2)), **options)

    return draw


DRAWN = {"nearest": _drawn("nearest"), "inside": _drawn("inside")}


def attack_queries(rng, backend):
    """A mesh in any unit of length: points displaced from a face are on the correct side, at the correct distance."""
    V, F = oracle.icosphere(int(rng.integers(0, 3)), 0.1)
    scale, shift = 10.0 ** rng.uniform(-6, 6), rng.standard_normal(3)
    mesh = qf.wos.TriangleMesh(scale * (V + shift), F)
    k, w = rng.integers(len(F), size=30), rng.dirichlet([3, 3, 3], 30)
    a, b, c = np.moveaxis(V[F[k]], 1, 0)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    away = rng.choice([-1e-4, 1e-4, -1e-8, 1e-8], (30, 1))
    q = scale * ((w[..., None] * V[F[k]]).sum(axis=1) + away * normal + shift)
    signed = qf.wos.signed_distance(mesh, q, backend=backend)
    np.testing.assert_allclose(signed, scale * away[:, 0], rtol=0, atol=1e-13 * scale)
    assert np.array_equal(qf.wos.contains(mesh, q, backend=backend), away[:, 0] < 0)
    distance, at, primitive, weights = qf.wos.closest_point(mesh, q, backend=backend)
    assert np.array_equal(primitive, k)
    np.testing.assert_allclose((weights[..., None] * mesh.vertices[mesh.triangles[primitive]]).sum(axis=1), at, rtol=0, atol=1e-13 * scale)
    assert np.array_equal(distance, np.abs(signed))


ATTACKS = [attack_queries]
