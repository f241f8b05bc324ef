"""Docstrings as reStructuredText: they are written for ``help``, with stars, bars and final underscores that mean themselves."""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Collection
from functools import cache
from typing import Any

from . import equations, methods, reference

_ENTRIES = ("Parameters", "Other Parameters", "Returns", "Yields", "Raises", "Attributes")


@cache
def _numbers(readme: str) -> set[str]:
    return equations.numbers(methods.text_of(readme))


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Before numpydoc: escapes, and links from numbers of equations to the page that has them."""
    module = name
    while module not in sys.modules:
        module = module.rpartition(".")[0]
    owner = sys.modules[module]
    named = name.removeprefix(module).lstrip(".").partition(".")[0]
    readme = "ssm" if module == reference.LAYERS else reference.readme_of(getattr(owner, named, owner))
    way = None
    if readme and (module.count(".") == 1 or module == reference.LAYERS):  # a summary on the page of the family has the same way to go
        way = os.path.relpath(methods.path_of(readme), os.path.dirname(reference.path_of(module, "index"))) + ".html"
    found = arranged(lines, _siblings(module, name)) if what in ("function", "class") else lines
    lines[:] = safe(found, way, _numbers(readme) if readme else set())


_SENTENCES = {
    "Differentiable": "Gradients",
    "Cost": "Cost",
    "Memory": "Memory",
    "Error": "Error",
    "NaN": "NaN",
    "A NaN": "NaN",
    "Source": "Source",
}


def arranged(lines: list[str], siblings: list[str]) -> list[str]:
    """A docstring for the site: its first example after the first paragraph, the notes one topic per paragraph, and *See Also*."""
    text = "\n".join(lines)
    if example := re.search(r"\nExamples\n-+\n(>>> .*?)(?=\n\n|\n*\Z)", text, re.S):
        text = text.replace(example[0], "\nExamples\n--------" if text[example.end() :].strip() else "", 1)
        head, gap, rest = text.partition("\n\n")
        text = f"{head}\n\n{example[1]}{gap}{rest}"
    if notes := re.search(r"(?<=\nNotes\n-----\n).*?(?=\n\w[^\n]*\n---|\Z)", text, re.S):
        starts = "|".join(_SENTENCES)
        parts = re.sub(
            rf"(?:(?<=^)|(?<=\n\n)|(?<=[.;])\s+)({starts})\b(:?)",
            lambda found: f"\n\n**{_SENTENCES[found[1]]}.**" + ("" if found[2] else f" {found[1]}"),
            notes[0],
        )
        text = text[: notes.start()] + parts.lstrip("\n") + text[notes.end() :]
    if siblings and "\nSee Also\n" not in text:
        text = text.rstrip("\n") + "\n\nSee Also\n--------\n" + "\n".join(siblings) + "\n"
    return text.split("\n")


def _siblings(module: str, name: str) -> list[str]:
    """Functions to see also: those that the table of the family names for its folder of csrc, then the others of that folder."""
    names = reference.modules().get(module, [])
    own = name.removeprefix(f"{module}.")
    readme = reference.readme_of(getattr(sys.modules[module], own, None)) if own in names and module.count(".") == 1 else None
    if not readme or "/" not in readme:
        return []
    named = [n for n in re.findall(r"`(\w+)`", methods.meant_for(readme)) if n in names]
    same = [n for n in names if reference.readme_of(getattr(sys.modules[module], n)) == readme]
    return [n for n in dict.fromkeys([*named, *same]) if n != own and not n.endswith("_vjp")][:6]


def safe(lines: list[str], way: str | None = None, numbers: Collection[str] = ()) -> list[str]:
    made: list[str] = []
    section, code, table = "", False, False
    for k, line in enumerate(lines):
        rule = re.fullmatch(r"\s*=+( +=+)+", line) is not None
        table = (table or rule) and bool(line.strip())
        code = bool(line.strip()) and (code or line.lstrip().startswith(">>>"))
        underlined = k + 1 < len(lines) and re.fullmatch(r"\s*-{3,}", lines[k + 1]) is not None
        if underlined:
            section = line.strip()
        entry = section in _ENTRIES and bool(line.strip()) and not line.startswith(" ")
        made.append(line if code or table or underlined or entry or re.fullmatch(r"\s*-{3,}", line) else _line(line, way, numbers))
    return made


def _line(line: str, way: str | None, numbers: Collection[str]) -> str:
    line = line.replace("``help(qf.conventions)``", ":doc:`conventions </reference/conventions>`")
    pieces = re.split(rf"(\*\*\w+\.\*\*|``.*?``|:\w+:`[^`]*`|{equations.SCRIPTS.pattern})", line)
    return "".join(_script(piece) if k % 2 else _plain(piece, way, numbers) for k, piece in enumerate(pieces))


def _script(piece: str) -> str:
    """Letters with indices and powers by roles; code as it is."""
    if "`" in piece or piece.startswith("**"):
        return piece
    text = html.unescape(equations.line_of(piece))
    if not re.fullmatch(r"[^<]*(<su[bp]>[^<]+</su[bp]>)+", text):  # a name after all, or scripts in scripts: roles do not nest
        return re.sub(r"([*|_])", r"\\\1", piece)
    base, rest = text.split("<", 1)
    scripts = re.sub(r"<(su[bp])>(.*?)</\1>", r"\\ :\1:`\2`", "<" + rest)
    return base.replace("|", r"\|") + scripts + r"\ "


def _plain(text: str, way: str | None, numbers: Collection[str]) -> str:
    text = re.sub(r"(?<!\\)([*|])", r"\\\1", text)
    text = re.sub(r"(?<![\w`\\])(\w+_)(?![\w{])", r"``\1``", text)  # not a reference
    text = text.replace("_{", r"\_{")
    if not way:
        return text
    return re.sub(
        r"(?:(?<=\s)|(?<=^)|(?<=-))\((\d+[a-z']?)\)(?=[\s.,;:)-]|$)",
        lambda found: f"`({found[1]}) <{way}#eq-{found[1]}>`__" if found[1] in numbers else found[0],
        text,
    )
