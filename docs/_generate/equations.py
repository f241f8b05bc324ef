"""Plain-text equations as HTML: Greek letters, indices and powers, and numbers as link targets. No scripts, no images.

An equation is an indented block with a number in front of one of its lines. Unknown notation stays unchanged.
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
# the base of an index or a power: one letter, a Greek word, an operator, or a closing bracket
_WORDS = "|".join(sorted(GREEK, key=len, reverse=True))
_LETTERS = rf"(?:sum|prod|max|min|sup|mean|int|d?(?:{_WORDS})|[A-Za-z]bar|[0-9]+(?=\^)|d?[^\W\d_][0-9]?|\w\*(?=_))['~]*"
_BASE = rf"(?:(?<!\w){_LETTERS}|[∇∂∫∑×)\]}}>|°!])"
# in an equation, also words with a one-letter index, except names such as log_d
_ARGUMENT = r"(?<!\w)[a-z]+(?:_[a-z]+)+(?=_\{)"  # k_reverse_{j-l-1}
_WORD = r"(?<!\w)(?!log_|student_)[^\W\d_]{2,}(?=_(?:[A-Za-z0-9](?![A-Za-z0-9_])|\{)|\^)"
_SUMS = {"sum": "∑", "prod": "∏", "int": "∫"}
_NAME = re.compile(r"_(?:[A-Za-z]{4,}|log)")  # the rest of a name, not an index
_PLAIN = r"[A-Za-z0-9α-ωΑ-Ω'~]+(?:,[A-Za-z0-9]+(?![A-Za-z0-9]*[(_^]))*|\*|∞"


def set_in(text: str, others: dict[str, tuple[str, set[str]]] | None = None) -> str:
    """Markdown with equations as HTML. ``(5)`` in a sentence links to equation (5), and ``scan (3)`` to equation (3) on scan's page.

    ``others``: name of a page -> (its address, its numbers).
    """
    own_numbers, result = numbers(text), []
    seen: Counter[str] = Counter()
    for k, section in enumerate(_FENCE.split(text)):
        for i, part in enumerate([section] if k % 2 else _BLOCK.split(section)):
            if i % 2 and _NUMBER.search(part):
                part = f'<pre class="equations">\n{_block(part, seen)}</pre>\n'
            result.append(part if i % 2 or k % 2 else _linked(_sentence(part), own_numbers, others or {}))
    return "".join(result)


def numbers(text: str) -> set[str]:
    """The numbers that belong to exactly one equation, so that links can target them."""
    counts = Counter(n for section in _FENCE.split(text)[::2] for block in _BLOCK.findall(section) for n in _NUMBER.findall(block))
    return {n for n, count in counts.items() if count == 1}


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
    result, at = "", 0
    while at < len(text):
        base = re.compile(rf"(?:{_ARGUMENT}|{_BASE}|{_WORD})(?=[_^])").match(text, at)
        if base is None:
            base = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|<=|>=|!=|<-|->|\+-|.", re.S).match(text, at)
            assert base is not None
            result, at = result + _letters(base[0]), base.end()
            continue
        scripts, end = "", base.end()
        while end < len(text) and text[end] in "_^":
            inner, after = _argument(text, end + 1)
            if inner is None or (_NAME.fullmatch(text[end:after]) and base[0] not in _SUMS):
                break
            tag = "sub" if text[end] == "_" else "sup"
            scripts, end = f"{scripts}<{tag}>{line_of(inner)}</{tag}>", after
        if scripts:
            result, at = result + (_SUMS.get(base[0]) or _letters(base[0])) + scripts, end
        else:  # a name
            name = re.compile(r"\w*\W?").match(text, at)
            assert name is not None
            result, at = result + html.escape(name[0], quote=False), name.end()
    return result


def _letters(word: str) -> str:
    stem = word.rstrip("'~")
    tail = html.escape(word[len(stem) :], quote=False)
    if stem in GREEK:
        return GREEK[stem] + tail
    if stem[:1] == "d" and stem[1:] in GREEK:
        return f"d{GREEK[stem[1:]]}{tail}"
    if re.fullmatch("[A-Za-z]bar", stem):
        return f"{stem[0]}\u0304{tail}"
    return SIGNS.get(word) or html.escape(word, quote=False)


def _argument(text: str, at: int) -> tuple[str | None, int]:
    """(an index or a power, its end): a bracketed expression, or a word with an optional sign, or None."""
    if at < len(text) and text[at] in "{(":
        depth = 0
        for end in range(at, len(text)):
            depth += (text[end] in "{(") - (text[end] in "})")
            if depth == 0:
                return (text[at + 1 : end] if text[at] == "{" else text[at : end + 1]), end + 1
        return None, at
    word = re.compile(rf"-?(?:{_PLAIN})").match(text, at)
    return (word[0], word.end()) if word else (None, at)


# in sentences, only bracketed or short scripts, because longer ones may be names of arguments
SCRIPTS = re.compile(
    rf"(?:{_BASE}|{_ARGUMENT})(?:[_^](?:\{{[^{{}}\s]*\}}|\([^()\s]*\)|-?[A-Za-z0-9α-ωΑ-Ω]{{1,3}}['~]*(?![A-Za-z0-9_{{])|\*))+(?![\w^{{])"
)


def _sentence(text: str) -> str:
    """Indices and powers in sentences; code, links and headings unchanged."""
    parts = re.split(r"(`[^`]*`|\]\([^)]*\)|^#.*$)", text, flags=re.M)
    return "".join(part if k % 2 else SCRIPTS.sub(lambda match: line_of(match[0]), part) for k, part in enumerate(parts))


_ARTICLES = (["a"], ["the"], ["each"], ["every"], ["one"], ["of"], ["A"], ["The"])
_REFERENCE = re.compile(
    r"`[^`]*`|^#.*$"  # code and headings, unchanged
    r"|(?P<link>\[(?P<named>\w+)\]\([^)]*\) |(?<![\w`])(?P<word>[a-z]\w*) )?(?<![\w)\]])"
    r"(?P<numbers>\(\d+[a-z']?\)(?:(?:-|, | and | or | to |, and )\(\d+[a-z']?\))*)"
    r"|\]\([^)]*\)",
    re.M,
)


def _linked(text: str, own_numbers: set[str], others: dict[str, tuple[str, set[str]]]) -> str:
    """Turn numbers in sentences into links, to a different page if its name precedes them (but not in "a walk (3)")."""

    def link(match: re.Match[str]) -> str:
        if match["numbers"] is None:
            return match[0]
        before = text[: match.start()].split()[-1:]
        page, targets = others.get(match["named"] or (match["word"] if before not in _ARTICLES else ""), ("", own_numbers))

        def one(number: re.Match[str]) -> str:
            return f'<a href="{page}#eq-{number[1]}">{number[0]}</a>' if number[1] in targets else number[0]

        return (match["link"] or "") + re.sub(r"\((\d+[a-z']?)\)", one, match["numbers"])

    return _REFERENCE.sub(link, text)
