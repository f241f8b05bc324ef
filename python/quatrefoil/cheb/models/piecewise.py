"""Functions that are smooth except for kinks, jumps and singular ends: one Chebyshev-Tucker tensor per box between them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ... import _arguments
from ..domain import Domain, axes_of, flat_domain, points_of, shaped
from .function import arguments_of
from .queries import Extremum
from .tensor import ChebTucker

ENDS = ("lo", "hi", "both")


class Side:
    """An interval, and the variable in which a function is smooth on it: its coordinate or, at a singular end, s in [0, 1].

    There x = end + (other - end) exp(1 - 1/s), so that powers of the distance to the end have all derivatives, for any exponent. ``lower``
    and ``upper`` limit the coordinates at which f is called; they exclude special points.
    """

    def __init__(self, lo: float, hi: float, lower: float, upper: float, singular: str | None = None) -> None:
        self.lo, self.hi, self.lower, self.upper, self.singular = lo, hi, lower, upper, singular

    @property
    def domain(self) -> tuple[float, float]:
        return (self.lo, self.hi) if self.singular is None else (0.0, 1.0)

    def coordinate(self, s: np.ndarray) -> np.ndarray:
        if self.singular is None:
            return np.clip(s, self.lower, self.upper)
        with np.errstate(divide="ignore"):
            share = np.exp(1 - 1 / s)
        end, other = (self.lo, self.hi) if self.singular == "lo" else (self.hi, self.lo)
        return np.clip(end * (1 - share) + other * share, self.lower, self.upper)

    def variable(self, x: np.ndarray) -> np.ndarray:
        if self.singular is None:
            return x
        end = self.lo if self.singular == "lo" else self.hi
        with np.errstate(divide="ignore"):
            return np.clip(1 / (1 - np.log(np.abs(x - end) / (self.hi - self.lo))), 0, 1)

    def slope(self, s: np.ndarray) -> np.ndarray:
        """|dx/ds|."""
        if self.singular is None:
            return np.ones_like(s)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (self.hi - self.lo) * np.exp(1 - 1 / s) / s**2
        return np.where(s > 0, slope, 0.0)

    @property
    def sign(self) -> float:
        return -1.0 if self.singular == "hi" else 1.0


class PiecewiseTucker:
    """A function with kinks, jumps or singular ends at known coordinates: one ``ChebTucker`` per box.

    Created by ``from_function``.

    Attributes
    ----------
    breaks : tuple of tuples
        The ends of the domain along each axis and the special points between them, increasing.
    pieces : dict
        The ``ChebTucker`` of every box, by the indices of its intervals along the axes. Next to a singular end the variable is transformed.
    n_evaluations : int
        Number of points at which f was evaluated.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> f = qf.cheb.PiecewiseTucker.from_function(
    ...     lambda x, y: np.abs(x - 0.3) * np.sqrt(y), [(0, 1), (0, 2)], special_points={0: [0.3]}, singular={1: "lo"}, tol=1e-9
    ... )
    >>> bool(abs(f(0.7, 0.5) - 0.4 * np.sqrt(0.5)) < 1e-8)
    True
    >>> bool(abs(f.integrate() - 0.29 * np.sqrt(32) / 3) < 1e-8)
    True
    """

    __slots__ = ("__weakref__", "_sides", "breaks", "n_evaluations", "pieces")

    def __init__(self, pieces: Mapping[tuple[int, ...], ChebTucker], sides: Sequence[Sequence[Side]], n_evaluations: int | None) -> None:
        self.pieces, self._sides, self.n_evaluations = dict(pieces), [list(axis) for axis in sides], n_evaluations
        self.breaks = tuple((*(side.lo for side in axis), axis[-1].hi) for axis in self._sides)

    @classmethod
    @_arguments.keywords("cheb.PiecewiseTucker.from_function", missing="expected from_function(f, domain, special_points=, singular=)")
    def from_function(
        cls,
        f: Callable[..., Any],
        domain: Domain,
        *,
        special_points: Mapping[int, Sequence[float]] | None = None,
        singular: Mapping[int, str] | None = None,
        tol: float = 1e-10,
        executor: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
    ) -> Self:
        """Interpolate f in every box between special points, each by ``ChebTucker.from_function``.

        Parameters
        ----------
        f, domain, executor, checkpoint, progress
            As for ``ChebTucker.from_function``. f has one output, and is not called at special points. Each box has its own checkpoint,
            with the indices of the box as a suffix.
        special_points : mapping of axes to coordinates, optional
            Coordinates of kinks or jumps of f, within the domain.
        singular : mapping of axes to "lo", "hi" or "both", optional
            Ends at which f is finite but not smooth, such as sqrt(x) or x log(x) at 0. If such an end is not 0, the distance to it is
            rounded, so its square root is known only to 1e-8.
        tol : float
            Tolerance in every box, relative to f in the box.

        Raises
        ------
        ValueError
            f is not resolved in a box, or is not finite at an end.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> call = qf.cheb.PiecewiseTucker.from_function(
        ...     lambda s, k: np.maximum(s - 1, 0) * k, [(0, 2), (0, 1)], special_points={0: [1]}
        ... )
        >>> call.breaks, len(call.pieces)
        (((0.0, 1.0, 2.0), (0.0, 1.0)), 2)
        """
        label = "cheb.PiecewiseTucker.from_function"
        flat = flat_domain(domain, axes_of(domain) or arguments_of(f), label)
        sides = _sides(flat, special_points or {}, singular or {}, label)
        pieces: dict[tuple[int, ...], ChebTucker] = {}
        for cell in itertools.product(*(range(len(axis)) for axis in sides)):
            here = [axis[i] for axis, i in zip(sides, cell)]

            def within(*s: Any, here: Sequence[Side] = here) -> Any:
                return f(*(side.coordinate(np.asarray(t)) for side, t in zip(here, s)))

            file = None if checkpoint is None else f"{os.fspath(checkpoint)}.{'-'.join(map(str, cell))}"
            keywords: dict[str, Any] = {"executor": executor, "checkpoint": file, "progress": progress}
            try:
                piece = ChebTucker.from_function(within, [side.domain for side in here], tol=tol, **keywords)
            except ValueError as error:
                box = ", ".join(f"[{side.lo:g}, {side.hi:g}]" for side in here)
                raise ValueError(f"{label}: in the box {box}: {str(error).partition(': ')[2]}") from None
            pieces[cell] = piece
        return cls(pieces, sides, sum(piece.n_evaluations or 0 for piece in pieces.values()))

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """One pair (lo, hi) per axis."""
        return tuple((axis[0], axis[-1]) for axis in self.breaks)

    @property
    def error_estimate(self) -> float:
        """The largest error estimate of all pieces, each relative to its piece."""
        return max(piece.error_estimate for piece in self.pieces.values())

    def __call__(self, *X: Any) -> Any:
        """Evaluate at points X (P, d), at one point (d,), or at d coordinates, numbers or arrays that broadcast."""
        points, shape, values = self._points(X, "cheb.PiecewiseTucker")
        for at, piece, _, S in self._boxes(points):
            values[at] = piece(S)
        return shaped(values, shape)

    def value_and_grad(self, *X: Any) -> tuple[Any, Any]:
        """Evaluate f and its gradient (P, d).

        Points have the forms that a call accepts. On a break, the gradient is taken from the upper side. At a singular end it may be NaN or
        infinite.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> f = qf.cheb.PiecewiseTucker.from_function(np.abs, [(-1, 2)], special_points={0: [0]})
        >>> f.value_and_grad(np.array([-0.5, 1.5]))[1].round(8).tolist()
        [[-1.0], [1.0]]
        """
        points, shape, values = self._points(X, "cheb.PiecewiseTucker.value_and_grad")
        gradients = np.zeros(points.shape)
        for at, piece, sides, S in self._boxes(points):
            values[at], slopes = piece.value_and_grad(S)
            for k, side in enumerate(sides):
                with np.errstate(divide="ignore", invalid="ignore"):
                    gradients[at, k] = slopes[:, k] * side.sign / side.slope(S[:, k])
        return shaped(values, shape), shaped(gradients, shape)

    def integrate(self) -> float:
        """Return the integral over the domain."""
        return sum(_integral(piece, self._sides_of(cell)) for cell, piece in self.pieces.items())

    def mean(self) -> float:
        """Return the mean over the domain."""
        return self.integrate() / float(np.prod([hi - lo for lo, hi in self.domain]))

    def var(self) -> float:
        """Return the variance for uniform inputs."""
        mean, volume = self.mean(), float(np.prod([hi - lo for lo, hi in self.domain]))
        return sum(_integral((piece - mean) ** 2, self._sides_of(cell)) for cell, piece in self.pieces.items()) / volume

    def minimize(self) -> Extremum:
        """Return the smallest value and its location, over all pieces."""
        return self._extremum("minimize", min)

    def maximize(self) -> Extremum:
        """Return the largest value and its location, over all pieces."""
        return self._extremum("maximize", max)

    def _extremum(self, which: str, best: Callable[..., Any]) -> Extremum:
        extrema = [(getattr(piece, which)(), self._sides_of(cell)) for cell, piece in self.pieces.items()]
        (value, s), sides = best(extrema, key=lambda pair: pair[0].value)
        return Extremum(value, np.array([float(side.coordinate(np.asarray(t))) for side, t in zip(sides, s)]))

    def __repr__(self) -> str:
        return f"PiecewiseTucker({len(self.pieces)} pieces, domain={self.domain})"

    def _sides_of(self, cell: Sequence[int]) -> list[Side]:
        return [axis[i] for axis, i in zip(self._sides, cell)]

    def _points(self, X: tuple[Any, ...], label: str) -> tuple[np.ndarray, tuple[int, ...], np.ndarray]:
        d = len(self.breaks)
        points, shape = points_of(X, np.zeros((1,) * d), d, label)
        lo, hi = np.array(self.domain).T
        outside = ~((lo <= points) & (points <= hi))
        if outside.any():
            i, k = np.argwhere(outside)[0]
            raise ValueError(f"{label}: point {i} has {points[i, k]} on axis {k}, expected a number within the domain [{lo[k]}, {hi[k]}]")
        return points, shape, np.zeros(len(points))

    def _boxes(self, points: np.ndarray) -> Iterator[tuple[np.ndarray, ChebTucker, list[Side], np.ndarray]]:
        """For every box with points: the indices of the points, its piece and sides, and the points in its variables."""
        cells = np.stack([np.searchsorted(axis[1:-1], x, side="right") for axis, x in zip(self.breaks, points.T)], axis=-1)
        kinds, of_point = np.unique(cells, axis=0, return_inverse=True)
        for i, cell in enumerate(map(tuple, kinds.tolist())):
            at, sides = np.flatnonzero(of_point.ravel() == i), self._sides_of(cell)
            yield at, self.pieces[cell], sides, np.stack([side.variable(x) for side, x in zip(sides, points[at].T)], axis=-1)


def _integral(piece: ChebTucker, sides: Sequence[Side]) -> float:
    """The integral over a box of a function of its variables."""
    for k, side in enumerate(sides):
        if side.singular is not None:
            weight = ChebTucker.from_function(lambda s, side=side: side.slope(s), (0, 1), tol=1e-13)
            ones = [np.eye(1, 1) if j != k else weight.factors[0] @ weight.core[:, None] for j in range(len(sides))]
            piece = piece * ChebTucker(np.ones((1,) * len(sides)), ones, domain=piece.domain)
    return float(piece.integrate())


def _sides(flat: Sequence[float], special: Mapping[int, Sequence[float]], singular: Mapping[int, str], label: str) -> list[list[Side]]:
    """The intervals along every axis."""
    d = len(flat) // 2
    for name, mapping in (("special_points", special), ("singular", singular)):
        if not isinstance(mapping, Mapping):
            raise TypeError(f"{label}: {name} is {type(mapping).__name__}, expected a mapping of axes, such as {{0: ...}}")
    points = {_arguments.integer(k, label, "an axis of special_points", -d, d - 1) % d: x for k, x in special.items()}
    ends = {_arguments.integer(k, label, "an axis of singular", -d, d - 1) % d: end for k, end in singular.items()}
    sides = []
    for k in range(d):
        lo, hi = flat[2 * k : 2 * k + 2]
        inner = [_arguments.number(x, label, f"special_points[{k}]", negative=True) for x in points.get(k, ())]
        end = _arguments.choice(ends.get(k), label, f"singular[{k}]", (None, *ENDS))
        if sorted(set(inner)) != inner or any(not lo < x < hi for x in inner):
            raise ValueError(f"{label}: special_points[{k}] is {inner}, expected increasing numbers within ({lo}, {hi})")
        if end == "both" and not inner:
            inner = [(lo + hi) / 2]
        edges = [lo, *inner, hi]
        axis = [
            Side(a, b, a if a == lo else float(np.nextafter(a, b)), b if b == hi else float(np.nextafter(b, a)))
            for a, b in itertools.pairwise(edges)
        ]
        if end in ("lo", "both"):
            axis[0].singular = "lo"
        if end in ("hi", "both"):
            axis[-1].singular = "hi"
        sides.append(axis)
    return sides
