"""Compare random calls with the oracles: ``python -m tests.fuzz SECONDS [SEED]``. The time is divided equally among backends and
instruction sets; backend "array" runs on NumPy. The program prints the number of calls, the failures by kind, and a command that repeats
one failure of each kind.

Ops come from the table and cases from each method's cases.py. The dims of a case get random sizes (0, 1, odd, prime, long), and its arrays
random strides. The program then checks that

- the result agrees with the oracle within the tolerance of the op and the rounding of the inputs;
- its bits are the same for any number of threads, with ``out=``, and for PyTorch tensors (with a pending conjugation or
  negation, at an offset, strided);
- a NaN in one item of a batch stays there;
- the gradients agree with finite differences of the oracle;
- no input is written to.

If random sizes are not enough, ``DRAWN`` in cases.py maps an op to a function that draws cases from a generator. ``ATTACKS`` in cases.py
lists random programs for functions that are not ops. ``ATTACKS`` in attacks.py lists those for models (estimators, tensors, boundary value
problems): rescaled data, repeated fits, aliased arrays and interrupts. A program takes a random generator and raises AssertionError on
failure. ``--models`` runs only those for models.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import quatrefoil as qf
from case import LAYOUTS, all_cases, arrays_of, build, call_of, exact, flat, in_precision, op_of, oracle_of, perturbed, tolerance
from checks import check_gradient
from namespaces import composed_ops, mapped
from quatrefoil import _backends
from resize import Letters

SMALL = [1, 2, 3, 4, 5, 6, 7, 8, 9]
SOME = [11, 13, 15, 16, 17, 23, 31, 32, 33, 47, 64, 65, 67]
LONG = [101, 127, 256, 257, 1000, 1024, 1031]
MAX = 1e4  # product of the sizes of a case: oracles are slow
FEW = 2e3  # elements in a call whose gradients are checked; a check calls the oracle five times


class TooSlow(Exception):
    """The oracle takes too long."""


class Wrong(Exception):
    """A wrong result: its kind, and the details."""


def drawn_size(rng):
    kind = rng.choice(5, p=[0.06, 0.1, 0.54, 0.22, 0.08])
    return int(0 if kind == 0 else 1 if kind == 1 else rng.choice((SMALL, SOME, LONG)[kind - 2]))


def draw(rng, cases):
    """(family, case, precision, arguments, keywords) of a random call."""
    ops = sorted({(f, c.op) for f, c in cases})
    family, name = ops[rng.integers(len(ops))]
    own = [c for f, c in cases if (f, c.op) == (family, name)]
    module = importlib.import_module(f"{family}.{op_of(family, name).method}.cases")
    drawn = getattr(module, "DRAWN", {}).get(name)
    case = drawn(rng) if drawn and rng.random() < 0.7 else own[rng.integers(len(own))]
    precision = ("float32", "float64")[rng.integers(2)]
    arguments, keywords = build(family, case, rng, precision)
    try:
        letters = Letters(family, case, arguments, keywords)
        for _ in range(rng.integers(4)):  # up to three attempts to resize one to three letters
            sizes = dict(letters.sizes)
            for letter in rng.permutation(list(sizes))[: rng.integers(1, 4)]:
                sizes[str(letter)] = min(drawn_size(rng), case.longest or LONG[-1])
            if np.prod([max(n, 1) for n in sizes.values()], dtype=float) <= MAX:
                changed = letters.resized(sizes, rng)
                letters.sizes, (arguments, keywords) = sizes, (changed[0], keywords | changed[1])
                arguments = case.fitted(arguments) if case.fitted else arguments
                break
    except ValueError:  # no letters: keep the case
        pass
    return family, case, precision, *in_precision(family, case, arguments, keywords, precision)


def with_layouts(x, rng):
    """The same values in random layouts."""
    if isinstance(x, list):
        return [with_layouts(a, rng) for a in x]
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fc" or x.ndim == 0 or rng.random() < 0.4:
        return x
    return LAYOUTS[str(rng.choice(list(LAYOUTS)))](x) if x.size else x


def bits(result):
    return [a.tobytes() for a in map(np.ascontiguousarray, arrays_of(result))]


def compare(got, expected, allowed, what):
    if [g.shape for g in got] != [e.shape for e in expected]:
        raise Wrong(f"{what}: shape", f"{[g.shape for g in got]}, expected {[e.shape for e in expected]}")
    for number, (g, e, limit) in enumerate(zip(got, expected, allowed)):
        if not np.array_equal(np.isnan(g), np.isnan(e)):
            raise Wrong(f"{what}: NaN", f"result {number}: {np.isnan(g).sum()} of them, expected {np.isnan(e).sum()}")
        off = np.abs(np.nan_to_num(g) - np.nan_to_num(e)).max(initial=0)
        if not off <= limit:
            size = np.abs(e).max(initial=0)
            raise Wrong(f"{what}: value", f"result {number} is off by {off:.2e}, allowed {limit:.2e}, largest {size:.2e}")


def check_answer(family, case, precision, arguments, keywords, run, rng):
    """Compare with the oracle and return the result. Allows for the op's tolerance and the effect of rounding the inputs."""
    oracle = oracle_of(family, case)
    inputs, options = exact(arguments), {k: exact(v) for k, v in keywords.items()}
    expected = arrays_of(oracle(*inputs, **options))
    got = run(num_threads=1)
    op = op_of(family, case.op)
    eps = tolerance(op, precision) / 4
    near = arrays_of(oracle(*perturbed(inputs, rng, eps), **{k: perturbed(v, rng, eps) for k, v in options.items()}))
    allowed = [
        tolerance(op, precision) * max(np.abs(np.nan_to_num(e)).max(initial=0), np.finfo(precision).tiny)
        + 20 * np.abs(np.nan_to_num(n) - np.nan_to_num(e)).max(initial=0)
        for e, n in zip(expected, near)
    ]
    compare(arrays_of(got), expected, allowed, "answer")
    return got


def check_same_bits(got, run, arguments, keywords, rng):
    if bits(run(num_threads=int(rng.integers(2, 5)))) != bits(got):
        raise Wrong("threads: bits differ", "")
    if len(arrays_of(got)) == 1 and not isinstance(got, tuple):
        out = np.full_like(np.ascontiguousarray(got), np.nan)
        try:
            result = run(num_threads=1, out=out)
        except TypeError as error:
            if "unexpected keyword" not in str(error) and "has no argument 'out'" not in str(error):
                raise
        else:
            if result is not out or bits(out) != bits(got):
                raise Wrong("out=: bits differ", "")


def check_nan_stays(op, got, call, arguments, keywords, rng):
    """Check that a NaN in the first item of the first argument's batch does not change the other items."""
    first, output = op.inputs[0], op.outputs[0]
    leads = ("... ", "B ")
    if not (first.dims.startswith(leads) and output.dims.startswith(leads)) or "M?" in output.dims:
        return
    x, y = arguments[0], arrays_of(got)[0]
    batch = 1 if first.dims.startswith("B ") else x.ndim - len(first.dims.split()) + 1
    if batch < 1 or x.shape[0] < 2 or not x[0].size or y.shape[:1] != x.shape[:1]:
        return
    poisoned = x.copy()
    y = arrays_of(call(poisoned, *arguments[1:], **keywords))[0]  # computed again in this layout, because rounding in BLAS depends on it
    poisoned[0].flat[rng.integers(x[0].size)] = np.nan
    try:
        result = arrays_of(call(poisoned, *arguments[1:], **keywords))[0]
    except ValueError as error:
        if "nan" not in str(error):
            raise
        return  # NaN raises an error in some arguments, such as points
    if bits(result[1:]) != bits(y[1:]):
        raise Wrong("NaN: reaches other items", "")


def as_tensor(x, rng):
    from tensors import lazy, plain

    if rng.random() < 0.5:
        return lazy(x)
    return mapped(object, lambda t: t.mT.contiguous().mT if getattr(t, "ndim", 0) > 1 else t, plain(x))


def check_tensors(got, call, arguments, keywords, rng):
    from tensors import to_numpy

    result = call(*[as_tensor(a, rng) for a in arguments], **{k: as_tensor(v, rng) for k, v in keywords.items()})
    if bits(tuple(map(to_numpy, arrays_of(result)))) != bits(tuple(arrays_of(got))):
        raise Wrong("tensors: bits differ", "")


def attack(rng, cases, backend, with_torch):
    """Check one random call; return its name, or '' if it raised an expected error. Raises Wrong, or the call's unexpected exception."""
    family, case, precision, arguments, keywords = draw(rng, cases)
    op = op_of(family, case.op)
    arguments = [with_layouts(a, rng) for a in arguments]
    before = exact([a for a in flat(arguments)])
    call = call_of(family, case)

    def run(**more):
        return call(*arguments, **keywords, **more, backend=backend)

    name = f"{family}.{case}-{precision} {[np.shape(a) for a in flat(arguments)]} {keywords if len(str(keywords)) < 200 else ''}"
    try:
        try:
            call(*arguments, **keywords, backend=_backends.default() if backend == "array" else backend)  # "array" does not check values
        except (ValueError, np.linalg.LinAlgError) as error:
            if op.label.split(".")[1] in str(error) or isinstance(error, np.linalg.LinAlgError):
                return ""  # an error with a proper message
            raise
        got = check_answer(family, case, precision, arguments, keywords, run, rng)
        check_same_bits(got, run, arguments, keywords, rng)
        check_nan_stays(op, got, lambda *a, **k: call(*a, **k, backend=backend), arguments, keywords, rng)
        if with_torch and rng.random() < 0.3:
            check_tensors(got, lambda *a, **k: call(*a, **k, backend=backend), arguments, keywords, rng)
        if op.adjoint and sum(a.size for a in flat(arguments)) + sum(a.size for a in arrays_of(got)) < FEW and rng.random() < 0.5:
            try:
                check_gradient(family, case, list(arguments), dict(keywords), rng, precision, backend)
            except AssertionError as error:
                raise Wrong("gradient", str(error).strip().split("\n")[0]) from error
        for a, b in zip(before, exact([a for a in flat(arguments)])):
            if not np.array_equal(a, b, equal_nan=True):
                raise Wrong("an input was written to", "")
    except Exception as error:
        error.add_note(name)
        raise
    return name


@functools.cache
def attacks():
    """(programs for functions that are not ops, from each cases.py; programs for models, from each attacks.py)."""
    tests = Path(__file__).resolve().parent
    programs = []
    for pattern in ("*/*/cases.py", "**/attacks.py"):
        names = [".".join(path.relative_to(tests).with_suffix("").parts) for path in sorted(tests.glob(pattern))]
        programs.append([function for name in names for function in getattr(importlib.import_module(name), "ATTACKS", [])])
    return programs


def one(number, seed, cases, backend, with_torch):
    """Run call ``number``: an op or a program. Without cases, run a program for models."""
    rng = np.random.default_rng([seed, number])
    functions, models = attacks()
    own = models if cases is None or rng.random() < 0.5 else functions
    if cases is None or (backend != "array" and own and rng.random() < 0.4):
        function = own[rng.integers(len(own))]
        try:
            function(rng, backend)
        except Exception as error:
            error.add_note(function.__name__)
            raise
        return function.__name__
    return attack(rng, cases, backend, with_torch)


@contextlib.contextmanager
def no_longer_than(seconds):
    """Raise TimeoutError if a call takes longer, or ``TooSlow`` if its oracle does.

    The limit is in seconds of CPU time; a call that takes ten times as long in wall time is considered hung. A timer ticks every second and
    charges the CPU time to whichever of the two it interrupts.
    """
    used, begin, now = {True: 0.0, False: 0.0}, time.monotonic(), time.process_time()

    def tick(signum, frame):
        nonlocal now
        before, now = now, time.process_time()
        while frame and Path(frame.f_code.co_filename).name != "oracle.py":
            frame = frame.f_back
        oracle = frame is not None
        used[oracle] += now - before
        if used[oracle] > seconds or time.monotonic() - begin > 10 * seconds:
            raise TooSlow if oracle else TimeoutError(f"more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def session(seconds, seed, backend, first=None, models=False):
    """Make calls until the time is up, or only call number ``first``; return the number of failures."""
    composed = composed_ops()
    cases = None if models else [(f, c) for f, c in all_cases() if backend != "array" or op_of(f, c.op).key in composed]
    with_torch = importlib.util.find_spec("torch") is not None and backend != "array"  # torch's own functions round differently
    rejected, slow, number = 0, 0, first or 0
    failures, shown, end = Counter(), {}, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with no_longer_than(60 if backend == "numba" else 20):  # Numba needs time to compile
                rejected += not one(number, seed, cases, backend, with_torch)
        except TooSlow:
            slow += 1
        except Exception as error:
            kind = error.args[0] if isinstance(error, Wrong) else f"{type(error).__name__}"
            note = getattr(error, "__notes__", [""])[0]
            kind = f"{note.split('-')[0]} {kind}"
            failures[kind] += 1
            shown.setdefault(kind, (number, note, " ".join(map(str, error.args))[:300]))
            if first is not None:
                traceback.print_exc()
        number += 1
        if first is not None:
            break
    where = f"{backend}, {qf.config()['isa']}" if backend == "native" else backend
    calls, failed = number - (first or 0), sum(failures.values())
    print(f"{where}, seed {seed}: {calls} calls, {rejected} rejected, {slow} too slow for the oracle, {failed} failures", flush=True)
    for kind, count in failures.most_common():
        number, note, text = shown[kind]
        isa = f"QUATREFOIL_ISA={qf.config()['isa']} " if backend == "native" else ""
        command = f"{isa}python -m tests.fuzz 60 {seed} --backend {backend} --only {number}{' --models' * models}"
        print(f"  {count} x {kind}: {text}\n    {note}\n    {command}", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int, nargs="?", help="default: random")
    parser.add_argument("--backend", choices=["native", "numba", "array"], help="only this backend, on the current instruction set")
    parser.add_argument("--only", type=int, help="repeat only the call with this number")
    parser.add_argument("--models", action="store_true", help="only programs for models")
    request = parser.parse_args()
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if request.seed is None else request.seed
    if request.backend:
        sys.exit(session(request.seconds, seed, request.backend, request.only, request.models) > 0)
    isas = qf.config()["isas"] if _backends.reason("native") is None else []
    settings = [("native", {"QUATREFOIL_ISA": isa}) for isa in isas] + [("numba", {})] + [("array", {})] * (not request.models)
    command = [sys.executable, "-m", "tests.fuzz", str(request.seconds / len(settings)), str(seed)]
    command += [*["--models"] * request.models, "--backend"]
    runs = [subprocess.run([*command, backend], env=os.environ | extra, check=False).returncode for backend, extra in settings]
    sys.exit(any(runs))


if __name__ == "__main__":
    main()
