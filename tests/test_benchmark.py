"""The drivers of ``quatrefoil bench``, on one thread and on a device."""

import dataclasses
import datetime
import importlib
import itertools
import json
import time

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil import _backends, cli
from quatrefoil._spec import FAMILIES
from quatrefoil.bench import _compiled, _gpu_cases, _gpu_clock, _machine, _run, gpu
from quatrefoil.bench._problem import Problem, Work


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Sparse invariant checks")  # of peers
@pytest.mark.parametrize("module", list(_run.modules(FAMILIES)))
def test_problems(module):
    for problem in importlib.import_module(module).problems():
        assert _run.error(problem.ours(), np.asarray(problem.truth())) <= problem.tolerance, f"{problem.name} {problem.size}"


def problem(**peers):
    return Problem("kron", "numbers", "3", lambda: np.arange(3.0), peers, lambda: np.arange(3.0), 1e-12, {name: 1.0 for name in peers})


def fails():
    raise MemoryError("64 GB requested")


def test_failing_peers_are_reported(monkeypatch, capsys):
    monkeypatch.setattr(_run, "_BUDGET", 0.0)
    row = _run.run(problem(right=lambda: np.arange(3.0), large=fails))
    assert row["peers"]["large"] == {"fails": "64 GB requested"}
    assert row["peers"]["right"]["ratio"] > 0
    _run.show(row)
    assert "fails  64 GB" in capsys.readouterr().out
    monkeypatch.setattr(_run, "problems", lambda _: [problem(large=fails)])
    assert _run.main([], peers=True, json_file=None, plot_file=None) == 0


def test_wrong_values_are_not_timed():
    with pytest.raises(ArithmeticError, match="wrong has an error of"):
        _run.run(problem(wrong=lambda: np.ones(3)))
    with pytest.raises(MemoryError):
        _run.run(dataclasses.replace(problem(), ours=fails))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from PyTorch
def test_compiled_peers(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(_run, "_BUDGET", 0.0)
    x = torch.arange(3.0)
    peers = {"torch": lambda: x * 1, "torch wrong": lambda: x + torch.compiler.is_compiling(), "numpy": lambda: np.arange(3.0)}
    row = _run.run(problem(**peers), compiled=True)
    assert set(row["peers"]) == {*peers, "torch, compiled", "torch wrong, compiled"}
    assert row["peers"]["torch, compiled"]["ratio"] > 0
    assert "more than the allowed" in row["peers"]["torch wrong, compiled"]["fails"]


def test_long_compilations_are_cut_off(monkeypatch):
    monkeypatch.setattr(_compiled, "LIMIT", 0.1)
    with pytest.raises(_compiled.TooLong, match="not compiled within"), _compiled.limited():
        time.sleep(60)


def test_one_method_of_a_family(capsys):
    assert list(_run.modules(["ssm.scan"])) == ["quatrefoil.ssm.scan.bench"]
    assert set(_run.modules(["ssm"])) > {"quatrefoil.ssm.scan.bench", "quatrefoil.ssm.s4d.bench"}
    for request, words in (("ssm.init", "no benchmarks of 'init'"), ("foo", "unknown family 'foo'"), ("foo.scan", "unknown family 'foo'")):
        with pytest.raises(SystemExit):
            cli.main(["bench", request])
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["bench", "ssm.scan", "--device", "cuda"])
    assert "accepts only whole families" in capsys.readouterr().err


def test_results_name_machine_and_date(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(_run, "_BUDGET", 0.0)
    monkeypatch.setattr(_run, "problems", lambda _: [problem(right=lambda: np.arange(3.0), large=fails)])
    _run.main(["kron"], peers=True, json_file=tmp_path / "rows.json", plot_file=tmp_path / "rows.png", force=True)
    assert (tmp_path / "rows.png").stat().st_size > 10_000
    results = json.loads((tmp_path / "rows.json").read_text())
    assert results["request"] == ["kron"]
    assert [row["problem"] for row in results["rows"]] == ["numbers"]
    assert results["machine"]["processor"]
    assert datetime.date.fromisoformat(results["machine"]["date"]) >= datetime.date(2026, 1, 1)
    assert results["config"]["backend"] == qf.config()["backend"]


def test_rows_have_quartiles_of_their_runs(monkeypatch):
    monkeypatch.setattr(_run, "interleave", lambda sides: [[1.0, 2.0, 3.0, 4.0, 50.0], [2.0, 8.0, 3.0, 2.0, 100.0]])
    row = _run.run(problem(other=lambda: np.arange(3.0)))
    assert (row["seconds"], row["quartiles"], row["runs"]) == (3.0, [2.0, 4.0], 5)
    other = row["peers"]["other"]
    assert (other["seconds"], other["quartiles"], other["ratio_quartiles"]) == (3.0, [2.0, 8.0], [1.0, 2.0])


def test_times_below_the_floor_are_reported(monkeypatch, capsys):
    monkeypatch.setattr(_run, "_BUDGET", 0.0)
    monkeypatch.setattr(_machine, "_second_per_flop", lambda dtype: 1e3)
    ours = dataclasses.replace(problem(), work=Work(flops=1, bytes=8))
    row = _run.run(ours)
    _run.show(row)
    assert "faster than its floor, which must be wrong" in capsys.readouterr().out
    monkeypatch.setattr(_run, "problems", lambda _: [ours])
    assert _run.main([], peers=True, json_file=None, plot_file=None) == 0
    assert "1 rows are faster than their floors" in capsys.readouterr().out


def written(file, rows, **changed):
    """Write rows (problem, seconds, spread, {peer: (ratio, spread)}) to a results file; spreads are relative."""
    machine = {"processor": "Some CPU", "processors": 2, "load": 0.1, "date": "2030-01-02"}
    config = {"version": "1", "backend": "native", "isa": "v3", "packages": {"numpy": "2.0", "torch": None}}
    for part in (machine, config):
        part.update({k: v for k, v in changed.items() if k in part})
    written_rows = []
    for name, seconds, spread, peers in rows:
        row = {"family": "ssm", "problem": name, "size": "(8,)", "seconds": seconds, "error": 0.0, "peers": {}, "parts": {}}
        row["quartiles"] = [seconds * (1 - spread), seconds * (1 + spread)]
        for peer, (ratio, peer_spread) in peers.items():
            row["peers"][peer] = {"seconds": seconds * ratio, "error": 0.0, "ratio": ratio, "goal": None}
            row["peers"][peer]["ratio_quartiles"] = [ratio * (1 - peer_spread), ratio * (1 + peer_spread)]
        written_rows.append(row)
    file.write_text(json.dumps({"machine": machine, "request": [], "config": config, "rows": written_rows}))
    return str(file)


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ((1.0, 0.01, {"p": (2.0, 0.01)}), (5.0, 0.01, {"p": (2.0, 0.01)}), 0, "of p +0% | "),  # a slower machine
        ((1.0, 0.01, {"p": (2.0, 0.01)}), (1.0, 0.01, {"p": (1.5, 0.01)}), 1, "+33% SLOWER"),
        ((1.0, 0.01, {"p": (2.0, 0.01)}), (1.0, 0.01, {"p": (1.9, 0.01)}), 0, "+5% | "),  # within the margin
        ((1.0, 0.01, {"p": (2.0, 0.20)}), (1.0, 0.01, {"p": (1.5, 0.20)}), 0, "+33% | "),  # within the spread
        ((1.0, 0.01, {"p": (2.0, 0.01)}), (1.0, 0.01, {"p": (3.0, 0.01)}), 0, "-33% faster"),
        ((1.0, 0.01, {"p": (2, 0.01), "q": (4, 0.01)}), (1.0, 0.01, {"p": (1, 0.01), "q": (4, 0.01)}), 0, "of q"),  # p became faster
        ((1.0, 0.01, {"p": (2, 0.01), "q": (4, 0.01)}), (1.0, 0.01, {"p": (1, 0.01), "q": (3, 0.01)}), 1, "of q"),
        ((1.0, 0.01, {}), (1.5, 0.01, {}), 1, "seconds +50% SLOWER"),
        ((1.0, 0.30, {}), (1.5, 0.01, {}), 1, "SLOWER"),
        ((1.0, 0.50, {}), (1.5, 0.01, {}), 0, "+50% | "),
        ((1.0, 0.01, {"p": (2.0, 0.01)}), (1.5, 0.01, {"q": (1.0, 0.01)}), 1, "seconds"),  # no peer in both
    ],
)
def test_compare(before, after, code, words, tmp_path, capsys):
    a, b = (written(tmp_path / f"{n}.json", [("scan", *row)]) for n, row in (("a", before), ("b", after)))
    assert cli.main(["bench", "compare", a, b]) == code
    text = capsys.readouterr().out
    assert words in " | ".join(" ".join(line.split()) for line in text.splitlines())
    assert f"1 rows compared: {code} slower" in text
    assert "same processor, build and packages" in text


def test_compare_with_a_margin_and_equal_names(tmp_path, capsys):
    a = written(tmp_path / "a.json", [("scan", 1.0, 0.01, {}), ("scan", 2.0, 0.01, {})])
    b = written(tmp_path / "b.json", [("scan", 1.0, 0.01, {}), ("scan", 2.4, 0.01, {})])
    assert cli.main(["bench", "compare", a, b]) == 1
    assert "ssm scan (8,) #2" in capsys.readouterr().out
    assert cli.main(["bench", "compare", a, b, "--margin", "0.25"]) == 0
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "compare", a, b, "--margin", "-1"])


def test_files_that_cannot_be_compared(tmp_path, capsys):
    valid = written(tmp_path / "good.json", [("scan", 1.0, 0.01, {})])
    for name, text in {
        "text": "rows", "list": "[]", "rows": '{"machine": {}, "config": {}, "rows": [{"family": "ssm"}]}',
        "device": '{"machine": {}, "config": {}, "rows": [{"kind": "time"}]}',
    }.items():  # fmt: skip
        (tmp_path / f"{name}.json").write_text(text)
    written(tmp_path / "problem.json", [("kernel", 1.0, 0.01, {})])
    written(tmp_path / "machine.json", [("scan", 1.0, 0.01, {})], processor="Other CPU")
    for name, words in (
        ("none", "No such file"), ("text", "not valid JSON"), ("list", "not a file written"), ("rows", "not a file written"),
        ("device", "GPU times"), ("problem", "the files have no row in common"), ("machine", "the processors differ"),
    ):  # fmt: skip
        assert cli.main(["bench", "compare", valid, f"{tmp_path}/{name}.json"]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.parametrize("defect", ["BAD", "NOT FINITE", "BITS DIFFER"])
def test_wrong_results_of_a_device_are_not_timed(defect, monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    calls = itertools.count()
    spoilt = {
        "BAD": lambda h: h + 1e-3,
        "NOT FINITE": lambda h: h.index_fill(-1, h.new_zeros(1).long(), np.nan),
        "BITS DIFFER": lambda h: h * (1 + 2e-7 * next(calls)),
    }[defect]

    def run(size, inputs, **out):
        h = qf.ssm.linear_scan(*inputs, **out)
        return spoilt(h) if _backends.chosen() == "array" else h

    sizes = _gpu_cases.Sizes(checked=((1, 2, 3), (2, 3, 33), (1, 1, 1)), timed=(1, 1, 1), dry=(2, 3, 8))
    case = dataclasses.replace(_gpu_cases._scan(), run=run, sizes=sizes)
    monkeypatch.setattr(_gpu_clock.Machine, "ceilings", lambda self: {"copy": 1e9, "float32": 1e9})
    monkeypatch.setattr(gpu, "cases", lambda: iter([case]))
    assert gpu.main(["ssm"], dry=True, json_file=tmp_path / "rows.json") == 1
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert not any(row["ok"] for row in rows[:4])
    assert (rows[-1]["kind"], rows[-1]["why"]) == ("skipped", "its values are wrong")
    assert defect in capsys.readouterr().out


def test_no_device_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_no_device", lambda dry: "PyTorch finds no GPU")
    assert cli.main(["bench", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "bench --device cuda: PyTorch finds no GPU; nothing ran\n"
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "--dry"])
