"""``quatrefoil bench compare A.json B.json``: list the rows that became slower between two files by more than the spread of the runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[str, str, str, int]  # family, problem, size, and an index among rows for which these are equal


class Incomparable(ValueError):
    """Why two files cannot be compared."""


@dataclass(frozen=True)
class Times:
    """Our time relative to ``reference``, and the quartiles of the runs, if the file contains them."""

    reference: str  # a peer, or seconds
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """One row in both files."""

    key: Key
    before: Times
    after: Times

    @property
    def factor(self) -> float:
        return self.after.value / self.before.value

    def is_slower(self, margin: float) -> bool:
        return self.factor > 1 + margin and self.after.low > self.before.high

    def is_faster(self, margin: float) -> bool:
        return self.factor < 1 / (1 + margin) and self.after.high < self.before.low


def read(file: Path) -> Row:
    """The results of one run of ``quatrefoil bench --json``."""
    try:
        results = json.loads(file.read_text())
    except OSError as failure:
        raise Incomparable(f"{file}: {failure.strerror}") from failure
    except ValueError as failure:
        raise Incomparable(f"{file}: not valid JSON: {failure}") from failure
    parts = [results.get(name) for name in ("rows", "machine", "config")] if isinstance(results, dict) else [None] * 3
    if isinstance(parts[0], list) and any("kind" in row for row in parts[0]):
        raise Incomparable(f"{file}: contains GPU times, but only CPU times can be compared")
    if [type(part) for part in parts] != [list, dict, dict] or not all(map(_is_row, parts[0] or [])):
        raise Incomparable(f"{file}: not a file written by `quatrefoil bench --json`")
    return dict(results)


def _is_row(row: Any) -> bool:
    names = {"family", "problem", "size", "seconds", "peers"}
    return isinstance(row, dict) and names <= set(row) and isinstance(row["seconds"], float) and row["seconds"] > 0


def _by_key(rows: list[Row]) -> dict[Key, Row]:
    keyed: dict[Key, Row] = {}
    for row in rows:
        count = 0
        while (key := (row["family"], row["problem"], row["size"], count)) in keyed:
            count += 1
        keyed[key] = row
    return keyed


def _own(row: Row) -> Times:
    low, high = row.get("quartiles") or (row["seconds"],) * 2
    return Times("seconds", row["seconds"], min(low, row["seconds"]), max(high, row["seconds"]))


def _against(row: Row, name: str) -> Times:
    """Our time relative to a peer's, with the quartiles of the ratio per round: both calls in a round run under the same load."""
    peer = row["peers"][name]
    low, high = peer.get("ratio_quartiles") or (peer["ratio"],) * 2
    return Times(name, 1 / peer["ratio"], 1 / max(high, peer["ratio"]), 1 / min(low, peer["ratio"]))


def change(key: Key, a: Row, b: Row, same_processor: bool) -> Change | None:
    """The change relative to a peer that both rows have: the peer with the smallest change, because a peer that became faster, for example
    in a new version, is not our regression. Without a common peer, the change in seconds, if both rows are from the same processor."""
    shared = [n for n, p in a["peers"].items() if "ratio" in p and "ratio" in b["peers"].get(n, {})]
    if shared:
        return min((Change(key, _against(a, n), _against(b, n)) for n in shared), key=lambda c: max(c.factor, 1 / c.factor))
    return Change(key, _own(a), _own(b)) if same_processor else None


def differences(a: Row, b: Row) -> Iterator[str]:
    """Other differences between the runs: the machine, the build, packages."""
    machines, configs = (a["machine"], b["machine"]), (a["config"], b["config"])
    packages = (a["config"].get("packages", {}), b["config"].get("packages", {}))
    compared = [(machines, name) for name in ("processor", "processors")] + [(configs, name) for name in ("version", "backend", "isa")]
    for tables, name in compared + [(packages, name) for name in {**packages[0], **packages[1]}]:
        before, after = (table.get(name) for table in tables)
        if before != after:
            yield f"{name}: {before or 'none'} -> {after or 'none'}"


def _head(name: str, file: Path, results: Row) -> str:
    machine, config = results["machine"], results["config"]
    load = "" if machine.get("load") is None else f", load {machine['load']:g}"
    build = f"quatrefoil {config.get('version')}, {config.get('backend')}, {config.get('isa')}"
    return f"{name}  {file}: {machine.get('date')}, {machine.get('processor')}{load}; {build}"


def main(first: Path, second: Path, *, margin: float) -> int:
    """Print the comparison. Return 1 with a regression, 2 if there is nothing to compare, otherwise 0."""
    try:
        a, b = read(first), read(second)
        lines, slower = _table(a, b, margin)
    except Incomparable as why:
        print(f"bench compare: {why}", file=sys.stderr)
        return 2
    print(_head("A", first, a), _head("B", second, b), sep="\n")
    print("\n".join(f"differs: {line}" for line in differences(a, b)) or "same processor, build and packages")
    if not all("quartiles" in row for row in a["rows"] + b["rows"]):
        print("some rows have no quartiles, so only the margin decides")
    print(f"our time relative to a peer's; SLOWER or faster: changed by more than {margin:.0%}, and the quartiles do not overlap\n")
    print("\n".join(lines))
    return 1 if slower else 0


def _table(a: Row, b: Row, margin: float) -> tuple[list[str], int]:
    before, after = _by_key(a["rows"]), _by_key(b["rows"])
    same = a["machine"].get("processor") == b["machine"].get("processor")
    shared = {key: change(key, row, after[key], same) for key, row in before.items() if key in after}
    if not shared:
        raise Incomparable("the files have no row in common")
    changes = [c for c in shared.values() if c]
    if not changes:
        raise Incomparable("the processors differ, and no row has the same peer in both files")
    lines = [_line(c, margin) for c in changes]
    lines += [f"no common peer, different processor: {_name(key)}" for key, c in shared.items() if not c]
    lines += [f"only in A: {_name(key)}" for key in before if key not in after]
    lines += [f"only in B: {_name(key)}" for key in after if key not in before]
    slower, faster = sum(c.is_slower(margin) for c in changes), sum(c.is_faster(margin) for c in changes)
    return [*lines, f"\n{len(changes)} rows compared: {slower} slower, {faster} faster"], slower


def _name(key: Key) -> str:
    family, problem, size, count = key
    return f"{family} {problem} {size}" + (f" #{count + 1}" if count else "")


def _line(c: Change, margin: float) -> str:
    mark = "  SLOWER" if c.is_slower(margin) else "  faster" if c.is_faster(margin) else ""
    reference = "seconds" if c.before.reference == "seconds" else f"of {c.before.reference}"
    return f"{_name(c.key):58s} {c.before.value:9.3g} -> {c.after.value:<9.3g} {reference:22s} {c.factor - 1:+5.0%}{mark}"
