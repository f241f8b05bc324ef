"""Random vectors, source points and their weights in more than three dimensions: csrc/wos/walk/wide.hpp and radial.hpp."""

import math

import numpy as np

from ..._backends.numba import jit
from .loops_words import SOURCE, TRIAL, bessel_series, philox, uniform

SOURCE_DIRECTION = 2 << 28


@jit
def unit_vector(counter, walk, point, instance, k0, k1, n):
    """(23)"""
    d = n.size
    r2 = 0.0
    for group in range((d + 3) // 4):
        w = philox(np.uint64(counter + group * TRIAL), walk, point, instance, k0, k1)
        for k in range(2):
            length = math.sqrt(-2.0 * math.log(uniform(w[2 * k])))
            angle = float(w[2 * k + 1]) * (2.0 * math.pi * 2.0**-32)
            for i in range(2):
                j = 4 * group + 2 * k + i
                if j < d:
                    n[j] = length * (math.cos(angle) if i == 0 else math.sin(angle))
                    r2 += n[j] * n[j]
    scale = 1.0 / math.sqrt(r2)
    for j in range(d):
        n[j] *= scale


@jit
def source_radius(d, step, walk, point, instance, k0, k1):
    """(4c)"""
    trial = 0
    while True:
        w = philox(np.uint64(SOURCE + trial * TRIAL + step), walk, point, instance, k0, k1)
        for k in range(2):
            r = math.sqrt(uniform(w[2 * k]))
            if uniform(w[2 * k + 1]) < 1.0 - r ** (d - 2):
                return r
        trial += 1


@jit
def _singular(d, q, s):
    """(22) The value and slope of s^(d - 2) times the solution that is singular at 0."""
    t = q * s * s
    total, slope, term = 0.0, 0.0, 1.0
    if d % 2:
        for k in range(15 + d // 2):
            total += term
            following = term / ((k + 1) * (0.5 * (2 - d) + k + 1))
            slope += (k + 1) * following
            term = following * t
        return total, slope * 2.0 * q * s
    n = d // 2 - 1
    for k in range(n):
        total += term
        if k + 1 < n:
            following = -term / ((n - 1 - k) * (k + 1))
            slope += (k + 1) * following
            term = following * t
    power, shared = (2.0 if n % 2 else -2.0), 0.0
    for k in range(1, n + 1):
        power /= k
        shared += 1.0 / k
    for k in range(1, n):
        power *= t / k
    logarithm = math.log(s)
    for k in range(15):
        about = logarithm - 0.5 * shared
        total += power * t * about
        slope += power * ((n + k) * about + 0.5)
        power *= t / ((k + 1) * (n + k + 1))
        shared += 1.0 / (k + 1) + 1.0 / (n + k + 1)
    return total, slope * 2.0 * q * s


@jit
def source_weight_wide(d, s, z2):
    """(21)"""
    q = 0.25 * z2
    half, power = d - 2, s ** (d - 2)
    value, slope = _singular(d, q, s)
    end, end_slope = _singular(d, q, 1.0)
    first = power * bessel_series(half, q * s * s) / bessel_series(half, q)
    first_slope = power * s * bessel_series(half + 2, q * s * s) / bessel_series(half + 2, q)
    falls, falls_at_end = half * value / s - slope, half * end - end_slope
    return (value - end * first) / (1.0 - power), (falls - falls_at_end * first_slope) / (1.0 - power)
