"""Converts docstrings to reStructuredText. They are written for ``help``, so stars, bars and final underscores are literal."""

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


def process(app: Any, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Escape characters and link equation numbers to their page, before numpydoc reads the docstring."""
    module = name
    while module not in sys.modules:
        module = module.rpartition(".")[0]
    owner = sys.modules[module]
    named = name.removeprefix(module).lstrip(".").partition(".")[0]
    readme = "ssm" if module == reference.LAYERS else reference.readme_of(getattr(owner, named, owner))
    link = None
    if readme and (module.count(".") == 1 or module == reference.LAYERS):  # the same relative link from the summary on the family's page
        link = os.path.relpath(methods.path_of(readme), os.path.dirname(reference.path_of(module, "index"))) + ".html"
    text = arranged(lines, _siblings(module, name)) if what in ("function", "class") else lines
    lines[:] = escaped(text, link, _numbers(readme) if readme else set())


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
    """A docstring for the site: the first example after the first paragraph, one paragraph of notes per topic, and *See Also*."""
    text = "\n".join(lines)
    if example := re.search(r"\nExamples\n-+\n(>>> .*?)(?=\n\n|\n*\Z)", text, re.S):
        text = text.replace(example[0], "\nExamples\n--------" if text[example.end() :].strip() else "", 1)
        head, gap, rest = text.partition("\n\n")
        text = f"{head}\n\n{example[1]}{gap}{rest}"
    if notes := re.search(r"(?<=\nNotes\n-----\n).*?(?=\n\w[^\n]*\n---|\Z)", text, re.S):
        starts = "|".join(_SENTENCES)
        parts = re.sub(
            rf"(?:(?<=^)|(?<=\n\n)|(?<=[.;])\s+)({starts})\b(:?)",
            lambda match: f"\n\n**{_SENTENCES[match[1]]}.**" + ("" if match[2] else f" {match[1]}"),
            notes[0],
        )
        text = text[: notes.start()] + parts.lstrip("\n") + text[notes.end() :]
    if siblings and "\nSee Also\n" not in text:
        text = text.rstrip("\n") + "\n\nSee Also\n--------\n" + "\n".join(siblings) + "\n"
    return text.split("\n")


def _siblings(module: str, name: str) -> list[str]:
    """Related functions: those that the family's table names for the same method, then others of that method."""
    names = reference.modules().get(module, [])
    own = name.removeprefix(f"{module}.")
    readme = reference.readme_of(getattr(sys.modules[module], own, None)) if own in names and module.count(".") == 1 else None
    if not readme or "/" not in readme:
        return []
    named = [n for n in re.findall(r"`(\w+)`", methods.meant_for(readme)) if n in names]
    same = [n for n in names if reference.readme_of(getattr(sys.modules[module], n)) == readme]
    return [n for n in dict.fromkeys([*named, *same]) if n != own and not n.endswith("_vjp")][:6]


def escaped(lines: list[str], link: str | None = None, numbers: Collection[str] = ()) -> list[str]:
    """Lines of a docstring with literal characters escaped and numbers of equations linked; code, tables and headings unchanged."""
    result: list[str] = []
    section, code, table = "", False, False
    for k, line in enumerate(lines):
        rule = re.fullmatch(r"\s*=+( +=+)+", line) is not None
        table = (table or rule) and bool(line.strip())
        code = bool(line.strip()) and (code or line.lstrip().startswith(">>>"))
        underlined = k + 1 < len(lines) and re.fullmatch(r"\s*-{3,}", lines[k + 1]) is not None
        if underlined:
            section = line.strip()
        entry = section in _ENTRIES and bool(line.strip()) and not line.startswith(" ")
        result.append(line if code or table or underlined or entry or re.fullmatch(r"\s*-{3,}", line) else _line(line, link, numbers))
    return result


def _line(line: str, link: str | None, numbers: Collection[str]) -> str:
    line = line.replace("``help(qf.conventions)``", ":doc:`conventions </reference/conventions>`")
    parts = re.split(rf"(\*\*\w+\.\*\*|``.*?``|:\w+:`[^`]*`|{equations.SCRIPTS.pattern})", line)
    return "".join(_script(part) if k % 2 else _plain(part, link, numbers) for k, part in enumerate(parts))


def _script(text: str) -> str:
    """Indices and powers as roles; code unchanged."""
    if "`" in text or text.startswith("**"):
        return text
    literal, text = text, html.unescape(equations.line_of(text))
    if not re.fullmatch(r"[^<]*(<su[bp]>[^<]+</su[bp]>)+", text):  # a name, or nested scripts: roles do not nest
        return re.sub(r"([*|_])", r"\\\1", literal)
    base, rest = text.split("<", 1)
    scripts = re.sub(r"<(su[bp])>(.*?)</\1>", r"\\ :\1:`\2`", "<" + rest)
    return base.replace("|", r"\|") + scripts + r"\ "


def _plain(text: str, link: str | None, numbers: Collection[str]) -> str:
    text = re.sub(r"(?<!\\)([*|])", r"\\\1", text)
    text = re.sub(r"(?<![\w`\\])(\w+_)(?![\w{])", r"``\1``", text)  # not a reference
    text = text.replace("_{", r"\_{")
    if not link:
        return text
    return re.sub(
        r"(?:(?<=\s)|(?<=^)|(?<=-))\((\d+[a-z']?)\)(?=[\s.,;:)-]|$)",
        lambda match: f"`({match[1]}) <{link}#eq-{match[1]}>`__" if match[1] in numbers else match[0],
        text,
    )
