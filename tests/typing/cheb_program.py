"""A user's program with Chebyshev-Tucker tensors, in strict mode: fit, compress, evaluate, differentiate, integrate, save."""

# pyright: strict

import math
import tempfile
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import quatrefoil as qf
from quatrefoil.cheb import ChebTucker

Real = NDArray[np.float64]


def temperature(x: Real, y: Real, z: Real) -> Real:
    return np.exp(-(x**2)) * np.cos(y + z)


def scalar(x: float, y: float) -> float:
    return math.exp(x) * y


def compress() -> ChebTucker:
    field = ChebTucker.from_function(temperature, [(0, 1), (0, 2), (-1, 1)], tol=1e-8)
    assert_type(field, ChebTucker)
    assert_type(field.rank, tuple[int, ...])
    assert_type(field.domain, tuple[tuple[float, float], ...])
    coarse: ChebTucker = field.round(1e-3) * 2 + 1
    print(field, coarse, field.n_evaluations, f"{field.error_estimate:.1e}")
    return field


def evaluate() -> None:
    field, points = compress(), np.random.default_rng(0).uniform(0, 1, (100, 3))
    assert_type(field(points), Real)
    one: float = field([0.5, 0.5, 0.5]) + field(0.5, 0.5, 0.5)
    line: Real = field(np.linspace(0, 1, 5), 0.5, 0)
    value, gradient = field.value_and_grad(points)
    assert_type(gradient, Real)
    assert_type(field.plan(1e-6)(points), Real)
    assert_type(field.grid(points[:, 0], points[:, 1], points[:, 2]), Real)
    total: float = field.integrate()
    slope = field.diff(0)
    assert_type(slope, ChebTucker)
    print(one, line.shape, value.shape, total, slope.norm())


def build() -> None:
    x = np.linspace(-1, 1, 50)
    fitted = ChebTucker.fit(x, np.sin(x), n=9)
    table = ChebTucker.from_values([[1, 2], [3, 4]], domain=(0, 1))
    ridge = ChebTucker.from_function(np.vectorize(scalar), ((0, 1), (0, 1)), n=(9, 5))
    parts: list[ChebTucker] = [fitted, table, ridge]
    for part in parts:
        assert_type(part.to_full(), Any)
    corner = qf.cheb.PiecewiseTucker.from_function(np.abs, (-1, 1), special_points={0: [0.0]})
    print(corner.integrate() + corner.minimize().value)
    known = np.ones((4, 4), bool)
    print(qf.cheb.tucker(np.eye(4), rank=4, mask=known, fixed={0: np.eye(4)}).core.shape)
    with tempfile.TemporaryDirectory() as folder:
        ridge.save(Path(folder) / "ridge")
        again = ChebTucker.load(Path(folder) / "ridge")
        assert_type(again, ChebTucker)
        assert again.n == ridge.n


TYPICAL = (evaluate, build)
