"""A bar chart of benchmark results: one group of bars per problem, one colour per peer, the ratio next to each bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any


def groups(rows: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, str, float]]]:
    """Problems in order, each with (size, peer, ratio) of every comparison."""
    bars_of: dict[str, list[tuple[str, str, float]]] = {}
    for row in rows:
        bars = [(row["size"], name, peer["ratio"]) for name, peer in row["peers"].items() if "ratio" in peer]
        if bars:
            bars_of.setdefault(f"{row['family']} {row['problem']}", []).extend(bars)
    return bars_of


def figure(rows: Sequence[dict[str, Any]], title: str = "") -> Any:
    """A matplotlib figure with ratios on a logarithmic axis: bars to the right of 1 are wins, bars to the left are losses."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    problems = groups(rows)
    peers = list(dict.fromkeys(peer for bars in problems.values() for _, peer, _ in bars))
    wheel = [colormaps[name](i) for name in ("tab20", "tab20b") for i in range(20)]
    colours = {peer: wheel[i % len(wheel)] for i, peer in enumerate(peers)}
    count = sum(map(len, problems.values())) + 1.5 * len(problems)
    picture = Figure(figsize=(10, 0.17 * count + 1.3), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots()
    top, ticks = 0.0, []
    for problem, bars in problems.items():
        axes.text(0, top, problem, transform=axes.get_yaxis_transform(), fontsize=8, weight="bold", va="center")
        top += 1
        last = None
        for size, peer, ratio in bars:
            axes.barh(top, ratio - 1, left=1, height=0.8, color=colours[peer])
            offset, side = (3, "left") if ratio >= 1 else (-3, "right")
            text = f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
            axes.annotate(text, (ratio, top), (offset, 0), textcoords="offset points", ha=side, va="center", fontsize=6)
            if size != last:
                ticks.append((top, shorten(size, 48, placeholder=" ...")))
            last, top = size, top + 1
        top += 0.5
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(ylim=(top, -1), xlabel="peer's time / quatrefoil's time, one thread (above 1 quatrefoil is faster)", title=title)
    axes.set_yticks([at for at, _ in ticks], [size for _, size in ticks], fontsize=6)
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter("{x:g}")
    handles, below = [Patch(color=c) for c in colours.values()], (0.5, -0.9 / picture.get_figheight())
    axes.legend(handles, list(colours), fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=below)
    return picture


def plot(rows: Sequence[dict[str, Any]], file: Path, title: str = "") -> None:
    figure(rows, title).savefig(file, dpi=130)
