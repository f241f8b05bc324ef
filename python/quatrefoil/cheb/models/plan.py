"""Evaluation of a Chebyshev-Tucker tensor at many points to a given accuracy."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, overload

from ... import _arrays, _backends
from ..._backends import native
from ..._call import call
from ..._memo import LazyMemo
from ..._typing import Array, Backend, T
from ..domain import points_of, shaped
from ..nonuniform import CHEB_EVAL, tolerance
from ..scattered import TUCKER_EVAL

MIN_EPS = {"float32": 1e-5, "float64": 1e-11}  # below these, interpolation is slower than contraction, or its rounding errors exceed eps
# flops above which contraction is slower than interpolation with up to 8 taps, and with more; twice as many for a grid larger than CACHED
WORTH = (14e3, 33e3)
EIGHT_TAPS = 2e-7  # the error of 8 taps
CACHED = 32 << 20  # cache size in bytes
CELLS = 40  # an axis with more coefficients takes about as long as one with this many: large n use cells (README of scattered, 12)


class Plan:
    """The result of ``ChebTucker.plan``: call it with points X (P, d) for values (P,).

    Attributes
    ----------
    method : "grid" or "contraction"
        The algorithm on the native backend; other backends always contract.
    eps : float
    """

    __slots__ = ("_C", "__weakref__", "_arrays", "_domain", "_extras", "_memo", "eps", "method")

    def __init__(
        self, core: Any, factors: Sequence[Any], full: Any, domain: tuple[float, ...], eps: float, extras: tuple[Any, ...]
    ) -> None:
        """``full``: function that returns the dense coefficients."""
        if eps is None:
            raise TypeError("cheb.ChebTucker.plan: eps is None, expected a number between 0 and 1")
        self.eps = tolerance(eps, "cheb.ChebTucker.plan")
        self._arrays, self._domain, self._extras = (core, *factors), domain, extras
        self.method = "grid" if self._pays() else "contraction"
        self._C = full() if self.method == "grid" else None
        self._memo = (LazyMemo(functools.partial(_grid, self.eps), "native", 1, private=True),)

    def _pays(self) -> bool:
        core, *factors = self._arrays
        dtype = str(core.dtype).removeprefix("torch.")
        on_cpu = _arrays.device(core) == "cpu"
        if not on_cpu or len(factors) > 3 or self.eps < MIN_EPS[dtype] or native.reason() is not None:
            return False
        flops: float = 2 * math.prod(core.shape) + 2 * sum(min(int(n), CELLS) * int(r) for n, r in (U.shape for U in factors))
        grid = math.prod(2 * int(U.shape[0]) + 33 for U in factors) * (4 if dtype == "float32" else 8)
        return flops > WORTH[self.eps < EIGHT_TAPS] * (2 if grid > CACHED else 1)

    @overload
    def __call__(
        self, X: Array[T], /, *, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None
    ) -> T: ...
    @overload
    def __call__(self, *X: Any, backend: Backend | None = None, num_threads: int | None = None) -> Any: ...
    def __call__(self, *X: Any, out: Any = None, backend: Backend | None = None, num_threads: int | None = None) -> Any:
        """Return values at X to accuracy eps; arguments, errors and gradients are the same as for ``ct(X)``."""
        points, shape = points_of(X, self._arrays[0], len(self._arrays) - 1, "cheb.ChebTucker.plan")
        flat = out if out is None or len(shape) == 1 else out.reshape(-1)
        if self._C is None or (backend or _backends.chosen() or _backends.default()) != "native":
            f = call(TUCKER_EVAL, (*self._arrays, points), (self._domain,), self._extras, flat, backend, num_threads)
        else:
            f = call(CHEB_EVAL, (self._C, points), (self.eps, True, self._domain), self._memo, flat, backend, num_threads)
        return f if len(shape) == 1 else shaped(f, shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (*self._arrays, self._C, self._domain, self.eps)

    def __repr__(self) -> str:
        n = tuple(int(U.shape[0]) for U in self._arrays[1:])
        return f"Plan(n={n}, rank={tuple(map(int, self._arrays[0].shape))}, eps={self.eps:g}, method={self.method!r})"


def _unpickled(core: Any, *rest: Any) -> Plan:
    *factors, C, domain, eps = rest
    plan = Plan(core, factors, lambda: C, domain, eps, (None,))
    plan.method = "contraction" if plan._C is None else plan.method  # it was pickled without compiled kernels
    return plan


def _grid(eps: float, C: Any) -> Any:
    """The compiled kernels' grid of dense coefficients."""
    return native.core().cheb.Grid(C, eps, 0)
