"""Parts of a problem for the workers of an executor: the data sent to them, and their caches between tasks."""

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
from ..data.functions import PerInstance, Scaled
from ..data.pack import as_function, pack
from ..data.packed import Target, any_requires_grad, with_arrays
from ..mesh import Boundary
from ..stars.tables import Tables
from .adaptive import Rule, draw_until
from .chunk import Chunk, Window
from .prepared import Prepared
from .run import Run
from .state import Part

IN_FLIGHT = 256  # maximum number of tasks sent whose results have not arrived
_CACHED = 4  # number of boundaries, with their grids and functions, that a process caches for later tasks


@dataclass
class Shared:
    """Data shared by tasks of the same instances: pickled once, and unpickled once per process, which caches grids and compiled code."""

    boundary: Boundary
    user_functions: tuple[Any, ...]  # the caller's functions; None for other data
    instance: int  # the first instance
    dtype: np.dtype
    names: tuple[str, ...] = ("dirichlet", "source")
    walls: Tables | None = None
    units: tuple[np.ndarray | None, ...] = (None, None)  # exponents for each kind of data
    _functions: tuple[Any, ...] | None = None
    _pickle: bytes | None = None

    @property
    def geometry(self) -> Boundary | Tables:
        """The boundary in the form that walks use."""
        return self.boundary if self.walls is None else self.walls

    def functions(self) -> tuple[Any, ...]:
        """The functions in the form that kernels call."""
        if self._functions is None:
            target = Target(self.boundary, "numpy", self.dtype)
            self._functions = tuple(
                self._function(f, target, name, units) for f, name, units in zip(self.user_functions, self.names, self.units)
            )
        return self._functions

    def _function(self, data: Any, target: Target, name: str, units: np.ndarray | None) -> Any:
        if data is None:
            return None
        if isinstance(data, (list, tuple)):  # this part of the list may have no functions
            function: Any = PerInstance([as_function(pack(each, target, name)) for each in data], self.instance)
        else:
            function = pack(data, target, name).function
        return function if units is None else Scaled(function, units, self.instance)

    def __reduce__(self) -> Any:
        if self._pickle is None:
            self._pickle = dumps((self.boundary, self.user_functions, self.instance, self.dtype, self.names, self.walls, self.units))
        return _shared, (hashlib.sha256(self._pickle).digest(), self._pickle)


_known: OrderedDict[bytes, Shared] = OrderedDict()
_lock = Lock()


def _shared(digest: bytes, data: bytes) -> Shared:
    """Unpickle ``data``, or find it in this process's cache."""
    with _lock:
        if digest not in _known:
            _known[digest] = Shared(*pickle.loads(data))
            _known[digest]._pickle = data
        _known.move_to_end(digest)
        while len(_known) > _CACHED:
            _known.popitem(last=False)
        return _known[digest]


def dumps(value: Any) -> bytes:
    """Pickle a value. Uses cloudpickle, if installed, for objects that pickle rejects or stores by name in the main script."""
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
    """Set when the caller gives up. Workers in other processes do not see it."""

    def __init__(self) -> None:
        self.event = Event()

    def __reduce__(self) -> Any:
        return Halt, ()


@dataclass(frozen=True)
class Task:
    """Walks [first, first + walks) of points ``rows`` of a chunk, or, with a rule, as many as they need."""

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
    """The data shared by the tasks of a window's instances."""
    b, end = window.instance, window.instance_end
    functions, units = [], []
    for data in p.data:
        each = data.user_data if data.function is not None else None
        each = each[b:end] if isinstance(each, (list, tuple)) else each
        functions.append(with_arrays(each, _arrays.to_host))
        units.append(data.function.exponents[b:end] if isinstance(data.function, Scaled) else None)
    tables = p.geometry._part_of(b, end) if isinstance(p.geometry, Tables) else None
    return Shared(p.boundary._part_of(b, end), tuple(functions), b, p.dtype, p.statement._names, tables, tuple(units))


def check_on_host(run: Run, name: str, label: str) -> None:
    """Raise NotImplementedError if the points are on a device."""
    if not run.prepared.on_host:
        where = f"points is on {_arrays.device(run.points)}, which it does not support"
        raise NotImplementedError(f"{label}: {name} cannot be used, because {where}; omit it, or move the arrays to the host")


def check_executor(run: Run, executor: Any, label: str) -> None:
    """Raise errors that would otherwise occur on the workers."""
    if not isinstance(executor, Executor):
        hint = "; for a Dask client pass client.get_executor()" if hasattr(executor, "get_executor") else ""
        raise TypeError(f"{label}: executor is {type(executor).__name__}, expected a concurrent.futures.Executor{hint}")
    check_on_host(run, "executor", label)
    s = run.statement
    inputs = {"points": run.points, **{name: getattr(s, name) for name in ("dirichlet", "source", "neumann", "robin")}}
    for name, data in inputs.items():
        if any_requires_grad(data):
            raise NotImplementedError(f"{label}: {name} requires grad, but an executor computes no gradients; detach it, or omit executor")
    if isinstance(executor, ThreadPoolExecutor):
        return
    for name, packed in zip(s._names, run.prepared.data):
        if packed.function is None:
            continue
        try:
            dumps(packed.user_data)
        except Exception as error:
            raise TypeError(
                f"{label}: {name} cannot be pickled for the workers of {type(executor).__name__} ({error}); expected a function at module "
                "level, an njit function or a data class; lambdas and closures need cloudpickle to be installed"
            ) from error


def answers(executor: Executor, tasks: Iterable[Task], label: str) -> Iterator[tuple[int, list[Part]]]:
    """Yield (task index, its parts) as tasks finish. No more tasks start after the caller stops iterating."""
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
            f"{label}: a worker of the executor died, which broke the executor; solve again with a new one, or with one that repeats lost "
            "tasks, like Dask's"
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
            parts = future.result()
        except BrokenExecutor:
            raise
        except (Exception, CancelledError) as error:
            b, n = (task.chunk.options[f"first_{what}"] for what in ("instance", "point"))
            B, N, _ = task.chunk.arrays["start"].shape
            error.add_note(f"in a task of points {n} to {n + N - 1} of instances {b} to {b + B - 1}, walks from {task.first} on")
            raise
        yield number, parts
