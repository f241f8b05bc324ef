"""The array libraries on a GPU, for test_gpu.py.

In a dry run (QUATREFOIL_GPU_DRY=1) the host replaces the GPU: host tensors, backend "array" instead of kernels, no streams and no graphs.
"""

import contextlib
import importlib.util
import os

import numpy as np
import pytest

import quatrefoil as qf
from namespaces import mapped

DRY = os.environ.get("QUATREFOIL_GPU_DRY", "") not in ("", "0")
SMALL = DRY or os.environ.get("QUATREFOIL_GPU_SMALL", "") not in ("", "0")  # one small case per op, because a sanitizer is slow


class Torch:
    errors = (MemoryError, RuntimeError)  # torch raises a RuntimeError

    def __init__(self):
        torch = pytest.importorskip("torch")
        if not (DRY or torch.cuda.is_available()):
            pytest.skip("PyTorch finds no GPU")
        self.torch, self.devices = torch, ["cpu"] if DRY else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        self.device = self.devices[0]
        self.other = "meta" if DRY else self.devices[1] if len(self.devices) > 1 else "cpu"

    def to_device(self, x):
        return mapped(np.ndarray, lambda a: self.torch.from_numpy(a.copy()).to(self.device), x)

    def to_host(self, x):
        return mapped(self.torch.Tensor, lambda t: t.detach().cpu().resolve_conj().resolve_neg().numpy(), x)

    def to_other_device(self, x):
        return x.to(self.other)

    @contextlib.contextmanager
    def stream(self):
        """A new stream on this device, synchronised at the end."""
        if DRY:
            with qf.use_backend("array"):
                yield
            return
        side = self.torch.cuda.Stream(self.device)
        with self.torch.cuda.device(self.device), self.torch.cuda.stream(side):
            yield
        side.synchronize()

    def enormous(self):
        """An array of 2^46 zeros that share one element of memory."""
        return self.torch.zeros(1, 1, device=self.device).expand(1 << 23, 1 << 23)

    def captured(self, run):
        """Capture a call in a CUDA graph; return (result, replay)."""
        if DRY:
            return run(), lambda: None
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            result = run()
        return result, graph.replay


class CuPy:
    errors = (MemoryError,)

    def __init__(self):
        if DRY or not importlib.util.find_spec("cupy"):
            pytest.skip("CuPy is not installed")
        pytest.importorskip("array_api_compat")
        import cupy

        if not cupy.cuda.is_available():
            pytest.skip("CuPy finds no GPU")
        self.cupy, self.devices = cupy, [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]
        self.device = self.devices[0]

    def to_device(self, x):
        return mapped(np.ndarray, self.cupy.asarray, x)

    def to_host(self, x):
        return mapped(self.cupy.ndarray, self.cupy.asnumpy, x)

    def to_other_device(self, x):
        if len(self.devices) < 2:
            return self.to_host(x)
        with self.cupy.cuda.Device(1):
            return self.cupy.asarray(x)

    @contextlib.contextmanager
    def stream(self):
        with self.cupy.cuda.Device(int(self.device[5:])), self.cupy.cuda.Stream(non_blocking=True) as side:
            yield
            side.synchronize()

    def enormous(self):
        return self.cupy.broadcast_to(self.cupy.zeros((1, 1), np.float32), (1 << 23, 1 << 23))

    def captured(self, run):
        stream = self.cupy.cuda.get_current_stream()
        stream.begin_capture()
        try:
            result = run()
        finally:
            graph = stream.end_capture()
        return result, lambda: graph.launch(stream)


LIBRARIES = {"torch": Torch, "cupy": CuPy}
