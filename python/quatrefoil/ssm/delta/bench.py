"""The gated delta rule against PyTorch: in chunks of 64, a training step through autograd, and a step of decoding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, installed

SHAPE = (1, 2048, 16, 128, 128)  # B, T, H, K, V
CHUNK, OUR_CHUNK = 64, 16  # of the peers, which is usual, and of our kernels: twice that for a gradient


def problems() -> Iterator[Problem]:
    if not installed("torch"):
        return
    yield _whole(SHAPE)
    yield _whole(SHAPE, gradient=True)
    yield _step((1, 1, *SHAPE[2:]))
    yield _linear(SHAPE)


def _inputs(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Keys and queries of length 1, the decays and betas of a new layer, and a state."""
    B, T, H, K, V = shape
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, B, T, H, K))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    v, state = rng.standard_normal((B, T, H, V)), rng.standard_normal((B, H, K, V))
    gates = (-np.exp(rng.uniform(-6, 0, (B, T, H))), rng.uniform(0, 1, (B, T, H)))
    return [x.astype(np.float32) for x in (q, k, v, *gates, state)]


def _work(shape: tuple[int, ...], states: float, pairs: float) -> Work:
    """Per token and head: multiply-adds with states and for pairs of tokens in a chunk, and one exponential."""
    B, T, H, K, V = shape
    heads = B * T * H
    return Work(2 * heads * (states * K * V + pairs * OUR_CHUNK / 2 * (K + V)), 4 * heads * (2 * K + 2 * V + 2), exps=heads)


def _by_chunks(solve: Callable[[Any, Any], Any], q: Any, k: Any, v: Any, g: Any, beta: Any = None) -> Any:
    """All chunks' triangular systems at once, then a loop over the chunks with one state; T is a multiple of the chunk."""
    import torch

    B, T, H, K = q.shape

    def cut(x: Any) -> Any:
        return x.transpose(1, 2).unflatten(2, (T // CHUNK, CHUNK))

    q, k, v, sums = cut(q) * K**-0.5, cut(k), cut(v), cut(g).cumsum(-1)
    decay = (sums[..., :, None] - sums[..., None, :]).tril().exp().tril()
    reads, since = (q @ k.mT) * decay, sums.exp()[..., None]
    until, total = (sums[..., -1:] - sums).exp()[..., None], since[..., -1:, :]
    if beta is None:
        values, of_state = v, None
    else:
        weight = cut(beta)[..., None]
        matrix = ((weight * k) @ k.mT * decay).tril(-1) + torch.eye(CHUNK, dtype=q.dtype)
        both = torch.cat([weight * v, weight * since * k], -1)
        values, of_state = solve(matrix, both).split([v.shape[-1], K], -1)
    S, outputs = q.new_zeros(B, H, K, v.shape[-1]), []
    queries, keys = q * since, (k * until).mT
    for c in range(T // CHUNK):
        x = values[:, :, c] if of_state is None else values[:, :, c] - of_state[:, :, c] @ S
        outputs.append(queries[:, :, c] @ S + reads[:, :, c] @ x)
        S = total[:, :, c] * S + keys[:, :, c] @ x
    return torch.stack(outputs, 2).flatten(2, 3).transpose(1, 2)


def _triangular(matrix: Any, both: Any) -> Any:
    import torch

    return torch.linalg.solve_triangular(matrix, both, upper=False, unitriangular=True)


def _by_rows(matrix: Any, both: Any) -> Any:
    """The inverse row by row, each from those above it: the fallback of models without a kernel."""
    import torch

    inverse = torch.eye(CHUNK, dtype=matrix.dtype).expand(matrix.shape).clone()
    for i in range(1, CHUNK):
        known = inverse[..., :i, :i].clone()
        inverse[..., i, :i] = -(matrix[..., i, :i, None] * known).sum(-2)
    return inverse @ both


def _whole(shape: tuple[int, ...], gradient: bool = False) -> Problem:
    import torch

    arrays = _inputs(shape)[:5]
    tensors = [torch.from_numpy(x) for x in arrays]
    size = f"{shape} float32"

    def ours(*inputs: Any) -> Any:
        return ssm.chunk_gated_delta_rule(*inputs)[0]

    solvers = {"torch rows": _by_rows, "torch solve_triangular": _triangular}
    ways: dict[str, Callable[..., Any]] = {name: functools.partial(_by_chunks, solve) for name, solve in solvers.items()}
    if not gradient:
        peers = {name: lambda f=f: f(*tensors) for name, f in ways.items()}
        return Problem(
            "ssm", "chunk_gated_delta_rule", size, lambda: ours(*arrays), peers,
            lambda: _by_chunks(_triangular, *[x.double() for x in tensors]), 2e-6, {"torch rows": 8.0}, 1e-5, _work(shape, 3, 2),
        )  # fmt: skip
    leaves = [x.clone().requires_grad_() for x in tensors]

    def step(f: Callable[..., Any]) -> Any:
        return torch.autograd.grad(f(*leaves), leaves, tensors[2])[1]  # of the keys, which enter most

    def truth() -> Any:
        return ssm.chunk_gated_delta_rule_vjp(*[x.astype(float) for x in arrays], arrays[2].astype(float))[1]

    peers = {f"{name} and autograd": lambda f=f: step(f) for name, f in ways.items()}
    return Problem(
        "ssm", "chunk_gated_delta_rule fwd+bwd", size, lambda: step(ours), peers, truth, 5e-6, {"torch rows and autograd": 8.0}, 5e-5,
        _work(shape, 11, 14),
    )  # fmt: skip


def _step(shape: tuple[int, ...]) -> Problem:
    import torch

    arrays = _inputs(shape)
    token: dict[str, Any] = dict(zip(("q", "k", "v", "g", "beta", "initial_state"), arrays))
    tensors = list(map(torch.from_numpy, arrays))

    def by_torch(q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any) -> Any:
        S = state * g[:, 0, :, None, None].exp()
        key = k[:, 0, :, :, None]
        x = (v[:, 0] - (S * key).sum(-2)) * beta[:, 0, :, None]
        S = S + key * x[:, :, None]
        return (S * (q[:, 0] * q.shape[-1] ** -0.5)[..., None]).sum(-2)[:, None]

    def ours() -> Any:
        return ssm.fused_recurrent_gated_delta_rule(**token, output_final_state=True)[0]

    return Problem(
        "ssm", "fused_recurrent_gated_delta_rule", f"{shape} float32", ours, {"torch step": lambda: by_torch(*tensors)},
        lambda: by_torch(*[x.double() for x in tensors]), 2e-6, {"torch step": 3.0}, 1e-5,
    )  # fmt: skip


def _linear(shape: tuple[int, ...]) -> Problem:
    import torch

    q, k, v, g, *_ = _inputs(shape)
    tensors = [torch.from_numpy(x) for x in (q, k, v, g)]
    peers = {"torch chunks": lambda: _by_chunks(_triangular, *tensors)}
    return Problem(
        "ssm", "chunk_simple_gla", f"{shape} float32", lambda: ssm.chunk_simple_gla(q, k, v, g)[0], peers,
        lambda: _by_chunks(_triangular, *[x.double() for x in tensors]), 2e-6, {}, 1e-5, _work(shape, 2, 1),
    )  # fmt: skip
