"""Equations of plain text as HTML: Greek letters, indices and powers, a number that can be linked to. No script, no image.

What is an equation is an indented block with a number in front of one of its lines. What is not understood stays as it is.
"""

from __future__ import annotations

import html
import re
from collections import Counter

_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
GREEK = dict(zip(_NAMES.split(), "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"))
SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "<-": "←", "->": "→", "+-": "±"}
_FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)
_BLOCK = re.compile(r"((?:^ {4,}\S.*\n(?:\n(?= {4,}\S))*)+)", re.M)
_NUMBER = re.compile(r"^ {4,8}\((\d+[a-z']?)\)(?=\s)", re.M)
# a base that may have an index or a power: one letter, a Greek word, an operator, or the end of something in brackets
_WORDS = "|".join(sorted(GREEK, key=len, reverse=True))
_LETTERS = rf"(?:sum|prod|max|min|sup|mean|int|d?(?:{_WORDS})|[A-Za-z]bar|[0-9]+(?=\^)|d?[^\W\d_][0-9]?|\w\*(?=_))['~]*"
_BASE = rf"(?:(?<!\w){_LETTERS}|[∇∂∫∑×)\]}}>|°!])"
# in an equation also words followed by one letter; but log_d is a name
_ARGUMENT = r"(?<!\w)[a-z]+(?:_[a-z]+)+(?=_\{)"  # k_reverse_{j-l-1}
_WORD = r"(?<!\w)(?!log_|student_)[^\W\d_]{2,}(?=_(?:[A-Za-z0-9](?![A-Za-z0-9_])|\{)|\^)"
_SUMS = {"sum": "∑", "prod": "∏", "int": "∫"}
_NAME = re.compile(r"_(?:[A-Za-z]{4,}|log)")  # no index: the rest of a name
_PLAIN = r"[A-Za-z0-9α-ωΑ-Ω'~]+(?:,[A-Za-z0-9]+(?![A-Za-z0-9]*[(_^]))*|\*|∞"


def set_in(text: str, others: dict[str, tuple[str, set[str]]] | None = None) -> str:
    """A Markdown text whose equations are set; ``(5)`` in its sentences leads to equation (5), ``scan (3)`` to that of the page of scan.

    ``others`` are those pages by their names: where they are, and their numbers.
    """
    here, made = numbers(text), []
    seen: Counter[str] = Counter()
    for k, piece in enumerate(_FENCE.split(text)):
        for i, part in enumerate([piece] if k % 2 else _BLOCK.split(piece)):
            if i % 2 and _NUMBER.search(part):
                part = f'<pre class="equations">\n{_block(part, seen)}</pre>\n'
            made.append(part if i % 2 or k % 2 else _linked(_sentence(part), here, others or {}))
    return "".join(made)


def numbers(text: str) -> set[str]:
    """Numbers that stand before one equation only, so that a link can mean no other."""
    found = Counter(n for piece in _FENCE.split(text)[::2] for block in _BLOCK.findall(piece) for n in _NUMBER.findall(block))
    return {n for n, count in found.items() if count == 1}


def _block(text: str, seen: Counter[str]) -> str:
    lines = []
    for line in text.split("\n"):
        number = _NUMBER.match(line)
        if number is None:
            lines.append(line_of(line[4:]))
            continue
        seen[number[1]] += 1
        name = f"eq-{number[1]}" + (f"-{seen[number[1]]}" if seen[number[1]] > 1 else "")
        mark = number[0][4:].replace(f"({number[1]})", f'<a id="{name}" class="number" href="#{name}">({number[1]})</a>')
        lines.append(mark + line_of(line[number.end() :]))
    return "\n".join(lines).rstrip("\n") + "\n"


def line_of(text: str) -> str:
    """One line of an equation as HTML."""
    made, at = "", 0
    while at < len(text):
        base = re.compile(rf"(?:{_ARGUMENT}|{_BASE}|{_WORD})(?=[_^])").match(text, at)
        if base is None:
            base = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|<=|>=|!=|<-|->|\+-|.", re.S).match(text, at)
            assert base is not None
            made, at = made + _letters(base[0]), base.end()
            continue
        scripts, end = "", base.end()
        while end < len(text) and text[end] in "_^":
            inner, after = _argument(text, end + 1)
            if inner is None or (_NAME.fullmatch(text[end:after]) and base[0] not in _SUMS):
                break
            tag = "sub" if text[end] == "_" else "sup"
            scripts, end = f"{scripts}<{tag}>{line_of(inner)}</{tag}>", after
        if scripts:
            made, at = made + (_SUMS.get(base[0]) or _letters(base[0])) + scripts, end
        else:  # a name as it is
            name = re.compile(r"\w*\W?").match(text, at)
            assert name is not None
            made, at = made + html.escape(name[0], quote=False), name.end()
    return made


def _letters(word: str) -> str:
    bare = word.rstrip("'~")
    tail = html.escape(word[len(bare) :], quote=False)
    if bare in GREEK:
        return GREEK[bare] + tail
    if bare[:1] == "d" and bare[1:] in GREEK:
        return f"d{GREEK[bare[1:]]}{tail}"
    if re.fullmatch("[A-Za-z]bar", bare):
        return f"{bare[0]}\u0304{tail}"
    return SIGNS.get(word) or html.escape(word, quote=False)


def _argument(text: str, at: int) -> tuple[str | None, int]:
    """What an index or a power is, and where it ends: something in brackets, a sign and a word, a word."""
    if at < len(text) and text[at] in "{(":
        depth = 0
        for end in range(at, len(text)):
            depth += (text[end] in "{(") - (text[end] in "})")
            if depth == 0:
                return (text[at + 1 : end] if text[at] == "{" else text[at : end + 1]), end + 1
        return None, at
    found = re.compile(rf"-?(?:{_PLAIN})").match(text, at)
    return (found[0], found.end()) if found else (None, at)


# between words: in brackets or short, for a longer one may be the name of an argument
SCRIPTS = re.compile(
    rf"(?:{_BASE}|{_ARGUMENT})(?:[_^](?:\{{[^{{}}\s]*\}}|\([^()\s]*\)|-?[A-Za-z0-9α-ωΑ-Ω]{{1,3}}['~]*(?![A-Za-z0-9_{{])|\*))+(?![\w^{{])"
)


def _sentence(text: str) -> str:
    """Indices and powers between the words of a text; code, links and headings are left alone."""
    parts = re.split(r"(`[^`]*`|\]\([^)]*\)|^#.*$)", text, flags=re.M)
    return "".join(part if k % 2 else SCRIPTS.sub(lambda found: line_of(found[0]), part) for k, part in enumerate(parts))


_ARTICLES = (["a"], ["the"], ["each"], ["every"], ["one"], ["of"], ["A"], ["The"])
_REFERENCE = re.compile(
    r"`[^`]*`|^#.*$"  # code and headings, left alone
    r"|(?P<link>\[(?P<named>\w+)\]\([^)]*\) |(?<![\w`])(?P<word>[a-z]\w*) )?(?<![\w)\]])"
    r"(?P<numbers>\(\d+[a-z']?\)(?:(?:-|, | and | or | to |, and )\(\d+[a-z']?\))*)"
    r"|\]\([^)]*\)",
    re.M,
)


def _linked(text: str, here: set[str], others: dict[str, tuple[str, set[str]]]) -> str:
    """Numbers in sentences as links, those that follow the name of another page to that page; "a walk (3)" is no name."""

    def link(found: re.Match[str]) -> str:
        if found["numbers"] is None:
            return found[0]
        before = text[: found.start()].split()[-1:]
        page, there = others.get(found["named"] or (found["word"] if before not in _ARTICLES else ""), ("", here))

        def one(number: re.Match[str]) -> str:
            return f'<a href="{page}#eq-{number[1]}">{number[0]}</a>' if number[1] in there else number[0]

        return (found["link"] or "") + re.sub(r"\((\d+[a-z']?)\)", one, found["numbers"])

    return _REFERENCE.sub(link, text)
