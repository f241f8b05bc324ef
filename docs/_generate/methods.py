"""The derivations: each README of csrc as a page, with its links led to the pages of this site and its equations set."""

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
    """The page of a folder of csrc, without its ending."""
    return f"methods/{readme}" if "/" in readme else f"methods/{readme}/index"


@cache
def readmes(family: str) -> list[str]:
    """A family and its folders, in the order of its table; what the table does not name comes last."""
    named = re.findall(r"^\| \[\w+\]\((\w+)/README\.md\)", text_of(family), re.M)
    there = sorted(p.parent.name for p in (CSRC / family).glob("*/README.md"))
    return [family, *(f"{family}/{n}" for n in dict.fromkeys([*named, *there]) if n in there)]


def purpose(family: str) -> str:
    """What it computes: the first sentence of its derivations."""
    return re.match(r"# [^\n]*\n\n(.*?)\.\s", text_of(family), re.S)[1].replace("\n", " ")


@cache
def meant_for(readme: str) -> str:
    """When to take a folder's functions, from the table of its family."""
    family, _, folder = readme.partition("/")
    found = re.search(rf"^\| (?:\[{folder}\]\({folder}/README\.md\)|in Python only) \| (.*?) \|", text_of(family), re.M)
    return found[1] if found else ""


# Files of the repository that are pages of the site under another name.
PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "examples": "gallery/index",
}


def page_of(file: Path) -> str | None:
    """The page, without its ending, that shows a file of the repository."""
    path = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
    if path in PAGES:
        return PAGES[path]
    if found := re.fullmatch(r"csrc/([\w/]+)/README\.md", path):
        return path_of(found[1])
    if found := re.fullmatch(r"examples/(\w+/\w+)\.py", path):
        return f"gallery/{found[1]}"
    if found := re.fullmatch(r"docs/([\w/]+)\.md", path):
        return found[1]
    return None


def led(text: str, file: Path, page: str) -> str:
    """A text of the repository with its links as they are on that page of the site; what has no page is its path."""

    def link(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        path, _, anchor = target.partition("#")
        whole = Path(os.path.normpath(file.parent / path))
        if not path or not whole.exists():  # within the page; a formula
            return found[0]
        there = page_of(whole)
        if whole.suffix == ".png":
            return f"[{words}]({os.path.relpath(whole, (ROOT / 'docs' / page).parent)})"
        if there is None:
            return f"{words} (`{whole.relative_to(ROOT).as_posix()}`)"
        way = os.path.relpath(there, os.path.dirname(page) or ".")
        return f"[{words}]({way}.{suffix(there)}{'#' + anchor if anchor else ''})"

    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", link, text)


_INCLUDE = re.compile(r'^```\{include\} (\S+)\n:start-after: "(.*?)"\n:end-before: "(.*?)"\n```$', re.M)


def expanded(text: str, page: str) -> str:
    """A written page with the sections of other files that it includes, their links led: Sphinx would leave those as they are."""

    def section(found: re.Match[str]) -> str:
        file = (ROOT / "docs" / page).parent / found[1]
        start, end = (s.replace("\\n", "\n") for s in (found[2], found[3]))
        whole = file.read_text()
        if whole.count(start) != 1 or f"\n{end}" not in whole.split(start)[1]:
            raise ValueError(f"docs/{page}: {found[1]} has no section from {start!r} to {end!r}")
        return led(whole.split(start)[1].split(f"\n{end}")[0], file, page)

    return _INCLUDE.sub(section, text)


def suffix(page: str) -> str:
    return "rst" if page.startswith("gallery/") else "md"


def page_text(readme: str) -> str:
    page = path_of(readme)
    text = led(text_of(readme), CSRC / readme / "README.md", page)
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
    made = {f"{path_of(r)}.md": page_text(r) for f in FAMILIES for r in readmes(f)}
    rows = "\n".join(f"{f}/index" for f in FAMILIES)
    made["methods/index.md"] = (
        "# Derivations\n\nThe mathematics of each method, from its first equation to its limits: the texts "
        f"next to the kernels, one folder per method.\n\n```{{toctree}}\n:maxdepth: 2\n\n{rows}\n```\n"
    )
    return made
