"""What needs a package that only an extra has names the line of pip that brings it."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

from quatrefoil import cli

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*/*.py"))
AT_IMPORT = {
    "neural_operator": ("torch", "quatrefoil[torch]"),
    "polynomial_chaos": ("torch", "quatrefoil[torch]"),
    "restore_photograph": ("pywt", "quatrefoil[demo]"),
    "sea_temperature": ("pywt", "quatrefoil[demo]"),
    "ten_dimensions": ("torch", "quatrefoil[torch]"),
    "train_s4d": ("pywt torch", "quatrefoil[demo,torch]"),
}


def without(monkeypatch, *packages):
    for package in packages:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


def test_examples(example, monkeypatch):
    for name, (packages, extra) in AT_IMPORT.items():
        with monkeypatch.context() as patch:
            without(patch, packages.split()[0])
            with pytest.raises(ImportError, match=re.escape(f"pip install '{extra}'")):
                example(name)


def test_pictures_and_data_of_examples(example, monkeypatch):
    drawn = 0
    for path in EXAMPLES:
        if not all(importlib.util.find_spec(p) for p in AT_IMPORT.get(path.stem, ("",))[0].split()):
            continue
        module = example(path.stem)
        for call in (getattr(module, name) for name in ("draw", "landscape", "surface", "transmissivity") if hasattr(module, name)):
            with monkeypatch.context() as patch:
                without(patch, "matplotlib")
                with pytest.raises(ImportError, match=r"pip install 'quatrefoil\[plot\]'"):
                    call(*[None] * sum(p.default is p.empty for p in inspect.signature(call).parameters.values()))
            drawn += 1
    assert drawn >= 15


@pytest.mark.torch
def test_the_truth_of_an_example(example, monkeypatch):
    pytest.importorskip("torch")
    instances = example("neural_operator").Instances(1, 1, 1)
    without(monkeypatch, "skfem")
    with pytest.raises(ImportError, match="pip install scikit-fem"):
        instances.solutions()


def test_the_demo(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["demo", "--out", str(tmp_path / "none")]) == 2
    assert "needs matplotlib and pywt: pip install 'quatrefoil[demo]'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
