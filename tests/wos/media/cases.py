"""Cases for walks through media. Walks are compared one by one, so every case avoids decisions that rounding could change.

Such decisions are whether a step ends a walk, whether a walk jumps, and whether a light walk continues. In polygons, walks use bounds of
the distance but the oracle uses the distance, so they start within epsilon of the boundary and end at once.
"""

import numpy as np

from case import Case
from wos.walk.cases import _numbers, _polygon, _tables, clear_points
from wos.walk.oracle import disc_points

from . import oracle


def _diffusion(kind, rng, rows, d, frame):
    """The parameters of a positive diffusion."""
    if kind == "number":
        return rng.uniform(0.5, 2, (rows, 1))
    if kind == "polynomial":
        numbers = _tables(rng, d, 1, np.zeros((rows, 0)))
        numbers[:, d:] *= 0.2
        numbers[:, d] = 4 + rng.random(rows)
        return numbers
    if kind == "grid":
        numbers = []
        at = np.resize(frame, (rows, d + 2)) if len(frame) else np.ones((rows, d + 2))
        for row in at:
            n = rng.integers(2, 5, d)
            box = [row[:d] - 0.9 * row[d], row[:d] + 0.8 * row[d]]
            numbers.append(np.concatenate([n, *box, rng.uniform(1, 2, n.prod()), rng.uniform(-3, 3, n.prod()) / row[d] ** 2]))
        width = max(map(len, numbers), default=3 * d) + 1
        return np.array([np.pad(row, (0, width - len(row))) for row in numbers]).reshape(rows, width)
    return _numbers(kind, rng, rows, d, frame)


def _medium(B, N, g, f, a, s, *, d=2, rows=1, epsilon=0.05, outside=0, bound=6.0, **options):
    """Points of the unit ball from which no walk comes close to a decision."""

    def make(rng):
        frame = np.concatenate([rng.standard_normal((B, d)), rng.uniform(0.5, 2, (B, 1)), np.full((B, 1), epsilon)], axis=1)
        key = int(rng.integers(-(2**63), 2**63))
        media = rows if options.get("nrhs", 1) == 1 else 1
        diffusion, screening = _diffusion(a, rng, media, d, frame), _numbers(s, rng, media, d, frame)
        bounds = np.concatenate([bound * rng.uniform(0.7, 1, (B, 1)) / frame[:, d : d + 1] ** 2, rng.uniform(1e-3, 1e-2, (B, 1))], axis=1)
        defaults = {"seed": key, "first_walk": 0, "walks": 8, "max_steps": 1024, "gradient": False, "first_point": 0}
        run = [options.get(name, default) for name, default in defaults.items()]

        def margins(x):
            for b in range(B):
                medium = (a, s), [None if numbers is None else oracle.row_of(numbers, b) for numbers in (diffusion, screening)], frame[b]
                bound, instance = bounds[b, 0] * frame[b, d] ** 2, options.get("first_instance", 0) + b
                yield oracle.media_paths(x[b], epsilon, None, medium, bound, instance, *run).margin

        start = clear_points(rng, (B, N, d), lambda n: disc_points(rng, n, 0.9, d), margins)
        if start is None:  # try a different medium
            return make(rng)
        start[:, :outside] = np.nan
        slopes = rng.standard_normal((B, N, d)) if options.get("gradient") else None
        inputs = [start, frame, None, None, _numbers(g, rng, rows, d, frame), _numbers(f, rng, rows, d, frame), diffusion, screening]
        kinds = {"dirichlet_kind": g, "source_kind": f, "diffusion_kind": a, "screening_kind": s}
        return [*inputs, bounds, slopes], {**kinds, "seed": key, "walks": 8, **options}

    return make


def _in_polygon(B, N, g, a, **options):
    """Points within epsilon of a polygon, which only have boundary values."""

    def make(rng):
        inputs, keywords = _polygon(B, N, g, **options)(rng)
        diffusion = _diffusion(a, rng, 1, 2, inputs[1])
        bounds = np.tile([3.0, 1e-3], (B, 1))
        return [*inputs, diffusion, None, bounds, None], {**keywords, "diffusion_kind": a}

    return make


CASES = [
    Case("media", "numbers", _medium(1, 3, "fourier", "gaussians", "number", "number")),
    Case("media", "screening", _medium(1, 3, "number", "number", "none", "gaussians")),
    Case("media", "polynomial", _medium(2, 2, "fourier", "gaussians", "polynomial", "none", rows=2, walks=4, bound=2.0)),
    Case("media", "gaussians", _medium(2, 2, "gaussians", "fourier", "gaussians", "number", walks=5)),
    Case("media", "grid", _medium(2, 2, "fourier", "polynomial", "grid", "grid", rows=2)),
    Case("media", "no-bound", _medium(1, 3, "fourier", "number", "number", "none", bound=0.0)),
    Case("media", "beyond-the-bound", _medium(1, 3, "fourier", "number", "gaussians", "number", bound=0.8)),
    Case("media", "space", _medium(1, 3, "gaussians", "number", "gaussians", "polynomial", d=3, walks=6)),
    Case("media", "space-polynomial", _medium(2, 2, "polynomial", "gaussians", "polynomial", "none", d=3, rows=2, walks=5, bound=2.0)),
    Case("media", "space-grid", _medium(1, 2, "gaussians", "none", "grid", "none", d=3, bound=9.0)),
    Case("media", "pairs", _medium(2, 2, "fourier", "gaussians", "gaussians", "none", gradient=True)),
    Case("media", "pairs-in-space", _medium(1, 3, "gaussians", "number", "polynomial", "number", d=3, gradient=True, walks=6)),
    Case("media", "pairs-no-bound", _medium(1, 2, "fourier", "number", "number", "none", bound=0.0, gradient=True)),
    Case("media", "many-nodes", _medium(1, 2, "fourier", "number", "gaussians", "none", first_walk=3, walks=13)),
    Case("media", "cut-off", _medium(1, 5, "number", "gaussians", "gaussians", "none", max_steps=2)),
    Case("media", "some-outside", _medium(2, 4, "fourier", "number", "polynomial", "none", outside=2, walks=4, bound=2.0)),
    Case("media", "part", _medium(2, 2, "fourier", "gaussians", "gaussians", "number", first_instance=70, first_point=2**32 - 2)),
    Case("media", "right-hand-sides", _medium(1, 3, "fourier", "gaussians", "gaussians", "number", rows=19, nrhs=19, gradient=True)),
    Case("media", "right-hand-sides-in-space", _medium(1, 2, "number", "polynomial", "none", "gaussians", d=3, rows=3, nrhs=3, outside=1)),
    Case("media_trace", "source", _medium(1, 3, "fourier", "gaussians", "gaussians", "number", events=100)),
    Case("media_trace", "space", _medium(1, 3, "number", "number", "polynomial", "number", d=3, walks=6, events=20, outside=1)),
    Case("media_trace", "ends-only", _medium(1, 3, "number", "none", "none", "gaussians", first_walk=5, first_point=2)),
    Case("media", "polygon-per-vertex", _in_polygon(2, 5, "per_vertex", "gaussians")),
    Case("media", "polygons-per-vertex", _in_polygon(3, 4, "per_vertex", "polynomial", rings=3)),
]


def _drawn(rng):
    kinds = ["number", "gaussians", "polynomial", "grid"]
    B, d = int(rng.integers(4)), int(rng.choice([2, 2, 3]))
    g, f, a, s = (str(rng.choice(kinds + more)) for more in ([], ["none"], ["none"], ["none"]))
    walks, first = int(rng.integers(1, 12)), int(rng.choice([0, 1, 5, 10**6 + 3]))
    options = {"walks": walks, "first_walk": first, "bound": float(rng.choice([0.0, 1.0, 4.0, 12.0]))}
    if (a, s) not in (("none", "none"), ("number", "none")):
        options["bound"] = max(options["bound"], 1.0)
    if rng.random() < 0.4:
        options |= {"walks": 2 * walks, "first_walk": 2 * first, "gradient": True}
    if rng.random() < 0.3:
        options |= {"first_instance": int(rng.integers(1000)), "first_point": int(rng.integers(2**20))}
    rows = B if rng.random() < 0.5 else 1
    if B == 1 and rng.random() < 0.5:
        options["nrhs"] = int(rng.integers(20))
        rows = options["nrhs"] if rng.random() < 0.8 else 1
    return Case("media", "drawn", _medium(B, int(rng.integers(4)), g, f, a, s, d=d, rows=rows, **options))


DRAWN = {"media": _drawn}
