"""Tables of ``quatrefoil bench --json`` and ``bench jobs --json``: one page per file of bench/results, with machine and date.

    python docs/_generate/performance.py

rewrites the README's table of jobs and kernels from the newest files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What the README's table shows: jobs of ``bench jobs``, and (problem, start of the size) of ``bench``.
JOBS = {
    "field": "Fill cloud-shaped holes in a field, with error bars",
    "price": "Price of an option in five variables, with Greeks, a million times",
    "distances": "Signed distances of a million points to 20,480 triangles",
}
KERNELS = {
    ("s4d_conv", "(8, 256, 4096)"): "`s4d_conv`, input of shape (8, 256, 4096), float32",
    ("gp_solve", "256x256 70 %"): "`gp_solve`, 256 x 256 cells, 30 % missing, float64",
    ("value and gradient", "n=65"): "`ChebTucker.value_and_grad`, 65 coefficients per axis, rank 16, 40,000 points",
    ("Laplace", "1024 segments"): "`wos.solve`, 1024 segments, 2048 points, 64 walks each",
}


def results(folder: Path) -> list[dict[str, Any]]:
    """All result files, newest first."""
    files = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return sorted(files, key=lambda result: result["machine"]["date"], reverse=True)


def alternative(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our row of a job on one thread, and that of the fastest other library whose first error is at most 1.25 times ours, or
    at most 1e-6."""
    ours = next(r for r in rows if r["side"] == "quatrefoil" and r["threads"] == 1)
    error = max(1.25 * next(iter(ours["errors"].values())), 1e-6)
    others = (r for r in rows if not r["side"].startswith("quatrefoil") and r["threads"] == 1)
    return ours, min((r for r in others if next(iter(r.get("errors", {"": float("inf")}).values())) <= error), key=lambda r: r["seconds"])


def readme_table(folder: Path) -> str:
    """A table of jobs, then kernels: their newest times, and those of the fastest library that gives the same result."""
    text = "| | compared with | its time | ours | ratio |\n|---|---|--:|--:|--:|\n"
    files, used = results(folder), []
    for name, title in JOBS.items():
        file, rows = next((f, job["rows"]) for f in files for job in f.get("jobs", []) if job["name"] == name)
        ours, theirs = alternative(rows)
        side = theirs["side"] + ", extrapolated" * (theirs["share"] < 1)
        text += _line(title, side, theirs["seconds"], ours["seconds"])
        used.append(file)
    for (problem, size), title in KERNELS.items():
        file, row = next((f, r) for f in files for r in f.get("rows", []) if r["problem"] == problem and r["size"].startswith(size))
        name, peer = min(((n, p) for n, p in row["peers"].items() if "ratio" in p), key=lambda item: item[1]["ratio"])
        text += _line(title, name, peer["seconds"], row["seconds"])
        used.append(file)
    machines = sorted({f"{f['machine']['processor']}, {f['machine']['date']}, load {f['machine']['load']:g}" for f in used})
    return f"{text}\nOne thread each; {'; '.join(machines)}.\n"


def _line(title: str, peer: str, theirs: float, ours: float) -> str:
    return f"| {title} | {peer} | {number(theirs)} | {number(ours)} | {multiple(theirs / ours)} |\n"


def with_table(readme: str, folder: Path) -> str:
    """The README with the table of the newest results."""
    return re.sub(r"(?<=<!-- measured -->\n).*?(?=<!-- end -->)", lambda _: readme_table(folder), readme, flags=re.DOTALL)


def pages(folder: Path) -> dict[str, str]:
    return {f"performance/{file.stem}.md": page(json.loads(file.read_text()), file.name) for file in sorted(folder.glob("*.json"))}


def number(seconds: float) -> str:
    """A time with its unit, joined by a non-breaking space."""
    factor, unit = (1e6, "µs") if seconds < 1e-3 else (1e3, "ms") if seconds < 1 else (1.0, "s")
    return f"{float(f'{seconds * factor:.3g}'):g}\u00a0{unit}"


def multiple(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


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
            ratio = multiple(row["seconds"] / ours[row["threads"]]) if row["threads"] in ours else ""
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
        text += f"## {family}\n\n| problem | size | time | on all threads | error | peer | its time | its error | ratio |\n"
        text += "|---|---|--:|--:|--:|---|--:|--:|--:|\n"
        text += "".join(_rows(row) for row in result["rows"] if row["family"] == family) + "\n"
    return text


def _rows(row: dict[str, Any]) -> str:
    all_threads = number(row["threads"]["seconds"]) if "threads" in row else ""
    first = [f"`{row['problem']}`", row["size"], number(row["seconds"]), all_threads, error(row["error"])]
    text = ""
    for name, peer in row["peers"].items() or {"": None}.items():
        if peer is None:
            cells = ["", "", "", ""]
        elif "fails" in peer:
            cells = [name, "fails", "", ""]
        else:
            cells = [name, number(peer["seconds"]), error(peer["error"]), multiple(peer["ratio"])]
        text += f"| {' | '.join([*first, *cells])} |\n"
        first = [""] * 5
    return text


if __name__ == "__main__":
    (ROOT / "README.md").write_text(with_table((ROOT / "README.md").read_text(), ROOT / "bench" / "results"))
