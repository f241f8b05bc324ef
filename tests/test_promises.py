"""Promises of every method: the same bits for any number of threads, and half precision computed in float32.

A method's cases.py may declare more: along which axes a NaN does not spread (``NAN_STAYS``), that a sequence may be split (``CUTS``), and
the memory of a call (``MEMORY``).
"""

import inspect
import itertools
import re

import numpy as np
import pytest

import quatrefoil as qf
from case import (
    adjoint_arguments,
    arrays_of,
    build,
    call_of,
    chosen_cases,
    flat,
    has_loops,
    in_precision,
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

MAX = 1e5  # elements in the arguments of a long call, and ten times as many in its results: enough for kernels to use several threads
LONGEST = {"gsmp_kernel": 300, "gka": 300, "spectral_mixture": 1000}  # their cost grows faster than their results
THREADS = 7  # more than the cores of most machines, and not a power of two; the fuzzer draws other numbers
COMPILED = [(f, case) for f, case in structures() if native.reason() is None and op_of(f, case.op).policy.python_kernel is None]


def lengthened(family, case, rng):
    """(letter, arguments, keywords) for each letter of the op's dims: a call with that letter as long as ``MAX`` allows."""
    arguments, keywords = build(family, case, rng, "float32")
    try:
        letters = Letters(family, case, arguments, keywords)
    except ValueError:  # the function's arguments are not those of its op
        yield "none", arguments, keywords
        return
    before = letters.sizes
    for letter, size in before.items():
        fits = None
        for factor in (4, 16, 64, 256, 1024, 4096, 16384):
            letters.sizes = before
            long, named = letters.resized(before | {letter: size * factor + 1}, rng)
            long, named = in_precision(family, case, case.fitted(long) if case.fitted else long, keywords | named, "float32")
            numbers = sum(a.size for a in flat([*long, *named.values()]))
            longest = min(case.longest or MAX, LONGEST.get(case.op, MAX))
            if numbers > MAX or size * factor > longest or letters.result_size(long, named) > 10 * MAX:
                break
            fits = long, named
        if fits:
            yield letter, *fits


@pytest.mark.filterwarnings("ignore:.*more heads than tokens")
@parametrize_ops(COMPILED)
def test_bits_do_not_depend_on_threads(family, cases, rng):
    op = op_of(family, cases[0].op)
    calls = ((c, *call) for c in cases for call in lengthened(family, c, rng))
    for case, letter, arguments, keywords in calls:
        print(case, letter, [np.shape(a) for a in flat(arguments)])
        with qf.use_backend("native"):
            try:
                one = with_gradients(family, case, arguments, keywords | {"num_threads": 1})
            except ValueError as error:
                if (op.check or op.rule) and str(error).startswith(f"{op.label}: "):  # a rule in addition to dims
                    continue
                raise
            np.testing.assert_equal(with_gradients(family, case, arguments, keywords | {"num_threads": THREADS}), one)


def halved(op, arguments, keywords):
    """The same call with float16 arrays for all arguments that accept them."""
    accepts_half = {a.name for a in op.inputs if a.half}

    def narrow(name, x):
        return x.astype(np.float16) if name in accepts_half and isinstance(x, np.ndarray) and x.dtype == np.float32 else x

    names = [a.name for a in op.inputs]
    return [narrow(n, x) for n, x in zip(names, arguments)], {n: narrow(n, x) for n, x in keywords.items()}


def widened(x):
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype == np.float16 else x


@parametrize([(family, case) for family, case in simplest() if any(a.half for a in op_of(family, case.op).inputs)])
def test_half_precision_is_computed_in_float32(family, case, best_backend, rng):
    """The results equal the float32 results, rounded once."""
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

    got, expected = (arrays(CALLS[name](lambda x, cast=cast: mapped(torch.Tensor, cast, plain(x)))) for cast in (narrow, widened))
    assert got[0].dtype == getattr(torch, half)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b.to(a.dtype))


def letters(dims, x, options):
    """The letter of each axis; these cases have as many value heads as key heads, and one group per head."""
    return words_of(re.sub(r"\bHV\b|\bG\b", "H", dims), x.ndim, 1, 1, options)


def elsewhere(shape, names, index_of, time):
    """A mask of the elements whose index differs from ``index_of`` along some letter, or whose time is earlier."""
    mask = np.zeros(shape, bool)
    for name, index in zip(names, np.indices(shape)):
        if name in index_of:
            mask |= index < index_of[name] if name == time else index != index_of[name]
    return mask


@promised("NAN_STAYS")
def test_nan_does_not_spread(backend, rng, family, op, promise):
    """A NaN or infinity affects only its own item, head or channel, from its time on; all other values and gradients keep their bits.

    The promise: (dims along which entries are independent, the dim of time, names of cases, arguments that some cases ignore).
    """
    independent, time, names, unused, *_ = (*promise, "")
    cases, op = chosen_cases(family, op, names), op_of(family, op)
    time = time if backend == "native" or has_loops(op) else ""  # a composition computes many steps at once
    mixed = {time, "H"} if op.name.startswith("mamba") and not time else {time}  # a composition sums over heads by a matrix product
    for case, precision in itertools.product(cases, precisions(backend)):
        arguments, keywords = build(family, case, rng, np.dtype(precision).name)
        inputs, _ = adjoint_arguments(op, arguments, keywords)
        present = [(a, x) for a, x in zip(op.inputs, inputs) if x is not None]
        clean = with_gradients(family, case, arguments, keywords)
        for (argument, x), bad in itertools.product(present, (np.nan, np.inf)):
            print(case, precision, argument.name, bad)
            at, before = tuple(rng.integers(n) for n in x.shape), x.copy()
            x[at] = bad
            index_of = {n: i for n, i in zip(letters(argument.dims, x, keywords), at) if n in (*independent.split(), time)}
            with np.errstate(invalid="warn" if np.isnan(bad) else "ignore"):
                dirty = with_gradients(family, case, arguments, keywords)
            x[...] = before
            assert np.isinf(bad) or argument.name in unused or np.isnan(dirty[0][0]).any()
            for results, after, kinds in zip(clean, dirty, (op.outputs, [a for a, _ in present])):
                for result, other, kind in zip(results, after, kinds):
                    indices = index_of if kinds is op.outputs else {n: i for n, i in index_of.items() if n not in mixed}
                    unaffected = elsewhere(result.shape, letters(kind.dims, result, keywords), indices, time)
                    np.testing.assert_array_equal(other[unaffected], result[unaffected])


@promised("CUTS")
def test_sequences_may_be_split(backend, rng, family, op, promise):
    """Segments that pass on their states give the same result as one run.

    The promise: (the dim of time, the argument that receives the state, names of cases that return states, whether the bits must agree).
    """
    time, start, names, is_exact = promise
    cases, op = chosen_cases(family, op, names), op_of(family, op)
    dims = {a.name: a.dims for a in op.inputs}
    for case in cases:
        function, (arguments, keywords) = call_of(family, case), build(family, case, rng, "float64")
        call = {n: x for n, x in zip(inspect.signature(function).parameters, arguments) if x is not None} | keywords
        words = {n: letters(dims[n], x, keywords) for n, x in call.items() if n in dims}
        along = {n: axes.index(time) for n, axes in words.items() if time in axes}
        whole = arrays_of(function(**call))
        axis = letters(op.outputs[0].dims, whole[0], keywords).index(time)
        length = whole[0].shape[axis]
        for cuts in ((1,), (length // 2, length // 2), (0, length - 1, length)):
            print(case, cuts)
            results, states = [], call.get(start)
            for first, last in itertools.pairwise((0, *cuts, length)):
                segment = {n: np.take(x, range(first, last), along[n]) if n in along else x for n, x in call.items()}
                y, *states = arrays_of(function(**segment | ({} if states is None else {start: states})))
                results.append(y)
                states = tuple(states) if len(states) > 1 else states[0]
            for got, expected in zip((np.concatenate(results, axis), *arrays_of(states)), whole, strict=True):
                if is_exact and backend == "native":
                    np.testing.assert_array_equal(got, expected)
                assert np.abs(got - expected).max() <= tolerance(op, "float64") * np.abs(expected).max()


@pytest.mark.skipif(native.reason() is not None, reason="needs compiled kernels")
@promised("MEMORY")
def test_memory(peak_memory, family, op, promise):
    """The promise: (a setup, pairs of code and the peak number of bytes that it may allocate)."""
    setup, bounds = promise
    for code, limit in bounds:
        assert peak_memory(f"import numpy as np, quatrefoil as qf\n{setup}", code) < limit
