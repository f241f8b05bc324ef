"""Harmonic coefficients of balls, and values from them, with array API functions in float64: csrc/wos/walk/README.md (16) to (18)."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import added, ascends, chunk_slices, items_per_chunk, nan_unless, segment_sums, zeros
from ..data.composition import Data
from ..query.composition_solids import norm
from .composition_balls import bessel_series
from .composition_batches import LANE, WalkBatch, Walks, named
from .composition_paths import walk_paths
from .composition_philox import FIRST, direction, unit_vector
from .expansion import EXPAND, columns
from .expansion import harmonics as number_of


def expand(xp: Any, *arguments: Any, g: Any = None) -> tuple[Any, Any]:
    """The coefficients (17), from the same pairs of walks as ``walk`` with a gradient, and the counts."""
    args = named(EXPAND, arguments[:6], arguments[6:], gradient=True, first_instance=0, source_kind="none")
    first_walk, count, samples, modes = args.first_walk, args.walks, args.samples, args.modes
    (B, N, d), each, H, label = args.start.shape, count // samples, number_of(args.start.shape[2], modes), "wos.expand"
    data, walks = Data(xp, label, args.dirichlet_kind, args.dirichlet, g), Walks(xp, label, args)
    if d > 3:
        return _values_of_walks(xp, walks, data, args)
    limit = 2 * items_per_chunk(2 * (LANE + H))
    width = each * max(1, limit // each) if each <= limit else 1 << (limit.bit_length() - 1)  # whole samples, or a part of one sample
    coefficients, counts = [], []
    for rows in walks.rows(min(width, count) * (LANE + H)):
        sums: list[Any] = [None] * samples
        marks: Any = None
        for begin in range(0, count, width):
            batch = WalkBatch(walks, rows, first_walk + begin, min(width, count - begin))
            walked = walk_paths(batch, args.max_steps, args.screening, None)
            u = walked.weighted_data(data)
            lanes, sign = batch.lanes.pairs()
            ((w0, w1, _, _),) = lanes.words(xp, FIRST)
            n = xp.astype(sign, xp.float64)[:, None] * direction(xp, w0, w1, d)
            less = u - xp.take(xp.reshape(args.reference, (B * N,)), batch.of_row, axis=0)
            shares = xp.stack([u, *(less * y for y in harmonics(xp, n, modes)[1:])], axis=1)
            shares = xp.where(batch.valid[:, None], shares, xp.zeros_like(shares))
            part = min(each, width, count - begin)
            of_samples = xp.sum(xp.reshape(shares, (batch.height, batch.count // part, part, H)), axis=2)
            for i in range(batch.count // part):
                at = (begin + i * part) // each
                sums[at] = added(sums[at], of_samples[:, i, :])
            marks = added(marks, batch.tallied(walked.marks(batch)))
        coefficients.append(xp.stack(sums, axis=1) / each)
        counts.append(marks)
    if not coefficients:
        return zeros(xp, (B, N, samples, H), args.frame), zeros(xp, (B, N, 3), args.frame, xp.int64)
    return xp.reshape(xp.concat(coefficients, axis=0), (B, N, samples, H)), xp.reshape(xp.concat(counts, axis=0), (B, N, 3))


def _values_of_walks(xp: Any, walks: Walks, data: Data, args: Any) -> tuple[Any, Any]:
    """In more than three dimensions: the mean of u, u minus the reference and the direction of every walk, and the counts."""
    (B, N, d), S, values, counts = args.start.shape, args.samples, [], []
    for rows, ranges in walks.batches():
        u, n, marks = [], [], None
        for first_walk, count in ranges:
            batch = WalkBatch(walks, rows, first_walk, count)
            walked = walk_paths(batch, args.max_steps, args.screening, None)
            value, (lanes, sign) = walked.weighted_data(data), batch.lanes.pairs()
            away = xp.astype(sign, xp.float64)[:, None] * unit_vector(xp, lanes, FIRST, d)
            u.append(xp.reshape(xp.where(batch.valid, value, xp.zeros_like(value)), (batch.height, count)))
            n.append(xp.reshape(away, (batch.height, count, d)))
            marks = added(marks, batch.tallied(walked.marks(batch)))
        reference = xp.reshape(args.reference, (B * N,))[rows][:, None, None]
        of_samples = xp.reshape(xp.concat(u, axis=1), (reference.shape[0], S, args.walks // S))
        directions = xp.reshape(xp.concat(n, axis=1), (reference.shape[0], S, args.walks // S * d))
        values.append(xp.concat([xp.mean(of_samples, axis=2, keepdims=True), of_samples - reference, directions], axis=2))
        counts.append(marks)
    C = columns(d, 0, args.walks // S)
    if not values:
        return zeros(xp, (B, N, S, C), args.frame), zeros(xp, (B, N, 3), args.frame, xp.int64)
    return xp.reshape(xp.concat(values, axis=0), (B, N, S, C)), xp.reshape(xp.concat(counts, axis=0), (B, N, 3))


def _from_walks(xp: Any, coefficients: Any, x: Any, q: Any, modes: int) -> Any:
    """(31), (32) Values (P, S) at positions x (P, d) in unit balls, from ``_values_of_walks`` (P, S, C). q: a quarter of z^2."""
    (P, S, C), d = coefficients.shape, x.shape[1]
    each, nu = (C - 1) // (1 + d), d / 2 - 1
    less, n = coefficients[:, :, 1 : 1 + each], xp.reshape(coefficients[:, :, 1 + each :], (P, S, each, d))
    rho2 = xp.sum(x * x, axis=1)[:, None, None]
    along, q = xp.sum(n * x[:, None, None, :], axis=3), q[:, None, None]
    kernel = (1 - rho2) / (1 + rho2 - 2 * along) ** (0.5 * d)
    before, current, radial = 0 * along, 1 + 0 * along, None
    for degree in range(modes + 1):
        ratio = bessel_series(d - 2 + 2 * degree, q * rho2) / bessel_series(d - 2 + 2 * degree, q)
        kernel = kernel + (ratio - 1) * (1 + degree / nu) * current
        after = (2 * (degree + nu) * along * current - (degree + 2 * nu - 1) * rho2 * before) / (degree + 1)
        before, current, radial = current, after, ratio if radial is None else radial
    assert radial is not None
    return radial[:, :, 0] * coefficients[:, :, 0] + xp.mean(less * (kernel - radial), axis=2)


def harmonics(xp: Any, n: Any, modes: int) -> list[Any]:
    """The harmonics Y_j of (17) at unit vectors n (P, d): one array (P,) per harmonic."""
    one = xp.ones_like(n[:, 0])
    waves = []
    c, s = math.sqrt(2.0) * one, 0 * one
    for _ in range(modes):
        c, s = c * n[:, 0] - s * n[:, 1], c * n[:, 1] + s * n[:, 0]
        waves.append((c, s))
    if n.shape[1] == 2:
        return [one, *(part for wave in waves for part in wave)]
    y: list[Any] = [None] * (modes + 1) ** 2
    sectoral = 1.0
    for m in range(modes + 1):
        sectoral *= math.sqrt((2 * m + 1) / (2 * m)) if m else 1.0
        before, current = 0 * one, sectoral * one
        for degree in range(m, modes + 1):
            if degree > m:
                a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
                b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1)) if degree > m + 1 else 0.0
                before, current = current, a * (n[:, 2] * current - b * before)
            at = degree * degree
            if m == 0:
                y[at] = current
            else:
                y[at + 2 * m - 1], y[at + 2 * m] = current * waves[m - 1][0], current * waves[m - 1][1]
    return y


def gather(xp: Any, coefficients: Any, z2: Any, begin: Any, ball: Any, offset: Any, weight: Any, modes: int) -> Any:
    """(18) at every point, summed over its balls. NaN for invalid indices."""
    (K, S, C), (P, d), N = coefficients.shape, offset.shape, begin.shape[0] - 1
    if P == 0:
        return zeros(xp, (N, S), offset)
    parts = []
    for at in chunk_slices(P, C * S, xp):
        fits = (ball[at] >= 0) & (ball[at] < K)
        k = xp.where(fits, ball[at], xp.zeros_like(ball[at]))
        if d > 3:
            value = _from_walks(xp, xp.take(coefficients, k, axis=0), offset[at, :], 0.25 * xp.take(z2, k, axis=0), modes)
            parts.append(nan_unless(xp, fits[:, None], weight[at][:, None] * value))
            continue
        rho = norm(xp, offset[at, :])
        apart = rho > 0
        last = xp.astype(xp.arange(d, dtype=xp.int64, device=offset.device) == d - 1, xp.float64)
        n = xp.where(apart[:, None], offset[at, :] / xp.where(apart, rho, xp.ones_like(rho))[:, None], 0 * offset[at, :] + last)
        q = 0.25 * xp.take(z2, k, axis=0)
        y, of_balls, value = harmonics(xp, n, modes), xp.take(coefficients, k, axis=0), None
        for m in range(modes + 1):
            radial = rho**m * bessel_series(d - 2 + 2 * m, q * rho * rho) / bessel_series(d - 2 + 2 * m, q)
            i = slice(max(2 * m - 1, 0), 2 * m + 1) if d == 2 else slice(m * m, (m + 1) ** 2)
            of_degree = xp.sum(xp.stack(y[i], axis=1)[:, None, :] * of_balls[:, :, i], axis=2)
            value = added(value, (radial * weight[at])[:, None] * of_degree)
        parts.append(nan_unless(xp, fits[:, None], value))
    return nan_unless(xp, ascends(xp, begin, P), segment_sums(xp, xp.concat(parts, axis=0), begin))
