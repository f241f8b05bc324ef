"""Walks through media by the same random words, from the definitions: Bessel functions, and derivatives by differences of high order."""

import numpy as np

from wos.walk.oracle import closest, moments, nodes, part_of, row_of, values
from wos.walk.replay import _uniform, _unit, greens, philox, remembered, sphere_weights

# the second derivative from values at -4 to 4 steps
STENCIL = np.array([-9, 128, -1008, 8064, -14350, 8064, -1008, 128, -9], np.longdouble) / 5040


def bent(root, X, h=1 / 128):
    """Laplace(root) / root at (..., d) points."""
    X = np.asarray(X, np.longdouble)
    total = 0
    for axis in range(X.shape[-1]):
        for k, weight in zip(range(-4, 5), STENCIL):
            moved = X.copy()
            moved[..., axis] += k * np.longdouble(h)
            total = total + weight * root(moved)
    return np.asarray(total / np.longdouble(h) ** 2 / root(X), float)


class Medium:
    """alpha and the rate of one instance at scaled points, the latter in scaled units."""

    def __init__(self, kinds, rows, frame):
        self.kinds, self.rows, self.frame = kinds, rows, frame

    def alpha(self, X):
        return np.ones(X.shape[:-1]) if self.kinds[0] == "none" else values(self.kinds[0], self.rows[0], X, None, None, self.frame)

    def rate(self, X):
        d, extent = X.shape[-1], self.frame[-2]
        kind, row = self.kinds[0], self.rows[0]
        if kind == "grid":  # its second table
            count = int(np.prod(row[:d]))
            found = values("grid", np.concatenate([row[: 3 * d], row[3 * d + count :]]), X, None, None, self.frame) * extent**2
        elif kind in ("none", "number"):
            found = np.zeros(X.shape[:-1])
        else:
            found = bent(lambda Y: np.sqrt(values(kind, row.astype(np.longdouble), Y, None, None, self.frame)), X)
        if self.kinds[1] != "none":
            found = found + values(self.kinds[1], self.rows[1], X, None, None, self.frame) * extent**2 / self.alpha(X)
        return found


def through(start, epsilon, segs, medium, bound, instance, key, first_walk, walks, max_steps, gradient=False, first_point=0):
    """Of walks (N, walks): a dict of ends, their weights, segments, places, source points, the first ball of a pair, steps, which were cut
    off, jumps beyond the bound, and how near a decision was to another one."""
    of_medium = medium.kinds, medium.rows, medium.frame
    return _through(start, epsilon, segs, *of_medium, bound, instance, key, first_walk, walks, max_steps, gradient, first_point)


@remembered
def _through(start, epsilon, segs, kinds, rows, frame, bound, instance, key, first_walk, walks, max_steps, gradient, first_point):
    medium = Medium(kinds, rows, frame)
    N, d = start.shape
    key %= 2**64
    point, walk = np.meshgrid(first_point + np.arange(N), first_walk + np.arange(walks), indexing="ij")
    words = lambda top, number: philox((np.broadcast_to(top, point.shape), number, point, np.full_like(point, instance)), key)  # noqa: E731
    x = np.repeat(start[:, None], walks, axis=1)
    alive = ~np.isnan(x[..., 0])
    left, margin = np.where(alive, 1.0, np.nan), np.full((N, walks), np.inf)
    steps, beyond, cut = np.zeros((N, walks), int), np.zeros((N, walks), int), np.zeros((N, walks), bool)
    events = []
    along, toward = (np.concatenate([np.full((N, walks, 1), v), np.full((N, walks, d), np.nan)], axis=-1) for v in (1.0, 0.0))

    def near(which, off):
        margin[which] = np.minimum(margin, np.abs(off))[which]

    for step in range(max_steps + 1):
        radius = 1 - np.sqrt((x * x).sum(axis=-1)) if segs is None else closest(segs, x.reshape(-1, d))[0].reshape(N, walks)
        near(alive & (left != 0), 0.02 * (radius - epsilon) / epsilon)
        ends = alive & ((radius <= epsilon) | (left == 0))
        if step == max_steps:
            cut, ends = alive & ~ends, alive.copy()
        alive &= ~ends
        if not alive.any():
            break
        R = np.minimum(radius, 2 / np.sqrt(bound)) if bound else radius
        top = np.full_like(point, step)
        enters = gradient and step == 0
        with np.errstate(all="ignore"):
            if enters:
                number, sign = walk // 2, (1 - 2 * (walk % 2))[..., None]
                R = 0.99 * R
                a, b, c = (words(np.full_like(point, t), number) for t in (4 << 28, 1 << 28, (1 << 28) + (1 << 20)))
                n, m = sign * _unit(a[0], a[1], d), sign * _unit(c[0], c[1], d)
                drawn = np.sqrt(_uniform(b[0]) * _uniform(b[1])) if d == 2 else np.median([_uniform(w) for w in b[:3]], axis=0)
                s = np.where(_uniform(a[3]) < 0.5, 2 * _uniform(a[3]), drawn)
                near(alive, _uniform(a[3]) - 0.5)
            else:
                a = words(top, walk)
                n = m = _unit(a[0], a[1], d)
                if d == 2:
                    s, decides = np.sqrt(_uniform(a[1]) * _uniform(a[2])), _uniform(a[3])
                else:
                    b = words(top + (1 << 20), walk)
                    s, decides = np.median([_uniform(w) for w in b[:3]], axis=0), _uniform(b[3])
            (g, slope), plain = greens(d, R * s, R, bound), greens(d, R * s, R, 0)[0]
            sphere, sphere_slope = sphere_weights(d, R, bound)
            area = R**2 / (2 * d)
            if enters:
                # the density of s is half of the Laplace equation's source points', half uniform; what a point there counts for G
                surface = 2 * np.pi if d == 2 else 4 * np.pi
                density = 0.5 * plain / area * surface * (R * s) ** (d - 1) * R + 0.5
                measure = surface * (R * s) ** (d - 1) * R / density
                q = 1 - sphere if bound else np.zeros_like(R)
                jumps = alive & (_uniform(a[2]) < q)
                near(alive, _uniform(a[2]) - q)
                of_jump = [bound * measure * v / np.where(q > 0, q, 1) for v in (g, slope)]
                of_sphere = [1.0, sphere_slope / sphere]
                first = [np.where(jumps, i, o)[..., None] for i, o in zip(of_jump, of_sphere)]
                along = np.concatenate([first[0], first[1] * np.where(jumps[..., None], m, n)], axis=-1)
                toward = (measure * np.stack([g, slope], axis=0))[..., None]
                toward = np.concatenate([toward[0], toward[1] * m], axis=-1)
                weight = np.ones_like(R)
            else:
                chance = R**2 * bound / (2 * d) * g / plain
                jumps = alive & (decides < chance)
                if bound:
                    near(alive, decides - chance)
                weight = area * g / plain
        y = x + (R * s)[..., None] * m
        events.append((y, np.where(alive, left * weight, 0), enters))
        x = np.where(alive[..., None], np.where(jumps[..., None], y, x + R[..., None] * n), x)
        if jumps.any():
            share = np.zeros_like(R)
            share[jumps] = medium.rate(x[jumps]) / bound
            beyond += abs(share) > 1
            near(jumps, abs(share) - 1)
            left = np.where(jumps, left * (1 - share), left)
            size = abs(left)
            kept = _uniform(words(np.full_like(point, (3 << 28) + step), walk)[0]) * 0.125 < size
            light = jumps & (size < 0.125) & (left != 0)
            near(jumps, size - 0.125)
            near(light, _uniform(words(np.full_like(point, (3 << 28) + step), walk)[0]) * 0.125 - size)
            left = np.where(light, np.where(kept, 0.125 * np.sign(left), 0), left)
        steps += alive
    segment = place = None
    if segs is None:
        x = x / np.sqrt((x * x).sum(axis=-1, keepdims=True))
    else:
        _, segment, place, at = closest(segs, np.nan_to_num(x.reshape(-1, d)))
        x = np.where(np.isnan(x), np.nan, at.reshape(x.shape))
    return {"end": x, "left": left, "segment": segment, "place": place, "events": events, "along": along, "toward": toward,
            "steps": steps, "cut": cut, "beyond": beyond, "margin": margin}  # fmt: skip


def media(start, frame, ends=None, first=None, dirichlet=None, source=None, diffusion=None, screening=None, bounds=None, slopes=None, *,
          dirichlet_kind="number", source_kind="none", diffusion_kind="none", screening_kind="none", seed=0, first_walk=0, walks=64,
          max_steps=1024, gradient=False, first_instance=0, first_point=0):  # fmt: skip
    B, N, d = start.shape
    group, channels = (2, 1 + d) if gradient else (1, 1)
    cut = nodes(first_walk // group, walks // group)
    mean, m2 = np.full((B, N, len(cut), channels), np.nan), np.full((B, N, len(cut), channels), np.nan)
    counts, beyond = np.zeros((B, N, 3), np.int64), np.zeros((B, N), np.int64)
    for b in range(B):
        segs = part_of(ends, first, b)
        extent = frame[b, -2]
        rows = [None if x is None else row_of(x, b) for x in (diffusion, screening)]
        medium = Medium((diffusion_kind, screening_kind), rows, frame[b])
        o = through(start[b], frame[b, -1], segs, medium, bounds[b, 0] * extent**2, first_instance + b, seed, first_walk, walks, max_steps,
                    gradient, first_point)  # fmt: skip
        row = row_of(dirichlet, b)
        if dirichlet_kind == "per_vertex" and len(first) > 2:
            row = row[2 * first[b] : 2 * first[b + 1]]
        with np.errstate(invalid="ignore"):
            at_start = np.sqrt(medium.alpha(start[b]))[:, None]
            ratio = np.where(o["steps"] > 0, np.sqrt(medium.alpha(o["end"])) / at_start, 1)
        found = o["left"] * ratio * values(dirichlet_kind, row, o["end"], o["segment"], o["place"], frame[b])
        value = 0
        for y, weight, enters in o["events"]:
            if source_kind == "none":
                continue
            held = weight * extent**2 / (at_start * np.sqrt(medium.alpha(y)))
            held = np.where(weight == 0, 0, held * values(source_kind, row_of(source, b), y, None, None, frame[b]))
            found, value = (found, value + held[..., None] * o["toward"]) if enters else (found + held, value)
        value = value + found[..., None] * (o["along"] if gradient else np.ones(1))
        if gradient:
            value[..., 1:] = value[..., 1:] / extent - value[..., :1] * slopes[b][:, None]
            value = (value[:, ::2] + value[:, 1::2]) / 2
        mean[b], m2[b] = moments(value, cut, start[b])
        counts[b, :, 0], counts[b, :, 1], beyond[b] = o["steps"].sum(axis=1), o["cut"].sum(axis=1), o["beyond"].sum(axis=1)
    return mean, m2, counts, beyond


# ---------------------------------------------------------------- solutions
