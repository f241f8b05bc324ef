"""Extras of kernels, on a throwaway op y = x w^power. Its memo contains w^power, and its function is applied to y."""

import copy
import pickle
import sys
import types

import numpy as np
import pytest

from quatrefoil import _backends, _call
from quatrefoil._memo import Memo
from quatrefoil._spec import Arg, Extra, Op, Option

OP = Op(
    "throwaway.family.method",
    "gain",
    inputs=(Arg("w", "N", half=True), Arg("x", "... N", half=True)),
    outputs=(Arg("y", "... N", half=True),),
    options=(Option("power", int),),
    extras=("packed", Extra("after", function=True)),
)
SEVERAL = Op(
    "throwaway.family.method",
    "both",
    inputs=(Arg("w", "N"),),
    outputs=(Arg("y", "N"), Arg("z", "N")),
    extras=("packed",),
    differentiable=False,
)
NONE = Op("throwaway.family.method", "none", inputs=(Arg("w", "N"), Arg("x", "... N")), outputs=(Arg("y", "N"),))


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Install loops for the ops; return the list of their calls: (name, packed, after, num_threads)."""
    calls = []

    def gain(w, x, y, power, packed, after, num_threads):
        calls.append(("gain", packed, after, num_threads))
        y[...] = x * (w**power if packed is None else packed)
        if after is not None:
            y[...] = after(y)

    def gain_vjp(w, x, grad, dw, dx, power, packed, after, num_threads):
        calls.append(("gain_vjp", packed, after, num_threads))
        dx[...] = grad * (w**power if packed is None else packed)
        dw[...] = (grad * x * power * w ** (power - 1)).reshape(-1, w.size).sum(0)

    def both(w, y, z, packed, num_threads):
        calls.append(("both", packed, None, num_threads))
        y[...], z[...] = w, -w

    loops = types.ModuleType("throwaway.family.method.loops")
    loops.gain, loops.gain_vjp, loops.both = gain, gain_vjp, both
    for name in ("throwaway", "throwaway.family", "throwaway.family.method"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, loops.__name__, loops)
    for op in (OP, OP.adjoint, SEVERAL):
        op.plans.clear()
    with _backends.use_backend("numba"):
        yield calls


def frozen(array):
    array.flags.writeable = False
    return array


def memo(w, power=2, backend="numba", **position):
    return Memo(np.asarray(w) ** power, backend, [w], **position)


def arrays(rng):
    return rng.standard_normal(5), rng.standard_normal((3, 5))


def test_missing_extras_are_none(entry_point, seen, rng):
    w, x = arrays(rng)
    for extras in ((), (None, None), [None, None]):
        np.testing.assert_array_equal(_call.call(OP, (w, x), (2,), extras, num_threads=3), x * w**2)
    assert seen == [("gain", None, None, 3)] * 3


def test_extras_follow_the_options_and_are_not_part_of_the_plan(entry_point, seen, rng):
    w, x = arrays(rng)
    packed, out = memo(w), np.empty_like(x)
    y = _call.call(OP, (w, x), (2,), (packed, np.negative), out)
    assert y is out
    np.testing.assert_array_equal(y, -x * w**2)
    _call.call(OP, (w, x), (2,), (memo(w), None))
    _call.call(OP, (w, x), (2,))
    assert seen[0] == ("gain", packed.value, np.negative, 0)
    assert len(OP.plans) == 1


def test_a_memo_applies_only_to_its_arrays(entry_point, seen, rng):
    w, x = arrays(rng)
    fixed = frozen(w.copy())
    for packed, argument, fits in (
        (memo(w), w, True),
        (memo(fixed), fixed, True),
        (memo(w), w.copy(), False),
        (memo(w), w[:], False),
        (memo(w, at=1), w, False),
        (memo(w, at=2), w, False),
        (memo(w, backend="native"), w, False),
        (Memo(w**2, "numba", [w, x]), w, True),
        (Memo(w**2, "numba", [x, w]), w, False),
    ):
        y = _call.call(OP, (argument, x), (2,), (packed, None))
        np.testing.assert_array_equal(y, x * w**2)
        assert (seen[-1][1] is packed.value) == fits


def test_the_adjoint_has_the_same_extras(entry_point, seen, rng):
    w, x = arrays(rng)
    packed = memo(w)
    dw, dx = _call.call_vjp(OP, (w, x, x), (2,), (packed, np.negative))
    np.testing.assert_array_equal(dx, x * w**2)
    np.testing.assert_allclose(dw, (x * x * 2 * w).sum(0))
    assert seen == [("gain_vjp", packed.value, np.negative, 0)]


def test_several_results(entry_point, seen, rng):
    w = rng.standard_normal(5)
    packed = Memo("value", "numba", [w])
    for extras in ((packed,), ()):
        y, z = _call.call(SEVERAL, (w,), (), extras)
        np.testing.assert_array_equal(y, -z)
    assert [s[1] for s in seen] == ["value", None]


def test_half_precision(entry_point, seen, rng):
    w, x = (a.astype(np.float16) for a in arrays(rng))
    y = _call.call(OP, (w, x), (2,), (memo(w), np.negative))
    np.testing.assert_array_equal(y, (-x.astype(np.float32) * w.astype(np.float32) ** 2).astype(np.float16))
    assert seen[-1][1:3] == (None, np.negative)  # the kernel receives different arrays, in float32


@pytest.mark.parametrize(
    ("op", "extras", "text"),
    [
        (OP, (None,), r"family\.gain: expected extras \(packed, after\) as a tuple, got a tuple of 1"),
        (OP, (None,) * 3, "got a tuple of 3"),
        (OP, "memo", "got str"),
        (OP, (np.ones(5), None), r"family\.gain: packed is ndarray, expected a Memo or None"),
        (OP, (np.negative, None), "packed is ufunc"),
        (NONE, (None,), r"expected extras \(none\) as a tuple"),
    ],
)  # fmt: skip
def test_foreign_extras(entry_point, rng, op, extras, text):
    with pytest.raises(TypeError, match=text):
        _call.call(op, arrays(rng), (2,) if op is OP else (), extras)


def test_memos_cannot_be_pickled(rng):
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="memo belongs to the process"):
            way(memo(rng.standard_normal(5)))


@pytest.mark.torch
class TestTorch:
    @pytest.fixture(autouse=True)
    def registered(self):
        pytest.importorskip("torch")
        from quatrefoil.torch import _library

        for op in (OP, OP.adjoint):
            if op.key not in _library.registered:  # an operator is registered once per process
                _library.register(op)

    @pytest.fixture
    def tensors(self, rng):
        import torch

        return [torch.from_numpy(a) for a in arrays(rng)]

    @pytest.mark.parametrize("wants", [False, True])
    def test_eager(self, entry_point, seen, tensors, wants):
        w, x = tensors
        x.requires_grad_(wants)
        packed = memo(w)
        y = _call.call(OP, (w, x), (2,), (packed, np.negative))
        assert (-x * w**2 == y).all()
        assert seen == [("gain", packed.value, np.negative, 0)]
        if wants:
            y.sum().backward()
            assert seen[1:] == [("gain_vjp", packed.value, np.negative, 0)]
        with pytest.raises(TypeError, match=r"packed is int"):
            _call.call(OP, (w, x), (2,), (3, None))

    def test_out(self, entry_point, seen, tensors):
        import torch

        w, x = tensors
        packed, out = memo(w), torch.empty_like(x)
        assert _call.call(OP, (w, x), (2,), (packed, None), out) is out
        assert (out == x * w**2).all()
        assert seen[-1][1] is packed.value

    def test_traced_calls_drop_memos(self, seen, tensors):
        import torch

        w, x = tensors
        packed = memo(w)

        def energy(w, x):
            return _call.call(OP, (w, x), (2,), (packed, None)).square().sum()

        expected = (x * w**2).square().sum()
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(energy, backend="aot_eager", fullgraph=True)(w, x), expected)
        gradient = torch.func.grad(energy, argnums=1)(w, x)
        torch.testing.assert_close(gradient, 2 * x * w**4)
        torch.testing.assert_close(torch.vmap(lambda v: _call.call(OP, (w, v), (2,), (packed, None)))(x), x * w**2)
        assert {s[1] is None for s in seen} == {True}
        meta = _call.call(OP, (w.to("meta"), x.to("meta")), (2,), (packed, None))
        assert meta.shape == x.shape

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch warns on its first jvp
    def test_traced_calls_reject_functions(self, seen, tensors):
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        def call(w, x):
            return _call.call(OP, (w, x), (2,), (None, np.negative)).sum()

        w, x = tensors
        text = r"family\.gain: after is a function, which torch\.compile"
        for run in (
            lambda: torch.func.grad(call)(w, x),
            lambda: torch.vmap(call, (None, 0))(w, x),
            lambda: torch.func.jvp(call, (w, x), (w, x)),
            lambda: call(w.to("meta"), x.to("meta")),
        ):
            with pytest.raises(TypeError, match=text):
                run()
        with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(TypeError, match=text):
            call(w, x)
        torch._dynamo.reset()
        with pytest.raises(Exception, match=r"after is a function|Observed exception"):  # torch wraps it
            torch.compile(call, backend="aot_eager", fullgraph=True)(w, x)
        assert seen == []
