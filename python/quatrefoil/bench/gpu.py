"""``quatrefoil bench --device cuda``: the library on the first GPU, in less than eight minutes.

Measures the GPU's peak rates, compares the values of every case with float64 on the host, and times the ops whose values are correct.
Times are measured with CUDA events and rotating inputs. Our call runs before and after the peers, and the order is reversed each time.
``--dry`` does the same on the host with tiny sizes, to try the program without a GPU; its times mean nothing. Not yet run on a GPU.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _backends, _config
from .._spec import FAMILIES
from ._gpu_case import Case, Draw, Size
from ._gpu_cases import cases
from ._gpu_clock import Machine, Side
from ._run import amount, time_text

BUDGET, SPARE, CASE_BUDGET = 420.0, 30.0, 10.0  # seconds: for the run, reserved for the last row, for timing one case
DOUBLE_TOLERANCE = 1e-12  # relative to the norm
PEER_TOLERANCE = {"float32": 1e-3, "float64": 1e-9}
REFERENCE = 1 << 22  # elements of the largest array that the host computes in float64


def main(families: Sequence[str], *, dry: bool, peers: bool = True, json_file: Path | None = None) -> int:
    """Return 0; 1 if a value is wrong or one of our calls fails; 2 without a GPU."""
    why = _no_device(dry)
    if why:
        print(f"bench --device cuda: {why}; nothing ran", file=sys.stderr)
        return 2
    run = Run(families or list(FAMILIES), dry, peers, json_file)
    with run.machine.torch.no_grad():
        run.all()
    wrong = sum(not row.get("ok", True) for row in run.rows)
    print(f"{len(run.rows)} rows, {sum(row['kind'] == 'skipped' for row in run.rows)} skipped, {wrong} wrong; {run.clock():.0f} s")
    return 1 if wrong else 0


def _no_device(dry: bool) -> str | None:
    if not importlib.util.find_spec("torch"):
        return "PyTorch is not installed: pip install 'quatrefoil[torch]'"
    import torch

    if dry or torch.cuda.is_available():
        return None
    return "this PyTorch was built without CUDA" if torch.version.cuda is None else "PyTorch finds no GPU or no driver"


class Run:
    def __init__(self, families: Sequence[str], dry: bool, peers: bool, json_file: Path | None) -> None:
        import torch

        self.begin = time.monotonic()
        self.machine, self.peers, self.json_file = Machine(torch, dry), peers, json_file
        self.cases = [case for case in cases() if case.op.family in families]
        self.seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.about = {**self.machine.description(), "torch": torch.__version__, "seed": self.seed, "config": _config.config()}
        self.ceilings: dict[str, float] = {}
        self.rows: list[dict[str, Any]] = []

    def clock(self) -> float:
        return time.monotonic() - self.begin

    def all(self) -> None:
        print(*(f"{name}: {value}" for name, value in self.about.items() if name != "config"), sep="\n", flush=True)
        self.ceilings = self.machine.ceilings()
        print(
            "peak: " + ", ".join(f"{name} {amount(x)}{'B' if name == 'copy' else 'flop'}/s" for name, x in self.ceilings.items()),
            flush=True,
        )
        for case in self.cases:
            for size in case.sizes.checked[: 2 if self.machine.dry else 3]:
                for precision in ("float32", "float64"):
                    self.add(case, size, precision, self.check)
        wrong = {row["op"] for row in self.rows if not row.get("ok", True)}
        for case in self.cases:
            size = case.sizes.dry if self.machine.dry else case.sizes.timed
            for precision in case.precisions:
                self.add(case, size, precision, self.skip_wrong if case.op.key in wrong else self.time)

    def add(self, case: Case, size: Size, precision: str, make: Any) -> None:
        """Add one row, whether it is measured, skipped or fails."""
        row = {"op": case.op.key, "size": case.named(size), "precision": precision, "card": self.about["card"]}
        try:
            row["backend"] = _backends.kernel(case.op, self.machine.backend, str(self.machine.device))[0]
            result = self.skip("out of time") if self.clock() > BUDGET - SPARE else make(case, size, precision, row["backend"])
        except NotImplementedError as error:
            result = self.skip(str(error))
        except Exception as error:  # continue with the other rows
            result = {"kind": "failed", "ok": False, "why": _first_line(error)}
        self.rows.append(row | result)
        show(self.rows[-1])
        if self.json_file:
            self.json_file.write_text(json.dumps({**self.about, "ceilings": self.ceilings, "rows": self.rows}, indent=1) + "\n")

    def skip(self, why: str) -> dict[str, Any]:
        return {"kind": "skipped", "why": why}

    def skip_wrong(self, case: Case, size: Size, precision: str, backend: str) -> dict[str, Any]:
        return self.skip("its values are wrong")

    # ------------------------------------------------------------ values

    def inputs(self, case: Case, size: Size, precision: str, index: int = 0) -> list[Any]:
        """One set of random inputs; each index gives a different set."""
        return case.inputs(Draw(self.machine.torch, self.machine.device, (self.seed + index) % 2**32, precision), size)

    def check(self, case: Case, size: Size, precision: str, backend: str) -> dict[str, Any]:
        """Compare the values of two runs on a side stream, in memory filled with NaN."""
        machine, torch = self.machine, self.machine.torch
        with machine.side_stream(), machine.using_backend():
            inputs = self.inputs(case, size, precision)
            result = case.run(size, inputs)
            shape, dtype = tuple(result.shape), result.dtype
            del result
            machine.poison(shape, dtype)
            first = case.run(size, inputs)
            if case.takes_out:
                second = case.run(size, inputs, out=torch.full(shape, math.nan, dtype=dtype, device=machine.device))
            else:
                second = case.run(size, inputs)
            machine.wait()
        unwritten, same = int((~first.isfinite()).sum()), bool(torch.equal(first, second))
        what, value, allowed = self.measured(case, size, inputs, first, precision)
        ok = not unwritten and same and value <= allowed
        return {"kind": "check", "what": what, "value": value, "allowed": allowed, "not finite": unwritten, "same bits": same, "ok": ok}

    def measured(
        self, case: Case, size: Size, inputs: Sequence[Any], result: Any, precision: str, allowed: float | None = None
    ) -> tuple[str, float, float]:
        """Compare the last rows of a result with float64 on the host. Returns the name of the error measure, its value and its limit;
        ``allowed`` is the limit for a peer."""
        if case.check:
            return case.check(case, size, inputs, result, peer=allowed is not None)
        rows = len(inputs[case.rows[0]])
        largest = max(result.numel(), *(inputs[i].numel() for i in case.rows))
        last = max(1, min(rows, REFERENCE * rows // max(largest, 1)))
        last_inputs = [(x[-last:] if i in case.rows else x).cpu() for i, x in enumerate(inputs)]
        with _backends.use_backend(_backends.default()):
            expected = case.run(size, [x.cdouble() if x.is_complex() else x.double() for x in last_inputs])
        error = (result[-last:].cpu().double() - expected).norm() / expected.norm()
        limit = allowed or (case.tolerance if precision == "float32" else DOUBLE_TOLERANCE)
        return "relative error", float(error), limit

    # ------------------------------------------------------------ times

    def time(self, case: Case, size: Size, precision: str, backend: str) -> dict[str, Any]:
        machine = self.machine
        first = self.inputs(case, size, precision)
        size_of_set = sum(x.nbytes for x in first)
        count = min(max(3, math.ceil(4 * machine.cache / size_of_set)), 3 if machine.dry else 64)
        sets = [first, *(self.inputs(case, size, precision, index) for index in range(1, count))]
        with machine.using_backend():
            sides, fails = self.sides(case, size, sets, precision, backend)
            times = machine.interleave(sides, count, CASE_BUDGET)
        ours = times.pop("quatrefoil")
        repeated = times.pop("quatrefoil again")
        work = case.work(size, 4 if precision == "float32" else 8)
        bounds = {"bytes": work.bytes / self.ceilings["copy"], "flops": work.flops / self.ceilings[precision]}
        bound = max(bounds, key=lambda name: bounds[name])
        compared: dict[str, Any] = {name: t | {"ratio": t["seconds"] / ours["seconds"]} for name, t in times.items()}
        return {
            "kind": "time", **ours, "noise": abs(repeated["seconds"] / ours["seconds"] - 1), "rotated": count * size_of_set,
            "floor": {"seconds": bounds[bound], "bound": bound, "flops": work.flops, "bytes": work.bytes},
            "taken": ours["seconds"] / bounds[bound], "peers": compared | {name: {"fails": why} for name, why in fails.items()},
        }  # fmt: skip

    def sides(
        self, case: Case, size: Size, sets: Sequence[Sequence[Any]], precision: str, backend: str
    ) -> tuple[dict[str, Side], dict[str, str]]:
        """The sides whose values are correct, ours first and last, and the errors of the others."""

        def ours(inputs: Sequence[Any]) -> Any:
            return case.run(size, inputs)

        def composed(inputs: Sequence[Any]) -> Any:
            with _backends.use_backend("array"):
                return case.run(size, inputs)

        candidates: dict[str, Any] = {"quatrefoil": ours}
        if self.peers:
            candidates |= {name: functools.partial(f, size) for name, f in case.peers.items()}
        if backend == "cuda":
            candidates["backend array"] = composed
        sides: dict[str, Side] = {}
        fails: dict[str, str] = {}
        for name, run in candidates.items():
            try:
                limit = None if run is ours else PEER_TOLERANCE[precision]
                what, value, allowed = self.measured(case, size, sets[0], run(sets[0]), precision, limit)
                if not value <= allowed:
                    raise ArithmeticError(f"{what} {value:.1e}, allowed {allowed:.1e}; not timed")
                sides[name] = _cycling(run, sets)
            except Exception as error:
                if run is ours:
                    raise
                fails[name] = _first_line(error)
        if not self.machine.dry:
            try:
                sides["as CUDA graphs"] = self.machine.captured(ours, sets[:3])
            except Exception as error:  # a call that waits for the device cannot be captured
                fails["as CUDA graphs"] = _first_line(error)
        sides["quatrefoil again"] = _cycling(ours, sets)
        return sides, fails


def _cycling(run: Any, sets: Sequence[Sequence[Any]]) -> Side:
    return lambda i: run(sets[i % len(sets)])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def show(row: dict[str, Any]) -> None:
    backend = row.get("backend", "-")
    head = f"{row['op']:22s} {row['size']:24s} {row['precision']} {backend:6s}"
    if row["kind"] == "check":
        bits = "" if row["same bits"] else ", BITS DIFFER in the second run"
        unwritten = f", {row['not finite']} NOT FINITE" if row["not finite"] else ""
        mark = "ok " if row["ok"] else "BAD"
        print(f"{head} {mark} {row['what']} {row['value']:.1e} of {row['allowed']:.1e}{unwritten}{bits}", flush=True)
    elif row["kind"] == "time":
        spread = f"[{time_text(row['least'])}, {time_text(row['most'])}]"
        floor = f"{row['taken']:.2f}x the floor of {row['floor']['bound']}, {time_text(row['floor']['seconds'])}"
        print(f"{head} {time_text(row['seconds'])} {spread}  {floor}  noise {row['noise']:.1%}", flush=True)
        for name, peer in row["peers"].items():
            text = f"fails  {peer['fails']}" if "fails" in peer else f"{time_text(peer['seconds'])}  {peer['ratio']:.2f}x"
            print(f"      {'against ' + name:51s} {text}", flush=True)
    else:
        print(f"{head} {row['kind']}: {row['why']}", flush=True)
