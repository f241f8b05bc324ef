"""The way into a kernel, once per structure of an op: layouts, masks, ``out=``, and lazy or misaligned tensors."""

import inspect
import sys

import numpy as np
import pytest

from case import LAYOUTS, build, call_of, flat, graded, made, op_of, parametrize, parametrize_ops, structures, vjp_of
from namespaces import mapped

STRUCTURES = structures()


class Calls:
    """A call of a case and of its adjoint, for arguments that went through a function."""

    def __init__(self, family, case, rng):
        self.op = op_of(family, case.op)
        self.compute, self.pull_back = call_of(family, case), vjp_of(family, case) if self.op.adjoint else None
        self.arguments, self.keywords = build(family, case, rng, "float64")
        self.result = self.compute(*self.arguments, **self.keywords)
        self.inputs = self.arguments + [self.keywords.get(a.name) for a in self.op.inputs[len(self.arguments) :]]
        self.options = {k: v for k, v in self.keywords.items() if k not in {a.name for a in self.op.inputs}}
        results = graded(self.op, self.result) if self.pull_back else []
        grads = tuple(np.asarray(rng.standard_normal(y.shape), y.dtype) for y in results)
        self.grad = grads[0] if len(grads) == 1 else grads
        self.gradients = list(flat(self.pull_back(*self.inputs, self.grad, **self.options))) if self.pull_back else []

    def through(self, function):
        """(arrays of the result, arrays of the gradients)"""
        result = self.compute(*function(self.arguments), **{k: function(v) for k, v in self.keywords.items()})
        if self.pull_back is None:
            return made(result), []
        gradients = self.pull_back(*function(self.inputs), function(self.grad), **{k: function(v) for k, v in self.options.items()})
        return made(result), [g for x in gradients for g in (x if isinstance(x, list) else [x])]

    def check_same(self, function, back=lambda x: x):
        """The same numbers; to the last bit, unless a library that rounds by layout computes them."""
        for got, expected in zip(self.through(function), (made(self.result), self.gradients)):
            for g, e in zip(got, expected, strict=True):
                if self.op.host is None:
                    np.testing.assert_array_equal(back(g), e)
                else:
                    np.testing.assert_allclose(back(g), e, rtol=0, atol=1e-11 * np.abs(np.nan_to_num(e)).max(initial=0))


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
    calls_of = [(calls.compute, [*calls.arguments, *calls.keywords.values()], len(calls.arguments), calls.keywords)]
    if calls.pull_back:
        calls_of.append((calls.pull_back, [*calls.inputs, calls.grad], len(calls.inputs) + 1, calls.options))
    for function, given, positional, keywords in calls_of:
        for wrong in each_masked(given):
            with pytest.raises(TypeError, match=rf"{family}\.\w+: \S+ is a masked array"):
                function(*wrong[:positional], **{**keywords, **dict(zip(keywords, wrong[positional:]))})


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

    def back(t):
        assert isinstance(t, torch.Tensor)
        return t.resolve_conj().resolve_neg().numpy()

    def misaligned(a):
        dtype = torch.from_numpy(np.zeros(0, a.dtype)).dtype
        return torch.frombuffer(bytearray(1) + a.tobytes(), dtype=dtype, offset=1).reshape(a.shape) if a.size else torch.from_numpy(a)

    calls = Calls(family, case, rng)
    kinds = [lambda a: torch.from_numpy(a.copy()), lazy]
    for kind in kinds + [misaligned] * (best_backend == "native" and sys.byteorder == "little"):
        calls.check_same(lambda x, kind=kind: mapped(np.ndarray, kind, x), back)
