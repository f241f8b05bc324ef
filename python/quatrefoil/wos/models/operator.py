"""A solution as a linear map of data that become available later. Equation numbers refer to csrc/wos/walk/README.md."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
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
from .recording import KINDS, TRACES, Met, recorded
from .run import Run
from .scaleout import check_on_host
from .settings import Settings
from .statement import Statement, common_batch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_ARRAYS, _NUMBERS = ("outside", "n_truncated", "n_escaped"), ("walks", "seed", "vertices")
Kind = Literal["dirichlet", "source", "neumann", "robin"]


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
    """The solution at points as a linear map of boundary values, sources and fluxes.

    ``Problem.operator`` creates it: u = A g + B f (27) at N points, plus C h and D k with the fluxes h of ``neumann`` and k of ``robin``.
    The walks are recorded: E ends on the boundary, ``walks`` per point, S source points, and points on reflecting walls. They can be used
    for any number of data sets. The values equal those of ``Problem.solve`` for the same seed, up to rounding. Errors are correlated
    between data sets.

    Attributes
    ----------
    A, B, C, D : scipy.sparse.csr_array
        (N, E), (N, S), ...: u = A @ g(boundary_points) + B @ f(source_points) + C @ h(neumann_points) + D @ k(robin_points). A.T @ grad is
        the gradient with respect to the values of g. B, C and D are None if the problem has no such data. The rows of points outside are
        empty.
    boundary_points, source_points, neumann_points, robin_points : (E, d), (S, d), ...
        Points at which data are evaluated, in absolute coordinates and float64, or None. A walk without an end is at its start in
        ``boundary_points``, with 0 in A.
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

    outside: np.ndarray
    n_truncated: np.ndarray
    n_escaped: np.ndarray
    _met: dict[str, Met]  # the points, by kind of data
    _corners: dict[str, tuple[np.ndarray, np.ndarray]]  # (S, d) each: the vertices of each point's segment or triangle, and their weights
    walks: int
    seed: int
    vertices: int

    def __init__(self) -> None:
        raise TypeError("Operator: create one with Problem.operator(points) or Operator.load(path)")

    @classmethod
    def _create(cls, statement: Statement, points: Any, settings: Settings, walks: range, label: str) -> Self:
        """Record the walks of a problem."""
        settings = _check(statement, settings, label)
        run = Run(_with_numbers(statement), points, settings)
        if run.points.ndim > 2:
            shape, d = tuple(run.points.shape), statement.boundary.dimension
            raise ValueError(f"{label}: points has shape {shape}, expected (N, {d}), or ({d},) for one point")
        check_on_host(run, label, label)
        record = recorded(run, walks)
        boundary, operator, vertices, corners = run.prepared.boundary, cls.__new__(cls), 0, {}
        if isinstance(boundary, (Polygon, TriangleMesh)):
            vertices = int(boundary._first_vertex[-1])
            for kind in record.met.keys() - {"source"}:
                nearest = closest_point(boundary, record.met[kind].points, num_threads=settings.num_threads)
                corners[kind] = boundary._pairs[nearest.primitive], nearest.barycentric
        counts = {name: getattr(record, name) for name in _ARRAYS}
        vars(operator).update(counts, walks=len(walks), seed=settings.seed, vertices=vertices, _met=record.met, _corners=corners)
        return operator

    @property
    def boundary_points(self) -> np.ndarray:
        return self._met["dirichlet"].points

    @property
    def source_points(self) -> np.ndarray | None:
        return self._points("source")

    @property
    def neumann_points(self) -> np.ndarray | None:
        return self._points("neumann")

    @property
    def robin_points(self) -> np.ndarray | None:
        return self._points("robin")

    @property
    def A(self) -> csr_array:
        return self._matrix("dirichlet", "A")

    @property
    def B(self) -> csr_array | None:
        return self._matrix("source", "B") if "source" in self._met else None

    @property
    def C(self) -> csr_array | None:
        return self._matrix("neumann", "C") if "neumann" in self._met else None

    @property
    def D(self) -> csr_array | None:
        return self._matrix("robin", "D") if "robin" in self._met else None

    def _points(self, kind: str) -> np.ndarray | None:
        return self._met[kind].points if kind in self._met else None

    def _matrix(self, kind: str, label: str) -> csr_array:
        """(N, S): the weights of the points of a kind."""
        self._require(kind, label)
        met, first_walks = self._met[kind], np.cumsum([0, *np.where(self.outside, 0, self.walks)])
        return _sparse(met.weight / self.walks, np.arange(len(met.weight)), _first(met)[first_walks], len(met.weight))

    def per_vertex(self, of: Literal["dirichlet", "neumann", "robin"] = "dirichlet") -> csr_array:
        """The matrix (N, M) for values at the M vertices of a polygon or mesh.

        u = per_vertex() @ values, with boundary values or fluxes that are linear between the vertices.
        """
        choice(of, "per_vertex", "of", ("dirichlet", "neumann", "robin"))
        if not self.vertices:
            raise ValueError("per_vertex: the boundary has no vertices")
        return self._matrix(of, "per_vertex") @ _interpolation(*self._corners[of], self.vertices)

    def on_grid(self, shape: Sequence[int], box: Any, of: Kind = "source") -> csr_array:
        """The matrix (N, n1 n2 ...) for values at the nodes of a grid.

        u = on_grid(values.shape, box) @ values.reshape(-1), for the data ``GridField(values, box)``.

        Parameters
        ----------
        shape : sequence of d int
            Number of nodes on each axis.
        box : (lo, hi)
            As for ``GridField``.
        of : "source", "dirichlet", "neumann" or "robin"
            The kind of data on the grid.
        """
        choice(of, "on_grid", "of", KINDS)
        matrix, X = self._matrix(of, "on_grid"), self._met[of].points
        sizes = [integer(n, "on_grid", "shape", 2) for n in shape]
        cell = Cells(sizes, np.array(GridField(np.zeros(sizes), box).box), X)
        bits = np.array(list(product((0, 1), repeat=len(sizes))))
        nodes = np.ravel_multi_index(tuple(np.moveaxis(cell.corner[:, None] + bits, -1, 0)), sizes)
        weights = np.where(bits, cell.fraction[:, None], 1 - cell.fraction[:, None]).prod(axis=-1)
        return matrix @ _interpolation(nodes, weights, math.prod(sizes))

    def apply(self, g: Any, f: Any = None, neumann: Any = None, robin: Any = None) -> Any:
        """Compute u for values at ``boundary_points``, ``source_points``, ``neumann_points`` and ``robin_points``. NaN at points outside.

        Differentiable for tensors.

        Parameters
        ----------
        g : (E,) or (E, K)
            K sets of boundary values, NumPy or PyTorch arrays.
        f, neumann, robin : (S,) or (S, K), optional
            Sources and fluxes, of the same array type; the default is 0.

        Returns
        -------
        array
            (N,) or (N, K), float64, of the array type of g.
        """
        u = _product(self.A, g, "g")
        for kind, values in (("source", f), ("neumann", neumann), ("robin", robin)):
            if values is not None:
                u = u + _product(self._matrix(kind, "apply"), values, "f" if kind == "source" else kind)
        xp = _arrays.namespace(u)
        outside = _arrays.of_kind(_arrays.location(u), self.outside.reshape(-1, *[1] * (u.ndim - 1)))
        return xp.where(outside, xp.full_like(u, np.nan), u)

    def solve(self, dirichlet: Data, source: Data | None = None, neumann: Data | None = None, robin: Data | None = None) -> OperatorValues:
        """Compute u and its standard error for one set of data, or for B sets. NumPy evaluates the data.

        Parameters
        ----------
        dirichlet : g
            A number, (B,) numbers, Fourier, Gaussians, Polynomial, PerVertex or GridField, a function of points, or a list of them.
        source : f, optional
            As dirichlet, except PerVertex; the default is 0. The operator's problem must also have a source, with any value.
        neumann, robin : h, optional
            The fluxes on reflecting walls, as dirichlet; the default is 0. The walls are those of the operator's problem.

        Notes
        -----
        The standard error is 0 if all walks have the same value, and NaN for a single walk.
        """
        d, data = self.boundary_points.shape[1], dict(zip(KINDS, (dirichlet, source, neumann, robin)))
        sets = {kind: sets_of(values, d, "solve", kind) for kind, values in data.items() if values is not None}
        B = common_batch({kind: batch for kind, (batch, _) in sets.items()}, "solve")
        sums = [_each(of_kind, partial(self._of_walks, kind)) for kind, (_, of_kind) in sets.items()]
        values = np.full((2, 1 if B is None else B, len(self.outside)), np.nan)
        for b, (value, stderr) in enumerate(zip(*values)):
            of_points = np.sum([of_kind(b) for of_kind in sums], axis=0).reshape(-1, self.walks)
            value[~self.outside] = of_points.mean(axis=1)
            if self.walks > 1:
                stderr[~self.outside] = of_points.std(axis=1, ddof=1) / math.sqrt(self.walks)
        return OperatorValues(*(values[:, 0] if B is None else values))

    def _of_walks(self, kind: str, data: Any) -> np.ndarray:
        """(E,) sums of weighted values over the points of every walk."""
        self._require(kind, "solve")
        met = self._met[kind]
        if not isinstance(data, PerVertex) or kind == "source":
            weighted = met.weight * at_points(data, met.points, "solve", kind)
        else:
            values = host_array(data.values, "solve", f"{kind}.values")
            if not self.vertices or values.shape != (self.vertices,):
                raise ValueError(f"solve: {kind}.values has shape {values.shape}, but the boundary has {self.vertices} vertices")
            corners, weights = self._corners[kind]
            weighted = met.weight * (values[corners] * weights).sum(axis=1)
        return np.asarray(_sparse(np.ones(len(weighted)), np.arange(len(weighted)), _first(met), len(weighted)) @ weighted)

    def _require(self, kind: str, label: str) -> None:
        if kind not in self._met:
            one = "one, such as source=0.0" if kind == "source" else f"these walls, such as {kind}=(where, {'mu, ' * (kind == 'robin')}0.0)"
            raise ValueError(f"{label}: the problem of the operator has no {kind}; construct the problem with {one}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the operator to a NumPy file that ``Operator.load`` can read."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {name: np.array(getattr(self, name), np.uint64) for name in _NUMBERS}
        for kind, met in self._met.items():
            of_kind = {**met._asdict(), **dict(zip(("corners", "at_corners"), self._corners.get(kind, ())))}
            arrays |= {f"{kind}_{name}": x for name, x in of_kind.items()}
        with open(path, "wb") as file:
            np.savez(file, **arrays, version=np.array(1))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an operator that ``save`` wrote."""
        operator = cls.__new__(cls)
        with np.load(path) as file:
            if missing := {"version", "dirichlet_weight", *_NUMBERS} - {*file.files}:
                raise ValueError(f"Operator.load: {os.fspath(path)} is not a saved operator: it lacks {', '.join(sorted(missing))}")
            vars(operator).update({name: file[name] for name in _ARRAYS}, **{name: int(file[name]) for name in _NUMBERS})
            kinds = [kind for kind in KINDS if f"{kind}_weight" in file.files]
            operator._met = {kind: Met(*(file[f"{kind}_{name}"] for name in Met._fields)) for kind in kinds}
            with_corners = [kind for kind in kinds if f"{kind}_corners" in file.files]
            operator._corners = {kind: (file[f"{kind}_corners"], file[f"{kind}_at_corners"]) for kind in with_corners}
        return operator

    def __repr__(self) -> str:
        source, walls = self.source_points, {kind: self._points(kind) for kind in ("neumann", "robin")}
        parts = ["no source" if source is None else f"{len(source)} source points"]
        parts += [f"{len(points)} points on {kind} walls" for kind, points in walls.items() if points is not None]
        return f"Operator({len(self.outside)} points, {self.walks} walks each, {len(self.boundary_points)} ends, {', '.join(parts)})"


def _check(s: Statement, settings: Settings, label: str) -> Settings:
    """The settings of walks that all data sets share. Raises an error if they cannot share one path."""
    s._check_shared(f"{label}: an operator", "use solve")
    if s._shared_boundary._batch is not None:
        raise ValueError(f"{label}: an operator requires a single boundary, got {s.boundary!r}")
    if settings.gradient:
        raise NotImplementedError(f"{label}: operators do not support gradient yet; omit it")
    return settings._replace(shared_walks=True)


def _with_numbers(s: Statement) -> Statement:
    """The problem with numbers as data, because paths do not depend on data. A flux of 1 lets walks draw points on walls."""
    if s._method not in TRACES and s._reflecting is None:
        return s
    walls = {name: wall if wall is None else (*wall[:-1], 1.0) for name, wall in (("neumann", s.neumann), ("robin", s.robin))}
    source = None if s.source is None else 1.0
    medium = {"screening": s.screening, "diffusion": s.diffusion}
    return Statement._create("operator", s.boundary, s.exterior, dirichlet=1.0, source=source, **walls, **medium)


def _first(met: Met) -> np.ndarray:
    """(n + 1,): the first point of each walk."""
    return np.concatenate([[0], np.cumsum(met.each)])


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
