"""The kernels of a Mamba block against PyTorch: mamba-ssm's reference recurrence written out, and the depthwise conv1d."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, installed

SHAPES = ((1, 256, 1024, 16), (2, 768, 2048, 16))  # B, D, L, N


def problems() -> Iterator[Problem]:
    if not installed("torch"):
        return
    for shape in SHAPES:
        yield _scan(shape)
    yield _scan(SHAPES[0], gradient=True)
    for size in ((1, 512, 1024), (2, 1536, 2048)):
        yield _conv(size)
    yield _conv((1, 512, 1024), gradient=True)
    yield _step((1, 1536, 16))
    yield _step((1, 80, 64, 128))
    yield _step((8, 24, 64, 128))


def _scan_inputs(shape: tuple[int, int, int, int]) -> list[Any]:
    B, D, L, N = shape
    rng = np.random.default_rng(0)
    u, delta, b, c, skip, z = (
        rng.standard_normal(s).astype(np.float32) for s in ((B, D, L), (B, D, L), (B, N, L), (B, N, L), (D,), (B, D, L))
    )
    A = -np.broadcast_to(np.arange(1, N + 1, dtype=np.float32), (D, N)).copy()  # Mamba's initial A
    return [u, delta, A, b, c, skip, z, np.full(D, -3, np.float32)]


def _ours(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any) -> Any:
    return ssm.selective_scan_fn(u, delta, A, B, C, D, z, bias, delta_softplus=True)


def _loop(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any) -> Any:
    """One step at a time in torch, as in mamba-ssm's selective_scan_ref: (B, D, L, N) decays and inputs first, then the recurrence."""
    import torch

    delta = torch.nn.functional.softplus(delta + bias[:, None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    inputs = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    x, ys = A.new_zeros(u.shape[0], *A.shape), []
    for t in range(u.shape[2]):
        x = decay[:, :, t] * x + inputs[:, :, t]
        ys.append(torch.einsum("bdn,bn->bd", x, C[:, :, t]))
    return (torch.stack(ys, dim=2) + u * D[:, None]) * torch.nn.functional.silu(z)


def _gradient(f: Callable[..., Any], tensors: list[Any], at: int) -> Any:
    """The gradient of input ``at`` if that of the result is the first input."""
    import torch

    leaves = [t.clone().requires_grad_() for t in tensors]
    return torch.autograd.grad(f(*leaves), leaves, tensors[0])[at]


def _scan(shape: tuple[int, int, int, int], gradient: bool = False) -> Problem:
    import torch

    arrays = _scan_inputs(shape)
    tensors = list(map(torch.from_numpy, arrays))
    doubles = [t.double() for t in tensors]
    size = f"{shape} float32"
    if not gradient:
        peers: dict[str, Callable[[], Any]] = {"torch loop": lambda: _loop(*tensors)}
        return Problem(
            "ssm", "selective_scan_fn", size, lambda: _ours(*arrays), peers, lambda: _loop(*doubles).numpy(), 2e-6, {"torch loop": 50.0},
            1e-5, _scan_work(shape),
        )  # fmt: skip
    peers = {"torch loop and autograd": lambda: _gradient(_loop, tensors, 1)}  # of delta, which sums the most
    return Problem(
        "ssm", "selective_scan_fn fwd+bwd", size, lambda: _gradient(_ours, tensors, 1), peers, lambda: _gradient(_loop, doubles, 1), 1e-5,
        {}, 1e-4,
    )  # fmt: skip


def _scan_work(shape: tuple[int, int, int, int]) -> Work:
    """Per state and step: an exponential, its argument, the input and two multiply-adds; softplus and SiLU take two more per sample."""
    B, D, L, N = shape
    return Work(6 * B * D * L * N, (4 * B * D * L + 2 * B * N * L) * 4, exps=B * D * L * (N + 2))


def _conv(shape: tuple[int, int, int], gradient: bool = False) -> Problem:
    import torch
    from torch.nn import functional as F

    B, D, L = shape
    rng = np.random.default_rng(0)
    arrays = x, *_ = [rng.standard_normal(s).astype(np.float32) for s in ((B, D, L), (D, 4), (D,))]
    tensors = list(map(torch.from_numpy, arrays))
    doubles = [t.double() for t in tensors]

    def by_torch(x: Any, weight: Any, bias: Any) -> Any:
        return F.silu(F.conv1d(x, weight[:, None], bias, padding=3, groups=D)[..., :L])

    def ours(x: Any, weight: Any, bias: Any) -> Any:
        return ssm.causal_conv1d_fn(x, weight, bias, activation="silu")

    size = f"{shape} 4 taps float32"
    if gradient:
        peers: dict[str, Callable[[], Any]] = {"torch conv1d and autograd": lambda: _gradient(by_torch, tensors, 0)}
        return Problem(
            "ssm",
            "causal_conv1d_fn fwd+bwd",
            size,
            lambda: _gradient(ours, tensors, 0),
            peers,
            lambda: _gradient(by_torch, doubles, 0),
            2e-6,
        )
    peers = {"torch conv1d": lambda: by_torch(*tensors)}
    return Problem(
        "ssm", "causal_conv1d_fn", size, lambda: ours(*arrays), peers, lambda: by_torch(*doubles).numpy(), 1e-6,
        work=Work(8 * x.size, 2 * x.nbytes, exps=x.size),
    )  # fmt: skip


def _step(shape: tuple[int, ...]) -> Problem:
    """A decoding step. With heads, as in Mamba-2, A, the step size, D and the bias are one number per head, expanded."""
    import torch

    items, *heads, P, N = shape
    rng = np.random.default_rng(0)

    def normal(*size: int) -> Any:
        return torch.from_numpy(rng.standard_normal(size).astype(np.float32))

    if heads:
        H = heads[0]
        dt, A = normal(items, H)[..., None].expand(items, H, P), -normal(H).exp()[:, None, None].expand(H, P, N)
        D, bias = (normal(H)[:, None].expand(H, P) for _ in range(2))
        mixing: tuple[int, ...] = (items, 1, N)
    else:
        dt, A, D, bias, mixing = normal(items, P), -normal(P, N).exp(), normal(P), normal(P), (items, N)
    start, x, z = normal(*shape), normal(items, *heads, P), normal(items, *heads, P)
    B, C = normal(*mixing), normal(*mixing)
    ours_state, peer_state = start.clone(), start.clone()

    def step(state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any) -> Any:
        """In torch, as in mamba-ssm's selective_state_update_ref."""
        delta = torch.nn.functional.softplus(dt + bias)
        B, C = ((m[:, :, None] if heads else m[:, None]) for m in (B, C))
        state.copy_(torch.exp(delta[..., None] * A) * state + (delta * x)[..., None] * B)
        return ((state * C).sum(-1) + D * x) * torch.nn.functional.silu(z)

    def ours() -> Any:
        ours_state.copy_(start)  # as the peer does: every run starts from the same state
        with torch.no_grad():
            return ssm.selective_state_update(ours_state, x, dt, A, B, C, D, z, bias, dt_softplus=True)

    def peer() -> Any:
        peer_state.copy_(start)
        with torch.no_grad():
            return step(peer_state, x, dt, A, B, C, D, z, bias)

    def truth() -> Any:
        return step(*[t.double() for t in (start.clone(), x, dt, A, B, C, D, z, bias)]).numpy()

    decays = heads[0] * items if heads else start.numel()
    return Problem(
        "ssm", "selective_state_update", f"{shape} float32", ours, {"torch": peer}, truth, 2e-6, {"torch": 1.5}, 1e-5,
        Work(6 * start.numel(), 4 * 4 * start.numel(), exps=decays),
    )  # fmt: skip
