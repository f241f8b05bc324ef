"""DeltaNet, Gated DeltaNet and Kimi delta attention: linear attention that erases a key's old value before it writes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import ssm
from ..._arguments import MAX_NUMBERS, choice, integer
from ._block import GatedRMSNorm, add_decay
from ._dropin import FusedRMSNormGated, ShortConvolution
from ._layer import Layer


class _DeltaLayer(Layer):
    """Projections, short convolutions, a recurrence, a norm of every head, and the last projection."""

    hidden_size: int
    head_k_dim: int
    head_v_dim: int

    def _set_sizes(self, hidden_size: int, K: float, V: float, heads: int, num_v_heads: int | None, layer_idx: int | None) -> None:
        name = type(self).__name__
        self.hidden_size, self.num_heads = (integer(n, name, "size", 1, MAX_NUMBERS) for n in (hidden_size, heads))
        self.num_v_heads = self.num_heads if num_v_heads is None else integer(num_v_heads, name, "num_v_heads", 1, MAX_NUMBERS)
        if self.num_v_heads % self.num_heads:
            raise ValueError(f"{name}: num_v_heads is {num_v_heads}, expected a multiple of num_heads = {heads}")
        for what, size in (("keys", K), ("values", V)):
            if abs(size - round(size)) > 1e-5 or size < 0.5:
                raise ValueError(
                    f"{name}: heads of {what} have size {size}, expected a positive integer; change expand_k, expand_v or num_heads"
                )
        self.head_k_dim, self.head_v_dim, self.layer_idx = round(K), round(V), layer_idx
        self.key_dim, self.value_dim = self.num_heads * self.head_k_dim, self.num_v_heads * self.head_v_dim

    def _make(self, conv: tuple[bool, int, bool, str | None]) -> None:
        """Create the common parts. ``conv``: use of short convolutions, their width, use of a bias, activation of q and k."""
        for name, size in (("q", self.key_dim), ("k", self.key_dim), ("v", self.value_dim)):
            self.add_module(f"{name}_proj", torch.nn.Linear(self.hidden_size, size, bias=False))
        self.use_short_conv, width, bias, activation = conv
        if self.use_short_conv:
            for name, size in (("q", self.key_dim), ("k", self.key_dim), ("v", self.value_dim)):
                self.add_module(f"{name}_conv1d", ShortConvolution(size, width, bias, "silu" if name == "v" else activation))
        self.o_proj = torch.nn.Linear(self.value_dim, self.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        cu_seqlens: Tensor | None = None,
        **ignored: Any,
    ) -> tuple[Tensor, None, Any]:
        """hidden_states (B, T, hidden_size) -> (outputs of that shape, None, past_key_values).

        ``attention_mask`` (B, T) is 0 at padding, whose outputs are 0. ``past_key_values`` contains the states of all layers, in a dict or
        flash-linear-attention's Cache, and is updated if ``use_cache``. ``cu_seqlens`` are the bounds of sequences packed in one item.
        """
        self._check_sequence(hidden_states, self.o_proj.weight, self.hidden_size)
        before = self._cached(past_key_values)
        B, T, _ = hidden_states.shape
        x, real = hidden_states, None if attention_mask is None else attention_mask[:, -T:].bool()
        if real is not None and not bool(real.all()):
            if before is not None:
                raise ValueError(
                    f"{type(self).__name__}: attention_mask has padding after cached tokens; pad only on the left, in the first call"
                )
            cu_seqlens = F.pad(real.sum(-1).cumsum(0), (1, 0))
            x = hidden_states[real][None]
        convs, state = ((None,) * 3, None) if before is None else (before["conv_state"] or (None,) * 3, before["recurrent_state"])
        (q, k, v), convs = self._convolved(x, convs, bool(use_cache), cu_seqlens)
        o, state = self._attended(x, q, k, v, initial_state=state, output_final_state=bool(use_cache), cu_seqlens=cu_seqlens)
        y = self.o_proj(self._normed(x, o).flatten(-2))
        if use_cache and past_key_values is not None:
            self._keep(past_key_values, recurrent_state=state, conv_state=convs if self.use_short_conv else None, offset=T)
        if x is not hidden_states and real is not None:
            y = torch.zeros(B, T, self.hidden_size, dtype=y.dtype, device=y.device).masked_scatter(real[..., None], y)
        return y, None, past_key_values

    def _convolved(self, x: Tensor, caches: Any, keep: bool, cu_seqlens: Tensor | None) -> tuple[list[Tensor], tuple[Any, ...]]:
        """q, k and v, split into heads, and the caches of their convolutions."""
        parts, final_states = [], []
        for name, cache, size in zip("qkv", caches, (self.head_k_dim, self.head_k_dim, self.head_v_dim)):
            part, after = getattr(self, f"{name}_proj")(x), None
            if self.use_short_conv:
                part, after = getattr(self, f"{name}_conv1d")(part, cache=cache, output_final_state=keep, cu_seqlens=cu_seqlens)
            elif name == "v" or self._activates():
                part = F.silu(part)
            parts.append(part.unflatten(-1, (-1, size)))
            final_states.append(after)
        return parts, tuple(final_states)

    def _activates(self) -> bool:
        return True

    def _attended(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def _normed(self, x: Tensor, o: Tensor) -> Tensor:
        g_proj = getattr(self, "g_proj", None)
        normed: Tensor = self.o_norm(o) if g_proj is None else self.o_norm(o, g_proj(x).unflatten(-1, (-1, self.head_v_dim)))
        return normed

    def _cached(self, past: Any) -> Any:
        if past is None:
            return None
        if self.layer_idx is None:
            raise ValueError(f"{type(self).__name__}: layer_idx is None, expected the layer's number, its key in past_key_values")
        if isinstance(past, dict):
            return past.get(self.layer_idx)
        return past[self.layer_idx] if len(past) > self.layer_idx else None

    def _keep(self, past: Any, **states: Any) -> None:
        if isinstance(past, dict):
            past[self.layer_idx] = states
        else:
            past.update(layer_idx=self.layer_idx, **states)


class _GatedDeltaLayer(_DeltaLayer):
    """Layers whose recurrence computes its gates: logarithms of decays from ``_raw_decays``, fractions from ``b_proj``."""

    allow_neg_eigval: bool

    def _make_gated(self, conv: tuple[bool, int, bool], allow_neg_eigval: bool, decays: int, low: float = 1e-3, high: float = 16) -> None:
        """Create the parts that both layers share, with ``decays`` biases for step sizes."""
        self.allow_neg_eigval = allow_neg_eigval
        self._make((*conv, "silu"))
        self.b_proj = torch.nn.Linear(self.hidden_size, self.num_v_heads, bias=False)
        add_decay(self, self.num_v_heads, decays, low, high)

    def _attended(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        decay = {name: p.view_as(p) for name, p in (("A_log", self.A_log), ("dt_bias", self.dt_bias))}  # Dynamo cannot trace a Parameter
        inside = dict.fromkeys(("use_qk_l2norm_in_kernel", "use_gate_in_kernel", "use_beta_sigmoid_in_kernel", "state_v_first"), True)
        options |= {**decay, **inside, "allow_neg_eigval": self.allow_neg_eigval}
        return self._recurrence(q, k, v, self._raw_decays(x), self.b_proj(x), **options)

    def _recurrence(self, *arrays: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def _raw_decays(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class DeltaNet(_DeltaLayer):
    """The DeltaNet layer of arXiv 2406.06484, with the arguments and parameters of flash-linear-attention.

    Parameters
    ----------
    mode : str
        Ignored: selects a kernel in the original library.
    d_model, hidden_size : int
        Channels in and out; ``d_model`` overrides hidden_size.
    expand_k, expand_v : float
        Channels of keys and of values, relative to hidden_size.
    num_heads : int
    use_beta, use_gate, use_short_conv : bool
        Use learned fractions; a gate on the output; short convolutions.
    conv_size, conv_bias
        Width of the short convolutions, and whether they have a bias.
    allow_neg_eigval : bool
        Fractions up to 2 instead of up to 1.
    layer_idx : int, optional
        The key of the states in ``past_key_values``.
    qk_activation : "silu", "relu", "elu" or "identity"
    qk_norm : "l2" or "sum"
    norm_eps : float

    Notes
    -----
    state_dict: {q,k,v,o,b,g}_proj.weight, {q,k,v}_conv1d.weight, o_norm.weight. The recurrence is ``quatrefoil.ssm.chunk_delta_rule``.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> layer, u, states = nn.DeltaNet(hidden_size=16, num_heads=2, layer_idx=0), torch.randn(1, 10, 16), {}
    >>> first, _, states = layer(u[:, :6], past_key_values=states, use_cache=True)
    >>> second, _, states = layer(u[:, 6:], past_key_values=states, use_cache=True)
    >>> torch.allclose(torch.cat([first, second], 1), layer(u)[0], atol=1e-5)
    True
    """

    def __init__(
        self,
        mode: str = "chunk",
        d_model: int | None = None,
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        use_beta: bool = True,
        use_gate: bool = False,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        allow_neg_eigval: bool = False,
        layer_idx: int | None = None,
        qk_activation: str = "silu",
        qk_norm: str = "l2",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        size = hidden_size if d_model is None else d_model
        self._set_sizes(size, size * expand_k / num_heads, size * expand_v / num_heads, num_heads, None, layer_idx)
        self.qk_activation = choice(qk_activation, "DeltaNet", "qk_activation", ("silu", "relu", "elu", "identity"))
        self.qk_norm, self.allow_neg_eigval = choice(qk_norm, "DeltaNet", "qk_norm", ("l2", "sum")), allow_neg_eigval
        self._make((use_short_conv, conv_size, conv_bias, "silu" if qk_activation == "silu" else None))
        self.b_proj = torch.nn.Linear(size, num_heads, bias=False) if use_beta else None
        if use_gate:
            self.g_proj = torch.nn.Linear(size, self.value_dim, bias=False)
        self.o_norm = (FusedRMSNormGated if use_gate else GatedRMSNorm)(self.head_v_dim, eps=norm_eps)

    def _activates(self) -> bool:
        return bool(self.qk_activation == "silu")

    def _attended(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        if self.qk_activation == "relu":
            q, k = q.relu(), k.relu()
        elif self.qk_activation == "elu":
            q, k = F.elu(q) + 1, F.elu(k) + 1
        if self.qk_norm == "sum":
            q, k = (F.normalize(part, p=1, dim=-1, eps=1e-6) for part in (q, k))
        beta = x.new_ones(*x.shape[:-1], self.num_heads) if self.b_proj is None else torch.sigmoid(self.b_proj(x))
        beta = 2 * beta if self.allow_neg_eigval else beta
        return ssm.chunk_delta_rule(q, k, v, beta, use_qk_l2norm_in_kernel=self.qk_norm == "l2", **options)


class GatedDeltaNet(_GatedDeltaLayer):
    """The Gated DeltaNet layer of arXiv 2412.06464, as in flash-linear-attention.

    Parameters
    ----------
    hidden_size, expand_v, head_dim, num_heads, num_v_heads
        Channels in and out; size of a value head relative to a key head; size of a key head; numbers of key and value heads.
    mode : str
        Ignored: selects a kernel in the original library.
    use_gate, use_short_conv, allow_neg_eigval, conv_size, conv_bias, layer_idx, norm_eps
        As in ``DeltaNet``.

    Notes
    -----
    state_dict: {q,k,v,o,a,b,g}_proj.weight, A_log, dt_bias (HV,), {q,k,v}_conv1d.weight, o_norm.weight. The recurrence is
    ``quatrefoil.ssm.chunk_gated_delta_rule``; states are (N, HV, V, K).

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.GatedDeltaNet(hidden_size=16, head_dim=4, num_heads=2)(torch.randn(1, 10, 16))[0].shape
    torch.Size([1, 10, 16])
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 2,
        head_dim: int = 256,
        num_heads: int = 6,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_gate: bool = True,
        use_short_conv: bool = True,
        allow_neg_eigval: bool = False,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self._set_sizes(hidden_size, head_dim, head_dim * expand_v, num_heads, num_v_heads, layer_idx)
        self._make_gated((use_short_conv, conv_size, conv_bias), allow_neg_eigval, self.num_v_heads)
        self.a_proj = torch.nn.Linear(hidden_size, self.num_v_heads, bias=False)
        if use_gate:
            self.g_proj = torch.nn.Linear(hidden_size, self.value_dim, bias=False)
        self.o_norm = (FusedRMSNormGated if use_gate else GatedRMSNorm)(self.head_v_dim, eps=norm_eps)

    def _recurrence(self, *arrays: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        return ssm.chunk_gated_delta_rule(*arrays, **options)

    def _raw_decays(self, x: Tensor) -> Tensor:
        g: Tensor = self.a_proj(x)
        return g


class KimiDeltaAttention(_GatedDeltaLayer):
    """The Kimi delta attention layer of arXiv 2510.26692, as in flash-linear-attention.

    Parameters
    ----------
    hidden_size, expand_v, head_dim, num_heads, num_v_heads, mode
    use_short_conv, allow_neg_eigval, conv_size, conv_bias, layer_idx, norm_eps
        As in ``GatedDeltaNet``.
    safe_gate : bool
        Start with equal rates, as upstream; requires lower_bound.
    lower_bound : float, optional
        Lower bound on the logarithms of the decays.

    Notes
    -----
    state_dict: {q,k,v,o,b}_proj.weight, {f,g}_proj.{0,1}.weight, g_proj.1.bias, A_log (HV,), dt_bias (HV K,), {q,k,v}_conv1d.weight,
    o_norm.weight. The recurrence is ``quatrefoil.ssm.chunk_kda``; states are (N, HV, V, K).

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.KimiDeltaAttention(hidden_size=16, head_dim=4, num_heads=2)(torch.randn(1, 10, 16))[0].shape
    torch.Size([1, 10, 16])
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 1,
        head_dim: int = 128,
        num_heads: int = 16,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_short_conv: bool = True,
        allow_neg_eigval: bool = False,
        safe_gate: bool = False,
        lower_bound: float | None = None,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self._set_sizes(hidden_size, head_dim, head_dim * expand_v, num_heads, num_v_heads, layer_idx)
        if safe_gate and lower_bound is None:
            raise ValueError("KimiDeltaAttention: safe_gate=True requires lower_bound, a negative number such as -5")
        self.lower_bound, V, decays = lower_bound, self.head_v_dim, self.num_v_heads * self.head_k_dim
        self._make_gated((use_short_conv, conv_size, conv_bias), allow_neg_eigval, decays, 1, 1 if safe_gate else 16)
        self.f_proj = _low_rank(hidden_size, V, decays, bias=False)
        self.g_proj = _low_rank(hidden_size, V, self.value_dim, bias=True)
        self.o_norm = FusedRMSNormGated(V, eps=norm_eps, activation="sigmoid")

    def _recurrence(self, *arrays: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        return ssm.chunk_kda(*arrays, lower_bound=self.lower_bound, **options)

    def _raw_decays(self, x: Tensor) -> Tensor:
        g: Tensor = self.f_proj(x).unflatten(-1, (-1, self.head_k_dim))
        return g


def _low_rank(size: int, rank: int, outputs: int, bias: bool) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(size, rank, bias=False), torch.nn.Linear(rank, outputs, bias=bias))
