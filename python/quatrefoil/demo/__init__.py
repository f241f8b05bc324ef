"""One real job per family: a table (time, peer, ratio, two kinds of error), a picture per job, and a page with both."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from pathlib import Path

from .. import _config
from .._spec import FAMILIES
from ..bench._machine import describe_machine
from . import _table
from ._row import Row


def main(folder: Path, *, quick: bool = False) -> int:
    """Run every family's job, write the pictures and the page to ``folder``, and print the table. ``quick`` uses smaller sizes."""
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
        rows += importlib.import_module(f"quatrefoil.demo.{family}").run(folder, progress, quick)
    progress("done")
    machine = describe_machine()
    where = (
        f"{machine['date']}, {machine['processor']}, {config['num_threads']} threads; quatrefoil {config['version']}, "
        f"{config['backend']} ({config['reason']})" + ("; --quick: small sizes" if quick else "")
    )
    (folder / "index.html").write_text(_table.page(rows, where, folder), encoding="utf-8")
    print(f"\n{_table.text(rows)}\n\nthe table and the pictures: {folder / 'index.html'}")
    return 0
