"""Benchmarks on one thread, in one process: values are compared before anything is timed; times are medians of interleaved runs."""

from ._compare import main as compare
from ._run import main, methods

__all__ = ["compare", "main", "methods"]
