"""Random vectors and source points in more than three dimensions: csrc/wos/walk/formula_wide.hpp."""

import math

import numpy as np

from ..._backends.numba import jit
from .loops_philox import SOURCE, TRIAL, philox, uniform

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
