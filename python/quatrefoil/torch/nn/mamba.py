"""Mamba: projections around a short convolution and a selective scan."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ... import ssm
from ..._arguments import MAX_NUMBERS, choice, integer
from ..._arrays import widen
from ._block import Block, Cache, convolved, initial_dt_bias


class Mamba(Block):
    """The Mamba block, with the parameter names of mamba-ssm; it loads mamba-ssm checkpoints.

    Gu and Dao, arXiv 2312.00752; equations (21)-(23) of csrc/ssm/README.md.

    Parameters
    ----------
    d_model : int
        Channels in and out.
    d_state : int
        N, states per channel.
    d_conv : int
        W, width of the short convolution.
    expand : int
        D = expand d_model inner channels.
    dt_rank : int or "auto"
        R, the rank of the projection to the step sizes; "auto" is d_model / 16, rounded up.
    dt_min, dt_max, dt_init_floor : float
        The initial step sizes are log-uniform between the first two, and at least the third.
    dt_init : "random" or "constant"
        Initial weights of ``dt_proj``: uniform within +-dt_scale / sqrt(R), or all equal to dt_scale / sqrt(R).
    dt_scale : float
    conv_bias, bias : bool
        Whether the convolution has biases, and whether the first and last projections do.
    layer_idx : int, optional
        The key of the states in ``inference_params``.
    use_fast_path
        Ignored, for compatibility with mamba-ssm.
    device, dtype
        Device and dtype of the parameters; A_log and D are float32 if dtype is half precision.

    Notes
    -----
    state_dict: in_proj.weight (2 D, d_model), conv1d.weight (D, 1, W), conv1d.bias (D,), x_proj.weight (R + 2 N, D), dt_proj.weight (D, R),
    dt_proj.bias (D,), A_log (D, N), D (D,), out_proj.weight (d_model, D), as in mamba-ssm. In half precision and under autocast the scan is
    computed in float32. Gradients do not flow through a cache into the previous call.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> layer = nn.Mamba(16, d_state=8)
    >>> u = torch.randn(2, 10, 16)
    >>> y = layer(u)
    >>> y.shape
    torch.Size([2, 10, 16])

    A prompt in pieces, then one token:

    >>> cache = layer.allocate_inference_cache(2)
    >>> pieces = [layer(u[:, :4], cache=cache), layer(u[:, 4:9], cache=cache)]
    >>> last, *cache = layer.step(u[:, 9:], *cache)
    >>> torch.allclose(torch.cat([*pieces, last], 1), y, atol=1e-5)
    True
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | str = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: str = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        use_fast_path: bool = True,
        layer_idx: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        named = ((d_model, "d_model"), (d_state, "d_state"), (d_conv, "d_conv"))
        self.d_model, self.d_state, self.d_conv = (integer(n, "Mamba", name, 1, MAX_NUMBERS) for n, name in named)
        self.expand, self.d_inner, self.layer_idx = expand, int(expand * self.d_model), layer_idx
        if self.d_inner < 1:
            raise ValueError(f"Mamba: expand is {expand}, expected expand * d_model to be at least 1")
        self.state_shape = (self.d_inner, self.d_state)
        self.dt_rank = math.ceil(self.d_model / 16) if dt_rank == "auto" else integer(dt_rank, "Mamba", "dt_rank", 1, MAX_NUMBERS)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_proj = torch.nn.Linear(self.d_model, 2 * self.d_inner, bias=bias, **factory)
        self.conv1d = torch.nn.Conv1d(
            self.d_inner, self.d_inner, self.d_conv, groups=self.d_inner, padding=self.d_conv - 1, bias=conv_bias, **factory
        )
        self.x_proj = torch.nn.Linear(self.d_inner, self.dt_rank + 2 * self.d_state, bias=False, **factory)
        self.dt_proj = torch.nn.Linear(self.dt_rank, self.d_inner, bias=True, **factory)
        spread = dt_scale / math.sqrt(self.dt_rank)
        with torch.no_grad():
            if choice(dt_init, "Mamba", "dt_init", ("random", "constant")) == "random":
                self.dt_proj.weight.uniform_(-spread, spread)
            else:
                self.dt_proj.weight.fill_(spread)
            self.dt_proj.bias.copy_(initial_dt_bias("Mamba", self.d_inner, dt_min, dt_max, dt_init_floor, device))
        self.dt_proj.bias._no_reinit = True  # upstream's models set all other biases of projections to 0
        wide = widen(torch.empty(0, dtype=dtype)).dtype
        rates = torch.arange(1, self.d_state + 1, device=device, dtype=wide)
        self.A_log = torch.nn.Parameter(rates.log().repeat(self.d_inner, 1))
        self.D = torch.nn.Parameter(torch.ones(self.d_inner, device=device, dtype=wide))
        self.A_log._no_weight_decay = self.D._no_weight_decay = True
        self.out_proj = torch.nn.Linear(self.d_inner, self.d_model, bias=bias, **factory)

    def forward(self, hidden_states: Tensor, inference_params: Any = None, *, cache: Cache | None = None) -> Tensor:
        """hidden_states (B, L, d_model) -> the same shape.

        ``cache``, from ``allocate_inference_cache``, contains the state after the previous tokens and is updated in place.
        ``inference_params``, as in mamba-ssm, contains a cache for each layer, which is reset if seqlen_offset is 0.
        """
        self._check_sequence(hidden_states, self.in_proj.weight, self.d_model)
        if inference_params is not None:
            cache = self._cache_in(inference_params, hidden_states.shape[0])
        conv_state, ssm_state = (None, None) if cache is None else cache
        x, z = self.in_proj(hidden_states).transpose(1, 2).chunk(2, dim=1)
        x, conv_after = convolved(x, self.conv1d, conv_state)
        dt, B, C = (v.transpose(1, 2) for v in self._mixed(x.transpose(1, 2)))
        options: dict[str, Any] = {"z": z, "delta_bias": widen(self.dt_proj.bias), "delta_softplus": True}
        A, D = self._rates(), widen(self.D)
        if conv_state is None or ssm_state is None:
            y = ssm.selective_scan_fn(x, dt, A, B, C, D, **options)
        else:
            before = ssm_state.to(A.dtype, copy=True)
            y, last = ssm.selective_scan_fn(x, dt, A, B, C, D, **options, return_last_state=True, initial_state=before)
            with torch.no_grad():
                conv_state.copy_(conv_after)
                ssm_state.copy_(last)
        out: Tensor = self.out_proj(y.transpose(1, 2))
        return out

    def step(self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One token, hidden_states (B, 1, d_model) -> (out of that shape, conv_state, ssm_state).

        Both states are updated in place; after an error, neither is.
        """
        self._check_one(hidden_states)
        x, z = self.in_proj(hidden_states[:, 0]).chunk(2, dim=-1)
        conv_after = conv_state.clone()  # so that an error leaves both states unchanged
        x = ssm.causal_conv1d_update(x, conv_after, self.conv1d.weight[:, 0], self.conv1d.bias, "silu")
        dt, B, C = self._mixed(x)
        A, bias = self._rates(), widen(self.dt_proj.bias)
        y = ssm.selective_state_update(ssm_state, x, dt, A, B, C, widen(self.D), z, bias, dt_softplus=True)
        conv_state.copy_(conv_after)
        return self.out_proj(y)[:, None], conv_state, ssm_state

    def _mixed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (..., D) -> step sizes before their bias (..., D), B and C (..., N)."""
        dt, B, C = self.x_proj(x).split((self.dt_rank, self.d_state, self.d_state), dim=-1)
        return torch.nn.functional.linear(dt, self.dt_proj.weight), B, C

    def extra_repr(self) -> str:
        return f"{self.d_model}, d_state={self.d_state}, d_conv={self.d_conv}, d_inner={self.d_inner}"
