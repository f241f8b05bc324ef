"""Benchmarks: every side on one thread, in one process, values compared before anything is timed, medians of interleaved runs."""

from ._compare import main as compare
from ._run import main, methods, run

__all__ = ["compare", "main", "methods", "run"]
