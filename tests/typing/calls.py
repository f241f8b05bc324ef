"""Typical calls, read by type checkers and run: results are arrays of the same library as the arguments."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import quatrefoil as qf

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]

rng = np.random.default_rng(0)


def real(*shape: int) -> Real:
    return rng.uniform(0.1, 0.9, shape).astype(np.float32)


def poles(*shape: int) -> Complex:
    return (1j * rng.standard_normal(shape) - 0.5).astype(np.complex64)


def state_spaces() -> None:
    u, k, dt, A, C = real(2, 3, 16), real(3, 16), real(3), poles(3, 4), poles(3, 4)
    assert_type(qf.ssm.fft_conv(u, k), Real)
    assert_type(qf.ssm.fft_conv(u, k, real(3), k_reverse=k, out=real(2, 3, 16), backend="numba", num_threads=1), Real)
    assert_type(qf.ssm.fft_conv_vjp(u, k, u), tuple[Real, ...])
    assert_type(qf.ssm.s4d_kernel(dt, A, C, 16), Real)
    assert_type(qf.ssm.s4_kernel(dt, A, C, C, C, 16), Real)
    assert_type(qf.ssm.log_vandermonde(A, A, 16), np.ndarray)
    assert_type(qf.ssm.log_vandermonde_transpose(real(3, 16), A, A, 16), Complex)
    assert_type(qf.ssm.cauchy_mult(A, poles(16) + 1, A), Complex)
    assert_type(qf.ssm.s4d_conv(u, dt, A, C), Real)
    y, state = qf.ssm.s4d_conv(u, dt, A, C, real(3), return_state=True)
    assert_type(y, Real)
    assert_type(state, Complex)
    assert_type(qf.ssm.s4d_conv(u, dt, A, C, initial_state=state, return_state=True), tuple[Real, Complex])
    assert_type(qf.ssm.s4d_step(real(2, 3), state, dt, A, C), tuple[Real, Complex])
    assert_type(qf.ssm.s5_apply(real(2, 16, 3), poles(4), poles(4, 3), poles(3, 4)), Real)
    assert_type(qf.ssm.s5_apply(real(2, 16, 3), poles(4), poles(4, 3), poles(3, 4), return_state=True), tuple[Real, Complex])
    assert_type(qf.ssm.linear_scan(u, u), Real)
    assert_type(qf.ssm.linear_scan(poles(2, 16), poles(2, 16)), Complex)
    assert_type(qf.ssm.toeplitz_matmul(real(4), real(5), real(5)), Real)
    assert_type(qf.ssm.discretize(A, A, 0.1, "zoh"), tuple[Complex, Complex])
    assert_type(qf.ssm.s4d_init("lin", 4), tuple[np.ndarray, np.ndarray])
    assert_type(qf.ssm.ptd_init(3).max_real, float)


def upstream_functions() -> None:
    wanted = bool(rng.integers(2))
    x, A, B, weight = real(2, 3, 16), -real(3, 4), real(3, 4), real(3, 4)
    assert_type(qf.ssm.mamba.selective_scan_fn(x, x, A, B, B), Real)
    assert_type(qf.ssm.selective_scan_fn(x, x, A, B, B, delta_softplus=True, return_last_state=True), tuple[Real, Real])
    assert_type(qf.ssm.selective_scan_fn(x, x, A, B, B, return_last_state=wanted), Real | tuple[Real, Real])
    assert_type(qf.ssm.causal_conv1d_fn(x, weight, activation="silu"), Real)
    assert_type(qf.ssm.causal_conv1d_fn(x, weight, return_final_states=True), tuple[Real, Real])
    assert_type(qf.ssm.causal_conv1d_update(real(2, 3), real(2, 3, 4), weight), Real)
    assert_type(qf.ssm.causal_conv1d_varlen_states(real(5, 3), np.array([0, 2, 5]), 3), Real)
    step = real(2, 3, 4), real(2, 3), real(2, 3), -real(3, 4), real(2, 4), real(2, 4)
    assert_type(qf.ssm.selective_state_update(*step), Real)
    assert_type(qf.ssm.selective_state_step(*step), tuple[Real, Real])
    xz = real(2, 6, 16), real(3, 1, 4), None, real(9, 3), real(3, 1), real(5, 3), None, A
    assert_type(qf.ssm.mamba_inner_fn(*xz, b_rms_weight=real(4), dt_rms_weight=real(3), b_c_dt_rms_eps=1e-5), Real)
    x = real(1, 5, 2, 4)
    scan = x, real(1, 5, 2), -real(2), x, x, 64
    cuts = np.array([0, 2, 5])
    assert_type(qf.ssm.mamba_chunk_scan_combined(*scan, real(2), z=x, out=real(1, 5, 2, 4)), Real)
    assert_type(qf.ssm.mamba_chunk_scan_combined(*scan, return_final_states=True), tuple[Real, Real])
    assert_type(qf.ssm.mamba_chunk_scan_combined(*scan, cu_seqlens=cuts, return_varlen_states=True), tuple[Real, Real])
    all_states = qf.ssm.mamba_chunk_scan_combined(*scan, cu_seqlens=cuts, return_final_states=True, return_varlen_states=True)
    assert_type(all_states, tuple[Real, Real, Real])
    some = qf.ssm.mamba_chunk_scan_combined(*scan, return_final_states=wanted)
    assert_type(some, Real | tuple[Real, Real] | tuple[Real, Real, Real])
    block = real(1, 5, 24), real(14, 4), None, real(2), -real(2), real(2, 4), 64
    assert_type(qf.ssm.mamba_split_conv1d_scan_combined(*block), Real)
    assert_type(qf.ssm.mamba_split_conv1d_scan_combined(*block, return_final_states=True), tuple[Real, Real])
    assert_type(qf.ssm.mamba_split_conv1d_scan_combined(*block, return_final_states=wanted), Real | tuple[Real, Real])
    zi = real(1)
    assert_type(qf.ssm.arma_filter(real(2), real(2), real(16)), Real)
    assert_type(qf.ssm.arma_filter(real(2), real(2), real(16), zi), tuple[Real, Real])
    assert_type(qf.ssm.arma_filter(real(2), real(2), real(16), return_state=True), tuple[Real, Real])
    assert_type(qf.ssm.arma_filter(real(2), real(2), real(16), zi, return_state=False), Real)
    q = real(1, 5, 2, 4)
    assert_type(qf.ssm.gka(q, q, q, real(1, 5, 2)), Real)
    _, states = qf.ssm.gka(q, q, q, output_final_state=True)
    assert_type(states, tuple[Real, Real])
    assert_type(qf.ssm.gka(q, q, q, initial_state=states), Real)
    assert_type(qf.ssm.fla.chunk_gated_delta_rule(q, q, q, -real(1, 5, 2)), tuple[Real, Real | None])
    assert_type(qf.ssm.fused_recurrent_delta_rule(q, q, q, output_final_state=True), tuple[Real, Real])
    assert_type(qf.ssm.chunk_simple_gla(q, q, q, output_final_state=wanted), tuple[Real, Real | None])
    assert_type(qf.ssm.chunk_kda(q, q, q, -q, real(1, 5, 2), lower_bound=-5.0), tuple[Real, Real | None])


def products_and_tensors() -> None:
    factors: list[Real] = [np.eye(2, dtype=np.float32), np.ones((3, 3), np.float32)]
    x = real(6)
    assert_type(qf.kron.matvec(factors, x), Real)
    assert_type(qf.kron.matvec_vjp(factors, x, x), tuple[list[Real], Real])
    assert_type(qf.kron.gp_solve(factors, x, 0.1), Real)
    assert_type(qf.kron.gp_sample(factors[:1], size=2, rng=0), Real)
    assert_type(qf.kron.rbf(x, scale=0.5), Real)
    assert_type(qf.kron.matern52(x, x, scale=real()), Real)
    assert_type(qf.kron.spectral_mixture(x, log_weights=x, log_scales=x, freqs=x, kind="gaussian", order=2), Real)
    assert_type(qf.kron.gsmp_kernel(x, weights=x, means=x, std=0.001), Real)
    K = qf.kron.KroneckerOperator(factors)
    assert_type(K @ x, np.ndarray)
    assert_type(K.matvec(x), np.ndarray)
    assert_type(K.solve(x, noise=1.0), np.ndarray)
    assert_type(-K, qf.kron.KroneckerOperator)
    assert_type(qf.kron.KroneckerOperator.batch(factors), qf.kron.KroneckerBatch)
    assert_type(qf.cheb.chebpts(5), np.ndarray)
    assert_type(qf.cheb.chebpts((5, 6)), tuple[np.ndarray, ...])
    core, coefficients = qf.cheb.tucker(real(4, 5), tol=1e-3)
    assert_type(core, Real)
    assert_type(coefficients, list[Real])
    ct = qf.cheb.ChebTucker(core, coefficients)
    assert_type(qf.cheb.ChebTucker.from_cp(real(3), [real(4, 3), real(5, 3)]), qf.cheb.ChebTucker)
    assert_type(ct(real(7, 2)), Real)
    assert_type(qf.cheb.tucker_eval(core, coefficients, real(7, 2)), Real)
    assert_type(qf.cheb.cheb_eval(real(4, 5), real(7, 2), eps=1e-3), Real)
    assert_type(qf.cheb.cheb_moments(real(7, 2), real(7), 5), Real)
    assert_type(qf.cheb.vals2coeffs(real(4, 5)), Real)


def walks() -> None:
    square = qf.wos.Polygon(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    distances = np.array([[1, 1, 1], [1, -1, 1], [1, 1, 1]], np.float32) / 4
    field = qf.wos.GridField(real(3, 3), box=((0.0, 0.0), (1.0, 1.0)))
    qf.wos.solve(qf.wos.SDF(distances, box=((0.0, 0.0), (1.0, 1.0))), np.full((4, 2), 0.5, np.float32), dirichlet=1.0, walks=8, rng=0)
    result = qf.wos.solve(square, real(4, 2), dirichlet=qf.wos.Polynomial(real(2, 2)), source=[field, field], walks=8, rng=0)
    assert_type(result, qf.wos.Result[Real])


def shapes_in_types() -> None:
    """Results may have any number of axes, whatever NumPy's types say about the axes of the arguments."""
    H, L = qf.ssm.s4d_kernel(np.ones(3), poles(3, 4).astype(np.complex128), poles(3, 4).astype(np.complex128), 16).shape
    assert (H, L) == (3, 16)
    assert_type(qf.ssm.fft_conv(np.zeros((2, 3, 4)), np.zeros((3, 4)), np.zeros(3)), NDArray[np.float64])


def settings() -> None:
    with qf.use_backend("numba"):
        assert_type(qf.get_num_threads(), int)
    assert_type(qf.config(), dict[str, Any])
    assert_type(qf.__version__, str)


def rejected() -> None:
    """Each line is a type error. If a checker accepts one, it reports the unused comment that expects the error."""
    u, k = real(2, 3, 16), real(3, 16)
    qf.ssm.fft_conv("no", 3)  # type: ignore[arg-type]
    qf.ssm.fft_conv(u, 3)  # type: ignore[arg-type]
    qf.ssm.fft_conv(u, [1.0, 2.0])  # type: ignore[arg-type]
    qf.ssm.fft_conv(u)  # type: ignore[call-arg]
    qf.ssm.fft_conv(u, k, num_threads="all")  # type: ignore[arg-type]
    qf.ssm.fft_conv(u, k, thread=1)  # type: ignore[call-arg]
    qf.ssm.s4d_conv("no", 3, 3, 3)  # type: ignore[call-overload]
    qf.kron.matvec("no", u)  # type: ignore[arg-type]
    qf.wos.solve(qf.wos.Ball((0.0, 0.0), 1.0), u, dirichlet="no")  # type: ignore[arg-type]
    qf.smm.fft_conv(u, k)  # type: ignore[attr-defined]
    qf.ssm.fft_con(u, k)  # type: ignore[attr-defined]
    qf.kron.matvek([u], u)  # type: ignore[attr-defined]


TYPICAL = (state_spaces, upstream_functions, products_and_tensors, walks, shapes_in_types, settings)
