"""Cases of the GPU benchmarks: a call to the library on tensors, equivalent torch code as peers, and the unavoidable work."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import _backends, cheb, kron, ssm, wos
from ..cheb.scattered import bench as scattered
from ..ssm.convolution import bench as convolution
from ..ssm.delta import bench as delta
from ..ssm.kalmanet import bench as kalmanet
from ..ssm.modes import bench as modes
from ..ssm.s4d import bench as s4d
from ..ssm.selective import bench as selective
from ._gpu_case import Case, Draw, Size, Sizes
from ._problem import Work


def cases() -> Iterator[Case]:
    state_space = (_scan, _short_convolution, _vandermonde, _kernel, _selective_scan, _convolution, _kalmanet, _delta_rule, _delta_step)
    for case in (*state_space, _kronecker, _tucker, _walks):
        yield case()


def function_of(module: str, name: str, **options: Any) -> Callable[[Size, Sequence[Any]], Any]:
    """A function of another library as a peer, imported when called. Returns the first of several results."""

    def peer(size: Size, arrays: Sequence[Any]) -> Any:
        result = getattr(importlib.import_module(module), name)(*arrays, **options)
        return result[0] if isinstance(result, tuple) else result

    return peer


# ---------------------------------------------------------------- state-space models


def _scan() -> Case:
    return Case(
        ssm.OPS.linear_scan,
        "B D L",
        lambda draw, s: [draw.uniform(0.5, 0.99, *s), draw.normal(*s)],
        lambda s, arrays, **out: ssm.linear_scan(*arrays, **out),
        lambda s, item: Work(2 * math.prod(s), 3 * item * math.prod(s)),
        Sizes(checked=((1, 3, 5), (3, 37, 1025), (4, 256, 8192)), timed=(8, 1536, 16384), dry=(2, 8, 64)),
        rows=(0, 1),
        peers={"accelerated-scan": function_of("accelerated_scan.warp", "scan")},
        tolerance=1e-4,
    )


def _short_convolution() -> Case:
    return Case(
        ssm.OPS.causal_conv1d_fn,
        "B D L",
        lambda draw, s: [draw.normal(*s), draw.normal(s[1], 4), draw.normal(s[1])],
        lambda s, arrays, **out: ssm.causal_conv1d_fn(*arrays, activation="silu", **out),
        lambda s, item: Work(12 * math.prod(s), 2 * item * math.prod(s)),
        Sizes(checked=((1, 3, 5), (3, 37, 1025), (4, 256, 8192)), timed=(8, 1536, 4096), dry=(2, 8, 64)),
        rows=(0,),
        peers={
            "torch conv1d": lambda s, arrays: selective.conv_by_torch(*arrays),
            "causal-conv1d": function_of("causal_conv1d", "causal_conv1d_fn", activation="silu"),
        },
    )


def _modes(size: Size, item: int) -> Work:
    """The real part of a complex product per mode and sample, with factored powers."""
    H, N, L = size
    return Work(4 * H * N * L, (H * L + 4 * H * N) * item)


def _vandermonde() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        H, N, _ = s
        x = draw.torch.complex(-draw.uniform(0.001, 0.1, H, N), draw.uniform(-3, 3, H, N))
        return [draw.torch.complex(draw.normal(H, N), draw.normal(H, N)), x]

    return Case(
        ssm.OPS.log_vandermonde,
        "H N L",
        inputs,
        lambda s, arrays, **out: ssm.log_vandermonde(arrays[0], arrays[1], s[2], **out),
        _modes,
        Sizes(checked=((1, 1, 5), (3, 5, 1025), (64, 32, 4096)), timed=(768, 32, 4096), dry=(4, 3, 64)),
        rows=(0, 1),
        peers={"torch, dense": lambda s, arrays: modes.by_torch(arrays[0], arrays[1], s[2])},
    )


def _kernel() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        H, N, _ = s
        dt = draw.uniform(math.log(0.001), math.log(0.1), H).exp()
        A = draw.torch.complex(draw.uniform(-0.6, -0.4, H, N), math.pi * draw.uniform(0, N, H, N))
        return [dt, A, draw.torch.complex(draw.normal(H, N), draw.normal(H, N))]

    return Case(
        ssm.OPS.s4d_kernel,
        "H N L",
        inputs,
        lambda s, arrays, **out: ssm.s4d_kernel(arrays[0], arrays[1], arrays[2], s[2], **out),
        _modes,
        Sizes(checked=((1, 1, 5), (3, 5, 1025), (64, 32, 4096)), timed=(768, 32, 16384), dry=(4, 3, 64)),
        rows=(0, 1, 2),
        peers={"torch, dense": lambda s, arrays: s4d.exponentials(arrays[0], arrays[1], arrays[2], s[2])},
    )


def _selective_scan() -> Case:
    ours: Callable[..., Any] = ssm.selective_scan_fn

    def inputs(draw: Draw, s: Size) -> list[Any]:
        B, D, L, N = s
        u, delta, z = (draw.normal(B, D, L) for _ in range(3))
        A = -draw.uniform(1, N + 1, D, N)
        return [u, delta, A, draw.normal(B, N, L), draw.normal(B, N, L), draw.normal(D), z, draw.uniform(-3, -2, D)]

    return Case(
        ssm.OPS.selective_scan_fn,
        "B D L N",
        inputs,
        lambda s, arrays, **out: ours(*arrays, delta_softplus=True, **out),
        lambda s, item: Work(6 * math.prod(s), (4 * math.prod(s[:3]) + 2 * s[0] * s[2] * s[3]) * item),
        Sizes(checked=((1, 3, 5, 2), (3, 37, 257, 5), (2, 256, 1024, 16)), timed=(8, 1536, 2048, 16), dry=(2, 4, 32, 2)),
        rows=(0, 1, 3, 4, 6),
        peers={
            "mamba-ssm": function_of("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", delta_softplus=True),
            "torch, step by step": lambda s, arrays: selective.by_torch(*arrays),
        },
        tolerance=1e-4,
    )


def _convolution() -> Case:
    def torch_fft(s: Size, arrays: Sequence[Any]) -> Any:
        from torch import fft

        u, k = arrays
        n = 1 << (2 * s[2] - 1).bit_length()
        return fft.irfft(fft.rfft(u, n) * fft.rfft(k, n), n)[..., : s[2]]

    return Case(
        ssm.OPS.fft_conv,
        "B H L",
        lambda draw, s: [draw.normal(*s), draw.normal(*s[1:])],
        lambda s, arrays, **out: ssm.fft_conv(*arrays, **out),
        lambda s, item: convolution.convolution_work((s[0], s[1], s[2]), "float32" if item == 4 else "float64"),
        Sizes(checked=((1, 3, 5), (3, 7, 1025), (2, 64, 8192)), timed=(16, 768, 16384), dry=(2, 4, 64)),
        rows=(0,),
        peers={"torch.fft": torch_fft},
        tolerance=1e-4,
    )


def _kalmanet() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        def unit(x: Any) -> Any:
            return x / x.norm(dim=-1, keepdim=True)

        k = unit(draw.normal(*s))
        gates = [draw.uniform(0, 1, *s[:3]), -draw.uniform(0, 0.05, *s[:3]), -draw.uniform(0, 0.05, *s[:3])]
        return [unit(k + unit(draw.normal(*s))), k * draw.uniform(0, 1, *s[:3], 1), draw.normal(*s), *gates]

    def work(s: Size, item: int) -> Work:
        """Decay and update both states, one product with H and one with U in every step."""
        return Work(math.prod(s[:3]) * s[3] ** 2 * 67.5, 4 * math.prod(s) * item)

    return Case(
        ssm.OPS.gka,
        "B T H D",
        inputs,
        lambda s, arrays, **out: ssm.gka(*arrays, **out),
        work,
        Sizes(checked=((1, 3, 1, 4), (2, 37, 3, 20), (1, 128, 4, 64)), timed=(1, 1024, 4, 64), dry=(1, 4, 2, 8)),
        rows=(0, 1, 2, 3, 4, 5),
        peers={"torch, all states": lambda s, arrays: kalmanet.by_torch(kalmanet.chebyshev, *arrays)},
    )


def _delta_inputs(draw: Draw, s: Size) -> list[Any]:
    """Queries and keys with norm 1, values, decays and betas."""
    B, T, H, K, V = s
    q, k = (x / x.norm(dim=-1, keepdim=True) for x in (draw.normal(B, T, H, K), draw.normal(B, T, H, K)))
    return [q, k, draw.normal(B, T, H, V), -draw.uniform(-6, 0, B, T, H).exp(), draw.uniform(0, 1, B, T, H)]


def _delta_rule() -> Case:
    """Whole sequences."""

    def work(s: Size, item: int) -> Work:
        """Three products with the state per step, and products with the other steps of a chunk of 64."""
        B, T, H, K, V = s
        return Work(2 * B * T * H * (3 * K * V + 64 * (K + V)), 2 * B * T * H * (K + V + 1) * item)

    return Case(
        ssm.OPS.chunk_gated_delta_rule,
        "B T H K V",
        _delta_inputs,
        lambda s, arrays, **out: ssm.chunk_gated_delta_rule(*arrays, **out)[0],
        work,
        Sizes(checked=((1, 3, 1, 4, 5), (2, 70, 3, 20, 33), (1, 512, 4, 128, 128)), timed=(1, 2048, 16, 128, 128), dry=(1, 64, 2, 8, 8)),
        rows=(0, 1, 2, 3, 4),
        peers={
            "torch in chunks": lambda s, arrays: delta.by_chunks(delta.triangular, *arrays),
            "flash-linear-attention": function_of("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),
        },
    )


def _delta_step() -> Case:
    """One token of many sequences: reads one state and writes one."""

    def inputs(draw: Draw, s: Size) -> list[Any]:
        B, _, H, K, V = s
        return [*_delta_inputs(draw, s), draw.normal(B, H, K, V)]

    def by(library: Any) -> Any:
        function = library.fused_recurrent_gated_delta_rule
        return lambda s, arrays: function(*arrays[:5], initial_state=arrays[5], output_final_state=True)[0]

    def by_fla(s: Size, arrays: Sequence[Any]) -> Any:
        return by(importlib.import_module("fla.ops.gated_delta_rule"))(s, arrays)

    return Case(
        ssm.OPS.chunk_gated_delta_rule,
        "B T H K V",
        inputs,
        by(ssm),
        lambda s, item: Work(6 * math.prod(s), 2 * item * math.prod(s)),
        Sizes(checked=((1, 1, 1, 4, 5), (3, 1, 2, 20, 33), (2, 1, 4, 128, 128)), timed=(64, 1, 16, 128, 128), dry=(2, 1, 2, 8, 8)),
        rows=(0, 1, 2, 3, 4, 5),
        peers={"torch": lambda s, arrays: delta.step_by_torch(*arrays), "flash-linear-attention": by_fla},
        takes_out=False,
    )


# ---------------------------------------------------------------- the other families


def _kronecker() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        P, d, M = s
        return [draw.normal(M, P**d), *(draw.normal(P, P) / math.sqrt(P) for _ in range(d))]

    def by_matmul(s: Size, arrays: Sequence[Any]) -> Any:
        x = arrays[0]
        for A in arrays[1:]:  # each product moves its axis to the end
            x = (A @ x.reshape(s[2], s[0], -1)).transpose(1, 2)
        return x.reshape(s[2], -1)

    return Case(
        kron.OPS.matvec,
        "P d M",
        inputs,
        lambda s, arrays, **out: kron.matvec(list(arrays[1:]), arrays[0], **out),
        lambda s, item: Work(2 * s[2] * s[1] * s[0] ** (s[1] + 1), 2 * item * s[2] * s[0] ** s[1]),
        Sizes(checked=((3, 2, 1), (7, 3, 5), (16, 4, 16)), timed=(32, 4, 64), dry=(4, 2, 3)),
        rows=(0,),
        peers={"torch.matmul": by_matmul},
        precisions=("float32", "float64"),
    )


def _tucker() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        n, r, points = s
        decay = 0.9 ** draw.torch.arange(n, device=draw.device, dtype=draw.dtype)[:, None]
        return [draw.uniform(-1, 1, points, 3), draw.normal(r, r, r), *(draw.normal(n, r) * decay for _ in range(3))]

    return Case(
        cheb.OPS.tucker_eval,
        "n r P",
        inputs,
        lambda s, arrays, **out: cheb.tucker_eval(arrays[1], list(arrays[2:]), arrays[0], **out),
        lambda s, item: Work(s[2] * (6 * s[0] * s[1] + 2 * s[1] ** 3), 4 * item * s[2]),
        Sizes(checked=((3, 2, 5), (17, 5, 1031), (64, 10, 100_000)), timed=(64, 10, 2_000_000), dry=(5, 2, 64)),
        rows=(0,),
        peers={"torch, composed": lambda s, arrays: scattered.by_torch(arrays[1], arrays[2:], arrays[0])},
        precisions=("float32", "float64"),
    )


WALKS, SEED = 8, 11


def _walks() -> Case:
    """Laplace's equation in the disc of radius 1, u = x^2 - y^2."""

    def inputs(draw: Draw, s: Size) -> list[Any]:
        angle, radius = draw.uniform(0, 2 * math.pi, s[0]), draw.uniform(0, 0.9, s[0]).sqrt()
        coefficients = draw.torch.eye(5, device=draw.device, dtype=draw.dtype)[3]
        return [radius[:, None] * draw.torch.stack((angle.cos(), angle.sin()), 1), coefficients]

    def run(s: Size, arrays: Sequence[Any]) -> Any:
        return wos.solve(wos.Ball([0.0, 0.0], 1.0), arrays[0], dirichlet=wos.Fourier(arrays[1]), walks=WALKS, rng=SEED).value

    def loop(s: Size, arrays: Sequence[Any]) -> Any:
        """All walks at once until the last one ends; a step takes a dozen torch calls."""
        import torch

        x = arrays[0].repeat_interleave(WALKS, 0)
        active = torch.arange(len(x), device=x.device)
        while len(active):
            at = x[active]
            distance = 1 - at.norm(dim=1)
            inside = distance > 2e-3 * math.sqrt(2)  # epsilon times the diagonal of the bounding box
            active, at, distance = active[inside], at[inside], distance[inside]
            angle = 2 * math.pi * torch.rand(len(active), device=x.device)
            x[active] = at + distance[:, None] * torch.stack((angle.cos(), angle.sin()), 1).to(x.dtype)
        x = x / x.norm(dim=1, keepdim=True)
        return (x[:, 0] ** 2 - x[:, 1] ** 2).reshape(-1, WALKS).mean(1)

    return Case(
        wos.OPS.walk,
        "points",
        inputs,
        run,
        lambda s, item: Work(s[0] * WALKS * 9.4 * 83, 3 * item * s[0]),  # steps per walk, instructions per step
        Sizes(checked=((5,), (257,), (10_000,)), timed=(200_000,), dry=(16,)),
        rows=(0,),
        peers={"torch loop": loop},
        takes_out=False,
        check=_check_walks,
    )


def _check_walks(case: Case, size: Size, arrays: Sequence[Any], result: Any, peer: bool) -> tuple[str, float, float]:
    """For our small problems: the number of points whose walks differ from the host's, because a walk near the boundary may end a step
    earlier or later. Otherwise: the error of the mean, in standard errors."""
    X, u = arrays[0].cpu(), result.cpu().double()
    n = len(u)
    if n < 1000 and not peer:
        with _backends.use_backend(_backends.default()):
            host = case.run(size, [X, arrays[1].cpu()]).double()
        different = int(((u - host).abs() > 1e-3).sum())
        expected = 1e-3 * WALKS * n  # one walk in a thousand
        return "points whose walks differ", different, expected + 5 * math.sqrt(expected) + 1
    off = u - (X[:, 0] ** 2 - X[:, 1] ** 2).double()
    return "standard errors of the mean", float(off.mean().abs() / (off.std() / math.sqrt(n))), 5.0
