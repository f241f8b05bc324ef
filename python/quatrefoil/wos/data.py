"""Boundary values and sources: numbers, Fourier series, sums of Gaussians, values at vertices, functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .._arguments import finite, is_number, number, numbers_of, point, refuse_masked
from .._typing import AnyArray


class Fourier:
    """g = a0 + sum_m a_m cos(m theta) + b_m sin(m theta), theta = atan2(y - center_y, x - center_x). Two dimensions.

    Parameters
    ----------
    coefficients : (K,) or (B, K), K odd
        [a0, a1, b1, a2, b2, ...].
    center : two real numbers
    """

    def __init__(self, coefficients: AnyArray, center: Sequence[float] = (0.0, 0.0)) -> None:
        c = numbers_of(coefficients, "Fourier", "coefficients", graded=True)
        if c.ndim not in (1, 2) or c.shape[-1] % 2 == 0:
            raise ValueError(f"Fourier: coefficients has shape {c.shape}, expected (K,) or (B, K) with K odd: a0, a1, b1, ...")
        finite(c, "Fourier", "coefficients")
        self.coefficients: Any = coefficients
        self.center = point(center, "Fourier", "center")
        if len(self.center) != 2:
            raise ValueError(f"Fourier: center has {len(self.center)} coordinates, expected 2")

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """g at absolute points (n, 2), by NumPy."""
        refuse_masked(X, "Fourier", "X")
        c = numbers_of(self.coefficients, "Fourier", "coefficients", graded=True)
        theta = np.arctan2(X[..., 1] - self.center[1], X[..., 0] - self.center[0])[..., None]
        m = np.arange(1, (c.shape[-1] + 1) // 2)
        return np.asarray(c[..., 0] + (c[..., 1::2] * np.cos(m * theta) + c[..., 2::2] * np.sin(m * theta)).sum(axis=-1))


class PerVertex:
    """Values at the vertices of a polygon or mesh, linear along its segments and on its triangles.

    Parameters
    ----------
    values : (M,) or (B, M), or a list of B arrays (M_b,) where the polygons differ in M
        Outer ring first, then the holes; a value for each row of ``mesh.vertices``.
    """

    def __init__(self, values: AnyArray | Sequence[AnyArray]) -> None:
        for b, v in enumerate(values if isinstance(values, (list, tuple)) else [values]):
            a = numbers_of(v, "PerVertex", "values" if v is values else f"values[{b}]", graded=True)
            if a.ndim not in ((1,) if isinstance(values, (list, tuple)) else (1, 2)):
                raise ValueError(f"PerVertex: values has shape {a.shape}, expected (M,) or (B, M)")
            finite(a, "PerVertex", "values")
        self.values: Any = values


class Gaussians:
    """sum_j amplitude_j exp(-|x - center_j|^2 / width_j^2).

    Parameters
    ----------
    amplitude : (J,) or (B, J)
    center : (J, d) or (B, J, d)
    width : number, (J,) or (B, J)
        Positive.
    """

    def __init__(self, amplitude: AnyArray, center: AnyArray, width: float | AnyArray) -> None:
        self.amplitude: Any = amplitude
        self.center: Any = center
        self.width: Any = number(width, "Gaussians", "width", positive=True) if is_number(width) else width
        a, c, w = self._arrays()
        if a.ndim not in (1, 2) or c.ndim not in (2, 3) or c.shape[-2] != a.shape[-1] or (w.ndim and w.shape[-1] != a.shape[-1]):
            raise ValueError(
                f"Gaussians: amplitude {a.shape}, center {c.shape}, width {w.shape}; expected (J,), (J, d) and (J,), with B first or not"
            )
        for name, array in (("amplitude", a), ("center", c), ("width", w)):
            finite(array, "Gaussians", name)
        if not (w > 0).all():
            raise ValueError("Gaussians: width must be positive")

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, c = (numbers_of(getattr(self, name), "Gaussians", name, graded=True) for name in ("amplitude", "center"))
        return a, c, np.asarray(self.width) if is_number(self.width) else numbers_of(self.width, "Gaussians", "width", graded=True)

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """The sum at absolute points (n, d), by NumPy."""
        refuse_masked(X, "Gaussians", "X")
        a, c, w = self._arrays()
        return np.asarray((a * np.exp(-((X[..., None, :] - c) ** 2).sum(axis=-1) / w**2)).sum(axis=-1))


# what solve takes for g and f: a function gets points, a list has one of the others for each instance
Data: TypeAlias = float | AnyArray | Fourier | PerVertex | Gaussians | Callable[..., Any] | list[Any]
