"""The result of a solve, which more walks can continue bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from ... import _arrays
from ..._arguments import integer, keywords
from ..._call import call
from ..._public import missing_attribute
from ..._typing import T
from ..data.packed import copied, detached
from ..plot import plot_points
from ..walk import ALONG, check_pairs
from .adaptive import MAX_WALKS, Rule
from .alike import with_alike
from .doubts import report
from .draw import Draw
from .run import Run
from .scaleout import check_on_host
from .settings import Settings
from .state import COUNTS, Groups, State, error_bars, join, overlap, parts_of, whole_of
from .statement import Statement
from .units import times

_HINTS = {
    **dict.fromkeys(("values", "u", "mean", "solution", "result"), "use value"),
    **dict.fromkeys(("std", "error", "errors", "sem", "standard_error"), "use stderr, the standard error of value"),
    **dict.fromkeys(("gradient", "gradients"), "use grad, after a call with gradient=True"),
    **dict.fromkeys(("var", "variance"), "use stderr**2, the variance of value"),
    **dict.fromkeys(("shape", "dtype", "T", "numpy"), "a Result is not an array: use value, stderr or grad"),
}


@dataclass
class Result(Generic[T]):
    """Values, their standard errors, and the state for adding more walks.

    Shapes are ``points.shape[:-1]``, or (B, N) if the points (N, d) are shared by B instances. For points on a device, all arrays are on
    the device and nothing is copied to the host, except that ``merge`` compares points and data on the host.

    value, stderr
        Mean of the walks and its standard error; dtype of the points. NaN outside the domain. stderr is 0 within epsilon of the boundary,
        and NaN for a single walk. If all walks of a point have the same value although the data vary, stderr accounts for data that no walk
        has reached: csrc/wos/walk/README.md (26). This requires points on the host and no ``cache``; otherwise stderr is 0.
    grad, grad_stderr
        With ``gradient=True``, the gradient of u and the standard errors of its components, of shape ``value.shape + (d,)``; otherwise
        None. NaN outside and within epsilon of the boundary. All standard errors are then computed from the means of pairs.
    n_walks, n_truncated, n_escaped : int64
        Number of walks, which differs between points with ``rtol`` or ``atol``; of walks cut off at max_steps; and of walks that left the
        box because of rounding errors. Walks of the last two kinds end at the closest boundary point.
    mean_steps
        Steps per walk.
    seed : int
        ``rng=result.seed`` repeats the call.
    state
        The nodes that ``resume`` and ``merge`` continue, with copies of points and data. Functions are called again, in their state at that
        time.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, x = qf.wos.Ball((0, 0), 1), np.array([[0.5, 0.0]])
    >>> u = qf.wos.solve(disc, x, dirichlet=qf.wos.Fourier(np.array([0.0, 1.0, 0.0])), walks=100, rng=0)
    >>> more = u.resume(300)
    >>> more.n_walks, bool(more.stderr[0] < u.stderr[0])
    (array([400]), True)
    >>> bool(u.resume(atol=0.02).stderr[0] <= 0.02)
    True
    """

    value: T
    stderr: T
    seed: int
    state: State | Groups = field(repr=False)
    run: Run = field(repr=False)
    grad: T | None = None
    grad_stderr: T | None = None

    if not TYPE_CHECKING:  # for type checkers, every name would be an attribute
        __getattr__ = missing_attribute("wos.Result", **_HINTS)

        def _is_no_array(self, *others):
            raise TypeError("a wos.Result is not an array; use its value, stderr or grad, such as result.value[0]")

        __iter__ = __getitem__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _is_no_array

    def __getstate__(self) -> dict[str, Any]:
        """Omit cached properties, which another thread may be adding."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def n_walks(self) -> Any:
        p = self.run.prepared
        walks = _arrays.of_kind(p.kind, self._walks_of_rows())
        if p.outside is not None:
            walks = _arrays.namespace(walks).where(p.outside, 0, walks)
        return walks.reshape(p.sizes.shape)

    @cached_property
    def mean_steps(self) -> T:
        p = self.run.prepared
        walks = _arrays.of_kind(p.kind, self._walks_of_rows().reshape(p.sizes.shape))
        mean: T = p.cast(_arrays.double(self._count("steps")) / walks)
        return mean

    @cached_property
    def n_truncated(self) -> Any:
        return self._count("truncated")

    @cached_property
    def n_escaped(self) -> Any:
        return self._count("escaped")

    def _walks_of_rows(self) -> np.ndarray:
        return np.array(np.broadcast_to(self.state.walks, len(self.state.counts)), np.int64)

    def _count(self, name: str) -> Any:
        return copied(self.state.counts[:, COUNTS.index(name)]).reshape(self.run.prepared.sizes.shape)

    def plot(self, what: str = "value", ax: Any = None, *, instance: int = 0, **style: Any) -> Any:
        """Draw the points inside their boundary with matplotlib, into ``ax`` or a new figure.

        Requires the extra ``plot``. Returns the Axes.

        Parameters
        ----------
        what : "value", "stderr" or "grad"
            The quantity that colours the points; "grad" draws arrows.
        instance : int
            Index of the instance to draw.
        **style
            Passed to matplotlib's ``scatter`` or ``quiver``.
        """
        shown = {"value": self.value, "stderr": self.stderr, "grad": self.grad}
        if not isinstance(what, str) or shown.get(what) is None:
            has = ", ".join(name for name, x in shown.items() if x is not None)
            raise ValueError(f"plot: what is {what!r}, expected one of {has}")
        p, points, numbers = self.run.prepared, self.run.points, _arrays.to_host(shown[what])
        numbers = numbers.reshape(p.sizes.B, p.sizes.N, *numbers.shape[len(p.sizes.shape) :])
        label = "standard error" if what == "stderr" else "u"
        return plot_points(p.boundary, points if points.ndim > 1 else points[None], numbers, label, ax, instance=instance, **style)

    @keywords("resume", **dict.fromkeys(("n_walks", "num_walks", "more_walks", "extra"), "use walks"), tol="use atol or rtol")
    def resume(
        self,
        extra_walks: int | None = None,
        *,
        walks: int | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        max_walks: int | None = None,
        executor: Executor | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
    ) -> Result[T]:
        """Return a Result with ``extra_walks`` more walks per point, or as many as a tolerance needs.

        The result is bitwise equal to one longer run. If points have different numbers of walks, each continues after its own last walk.

        Parameters
        ----------
        extra_walks, walks : int
            Two names for one argument: the number of additional walks per point, even with ``gradient``. With a tolerance it is the size of
            a round; the default is the present number of walks.
        rtol, atol, max_walks, executor, progress
            As for ``solve``; ``max_walks`` includes the present walks.
        """
        if extra_walks is not None and walks is not None:
            raise ValueError("resume: got both extra_walks and walks, expected one of them")
        name, extra = ("walks", walks) if extra_walks is None else ("extra_walks", extra_walks)
        if extra is None:
            if rtol is None and atol is None:
                raise TypeError("resume: expected a number of additional walks, such as resume(walks=1000), or rtol or atol")
            extra = int(min(np.min(self.state.walks), MAX_WALKS if max_walks is None else integer(max_walks, "resume", "max_walks", 1)))
        extra = integer(extra, "resume", name, 1)
        rule = Rule.from_arguments("resume", rtol, atol, extra, max_walks, self.run.prepared.dtype)
        check_pairs("resume", self.run.settings.gradient, **{name: extra, "max_walks": rule.max_walks if rule else 0})
        draw = Draw.from_run(self.run, executor, progress, "resume")
        if rule is not None:
            if self.run.settings.cache:
                raise ValueError("resume: rtol and atol cannot be combined with a cache yet; omit them")
            return finish(self.run, draw.further(self.state, rule))
        requests = [(rows, part.end, extra) for rows, part in parts_of(self.state)]
        return finish(self.run, join(self.state, draw.run_groups(requests)))

    def merge(self, other: Result[T]) -> Result[T]:
        """Return a new Result with the walks of both runs.

        The runs must have the same problem and seed, and disjoint walk ranges (``walk_offset``). Either order gives the same bits. If the
        numbers of walks differ between points (``rtol``, ``atol``), the ranges must be disjoint for every point.

        Raises ValueError for different problems, for walks that both results have, and for functions that cannot be compared. Functions are
        compared in their state at the call: code, constants, closures, defaults, attributes, globals.
        """
        if not isinstance(other, Result):
            raise TypeError(f"merge: other is {type(other).__name__}, expected a Result")
        if self.seed != other.seed:
            raise ValueError(
                f"merge: the seeds differ, {self.seed} and {other.seed}; run both with the same rng and a different walk_offset"
            )
        different = self.run.differs_from(other.run)
        if different:
            raise ValueError(f"merge: the two results belong to different problems, which differ in {', '.join(different)}")
        if overlap(self.state, other.state):
            raise ValueError("merge: the two results share walks; use a different walk_offset for the second run")
        return finish(self.run, join(self.state, other.state))


def solve_problem(
    statement: Statement, points: Any, settings: Settings, walks: range, *, rtol: Any = None, atol: Any = None, max_walks: Any = None,
    executor: Any = None, progress: Any = None,
) -> Result[Any]:  # fmt: skip
    """The Result of a problem at these points from these walks."""
    run = Run(statement, points, settings)
    if settings.cache is not None:
        if any(x is not None for x in (rtol, atol, executor, progress)):
            raise ValueError("solve: rtol, atol, executor and progress cannot be combined with a cache yet; omit them")
        _check_cache(run)
    rule = Rule.from_arguments("solve", rtol, atol, len(walks), max_walks, run.prepared.dtype)
    if rule is not None:
        check_pairs("solve", settings.gradient, max_walks=rule.max_walks)
    return finish(run, Draw.from_run(run, executor, progress, "solve").run_groups([(slice(None), walks.start, len(walks))], rule))


def _check_cache(run: Run) -> None:
    s, p = run.statement, run.prepared
    if s._method == "stars":
        raise ValueError("solve: cache cannot be combined with neumann or robin; omit it")
    if s._method in ("media", "jumps"):
        raise ValueError("solve: cache cannot be combined with a diffusion, or a screening that is not a number; omit it")
    if s.exterior:
        raise ValueError("solve: cache requires the inside of a boundary; omit it")
    if s.source is not None or run.settings.gradient:
        raise ValueError(
            "solve: cache supports neither a source nor gradient=True, because u must be harmonic, or screened without a source"
        )
    if len(p.sizes.shape) + (run.points.ndim == 1) != 1:
        raise ValueError(f"solve: cache requires a single instance, got results of shape {p.sizes.shape}; call solve for each instance")
    if any(getattr(x, "requires_grad", False) for x in (run.points, p.data[0].numbers)):
        raise NotImplementedError("solve: cache does not support gradients with respect to points and data; detach them, or omit cache")
    check_on_host(run, "cache", "solve")


def finish(run: Run, state: State | Groups) -> Result[Any]:
    """The Result of a state. torch can differentiate the means; error bars have no gradient."""
    p, settings = run.prepared, run.settings
    shape = p.sizes.shape
    mean, m2 = state.fold()
    bars = error_bars(state.samples, m2, None if settings.cache else state.counts[:, 0], mean)
    alias = isinstance(state, State) and len(state.sizes) == 1
    if p.on_host and not settings.cache:
        bars = with_alike(p, run.points, lambda: run.ranges, state, mean, bars)
        report(run, state, mean, m2)
    bar = _arrays.of_kind(p.kind, bars) if p.on_host else bars
    if p.units is not None:
        mean, bar = times(mean, p.row_units), times(bar, p.row_units)
    value = copied(mean[:, 0]) if alias else mean[:, 0]  # writing to the result must not change the state
    if getattr(run.points, "requires_grad", False):
        value = _of_points(run, state, value, detached(mean)[:, 1:] if settings.gradient else None)
    result = Result(p.cast(value).reshape(shape), p.cast(bar[:, 0]).reshape(shape), settings.seed, state, run)
    if settings.gradient:
        result.grad, result.grad_stderr = (p.cast(copied(x[:, 1:])).reshape((*shape, x.shape[1] - 1)) for x in (mean, bar))
    return result


def _of_points(run: Run, state: State | Groups, value: Any, grad: Any) -> Any:
    """The value as a function of the points, with the gradient of the pairs, ``grad``. Without it, the pairs run during backward."""
    p, d = run.prepared, run.prepared.boundary.dimension
    B, N, _ = p.sizes
    points = (run.points if run.points.ndim > 1 else run.points[None]).expand(B, -1, -1)

    def slope() -> Any:
        parts = ((rows, run.slope(part.group * part.starts[0], part.walks, rows)) for rows, part in parts_of(state))
        slopes = whole_of(list(parts)) if grad is None else grad
        return p.cast(_arrays.to_host(slopes) if p.on_host else slopes).reshape(B, N, d)

    return call(ALONG, (points, value.reshape(B, N)), (), (slope,), None, p.place_backend, None).reshape(-1)
