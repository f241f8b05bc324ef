"""Ctrl-C interrupts every op and solver quickly.

Each is called on a problem that takes over a second, a signal is sent during the call, and the time until its exception is measured.
``python tests/test_interrupts.py FAMILY [BACKEND [THREADS]]`` prints the times.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quatrefoil as qf
from children import run_python

BOUND = 1.0  # seconds: generous, for a busy machine; the goal is 0.1


def floats(*shape):
    return np.full(shape, 0.5, np.float32)


def complexes(*shape):
    return np.full(shape, -0.5 + 0.5j, np.complex64)


def both(function, adjoint, inputs, grad, moments, later=(0.3,), **options):
    """The entries of an op and of its adjoint."""
    yield function.__name__, functools.partial(function, *inputs, **options), moments
    yield adjoint.__name__, functools.partial(adjoint, *inputs, grad, **options), later


def ssm():
    one, n = floats(1, 1 << 24), 1 << 24
    yield "fft_conv", lambda: qf.ssm.fft_conv(one, one), (0.01, 0.5)
    longer = floats(1, 3 << 24)  # an interrupted call caches no tables, so the next one recomputes them
    yield "fft_conv", lambda: qf.ssm.fft_conv(longer, longer), (0.3, 2.0)
    yield "fft_conv_vjp", lambda: qf.ssm.fft_conv_vjp(one, one, None, None, one), (0.6,)

    rows = floats(1, 1 << 26)
    yield "linear_scan", lambda: qf.ssm.linear_scan(floats(), rows), (0.2,)
    steps = np.broadcast_to(floats(1, 1), (n, 4))
    yield "linear_scan", lambda: qf.ssm.linear_scan(steps, steps, axis=0), (0.2,)
    yield "linear_scan_vjp", lambda: qf.ssm.linear_scan_vjp(floats(), rows, None, rows), (0.3, 0.8)

    filter = np.concatenate([floats(1) * 2, np.zeros(32, np.float32)])
    yield "arma_filter", lambda: qf.ssm.arma_filter(filter, filter, rows), (0.3,)
    yield "arma_filter_vjp", lambda: qf.ssm.arma_filter_vjp(filter, filter, rows[:, :n], rows[:, :n]), (0.3,)

    z, w = complexes(1, 50_000), -np.arange(1, 50_001).astype(np.complex64)[None]
    yield from both(qf.ssm.cauchy_mult, qf.ssm.cauchy_mult_vjp, (z, z[0], w), z, (0.3,))
    v, x = complexes(1, 20_000), np.full((1, 20_000), -1e-6 + 1j, np.complex64)
    g = floats(1, 1 << 20)
    yield from both(qf.ssm.log_vandermonde, qf.ssm.log_vandermonde_vjp, (v, x), g, (0.3,), L=1 << 20)
    yield from both(qf.ssm.log_vandermonde_transpose, qf.ssm.log_vandermonde_transpose_vjp, (g, v, x), v, (0.3,), L=1 << 20)

    dt, A, C = floats(1), x, complexes(1, 20_000)
    yield from both(qf.ssm.s4d_kernel, qf.ssm.s4d_kernel_vjp, (dt * 1e-3, A, C), g, (0.3,), L=1 << 20)
    for method in ("fft", "scan"):
        yield "s4d_conv", functools.partial(qf.ssm.s4d_conv, g, dt * 1e-3, A, C, method=method), (0.3,)
    yield "s4d_conv_vjp", lambda: qf.ssm.s4d_conv_vjp(g, dt * 1e-3, A, C, g), (0.3,)

    dt, p = floats(1) * 1e-3, complexes(1, 2000) * 1e-2
    Lambda = -0.5 + 1j * np.arange(2000, dtype=np.complex64)[None]
    yield "s4_kernel", lambda: qf.ssm.s4_kernel(dt, Lambda, p, p, p, 1000, truncated=True), (1.0,)
    yield "s4_kernel", lambda: qf.ssm.s4_kernel(dt, Lambda, p, p, p, 1 << 22), (0.3,)
    yield "s4_kernel_vjp", lambda: qf.ssm.s4_kernel_vjp(dt, Lambda, p, p, p, floats(1, 1 << 16), L=1 << 16), (0.3, 0.8)
    yield "s4_kernel_vjp", lambda: qf.ssm.s4_kernel_vjp(dt, Lambda, p, p, p, floats(1, 1000), L=1000, truncated=True), (0.3,)

    u, Lambda, B, C = floats(1, 5000, 2048), complexes(2048), complexes(2048, 2048), complexes(2048, 2048)
    yield from both(qf.ssm.s5_apply, qf.ssm.s5_apply_vjp, (u, Lambda, B, C), u, (0.1, 0.5), (0.1, 0.8))
    u, A = floats(1, 16, 1 << 20), -floats(16, 512)
    yield "selective_scan_fn", lambda: qf.ssm.selective_scan_fn(u, u, A, A, A), (0.3,)
    u = u[..., : 1 << 18]
    inputs = (u, u, A, A, A, None, None, None, u)
    yield "selective_scan_fn_vjp", lambda: qf.ssm.selective_scan_fn_vjp(*inputs), (0.3,)
    x, weight = floats(1, 16, 1 << 22), floats(16, 4)
    strided = np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1)
    for each in (x, strided):
        yield "causal_conv1d_fn", functools.partial(qf.ssm.causal_conv1d_fn, each, weight), (0.1,)
    yield "causal_conv1d_fn_vjp", lambda: qf.ssm.causal_conv1d_fn_vjp(x, weight, None, None, None, x), (0.3,)
    y, m = floats(1, 1 << 18, 4, 64), floats(1, 1 << 18, 1, 128)
    heads = (y, y[..., 0], -floats(4), m, m)
    scan, scan_vjp = qf.ssm.mamba_chunk_scan_combined, qf.ssm.mamba_chunk_scan_combined_vjp
    yield from both(scan, scan_vjp, heads, y, (0.1, 0.3), (0.1, 0.8), chunk_size=64)

    for D, options in (
        (300, {"solver": "exact"}),
        (128, {"solver": "exact"}),
        (512, {}),
        (16, {"num_iter": 2**31 - 1, "ridge_strength": 1e-12}),
    ):
        q = np.random.default_rng(0).standard_normal((1, 20_000 if D > 16 else 1000, 1, D)).astype(np.float32)
        yield from both(qf.ssm.gka, qf.ssm.gka_vjp, (q, q, q), q, (0.5,), (0.3, 0.8), **options)
    q = np.random.default_rng(0).standard_normal((1, 30_000, 2, 512)).astype(np.float32) / 23  # the norm of a row is about 1
    yield from both(qf.ssm.chunk_gated_delta_rule, qf.ssm.chunk_gated_delta_rule_vjp, (q, q, q), q, (0.3,), (0.3, 0.8))
    yield from both(qf.ssm.chunk_simple_gla, qf.ssm.chunk_simple_gla_vjp, (q, q, q), q, (0.3,))
    r = np.ascontiguousarray(q[..., ::2])  # these gradients store twice as many states
    g, beta, moments = -(r**2), r[..., 0] + 1, ((0.05,), (0.1, 0.3))
    yield from both(qf.ssm.chunk_kda, qf.ssm.chunk_kda_vjp, (r, r, r, g, beta), r, *moments)
    yield from both(qf.ssm.chunk_gdn2, qf.ssm.chunk_gdn2_vjp, (r, r, r, g, r, r), r, *moments)
    yield from both(qf.ssm.chunk_dplr_delta_rule, qf.ssm.chunk_dplr_delta_rule_vjp, (r, r, r, r, -r, g), r, *moments)


def kron():
    cube, x = [floats(400, 400)] * 3, floats(1, 400**3)
    yield from both(qf.kron.matvec, qf.kron.matvec_vjp, (cube, x), x, (0.2, 1.0), (0.3, 1.0))
    large, y = [floats(10_000, 10_000)], floats(2000, 10_000)
    yield from both(qf.kron.matvec, qf.kron.matvec_vjp, (large, y), y, (0.1, 0.5), (0.1, 0.8))
    uneven, flat = [floats(6000, 6000), floats(60, 60)], floats(4, 6000 * 60)
    yield "matvec", lambda: qf.kron.matvec(uneven, flat), (0.1, 0.3)
    t = np.arange(300.0)
    for agents in (1, 2):
        model = qf.kron.SlimKL(means=np.linspace(0, 0.5, 100), noise=0.1, tol=0, max_iter=10**6, agents=agents)
        yield "SlimKL", functools.partial(model.fit, t, np.sin(t)), (1.5,)  # after the import of SciPy

    t = np.linspace(0, 1, 512)
    axes, z = [np.exp(-np.abs(t[:, None] - t))] * 2, np.random.default_rng(0).standard_normal(512 * 512)
    gaps = np.arange(512 * 512) % 3 > 0
    yield "gp_solve", lambda: qf.kron.gp_solve(axes, z, 0.01, mask=gaps, tol=1e-14), (0.5, 1.0)
    yield "gp_sample", lambda: qf.kron.gp_sample(axes, size=500, rng=0), (0.5, 2.0)
    draws = {"mask": gaps, "size": 20, "rng": 0}
    yield "gp_posterior_sample", lambda: qf.kron.gp_posterior_sample(axes, axes, z, 0.1, **draws), (0.5, 1.5)
    axes = [a[:200, :200] for a in axes]
    z, gaps = z[:40_000], gaps[:40_000] | (np.arange(40_000) > 8000)
    yield "gp_nll", lambda: qf.kron.gp_nll(axes, z, 0.1, mask=gaps, grad=True), (0.3, 1.5)
    yield "gp_posterior", lambda: qf.kron.gp_posterior(axes, axes, z, 0.1, mask=gaps), (1.0,)
    points, row = np.random.default_rng(0).standard_normal((12_000, 4), np.float32), floats(1, 1 << 24)
    few, axis = points[:2000, 0], np.arange(12_000, dtype=np.float32)
    square = floats(12_000, 12_000)
    kernels = {name: {"scale": 1.0} for name in ("rbf", "matern12", "matern32", "matern52")}
    kernels |= {"rational_quadratic": {"scale": 1.0, "alpha": 1.0}, "periodic": {"scale": 1.0, "period": 1.0}}
    for name, options in kernels.items():
        function, adjoint = getattr(qf.kron, name), getattr(qf.kron, f"{name}_vjp")
        yield name, functools.partial(function, points, **options), (0.1, 0.5)
        yield name, functools.partial(function, row[0, :1], row[0], **options), (0.05,)
        yield f"{name}_vjp", functools.partial(adjoint, points, None, *options.values(), square), (0.1, 0.8)
        yield f"{name}_vjp", functools.partial(adjoint, axis, None, *options.values(), square), (0.1, 0.5)
    many = floats(300) * np.arange(300, dtype=np.float32) * 1e-2
    components = {"log_weights": many, "log_scales": many, "freqs": many}
    for order in (0, 2):
        yield "spectral_mixture", functools.partial(qf.kron.spectral_mixture, few, **components, order=order), (0.1, 0.5)
    yield "spectral_mixture", lambda: qf.kron.spectral_mixture(few[:1], row[0, : 1 << 20], **components), (0.3,)
    for x in (few, axis[:2000]):
        inputs = (x, None, many, many, many, square[:2000, :2000])
        yield "spectral_mixture_vjp", functools.partial(qf.kron.spectral_mixture_vjp, *inputs, order=2), (0.3,)
    yield "gsmp_kernel", lambda: qf.kron.gsmp_kernel(points[:2000], weights=many, means=many, std=1e-3), (0.3,)
    yield "gsmp_kernel_vjp", lambda: qf.kron.gsmp_kernel_vjp(points[:2000], None, many, many, many, square[:2000, :2000]), (0.3, 0.8)


def cheb():
    line, many = floats((1 << 24) + 1), floats(200_000, 257)
    columns = floats(1 << 20, 16)
    for name in ("vals2coeffs", "coeffs2vals"):
        function, adjoint = getattr(qf.cheb, name), getattr(qf.cheb, f"{name}_vjp")
        yield name, functools.partial(function, line), (0.1, 1.0)
        yield name, functools.partial(function, columns, axes=0), (0.3,)
        yield name, functools.partial(function, many, axes=1), (0.2,)
        yield f"{name}_vjp", functools.partial(adjoint, line, line), (0.3,)
    core, factors, X = floats(300, 300, 300), [floats(40, 300)] * 3, np.zeros((20_000, 3), np.float32)
    yield from both(qf.cheb.tucker_eval, qf.cheb.tucker_eval_vjp, (core, factors, X), X[:, 0], (0.05, 0.5), (0.1, 1.0))
    yield "tucker_derivatives", lambda: qf.cheb.tucker_derivatives(core, factors, X, hessian=True), (0.05, 0.5)
    yield "tucker_derivatives_vjp", lambda: qf.cheb.tucker_derivatives_vjp(core, factors, X, (X[:, 0], X)), (0.1, 1.5)
    n, particles = (300, 300, 300), floats(20_000)
    yield from both(qf.cheb.cheb_eval, qf.cheb.cheb_eval_vjp, (core, X), particles, (0.05, 0.5), (0.1, 1.0))
    yield from both(qf.cheb.cheb_moments, qf.cheb.cheb_moments_vjp, (X, particles), core, (0.05, 0.5), (0.1, 1.0), n=n)
    wide, at = floats(1 << 10, 1 << 10), np.full((4_000_000, 2), 0.3, np.float32)
    yield "cheb_eval", lambda: qf.cheb.cheb_eval(wide, at, eps=1e-4), (0.05, 0.3)
    yield "cheb_moments", lambda: qf.cheb.cheb_moments(at, floats(4_000_000), 1 << 10, eps=1e-4), (0.05, 0.3)
    cloud = np.random.default_rng(0).uniform(-1, 1, (400_000, 3))
    q, sog = np.ones(400_000), qf.cheb.coulomb_sog(1e-6, 0.1, 4.0, split=6.0)
    yield "potential", lambda: qf.cheb.potential(cloud, q, n=300, domain=(-1, 1), tol=1e-6), (0.3, 1.5)
    yield from both(qf.cheb.short_range, qf.cheb.short_range_vjp, (cloud, q, cloud), q, (0.1, 0.5), (0.1, 1.0), sog=sog)
    alone, near = cloud[:1], qf.cheb.coulomb_sog(1e-6, 1, 4, split=0.1)  # one target near all charges
    yield "short_range_vjp", lambda: qf.cheb.short_range_vjp(alone, q[:1], cloud, q, sog=near), (0.01,)
    X, W, ones = floats(1 << 18, 128), floats(128, 16, 128), np.ones(16, np.float32)
    grad = X[:, :128].copy()
    yield from both(qf.cheb.poly_layer, qf.cheb.poly_layer_vjp, (X, W, ones, ones), grad, (0.1, 0.5), (0.1, 0.5))


def wos():
    t = 2 * np.pi * np.arange(4_000_000) / 4_000_000
    ring = np.stack([np.cos(t), np.sin(t)], axis=1)
    yield "Polygon", lambda: qf.wos.Polygon(ring), (0.1,)
    X = np.random.default_rng(0).uniform(-0.5, 0.5, (4096, 2)).astype(np.float32)
    for name in ("closest_point", "contains", "signed_distance"):
        yield name, functools.partial(getattr(qf.wos, name), qf.wos.Polygon(ring), X), (0.3, 1.5)
    strip = np.stack([t, np.cos(t), np.sin(9 * t)], axis=1)[::4]  # a million triangles, not closed
    k = np.arange(len(strip) - 2)
    mesh = qf.wos.TriangleMesh(strip, np.stack([k, k + 1, k + 2], axis=1), watertight=False)
    far = np.random.default_rng(0).uniform(-9, 9, (1 << 18, 3)).astype(np.float32)
    yield "closest_point", lambda: qf.wos.closest_point(mesh, far), (0.2, 1.0)
    yield "contains", lambda: qf.wos.contains(mesh, far), (0.3,)
    yield "solve", lambda: qf.wos.solve(mesh, X[:, [0, 0, 1]], dirichlet=1.0, walks=64), (0.3,)
    polygon, small = qf.wos.Polygon(ring), qf.wos.Polygon(ring[::2000])
    yield "solve", lambda: qf.wos.solve(polygon, X, dirichlet=1.0, walks=1), (0.3, 1.5)
    data = qf.wos.Gaussians(floats(40), floats(40, 2), 1.0)
    for g in (1.0, data, lambda x: x[:, 0]):
        yield "solve", functools.partial(qf.wos.solve, small, X, dirichlet=g, source=data, walks=1 << 14, epsilon=1e-5), (0.3,)
    yield "solve", lambda: qf.wos.solve(qf.wos.Ball([0.0, 0.0, 0.0], 1.0), np.zeros((1, 3)), dirichlet=1.0, walks=1 << 26), (0.3,)
    yield "solve", lambda: qf.wos.solve(qf.wos.Box([0.0] * 6, [1.0] * 6), np.full((1, 6), 0.5), dirichlet=1.0, walks=1 << 24), (0.3,)
    endless = {"dirichlet": data, "atol": 0.0, "walks": 16, "progress": lambda *at: None}
    yield "solve", functools.partial(qf.wos.solve, small, X[:100], **endless), (0.3, 1.0)
    pool = ThreadPoolExecutor(2)
    yield "solve", functools.partial(qf.wos.solve, small, X[:100], executor=pool, **endless), (0.5,)
    many = functools.partial(qf.wos.solve, small, X, dirichlet=data, walks=1 << 14, num_threads=1)
    yield "solve", functools.partial(many, executor=pool), (0.5,)
    pool.shutdown(cancel_futures=True)
    half = (np.arange(2000) % 2 == 1, data)
    yield "solve", lambda: qf.wos.solve(small, X, dirichlet=data, neumann=half, walks=1 << 14, epsilon=1e-5), (0.3,)
    alpha = qf.wos.Polynomial(np.array([[2.0, 0.0], [0.0, 0.5]], np.float32))
    for a in (alpha, lambda x: 2 + 0.5 * x[:, 0] * x[:, 1]):
        yield "solve", functools.partial(qf.wos.solve, small, X, dirichlet=data, diffusion=a, walks=1 << 14, epsilon=1e-5), (0.3,)
    yield "solve_vjp", lambda: qf.wos.solve_vjp(small, X, X[:, 0], dirichlet=data, source=data, walks=1 << 14, rng=1), (0.3,)


FAMILIES = {f.__name__: f for f in (ssm, kron, cheb, wos)}


def seconds(call, after):
    """The time from a signal, ``after`` seconds into the call, to its exception."""
    begin = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        while True:  # try again if the call ends too early
            call()
    except KeyboardInterrupt:
        return time.perf_counter() - begin - after


def main(family, backend="native", threads="3"):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    qf.set_num_threads(int(threads))
    with qf.use_backend(backend):
        for name, call, moments in FAMILIES[family]():
            for after in moments:
                took = seconds(call, after)
                for _ in range(2):  # a busy machine may delay the exception once; a missing check always delays it
                    took = min(took, seconds(call, after)) if took > BOUND else took
                print(name, after, round(took, 3), flush=True)


@pytest.mark.skipif(qf.config()["isas"] == [], reason="needs the compiled kernels")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
@pytest.mark.skipif("san" in os.environ.get("LD_PRELOAD", ""), reason="a build with a sanitizer is too slow for the time limit")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_interrupts_are_prompt(family):
    done = subprocess.run(
        [sys.executable, __file__, family, "native"], capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its spinning threads would wait for each other
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    late = [line for line in done.stdout.splitlines() if float(line.split()[-1]) > BOUND]
    assert not late


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_numba_walks_are_interrupted():
    """The exception of the signal handler arrives, not a SystemError."""
    code = """
    import signal, numpy as np, quatrefoil as qf
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    X = np.zeros((64, 2))
    def once():
        qf.wos.solve(qf.wos.Ball([0.0, 0.0], 1.0), X, dirichlet=1.0, source=1.0, walks=256, backend="numba")
    once()  # compiled
    for k in range(40):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02 + 0.0037 * k)
            while True:
                once()
        except KeyboardInterrupt:
            continue
    print("ok")
    """
    assert run_python(code).stdout.strip() == "ok"


if __name__ == "__main__":
    main(*sys.argv[1:])
