"""The way into a kernel, once per structure of an op: layouts, masks, ``out=``, and lazy or misaligned tensors."""

import inspect
import sys

import numpy as np
import pytest

from case import LAYOUTS, build, call_of, flat, op_of, parametrize, parametrize_ops, structures, with_gradients
from namespaces import mapped
from public import CALLS, arrays, one_at_a_time

STRUCTURES = structures()


def check_same(family, case, given, expected, there, back=lambda x: x):
    """The same numbers for arrays that went ``there``; to the last bit, unless a library that rounds by layout computes them."""
    computes = op_of(family, case.op).policy.python_kernel is None
    for results in zip(with_gradients(family, case, *given, there, back), expected):
        for g, e in zip(*results, strict=True):
            if computes:
                np.testing.assert_array_equal(g, e)
            else:
                np.testing.assert_allclose(g, e, rtol=0, atol=1e-11 * np.abs(np.nan_to_num(e)).max(initial=0))


@parametrize_ops(STRUCTURES)
def test_layouts_and_masks(family, cases, best_backend, rng):
    """Any layout gives the same numbers, and a mask is an error."""
    for case in cases:
        given = build(family, case, rng, "float64")
        expected = with_gradients(family, case, *given)
        for name, of in LAYOUTS.items():
            if best_backend == "numba" and name == "unaligned":
                continue  # Numba compiles every op again for such arrays
            print(case, name)
            check_same(family, case, given, expected, lambda x, of=of: mapped(np.ndarray, lambda a: of(a) if a.ndim else a, x))
        for attempt in one_at_a_time(lambda t: with_gradients(family, case, *given, lambda x: mapped(np.ndarray, t, x)), masked):  # noqa: B023
            with pytest.raises(TypeError, match=rf"{family}\.\w+: \S+ is a masked array"):
                attempt()


def masked(x):
    mask = np.zeros(np.shape(x), bool)
    mask.reshape(-1)[:1] = True
    return np.ma.masked_array(x, mask=mask)


@pytest.mark.parametrize("name", CALLS)
def test_layouts_of_functions_that_are_no_ops(name, best_backend):
    """What such a function updates in place it reads again as it lies."""
    expected = arrays(CALLS[name](lambda x: x))
    for of in (LAYOUTS["fortran"], LAYOUTS["stepped"]):
        got = arrays(CALLS[name](lambda x, of=of: mapped(np.ndarray, lambda a: of(a) if a.ndim else a, x)))
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
    wrong = [
        masked(out),
        out.astype(np.complex64 if out.dtype.kind == "c" else np.float32),
        np.zeros((2, *out.shape)),
        out.tolist(),
        frozen,
    ]
    wrong += [wide[..., 0]] if expected.size > 1 else []
    wrong += [a for a in flat(arguments) if a.shape == out.shape and a.dtype == out.dtype and a.size][:1]  # shares memory with an input
    for given in wrong:
        with pytest.raises((TypeError, ValueError), match=rf"{family}\.\w+: out "):
            compute(*arguments, **keywords, out=given)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.torch
@parametrize(STRUCTURES)
def test_tensors(family, case, best_backend, rng):
    """Plain, with a pending sign or conjugation, and misaligned tensors: the bits of NumPy's arrays."""
    torch = pytest.importorskip("torch")
    from tensors import lazy, plain, to_numpy

    def misaligned(a):
        dtype = torch.from_numpy(np.zeros(0, a.dtype)).dtype
        return torch.frombuffer(bytearray(1) + a.tobytes(), dtype=dtype, offset=1).reshape(a.shape) if a.size else torch.from_numpy(a)

    given = build(family, case, rng, "float64")
    expected = with_gradients(family, case, *given)
    kinds = [plain, lazy, *[lambda x: mapped(np.ndarray, misaligned, x)] * (best_backend == "native" and sys.byteorder == "little")]
    for kind in kinds:
        check_same(family, case, given, expected, kind, to_numpy)
