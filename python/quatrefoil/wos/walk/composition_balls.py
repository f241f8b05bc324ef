"""Balls with screening: series and weights, with array API functions. Equation numbers refer to csrc/wos/walk/README.md.

Functions without ``xp`` also accept numbers, and Numba compiles them (``loops_philox``).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

SHRUNK, MAX_SCREENED, LIGHT = 0.99, 2.0, 0.125  # as in formula.hpp
TERMS = 14  # terms of a series after the first


def bessel_series(half: int, q: Any) -> Any:
    """(9) sum_k q^k / (k! (nu + 1) ... (nu + k)), nu = half / 2."""
    total = 1 + 0 * q
    for k in range(TERMS, 0, -1):
        total = total * q / (k * (0.5 * half + k)) + 1
    return total


def harmonic_series(shift: int, q: Any) -> Any:
    """(11), (15) sum_k (H_k + H_(k + shift)) q^k / (k! (k + shift)!) / 2."""
    total, harmonic, term = 0.5 * shift + 0 * q, 0.0, 1.0
    for k in range(1, TERMS + 1):
        harmonic += 1.0 / k
        term = term * q / (k * (k + shift))
        total = total + term * (harmonic + shift * 0.5 / (k + 1))
    return total


def singular_series(d: int, q: Any, s: Any, logarithm: Any) -> tuple[Any, Any]:
    """(22) Q and Q': s^(d - 2) times the solution that is singular at 0, and its derivative. ``logarithm`` is ln s."""
    t = q * s * s
    total, slope, term = 0 * t, 0 * t, 1 + 0 * t
    if d % 2:
        for k in range(TERMS + 1 + d // 2):
            total = total + term
            following = term / ((k + 1) * (0.5 * (2 - d) + k + 1))
            slope = slope + (k + 1) * following
            term = following * t
        return total, slope * 2.0 * q * s
    n = d // 2 - 1
    for k in range(n):
        total = total + term
        if k + 1 < n:
            following = -term / ((n - 1 - k) * (k + 1))
            slope = slope + (k + 1) * following
            term = following * t
    factor, shared = (2.0 if n % 2 else -2.0), 0.0
    for k in range(1, n + 1):
        factor /= k
        shared += 1.0 / k
    power = factor + 0 * t
    for k in range(1, n):
        power = power * t / k
    for k in range(TERMS + 1):
        about = logarithm - 0.5 * shared
        total = total + power * t * about
        slope = slope + power * ((n + k) * about + 0.5)
        power = power * t / ((k + 1) * (n + k + 1))
        shared += 1.0 / (k + 1) + 1.0 / (n + k + 1)
    return total, slope * 2.0 * q * s


def source_weight(d: int, s: Any, logarithm: Any, z2: Any) -> tuple[Any, Any]:
    """(11), (12), (15), (21): weights of a source point at radius s, relative to Laplace's equation, in the value and in the gradient.

    ``logarithm`` is -ln s, unused in space.
    """
    q = 0.25 * z2
    at = q * s * s
    if d > 3:
        power = s ** float(d - 2)
        value, slope = singular_series(d, q, s, -logarithm)
        end, end_slope = singular_series(d, q, 1.0 + 0 * s, 0 * s)
        first = power * bessel_series(d - 2, at) / bessel_series(d - 2, q)
        first_slope = power * s * bessel_series(d, at) / bessel_series(d, q)
        falls, falls_at_end = (d - 2) * value / s - slope, (d - 2) * end - end_slope
        return (value - end * first) / (1.0 - power), (falls - falls_at_end * first_slope) / (1.0 - power)
    if d == 2:
        i0, i1, i1_end = bessel_series(0, at), bessel_series(2, at), bessel_series(2, q)
        a = harmonic_series(0, at) / i0 - harmonic_series(0, q) / bessel_series(0, q)
        b = harmonic_series(1, at) / i1 - harmonic_series(1, q) / i1_end
        slope = 1.0 / s - s * i1 / i1_end - z2 * s * 0.5 * i1 * (logarithm + b)
        return i0 * (1.0 + a / logarithm), slope / logarithm
    odd = bessel_series(-1, at) - z2 * s * s * bessel_series(1, at)
    odd_end = bessel_series(-1, q) - z2 * bessel_series(1, q)
    slope = odd / (s * s) - s * odd_end * bessel_series(3, at) / bessel_series(3, q)
    return bessel_series(1, q * (1.0 - s) ** 2) / bessel_series(1, q), slope * s / (1.0 - s)


def hit_weight(d: int, s: Any, logarithm: Any, z2: Any) -> Any:
    """Stars README (3), (3'): the weight of a walk that hits a wall at radius s. ``logarithm`` is as in ``source_weight``."""
    end = 0.25 * z2
    if d == 2:
        q = end * s * s
        a = harmonic_series(0, end) / bessel_series(0, end)
        return 1.0 + 2.0 * q * (bessel_series(2, q) * (a - logarithm) - harmonic_series(1, q))
    q = end * (1.0 - s) ** 2
    return ((1.0 - s) * bessel_series(1, q) + s * bessel_series(-1, q)) / bessel_series(1, end)


class First(NamedTuple):
    """The factors of contributions after a pair's first ball, and of the source in it."""

    along: Any  # (P,) to the value, after the ball
    outward: Any  # (P, d) to the scaled gradient, after the ball
    source: Any  # (P,) to the value, in the ball
    toward: Any  # (P, d) to the scaled gradient, in the ball

    @staticmethod
    def none(xp: Any, x: Any) -> First:
        """The factors of walks without steps: the value is the boundary value, and the gradient is NaN."""
        unknown = xp.full_like(x, math.nan)
        return First(1 + 0 * x[:, 0], unknown, 0 * x[:, 0], unknown)

    @staticmethod
    def entered(xp: Any, n: Any, m: Any, radius: Any, z2: Any, of_value: Any, of_gradient: Any) -> First:
        """(13) The factors of first balls with directions n and m."""
        d, q = n.shape[1], 0.25 * z2
        outward = (d / (radius * bessel_series(d, q)))[:, None] * n
        return First(1.0 / bessel_series(d - 2, q), outward, of_value, (of_gradient / radius)[:, None] * m)

    def where(self, xp: Any, chosen: Any, other: First) -> First:
        """Select elementwise: these factors if ``chosen``, otherwise those of ``other``."""
        return First(*(xp.where(chosen if a.ndim == 1 else chosen[:, None], a, b) for a, b in zip(self, other)))

    def channels(self, xp: Any, extent: Any) -> tuple[Any, Any]:
        """Factors (P, 1 + d) after the first ball, and for the source in it, in absolute units."""
        along = xp.concat([self.along[:, None], self.outward / extent[:, None]], axis=1)
        return along, xp.concat([self.source[:, None], self.toward / extent[:, None]], axis=1)


def roulette(xp: Any, weight: Any, u: Any) -> Any:
    """(14) for weights of either sign. 0 ends a walk."""
    size = xp.abs(weight)
    goes_on = xp.where(u * LIGHT < size, xp.where(weight < 0, -LIGHT + 0 * size, LIGHT + 0 * size), xp.zeros_like(size))
    return xp.where(size >= LIGHT, weight, goes_on)
