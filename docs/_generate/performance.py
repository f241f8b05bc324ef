"""Tables of ``quatrefoil bench --json`` and ``bench jobs --json``: one page per file of bench/results, with machine and date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def pages(folder: Path) -> dict[str, str]:
    return {f"performance/{file.stem}.md": page(json.loads(file.read_text()), file.name) for file in sorted(folder.glob("*.json"))}


def number(seconds: float) -> str:
    """A time with its unit, joined by a non-breaking space."""
    return f"{seconds * 1e6:.3g}\u00a0µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g}\u00a0ms" if seconds < 1 else f"{seconds:.3g}\u00a0s"


def error(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-").replace("-", "\u2011") if value else "0"


def heading(result: dict[str, Any], what: str) -> str:
    machine, config = result["machine"], result["config"]
    load = f", load {machine['load']:g}" if machine["load"] else ""
    packages = ", ".join(f"{p} {v}" for p, v in config["packages"].items() if v)
    return (
        f"# {what}{machine['processor']}, {machine['date']}\n\n{machine['processors']} processors{load}; quatrefoil {config['version']}, "
        f"{config['backend']} kernels for {config['isa']}; {packages}.\n\n"
    )


def jobs_page(result: dict[str, Any], name: str) -> str:
    text = heading(result, "Jobs: ") + f"From `bench/results/{name}`. A ratio is the other's time divided by ours.\n\n"
    for job in result["jobs"]:
        text += f"## {job['title']}\n\nThe first error is the {job['measure']}.\n\n"
        text += "| | threads | time | memory | errors | ratio |\n|---|--:|--:|--:|---|--:|\n"
        ours = {row["threads"]: row["seconds"] for row in job["rows"] if row["side"] == "quatrefoil" and "seconds" in row}
        for row in job["rows"]:
            side = row["side"] if row["package"] in ("quatrefoil", row["side"]) else f"{row['side']} ({row['package']} {row['version']})"
            if "fails" in row:
                text += f"| {side} | {row['threads']} | fails | | {row['fails']} | |\n"
                continue
            share = f", extrapolated from {row['share']:.1%}" if row["share"] < 1 else ""
            errors = ", ".join(f"{what} {value:.2g}" for what, value in row["errors"].items())
            ratio = f"{row['seconds'] / ours[row['threads']]:.2g}" if row["threads"] in ours else ""
            text += (
                f"| {side} | {row['threads']} | {number(row['seconds'])}{share} | {row['peak'] / 1e6:.0f}\u00a0MB | {errors} | {ratio} |\n"
            )
        text += "\n"
    return text


def page(result: dict[str, Any], name: str) -> str:
    if "jobs" in result:
        return jobs_page(result, name)
    families = list(dict.fromkeys(row["family"] for row in result["rows"]))
    ratios = [p["ratio"] for row in result["rows"] for p in row["peers"].values() if "ratio" in p]
    slower = sum(r < 1 for r in ratios)
    selection = f"Methods: {', '.join(f'`{a}`' for a in result['request'])}. " if result["request"] else ""
    threads = "" if "models" in families else "One thread on both sides. "
    text = heading(result, "") + (
        f"{threads}{selection}From `bench/results/{name}`: {len(result['rows'])} problems, {len(ratios)} comparisons; in "
        f"{slower} of them the peer is faster.\n\n"
    )
    for family in families:
        text += (
            f"## {family}\n\n| problem | size | time | error | peer | its time | its error | ratio |\n|---|---|--:|--:|---|--:|--:|--:|\n"
        )
        text += "".join(_rows(row) for row in result["rows"] if row["family"] == family) + "\n"
    return text


def _rows(row: dict[str, Any]) -> str:
    first = [f"`{row['problem']}`", row["size"], number(row["seconds"]), error(row["error"])]
    text = ""
    for name, peer in row["peers"].items() or {"": None}.items():
        if peer is None:
            cells = ["", "", "", ""]
        elif "fails" in peer:
            cells = [name, "fails", "", ""]
        else:
            cells = [
                name,
                number(peer["seconds"]),
                error(peer["error"]),
                f"{peer['ratio']:.2g}" if peer["ratio"] < 10 else f"{peer['ratio']:.0f}",
            ]
        text += f"| {' | '.join([*first, *cells])} |\n"
        first = [""] * 4
    return text
