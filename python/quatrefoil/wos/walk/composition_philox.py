"""Random words of many walks at once, and draws from them, with array API functions and the counters of csrc/wos/walk/walker.hpp.

Equation numbers refer to csrc/wos/walk/README.md. Words are int64 values below 2^32, because not every namespace has uint64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

SOURCE, BOUNDARY, ROULETTE, FIRST, TRIAL = 1 << 28, 2 << 28, 3 << 28, 4 << 28, 1 << 20  # streams, and the increment for a trial
SHIFT = 5 << 28  # stream 5 + s shifts the Sobol' points that replace words of stream s
SOURCE_DIRECTION = 2 << 28  # in more than three dimensions
_MULTIPLIERS, _WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_TURN = 2.0 * math.pi * 2.0**-32


class Lanes(NamedTuple):
    """The indices of walks, their points and instances, (P,) int64, and the key."""

    walk: Any
    point: Any
    instance: Any
    seed: int

    def words(self, xp: Any, *counters: int) -> list[list[Any]]:
        """Philox4x32-10: four words (P,) per counter."""
        P, like = self.walk.shape[0], self.walk
        first = xp.asarray([[counter] for counter in counters], dtype=xp.int64, device=like.device)
        a, b, c, d = (xp.broadcast_to(x, (len(counters), P)) for x in (first, self.walk, self.point, self.instance))
        k0, k1 = self.seed & _MASK, (self.seed >> 32) & _MASK
        for _ in range(10):  # the bits of a 64-bit product are right even if it overflows int64
            p, q = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
            a, b, c, d = ((q >> 32) & _MASK) ^ b ^ k0, q & _MASK, ((p >> 32) & _MASK) ^ d ^ k1, p & _MASK
            k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
        return [[a[i, :], b[i, :], c[i, :], d[i, :]] for i in range(len(counters))]

    def pairs(self) -> tuple[Lanes, Any]:
        """The lanes with indices of pairs instead of walks, and the sign of each walk's directions."""
        sign = 1 - 2 * (self.walk % 2)
        return self._replace(walk=self.walk // 2), sign


# (30) Degrees of primitive polynomials, their coefficients below the leading one, and initial numbers, from Joe and Kuo (2008)
_POLYNOMIALS = (
    (1, 0, (1,)), (1, 1, (1,)), (2, 3, (1, 3)), (3, 3, (1, 3, 1)), (3, 5, (1, 1, 1)), (4, 3, (1, 1, 3, 3)), (4, 9, (1, 3, 5, 13)),
)  # fmt: skip


def _direction_numbers(degree: int, polynomial: int, initial: tuple[int, ...]) -> list[int]:
    """The direction numbers of one dimension of the Sobol' sequence, for each bit of an index."""
    v = [m << (31 - bit) for bit, m in enumerate(initial)]
    while len(v) < 32:
        number = v[-degree] >> degree
        for j in range(1, degree + 1):
            number ^= v[-j] * (polynomial >> (degree - j) & 1)
        v.append(number)
    return v


DIRECTION_NUMBERS = [_direction_numbers(*row) for row in _POLYNOMIALS]  # (7, 32)


def _shifted(xp: Any, index: Any, words: list[Any], first: int) -> list[Any]:
    """Words XORed with dimensions ``first``, ``first`` + 1, ... of Sobol' points."""
    code, stacked = index ^ (index >> 1), xp.stack(words, axis=0)
    for bit, numbers in enumerate(zip(*DIRECTION_NUMBERS[first : first + len(words)])):
        stacked = stacked ^ ((code >> bit) & 1) * xp.asarray(numbers, dtype=xp.int64, device=index.device)[:, None]
    return [stacked[i, :] for i in range(len(words))]


def first_words(xp: Any, lanes: Lanes, pairs: bool, sobol: bool, d: int) -> list[Any]:
    """The words (P,) of the walks' first steps, block 0 of stream 0. Both walks of a pair have the same d - 1 words for the first step.

    With ``sobol`` they are shifted points of the Sobol' sequence (30).
    """
    own, pair, stream = lanes, lanes.pairs()[0] if pairs else lanes, 0
    index = pair.walk
    if sobol:
        own, pair, stream = own._replace(walk=lanes.walk % 2 if pairs else 0 * index), pair._replace(walk=0 * index), SHIFT
    (words,) = own.words(xp, stream)
    if pairs:
        ((*first, _, _),) = pair.words(xp, stream + FIRST)
        words[: d - 1] = first[: d - 1]
    return _shifted(xp, index, words, 0) if sobol else words


def source_words(xp: Any, lanes: Lanes, step: int, d: int, sobol: bool) -> list[Any]:
    """The words (P,) of source points: d for the radius, d - 1 for the direction.

    With ``sobol``, shifted points of the Sobol' sequence (30) replace three of the first step's: the direction's, then the radius's.
    """
    all_words = lanes.words(xp, SOURCE + step, *[SOURCE + TRIAL + step] * (d - 2))
    words = [*all_words[0][:3], *all_words[-1][:2]][: 2 * d - 1]
    if sobol and step == 0:
        ((*shifts, _),) = lanes._replace(walk=0 * lanes.walk).words(xp, SHIFT + SOURCE)
        for i, word in enumerate(_shifted(xp, lanes.walk, shifts, 4)):
            words[(d + i) % (2 * d - 1)] = word
    return words


def uniform(xp: Any, word: Any) -> Any:
    return (xp.astype(word, xp.float64) + 0.5) * 2.0**-32


def direction(xp: Any, word: Any, height: Any, d: int) -> Any:
    """A uniform unit vector (P, d) in the plane or in space."""
    angle = xp.astype(word, xp.float64) * _TURN
    if d == 2:
        return xp.stack([xp.cos(angle), xp.sin(angle)], axis=1)
    z = uniform(xp, height) * 2.0 - 1.0
    rho = xp.sqrt(xp.clip(1.0 - z * z, min=0.0))
    return xp.stack([rho * xp.cos(angle), rho * xp.sin(angle), z], axis=1)


def unit_vector(xp: Any, lanes: Lanes, counter: int, d: int) -> Any:
    """(23) A uniform unit vector (P, d) in any dimension."""
    parts = []
    for words in lanes.words(xp, *(counter + group * TRIAL for group in range((d + 3) // 4))):
        for k in range(2):
            length = xp.sqrt(-2.0 * xp.log(uniform(xp, words[2 * k])))
            angle = xp.astype(words[2 * k + 1], xp.float64) * _TURN
            parts += [length * xp.cos(angle), length * xp.sin(angle)]
    n = xp.stack(parts[:d], axis=1)
    return n / xp.sqrt(xp.sum(n * n, axis=1, keepdims=True))


def source_radius(xp: Any, d: int, words: Any) -> Any:
    """(4a) in the plane, (4b) in space, (4c) otherwise: the radius in the unit ball (P,), from three words in space or else from two."""
    u = [uniform(xp, word) for word in words[: 3 if d == 3 else 2]]
    if d == 3:
        return xp.maximum(xp.minimum(u[0], u[1]), xp.minimum(xp.maximum(u[0], u[1]), u[2]))
    return xp.sqrt(u[0] * u[1]) if d == 2 else xp.sqrt(u[0]) * u[1] ** (1.0 / d)


def source_point(xp: Any, lanes: Lanes, step: int, d: int, sobol: bool = False) -> tuple[Any, Any]:
    """The radius of a source point in the unit ball (P,), and its direction (P, d)."""
    if d > 3:
        return source_radius(xp, d, lanes.words(xp, SOURCE + step)[0]), unit_vector(xp, lanes, SOURCE_DIRECTION + step, d)
    words = source_words(xp, lanes, step, d, sobol)
    return source_radius(xp, d, words), direction(xp, words[d], words[-1], d)
