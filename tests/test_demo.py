"""``quatrefoil demo --quick``, and messages about missing packages."""

import importlib.util
import re
import sys

import pytest

from quatrefoil import cli
from quatrefoil.demo import _table

AT_IMPORT = {  # example: (the package it needs, the extra that installs the package)
    "neural_operator": ("torch", "quatrefoil[torch]"),
    "polynomial_chaos": ("torch", "quatrefoil[torch]"),
    "restore_photograph": ("pywt", "quatrefoil[demo]"),
    "sea_temperature": ("pywt", "quatrefoil[demo]"),
    "ten_dimensions": ("torch", "quatrefoil[torch]"),
    "train_s4d": ("pywt", "quatrefoil[demo,torch]"),
}


def test_examples_name_missing_extras(example, monkeypatch):
    for name, (package, extra) in AT_IMPORT.items():
        with monkeypatch.context() as patch:
            for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == package]:
                patch.delitem(sys.modules, loaded)
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ImportError, match=re.escape(f"pip install '{extra}'")):
                example(name)


def test_the_demo_names_missing_extras(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["demo", "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == "quatrefoil demo needs matplotlib and pywt: pip install 'quatrefoil[demo]'\n"
    assert not (tmp_path / "none").exists()


def check_page(text, families, rows):
    opened, closed = (sorted(re.findall(pattern, text)) for pattern in (r"<(?!meta|img)(\w+)", r"</(\w+)"))
    assert opened == closed
    assert not {"script", "link", "iframe"} & {*opened}
    pictures = re.findall(r"<img\b[^>]*>", text)
    assert len(pictures) == families
    assert all('src="data:image/png;base64,iVBOR' in p and re.search(r'alt="[^"]', p) for p in pictures)
    assert re.findall(r'<td data-head="([^"]*)"', text) == [*_table.HEADS] * rows


@pytest.mark.slow
def test_the_quick_demo(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pywt")
    assert cli.main(["demo", "--quick", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("backend: ")
    assert all(any(re.match(rf" +[\d.]+ s  {family}: ", line) for line in lines) for family in ("ssm", "kron", "cheb", "wos"))  # progress
    table = lines[lines.index("") + 1 : -2]  # the last line names the page
    assert max(map(len, table)) <= 100
    assert [line.split()[0] for line in table[:6]] == ["family", "ssm", "kron", "cheb", "wos", "wos"]
    rounding, model = zip(*(re.split(r"  +", line)[-2:] for line in table[1:6]))
    assert float(rounding[0]) < 1e-5  # float32, sums of hundreds of terms
    assert float(rounding[1]) < 1e-3  # a residual of 1e-6, amplified by the condition number
    assert float(rounding[2]) < 1e-12
    assert float(rounding[3]) < 1e-5  # the error for constant data
    assert model[0] == "none"
    assert 0 < float(model[1]) < 0.25  # the standard deviation of the pixels is 0.3
    assert float(model[2]) < 1e-5  # requested: 1e-6
    assert float(model[3]) < 3 * 0.02  # the requested standard error, and the error of the finite differences
    check_page((tmp_path / "index.html").read_text(), 4, 5)
