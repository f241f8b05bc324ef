"""How calls use the CUDA runtime: memory, contexts, errors. The emulator's runtime records it."""

import sys
import types

import numpy as np
import pytest

import quatrefoil as qf
from case import build, parametrize
from emu import backend as emulator
from emu.test_emulator import CASES, results
from namespaces import forget_plans

pytestmark = pytest.mark.emulator

FIRST = list({(family, case.op): (family, case) for family, case in reversed(CASES)}.values())


def pool():
    """(allocations from the runtime's pool, bytes that the pool keeps)."""
    return emulator.module().pool()


@pytest.fixture
def blocks(monkeypatch):
    """The number of allocations in each kernel call."""
    kernel, counts = emulator.kernel, []

    def counted(op):
        compute = kernel(op)

        def run(*arguments):
            before, _ = pool()
            compute(*arguments)
            if op.policy.python_kernel is None:
                counts.append(pool()[0] - before)

        return compute and run

    monkeypatch.setattr(emulator, "kernel", counted)
    forget_plans()
    yield counts
    forget_plans()


@parametrize(FIRST)
def test_a_call_takes_one_block(family, case, rng, blocks):
    with qf.use_backend("emulator"):
        results(family, case, *build(family, case, rng, "float32"))
    assert blocks
    assert max(blocks) <= 1


def test_the_pool_keeps_its_memory(rng):
    with qf.use_backend("emulator"):
        qf.ssm.fft_conv(rng.standard_normal((2, 3, 70)), rng.standard_normal((3, 70)))
    assert pool()[1] == 512 << 20


@pytest.mark.torch
def test_tensors_get_memory_of_torch(rng):
    torch = pytest.importorskip("torch")
    u, k = rng.standard_normal((2, 3, 70)), rng.standard_normal((3, 70))
    before = pool()
    with qf.use_backend("emulator"):
        got = qf.ssm.fft_conv(torch.from_numpy(u), torch.from_numpy(k))
    assert pool() == before
    np.testing.assert_allclose(got.numpy(), qf.ssm.fft_conv(u, k), rtol=0, atol=1e-12)


class Array(np.ndarray):
    """A NumPy array that the kernels treat as a CuPy array."""

    __cuda_array_interface__ = None


def test_cupy_arrays_get_memory_of_cupy(rng, monkeypatch):
    class Memory:
        def __init__(self, size):
            self.bytes = np.empty(size, np.uint8)
            self.ptr = self.bytes.ctypes.data
            events.append("allocated")

        def __del__(self):
            events.append("freed")

    events = []
    cuda = types.SimpleNamespace(alloc=Memory)
    for name, module in (("cupy", types.SimpleNamespace(cuda=cuda)), ("cupy.cuda", cuda)):
        monkeypatch.setitem(sys.modules, name, module)
    u, k, y = rng.standard_normal((2, 3, 70)), rng.standard_normal((3, 70)), np.empty((2, 3, 70))
    before = pool()
    emulator.module().ssm.fft_conv(*(x.view(Array) for x in (u, k)), None, None, y, 0)
    assert pool() == before
    assert events == ["allocated", "freed"]
    np.testing.assert_allclose(y, qf.ssm.fft_conv(u, k), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("current", "device", "contexts", "after"),
    [(0, 0, {0}, 0), (0, 1, {0, 1}, 0), (0, 1, {1}, 1), (2, 1, {1, 2}, 2)],
    ids=["same", "both", "none-on-0", "both-but-0"],
)
def test_a_device_is_restored_without_a_context_of_its_own(current, device, contexts, after):
    """cudaSetDevice creates a context, which takes memory on a device that is not used."""
    assert emulator.module().call_on(current, device, contexts) == (after, contexts)


def test_errors_name_the_function_and_other_culprits(rng):
    a, b = 0.9 * rng.uniform(size=(2, 3, 70))
    with qf.use_backend("emulator"):
        emulator.module().fail_next_launch()
        with pytest.raises(RuntimeError, match=r"linear_scan: cudaErrorIllegalAddress: .* an earlier kernel .*CUDA_LAUNCH_BLOCKING"):
            qf.ssm.linear_scan(a, b)
        got = qf.ssm.linear_scan(a, b)
    np.testing.assert_allclose(got, qf.ssm.linear_scan(a, b), rtol=0, atol=1e-12 * np.abs(got).max())


@pytest.mark.parametrize("taps", [1293, 1400])
def test_gradients_of_many_taps(taps, rng):
    """Gradients fit into the shared memory of small GPUs, or an error names the limit."""
    x, w = rng.standard_normal((1, 1, taps)), rng.standard_normal((1, taps))
    with qf.use_backend("emulator"):
        if taps > 1300:
            with pytest.raises(RuntimeError, match=r"causal_conv1d_fn: .* at most 1293 taps in float64"):
                qf.ssm.causal_conv1d_fn_vjp(x, w, x)
            return
        got = qf.ssm.causal_conv1d_fn_vjp(x, w, x)
    for g, e in zip(got, qf.ssm.causal_conv1d_fn_vjp(x, w, x), strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-12 * np.abs(e).max())
