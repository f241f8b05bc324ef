"""A user's function as ``from_function`` calls it: arrays in, checked values out, counted."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arguments
from ..transform import chebpts

MAX_VALUES = 2**25  # of f
BLOCK = 2**20  # values of f at a time


def arguments_of(f: Callable[..., Any]) -> int:
    """The number of required positional arguments of f; 1 if it has no signature."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # NumPy's own functions
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(p.kind in positional and p.default is p.empty for p in parameters))


class NotResolved(Exception):
    """f needs too many values or points."""


class Function:
    """A user's f with checked results: finite real values (outputs, ...), their number, and the largest |f| of each output so far."""

    def __init__(self, f: Callable[..., Any], domain: Sequence[float], label: str) -> None:
        self.f, self.domain, self.label = f, domain, label
        self.d = len(domain) // 2
        self.count = 0
        self.most: int | None = MAX_VALUES
        self.outputs: int | None = None  # set by the first call if f returns a tuple
        self.largest = np.zeros(0)

    def __call__(self, *points: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(*(x.shape for x in points))
        if self.most is not None and self.count + math.prod(shape) > self.most:
            raise NotResolved(f"more than {self.most} values would be needed")
        whole = [np.broadcast_to(x, shape) for x in points]
        step = max(1, BLOCK // max(1, math.prod(shape[1:])))
        blocks = [self._values([x[i : i + step].reshape(-1) for x in whole]) for i in range(0, max(1, shape[0]), step)]
        values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        return values.reshape(len(values), *shape)

    def _values(self, points: list[np.ndarray]) -> np.ndarray:
        """(outputs, P) at d arrays (P,)."""
        P = points[0].size
        self.count += P
        is_first = not self.largest.size
        try:
            result = self.f(*(np.array(x) for x in points))  # copies, which f may overwrite
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            hint = self._hint(points) if is_first and P else None
            if hint is None:
                raise
            raise TypeError(f"{self.label}: f failed on arrays: {error}; {hint}") from error
        several = isinstance(result, (tuple, list))
        parts = list(result) if several else [result]
        if is_first:
            if 1 < P == len(parts) and all(np.ndim(part) == 0 for part in parts):
                kind = type(result).__name__
                raise TypeError(f"{self.label}: f returned a {kind} of {P} numbers, expected an array; give np.array of it")
            self.outputs = len(parts) if several else None
            self.largest = np.zeros(len(parts))
        if not parts or len(parts) != self.largest.size:
            raise ValueError(f"{self.label}: f returned {len(parts)} outputs, expected {self.largest.size or 'at least 1'}")
        checked = [self._checked(part, points, f"[{i}]" if several else "", is_first) for i, part in enumerate(parts)]
        if P:
            self.largest = np.maximum(self.largest, [max(values.max(), -values.min()) for values in checked])
        return np.stack(checked)

    def _hint(self, points: Sequence[np.ndarray]) -> str | None:
        """The cure if f is a function of numbers, of one point or of an array of points instead of d arrays of coordinates."""
        names = ", ".join("xyz"[: self.d] if self.d <= 3 else [f"x{k}" for k in range(self.d)])
        X = np.stack([x[[0, -1, 0]] for x in points], axis=-1)  # three points
        tried: list[tuple[tuple[Any, ...], tuple[int, ...], str]] = [
            ((X.copy(),), (3,), f"f takes points (P, {self.d}): give lambda {names}: f(np.stack([{names}], -1))"),
            (tuple(X[0].tolist()), (), "f takes numbers: give np.vectorize(f)"),
            ((X[0].copy(),), (), f"f takes one point: give np.vectorize(lambda {names}: f(np.array([{names}])))"),
        ]
        if (torch := sys.modules.get("torch")) is not None:
            tensors = tuple(torch.from_numpy(X.T.copy()))
            tried.append((tensors, (3,), f"f takes tensors: give lambda {names}: f(*map(torch.from_numpy, ({names},)))"))
        for arguments, shape, hint in tried:
            try:
                if np.shape(self.f(*arguments)) == shape:
                    return hint
            except Exception:
                continue
        return None

    @property
    def scale(self) -> np.ndarray:
        """The divisor of each output."""
        return np.where(self.largest > 0, self.largest, 1.0)

    def _checked(self, part: Any, points: Sequence[np.ndarray], name: str, is_first: bool) -> np.ndarray:
        _arguments.refuse_masked(part, self.label, "what f returned")
        try:
            values = np.asarray(part)
        except (TypeError, ValueError, RuntimeError) as reason:  # lists of unequal lengths, tensors with a gradient or on a device
            raise TypeError(f"{self.label}: f returned {type(part).__name__}, which is no array of numbers: {reason}") from None
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{self.label}: f returned {values.dtype} values, expected real numbers")
        shape = points[0].shape
        if values.shape != shape and (values.ndim or (is_first and not name and not self._is_constant(values, points))):
            hint = (self._hint(points) if is_first else None) or "several outputs are a tuple"
            what = f"shape {values.shape}" if values.ndim else "one number that is not the same at each of them"
            raise ValueError(f"{self.label}: f returned {what} for {shape[0]} points, expected shape {shape}; {hint}")
        full = np.array(np.broadcast_to(values, shape), np.float64)  # f may overwrite its result later
        bad = ~np.isfinite(full)
        if bad.any():
            at = int(bad.argmax())
            where = ", ".join(f"{x[at]:.17g}" for x in points)
            raise ValueError(f"{self.label}: f({where}){name} is {full[at]}, expected a finite number")
        return full

    def _is_constant(self, value: np.ndarray, points: Sequence[np.ndarray]) -> bool:
        """Whether f, which returned one number for many points, returns the same for one of them."""
        self.count += 1
        return bool(np.array_equal(np.ravel(self.f(*(x[:1].copy() for x in points))), np.ravel(value), equal_nan=True))

    def grid(self, axis: int, n: int) -> np.ndarray:
        return chebpts(n, self.domain[2 * axis : 2 * axis + 2])

    def along(self, axis: int, x: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Values (outputs, len(x), m) on m fibres with coordinates ``others`` (m, d), of which that of the axis is not used."""
        points = [np.broadcast_to(x[:, None], (x.size, 1)) if k == axis else others[None, :, k] for k in range(self.d)]
        return self(*points)

    def random_points(self, numbers: np.random.Generator, count: int, corners: int = 0) -> np.ndarray:
        """Points (count, d): half of them uniform, half as dense as Chebyshev points, but the last ones random ``corners``, because
        polynomials err most near the ends."""
        lo, hi = np.array(self.domain[::2]), np.array(self.domain[1::2])
        share = numbers.random((count, self.d))
        share[::2] = np.sin(np.pi / 2 * share[::2]) ** 2
        distinct = numbers.choice(2 ** min(self.d, 16), corners, replace=False)
        share[count - corners :, :16] = distinct[:, None] >> np.arange(min(self.d, 16)) & 1
        X: np.ndarray = np.clip(lo * (1 - share) + hi * share, lo, hi)
        return X
