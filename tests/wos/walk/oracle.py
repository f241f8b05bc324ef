"""Closed forms, brute-force distances, and a plain float64 walk with NumPy's random numbers."""

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.special import gamma, iv, sph_harm_y

from wos.query.oracle import contained, is_box

from .replay import closest, paths


def circle(M):
    """The corners of a regular polygon."""
    t = 2 * np.pi * np.arange(M) / M
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def star(M=1024):
    t = 2 * np.pi * np.arange(M)[:, None] / M
    return (1 + 0.12 * np.cos(4 * t) - 0.08 * np.cos(8 * t)) * circle(M)


def harmonic(X):
    return np.exp(X[..., 0]) * np.cos(X[..., 1])


def slope(u, X, h=1e-4):
    """The gradient by finite differences, accurate to 1e-8."""
    return np.stack([(u(X + h * e) - u(X - h * e)) / (2 * h) for e in np.eye(X.shape[-1])], axis=-1)


def fourier(X, c, center=(0, 0)):
    theta = np.arctan2(X[..., 1] - center[1], X[..., 0] - center[0])
    return c[0] + sum(c[2 * m - 1] * np.cos(m * theta) + c[2 * m] * np.sin(m * theta) for m in range(1, (len(c) + 1) // 2))


def gaussians(X, amplitude, center, width):
    r2 = ((X[..., None, :] - center) ** 2).sum(axis=-1)
    return (amplitude * np.exp(-r2 / np.square(width))).sum(axis=-1)


def polynomial(X, c):
    """sum c[i, j(, k)] x^i y^j (z^k), monomial by monomial."""
    return sum(value * np.prod(X ** np.array(powers), axis=-1) for powers, value in np.ndenumerate(c))


def grid(X, values, lo, hi):
    """Multilinear interpolation at points clamped to the box."""
    axes = [np.linspace(*ends, n) for *ends, n in zip(lo, hi, values.shape)]
    interpolate = RegularGridInterpolator(axes, values, bounds_error=False)  # points that are NaN give NaN
    return interpolate(np.clip(X, lo, hi)).reshape(X.shape[:-1])


def segments(rings):
    """Ends (M, 4) of the closed rings' segments."""
    return np.concatenate([np.concatenate([r, np.roll(r, -1, axis=0)], axis=1) for r in rings])


def inside(rings, X):
    """Whether the number of turns around the point is odd."""
    return contained(segments(rings), X)


def directions(rng, n, d=3):
    v = rng.standard_normal((n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def disc_points(rng, n, radius=0.95, d=2):
    return directions(rng, n, d) * radius * rng.random((n, 1)) ** (1 / d)


def star_points(rng, n):
    # 0.94 also keeps points inside the star of 30 vertices, whose chords cut off 0.04
    X = rng.uniform(-1.2, 1.2, (6 * n + 60, 2))
    X = X[inside([0.94 * star(256)], X)]
    return X[:n]


def seed(rng):
    return int(rng.integers(2**63))


def gates(value, stderr, truth, spread=True):
    """The names of the tests that fail. A normal z fails with probability below 1e-7: 6 sigma for sums, 7 for the largest of up to 1e4."""
    z = (value - truth) / stderr
    n = z.size
    failed = []
    if abs(z.sum()) / np.sqrt(n) > 6:
        failed.append("mean")
    matched = (z * truth / stderr).sum() / max(np.linalg.norm(truth / stderr), np.finfo(float).tiny)
    if abs(matched) > 6:
        failed.append("matched")
    if spread and abs((z**2).mean() - 1) > 7 * np.sqrt(2 / n):
        failed.append("spread")
    if abs(z).max() > 7:
        failed.append("largest")
    return failed


def check(result, X, u, spread=False, error=0.0):
    """Value (with the additional error ``error``) and gradient agree with a solution within their errors. All walks ended in the domain."""
    assert gates(result.value, np.hypot(result.stderr, error), u(X), spread) == []
    assert result.n_truncated.sum() == result.n_escaped.sum() == 0
    for i in range(0 if result.grad is None else X.shape[-1]):
        assert gates(result.grad[:, i], result.grad_stderr[:, i], slope(u, X)[:, i], spread) == []


def coordinate_sum(X):
    return X.sum(axis=1)


NUMBERS, COUNTS = ("value", "stderr", "grad", "grad_stderr"), ("n_walks", "mean_steps", "n_truncated", "n_escaped")


def numbers(result, at=...):
    """The fields of a result by name, or a part of each."""
    return {name: None if (x := getattr(result, name)) is None else np.asarray(x)[at] for name in NUMBERS + COUNTS}


def same(a, b, where=..., rows=None, unit=1.0, length=1.0):
    """All fields of two results are bitwise equal: those of ``a`` at ``rows`` in these units, and those of ``b`` at ``where``."""
    units, theirs = dict(zip(NUMBERS, (unit, unit, unit / length, unit / length))), numbers(b, where)
    for name, x in numbers(a, where if rows is None else rows).items():
        assert (x is None) == (theirs[name] is None), name
        if x is not None:
            np.testing.assert_array_equal(x, theirs[name] * units.get(name, 1), err_msg=name)


# ---------------------------------------------------------------- the op ``walk``: the same random words, exact distances


def values(kind, p, X, segment, fraction, frame):
    """Evaluate data at scaled points (..., d)."""
    d = X.shape[-1]
    if kind in ("polynomial", "grid"):
        sizes = np.rint(p[:d]).astype(int)
        table = p[d * (3 if kind == "grid" else 1) :][: sizes.prod()].reshape(sizes)
        return grid(frame[:d] + frame[d] * X, table, p[d : 2 * d], p[2 * d : 3 * d]) if kind == "grid" else polynomial(X, table)
    if kind == "number":
        return np.full(X.shape[:-1], p[0])
    if kind == "fourier":
        return fourier(X, p[2:], p[:2])
    if kind == "gaussians":
        bells = p.reshape(-1, X.shape[-1] + 2)
        return gaussians(X, bells[:, 0], bells[:, 1:-1], 1 / np.sqrt(bells[:, -1]))
    pairs = p.reshape(-1, 2)[segment]
    return (pairs[..., 0] * (1 - fraction) + pairs[..., 1] * fraction).reshape(X.shape[:-1])


def nodes(first, walks):
    """Split the range into aligned powers of two by halving a sufficiently large range."""

    def cut(at, size):
        if at >= first + walks or at + size <= first:
            return []
        if at >= first and at + size <= first + walks:
            return [(at, size)]
        return cut(at, size // 2) + cut(at + size // 2, size // 2)

    return cut(0, 1 << (first + walks).bit_length())


def moments(value, cut, start):
    """Means and squared deviations (N, nodes, channels) of values (N, walks, channels). NaN for points without walks."""
    parts = [value[:, at - cut[0][0] :][:, :size] for at, size in cut]
    result = [(part.mean(axis=1), ((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)) for part in parts]
    return np.where(np.isnan(start[:, :1, None]), np.nan, np.moveaxis(result, 0, 2))


def part_of(ends, first, b):
    """The facets of the boundary of instance b, which may be shared by all instances. None for a ball."""
    b = b if first is not None and len(first) > 2 else 0
    return ends if ends is None else ends[first[b] : first[b + 1]]


def paths_of_all(start, frame, ends, first, screening, first_instance, first_point, sobol, *settings):
    """``paths`` of every instance (B, N, d). ``settings``: the arguments from seed to gradient."""
    rate = screening * frame[:, -2] ** 2
    return [
        paths(x, frame[b, -1], part_of(ends, first, b), first_instance + b, *settings, rate[b], first_point, sobol)
        for b, x in enumerate(start)
    ]


def walk(start, frame, ends=None, first=None, dirichlet=None, source=None, *, dirichlet_kind="number", source_kind="none", seed=0,
         first_walk=0, walks=64, max_steps=1024, gradient=False, screening=0.0, first_instance=0, first_point=0, nrhs=1,
         sobol=False):  # fmt: skip
    """Right-hand side b nrhs + k of instance b uses the walks of b, for any k."""
    settings = seed, first_walk, walks, max_steps, gradient
    of_all = paths_of_all(start, frame, ends, first, screening, first_instance, first_point, sobol, *settings)
    cut = nodes(first_walk // (1 + gradient), walks // (1 + gradient))
    return added_up(of_all, start, frame, first, (dirichlet_kind, dirichlet), (source_kind, source), cut, gradient, nrhs)


def added_up(of_all, start, frame, first, dirichlet, source, cut, gradient, nrhs=1, medium=lambda b, walked: (1, lambda X: 1, 0)):
    """Means, squared deviations and counts of walks. ``medium``: factors of boundary values and sources, and a logarithmic slope."""
    B, N, d = start.shape
    shape = B * nrhs, N, len(cut), 1 + d if gradient else 1
    mean, m2, counts = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros((B * nrhs, N, 3), np.int64)
    for side in range(B * nrhs):
        b = side // nrhs
        walked, row = of_all[b], row_of(dirichlet[1], side)
        if dirichlet[0] == "per_vertex" and len(first) > 2:
            row = row[2 * first[b] : 2 * first[b + 1]]
        of_end, of_source, slopes = medium(b, walked)
        total, toward = walked.left * of_end * values(dirichlet[0], row, walked.x, walked.segment, walked.fraction, frame[b]), 0
        if source[0] != "none":
            numbers = row_of(source[1], side)
            f = [
                frame[b, d] ** 2 * of_source(y) * values(source[0], numbers, y, None, None, frame[b])
                for y, _ in (*walked.events, (walked.entry, 0))
            ]
            total = total + sum(np.where(weight == 0, 0, weight * at) for at, (_, weight) in zip(f, walked.events))
            toward = f[-1][..., None]
        mean[side], m2[side] = moments(sampled(walked, total, toward, frame[b, d], gradient, slopes), cut, start[b])
        counts[side, :, 0], counts[side, :, 1] = walked.steps.sum(axis=1), walked.cut.sum(axis=1)
    return mean, m2, counts


def sampled(walked, value_after, toward, extent, gradient, slopes):
    """Values (N, walks, channels); with gradients, those of pairs."""
    if not gradient:
        return value_after[..., None]
    value = value_after[..., None] * walked.along + toward * walked.toward
    value[..., 1:] = value[..., 1:] / extent - value[..., :1] * slopes
    return (value[:, ::2] + value[:, 1::2]) / 2


def row_of(numbers, instance):
    return numbers[instance if len(numbers) > 1 else 0]


def place(points, frame, ends=None, first=None):
    """Points in their boundary's frame. Those outside are moved to the boundary, or NaN if they are farther from it than epsilon."""
    d = points.shape[-1]
    start = (np.broadcast_to(points, (len(frame), *points.shape[-2:])) - frame[:, None, :d]) / frame[:, None, d, None]
    for b, x in enumerate(start):
        facets = part_of(ends, first, b)
        if facets is None:
            at = x / np.linalg.norm(x, axis=-1, keepdims=True)
        else:
            at = np.clip(x, -facets[0], facets[0]) if is_box(facets, x) else closest(facets, x)[3]
        out = ~contained(facets, x)
        far = out & (np.linalg.norm(x - at, axis=-1) > frame[b, -1])
        x[out], x[far] = at[out], np.nan
    return start


def trace(start, frame, ends=None, first=None, *, seed=0, first_walk=0, walks=64, max_steps=1024, screening=0.0, first_point=0,
          sourced=False, events=0, sobol=False):  # fmt: skip
    """Record walk by walk and step by step. A walk with weight 0 stays at its position."""
    (walked,) = paths_of_all(start, frame, ends, first, screening, 0, first_point, sobol, seed, first_walk, walks, max_steps, False)
    counts = np.stack([walked.steps, walked.cut, 0 * walked.cut], axis=-1)
    met = [
        (y[n, w], weight[n, w]) for n in range(start.shape[1]) for w in range(walks) for y, weight in walked.events[: walked.steps[n, w]]
    ]
    met += events * [(np.zeros(start.shape[2]), 0.0)]
    points, shares = (np.array([pair[i] for pair in met[:events]]) for i in (0, 1))
    exit = np.where(walked.left[..., None] == 0, walked.stopped, walked.x)
    return exit, walked.left, counts, points.reshape(events, start.shape[2]), shares * frame[0, -2] ** 2


# ---------------------------------------------------------------- balls and their harmonics


def balls(start, frame, ends=None, first=None, *, screening=0.0):
    radius = np.empty(start.shape[:2])
    for b in range(len(start)):
        segs = part_of(ends, first, b)
        distance = 1 - np.sqrt((start[b] ** 2).sum(-1)) if segs is None else closest(segs, start[b])[0]
        radius[b] = 0.99 * (np.minimum(distance, 2 / np.sqrt(screening) / frame[b, -2]) if screening else distance)
    return radius


def harmonics(n, modes):
    """Harmonics at unit vectors (..., d). Their products for two directions add up to 2 cos m(angle), or to (2l + 1) P_l(cos angle)."""
    if n.shape[-1] == 2:
        angle = np.arctan2(n[..., 1], n[..., 0])
        waves = [f(m * angle) * np.sqrt(2) for m in range(1, modes + 1) for f in (np.cos, np.sin)]
        return np.stack([np.ones(n.shape[:-1]), *waves], axis=-1)
    polar, azimuth = np.arccos(np.clip(n[..., 2], -1, 1)), np.arctan2(n[..., 1], n[..., 0])
    functions = []
    for degree in range(modes + 1):
        functions.append(sph_harm_y(degree, 0, polar, azimuth).real)
        for m in range(1, degree + 1):
            y = (-1) ** m * np.sqrt(2) * sph_harm_y(degree, m, polar, azimuth)
            functions += [y.real, y.imag]
    return np.sqrt(4 * np.pi) * np.stack(functions, axis=-1)


def expand(start, frame, ends, first, dirichlet, reference, *, dirichlet_kind="number", seed=0, first_point=0, first_walk=0, walks=64,
           samples=1, max_steps=1024, modes=16, screening=0.0):  # fmt: skip
    B, N, d = start.shape
    coefficients, counts = np.zeros((B, N, samples, harmonics(np.eye(d), modes).shape[-1])), np.zeros((B, N, 3), np.int64)
    of_all = paths_of_all(start, frame, ends, first, screening, 0, first_point, False, seed, first_walk, walks, max_steps, True)
    for b, walked in enumerate(of_all):
        u = walked.left * values(dirichlet_kind, row_of(dirichlet, b), walked.x, walked.segment, walked.fraction, frame[b])
        along = walked.along[..., 1:]
        n = along / np.sqrt((along**2).sum(axis=-1, keepdims=True))
        shares = (u - reference[b][:, None])[..., None] * harmonics(n, modes)
        shares[..., 0] = u
        coefficients[b] = shares.reshape(N, samples, walks // samples, shares.shape[-1]).mean(axis=2)
        counts[b, :, 0], counts[b, :, 1] = walked.steps.sum(axis=1), walked.cut.sum(axis=1)
    return coefficients, counts


def gather(coefficients, z2, begin, ball, offset, weight, *, modes):
    d = offset.shape[-1]
    degree = np.concatenate([[m] * (1 if m == 0 else 2 if d == 2 else 2 * m + 1) for m in range(modes + 1)]).astype(float)
    out = np.zeros((len(begin) - 1, coefficients.shape[1]))
    for i in range(len(out)):
        for k in range(begin[i], begin[i + 1]):
            rho = np.sqrt((offset[k] ** 2).sum())
            n = offset[k] / rho if rho > 0 else np.eye(d)[-1]
            order, z = d / 2 - 1 + degree, np.sqrt(z2[ball[k]])
            if z > 0 and rho > 0:
                radial = rho ** (1 - d / 2) * iv(order, z * rho) / iv(order, z)
            else:
                radial = rho**degree * (((z / 2) ** order / (gamma(order + 1) * iv(order, z))) if z > 0 else 1)
            out[i] += coefficients[ball[k]] @ (weight[k] * radial * harmonics(n, modes))
    return out
