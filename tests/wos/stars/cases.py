"""Cases for walks on stars. Walks are compared one by one, so every case avoids decisions that rounding could change.

Such decisions are whether a walk ends, and whether a ray meets a corner. Kernels compute distances from the absorbing part exactly near
it and as bounds farther away, so these domains are flat, or nothing absorbs. Up to eight walls are a single run of the tree, which
then has no influence.
"""

import numpy as np

from case import Case, ShapesOnly
from wos.media.cases import _diffusion
from wos.walk.cases import _numbers
from wos.walk.oracle import inside

from . import oracle, shapes

CLEAR = 2e-4
SLAB = np.array([[-0.5, -0.12], [0.5, -0.12], [0.5, 0.12], [0.1, 0.12], [0.05, 0.02], [-0.2, 0.12], [-0.5, 0.12]])  # the bottom absorbs
KITE = np.array([[-0.5, -0.4], [0.45, -0.5], [0.1, 0.0], [0.5, 0.5], [-0.3, 0.42]])  # has a re-entrant corner; nothing absorbs


def _tables(ring, absorbing, mu, robin):
    """Tables of one counter-clockwise ring: ends, walls, corners."""
    follows = np.roll(ring, -1, axis=0)
    segs = np.concatenate([ring, follows], axis=1)
    unit = follows - ring
    unit /= np.hypot(*unit.T)[:, None]
    inner = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
    turn = unit[:, 0] * np.roll(unit, -1, axis=0)[:, 1] - unit[:, 1] * np.roll(unit, -1, axis=0)[:, 0]
    reflects = np.ones(len(ring), bool)
    reflects[absorbing] = False
    sharp = (turn < 0) & reflects & np.roll(reflects, -1)
    walls = np.concatenate([segs, np.where(robin, mu, 0)[:, None], robin[:, None].astype(float)], axis=1)[reflects]
    ends = segs[~reflects] if absorbing else np.array([[1e3, -1.0, 1e3, 1.0]])
    return ends, walls, np.concatenate([follows, inner, np.roll(inner, -1, axis=0)], axis=1)[sharp]


def _triangles(ring, absorbing, mu, robin):
    """Tables of a flat prism over a ring: ends, walls, edges. Its bottom or nothing absorbs. Some vertical sides have Robin conditions."""
    V, F, on = shapes.prism(np.column_stack([ring]), 0.24)
    corners = (V - [0, 0, 0.12])[F].reshape(-1, 9)
    absorbs = (on == -1) & absorbing
    of_facets = np.append(robin, [False, False])[on]  # the last two entries are the bottom and the top
    walls = np.column_stack([corners, np.where(of_facets, mu, 0), of_facets])[~absorbs]
    ends = corners[absorbs] if absorbing else np.array([[1.9, 2, 2, 2, 1.9, 2, 2, 2, 1.9]])
    at, one, two = np.split(_tables(ring, [], mu, robin)[2], 3, axis=1)  # re-entrant corners, each an edge of the prism
    z = np.zeros((len(at), 1))
    return ends, walls, np.concatenate([at, z - 0.12, at, z + 0.12, one, z, two, z], axis=1)


def _point_of(rng, ring, space, between):
    while True:
        x = rng.uniform([-0.5, between[0]], [0.5, between[1]])
        if inside([ring], x[None])[0]:
            return np.append(x, rng.uniform(*space)) if space else x


def _with_slopes(rows, rng, d):
    """Rows of grids of a diffusion, each followed by a table per axis."""
    parts = []
    for row in rows:
        count = int(np.prod(row[:d]))
        parts.append(np.concatenate([row[: 3 * d + 2 * count], rng.uniform(-1, 1, d * count)]))
    width = max(map(len, parts)) + 1
    return np.array([np.pad(part, (0, width - len(part))) for part in parts])


def _medium(rng, a, s, rows, d, frame, M):
    """The inputs and options of a medium, without slopes."""
    if a == s == "none":
        return [None] * 4, {}
    B, extent = len(frame), frame[:, d]
    diffusion, screening = _diffusion(a, rng, rows, d, frame), _numbers(s, rng, rows, d, frame)
    diffusion = _with_slopes(diffusion, rng, d) if a == "grid" else diffusion
    bounds = np.stack([rng.uniform(4, 6, B) / extent**2, rng.uniform(1e-3, 1e-2, B)], axis=1)
    exchange = np.stack([rng.uniform(0.7, 1.5, M), rng.uniform(-0.3, 0.3, M)], axis=1) / extent.max()
    return [diffusion, screening, bounds, exchange], {"diffusion_kind": a, "screening_kind": s, "varies": True}


def _stars(B, N, g, f="none", h="none", k="none", a="none", s="none", *, ring=SLAB, rings=1, mu=0.0, rows=1, outside=0, space=None,
           absorbs=None, epsilon=None, between=None, **options):  # fmt: skip
    """Points of a domain from which no walk comes close to a decision. ``space``: the range of heights in a prism."""
    d, absorbs = 3 if space else 2, ring is SLAB if absorbs is None else absorbs
    between = between or ((0.0, 0.5) if absorbs and not space else (-0.5, 0.5))
    epsilon = epsilon or (0.111 if absorbs else 0.01)

    def make(rng):
        shapes = [ring * (1 - 0.1 * r) for r in range(rings)]
        robin = (rng.random((rings, len(ring))) < 0.5) if mu else np.zeros((rings, len(ring)), bool)
        if space:
            tables = [_triangles(ring, absorbs, mu, robin[0])]
        else:
            tables = [_tables(shape, [0] if absorbs else [], mu * rng.uniform(0.5, 1), which) for shape, which in zip(shapes, robin)]
        arrays = []
        for part in zip(*tables):
            arrays += [np.concatenate(part), np.cumsum([0, *map(len, part)])]
        extent = rng.uniform(0.5, 2, (B, 1)) if rings == B or B == 1 else np.full((B, 1), rng.uniform(0.5, 2))
        frame = np.concatenate([rng.standard_normal((B, d)), extent, np.full((B, 1), epsilon)], axis=1)
        walked = {"max_steps": options.get("max_steps", 1024), "pairs": options.get("gradient", False), "endless": not absorbs}
        of_media = rows if options.get("nrhs", 1) == 1 else 1
        (diffusion, of_screening, bounds, exchange), medium = _medium(rng, a, s, of_media, d, frame, len(arrays[2]))
        if medium:
            walked["media_of"] = oracle.media_from((a, s), diffusion, of_screening, bounds, exchange, frame, arrays[3])
        walked |= {"screening": options.get("rate", 0.0), "wanted": [kind != "none" for kind in (g, f, h, k)]}
        walked |= {name: options[name] for name in ("first_instance", "first_point") if name in options}
        walks = range(options.get("first_walk", 0), options.get("first_walk", 0) + options.get("walks", 4))

        def clear_points(seed):
            """Start points, or None if no points work: some decisions depend on the seed alone."""
            start = np.zeros((B, N, d))
            for b, n in np.ndindex(B, N):
                for _ in range(100):
                    start[b, n] = _point_of(rng, shapes[b if rings > 1 else 0], space, between)
                    margins = (oracle.walked(start, frame, arrays, b, n, w, seed, **walked).margin for w in walks)
                    if isinstance(rng, ShapesOnly) or all(margin > CLEAR for margin in margins):
                        break
                else:
                    return None
            return start

        start = None
        while start is None:
            seed = int(rng.integers(-(2**63), 2**63))
            start = clear_points(seed)
        start[:, :outside] = np.nan
        M, P = len(arrays[0]), len(arrays[2])
        numbers = [_numbers(kind, rng, rows, d, frame, (M if met == 0 else P) * d / 2) for met, kind in enumerate((g, f, h, k))]
        kinds = {"dirichlet_kind": g, "source_kind": f, "neumann_kind": h, "robin_kind": k}
        slopes = rng.standard_normal((B, N, d)) if medium and walked["pairs"] else None
        numbers += [diffusion, of_screening, bounds, slopes, exchange]
        return [start, frame, *arrays, *numbers], {**kinds, **medium, "seed": seed, "walks": 4, "endless": not absorbs, **options}

    return make


TRIANGLE = np.array([[-0.5, -0.45], [0.5, -0.3], [-0.1, 0.5]])
ARROW = np.array([[-0.5, -0.5], [0.05, 0.1], [0.5, 0.0], [-0.1, 0.5]])  # has a re-entrant corner
CANAL = np.array([[-0.5, -0.125], [0.5, -0.125], [0.5, 0.125], [0.1, 0.125], [0.07, 0.12], [-0.2, 0.125], [-0.5, 0.125]])
PAIRS = {"ring": CANAL, "between": (-0.015, 0.01), "absorbs": True, "gradient": True}  # mostly farther than epsilon from the boundary
CONVEX = {
    "ring": np.array([[-0.5, -0.12], [0.5, -0.12], [0.47, 0.11], [-0.48, 0.12]]),
    "absorbs": True,
}  # no disc ends at the corner of a wall, where rounding decides whether the wall has a point
HEIGHTS = {"space": (0.0, 0.1), "absorbs": True}
PRISM = {"ring": TRIANGLE, **HEIGHTS}
SPACE_PAIRS = {"ring": TRIANGLE, "space": (-0.05, 0.05), "absorbs": True, "gradient": True, "epsilon": 0.06}

CASES = [
    Case("stars", "reflected", _stars(1, 3, "fourier")),
    Case("stars", "source", _stars(1, 3, "number", "gaussians")),
    Case("stars", "flux", _stars(2, 2, "fourier", "number", "gaussians", rows=2)),
    Case("stars", "flux-per-vertex", _stars(1, 3, "per_vertex", "none", "per_vertex")),
    Case("stars", "polygons-per-vertex", _stars(2, 2, "per_vertex", "none", "per_vertex", rings=2)),
    Case("stars", "robin", _stars(1, 2, "number", "none", "none", "fourier", mu=1.0, max_steps=12)),
    Case("stars", "robin-without-flux", _stars(1, 2, "number", mu=1.0, max_steps=12)),
    Case("stars", "robin-and-neumann", _stars(1, 2, "fourier", "gaussians", "number", "per_vertex", mu=2.0, max_steps=8)),
    Case("stars", "screened", _stars(1, 3, "gaussians", "number", "number", rate=8.0)),
    Case("stars", "endless", _stars(1, 3, "number", "gaussians", "fourier", ring=KITE, rate=30.0, max_steps=6)),
    Case("stars", "screened-robin", _stars(1, 2, "number", "number", "number", "number", mu=1.0, rate=20.0, max_steps=8)),
    Case("stars", "many-nodes", _stars(1, 1, "number", "number", "number", first_walk=3, walks=9)),
    Case("stars", "cut-off", _stars(1, 4, "number", "number", "fourier", max_steps=2)),
    Case("stars", "some-outside", _stars(2, 3, "fourier", "number", "number", outside=1, walks=2)),
    Case("stars", "part", _stars(2, 2, "fourier", "number", "number", first_instance=5, first_point=9)),
    Case("stars", "pairs", _stars(1, 2, "fourier", "gaussians", "number", max_steps=6, **PAIRS)),
    Case("stars", "pairs-endless", _stars(1, 2, "number", "gaussians", "fourier", ring=KITE, gradient=True, rate=30.0, max_steps=4)),
    Case("stars", "pairs-robin", _stars(1, 2, "number", "none", "number", "number", mu=1.0, max_steps=6, **PAIRS)),
    Case("stars", "pairs-near-walls", _stars(1, 4, "number", "number", "number", gradient=True)),
    Case("stars", "right-hand-sides", _stars(1, 2, "per_vertex", "gaussians", "fourier", rows=19, nrhs=19)),
    Case("stars", "right-hand-sides-pairs", _stars(1, 2, "fourier", "gaussians", "number", rows=3, nrhs=3, max_steps=6, **PAIRS)),
    Case("stars", "one-source-for-all", _stars(1, 2, "number", "gaussians", "number", "per_vertex", mu=2.0, nrhs=3, max_steps=8)),
    Case("stars", "right-hand-sides-in-space", _stars(1, 2, "number", "number", "gaussians", rows=3, nrhs=3, rate=8.0, **PRISM)),
    Case("stars_trace", "flux", _stars(1, 2, "fourier", "number", "gaussians", first_walk=3, first_point=5, events=150, **CONVEX)),
    # Discs that touch a Robin wall have points of weight 0 there, and rounding decides whether they do: only the others are recorded.
    Case("stars_trace", "robin", _stars(1, 2, "fourier", "none", "number", mu=2.0, max_steps=8, events=20, **CONVEX)),
    Case("stars_trace", "endless", _stars(1, 2, "number", "number", "none", ring=KITE, rate=30.0, max_steps=6, events=60, outside=1)),
    Case("stars_trace", "space", _stars(1, 2, "number", "number", "number", events=150, **PRISM)),
    Case("stars_trace", "medium", _stars(1, 2, "number", "number", "fourier", a="gaussians", max_steps=8, events=100, **CONVEX)),
    Case("stars_trace", "ends-only", _stars(1, 3, "number", rate=8.0)),
    Case("stars", "space", _stars(1, 2, "gaussians", "none", "none", ring=ARROW, **HEIGHTS)),
    Case("stars", "space-source", _stars(1, 2, "number", "gaussians", "none", ring=ARROW, **HEIGHTS)),
    Case("stars", "space-flux", _stars(1, 2, "number", "none", "gaussians", **PRISM)),
    Case("stars", "space-per-vertex", _stars(1, 2, "per_vertex", "none", "per_vertex", **PRISM)),
    Case("stars", "space-screened", _stars(2, 1, "number", "number", "number", rate=8.0, **PRISM)),
    Case("stars", "space-robin", _stars(1, 2, "number", "none", "number", "gaussians", mu=1.0, max_steps=8, **PRISM)),
    Case("stars", "space-screened-robin", _stars(1, 2, "number", "number", "none", "number", mu=2.0, rate=20.0, max_steps=6, **PRISM)),
    Case("stars", "space-endless", _stars(1, 2, "number", "number", "none", ring=ARROW, space=(-0.1, 0.1), rate=30.0, max_steps=4)),
    Case("stars", "space-pairs", _stars(1, 2, "number", "gaussians", "gaussians", max_steps=5, **SPACE_PAIRS)),
    Case("stars", "medium", _stars(1, 3, "fourier", "none", "none", "none", "gaussians")),
    Case("stars", "medium-source", _stars(1, 3, "number", "gaussians", "number", "none", "polynomial", "number", max_steps=8)),
    Case("stars", "medium-screening", _stars(2, 2, "number", "number", "fourier", "none", "none", "gaussians", rows=2, max_steps=8)),
    Case("stars", "medium-grid", _stars(1, 3, "number", "number", "number", "none", "grid", "grid", max_steps=8)),
    Case("stars", "medium-robin", _stars(1, 2, "number", "none", "number", "fourier", "gaussians", mu=1.0, max_steps=8)),
    Case("stars", "medium-endless", _stars(1, 2, "number", "number", "fourier", "none", "gaussians", "number", ring=KITE, max_steps=6)),
    Case("stars", "medium-polygons", _stars(2, 2, "per_vertex", "none", "per_vertex", "none", "gaussians", rings=2, max_steps=8)),
    Case("stars", "medium-right-hand-sides", _stars(1, 3, "number", "gaussians", "fourier", a="gaussians", rows=3, nrhs=3, max_steps=8)),
    Case("stars", "medium-in-space", _stars(1, 2, "number", "number", "number", "none", "gaussians", "number", max_steps=6, **PRISM)),
    Case("stars", "medium-grid-in-space", _stars(1, 2, "number", "none", "number", "none", "grid", max_steps=6, **PRISM)),
    Case("stars", "medium-pairs", _stars(1, 2, "number", "gaussians", "number", "none", "gaussians", "number", max_steps=4, **PAIRS)),
    Case("stars", "medium-pairs-in-space", _stars(1, 2, "number", "gaussians", "number", "none", "polynomial", max_steps=4, **SPACE_PAIRS)),
]
