"""Parts of a problem for workers elsewhere: what is sent to them, and what they keep between two tasks."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

import numpy as np

from ... import _arrays
from ..data.functions import OneEach, Scaled
from ..data.pack import as_function, pack
from ..data.packed import Target, with_arrays
from ..mesh import Boundary
from ..stars.tables import Tables
from .adaptive import Rule, draw_until
from .chunk import Chunk, Window
from .groups import Part
from .prepared import Prepared
from .run import Run
from .statement import any_requires_grad

IN_FLIGHT = 256  # tasks that were sent and not answered
_KEPT = 4  # boundaries with their grids, and functions, that a process keeps for the next task


@dataclass
class Shared:
    """What tasks of the same instances share: pickled once, and unpickled once by a process, which keeps grids and compiled code."""

    boundary: Boundary
    given: tuple[Any, ...]  # functions among the data, as the caller gave them; else None
    instance: int  # the first
    dtype: np.dtype
    names: tuple[str, ...] = ("dirichlet", "source")
    walls: Tables | None = None
    units: tuple[np.ndarray | None, ...] = (None, None)  # the exponents of each of them
    _made: Any = None
    _pickle: bytes | None = None

    @property
    def geometry(self) -> Boundary | Tables:
        """What walks see."""
        return self.boundary if self.walls is None else self.walls

    def functions(self) -> tuple[Any, ...]:
        """As the kernels call them."""
        if self._made is None:
            target = Target(self.boundary, "numpy", self.dtype)
            self._made = tuple(self._function(f, target, name, units) for f, name, units in zip(self.given, self.names, self.units))
        functions: tuple[Any, ...] = self._made
        return functions

    def _function(self, given: Any, target: Target, name: str, units: np.ndarray | None) -> Any:
        if given is None:
            return None
        if isinstance(given, (list, tuple)):  # of what a part has perhaps no function left in
            found: Any = OneEach([as_function(pack(each, target, name)) for each in given], self.instance)
        else:
            found = pack(given, target, name).function
        return found if units is None else Scaled(found, units, self.instance)

    def __reduce__(self) -> Any:
        if self._pickle is None:
            self._pickle = dumps((self.boundary, self.given, self.instance, self.dtype, self.names, self.walls, self.units))
        return _kept, (hashlib.sha256(self._pickle).digest(), self._pickle)


_known: OrderedDict[bytes, Shared] = OrderedDict()
_lock = Lock()


def _kept(digest: bytes, data: bytes) -> Shared:
    with _lock:
        if digest not in _known:
            _known[digest] = Shared(*pickle.loads(data))
            _known[digest]._pickle = data
        _known.move_to_end(digest)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
        return _known[digest]


def dumps(value: Any) -> bytes:
    """A pickle; by cloudpickle, where that is installed, of what pickle cannot hold or holds as names of the main script."""
    try:
        data = pickle.dumps(value, 5)
    except Exception:
        if not importlib.util.find_spec("cloudpickle"):
            raise
        data = b"__main__"
    if b"__main__" in data and importlib.util.find_spec("cloudpickle"):
        import cloudpickle

        data = cloudpickle.dumps(value)
    return bytes(data)


class Halt:
    """Set where the caller has given up; what is elsewhere hears nothing of it."""

    def __init__(self) -> None:
        self.event = Event()

    def __reduce__(self) -> Any:
        return Halt, ()


@dataclass(frozen=True)
class Task:
    """Walks [first, first + walks) of ``rows`` of a chunk, or, with a rule, as many as they need."""

    chunk: Chunk  # in NumPy arrays, without the boundary and functions
    shared: Shared
    rows: np.ndarray
    first: int
    walks: int
    rule: Rule | None
    halt: Halt = field(default_factory=Halt)

    def __call__(self) -> list[Part]:
        geometry = self.shared.geometry
        chunk = self.chunk.with_geometry(geometry._arrays_of("numpy"), (geometry._memo_of("numpy"), *self.shared.functions()))
        if self.rule is not None:
            return draw_until(chunk, self.rule, self.first, stop=self.halt.event)
        return [(self.rows, chunk.run(self.first, self.walks, self.rows))]


def shared_by(p: Prepared, window: Window) -> Shared:
    """What tasks of that window's instances share."""
    b, end = window.instance, window.instance_end
    given, units = [], []
    for data in p.data:
        each = data.given if data.function is not None else None
        each = each[b:end] if isinstance(each, (list, tuple)) else each
        given.append(with_arrays(each, _arrays.to_host))
        units.append(data.function.exponents[b:end] if isinstance(data.function, Scaled) else None)
    tables = p.geometry._part_of(b, end) if isinstance(p.geometry, Tables) else None
    return Shared(p.boundary._part_of(b, end), tuple(given), b, p.dtype, p.statement._names, tables, tuple(units))


def check_on_host(run: Run, name: str, label: str) -> None:
    """NotImplementedError for what is not on a device."""
    if not run.prepared.on_host:
        where = f"points is on {_arrays.device(run.points)}, which it does not go with"
        raise NotImplementedError(f"{label}: {name} is given, but {where}; leave {name} out, or move the arrays to the host")


def check_executor(run: Run, executor: Any, label: str) -> None:
    """What would fail at the workers, before anything is sent to them."""
    if not isinstance(executor, Executor):
        hint = "; of a Dask client give client.get_executor()" if hasattr(executor, "get_executor") else ""
        raise TypeError(f"{label}: executor is {type(executor).__name__}, expected a concurrent.futures.Executor{hint}")
    check_on_host(run, "executor", label)
    s = run.statement
    given = {"points": run.points, **{name: getattr(s, name) for name in ("dirichlet", "source", "neumann", "robin")}}
    for name, data in given.items():
        if any_requires_grad(data):
            raise NotImplementedError(f"{label}: {name} requires grad, but an executor gives none; detach it, or solve without an executor")
    if isinstance(executor, ThreadPoolExecutor):
        return
    for name, packed in zip(s._names, run.prepared.data):
        if packed.function is None:
            continue
        try:
            dumps(packed.given)
        except Exception as error:
            raise TypeError(
                f"{label}: {name} cannot be pickled for the workers of {type(executor).__name__} ({error}); expected a function at the top "
                "level of a module, an njit function or a data class; lambdas and closures need cloudpickle to be installed"
            ) from error


def answers(executor: Executor, tasks: Iterable[Task], label: str) -> Iterator[tuple[int, list[Part]]]:
    """(number of the task, what it found), as they come. No more tasks are begun when the caller has enough."""
    waiting: dict[Future[list[Part]], tuple[int, Task]] = {}
    try:
        for number, task in enumerate(tasks):
            waiting[executor.submit(task)] = number, task
            if len(waiting) >= IN_FLIGHT:
                yield from _first_answers(waiting)
        while waiting:
            yield from _first_answers(waiting)
    except BrokenExecutor as error:
        raise RuntimeError(
            f"{label}: a worker of the executor died, and the executor with it; solve again with a new one, or with one that repeats what "
            "was lost, as Dask's does"
        ) from error
    finally:
        for future, (_, task) in waiting.items():
            future.cancel()
            task.halt.event.set()


def _first_answers(waiting: dict[Future[list[Part]], tuple[int, Task]]) -> Iterator[tuple[int, list[Part]]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        number, task = waiting.pop(future)
        try:
            found = future.result()
        except BrokenExecutor:
            raise
        except (Exception, CancelledError) as error:
            b, n = (task.chunk.options[f"first_{what}"] for what in ("instance", "point"))
            B, N, _ = task.chunk.arrays["start"].shape
            error.add_note(f"in a task of points {n} to {n + N - 1} of instances {b} to {b + B - 1}, walks from {task.first} on")
            raise
        yield number, found
