"""The fallback's loops (``<method>/loops.py``), compiled at their first use. A method without any falls back to its composition."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from .._spec import Op


def reason() -> str | None:
    return None if importlib.util.find_spec("numba") else "numba is not installed"


def kernel(op: Op) -> Callable[..., Any] | None:
    found = op.implementation("loops")
    return found and _with_the_cause(found)


def _with_the_cause(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, with what a signal handler raised: Numba returns its arrays beside such an error, which Python makes a SystemError."""

    @functools.wraps(kernel)
    def run(*given: Any) -> Any:
        try:
            return kernel(*given)
        except SystemError as error:
            cause: BaseException = error
            while isinstance(cause, SystemError) and cause.__cause__:
                cause = cause.__cause__
            raise cause from None

    return run


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` with its cache where there is one that works: a folder that cannot be written, a full disk and a damaged file mean
    that the function is compiled again, and one warning.

    No licence to contract or reassociate: a loop that LLVM runs in one of two versions, by where its arrays lie, keeps its bits.
    """
    import numba

    _watch_compilations()
    try:
        compiled: Any = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError as error:  # no folder
        _warn(error)
        return numba.njit(error_model="numpy")(function)  # type: ignore[no-any-return]
    if hasattr(compiled, "_cache"):
        compiled._cache = _Cache(compiled._cache)
    return compiled  # type: ignore[no-any-return]


PATIENCE = 2.0  # seconds of compilation, all together, after which a line says what is going on
NOTICE = "quatrefoil: compiling Numba kernels, once for all later calls and processes"


@functools.cache
def _watch_compilations() -> None:
    """Print ``NOTICE`` on stderr, once a process, where our kernels take longer than ``PATIENCE`` to compile: what is cached takes none."""
    from numba.core import event

    class Watch(event.Listener):  # type: ignore[misc]
        """Numba sends both events under its compiler lock."""

        def __init__(self) -> None:
            self.depth, self.left, self.began = 0, PATIENCE, 0.0
            self.timer: threading.Timer | None = None

        def on_start(self, event: Any) -> None:
            self.depth += _is_ours(event)
            if self.depth == 1 and self.timer is None and self.left > 0:
                self.began, self.timer = time.monotonic(), threading.Timer(self.left, self.say)
                self.timer.daemon = True
                with contextlib.suppress(RuntimeError):  # there may be no more threads, as at the interpreter's end
                    self.timer.start()

        def on_end(self, event: Any) -> None:
            self.depth -= _is_ours(event)
            if self.depth == 0 and self.timer is not None:
                self.timer.cancel()
                self.timer, self.left = None, self.left - (time.monotonic() - self.began)

        def say(self) -> None:
            self.left = 0.0
            print(NOTICE, file=sys.stderr, flush=True)

    event.register("numba:compile", Watch())


def _is_ours(event: Any) -> bool:
    return str(event.data["dispatcher"].py_func.__module__).startswith("quatrefoil")


class _Cache:
    """A function's cache, none of whose errors is the caller's."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        try:
            return self._cache.load_overload(signature, target)
        except Exception as error:
            _warn(error)
            with contextlib.suppress(OSError):
                self._cache.flush()  # so that a damaged index is written anew
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            self._cache.save_overload(signature, data)
        except OSError as error:
            _warn(error)


_has_warned = False


def _warn(error: Exception) -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warnings.warn(
            f"quatrefoil compiles its Numba kernels without a cache, at every start: {type(error).__name__}: {error}\n"
            "NUMBA_CACHE_DIR may name a folder that can be read and written.",
            RuntimeWarning,
            stacklevel=3,
        )
