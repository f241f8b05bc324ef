"""``quatrefoil bench --device cuda``: the library on the first GPU, in less than ten minutes.

First what the card does at best, then the numbers of every op against float64 on the host, last the times of those whose numbers are right:
CUDA's events, inputs in rotation, our call before the peers and after them, the order reversed each time. ``--dry`` does the same on the
host with tiny sizes, so that machines without a GPU try this text; the figures then mean nothing. Nothing here has run on a GPU yet.
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
from ._gpu_clock import Machine, Side, Times
from ._run import _amount, _number

BUDGET, SPARE, OF_A_CASE = 540.0, 30.0, 10.0  # seconds: of the run, left for what is begun last, of timing a case
DOUBLE = 1e-12  # allowed in float64, of norms
OF_PEERS = {"float32": 1e-3, "float64": 1e-9}
REFERENCE = 1 << 22  # numbers of the largest array that float64 on the host is asked for


def main(families: Sequence[str], *, dry: bool, peers: bool = True, json_file: Path | None = None) -> int:
    """0; 1 where a number is wrong or a call of ours fails; 2 where there is no GPU."""
    why = _no_device(dry)
    if why:
        print(f"bench --device cuda: {why}; nothing was run", file=sys.stderr)
        return 2
    run = Run(families or list(FAMILIES), dry, peers, json_file)
    with run.machine.torch.no_grad():
        run.all()
    wrong = sum(not row.get("ok", True) for row in run.rows)
    print(f"{len(run.rows)} rows, {sum(row['kind'] == 'skipped' for row in run.rows)} skipped, {wrong} wrong; {run.clock():.0f} s")
    return 1 if wrong else 0


def _no_device(dry: bool) -> str | None:
    if not importlib.util.find_spec("torch"):
        return "it needs PyTorch: pip install 'quatrefoil[torch]'"
    import torch

    if dry or torch.cuda.is_available():
        return None
    return "this PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no GPU, or no driver for it"


class Run:
    def __init__(self, families: Sequence[str], dry: bool, peers: bool, json_file: Path | None) -> None:
        import torch

        self.begin = time.monotonic()
        self.machine, self.peers, self.json_file = Machine(torch, dry), peers, json_file
        self.cases = [case for case in cases() if case.op.family in families]
        self.seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.about = {**self.machine.about(), "torch": torch.__version__, "seed": self.seed, "config": _config.config()}
        self.ceilings: dict[str, float] = {}
        self.rows: list[dict[str, Any]] = []

    def clock(self) -> float:
        return time.monotonic() - self.begin

    def all(self) -> None:
        print(*(f"{name}: {value}" for name, value in self.about.items() if name != "config"), sep="\n", flush=True)
        self.ceilings = self.machine.ceilings()
        print(
            "at best: " + ", ".join(f"{name} {_amount(x)}{'B' if name == 'copy' else 'flop'}/s" for name, x in self.ceilings.items()),
            flush=True,
        )
        for case in self.cases:
            for size in case.tried[: 2 if self.machine.dry else 3]:
                for precision in ("float32", "float64"):
                    self.add(case, size, precision, self.check)
        wrong = {row["op"] for row in self.rows if not row.get("ok", True)}
        for case in self.cases:
            size = case.dry if self.machine.dry else case.timed
            for precision in case.precisions:
                self.add(case, size, precision, self.refuse if case.op.key in wrong else self.time)

    def add(self, case: Case, size: Size, precision: str, make: Any) -> None:
        """One row, of whatever comes of it."""
        row = {"op": case.op.key, "size": case.named(size), "precision": precision, "card": self.about["card"]}
        try:
            row["backend"] = _backends.kernel(case.op, self.machine.backend, str(self.machine.device))[0]
            made = self.skip("out of time") if self.clock() > BUDGET - SPARE else make(case, size, precision, row["backend"])
        except NotImplementedError as error:
            made = self.skip(str(error))
        except Exception as error:  # the other rows are wanted all the same
            made = {"kind": "failed", "ok": False, "why": _words(error)}
        self.rows.append(row | made)
        show(self.rows[-1])
        if self.json_file:
            self.json_file.write_text(json.dumps({**self.about, "ceilings": self.ceilings, "rows": self.rows}, indent=1) + "\n")

    def skip(self, why: str) -> dict[str, Any]:
        return {"kind": "skipped", "why": why}

    def refuse(self, case: Case, size: Size, precision: str, backend: str) -> dict[str, Any]:
        return self.skip("its numbers are wrong")

    # ------------------------------------------------------------ numbers

    def drawn(self, case: Case, size: Size, precision: str, more: int = 0) -> list[Any]:
        return case.inputs(Draw(self.machine.torch, self.machine.device, (self.seed + more) % 2**32, precision), size)

    def check(self, case: Case, size: Size, precision: str, backend: str) -> dict[str, Any]:
        """On a side stream, in memory full of NaN, twice."""
        machine, torch = self.machine, self.machine.torch
        with machine.aside(), machine.ours():
            given = self.drawn(case, size, precision)
            result = case.run(size, given)
            shape, dtype = tuple(result.shape), result.dtype
            del result
            machine.poison(shape, dtype)
            first = case.run(size, given)
            if case.takes_out:
                again = case.run(size, given, out=torch.full(shape, math.nan, dtype=dtype, device=machine.device))
            else:
                again = case.run(size, given)
            machine.wait()
        unwritten, same = int((~first.isfinite()).sum()), bool(torch.equal(first, again))
        what, value, allowed = self.measured(case, size, given, first, precision)
        ok = not unwritten and same and value <= allowed
        return {"kind": "check", "what": what, "value": value, "allowed": allowed, "not finite": unwritten, "same bits": same, "ok": ok}

    def measured(
        self, case: Case, size: Size, given: Sequence[Any], result: Any, precision: str, allowed: float | None = None
    ) -> tuple[str, float, float]:
        """(what is measured, its value, what is allowed): the last rows against float64 on the host. A peer says what it is allowed."""
        if case.check:
            return case.check(case, size, given, result, peer=allowed is not None)
        rows = len(given[case.rows[0]])
        largest = max(result.numel(), *(given[i].numel() for i in case.rows))
        last = max(1, min(rows, REFERENCE * rows // max(largest, 1)))
        some = [(x[-last:] if i in case.rows else x).cpu() for i, x in enumerate(given)]
        with _backends.use_backend(_backends.default()):
            expected = case.run(size, [x.cdouble() if x.is_complex() else x.double() for x in some])
        off = (result[-last:].cpu().double() - expected).norm() / expected.norm()
        limit = allowed or (case.tolerance if precision == "float32" else DOUBLE)
        return "relative error", float(off), limit

    # ------------------------------------------------------------ times

    def time(self, case: Case, size: Size, precision: str, backend: str) -> dict[str, Any]:
        machine = self.machine
        first = self.drawn(case, size, precision)
        held = sum(x.nbytes for x in first)
        count = min(max(3, math.ceil(4 * machine.cache / held)), 3 if machine.dry else 64)
        sets = [first, *(self.drawn(case, size, precision, more) for more in range(1, count))]
        with machine.ours():
            sides, fails = self.sides(case, size, sets, precision, backend)
            times = machine.interleave(sides, count, OF_A_CASE)
        ours = times.pop("quatrefoil")
        again = times.pop("quatrefoil again")
        work = case.work(size, 4 if precision == "float32" else 8)
        bounds = {"bytes": work.bytes / self.ceilings["copy"], "flops": work.flops / self.ceilings[precision]}
        bound = max(bounds, key=lambda name: bounds[name])
        found: dict[str, Any] = {name: _plain(t) | {"ratio": t.median / ours.median} for name, t in times.items()}
        return {
            "kind": "time", **_plain(ours), "noise": abs(again.median / ours.median - 1), "rotated": count * held,
            "floor": {"seconds": bounds[bound], "bound": bound, "flops": work.flops, "bytes": work.bytes},
            "taken": ours.median / bounds[bound], "peers": found | {name: {"fails": why} for name, why in fails.items()},
        }  # fmt: skip

    def sides(
        self, case: Case, size: Size, sets: Sequence[Sequence[Any]], precision: str, backend: str
    ) -> tuple[dict[str, Side], dict[str, str]]:
        """Those whose numbers are right, ours first and last; and why others are not among them."""

        def ours(given: Sequence[Any]) -> Any:
            return case.run(size, given)

        def composed(given: Sequence[Any]) -> Any:
            with _backends.use_backend("array"):
                return case.run(size, given)

        what, value, allowed = self.measured(case, size, sets[0], ours(sets[0]), precision)
        if not value <= allowed:
            raise ArithmeticError(f"{what} {value:.1e}, allowed {allowed:.1e}; not timed")
        sides: dict[str, Side] = {"quatrefoil": _over(ours, sets)}
        fails: dict[str, str] = {}
        others: dict[str, Any] = {name: functools.partial(f, size) for name, f in case.peers.items()} if self.peers else {}
        if backend == "cuda":
            others["backend array"] = composed
        for name, peer in others.items():
            try:
                what, value, allowed = self.measured(case, size, sets[0], peer(sets[0]), precision, OF_PEERS[precision])
                if not value <= allowed:
                    raise ArithmeticError(f"{what} {value:.1e}, allowed {allowed:.1e}")
                sides[name] = _over(peer, sets)
            except Exception as error:  # whatever a peer does
                fails[name] = _words(error)
        if not self.machine.dry:
            try:
                sides["as CUDA graphs"] = self.machine.captured(ours, sets[:3])
            except Exception as error:  # what waits for the device cannot be captured
                fails["as CUDA graphs"] = _words(error)
        sides["quatrefoil again"] = _over(ours, sets)
        return sides, fails


def _over(run: Any, sets: Sequence[Sequence[Any]]) -> Side:
    return lambda i: run(sets[i % len(sets)])


def _plain(times: Times) -> dict[str, float]:
    return {"seconds": times.median, "least": times.least, "most": times.most}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def show(row: dict[str, Any]) -> None:
    """A row as lines of the table; each names the card in the JSON, of which there is one."""
    backend = row.get("backend", "-")
    head = f"{row['op']:22s} {row['size']:24s} {row['precision']} {backend:6s}"
    if row["kind"] == "check":
        bits = "" if row["same bits"] else ", OTHER BITS the second time"
        unwritten = f", {row['not finite']} NOT FINITE" if row["not finite"] else ""
        mark = "ok " if row["ok"] else "BAD"
        print(f"{head} {mark} {row['what']} {row['value']:.1e} of {row['allowed']:.1e}{unwritten}{bits}", flush=True)
    elif row["kind"] == "time":
        spread = f"[{_number(row['least'])}, {_number(row['most'])}]"
        floor = f"{row['taken']:.2f}x the floor of {row['floor']['bound']}, {_number(row['floor']['seconds'])}"
        print(f"{head} {_number(row['seconds'])} {spread}  {floor}  noise {row['noise']:.1%}", flush=True)
        for name, peer in row["peers"].items():
            said = f"fails  {peer['fails']}" if "fails" in peer else f"{_number(peer['seconds'])}  {peer['ratio']:.2f}x"
            print(f"      {'against ' + name:51s} {said}", flush=True)
    else:
        print(f"{head} {row['kind']}: {row['why']}", flush=True)
