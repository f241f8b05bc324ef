"""Fixtures for machines without a GPU: a stand-in for CuPy, and host tensors that the library treats as device tensors."""

import sys

import numpy as np
import pytest

import quatrefoil as qf
import stand_in
from namespaces import forget_plans, mapped
from quatrefoil import _array_tools, _arrays, _backends


@pytest.fixture
def cupy(monkeypatch):
    """A function that copies NumPy arrays to the stand-in's device 1, which is not the current one; its ``back`` copies them to the host.

    ``reads`` lists the shapes that the library has copied to the host with ``_arrays.to_host``. Any other wait for a value is an error.
    """
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)
    monkeypatch.setattr(_backends, "_FORCED", None)  # a forced host backend would reject arrays on a device
    namespaces = {"numpy": np, "cupy": stand_in.Namespace(np)}
    monkeypatch.setattr(_backends.array, "namespace", lambda kind: namespaces[kind])
    is_any = lambda xp, flags: bool(getattr(flags, "_a", flags).any())  # noqa: E731
    monkeypatch.setattr(_array_tools, "is_any", is_any)  # compositions of walks may wait for this
    to_host = _arrays.to_host

    def recorded(x):
        if not isinstance(x, np.ndarray):
            on_device.reads.append(tuple(x.shape))
        return to_host(x)

    def on_device(x):
        return mapped(np.ndarray, lambda a: stand_in.ndarray(a.copy(), 1), x)

    on_device.back = lambda x: mapped(stand_in.ndarray, stand_in.ndarray.get, x)
    on_device.reads = []
    monkeypatch.setattr(_arrays, "to_host", recorded)
    stand_in.WAITED.clear()
    forget_plans()
    yield on_device
    forget_plans()
    assert set(stand_in.WAITED) <= {"get"}


@pytest.fixture
def device_tensors(monkeypatch):
    """A function that converts NumPy arrays to tensors, which the library treats as device tensors and processes with backend "array".

    It is for gradients by autograd. The fixture ``cupy`` checks that nothing is read back and that devices do not mix.
    """
    pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    import tensors

    kernel = _backends.kernel

    def on_device(x):
        return tensors.plain(x)

    on_device.back = tensors.to_numpy
    monkeypatch.setattr(_backends, "_FORCED", None)
    monkeypatch.setattr(_arrays, "on_host", lambda x: isinstance(x, np.ndarray))
    monkeypatch.setattr(_backends, "kernel", lambda op, backend, device="cpu", arrays=(): kernel(op, backend or "array", "cuda:0"))
    forget_plans()
    with qf.use_backend("array"):
        yield on_device
    forget_plans()


def near(got, expected, tolerance=1e-9):
    """Compare an array of the fixture ``cupy`` with the host's: device, shape, dtype, and values relative to the largest."""
    assert _arrays.location(got) == "cupy@cuda:1"
    got, expected = got.get(), np.asarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1e-300))
