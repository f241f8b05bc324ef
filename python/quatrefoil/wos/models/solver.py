"""From a problem with points and settings to a Result."""

from __future__ import annotations

from typing import Any

from ..walk import check_pairs
from .adaptive import Rule
from .draw import Draw
from .result import Result, finish
from .run import Run
from .scaleout import check_on_host
from .settings import Settings
from .statement import Statement


def answer(
    statement: Statement, points: Any, settings: Settings, *, walks: Any, walk_offset: Any = 0, rtol: Any = None, atol: Any = None,
    max_walks: Any = None, executor: Any = None, progress: Any = None,
) -> Result[Any]:  # fmt: skip
    """Prepare, draw walks, and put the result together."""
    run = Run(statement, points, settings)
    if settings.cache is not None:
        if any(x is not None for x in (rtol, atol, executor, progress)):
            raise ValueError("solve: with a cache rtol, atol, executor and progress have no meaning yet; leave them out")
        _check_cache(run)
    first, count = settings.walks("solve", walk_offset, walks)
    rule = Rule.of("solve", rtol, atol, count, max_walks, run.prepared.dtype)
    if rule is not None:
        check_pairs("solve", settings.gradient, max_walks=rule.most)
    return finish(run, Draw.of(run, executor, progress, "solve").some([(slice(None), first, count)], rule))


def _check_cache(run: Run) -> None:
    s, p = run.statement, run.prepared
    if s._method == "stars":
        raise ValueError("solve: a cache does not go with neumann or robin: leave it out")
    if s._method == "media":
        raise ValueError("solve: a cache does not go with a diffusion, or a screening that is no number: leave it out")
    if s.exterior or s.boundary.dimension > 3:
        raise ValueError("solve: a cache is for domains inside a boundary in two or three dimensions: leave it out")
    if s.source is not None or run.settings.gradient:
        raise ValueError("solve: with a cache there is neither a source nor a gradient: u must be harmonic, or screened without a source")
    if len(p.sizes.shape) + (run.points.ndim == 1) != 1:
        raise ValueError(f"solve: with a cache there is one instance, got results of shape {p.sizes.shape}; call it for every instance")
    if any(getattr(x, "requires_grad", False) for x in (run.points, p.data[0].numbers)):
        raise NotImplementedError("solve: with a cache there is no gradient in points and data; detach them, or leave the cache out")
    check_on_host(run, "cache", "solve")
