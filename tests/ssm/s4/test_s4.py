"""What is particular to S4 kernels and sums over poles: other roads to the same numbers, limits, NaN, threads, bad input."""

import numpy as np
import pytest

import quatrefoil as qf
from case import complex_normal, worst
from ssm.s4 import oracle


def hippo(N):
    """(Lambda, P, B) of HiPPO-LegS, diagonal plus rank one in the basis of its normal part; the halves with Im Lambda < 0."""
    n = np.arange(2 * N)
    A = -np.tril(np.sqrt((2 * n[:, None] + 1) * (2 * n + 1)), -1) - np.diag(n + 1.0)
    P, B = np.sqrt(n + 0.5), np.sqrt(2 * n + 1.0)
    im, V = np.linalg.eigh(-1j * (A + np.outer(P, P) + np.eye(2 * N) / 2))
    return A, B, -0.5 + 1j * im[:N], (V.conj().T @ P)[:N], (V.conj().T @ B)[:N], V


def by_cauchy(dt, Lambda, P, B, C_truncated, L, Q=None):
    """The usual road: Cauchy sums at the roots of unity, Woodbury, an inverse transform. C is given times I - Abar^L."""
    Q = P if Q is None else Q
    omega = np.exp(-2j * np.pi * np.arange(L // 2 + 1) / L)
    h = (1 + omega) / 2

    def R(a, b):
        def half(v, x):
            return (2 * v[..., None] / (2 * (1 - omega) - x[..., None] * (1 + omega))).sum(-2)

        v, x = dt[:, None] * a * b, dt[:, None] * Lambda
        return half(v, x) + half(np.conj(v), np.conj(x))

    spectrum = R(B, C_truncated) - h * R(B, np.conj(Q)) * R(P, C_truncated) / (1 + h * R(P, np.conj(Q)))
    return np.fft.irfft(spectrum, L)


def system(rng, H=3, N=5):
    shape = (H, N)
    Lambda = -rng.uniform(0.3, 1.5, shape) + 4j * rng.standard_normal(shape)
    return [rng.uniform(0.05, 0.3, H), Lambda, *(0.5 * complex_normal(rng, shape) for _ in range(3))]


@pytest.mark.parametrize("L", [2, 7, 64, 65, 1000, 1001])
@pytest.mark.parametrize("two", [False, True])
def test_same_as_by_cauchy_sums(backend, rng, L, two):
    dt, Lambda, P, B, C = system(rng)
    Q = P + 0.1 * complex_normal(rng, P.shape) if two else None
    K = qf.ssm.s4_kernel(dt, Lambda, P, B, C, L, Q=Q, truncated=True)
    assert worst(K, by_cauchy(dt, Lambda, P, B, C, L, Q)) < 1e-11


def test_truncated_and_true_c_meet_at_length(backend, rng):
    """Once Abar^L is gone both parameters mean the same."""
    arguments = system(rng)
    long = qf.ssm.s4_kernel(*arguments, 3000)
    np.testing.assert_allclose(qf.ssm.s4_kernel(*arguments, 3000, truncated=True), long, atol=1e-13)


def test_without_low_rank_it_is_the_bilinear_diagonal_kernel(backend, rng):
    dt, Lambda, P, B, C = system(rng)
    expected = qf.ssm.s4d_kernel(dt, Lambda, C, 300, B=B, disc="bilinear")
    np.testing.assert_allclose(qf.ssm.s4_kernel(dt, Lambda, 0 * P, B, C, 300), expected, atol=1e-13)


def test_hippo_in_its_own_basis(backend, rng):
    """The kernel of (A, B) of HiPPO-LegS itself, real and dense, discretised and raised to powers."""
    A, B, Lambda, P, Bhat, V = hippo(8)
    C = rng.standard_normal(16)
    back, eye = np.linalg.inv(np.eye(16) - 0.005 * A), np.eye(16)
    step, x = back @ (eye + 0.005 * A), 0.01 * back @ B
    expected = np.empty(500)
    for l in range(500):
        expected[l] = C @ x
        x = step @ x
    K = qf.ssm.s4_kernel(np.array([0.01]), Lambda[None], P[None], Bhat[None], (C @ V)[None, :8], 500)
    assert worst(K[0], expected) < 1e-12


def test_a_zero_system(backend):
    """Lambda = P = 0 is an integrator, and a single mode at rest."""
    zero = np.zeros((1, 2), complex)
    K = qf.ssm.s4_kernel(np.array([0.5]), zero, zero, zero + 1, zero + 1, 9)
    np.testing.assert_allclose(K, np.full((1, 9), 2.0), rtol=1e-14)


@pytest.mark.parametrize("L", [37, 4096])
def test_float32_is_rounded_once(backend, rng, L):
    arguments = [x.astype(np.complex64 if x.dtype == complex else np.float32) for x in system(rng)]
    K = qf.ssm.s4_kernel(*arguments, L)
    exact = [x.astype(np.result_type(x.dtype, np.float64)) for x in arguments]
    assert worst(K, qf.ssm.s4_kernel(*exact, L)) < 1.2e-7


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("which", range(6))
def test_nan_stays_in_its_channel(backend, rng, truncated, which):
    arguments = [*system(rng), 0.5 * complex_normal(rng, (3, 5))]
    grad = rng.standard_normal((3, 40))

    def run():
        *first, Q = arguments
        return [qf.ssm.s4_kernel(*first, 40, Q=Q, truncated=truncated), *qf.ssm.s4_kernel_vjp(*arguments, grad, L=40, truncated=truncated)]

    clean = run()
    arguments[which][(1, *[0] * (arguments[which].ndim - 1))] = np.nan
    dirty = run()
    assert np.isnan(dirty[0][1]).any()
    for before, after in zip(clean, dirty):
        np.testing.assert_array_equal(np.delete(after, 1, 0), np.delete(before, 1, 0))


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_bit(rng, threads):
    arguments = system(rng, H=7)
    grad = rng.standard_normal((7, 600))
    v, w, z = complex_normal(rng, (9, 40)), complex_normal(rng, (9, 40)), complex_normal(rng, 300)
    for f in (
        lambda n: [qf.ssm.s4_kernel(*arguments, 600, num_threads=n), qf.ssm.cauchy_mult(v, z, w, num_threads=n)],
        lambda n: qf.ssm.s4_kernel_vjp(*arguments, grad, L=600, truncated=True, num_threads=n),
        lambda n: qf.ssm.cauchy_mult_vjp(v, z, w, complex_normal(np.random.default_rng(0), (9, 300)), num_threads=n),
    ):
        for one, many in zip(f(1), f(threads)):
            np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("distance", [1e-2, 1e-5])
def test_points_next_to_a_pole(backend, distance):
    """The difference to the pole is exact in float32; a product taken before it would have lost it."""
    v, w = np.array([[1 - 2j, 0.5 + 0j]], np.complex64), np.array([[-0.75 + 3j, -0.5 + 1j]], np.complex64)
    z = (w[0, 0] + np.array([distance, 1j * distance, -distance])).astype(np.complex64)
    for symmetric in (True, False):
        y = qf.ssm.cauchy_mult(v, z, w, symmetric)
        expected = oracle.cauchy_mult(v, z, w, symmetric)
        assert float((np.abs(y - expected) / np.abs(expected)).max()) < 4e-7


def test_on_a_pole_only_that_point_is_lost(backend, rng):
    v, w, z = complex_normal(rng, (2, 5)), complex_normal(rng, (2, 5)), complex_normal(rng, 30)
    clean = qf.ssm.cauchy_mult(v, z, w)
    z[7] = w[1, 2]
    z[9] = np.nan
    dirty = qf.ssm.cauchy_mult(v, z, w)
    assert not np.isfinite(dirty[1, 7])
    assert np.isfinite(dirty[0, 7])
    assert np.isnan(dirty[:, 9]).all()
    np.testing.assert_array_equal(np.delete(dirty, [7, 9], 1), np.delete(clean, [7, 9], 1))


def test_far_points(backend):
    """Upstream's nodes run to infinity."""
    v, w, z = np.ones((1, 1), complex), -np.ones((1, 1), complex), np.array([1e8j, 1e16j, 1e30j])
    np.testing.assert_allclose(qf.ssm.cauchy_mult(v, z, w)[0], 2 / z, rtol=1e-7)


DT, X = np.ones(3), np.ones((3, 4), complex)
BAD = [
    (
        lambda: qf.ssm.s4_kernel(DT, X, X, X, X[:2], 5),
        ValueError,
        r"s4_kernel: C has shape \(2, 4\), expected \(H, N\) with H = 3 as in dt and N = 4 as in Lambda",
    ),
    (lambda: qf.ssm.s4_kernel(DT, X, X, X, X, 5, Q=X[None]), ValueError, "Q has shape"),
    (lambda: qf.ssm.s4_kernel(DT, X[0], X, X, X, 5), ValueError, r"Lambda has shape \(4,\), expected \(H, N\)"),
    (lambda: qf.ssm.s4_kernel(DT[:1], X, X, X, X, 5), ValueError, r"Lambda has shape \(3, 4\), expected \(H, N\) with H = 1 as in dt"),
    (lambda: qf.ssm.s4_kernel(DT, X, X, X, X, -5), ValueError, "L is -5, expected at least 0"),
    (lambda: qf.ssm.s4_kernel(DT, X, X, X, X, "5"), TypeError, "L is '5', expected an integer"),
    (lambda: qf.ssm.s4_kernel(DT, X, X.real, X, X, 5), TypeError, "P has dtype float64"),
    (lambda: qf.ssm.s4_kernel(DT, X, X, X.astype(np.complex64), X, 5), TypeError, "B has dtype complex64 but dt has float64"),
    (
        lambda: qf.ssm.cauchy_mult(X, X[0], X[:2]),
        ValueError,
        r"ssm\.cauchy_mult: w has shape \(2, 4\), expected \(\.\.\., N\) with the batch axes \(3,\), N = 4 as in v",
    ),
    (lambda: qf.ssm.cauchy_mult(X, X, X), ValueError, r"z has shape \(3, 4\), expected \(L,\)"),
    (lambda: qf.ssm.cauchy_mult(X, X[0].real, X), TypeError, "z has dtype float64"),
    (lambda: qf.ssm.cauchy_mult(X, X[0].astype(np.complex64), X), TypeError, "z has dtype complex64 but v has complex128"),
    (lambda: qf.ssm.cauchy_mult_vjp(X, X[0], X, np.ones((3, 5), complex)), ValueError, "grad has shape"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(backend, call, error, text):
    for _ in range(2):
        with pytest.raises(error, match=text):
            call()
