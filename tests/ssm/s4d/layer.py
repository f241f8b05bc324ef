"""The layer S4D: how the suite makes it, and its functions as plain loops in torch, slow and differentiable."""

import torch
from torch.nn import functional as F

from quatrefoil.torch import nn

LAYERS = {
    "S4D": (lambda: nn.S4D(3, 4), (2, 3, 12)),
    "S4D-real": (lambda: nn.S4D(3, 4, is_real=True), (2, 3, 12)),
    "S4D-bidirectional": (lambda: nn.S4D(3, 4, bidirectional=True), (2, 3, 12)),
}
BAD = [
    (lambda: nn.S4D(0), ValueError, "S4D: d_model is 0, expected at least 1"),
    (lambda: nn.S4D(2, 5), ValueError, "S4D: d_state is 5, expected an even number"),
    (lambda: nn.S4D(2, 4.0), TypeError, "S4D: d_state is 4.0, expected an integer"),
    (lambda: nn.S4D(2, disc="euler"), ValueError, "S4D: disc is 'euler', expected one of 'zoh', 'bilinear'"),
    (lambda: nn.S4D(2, init="linear"), ValueError, "S4D: init is 'linear', expected one of 'lin'"),
    (lambda: nn.S4D(2, dt_min=0), ValueError, "dt_min and dt_max are 0 and 0.1"),
]


def _discrete(dt, A, C, B, disc):
    x = dt[:, None] * A
    if disc == "zoh":
        z, b = torch.exp(x), (torch.exp(x) - 1) / A
    else:
        z, b = (1 + x / 2) / (1 - x / 2), dt[:, None] / (1 - x / 2)
    return z, b if B is None else b * B


def s4d_kernel(dt, A, C, L, *, B=None, disc="zoh"):
    z, b = _discrete(dt, A, C, B, disc)
    powers = z[..., None] ** torch.arange(L)
    return 2 * (C[..., None] * b[..., None] * powers).sum(-2).real


def s4d_step(u, state, dt, A, C, D=None, B=None, *, disc="zoh"):
    z, b = _discrete(dt, A, C, B, disc)
    state = z * state + b * u[..., None]
    y = 2 * (C * state).sum(-1).real
    return (y if D is None else y + D * u), state


def s4d_conv(
    u, dt, A, C, D=None, B=None, *, disc="zoh", initial_state=None, return_state=False, method="auto", bidirectional=False
):  # fmt: skip
    def run(u, C, state, D):
        ys = []
        for l in range(u.shape[-1]):
            y, state = s4d_step(u[..., l], state, dt, A, C, D, B, disc=disc)
            ys.append(y)
        return torch.stack(ys, -1), state

    start = torch.zeros(*u.shape[:-1], A.shape[-1], dtype=A.dtype) if initial_state is None else initial_state
    if bidirectional:
        future = run(u.flip(-1), C[1], start, None)[0].flip(-1)
        return run(u, C[0], start, D)[0] + F.pad(future[..., 1:], (0, 1))  # its first tap has lag 1
    y, state = run(u, C, start, D)
    return (y, state) if return_state else y
