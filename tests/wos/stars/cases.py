"""Walks are compared one by one, so every case keeps clear of what rounding may turn: a walk that ends, a ray that meets a corner.

Distances from the absorbing part are exact near it, and bounds farther away: so these domains are flat, or nothing absorbs. Up to eight
walls make one run of the tree, which the tree has no say in.
"""

import numpy as np

from case import Case
from wos.walk.cases import _numbers

from . import oracle

CLEAR = 2e-4
SLAB = np.array([[-0.5, -0.12], [0.5, -0.12], [0.5, 0.12], [0.1, 0.12], [0.05, 0.02], [-0.2, 0.12], [-0.5, 0.12]])  # its bottom absorbs
KITE = np.array([[-0.5, -0.4], [0.45, -0.5], [0.1, 0.0], [0.5, 0.5], [-0.3, 0.42]])  # with a re-entrant corner; nothing absorbs


def _tables(ring, absorbing, mu, robin):
    """Of one ring that runs counter-clockwise: ends, walls, corners."""
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


def _point_of(rng, ring):
    while True:
        x = rng.uniform([-0.5, 0.0 if ring[0, 1] > -0.2 else -0.5], 0.5)
        if oracle.inside([ring], x[None])[0]:
            return x


def _stars(B, N, g, f="none", h="none", k="none", *, ring=SLAB, rings=1, mu=0.0, rows=1, outside=0, **options):
    """Points of a domain of which no walk comes near a decision."""

    def make(rng):
        absorbing = [0] if ring is SLAB else []
        shapes = [ring * (1 - 0.1 * r) for r in range(rings)]
        robin = (rng.random((rings, len(ring))) < 0.5) if mu else np.zeros((rings, len(ring)), bool)
        tables = [_tables(shape, absorbing, mu * rng.uniform(0.5, 1), which) for shape, which in zip(shapes, robin)]
        arrays = []
        for part in zip(*tables):
            arrays += [np.concatenate(part), np.cumsum([0, *map(len, part)])]
        extent = rng.uniform(0.5, 2, (B, 1)) if rings == B or B == 1 else np.full((B, 1), rng.uniform(0.5, 2))
        frame = np.concatenate([rng.standard_normal((B, 2)), extent, np.full((B, 1), 0.111 if ring is SLAB else 0.01)], axis=1)
        walked = {"max_steps": options.get("max_steps", 1024), "endless": not absorbing}
        walked |= {"screening": options.get("screening", 0.0), "wanted": [kind != "none" for kind in (g, f, h, k)]}
        walks = range(options.get("first_walk", 0), options.get("first_walk", 0) + options.get("walks", 4))

        def clear_points(seed):
            """None where no point will do: some decisions are the seed's alone."""
            start = np.zeros((B, N, 2))
            for b, n in np.ndindex(B, N):
                for _ in range(100):
                    start[b, n] = _point_of(rng, shapes[b if rings > 1 else 0])
                    if all(oracle.walked(start, frame, arrays, b, n, w, seed, **walked).margin > CLEAR for w in walks):
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
        numbers = [_numbers(kind, rng, rows, 2, frame, M if met == 0 else P) for met, kind in enumerate((g, f, h, k))]
        kinds = {"dirichlet_kind": g, "source_kind": f, "neumann_kind": h, "robin_kind": k}
        return [start, frame, *arrays, *numbers], {**kinds, "seed": seed, "walks": 4, "endless": not absorbing, **options}

    return make


CASES = [
    Case("stars", "reflected", _stars(1, 3, "fourier")),
    Case("stars", "source", _stars(1, 3, "number", "gaussians")),
    Case("stars", "flux", _stars(2, 2, "fourier", "number", "gaussians", rows=2)),
    Case("stars", "flux-per-vertex", _stars(1, 3, "per_vertex", "none", "per_vertex")),
    Case("stars", "polygons-per-vertex", _stars(2, 2, "per_vertex", "none", "per_vertex", rings=2)),
    Case("stars", "robin", _stars(1, 2, "number", "none", "none", "fourier", mu=1.0, max_steps=12)),
    Case("stars", "robin-and-neumann", _stars(1, 2, "fourier", "gaussians", "number", "per_vertex", mu=2.0, max_steps=8)),
    Case("stars", "screened", _stars(1, 3, "gaussians", "number", "number", screening=8.0)),
    Case("stars", "endless", _stars(1, 3, "number", "gaussians", "fourier", ring=KITE, screening=30.0, max_steps=6)),
    Case("stars", "screened-robin", _stars(1, 2, "number", "number", "number", "number", mu=1.0, screening=20.0, max_steps=8)),
    Case("stars", "many-nodes", _stars(1, 1, "number", "number", "number", first_walk=3, walks=9)),
    Case("stars", "cut-off", _stars(1, 4, "number", "number", "fourier", max_steps=2)),
    Case("stars", "some-outside", _stars(2, 3, "fourier", "number", "number", outside=1, walks=2)),
    Case("stars", "no-points", _stars(2, 0, "fourier", "number", "number", rows=2)),
    Case("stars", "no-instances", _stars(0, 3, "number", "number", "number")),
]
