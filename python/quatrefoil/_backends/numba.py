"""The Numba loops of the fallback (``<method>/loops.py``), compiled at first use. A method without loops uses its composition."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .._spec import Op
from .._warnings import warn


def reason() -> str | None:
    return None if importlib.util.find_spec("numba") else "numba is not installed"


def kernel(op: Op) -> Callable[..., Any] | None:
    loops = op.implementation("loops")
    return loops and _with_the_cause(loops)


def _with_the_cause(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a kernel so that an exception from a signal handler reaches the caller unchanged.

    Numba returns a result along with the exception, which Python turns into a SystemError.
    """

    @functools.wraps(kernel)
    def run(*arguments: Any) -> Any:
        try:
            return kernel(*arguments)
        except SystemError as error:
            cause: BaseException = error
            while isinstance(cause, SystemError) and cause.__cause__:
                cause = cause.__cause__
            raise cause from None

    return run


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` with a cache if possible. If the cache cannot be used (read-only folder, full disk, damaged file), the function is
    compiled again, with one warning.

    It does not use fastmath: LLVM chooses between two versions of a loop by the addresses of its arrays, and both must give the same bits.
    """
    import numba

    _watch_compilations()
    try:
        compiled: Any = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError as error:  # no folder for the cache
        _warn(error)
        return numba.njit(error_model="numpy")(function)  # type: ignore[no-any-return]
    if hasattr(compiled, "_cache"):
        compiled._cache = _Cache(compiled._cache)
    return compiled  # type: ignore[no-any-return]


PATIENCE = 2.0  # total seconds of compilation before NOTICE is printed
NOTICE = "quatrefoil: compiling Numba kernels; the result is cached for later runs"


@functools.cache
def _watch_compilations() -> None:
    """Print ``NOTICE`` on stderr, once per process, if compiling our kernels takes longer than ``PATIENCE``."""
    from numba.core import event

    class Watch(event.Listener):  # type: ignore[misc]
        """Numba sends both events while it holds its compiler lock."""

        def __init__(self) -> None:
            self.depth, self.left, self.began = 0, PATIENCE, 0.0
            self.timer: threading.Timer | None = None

        def on_start(self, event: Any) -> None:
            self.depth += _is_ours(event)
            if self.depth == 1 and self.timer is None and self.left > 0:
                self.began, self.timer = time.monotonic(), threading.Timer(self.left, self.say)
                self.timer.daemon = True
                with contextlib.suppress(RuntimeError):  # threads cannot start while the interpreter shuts down
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
    """The cache of a function; its errors do not reach the caller."""

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
                self._cache.flush()  # so that a damaged index is rewritten
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
        warn(
            f"quatrefoil cannot cache its Numba kernels and compiles them in every process: {type(error).__name__}: {error}\n"
            "Set NUMBA_CACHE_DIR to a writeable folder."
        )
