"""What is particular to kernels of state-space models: closed forms, limits, growth, accuracy at real sizes, NaN, threads, bad input."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf
from case import complex_normal, precisions, worst
from checks import check_refused
from quatrefoil._backends import native
from ssm.s4d import oracle

DISCS = ("zoh", "bilinear", "dss")


def s4d_lin(rng, H, N):
    """The usual initialisation: dt log-uniform in [0.001, 0.1], A = -1/2 + i pi n."""
    dt = np.exp(rng.uniform(np.log(0.001), np.log(0.1), H))
    return dt, np.broadcast_to(-0.5 + 1j * np.pi * np.arange(N), (H, N)).copy(), complex_normal(rng, (H, N))


def test_poles_near_zero(backend):
    """A = 0 is an integrator: K = 2 Re C dt. All limits are reached with full accuracy, and gradients with them."""
    for disc, size in itertools.product(["zoh", "bilinear"], [0.0, 1e-300, 1e-160, 1e-20, 1e-12, 1e-8, 1e-4]):
        print(disc, size)
        dt, A, C = np.array([0.25]), np.array([[size * (-1 + 2j)]]), np.array([[0.5 - 0.25j]])
        K = qf.ssm.s4d_kernel(dt, A, C, 100, disc=disc)
        assert worst(K, oracle.s4d_kernel(dt, A, C, 100, disc=disc)) < 4e-15
        grad = np.linspace(1, 2, 100)[None]
        ddt, dA, dC = qf.ssm.s4d_kernel_vjp(dt, A, C, grad, L=100, disc=disc)
        # b = dt (1 + x/2), z^l = 1 + l x to first order for both, so dK_l/dx = 2 Re C dt (1/2 + l)
        near = max(size, 1e-15) * 1e3
        np.testing.assert_allclose(dC, np.conj(2 * dt * grad.sum())[:, None] + 0j, rtol=near)
        np.testing.assert_allclose(dA, np.conj(2 * C * dt**2 * (grad * (np.arange(100) + 0.5)).sum()), rtol=near)
        np.testing.assert_allclose(ddt, [2 * (C * grad.sum()).real.sum()], rtol=near)


def test_a_pole_at_zero_of_the_plane_is_dead_beat(backend):
    """Bilinear at dt A = -2: z = 0, K = (2 Re C b, 0, 0, ...), and dK_1 = 2 Re C b dz is still seen by the gradient."""
    for dtype in precisions(backend):
        print(dtype)
        dt, A, C = np.array([0.5], dtype), np.array([[-4.0 + 0j]]), np.array([[1.0 + 1j]])
        A, C = (x.astype(np.result_type(dtype, np.complex64)) for x in (A, C))
        K = qf.ssm.s4d_kernel(dt, A, C, 5, disc="bilinear")
        np.testing.assert_allclose(K, [[0.5, 0, 0, 0, 0]], atol=1e-20)
        grad = np.array([[0, 3, 5, 7, 9]], dtype)
        _, dA, _ = qf.ssm.s4d_kernel_vjp(dt, A, C, grad, L=5, disc="bilinear")
        np.testing.assert_allclose(dA, [[3 * 2 * np.conj(1 + 1j) * 0.25 * 0.5 / 4]], rtol=1e-6)


def test_growth_is_exact_while_it_is_finite(backend, rng):
    for disc in ["zoh", "bilinear"]:
        print(disc)
        dt, A, C = np.array([0.1, 0.2]), rng.uniform(0.1, 2, (2, 3)) + 1j * rng.standard_normal((2, 3)), complex_normal(rng, (2, 3))
        K = qf.ssm.s4d_kernel(dt, A, C, 1000, disc=disc)
        expected = oracle.s4d_kernel(dt, A, C, 1000, disc=disc)
        scale = np.maximum.accumulate(np.abs(expected), axis=1)
        assert float((np.abs(K - expected) / scale).max()) < 1e-11
        A[1] = 60
        overflowing = qf.ssm.s4d_kernel(dt, A, C, 1000, disc=disc)
        np.testing.assert_array_equal(overflowing[0], K[0])
        if disc == "zoh":
            assert np.isfinite(overflowing[1, :50]).all()
            assert not np.isfinite(overflowing[1, -1])


def test_dss_of_growing_modes(backend, rng):
    """exp(x (l - L + 1)) never overflows, whatever the steps of the product are."""
    for growth, L, dtype in itertools.product([0.01, 1.0, 30.0], [5, 96, 97, 1000, 5000], precisions(backend)):
        print(growth, L, dtype)
        dt, A, C = np.array([0.1, 0.3]), -rng.uniform(0.5, 2, (2, 6)) + 2j * rng.standard_normal((2, 6)), complex_normal(rng, (2, 6))
        A[0, :3] = growth / dt[0] + 1j
        A[1, 4] = growth / dt[1]
        ctype = np.result_type(dtype, np.complex64)
        dt, A, C = dt.astype(dtype), A.astype(ctype), C.astype(ctype)
        K = qf.ssm.s4d_kernel(dt, A, C, L, disc="dss")
        exact = [x.astype(np.result_type(x.dtype, np.float64)) for x in (dt, A, C)]
        expected = oracle.s4d_kernel(*exact, L, disc="dss")
        assert worst(K, expected) < (5e-7 if dtype == np.float32 else 1e-14)
        grad = rng.standard_normal((2, L)).astype(dtype)
        _, dA, dC = qf.ssm.s4d_kernel_vjp(dt, A, C, grad, L=L, disc="dss")
        assert np.isfinite(dA).all()
        unit = np.eye(6)[:, None] * np.ones((2, 1))
        by_mode = oracle.s4d_kernel(exact[0], exact[1], unit.astype(complex), L, disc="dss")
        imaginary = oracle.s4d_kernel(exact[0], exact[1], 1j * unit, L, disc="dss")
        expected = np.stack([(grad * k).sum(-1) + 1j * (grad * i).sum(-1) for k, i in zip(by_mode, imaginary)], -1)
        assert worst(dC, expected) < (2e-6 if dtype == np.float32 else 1e-12)


def test_accuracy_at_real_sizes(backend, rng):
    for disc, dtype in itertools.product(DISCS, precisions(backend)):
        print(disc, dtype)
        bound = 3e-7 if dtype == np.float32 else 1e-14
        dt, A, C = s4d_lin(rng, 2, 32)
        ctype = np.result_type(dtype, np.complex64)
        dt, A, C = dt.astype(dtype), A.astype(ctype), C.astype(ctype)
        K = qf.ssm.s4d_kernel(dt, A, C, 4096, disc=disc)
        expected = oracle.s4d_kernel(dt.astype(float), A.astype(complex), C.astype(complex), 4096, disc=disc)
        assert worst(K, expected) < bound


def test_late_values_keep_their_phase(backend, rng):
    """Small values after 65536 steps are right relative to themselves: float32 phases would be off by 1e-3."""
    dt, A, C = np.array([0.01], np.float32), np.array([[-0.01 + 100j, -0.01 + 77j]], np.complex64), np.array([[1, 1j]], np.complex64)
    K = qf.ssm.s4d_kernel(dt, A, C, 65536)[:, -100:]
    x = dt.astype(np.longdouble)[:, None] * A.astype(np.clongdouble)
    late = 2 * ((C * np.expm1(x) / A)[..., None] * np.exp(x[..., None] * np.arange(65436, 65536))).sum(1).real
    assert worst(K, late) < 2e-6


def test_a_tail_of_zeros(backend, rng):
    """Where all modes have faded nothing is computed; a NaN or infinity among the weights is still seen there."""
    for dtype in precisions(backend):
        print(dtype)
        ctype = np.result_type(dtype, np.complex64)
        dt, A, C = (x.astype(t) for x, t in zip(s4d_lin(rng, 4, 3), (dtype, ctype, ctype)))
        dt[:] = 0.1, 0.1, 0.1, 1e-3
        C[1, 1] = np.nan
        K = qf.ssm.s4d_kernel(dt, A, C, 50000)
        assert not K[[0, 2], 20000:].any()
        assert np.isnan(K[1]).all()
        assert K[3, 20000:].any()
        expected = oracle.s4d_kernel(dt[3:].astype(float), A[3:].astype(complex), C[3:].astype(complex), 50000)
        assert worst(K[3:], expected) < (3e-7 if dtype == np.float32 else 1e-14)


@pytest.mark.torch
@pytest.mark.parametrize("disc", DISCS)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2e-6), (np.float64, 5e-12)])  # float64: the phase l log z of the definition
def test_gradients_at_real_sizes(backend, rng, disc, dtype, bound):
    """Against autograd through the definition in double precision, each number relative to the size that its sum over l would have if the
    signs of its terms were random: where modes grow, a few terms make up the sum, and chance lets them cancel.
    """
    torch = pytest.importorskip("torch")
    H, N, L = 4, 16, 1024
    dt, A, C = s4d_lin(rng, H, N)
    ctype = np.result_type(dtype, np.complex64)
    given = [dt.astype(dtype), A.astype(ctype), C.astype(ctype), complex_normal(rng, (H, N)).astype(ctype)]
    given[1][0, :3] += 0.75  # some modes grow
    grad = rng.standard_normal((H, L)).astype(dtype)
    tdt, tA, tC, tB = leaves = [torch.from_numpy(x.astype(np.result_type(x.dtype, np.float64))).requires_grad_() for x in given]
    x = tdt[:, None] * tA
    l = torch.arange(L, dtype=torch.float64)
    if disc == "zoh":
        bar, log = (torch.exp(x) - 1) / tA, x
    elif disc == "bilinear":
        bar, log = tdt[:, None] / (1 - x / 2), torch.log((1 + x / 2) / (1 - x / 2))
    else:
        grows = tA.detach().real > 0
        y = torch.where(grows, -x, x)
        q = tA * (torch.exp(y * L) - 1)
        bar, log = (torch.exp(y) - 1) * q.conj() / (q.real**2 + q.imag**2 + 1e-7), x
    shift = torch.where(grows, x.detach() * (L - 1), 0)[..., None] if disc == "dss" else 0
    K = (1 if disc == "dss" else 2) * ((tC * tB * bar)[..., None] * torch.exp(log[..., None] * l - shift)).sum(1).real

    def gradients(signs):
        return [x.numpy() for x in torch.autograd.grad(K, leaves, torch.from_numpy(grad * signs.astype(float)), retain_graph=True)]

    expected = gradients(np.ones((H, L)))
    with_signs = [gradients(rng.choice([-1.0, 1.0], (H, L))) for _ in range(16)]
    got = qf.ssm.s4d_kernel_vjp(*given, grad, L=L, disc=disc)
    for g, e, *terms in zip(got, expected, *with_signs):
        assert (np.abs(g - e) <= bound * np.sqrt(np.mean(np.square(np.abs(terms)), axis=0))).all()


@pytest.mark.skipif(native.reason() is not None, reason="of the compiled kernel")
def test_no_large_temporary(peak_memory):
    """H N L numbers would be 4 GiB here; the kernel and its gradient stay below 0.2."""
    setup = (
        "import numpy as np, quatrefoil as qf\n"
        "dt, A, C = np.full(2, 0.01, np.float32), np.full((2, 128), -0.5 + 1j, np.complex64), np.ones((2, 128), np.complex64)"
    )
    code = "K = qf.ssm.s4d_kernel(dt, A, C, 2**22)\nqf.ssm.s4d_kernel_vjp(dt, A, C, K, L=2**22)"
    assert peak_memory(setup, code) < 200 << 20


DT, A, C = np.ones(3), np.ones((3, 4), complex), np.ones((3, 4), complex)
BAD = [
    (lambda: qf.ssm.s4d_kernel(DT, A, C, -1), ValueError, "L is -1, expected at least 0"),
    (lambda: qf.ssm.s4d_kernel(DT, A, C, 5, disc="foh"), ValueError, "disc is 'foh', expected one of 'zoh', 'bilinear', 'dss'"),
]


def test_bad_input():
    check_refused(BAD)
