"""The demo's table, as text with at most 100 columns, and on one page together with the pictures."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ._row import Row

COLUMNS = 100
HEADS = ("family", "problem", "ours", "peer", "its time", "ratio", "rounding", "model")
EXPLAINED = (
    "Times use all threads and include each side's preparation. The ratio is the peer's time divided by ours: above 1 we are faster.",
    "rounding: the error that floating-point arithmetic adds to the method, relative to the largest value.",
    "model: the error of the method itself, which would remain in exact arithmetic, relative to the largest value.",
)
NEXT = (
    "python -c 'import quatrefoil as qf; help(qf.conventions)' shows the conventions of all functions, help(qf.kron.GridGP) one class.",
    "docs/tutorials and examples, in the sources, contain short programs to start from.",
    "quatrefoil bench times every method against its peers on this machine.",
)
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 66rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8886; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { overflow-x: auto; }
img { width: 100%; height: auto; background: white; }
section { margin-top: 2rem; }
@media (max-width: 48rem) {
  thead { display: none; }
  tr { display: block; margin-bottom: 1rem; border-top: 2px solid; }
  td { display: flex; justify-content: space-between; gap: 1rem; text-align: right; }
  td::before { content: attr(data-head); font-weight: bold; }
}
"""


def time_of(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def cells(r: Row) -> tuple[str, ...]:
    ratio = "<0.01x" if r.ratio < 0.01 else f"{r.ratio:.2g}x" if r.ratio < 10 else f"{r.ratio:.0f}x"
    model = "none" if r.model is None else f"{r.model:.1e}"
    theirs = time_of(r.peer_seconds) + (" (estimated)" if r.estimated else "")
    return (r.family, r.problem, time_of(r.seconds), r.peer, theirs, ratio, f"{r.rounding:.1e}", model)


def notes(r: Row) -> str:
    model = f"Model: {r.model_of}."
    return " ".join(part for part in (f"{r.size}.", f"Rounding: {r.rounding_of}.", model, r.note) if part)


def text(rows: Sequence[Row]) -> str:
    lines = [HEADS, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    table += ["", *(part for line in EXPLAINED for part in textwrap.wrap(line, COLUMNS)), ""]
    for r in rows:
        table += textwrap.wrap(notes(r), COLUMNS, initial_indent=f"{r.family:6s}", subsequent_indent=" " * 6)
    return "\n".join([*table, "", "Next:", *(part for line in NEXT for part in textwrap.wrap(line, COLUMNS, subsequent_indent="  "))])


def page(rows: Sequence[Row], where: str, folder: Path) -> str:
    """A single HTML file with the pictures (<family>.png in the folder) and the programs that produced them."""
    head = "".join(f"<th>{h}</th>" for h in HEADS)
    body = "".join(f"<tr>{''.join(map(_cell, HEADS, cells(r)))}</tr>\n" for r in rows)
    families = dict.fromkeys(r.family for r in rows)
    sections = "".join(_section([r for r in rows if r.family == f], (folder / f"{f}.png").read_bytes()) for f in families)
    explained, after = ("".join(f"<li>{escape(line)}</li>" for line in lines) for lines in (EXPLAINED, NEXT))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>quatrefoil demo</title><style>{STYLE}</style></head><body>\n<h1>quatrefoil demo</h1>\n<p>{escape(where)}</p>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n<ul>{explained}</ul>\n{sections}"
        f"<h2>What to do next</h2><ul>{after}</ul>\n</body></html>\n"
    )


def _cell(head: str, text: str) -> str:
    return f'<td data-head="{head}"{"" if head in HEADS[:2] else " class=number"}>{escape(text)}</td>'


def _section(rows: Sequence[Row], picture: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    head = "".join(f"<h2>{escape(r.family)}: {escape(r.problem)}</h2><p>{escape(notes(r))}</p>" for r in rows)
    program = (Path(__file__).parent / f"{rows[0].family}.py").read_text(encoding="utf-8")
    code = f"<details><summary>The program</summary><pre>{escape(program)}</pre></details>"
    return f'<section>{head}<img alt="{escape(rows[0].problem)}" src="{source}">{code}</section>\n'
