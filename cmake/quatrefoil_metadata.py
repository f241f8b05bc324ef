"""The README and links of the published metadata; package indexes need absolute links."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def dynamic_metadata(field, settings, project=None):
    """Return ``readme`` or ``urls`` for the repository's address in pyproject.toml, which may be empty."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["quatrefoil"]["repository"]
    if field == "urls":
        return {"Repository": address, "Changelog": f"{address}/blob/main/CHANGELOG.md"} if address else {}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {"content-type": "text/markdown", "text": absolute(text, address) if address else text}


def absolute(text, address):
    """Make relative links in Markdown point to the repository, and those of pictures to the raw files."""

    def link(match):
        opening, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        return f"{opening}({address}/{'raw' if opening.startswith('!') else 'blob'}/main/{target})"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", link, text)
