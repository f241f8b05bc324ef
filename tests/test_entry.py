"""The call path to a kernel, once per structure of an op: layouts, objects that are not plain arrays, ``out=``, and unusual tensors."""

import inspect
import sys

import numpy as np
import pytest

from case import LAYOUTS, build, call_of, flat, op_of, parametrize, parametrize_ops, structures, with_gradients
from namespaces import mapped
from public import CALLS, arrays, one_at_a_time

STRUCTURES = structures()


def check_same(family, case, call, expected, convert, to_numpy=lambda x: x):
    """Compare the results for converted arrays bit for bit, unless BLAS computes them: its rounding depends on the layout."""
    own_kernel = op_of(family, case.op).policy.python_kernel is None
    for results in zip(with_gradients(family, case, *call, convert, to_numpy), expected):
        for g, e in zip(*results, strict=True):
            if own_kernel:
                np.testing.assert_array_equal(g, e)
            else:
                np.testing.assert_allclose(g, e, rtol=0, atol=1e-11 * np.abs(np.nan_to_num(e)).max(initial=0))


def masked(x):
    mask = np.zeros(np.shape(x), bool)
    mask.reshape(-1)[:1] = True
    return np.ma.masked_array(x, mask=mask)


def listed(x):
    return x.tolist() if x.ndim else x.astype(object)  # a Python number may be valid


def byteswapped(x):
    return x.astype(x.dtype.newbyteorder() if x.dtype.itemsize > 1 else object)


WRONG_KINDS = {masked: "is a masked array", listed: "(is|has dtype) .*, expected", byteswapped: "(is|has dtype) .*, expected"}


@parametrize_ops(STRUCTURES)
def test_layouts_and_kinds(family, cases, best_backend, rng):
    """Any layout gives the same values. Masked arrays, lists and foreign byte orders raise errors that name the argument."""
    for case in cases:
        call = build(family, case, rng, "float64")
        expected = with_gradients(family, case, *call)
        for name, layout in LAYOUTS.items():
            if best_backend == "numba" and name == "unaligned":
                continue  # Numba compiles every op again for such arrays
            print(case, name)
            check_same(family, case, call, expected, lambda x, layout=layout: mapped(np.ndarray, lambda a: layout(a) if a.ndim else a, x))

        def converted(change, case=case, call=call):
            return with_gradients(family, case, *call, lambda x: mapped(np.ndarray, change, x))

        for change, text in WRONG_KINDS.items():
            print(case, change.__name__)
            for attempt in one_at_a_time(converted, change):
                with pytest.raises(TypeError, match=rf"{family}\.\w+: \S+ {text}"):
                    attempt()


@pytest.mark.parametrize("name", CALLS)
def test_layouts_of_functions_that_are_not_ops(name, best_backend):
    """This includes states that are updated in place."""
    expected = arrays(CALLS[name](lambda x: x))
    for layout in (LAYOUTS["fortran"], LAYOUTS["stepped"]):
        got = arrays(CALLS[name](lambda x, layout=layout: mapped(np.ndarray, lambda a: layout(a) if a.ndim else a, x)))
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=0, atol=1e-12 * np.abs(e).max(initial=1))


WITH_OUT = [
    (family, case)
    for family, case in STRUCTURES
    if len(op_of(family, case.op).outputs) == 1 and "out" in inspect.signature(call_of(family, case)).parameters
]


@parametrize_ops(WITH_OUT)
def test_out(family, cases, best_backend, rng):
    for case in cases:
        print(case)
        check_out(family, case, rng)


def check_out(family, case, rng):
    arguments, keywords = build(family, case, rng, "float64")
    compute = call_of(family, case)
    expected = compute(*arguments, **keywords)
    out = np.full_like(np.ascontiguousarray(expected), np.nan)
    assert compute(*arguments, **keywords, out=out) is out
    np.testing.assert_array_equal(out, expected)
    wide = np.zeros((*expected.shape, 2), expected.dtype)
    frozen = np.zeros_like(out)
    frozen.flags.writeable = False
    single = out.astype(np.complex64 if out.dtype.kind == "c" else np.float32)
    wrong = [masked(out), single, np.zeros((2, *out.shape)), out.tolist(), frozen]
    wrong += [wide[..., 0]] if expected.size > 1 else []
    wrong += [a for a in flat(arguments) if a.shape == out.shape and a.dtype == out.dtype and a.size][:1]  # shares memory with an input
    for bad_out in wrong:
        with pytest.raises((TypeError, ValueError), match=rf"{family}\.\w+: out "):
            compute(*arguments, **keywords, out=bad_out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.torch
@parametrize(STRUCTURES)
def test_tensors(family, case, best_backend, rng):
    """Plain tensors, tensors with a pending negation or conjugation, and misaligned tensors give the same bits as NumPy arrays."""
    torch = pytest.importorskip("torch")
    from tensors import lazy, plain, to_numpy

    def misaligned(a):
        dtype = torch.from_numpy(np.zeros(0, a.dtype)).dtype
        return torch.frombuffer(bytearray(1) + a.tobytes(), dtype=dtype, offset=1).reshape(a.shape) if a.size else torch.from_numpy(a)

    call = build(family, case, rng, "float64")
    expected = with_gradients(family, case, *call)
    kinds = [plain, lazy, *[lambda x: mapped(np.ndarray, misaligned, x)] * (best_backend == "native" and sys.byteorder == "little")]
    for kind in kinds:
        check_same(family, case, call, expected, kind, to_numpy)
