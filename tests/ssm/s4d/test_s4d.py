"""The diagonal layer: accuracy, limits, steps, NaN, memory, bad input."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_refused
from ssm.s4d import oracle


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
    """As ``s4d_init`` and ``dplr_legs`` give them: values of the repeated modes, gradients summed over channels."""
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
        # single numbers a channel, which may cancel: the sizes of what they sum
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


@pytest.mark.slow
def test_no_array_of_all_modes_and_samples(peak_memory):
    """(1, 64, 65536) with 64 modes: an (H, N, L) array of complex64 would take 2 GiB; a call may take three times its output."""
    setup = """
import numpy as np, quatrefoil as qf
H, N, L = 64, 64, 65536
rng = np.random.default_rng(0)
u = rng.standard_normal((1, H, L), np.float32)
A = (-0.5 + 1j * np.pi * np.arange(N) + np.zeros((H, 1))).astype(np.complex64)
C = np.ones((H, N), np.complex64)
dt, D = np.full(H, 0.01, np.float32), np.ones(H, np.float32)
qf.ssm.s4d_conv(u[..., :64], dt, A, C, D)
"""
    output = 64 * 65536 * 4
    lengths = 8 * 2 * 65536 * 8  # a few lengths a thread
    for method in ("fft", "scan"):
        assert peak_memory(setup, f"qf.ssm.s4d_conv(u, dt, A, C, D, method={method!r})") <= 3 * output + lengths
    assert peak_memory(setup, "y = qf.ssm.s4d_conv(u, dt, A, C, D); qf.ssm.s4d_conv_vjp(u, dt, A, C, D, y)") <= 6 * output + 2 * lengths


U, DT, POLES, WEIGHTS = np.zeros((2, 3, 20)), np.ones(3), -np.ones((3, 4)) + 0j, np.ones((3, 4)) + 0j


def refused(u=U, **options):
    return lambda: qf.ssm.s4d_conv(u, DT, POLES, WEIGHTS, **options)


def step(state, **options):
    return lambda: qf.ssm.s4d_step(U[..., 0], state, DT, POLES, WEIGHTS, **options)


TWO = np.stack([WEIGHTS] * 2)
BAD = [
    (refused(disc="foh"), ValueError, "disc is 'foh', expected one of 'zoh', 'bilinear', 'dss'"),
    (refused(method="gemm"), ValueError, "method is 'gemm', expected one of 'auto', 'fft', 'scan'"),
    (refused(disc="dss", return_state=True), ValueError, "disc='dss' has no recurrence"),
    (refused(disc="dss", method="scan"), ValueError, "disc='dss' has no recurrence"),
    (lambda: qf.ssm.s4d_conv(U, DT, POLES, TWO, bidirectional=True, return_state=True), ValueError, "bidirectional=True has no"),
    (refused(return_state=True, out=np.zeros_like(U)), TypeError, "out= is for calls that return one array"),
    (step(None), TypeError, "state is None"),
    (step(np.zeros((2, 3, 4), complex), disc="dss"), ValueError, "dss"),
]


def test_bad_input():
    check_refused(BAD)


def test_a_long_scan_keeps_the_phase_of_its_state(backend, rng):
    """Without input the last state is z^L s: the rounding of a power of z would show a thousand times after a thousand chunks."""
    L, dt, A = 32_000, np.array([0.013]), -0.001 + 1j * rng.uniform(1, 20, (1, 24))
    start = np.ones((1, 1, 24), complex)
    _, last = qf.ssm.s4d_conv(np.zeros((1, 1, L)), dt, A, np.ones_like(A), initial_state=start, return_state=True, method="scan")
    turns = np.longdouble(L) * dt.astype(np.longdouble) * A.imag.astype(np.longdouble)
    expected = np.exp(np.longdouble(L) * dt[0] * A.real) * (np.cos(turns) + 1j * np.sin(turns))
    assert np.abs(last[0] - expected).max() < 1e-14
