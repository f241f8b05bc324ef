"""The way into a kernel, once per structure of an op: layouts, masks, ``out=``, and lazy or misaligned tensors."""

import inspect
import sys

import numpy as np
import pytest

from case import (
    LAYOUTS,
    adjoint_arguments,
    build,
    call_of,
    call_with_adjoint,
    flat,
    op_of,
    parametrize,
    parametrize_ops,
    structures,
    vjp_of,
)
from namespaces import mapped

STRUCTURES = structures()


class Calls:
    """A call of a case and of its adjoint, for arguments that went through a function."""

    def __init__(self, family, case, rng):
        self.family, self.case, self.op = family, case, op_of(family, case.op)
        self.arguments, self.keywords = build(family, case, rng, "float64")
        self.rng, self.grads = rng, {}
        self.expected = self.through(lambda x: x)

    def grad(self, i, y):
        """The gradient of one result, drawn once."""
        if i not in self.grads:
            self.grads[i] = np.asarray(self.rng.standard_normal(y.shape), y.dtype)
        return self.grads[i]

    def through(self, there, back=lambda x: x):
        """(arrays of the result, arrays of the gradients)"""
        return call_with_adjoint(self.family, self.case, self.arguments, self.keywords, self.grad, there, back)

    def check_same(self, there, back=lambda x: x):
        """The same numbers; to the last bit, unless a library that rounds by layout computes them."""
        for got, expected in zip(self.through(there, back), self.expected):
            for g, e in zip(got, expected, strict=True):
                if self.op.policy.python_kernel is None:
                    np.testing.assert_array_equal(g, e)
                else:
                    np.testing.assert_allclose(g, e, rtol=0, atol=1e-11 * np.abs(np.nan_to_num(e)).max(initial=0))


@parametrize_ops(STRUCTURES)
def test_layouts_and_masks(family, cases, best_backend, rng):
    """Any layout gives the same numbers, and a mask is an error."""
    for case in cases:
        calls = Calls(family, case, rng)
        for name in LAYOUTS:
            if best_backend == "numba" and name == "unaligned":
                continue  # Numba compiles every op again for such arrays
            print(case, name)
            calls.check_same(lambda x, of=LAYOUTS[name]: mapped(np.ndarray, lambda a: of(a) if a.ndim else a, x))
        check_masks(family, calls)


def check_masks(family, calls):
    op, arguments, keywords = calls.op, calls.arguments, calls.keywords
    calls_of = [(call_of(family, calls.case), arguments, keywords)]
    if op.adjoint:
        inputs, options = adjoint_arguments(op, arguments, keywords)
        grad = tuple(calls.grads.values()) if len(op.differentiable_outputs) > 1 else calls.grads[0]
        calls_of.append((vjp_of(family, calls.case), [*inputs, grad], options))
    for function, positional, named in calls_of:
        for wrong in each_masked([*positional, *named.values()]):
            with pytest.raises(TypeError, match=rf"{family}\.\w+: \S+ is a masked array"):
                function(*wrong[: len(positional)], **dict(zip(named, wrong[len(positional) :])))


def masked(x):
    mask = np.zeros(np.shape(x), bool)
    mask.reshape(-1)[:1] = True
    return np.ma.masked_array(x, mask=mask)


def each_masked(arguments):
    """The arguments with one array masked, for each array or sequence of arrays."""
    for i, x in enumerate(arguments):
        if isinstance(x, np.ndarray):
            yield [*arguments[:i], masked(x), *arguments[i + 1 :]]
        elif isinstance(x, (list, tuple)) and x and isinstance(x[0], np.ndarray):
            yield [*arguments[:i], type(x)([masked(x[0]), *x[1:]]), *arguments[i + 1 :]]


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
    from tensors import lazy

    def back(x):
        return mapped(torch.Tensor, lambda t: t.resolve_conj().resolve_neg().numpy(), x)

    def misaligned(a):
        dtype = torch.from_numpy(np.zeros(0, a.dtype)).dtype
        return torch.frombuffer(bytearray(1) + a.tobytes(), dtype=dtype, offset=1).reshape(a.shape) if a.size else torch.from_numpy(a)

    calls = Calls(family, case, rng)
    kinds = [lambda a: torch.from_numpy(a.copy()), lazy]
    for kind in kinds + [misaligned] * (best_backend == "native" and sys.byteorder == "little"):
        calls.check_same(lambda x, kind=kind: mapped(np.ndarray, kind, x), back)
