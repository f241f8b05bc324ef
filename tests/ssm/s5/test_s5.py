"""Tests specific to S5: states, growth, memory, bad input."""

import numpy as np

import quatrefoil as qf
from case import Case, build
from ssm.s5 import oracle
from ssm.s5.cases import s5


def system(rng, shape, P, precision="float64"):
    return build("ssm", Case("s5_apply", "drawn", s5(shape, P)), rng, precision)[0]


def test_growing_systems_are_legal(backend, rng):
    u, poles, b, c, D = system(rng, (200, 2), 3)
    poles *= 2 / abs(poles)
    y = qf.ssm.s5_apply(u, poles, b, c, D)
    np.testing.assert_allclose(y, oracle.s5_apply(u, poles, b, c, D).astype(float), rtol=1e-9)
    u = np.concatenate([u] * 6)  # 2^1200 overflows; earlier results must not be affected
    np.testing.assert_array_equal(qf.ssm.s5_apply(u, poles, b, c, D)[:200], y)


def test_rows_do_not_change_each_other(rng):
    u, poles, b, c, D = system(rng, (7, 333, 20), 21, "float32")
    together = qf.ssm.s5_apply(u, poles, b, c, D)
    for i in range(7):
        np.testing.assert_array_equal(qf.ssm.s5_apply(u[i], poles, b, c, D), together[i])


F, Z, M, N = np.zeros((2, 9, 3)), np.zeros(4, complex), np.zeros((4, 3), complex), np.zeros((3, 4), complex)
WIDE, STATE = np.zeros((3, 8), complex), np.zeros((2, 4), complex)
apply, vjp = qf.ssm.s5_apply, qf.ssm.s5_apply_vjp
BAD = [
    (lambda: apply(F, Z, M, WIDE, bidirectional=True, return_state=True), ValueError, "got return_state and bidirectional"),
    (lambda: apply(F, Z, M, WIDE, bidirectional=True, initial_state=STATE), ValueError, "got initial_state and"),
    (lambda: vjp(F, Z, M, N, F, return_state=True), ValueError, "grad_last_state is None"),
    (lambda: vjp(F, Z, M, N, (F, STATE)), ValueError, "not requested"),
]
