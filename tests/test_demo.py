"""``quatrefoil demo``: all of it at tiny sizes; as it is where there is time."""

import importlib.util
import re
from html.parser import HTMLParser

import pytest

from quatrefoil import cli
from quatrefoil.demo import _table


class Tags(HTMLParser):
    """Tags with their attributes, and which of them are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(text, families, rows):
    tags = Tags(text)
    assert not tags.open
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.found}
    pictures = [given for tag, given in tags.found if tag == "img"]
    assert len(pictures) == families
    assert all(p["src"].startswith("data:image/png;base64,iVBOR") and p["alt"] for p in pictures)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags.found
    assert [given["data-head"] for tag, given in tags.found if tag == "td"] == [*_table.HEADS] * rows


def test_without_the_extra_the_line_of_pip_is_named(monkeypatch, capsys, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in ("matplotlib", "pywt") else find(name, *rest))
    assert cli.main(["demo", "--quick", "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == "quatrefoil demo needs matplotlib and pywt: pip install 'quatrefoil[demo]'\n"
    assert not (tmp_path / "none").exists()


def check_run(folder, capsys):
    assert cli.main(["demo", "--quick", "--out", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("backend: ")
    assert all(any(re.match(rf" +[\d.]+ s  {family}: ", line) for line in lines) for family in ("ssm", "kron", "cheb", "wos"))  # progress
    table = lines[lines.index("") + 1 : -2]  # the last says where the page is
    assert max(map(len, table)) <= 100
    assert [line.split()[0] for line in table[:6]] == ["family", "ssm", "kron", "cheb", "wos", "wos"]
    rounding, model = zip(*(re.split(r"  +", line)[-2:] for line in table[1:6]))
    assert float(rounding[0]) < 1e-5  # float32, of sums of hundreds of terms
    assert float(rounding[1]) < 1e-3  # a residual of 1e-6, and a condition number
    assert float(rounding[2]) < 1e-12
    assert float(rounding[3]) < 1e-5  # a constant
    assert model[0] == "none"
    assert 0 < float(model[1]) < 0.25  # pixels scatter by 0.3 about their mean
    assert float(model[2]) < 1e-5  # 1e-6 was asked for
    check_page((folder / "index.html").read_text(), 4, 5)
    return float(model[3])


@pytest.mark.filterwarnings("ignore:solve. the stderr of")  # so few walks
def test_all_of_it_at_tiny_sizes(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pywt")
    from quatrefoil.demo import cheb, kron, ssm, wos

    monkeypatch.setattr(ssm, "QUICK", ssm.Sizes(2, 16))
    monkeypatch.setattr(kron, "QUICK", kron.Sizes(16, 1))
    monkeypatch.setattr(cheb, "QUICK", cheb.Sizes(4, 100, 9))
    monkeypatch.setattr(wos, "QUICK", wos.Sizes(20, 0.1, 0.2, 4.0, 1))
    monkeypatch.setattr(wos, "brute_force", lambda *_: None)  # compiles for seconds
    check_run(tmp_path, capsys)


@pytest.mark.slow
def test_the_quick_demo(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pywt")
    assert check_run(tmp_path, capsys) < 3 * 0.02  # the standard error asked for, and that of the differences
