"""A description of this machine, and its peak rates on one thread, from which floors (lower bounds on times) are computed."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ._problem import Work

_PAGE = 4096
QUIET = 1.2  # maximum load average for results that are published


def describe_machine() -> dict[str, Any]:
    """The processor, the number of cores, the load average and the date."""
    try:
        model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        model = None
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def check_quiet(machine: dict[str, Any], force: bool) -> bool:
    """Whether results may be written: on a busy machine, only with ``force``. The file records the load."""
    if force or (machine["load"] or 0) <= QUIET:
        return True
    print(
        f"the load is {machine['load']}, more than {QUIET}: --json needs an idle machine; --force writes the results anyway",
        file=sys.stderr,
    )
    return False


def result_file(file: Path, machine: dict[str, Any], prefix: str = "") -> Path:
    """The file itself; for a folder, a new file in it, named after the processor and the date: results are never overwritten."""
    if not file.is_dir():
        return file
    words = re.sub(r"\((R|TM)\)|@.*|\b(CPU|\d+-Core|Processor)\b", " ", str(machine["processor"]), flags=re.I)
    stem = "-".join([*filter(None, [prefix]), *re.findall(r"[a-z0-9]+", words.lower()), str(machine["date"])])
    count, free = 1, file / f"{stem}.json"
    while free.exists():
        count += 1
        free = file / f"{stem}-{count}.json"
    return free


def arithmetic(work: Work) -> float:
    """The time of the arithmetic in ``work``, in seconds, at the rates of a large matrix product and of NumPy's exponential."""
    return work.flops * _second_per_flop(work.dtype) + work.exps * _second_per_exp(work.dtype)


def traffic(work: Work) -> Callable[[], object]:
    """A copy that moves as many bytes as ``work``. It is timed in turn with the sides, because the state of the caches depends on the call
    before it."""
    half = max(int(work.bytes) // 2, _PAGE)
    a, b = np.ones(half, np.uint8), np.empty(half, np.uint8)
    return lambda: np.copyto(b, a)


@cache
def _second_per_flop(dtype: str) -> float:
    n = 768
    a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(dtype)
    out = np.empty_like(a)
    return _minimum(lambda: np.matmul(a, b, out=out)) / (2 * n**3)


@cache
def _second_per_exp(dtype: str) -> float:
    """NumPy's vectorised exponential, on an array that fits the processor's cache."""
    x = np.linspace(-20, 0, 2048, dtype=dtype)
    out = np.empty_like(x)
    return _minimum(lambda: np.exp(x, out=out), 200) / x.size


def _minimum(run: Callable[[], object], rounds: int = 10) -> float:
    """The minimum time, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
