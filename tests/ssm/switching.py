"""The lines of Python that the READMEs give to those who come from another library."""

import re
from pathlib import Path

CSRC = Path(__file__).resolve().parents[2] / "csrc" / "ssm"


def lines(readme, heading, count):
    section = (CSRC / readme).read_text().partition(heading + "\n")[2].partition("\n## ")[0]
    found = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(found) == count
    return found
