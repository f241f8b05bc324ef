"""Gated KalmaNet: attention by an online ridge regression, with projections, short convolutions and gates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import ssm
from ..._arguments import choice, integer, number
from ..._arrays import narrow, widen
from ._block import GatedRMSNorm, add_decay
from ._dropin import ShortConvolution
from ._layer import Layer

State = tuple[tuple[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]  # last inputs of the three convolutions, and (H, U)

_FLOOR = 1e-6  # added to norms and gates, as upstream


class GatedKalmaNet(Layer):
    """The Gated KalmaNet layer of arXiv 2511.21016, with upstream's parameter names.

    Equations (18)-(20) of csrc/ssm/README.md.

    Parameters
    ----------
    hidden_size : int
    head_dim : int
        D, the size of a head, for queries, keys and values.
    num_q_heads, num_k_heads, num_v_heads : int
        The largest of the three is H; the others must divide it, and their heads are repeated. Absent ones default to num_q_heads.
    use_beta_gate, use_alpha_connection, use_v_conv, use_forgetting_gate, use_forgetting_gate_kk, use_gate : bool
        Use a gate on keys and values; mixing of q with the result of the regression; a short convolution of the values; decay of U; the
        same decay of H; a gate on the output.
    gla_rescale : bool
        Scale outputs by D^{-1/2}.
    num_iter, ridge_strength, solver_type
        As in ``quatrefoil.ssm.gka``; solver_type is "chebyshev" (the only one upstream) or "exact".
    conv_size : int
        Width of the short convolutions.
    norm_eps : float
    bp_lambda, layer_idx, chunk_size
        Accepted for compatibility and ignored, except that bp_lambda=False, which omits a part of the gradient, raises a ValueError.

    Notes
    -----
    state_dict: {q,k,v,a,b,alpha,g,o}_proj.weight, {b,alpha}_proj.bias, A_log, dt_bias (H,), {q,k,v}_conv1d.weight (., 1, conv_size),
    o_norm.weight (D,), as in awslabs/hybrid-model-factory. Not supported: low-rank expansion of keys (kv_proj_rank) and sequence
    parallelism.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> layer = nn.GatedKalmaNet(hidden_size=16, head_dim=4, num_q_heads=2)
    >>> layer(torch.zeros(1, 10, 16))[0].shape
    torch.Size([1, 10, 16])
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        head_dim: int = 128,
        num_q_heads: int = 16,
        num_k_heads: int | None = None,
        num_v_heads: int | None = None,
        use_beta_gate: bool = True,
        use_alpha_connection: bool = True,
        use_v_conv: bool = True,
        use_forgetting_gate: bool = True,
        use_forgetting_gate_kk: bool = True,
        gla_rescale: bool = True,
        solver_type: str = "chebyshev",
        bp_lambda: bool = True,
        num_iter: int = 30,
        ridge_strength: float = 0.02,
        use_gate: bool = True,
        conv_size: int = 4,
        layer_idx: int | None = None,
        norm_eps: float = 1e-6,
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        self.hidden_size = integer(hidden_size, "GatedKalmaNet", "hidden_size", 1)
        self.head_dim = integer(head_dim, "GatedKalmaNet", "head_dim", 1)
        self.num_q_heads, self.num_k_heads, self.num_v_heads = heads = _heads_of(num_q_heads, num_k_heads, num_v_heads)
        if not bp_lambda:
            raise ValueError("GatedKalmaNet: bp_lambda=False, which omits a part of the gradient, is not supported; use bp_lambda=True")
        self.expanded_num_heads = H = max(heads)
        self.use_alpha_connection, self.use_v_conv, self.use_gate = use_alpha_connection, use_v_conv, use_gate
        self.use_forgetting_gate, self.use_forgetting_gate_kk, self.gla_rescale = use_forgetting_gate, use_forgetting_gate_kk, gla_rescale
        self.solver_type = choice(solver_type, "GatedKalmaNet", "solver_type", ("chebyshev", "exact"))
        self.num_iter = integer(num_iter, "GatedKalmaNet", "num_iter", 0)
        self.ridge_strength, self.layer_idx = number(ridge_strength, "GatedKalmaNet", "ridge_strength"), layer_idx
        width = integer(conv_size, "GatedKalmaNet", "conv_size", 1)

        def linear(outputs: int, bias: bool = False) -> torch.nn.Linear:
            return torch.nn.Linear(hidden_size, outputs, bias=bias)

        sizes = [n * head_dim for n in heads]
        self.q_proj, self.k_proj, self.v_proj = (linear(size) for size in sizes)
        self.a_proj = linear(H)
        self.b_proj = linear(H, bias=True) if use_beta_gate else None
        if use_alpha_connection:
            self.alpha_proj = linear(H, bias=True)
        add_decay(self, H, H, 1e-3, 16)
        self.q_conv1d, self.k_conv1d = ShortConvolution(sizes[0], width), ShortConvolution(sizes[1], width)
        if use_v_conv:
            self.v_conv1d = ShortConvolution(sizes[2], width)
        if use_gate:
            self.g_proj = linear(H * head_dim)
        self.o_norm = GatedRMSNorm(head_dim, norm_eps)
        self.o_proj = torch.nn.Linear(H * head_dim, hidden_size, bias=False)

    def forward(self, hidden_states: Tensor, state: State | None = None, use_cache: bool = False) -> tuple[Tensor, None, State | None]:
        """hidden_states (B, T, hidden_size) -> (outputs of that shape, None, the state after the last token if ``use_cache``).

        Passing that state to the next call continues the sequence. Upstream returns attention weights instead of None.
        """
        self._check_sequence(hidden_states, self.q_proj.weight, self.hidden_size)
        before = (None, None, None) if state is None else state[0]
        q, q_last = self.q_conv1d(self.q_proj(hidden_states), cache=before[0], output_final_state=use_cache)
        k, k_last = self.k_conv1d(self.k_proj(hidden_states), cache=before[1], output_final_state=use_cache)
        v, v_last = self.v_proj(hidden_states), None
        if self.use_v_conv:
            v, v_last = self.v_conv1d(v, cache=before[2], output_final_state=use_cache)
        q, k, v = (self._heads(x) for x in (q, k, v))
        q, k = map(_normed, (q, k))
        if self.b_proj is not None:
            beta = torch.sigmoid(self.b_proj(hidden_states))[..., None] + _FLOOR
            k, v = beta * k, beta * v
        alpha = torch.sigmoid(self.alpha_proj(hidden_states)) if self.use_alpha_connection else None
        g = None
        if self.use_forgetting_gate:
            g = -torch.exp(self.A_log) * F.softplus(self.a_proj(hidden_states) + self.dt_bias)
        y: Any = ssm.gka(
            q, k, v, alpha, g, g if self.use_forgetting_gate_kk else None, ridge_strength=self.ridge_strength, num_iter=self.num_iter,
            solver=self.solver_type, initial_state=None if state is None else state[1], output_final_state=use_cache,
        )  # fmt: skip
        y, memory = y if use_cache else (y, None)
        if not self.gla_rescale:
            y = y * math.sqrt(self.head_dim)
        y = self.o_norm(y, self.g_proj(hidden_states).unflatten(-1, (-1, self.head_dim)) if self.use_gate else None)
        y = self.o_proj(y.flatten(-2))
        return y, None, (None if memory is None else ((q_last, k_last, v_last), memory))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, h D) -> (B, T, H, D), each head repeated until there are H."""
        x = x.unflatten(-1, (-1, self.head_dim))
        groups = self.expanded_num_heads // x.shape[-2]
        return x if groups == 1 else x.repeat_interleave(groups, dim=-2)


def _heads_of(q: int, k: int | None, v: int | None) -> tuple[int, ...]:
    """The numbers of query, key and value heads, by default as many as query heads; all must divide the largest."""
    numbers = {"q": q, "k": q if k is None else k, "v": q if v is None else v}
    heads = {name: integer(n, "GatedKalmaNet", f"num_{name}_heads", 1) for name, n in numbers.items()}
    largest = max(heads.values())
    for name, n in heads.items():
        if largest % n:
            raise ValueError(f"GatedKalmaNet: num_{name}_heads is {n}, expected a divisor of {largest}, the largest number of heads")
    return tuple(heads.values())


def _normed(x: Tensor) -> Tensor:
    """x scaled to vectors of norm 1."""
    wide = widen(x)
    unit: Tensor = narrow(wide / (torch.linalg.vector_norm(wide, dim=-1, keepdim=True) + _FLOOR), x)
    return unit
