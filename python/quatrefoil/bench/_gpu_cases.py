"""What is timed on a device: a call of the library on tensors, the peers of torch that give the same, and what it cannot do without."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import _backends, cheb, kron, ssm, wos
from ._gpu_case import Case, Draw, Size
from ._gpu_delta import delta_rule, delta_step
from ._problem import Work


def cases() -> Iterator[Case]:
    yield _scan()
    yield _short_convolution()
    yield _vandermonde()
    yield _kernel()
    yield _selective_scan()
    yield _convolution()
    yield _kalmanet()
    yield delta_rule()
    yield delta_step()
    yield _kronecker()
    yield _tucker()
    yield _walks()


# ---------------------------------------------------------------- state-space models


def _scan() -> Case:
    def accelerated(size: Size, given: Sequence[Any]) -> Any:
        from accelerated_scan.warp import scan

        return scan(*given)

    return Case(
        ssm.OPS.linear_scan,
        "B D L",
        lambda draw, s: [draw.uniform(0.5, 0.99, *s), draw.normal(*s)],
        lambda s, given, **out: ssm.linear_scan(*given, **out),
        lambda s, item: Work(2 * math.prod(s), 3 * item * math.prod(s)),
        ((1, 3, 5), (3, 37, 1025), (4, 256, 8192)),
        (8, 1536, 16384),
        (2, 8, 64),
        rows=(0, 1),
        peers={"accelerated-scan": accelerated},
        tolerance=1e-4,
    )


def _short_convolution() -> Case:
    def torch_conv1d(size: Size, given: Sequence[Any]) -> Any:
        import torch

        x, weight, bias = given
        y = torch.nn.functional.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=x.shape[1])
        return torch.nn.functional.silu(y[..., : x.shape[2]])

    def causal_conv1d(size: Size, given: Sequence[Any]) -> Any:
        from causal_conv1d import causal_conv1d_fn

        return causal_conv1d_fn(*given, activation="silu")

    return Case(
        ssm.OPS.causal_conv1d_fn,
        "B D L",
        lambda draw, s: [draw.normal(*s), draw.normal(s[1], 4), draw.normal(s[1])],
        lambda s, given, **out: ssm.causal_conv1d_fn(*given, activation="silu", **out),
        lambda s, item: Work(12 * math.prod(s), 2 * item * math.prod(s)),
        ((1, 3, 5), (3, 37, 1025), (4, 256, 8192)),
        (8, 1536, 4096),
        (2, 8, 64),
        rows=(0,),
        peers={"torch conv1d": torch_conv1d, "causal-conv1d": causal_conv1d},
    )


def _dense(v: Any, x: Any, L: int) -> Any:
    """2 Re sum_n v_n e^(x_n l), an exponential for every mode and sample."""
    import torch

    steps = torch.arange(L, device=x.device)
    return 2 * torch.einsum("hn,hnl->hl", v, torch.exp(x[..., None] * steps)).real


def _modes(size: Size, item: int) -> Work:
    """By factored powers: the real part of a complex product for every mode and sample."""
    H, N, L = size
    return Work(4 * H * N * L, (H * L + 4 * H * N) * item)


def _vandermonde() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        H, N, _ = s
        x = draw.complex(-draw.uniform(0.001, 0.1, H, N), draw.uniform(-3, 3, H, N))
        return [draw.complex(draw.normal(H, N), draw.normal(H, N)), x]

    return Case(
        ssm.OPS.log_vandermonde,
        "H N L",
        inputs,
        lambda s, given, **out: ssm.log_vandermonde(given[0], given[1], s[2], **out),
        _modes,
        ((1, 1, 5), (3, 5, 1025), (64, 32, 4096)),
        (768, 32, 4096),
        (4, 3, 64),
        rows=(0, 1),
        peers={"torch, dense": lambda s, given: _dense(given[0], given[1], s[2])},
    )


def _kernel() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        H, N, _ = s
        dt = draw.uniform(math.log(0.001), math.log(0.1), H).exp()
        A = draw.complex(draw.uniform(-0.6, -0.4, H, N), math.pi * draw.uniform(0, N, H, N))
        return [dt, A, draw.complex(draw.normal(H, N), draw.normal(H, N))]

    def dense(s: Size, given: Sequence[Any]) -> Any:
        dt, A, C = given
        x = dt[:, None] * A
        return _dense(C * (x.exp() - 1) / A, x, s[2])

    return Case(
        ssm.OPS.s4d_kernel,
        "H N L",
        inputs,
        lambda s, given, **out: ssm.s4d_kernel(given[0], given[1], given[2], s[2], **out),
        _modes,
        ((1, 1, 5), (3, 5, 1025), (64, 32, 4096)),
        (768, 32, 16384),
        (4, 3, 64),
        rows=(0, 1, 2),
        peers={"torch, dense": dense},
    )


def _selective_scan() -> Case:
    ours: Callable[..., Any] = ssm.selective_scan_fn

    def inputs(draw: Draw, s: Size) -> list[Any]:
        B, D, L, N = s
        u, delta, z = (draw.normal(B, D, L) for _ in range(3))
        A = -draw.uniform(1, N + 1, D, N)
        return [u, delta, A, draw.normal(B, N, L), draw.normal(B, N, L), draw.normal(D), z, draw.uniform(-3, -2, D)]

    def mamba(s: Size, given: Sequence[Any]) -> Any:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        return selective_scan_fn(*given, delta_softplus=True)

    def loop(s: Size, given: Sequence[Any]) -> Any:
        from ..ssm.selective.bench import _loop

        return _loop(*given)

    return Case(
        ssm.OPS.selective_scan_fn,
        "B D L N",
        inputs,
        lambda s, given, **out: ours(*given, delta_softplus=True, **out),
        lambda s, item: Work(6 * math.prod(s), (4 * math.prod(s[:3]) + 2 * s[0] * s[2] * s[3]) * item),
        ((1, 3, 5, 2), (3, 37, 257, 5), (2, 256, 1024, 16)),
        (8, 1536, 2048, 16),
        (2, 4, 32, 2),
        rows=(0, 1, 3, 4, 6),
        peers={"mamba-ssm": mamba, "torch, step by step": loop},
        tolerance=1e-4,
    )


def _convolution() -> Case:
    def work(s: Size, item: int) -> Work:
        from ..ssm.convolution.bench import convolution_work

        return convolution_work((s[0], s[1], s[2]), np.float32 if item == 4 else np.float64)

    def torch_fft(s: Size, given: Sequence[Any]) -> Any:
        from torch import fft

        u, k = given
        n = 1 << (2 * s[2] - 1).bit_length()
        return fft.irfft(fft.rfft(u, n) * fft.rfft(k, n), n)[..., : s[2]]

    return Case(
        ssm.OPS.fft_conv,
        "B H L",
        lambda draw, s: [draw.normal(*s), draw.normal(*s[1:])],
        lambda s, given, **out: ssm.fft_conv(*given, **out),
        work,
        ((1, 3, 5), (3, 7, 1025), (2, 64, 8192)),
        (16, 768, 16384),
        (2, 4, 64),
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
        """Both states decayed and updated, a product with H in every step, one with U."""
        return Work(math.prod(s[:3]) * s[3] ** 2 * 67.5, 4 * math.prod(s) * item)

    def states_laid_out(s: Size, given: Sequence[Any]) -> Any:
        from ..ssm.kalmanet.bench import _torch_ways

        return _torch_ways(list(given))["torch chebyshev"]()

    return Case(
        ssm.OPS.gka,
        "B T H D",
        inputs,
        lambda s, given, **out: ssm.gka(*given, **out),
        work,
        ((1, 3, 1, 4), (2, 37, 3, 20), (1, 128, 4, 64)),
        (1, 1024, 4, 64),
        (1, 4, 2, 8),
        rows=(0, 1, 2, 3, 4, 5),
        peers={"torch, all states": states_laid_out},
    )


# ---------------------------------------------------------------- the other families


def _kronecker() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        P, d, M = s
        return [draw.normal(M, P**d), *(draw.normal(P, P) / math.sqrt(P) for _ in range(d))]

    def by_matmul(s: Size, given: Sequence[Any]) -> Any:
        x = given[0]
        for A in given[1:]:  # the axis goes to the end, where the next one begins
            x = (A @ x.reshape(s[2], s[0], -1)).transpose(1, 2)
        return x.reshape(s[2], -1)

    return Case(
        kron.OPS.matvec,
        "P d M",
        inputs,
        lambda s, given, **out: kron.matvec(list(given[1:]), given[0], **out),
        lambda s, item: Work(2 * s[2] * s[1] * s[0] ** (s[1] + 1), 2 * item * s[2] * s[0] ** s[1]),
        ((3, 2, 1), (7, 3, 5), (16, 4, 16)),
        (32, 4, 64),
        (4, 2, 3),
        rows=(0,),
        peers={"torch.matmul": by_matmul},
        precisions=("float32", "float64"),
    )


def _tucker() -> Case:
    def inputs(draw: Draw, s: Size) -> list[Any]:
        n, r, points = s
        decay = 0.9 ** draw.torch.arange(n, device=draw.device, dtype=draw.dtype)[:, None]
        return [draw.uniform(-1, 1, points, 3), draw.normal(r, r, r), *(draw.normal(n, r) * decay for _ in range(3))]

    def composed(s: Size, given: Sequence[Any]) -> Any:
        import torch

        X, core, *factors = given
        angles = X.clamp(-1, 1).acos()
        rows = [torch.cos(angles[:, k : k + 1] * torch.arange(s[0], device=X.device)) @ U for k, U in enumerate(factors)]
        t = (rows[0] @ core.reshape(s[1], -1)).reshape(-1, s[1], s[1])
        return ((t @ rows[2][:, :, None])[:, :, 0] * rows[1]).sum(1)

    return Case(
        cheb.OPS.tucker_eval,
        "n r P",
        inputs,
        lambda s, given, **out: cheb.tucker_eval(given[1], list(given[2:]), given[0], **out),
        lambda s, item: Work(s[2] * (6 * s[0] * s[1] + 2 * s[1] ** 3), 4 * item * s[2]),
        ((3, 2, 5), (17, 5, 1031), (64, 10, 100_000)),
        (64, 10, 2_000_000),
        (5, 2, 64),
        rows=(0,),
        peers={"torch, composed": composed},
        precisions=("float32", "float64"),
    )


WALKS, SEED = 8, 11


def _walks() -> Case:
    """Laplace's equation in the disc of radius 1, u = x^2 - y^2."""

    def inputs(draw: Draw, s: Size) -> list[Any]:
        angle, radius = draw.uniform(0, 2 * math.pi, s[0]), draw.uniform(0, 0.9, s[0]).sqrt()
        coefficients = draw.torch.eye(5, device=draw.device, dtype=draw.dtype)[3]
        return [radius[:, None] * draw.torch.stack((angle.cos(), angle.sin()), 1), coefficients]

    def run(s: Size, given: Sequence[Any]) -> Any:
        return wos.solve(wos.Ball([0.0, 0.0], 1.0), given[0], dirichlet=wos.Fourier(given[1]), walks=WALKS, rng=SEED).value

    def loop(s: Size, given: Sequence[Any]) -> Any:
        """All walks at once, until the last of them has ended: each step a dozen calls of torch."""
        import torch

        x = given[0].repeat_interleave(WALKS, 0)
        left = torch.arange(len(x), device=x.device)
        while len(left):
            at = x[left]
            distance = 1 - at.norm(dim=1)
            going = distance > 2e-3 * math.sqrt(2)  # epsilon of the bounding box's diagonal
            left, at, distance = left[going], at[going], distance[going]
            angle = 2 * math.pi * torch.rand(len(left), device=x.device)
            x[left] = at + distance[:, None] * torch.stack((angle.cos(), angle.sin()), 1).to(x.dtype)
        x = x / x.norm(dim=1, keepdim=True)
        return (x[:, 0] ** 2 - x[:, 1] ** 2).reshape(-1, WALKS).mean(1)

    return Case(
        wos.OPS.walk,
        "points",
        inputs,
        run,
        lambda s, item: Work(s[0] * WALKS * 9.4 * 83, 3 * item * s[0]),  # steps of a walk, instructions of a step
        ((5,), (257,), (10_000,)),
        (200_000,),
        (16,),
        rows=(0,),
        peers={"torch loop": loop},
        takes_out=False,
        check=_check_walks,
    )


def _check_walks(case: Case, size: Size, given: Sequence[Any], result: Any, peer: bool) -> tuple[str, float, float]:
    """Of small problems of ours the points whose walks are not the host's: one that meets the boundary may end a step earlier or later.
    Else the error of the mean, in its own standard errors."""
    X, u = given[0].cpu(), result.cpu().double()
    n = len(u)
    if n < 1000 and not peer:
        with _backends.use_backend(_backends.default()):
            host = case.run(size, [X, given[1].cpu()]).double()
        other = int(((u - host).abs() > 1e-3).sum())
        expected = 1e-3 * WALKS * n  # one walk of a thousand
        return "points whose walks differ", other, expected + 5 * math.sqrt(expected) + 1
    off = u - (X[:, 0] ** 2 - X[:, 1] ** 2).double()
    return "standard errors of the mean", float(off.mean().abs() / (off.std() / math.sqrt(n))), 5.0
