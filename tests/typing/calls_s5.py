"""Typical calls, read by type checkers and run, of an op that hands back its state if asked to."""

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import quatrefoil as qf

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]


def states() -> None:
    u = np.ones((2, 16, 3), np.float32)
    poles, B, C = (np.full(shape, 0.5j, np.complex64) for shape in ((4,), (4, 3), (3, 4)))
    assert_type(qf.ssm.s5_apply(u, poles, B, C), Real)
    assert_type(qf.ssm.s5_apply(u, poles, B, C, return_state=True), tuple[Real, Complex])


TYPICAL = [states]
