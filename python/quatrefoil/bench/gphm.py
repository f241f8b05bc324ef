"""The GP-HM table: its authors' problems, with the error at the end of training and the smallest error of all checks.

    python -m quatrefoil.bench.gphm [--problems sin100x ...] [--kinds gaussian] [--optimizers adam] [--share 0.01] [--jobs 2] [--json FILE]

It takes five minutes on two idle cores, half of that time for Adam. The authors' figures are the smallest errors in their logged runs of
10^5 to 3 10^6 steps. Compare them with "best"; in practice, expect "final".
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import kron
from ._run import one_thread

KINDS = ("student_t", "gaussian")
CHECKS = 20  # checks of the error per run
Function = Callable[[Any], Any]


class Profile(NamedTuple):
    """A function of one variable and its second derivative."""

    value: Function
    second: Function

    @classmethod
    def waves(cls, *terms: tuple[float, float, str]) -> Profile:
        """A sum of terms (amplitude, angular frequency, "sin" or "cos")."""
        return cls(
            lambda x: sum(a * getattr(np, f)(w * x) for a, w, f in terms),
            lambda x: sum(-a * w * w * getattr(np, f)(w * x) for a, w, f in terms),
        )


def _modulated(w: float) -> Profile:
    """sin(6 x) cos(w x)."""
    return Profile.waves((0.5, w + 6, "sin"), (-0.5, w - 6, "sin"))


def _growing(w: float) -> Profile:
    """x sin(w x)."""
    return Profile(lambda x: x * np.sin(w * x), lambda x: 2 * w * np.cos(w * x) - w * w * x * np.sin(w * x))


def _on_a_parabola(w: float) -> Profile:
    """sin(w x) - 2 (x - 1/2)^2."""
    return Profile(lambda x: np.sin(w * x) - 2 * (x - 0.5) ** 2, lambda x: -w * w * np.sin(w * x) - 4)


class Case(NamedTuple):
    """``combine`` says how the solution is built from two axes: "sum", "product", or "travelling" for advection; "" means one axis."""

    name: str
    profile: Profile
    points: int
    freq_scale: float
    length: float
    steps: int  # Adam steps
    logged: tuple[float, float]  # the authors' smallest errors, in the order of KINDS
    combine: str = ""
    allen_cahn: bool = False
    projected: int = 100  # projection steps
    smooth: bool = False  # Adam adds a second component after two thirds of the steps

    @property
    def dims(self) -> int:
        return 2 if self.combine else 1

    def solution(self, *x: np.ndarray) -> np.ndarray:
        if self.combine == "travelling":
            return np.asarray(np.sin(x[0] - 200 * x[1]))
        values = [self.profile.value(a) for a in x]
        return np.asarray(values[0] if not self.combine else values[0] + values[1] if self.combine == "sum" else values[0] * values[1])

    def source(self, *x: np.ndarray) -> np.ndarray:
        if self.combine == "travelling":
            return np.zeros_like(x[0])
        values, seconds = [self.profile.value(a) for a in x], [self.profile.second(a) for a in x]
        total = sum(seconds) if self.combine != "product" else seconds[0] * values[1] + values[0] * seconds[1]
        u = self.solution(*x)
        return np.asarray(total + u * (u * u - 1) if self.allen_cahn else total)

    def equation(self) -> Any:
        if self.combine == "travelling":
            return kron.Advection(speed=200.0, boundary=self.solution)
        return (kron.AllenCahn if self.allen_cahn else kron.Poisson)(source=self.source, boundary=self.solution)

    def solver(self, kind: str, optimizer: str) -> Any:
        axes = [np.linspace(0, self.length, self.points)] * self.dims
        weight = 500.0 if self.combine == "travelling" else 200.0
        return kron.GPHM(self.equation(), axes, kind=kind, freq_scale=self.freq_scale, boundary_weight=weight, optimizer=optimizer)


TURN = 2 * np.pi
SCALES = Profile.waves((1, 1, "sin"), (0.1, 20, "sin"), (0.05, 100, "sin"))
CASES = (
    Case("sin100x", Profile.waves((1, 100, "sin")), 400, 20, TURN, 10_000, (6.53e-7, 3.99e-7)),
    Case("sin6x cos100x", _modulated(100), 400, 20, TURN, 10_000, (1.08e-6, 1.52e-6)),
    Case("x sin200x", _growing(200), 900, 50, TURN, 2000, (8.98e-7, 1.55e-6), projected=300),
    Case("three scales", SCALES, 900, 30, 1, 2000, (5.45e-4, 3.51e-4), smooth=True),
    Case("sin500x on a parabola", _on_a_parabola(500), 400, 100, 1, 10_000, (4.22e-4, 1.82e-3), smooth=True),
    Case("Allen-Cahn sin100x", Profile.waves((1, 100, "sin")), 400, 20, TURN, 10_000, (1.84e-6, 7.71e-7), allen_cahn=True),
    Case("Allen-Cahn sin6x cos100x", _modulated(100), 400, 20, TURN, 10_000, (8.16e-7, 9.02e-7), allen_cahn=True),
    Case("sin100x sin100y", Profile.waves((1, 100, "sin")), 400, 20, TURN, 200, (6.87e-5, 6.46e-5), "product"),
    Case("sin6x cos20x + sin6y cos20y", _modulated(20), 200, 20, TURN, 1000, (1.02e-3, 1.06e-3), "sum"),
    Case(
        "Allen-Cahn, three scales per axis", Profile.waves((1, 1, "sin"), (0.1, 20, "sin"), (1, 100, "cos")), 400, 30, 1, 200,
        (5.68e-3, 2.58e-3), "product", allen_cahn=True,
    ),
    Case("advection sin(x - 200t)", Profile.waves((1, 1, "sin")), 200, 40, 1, 1000, (1.43e-4, 1.35e-3), "travelling"),
)  # fmt: skip


def rows(cases: Sequence[Case], kinds: Sequence[str], optimizers: Sequence[str], share: float) -> Iterator[tuple[int, str, str, float]]:
    """Arguments of ``measured``: the projection before Adam, and the longest runs first."""
    requests = [(CASES.index(c), k, o, share) for o in optimizers for c in cases for k in kinds]
    yield from sorted(requests, key=lambda row: (row[2] == "adam", -(CASES[row[0]].points ** (1 + CASES[row[0]].dims))))


def measured(index: int, kind: str, optimizer: str, share: float) -> dict[str, Any]:
    """One row of the table."""
    case, restore = CASES[index], one_thread()
    try:
        steps = max(int((case.steps if optimizer == "adam" else case.projected) * share), 1)
        smooth = case.smooth and optimizer == "adam"
        first = 2 * steps // 3 if smooth else steps
        checks = {"truth": case.solution, "check_every": max(steps // CHECKS, 1)}
        begin = time.perf_counter()
        gp = case.solver(kind, optimizer).fit(first, **checks)
        if smooth:
            gp.add_smooth_component().fit(steps - first, **checks)
        seconds = time.perf_counter() - begin
    finally:
        restore()
    row = {"problem": case.name, "kind": kind, "optimizer": optimizer, "N": case.points, "dims": case.dims, "seconds": seconds}
    row["logged"] = case.logged[KINDS.index(kind)]
    row.update(gp.report())
    return row


HEADER = f"{'problem':32s} {'kind':10s} {'optimizer':10s} {'N':>7s} {'steps':>7s} {'final':>8s} {'best':>8s} {'logged':>8s} {'time':>8s}"


def line(row: dict[str, Any]) -> str:
    size = f"{row['N']}^{row['dims']}" if row["dims"] > 1 else str(row["N"])
    return (
        f"{row['problem']:32s} {row['kind']:10s} {row['optimizer']:10s} {size:>7s} {row['steps']:7d} {row['error']:8.1e} "
        f"{row['best_error']:8.1e} {row['logged']:8.1e} {row['seconds']:6.0f} s"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m quatrefoil.bench.gphm", description="Errors of GP-HM on its authors' problems.")
    parser.add_argument("--problems", nargs="+", metavar="TEXT", help="run only problems whose names contain one of these; default: all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--optimizers", nargs="+", choices=("adam", "projection"), default=("adam", "projection"))
    parser.add_argument("--share", type=float, default=1.0, help="fraction of the steps to run (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes, with one thread each (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    options = parser.parse_args(arguments)
    cases = [c for c in CASES if not options.problems or any(text in c.name for text in options.problems)]
    if not cases:
        parser.error(f"no such problem; available: {', '.join(c.name for c in CASES)}")
    requests, results = list(rows(cases, options.kinds, options.optimizers, options.share)), []
    print(HEADER, flush=True)
    with contextlib.ExitStack() as stack:
        run: Any = map
        if options.jobs > 1:
            run = stack.enter_context(ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"))).map
        for row in run(measured, *zip(*requests)):
            results.append(row)
            print(line(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
