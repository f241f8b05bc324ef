"""Values of diffusion and screening, and derivatives of the diffusion. Equation numbers refer to csrc/wos/media/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..data import Cells, interpolated
from ..data import loops as _array_code
from ..data.packed import PackedData, Target

_data: Any = _array_code  # untyped module


def with_curvature(diffusion: PackedData, target: Target, slopes: bool = False) -> PackedData:
    """Append to a grid's rows a table of (3) and, with ``slopes``, d tables of grad α / (2 α).

    Returns other data unchanged.
    """
    if diffusion.kind != "grid":
        return diffusion
    table, d = _arrays.to_host(diffusion.numbers), target.boundary.dimension
    rows = [_with_curvature(row, d, slopes) for row in table]
    width = max(map(len, rows), default=0)
    numbers = np.array([np.pad(row, (0, width - len(row))) for row in rows]).reshape(len(rows), width)
    end = np.array([3 * d + (len(row) - 3 * d) // (2 + d * slopes) for row in rows]).reshape(-1, 1)
    linear = (3 * d <= np.arange(width)) & (np.arange(width) < end)  # the tables after α do not depend on its unit
    return diffusion._replace(numbers=target.array(numbers), linear=linear)


def _with_curvature(row: np.ndarray, d: int, slopes: bool) -> np.ndarray:
    """One row of ``with_curvature``."""
    values, box = _data.table_of("grid", row, d), _data.box_of(row, d)
    if not (values > 0).all():
        raise ValueError(f"solve: diffusion is {values.min()} at a node, expected a positive number")
    total, one = np.zeros_like(values), _power_of_two(values)
    tables = [total]
    for axis in range(d):
        h = (box[1, axis] - box[0, axis]) / (values.shape[axis] - 1)
        slope = _first(values, axis) * one / h / (2 * values * one)
        total += _second(values, axis) / h**2 / (2 * values) - slope**2
        tables += [slope] * slopes
    return np.concatenate([row[: 3 * d + values.size], *(table.reshape(-1) for table in tables)])


def _first(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.gradient(values, axis=axis, edge_order=2 if values.shape[axis] > 2 else 1))


def _second(values: np.ndarray, axis: int) -> np.ndarray:
    """Second differences at the nodes, extrapolated linearly to the first and last nodes."""
    v = np.moveaxis(values, axis, 0)
    second = np.zeros_like(v)
    if len(v) > 2:
        second[1:-1] = v[2:] - 2 * v[1:-1] + v[:-2]
        second[0], second[-1] = (2 * second[1] - second[2], 2 * second[-2] - second[-3]) if len(v) > 3 else (second[1], second[1])
    return np.moveaxis(second, 0, axis)


def derived(
    kind: str, numbers: Any, function: Any, first_instance: int, b: int, frame: np.ndarray, step: float, X: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """α (n,), grad α (n, d) and (3) (n,), in absolute units, at scaled points (n, d) of the call's instance b."""
    n, d = X.shape
    extent = frame[-2]
    if kind == "function":
        return _by_differences(function, first_instance + b, frame, step, X)
    row = None if numbers is None else _data.row_of(kind, numbers, b, None)
    if kind in ("none", "number"):
        return np.full(n, 1.0 if row is None else row[0]), np.zeros((n, d)), np.zeros(n)
    if kind == "grid":
        values, box = _data.table_of(kind, row, d), _data.box_of(row, d)
        curvature = row[3 * d + values.size :][: values.size].reshape(values.shape)  # type: ignore[index]
        cell = Cells(values.shape, box, frame[:-2] + extent * X)
        per = (np.array(values.shape) - 1) / (box[1] - box[0])
        slope = np.stack([interpolated(_first(values, i) * per[i], cell.corner, cell.fraction) for i in range(d)], axis=-1)
        return interpolated(values, cell.corner, cell.fraction), slope, interpolated(curvature, cell.corner, cell.fraction)
    alpha, slope, laplace = (_of_powers if kind == "polynomial" else _of_bells)(row, X)
    one = _power_of_two(alpha)
    steepness = ((slope * one[:, None]) ** 2).sum(axis=1) / (4 * (alpha * one) ** 2)
    return alpha, slope / extent, (laplace / (2 * alpha) - steepness) / extent**2


def slopes_of_grid(row: Any, frame: np.ndarray, X: np.ndarray) -> np.ndarray:
    """grad α / (2 α) (n, d) at scaled points, from the tables that ``with_curvature`` appends to a grid's row."""
    d = X.shape[1]
    values, box = _data.table_of("grid", row, d), _data.box_of(row, d)
    cell = Cells(values.shape, box, frame[:-2] + frame[-2] * X)
    tables = row[3 * d + 2 * values.size :][: d * values.size].reshape(d, *values.shape)
    return np.stack([interpolated(table, cell.corner, cell.fraction) for table in tables], axis=-1)


def _power_of_two(alpha: np.ndarray) -> np.ndarray:
    """Powers of two that scale α to between 1/2 and 1, because its square may overflow or underflow."""
    return np.asarray(np.ldexp(1.0, -np.frexp(alpha)[1]))


def _by_differences(
    function: Any, instance: int, frame: np.ndarray, step: float, X: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(4) by finite differences."""
    n, d = X.shape
    shifts = np.concatenate([np.zeros((1, d)), *([-row, row] for row in step * np.eye(d))])
    at = (frame[:-2] + frame[-2] * X)[:, None] + shifts
    values = np.asarray(function(instance, np.ascontiguousarray(at.reshape(-1, d)))).reshape(n, 2 * d + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        curvature = (np.sqrt(values[:, 1:]).sum(axis=1) / np.sqrt(values[:, 0]) - 2 * d) / step**2
    return values[:, 0], (values[:, 2::2] - values[:, 1::2]) / (2 * step), curvature


def _of_powers(row: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    polynomial: Any = np.polynomial.polynomial
    c, d = _data.table_of("polynomial", row, X.shape[1]), X.shape[1]

    def value(c: np.ndarray) -> np.ndarray:
        c = polynomial.polyval(X[:, 0], c)
        for x in X.T[1:]:
            c = polynomial.polyval(x, c, tensor=False)
        return c

    slope = np.stack([value(polynomial.polyder(c, axis=i)) for i in range(d)], axis=-1)
    return value(c), slope, np.sum([value(polynomial.polyder(c, 2, axis=i)) for i in range(d)], axis=0)


def _of_bells(row: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = X.shape[1]
    bells = row.reshape(-1, d + 2)
    away, q = X[:, None, :] - bells[:, 1:-1], bells[:, -1]
    r2 = (away**2).sum(axis=-1)
    e = np.exp(-r2 * q) * bells[:, 0]
    return e.sum(axis=1), -((2 * q * e)[..., None] * away).sum(axis=1), (2 * q * e * (2 * q * r2 - d)).sum(axis=1)


def rates(
    kinds: tuple[str, str], numbers: tuple[Any, Any], functions: tuple[Any, Any], first_instance: int, b: int, frame: np.ndarray,
    step: float, X: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """α, σ and σ' (2) at scaled points, in absolute units."""
    alpha, _, curvature = derived(kinds[0], numbers[0], functions[0], first_instance, b, frame, step, X)
    if kinds[1] == "none":
        return alpha, np.zeros(len(X)), curvature
    row = None if numbers[1] is None else _data.row_of(kinds[1], numbers[1], b, None)
    sigma = np.asarray(_data.data_values(kinds[1], row, functions[1], first_instance + b, frame, X))
    with np.errstate(invalid="ignore", divide="ignore"):
        return alpha, sigma, curvature + sigma / alpha
