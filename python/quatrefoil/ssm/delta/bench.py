"""Delta rules compared with PyTorch: in chunks of 64, a training step through autograd, and a decoding step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, autograd, double, installed, torch_peers

SHAPE = (1, 2048, 16, 128, 128)  # B, T, H, K, V
CHUNK, OUR_CHUNK = 64, 16  # usual chunk size of the peers, and that of our kernels, which double it for gradients


def problems() -> Iterator[Problem]:
    yield _whole("chunk_gated_delta_rule", _inputs(SHAPE)[:5], PEERS, {"torch rows": 8.0}, _work(SHAPE, 3, 2))
    if installed("torch"):
        yield _gradient("chunk_gated_delta_rule", _inputs(SHAPE)[:5], PEERS, {"torch rows and autograd": 8.0}, _work(SHAPE, 11, 14))
    yield _step((1, 1, *SHAPE[2:]))
    yield _whole("chunk_simple_gla", [*_inputs(SHAPE)[:4], None], {"torch chunks": partial(by_chunks, triangular)}, {}, _work(SHAPE, 2, 1))
    arrays, peers = _inputs(SHAPE, channels=True)[:5], {"torch factors": by_factors}
    yield _whole("chunk_kda", arrays, peers, {"torch factors": 4.0}, _channel_work(SHAPE, 3, 2, 3.0))
    if installed("torch"):
        yield _gradient("chunk_kda", arrays, peers, {"torch factors and autograd": 3.0}, _channel_work(SHAPE, 11, 14, 20.0))


def _inputs(shape: tuple[int, ...], channels: bool = False) -> list[Any]:
    """Keys and queries of norm 1, decays and betas of an untrained layer, and a state."""
    B, T, H, K, V = shape
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, B, T, H, K))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    v, state = rng.standard_normal((B, T, H, V)), rng.standard_normal((B, H, K, V))
    gates = (-np.exp(rng.uniform(-6, 0, (B, T, H, K) if channels else (B, T, H))), rng.uniform(0, 1, (B, T, H)))
    return [x.astype(np.float32) for x in (q, k, v, *gates, state)]


def _work(shape: tuple[int, ...], states: float, pairs: float) -> Work:
    """Multiply-adds with the state for every token and head, and for pairs of tokens in a chunk; one exponential per token and head."""
    B, T, H, K, V = shape
    heads = B * T * H
    return Work(2 * heads * (states * K * V + pairs * OUR_CHUNK / 2 * (K + V)), 4 * heads * (2 * K + 2 * V + 2), exps=heads)


def _truth(q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray | None, beta: np.ndarray | None, state: Any = None) -> np.ndarray:
    """Token by token in float64."""
    q, k, v = double(q, k, v)
    S = np.zeros((q.shape[0], q.shape[2], q.shape[3], v.shape[3])) if state is None else state.astype(float)
    o = np.empty_like(v)
    for t in range(q.shape[1]):
        if g is not None:
            decay = np.exp(g[:, t].astype(float))
            S = decay[..., None] * S if g.ndim == 4 else decay[..., None, None] * S
        x = v[:, t]
        if beta is not None:
            x = beta[:, t, :, None] * (x - np.matmul(k[:, t, :, None], S)[..., 0, :])
        S = S + k[:, t, :, :, None] * x[..., None, :]
        o[:, t] = np.matmul(q[:, t, :, None], S)[..., 0, :] / np.sqrt(q.shape[-1])
    return o


def _in_chunks(x: Any) -> Any:
    """(B, T, H, ...) -> (B, H, chunks, CHUNK, ...)."""
    return x.transpose(1, 2).unflatten(2, (x.shape[1] // CHUNK, CHUNK))


def by_chunks(solve: Callable[[Any, Any], Any], q: Any, k: Any, v: Any, g: Any, beta: Any) -> Any:
    """Solve all triangular systems at once, then loop over the chunks with one state; T must be a multiple of CHUNK."""
    import torch

    B, T, H, K = q.shape
    q, k, v, sums = _in_chunks(q) * K**-0.5, _in_chunks(k), _in_chunks(v), _in_chunks(g).cumsum(-1)
    decay = (sums[..., :, None] - sums[..., None, :]).tril().exp().tril()
    reads, from_start = (q @ k.mT) * decay, sums.exp()[..., None]
    to_end, total = (sums[..., -1:] - sums).exp()[..., None], from_start[..., -1:, :]
    if beta is None:
        values, of_state = v, None
    else:
        weight = _in_chunks(beta)[..., None]
        matrix = ((weight * k) @ k.mT * decay).tril(-1) + torch.eye(CHUNK, dtype=q.dtype, device=q.device)
        both = torch.cat([weight * v, weight * from_start * k], -1)
        values, of_state = solve(matrix, both).split([v.shape[-1], K], -1)
    S, outputs = q.new_zeros(B, H, K, v.shape[-1]), []
    queries, keys = q * from_start, (k * to_end).mT
    for c in range(T // CHUNK):
        x = values[:, :, c] if of_state is None else values[:, :, c] - of_state[:, :, c] @ S
        outputs.append(queries[:, :, c] @ S + reads[:, :, c] @ x)
        S = total[:, :, c] * S + keys[:, :, c] @ x
    return torch.stack(outputs, 2).flatten(2, 3).transpose(1, 2)


def by_factors(q: Any, k: Any, v: Any, g: Any, beta: Any) -> Any:
    """``by_chunks`` with one decay per channel.

    Queries and keys are multiplied by exponentials of sums and of their negatives. The latter overflow if decays are strong.
    """
    import torch

    B, T, H, K = q.shape
    q, k, v, sums, weight = (_in_chunks(x) for x in (q, k, v, g, beta))
    q, sums, weight = q * K**-0.5, sums.cumsum(-2), weight[..., None]
    from_start, last = sums.exp(), sums[..., -1:, :]
    queries, erase, keys = q * from_start, weight * k * from_start, k * (-sums).exp()
    matrix = (erase @ keys.mT).tril(-1) + torch.eye(CHUNK, dtype=q.dtype, device=q.device)
    reads, keys = (queries @ keys.mT).tril(), (k * (last - sums).exp()).mT
    values, of_state = triangular(matrix, torch.cat([weight * v, erase], -1)).split([v.shape[-1], K], -1)
    S, outputs, total = q.new_zeros(B, H, K, v.shape[-1]), [], last.exp().mT
    for c in range(T // CHUNK):
        x = values[:, :, c] - of_state[:, :, c] @ S
        outputs.append(queries[:, :, c] @ S + reads[:, :, c] @ x)
        S = total[:, :, c] * S + keys[:, :, c] @ x
    return torch.stack(outputs, 2).flatten(2, 3).transpose(1, 2)


def triangular(matrix: Any, both: Any) -> Any:
    import torch

    return torch.linalg.solve_triangular(matrix, both, upper=False, unitriangular=True)


def _by_rows(matrix: Any, both: Any) -> Any:
    """Compute the inverse row by row, each from the rows above it, as models do if no kernel is available."""
    import torch

    inverse = torch.eye(CHUNK, dtype=matrix.dtype).expand(matrix.shape).clone()
    for i in range(1, CHUNK):
        known = inverse[..., :i, :i].clone()
        inverse[..., i, :i] = -(matrix[..., i, :i, None] * known).sum(-2)
    return inverse @ both


PEERS = {"torch rows": partial(by_chunks, _by_rows), "torch solve_triangular": partial(by_chunks, triangular)}


def _whole(name: str, arrays: list[Any], functions: dict[str, Any], goals: dict[str, float], work: Work) -> Problem:
    function = getattr(ssm, name)
    peers, truth = torch_peers(functions, *arrays), partial(_truth, *arrays)
    return Problem("ssm", name, f"{SHAPE} float32", lambda: function(*arrays)[0], peers, truth, 2e-6, goals, 1e-5, work)


def _gradient(name: str, arrays: list[Any], functions: dict[str, Any], goals: dict[str, float], work: Work) -> Problem:
    """Forward and backward through autograd. Compares the gradient of the keys, which occur in most terms."""
    function, vjp, run = getattr(ssm, name), getattr(ssm, f"{name}_vjp"), autograd(arrays, grad=arrays[2], index=1)

    def truth() -> Any:
        wide = double(*arrays)
        return vjp(*wide, wide[2])[1]

    ours = run(lambda *a: function(*a)[0])
    peers = {f"{peer} and autograd": run(f) for peer, f in functions.items()}
    return Problem("ssm", f"{name} fwd+bwd", f"{SHAPE} float32", ours, peers, truth, 5e-6, goals, 5e-5, work)


def step_by_torch(q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any) -> Any:
    S = state * g[:, 0, :, None, None].exp()
    key = k[:, 0, :, :, None]
    x = (v[:, 0] - (S * key).sum(-2)) * beta[:, 0, :, None]
    S = S + key * x[:, :, None]
    return (S * (q[:, 0] * q.shape[-1] ** -0.5)[..., None]).sum(-2)[:, None]


def _step(shape: tuple[int, ...]) -> Problem:
    q, k, v, g, beta, state = arrays = _inputs(shape)
    peers, truth = torch_peers({"torch step": step_by_torch}, *arrays), partial(_truth, *arrays)

    def ours() -> Any:
        return ssm.fused_recurrent_gated_delta_rule(q, k, v, g, beta, initial_state=state, output_final_state=True)[0]

    return Problem("ssm", "fused_recurrent_gated_delta_rule", f"{shape} float32", ours, peers, truth, 2e-6, {"torch step": 3.0}, 1e-5)


def _channel_work(shape: tuple[int, ...], states: float, pairs: float, per_pair: float) -> Work:
    """``_work`` with one exponential per channel, plus ``per_pair`` operations per channel and pair."""
    B, T, H, K, _ = shape
    work, channels = _work(shape, states, pairs), B * T * H * K
    return Work(work.flops + per_pair * channels * (OUR_CHUNK - 1) / 2, work.bytes + 4 * channels, exps=channels)
