"""Checks the result of each library against a reference, then times the libraries in turn. A call with a wrong result is never timed."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .. import _config
from .._spec import FAMILIES
from . import _compiled
from ._machine import arithmetic, check_quiet, describe_machine, result_file, traffic
from ._plot import plot
from ._problem import Problem, Run

_BUDGET = 3.0  # seconds of timing per problem
_MIN_ROUNDS, _MAX_ROUNDS = 5, 101


def methods(family: str) -> list[str]:
    """The folders of a family that have a ``bench.py``."""
    package = importlib.import_module(f"quatrefoil.{family}")
    names = (m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg)
    return [n for n in names if importlib.util.find_spec(f"{package.__name__}.{n}.bench")]


def modules(request: Sequence[str]) -> Iterator[str]:
    """The ``bench.py`` of all methods of a family (``ssm``), or of one (``ssm.scan``)."""
    for family, _, method in (name.partition(".") for name in request):
        yield from (f"quatrefoil.{family}.{m}.bench" for m in ([method] if method else methods(family)))


def problems(request: Sequence[str]) -> Iterator[Problem]:
    for name in modules(request):
        yield from importlib.import_module(name).problems()


def error(value: Any, truth: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    value = np.asarray(value)
    if value.shape != truth.shape:
        return float("inf")
    scale = float(np.abs(truth).max(initial=0)) or 1.0
    return float(np.abs(value - truth).max(initial=0)) / scale


def interleave(sides: Sequence[Run]) -> list[list[float]]:
    """Time the sides in rounds, one run of each per round, without garbage collection; return the CPU times of each side. The order
    rotates, so that no side always follows the same one."""
    times: list[list[float]] = [[] for _ in sides]
    start = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for round_index in range(_MAX_ROUNDS):
            if round_index >= _MIN_ROUNDS and time.perf_counter() - start > _BUDGET:
                break
            for k in range(len(sides)):
                i = (k + round_index) % len(sides)
                begin = time.process_time()
                sides[i]()
                times[i].append(time.process_time() - begin)
    finally:
        gc.enable()
    return times


def on_all_threads(side: Run, seconds: float) -> dict[str, float] | None:
    """Our wall-clock time on all threads, the median of at least five runs; None on one core."""
    count = os.cpu_count() or 1
    if count == 1:
        return None
    restore = limit_threads(count)
    try:
        side()
        times = []
        for _ in range(max(_MIN_ROUNDS, min(_MAX_ROUNDS, int(_BUDGET / 6 / max(seconds, 1e-9))))):
            begin = time.perf_counter()
            side()
            times.append(time.perf_counter() - begin)
    finally:
        restore()
    return {"count": count, "seconds": statistics.median(times)}


def quartiles(values: Sequence[float]) -> list[float]:
    """The lower and the upper quartile: a measure of spread that one slow run does not change."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def compared(ours: Sequence[float], theirs: Sequence[float], error: float, goal: float | None = None) -> dict[str, Any]:
    """A peer's entry in a row, with the quartiles of its times and of the ratios within each round."""
    seconds, ratios = statistics.median(theirs), [b / max(a, 1e-9) for a, b in zip(ours, theirs)]
    row = {"seconds": seconds, "error": error, "ratio": seconds / statistics.median(ours), "goal": goal}
    return row | {"quartiles": quartiles(theirs), "ratio_quartiles": quartiles(ratios)}


def is_below_floor(row: dict[str, Any]) -> bool:
    """Whether a row is faster than possible. If so, its floor is wrong, because something else ran while it was measured."""
    return "floor" in row and row["seconds"] < row["floor"]["seconds"]


def run(problem: Problem, peers: bool = True, compiled: bool = False) -> dict[str, Any]:
    """One problem -> a row of plain values: seconds on one thread and on all, error, and for each peer its seconds, error, ratio and goal,
    or why it fails. ``compiled`` adds the PyTorch peers under torch.compile; they fail if it changes their values."""
    truth = np.asarray(problem.truth())
    sides = {"quatrefoil": problem.ours, **(problem.peers if peers else {})}
    by_compiler = _compiled.peers(problem.peers) if compiled else {}
    sides |= by_compiler
    row: dict[str, Any] = {"family": problem.family, "problem": problem.name, "size": problem.size, "peers": {}}
    errors: dict[str, float] = {}
    for name, side in list(sides.items()):
        try:
            with _compiled.limited() if name in by_compiler else nullcontext():
                errors[name] = error(side(), truth)
        except (MemoryError, RuntimeError) as failure:  # such as a peer that needs more memory than is available
            if name == "quatrefoil":
                raise
            row["peers"][name] = {"fails": str(failure).split("\n")[0] or type(failure).__name__}
            del sides[name]
            continue
        allowed = problem.tolerance if name == "quatrefoil" else problem.peer_tolerance or problem.tolerance
        if errors[name] <= allowed:
            continue
        wrong = f"error of {errors[name]:.1e}, more than the allowed {allowed:.1e}"
        if name not in by_compiler:
            raise ArithmeticError(f"{problem.family} {problem.name} {problem.size}: {name} has an {wrong}; nothing was timed")
        row["peers"][name] = {"fails": wrong}
        del sides[name]
    work = problem.work
    times = interleave([*sides.values(), *problem.parts.values(), *([traffic(work)] if work else [])])
    medians = [statistics.median(t) for t in times]
    row |= {"seconds": medians[0], "error": errors["quatrefoil"], "quartiles": quartiles(times[0]), "runs": len(times[0])}
    if work:
        seconds = max(arithmetic(work), medians[-1])
        row["floor"] = {"seconds": seconds, "flops": work.flops, "bytes": work.bytes, "exps": work.exps}
    if threads := on_all_threads(problem.ours, medians[0]):
        row["threads"] = threads
    if problem.rate:
        row["rate"] = {"per_second": problem.rate[0] / medians[0], "of": problem.rate[1]}
    row["parts"] = dict(zip(problem.parts, medians[len(sides) :]))
    for name, theirs in zip(list(sides)[1:], times[1:]):
        row["peers"][name] = compared(times[0], theirs, errors[name], problem.goals.get(name))
    return row


def limit_threads(count: int) -> Callable[[], None]:
    """Limit every library to this many threads; returns a function that restores the limits."""
    restore = ExitStack()
    restore.callback(_config.set_num_threads, _config.get_num_threads())
    _config.set_num_threads(count)
    if importlib.util.find_spec("torch"):
        import torch

        restore.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(count)
    # These packages bring their own BLAS or OpenMP, and limits apply only to libraries that are loaded.
    for with_threads in ("scipy.linalg", "pyfastkron"):
        if importlib.util.find_spec(with_threads):
            importlib.import_module(with_threads)
    if importlib.util.find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_limits

        restore.callback(threadpool_limits(count).unregister)
    return restore.close


def one_thread() -> Callable[[], None]:
    """Limit every library to one thread; returns a function that restores the limits."""
    if not importlib.util.find_spec("threadpoolctl"):
        print(
            "threadpoolctl is not installed; set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 to limit NumPy's BLAS to one thread",
            file=sys.stderr,
        )
    return limit_threads(1)


def time_text(seconds: float) -> str:
    return f"{seconds * 1e6:.4g} us" if seconds < 1e-3 else f"{seconds * 1e3:.4g} ms" if seconds < 1 else f"{seconds:.3g} s"


def amount(count: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.3g} "


def show(row: dict[str, Any]) -> None:
    def line(text: str, seconds: float, error: str, rest: str) -> None:
        print(f"      {text:51s} {time_text(seconds):>10s}  {error:11s}  {rest}", flush=True)

    low, high = (b / row["seconds"] - 1 for b in row["quartiles"])
    name = f"{row['family']:5s} {row['problem']:28s} {row['size']:22s}"
    spread = f"{min(low, high):+.0%} {max(low, high):+.0%} in {row['runs']} runs"
    print(f"{name} {time_text(row['seconds']):>10s}  error {row['error']:.0e}  {spread}", flush=True)
    if floor := row.get("floor"):
        exps = f", {amount(floor['exps'])}exp" if floor["exps"] else ""
        wrong = ": faster than its floor, which must be wrong" if is_below_floor(row) else ""
        text = f"floor ({amount(floor['flops'])}flop{exps}, {amount(floor['bytes'])}B)"
        line(text, floor["seconds"], "", f"time / floor {row['seconds'] / floor['seconds']:.2f}{wrong}")
    if threads := row.get("threads"):
        line(f"on {threads['count']} threads", threads["seconds"], "", f"{row['seconds'] / threads['seconds']:.2f}x")
    if rate := row.get("rate"):
        print(f"      {amount(rate['per_second'])}{rate['of']} per second", flush=True)
    for name, seconds in row["parts"].items():
        line(f"including {name}", seconds, "", f"{seconds / row['seconds']:.0%}")
    for name, peer in row["peers"].items():
        if "fails" in peer:
            print(f"      {'against ' + name:51s} {'fails':>10s}  {peer['fails']}", flush=True)
            continue
        goal = "" if peer["goal"] is None else f"  goal {peer['goal']:g}x {'met' if peer['ratio'] >= peer['goal'] else 'NOT MET'}"
        line(f"against {name}", peer["seconds"], f"error {peer['error']:.0e}", f"{peer['ratio']:.2f}x{goal}")


def main(
    request: Sequence[str],
    *,
    peers: bool,
    json_file: Path | None,
    plot_file: Path | None,
    compiled: bool = False,
    force: bool = False,
) -> int:
    """Print the table; return 1 if a goal was missed, 2 if the machine is too busy for a file of results."""
    machine = describe_machine()
    if json_file and not check_quiet(machine, force):
        return 2
    json_file = json_file and result_file(json_file, machine)
    restore, rows = one_thread(), []
    try:
        for problem in problems(request or list(FAMILIES)):
            rows.append(run(problem, peers, compiled))
            show(rows[-1])
            if json_file:  # after each problem, because all of them take half an hour
                write(rows, machine, request, json_file)
    finally:
        restore()
    return finish(rows, machine, json_file, plot_file)


def write(rows: list[dict[str, Any]], machine: dict[str, Any], request: Sequence[str], json_file: Path) -> None:
    results = {"machine": machine, "request": list(request), "config": _config.config(), "rows": rows}
    json_file.write_text(json.dumps(results, indent=1) + "\n")


def finish(rows: list[dict[str, Any]], machine: dict[str, Any], json_file: Path | None, plot_file: Path | None) -> int:
    """Plot the rows and print a summary; ``json_file`` contains them already. Return 1 if a goal was missed."""
    if json_file and rows:
        print(f"wrote {json_file}")
    if plot_file:
        plot(rows, plot_file, f"{machine['processor']}, {machine['date']}")
    if below := sum(map(is_below_floor, rows)):
        print(f"{below} rows are faster than their floors, so the floors were measured on a busy machine")
    missed = sum(p.get("goal") is not None and p["ratio"] < p["goal"] for r in rows for p in r["peers"].values())
    print(f"{len(rows)} problems; {missed} goals missed")
    return 1 if missed else 0
