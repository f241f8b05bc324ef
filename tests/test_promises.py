"""What every method promises, by the table and by its module of cases: the same bits for any number of threads, half precision computed in
float32, where a NaN stays (``NAN_STAYS``), that a sequence may be cut (``CUTS``), how much memory a call takes (``MEMORY``)."""

import inspect
import itertools
import re

import numpy as np
import pytest

import quatrefoil as qf
from case import (
    adjoint_arguments,
    build,
    call_of,
    chosen_cases,
    flat,
    has_loops,
    in_precision,
    made,
    op_of,
    parametrize,
    parametrize_ops,
    precisions,
    promised,
    simplest,
    structures,
    tolerance,
    with_gradients,
)
from namespaces import mapped
from public import CALLS, arrays
from quatrefoil._backends import native
from resize import Letters, words_of

MAX = 1e5  # numbers in the arrays of a long call, and ten times as many in its result: enough for every kernel to share its work
LONGEST = {"gsmp_kernel": 300, "gka": 300, "spectral_mixture": 1000}  # whose cost grows faster than their results
THREADS = 7  # more than the cores of most machines, and no power of two; the fuzzer draws others
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
            for got, expected in zip(with_gradients(family, case, arguments, keywords | {"num_threads": THREADS}), one):
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


HALVED = [name for name in CALLS if name.startswith("ssm.") and re.search("update|rule|gla", name)]


@pytest.mark.torch
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", HALVED)
def test_functions_around_ops_compute_half_precision_in_float32(backend, name, half):
    torch = pytest.importorskip("torch")
    from tensors import plain

    def narrow(t):
        return t.to(getattr(torch, half)) if t.is_floating_point() else t

    def widened(t):
        return narrow(t).float() if t.is_floating_point() else t

    got, expected = (arrays(CALLS[name](lambda x, of=of: mapped(torch.Tensor, of, plain(x)))) for of in (narrow, widened))
    assert got[0].dtype == getattr(torch, half)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b.to(a.dtype))


def letters(dims, x, options):
    """The name of each axis; in these cases there are as many heads of values as of keys, and one group per head."""
    return words_of(re.sub(r"\bHV\b|\bG\b", "H", dims), x.ndim, 1, 1, options)


def elsewhere(shape, names, place, time):
    """Which numbers of an array have another index along a letter, or come earlier."""
    mask = np.zeros(shape, bool)
    for name, index in zip(names, np.indices(shape)):
        if name in place:
            mask |= index < place[name] if name == time else index != place[name]
    return mask


@promised("NAN_STAYS")
def test_a_nan_stays_where_it_is(backend, rng, family, op, promise):
    """A NaN or infinity reaches its item, head or channel and what comes after it, in results and gradients: all else keeps its bits.

    The promise: letters of the op's dims along which nothing is shared, that of time, cases, and arguments that some of these do not use.
    """
    rooms, time, names, unused, *_ = (*promise, "")
    cases, op = chosen_cases(family, op, names), op_of(family, op)
    time = time if backend == "native" or has_loops(op) else ""  # a composition takes many steps at once
    mixed = {time, "H"} if op.name.startswith("mamba") and not time else {time}  # and sums gradients over heads by a product
    for case, precision in itertools.product(cases, precisions(backend)):
        arguments, keywords = build(family, case, rng, np.dtype(precision).name)
        inputs, _ = adjoint_arguments(op, arguments, keywords)
        there = [(a, x) for a, x in zip(op.inputs, inputs) if x is not None]
        clean = with_gradients(family, case, arguments, keywords)
        for (argument, x), bad in itertools.product(there, (np.nan, np.inf)):
            print(case, precision, argument.name, bad)
            at, before = tuple(rng.integers(n) for n in x.shape), x.copy()
            x[at] = bad
            place = {n: i for n, i in zip(letters(argument.dims, x, keywords), at) if n in (*rooms.split(), time)}
            with np.errstate(invalid="warn" if np.isnan(bad) else "ignore"):
                dirty = with_gradients(family, case, arguments, keywords)
            x[...] = before
            assert np.isinf(bad) or argument.name in unused or np.isnan(dirty[0][0]).any()
            for results, after, kinds in zip(clean, dirty, (op.outputs, [a for a, _ in there])):
                for result, other, kind in zip(results, after, kinds):
                    known = place if kinds is op.outputs else {n: i for n, i in place.items() if n not in mixed}
                    kept = elsewhere(result.shape, letters(kind.dims, result, keywords), known, time)
                    np.testing.assert_array_equal(other[kept], result[kept])


@promised("CUTS")
def test_a_sequence_may_be_cut(backend, rng, family, op, promise):
    """Pieces that pass their states on are one run; to the bit, if a kernel's sums have one order wherever it is cut.

    The promise: the letter of time, the argument that takes the states, cases that return them, whether the bits are the same.
    """
    time, start, names, is_exact = promise
    cases, op = chosen_cases(family, op, names), op_of(family, op)
    dims = {a.name: a.dims for a in op.inputs}
    for case in cases:
        function, (arguments, keywords) = call_of(family, case), build(family, case, rng, "float64")
        given = {n: x for n, x in zip(inspect.signature(function).parameters, arguments) if x is not None} | keywords
        words = {n: letters(dims[n], x, keywords) for n, x in given.items() if n in dims}
        along = {n: axes.index(time) for n, axes in words.items() if time in axes}
        whole = made(function(**given))
        axis = letters(op.outputs[0].dims, whole[0], keywords).index(time)
        length = whole[0].shape[axis]
        for cuts in ((1,), (length // 2, length // 2), (0, length - 1, length)):
            print(case, cuts)
            pieces, states = [], given.get(start)
            for first, last in itertools.pairwise((0, *cuts, length)):
                piece = {n: np.take(x, range(first, last), along[n]) if n in along else x for n, x in given.items()}
                y, *states = made(function(**piece | ({} if states is None else {start: states})))
                pieces.append(y)
                states = tuple(states) if len(states) > 1 else states[0]
            for got, expected in zip((np.concatenate(pieces, axis), *made(states)), whole, strict=True):
                if is_exact and backend == "native":
                    np.testing.assert_array_equal(got, expected)
                assert np.abs(got - expected).max() <= tolerance(op, "float64") * np.abs(expected).max()


@pytest.mark.skipif(native.reason() is not None, reason="of the compiled kernels")
@promised("MEMORY")
def test_memory(peak_memory, family, op, promise):
    """The promise: a setup, and code with the bytes that it may take at its peak."""
    setup, bounds = promise
    for code, most in bounds:
        assert peak_memory(f"import numpy as np, quatrefoil as qf\n{setup}", code) < most
