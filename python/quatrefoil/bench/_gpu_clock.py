"""The machine and the clock of the GPU benchmarks: a GPU with CUDA events or, in a dry run, the host."""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import _backends
from .._typing import Backend

Side = Callable[[int], Any]  # one call, on the set of inputs with that index
INNER, REPETITIONS, WARM = 2e-3, 25, 0.5  # seconds of calls per measurement, measurements, seconds of warm-up


class Machine:
    """The first GPU or, in a dry run, the host with backend 'array', which GPUs also use if there are no kernels."""

    def __init__(self, torch: Any, dry: bool) -> None:
        self.torch, self.dry = torch, dry
        self.device = torch.device("cpu" if dry else "cuda:0")
        self.backend: Backend | None = "array" if dry else None
        self.cache = 1 << 16 if dry else int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0) or 50 << 20)  # bytes

    def description(self) -> dict[str, Any]:
        """The card, its driver and CUDA: times depend on them."""
        if self.dry:
            return {"card": "dry run on the host: these are not GPU times"}
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
        try:
            driver = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            driver = f"unknown: {error}"
        card = self.torch.cuda.get_device_properties(0)
        return {
            "card": f"{card.name} (sm_{card.major}{card.minor})",
            "memory": card.total_memory,
            "multiprocessors": card.multi_processor_count,
            "driver": driver,
            "cuda of torch": self.torch.version.cuda,
        }

    def using_backend(self) -> contextlib.AbstractContextManager[None]:
        """A context in which calls use this machine's backend."""
        return _backends.use_backend(self.backend) if self.backend else contextlib.nullcontext()

    def side_stream(self) -> contextlib.AbstractContextManager[Any]:
        """A context with a stream other than the default one."""
        if self.dry:
            return contextlib.nullcontext()
        side = self.torch.cuda.Stream()
        side.wait_stream(self.torch.cuda.current_stream())
        context: contextlib.AbstractContextManager[Any] = self.torch.cuda.stream(side)
        return context

    def wait(self) -> None:
        if not self.dry:
            self.torch.cuda.synchronize()

    def poison(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Fill the memory that this stream allocates next with NaN: blocks of exactly this size, and larger ones for temporaries."""
        size = math.prod(shape)
        for block in (shape, (8 * size,)):
            blocks = [self.torch.full(block, math.nan, dtype=dtype, device=self.device) for _ in range(2)]
            blocks.clear()

    def seconds(self, side: Side, count: int, first: int = 0) -> float:
        """The time of ``count`` consecutive calls, which rotate through the sets of inputs."""
        if self.dry:
            start = time.perf_counter()
            for i in range(first, first + count):
                side(i)
            return time.perf_counter() - start
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(first, first + count):
            side(i)
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3

    def interleave(self, sides: Mapping[str, Side], sets: int, budget: float) -> dict[str, dict[str, float]]:
        """Warm up every side, then time them in turn, in alternating order, at least twice and for up to ``budget`` seconds."""
        counts = {}
        for name, side in sides.items():
            one = self.seconds(side, 1)
            warm = max(min(sets, 3), min(sets, int(WARM / max(one, 1e-7))))
            one = self.seconds(side, warm) / warm
            counts[name] = 1 if self.dry else max(1, math.ceil(INNER / max(one, 1e-7)))
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        begin = time.monotonic()
        for repetition in range(2 if self.dry else REPETITIONS):
            if repetition >= 2 and time.monotonic() - begin > budget:
                break
            for name in list(sides) if repetition % 2 == 0 else list(sides)[::-1]:
                seconds[name].append(self.seconds(sides[name], counts[name], repetition * counts[name]) / counts[name])
        return {name: {"seconds": statistics.median(t), "least": min(t), "most": max(t)} for name, t in seconds.items()}

    def captured(self, run: Callable[[Sequence[Any]], Any], sets: Sequence[Sequence[Any]]) -> Side:
        """The calls as CUDA graphs, which take no time on the host."""
        graphs = []
        for inputs in sets:
            graph = self.torch.cuda.CUDAGraph()
            with self.torch.cuda.graph(graph):
                result = run(inputs)
            graphs.append((graph, result))  # the graph owns its memory
        return lambda i: graphs[i % len(graphs)][0].replay()

    def ceilings(self) -> dict[str, float]:
        """Bytes per second of a large copy (read and written), and flops per second of matrix products. Uses random numbers, because zeros
        draw less power."""
        torch, rates = self.torch, {"copy": self._copy(1 << (16 if self.dry else 29))}
        kinds = {"bfloat16": torch.bfloat16, "tf32": torch.float32, "float32": torch.float32, "float64": torch.float64}
        before = torch.backends.cuda.matmul.allow_tf32
        try:
            for name, dtype in kinds.items():
                torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
                rates[name] = self._product(64 if self.dry else 4096 if name == "float64" else 8192, dtype)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
        return rates

    def _copy(self, count: int) -> float:
        x = self.torch.randn(count, device=self.device)
        y = self.torch.empty_like(x)
        return float(2 * x.nbytes) / self._best(lambda _: y.copy_(x))

    def _product(self, n: int, dtype: Any) -> float:
        a, b = (self.torch.randn(n, n, device=self.device).to(dtype) for _ in range(2))
        product = self.torch.empty_like(a)
        return 2.0 * n * n * n / self._best(lambda _: self.torch.matmul(a, b, out=product))

    def _best(self, side: Side) -> float:
        """The minimum seconds per call."""
        return self.interleave({"": side}, 2, 5.0)[""]["least"]
