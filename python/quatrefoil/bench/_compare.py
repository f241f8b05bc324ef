"""``quatrefoil bench compare A.json B.json``: what became slower between two files of results, beyond what the runs scatter."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[str, str, str, int]  # family, problem, size, and which of several alike


class Incomparable(ValueError):
    """Why two files cannot be compared."""


@dataclass(frozen=True)
class Times:
    """Our time in units of ``of``, and between which bounds half of the runs lie; without bounds where the file has none."""

    of: str  # a peer, or seconds
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


def read(file: Path) -> dict[str, Any]:
    """The results of one run of ``quatrefoil bench --json``."""
    try:
        found = json.loads(file.read_text())
    except OSError as failure:
        raise Incomparable(f"{file}: {failure.strerror}") from failure
    except ValueError as failure:
        raise Incomparable(f"{file}: no JSON, {failure}") from failure
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not isinstance(found.get("machine"), dict) or not isinstance(found.get("config"), dict):
        raise Incomparable(f"{file}: not what `quatrefoil bench --json` writes")
    if any("kind" in row for row in rows):
        raise Incomparable(f"{file}: times of a device; compare takes those of a CPU")
    if not all(_is_row(row) for row in rows):
        raise Incomparable(f"{file}: not what `quatrefoil bench --json` writes")
    made: dict[str, Any] = found
    return made


def _is_row(row: Any) -> bool:
    names = {"family", "problem", "size", "seconds", "peers"}
    return isinstance(row, dict) and names <= set(row) and isinstance(row["seconds"], float) and row["seconds"] > 0


def _keyed(rows: list[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    made: dict[Key, dict[str, Any]] = {}
    for row in rows:
        count = 0
        while (key := (row["family"], row["problem"], row["size"], count)) in made:
            count += 1
        made[key] = row
    return made


def _own(row: dict[str, Any]) -> Times:
    low, high = row.get("quartiles") or (row["seconds"],) * 2
    return Times("seconds", row["seconds"], min(low, row["seconds"]), max(high, row["seconds"]))


def _against(row: dict[str, Any], peer: str) -> Times:
    """Of runs in turn: the ratio of a round is that of two calls under the same load."""
    found = row["peers"][peer]
    low, high = found.get("ratio_quartiles") or (found["ratio"],) * 2
    return Times(peer, 1 / found["ratio"], 1 / max(high, found["ratio"]), 1 / min(low, found["ratio"]))


def change(key: Key, a: dict[str, Any], b: dict[str, Any], same_processor: bool) -> Change | None:
    """Against the peer in both rows that shows least of one: a peer that became faster, in a new version, say, is no regression of ours.
    Without a peer in both the seconds, where they are of one processor."""
    shared = [n for n, p in a["peers"].items() if "ratio" in p and "ratio" in b["peers"].get(n, {})]
    if shared:
        return min((Change(key, _against(a, n), _against(b, n)) for n in shared), key=lambda c: max(c.factor, 1 / c.factor))
    return Change(key, _own(a), _own(b)) if same_processor else None


def differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """What else is not the same: the machine, the build, packages."""
    machines, configs = (a["machine"], b["machine"]), (a["config"], b["config"])
    named = [(n, *(m.get(n) for m in machines)) for n in ("processor", "processors")]
    named += [(n, *(c.get(n) for c in configs)) for n in ("version", "backend", "isa")]
    packages = [c.get("packages", {}) for c in configs]
    named += [(n, *(p.get(n) for p in packages)) for n in dict.fromkeys([*packages[0], *packages[1]])]
    for name, before, after in named:
        if before != after:
            yield f"{name}: {before or 'none'} -> {after or 'none'}"


def _head(name: str, file: Path, found: dict[str, Any]) -> str:
    machine, config = found["machine"], found["config"]
    load = "" if machine.get("load") is None else f", load {machine['load']:g}"
    build = f"quatrefoil {config.get('version')}, {config.get('backend')}, {config.get('isa')}"
    return f"{name}  {file}: {machine.get('date')}, {machine.get('processor')}{load}; {build}"


def main(first: Path, second: Path, *, margin: float) -> int:
    """Print the comparison; 1 with a regression, 2 where there is nothing to compare."""
    try:
        a, b = read(first), read(second)
        lines, slower = _table(a, b, margin)
    except Incomparable as why:
        print(f"bench compare: {why}", file=sys.stderr)
        return 2
    print(_head("A", first, a), _head("B", second, b), sep="\n")
    print("\n".join(f"differs: {line}" for line in differences(a, b)) or "same processor, build and packages")
    if not all("quartiles" in row for row in a["rows"] + b["rows"]):
        print("some rows do not say how their runs scatter: of these the margin alone decides")
    print(f"our time in units of a peer's; a change is more than {margin:.0%}, and no overlap of the middle halves of the runs\n")
    print("\n".join(lines))
    return 1 if slower else 0


def _table(a: dict[str, Any], b: dict[str, Any], margin: float) -> tuple[list[str], int]:
    before, after = _keyed(a["rows"]), _keyed(b["rows"])
    shared = [key for key in before if key in after]
    if not shared:
        raise Incomparable("no row is in both files")
    same = a["machine"].get("processor") == b["machine"].get("processor")
    found = {key: change(key, before[key], after[key], same) for key in shared}
    changes = [c for c in found.values() if c]
    if not changes:
        raise Incomparable("no row of both files has a peer in common, and the processors differ")
    lines = [_line(c, margin) for c in changes]
    for text, keys in (
        ("no peer in common, other processor", [k for k, c in found.items() if not c]),
        ("only in A", [k for k in before if k not in after]),
        ("only in B", [k for k in after if k not in before]),
    ):
        lines += [f"{text}: {_name(key)}" for key in keys]
    slower, faster = sum(c.is_slower(margin) for c in changes), sum(c.is_faster(margin) for c in changes)
    lines.append(f"\n{len(changes)} rows compared: {slower} slower, {faster} faster")
    return lines, slower


def _name(key: Key) -> str:
    family, problem, size, count = key
    return f"{family} {problem} {size}" + (f" #{count + 1}" if count else "")


def _line(c: Change, margin: float) -> str:
    mark = "  SLOWER" if c.is_slower(margin) else "  faster" if c.is_faster(margin) else ""
    of = "seconds" if c.before.of == "seconds" else f"of {c.before.of}"
    return f"{_name(c.key):58s} {c.before.value:9.3g} -> {c.after.value:<9.3g} {of:22s} {c.factor - 1:+5.0%}{mark}"
