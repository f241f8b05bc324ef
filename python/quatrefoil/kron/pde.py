"""The equations that ``GPHM`` solves: linear in the derivatives of u, with a reaction that contains none."""

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

__all__ = ["PDE", "Advection", "AllenCahn", "ConvectionDiffusion", "Heat", "Helmholtz", "Poisson", "Semilinear"]

Array = Any
_SYNONYMS = {
    **dict.fromkeys(("f", "rhs", "forcing"), "use source"),
    **dict.fromkeys(("g", "bc", "dirichlet", "boundary_values"), "use boundary"),
}
_FINER, _OTHERS, _PADDED = 8, 40, 4  # samples of a source per point of an axis, points of the other axis, and bins per frequency
Field: TypeAlias = ArrayLike | AnyArray | Callable[[Any], Any] | Callable[[Any, Any], Any]


class PDE:
    """An equation for ``GPHM`` with its boundary values; a base class for your own.

    sum_k coefficients_k d^order u / dx_k^order + coefficient_of_u u + reaction(u) = source inside, u = boundary on the edges.

    A subclass overrides ``coefficients``, ``order``, ``coefficient_of_u`` and ``reaction``. A pair in ``coefficients`` is for the first and
    the second derivative.

    Parameters
    ----------
    source, boundary : array of the grid's shape, number, or callable
        A callable f(x) or f(x, y) takes arrays of the grid's shape, with the grid's indexing, and returns such an array, or a number. Only
        the edge values of the boundary are used; with one axis it may be two numbers, at the first and last point. Arrays must be on the
        device of the axes; array-likes are accepted.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> class Oscillator(qf.kron.pde.PDE):  # u'' + 2 u' + 26 u = source
    ...     coefficients, coefficient_of_u = ((2.0, 1.0),), 26.0
    >>> x = np.linspace(0, 1, 40)
    >>> u = lambda x: np.exp(-x) * np.cos(5 * x)
    >>> gp = qf.kron.GPHM(Oscillator(source=0.0, boundary=u), x).fit(30)
    >>> bool(np.abs(gp.predict(x) - u(x)).max() < 1e-3)
    True
    """

    order = 2
    coefficient_of_u = 0.0
    dims: tuple[int, ...] = (1, 2)  # possible numbers of axes

    @_arguments.keywords(
        "kron.pde", **_SYNONYMS, **dict.fromkeys(("wavenumber", "coefficient_of_u", "reaction", "screening"), "use Helmholtz or Semilinear")
    )
    def __init__(self, source: Field, boundary: Field) -> None:
        self.source: Any = self._field(source, "source")
        self.boundary: Any = self._field(boundary, "boundary")

    def _field(self, value: Any, name: str) -> Any:
        """A function or a number unchanged; anything else as an array."""
        if callable(value) or _arguments.is_number(value):
            return value
        return _arguments.points_like(value, f"kron.{type(self).__name__}", name)

    @property
    def coefficients(self) -> Sequence[float | tuple[float, float]]:
        """Coefficients per axis: of the derivative of ``order``, or a pair, of the first and of the second derivative."""
        return (1.0, 1.0)

    def terms(self, k: int) -> tuple[tuple[int, float], ...]:
        """(order, coefficient) of the derivatives along axis k, at least one."""
        c = self.coefficients[k]
        if not isinstance(c, tuple):
            return ((self.order, c),)
        return tuple((order, x) for order, x in enumerate(c, 1) if x) or ((1, 0.0),)

    def reaction(self, u: Array) -> tuple[Array, Array] | None:
        """The reaction and its derivative with respect to u; None for a linear equation."""
        return None

    def copied(self) -> Self:
        """The equation with copies of its arrays."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if _arrays.kind(value) is not None:
                setattr(other, name, namespace(value).asarray(value, copy=True))
        return other

    def on(self, axes: Sequence[Array], label: str) -> Self:
        """The equation with source and boundary as checked arrays on the grid, on the device of the axes; the boundary is 0 inside."""
        name = type(self).__name__
        if len(axes) not in self.dims:
            expected = " or ".join(map(str, self.dims))
            raise ValueError(f"{label}: got {len(axes)} axes, expected {expected} for {name}")
        other = copy.copy(self)
        other.source = on_grid(self.source, axes, label, f"source of {name}")
        _arguments.finite(other.source, label, f"source of {name}")
        boundary = self.boundary
        if len(axes) == 1 and tuple(getattr(boundary, "shape", ())) == (2,):
            xp = namespace(boundary)
            boundary = xp.concat([boundary[:1], zeros(xp, (len(axes[0]) - 2,), boundary), boundary[1:]])
        values = on_grid(boundary, axes, label, f"boundary of {name}")
        xp, on_edges = namespace(values), np.ones(tuple(values.shape), bool)
        on_edges[(slice(1, -1),) * len(axes)] = False
        other.boundary = xp.where(_arrays.to_device_of(on_edges, values), values, zeros(xp, values.shape, values))
        _arguments.finite(other.boundary, label, f"boundary of {name}")
        return other

    @property
    def is_known_between_points(self) -> bool:
        """Whether source and boundary are known on any grid."""
        is_pair = tuple(getattr(self.boundary, "shape", ())) == (2,)
        return all(callable(v) or _arguments.is_number(v) for v in (self.source, 0.0 if is_pair else self.boundary))

    def lost(self, axes: Sequence[np.ndarray]) -> list[float]:
        """The share of a callable source's energy above the frequencies that the points resolve, per axis."""
        shares = []
        for k, x in enumerate(axes) if callable(self.source) else ():
            n = len(x)
            points = [a[:: max(1, len(a) // _OTHERS)] for a in axes]
            points[k] = np.interp(np.arange(_FINER * (n - 1)) / _FINER, np.arange(n), x)  # as many between any two neighbours
            values = np.moveaxis(on_grid(self.source, points, "GPHM", "source"), k, -1)
            count = _PADDED * values.shape[-1]
            waves = np.abs(np.fft.rfft(values * np.hanning(values.shape[-1]), count)).reshape(-1, count // 2 + 1)
            energy = ((waves / (waves.max() or 1)) ** 2).sum(axis=0)
            shares.append(float(energy[_PADDED * (n - 1) // 2 :].sum() / (energy.sum() or 1)))
        return shares

    def __repr__(self) -> str:
        shown = [f"{name}={'...' if name in ('source', 'boundary') or callable(v) else v}" for name, v in vars(self).items()]
        return f"{type(self).__name__}({', '.join(shown)})"


class Poisson(PDE):
    """u_xx = source, in two dimensions u_xx + u_yy = source; u = boundary on the edges.

    The equation is Δu = source, whereas ``qf.wos`` solves -Δu = source. Arguments as for ``PDE``.

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


class Semilinear(PDE):
    """u_xx (+ u_yy) + function(u) = source; u = boundary on the edges.

    ``function`` and its derivative ``slope`` take an array and return one. Source and boundary are as for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> u = lambda x: -2 * np.log(np.cosh(1.2 * x))  # Liouville's equation
    >>> pde = qf.kron.pde.Semilinear(np.exp, np.exp, source=lambda x: np.exp(u(x)) - 2.88 / np.cosh(1.2 * x) ** 2, boundary=u)
    >>> x = np.linspace(-1, 1, 30)
    >>> gp = qf.kron.GPHM(pde, x, freq_scale=3.0).fit(50)
    >>> bool(np.abs(gp.predict(x) - u(x)).max() < 1e-3)
    True
    """

    @_arguments.keywords(
        "kron.Semilinear", "pass source and boundary by keyword", **_SYNONYMS, reaction="use function", derivative="use slope"
    )
    def __init__(self, function: Callable[[Any], Any], slope: Callable[[Any], Any], *, source: Field = 0.0, boundary: Field) -> None:
        for name, value in (("function", function), ("slope", slope)):
            if not callable(value):
                raise TypeError(f"kron.Semilinear: {name} is {_arrays.describe(value)}, expected a function of u")
        self.function, self.slope = function, slope
        super().__init__(source=source, boundary=boundary)

    def reaction(self, u: Array) -> tuple[Array, Array]:
        return self.function(u), self.slope(u)


class Helmholtz(PDE):
    """u_xx (+ u_yy) + coefficient_of_u u = source; u = boundary on the edges.

    The coefficient may have either sign. Waves have coefficient_of_u = wavenumber^2; pass one of the two. Reaction-diffusion, screening and
    Yukawa's potential have a negative coefficient. The sign of the Laplacian is +, so for -u'' + 400 u = f pass coefficient_of_u=-400 and
    the source -f.

    Parameters
    ----------
    wavenumber : float, optional
        In radians per unit of length. Its square must not be an eigenvalue of minus the Laplacian on the domain, because the equation
        then has no unique solution.
    coefficient_of_u : float, optional
        If negative, the solution is unique.
    source, boundary
        As for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.linspace(0, 1, 60)
    >>> wave = lambda x: np.cos(40 * x + 1)
    >>> gp = qf.kron.GPHM(qf.kron.pde.Helmholtz(40.0, boundary=wave), x).fit(50)
    >>> bool(np.abs(gp.predict(x) - wave(x)).max() < 1e-3)
    True

    -u'' + 400 u = f, with the solution sin 30 x:

    >>> f, u = lambda x: 1300 * np.sin(30 * x), lambda x: np.sin(30 * x)
    >>> pde = qf.kron.pde.Helmholtz(coefficient_of_u=-400.0, source=lambda x: -f(x), boundary=u)
    >>> bool(np.abs(qf.kron.GPHM(pde, x).fit(50).predict(x) - u(x)).max() < 1e-3)
    True
    """

    @_arguments.keywords(
        "kron.Helmholtz",
        "pass source and boundary by keyword",
        **_SYNONYMS,
        **dict.fromkeys(("k", "kappa"), "use wavenumber"),
        **dict.fromkeys(("k2", "c", "coefficient", "reaction", "screening"), "use coefficient_of_u; for u_xx - c u pass -c"),
    )
    def __init__(
        self, wavenumber: float | None = None, *, coefficient_of_u: float | None = None, source: Field = 0.0, boundary: Field
    ) -> None:
        label, fix = "kron.Helmholtz", "for u_xx - 400 u pass coefficient_of_u=-400"
        if (wavenumber is None) == (coefficient_of_u is None):
            raise TypeError(f"{label}: expected either wavenumber or coefficient_of_u; {fix}")
        if isinstance(wavenumber, complex):
            raise TypeError(f"{label}: wavenumber is {wavenumber}, expected a real number; {fix}")
        if wavenumber is not None:
            coefficient_of_u = _arguments.number(wavenumber, label, "wavenumber") ** 2
        self.coefficient_of_u = _arguments.number(coefficient_of_u, label, "coefficient_of_u", negative=True)
        super().__init__(source=source, boundary=boundary)


class ConvectionDiffusion(PDE):
    """velocity · grad u - diffusion Laplacian u = source; u = boundary on the edges.

    ``velocity`` is a number for one axis, or a sequence of one number per axis; ``diffusion`` is a positive number. The points must resolve
    layers, which are about diffusion / velocity wide. Source and boundary are as for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.linspace(0, 1, 120)
    >>> pde = qf.kron.pde.ConvectionDiffusion(1.0, 0.05, source=0.0, boundary=[0.0, 1.0])
    >>> gp = qf.kron.GPHM(pde, x).fit(50)
    >>> bool(np.abs(gp.predict(x) - np.expm1(20 * x) / np.expm1(20)).max() < 1e-3)
    True
    """

    @_arguments.keywords("kron.ConvectionDiffusion", "pass source and boundary by keyword", **_SYNONYMS)
    def __init__(self, velocity: float | Sequence[float], diffusion: float, *, source: Field = 0.0, boundary: Field) -> None:
        label = "kron.ConvectionDiffusion"
        speeds = (velocity,) if _arguments.is_number(velocity) else _arguments.sequence(velocity, f"{label}: velocity")
        self.velocity = tuple(_arguments.number(v, label, f"velocity[{k}]", negative=True) for k, v in enumerate(speeds))
        self.diffusion = _arguments.number(diffusion, label, "diffusion", positive=True)
        super().__init__(source=source, boundary=boundary)

    @property
    def dims(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.velocity),)

    @property
    def coefficients(self) -> Sequence[tuple[float, float]]:
        return [(v, -self.diffusion) for v in self.velocity]


class Heat(PDE):
    """u_t - diffusivity u_xx = source on the axes x, t; u = boundary at the ends of x and the first t.

    With optimizer="adam", u = boundary at the last time, too, as in the loss of GP-HM. Other arguments are as for ``PDE``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, t = np.linspace(0, 1, 30), np.linspace(0, 0.2, 20)
    >>> pde = qf.kron.pde.Heat(1.0, boundary=lambda x, t: np.where(t == 0, np.sin(np.pi * x), 0.0))
    >>> u = qf.kron.GPHM(pde, [x, t], freq_scale=3.0).fit(50).predict([x, t])
    >>> bool(np.abs(u - np.outer(np.sin(np.pi * x), np.exp(-(np.pi**2) * t))).max() < 1e-3)
    True
    """

    dims = (2,)

    @_arguments.keywords(
        "kron.Heat", "pass source and boundary by keyword", **_SYNONYMS, alpha="use diffusivity", diffusion="use diffusivity"
    )
    def __init__(self, diffusivity: float, *, source: Field = 0.0, boundary: Field) -> None:
        self.diffusivity = _arguments.number(diffusivity, "kron.Heat", "diffusivity", positive=True)
        super().__init__(source=source, boundary=boundary)

    @property
    def coefficients(self) -> Sequence[tuple[float, float]]:
        return [(0.0, -self.diffusivity), (1.0, 0.0)]


class Advection(PDE):
    """speed u_x + u_t = source; u = boundary on the edges. The first axis is x, the second t.

    ``speed`` is a number; the other arguments are as for ``PDE``.

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

    @_arguments.keywords("kron.Advection", "pass source and boundary by keyword", **_SYNONYMS, c="use speed", velocity="use speed")
    def __init__(self, speed: float, *, source: Field = 0.0, boundary: Field) -> None:
        self.speed = _arguments.number(speed, "kron.Advection", "speed", negative=True)
        super().__init__(source=source, boundary=boundary)

    @property
    def coefficients(self) -> Sequence[float]:
        return (self.speed, 1.0)


def on_grid(field: Any, axes: Sequence[Array], label: str, name: str) -> Array:
    """The values of a field on the grid of axes, in double precision, on their device."""
    shape, xp = tuple(map(len, axes)), namespace(axes[0])
    if callable(field):
        field = _values(field, xp.meshgrid(*axes, indexing="ij"), label, name)
    if _arguments.is_number(field):
        return _arrays.to_device_of(np.full(shape, _arguments.real(field, label, name)), axes[0])
    values = _arguments.host_array(field, label, name, device="keep", convert=True)
    check_location(label, name, values, "axes[0]", axes[0])
    if tuple(values.shape) != shape:
        raise ValueError(f"{label}: {name} has shape {tuple(values.shape)}, expected {shape}, one number per point")
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
        raise TypeError(f"{label}: {name} failed on arrays: {error}; it accepts only scalars, so pass np.vectorize(f)") from error


def __dir__() -> list[str]:
    return __all__
