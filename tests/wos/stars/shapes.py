"""Shapes for tests with reflecting walls, and a closed form."""

import numpy as np

from wos.query.oracle import quarters

TAU = 2 * np.pi


def arc(radius, first, last, n):
    t = np.linspace(first, last, n + 1)
    return radius * np.stack([np.cos(t), np.sin(t)], axis=1)


def sector(inner, outer, angle, n):
    """A ring sector from the x axis to ``angle``: the outer arc of n segments, a radius, the inner arc of n, the other radius.

    With ``inner`` 0, the inner arc is the centre.
    """
    back = arc(inner, angle, 0, n) if inner else np.zeros((1, 2))
    return np.concatenate([arc(outer, 0, angle, n), back])


def corner_solution(X):
    """r^(2/3) cos(2 theta / 3) around 0, theta from the negative y axis: no flux through either wall at the corner of the L."""
    theta = np.mod(np.arctan2(X[..., 1], X[..., 0]) + TAU / 4, TAU)
    return np.hypot(X[..., 0], X[..., 1]) ** (2 / 3) * np.cos(2 * theta / 3)


def prism(ring, height, layers=1):
    """A closed prism over a counter-clockwise polygon. Its bottom and top are fans around the first vertex, which sees all others.

    Returns V, F, and the side of every triangle: k for side k, -1 for the bottom, -2 for the top.
    """
    M = len(ring)
    levels = np.linspace(0, height, layers + 1)
    V = np.concatenate([np.column_stack([ring, np.full(M, z)]) for z in levels])
    k = np.arange(1, M - 1)
    top = np.stack([0 * k, k, k + 1], axis=1)
    side = []
    for layer in range(layers):
        a = np.arange(M) + layer * M
        b = np.roll(a, -1)
        side += [np.stack([a, b, b + M], axis=1), np.stack([a, b + M, a + M], axis=1)]
    F = np.concatenate([top[:, ::-1], top + layers * M, *side])
    on = np.concatenate([np.full(M - 2, -1), np.full(M - 2, -2), np.tile(np.arange(M), 2 * layers)])
    return V, F, on


def split(V, F, on):
    """Split every triangle into four."""
    return *quarters(V, F, lambda middle: middle), np.tile(on, 4)
