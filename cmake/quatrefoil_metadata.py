"""The README and the links of the published metadata. A package index shows only the README, so its links become absolute."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def dynamic_metadata(field, settings, project=None):
    """The value of ``readme`` or ``urls``, computed from the repository's address in pyproject.toml, which may be empty."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["quatrefoil"]["repository"]
    if field == "urls":
        return {"Repository": address, "Changelog": f"{address}/blob/main/CHANGELOG.md"} if address else {}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {"content-type": "text/markdown", "text": absolute(text, address) if address else text}


def absolute(text, address):
    """Replace the relative links in Markdown by links to the repository at ``address``, and those of pictures by links to the raw files."""

    def link(match):
        opening, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        return f"{opening}({address}/{'raw' if opening.startswith('!') else 'blob'}/main/{target})"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", link, text)
