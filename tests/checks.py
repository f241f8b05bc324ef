"""Checks of a call to an op, and to its adjoint, against the method's oracle, for the suite and the fuzzer."""

import numpy as np
import pytest

import quatrefoil as qf
from case import (
    adjoint_arguments,
    arrays_of,
    call_of,
    call_with_adjoint,
    differentiable_results,
    exact,
    flat,
    in_precision,
    op_of,
    oracle_of,
    scales,
    tolerance,
    vjp_of,
)


def call_oracle(family, case, arguments, keywords):
    """The oracle's result for the arguments of a call."""
    return oracle_of(family, case)(*exact(arguments), **{k: exact(v) for k, v in keywords.items()})


def check_value(family, case, arguments, keywords, precision, backend=None, steps=1, expected=None, rounded=1):
    """Compare the op's result with ``expected``, by default the oracle's; return ``expected``.

    ``steps``: the length of a recurrence without input, which rounds in each step. ``rounded``: 2 if ``expected`` has rounding errors of
    the same size.
    """
    before_call = exact(arguments)
    got = call_of(family, case)(*arguments, **keywords, backend=backend, num_threads=1 if backend else None)
    if expected is None:
        expected = call_oracle(family, case, arguments, keywords)
    outputs, results = op_of(family, case.op).outputs, got if isinstance(got, tuple) else (got,)
    named = [output for output, result in zip(outputs, results) if result is not None]
    assert len(arrays_of(got)) == len(arrays_of(expected))
    named = named if len(named) == len(arrays_of(expected)) else [outputs[0]] * 9
    for g, e, output, scale in zip(arrays_of(got), arrays_of(expected), named, scales(op_of(family, case.op), expected)):
        assert g.shape == e.shape
        plain = np.result_type(precision, np.complex64 if np.iscomplexobj(e) else np.float32)
        assert g.dtype == {"double": np.float64, "int": np.int64}.get(output.dtype, plain)
        np.testing.assert_array_equal(np.isnan(g), np.isnan(e))
        g, e = np.nan_to_num(g), np.nan_to_num(e)
        assert np.abs(g - e).max(initial=0) <= rounded * tolerance(op_of(family, case.op), precision) * scale * steps**0.5
    for before, after in zip(flat(before_call), flat(exact(arguments))):
        np.testing.assert_array_equal(before, after, err_msg="an input was written to")
    return expected


def type_of(value, double):
    return {(0, 0): np.float32, (0, 1): np.float64, (1, 0): np.complex64, (1, 1): np.complex128}[np.iscomplexobj(value), double]


def check_gradient(family, case, arguments, keywords, rng, precision, backend=None, value=None):
    """Compare <grad, J v> from central differences of the oracle with sum_i <vjp_i, v_i>, for one random direction v of all arguments.

    ``value`` is the oracle's result, if known.
    """
    op, oracle = op_of(family, case.op), oracle_of(family, case)
    if value is None:
        value = call_oracle(family, case, arguments, keywords)
    inputs, keywords = adjoint_arguments(op, arguments, keywords)

    def like(x):
        if isinstance(x, (list, tuple)):
            return type(x)(like(item) for item in x)
        if x is None or x.dtype.kind in "ib":
            return None
        v = rng.standard_normal(x.shape) + (1j * rng.standard_normal(x.shape) if np.iscomplexobj(x) else 0)
        return np.asarray(v, x.dtype)

    def moved(x, v, step):
        if isinstance(x, list):
            return [moved(a, b, step) for a, b in zip(x, v)]
        if v is None:
            return x
        start = exact(x)
        return np.asarray(start.astype(np.result_type(start, np.longdouble)) + step * exact(v) if precise else start + step * exact(v))

    def run(step):
        shifted, count = [moved(x, v, step) for x, v in zip(inputs, directions)], len(arguments)
        by_name = {arg.name: x for arg, x in zip(op.inputs[count:], shifted[count:]) if x is not None}
        return oracle(*shifted[:count], **by_name, **keywords)

    directions = [like(x) if arg.has_gradient else None for x, arg in zip(inputs, op.inputs)]
    precise = any(v.dtype in (np.longdouble, np.clongdouble) for v in arrays_of(value))
    wide = any(a.dtype in (np.float64, np.complex128) for a in flat(inputs))
    grad = tuple(like(np.asarray(v, type_of(v, wide))) for v in differentiable_results(op, value))
    grad = grad if len(op.differentiable_outputs) > 1 else grad[0]

    def quotients(step):
        return [(a - b) / (2 * step) for a, b in zip(differentiable_results(op, run(step)), differentiable_results(op, run(-step)))]

    gradients = vjp_of(family, case)(*inputs, grad, **keywords, backend=backend, num_threads=1 if backend else None)
    present = [(x, v) for x, v in zip(inputs, directions) if v is not None]
    assert len(gradients) == len(present)
    if precise:  # the error is 1e-18 times the third derivative, plus 1e-10 from rounding
        single = double = change = quotients(1e-9)
    else:
        single, double = quotients(1e-6), quotients(2e-6)
        change = [s + (s - d) / 3 for s, d in zip(single, double)]  # Richardson extrapolation: phases of long sequences vary fast
    expected = sum(np.real(np.vdot(exact(g), np.nan_to_num(c))) for g, c in zip(arrays_of(grad), change))
    got = size = 0.0
    for (x, v), g in zip(present, gradients):
        for xi, vi, gi in zip(flat([x]), flat([v]), flat([g])):
            assert gi.shape == xi.shape
            assert gi.dtype == xi.dtype
            got += np.real(np.vdot(exact(gi), exact(vi)))
            size += np.linalg.norm(exact(gi)) * np.linalg.norm(exact(vi))
    terms = sum(np.linalg.norm(exact(g)) * np.linalg.norm(np.nan_to_num(c)) for g, c in zip(arrays_of(grad), change))
    size = max(size, np.finfo(np.float64).tiny)
    # At a kink within the steps, such as between two cells of a moving grid, the quotients differ and neither is the derivative.
    kinks = sum(abs(np.vdot(exact(g), np.nan_to_num(s - d))) for g, s, d in zip(arrays_of(grad), single, double))
    # The quotient has an error of about 1e-9 of the terms, which may cancel. Subnormal numbers are treated as 0.
    lost = np.finfo(precision).tiny * sum(np.abs(v).sum() for v in flat(v for _, v in present))
    assert abs(got - expected) <= tolerance(op.adjoint, precision) * size + 1e-8 * max(size, terms) + lost + 8 * kinks


def check_against(reference, family, case, arguments, keywords, rng, precision):
    """Compare the results and gradients with those of the backend ``reference`` for the same values in double precision."""
    op = op_of(family, case.op)
    inputs, options = adjoint_arguments(op, arguments, keywords)
    is_wide = any(a.dtype in (np.float64, np.complex128) for a in flat(inputs))
    drawn = {}

    def grads(i, y):
        z = rng.standard_normal(y.shape) + (1j * rng.standard_normal(y.shape) if np.iscomplexobj(y) else 0)
        drawn[i] = np.asarray(z, type_of(y, is_wide))
        return exact(drawn[i])

    def by_reference(grads):
        with qf.use_backend(reference):
            return call_with_adjoint(family, case, *in_precision(family, case, arguments, keywords, "float64"), grads)

    value, expected = by_reference(grads)
    check_value(family, case, arguments, keywords, precision, expected=tuple(value), rounded=2 if precision == "float64" else 1)
    if op.adjoint is None:
        return
    gradients = vjp_of(family, case)(*inputs, tuple(drawn.values()) if len(op.differentiable_outputs) > 1 else drawn[0], **options)
    got = list(flat(gradients))
    assert [g.dtype for g in got] == [x.dtype for x, arg in zip(inputs, op.inputs) if arg.has_gradient for x in flat([x])]

    def magnitudes(i, y):
        return np.asarray(np.abs(exact(drawn[i])), exact(drawn[i]).dtype)

    check_numbers(op.adjoint, got, expected, precision, lambda: by_reference(magnitudes)[1])


def check_numbers(op, got, expected, precision, terms=None):
    """Compare all arrays of a result or of the gradients, relative to their norm.

    ``terms()`` returns upper bounds of the terms of sums that may cancel.
    """
    assert [(x.shape, np.iscomplexobj(x)) for x in got] == [(x.shape, np.iscomplexobj(x)) for x in expected]
    for a, b in zip(got, expected):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    off, size = _size(exact(a) - exact(b) for a, b in zip(got, expected)), _size(expected)
    allowed = 0 if op is None else tolerance(op, precision)
    if off > allowed * size and terms is not None:
        size = max(size, _size(terms()))
    assert off <= allowed * size + np.finfo(precision).tiny


def _size(arrays):
    return sum(x.size**0.5 * np.linalg.norm(np.nan_to_num(exact(x))) for x in arrays)


def close(got, expected, allowed):
    """Compare arrays, or sequences of arrays, relative to the largest value of each."""
    if isinstance(expected, (list, tuple)):
        for g, e in zip(got, expected, strict=True):
            close(g, e, allowed)
        return
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= allowed * max(np.abs(expected).max(initial=0), 1e-300)


def check_float32(function, arguments, allowed, **options):
    """Compare results in float32 with those for the same values in float64, relative to the largest value of each."""
    got = arrays_of(function(*arguments, **options))
    assert {x.dtype for x in got} <= {np.dtype(np.float32), np.dtype(np.complex64)}
    close(got, arrays_of(function(*exact(arguments), **options)), allowed)


def changed(array, index, value):
    """A copy of an array with one element or row replaced."""
    array = array.copy()
    array[index] = value
    return array


def check_rejected(table):
    """Check that each (call, error, text) raises that error, including the second time, when the call's signature is cached."""
    for call, error, text in table:
        print(text)
        for _ in range(2):
            with pytest.raises(error, match=text):
                call()
