"""What is particular to S5: states, growth, NaN, memory, bad input."""

import subprocess
import sys

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
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
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)  # a sum has one order, wherever it is cut
        np.testing.assert_array_equal(last, end)


def test_growing_systems_are_legal(backend, rng):
    u, poles, b, c, D = system(rng, (200, 2), 3)
    poles *= 2 / abs(poles)
    y = qf.ssm.s5_apply(u, poles, b, c, D)
    np.testing.assert_allclose(y, oracle.s5_apply(u, poles, b, c, D).astype(float), rtol=1e-9)
    u = np.concatenate([u] * 6)  # 2^1200 overflows; what came before it does not know
    np.testing.assert_array_equal(qf.ssm.s5_apply(u, poles, b, c, D)[:200], y)


def test_nan_stays_in_its_sequence_or_channel(backend, rng):
    for dtype in precisions(backend):
        print(dtype)
        u, poles, b, c, D = system(rng, (5, 300, 20), 10, dtype=dtype)
        clean = qf.ssm.s5_apply(u, poles, b, c, D)
        u[2, 140, 7] = np.nan
        c[4, 3], D[9] = np.inf, np.nan
        dirty = qf.ssm.s5_apply(u, poles, b, c, D)
        assert np.isnan(dirty[2, 140:]).all()
        assert not np.isfinite(dirty[..., [4, 9]]).any()
        untouched = np.ones_like(u, bool)
        untouched[2, 140:] = untouched[..., 4] = untouched[..., 9] = False
        np.testing.assert_array_equal(dirty[untouched], clean[untouched])


def test_rows_do_not_change_each_other(rng):
    """A sequence has the same bits in any company."""
    u, poles, b, c, D = system(rng, (7, 333, 20), 21, dtype=np.float32)
    together = qf.ssm.s5_apply(u, poles, b, c, D)
    for i in range(7):
        np.testing.assert_array_equal(qf.ssm.s5_apply(u[i], poles, b, c, D), together[i])


def test_broadcast_input(backend, rng):
    u, *rest = system(rng, (60, 5), 7)
    wide = np.broadcast_to(u, (3, 60, 5))
    np.testing.assert_array_equal(qf.ssm.s5_apply(wide, *rest), qf.ssm.s5_apply(wide.copy(), *rest))


def test_any_shape(rng):
    for _ in range(60):
        batch = tuple(rng.integers(0, 4, rng.integers(0, 3)))
        L, H, P = rng.integers(0, 210), rng.integers(0, 70), rng.integers(0, 50)
        both, conj_sym = rng.random(2) < 0.5
        arrays = system(rng, (*batch, L, H), P, bidirectional=both)
        y = qf.ssm.s5_apply(*arrays, bidirectional=both, conj_sym=conj_sym)
        expected = oracle.s5_apply(*arrays, bidirectional=both, conj_sym=conj_sym).astype(float)
        np.testing.assert_allclose(y, expected, atol=1e-13 * max(1, abs(expected).max(initial=0)))


def test_gradient_of_the_product_of_roads(backend, rng):
    """The gradient through a sequence cut in two is the gradient of the whole."""
    u, poles, b, c, D = system(rng, (130, 4), 6)
    g = rng.standard_normal(u.shape)
    whole = qf.ssm.s5_apply_vjp(u, poles, b, c, D, g)
    _, middle = qf.ssm.s5_apply(u[:70], poles, b, c, D, return_state=True)
    late = qf.ssm.s5_apply_vjp(u[70:], poles, b, c, D, middle, g[70:])
    early = qf.ssm.s5_apply_vjp(u[:70], poles, b, c, D, (g[:70], late[5]), return_state=True)
    np.testing.assert_allclose(np.concatenate([early[0], late[0]]), whole[0], atol=1e-11)
    for x, y, z in zip(early[1:5], late[1:5], whole[1:5]):
        np.testing.assert_allclose(x + y, z, atol=1e-9)


def test_no_array_of_states_exists():
    """L P complex states of this call are 1 GiB; the call and its gradient take less than a sixteenth of it."""
    program = """
import resource, numpy as np, quatrefoil as qf
u = np.ones((1 << 19, 1), np.float32)
z, b, c = np.full(256, 0.5j, np.complex64), np.ones((256, 1), np.complex64), np.ones((1, 256), np.complex64)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
qf.ssm.s5_apply_vjp(u[:200], z, b, c, u[:200])
before = peak()
qf.ssm.s5_apply(u, z, b, c)
qf.ssm.s5_apply_vjp(u, z, b, c, u)
print(peak() - before)
"""
    from quatrefoil import _backends

    if _backends.reason("native"):
        pytest.skip("no native backend here")
    kibibytes = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert kibibytes < 64 << 10


F, Z, M, N = np.zeros((2, 9, 3)), np.zeros(4, complex), np.zeros((4, 3), complex), np.zeros((3, 4), complex)
WIDE = np.zeros((3, 8), complex)


BAD = [
    (
        (F, Z, M.T, N),
        {},
        ValueError,
        r"ssm\.s5_apply: B_bar has shape \(3, 4\), expected \(P, H\) with P = 4 as in Lambda_bar",
    ),
    ((F, Z, M, M), {}, ValueError, r"C has shape \(4, 3\), expected \(H, P\)"),
    ((F, Z, M, WIDE), {}, ValueError, r"C has shape \(3, 8\), expected \(H, P\)"),
    ((F, Z, M, N), {"bidirectional": True}, ValueError, r"C has shape \(3, 4\), expected \(H, 2P\)"),
    ((F, Z, M, N, np.zeros(4)), {}, ValueError, r"D has shape \(4,\), expected \(H,\)"),
    ((F, Z[None], M, N), {}, ValueError, r"Lambda_bar has shape \(1, 4\), expected \(P,\)"),
    ((F[0, 0], Z, M, N), {}, ValueError, r"u has shape \(3,\), expected \(\.\.\., L, H\)"),
    (
        (F, Z, M, N),
        {"initial_state": Z},
        ValueError,
        r"initial_state has shape \(4,\), expected \(\.\.\., P\) with the batch axes",
    ),
    ((F, Z, M, WIDE), {"bidirectional": True, "return_state": True}, ValueError, "return_state was given with bidirectional"),
    ((F, Z, M, WIDE), {"bidirectional": True, "initial_state": np.zeros((2, 4), complex)}, ValueError, "initial_state was given with"),
    ((F, Z.real.copy(), M, N), {}, TypeError, "Lambda_bar has dtype float64, expected complex64 or complex128"),
    ((F, Z, M.real.copy(), N), {}, TypeError, "B_bar has dtype float64, expected complex"),
    ((F, Z, M, N.real.copy()), {}, TypeError, "C has dtype float64, expected complex"),
    ((F.astype(np.float32), Z, M, N), {}, TypeError, "u has dtype float32 but Lambda_bar has complex128; expected float64"),
    ((F, Z, M, N, np.zeros(3, np.float32)), {}, TypeError, "D has dtype float32 but u has float64"),
    ((F, Z, M, N), {"out": np.zeros((2, 9, 4))}, ValueError, "out has shape"),
    ((F, Z, M, N), {"out": F}, ValueError, "out overlaps u"),
    ((F, Z, M, N), {"out": np.zeros((2, 9, 3)), "return_state": True}, TypeError, "returns several"),
]


def test_bad_input():
    for arguments, keywords, error, text in BAD:
        print(text)
        for _ in range(2):  # a remembered signature must not be a hole
            with pytest.raises(error, match=text):
                qf.ssm.s5_apply(*arguments, **keywords)


def test_bad_gradient():
    with pytest.raises(ValueError, match="grad_y has shape"):
        qf.ssm.s5_apply_vjp(F, Z, M, N, F[0])
    with pytest.raises(ValueError, match="grad_last_state is missing"):
        qf.ssm.s5_apply_vjp(F, Z, M, N, F, return_state=True)
    with pytest.raises(ValueError, match="not asked for"):
        qf.ssm.s5_apply_vjp(F, Z, M, N, (F, np.zeros((2, 4), complex)))
