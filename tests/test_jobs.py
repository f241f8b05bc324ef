"""``quatrefoil bench jobs``: our side of every job at small sizes, and what a run writes."""

import importlib.util
import json

import numpy as np
import pytest

from quatrefoil import cli
from quatrefoil.bench import jobs
from quatrefoil.bench.jobs import side

BOUNDS = {"field": 1.0, "sobol": 0.1, "price": 1e-2, "distances": 1e-5, "labels": 0.5, "charges": 1e-4, "digits": 1.0, "flowstate": 1e-3}
NEEDS = {"labels": "skfem", "digits": "sklearn"}  # packages that compute the truth or provide the data


@pytest.fixture
def quick(monkeypatch):
    def load(name):
        module = jobs.job(name)
        for constant, value in module.QUICK.items():
            monkeypatch.setattr(module, constant, value)
        return module

    return load


@pytest.mark.slow
@pytest.mark.parametrize("name", jobs.JOBS)
def test_our_side(quick, name):
    module = quick(name)
    ours = module.SIDES["quatrefoil"]
    if missing := {p for p in (ours.package, NEEDS.get(name)) if p and importlib.util.find_spec(p) is None}:
        pytest.skip(f"needs {', '.join(missing)}")
    data = module.data()
    errors = module.errors(data, ours.run(data))
    first = next(iter(errors.values()))
    assert 0 <= first <= BOUNDS[name], errors


def test_a_run_writes_rows_and_pictures(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "jobs.json"
    assert cli.main(["bench", "jobs", "price", "--quick", "--rounds", "1", "--force", "--json", str(file), "--plots", str(tmp_path)]) == 0
    [job] = json.loads(file.read_text())["jobs"]
    ours = [row for row in job["rows"] if row["side"] == "quatrefoil"]
    assert {row["threads"] for row in ours} >= {1}
    assert all(row["seconds"] > 0 and row["peak"] >= 0 and row["errors"] for row in ours)
    assert (tmp_path / "price.svg").stat().st_size > 5000
    assert "RegularGridInterpolator" in capsys.readouterr().out


def test_a_side_that_fails_is_named(monkeypatch, capsys):
    monkeypatch.setattr(jobs, "measured", lambda *_: {"fails": "MemoryError: 40 GB"})
    assert jobs.main(["price"], rounds=2) == 1
    assert "fails: MemoryError: 40 GB" in capsys.readouterr().out


def test_a_busy_machine_publishes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(jobs, "describe_machine", lambda: {"processor": "p", "load": 3.0, "date": "2026-12-01"})
    assert jobs.main(["price"], json_file=tmp_path / "jobs.json") == 2
    assert "the load is 3.0" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_times_are_extrapolated_along_a_line(quick, monkeypatch, capsys):
    """1 s for 1 % of the work and 1.5 s for 2 % of it give 50.5 s for all of it."""
    module = quick("price")
    monkeypatch.setitem(module.SIDES, "slow", jobs.Side(lambda data, share: np.zeros((1, 6)), "scipy", (0.01, 0.02)))
    times = iter([(None, np.array([1.0, 1.0])), (np.zeros((1, 6)), np.array([1.5, 1.5]))])
    monkeypatch.setattr(side, "timed", lambda *_: next(times))
    side.main("price", "slow", 1, "quick")
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(50.5)
