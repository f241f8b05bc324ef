"""The gated delta rule on a device: whole sequences, and a step of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import ssm
from ._gpu_case import Case, Draw, Size
from ._problem import Work


def _inputs(draw: Draw, s: Size) -> list[Any]:
    """Queries and keys of length 1, values, decays and betas."""
    B, T, H, K, V = s
    q, k = (x / x.norm(dim=-1, keepdim=True) for x in (draw.normal(B, T, H, K), draw.normal(B, T, H, K)))
    return [q, k, draw.normal(B, T, H, V), -draw.uniform(-6, 0, B, T, H).exp(), draw.uniform(0, 1, B, T, H)]


def delta_rule() -> Case:
    """Whole sequences."""

    def work(s: Size, item: int) -> Work:
        """Products with a state, three of a step, and with the other steps of a chunk of 64."""
        B, T, H, K, V = s
        return Work(2 * B * T * H * (3 * K * V + 64 * (K + V)), 2 * B * T * H * (K + V + 1) * item)

    def in_chunks(s: Size, given: Sequence[Any]) -> Any:
        from ..ssm.delta.bench import _by_chunks, _triangular

        return _by_chunks(_triangular, *given)

    def upstream(s: Size, given: Sequence[Any]) -> Any:
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule

        return chunk_gated_delta_rule(*given)[0]

    return Case(
        ssm.OPS.chunk_gated_delta_rule,
        "B T H K V",
        _inputs,
        lambda s, given, **out: ssm.chunk_gated_delta_rule(*given, **out)[0],
        work,
        ((1, 3, 1, 4, 5), (2, 70, 3, 20, 33), (1, 512, 4, 128, 128)),
        (1, 2048, 16, 128, 128),
        (1, 64, 2, 8, 8),
        rows=(0, 1, 2, 3, 4),
        peers={"torch in chunks": in_chunks, "flash-linear-attention": upstream},
    )


def delta_step() -> Case:
    """A token of many sequences: a state read and one written."""
    ours: Callable[..., Any] = ssm.fused_recurrent_gated_delta_rule

    def inputs(draw: Draw, s: Size) -> list[Any]:
        B, _, H, K, V = s
        return [*_inputs(draw, s), draw.normal(B, H, K, V)]

    def run(s: Size, given: Sequence[Any]) -> Any:
        return ours(*given[:5], initial_state=given[5], output_final_state=True)[0]

    def upstream(s: Size, given: Sequence[Any]) -> Any:
        from fla.ops.gated_delta_rule import fused_recurrent_gated_delta_rule

        return fused_recurrent_gated_delta_rule(*given[:5], initial_state=given[5], output_final_state=True)[0]

    def by_torch(s: Size, given: Sequence[Any]) -> Any:
        q, k, v, g, beta, state = given
        S, key = state * g[:, 0, :, None, None].exp(), k[:, 0, :, :, None]
        S = S + key * ((v[:, 0] - (S * key).sum(-2)) * beta[:, 0, :, None])[:, :, None]
        return (S * (q[:, 0] * s[3] ** -0.5)[..., None]).sum(-2)[:, None]

    return Case(
        ssm.OPS.chunk_gated_delta_rule,
        "B T H K V",
        inputs,
        run,
        lambda s, item: Work(6 * math.prod(s), 2 * item * math.prod(s)),
        ((1, 1, 1, 4, 5), (3, 1, 2, 20, 33), (2, 1, 4, 128, 128)),
        (64, 1, 16, 128, 128),
        (2, 1, 2, 8, 8),
        rows=(0, 1, 2, 3, 4, 5),
        peers={"torch": by_torch, "flash-linear-attention": upstream},
        takes_out=False,
    )
