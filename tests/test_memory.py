"""The memory of large results is reused, up to a bound, but never while a result is alive."""

import os
import sys

import numpy as np
import pytest

import quatrefoil as qf
from children import in_threads, run_python
from quatrefoil import _arrays
from quatrefoil._backends import native

pytestmark = pytest.mark.skipif(native.reason() is not None, reason="needs the compiled kernels")


@pytest.fixture(autouse=True)
def kept_memory(poisoned_memory, monkeypatch):
    monkeypatch.setattr(_arrays, "large", native.core().empty)


def scan(b):
    return qf.ssm.linear_scan(np.full((), 0.5, np.float32), b, backend="native")


@pytest.mark.parametrize("shape", [(1 << 17,), (3, 5, 1 << 16), (0, 1 << 20)])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_results_are_ordinary_arrays(shape, dtype):
    x = native.core().empty(shape, np.dtype(dtype))
    assert x.shape == shape
    assert x.dtype == dtype
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert x.ctypes.data % 64 == 0
    x[...] = 3
    assert (x == 3).all()


def test_live_results_are_not_overwritten(rng):
    b = rng.standard_normal((2, 1 << 18)).astype(np.float32)
    first = scan(b)
    copy, view = first.copy(), first[1, 5:]
    other = scan(-b)
    assert not np.may_share_memory(first, other)
    np.testing.assert_array_equal(first, copy)
    del first
    for _ in range(3):
        scan(2 * b)
    np.testing.assert_array_equal(view, copy[1, 5:])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer's malloc keeps freed memory")
def test_cached_memory_is_bounded():
    script = """
import numpy as np, quatrefoil as qf
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
b = np.ones(1 << 22, np.float32)
half = np.full((), 0.5, np.float32)
qf.ssm.linear_scan(half, b)
before = resident()
results = [qf.ssm.linear_scan(half, b) for _ in range(40)]
held = resident()
del results
assert held - before > 500, (before, held)
left = resident() - before
assert left <= 160, left
sizes = [qf.ssm.linear_scan(half, b[: 100_000 + 50_000 * k]) for k in range(60)]
del sizes
assert resident() - before <= 160, resident() - before
"""
    run_python(script, QUATREFOIL_BACKEND="native")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer's malloc keeps freed memory")
def test_cached_tables_are_bounded():
    """Every length has its own table; those of all lengths here take about 850 MB."""
    script = """
import numpy as np, quatrefoil as qf
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
def transform(n):
    return qf.cheb.vals2coeffs(np.cos(np.arange(n)))
lengths = range(2000, 8000, 2)
expected = {n: transform(n) for n in lengths[::200]}
before = resident()
for n in lengths:
    transform(n)
assert resident() - before <= 300, resident() - before
for n, c in expected.items():
    np.testing.assert_array_equal(transform(n), c)
"""
    run_python(script, QUATREFOIL_BACKEND="native")


def test_threads_and_cached_tables(rng):
    """Tables are freed only when no call uses them: those of all lengths here take more memory than is kept."""
    values = {n: rng.standard_normal((2, n)) for n in range(100_000, 100_030)}
    expected = {n: qf.cheb.vals2coeffs(v, 1, backend="native") for n, v in values.items()}

    def work(i):
        for n in [*values][i % 2 :: 2]:
            np.testing.assert_array_equal(qf.cheb.vals2coeffs(values[n], 1, backend="native"), expected[n])

    in_threads(4, work)


def test_results_larger_than_any_memory():
    with pytest.raises(MemoryError, match=r"cannot allocate 1.76e\+13 GiB for a result of shape \(4294967296, 1099511627776\)"):
        native.core().empty((1 << 32, 1 << 40), np.dtype(np.float32))
    with pytest.raises(MemoryError, match="GiB for a result of shape"):
        native.core().empty((1 << 45,), np.dtype(np.float64))


def test_threads_and_cached_memory(rng):
    b = rng.standard_normal((8, 1 << 17)).astype(np.float32)
    expected = [scan(row) for row in b]

    def work(i):
        for _ in range(20):
            np.testing.assert_array_equal(scan(b[i]), expected[i])

    in_threads(8, work)
