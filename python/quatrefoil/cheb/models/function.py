"""A user's function as called by ``from_function``: arrays in, checked values out, counted and, if f is costly, cached."""

from __future__ import annotations

import functools
import inspect
import math
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arguments
from ..._progress import reporter
from ..transform import chebpts
from .checkpoint import Checkpoint

MAX_VALUES = 2**25  # maximum number of values of f
MAX_CACHED = 2**16  # maximum number of cached values without ``max_evaluations``, executor or checkpoint: 20 MB
BLOCK = 2**20  # values of f at a time


def arguments_of(f: Callable[..., Any]) -> int:
    """The number of required positional arguments of f; 1 if it has no signature."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # NumPy functions
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(p.kind in positional and p.default is p.empty for p in parameters))


class NotResolved(Exception):
    """f needs too many values or points; ``fix``: a suggestion in addition to the usual ones."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.fix = fix


class Function:
    """A user's f with checked results: finite real values (outputs, ...), their number, and the largest |f| of each output so far.

    Among the first ``cache_size`` values no point is computed twice. With an executor or a checkpoint, no point at all is computed twice,
    and f is called with one point at a time, as numbers.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        domain: Sequence[float],
        label: str,
        *,
        cache_size: int = 0,
        executor: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Any = None,
    ) -> None:
        self.f, self.domain, self.label = f, domain, label
        self.d = len(domain) // 2
        self.count = 0
        self.begun = 0  # the count when work on the current tolerance began
        self.max_evaluations: int | None = MAX_VALUES
        self.outputs: int | None = None  # set by the first call if f returns a tuple
        self.largest = np.zeros(0)
        self.error = math.inf  # in the last test, for ``progress``
        self.report = reporter(progress, label, "{} values of f; relative error in the last test: {:.1e}".format)
        if executor is not None and not hasattr(executor, "submit"):
            raise TypeError(
                f"{label}: executor is {executor!r}, expected an executor of concurrent.futures, or an object with submit(f, *arguments)"
            )
        self.executor = executor
        self.file = None if checkpoint is None else Checkpoint(checkpoint, self.d, label)
        self.singly = executor is not None or self.file is not None
        self.cache_size = MAX_VALUES if self.singly else cache_size
        self.cache: dict[bytes, np.ndarray] | None = {}

    def __call__(self, *points: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(*(x.shape for x in points))
        whole = [np.broadcast_to(x, shape) for x in points]
        if self.cache is not None and len(self.cache) + math.prod(shape) > self.cache_size:
            self.cache = None
        if self.cache is not None:
            X = np.stack([x.ravel() for x in whole], axis=-1) + 0.0  # -0.0 and 0.0 are one point
            values = self._looked_up(X, self.cache)
            return values.reshape(len(values), *shape)
        self._afford(math.prod(shape))
        step = max(1, BLOCK // max(1, math.prod(shape[1:])))
        blocks = [self._computed([x[i : i + step].reshape(-1) for x in whole]) for i in range(0, max(1, shape[0]), step)]
        self._tell()
        values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        return values.reshape(len(values), *shape)

    @property
    def spent(self) -> int:
        """The number of values computed for the current tolerance."""
        return self.count - self.begun

    def _afford(self, more: int) -> None:
        if self.max_evaluations is not None and self.count + more > self.max_evaluations:
            raise NotResolved(f"it needs more than {self.max_evaluations} values")

    def _looked_up(self, X: np.ndarray, cache: dict[bytes, np.ndarray]) -> np.ndarray:
        """Values (outputs, P) at points X (P, d), computed unless they are in the cache or in the file."""
        keys = [x.tobytes() for x in X]
        missing = {key: x for key, x in zip(keys, X) if key not in cache}
        self._afford(len(missing))
        if self.file is not None:
            for key in missing.keys() & self.file.values.keys():
                self._count(self.file.values[key][:, None], self.file.outputs)
                cache[key] = self.file.values[key]
                del missing[key]
        if self.singly:
            self._one_by_one(list(missing.values()))
        elif missing or not cache:
            rows = np.array(list(missing.values())).reshape(-1, self.d)
            self._store(rows, self._computed(list(rows.T)))
        return np.stack([cache[key] for key in keys], axis=1) if keys else np.zeros((max(1, self.largest.size), 0))

    def _store(self, X: np.ndarray, values: np.ndarray) -> None:
        assert self.cache is not None
        self.cache.update((x.tobytes(), y) for x, y in zip(X, values.T))
        if self.file is not None:
            self.file.append(X, values, self.outputs)
        self._tell()

    def _tell(self) -> None:
        if self.report is not None:
            self.report(self.count, self.error)

    def _one_by_one(self, rows: Sequence[np.ndarray]) -> None:
        """Compute and cache values at points (d,). If a call fails, the values computed before it are cached."""
        if self.executor is None:
            for x in rows:
                self._store(x[None], self._computed(list(x[:, None]), functools.partial(self.f, *x)))
            return
        left = [(x, self.executor.submit(self.f, *x)) for x in rows]
        try:
            while left:
                x, future = left[0]
                self._store(x[None], self._computed(list(x[:, None]), future.result))
                left.pop(0)
        except BaseException as error:
            for x, future in left[1:]:
                if not future.cancel() and (isinstance(error, Exception) or future.done()) and future.exception() is None:
                    self._store(x[None], self._computed(list(x[:, None]), future.result))
            raise

    def _computed(self, points: list[np.ndarray], call: Callable[[], Any] | None = None) -> np.ndarray:
        """Values (outputs, P) at d arrays (P,); ``call`` returns the result of f."""
        P = points[0].size
        try:
            result = call() if call else self.f(*(np.array(x) for x in points))  # copies, because f may overwrite them
        except (TypeError, ValueError, IndexError, AttributeError, pickle.PicklingError) as error:
            hint = self._hint(points) if not self.largest.size and P else None
            if self.executor is not None and "pickle" in str(error):
                hint = "processes look up functions by name; define f at module level, or pass a ThreadPoolExecutor"
            if hint is None:
                raise
            raise TypeError(f"{self.label}: f failed on {'numbers' if self.singly else 'arrays'}: {error}; {hint}") from error
        several = isinstance(result, (tuple, list))
        parts = list(result) if several else [result]
        if is_first := not self.largest.size:
            if 1 < P == len(parts) and all(np.ndim(part) == 0 for part in parts):
                kind = type(result).__name__
                raise TypeError(f"{self.label}: f returned a {kind} of {P} numbers, expected an array; return np.array(...) of it")
        elif len(parts) != self.largest.size:
            raise ValueError(f"{self.label}: f returned {len(parts)} outputs, expected {self.largest.size}")
        if not parts:
            raise ValueError(f"{self.label}: f returned 0 outputs, expected at least 1")
        values = np.stack([self._checked(part, points, f"[{i}]" if several else "", is_first) for i, part in enumerate(parts)])
        self._count(values, len(parts) if several else None)
        return values

    def _count(self, values: np.ndarray, outputs: int | None) -> None:
        """Count new values (outputs, P)."""
        if not self.largest.size:
            self.outputs, self.largest = outputs, np.zeros(len(values))
        self.count += values.shape[1]
        if values.size:
            self.largest = np.maximum(self.largest, np.maximum(values.max(axis=1), -values.min(axis=1)))

    def _hint(self, points: Sequence[np.ndarray]) -> str | None:
        """A hint if f takes numbers, one point or an array of points instead of d arrays of coordinates."""
        names = ", ".join("xyz"[: self.d] if self.d <= 3 else [f"x{k}" for k in range(self.d)])
        X = np.stack([x[[0, -1, 0]] for x in points], axis=-1)  # three points
        tried: list[tuple[tuple[Any, ...], tuple[int, ...], str]] = [
            ((X.copy(),), (3,), f"f takes points (P, {self.d}): pass lambda {names}: f(np.stack([{names}], -1))"),
            (tuple(X[0].tolist()), (), "f takes scalars: pass np.vectorize(f)"),
            ((X[0].copy(),), (), f"f takes one point: pass np.vectorize(lambda {names}: f(np.array([{names}])))"),
        ]
        if self.singly:
            tried = [((X[0].copy(),), (), f"f takes one point: pass lambda {names}: f(np.array([{names}]))")]
        if (torch := sys.modules.get("torch")) is not None:
            tensors = tuple(torch.from_numpy(X.T.copy()))
            tried.append((tensors, (3,), f"f takes tensors: pass lambda {names}: f(*map(torch.from_numpy, ({names},)))"))
        for arguments, shape, hint in tried:
            try:
                if np.shape(self.f(*arguments)) == shape:
                    return hint
            except Exception:
                continue
        return None

    @property
    def scale(self) -> np.ndarray:
        """The scale by which each output is divided."""
        return np.where(self.largest > 0, self.largest, 1.0)

    def _checked(self, part: Any, points: Sequence[np.ndarray], name: str, is_first: bool) -> np.ndarray:
        _arguments.reject_masked(part, self.label, "what f returned")
        try:
            values = np.asarray(part)
        except (TypeError, ValueError, RuntimeError) as reason:  # lists of unequal lengths, tensors with a gradient or on a device
            raise TypeError(f"{self.label}: f returned {type(part).__name__}, which is not an array of numbers: {reason}") from None
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{self.label}: f returned {values.dtype} values, expected real numbers")
        shape = points[0].shape
        if values.shape != shape and (values.ndim or (is_first and shape[0] > 1 and not name and not self._is_constant(values, points))):
            hint = (self._hint(points) if is_first else None) or "return several outputs as a tuple"
            what = f"shape {values.shape}" if values.ndim else "a single number although f is not constant"
            raise ValueError(f"{self.label}: f returned {what} for {shape[0]} points, expected shape {shape}; {hint}")
        full = np.array(np.broadcast_to(values, shape), np.float64)  # f may overwrite its result later
        bad = ~np.isfinite(full)
        if bad.any():
            at = int(bad.argmax())
            where = ", ".join(f"{x[at]:.17g}" for x in points)
            raise ValueError(f"{self.label}: f({where}){name} is {full[at]}, expected a finite number")
        return full

    def _is_constant(self, value: np.ndarray, points: Sequence[np.ndarray]) -> bool:
        """Whether f, which returned one number for many points, returns the same number for one of them."""
        self.count += 1
        return bool(np.array_equal(np.ravel(self.f(*(x[:1].copy() for x in points))), np.ravel(value), equal_nan=True))

    def grid(self, axis: int, n: int) -> np.ndarray:
        return chebpts(n, self.domain[2 * axis : 2 * axis + 2])

    def along(self, axis: int, x: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Values (outputs, len(x), m) on m fibres with coordinates ``others`` (m, d); the coordinate along ``axis`` is not used."""
        points = [np.broadcast_to(x[:, None], (x.size, 1)) if k == axis else others[None, :, k] for k in range(self.d)]
        return self(*points)

    def random_points(self, numbers: np.random.Generator, count: int, corners: int = 0) -> np.ndarray:
        """Points (count, d): half of them uniform, half distributed like Chebyshev points, because polynomials err most near the ends. The
        last ``corners`` of them are random corners."""
        lo, hi = np.array(self.domain[::2]), np.array(self.domain[1::2])
        share = numbers.random((count, self.d))
        share[::2] = np.sin(np.pi / 2 * share[::2]) ** 2
        distinct = numbers.choice(2 ** min(self.d, 16), corners, replace=False)
        share[count - corners :, :16] = distinct[:, None] >> np.arange(min(self.d, 16)) & 1
        return np.clip(lo * (1 - share) + hi * share, lo, hi)
