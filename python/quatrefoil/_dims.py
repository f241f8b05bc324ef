"""Shapes written as words, ``"... H L"``, and matched with the arrays of a call. Sizes must agree; they determine the results' shapes.

- ``H``, ``3``: one axis. A letter has one size in the whole call; the name of an int option has that option's value.
- ``2P``, ``W-1``: one axis of that size.
- ``M?``: an axis that is present in all arguments that name it, or in none.
- ``...``: any leading batch axes, the same in all arguments with ``...``. ``M... ...``: further batch axes before them.
- ``m_ n_`` in an argument that is a sequence: (m_1, n_1), (m_2, n_2), ... In other arguments ``n_*`` stands for the axes n_1, n_2, ...,
  ``n_x`` for one axis whose size is their product, and ``#`` for the number of arrays.
- ``A or B``: distinguished by the number of axes. ``A if x else B``: A if the option x is true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Shape = tuple[int, ...]
_AXIS = re.compile(r"(\d*)([A-Za-z]\w*)([+-]\d+)?")


class _Form(NamedTuple):
    """One way to read an argument's dims: leading batches, then axes; ``missing`` is the letter that is absent in this reading."""

    leads: list[str]
    axes: list[str]
    missing: str | None = None

    def takes(self, rank: int) -> bool:
        return rank == len(self.axes) or (bool(self.leads) and rank > len(self.axes))


class Sizes:
    """The sizes that the arrays of one call have determined so far."""

    def __init__(self, label: str, count: int, options: Mapping[str, Any]) -> None:
        self.label = label
        self._count = count  # arrays in the sequence
        self._options = options
        # per letter: its size (None if the axis is missing), and the argument that determined it
        self._known: dict[str, tuple[Any, str]] = {n: (v, "") for n, v in options.items() if not isinstance(v, (bool, str, float, tuple))}
        self._batch: dict[str, tuple[Shape, str]] = {}

    def match(self, name: str, dims: str, number: int, shape: Shape) -> None:
        """Match an array with its dims, or raise ValueError. ``number``: the index in a sequence, from 1."""
        forms = [form for words in self._readings(dims, number) for form in self._forms(words)]
        form = next((f for f in forms if f.takes(len(shape))), None)
        before = self._known.copy(), self._batch.copy()
        if form is None or not self._fits(form, name, shape):
            self._known, self._batch = before
            raise ValueError(
                f"{self.label}: {name} has shape {shape}, expected {self._expected(forms, dims)}{self._flat(forms, name, shape)}"
            )
        if form.missing:
            self._known.setdefault(form.missing, (None, name))

    def shape(self, dims: str) -> Shape:
        """The shape of a result."""
        (words,) = self._readings(dims, 0)
        shape: list[Any] = []
        for word in words:
            if word.endswith("..."):
                shape += self._batch.get(word, ((), ""))[0]
            elif not word.endswith("?") or self._known.get(word[:-1], (None, ""))[0] is not None:
                shape.append(self._size(word.removesuffix("?")))
        return tuple(shape)

    def _readings(self, dims: str, number: int) -> list[list[str]]:
        if " if " in dims:
            yes, option, no = re.split(" if | else ", dims)
            dims = yes if self._options[option] else no
        return [self._words(words, number) for words in dims.split(" or ")]

    def _words(self, dims: str, number: int) -> list[str]:
        words: list[str] = []
        for word in dims.split():
            if word == "#":
                words.append(str(self._count))
            elif word.endswith("_*"):
                words += [f"{word[:-1]}{i + 1}" for i in range(self._count)]
            else:
                words.append(f"{word}{number}" if word.endswith("_") else word)
        return words

    def _forms(self, words: list[str]) -> list[_Form]:
        leads, axes = [w for w in words if w.endswith("...")], [w for w in words if not w.endswith("...")]
        letter = next((w[:-1] for w in axes if w.endswith("?")), None)
        if letter is None:
            return [_Form(leads, axes)]
        present = _Form(leads, [w.removesuffix("?") for w in axes])
        rest = [w for w in axes if not w.endswith("?")]
        if letter not in self._known:  # read as present if there are enough axes
            return [present, _Form([], rest, letter)]
        return [present if self._known[letter][0] is not None else _Form(leads, rest)]

    def _fits(self, form: _Form, name: str, shape: Shape) -> bool:
        batch_rank = len(shape) - len(form.axes)
        lead = shape[:batch_rank]
        if len(form.leads) == 2:
            inner = self._batch.get(form.leads[1], ((), ""))[0]
            if lead[max(len(lead) - len(inner), 0) :] != inner:
                return False
            lead = lead[: len(lead) - len(inner)]
        if form.leads and self._batch.setdefault(form.leads[0], (lead, name))[0] != lead:
            return False
        return all(self._agrees(word, size, name) for word, size in zip(form.axes, shape[batch_rank:]))

    def _agrees(self, word: str, size: Any, name: str) -> bool:
        axis = _AXIS.fullmatch(word)
        if not axis or word.endswith("_x") or axis[2] in self._known:
            return bool(self._size(word) == size)
        factor, offset = int(axis[1] or 1), int(axis[3] or 0)
        if (factor != 1 and (size - offset) % factor) or (offset and size < offset):
            return False
        self._known[axis[2]] = (size - offset) // factor if factor != 1 else size - offset, name
        return True

    def _size(self, word: str) -> Any:
        axis = _AXIS.fullmatch(word)
        if not axis:
            return int(word)
        if word.endswith("_x"):
            return math.prod([self._known[f"{word[:-1]}{i + 1}"][0] for i in range(self._count)])
        factor, size, offset = int(axis[1] or 1), self._known[axis[2]][0], int(axis[3] or 0)
        return factor * size + offset if factor != 1 or offset else size  # no arithmetic, so that a symbolic size is returned unchanged

    def _flat(self, forms: list[_Form], name: str, shape: Shape) -> str:
        """A hint for a grid whose axes must be flattened to one."""
        products = [self._size(w) for f in forms for w in f.axes[-1:] if w.endswith("_x")]
        ends = (i for i in range(len(shape)) if products and math.prod(shape[i:]) == products[0])
        begin = next(ends, None)
        return "" if begin is None else f"; flatten the grid: {name}.reshape({', '.join(map(str, (*shape[:begin], -1)))})"

    def _expected(self, forms: list[_Form], dims: str) -> str:
        """The dims for an error, with the sizes that are known and the arguments that determined them."""
        texts = []
        for form in sorted(forms, key=lambda f: len(f.axes)):
            axes = [str(self._size(w)) if w.endswith("_x") else re.sub(r"([+-])", r" \1 ", w) for w in form.axes]
            words = ["..."] * bool(form.leads) + axes
            texts.append(f"({', '.join(words)}{',' * (len(words) == 1)})")
        by_source: dict[str, list[str]] = {}
        leads = [w for w in dict.fromkeys(w for f in forms for w in f.leads) if w in self._batch]
        if leads:
            shape = tuple(n for w in leads for n in self._batch[w][0])
            by_source[self._batch[leads[-1]][1]] = [f"the batch axes {shape}"]
        for letter in dict.fromkeys(m[2] for f in forms for w in f.axes if (m := _AXIS.fullmatch(w)) and not w.endswith("_x")):
            size, source = self._known.get(letter, (None, ""))
            if size is not None:
                by_source.setdefault(source, []).append(f"{letter} = {size}")
        reasons = [", ".join(sizes) + (f" as in {source}" if source else "") for source, sizes in by_source.items()]
        option = re.split(" if | else ", dims)[1] if " if " in dims else None
        if option:
            reasons.append(f"{option}={bool(self._options[option])}")
        return " or ".join(texts) + (f" with {' and '.join(reasons)}" if reasons else "")
