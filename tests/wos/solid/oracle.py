"""Boxes by minimizing over their faces, closed forms in any dimension, and Green's functions by Bessel functions of 40 digits."""

import mpmath
import numpy as np


def box_distance(lo, hi, q):
    """Distance, negative inside, and the closest point of the boundary: the best of the closest points of all faces."""
    best, at = np.full(len(q), np.inf), np.empty_like(q)
    for axis in range(q.shape[1]):
        for side in (lo, hi):
            p = np.clip(q, lo, hi)
            p[:, axis] = side[axis]
            d = np.linalg.norm(q - p, axis=1)
            at[d < best] = p[d < best]
            best = np.minimum(best, d)
    inside = ((q > lo) & (q < hi)).all(axis=1)
    return np.where(inside, -best, best), at


def points_in_box(rng, n, lo, hi, margin=0.03):
    lo, hi = np.asarray(lo), np.asarray(hi)
    return lo + (hi - lo) * rng.uniform(margin, 1 - margin, (n, len(lo)))


def harmonic_quadratic(rng, d):
    """A matrix without trace and a vector: u = x A x + b x is harmonic. And its coefficients c[i, j, ...], powers up to 2 of every axis."""
    A = rng.standard_normal((d, d))
    A = (A + A.T) / 2
    A -= np.eye(d) * np.trace(A) / d
    b = rng.standard_normal(d)
    c = np.zeros((3,) * d)
    for i in range(d):
        c[tuple(np.eye(d, dtype=int)[i])] += b[i]
        for j in range(d):
            c[tuple(np.eye(d, dtype=int)[i] + np.eye(d, dtype=int)[j])] += A[i, j]
    return A, b, c


def quadratic(A, b, X):
    return np.einsum("ni,ij,nj->n", X, A, X) + X @ b


def source_weights(d, s, z):
    """G_screened / G and R |its change with the centre| / G in a ball, at the radius s R."""
    with mpmath.workdps(40):
        s, z, nu = mpmath.mpf(s), mpmath.mpf(z), mpmath.mpf(d) / 2 - 1
        area = 2 * mpmath.pi ** (mpmath.mpf(d) / 2) / mpmath.gamma(mpmath.mpf(d) / 2)
        plain = (s ** (2 - d) - 1) / ((d - 2) * area)
        scale = (z / (2 * mpmath.pi * s)) ** nu / (2 * mpmath.pi)
        k, i = mpmath.besselk, mpmath.besseli
        g = scale * (k(nu, z * s) - i(nu, z * s) * k(nu, z) / i(nu, z))
        slope = scale * z * (k(nu + 1, z * s) - i(nu + 1, z * s) * k(nu + 1, z) / i(nu + 1, z))
        return float(g / plain), float(slope / plain)
