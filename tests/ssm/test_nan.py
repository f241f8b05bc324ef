"""A NaN or infinity reaches its item, head or channel and what comes after it, in results and gradients: all else keeps its bits."""

import itertools
import re

import numpy as np
import pytest

from case import adjoint_arguments, all_cases, build, has_loops, op_of, precisions
from test_promises import with_gradients

# Op -> letters of its dims along which nothing is shared, that of time, cases, and arguments that some of these do not use
ROOMS = {
    "fft_conv": ("... H", "", ["L65", "L1024", "many-channels", "both-directions"], ""),
    "arma_filter": ("...", "L", ["long257", "rows9", "each-row-long"], ""),
    "s4d_kernel": ("H", "", ["zoh-L97-N5", "bilinear-L97-N5", "dss-L97-N5", "many-channels", "small"], ""),
    "s4d_conv": ("... H", "", ["fft-65", "fft-1000", "scan-8", "scan-33", "tiles"], ""),
    "s4_kernel": ("H", "", ["two-factors", "truncated-L30-N4"], ""),
    "selective_scan_fn": ("B D", "L", ["many-channels", "initial", "long100"], ""),
    "causal_conv1d_fn": ("B D", "L", ["small", "taps7-long128", "many-channels"], ""),
    "mamba_chunk_scan_combined": ("B H", "L", ["group-per-head"], "initial_states"),
    "s5_apply": ("...", "L", ["small", "L96"], ""),
    "gka": ("B H", "T", ["odd-steps", "exact", "linear-attention"], "alpha gk"),
    "chunk_gated_delta_rule": ("B H", "T", ["T8", "T17", "T200", "unnormalised"], ""),
    "chunk_simple_gla": ("B H", "T", ["T131"], ""),
}


def letters(dims, axes):
    """The name of each axis; in these cases there are as many heads of values as of keys, and one group per head."""
    for names in map(str.split, re.split(" or | if .* else ", re.sub(r"\bHV\b|\bG\b", "H", dims))):
        names = [n for n in names if n[-1] != "?"] if len(names) > axes else names
        if len(names) == axes:
            return names
    raise ValueError(dims)


def elsewhere(shape, names, place, time):
    """Which numbers of an array have another index along a letter, or come earlier."""
    mask = np.zeros(shape, bool)
    for name, index in zip(names, np.indices(shape)):
        if name in place:
            mask |= index < place[name] if name == time else index != place[name]
    return mask


@pytest.mark.parametrize("name", ROOMS)
def test_it_stays_where_it_is(backend, rng, name):
    rooms, time, chosen, unused = ROOMS[name]
    op = op_of("ssm", name)
    time = time if backend == "native" or has_loops(op) else ""  # a composition takes many steps at once
    mixed = {time, "H"} if name.startswith("mamba") and not time else {time}  # and sums gradients over heads by a product
    cases = [case for _, case in all_cases() if case.op == name and case.name in chosen]
    assert len(cases) == len(chosen)
    for case, precision in itertools.product(cases, precisions(backend)):
        arguments, keywords = build("ssm", case, rng, np.dtype(precision).name)
        inputs, _ = adjoint_arguments(op, arguments, keywords)
        there = [(a, x) for a, x in zip(op.inputs, inputs) if x is not None]
        clean = with_gradients("ssm", case, arguments, keywords)
        for (argument, x), bad in itertools.product(there, (np.nan, np.inf)):
            print(case, precision, argument.name, bad)
            at, before = tuple(rng.integers(n) for n in x.shape), x.copy()
            x[at] = bad
            place = {n: i for n, i in zip(letters(argument.dims, x.ndim), at) if n in (*rooms.split(), time)}
            with np.errstate(invalid="warn" if np.isnan(bad) else "ignore"):
                dirty = with_gradients("ssm", case, arguments, keywords)
            x[...] = before
            assert np.isinf(bad) or argument.name in unused or np.isnan(dirty[0][0]).any()
            for results, after, kinds in zip(clean, dirty, (op.outputs, [a for a, _ in there])):
                for result, other, kind in zip(results, after, kinds):
                    known = place if kinds is op.outputs else {n: i for n, i in place.items() if n not in mixed}
                    kept = elsewhere(result.shape, letters(kind.dims, result.ndim), known, time)
                    np.testing.assert_array_equal(other[kept], result[kept])
