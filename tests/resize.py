"""Resize the arguments of a case: change the sizes of the letters in an op's dims, and repeat or cut its arrays."""

import inspect
import re
from math import prod

import numpy as np

from case import call_of, op_of
from case import flat as arrays_in

WORD = re.compile(r"(\d*)(\.*[A-Za-z]?\w*)([+-]\d+)?")  # factor, letter, offset


def words_of(dims, rank, number, count, options):
    """The word in the dims for each axis of an array; batch axes are numbered from the last. ``number``: index among ``count`` arrays."""
    if " if " in dims:
        yes, option, no = re.split(" if | else ", dims)
        dims = yes if options.get(option) else no
    for form in dims.split(" or "):
        words = [w + str(number) if w.endswith("_") else str(count) if w == "#" else w for w in form.split()]
        words = [w for word in words for w in ([f"{word[:-1]}{i + 1}" for i in range(count)] if word.endswith("_*") else [word])]
        axes = [w for w in words if not w.endswith("...")]
        if len(axes) > rank:
            axes = [w for w in axes if not w.endswith("?")]
        batch = rank - len(axes)
        if batch == 0 or (batch > 0 and len(words) > len(axes) and "..." in form):
            return [f"..{i}" for i in range(batch, 0, -1)] + [w.removesuffix("?") for w in axes]
    raise AssertionError(f"no reading of {dims!r} has {rank} axes")


class Letters:
    """The size of each letter in the dims of a call's op; ValueError if the function's arguments are not those of its op."""

    def __init__(self, family, case, arguments, keywords):
        self.op = op = op_of(family, case.op)
        self.positional = len(arguments)
        self.inputs = [*arguments, *(keywords.get(a.name) for a in op.inputs[len(arguments) :])]
        if more := {k for k, v in keywords.items() if list(arrays_in([v]))} - {a.name for a in op.inputs}:
            raise ValueError(f"{more} are not inputs of the op")
        if keywords.get("transpose"):
            raise ValueError("transpose=True runs another op")
        defaults = {name: p.default for name, p in inspect.signature(call_of(family, case)).parameters.items()}
        self.options = options = {o.name: keywords.get(o.name, defaults.get(o.name)) for o in op.options}
        count = next((len(x) for a, x in zip(op.inputs, self.inputs) if a.sequence), 0)
        self.words, self.sizes = {}, {}  # (name, number) -> one word per axis; letter -> size
        for arg, value in zip(op.inputs, self.inputs):
            for i, x in enumerate(value if arg.sequence else [value]):
                if x is not None:
                    self.words[arg.name, i] = words_of(arg.dims, x.ndim, i + 1, count, options)
                    for word, n in zip(self.words[arg.name, i], x.shape):
                        self._learn(word, n, arg.broadcast)
        everywhere = " ".join(a.dims for a in op.inputs + op.outputs)  # an int option may be a letter
        self.of_options = [o.name for o in op.options if o.type is int and re.search(rf"\b{o.name}\b", everywhere)]
        for name in self.of_options:
            self._learn(name, options[name], False)

    def _learn(self, word, n, broadcast):
        factor, letter, offset = WORD.fullmatch(word).groups()
        if word.isdigit() or word.endswith("_x") or (broadcast and n == 1):
            return
        size = (n - int(offset or 0)) // int(factor or 1)
        if self.sizes.setdefault(letter, size) != size:
            raise ValueError(f"{letter} is {self.sizes[letter]} and {size}")

    def resized(self, sizes, rng):
        """The arguments and keywords of a call whose letters have these sizes."""
        resized = {}
        for arg, value in zip(self.op.inputs, self.inputs):
            arrays = [
                None if x is None else self._wrapped(x, self.words[arg.name, i], sizes, rng, arg.broadcast)
                for i, x in enumerate(value if arg.sequence else [value])
            ]
            resized[arg.name] = arrays if arg.sequence else arrays[0]
        positional = list(resized.values())[: self.positional]
        named = {name: a for name, a in list(resized.items())[self.positional :] if a is not None}
        return positional, named | {k: sizes[k] for k in self.of_options}

    def result_size(self, positional, keywords):
        """The number of elements in the results of a call with these arguments; 0 if the op rejects it."""
        inputs = [*positional, *(keywords.get(a.name) for a in self.op.inputs[self.positional :])]
        options = tuple(keywords.get(o.name, self.options.get(o.name)) for o in self.op.options)
        try:
            shapes = self.op.infer([None if x is None else x.shape for x in self.op.flatten(inputs)], options)
        except (ValueError, TypeError, AttributeError):
            return 0
        return sum(prod(shape) for shape in shapes if shape is not None)

    def _wrapped(self, a, words, sizes, rng, broadcast):
        for axis, word in enumerate(words):
            if broadcast and a.shape[axis] == 1:
                continue
            n = self._size(word, sizes, a.shape[axis])
            if n and not a.shape[axis]:
                raise ValueError("an empty axis cannot be repeated")
            a = np.take(a, np.arange(n) % max(a.shape[axis], 1), axis=axis)
        return np.asarray(a * rng.uniform(0.9, 1, a.shape)) if a.dtype.kind in "fc" else a

    def _size(self, word, sizes, current):
        if word.endswith("_x"):
            return prod(n for letter, n in sizes.items() if re.fullmatch(word[:-1] + r"\d+", letter))
        factor, letter, offset = WORD.fullmatch(word).groups()
        return int(factor or 1) * sizes[letter] + int(offset or 0) if letter in sizes else current
