"""Benchmarks: every side on one thread, in one process, values compared before anything is timed, medians of interleaved runs."""

from .. import FAMILIES
from ._run import main, run

__all__ = ["FAMILIES", "main", "run"]
