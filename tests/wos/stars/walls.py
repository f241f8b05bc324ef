"""Segments and triangles from the definitions: normals, distances, rays, visibility, and integrals of Green's function by quadrature."""

import functools
import math

import numpy as np
from scipy.integrate import quad
from scipy.special import iv, kv

from wos.query.oracle import all_distances, on_segment

TAU = 2 * np.pi


def corners(facet, d):
    """The corners of a segment or triangle."""
    return facet[: d * d].reshape(d, d)


def normal(facet, d):
    """The outward normal, and the length or twice the area."""
    return _normal(facet[: d * d].tobytes(), d)


@functools.lru_cache(1024)
def _normal(numbers, d):
    at = corners(np.frombuffer(numbers), d)
    e = at[1:] - at[0]
    n = np.array([e[0, 1], -e[0, 0]]) if d == 2 else np.cross(*e)
    size = np.sqrt(n @ n)
    return n / size, size


def nearest(facets, x):
    """Distance, facet, weights of its corners except the first, and closest point."""
    (d2,), (weight,) = all_distances(facets[:, : len(x) ** 2], x[None])
    k = int(d2.argmin())
    return np.sqrt(d2[k]), k, weight[k, 1:], weight[k] @ corners(facets[k], len(x))


def from_side(x, side):
    """The distance from a point or a segment."""
    return np.sqrt(((x - side[0]) ** 2).sum() if len(side) == 1 else on_segment(x, *side)[0])


def through(d, r, R, screening):
    """The flux through the sphere of radius r around the pole of a ball's Green's function."""
    if screening == 0:
        return 1.0
    z, s = np.sqrt(screening) * np.array([R, r])
    if d == 2:
        return s * (kv(1, s) + iv(1, s) * kv(0, z) / iv(0, z))
    return (np.sinh(z - s) + s * np.cosh(z - s)) / np.sinh(z)


def ray(walls, x, d, limit, skip, end=np.inf):
    """The first wall through which the ray leaves the domain, and its distance. At ``end`` the ray must be outside by more than
    rounding."""
    hit, at = -1, limit
    for k, wall in enumerate(walls):
        n, _ = normal(wall, len(x))
        if k in skip or d @ n <= 1e-14:
            continue
        corner = corners(wall, len(x))
        t, *s = np.linalg.solve(np.stack([-d, *(corner[1:] - corner[0])], axis=1), x - corner[0])
        if -1e-13 < t <= at and min(*s, 1 - sum(s)) >= -1e-12 and (x + min(end, 10.0) * d - corner[0]) @ n > 1e-13:
            hit, at = k, t
    return hit, max(at, 0.0)


def sees(walls, x, k, z, own):
    r = np.sqrt(((z - x) ** 2).sum())
    return k == own or r < 1e-12 or ray(walls, x, (z - x) / r, r - 1e-12, (own,), r)[0] < 0


def chord(wall, x, R):
    """The height of x above a wall's line, the foot of x, and the part of the wall in the disc, or None if x faces its back."""
    n, length = normal(wall, 2)
    p, foot = (wall[:2] - x) @ n, (x - wall[:2]) @ (wall[2:4] - wall[:2]) / length
    half = np.sqrt(max(R * R - p * p, 0))
    low, high = max(foot - half, 0), min(foot + half, length)
    return p, foot, (low, high) if -1e-13 <= p < R and low < high else None


def log_mass(p, t, R):
    """The integral of G along a line at height p, from the foot to t, by quadrature in the square root of the length."""
    mass = quad(lambda v: 2 * v * math.log(R / math.hypot(p, v * v)) / TAU, 0, math.sqrt(abs(t)), epsabs=1e-15, epsrel=1e-12, limit=400)[0]
    return mass if t > 0 else -mass


def facet_mass(wall, x, p, R):
    """The integral of G over a triangle in the ball around x, at height p above its plane, by quadrature over directions in that plane."""
    n, _ = normal(wall, 3)
    along = wall[3:6] - wall[:3]
    along /= np.sqrt(along @ along)
    corner = (corners(wall, 3) - x) @ np.stack([along, np.cross(n, along)], axis=1)  # relative to the foot of x

    def upto(rho):
        rho = min(rho, np.sqrt(R * R - p * p))
        return (np.hypot(rho, p) - p - rho**2 / (2 * R)) / (2 * TAU)

    def of_direction(angle):
        low, high, d = 0.0, np.inf, np.array([np.cos(angle), np.sin(angle)])
        for a, b in zip(corner, np.roll(corner, -1, axis=0)):
            inner = np.array([a[1] - b[1], b[0] - a[0]])
            toward, offset = inner @ d, inner @ a
            if toward == 0:
                high = high if offset <= 0 else -1.0
            elif toward > 0:
                low = max(low, offset / toward)
            else:
                high = min(high, offset / toward)
        return upto(high) - upto(low) if high > low else 0.0

    angles = [*np.arctan2(corner[:, 1], corner[:, 0])]
    for a, b in zip(corner, np.roll(corner, -1, axis=0)):  # points where a side leaves the ball
        inner = np.array([a[1] - b[1], b[0] - a[0]])
        nearest = inner @ a / (inner @ inner) * inner
        cosine = np.sqrt((nearest @ nearest) / (R * R - p * p))
        angles += [np.arctan2(nearest[1], nearest[0]) + side * np.arccos(min(cosine, 1.0)) for side in (-1, 1)]
    angles = np.unique(np.mod(angles, TAU))
    parts = zip(angles, [*angles[1:], angles[0] + TAU])
    return sum(quad(of_direction, a, b, epsabs=1e-14, epsrel=1e-12, limit=400)[0] for a, b in parts)
