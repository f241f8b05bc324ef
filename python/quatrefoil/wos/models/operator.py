"""A solution as a linear map of data that become available later. Equation numbers refer to csrc/wos/walk/README.md."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

from ... import _arrays
from ..._arguments import array_like, choice, host_array, integer
from ..data import Cells, Data, GridField, PerVertex
from ..mesh import TriangleMesh
from ..polygon import Polygon
from ..query import closest_point
from .evaluation import at_points, sets_of
from .recording import recorded, recorded_jumping
from .run import Run
from .scaleout import check_on_host
from .settings import Settings
from .statement import Statement, common_batch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_ARRAYS = ("boundary_points", "weight", "source_points", "share", "steps", "outside", "n_truncated", "n_escaped", "corners", "at_corners")
_NUMBERS = ("walks", "seed", "vertices")


class OperatorValues(NamedTuple):
    """u and its standard error, of shape (N,) or (B, N), in float64.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> disc = qf.wos.Problem(qf.wos.Ball([0.0, 0.0], 1.0), dirichlet=0.0)
    >>> disc.operator([[0.5, 0.0]], 10, rng=0).solve(3.0)
    OperatorValues(value=array([3.]), stderr=array([0.]))
    """

    value: np.ndarray
    stderr: np.ndarray


class Operator:
    """The solution at points as a linear map of boundary values and sources.

    ``Problem.operator`` creates it: u = A g + B f (27) at N points. The walks are recorded: E ends on the boundary, ``walks`` per point,
    and S source points. They can be used for any number of data sets. The values equal those of ``Problem.solve`` for the same seed, up to
    rounding. Errors are correlated between data sets.

    Attributes
    ----------
    A, B : scipy.sparse.csr_array
        (N, E) and (N, S): u = A @ g(boundary_points) + B @ f(source_points). A.T @ grad is the gradient with respect to the values of g. B
        is None without a source. The rows of points outside are empty.
    boundary_points, source_points : (E, d) and (S, d)
        Points at which data are evaluated, in absolute coordinates and float64. ``source_points`` is None without a source.
    outside : (N,) bool
        Whether each point is outside, where u is NaN.
    n_truncated, n_escaped : (N,) int64
        As in ``Result``.
    walks, seed : int
        Walks per point; ``solve`` with ``rng=seed`` uses the same walks.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc = qf.wos.Problem(qf.wos.Ball([0.0, 0.0], 1.0), dirichlet=0.0, source=0.0)  # these values do not matter
    >>> of = disc.operator([[0.5, 0.0], [0.0, 0.2]], walks=4096, rng=0)
    >>> u = of.solve(qf.wos.Fourier([0.0, 1.0, 0.0]), 1.0)  # u = x + (1 - |x|^2) / 4
    >>> bool((abs(u.value - [0.6875, 0.24]) < 5 * u.stderr + 1e-3).all())
    True
    >>> g, f = of.boundary_points[:, 0], np.ones(len(of.source_points))
    >>> bool(np.allclose(of.A @ g + of.B @ f, u.value))
    True
    """

    boundary_points: np.ndarray
    source_points: np.ndarray | None
    outside: np.ndarray
    n_truncated: np.ndarray
    n_escaped: np.ndarray
    weight: np.ndarray  # (E,) weights of the ends
    share: np.ndarray | None  # (S,) weights of the source points
    steps: np.ndarray | None  # (E,) number of source points of each walk
    corners: np.ndarray | None  # (E, d) the vertices of each end's segment or triangle, and their weights
    at_corners: np.ndarray | None
    walks: int
    seed: int
    vertices: int

    def __init__(self) -> None:
        raise TypeError("Operator: create one with Problem.operator(points) or Operator.load(path)")

    @classmethod
    def _create(cls, statement: Statement, points: Any, settings: Settings, walks: range, label: str) -> Self:
        """Record the walks of a problem."""
        run = Run(statement, points, _check(statement, settings, label))
        if run.points.ndim > 2:
            shape, d = tuple(run.points.shape), statement.boundary.dimension
            raise ValueError(f"{label}: points has shape {shape}, expected (N, {d}), or ({d},) for one point")
        check_on_host(run, label, label)
        record = recorded(run, walks) if statement._interfaces is None else recorded_jumping(run, walks)
        boundary, operator = run.prepared.boundary, cls.__new__(cls)
        vars(operator).update(record._asdict(), walks=len(walks), seed=settings.seed, corners=None, at_corners=None, vertices=0)
        if isinstance(boundary, (Polygon, TriangleMesh)):
            operator.vertices = int(boundary._first_vertex[-1])
            nearest = closest_point(boundary, operator.boundary_points, num_threads=settings.num_threads)
            operator.corners, operator.at_corners = boundary._pairs[nearest.primitive], nearest.barycentric
        return operator

    @property
    def A(self) -> csr_array:
        return _sparse(self.weight / self.walks, np.arange(len(self.weight)), self._first_walks, len(self.weight))

    @property
    def B(self) -> csr_array | None:
        if self.share is None:
            return None
        return _sparse(self.share / self.walks, np.arange(len(self.share)), self._first_sources[self._first_walks], len(self.share))

    @property
    def _first_walks(self) -> np.ndarray:
        """The first walk of each point, (N + 1,)."""
        return np.cumsum([0, *np.where(self.outside, 0, self.walks)])

    @property
    def _first_sources(self) -> np.ndarray:
        """The first source point of each walk, (E + 1,)."""
        assert self.steps is not None
        return np.concatenate([[0], np.cumsum(self.steps)])

    def per_vertex(self) -> csr_array:
        """The matrix (N, M) for boundary values at the M vertices of a polygon or mesh.

        u = per_vertex() @ values, for boundary values that are linear between the vertices.
        """
        if self.corners is None or self.at_corners is None:
            raise ValueError("per_vertex: the boundary has no vertices")
        return self.A @ _interpolation(self.corners, self.at_corners, self.vertices)

    def on_grid(self, shape: Sequence[int], box: Any, of: Literal["source", "dirichlet"] = "source") -> csr_array:
        """The matrix (N, n1 n2 ...) for values at the nodes of a grid.

        u = on_grid(values.shape, box) @ values.reshape(-1), for the data ``GridField(values, box)``.

        Parameters
        ----------
        shape : sequence of d int
            Number of nodes on each axis.
        box : (lo, hi)
            As for ``GridField``.
        of : "source" or "dirichlet"
            The kind of data on the grid.
        """
        choice(of, "on_grid", "of", ("source", "dirichlet"))
        matrix, X = (self._sources("on_grid"), self.source_points) if of == "source" else (self.A, self.boundary_points)
        assert X is not None
        sizes = [integer(n, "on_grid", "shape", 2) for n in shape]
        cell = Cells(sizes, np.array(GridField(np.zeros(sizes), box).box), X)
        bits = np.array(list(product((0, 1), repeat=len(sizes))))
        nodes = np.ravel_multi_index(tuple(np.moveaxis(cell.corner[:, None] + bits, -1, 0)), sizes)
        weights = np.where(bits, cell.fraction[:, None], 1 - cell.fraction[:, None]).prod(axis=-1)
        return matrix @ _interpolation(nodes, weights, math.prod(sizes))

    def apply(self, g: Any, f: Any = None) -> Any:
        """Compute u for values at ``boundary_points`` and ``source_points``. NaN at points outside.

        Differentiable for tensors.

        Parameters
        ----------
        g : (E,) or (E, K)
            K sets of boundary values, NumPy or PyTorch arrays.
        f : (S,) or (S, K), optional
            Sources, of the same array type; the default is 0.

        Returns
        -------
        array
            (N,) or (N, K), float64, of the array type of g.
        """
        u = _product(self.A, g, "g")
        if f is not None:
            u = u + _product(self._sources("apply"), f, "f")
        xp = _arrays.namespace(u)
        outside = _arrays.of_kind(_arrays.location(u), self.outside.reshape(-1, *[1] * (u.ndim - 1)))
        return xp.where(outside, xp.full_like(u, np.nan), u)

    def solve(self, dirichlet: Data, source: Data | None = None) -> OperatorValues:
        """Compute u and its standard error for one set of data, or for B sets. NumPy evaluates the data.

        Parameters
        ----------
        dirichlet : g
            A number, (B,) numbers, Fourier, Gaussians, Polynomial, PerVertex or GridField, a function of points, or a list of them.
        source : f, optional
            As dirichlet, except PerVertex; the default is 0. The operator's problem must also have a source, with any value.

        Notes
        -----
        The standard error is 0 if all walks have the same value, and NaN for a single walk.
        """
        d = self.boundary_points.shape[1]
        of_g, g = sets_of(dirichlet, d, "solve", "dirichlet")
        of_f, f = (None, []) if source is None else sets_of(source, d, "solve", "source")
        B = common_batch({"dirichlet": of_g, "source": of_f}, "solve")
        if source is not None:
            self._require_sources("solve")
        ends, met = _each(g, self._at_ends), _each(f, self._on_the_way)
        values = np.full((2, 1 if B is None else B, len(self.outside)), np.nan)
        for b, (value, stderr) in enumerate(zip(*values)):
            of_points = (ends(b) if source is None else ends(b) + met(b)).reshape(-1, self.walks)
            value[~self.outside] = of_points.mean(axis=1)
            if self.walks > 1:
                stderr[~self.outside] = of_points.std(axis=1, ddof=1) / math.sqrt(self.walks)
        return OperatorValues(*(values[:, 0] if B is None else values))

    def _at_ends(self, data: Any) -> np.ndarray:
        """Weighted boundary values (E,)."""
        if not isinstance(data, PerVertex):
            return np.asarray(self.weight * at_points(data, self.boundary_points, "solve", "dirichlet"))
        values = host_array(data.values, "solve", "dirichlet.values")
        if self.corners is None or self.at_corners is None or values.shape != (self.vertices,):
            raise ValueError(f"solve: dirichlet.values has shape {values.shape}, but the boundary has {self.vertices} vertices")
        return np.asarray(self.weight * (values[self.corners] * self.at_corners).sum(axis=1))

    def _on_the_way(self, data: Any) -> np.ndarray:
        """Sums (E,) over the source points of every walk."""
        assert self.share is not None
        assert self.source_points is not None
        ones = _sparse(np.ones(len(self.share)), np.arange(len(self.share)), self._first_sources, len(self.share))
        return np.asarray(ones @ (self.share * at_points(data, self.source_points, "solve", "source")))

    def _sources(self, label: str) -> csr_array:
        self._require_sources(label)
        matrix = self.B
        assert matrix is not None
        return matrix

    def _require_sources(self, label: str) -> None:
        if self.share is None:
            raise ValueError(f"{label}: the problem of the operator has no source; construct the problem with one, such as source=0.0")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the operator to a NumPy file that ``Operator.load`` can read."""
        arrays: dict[str, Any] = {name: x for name in _ARRAYS if (x := getattr(self, name)) is not None}
        arrays |= {name: np.array(getattr(self, name), np.uint64) for name in _NUMBERS}
        with open(path, "wb") as file:
            np.savez(file, **arrays, version=np.array(1))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an operator that ``save`` wrote."""
        operator = cls.__new__(cls)
        with np.load(path) as file:
            if missing := {"version", "weight", *_NUMBERS} - {*file.files}:
                raise ValueError(f"Operator.load: {os.fspath(path)} is not a saved operator: it lacks {', '.join(sorted(missing))}")
            vars(operator).update({name: file[name] if name in file.files else None for name in _ARRAYS})
            vars(operator).update({name: int(file[name]) for name in _NUMBERS})
        return operator

    def __repr__(self) -> str:
        sources = "no source" if self.share is None else f"{len(self.share)} source points"
        return f"Operator({len(self.outside)} points, {self.walks} walks each, {len(self.weight)} ends, {sources})"


def _check(s: Statement, settings: Settings, label: str) -> Settings:
    """The settings of walks that all data sets share. Raises an error if data sets cannot share walks."""
    if s._method not in ("walk", "jumps"):
        what = "neumann or robin" if s._method == "stars" else "a diffusion, or a screening that is not a number,"
        raise NotImplementedError(f"{label}: operators do not support {what} yet; use solve")
    if s._shared_boundary._batch is not None:
        raise ValueError(f"{label}: an operator requires a single boundary, got {s.boundary!r}")
    if settings.gradient:
        raise NotImplementedError(f"{label}: operators do not support gradient yet; omit it")
    return settings._replace(shared_walks=True)


def _each(sets: list[Any], values: Callable[[Any], np.ndarray]) -> Callable[[int], np.ndarray]:
    """A function that returns the values of set b. The values of a single set are computed once."""
    if len(sets) != 1:
        return lambda b: values(sets[b])
    only = values(sets[0])
    return lambda b: only


def _sparse(values: np.ndarray, columns: np.ndarray, first: np.ndarray, width: int) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((values, columns, first), (len(first) - 1, width))


def _interpolation(columns: np.ndarray, weights: np.ndarray, width: int) -> csr_array:
    """A matrix with the same number of elements in every row."""
    rows, each = columns.shape
    return _sparse(weights.reshape(-1), columns.reshape(-1), each * np.arange(rows + 1), width)


def _product(matrix: csr_array, x: Any, name: str) -> Any:
    x = array_like(x, "apply", name)
    numbers = host_array(x, "apply", name, device="keep", differentiable=True)
    if numbers.ndim not in (1, 2) or len(numbers) != matrix.shape[1]:
        raise ValueError(f"apply: {name} has shape {tuple(numbers.shape)}, expected ({matrix.shape[1]},) or ({matrix.shape[1]}, K)")
    if _arrays.kind(x) != "torch":
        return matrix @ np.asarray(numbers, np.float64)
    import torch

    rows = torch.from_numpy(np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))).to(x.device)
    weights = torch.from_numpy(matrix.data).to(x.device).reshape(-1, *[1] * (x.ndim - 1))
    return torch.zeros((matrix.shape[0], *x.shape[1:]), dtype=torch.float64, device=x.device).index_add(0, rows, weights * x.double())
