"""What needs a package that only an extra has names the line of pip that brings it."""

import importlib.util
import inspect
import re
import sys

import pytest

from quatrefoil import cli

AT_IMPORT = {
    "neural_operator": ("torch", "quatrefoil[torch]"),
    "ntk_grid": ("pywt", "quatrefoil[demo]"),
    "polynomial_chaos": ("torch", "quatrefoil[torch]"),
    "restore_photograph": ("pywt", "quatrefoil[demo]"),
    "sea_temperature": ("pywt", "quatrefoil[demo]"),
    "ten_dimensions": ("torch", "quatrefoil[torch]"),
    "train_s4d": ("pywt torch", "quatrefoil[demo,torch]"),
}
DRAW = (
    "arma_asymmetric",
    "brain",
    "deep_chaos",
    "ionic_crystal",
    "lotka_volterra",
    "molecule",
    "multiscale",
    "neural_operator",
    "ntk_grid",
    "polynomial_chaos",
    "ptd",
    "restore_photograph",
    "sea_temperature",
    "self_distillation",
    "slim_kl",
    "spectral_update",
    "ten_dimensions",
    "train_s4d",
    "tucker_snapshots",
    "under_mountains",
)
LANDSCAPES = {
    "self_distillation": "landscape",
    "spectral_update": "landscape",
    "tucker_snapshots": "transmissivity",
    "under_mountains": "surface",
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
    needed = {name: packages.split() for name, (packages, _) in AT_IMPORT.items()}
    calls = [
        *((name, "draw") for name in DRAW if all(importlib.util.find_spec(p) for p in needed.get(name, ()))),
        *LANDSCAPES.items(),
    ]
    for name, function in calls:
        call = getattr(example(name), function)
        count = len(inspect.signature(call).parameters) if function == "draw" else 0
        with monkeypatch.context() as patch:
            without(patch, "matplotlib")
            with pytest.raises(ImportError, match=r"pip install 'quatrefoil\[plot\]'"):
                call(*[None] * count)


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
