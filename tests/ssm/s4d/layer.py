"""The layer S4D: how the suite makes it, and what it refuses."""

import torch

from quatrefoil.torch import nn

LAYERS = {
    "S4D": (lambda: nn.S4D(3, 4), (2, 3, 12)),
    "S4D-real": (lambda: nn.S4D(3, 4, is_real=True), (2, 3, 12)),
    "S4D-bidirectional": (lambda: nn.S4D(3, 4, bidirectional=True), (2, 3, 12)),
}
BAD = [
    (lambda: nn.S4D(2, N=64), TypeError, r"S4D: unknown argument N; did you mean d_state\?"),
    (lambda: nn.S4D(2, l_max=100), TypeError, "S4D: unknown argument l_max; inputs may have any length: leave it out"),
    (lambda: nn.S4D(2, dropuot=0.1), TypeError, r"S4D: unknown argument dropuot; did you mean dropout\?"),
    (lambda: nn.S4D(2, 4, seed=1), TypeError, "S4D: unknown argument seed; expected d_model, d_state, "),
    (lambda: nn.S4D(2, 4)(torch.ones(3, 2, 9), torch.ones(3, 2, 2)), ValueError, r"S4D: state .* complex tensor of shape \(3, 2, 2\)"),
    (lambda: nn.S4D(2, 4).step(torch.ones(3, 2), torch.ones(2, 2) + 0j), ValueError, r"S4D: state has .*; begin with default_state\(3\)"),
    (lambda: nn.S4D(0), ValueError, "S4D: d_model is 0, expected at least 1"),
    (lambda: nn.S4D(2, 5), ValueError, "S4D: d_state is 5, expected an even number"),
    (lambda: nn.S4D(2, 4.0), TypeError, "S4D: d_state is 4.0, expected an integer"),
    (lambda: nn.S4D(2, disc="euler"), ValueError, "S4D: disc is 'euler', expected one of 'zoh', 'bilinear'"),
    (lambda: nn.S4D(2, init="linear"), ValueError, "S4D: init is 'linear', expected one of 'lin'"),
    (lambda: nn.S4D(2, dt_min=0), ValueError, "dt_min and dt_max are 0 and 0.1"),
]
