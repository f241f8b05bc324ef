"""The lines of Python that the READMEs give to those who come from another library."""

import re
from pathlib import Path

import quatrefoil as qf

CSRC = Path(__file__).resolve().parents[2] / "csrc" / "ssm"


def lines(readme, heading, count):
    section = (CSRC / readme).read_text().partition(heading + "\n")[2].partition("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(found) == count
    return found


def check_own(block, count):
    """So many names that the lines make are functions of this library of that name, and they make no others."""
    names = {}
    exec(block, names)
    functions = {name: f for name, f in names.items() if not name.startswith("__")}
    assert functions == {name: getattr(qf.ssm, name) for name in functions}
    assert len(functions) == count
