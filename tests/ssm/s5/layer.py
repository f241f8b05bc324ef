"""The layer S5: how the suite makes it, and what it refuses."""

from quatrefoil.torch import nn

LAYERS = {
    "S5": (lambda: nn.S5(3, 8), (2, 12, 3)),
    "S5-bidirectional": (lambda: nn.S5(3, 8, bidirectional=True), (2, 12, 3)),
}
BAD = [
    (lambda: nn.S5(2, state_size=8), TypeError, r"S5: unknown argument state_size; did you mean d_state\?"),
    (lambda: nn.S5(2, 6, blocks=2), ValueError, "d_state is 6 with 2 blocks, expected a multiple of 2 blocks"),
    (lambda: nn.S5(2, 8, C_init="normal"), ValueError, "C_init is 'normal'"),
    (lambda: nn.S5(2, 8, init="legs"), ValueError, "init is 'legs', expected one of 'hippo', 'ptd'"),
    (lambda: nn.S5(2, 8, init="ptd"), ValueError, "it needs conj_sym=False"),
    (lambda: nn.S5(2, 8, discretization="dss"), ValueError, "discretization is 'dss'"),
    (lambda: nn.S5(2, 8, dt_max=1e-4), ValueError, "dt_min and dt_max"),
]
