"""S4D: a diagonal state-space model for every channel, GELU, and a gated mixing of channels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ... import ssm
from ..._arguments import MAX_NUMBERS, choice, integer, integers
from ..._arrays import narrow, widen
from ._layer import Layer, initial_log_steps

_INITS = ("lin", "inv", "inv2", "quad", "legs", "ptd", "random", "real")
_DISCS = ("zoh", "bilinear")


def complex_of(x: Tensor) -> torch.dtype:
    """The dtype of the state of a layer with parameters like this one."""
    return torch.complex128 if x.dtype == torch.float64 else torch.complex64


class S4DKernel(Layer):
    """The parameters of H diagonal systems of n stored modes, and their convolution kernels.

    The kernels are equation (16) of csrc/ssm/README.md.

    ``C`` (H, n, 2), or (2, H, n, 2) if bidirectional; ``log_dt`` (H,); ``log_A_real``, ``A_imag`` (H, n): A = -exp(log_A_real) + i A_imag,
    dt = exp(log_dt), as in state-spaces/s4. The argument N is the size of a state, so n = N / 2. If ``is_real``, there are n = N real
    modes, and A_imag is a buffer of zeros that is not in the state_dict.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.S4DKernel(d_model=4, N=8)(100).shape
    torch.Size([4, 100])
    """

    def __init__(
        self,
        d_model: int,
        N: int = 64,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        lr: float | None = None,
        *,
        init: str = "lin",
        eps: float = 0.1,
        bidirectional: bool = False,
        bandlimit: float | None = None,
        is_real: bool = False,
    ) -> None:
        super().__init__()
        H, F = (integer(n, "S4D", name, 1, MAX_NUMBERS) for n, name in ((d_model, "d_model"), (N, "d_state")))
        if not is_real and F % 2:
            raise ValueError(f"S4D: d_state is {F}, expected an even number, because modes come in conjugate pairs")
        modes = F if is_real else F // 2
        self.bandlimit, self.is_real = bandlimit, is_real
        log_dt = initial_log_steps("S4D", dt_min, dt_max, H)
        name = "real" if is_real else choice(init, "S4D", "init", _INITS)
        seed = int(torch.randint(2**31, ())) if name == "random" else None  # so that torch.manual_seed applies
        poles, inputs = ssm.s4d_init(name, modes, rng=seed, eps=eps)
        A = torch.from_numpy(poles).conj().expand(H, modes)  # upstream stores the modes with positive frequency
        C = torch.randn(*([2] if bidirectional else []), H, modes, dtype=torch.cfloat)
        C = C * torch.from_numpy(inputs).conj().to(torch.cfloat)  # C stands for C B
        self.C = torch.nn.Parameter(torch.view_as_real(C.resolve_conj()).contiguous())
        self._register("log_dt", log_dt, lr)
        self._register("log_A_real", (-A.real).log().float(), lr)
        if is_real:
            self.register_buffer("A_imag", torch.zeros(H, modes), persistent=False)
        else:
            self._register("A_imag", A.imag.float().contiguous(), lr)

    def _register(self, name: str, value: Tensor, lr: float | None) -> None:
        """As in upstream: no weight decay, and a separate learning rate in ``_optim``; a buffer if that rate is 0."""
        if lr == 0:
            self.register_buffer(name, value)
            return
        self.register_parameter(name, torch.nn.Parameter(value))
        getattr(self, name)._optim = {"weight_decay": 0.0} if lr is None else {"weight_decay": 0.0, "lr": lr}

    def system(self, rate: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """dt (H,), A (H, n), C (H, n) or (2, H, n), for ``quatrefoil.ssm.s4d_conv``; float32 for parameters in half precision."""
        dt, log_A, A_imag, C = map(widen, (self.log_dt, self.log_A_real, self.A_imag, self.C))
        dt = torch.exp(dt)
        A = torch.complex(-torch.exp(log_A), A_imag)
        C = torch.view_as_complex(C)
        if self.bandlimit is not None:
            C = C * (dt[:, None] * A.imag.abs() / (2 * math.pi) < self.bandlimit / 2)
        return dt * rate, A, C

    def forward(self, L: int, rate: float = 1.0) -> Tensor:
        """The kernels, (H, L); (2, H, L) if bidirectional."""
        dt, A, C = self.system(rate)
        K: Tensor = narrow(ssm.s4d_kernel(dt, A, C, L), self.log_dt)
        return K


class S4D(Layer):
    """The S4D layer of state-spaces/s4; it loads that library's checkpoints.

    Convolution with H learned systems, GELU, dropout, and a gated linear mixing of channels. A call returns (y, state); passing the state
    to the next call, or to ``step``, continues the sequence. ``S4D(H, transposed=False, return_state=False)`` maps (B, L, H) to
    (B, L, H), without a state, for ``torch.nn.Sequential``.

    Parameters
    ----------
    d_model : int
        H, channels in and out.
    d_state : int
        Size of a channel's state, N = d_state / 2 stored modes.
    dropout : float
        Probability of dropping a whole channel of a sequence.
    transposed : bool
        Inputs are (B, H, L); otherwise (B, L, H). If L = H, inputs in the wrong layout raise no error.
    dt_min, dt_max, lr
        Range of the initial step sizes; learning rate of dt and A, stored in ``_optim`` for upstream's optimisers, or 0 to freeze dt and A.
    init : str
        A name of ``quatrefoil.ssm.s4d_init``; "ptd" makes it S4-PTD (arXiv 2310.01698).
    eps : float
        Size of the perturbation of init="ptd", as in ``quatrefoil.ssm.ptd_init``.
    disc : "zoh" or "bilinear"
    bidirectional : bool
        A second C reads the future, from lag 1 on. Such a layer has no state: it returns (y, None).
    bandlimit : float, optional
        Modes at or above half this frequency (in cycles per sample at rate 1) are switched off.
    is_real : bool
        d_state real modes instead of conjugate pairs.
    method : "auto", "fft" or "scan"
        As in ``quatrefoil.ssm.s4d_conv``.
    return_state : bool
        If False, ``forward`` returns only y, for ``torch.nn.Sequential``, and does not compute the state.

    Notes
    -----
    state_dict: D (H,), kernel.{C, log_dt, log_A_real, A_imag}, output_linear.0.{weight (2H, H, 1), bias (2H,)}. Upstream returns None
    for the state unless one is passed.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> layer = nn.S4D(d_model=4, d_state=8)
    >>> u = torch.randn(2, 4, 100)  # batch, channels, length
    >>> y, _ = layer(u)
    >>> y.shape
    torch.Size([2, 4, 100])

    In pieces, then sample by sample:

    >>> first, state = layer(u[..., :60])
    >>> second, state = layer(u[..., 60:99], state)
    >>> last, state = layer.step(u[..., 99], state)
    >>> torch.allclose(torch.cat([first, second, last[..., None]], -1), y, atol=1e-5)
    True
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        dropout: float = 0.0,
        transposed: bool = True,
        *,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        lr: float | None = None,
        init: str = "lin",
        eps: float = 0.1,
        disc: str = "zoh",
        bidirectional: bool = False,
        bandlimit: float | None = None,
        is_real: bool = False,
        method: str = "auto",
        return_state: bool = True,
    ) -> None:
        super().__init__()
        self.return_state = return_state
        self.h, self.n, self.d_output = d_model, d_state, d_model
        self.transposed, self.bidirectional, self.method = transposed, bidirectional, method
        self.disc = choice(disc, "S4D", "disc", _DISCS)
        self.kernel = S4DKernel(
            d_model, d_state, dt_min, dt_max, lr, init=init, eps=eps, bidirectional=bidirectional, bandlimit=bandlimit, is_real=is_real
        )
        self.D = torch.nn.Parameter(torch.randn(d_model))
        self.activation = torch.nn.GELU()
        self.dropout = torch.nn.Dropout1d(dropout) if dropout > 0 else torch.nn.Identity()
        self.output_linear = torch.nn.Sequential(torch.nn.Conv1d(d_model, 2 * d_model, kernel_size=1), torch.nn.GLU(dim=-2))

    def forward(self, u: Tensor, state: Tensor | None = None, rate: float = 1.0) -> Any:
        """u (B, H, L), or (B, L, H) if not ``transposed`` -> (y of u's shape, the state (B, H, N) after the last sample).

        Returns only y if ``return_state=False``. ``state`` is the state before the first sample, 0 if absent. ``rate`` is the time between
        samples relative to training: .5 for a signal sampled twice as often.
        """
        axis, layouts = -2 if self.transposed else -1, (f"(batch, length, {self.h})", f"(batch, {self.h}, length)")
        swapped = (-3 - axis, f"for {layouts[not self.transposed]} construct the layer with transposed={not self.transposed}")
        self._check_input(u, self.D, self.h, layouts[self.transposed], axis=axis, ndims=(2, 3), swapped=swapped)
        if not self.transposed:
            u = u.transpose(-1, -2)
        if state is not None:
            if self.bidirectional:
                raise ValueError("S4D: a bidirectional layer has no state; omit state or bidirectional")
            self._check_state(state, *u.shape[:-1], self.kernel.A_imag.shape[-1])
        dt, A, C = self.kernel.system(rate)
        options: dict[str, Any] = {"disc": self.disc, "method": self.method, "bidirectional": self.bidirectional}
        has_state = self.return_state and not self.bidirectional
        result: Any = ssm.s4d_conv(u, dt, A, C, self.D, initial_state=state, return_state=has_state, **options)
        y, last = result if has_state else (result, None)
        if y.shape[-1]:  # torch cannot convolve zero samples
            y = self.output_linear(self.dropout(self.activation(y)))
        y = y if self.transposed else y.transpose(-1, -2)
        return (y, last) if self.return_state else y

    def extra_repr(self) -> str:
        return f"{self.h}, d_state={self.n}, transposed={self.transposed}"

    def default_state(self, *batch: int) -> Tensor:
        """The state before the first sample: zeros (*batch, H, N)."""
        shape = (*integers(batch, None, "S4D.default_state", "batch", 0, MAX_NUMBERS), *self.kernel.log_A_real.shape)
        return self.kernel.log_A_real.new_zeros(shape, dtype=complex_of(self.kernel.log_A_real))

    def step(self, u: Tensor, state: Tensor, rate: float = 1.0) -> tuple[Tensor, Tensor]:
        """One sample: u (B, H), state (B, H, N) -> y (B, H), state. The result is the same as from ``forward`` up to rounding."""
        if self.bidirectional:
            raise ValueError("S4D: a bidirectional layer cannot be stepped")
        self._check_input(u, self.D, self.h, f"(batch, {self.h})", ndims=(1, 2))
        self._check_state(state, *u.shape, self.kernel.A_imag.shape[-1])
        dt, A, C = self.kernel.system(rate)
        y, state = ssm.s4d_step(u, state, dt, A, C, self.D, disc=self.disc)
        y = self.output_linear(self.dropout(self.activation(y)[..., None]))
        return y[..., 0], state
