"""Cases for walks. Walks are compared one by one, so no step of a case ends within a rounding error of epsilon.

In polygons, walks use bounds of the distance, not the distance as the oracle does, so they start within epsilon of the boundary and end.
"""

import numpy as np

from case import Case, ShapesOnly
from wos.query.oracle import on_box

from . import oracle

CLEAR = 2e-4  # smallest margin of weights; for distances, 0.01 epsilon


def _tables(rng, d, min_size, heads):
    """Rows of coefficients or values, preceded by their sizes and a head. The sizes differ; rows are padded at the end."""
    sizes = rng.integers(min_size, 6, (len(heads), d))
    unpadded = [np.concatenate([n, head, rng.standard_normal(n.prod())]) for n, head in zip(sizes, heads)]
    width = max(map(len, unpadded), default=d) + 2
    return np.array([np.concatenate([row, np.zeros(width - len(row))]) for row in unpadded]).reshape(len(heads), width)


def _numbers(kind, rng, rows, d, frame, pairs=0):
    if kind in ("none", None):
        return None
    if kind == "number":
        return rng.standard_normal((rows, 1))
    if kind == "fourier":
        return np.concatenate([rng.uniform(-0.3, 0.3, (rows, 2)), rng.standard_normal((rows, 5))], axis=1)
    if kind == "per_vertex":
        return rng.standard_normal((rows, round(2 * pairs)))
    if kind == "polynomial":
        return _tables(rng, d, 1, np.zeros((rows, 0)))
    if kind == "grid":  # covers a part of this frame, so that some points are clamped
        at = np.resize(frame, (rows, d + 2)) if len(frame) else np.ones((rows, d + 2))
        return _tables(rng, d, 2, np.concatenate([at[:, :d] - 0.6 * at[:, d:-1], at[:, :d] + 0.7 * at[:, d:-1]], axis=1))
    bells = np.concatenate(
        [rng.uniform(0.5, 1, (rows, 3, 1)), rng.uniform(-0.5, 0.5, (rows, 3, d)), rng.uniform(0.5, 2, (rows, 3, 1))], axis=2
    )
    return bells.reshape(rows, 3 * (d + 2))


def clear_points(rng, shape, draw, margins):
    """Points (B, N, d) from which no walk comes close to a decision, each drawn until it is clear, or None if that fails.

    ``margins``: a function from points to the margins of the walks of every instance. Points that are already clear are NaN.
    """
    start, pending = np.zeros(shape), np.ones(shape[:2], bool)
    for _ in range(60):
        start[pending] = draw(pending.sum())
        if isinstance(rng, ShapesOnly):
            return start
        smallest = np.array([margin.min(axis=1) for margin in margins(np.where(pending[..., None], start, np.nan))])
        pending &= smallest.reshape(pending.shape) <= CLEAR
        if not pending.any():
            return start
    return None


def _ball(B, N, g, f="none", *, d=2, rows=1, epsilon=0.05, outside=0, box=False, **options):
    """Points of the unit ball, or of a box."""

    def make(rng):
        frame = np.concatenate([rng.standard_normal((B, d)), rng.uniform(0.5, 2, (B, 1)), np.full((B, 1), epsilon)], axis=1)
        seed = int(rng.integers(-(2**63), 2**63))
        ends, first = (rng.uniform(0.5, 1.0, (1, d)), np.array([0, 1])) if box else (None, None)
        defaults = {"screening": 0.0, "first_instance": 0, "first_point": 0, "sobol": False}
        defaults |= {"seed": seed, "first_walk": 0, "walks": 8, "max_steps": 1024, "gradient": False}
        run = [options.get(name, default) for name, default in defaults.items()]

        def draw(n):
            return ends[0] * rng.uniform(-0.9, 0.9, (n, d)) if box else oracle.disc_points(rng, n, 0.9, d)

        start = clear_points(rng, (B, N, d), draw, lambda x: [walked.margin for walked in oracle.paths_of_all(x, frame, ends, first, *run)])
        if start is None:
            return make(rng)
        start[:, :outside] = np.nan
        inputs = [start, frame, ends, first, _numbers(g, rng, rows, d, frame), _numbers(f, rng, rows, d, frame)]
        return inputs, {"dirichlet_kind": g, "source_kind": f, "seed": seed, "walks": 8, **options}

    return make


def _polygon(B, N, g, *, rings=1, rows=1, **options):
    """Points within epsilon of polygons with odd numbers of sides: one polygon for all instances, or one each."""

    def make(rng):
        tables = []
        for _ in range(rings):
            t = 2 * np.pi * (np.arange(5 + 2 * len(tables)) + rng.uniform(0, 1)) / (5 + 2 * len(tables))
            ring = rng.uniform(0.2, 0.45, (len(t), 1)) * np.stack([np.cos(t), np.sin(t)], axis=1)
            tables.append(oracle.segments([ring]))
        frame = np.concatenate([np.zeros((B, 2)), np.ones((B, 1)), np.full((B, 1), 0.02)], axis=1)
        start = np.empty((B, N, 2))
        for b in range(B):
            segs = tables[b if rings > 1 else 0]
            side, at = segs[rng.integers(len(segs), size=N)], rng.uniform(0.2, 0.8, (N, 1))
            away = (side[:, 2:] - side[:, :2]) @ np.array([[0, 1.0], [-1, 0]])
            start[b] = side[:, :2] + at * (side[:, 2:] - side[:, :2]) + 0.003 * away / np.hypot(*away.T)[:, None]
        first = np.cumsum([0, *map(len, tables)])
        ends = np.concatenate(tables)
        pairs = len(ends)
        return [start, frame, ends, first, _numbers(g, rng, rows, 2, frame, pairs), None], {
            "dirichlet_kind": g, "seed": 5, "walks": 3, **options,
        }  # fmt: skip

    return make


def _place_case(B, N, *, d=2, ring=False, box=False, shared=False):
    """Points inside and outside the ball, a triangle or a box, none of them within a rounding error of an edge."""

    def make(rng):
        frame = np.concatenate([rng.standard_normal((B, d)), rng.uniform(0.5, 2, (B, 1)), np.full((B, 1), 0.1)], axis=1)
        triangle = np.array([[-0.4, -0.5], [0.5, -0.1], [0.1, 0.5]])
        ends, first = (oracle.segments([triangle]), np.array([0, 3])) if ring else (None, None)
        if box:
            ends, first = rng.uniform(0.4, 0.5, (1, d)), np.array([0, 1])
        x = rng.uniform(-1.3, 1.3, (400 * (B * N + 1), d)) * (0.5 if ring or box else 1)
        if box:
            distance = on_box(ends[0], x)[0]
        else:
            distance = oracle.closest(ends, x)[0] if ring else abs(np.linalg.norm(x, axis=1) - 1)
        if shared:
            scaled = 0.05 * x[(distance > 0.2) & oracle.contained(ends, x)][:N]
            frame[:, : d + 1] = frame[0, : d + 1]
            return [scaled * frame[0, d] + frame[0, :d], frame, ends, first], {}
        scaled = x[(distance > 1e-3) & (abs(distance - 0.1) > 1e-3)][: B * N].reshape(B, N, d)
        return [scaled * frame[:, d, None, None] + frame[:, None, :d], frame, ends, first], {}

    return make


def _balls(B, N, *, d=2, ring=False, screening=0.0):
    """Points close to the boundary, where a polygon's walks use the exact distance."""

    def make(rng):
        if ring:
            inputs = _polygon(B, N, "number")(rng)[0][:4]
        else:
            frame = np.concatenate([rng.standard_normal((B, d)), rng.uniform(0.5, 2, (B, 1)), np.full((B, 1), 1e-3)], axis=1)
            inputs = [oracle.disc_points(rng, B * N, 0.95, d).reshape(B, N, d), frame, None, None]
        return inputs, {"screening": screening}

    return make


def _traced(N, *, events=0, polygon=False, **options):
    """The walks of one instance."""

    def make(rng):
        inputs, keywords = _polygon(1, N, "number")(rng) if polygon else _ball(1, N, "number", **options)(rng)
        run = {"walks": keywords["walks"], "seed": keywords["seed"], "sourced": events > 0, "events": events}
        names = ("first_walk", "max_steps", "screening", "first_point", "walks", "sobol")
        return inputs[:4], run | {name: options[name] for name in names if name in options}

    return make


def _expansion(B, N, g, *, samples=2, modes=5, **options):
    """Walks in pairs, and a reference."""

    def make(rng):
        run = {"walks": 8, **options, "gradient": True}
        first = run.pop("first_point", 0)
        inputs, keywords = _ball(B, N + first, g, **run)(rng)
        start, frame, _, _, dirichlet, _ = inputs
        del keywords["gradient"], keywords["source_kind"]
        reference = rng.standard_normal((B, N))
        return [np.ascontiguousarray(start[:, first:]), frame, None, None, dirichlet, reference], {
            **keywords, "samples": samples, "modes": modes, "first_point": first,
        }  # fmt: skip

    return make


def _gathered(K, N, *, d=2, samples=3, modes=6, screened=False, max_balls=3):
    def make(rng):
        count = np.array([0, *rng.integers(0, max_balls + 1, N)]) if K else np.zeros(N + 1, int)
        begin = np.cumsum(count).astype(np.int64)
        P = int(begin[-1])
        offset = oracle.disc_points(rng, P, 0.7, d)
        offset[:1] = 0
        z2 = rng.uniform(0, 4, K) if screened else np.zeros(K)
        coefficients = rng.standard_normal((K, samples, oracle.harmonics(np.eye(d), modes).shape[-1]))
        return [coefficients, z2, begin, rng.integers(0, max(K, 1), P), offset, rng.uniform(0, 1, P)], {"modes": modes}

    return make


CASES = [
    Case("walk", "small", _ball(1, 2, "fourier", "gaussians", walks=3)),
    Case("walk", "batch", _ball(2, 3, "gaussians", "fourier", rows=2, walks=4)),
    Case("walk", "space", _ball(2, 3, "gaussians", "gaussians", d=3, first_walk=5, walks=7)),
    Case("walk", "one-walk", _ball(1, 6, "fourier", first_walk=1000003, walks=1)),
    Case("walk", "many-nodes", _ball(1, 3, "fourier", "number", first_walk=3, walks=27)),
    Case("walk", "cut-off", _ball(1, 9, "number", "gaussians", max_steps=2)),
    Case("walk", "some-outside", _ball(2, 5, "fourier", "number", outside=2)),
    Case("walk", "many-instances", _ball(70, 1, "fourier", "gaussians", rows=70, walks=2)),
    # A grid is evaluated once per walk. As a source, finite differences would meet its kinks.
    Case("walk", "many-instances-of-tables", _ball(70, 1, "grid", "polynomial", rows=70, walks=2)),
    Case("walk", "part", _ball(2, 3, "fourier", "gaussians", first_instance=70, first_point=2**32 - 3)),
    Case("walk", "part-in-pairs", _ball(1, 3, "gaussians", "number", d=3, rows=1, gradient=True, first_instance=2**31 + 1, first_point=5)),
    Case("walk", "pairs", _ball(2, 3, "fourier", "gaussians", gradient=True)),
    Case("walk", "pairs-no-source", _ball(1, 4, "fourier", gradient=True, first_walk=6, walks=14)),
    Case("walk", "pairs-in-space", _ball(2, 3, "gaussians", "number", d=3, rows=2, gradient=True, walks=6)),
    Case("walk", "screened", _ball(2, 4, "fourier", "gaussians", screening=1.5)),
    Case("walk", "strongly-screened", _ball(1, 5, "gaussians", "gaussians", screening=90.0)),
    Case("walk", "screened-pairs", _ball(2, 3, "fourier", "gaussians", gradient=True, screening=4.0)),
    Case("walk", "screened-pairs-in-space", _ball(1, 4, "number", "gaussians", d=3, gradient=True, screening=9.0, outside=1)),
    Case("walk", "polynomials-in-space", _ball(2, 3, "polynomial", "polynomial", d=3, rows=2, walks=5)),
    Case("walk", "grids-in-space", _ball(2, 3, "grid", "grid", d=3, rows=2, walks=5)),
    Case("walk", "grid-for-all", _ball(3, 2, "number", "grid")),
    Case("walk", "box", _ball(2, 4, "fourier", "gaussians", box=True, walks=5)),
    Case("walk", "box-in-space", _ball(1, 3, "polynomial", "number", d=3, box=True, gradient=True, screening=2.0)),
    Case("walk", "four-dimensions", _ball(2, 3, "gaussians", "polynomial", d=4, rows=2, walks=5, screening=3.0, outside=1)),
    Case("walk", "five-dimensions-pairs", _ball(1, 3, "polynomial", "gaussians", d=5, gradient=True, screening=1.0)),
    Case("walk", "twelve-dimensions", _ball(1, 3, "gaussians", "number", d=12, gradient=True, screening=2.0)),
    Case("walk", "twenty-five-dimensions", _ball(1, 2, "gaussians", "gaussians", d=25, screening=1.0, walks=4)),
    Case("walk", "box-in-six", _ball(1, 3, "gaussians", "number", d=6, box=True, gradient=True, first_walk=6, first_point=3)),
    Case("walk", "box-in-seven-cut-off", _ball(2, 2, "number", "gaussians", d=7, box=True, max_steps=3, walks=4)),
    Case("walk", "polygons-polynomial", _polygon(2, 9, "polynomial", rings=2, rows=2)),
    Case("walk", "polygon-grid", _polygon(3, 9, "grid")),
    Case("walk", "polygon-per-vertex", _polygon(1, 20, "per_vertex")),
    Case("walk", "polygon-per-vertex-rows", _polygon(3, 9, "per_vertex", rows=3)),
    Case("walk", "polygons-per-vertex", _polygon(3, 9, "per_vertex", rings=3)),
    Case("walk", "polygon-fourier", _polygon(2, 9, "fourier")),
    Case("walk", "right-hand-sides", _ball(1, 3, "fourier", "gaussians", rows=19, nrhs=19, gradient=True)),
    Case("walk", "right-hand-sides-screened", _ball(1, 2, "gaussians", "polynomial", d=3, rows=3, nrhs=3, screening=2.0, outside=1)),
    Case("walk", "right-hand-sides-in-five", _ball(1, 2, "polynomial", "gaussians", d=5, rows=3, nrhs=3, gradient=True, walks=4)),
    Case("walk", "one-source-for-all", _ball(1, 3, "grid", "number", nrhs=3, first_walk=5, walks=11)),
    Case("walk", "right-hand-sides-per-vertex", _polygon(1, 9, "per_vertex", rows=70, nrhs=70)),
    Case("walk", "sobol", _ball(2, 3, "fourier", "gaussians", sobol=True, first_walk=5, walks=23)),
    Case("walk", "sobol-in-space", _ball(1, 4, "gaussians", "number", d=3, sobol=True, screening=2.0, first_walk=2**20 + 1, outside=1)),
    Case("walk", "sobol-pairs", _ball(2, 3, "fourier", "gaussians", sobol=True, gradient=True, first_walk=6, walks=18)),
    Case("walk", "sobol-pairs-in-space", _ball(1, 3, "gaussians", "number", d=3, sobol=True, gradient=True, first_point=7)),
    Case("balls", "disc", _balls(2, 37)),
    Case("balls", "space", _balls(1, 9, d=3)),
    Case("balls", "screened", _balls(2, 20, screening=8.0)),
    Case("balls", "polygon", _balls(2, 19, ring=True)),
    Case("expand", "plane", _expansion(1, 3, "fourier")),
    Case("expand", "instances", _expansion(2, 2, "gaussians", samples=4, first_point=2, first_walk=6)),
    Case("expand", "space", _expansion(1, 3, "gaussians", d=3, modes=4, samples=1)),
    Case("expand", "many-walks", _expansion(1, 2, "fourier", walks=32, samples=2, modes=9)),
    Case("expand", "constant-term", _expansion(1, 2, "number", modes=0)),
    Case("expand", "screened", _expansion(2, 2, "fourier", screening=3.0)),
    Case("gather", "disc", _gathered(4, 9)),
    Case("gather", "space", _gathered(3, 7, d=3, modes=4)),
    Case("gather", "screened", _gathered(4, 8, screened=True)),
    Case("gather", "screened-space", _gathered(4, 5, d=3, modes=3, screened=True)),
    Case("gather", "none", _gathered(3, 4, max_balls=0)),
    Case("trace", "disc", _traced(3, events=200)),
    Case("trace", "cut", _traced(3, events=20, first_walk=5, walks=7)),
    Case("trace", "ends-only", _traced(4, outside=1, walks=5, first_point=2)),
    Case("trace", "space", _traced(3, d=3, events=150, walks=5, screening=3.0, outside=1)),
    Case("trace", "box-cut-off", _traced(4, box=True, events=60, max_steps=3)),
    Case("trace", "screened", _traced(4, events=60, screening=60.0)),
    Case("trace", "five-dimensions", _traced(2, d=5, events=50, walks=4, screening=2.0)),
    Case("trace", "polygon", _traced(9, polygon=True)),
    Case("trace", "sobol", _traced(3, events=150, sobol=True, first_walk=3, walks=9)),
    Case("place", "ball", _place_case(2, 40)),
    Case("place", "space", _place_case(1, 40, d=3)),
    Case("place", "five-dimensions", _place_case(1, 20, d=5)),
    Case("place", "box", _place_case(2, 20, box=True)),
    Case("place", "box-in-four", _place_case(2, 20, d=4, box=True)),
    Case("place", "polygon", _place_case(2, 60, ring=True)),
    Case("place", "shared", _place_case(3, 7, ring=True, shared=True)),
]


def _drawn_walk(rng):
    kinds = ["number", "fourier", "gaussians", "polynomial", "grid"]
    B, d = int(rng.integers(4)), int(rng.choice([2, 2, 3, 5]))
    kinds = [kind for kind in kinds if (d == 2 or kind != "fourier") and (d < 4 or kind != "grid")]
    g, f = str(rng.choice(kinds)), str(rng.choice(["none", *kinds]))
    rows = B if rng.random() < 0.5 else 1
    walks, first = int(rng.integers(1, 40)), int(rng.choice([0, 1, 5, 10**6 + 3]))
    options = {"walks": walks, "first_walk": first}
    if rng.random() < 0.4:
        options = {"walks": 2 * walks, "first_walk": 2 * first, "gradient": True}
    if rng.random() < 0.3:
        options |= {"first_instance": int(rng.integers(1000)), "first_point": int(rng.integers(2**20))}
    if rng.random() < 0.4:
        options["screening"] = float(10 ** rng.uniform(-3, 2))
    if d < 4 and rng.random() < 0.3:
        options["sobol"] = True
    if B == 1 and rng.random() < 0.5:
        options["nrhs"] = int(rng.integers(20))
        rows = options["nrhs"] if rng.random() < 0.8 else 1
    return Case("walk", "drawn", _ball(B, int(rng.integers(5)), g, f, d=d, rows=rows, box=bool(rng.integers(2)), **options))


def _drawn_place(rng):
    d = int(rng.choice([2, 3]))
    ring = d == 2 and rng.random() < 0.7
    return Case("place", "drawn", _place_case(int(rng.integers(1, 4)), int(rng.integers(0, 30)), d=d, ring=ring, shared=rng.random() < 0.3))


def _drawn_gather(rng):
    d = int(rng.choice([2, 3]))
    return Case(
        "gather", "drawn", _gathered(int(rng.integers(1, 9)), int(rng.integers(0, 40)), d=d, samples=int(rng.integers(0, 9)),
        modes=int(rng.integers(0, 12 if d == 2 else 7)), screened=bool(rng.random() < 0.5)),
    )  # fmt: skip


DRAWN = {"walk": _drawn_walk, "place": _drawn_place, "gather": _drawn_gather}
