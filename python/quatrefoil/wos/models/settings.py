"""How walks are run: what of a call is neither the problem nor its points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import _arrays, _backends
from ..._arguments import choice, drawn_seed, integer, number, threads
from ..._typing import Backend
from ..walk import MAX_STEPS, MAX_WALKS, check_pairs

HINTS = {
    **dict.fromkeys(("seed", "random_state", "key", "generator"), "use rng"),
    **dict.fromkeys(("n_walks", "num_walks", "samples", "n_samples", "nwalks"), "use walks"),
    **dict.fromkeys(("g", "boundary_values", "bc"), "use dirichlet"),
    **dict.fromkeys(("f", "rhs"), "use source"),
    **dict.fromkeys(("eps", "tol", "tolerance"), "use atol or rtol for the standard error, epsilon for the shell at the boundary"),
}


class Settings(NamedTuple):
    """Numbers that are checked; ``backend`` is None on a device for the best that it has."""

    seed: int
    epsilon: float
    relative: bool
    max_steps: int
    gradient: bool
    backend: Backend | None
    num_threads: int | None
    shared_walks: bool = False
    cache: str | None = None

    @staticmethod
    def checked(
        label: str, points: Any, rng: Any, *, epsilon: Any, relative: Any, max_steps: Any, gradient: Any, backend: Any, num_threads: Any,
        shared_walks: Any, cache: Any = None,
    ) -> Settings:  # fmt: skip
        """From a caller's arguments."""
        size, most = number(epsilon, label, "epsilon", positive=True), integer(max_steps, label, "max_steps", 1, MAX_STEPS)
        for name, given in (("gradient", gradient), ("shared_walks", shared_walks)):
            if not isinstance(given, bool):
                raise TypeError(f"{label}: {name} is {given!r}, expected True or False")
        count = None if num_threads is None else threads(num_threads, label)
        kind = choice(cache, label, "cache", (None, "harmonic"))
        where = _resolve(backend, points)
        return Settings(drawn_seed(rng, label), size, bool(relative), most, gradient, where, count, shared_walks, kind)

    @property
    def signed_seed(self) -> int:
        """The same 64 bits."""
        return self.seed - (self.seed >> 63 << 64)

    def walks(self, label: str, walk_offset: Any, walks: Any) -> tuple[int, int]:
        """The first walk, and how many, checked."""
        count = integer(walks, label, "walks", 1)
        first = integer(walk_offset, label, "walk_offset", 0)
        check_range(label, first, count)
        check_pairs(label, self.gradient, walks=count, walk_offset=first)
        return first, count


def check_range(label: str, first: int, walks: int) -> None:
    """The random words of a point are those of 2^32 walks."""
    if first + walks > MAX_WALKS:
        raise ValueError(f"{label}: walks up to {first + walks} were asked for, expected at most {MAX_WALKS} of a point")


def _resolve(backend: Backend | None, points: Any) -> Backend | None:
    """The backend that walks take, now and when they are resumed; on a device None for the best that it has."""
    name = backend or _backends.chosen()
    if points.__class__ is np.ndarray or _arrays.kind(points) is None or _arrays.on_host(points):
        name = name or _backends.default()
        _backends.check_name(name, "solve")
        if name == "cuda":
            where = "points is on the host, where backend 'cuda' does not run"
            raise TypeError(f"solve: {where}; move the arrays to a GPU, or leave the choice of a backend out")
        return name
    if name is not None:
        _backends.check_name(name, "solve")
        if name in ("native", "numba"):
            where = f"points is on {_arrays.device(points)}, where backend {name!r} does not run"
            raise TypeError(f"solve: {where}; leave the choice of a backend out, or move the arrays to the host")
    return name
