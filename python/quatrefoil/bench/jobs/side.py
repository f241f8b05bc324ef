"""``python -m quatrefoil.bench.jobs.side JOB SIDE THREADS [quick] [errors]``: one run in this process; prints a line of JSON."""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import quatrefoil as qf

from . import job


def peak() -> int:
    """The peak memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(run: Callable[..., Any], *arguments: Any) -> tuple[Any, np.ndarray]:
    """The result of a call, with its seconds and CPU seconds."""
    clocks = time.perf_counter, time.process_time
    begin = [clock() for clock in clocks]
    answer = run(*arguments)
    return answer, np.array([clock() for clock in clocks]) - begin


def main(name: str, side: str, threads: int, *options: str) -> None:
    module = job(name)
    how, full = module.SIDES[side], {constant: getattr(module, constant) for constant in module.QUICK}
    importlib.import_module(how.package)
    qf.set_num_threads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    vars(module).update(module.QUICK)
    how.run(module.data(), *(how.shares or ())[:1])
    vars(module).update({} if "quick" in options else full)
    data = module.data()
    before = peak()
    if how.shares:
        (_, first), (answer, second) = (timed(how.run, data, share) for share in how.shares)
        less, more = how.shares
        seconds, cpu = second + np.maximum(second - first, 0) * (1 - more) / (more - less)
    else:
        answer, (seconds, cpu) = timed(how.run, data)
    result = {"seconds": seconds, "cpu": cpu, "peak": peak() - before}
    if "errors" in options:
        result["errors"] = {what: float(value) for what, value in module.errors(data, answer).items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
