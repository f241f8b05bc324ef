"""What every method promises, by the table: the same bits for any number of threads, half precision computed in float32."""

import numpy as np
import pytest

import quatrefoil as qf
from case import build, call_with_adjoint, flat, in_precision, op_of, parametrize, parametrize_ops, simplest, structures
from quatrefoil._backends import native
from resize import Letters

MAX = 1e5  # numbers in the arrays of a long call, and ten times as many in its result: enough for every kernel to share its work
LONGEST = {"gsmp_kernel": 300, "gka": 300, "spectral_mixture": 1000}  # whose cost grows faster than their results
COMPILED = [
    (family, case) for family, case in structures() if native.reason() is None and op_of(family, case.op).policy.python_kernel is None
]


def lengthened(family, case, rng):
    """(letter, arguments, keywords): a call of the case with each letter of its op's dims in turn as long as ``MAX`` allows."""
    arguments, keywords = build(family, case, rng, "float32")
    try:
        letters = Letters(family, case, arguments, keywords)
    except ValueError:  # the function takes what its op does not
        yield "none", arguments, keywords
        return
    before = letters.sizes
    for letter, size in before.items():
        fits = None
        for factor in (4, 16, 64, 256, 1024, 4096, 16384):
            letters.sizes = before
            given, more = letters.resized(before | {letter: size * factor + 1}, rng)
            given, more = in_precision(family, case, case.fitted(given) if case.fitted else given, keywords | more, "float32")
            numbers = sum(a.size for a in flat([*given, *more.values()]))
            longest = min(case.longest or MAX, LONGEST.get(case.op, MAX))
            if numbers > MAX or size * factor > longest or letters.numbers_made(given, more) > 10 * MAX:
                break
            fits = given, more
        if fits:
            yield letter, *fits


def with_gradients(family, case, arguments, keywords):
    """(arrays of the result, arrays of the gradients)"""
    return call_with_adjoint(family, case, arguments, keywords, lambda i, y: (np.arange(y.size) % 7 - 3.0).reshape(y.shape).astype(y.dtype))


@pytest.mark.filterwarnings("ignore:.*more heads than tokens")
@parametrize_ops(COMPILED)
def test_threads_do_not_change_a_bit(family, cases, rng):
    op = op_of(family, cases[0].op)
    calls = ((c, *call) for c in cases for call in lengthened(family, c, rng))
    for case, letter, arguments, keywords in calls:
        print(case, letter, [np.shape(a) for a in flat(arguments)])
        with qf.use_backend("native"):
            try:
                one = with_gradients(family, case, arguments, keywords | {"num_threads": 1})
            except ValueError as refused:
                if (op.check or op.rule) and str(refused).startswith(f"{op.label}: "):  # by what dims cannot say
                    continue
                raise
            for threads in (2, 7):
                for got, expected in zip(with_gradients(family, case, arguments, keywords | {"num_threads": threads}), one):
                    for g, e in zip(got, expected, strict=True):
                        np.testing.assert_array_equal(g, e)


def halved(op, arguments, keywords):
    """The same call with every array in float16 that may be."""
    may = {a.name for a in op.inputs if a.half}

    def narrow(name, x):
        return x.astype(np.float16) if name in may and isinstance(x, np.ndarray) and x.dtype == np.float32 else x

    names = [a.name for a in op.inputs]
    return [narrow(n, x) for n, x in zip(names, arguments)], {n: narrow(n, x) for n, x in keywords.items()}


def widened(x):
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype == np.float16 else x


@parametrize([(family, case) for family, case in simplest() if any(a.half for a in op_of(family, case.op).inputs)])
def test_half_precision_is_computed_in_float32(family, case, best_backend, rng):
    """The bits of float32, rounded once; bfloat16 too, which tensors have."""
    op = op_of(family, case.op)
    arguments, keywords = halved(op, *build(family, case, rng, "float32"))
    expected = with_gradients(family, case, [widened(x) for x in arguments], {k: widened(x) for k, x in keywords.items()})
    for got, wide in zip(with_gradients(family, case, arguments, keywords), expected):
        for g, e in zip(got, wide, strict=True):
            assert g.dtype in (e.dtype, np.float16)
            np.testing.assert_array_equal(g, e.astype(g.dtype))
    assert any(g.dtype == np.float16 for g in with_gradients(family, case, arguments, keywords)[0])
