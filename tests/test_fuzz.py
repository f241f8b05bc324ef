"""The fuzzer finds what is planted, says how to repeat it, and reaches every op of the tables."""

import time

import numpy as np
import pytest

import fuzz
import reliability
from case import all_cases
from quatrefoil import _backends
from quatrefoil._spec import FAMILIES

CASES = all_cases()
BACKEND = _backends.default()
CONVOLUTIONS = [(family, case) for family, case in CASES if case.op == "fft_conv"]


def test_every_op_is_drawn():
    ops = {(op.family, op.name) for family in FAMILIES.values() for op in family if op.primal is None}
    others = {("kron", "rmatvec"), *(("ssm", f"log_vandermonde{name}_complex") for name in ("", "_transpose"))}  # by options, dtypes
    assert ops - {(family, case.op) for family, case in CASES} - {("ssm", "broadcast_rows"), ("wos", "along")} == others


def test_sizes_are_drawn_anew():
    shapes = {np.shape(fuzz.draw(np.random.default_rng([3, i]), CONVOLUTIONS)[3][0]) for i in range(60)}
    known = {np.shape(case.make(np.random.default_rng(0))[0][0]) for _, case in CONVOLUTIONS}
    assert len(shapes - known) > 10
    assert any(0 in shape for shape in shapes)


def planted(kernel, fault):
    def run(u, k, D, k_reverse, y, num_threads):
        kernel(u, k, D, k_reverse, y, num_threads)
        if y.size > 8:
            fault(y, u, num_threads)

    return run


def loses_the_end(y, u, num_threads):
    y[..., -1] = 0


def counts_threads(y, u, num_threads):
    y.flat[0] = np.nextafter(y.flat[0], np.inf) if num_threads > 1 else y.flat[0]


def spreads_nan(y, u, num_threads):
    y[...] += 0 * u.sum()


def writes_to_an_input(y, u, num_threads):
    if u.flags.owndata and u.flags.writeable:
        u.flat[0] = 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (loses_the_end, "answer: value"),
        (counts_threads, "threads: other bits"),
        (spreads_nan, "NaN: reaches other items"),
        (writes_to_an_input, "an input was written to"),
    ],
    ids=lambda x: x.__name__ if callable(x) else "",
)
@pytest.mark.slow
def test_what_is_planted_is_found(fault, kind, monkeypatch):
    backend = getattr(_backends, BACKEND)
    find = backend.kernel
    op = FAMILIES["ssm"].fft_conv
    monkeypatch.setattr(backend, "kernel", lambda o: planted(find(o), fault) if o is op else find(o))
    op.plans.clear()
    found = set()
    try:
        for number in range(60):
            try:
                fuzz.attack(np.random.default_rng([5, number]), CONVOLUTIONS, BACKEND, with_torch=False)
            except fuzz.Wrong as wrong:
                found.add(wrong.args[0])
    finally:
        op.plans.clear()
    assert kind in found


def test_a_session_names_the_call_that_repeats(monkeypatch, capsys):
    def one(number, *rest):
        if number == 3:
            raise fuzz.Wrong("answer: value", "off")
        time.sleep(0.01)
        return "a name"

    monkeypatch.setattr(fuzz, "one", one)
    assert fuzz.session(0.5, 7, BACKEND) == 1
    assert f"python -m tests.fuzz 60 7 --backend {BACKEND} --only 3" in capsys.readouterr().out
    assert fuzz.session(60, 7, BACKEND, 3) == 1
    assert fuzz.session(60, 7, BACKEND, 4) == 0


def test_models_have_programs():
    functions, models = fuzz.attacks()
    assert {f.__module__.partition(".")[0] for f in functions} == {"ssm", "kron", "cheb", "wos"}
    assert {f.__module__ for f in models} >= {"kron.attacks", "kron.gphm.attacks", "kron.slimkl.attacks", "cheb.attacks", "wos.attacks"}


def test_the_page_names_what_there_is():
    found = reliability.promises()
    assert len(found) >= 10
    missing = [file for _, files in found for file in files if not (reliability.ROOT / file).is_file()]
    assert not missing


def test_the_page_of_promises_counts_tests():
    counts = reliability.counts_of("tests/test_dims.py")
    assert list(counts) == ["tests/test_dims.py"]
    assert counts["tests/test_dims.py"] >= 6
