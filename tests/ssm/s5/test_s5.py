"""What is particular to S5: states, growth, memory, bad input."""

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_refused
from quatrefoil._backends import native
from ssm.s5 import oracle


def system(rng, shape, P, bidirectional=False, dtype=np.float64):
    def normal(*size):
        return (rng.standard_normal(size) + 1j * rng.standard_normal(size)).astype(np.result_type(dtype, np.complex64))

    H = shape[-1]
    poles = np.exp(-rng.uniform(0.01, 1, P) + 1j * rng.uniform(-3, 3, P)).astype(np.result_type(dtype, np.complex64))
    u, D = rng.standard_normal(shape).astype(dtype), rng.standard_normal(H).astype(dtype)
    return u, poles, normal(P, H), normal(H, 2 * P if bidirectional else P), D


def test_a_state_continues_a_sequence(backend, rng):
    for cut in [0, 1, 95, 96, 97, 150, 399, 400]:
        print(cut)
        u, poles, b, c, D = system(rng, (2, 400, 6), 9)
        start = rng.standard_normal((2, 9)) + 1j * rng.standard_normal((2, 9))
        whole, end = qf.ssm.s5_apply(u, poles, b, c, D, initial_state=start, return_state=True)
        first, middle = qf.ssm.s5_apply(u[:, :cut], poles, b, c, D, initial_state=start, return_state=True)
        second, last = qf.ssm.s5_apply(u[:, cut:], poles, b, c, D, initial_state=middle, return_state=True)
        most = 0 if backend == "native" else 1e-12  # a kernel's sum has one order, wherever it is cut
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=most, atol=most)
        np.testing.assert_allclose(last, end, rtol=most, atol=most)


def test_growing_systems_are_legal(backend, rng):
    u, poles, b, c, D = system(rng, (200, 2), 3)
    poles *= 2 / abs(poles)
    y = qf.ssm.s5_apply(u, poles, b, c, D)
    np.testing.assert_allclose(y, oracle.s5_apply(u, poles, b, c, D).astype(float), rtol=1e-9)
    u = np.concatenate([u] * 6)  # 2^1200 overflows; what came before it does not know
    np.testing.assert_array_equal(qf.ssm.s5_apply(u, poles, b, c, D)[:200], y)


def test_rows_do_not_change_each_other(rng):
    """A sequence has the same bits in any company."""
    u, poles, b, c, D = system(rng, (7, 333, 20), 21, dtype=np.float32)
    together = qf.ssm.s5_apply(u, poles, b, c, D)
    for i in range(7):
        np.testing.assert_array_equal(qf.ssm.s5_apply(u[i], poles, b, c, D), together[i])


@pytest.mark.skipif(native.reason() is not None, reason="of the compiled kernel")
def test_no_array_of_states_exists(peak_memory):
    """L P complex states of this call are 1 GiB; the call and its gradient take less than a sixteenth of it."""
    setup = (
        "import numpy as np, quatrefoil as qf\nu = np.ones((1 << 19, 1), np.float32)\n"
        "z, b, c = np.full(256, 0.5j, np.complex64), np.ones((256, 1), np.complex64), np.ones((1, 256), np.complex64)\n"
        "qf.ssm.s5_apply_vjp(u[:200], z, b, c, u[:200])"
    )
    assert peak_memory(setup, "qf.ssm.s5_apply(u, z, b, c)\nqf.ssm.s5_apply_vjp(u, z, b, c, u)") < 64 << 20


F, Z, M, N = np.zeros((2, 9, 3)), np.zeros(4, complex), np.zeros((4, 3), complex), np.zeros((3, 4), complex)
WIDE, STATE = np.zeros((3, 8), complex), np.zeros((2, 4), complex)
apply, vjp = qf.ssm.s5_apply, qf.ssm.s5_apply_vjp
BAD = [
    (lambda: apply(F, Z, M, WIDE, bidirectional=True, return_state=True), ValueError, "return_state was given with bidirectional"),
    (lambda: apply(F, Z, M, WIDE, bidirectional=True, initial_state=STATE), ValueError, "initial_state was given with"),
    (lambda: vjp(F, Z, M, N, F, return_state=True), ValueError, "grad_last_state is missing"),
    (lambda: vjp(F, Z, M, N, (F, STATE)), ValueError, "not requested"),
]


def test_bad_input():
    check_refused(BAD)
