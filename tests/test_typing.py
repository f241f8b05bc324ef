"""What type checkers say of typical calls (calls.py), and that the calls are such."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import quatrefoil as qf

HERE = Path(__file__).resolve().parent
NAMES = sorted(str(path.relative_to(HERE)) for path in HERE.rglob("calls*.py"))
FILES = [pytest.param(n, marks=[pytest.mark.torch, pytest.mark.slow]) if "torch" in n else n for n in NAMES]
COMMANDS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--follow-imports=silent"],  # what users see: no error of ours is theirs
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


def source(name):
    if "torch" in name:
        pytest.importorskip("torch")
    return HERE / name


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("tool", COMMANDS)
def test_types(tool, file, tmp_path):
    path = source(file)
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    package = Path(qf.__file__).resolve().parent.parent
    where = {} if package.name == "site-packages" else {"MYPYPATH": str(package), "PYTHONPATH": str(package)}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | where
    cache = {"MYPY_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[tool], str(path)], env=environment | cache, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES)
def test_calls_run(file):
    path = source(file)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    calls = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(calls)
    for call in calls.TYPICAL:
        call()
