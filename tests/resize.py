"""Other sizes for the arguments of a case: the letters of an op's dims get new ones, arrays are wrapped around or cut."""

import inspect
import re
from math import prod

import numpy as np

from case import call_of, op_of
from case import flat as arrays_in
from quatrefoil._dims import _AXIS, Sizes


def options_of(family, case, keywords):
    """The values of the op's options in a call with these keywords."""
    parameters = inspect.signature(call_of(family, case)).parameters
    return {
        o.name: keywords.get(o.name, parameters[o.name].default if o.name in parameters else None) for o in op_of(family, case.op).options
    }


class Letters:
    """The sizes of one call by the letters of its op's dims; ValueError where what the function takes is not what its op does."""

    def __init__(self, family, case, arguments, keywords):
        self.op = op = op_of(family, case.op)
        if op.rule:
            raise ValueError("dims do not say what fits")
        self.positional = len(arguments)
        self.inputs = [*arguments, *(keywords.get(a.name) for a in op.inputs[len(arguments) :])]
        if more := {k for k, v in keywords.items() if list(arrays_in([v]))} - {a.name for a in op.inputs}:
            raise ValueError(f"{more} are no inputs of the op")
        flat = op.flatten([a if not arg.many or a is None else list(a) for arg, a in zip(op.inputs, self.inputs)])
        shapes = [None if a is None else np.shape(a) for a in flat]
        options = options_of(family, case, keywords)
        sizes = Sizes(op.label, len(shapes) - len(op.inputs) + 1 if op.many is not None else 0, options)
        self.words = {}  # (name, number) -> a word an axis
        entries = sorted(zip(op.named(shapes), shapes), key=lambda e: (not e[0][1].many, e[0][1].dims.count("...") > 1))
        for (name, arg, number, _), shape in entries:
            if shape is None:
                continue
            sizes.match(name, arg.dims, number, shape)
            forms = [f for words in sizes._readings(arg.dims, number) for f in sizes._forms(words)]
            form = next(f for f in forms if f.takes(len(shape)) and sizes._fits(f, name, shape))
            lead = len(shape) - len(form.axes)
            self.words[arg.name, number] = [*(f"lead{i - lead}" for i in range(lead)), *form.axes]
        known = {k: v for k, (v, _) in sizes._known.items() if isinstance(v, int)}
        batches = max((b for b, _ in sizes._batch.values()), key=len, default=())
        self.sizes = known | {f"lead{i - len(batches)}": n for i, n in enumerate(batches)}
        everywhere = " ".join(a.dims for a in op.inputs + op.outputs)
        self.sizes = {k: v for k, v in self.sizes.items() if k not in options or re.search(rf"\b{k}\b", everywhere)}
        self.of_options = [k for k in self.sizes if k in options]

    def resized(self, sizes, rng):
        """The arguments and keywords of a call whose letters have these sizes."""
        made = {}
        for arg, value in zip(self.op.inputs, self.inputs):
            if value is None:
                made[arg.name] = None
            elif arg.many:
                made[arg.name] = [self._wrapped(a, self.words[arg.name, i + 1], sizes, rng) for i, a in enumerate(value)]
            else:
                made[arg.name] = self._wrapped(value, self.words[arg.name, 0], sizes, rng)
        positional = list(made.values())[: self.positional]
        named = {name: a for name, a in list(made.items())[self.positional :] if a is not None}
        return positional, named | {k: sizes[k] for k in self.of_options}

    def _wrapped(self, a, words, sizes, rng):
        for axis, word in enumerate(words):
            n = self._size(word, sizes, a.shape[axis])
            if n and not a.shape[axis]:
                raise ValueError("nothing to repeat")
            a = np.take(a, np.arange(n) % max(a.shape[axis], 1), axis=axis)
        return a * rng.uniform(0.9, 1, a.shape) if a.dtype.kind in "fc" else a

    def _size(self, word, sizes, now):
        if word.endswith("_x"):
            return prod(n for letter, n in sizes.items() if re.fullmatch(word[:-1] + r"\d+", letter))
        found = _AXIS.fullmatch(word)
        if not found or found[2] not in sizes:
            return now
        return int(found[1] or 1) * sizes[found[2]] + int(found[3] or 0)
