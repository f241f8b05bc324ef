"""Mamba-2: one projection, a short convolution, a scan with one decay per head, a gated norm, and the last projection."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import ssm
from ..._arguments import MAX_NUMBERS, integer
from ..._arrays import widen
from ._block import Block, Cache, GatedRMSNorm, convolved, initial_dt_bias, sequence_numbers


class Mamba2(Block):
    """The Mamba-2 block, with the parameter names of mamba-ssm; it loads mamba-ssm checkpoints.

    Dao and Gu, arXiv 2405.21060; equations (24)-(26) of csrc/ssm/README.md.

    Parameters
    ----------
    d_model : int
        Channels in and out.
    d_state : int
        N, states per channel.
    d_conv : int
        W, width of the short convolution.
    conv_init : float, optional
        Bound of the uniform initial weights of the convolution.
    expand : int
        The block has expand * d_model inner channels.
    headdim : int
        P, channels per head; H = d_ssm / P heads.
    d_ssm : int, optional
        Channels of the scan, by default all inner channels. The remaining ones form a gated MLP.
    ngroups : int
        G; B and C are shared by H / G consecutive heads, and the norm is taken over each group's channels.
    A_init_range : (float, float)
        Range of the uniform initial rates.
    D_has_hdim : bool
        One skip weight per channel instead of per head.
    rmsnorm, norm_before_gate : bool
        Whether there is a norm, and whether the gate comes after it.
    dt_min, dt_max, dt_init_floor : float
        The initial step sizes are log-uniform between the first two, and at least the third.
    dt_limit : (float, float)
        Limits of the step sizes.
    bias, conv_bias : bool
        Whether the first and last projections have biases, and whether the convolution does.
    chunk_size : int
        As in ``quatrefoil.ssm.mamba_chunk_scan_combined``.
    layer_idx : int, optional
        The key of the states in ``inference_params``.
    use_mem_eff_path, process_group, sequence_parallel
        Ignored, for compatibility with mamba-ssm; passing a process_group raises a ValueError.
    device, dtype
        Device and dtype of the parameters.

    Notes
    -----
    state_dict: in_proj.weight (2 expand d_model + 2 G N + H, d_model), conv1d.weight (d_ssm + 2 G N, 1, W), conv1d.bias, dt_bias (H,),
    A_log (H,), D (H,) or (d_ssm,), norm.weight (d_ssm,), out_proj.weight (d_model, expand d_model), as in mamba-ssm. In half precision and
    under autocast, scan and norm are computed in float32. Caches work as in ``Mamba``; its example shows a prompt in pieces.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.Mamba2(16, d_state=8, headdim=8)(torch.randn(2, 10, 16)).shape
    torch.Size([2, 10, 16])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        conv_init: float | None = None,
        expand: int = 2,
        headdim: int = 64,
        d_ssm: int | None = None,
        ngroups: int = 1,
        A_init_range: tuple[float, float] = (1, 16),
        D_has_hdim: bool = False,
        rmsnorm: bool = True,
        norm_before_gate: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: tuple[float, float] = (0.0, math.inf),
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 256,
        use_mem_eff_path: bool = True,
        layer_idx: int | None = None,
        process_group: None = None,
        sequence_parallel: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if process_group is not None:
            raise ValueError("Mamba2: process_group is not supported, because a block runs in one process; omit it")
        self._set_sizes(d_model, d_state, d_conv, headdim, ngroups, expand, d_ssm)
        self.layer_idx = layer_idx
        if not 0 < A_init_range[0] <= A_init_range[1]:
            raise ValueError(f"Mamba2: A_init_range is {A_init_range}, expected 0 < A_init_range[0] <= A_init_range[1]")
        self.nheads, self.d_mlp = self.d_ssm // self.headdim, self.d_inner - self.d_ssm
        self.state_shape = (self.nheads, self.headdim, self.d_state)
        self.D_has_hdim, self.rmsnorm, self.norm_before_gate = D_has_hdim, rmsnorm, norm_before_gate
        self.dt_limit, self.chunk_size = tuple(dt_limit), integer(chunk_size, "Mamba2", "chunk_size", 1, MAX_NUMBERS)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.conv_dim = self.d_ssm + 2 * self.ngroups * self.d_state
        self.in_proj = torch.nn.Linear(self.d_model, 2 * self.d_mlp + self.d_ssm + self.conv_dim + self.nheads, bias=bias, **factory)
        self.conv1d = torch.nn.Conv1d(
            self.conv_dim, self.conv_dim, self.d_conv, groups=self.conv_dim, padding=self.d_conv - 1, bias=conv_bias, **factory
        )
        if conv_init is not None:
            torch.nn.init.uniform_(self.conv1d.weight, -conv_init, conv_init)
        self.dt_bias = torch.nn.Parameter(initial_dt_bias("Mamba2", self.nheads, dt_min, dt_max, dt_init_floor, device, dtype))
        rates = torch.empty(self.nheads, device=device).uniform_(*A_init_range)
        self.A_log = torch.nn.Parameter(rates.log().to(dtype or torch.get_default_dtype()))
        wide = widen(torch.empty(0, dtype=dtype)).dtype
        self.D = torch.nn.Parameter(torch.ones(self.d_ssm if D_has_hdim else self.nheads, device=device, dtype=wide))
        self.dt_bias._no_weight_decay = self.A_log._no_weight_decay = self.D._no_weight_decay = True
        if rmsnorm:
            group_size = self.d_ssm // self.ngroups
            self.norm = GatedRMSNorm(self.d_ssm, 1e-5, group_size=group_size, norm_before_gate=norm_before_gate, **factory)
        self.out_proj = torch.nn.Linear(self.d_inner, self.d_model, bias=bias, **factory)

    def _set_sizes(self, d_model: int, d_state: int, d_conv: int, headdim: int, ngroups: int, expand: int, d_ssm: int | None) -> None:
        named = ((d_model, "d_model"), (d_state, "d_state"), (d_conv, "d_conv"), (headdim, "headdim"), (ngroups, "ngroups"))
        self.d_model, self.d_state, self.d_conv, self.headdim, self.ngroups = (
            integer(n, "Mamba2", name, 1, MAX_NUMBERS) for n, name in named
        )
        self.expand, self.d_inner = expand, int(expand * self.d_model)
        self.d_ssm = self.d_inner if d_ssm is None else integer(d_ssm, "Mamba2", "d_ssm", 1, self.d_inner)
        if self.d_ssm < 1 or self.d_ssm % (self.headdim * self.ngroups):
            what = f"a multiple of headdim * ngroups = {self.headdim * self.ngroups}"
            if self.d_ssm and not self.d_ssm % self.ngroups:
                what += f"; headdim={math.gcd(self.headdim, self.d_ssm // self.ngroups)} would be valid"
            raise ValueError(f"Mamba2: d_ssm (by default expand * d_model) is {self.d_ssm}, expected {what}")

    def forward(
        self,
        u: Tensor,
        seqlen: int | None = None,
        seq_idx: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        inference_params: Any = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        """u (B, L, d_model), or (B seqlen, d_model) with ``seqlen`` -> the same shape.

        ``seq_idx`` (B, L) int contains the numbers of sequences packed into one item; ``cu_seqlens`` (S + 1,) contains the start of each
        sequence in a single item, then the length of the item. If both are passed, a new sequence starts wherever either one changes.
        ``cache``, from ``allocate_inference_cache``, contains the state after the previous tokens and is updated in place. With
        ``seq_idx``, the first sequence of an item starts from the cached state, and the cache then contains the state after the last
        sequence. With ``cu_seqlens``, it has one row for each of the S sequences. All of them start from zero, so the cache is not
        read. ``inference_params``, as in mamba-ssm, contains a cache for each layer, which is reset if seqlen_offset is 0. If
        seqlen_offset is positive, u has one item per sequence and ``cu_seqlens`` is ignored.
        """
        flat = seqlen is not None
        if flat:
            u = u.unflatten(0, (-1, seqlen))
        self._check_sequence(u, self.in_proj.weight, self.d_model)
        if inference_params is not None:
            items = u.shape[0]
            if cu_seqlens is not None and inference_params.seqlen_offset > 0:
                items, cu_seqlens = _items_after(cu_seqlens, items), None
            cache = self._cache_in(inference_params, items if cu_seqlens is None else cu_seqlens.shape[0] - 1)
        if cu_seqlens is not None:
            seq_idx = _numbered(cu_seqlens, seq_idx, u)
            _check_rows(cu_seqlens, cache)
        conv_state, ssm_state = (None, None) if cache is None else cache
        side, z, xBC, dt = self._split(self.in_proj(u))
        xBC, conv_after = convolved(xBC.transpose(1, 2), self.conv1d, conv_state, seq_idx, cu_seqlens)
        x, B, C = self._heads(xBC.transpose(1, 2))
        options: dict[str, Any] = {
            "D": self._skip(), "z": None if self.rmsnorm else z.unflatten(-1, (-1, self.headdim)), "dt_bias": widen(self.dt_bias),
            "seq_idx": seq_idx, "dt_softplus": True, "dt_limit": self.dt_limit,
        }  # fmt: skip
        if conv_state is None or ssm_state is None:
            y = ssm.mamba_chunk_scan_combined(x, dt, self._rates(), B, C, self.chunk_size, **options)
        else:
            before = {"initial_states": ssm_state.clone(), "return_final_states": True}
            options |= before if cu_seqlens is None else {"cu_seqlens": cu_seqlens, "return_varlen_states": True}
            y, last = ssm.mamba_chunk_scan_combined(x, dt, self._rates(), B, C, self.chunk_size, **options)
            with torch.no_grad():
                conv_state.copy_(conv_after)
                ssm_state.copy_(last)
        out = self._mixed(y.flatten(-2), z, side)
        return out.flatten(0, 1) if flat else out

    def step(self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One token, hidden_states (B, 1, d_model) -> (out of that shape, conv_state, ssm_state).

        Both states are updated in place; after an error, neither is.
        """
        self._check_one(hidden_states)
        side, z, xBC, dt = self._split(self.in_proj(hidden_states[:, 0]))
        conv_after = conv_state.clone()  # so that an error leaves both states unchanged
        xBC = ssm.causal_conv1d_update(xBC, conv_after, self.conv1d.weight[:, 0], self.conv1d.bias, "silu")
        x, B, C = self._heads(xBC)
        shape = (self.nheads, self.headdim)
        bias: Tensor | None = widen(self.dt_bias)  # half precision would lose digits of the sum
        if self.dt_limit != (0.0, math.inf):
            dt, bias = F.softplus(widen(dt) + bias).clamp(*self.dt_limit), None
        D = self._skip() if self.D_has_hdim else self._skip()[:, None].expand(shape)
        A = self._rates()[:, None, None].expand(*shape, self.d_state)
        gate = None if self.rmsnorm else z.unflatten(-1, (-1, self.headdim))
        dt, softplus = dt[..., None].expand(-1, *shape), bias is not None
        bias = None if bias is None else bias[:, None].expand(shape)
        y = ssm.selective_state_update(ssm_state, x, dt, A, B, C, D, gate, bias, softplus)
        conv_state.copy_(conv_after)
        return self._mixed(y.flatten(-2), z, side)[:, None], conv_state, ssm_state

    def _split(self, projected: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        """(..., all) -> the MLP's channels after their gate, or None; the gate of the scan; the channels to be convolved; step sizes."""
        gate, value, z, xBC, dt = projected.split((self.d_mlp, self.d_mlp, self.d_ssm, self.conv_dim, self.nheads), dim=-1)
        return (F.silu(gate) * value if self.d_mlp else None), z, xBC, dt

    def _heads(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., d_ssm + 2 G N) -> x (..., H, P), B and C (..., G, N)."""
        shared = self.ngroups * self.d_state
        x, B, C = xBC.split((self.d_ssm, shared, shared), dim=-1)
        return x.unflatten(-1, (-1, self.headdim)), *(v.unflatten(-1, (self.ngroups, -1)) for v in (B, C))

    def _mixed(self, y: Tensor, z: Tensor, side: Tensor | None) -> Tensor:
        """Norm, gate, the MLP's channels, and the last projection."""
        if self.rmsnorm:
            y = self.norm(y, z)
        out: Tensor = self.out_proj(y if side is None else torch.cat((side, y.to(side.dtype)), dim=-1))
        return out

    def _skip(self) -> Tensor:
        D = widen(self.D)
        return D.unflatten(0, (-1, self.headdim)) if self.D_has_hdim else D

    def extra_repr(self) -> str:
        return f"{self.d_model}, d_state={self.d_state}, d_conv={self.d_conv}, heads={self.nheads}, headdim={self.headdim}"


def _numbered(cu_seqlens: Tensor, seq_idx: Tensor | None, u: Tensor) -> Tensor:
    """The sequence number of every token, (1, L), from the starts of the sequences and, if present, from ``seq_idx``."""
    if u.shape[0] != 1:
        raise ValueError(f"Mamba2: u has shape {tuple(u.shape)} with cu_seqlens, expected one item that contains all sequences")
    numbers = sequence_numbers(u.shape[1], cu_seqlens)[None]
    if seq_idx is None:
        return numbers
    # a number that changes where either one does; negative for padding
    both = torch.stack((numbers, seq_idx.to(numbers.dtype)))
    changes = torch.nn.functional.pad((both[..., 1:] != both[..., :-1]).any(0), (1, 0)).cumsum(-1)
    return torch.where(seq_idx < 0, -1 - changes, changes)


def _check_rows(cu_seqlens: Tensor, cache: Cache | None) -> None:
    """Raise ValueError unless the cache has one row for each sequence."""
    sequences = cu_seqlens.shape[0] - 1
    for state in cache or ():
        if state.shape[0] != sequences:
            what = f"expected {sequences}, one for each sequence of cu_seqlens"
            raise ValueError(f"Mamba2: cache has {state.shape[0]} items, {what}")


def _items_after(cu_seqlens: Tensor, items: int) -> int:
    """The number of items after packed prompts; raises ValueError unless there is one for each sequence."""
    sequences: int = cu_seqlens.shape[0] - 1
    if items != sequences:
        what = f"expected {sequences}, one for each sequence of cu_seqlens, because only prompts may be packed into one item"
        raise ValueError(f"Mamba2: u has {items} items with seqlen_offset > 0, {what}")
    return items
