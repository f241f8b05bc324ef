"""The derivations: each README in csrc becomes a page, with links to the pages of the site, and equations as HTML."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from quatrefoil import FAMILIES

from . import equations

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"


@cache
def text_of(readme: str) -> str:
    return (CSRC / readme / "README.md").read_text()


def title(readme: str) -> str:
    return re.match(r"# (.*)", text_of(readme))[1]


def path_of(readme: str) -> str:
    """The page of a folder in csrc, without suffix."""
    return f"methods/{readme}" if "/" in readme else f"methods/{readme}/index"


@cache
def readmes(family: str) -> list[str]:
    """A family and its folders: those in its table, in order, then the others."""
    named = re.findall(r"^\| \[\w+\]\((\w+)/README\.md\)", text_of(family), re.M)
    folders = sorted(p.parent.name for p in (CSRC / family).glob("*/README.md"))
    return [family, *(f"{family}/{n}" for n in dict.fromkeys([*named, *folders]) if n in folders)]


def purpose(family: str) -> str:
    """The first sentence of a family's README."""
    return re.match(r"# [^\n]*\n\n(.*?)\.\s", text_of(family), re.S)[1].replace("\n", " ")


@cache
def meant_for(readme: str) -> str:
    """When to use a method, from the table of its family."""
    family, _, folder = readme.partition("/")
    row = re.search(rf"^\| (?:\[{folder}\]\({folder}/README\.md\)|in Python only) \| (.*?) \|", text_of(family), re.M)
    return row[1] if row else ""


# Files in the repository that are pages under other names.
PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "examples": "gallery/index",
}


def page_of(file: Path) -> str | None:
    """The page of a file in the repository, without suffix, or None."""
    path = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
    if path in PAGES:
        return PAGES[path]
    if match := re.fullmatch(r"csrc/([\w/]+)/README\.md", path):
        return path_of(match[1])
    if match := re.fullmatch(r"examples/(\w+/\w+)\.py", path):
        return f"gallery/{match[1]}"
    if match := re.fullmatch(r"docs/([\w/]+)\.md", path):
        return match[1]
    return None


def relinked(text: str, file: Path, page: str) -> str:
    """The text of a file with its links adapted to a page of the site; links to files without a page become paths."""

    def link(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        path, _, anchor = target.partition("#")
        linked = Path(os.path.normpath(file.parent / path))
        if not path or not linked.exists():  # within the page, or a formula
            return match[0]
        target_page = page_of(linked)
        if linked.suffix == ".png":
            return f"[{words}]({os.path.relpath(linked, (ROOT / 'docs' / page).parent)})"
        if target_page is None:
            return f"{words} (`{linked.relative_to(ROOT).as_posix()}`)"
        address = os.path.relpath(target_page, os.path.dirname(page) or ".")
        return f"[{words}]({address}.{suffix(target_page)}{'#' + anchor if anchor else ''})"

    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", link, text)


_INCLUDE = re.compile(r'^```\{include\} (\S+)\n:start-after: "(.*?)"\n:end-before: "(.*?)"\n```$', re.M)


def expanded(text: str, page: str) -> str:
    """A page with its included sections. Their links are adapted, which Sphinx would not do."""

    def section(match: re.Match[str]) -> str:
        file = (ROOT / "docs" / page).parent / match[1]
        start, end = (s.replace("\\n", "\n") for s in (match[2], match[3]))
        source = file.read_text()
        if source.count(start) != 1 or f"\n{end}" not in source.split(start)[1]:
            raise ValueError(f"docs/{page}: {match[1]} has no section from {start!r} to {end!r}")
        return relinked(source.split(start)[1].split(f"\n{end}")[0], file, page)

    return _INCLUDE.sub(section, text)


def suffix(page: str) -> str:
    return "rst" if page.startswith("gallery/") else "md"


def page_text(readme: str) -> str:
    page = path_of(readme)
    text = relinked(text_of(readme), CSRC / readme / "README.md", page)
    siblings = {r.rpartition("/")[2]: r for r in readmes(readme.partition("/")[0]) if r != readme}
    others = {
        name: (os.path.relpath(path_of(r), os.path.dirname(page)) + ".html", equations.numbers(text_of(r))) for name, r in siblings.items()
    }
    text = equations.set_in(text, others)
    if "/" not in readme:
        rows = "\n".join(f"{r.partition('/')[2]}" for r in readmes(readme)[1:])
        text += f"\n```{{toctree}}\n:hidden:\n\n{rows}\n```\n"
    return text


def pages() -> dict[str, str]:
    generated = {f"{path_of(r)}.md": page_text(r) for f in FAMILIES for r in readmes(f)}
    rows = "\n".join(f"{f}/index" for f in FAMILIES)
    generated["methods/index.md"] = (
        "# Derivations\n\nThe mathematics of each method, from its first equation to its limits, from the READMEs next to "
        f"the kernels.\n\n```{{toctree}}\n:maxdepth: 2\n\n{rows}\n```\n"
    )
    return generated
