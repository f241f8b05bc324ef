"""Empty axes: every op with each letter of its dims at 0, and one case per op with each pair of letters at 0.

The calls request all optional results. Values and gradients are compared with the oracle.
"""

import itertools

from case import build, call_of, first_backend_or_slow, flat, op_of, parametrize_ops, structures
from checks import check_gradient, check_value
from namespaces import forget_plans
from quatrefoil._spec import FAMILIES
from resize import WORD, words_of

NEVER_EMPTY = {"wos": {"M", "numbers", "d"}}  # checked by the callers: a polygon has sides, and data have values


class Call:
    """The arguments of a case by name. ``variants``: its keywords, and the keywords that request all results."""

    def __init__(self, family, case, arguments, keywords):
        self.family, self.case, self.op = family, case, op_of(family, case.op)
        self.names = [a.name for a in self.op.inputs]
        self.count = len(arguments)
        keywords = dict(keywords)
        self.inputs = arguments + [keywords.pop(name, None) for name in self.names[self.count :]]
        self.keywords, self.variants = keywords, [keywords]

    def find_op(self):
        """Find the op that runs, which an option may select, and whether all of its results can be requested."""
        function = call_of(self.family, self.case)
        forget_plans()
        function(*self.positional(self.inputs), **self.keywords, **self.by_name(self.inputs))
        if self.op.policy.python_kernel is None:  # a Python kernel calls other ops
            self.op = next(op for op in FAMILIES[self.family] if op.plans and not op.policy.python_kernel)
        all_results = self.keywords | {o.only_if: True for o in self.op.outputs if o.only_if}
        if all_results != self.keywords:
            try:
                function(*self.positional(self.inputs), **all_results, **self.by_name(self.inputs))
                self.variants.append(all_results)
            except ValueError:
                assert self.op.check or self.op.rule  # dims alone never exclude a result

    def positional(self, inputs):
        return inputs[: self.count]

    def by_name(self, inputs):
        return {name: x for name, x in zip(self.names[self.count :], inputs[self.count :]) if x is not None}

    def axes(self):
        """(array, words) of every present input."""
        count = next((len(x) for a, x in zip(self.op.inputs, self.inputs) if a.sequence), 1)
        for arg, value in zip(self.op.inputs, self.inputs):
            for i, x in enumerate(value if arg.sequence else [value], 1):
                if x is not None:
                    yield x, words_of(arg.dims, x.ndim, i, count, self.keywords)

    def letters(self):
        words = [w for _, words in self.axes() for w in words]
        letters = {WORD.fullmatch(w)[2] for w in words if not w.isdigit() and not w.endswith("_x")}
        return sorted(letters - NEVER_EMPTY.get(self.family, set()))

    def emptied(self, letters):
        """The inputs with these letters at 0, or at 1 for a letter n if some axis has the length n - 1."""

        def cut(x, words):
            for axis, word in enumerate(words):
                if WORD.fullmatch(word)[2] in letters or (word.endswith("_x") and any(n.startswith(word[:-1]) for n in letters)):
                    size = 1 if "+1" in word or (WORD.fullmatch(word)[2] in shorter and "-" not in word) else 0
                    x = x[(slice(None),) * axis + (slice(size),)]
            return x

        shorter = {WORD.fullmatch(w)[2] for _, words in self.axes() for w in words if "-1" in w}
        cuts = iter([cut(x, words) for x, words in self.axes()])
        inputs = [None if x is None else [next(cuts) for _ in x] if a.sequence else next(cuts) for a, x in zip(self.op.inputs, self.inputs)]
        return [*self.case.fitted(inputs[: self.count]), *inputs[self.count :]] if self.case.fitted else inputs


@first_backend_or_slow
@parametrize_ops(structures())
def test_every_letter_at_0(family, cases, backend, rng):
    for number, case in enumerate(cases):
        print(case)
        check_empty(family, case, rng, 1 if number else 2)


def check_empty(family, case, rng, limit):
    """Check a case with up to ``limit`` letters set to 0."""
    call = Call(family, case, *build(family, case, rng, "float64"))
    call.find_op()
    op, letters = call.op, call.letters()
    done = 0
    for empty, options in itertools.product([e for n in range(1, limit + 1) for e in itertools.combinations(letters, n)], call.variants):
        inputs = call.emptied(empty)
        arguments, keywords = call.positional(inputs), call.by_name(inputs) | {k: 0 if k in empty else v for k, v in options.items()}
        print(f"{', '.join(empty)} = 0")
        try:
            # the decay of a state without input rounds in each step
            steps = max(n for x in flat(arguments) for n in (*x.shape, 1))
            expected = check_value(family, case, arguments, keywords, "float64", steps=steps)
        except ValueError as error:
            if (op.check or op.rule) and str(error).startswith(f"{op.label}: "):
                continue
            raise
        done += 1
        if op.adjoint is not None:
            check_gradient(family, case, arguments, keywords, rng, "float64", value=expected)
    assert done or op.check or op.rule
