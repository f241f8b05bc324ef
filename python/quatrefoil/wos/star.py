"""Star-shaped domains from published work on weak supervision of neural operators."""

from __future__ import annotations

import numpy as np

from .._arguments import finite, host_array, integer, is_number, number
from .._typing import ArrayLike
from .polygon import Polygon


class Star(Polygon):
    """The star r(θ) = 1 + c1 cos 4θ + c2 cos 8θ around 0 as a polygon, or B stars.

    Parameters
    ----------
    c1, c2 : number or (B,)
        Arrays or lists of B numbers define B stars. A number applies to every instance.
    segments : int
        The number of vertices, at least 8; vertex k is at the angle 2πk / segments.

    Notes
    -----
    The polygon differs from the curve by at most about |r''| h² / 8, with angular step h: 1e-4 for 1024 segments and coefficients of 0.2.

    Raises
    ------
    ValueError
        For coefficients that are NaN, infinite or of different lengths, and for a radius that is not positive everywhere.
    TypeError
        For complex coefficients, float16 and masked arrays.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> star = qf.wos.Star(0.2, -0.1)
    >>> star
    Star(1024 segments)
    >>> result = qf.wos.solve(star, [[0, 0]], dirichlet=1.0, rng=0)
    >>> result.value
    array([1.])
    >>> qf.wos.Star([0.2, -0.1, 0.0], 0.1, segments=256)
    Star(3 x 256 segments)
    """

    def __init__(self, c1: ArrayLike, c2: ArrayLike, *, segments: int = 1024) -> None:
        M = integer(segments, "Star", "segments", 8)
        a, b = _coefficient(c1, "c1"), _coefficient(c2, "c2")
        if a.ndim and b.ndim and 1 not in (len(a), len(b)) and len(a) != len(b):
            raise ValueError(f"Star: c1 has {len(a)} numbers and c2 has {len(b)}, expected equal lengths, or a single number")
        a, b = np.broadcast_arrays(a, b)
        smallest = _smallest_radius(a, b)
        if not (smallest > 0).all():
            at = int(smallest.argmin())
            instance = f" of star {at}" if a.ndim else ""
            raise ValueError(
                f"Star: the smallest radius{instance} is {smallest.reshape(-1)[at]:.3g} for c1 = {a.reshape(-1)[at]:.3g} and "
                f"c2 = {b.reshape(-1)[at]:.3g}, expected a positive radius"
            )
        theta = 2 * np.pi * np.arange(M) / M
        r = 1 + a[..., None] * np.cos(4 * theta) + b[..., None] * np.cos(8 * theta)
        super().__init__(np.stack([r * np.cos(theta), r * np.sin(theta)], axis=-1))

    def __repr__(self) -> str:
        M = len(self._ends) // max(self._count, 1)
        return f"Star({self._count} x {M} segments)" if self._batch is not None else f"Star({M} segments)"


def _coefficient(c: ArrayLike, name: str) -> np.ndarray:
    """A number or (B,) in float64."""
    if is_number(c):
        return np.array(number(c, "Star", name, negative=True))
    values = host_array(c, "Star", name, device="copy", convert=True)
    if values.ndim > 1:
        raise ValueError(f"Star: {name} has shape {values.shape}, expected a number or (B,)")
    finite(values, "Star", name)
    return values.astype(np.float64)


def _smallest_radius(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The minimum of 1 + a z + b (2 z² - 1) over -1 <= z = cos 4θ <= 1: at an end, or at the vertex of the parabola."""
    z = np.clip(np.divide(-a, 4 * b, out=np.zeros_like(a), where=b > 0), -1, 1)
    return np.asarray(np.minimum(1 - np.abs(a) + b, 1 + a * z + b * (2 * z * z - 1)))
