"""The driver: checks every side's value against the truth, then times the sides in turn. A wrong value is never timed."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import pkgutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _config
from .._spec import FAMILIES
from ._machine import about, arithmetic, named, traffic
from ._plot import plot
from ._problem import Problem, Run

_BUDGET = 3.0  # seconds of timing a problem
_LEAST, _MOST = 5, 101  # rounds


def nouns(family: str) -> list[str]:
    """Those that have a ``bench.py``."""
    package = importlib.import_module(f"quatrefoil.{family}")
    there = (m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg)
    return [n for n in there if importlib.util.find_spec(f"{package.__name__}.{n}.bench")]


def modules(asked: Sequence[str]) -> Iterator[str]:
    """The ``bench.py`` of every noun that has one, of families (``ssm``) or alone (``ssm.scan``)."""
    for family, _, noun in (name.partition(".") for name in asked):
        yield from (f"quatrefoil.{family}.{n}.bench" for n in ([noun] if noun else nouns(family)))


def problems(asked: Sequence[str]) -> Iterator[Problem]:
    for name in modules(asked):
        yield from importlib.import_module(name).problems()


def error(got: Any, truth: np.ndarray) -> float:
    """The largest difference, of the largest value."""
    got = np.asarray(got)
    if got.shape != truth.shape:
        return float("inf")
    scale = float(np.abs(truth).max(initial=0)) or 1.0
    return float(np.abs(got - truth).max(initial=0)) / scale


def interleave(sides: Sequence[Run]) -> list[list[float]]:
    """CPU time of rounds of one run each, garbage collection off; the order of a round turns, so that none always follows the same one."""
    times: list[list[float]] = [[] for _ in sides]
    start = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for turn in range(_MOST):
            if turn >= _LEAST and time.perf_counter() - start > _BUDGET:
                break
            for k in range(len(sides)):
                i = (k + turn) % len(sides)
                begin = time.process_time()
                sides[i]()
                times[i].append(time.process_time() - begin)
    finally:
        gc.enable()
    return times


def quartiles(values: Sequence[float]) -> list[float]:
    """Between these lies the middle half of the runs: their spread, which one slow run does not move."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def is_below_floor(row: dict[str, Any]) -> bool:
    """Faster than possible: then it is the floor that is wrong, measured while something else ran."""
    return "floor" in row and row["seconds"] < row["floor"]["seconds"]


def run(problem: Problem, peers: bool = True) -> dict[str, Any]:
    """One problem -> a row of plain values: seconds, error, and per peer seconds, error, ratio, goal; or why the peer fails."""
    truth = np.asarray(problem.truth())
    sides = {"quatrefoil": problem.ours, **(problem.peers if peers else {})}
    row: dict[str, Any] = {"family": problem.family, "problem": problem.name, "size": problem.size, "peers": {}}
    errors: dict[str, float] = {}
    for name, side in list(sides.items()):
        try:
            errors[name] = error(side(), truth)
        except (MemoryError, RuntimeError) as failure:  # one that wants more memory than there is, say
            if name == "quatrefoil":
                raise
            row["peers"][name] = {"fails": str(failure).split("\n")[0] or type(failure).__name__}
            del sides[name]
            continue
        allowed = problem.tolerance if name == "quatrefoil" else problem.peer_tolerance or problem.tolerance
        if not errors[name] <= allowed:
            raise ArithmeticError(
                f"{problem.family} {problem.name} {problem.size}: {name} is off by {errors[name]:.1e}, allowed {allowed:.1e}; nothing timed"
            )
    work = problem.work
    parts = problem.parts.values()
    times = interleave([*sides.values(), *parts, *([traffic(work)] if work else [])])
    medians = [statistics.median(t) for t in times]
    row["seconds"], row["error"] = medians[0], errors["quatrefoil"]
    row["quartiles"], row["runs"] = quartiles(times[0]), len(times[0])
    if work:
        seconds = max(arithmetic(work), medians[-1])
        row["floor"] = {"seconds": seconds, "flops": work.flops, "bytes": work.bytes, "exps": work.exps}
    if problem.rate:
        row["rate"] = {"a second": problem.rate[0] / medians[0], "of": problem.rate[1]}
    row["parts"] = dict(zip(problem.parts, medians[len(sides) :]))
    for name, seconds, theirs in zip(list(sides)[1:], medians[1:], times[1:]):
        row["peers"][name] = {"seconds": seconds, "error": errors[name], "ratio": seconds / medians[0], "goal": problem.goals.get(name)}
        row["peers"][name]["quartiles"] = quartiles(theirs)
        row["peers"][name]["ratio_quartiles"] = quartiles([b / max(a, 1e-9) for a, b in zip(times[0], theirs)])  # of every round by itself
    return row


def one_thread() -> Callable[[], None]:
    """Every library on one thread; returns what undoes it."""
    undo: list[Callable[[], None]] = []
    before = _config.get_num_threads()
    _config.set_num_threads(1)
    undo.append(lambda: _config.set_num_threads(before))
    try:
        import torch

        count = torch.get_num_threads()
        torch.set_num_threads(1)
        undo.append(lambda: torch.set_num_threads(count))
    except ImportError:
        pass
    for brings_threads in ("scipy.linalg", "pyfastkron"):  # a BLAS of its own, OpenMP: limits hold for what is loaded
        if importlib.util.find_spec(brings_threads):
            importlib.import_module(brings_threads)
    try:
        from threadpoolctl import threadpool_limits

        limits = threadpool_limits(1)
        undo.append(limits.unregister)
    except ImportError:
        print("threadpoolctl is not installed: set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 for NumPy's BLAS", file=sys.stderr)

    def restore() -> None:
        for f in reversed(undo):
            f()

    return restore


def _number(seconds: float) -> str:
    return f"{seconds * 1e6:.4g} us" if seconds < 1e-3 else f"{seconds * 1e3:.4g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _amount(count: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.3g} "


def show(row: dict[str, Any]) -> None:
    half = max(b / row["seconds"] - 1 for b in row["quartiles"]), min(b / row["seconds"] - 1 for b in row["quartiles"])
    spread = f"{half[1]:+.0%} {half[0]:+.0%} in {row['runs']} runs"
    name = f"{row['family']:5s} {row['problem']:28s} {row['size']:22s}"
    print(f"{name} {_number(row['seconds']):>10s}  error {row['error']:.0e}  {spread}", flush=True)
    if floor := row.get("floor"):
        exps = f", {_amount(floor['exps'])}exp" if floor["exps"] else ""
        name = f"floor ({_amount(floor['flops'])}flop{exps}, {_amount(floor['bytes'])}B)"
        wrong = ": faster than its floor, which was mis-measured" if is_below_floor(row) else ""
        taken = f"taken {row['seconds'] / floor['seconds']:.2f}x{wrong}"
        print(f"      {name:51s} {_number(floor['seconds']):>10s}  {'':11s}  {taken}", flush=True)
    if rate := row.get("rate"):
        print(f"      {_amount(rate['a second'])}{rate['of']} a second", flush=True)
    for name, seconds in row["parts"].items():
        print(f"      {'of it ' + name:51s} {_number(seconds):>10s}  {'':11s}  {seconds / row['seconds']:.0%}", flush=True)
    for name, peer in row["peers"].items():
        if "fails" in peer:
            print(f"      {'against ' + name:51s} {'fails':>10s}  {peer['fails']}", flush=True)
            continue
        goal = "" if peer["goal"] is None else f"  goal {peer['goal']:g}x {'met' if peer['ratio'] >= peer['goal'] else 'NOT MET'}"
        print(
            f"      {'against ' + name:51s} {_number(peer['seconds']):>10s}  error {peer['error']:.0e}  {peer['ratio']:.2f}x{goal}",
            flush=True,
        )


def main(asked: Sequence[str], *, peers: bool, json_file: Path | None, plot_file: Path | None) -> int:
    """Print the table; 1 where a goal was missed, so that a script can tell."""
    where = about()
    restore = one_thread()
    rows = []
    try:
        for problem in problems(asked or list(FAMILIES)):
            rows.append(run(problem, peers))
            show(rows[-1])
    finally:
        restore()
    if json_file:
        json_file = named(json_file, where)
        made = {"machine": where, "asked": list(asked), "config": _config.config(), "rows": rows}
        json_file.write_text(json.dumps(made, indent=1) + "\n")
        print(f"written: {json_file}")
    if plot_file:
        plot(rows, plot_file, f"{where['processor']}, {where['date']}")
    below = sum(is_below_floor(row) for row in rows)
    if below:
        print(f"{below} rows are faster than their floors, which were mis-measured: something else ran meanwhile")
    missed = [(r, n) for r in rows for n, p in r["peers"].items() if p.get("goal") is not None and p["ratio"] < p["goal"]]
    print(f"{len(rows)} problems; {len(missed)} goals not met")
    return 1 if missed else 0
