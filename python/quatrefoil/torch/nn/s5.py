"""S5: one diagonal state-space model with many inputs and outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import ssm
from ..._arguments import MAX_NUMBERS, choice, integer, integers
from ..._arrays import widen
from ._layer import Layer, initial_log_steps
from .s4d import complex_of

_C_INITS = ("trunc_standard_normal", "lecun_normal", "complex_normal")
_INITS = ("hippo", "ptd")


class S5(Layer):
    """The state-space part of an S5 layer, with the parameters of lindermanlab/S5.

    x_t = Lambda_bar x_{t-1} + B_bar u_t, y_t = 2 Re(C x_t) + D u_t; equation (17) of csrc/ssm/README.md.

    Parameters
    ----------
    d_model : int
        H, channels in and out.
    d_state : int
        Size of the state; P = d_state / 2 entries are stored if ``conj_sym``, each standing for itself and its conjugate.
    blocks : int
        The number of equal HiPPO systems in the initial system.
    conj_sym, clip_eigs, bidirectional, step_rescale
        As in lindermanlab/S5. conj_sym stores one mode of each conjugate pair. clip_eigs limits real parts to at most -1e-4. bidirectional
        adds a scan from the end, read by a second half of C. dt is multiplied by step_rescale (an attribute: change it to run at another
        sampling rate).
    discretization : "zoh" or "bilinear"
    dt_min, dt_max : float
        Range of the initial step sizes.
    C_init : "trunc_standard_normal", "lecun_normal" or "complex_normal"
        The first two are normal in the basis of HiPPO, the third in that of the modes.
    init : "hippo" or "ptd"
        "hippo" is the normal part of HiPPO-LegS, as in S5. "ptd" is all of it, perturbed and diagonalised by ``quatrefoil.ssm.ptd_init``
        (with conj_sym=False, because some eigenvalues may be real).
    eps : float
        Size of the perturbation for "ptd".

    Notes
    -----
    Parameters: Lambda_re, Lambda_im (P,), B (P, H, 2), C (H, P, 2) (C1 and C2 if bidirectional, but one C (H, 2P, 2) with
    "complex_normal"), D (H,), log_step (P, 1), as in lindermanlab/S5, whose arrays can be loaded with ``load_state_dict``.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.S5(d_model=4, d_state=8)(torch.zeros(2, 100, 4)).shape  # batch, length, channels
    torch.Size([2, 100, 4])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        *,
        blocks: int = 1,
        conj_sym: bool = True,
        clip_eigs: bool = False,
        bidirectional: bool = False,
        discretization: str = "zoh",
        step_rescale: float = 1.0,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        C_init: str = "trunc_standard_normal",
        init: str = "hippo",
        eps: float = 0.1,
    ) -> None:
        super().__init__()
        named = ((d_model, "d_model"), (d_state, "d_state"), (blocks, "blocks"))
        H, size, blocks = (integer(n, "S5", name, 1, MAX_NUMBERS) for n, name in named)
        if size % (blocks * (2 if conj_sym else 1)):
            what = "2 * blocks, because modes come in conjugate pairs" if conj_sym else "blocks"
            raise ValueError(f"S5: d_state is {size} with {blocks} blocks, expected a multiple of {what}")
        if init == "ptd" and conj_sym:
            raise ValueError("S5: init='ptd' requires conj_sym=False, because some of its eigenvalues are real")
        self.conj_sym, self.clip_eigs, self.bidirectional, self.step_rescale = conj_sym, clip_eigs, bidirectional, step_rescale
        self.discretization = choice(discretization, "S5", "discretization", ("zoh", "bilinear"))
        kind = choice(C_init, "S5", "C_init", _C_INITS)
        Lambda, V, Vinv = _system(size // blocks, blocks, conj_sym, choice(init, "S5", "init", _INITS), eps)
        P = Lambda.size
        self.Lambda_re, self.Lambda_im = _parameter(Lambda.real), _parameter(Lambda.imag)
        self.B = _parameter(_pairs(Vinv @ _normal((size, H), size)))
        directions = 2 if bidirectional else 1
        if kind == "complex_normal":
            self.C = _parameter(torch.randn(H, directions * P, 2).numpy() * math.sqrt(0.5))
        else:
            for name in ("C1", "C2") if bidirectional else ("C",):
                setattr(self, name, _parameter(_pairs(_complex_normal(kind, H, size) @ V)))
        self.D = torch.nn.Parameter(torch.randn(H))
        self.log_step = torch.nn.Parameter(initial_log_steps("S5", dt_min, dt_max, P, 1))

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lambda_bar (P,), B_bar (P, H), C (H, P) or (H, 2P), for ``quatrefoil.ssm.s5_apply``; float32 for parameters in half precision."""
        re, im, log_step, B = map(widen, (self.Lambda_re, self.Lambda_im, self.log_step, self.B))
        if self.clip_eigs:
            re = re.clamp(max=-1e-4)
        dt = self.step_rescale * torch.exp(log_step[:, 0])
        poles, inputs = ssm.discretize(torch.complex(re, im), torch.view_as_complex(B), dt, self.discretization)
        C = self.C if hasattr(self, "C") else torch.cat([self.C1, self.C2], dim=-2)
        return poles, inputs, torch.view_as_complex(widen(C))

    def forward(self, u: Tensor, state: Tensor | None = None) -> Any:
        """u (..., L, H) -> y (..., L, H), or (y, the last state) with a state (..., P)."""
        self._check_sequence(u, self.D, self.D.shape[0], ndims=())
        poles, inputs, C = self.system()
        options: dict[str, Any] = {"conj_sym": self.conj_sym, "bidirectional": self.bidirectional}
        if state is None:
            return ssm.s5_apply(u, poles, inputs, C, self.D, **options)
        if self.bidirectional:
            raise ValueError("S5: a bidirectional layer has no state; omit state or bidirectional")
        self._check_state(state, *u.shape[:-2], *self.Lambda_re.shape)
        return ssm.s5_apply(u, poles, inputs, C, self.D, initial_state=state, return_state=True, **options)

    def extra_repr(self) -> str:
        return f"{self.D.shape[0]}, d_state={self.Lambda_re.shape[0] * (2 if self.conj_sym else 1)}"

    def default_state(self, *batch: int) -> Tensor:
        """The state before the first sample: zeros (*batch, P)."""
        shape = (*integers(batch, None, "S5.default_state", "batch", 0, MAX_NUMBERS), *self.Lambda_re.shape)
        return self.Lambda_re.new_zeros(shape, dtype=complex_of(self.Lambda_re))

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One sample: u (..., H), state (..., P) -> y (..., H), state."""
        y, state = self.forward(u[..., None, :], state)
        return y[..., 0, :], state


def _system(size: int, blocks: int, conj_sym: bool, init: str, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poles and bases of ``blocks`` equal systems: Lambda (P,), V (blocks size, P), rows of V^-1 (P, blocks size)."""
    if init == "ptd":
        ptd = ssm.ptd_init(size, eps=eps)
        Lambda, V, Vinv = ptd.Lambda, ptd.V, ptd.Vinv
    else:
        Lambda, _, _, V = ssm.dplr_legs(size)
        Vinv = V.conj().T
    if conj_sym:
        half = size // 2
        Lambda, V, Vinv = Lambda[:half], V[:, :half], Vinv[:half]
    one = np.eye(blocks)
    return np.tile(Lambda, blocks), np.kron(one, V), np.kron(one, Vinv)


def _complex_normal(kind: str, H: int, size: int) -> np.ndarray:
    """Complex (H, size), from JAX's LeCun initialiser. The fan-in is ``size`` for "trunc_standard_normal", which draws row by row, and
    H * size for "lecun_normal", which draws the whole array."""
    parts = _normal((H, size, 2), size if kind == "trunc_standard_normal" else size * H)
    z: np.ndarray = parts[..., 0] + 1j * parts[..., 1]
    return z


def _normal(shape: tuple[int, ...], inputs: int) -> np.ndarray:
    """LeCun's distribution: normal, truncated at two standard deviations, with variance 1/inputs."""
    x = torch.nn.init.trunc_normal_(torch.empty(shape, dtype=torch.float64))
    z: np.ndarray = x.numpy() / (0.87962566 * math.sqrt(inputs))  # the standard deviation after truncation
    return z


def _pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)


def _parameter(x: np.ndarray) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(x, dtype=torch.get_default_dtype()))
