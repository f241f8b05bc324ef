"""Initialisations: HiPPO-LegS and its closed forms, the perturbed diagonal system, discretisation, transfer functions."""

import mpmath
import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil.ssm.models import ptd


def test_dplr_legs_is_legs():
    for N in [0, 1, 2, 9, 64]:
        print(N)
        Lambda, P, B, V = qf.ssm.dplr_legs(N)
        A, b = qf.ssm.hippo_legs(N)
        scale = max(1, N * N)
        np.testing.assert_allclose(V.conj().T @ V, np.eye(N), atol=1e-13)
        np.testing.assert_allclose(V @ (np.diag(Lambda) - np.outer(P, P.conj())) @ V.conj().T, A, atol=1e-14 * scale)
        np.testing.assert_allclose(V @ B, b, atol=1e-14 * scale)
        np.testing.assert_allclose(V @ P, np.sqrt(np.arange(N) + 0.5), atol=1e-14 * scale)
        assert (Lambda.real == -0.5).all()
        assert (np.diff(Lambda.imag) > 0).all()
        assert (V[:1].real > 0).all()
        np.testing.assert_allclose(V[:1].imag, 0, atol=1e-15)


def test_legs_transfer_function_is_a_product():
    """Equation (3), and the resolvent by all code paths: dense, and diagonal plus low rank."""
    for N in [1, 4, 30]:
        print(N)
        A, B = qf.ssm.hippo_legs(N)
        s = 1j * np.linspace(-N * N, N * N, 41) + 0.01
        k = np.arange(N)
        expected = np.array([np.sqrt(2 * n + 1) * (s[:, None] - k[:n]).prod(1) / (s[:, None] + k[: n + 1] + 1).prod(1) for n in k]).T
        np.testing.assert_allclose(qf.ssm.transfer_function(s, A, B, np.eye(N)), expected, atol=1e-12)
        Lambda, P, b, V = qf.ssm.dplr_legs(N)
        np.testing.assert_allclose(qf.ssm.transfer_function(s, Lambda, b, V, P=P), expected, atol=1e-11)
        np.testing.assert_allclose(qf.ssm.transfer_function(s, np.diag(Lambda), b, V, P=P[:, None]), expected, atol=1e-11)


def test_s4d_names():
    n = np.arange(4)
    for name, im in {
        "lin": np.pi * n,
        "inv": 8 / np.pi * (8 / (2 * n + 1) - 1),
        "inv2": 8 / np.pi * (8 / (n + 1) - 1),
        "quad": (2 * n + 1) ** 2 / np.pi,
    }.items():
        A, B = qf.ssm.s4d_init(name, 4)
        np.testing.assert_allclose(A, -0.5 - 1j * im, atol=1e-15)
        np.testing.assert_array_equal(B, np.ones(4))
        assert A.dtype == B.dtype == complex
    np.testing.assert_array_equal(qf.ssm.s4d_init("real", 4)[0], -n - 1)
    for name in ("lin", "inv", "inv2", "quad", "real", "legs", "ptd", "random"):
        A, B = qf.ssm.s4d_init(name, 0)
        assert A.shape == B.shape == (0,)


def test_s4d_legs_is_half_of_the_normal_system():
    A, B = qf.ssm.s4d_init("legs", 6)
    Lambda, _, full, _ = qf.ssm.dplr_legs(12)
    np.testing.assert_array_equal(A, Lambda[:6])
    np.testing.assert_array_equal(B, full[:6].real + 1j * full[:6].imag.clip(-2, 2))


def test_s4d_random_and_its_seed():
    A, _ = qf.ssm.s4d_init("random", 5, rng=3)
    np.testing.assert_array_equal(A, qf.ssm.s4d_init("random", 5, rng=np.random.default_rng(3))[0])
    np.testing.assert_allclose(A, -0.5 - 1j * np.exp(np.random.default_rng(3).standard_normal(5)))
    assert (qf.ssm.s4d_init("random", 5)[0] != A).all()


def deviation(Lambda, B, C, N):
    """sup ||G - G_LegS|| of a system with C = 1 and ||B|| = 1."""
    A, b = qf.ssm.hippo_legs(N)
    s = 1j * np.concatenate([np.linspace(0, 2 * N * N / np.pi, 400), Lambda.imag])
    difference = qf.ssm.transfer_function(s, Lambda, B, C) - qf.ssm.transfer_function(s, A, b, np.eye(N))
    return np.linalg.norm(difference, axis=1).max() / np.linalg.norm(b)


@pytest.mark.parametrize(("N", "eps", "cond"), [(8, 0.0983, 4.01), pytest.param(32, 0.0379, 8.31, marks=pytest.mark.slow)])
def test_ptd_is_no_worse_than_what_its_authors_ship(N, eps, cond):
    """Systems are as well conditioned as the authors', stable, exact at 0, and ten times closer to LegS than the plain diagonal ones."""
    ptd = qf.ssm.ptd_init(N, eps=eps)
    A, B = qf.ssm.hippo_legs(N)
    assert 0.95 * eps < ptd.eps <= eps
    assert ptd.eps == pytest.approx(np.linalg.norm(ptd.E, 2) / np.linalg.norm(A, 2))
    assert ptd.cond < cond
    assert ptd.cond == pytest.approx(np.linalg.cond(ptd.V))
    assert ptd.max_real < 0
    Lambda, _, b, V = qf.ssm.dplr_legs(N)
    assert deviation(ptd.Lambda, ptd.Vinv @ B, ptd.V, N) < deviation(Lambda, b / 2, V, N) / 10
    np.testing.assert_allclose(ptd.V @ (ptd.Vinv @ B / -ptd.Lambda), np.eye(N)[0], atol=1e-13 * ptd.cond)  # G(0)
    assert_diagonalises(ptd, A)


def assert_diagonalises(system, A):
    scale = np.linalg.norm(A, 2) * system.cond
    np.testing.assert_allclose(system.V @ np.diag(system.Lambda) @ system.Vinv, A + system.E, atol=1e-13 * scale)
    np.testing.assert_allclose(system.V @ system.Vinv, np.eye(len(A)), atol=1e-13 * system.cond)
    np.testing.assert_allclose(np.linalg.norm(system.V, axis=0), 1)
    np.testing.assert_array_equal(np.sort_complex(system.Lambda), np.sort_complex(system.Lambda.conj()))
    assert system.E.dtype == float
    assert (np.diff(system.Lambda.imag) >= 0).all()


def test_ptd_of_small_systems():
    for N in [1, 2, 3, 5]:
        print(N)
        ptd = qf.ssm.ptd_init(N)
        assert ptd.eps <= 0.1
        assert ptd.max_real < 0
        assert_diagonalises(ptd, qf.ssm.hippo_legs(N)[0])


def test_reported_values_of_random_ptd():
    N = 32
    A, B = qf.ssm.hippo_legs(N)
    raw = qf.ssm.ptd_init(N, eps=0.1, method="random", rng=0, stabilize=False)
    assert raw.eps == pytest.approx(0.1)
    assert raw.eps <= 0.1
    assert raw.max_real == raw.Lambda.real.max()
    assert raw.max_real > 0
    assert_diagonalises(raw, A)
    stable = qf.ssm.ptd_init(N, eps=0.1, method="random", rng=0)
    assert stable.max_real == raw.max_real
    np.testing.assert_array_equal(stable.Lambda, -np.abs(raw.Lambda.real) + 1j * raw.Lambda.imag)
    np.testing.assert_array_equal(stable.E, raw.E)
    assert raw.cond > 2 * qf.ssm.ptd_init(N, eps=0.1).cond
    with pytest.warns(RuntimeWarning, match="random perturbation changes the transfer function by 1.7, more than the plain"):
        worse = qf.ssm.ptd_init(N, method="random", rng=3)
    assert deviation(worse.Lambda, worse.Vinv @ B, worse.V, N) > 1


def test_ptd_gradient(rng):
    """(9) compared with finite differences, with unstable eigenvalues so that the penalty is active."""
    A, _ = qf.ssm.hippo_legs(6)
    U, direction = rng.standard_normal((2, 36)) * 0.3
    U += 2 * np.eye(6).ravel()
    direction[::6] = 0  # the first column is fixed
    assert np.linalg.eigvals(A + 10 * U.reshape(6, 6)).real.max() > 1
    _, gradient = ptd._objective(U, A, 10.0, 0.1)
    h = 1e-6
    slope = (ptd._objective(U + h * direction, A, 10.0, 0.1)[0] - ptd._objective(U - h * direction, A, 10.0, 0.1)[0]) / (2 * h)
    assert gradient @ direction == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_zoh_keeps_full_accuracy_near_zero():
    """(e^x - 1)/x from |x| = 1e-30 to 10, on both sides of the switch to the series, compared with 50 digits."""
    for precision in ["complex64", "complex128"]:
        sizes = [0, 1e-30, 1e-12, 1e-8, 1e-4, 0.1, 0.4999, 0.5001, 1, 10]
        Lambda = np.array([z * np.exp(1j * t) for z in sizes for t in (0, 1, 1.57, 2.5, -3)]).astype(precision)
        _, got = qf.ssm.discretize(Lambda, np.ones_like(Lambda), 1.0)
        with mpmath.workdps(50):
            expected = np.array([complex(mpmath.expm1(mpmath.mpc(z)) / mpmath.mpc(z)) if z else 1 for z in Lambda.astype(complex)])
        assert got.dtype == Lambda.dtype
        np.testing.assert_array_less(np.abs(got - expected) / np.abs(expected), 4 * np.finfo(precision).eps)


def test_discretize_takes_a_step_for_each_pole_or_channel(rng):
    Lambda, B = (rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4)) for _ in range(2))
    per_channel = rng.uniform(0.01, 0.1, 3)
    for dt in (per_channel, rng.uniform(0.01, 0.1, (3, 4)), np.array(0.02), 0.02, np.float64(0.02), 1e-12, 20.0):
        x = (per_channel[:, None] if dt is per_channel else dt) * Lambda
        for disc, pole, inputs in (
            ("zoh", np.exp(x), (np.expm1(x)) / Lambda * B),
            ("bilinear", (1 + x / 2) / (1 - x / 2), x / Lambda / (1 - x / 2) * B),
        ):
            np.testing.assert_allclose(qf.ssm.discretize(Lambda, B, dt, disc), (pole, inputs), rtol=1e-13)
    for got in qf.ssm.discretize(Lambda[0], B[0][:, None] * [1, 2], 0.3, "zoh")[1].T / [[1], [2]]:  # two input columns for each pole
        np.testing.assert_allclose(got, qf.ssm.discretize(Lambda[0], B[0], 0.3, "zoh")[1], rtol=1e-14)


@pytest.mark.torch
def test_discretize_in_torch(rng):
    torch = pytest.importorskip("torch")
    Lambda = torch.tensor([0, 1e-9j, -1e-4, -0.3 + 0.39j, -0.5 + 0.5j, -2 + 7j], dtype=torch.complex128, requires_grad=True)
    B = torch.randn(6, 2, dtype=torch.complex128, requires_grad=True)
    dt = torch.rand(6, dtype=torch.float64).requires_grad_()
    for disc in ("zoh", "bilinear"):
        expected = qf.ssm.discretize(Lambda.detach().numpy(), B.detach().numpy(), dt.detach().numpy(), disc)
        for got, e in zip(qf.ssm.discretize(Lambda, B, dt, disc), expected):
            np.testing.assert_allclose(got.detach().numpy(), e, rtol=1e-14)
        assert torch.autograd.gradcheck(lambda *a, disc=disc: qf.ssm.discretize(*a, disc), (Lambda, B, dt))
    # d/dx (e^x - 1)/x = 1/2 at 0 and near it, where finite differences lose all digits
    pole = torch.tensor([0, 1e-12, 1e-8j, 1e-5], dtype=torch.complex128, requires_grad=True)
    qf.ssm.discretize(pole, torch.ones(4, dtype=torch.complex128), 1.0, "zoh")[1].real.sum().backward()
    assert torch.allclose(pole.grad.real, torch.full((4,), 0.5, dtype=torch.float64), atol=1e-5)


def test_a_scalar_dt_does_not_change_the_dtype():
    Lambda = np.full(3, -0.5 + 2j, np.complex64)
    for dt in (0.1, np.float64(0.1), 1):
        assert {x.dtype for x in qf.ssm.discretize(Lambda, Lambda, dt, "zoh")} == {np.dtype(np.complex64)}


def test_transfer_function_shapes_and_kernel(rng):
    A = rng.standard_normal((4, 4)) - 4 * np.eye(4)
    B, C, s = rng.standard_normal((4, 3)), rng.standard_normal((2, 4)), rng.standard_normal((5, 6)) * 1j
    G = qf.ssm.transfer_function(s, A, B, C)
    assert G.shape == (5, 6, 2, 3)
    np.testing.assert_allclose(G[2, 3], C @ np.linalg.inv(s[2, 3] * np.eye(4) - A) @ B)
    np.testing.assert_allclose(qf.ssm.transfer_function(s, A, B[:, 1], C[0]), G[:, :, 0, 1])
    assert qf.ssm.transfer_function(1j, A, B[:, 0], C[0]).shape == ()
    assert qf.ssm.transfer_function(s[:0], A, B, C).shape == (0, 6, 2, 3)
    assert not qf.ssm.transfer_function(s, np.zeros(0), np.zeros(0), np.zeros(0)).any()
    s[1, 1] = np.nan
    dirty = qf.ssm.transfer_function(s, A, B, C)
    assert np.isnan(dirty[1, 1]).all()
    clean = np.ones((5, 6), bool)
    clean[1, 1] = False
    np.testing.assert_array_equal(dirty[clean], G[clean])


def test_transfer_function_in_blocks(rng, monkeypatch):
    from quatrefoil.ssm.models import transfer

    A, B, C = qf.ssm.hippo_legs(6)[0], rng.standard_normal((6, 2)), rng.standard_normal(6)
    s = 1j * rng.standard_normal(20)
    whole = qf.ssm.transfer_function(s, A, B, C)
    monkeypatch.setattr(transfer, "_BLOCK", 100)
    np.testing.assert_allclose(qf.ssm.transfer_function(s, A, B, C), whole, rtol=1e-13)


Z, ONE = np.zeros(3, complex), np.ones(3)


@pytest.mark.parametrize("N", [1, 4])
def test_modes_of_ptd_are_those_of_its_full_system(N):
    """Conjugates belong to the system too. At N = 1 the real mode counts twice, with half of its input. The static response is exact."""
    A, B = qf.ssm.s4d_init("ptd", N)
    assert A.shape == B.shape == (N,)
    assert (A.real < 0).all()
    size = 2 * N - (A.imag == 0).sum()
    assert size == {1: 1, 4: 8}[N]
    legs, inputs = qf.ssm.hippo_legs(size)
    result = qf.ssm.ptd_init(size)
    full = legs + result.E
    ours = result.V[0, [np.abs(result.Lambda - a).argmin() for a in A]] * B  # contribution of each mode to the first state
    for s in (0, 0.3j, 2 + 5j, 40j):
        expected = np.linalg.solve(s * np.eye(size) - full, inputs)[0]
        got = (ours / (s - A)).sum() + (ours.conj() / (s - A.conj())).sum()
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    slow = (ours / -A).sum() + (ours.conj() / -A.conj()).sum()
    np.testing.assert_allclose(slow, np.linalg.solve(-legs, inputs)[0], rtol=1e-9)


BAD = [
    (lambda: qf.ssm.hippo_legs(-1), ValueError, r"ssm\.hippo_legs: N is -1"),
    (lambda: qf.ssm.s4d_init("linear", 4), ValueError, "name is 'linear', expected one of 'lin', 'inv', 'inv2', 'quad', .*'random'"),
    (lambda: qf.ssm.s4d_init(4, "lin"), TypeError, r"the name must come first: s4d_init\('lin', 4\)"),
    (lambda: qf.ssm.s4d_init("random", 4, rng=-1), ValueError, "rng is -1"),
    (lambda: qf.ssm.s4d_init("random", 4, rng=0.5), TypeError, "rng is float"),
    (lambda: qf.ssm.ptd_init(0), ValueError, "N is 0, expected at least 1"),
    (lambda: qf.ssm.ptd_init(4, eps=0), ValueError, "eps is 0"),
    (lambda: qf.ssm.ptd_init(4, method="adam"), ValueError, "method is 'adam', expected one of 'optimize', 'random'"),
    (lambda: qf.ssm.discretize(Z, Z, 0.1, "euler"), ValueError, "disc is 'euler', expected one of 'zoh', 'bilinear'"),
    (lambda: qf.ssm.discretize(ONE, Z, 0.1, "zoh"), TypeError, "Lambda has dtype float64"),
    (lambda: qf.ssm.discretize(Z, ONE, 0.1, "zoh"), TypeError, "B has dtype float64"),
    (lambda: qf.ssm.discretize(Z, Z, ONE.astype(np.float32), "zoh"), TypeError, "dt has dtype float32"),
    (lambda: qf.ssm.discretize(Z, Z, np.ones(2), "zoh"), ValueError, r"dt has shape \(2,\)"),
    (lambda: qf.ssm.discretize(Z, Z, None, "zoh"), TypeError, "dt is None"),
    (lambda: qf.ssm.discretize(Z, Z[:2], 0.1, "zoh"), ValueError, r"B has shape \(2,\)"),
    (lambda: qf.ssm.transfer_function(1j, Z, ONE[:2], ONE), ValueError, r"B has shape \(2,\)"),
    (lambda: qf.ssm.transfer_function(1j, Z, ONE, ONE[:2]), ValueError, r"C has shape \(2,\)"),
    (lambda: qf.ssm.transfer_function(1j, np.zeros((3, 2)), ONE, ONE), ValueError, r"A has shape \(3, 2\)"),
    (lambda: qf.ssm.transfer_function(1j, Z, ONE, ONE, P=ONE[:2]), ValueError, r"P has shape \(2,\)"),
    (lambda: qf.ssm.transfer_function([1j], Z, ONE, ONE), TypeError, "s is list"),
    (lambda: qf.ssm.transfer_function(1j, Z, np.ones(3, int), ONE), TypeError, "B has dtype int64"),
    (lambda: qf.ssm.transfer_function(0j, Z, ONE, ONE), np.linalg.LinAlgError, r"s = 0\+0j is a pole"),
    (lambda: qf.ssm.transfer_function(np.array([1.0, -2]), np.diag(-ONE - [0, 1, 2]), ONE, ONE), np.linalg.LinAlgError, "s = -2 is a pole"),
]  # fmt: skip
