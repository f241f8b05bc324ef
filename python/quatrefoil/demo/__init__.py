"""One real job in each family: a table (time, peer, ratio, error against the truth) and a picture each."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from pathlib import Path

from .. import _config
from .._spec import FAMILIES
from ._row import Row


def main(folder: Path) -> int:
    """Run every family's job, put the pictures into ``folder`` and print the table."""
    config = _config.config()
    print(f"backend: {config['backend']} ({config['reason']}); threads: {config['num_threads']}")
    missing = [name for name in ("matplotlib", "pywt") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"quatrefoil demo needs {' and '.join(missing)}: pip install 'quatrefoil[demo]'", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    def progress(text: str) -> None:
        print(f"  {time.perf_counter() - start:6.1f} s  {text}", flush=True)

    rows: list[Row] = []
    for family in FAMILIES:
        progress(f"{family} ...")
        rows += importlib.import_module(f"quatrefoil.demo.{family}").run(folder, progress)
    table(rows)
    print("pictures: " + ", ".join(str(folder / f"{family}.png") for family in FAMILIES))
    return 0


def table(rows: list[Row]) -> None:
    """One line a job, the family first."""
    heads = ("family", "problem", "size", "quatrefoil", "peer", "its time", "ratio", "error", "against")
    lines = [heads]
    for r in rows:
        ours, theirs = f"{r.seconds * 1e3:.4g} ms", f"{r.peer_seconds * 1e3:.4g} ms"
        lines.append((r.family, r.problem, r.size, ours, r.peer, theirs, f"{r.ratio:.2f}x", f"{r.error:.1e}", r.error_of))
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
