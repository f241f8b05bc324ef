"""What this machine is, and what it does at best on one thread: the units of a floor."""

from __future__ import annotations

import datetime
import os
import platform
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from ._problem import Work

_PAGE = 4096


def about() -> dict[str, str | int | float | None]:
    """The processor, how many of it, how busy they are with other things, the date."""
    try:
        named = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        named = None
    return {
        "processor": named[1] if named else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def named(file: Path, where: dict[str, str | int | float | None]) -> Path:
    """A file as it is; in a folder one by the processor and the date that is not there yet: results are added, never written over."""
    if not file.is_dir():
        return file
    words = re.sub(r"\((R|TM)\)|@.*|\b(CPU|\d+-Core|Processor)\b", " ", str(where["processor"]), flags=re.I)
    stem = "-".join([*re.findall(r"[a-z0-9]+", words.lower()), str(where["date"])])
    count, free = 1, file / f"{stem}.json"
    while free.exists():
        count += 1
        free = file / f"{stem}-{count}.json"
    return free


def arithmetic(work: Work) -> float:
    """Seconds that its arithmetic takes at the rate of a large matrix product and of NumPy's exponential."""
    return work.flops * _second_per_flop(work.dtype) + work.exps * _second_per_exp(work.dtype)


def traffic(work: Work) -> Callable[[], object]:
    """A copy that reads and writes as many bytes: timed among the sides, because what lies in a cache depends on what ran before."""
    half = max(int(work.bytes) // 2, _PAGE)
    a, b = np.ones(half, np.uint8), np.empty(half, np.uint8)
    return lambda: np.copyto(b, a)


@cache
def _second_per_flop(dtype: str) -> float:
    n = 768
    a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(dtype)
    out = np.empty_like(a)
    return _least(lambda: np.matmul(a, b, out=out)) / (2 * n**3)


@cache
def _second_per_exp(dtype: str) -> float:
    """NumPy's vectorised exponential, out of the cache."""
    x = np.linspace(-20, 0, 2048, dtype=dtype)
    out = np.empty_like(x)
    return _least(lambda: np.exp(x, out=out), 200) / x.size


def _least(run: Callable[[], object], rounds: int = 10) -> float:
    """The least time, in seconds: a floor is what was possible once."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
