"""A plot of a job: time against error, with one marker per side and number of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot(job: dict[str, Any], file: Path, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(6.5, 3.6), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots()
    rows = [row for row in job["rows"] if "seconds" in row]
    for i, side in enumerate(dict.fromkeys(row["side"] for row in rows)):
        points = [(row["seconds"], max(next(iter(row["errors"].values())), 1e-16)) for row in rows if row["side"] == side]
        axes.loglog(*zip(*points), "o-", color=f"C{i}", label=side, markersize=8 if side == "quatrefoil" else 5)
    axes.set(xlabel="seconds, on one thread and on all", ylabel=job["measure"], title=f"{job['title']}\n{title}")
    axes.title.set_fontsize(9)
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    picture.savefig(file)
