"""Type-check and run the programs in tests/typing."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import quatrefoil as qf

FILES = sorted(map(str, (Path(__file__).parent / "typing").glob("*.py")))
KINDS = {"numpy": [f for f in FILES if "torch" not in Path(f).name], "torch": [f for f in FILES if "torch" in Path(f).name]}
BY_KIND = ["numpy", pytest.param("torch", marks=[pytest.mark.torch, pytest.mark.slow])]
COMMANDS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--follow-imports=silent"],  # as for users, who see no errors inside the package
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("kind", BY_KIND)
@pytest.mark.parametrize("tool", COMMANDS)
def test_types(tool, kind, tmp_path):
    for needed in {tool, kind}:
        pytest.importorskip(needed)
    package = Path(qf.__file__).resolve().parent.parent
    where = {} if package.name == "site-packages" else {"MYPYPATH": str(package), "PYTHONPATH": str(package)}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | where | {"MYPY_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", *COMMANDS[tool], *KINDS[kind]]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", BY_KIND)
def test_programs_run(kind):
    pytest.importorskip(kind)
    for file in KINDS[kind]:
        names = runpy.run_path(file)
        for call in names.get("TYPICAL") or [names["main"]]:
            call()
