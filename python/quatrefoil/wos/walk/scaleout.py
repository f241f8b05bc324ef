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

from ..data.functions import OneEach, Scaled
from ..mesh import Boundary
from .adaptive import Rule, draw_until
from .groups import Part
from .packing import Target, as_function, pack, with_arrays
from .piece import Piece, Window, to_numpy
from .problem import DATA, Prepared, Problem, check_on_host
from .walls import Tables

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
    units: np.ndarray | None = None
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
            self._made = tuple(self._in_units(self._function(f, target, name), name) for f, name in zip(self.given, self.names))
        functions: tuple[Any, ...] = self._made
        return functions

    def _function(self, given: Any, target: Target, name: str) -> Any:
        if isinstance(given, (list, tuple)):  # of what a part has perhaps no function left in
            return OneEach([as_function(pack(each, target, name)) for each in given], self.instance)
        return None if given is None else pack(given, target, name).function

    def _in_units(self, function: Any, name: str) -> Any:
        if function is None or self.units is None or name not in DATA:
            return function
        return Scaled(function, self.units, self.instance)

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
    """Walks [first, first + walks) of ``rows`` of a piece, or, with a rule, as many as they need."""

    piece: Piece  # in NumPy arrays, without the boundary and functions
    shared: Shared
    rows: np.ndarray
    first: int
    walks: int
    rule: Rule | None
    halt: Halt = field(default_factory=Halt)

    def __call__(self) -> list[Part]:
        geometry = self.shared.geometry
        piece = self.piece.clothed(geometry._arrays_of("numpy"), (geometry._memo_of("numpy"), *self.shared.functions()))
        if self.rule is not None:
            return draw_until(piece, self.rule, self.first, stop=self.halt.event)
        return [(self.rows, piece.run(self.first, self.walks, self.rows))]


def shared_by(p: Prepared, window: Window) -> Shared:
    """What tasks of that window's instances share."""
    b, end = window.instance, window.instance_end
    given = []
    for data in p.data:
        each = data.given if data.function is not None else None
        each = each[b:end] if isinstance(each, (list, tuple)) else each
        given.append(with_arrays(each, to_numpy))
    walls = None if p.mixed is None else p.mixed.tables._part_of(b, end)
    return Shared(
        p.boundary._part_of(b, end), tuple(given), b, p.dtype, p.names[: len(given)], walls, None if p.units is None else p.units[b:end]
    )


def check_executor(problem: Problem, executor: Any, label: str) -> None:
    """What would fail at the workers, before anything is sent to them."""
    if not isinstance(executor, Executor):
        hint = "; of a Dask client give client.get_executor()" if hasattr(executor, "get_executor") else ""
        raise TypeError(f"{label}: executor is {type(executor).__name__}, expected a concurrent.futures.Executor{hint}")
    check_on_host(label, "executor", problem)
    for name in ("points", *DATA):
        if _requires_grad(getattr(problem, name)):
            raise NotImplementedError(f"{label}: {name} requires grad, but an executor gives none; detach it, or solve without an executor")
    if isinstance(executor, ThreadPoolExecutor):
        return
    for name, data in zip(problem.ready.names, problem.ready.data):
        if data.function is None:
            continue
        try:
            dumps(data.given)
        except Exception as error:
            raise TypeError(
                f"{label}: {name} cannot be pickled for the workers of {type(executor).__name__} ({error}); expected a function at the top "
                "level of a module, an njit function or a data class; lambdas and closures need cloudpickle to be installed"
            ) from error


def _requires_grad(given: Any) -> bool:
    found: list[bool] = []

    def look(array: Any) -> Any:
        found.append(bool(getattr(array, "requires_grad", False)))
        return array

    with_arrays(given, look)
    return any(found)


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
            of = task.piece
            error.add_note(
                f"in a task of points {of.point} to {of.point + of.start.shape[1] - 1} of instances {of.instance} to "
                f"{of.instance + of.start.shape[0] - 1}, walks from {task.first} on"
            )
            raise
        yield number, found
