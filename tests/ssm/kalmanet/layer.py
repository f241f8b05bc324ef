"""The layer GatedKalmaNet: how the suite makes it, and what it refuses."""

from quatrefoil.torch import nn

LAYERS = {
    "GatedKalmaNet": (lambda: nn.GatedKalmaNet(6, 4, 2, solver_type="exact"), (2, 6, 6)),
}
BAD = [
    (lambda: nn.GatedKalmaNet(d_model=8), TypeError, r"GatedKalmaNet: unknown argument d_model; did you mean hidden_size\?"),
    (lambda: nn.GatedKalmaNet(8, 4, 4, num_k_heads=3), ValueError, "num_k_heads is 3, expected a divisor of 4"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, bp_lambda=False), ValueError, "bp_lambda"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, solver_type="cg"), ValueError, "solver_type is 'cg', expected one of 'chebyshev', 'exact'"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, conv_size=0), ValueError, "conv_size is 0"),
]
