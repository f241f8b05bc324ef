"""The layer S4D: how the suite makes it, and what it refuses."""

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
