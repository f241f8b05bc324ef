"""``quatrefoil bench jobs``: complete jobs compared with other libraries, by time, memory and error.

A job is a module with ``TITLE``, ``MEASURE`` (the definition of its error), ``QUICK`` (constants for a small trial run), ``data()``,
``errors(data, answer)`` and ``SIDES``. Each run of a side has its own process, so that its peak memory can be measured.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ... import _config
from .._machine import check_quiet, describe_machine, result_file
from .._run import time_text
from ._plot import plot

JOBS = ("field", "sobol", "price", "distances", "labels", "charges", "digits", "flowstate")


@dataclass(frozen=True)
class Side:
    """One way to do a job.

    ``run(data)`` returns an answer for ``errors``. ``package`` is the module that must be installed. A run with the sizes of ``QUICK``
    comes before the timed run; it imports modules and triggers compilation. ``shares``, if present, are two fractions of the work:
    ``run(data, share)`` is timed with both, and the time of the whole job is extrapolated linearly.
    """

    run: Callable[..., Any]
    package: str = "quatrefoil"
    shares: tuple[float, float] | None = None


def job(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


distributions = cache(importlib.metadata.packages_distributions)


def version(package: str) -> str:
    """The version of the distribution that provides this module."""
    names = distributions().get(package.partition(".")[0], [package])
    return importlib.metadata.version(names[0])


def measured(name: str, side: str, threads: int, *options: str) -> dict[str, Any]:
    """One run of one side in a new process, with all libraries limited to ``threads`` threads. Options: "quick" uses small sizes; "errors"
    adds the errors, which can take longer than the run."""
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "QUATREFOIL_NUM_THREADS")
    command = [sys.executable, "-m", "quatrefoil.bench.jobs.side", name, side, str(threads), *options]
    environment = os.environ | dict.fromkeys(limits, str(threads))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"fails": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rows(name: str, threads: Sequence[int], rounds: int, quick: bool) -> list[dict[str, Any]]:
    """One row per side and number of threads; every round runs each side once."""
    sides, results = job(name).SIDES, []
    for count in threads:
        runs: dict[str, list[dict[str, Any]]] = {}
        for turn in range(rounds):
            options = ["quick"] * quick + ["errors"] * (turn == rounds - 1)
            for side, how in sides.items():
                if importlib.util.find_spec(how.package) is None:
                    print(f"      {side}: {how.package} is not installed", file=sys.stderr)
                elif "fails" not in runs.get(side, [{}])[-1]:
                    runs.setdefault(side, []).append(measured(name, side, count, *options))
        for side, each in runs.items():
            row = {"side": side, "threads": count, "package": sides[side].package, "version": version(sides[side].package)}
            row |= {"share": max(sides[side].shares or (1.0,)), "runs": len(each)}
            if "fails" in each[-1]:
                results.append(row | each[-1])
                continue
            times = sorted(run["seconds"] for run in each)
            median = {key: statistics.median(run[key] for run in each) for key in ("seconds", "cpu", "peak")}
            results.append(row | median | {"fastest": times[0], "slowest": times[-1], "errors": each[-1]["errors"]})
    return results


def show(row: dict[str, Any], ours: dict[str, Any]) -> None:
    """Print one line; the ratio is the side's time divided by ours."""
    name = f"      {row['side']:40s} {row['threads']} thread{'s' * (row['threads'] > 1):1s}"
    if "fails" in row:
        print(f"{name}  fails: {row['fails']}", flush=True)
        return
    errors = ", ".join(f"{what} {value:.2g}" for what, value in row["errors"].items())
    part = f"  (extrapolated from {row['share']:.1%} of the work)" if row["share"] < 1 else ""
    ratio = row["seconds"] / ours["seconds"]
    print(f"{name} {time_text(row['seconds']):>9s} {ratio:8.2f}x {row['peak'] / 1e6:7.0f} MB  {errors}{part}", flush=True)


def main(
    names: Sequence[str],
    *,
    rounds: int = 3,
    quick: bool = False,
    json_file: Path | None = None,
    plots: Path | None = None,
    force: bool = False,
) -> int:
    """Run jobs on one thread and on all threads, and print a table for each. Return 1 if one of our sides fails, 2 if
    the machine is too busy for a file of results."""
    machine = describe_machine()
    if json_file and not check_quiet(machine, force):
        return 2
    json_file = json_file and result_file(json_file, machine, "jobs")
    threads = sorted({1, _config.get_num_threads()})
    jobs: list[dict[str, Any]] = []
    for name in names or JOBS:
        module = job(name)
        print(f"{name}: {module.TITLE}; {module.MEASURE}", flush=True)
        results = rows(name, threads, rounds, quick)
        jobs.append({"name": name, "title": module.TITLE, "measure": module.MEASURE, "rows": results})
        for row in results:
            ours = next(r for r in results if r["side"] == "quatrefoil" and r["threads"] == row["threads"])
            show(row, ours if "seconds" in ours else row)
        if plots:
            plot(jobs[-1], plots / f"{name}.svg", f"{machine['processor']}, {machine['date']}")
        if json_file:  # after each job, because all of them take an hour
            json_file.write_text(json.dumps({"machine": machine, "config": _config.config(), "jobs": jobs}, indent=1) + "\n")
    if json_file:
        print(f"wrote {json_file}")
    return int(any("fails" in row for j in jobs for row in j["rows"] if row["side"] == "quatrefoil"))
