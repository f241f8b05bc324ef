"""The diagonal layer and its kernel: closed forms, limits, growth, accuracy at real sizes, steps, NaN, memory, bad input."""

import itertools

import numpy as np

import quatrefoil as qf
from case import complex_normal, precisions, worst
from ssm.s4d import oracle

DISCS = ("zoh", "bilinear", "dss")


def model(rng, H, N, dtype=np.float64, M=()):
    complex_ = np.result_type(dtype, np.complex64)
    dt = np.exp(rng.uniform(np.log(0.001), np.log(0.1), H)).astype(dtype)
    A = (-0.5 + 1j * np.pi * np.arange(N) + np.zeros((H, 1))).astype(complex_)
    C, B = ((rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(complex_) for s in ((*M, H, N), (H, N)))
    return dt, A, C, rng.standard_normal((*M, H)).astype(dtype), B


def state(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def test_steps_are_the_layer(backend, rng):
    u, parameters, s = rng.standard_normal((2, 3, 40)), model(rng, 3, 5), state(rng, 2, 3, 5)
    y, last = qf.ssm.s4d_conv(u, *parameters, initial_state=s, return_state=True)
    for l in range(40):
        before = s.copy()
        step, after = qf.ssm.s4d_step(u[..., l], s, *parameters)
        np.testing.assert_array_equal(s, before)
        np.testing.assert_allclose(step, y[..., l], atol=1e-12)
        s = after
    np.testing.assert_allclose(s, last, atol=1e-12)


def test_modes_that_all_channels_share(backend, rng):
    """Modes as ``s4d_init`` and ``dplr_legs`` return them: values equal those of repeated modes, gradients are summed over channels."""
    u, (dt, A, C, D, B), s = rng.standard_normal((2, 3, 20)), model(rng, 3, 5), state(rng, 3, 5)
    start, one = [A[0], C[0], B[0]], lambda a: np.tile(a, (3, 1))
    conv = lambda A, C, B: qf.ssm.s4d_conv(u, dt, A, C, D, B)  # noqa: E731
    step = lambda A, C, B: qf.ssm.s4d_step(u[0, :, 0], s, dt, A, C, D, B)[0]  # noqa: E731
    kernel = lambda A, C, B: qf.ssm.s4d_kernel(dt, A, C, 9, B=B)  # noqa: E731
    low_rank = lambda A, C, B: qf.ssm.s4_kernel(dt, A, C, B, C, 9)  # noqa: E731
    for call in (conv, step, kernel, low_rank):
        np.testing.assert_array_equal(call(*start), call(*map(one, start)))
    grad = rng.standard_normal((3, 9))
    for shared, whole in (
        (qf.ssm.s4d_kernel_vjp(dt, *start, grad, L=9), qf.ssm.s4d_kernel_vjp(dt, *map(one, start), grad, L=9)),
        (qf.ssm.s4d_conv_vjp(u, dt, A[0], C, u), qf.ssm.s4d_conv_vjp(u, dt, one(A[0]), C, u)),
        (qf.ssm.s4_kernel_vjp(dt, *start, C, grad, L=9), qf.ssm.s4_kernel_vjp(dt, *map(one, start), C, grad, L=9)),
    ):
        for got, expected in zip(shared, whole, strict=True):
            np.testing.assert_allclose(got, expected if got.shape == expected.shape else expected.sum(axis=0), atol=1e-10)


def test_float32_keeps_its_digits(rng):
    bounds = [("fft", 5e-7), ("scan", 1e-6)]  # a scan sums the modes of a sample in single precision
    for shape, (method, bound) in itertools.product([(2, 4, 1000), (1, 2, 4096), (1, 1, 20000)], bounds):
        print(shape, method)
        u, parameters = rng.standard_normal(shape).astype(np.float32), model(rng, shape[1], 32, np.float32)
        wide = [p.astype(np.complex128 if np.iscomplexobj(p) else float) for p in parameters]
        exact = qf.ssm.s4d_conv(u.astype(float), *wide, method="scan")
        got = qf.ssm.s4d_conv(u, *parameters, method=method)
        assert np.abs(got - exact).max() <= bound * np.abs(exact).max()
        grad = rng.standard_normal(shape).astype(np.float32)
        dt, A = wide[:2]
        got = qf.ssm.s4d_conv_vjp(u, *parameters, grad, method=method)
        exact = qf.ssm.s4d_conv_vjp(u.astype(float), *wide, grad.astype(float))
        sizes = [np.linalg.norm(e) for e in exact]
        # one sum per channel, which may cancel: use the size of its terms
        sizes[1] = np.linalg.norm((np.abs(A * exact[2])).sum(1) / dt)
        sizes[4] = np.linalg.norm(np.abs(u * grad).sum((0, 2)))
        for g, e, size in zip(got, exact, sizes):
            assert np.linalg.norm(g - e) <= 2e-6 * size


def test_poles_at_zero_and_growing_poles(backend, rng):
    u, (dt, A, C, D, B) = rng.standard_normal((2, 3, 60)), model(rng, 3, 4)
    A[0] = 0
    A[1].real = 0.5
    for method in ("fft", "scan"):
        got = qf.ssm.s4d_conv(u, dt, A, C, D, B, method=method)
        np.testing.assert_allclose(got, oracle.s4d_conv(u, dt, A, C, D, B)[0].astype(float), atol=1e-10)


def test_a_long_scan_keeps_the_phase_of_its_state(backend, rng):
    """Without input, the last state is z^L s. A rounding error in a power of z would be a thousand times larger after a thousand chunks."""
    L, dt, A = 32_000, np.array([0.013]), -0.001 + 1j * rng.uniform(1, 20, (1, 24))
    start = np.ones((1, 1, 24), complex)
    _, last = qf.ssm.s4d_conv(np.zeros((1, 1, L)), dt, A, np.ones_like(A), initial_state=start, return_state=True, method="scan")
    turns = np.longdouble(L) * dt.astype(np.longdouble) * A.imag.astype(np.longdouble)
    expected = np.exp(np.longdouble(L) * dt[0] * A.real) * (np.cos(turns) + 1j * np.sin(turns))
    assert np.abs(last[0] - expected).max() < 1e-14


def test_kernels_of_poles_near_zero(backend):
    """A = 0 is an integrator: K = 2 Re C dt. All limits, and their gradients, are reached with full accuracy."""
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


def test_a_discrete_pole_at_zero(backend):
    """Bilinear at dt A = -2: z = 0, K = (2 Re C b, 0, 0, ...), and the gradient still includes dK_1 = 2 Re C b dz."""
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
    """exp(x (l - L + 1)) never overflows, for any split of L into baby and giant steps."""
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
        dt, A, C, *_ = model(rng, 2, 32)
        ctype = np.result_type(dtype, np.complex64)
        dt, A, C = dt.astype(dtype), A.astype(ctype), C.astype(ctype)
        K = qf.ssm.s4d_kernel(dt, A, C, 4096, disc=disc)
        expected = oracle.s4d_kernel(dt.astype(float), A.astype(complex), C.astype(complex), 4096, disc=disc)
        assert worst(K, expected) < bound


def test_late_values_keep_their_phase(backend, rng):
    """Small values after 65536 steps are accurate relative to themselves; phases in float32 would be wrong by 1e-3."""
    dt, A, C = np.array([0.01], np.float32), np.array([[-0.01 + 100j, -0.01 + 77j]], np.complex64), np.array([[1, 1j]], np.complex64)
    K = qf.ssm.s4d_kernel(dt, A, C, 65536)[:, -100:]
    x = dt.astype(np.longdouble)[:, None] * A.astype(np.clongdouble)
    late = 2 * ((C * np.expm1(x) / A)[..., None] * np.exp(x[..., None] * np.arange(65436, 65536))).sum(1).real
    assert worst(K, late) < 2e-6


def test_a_tail_of_zeros(backend, rng):
    """After all modes have faded, nothing is computed, but a NaN or infinity in the weights still reaches that part."""
    for dtype in precisions(backend):
        print(dtype)
        ctype = np.result_type(dtype, np.complex64)
        dt, A, C = (x.astype(t) for x, t in zip(model(rng, 4, 3), (dtype, ctype, ctype)))
        dt[:] = 0.1, 0.1, 0.1, 1e-3
        C[1, 1] = np.nan
        K = qf.ssm.s4d_kernel(dt, A, C, 50000)
        assert not K[[0, 2], 20000:].any()
        assert np.isnan(K[1]).all()
        assert K[3, 20000:].any()
        expected = oracle.s4d_kernel(dt[3:].astype(float), A[3:].astype(complex), C[3:].astype(complex), 50000)
        assert worst(K[3:], expected) < (3e-7 if dtype == np.float32 else 1e-14)


def test_gradients_in_float32_at_real_sizes(best_backend, rng):
    """Errors compared with the float64 run, each relative to the size that its sum over l would have if the signs of its terms were random.

    With growing modes a few terms dominate the sum, and these may happen to cancel.
    """
    H, N, L = 4, 16, 1024
    for disc in DISCS:
        print(disc)
        dt, A, C, _, B = model(rng, H, N, np.float32)
        A[0, :3] += 0.75  # some modes grow
        grad = rng.standard_normal((H, L)).astype(np.float32)
        wide = [x.astype(np.result_type(x.dtype, np.float64)) for x in (dt, A, C, B)]
        signs = [np.ones((H, L)), *rng.choice([-1.0, 1.0], (16, H, L))]
        expected, *with_signs = (qf.ssm.s4d_kernel_vjp(*wide, grad * sign, L=L, disc=disc) for sign in signs)
        for g, e, *terms in zip(qf.ssm.s4d_kernel_vjp(dt, A, C, B, grad, L=L, disc=disc), expected, *with_signs, strict=True):
            assert (np.abs(g - e) <= 2e-6 * np.sqrt(np.mean(np.square(np.abs(terms)), axis=0))).all()


U, DT, POLES, WEIGHTS = np.zeros((2, 3, 20)), np.ones(3), -np.ones((3, 4)) + 0j, np.ones((3, 4)) + 0j


def call_with(u=U, **options):
    return lambda: qf.ssm.s4d_conv(u, DT, POLES, WEIGHTS, **options)


def step(state, **options):
    return lambda: qf.ssm.s4d_step(U[..., 0], state, DT, POLES, WEIGHTS, **options)


TWO = np.stack([WEIGHTS] * 2)
BAD = [
    (call_with(disc="foh"), ValueError, "disc is 'foh', expected one of 'zoh', 'bilinear', 'dss'"),
    (call_with(method="gemm"), ValueError, "method is 'gemm', expected one of 'auto', 'fft', 'scan'"),
    (call_with(disc="dss", return_state=True), ValueError, "needs a recurrence, which a system with disc='dss' does not have"),
    (call_with(disc="dss", method="scan"), ValueError, "needs a recurrence, which a system with disc='dss' does not have"),
    (lambda: qf.ssm.s4d_conv(U, DT, POLES, TWO, bidirectional=True, return_state=True), ValueError, "bidirectional=True does not have"),
    (call_with(return_state=True, out=np.zeros_like(U)), TypeError, "out= is only for calls that return one array"),
    (lambda: qf.ssm.s4d_kernel(DT, POLES, WEIGHTS, -1), ValueError, "L is -1, expected at least 0"),
    (lambda: qf.ssm.s4d_kernel(DT, POLES, WEIGHTS, 5, disc="foh"), ValueError, "disc is 'foh', expected one of 'zoh', 'bilinear', 'dss'"),
    (step(None), TypeError, "state is None"),
    (step(np.zeros((2, 3, 4), complex), disc="dss"), ValueError, "dss"),
]
