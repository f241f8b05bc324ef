"""Walks with the same random words as the library's, but with Bessel functions and high-order finite differences of media."""

import numpy as np

from wos.walk.oracle import added_up, nodes, part_of, row_of, values
from wos.walk.replay import PAIR, SOURCE, TRIAL, Batch, _distance, _uniform, _unit, greens, remembered, source_radius, sphere_weights

# second derivative from values at -4 to 4 steps
STENCIL = np.array([-9, 128, -1008, 8064, -14350, 8064, -1008, 128, -9], np.longdouble) / 5040


def laplacian_ratio(root, X, h=1 / 128):
    """The Laplacian of ``root``, divided by ``root``, at points (..., d)."""
    X = np.asarray(X, np.longdouble)
    total = 0
    for axis in range(X.shape[-1]):
        for k, weight in zip(range(-4, 5), STENCIL):
            moved = X.copy()
            moved[..., axis] += k * np.longdouble(h)
            total = total + weight * root(moved)
    return np.asarray(total / np.longdouble(h) ** 2 / root(X), float)


def alpha(medium, X):
    """α at scaled points. ``medium``: the kinds of α and of the screening, their parameters, and the frame, of one instance."""
    (kind, _), (row, _), frame = medium
    return np.ones(X.shape[:-1]) if kind == "none" else values(kind, row, X, None, None, frame)


def rate(medium, X):
    """σ' in scaled units."""
    (kind, of_screening), (row, screening), frame = medium
    d, extent = X.shape[-1], frame[-2]
    if kind == "grid":  # second table of the row
        count = int(np.prod(row[:d]))
        total = values("grid", np.concatenate([row[: 3 * d], row[3 * d + count :]]), X, None, None, frame) * extent**2
    elif kind in ("none", "number"):
        total = np.zeros(X.shape[:-1])
    else:
        total = laplacian_ratio(lambda Y: np.sqrt(values(kind, row.astype(np.longdouble), Y, None, None, frame)), X)
    if of_screening != "none":
        total = total + values(of_screening, screening, X, None, None, frame) * extent**2 / alpha(medium, X)
    return total


def slope(medium, x):
    """grad α / (2 α) at one point, in scaled coordinates. For a grid, interpolated from the tables after the second."""
    (kind, _), (row, _), frame = medium
    d = len(x)
    if kind in ("none", "number"):
        return np.zeros(d)
    if kind == "grid":
        count = int(np.prod(row[:d]))
        tables = row[3 * d + 2 * count :].copy()[: d * count].reshape(d, count)
        return np.array([values("grid", np.concatenate([row[: 3 * d], table]), x, None, None, frame) for table in tables]) * frame[-2]
    moves, h = np.arange(-4, 5), np.longdouble(1) / 128
    weights = np.array([3, -32, 168, -672, 0, 672, -168, 32, -3], np.longdouble) / 840
    at = np.asarray(x, np.longdouble) + moves[:, None, None] * h * np.eye(d)
    return np.asarray(
        (weights[:, None] * np.log(values(kind, row.astype(np.longdouble), at, None, None, frame))).sum(axis=0) / (2 * h), float
    )


@remembered
def media_paths(start, epsilon, segs, medium, bound, instance, seed, first_walk, walks, max_steps, gradient=False, first_point=0):
    """A ``Batch`` of walks from starts (N, d). ``beyond``: each walk's number of jumps to points where the bound is too small."""
    b, d = Batch(start, instance, seed, first_walk, walks, first_point), start.shape[1]
    b.beyond = np.zeros_like(b.steps)
    for step in range(max_steps + 1):
        R = _distance(segs, b.x)
        if not b.goes_on(R, epsilon, step == max_steps):
            break
        if bound:
            R = np.minimum(R, 2 / np.sqrt(bound))
        entering = gradient and step == 0
        if entering:
            R, pair, sign = 0.99 * R, b.walk // 2, (1 - 2 * (b.walk % 2))[..., None]
            u, v, w = (b.words(at, pair) for at in (PAIR, SOURCE, SOURCE + TRIAL))
            n, m, s = sign * _unit(*u[:2], d), sign * _unit(*w[:2], d), source_radius(d, v)
            s = np.where(_uniform(u[3]) < 0.5, 2 * _uniform(u[3]), s)
            b.near(b.alive, _uniform(u[3]) - 0.5)
        else:
            u = b.words(step, b.walk)
            v = u[1:] if d == 2 else b.words(TRIAL + step, b.walk)
            n = m = _unit(*u[:2], d)
            s = source_radius(d, v)
        y, area = b.x + (R * s)[..., None] * m, R**2 / (2 * d)
        with np.errstate(all="ignore"):
            (g, slope), plain = greens(d, R * s, R, bound), greens(d, R * s, R, 0)[0]
            of_sphere, of_slope = sphere_weights(d, R, bound)
            if entering:  # with probability 1/2, the radius is that for Laplace's equation, otherwise uniform
                surface = (2 * np.pi if d == 2 else 4 * np.pi) * (R * s) ** (d - 1) * R
                measure = surface / (0.5 * plain / area * surface + 0.5)
                q = 1 - of_sphere if bound else np.zeros_like(R)
                off = _uniform(u[2]) - q
                jumps, of_jump = b.alive & (off < 0), bound * measure / np.where(q > 0, q, 1)
                along = np.where(jumps[..., None], (of_jump * slope)[..., None] * m, (of_slope / of_sphere)[..., None] * n)
                b.enter(y, np.where(jumps, of_jump * g, 1), along, measure * g, (measure * slope)[..., None] * m)
            else:
                off = _uniform(v[-1]) - area * bound * g / plain
                jumps = b.alive & (off < 0)
                b.events.append((y, np.where(b.alive, b.left * area * g / plain, 0)))
        if bound or entering:
            b.near(b.alive, off)
        b.move(np.where(jumps[..., None], (R * s)[..., None] * m, R[..., None] * n))
        if jumps.any():
            share = np.zeros_like(R)
            share[jumps] = rate(medium, b.x[jumps]) / bound
            b.beyond += abs(share) > 1
            b.near(jumps, abs(share) - 1)
            b.left = np.where(jumps, b.left * (1 - share), b.left)
            b.end_light(jumps, step)
    return b.land(segs)


def recorded(start, ends, weights, counts, beyond, of_walks, events):
    """The outputs of a trace. ``of_walks``: for every walk, its source points and its points on two kinds of walls, with weights."""
    points = [pair for kind in range(3) for walk in of_walks for pair in walk[kind]] + events * [(np.zeros(start.shape[2]), 0.0)]
    numbers = np.array([[len(points) for points in walk] for walk in of_walks], np.int64).reshape(*weights.shape, 3)
    X, shares = (np.array([pair[i] for pair in points[:events]]) for i in (0, 1))
    ends = np.where((weights == 0)[..., None], start[0][:, None], ends)
    return ends, weights, counts, beyond, numbers, X.reshape(events, start.shape[2]), shares.reshape(events)


def _walks(start, frame, ends, first, diffusion, screening, bounds, slopes, *, diffusion_kind="none", screening_kind="none", seed=0,
           first_walk=0, walks=64, max_steps=1024, gradient=False, first_instance=0, first_point=0):  # fmt: skip
    """The walks of every instance, and a function (b, walks) that returns factors of boundary values and of sources, and slopes."""
    B, _, d = start.shape
    numbers = [[None if x is None else row_of(x, b) for x in (diffusion, screening)] for b in range(B)]
    media_of = [((diffusion_kind, screening_kind), numbers[b], frame[b]) for b in range(B)]
    settings, bound = (seed, first_walk, walks, max_steps, gradient, first_point), bounds[:, 0] * frame[:, d] ** 2
    of_all = [
        media_paths(start[b], frame[b, -1], part_of(ends, first, b), media_of[b], bound[b], first_instance + b, *settings) for b in range(B)
    ]

    def medium(b, walked):
        with np.errstate(invalid="ignore"):
            at_start = np.sqrt(alpha(media_of[b], start[b]))[:, None]
            of_end = np.where(walked.steps > 0, np.sqrt(alpha(media_of[b], walked.x)) / at_start, 1)
        return of_end, lambda X: 1 / (at_start * np.sqrt(alpha(media_of[b], X))), slopes[b][:, None] if gradient else 0

    return of_all, medium


def media(start, frame, ends=None, first=None, dirichlet=None, source=None, diffusion=None, screening=None, bounds=None, slopes=None, *,
          dirichlet_kind="number", source_kind="none", nrhs=1, **options):  # fmt: skip
    of_all, medium = _walks(start, frame, ends, first, diffusion, screening, bounds, slopes, **options)
    gradient = options.get("gradient", False)
    cut = nodes(options.get("first_walk", 0) // (1 + gradient), options.get("walks", 64) // (1 + gradient))
    kinds = (dirichlet_kind, dirichlet), (source_kind, source)
    beyond = np.array([walked.beyond.sum(axis=1) for walked in of_all], np.int64).reshape(start.shape[:2])
    return *added_up(of_all, start, frame, first, *kinds, cut, gradient, nrhs, medium), np.repeat(beyond, nrhs, axis=0)


def media_trace(start, frame, ends=None, first=None, dirichlet=None, source=None, diffusion=None, screening=None, bounds=None, slopes=None,
                *, dirichlet_kind="number", source_kind="none", events=0, **options):  # fmt: skip
    (walked,), medium = _walks(start, frame, ends, first, diffusion, screening, bounds, slopes, **options)
    of_end, of_source, _ = medium(0, walked)
    met = [(y, frame[0, -2] ** 2 * of_source(y) * weight) for y, weight in walked.events]
    of_walks = [
        ([(y[at], weight[at]) for y, weight in met[: walked.steps[at]]] if source_kind != "none" else [], [], [])
        for at in np.ndindex(walked.steps.shape)
    ]
    counts = np.stack([walked.steps, walked.cut, 0 * walked.cut], axis=-1)
    return recorded(start, walked.x, walked.left * of_end, counts, walked.beyond, of_walks, events)
