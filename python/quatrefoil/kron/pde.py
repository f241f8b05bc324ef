"""The equations that ``GPHM`` solves: a residual linear in the derivatives of u, with a reaction that has none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .. import _arguments, _arrays
from .._array_tools import zeros
from .._bind import check_location
from .._typing import AnyArray
from .product.dense import doubled, namespace

__all__ = ["PDE", "Advection", "AllenCahn", "Poisson"]

Array = Any
_SYNONYMS = {
    **dict.fromkeys(("f", "rhs", "forcing"), "use source"),
    **dict.fromkeys(("g", "bc", "dirichlet", "boundary_values"), "use boundary"),
}
_FINER, _OTHERS, _PADDED = 8, 40, 4  # samples of a source per point of an axis, points of the other one, and bins per frequency
Field: TypeAlias = ArrayLike | AnyArray | Callable[[Any], Any] | Callable[[Any, Any], Any]


class PDE:
    """An equation for ``GPHM`` with its boundary values; a base for your own.

    sum_k coefficients_k d^order u / dx_k^order + reaction(u) = source inside, u = boundary on the edges.

    Parameters
    ----------
    source, boundary : array of the grid's shape, number, or callable
        A callable f(x) or f(x, y) takes arrays of the grid's shape, indexed as the grid is, and returns such an array, or a number. Of the
        boundary the values on the edges are used; with one axis two numbers will do, those at its first and last point. Arrays are where
        the axes are, on one device, or what NumPy makes arrays of.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> class Helmholtz(qf.kron.pde.PDE):  # u'' + 25 u = source
    ...     def reaction(self, u):
    ...         return 25 * u, 25 + 0 * u
    >>> x = np.linspace(0, 1, 40)
    >>> gp = qf.kron.GPHM(Helmholtz(source=0.0, boundary=lambda x: np.cos(5 * x)), x).fit(30)
    >>> bool(np.abs(gp.predict(x) - np.cos(5 * x)).max() < 1e-3)
    True
    """

    order = 2
    dims: tuple[int, ...] = (1, 2)  # of grids that it is an equation on

    @_arguments.keywords("kron.pde", **_SYNONYMS)
    def __init__(self, source: Field, boundary: Field) -> None:
        self.source: Any = self._field(source, "source")
        self.boundary: Any = self._field(boundary, "boundary")

    def _field(self, value: Any, name: str) -> Any:
        """A function or a number as it is; an array."""
        if callable(value) or _arguments.is_number(value):
            return value
        return _arguments.points_like(value, f"kron.{type(self).__name__}", name)

    @property
    def coefficients(self) -> tuple[float, ...]:
        """One per axis."""
        return (1.0, 1.0)

    def reaction(self, u: Array) -> tuple[Array, Array] | None:
        """The reaction and its derivative by u; None where there is none."""
        return None

    def copied(self) -> Self:
        """The same with arrays of its own."""
        found = copy.copy(self)
        for name, value in vars(self).items():
            if _arrays.kind(value) is not None:
                setattr(found, name, namespace(value).asarray(value, copy=True))
        return found

    def on(self, axes: Sequence[Array], label: str) -> Self:
        """The same with source and boundary as arrays of numbers on the grid, where the axes are, checked; the boundary is 0 inside."""
        name = type(self).__name__
        if len(axes) not in self.dims:
            wanted = " or ".join(map(str, self.dims))
            raise ValueError(f"{label}: {len(axes)} axes, expected {wanted} for {name}")
        found = copy.copy(self)
        found.source = on_grid(self.source, axes, label, f"source of {name}")
        _arguments.finite(found.source, label, f"source of {name}")
        boundary = self.boundary
        if len(axes) == 1 and tuple(getattr(boundary, "shape", ())) == (2,):
            xp = namespace(boundary)
            boundary = xp.concat([boundary[:1], zeros(xp, (len(axes[0]) - 2,), boundary), boundary[1:]])
        values = on_grid(boundary, axes, label, f"boundary of {name}")
        xp, on_edges = namespace(values), _arrays.to_device_of(edge_mask(tuple(values.shape)), values)
        found.boundary = xp.where(on_edges, values, zeros(xp, values.shape, values))
        _arguments.finite(found.boundary, label, f"boundary of {name}")
        return found

    def lost(self, axes: Sequence[np.ndarray]) -> list[float]:
        """For each axis the share of a callable source's energy at higher frequencies than its points resolve."""
        found = []
        for k, x in enumerate(axes) if callable(self.source) else ():
            n = len(x)
            points = [a[:: max(1, len(a) // _OTHERS)] for a in axes]
            points[k] = np.interp(np.arange(_FINER * (n - 1)) / _FINER, np.arange(n), x)  # equally many between two neighbours
            values = np.moveaxis(on_grid(self.source, points, "GPHM", "source"), k, -1)
            count = _PADDED * values.shape[-1]
            waves = np.abs(np.fft.rfft(values * np.hanning(values.shape[-1]), count)).reshape(-1, count // 2 + 1)
            energy = ((waves / (waves.max() or 1)) ** 2).sum(axis=0)
            found.append(float(energy[_PADDED * (n - 1) // 2 :].sum() / (energy.sum() or 1)))
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}=...' if name != 'speed' else f'speed={v}' for name, v in vars(self).items())})"


class Poisson(PDE):
    """u_xx = source, in two dimensions u_xx + u_yy = source; u = boundary on the edges.

    The sign is that of the Laplacian: ``qf.wos`` solves -Δu = source. Arguments as for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.linspace(0, 1, 5)
    >>> pde = qf.kron.pde.Poisson(source=lambda x: -np.sin(x), boundary=np.sin)
    >>> gp = qf.kron.GPHM(pde, [x], components=4).fit(steps=1)
    >>> gp.predict([np.linspace(0, 1, 9)]).shape
    (9,)
    """


class AllenCahn(PDE):
    """u_xx (+ u_yy) + u (u^2 - 1) = source; u = boundary on the edges.

    Arguments as for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> pde = qf.kron.pde.AllenCahn(source=0.0, boundary=lambda x, y: x * y)
    >>> axes = np.linspace(0, 1, 4), np.linspace(0, 1, 5)
    >>> qf.kron.GPHM(pde, axes, components=4).fit(steps=1).predict(axes).shape
    (4, 5)
    """

    def reaction(self, u: Array) -> tuple[Array, Array]:
        square = u * u
        return u * (square - 1), 3 * square - 1


class Advection(PDE):
    """speed u_x + u_t = source; u = boundary on the edges. The first axis is x, the second t.

    speed is a number; the other arguments are as for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> pde = qf.kron.pde.Advection(speed=2.0, boundary=lambda x, t: np.sin(x - t / 2))
    >>> axes = np.linspace(0, 1, 4), np.linspace(0, 1, 5)
    >>> qf.kron.GPHM(pde, axes, components=4).fit(steps=1).predict(axes).shape
    (4, 5)
    """

    order = 1
    dims = (2,)

    @_arguments.keywords("kron.Advection", "give source and boundary by name", **_SYNONYMS, c="use speed", velocity="use speed")
    def __init__(self, speed: float, *, source: Field = 0.0, boundary: Field) -> None:
        self.speed = _arguments.number(speed, "kron.Advection", "speed", negative=True)
        super().__init__(source=source, boundary=boundary)

    @property
    def coefficients(self) -> tuple[float, ...]:
        return (self.speed, 1.0)


def on_grid(field: Any, axes: Sequence[Array], label: str, name: str) -> Array:
    """A field's values on the grid of axes, in double precision, beside them."""
    shape, xp = tuple(map(len, axes)), namespace(axes[0])
    if callable(field):
        field = _values(field, xp.meshgrid(*axes, indexing="ij"), label, name)
    if _arguments.is_number(field):
        return _arrays.to_device_of(np.full(shape, _arguments.real(field, label, name)), axes[0])
    values = _arguments.host_or_device_numbers(_arguments.points_like(field, label, name), label, name)
    check_location(label, name, values, "axes[0]", axes[0])
    if tuple(values.shape) != shape:
        raise ValueError(f"{label}: {name} has shape {tuple(values.shape)}, expected {shape}, a number a point")
    return doubled(values)


def _values(function: Callable[..., Any], points: Sequence[Array], label: str, name: str) -> Any:
    try:
        return function(*points)
    except (TypeError, ValueError) as error:
        try:
            takes_numbers = _arguments.is_number(function(*(float(p.reshape(-1)[0]) for p in points)))
        except Exception:
            raise error from None
        if not takes_numbers:
            raise
        raise TypeError(f"{label}: {name} failed on arrays: {error}; it takes numbers: give np.vectorize(f)") from error


def edge_mask(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.ones(shape, bool)
    mask[(slice(1, -1),) * len(shape)] = False
    return mask


def __dir__() -> list[str]:
    return __all__
