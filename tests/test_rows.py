"""``ROWS`` in a method's cases.py names an axis for each op. Entries along this axis are independent of each other."""

import importlib

import numpy as np
import pytest

from case import build, by_op, call_with_adjoint, op_of, structures
from resize import Letters, words_of


def declared(family, op):
    """The ``ROWS`` in the cases.py of an op's method."""
    return getattr(importlib.import_module(f"{family}.{op_of(family, op).method}.cases"), "ROWS", {})


ROWS = [(family, op, cases, rows[op]) for (family, op), cases in by_op(structures()).items() if op in (rows := declared(family, op))]


@pytest.mark.parametrize(("family", "cases", "letter"), [(f, *x) for f, _, *x in ROWS], ids=[f"{f}.{op}" for f, op, *_ in ROWS])
def test_rows_do_not_depend_on_each_other(family, cases, letter, backend, rng):
    """Computing some of the entries gives the same bits as computing all, and a NaN stays in its entry."""
    checked = 0
    for case in cases:
        arguments, keywords = build(family, case, rng, "float64")
        if keywords.get("transpose"):  # selects another op
            continue
        letters = Letters(family, case, arguments, keywords)
        if letter in letters.sizes:
            print(case)
            arguments, more = letters.resized(letters.sizes | {letter: 130}, rng)
            check_rows(family, case, letters, letter, case.valid(arguments) if case.valid else arguments, keywords | more, backend)
            checked += 1
    assert checked


def check_rows(family, case, letters, letter, arguments, keywords, backend):
    op = letters.op
    inputs = [*arguments, *(keywords.get(a.name) for a in op.inputs[len(arguments) :])]
    axes = {name: words.index(letter) for (name, _), words in letters.words.items() if letter in words}

    def of_result(i, y):
        return words_of(op.outputs[i].dims, y.ndim, 1, len(letters.words), letters.options).index(letter)

    def run(inputs, spoilt=None):
        """Results and gradients that have the axis, moved to the front; ``spoilt``: index of a result whose gradient contains a NaN."""

        def grad(i, y):
            g = np.ones_like(y)
            if i == spoilt:
                np.moveaxis(g, of_result(i, y), 0)[101] = np.nan
            return g

        named = {a.name: x for a, x in zip(op.inputs, inputs) if a.name in keywords}
        results, gradients = call_with_adjoint(family, case, inputs[: len(arguments)], keywords | named, grad)
        of_inputs = [(a.name, x if a.sequence else [x]) for a, x in zip(op.inputs, inputs) if a.has_gradient and x is not None]
        where = [*(of_result(i, y) for i, y in enumerate(results)), *(axes.get(name) for name, arrays in of_inputs for _ in arrays)]
        return [np.moveaxis(y, axis, 0) for y, axis in zip([*results, *gradients], where, strict=True) if axis is not None]

    def check(results, expected):
        for got, e in zip(results, expected, strict=True):
            if backend == "native" and op.policy.python_kernel is None:
                np.testing.assert_array_equal(got, e)
            else:  # the order of sums in BLAS depends on the shape
                np.testing.assert_allclose(got, e, rtol=1e-12, atol=1e-11)

    whole = run(inputs)
    for part in (slice(0, 1), slice(7, 120), slice(128, 130)):
        some = [x[(slice(None),) * axes[a.name] + (part,)] if a.name in axes else x for a, x in zip(op.inputs, inputs)]
        check(run(some), [e[part] for e in whole])
    for spoilt in (*axes, *range(len(op.outputs))):
        poisoned = [x.copy() if a.name == spoilt else x for a, x in zip(op.inputs, inputs)]
        for a, x in zip(op.inputs, poisoned):
            if a.name == spoilt:
                np.moveaxis(x, axes[spoilt], 0)[101] = np.nan
        try:
            results = run(poisoned, spoilt)
        except ValueError as error:
            assert "is nan" in str(error)  # noqa: PT017
            continue
        check([np.delete(got, 101, 0) for got in results], [np.delete(e, 101, 0) for e in whole])
        assert any(np.isnan(got[101]).any() for got in results) or not isinstance(spoilt, str)
