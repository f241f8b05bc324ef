"""Random words, with the same counters as csrc/wos/walk/walker.hpp, and series and weights of ``composition_balls`` compiled."""

import numpy as np
from numba.extending import register_jitable

from ..._backends.numba import jit
from . import composition_balls

_MASK = np.uint64(0xFFFFFFFF)
SOURCE, TRIAL = 1 << 28, 1 << 20
bessel_series, harmonic_series = jit(composition_balls.bessel_series), jit(composition_balls.harmonic_series)
for _series in (composition_balls.bessel_series, composition_balls.harmonic_series, composition_balls.singular_series):
    register_jitable(_series)  # so that compiled weights may call them
source_weight, hit_weight = jit(composition_balls.source_weight), jit(composition_balls.hit_weight)


@jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 on numbers below 2^32 held in uint64."""
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
def uniform(word):
    return (float(word) + 0.5) * 2.0**-32
