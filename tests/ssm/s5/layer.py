"""The layer S5: how the suite makes it, and its functions as plain loops in torch, slow and differentiable."""

import torch

from quatrefoil.torch import nn

LAYERS = {
    "S5": (lambda: nn.S5(3, 8), (2, 12, 3)),
    "S5-bidirectional": (lambda: nn.S5(3, 8, bidirectional=True), (2, 12, 3)),
}
BAD = [
    (lambda: nn.S5(2, 6, blocks=2), ValueError, "d_state is 6 with 2 blocks, expected a multiple of 2 blocks"),
    (lambda: nn.S5(2, 8, C_init="normal"), ValueError, "C_init is 'normal'"),
    (lambda: nn.S5(2, 8, init="legs"), ValueError, "init is 'legs', expected one of 'hippo', 'ptd'"),
    (lambda: nn.S5(2, 8, init="ptd"), ValueError, "it needs conj_sym=False"),
    (lambda: nn.S5(2, 8, discretization="dss"), ValueError, "discretization is 'dss'"),
    (lambda: nn.S5(2, 8, dt_max=1e-4), ValueError, "dt_min and dt_max"),
]


def s5_apply(u, Lambda_bar, B_bar, C, D=None, *, conj_sym=True, bidirectional=False, initial_state=None, return_state=False):
    P = Lambda_bar.shape[0]

    def scan(u, state):
        states = []
        for l in range(u.shape[-2]):
            state = Lambda_bar * state + u[..., l, :].to(B_bar.dtype) @ B_bar.T
            states.append(state)
        return torch.stack(states, -2)

    start = torch.zeros(*u.shape[:-2], P, dtype=Lambda_bar.dtype) if initial_state is None else initial_state
    x = scan(u, start)
    last = x[..., -1, :]
    if bidirectional:
        x = torch.cat([x, scan(u.flip(-2), start).flip(-2)], -1)
    y = (x @ C.T).real * (2 if conj_sym else 1)
    y = y if D is None else y + D * u
    return (y, last) if return_state else y
