"""Compiled random words (counters as in csrc/wos/walk/walker.hpp), draws, and ``composition_balls``."""

import math

import numpy as np

from ..._backends.numba import jit
from . import composition_balls
from .composition_balls import LIGHT
from .composition_philox import DIRECTION_NUMBERS, FIRST, SHIFT, SOURCE, SOURCE_DIRECTION, TRIAL

_MASK, _NUMBERS = np.uint64(0xFFFFFFFF), np.array([*DIRECTION_NUMBERS, [0] * 32], np.uint64).T.copy()
bessel_series, harmonic_series = jit(composition_balls.bessel_series), jit(composition_balls.harmonic_series)


def _weights() -> tuple[object, object]:
    """Compile the functions together with the series that they call."""
    from numba.extending import register_jitable

    for series in (composition_balls.bessel_series, composition_balls.harmonic_series, composition_balls.singular_series):
        register_jitable(series)
    return jit(composition_balls.source_weight), jit(composition_balls.hit_weight)


source_weight, hit_weight = _weights()


@jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 on uint64 values below 2^32."""
    for _ in range(10):
        p0 = c0 * np.uint64(0xD2511F53)
        p1 = c2 * np.uint64(0xCD9E8D57)
        c0 = (p1 >> np.uint64(32)) ^ c1 ^ k0
        c2 = (p0 >> np.uint64(32)) ^ c3 ^ k1
        c1 = p1 & _MASK
        c3 = p0 & _MASK
        k0 = (k0 + np.uint64(0x9E3779B9)) & _MASK
        k1 = (k1 + np.uint64(0xBB67AE85)) & _MASK
    return c0, c1, c2, c3


@jit
def _add_sobol(index, first, w0, w1, w2, w3):
    """XOR dimensions ``first`` to ``first`` + 3 of a Sobol' point to four words."""
    code = index ^ (index >> np.uint64(1))
    for bit in range(32):
        if code >> np.uint64(bit) & np.uint64(1):
            v = _NUMBERS[bit, first : first + 4]
            w0, w1, w2, w3 = w0 ^ v[0], w1 ^ v[1], w2 ^ v[2], w3 ^ v[3]
    return w0, w1, w2, w3


@jit
def first_words(d, walk, point, instance, k0, k1, pairs, sobol, words):
    """Write the words of the first steps of one walk, see ``composition_philox.first_words``."""
    index = walk >> np.uint64(pairs)
    own, pair, stream = walk, index, 0
    if sobol:
        own, pair, stream = walk - (index << np.uint64(pairs)), np.uint64(0), SHIFT
    w0, w1, w2, w3 = philox(np.uint64(stream), own, point, instance, k0, k1)
    if pairs:
        v0, v1, _, _ = philox(np.uint64(stream + FIRST), pair, point, instance, k0, k1)
        w0, w1 = v0, (v1 if d == 3 else w1)
    words[0], words[1], words[2], words[3] = _add_sobol(index, 0, w0, w1, w2, w3) if sobol else (w0, w1, w2, w3)


@jit
def uniform(word):
    return (float(word) + 0.5) * 2.0**-32


@jit
def roulette(weight, word):
    """(14) for weights of either sign."""
    size = abs(weight)
    if size >= LIGHT:
        return weight
    return math.copysign(LIGHT, weight) if uniform(word) * LIGHT < size else 0.0


@jit
def direction(word, height, n):
    """Write a uniform unit vector to n."""
    angle = float(word) * (2.0 * math.pi * 2.0**-32)
    if n.size == 2:
        n[0], n[1] = math.cos(angle), math.sin(angle)
    else:
        z = uniform(height) * 2.0 - 1.0
        rho = math.sqrt(max(1.0 - z * z, 0.0))
        n[0], n[1], n[2] = rho * math.cos(angle), rho * math.sin(angle), z


@jit
def unit_vector(counter, walk, point, instance, k0, k1, n):
    """(23) Write a uniform unit vector to n, in any dimension."""
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
def source_radius(d, u, v, w):
    """(4a) in the plane, (4b) in space, (4c) otherwise: the radius in the unit ball, from uniform numbers, of which only (4b) needs w."""
    if d == 3:
        return max(min(u, v), min(max(u, v), w))
    return math.sqrt(u * v) if d == 2 else math.sqrt(u) * v ** (1.0 / d)


@jit
def source_point(step, walk, point, instance, k0, k1, n, sobol=False):
    """The radius of a source point in the unit ball, and minus its logarithm (0 in space). Writes the direction to n."""
    w0, w1, w2, _ = philox(np.uint64(SOURCE + step), walk, point, instance, k0, k1)
    if n.size > 3:
        unit_vector(SOURCE_DIRECTION + step, walk, point, instance, k0, k1, n)
        r = source_radius(n.size, uniform(w0), uniform(w1), 0.0)
        return r, -math.log(r)
    first, zero = sobol and step == 0, np.uint64(0)
    s0, s1, s2, s3 = philox(np.uint64(SHIFT + SOURCE), zero, point, instance, k0, k1) if first else (zero, zero, zero, zero)
    if first:
        s0, s1, s2, _ = _add_sobol(walk, 4, s0, s1, s2, s3)
    if n.size == 2:
        if first:
            w0, w1, w2 = s1, s2, s0
        r = source_radius(2, uniform(w0), uniform(w1), 0.0)
        direction(w2, w2, n)
        return r, -math.log(r)
    v0, v1, _, _ = philox(np.uint64(SOURCE + TRIAL + step), walk, point, instance, k0, k1)
    if first:
        v0, v1, w0 = s0, s1, s2
    direction(v0, v1, n)
    return source_radius(3, uniform(w0), uniform(w1), uniform(w2)), 0.0
