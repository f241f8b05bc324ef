"""Mamba-2's scan compared with two versions in PyTorch: batched matrix products, and the paper's segment sums."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, autograd, double, installed, torch_peers

SHAPE = (1, 2048, 24, 64, 128)  # B, L, H, P, N: the layer of a small Mamba-2
CHUNK = 64
STEPS = 32  # steps per chunk in our forward kernels


def problems() -> Iterator[Problem]:
    if not installed("torch"):
        return
    yield _scan(SHAPE)
    yield _gradient(SHAPE)
    yield _scan((2, 1000, 8, 64, 64))


def _inputs(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Inputs as passed by a block: A in [-16, -1], step sizes around 0.02."""
    B, L, H, P, N = shape
    rng = np.random.default_rng(0)
    x, dt, b, c = (rng.standard_normal(s) for s in ((B, L, H, P), (B, L, H), (B, L, 1, N), (B, L, 1, N)))
    A, bias = -rng.uniform(1, 16, H), np.full(H, -4.0)
    return [a.astype(np.float32) for a in (x, dt, A, b, c, np.ones(H), bias)]


def _ours(x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, bias: Any) -> Any:
    return ssm.mamba_chunk_scan_combined(x, dt, A, B, C, CHUNK, D, dt_bias=bias, dt_softplus=True)


def _in_chunks(x: Any, dt: Any, B: Any, C: Any, size: int) -> tuple[Any, ...]:
    """Each array as (B, K, size, ...), with zeros after the last step."""
    import torch

    short = -x.shape[1] % size
    return tuple(torch.nn.functional.pad(t, [0, 0] * (t.ndim - 2) + [0, short]).unflatten(1, (-1, size)) for t in (x, dt, B, C))


def _batched(x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, bias: Any) -> Any:
    """All chunks at once by batched matrix products, then a loop over their states. All heads share the products of B and C."""
    import torch

    L = x.shape[1]
    dt = torch.nn.functional.softplus(dt + bias)
    xs, ds, b, c = _in_chunks(x * dt[..., None], dt * A, B[:, :, 0], C[:, :, 0], CHUNK)
    u = xs.permute(0, 3, 1, 2, 4).contiguous()  # (B, H, K, size, P)
    total = ds.permute(0, 3, 1, 2).cumsum(-1)  # (B, H, K, size)
    pairs = torch.exp((total[..., :, None] - total[..., None, :]).masked_fill_(torch.ones(CHUNK, CHUNK).triu_(1).bool(), -torch.inf))
    inner = torch.matmul(c, b.mT)[:, None]  # (B, 1, K, size, size)
    y = torch.matmul(pairs * inner, u)
    put = torch.matmul(b.mT[:, None], u * torch.exp(total[..., -1:] - total)[..., None])  # (B, H, K, N, P)
    decay, state, before = torch.exp(total[..., -1])[..., None, None], torch.zeros_like(put[:, :, 0]), []
    for k in range(put.shape[2]):
        before.append(state)
        state = decay[:, :, k] * state + put[:, :, k]
    y = y + torch.matmul(c[:, None], torch.stack(before, dim=2)) * torch.exp(total)[..., None]
    return y.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :L] + D[:, None] * x


def _segment_sum(x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, bias: Any) -> Any:
    """The minimal code of the Mamba-2 paper: einsum throughout, with segment sums for the decays between steps and between chunks."""
    import torch

    def between(a: Any) -> Any:
        n = a.shape[-1]
        below = torch.ones(n, n).tril_(-1).bool()
        sums = a[..., None].expand(*a.shape, n).masked_fill(~below, 0).cumsum(-2)
        return torch.exp(sums.masked_fill(~torch.ones(n, n).tril_().bool(), -torch.inf))

    L, H = x.shape[1:3]
    dt = torch.nn.functional.softplus(dt + bias)
    xs, ds, b, c = _in_chunks(x * dt[..., None], dt * A, B.expand(-1, -1, H, -1), C.expand(-1, -1, H, -1), CHUNK)
    a = ds.permute(0, 3, 1, 2)
    total = a.cumsum(-1)
    y = torch.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", c, b, between(a), xs)
    states = torch.einsum("bclhn,bhcl,bclhp->bchpn", b, torch.exp(total[..., -1:] - total), xs)
    states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)
    of_chunks = between(torch.nn.functional.pad(total[..., -1], (1, 0)))
    states = torch.einsum("bhzc,bchpn->bzhpn", of_chunks, states)[:, :-1]
    y = y + torch.einsum("bclhn,bchpn,bhcl->bclhp", c, states, torch.exp(total))
    return y.flatten(1, 2)[:, :L] + D[:, None] * x


def _truth(*arrays: np.ndarray) -> Any:
    x, dt, A, B, C, D, bias = double(*arrays)
    dt = np.logaddexp(dt + bias, 0)
    h, y = np.zeros((x.shape[0], *x.shape[2:], B.shape[3])), np.empty_like(x)
    for t in range(x.shape[1]):
        h = np.exp(dt[:, t] * A)[..., None, None] * h + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        y[:, t] = (h @ C[:, t, :, :, None])[..., 0]
    return y + D[:, None] * x


PEERS = {"torch, batched products": _batched, "torch, segment sums": _segment_sum}
GOALS = {"torch, batched products": 4.0, "torch, segment sums": 10.0}


def _scan(shape: tuple[int, ...]) -> Problem:
    arrays = _inputs(shape)
    ours = partial(_ours, *arrays)
    peers = torch_peers(PEERS, *arrays)
    truth = partial(_truth, *arrays)
    return Problem("ssm", "mamba_chunk_scan_combined", f"{shape} float32", ours, peers, truth, 2e-6, GOALS, 1e-5, _work(shape))


def _gradient(shape: tuple[int, ...]) -> Problem:
    """Forward and backward through autograd. Compares the gradient of dt, which has the longest sums."""
    arrays = _inputs(shape)
    wide, run = double(*arrays), autograd(arrays, grad=arrays[0], index=1)
    peers = {name: run(f) for name, f in PEERS.items()}
    truth = autograd(wide, grad=wide[0], index=1)(_batched)
    return Problem("ssm", "mamba_chunk_scan_combined fwd+bwd", f"{shape} float32", run(_ours), peers, truth, 5e-6, GOALS, 1e-4)


def _work(shape: tuple[int, ...]) -> Work:
    """Reading and updating a state at every step, the lower triangle of each chunk with its exponentials, and the products of B and C."""
    B, L, H, P, N = shape
    flops = 2 * B * L * (H * P * (2 * N + STEPS / 2) + N * STEPS / 2)
    return Work(flops, 4 * B * L * (2 * H * P + H + 2 * N), exps=B * L * H * STEPS / 2)
