"""The drivers of ``quatrefoil bench``, on one thread and on a device."""

import dataclasses
import datetime
import json

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil import _backends, cli
from quatrefoil.bench import _gpu_cases, _gpu_clock, _run, gpu
from quatrefoil.bench._problem import Problem


def problem(**peers):
    return Problem("kron", "numbers", "3", lambda: np.arange(3.0), peers, lambda: np.arange(3.0), 1e-12, {name: 1.0 for name in peers})


def fails():
    raise MemoryError("64 GB, you asked for")


def test_a_peer_that_fails_is_said_to(monkeypatch, capsys):
    monkeypatch.setattr(_run, "_BUDGET", 0.0)
    row = _run.run(problem(right=lambda: np.arange(3.0), large=fails))
    assert row["peers"]["large"] == {"fails": "64 GB, you asked for"}
    assert row["peers"]["right"]["ratio"] > 0
    _run.show(row)
    assert "fails  64 GB" in capsys.readouterr().out
    monkeypatch.setattr(_run, "problems", lambda _: [problem(large=fails)])
    assert _run.main([], peers=True, json_file=None, plot_file=None) == 0


def test_wrong_values_are_not_timed():
    with pytest.raises(ArithmeticError, match="wrong is off by"):
        _run.run(problem(wrong=lambda: np.ones(3)))
    ours = problem()
    ours = Problem(ours.family, ours.name, ours.size, fails, {}, ours.truth, ours.tolerance, {})
    with pytest.raises(MemoryError):
        _run.run(ours)


def test_one_folder_of_a_family_may_be_asked_for(capsys):
    assert list(_run.modules(["ssm.scan"])) == ["quatrefoil.ssm.scan._bench"]
    assert set(_run.modules(["ssm"])) > {"quatrefoil.ssm.scan._bench", "quatrefoil.ssm.s4d._bench"}
    for asked, words in (("ssm.init", "no benchmarks of 'init'"), ("foo", "unknown family 'foo'"), ("foo.scan", "unknown family 'foo'")):
        with pytest.raises(SystemExit):
            cli.main(["bench", asked])
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["bench", "ssm.scan", "--device", "cuda"])
    assert "takes whole families" in capsys.readouterr().err


def test_rows_are_written_with_where_and_when(monkeypatch, tmp_path):
    monkeypatch.setattr(_run, "_BUDGET", 0.0)
    monkeypatch.setattr(_run, "problems", lambda _: [problem()])
    assert _run.main(["kron"], peers=True, json_file=tmp_path / "rows.json", plot_file=None) == 0
    made = json.loads((tmp_path / "rows.json").read_text())
    assert made["asked"] == ["kron"]
    assert [row["problem"] for row in made["rows"]] == ["numbers"]
    assert made["machine"]["processor"]
    assert datetime.date.fromisoformat(made["machine"]["date"]) >= datetime.date(2026, 1, 1)
    assert made["config"]["backend"] == qf.config()["backend"]


# ---------------------------------------------------------------- on a device, which the host stands in for


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """A dry run of one case, scans whose result goes through a function: its exit code and its rows."""
    pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    monkeypatch.setattr(_gpu_clock.Machine, "ceilings", lambda self: {"copy": 1e9, "float32": 1e9})

    def run(spoilt=lambda h, there: h, **changed):
        def call(size, given, **out):
            return spoilt(qf.ssm.linear_scan(*given, **out), _backends.chosen() == "array")

        case = dataclasses.replace(_gpu_cases._scan(), run=call, tried=((1, 2, 3), (2, 3, 33), (1, 1, 1)), dry=(2, 3, 8), **changed)
        monkeypatch.setattr(gpu, "cases", lambda: iter([case]))
        code = gpu.main(["ssm"], dry=True, json_file=tmp_path / "rows.json")
        return code, json.loads((tmp_path / "rows.json").read_text())["rows"]

    return run


def fails_there(size, given):
    raise RuntimeError("no such card\nand more")


@pytest.mark.torch
def test_a_device_is_checked_and_timed(bench, capsys):
    code, rows = bench(peers={"right": lambda size, given: qf.ssm.linear_scan(*given, backend="native"), "fails": fails_there})
    assert code == 0
    assert [row["kind"] for row in rows] == ["check"] * 4 + ["time"]
    assert {row["backend"] for row in rows} == {"array"}
    assert all(row["ok"] for row in rows[:4])
    assert rows[-1]["peers"]["right"]["ratio"] > 0
    assert rows[-1]["peers"]["fails"] == {"fails": "RuntimeError: no such card"}
    assert rows[-1]["least"] <= rows[-1]["seconds"] <= rows[-1]["most"]
    assert rows[-1]["floor"]["bound"] == "bytes"
    assert rows[-1]["taken"] == rows[-1]["seconds"] / (3 * 4 * 48 / 1e9)
    assert "fails  RuntimeError: no such card" in capsys.readouterr().out


@pytest.mark.torch
@pytest.mark.parametrize("what", ["off", "unwritten", "other bits"])
def test_wrong_numbers_of_a_device_are_not_timed(what, bench, capsys):
    calls = iter(range(1000))

    def spoilt(h, there):
        if not there:
            return h
        return (
            h + 1e-3
            if what == "off"
            else h * (1 + 2e-7 * next(calls))
            if what == "other bits"
            else h.index_fill(-1, h.new_zeros(1).long(), np.nan)
        )

    code, rows = bench(spoilt)
    assert code == 1
    assert not any(row["ok"] for row in rows[:4])
    assert (rows[-1]["kind"], rows[-1]["why"]) == ("skipped", "its numbers are wrong")
    assert {"off": "BAD", "unwritten": "NOT FINITE", "other bits": "OTHER BITS"}[what] in capsys.readouterr().out


@pytest.mark.torch
def test_peers_with_wrong_numbers_are_not_timed(bench):
    code, rows = bench(peers={"wrong": lambda size, given: given[1]})
    assert code == 0
    assert "relative error" in rows[-1]["peers"]["wrong"]["fails"]


@pytest.mark.torch
def test_what_time_does_not_suffice_for_is_said(bench, monkeypatch):
    monkeypatch.setattr(gpu, "BUDGET", 0.0)
    code, rows = bench()
    assert code == 0
    assert {(row["kind"], row["why"]) for row in rows} == {("skipped", "out of time")}


@pytest.mark.torch
def test_calls_of_ours_that_fail_are_wrong(bench):
    def spoilt(h, there):
        raise RuntimeError("an illegal address")

    code, rows = bench(spoilt)
    assert code == 1
    assert {row["kind"] for row in rows[:4]} == {"failed"}


def test_without_a_device_nothing_passes(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_no_device", lambda dry: "PyTorch finds no GPU")
    assert cli.main(["bench", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "bench --device cuda: PyTorch finds no GPU; nothing was run\n"
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "--dry"])
