"""Devices that this machine need not have, as fixtures: CUDA tensors and CuPy arrays."""

import sys
import types

import numpy as np
import pytest

import quatrefoil as qf
import stand_in
from namespaces import forget_plans, mapped
from quatrefoil import _array_tools, _arrays, _backends, _bind
from quatrefoil.wos.walk import _array_paths


def methods():
    """Some methods of tensors by operators: their way through Python asks for the device itself, which is not there."""
    import torch

    aten = torch.ops.aten

    def item(x, index):
        if isinstance(index, torch.Tensor):
            return aten.index.Tensor(x, [index])
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            at, axes = index.index(Ellipsis), sum(i is not None for i in index) - 1
            index = (*index[:at], *[slice(None)] * (x.ndim - axes), *index[at + 1 :])
        axis = 0
        for i in index:
            if isinstance(i, int):
                x = torch.select(x, axis, i)
                continue
            if isinstance(i, torch.Tensor):
                x, axis = torch.index_select(x, axis, i), axis + 1
                continue
            x = torch.unsqueeze(x, axis) if i is None else aten.slice.Tensor(x, axis, i.start, i.stop, i.step or 1)
            axis += 1
        return x

    def set_item(x, index, value):
        return aten.copy_(x, value) if index is Ellipsis else aten.index_put_(x, [index], value)

    by_operators = {
        torch.Tensor.__getitem__: item,
        torch.Tensor.__setitem__: set_item,
        torch.Tensor.__invert__: torch.bitwise_not,
        torch.Tensor.contiguous: lambda x: torch.clone(x, memory_format=torch.contiguous_format),
    }

    class Methods(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, kinds, args=(), kwargs=None):
            return by_operators.get(function, function)(*args, **(kwargs or {}))

    return Methods()


@pytest.fixture
def fake_cuda(monkeypatch):
    """What makes them of NumPy arrays. Compositions run on them: to wait for a number, or to mix devices, is an error. Only walks
    ask whether any goes on: here they make two steps at most."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    from torch._subclasses.fake_tensor import FakeTensorMode

    from quatrefoil.torch import _library, _route

    monkeypatch.setattr(_backends, "_FORCED", None)

    def compose(op, arrays, options, extras, backend, num_threads):
        _, layout = _bind.layout(op, arrays, options)
        name, kernel = _backends.kernel(op, backend, str(next(a.device for a in arrays if a is not None)))
        assert name == "array"
        composed = _backends.composed(op, kernel, "torch", layout, options)
        result = _library.run_composed(op, composed, arrays, None, (None,) * len(op.extras))
        return result if op.single else tuple(result)

    asked: list[bool] = []

    def is_any(xp, flags):
        asked.append(True)
        return len(asked) % 3 != 0

    monkeypatch.setattr(_array_tools, "is_any", is_any)
    monkeypatch.setattr(_array_paths, "LOOK", 1)
    monkeypatch.setattr(_route, "traced", compose)  # which would ask the table for shapes, and run nothing
    forget_plans()
    with FakeTensorMode(), methods():
        yield lambda x: mapped(np.ndarray, lambda a: torch.empty(a.shape, dtype=getattr(torch, a.dtype.name), device="cuda"), x)
    forget_plans()


@pytest.fixture
def strict_for_cupy(monkeypatch):
    """Arrays of the standard alone, on a device that is not the host's, are taken for CuPy's: what makes them of NumPy arrays, and back."""
    strict = pytest.importorskip("array_api_strict")
    device, host = strict.Device("device1"), strict.Device("CPU_DEVICE")
    kind = _arrays.kind
    Array = type(strict.asarray(0.0))

    def back(x):
        return np.asarray(x.to_device(host))

    library = types.SimpleNamespace(asarray=lambda x, order: x, may_share_memory=lambda x, y: np.may_share_memory(x._array, y._array))
    monkeypatch.setattr(_arrays, "kind", lambda x: "cupy" if isinstance(x, Array) else kind(x))
    monkeypatch.setattr(_arrays, "dtype_name", lambda x: str(x.dtype).removeprefix("array_api_strict."))
    monkeypatch.setattr(_arrays, "device", lambda x: "cuda:1" if isinstance(x, Array) else "cpu")
    monkeypatch.setattr(Array, "copy", lambda x: strict.asarray(x, copy=True), raising=False)
    monkeypatch.setattr(Array, "reshape", lambda x, shape: strict.reshape(x, shape), raising=False)
    monkeypatch.setattr(strict.Device, "__enter__", lambda device: device, raising=False)
    monkeypatch.setattr(strict.Device, "__exit__", lambda device, *error: None, raising=False)
    monkeypatch.setattr(Array, "flags", types.SimpleNamespace(c_contiguous=True), raising=False)
    monkeypatch.setitem(sys.modules, "cupy", library)
    monkeypatch.setattr(_backends.array, "namespace", lambda kind: {"numpy": np, "cupy": strict}[kind])
    yield (lambda x: mapped(np.ndarray, lambda a: strict.asarray(a.copy(), device=device), x)), lambda x: mapped(Array, back, x)
    forget_plans()


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in for CuPy of stand_in.py, on a device that is not the current one."""
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)
    monkeypatch.setattr(_backends, "_FORCED", None)  # a backend of the host, where one is being tried, takes no arrays of a device
    namespaces = {"numpy": np, "cupy": stand_in.Namespace(np)}
    monkeypatch.setattr(_backends.array, "namespace", lambda kind: namespaces[kind])
    is_any = lambda xp, flags: bool(getattr(flags, "_a", flags).any())  # noqa: E731
    monkeypatch.setattr(_array_tools, "is_any", is_any)  # what compositions of walks wait for
    forget_plans()

    def there(x):
        return mapped(np.ndarray, lambda a: stand_in.ndarray(a.copy(), 1), x)

    there.back = lambda x: mapped(stand_in.ndarray, stand_in.ndarray.get, x)
    yield there
    forget_plans()


@pytest.fixture
def tensors_afar(monkeypatch):
    """Tensors of the host that are taken for some on a device: backend "array" computes, and to ask for their numbers is an error. What
    makes them of NumPy arrays, and ``back``."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    kernel, is_any = _backends.kernel, _array_tools.is_any
    monkeypatch.setattr(_backends, "_FORCED", None)

    def found(op, backend, device="cpu", arrays=()):
        return kernel(op, backend or "array", "cuda:0")

    def read_back(*args, **kwargs):
        raise AssertionError("a tensor was read back")

    def asked(xp, flags):
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "__bool__", of_bool)
            return is_any(xp, flags)

    def there(x):
        return mapped(np.ndarray, lambda a: torch.from_numpy(a.copy()), x)

    of_bool, to_numpy = torch.Tensor.__bool__, torch.Tensor.numpy
    there.back = lambda x: mapped(torch.Tensor, lambda t: to_numpy(t.detach().resolve_conj().resolve_neg()), x)
    monkeypatch.setattr(_arrays, "on_host", lambda x: isinstance(x, np.ndarray))
    monkeypatch.setattr(_backends, "kernel", found)
    monkeypatch.setattr(_array_tools, "is_any", asked)
    for name in ("__bool__", "__float__", "__int__", "item", "tolist", "numpy", "__array__", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, read_back)
    forget_plans()
    with qf.use_backend("array"):
        yield there
    forget_plans()


@pytest.fixture(params=["cupy", pytest.param("strict", marks=pytest.mark.slow), pytest.param("torch", marks=pytest.mark.torch)])
def afar(request, monkeypatch):
    """What makes arrays on a device of NumPy's, and ``back``; all ways of this file in turn. ``reads`` lists the shapes of what the
    library itself has read back, by ``_arrays.to_host``; any other way is an error."""
    there = request.getfixturevalue({"cupy": "cupy", "strict": "strict_for_cupy", "torch": "tensors_afar"}[request.param])
    there, back = there if request.param == "strict" else (there, there.back)
    made = (lambda x: there(x)) if request.param == "strict" else there
    made.back, made.reads, made.name = back, [], request.param

    def to_host(x):
        if isinstance(x, np.ndarray):
            return x
        made.reads.append(tuple(x.shape))
        return back(x)

    monkeypatch.setattr(_arrays, "to_host", to_host)
    if request.param == "strict":
        monkeypatch.setattr(type(there(np.ones(1))), "__len__", lambda x: x.shape[0], raising=False)
        monkeypatch.setattr(_arrays, "of_kind", lambda place, a: there(np.asarray(a)) if "@" in place else a)
        monkeypatch.setattr(_arrays, "beside", lambda like, a: a if isinstance(like, np.ndarray) else there(np.asarray(a)))
    stand_in.WAITED.clear()
    yield made
    assert all(name == "get" for name in stand_in.WAITED)
