"""The kernels of a Mamba block compared with PyTorch: the reference recurrence of mamba-ssm, and the depthwise conv1d."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, autograd, double, installed, tensors

SHAPES = ((1, 256, 1024, 16), (2, 768, 2048, 16))  # B, D, L, N


def problems() -> Iterator[Problem]:
    if not installed("torch"):
        return
    for shape in SHAPES:
        yield _scan(shape)
    yield _scan_gradient(SHAPES[0])
    for size in ((1, 512, 1024), (2, 1536, 2048)):
        yield _conv(size)
    yield _conv_gradient((1, 512, 1024))
    yield _step((1, 1536, 16))
    yield _step((1, 80, 64, 128))
    yield _step((8, 24, 64, 128))


def _scan_inputs(shape: tuple[int, int, int, int]) -> list[np.ndarray]:
    B, D, L, N = shape
    rng = np.random.default_rng(0)
    u, delta, b, c, skip, z = (
        rng.standard_normal(s).astype(np.float32) for s in ((B, D, L), (B, D, L), (B, N, L), (B, N, L), (D,), (B, D, L))
    )
    A = -np.broadcast_to(np.arange(1, N + 1, dtype=np.float32), (D, N)).copy()  # Mamba's initial A
    return [u, delta, A, b, c, skip, z, np.full(D, -3, np.float32)]


def _ours(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any) -> Any:
    return ssm.selective_scan_fn(u, delta, A, B, C, D, z, bias, delta_softplus=True)


def by_torch(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any) -> Any:
    """One step at a time in PyTorch, as in mamba-ssm's selective_scan_ref: first (B, D, L, N) decays and inputs, then the recurrence."""
    import torch

    delta = torch.nn.functional.softplus(delta + bias[:, None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    inputs = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    x, ys = A.new_zeros(u.shape[0], *A.shape), []
    for t in range(u.shape[2]):
        x = decay[:, :, t] * x + inputs[:, :, t]
        ys.append(torch.einsum("bdn,bn->bd", x, C[:, :, t]))
    return (torch.stack(ys, dim=2) + u * D[:, None]) * torch.nn.functional.silu(z)


def _scan_truth(*arrays: np.ndarray) -> Any:
    u, delta, A, B, C, D, z, bias = double(*arrays)
    delta = np.logaddexp(delta + bias[:, None], 0)
    x, y = np.zeros((u.shape[0], *A.shape)), np.empty_like(u)
    for t in range(u.shape[2]):
        x = np.exp(delta[:, :, t, None] * A) * x + (delta * u)[:, :, t, None] * B[:, None, :, t]
        y[:, :, t] = (x * C[:, None, :, t]).sum(-1)
    return (y + D[:, None] * u) * z / (1 + np.exp(-z))


def _scan(shape: tuple[int, int, int, int]) -> Problem:
    arrays = _scan_inputs(shape)
    B, D, L, N = shape
    # per state and step: an exponential, its argument, the input and two multiply-adds; per sample: two exponentials (softplus and SiLU)
    work = Work(6 * B * D * L * N, (4 * B * D * L + 2 * B * N * L) * 4, exps=B * D * L * (N + 2))
    ours = partial(_ours, *arrays)
    peers = {"torch loop": partial(by_torch, *tensors(arrays))}
    truth = partial(_scan_truth, *arrays)
    return Problem("ssm", "selective_scan_fn", f"{shape} float32", ours, peers, truth, 2e-6, {"torch loop": 50.0}, 1e-5, work)


def _scan_gradient(shape: tuple[int, int, int, int]) -> Problem:
    """Forward and backward through autograd. Compares the gradient of delta, which has the longest sums."""
    arrays = _scan_inputs(shape)
    wide, run = double(*arrays), autograd(arrays, grad=arrays[0], index=1)
    peers = {"torch loop and autograd": run(by_torch)}
    truth = autograd(wide, grad=wide[0], index=1)(by_torch)
    return Problem("ssm", "selective_scan_fn fwd+bwd", f"{shape} float32", run(_ours), peers, truth, 1e-5, {}, 1e-4)


def _conv_inputs(shape: tuple[int, int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(np.float32) for s in (shape, (shape[1], 4), (shape[1],))]


def conv_by_torch(x: Any, weight: Any, bias: Any) -> Any:
    from torch.nn import functional

    y = functional.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=x.shape[1])
    return functional.silu(y[..., : x.shape[2]])


def _conv(shape: tuple[int, int, int]) -> Problem:
    arrays = _conv_inputs(shape)
    x = arrays[0]
    ours = partial(ssm.causal_conv1d_fn, *arrays, activation="silu")
    peers = {"torch conv1d": partial(conv_by_torch, *tensors(arrays))}
    truth = partial(conv_by_torch, *tensors(double(*arrays)))
    work = Work(8 * x.size, 2 * x.nbytes, exps=x.size)
    return Problem("ssm", "causal_conv1d_fn", f"{shape} 4 taps float32", ours, peers, truth, 1e-6, work=work)


def _conv_gradient(shape: tuple[int, int, int]) -> Problem:
    arrays = _conv_inputs(shape)
    wide, run = double(*arrays), autograd(arrays, grad=arrays[0])
    ours = run(partial(ssm.causal_conv1d_fn, activation="silu"))
    peers = {"torch conv1d and autograd": run(conv_by_torch)}
    truth = autograd(wide, grad=wide[0])(conv_by_torch)
    return Problem("ssm", "causal_conv1d_fn fwd+bwd", f"{shape} 4 taps float32", ours, peers, truth, 2e-6)


def _step(shape: tuple[int, ...]) -> Problem:
    """A decoding step. With heads, as in Mamba-2, A, the step size, D and the bias have one value per head, expanded to all channels."""
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
    arguments = (x, dt, A, B, C, D, z, bias)

    def by_torch(state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any) -> Any:
        """As in mamba-ssm's selective_state_update_ref."""
        delta = torch.nn.functional.softplus(dt + bias)
        B, C = ((m[:, :, None] if heads else m[:, None]) for m in (B, C))
        state.copy_(torch.exp(delta[..., None] * A) * state + (delta * x)[..., None] * B)
        return ((state * C).sum(-1) + D * x) * torch.nn.functional.silu(z)

    def run(step: Any, state: Any) -> Any:
        state.copy_(start)  # on both sides, because a second step would give a different result
        with torch.no_grad():
            return step(state, *arguments)

    ours = partial(run, partial(ssm.selective_state_update, dt_softplus=True), start.clone())
    peers = {"torch": partial(run, by_torch, start.clone())}
    truth = partial(by_torch, *(t.double() for t in (start, *arguments)))
    work = Work(6 * start.numel(), 4 * 4 * start.numel(), exps=heads[0] * items if heads else start.numel())
    return Problem("ssm", "selective_state_update", f"{shape} float32", ours, peers, truth, 2e-6, {"torch": 1.5}, 1e-5, work)
