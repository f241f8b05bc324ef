"""``python -m tests.new_method`` in a copy of the sources: the new method works without compilation."""

import shutil
from pathlib import Path

import pytest

from children import run_python
from new_method.__main__ import LISTED, lay_out

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources")
RUN = """
import os, sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]  # import the copy
sys.path[:0] = ["python", "tests"]
import pytest
sys.exit(pytest.main(["-q", "-c", "pyproject.toml", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("family", ["ssm", "kron", "cheb", "wos"])
def test_a_method_is_named_in_three_files(family, tmp_path):
    before = {}
    for path in LISTED:
        path = path.format(family=family)
        before[path] = (ROOT / path).read_text()
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(before[path])
    new = [p for p in lay_out(family, "mellow", tmp_path) if str(p.relative_to(tmp_path)) not in before]
    assert len(new) == 10
    assert not [p for p in new if "decay" in p.read_text().lower() or (family != "ssm" and "ssm" in p.read_text())]
    counts = {path: (tmp_path / path).read_text().count("mellow") for path in before}
    assert list(counts.values()) == [1, 3, 9 if family == "wos" else 8]


def copied(folder):
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "new_method", "results")
    for name in ("csrc", "python", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("CMakeLists.txt", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)


@pytest.mark.slow
def test_a_new_method_passes_its_tests(tmp_path, monkeypatch):
    copied(tmp_path)
    lay_out("ssm", "mellow", tmp_path)
    monkeypatch.chdir(tmp_path)
    done = run_python(RUN, "tests/ssm/mellow", "tests/test_ops.py", "-k", "mellow")
    assert "passed" in done.stdout
