"""Kernel and layer of a diagonal model as array operations, in double precision except for the FFT.

Kernels are sums over modes; states are moments of the rows. Equation numbers: csrc/ssm/modes/README.md.
"""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import complex_of, double, two_product, zeros
from ..convolution.composition import fft_conv, fft_conv_vjp
from ..modes.composition import Modes


def _expm1(xp: Any, x: Any) -> Any:
    """e^x - 1 without cancellation."""
    a, b = xp.real(x), xp.imag(x)
    half = xp.sin(b / 2)
    return complex_of(xp, xp.expm1(a) * xp.cos(b) - 2 * half * half, xp.exp(a) * xp.sin(b))


def _psi(xp: Any, x: Any) -> Any:
    tiny = xp.abs(x) < 1e-20
    one = xp.ones_like(x)
    return xp.where(tiny, one + x / 2, _expm1(xp, x) / xp.where(tiny, one, x))


def _psi_derivative(xp: Any, x: Any) -> Any:
    near = xp.abs(x) < 1 / 8
    series, power = zeros(xp, x.shape, x), xp.ones_like(x)
    for k in range(9):
        series = series + power / (math.factorial(k) * (k + 2))
        power = power * x
    return xp.where(near, series, (xp.exp(x) - _psi(xp, x)) / xp.where(near, xp.ones_like(x), x))


def _abs_squared(xp: Any, x: Any) -> Any:
    """|x|^2."""
    return xp.real(x) ** 2 + xp.imag(x) ** 2


class _Scaled:
    """The modes of DSS: growing modes are scaled to z^(l - L + 1)."""

    def __init__(self, xp: Any, x: Any, grows: Any, L: int) -> None:
        zero = zeros(xp, x.shape, x)
        fading, growing = xp.where(grows, zero, x), xp.where(grows, -x, zero)
        self.xp, self.L = xp, L
        self.fades, self.grows = (xp.astype(g, xp.complex128) for g in (~grows, grows))
        self.fading, self.growing = (Modes(xp, xp.real(y), xp.imag(y)) for y in (fading, growing))

    def sums(self, c: Any, L: int) -> Any:
        return self.fading.sums(c * self.fades, L) + self.xp.flip(self.growing.sums(c * self.grows, L), axis=-1)

    def moments(self, g: Any) -> tuple[Any, Any]:
        (s0, s1), (e0, e1) = self.fading.moments(g), self.growing.moments(self.xp.flip(g, axis=-1))
        return s0 * self.fades + e0 * self.grows, s1 * self.fades + ((self.L - 1) * e0 - e1) * self.grows


class _Poles:
    """(1)-(4): the modes, b and (except for DSS) z, all (H, N), and the gradients of A and dt."""

    def __init__(self, xp: Any, dt: Any, A: Any, disc: str, L: int) -> None:
        self.xp, self.disc, self.L = xp, disc, L
        self.pairs = 1.0 if disc == "dss" else 2.0  # DSS counts each mode once; otherwise modes stand for conjugate pairs
        self.step, self.A = double(xp, dt)[:, None], double(xp, A)
        self.x = self.step * self.A
        self.modes: Any
        if disc == "zoh":
            phase, rest = two_product(self.step, xp.imag(self.A))
            self.modes, self.b = Modes(xp, xp.real(self.x), phase, rest), self.step * _psi(xp, self.x)
            self.z = xp.exp(self.x)
        elif disc == "bilinear":
            half = self.x / 2
            abs2_half, re_half = _abs_squared(xp, half), xp.real(half)
            ratio = 4 * re_half / (1 - 2 * re_half + abs2_half)
            near = xp.abs(ratio) < 0.5  # |1 + half|^2 = |1 - half|^2 (1 + ratio)
            quotient = (1 + 2 * re_half + abs2_half) / (1 - 2 * re_half + abs2_half)
            re = xp.where(near, xp.log1p(xp.where(near, ratio, 0 * ratio)), xp.log(xp.where(near, 1 + 0 * quotient, quotient))) / 2
            re = xp.where(re < -69, 0 * re_half - 69, re)  # a pole at 0 becomes e^-69, so that its derivatives are finite
            phase = xp.atan2(2 * xp.imag(half), (1 - xp.sqrt(abs2_half)) * (1 + xp.sqrt(abs2_half)))
            self.modes, self.z = Modes(xp, re, phase), complex_of(xp, xp.exp(re) * xp.cos(phase), xp.exp(re) * xp.sin(phase))
            self.b = self.step / (1 - half)
        else:
            grows = xp.real(self.A) > 0
            self.sign = xp.where(grows, -xp.ones_like(xp.real(self.x)), xp.ones_like(xp.real(self.x)))
            self.y = self.sign * self.x
            self.q = self.A * _expm1(xp, self.y * L)
            self.weight = _abs_squared(xp, self.q) + 1e-7
            self.r = xp.conj(self.q) / self.weight
            self.modes, self.b = _Scaled(xp, self.x, grows, L), _expm1(xp, self.y) * self.r

    def gradient(self, g_log: Any, g_b: Any) -> tuple[Any, Any]:
        """(11): the gradients of A and dt from those of log z and b."""
        xp, step, x = self.xp, self.step, self.x
        if self.disc == "zoh":
            g_x = g_log + xp.conj(step * _psi_derivative(xp, x)) * g_b
            return step * g_x, xp.sum(xp.real(xp.conj(self.A) * g_x + xp.conj(_psi(xp, x)) * g_b), axis=-1)
        if self.disc == "bilinear":
            d = 1 / (1 - x / 2)
            g_x = xp.conj(d * d) * (g_log / xp.conj(self.z) + step / 2 * g_b)
            return step * g_x, xp.sum(xp.real(xp.conj(self.A) * g_x + xp.conj(d) * g_b), axis=-1)
        last = _expm1(xp, self.y * self.L)
        g_r = xp.conj(_expm1(xp, self.y)) * g_b
        g_q = xp.conj(g_r) / self.weight - 2 * xp.real(g_r * self.q) / self.weight**2 * self.q
        g_y = xp.conj(self.r * xp.exp(self.y)) * g_b + xp.conj(self.A * self.L * xp.exp(self.y * self.L)) * g_q
        g_x = g_log + self.sign * g_y
        return step * g_x + xp.conj(last) * g_q, xp.sum(xp.real(xp.conj(self.A) * g_x), axis=-1)


def _merged_outputs(xp: Any, C: Any) -> Any:
    """C as (M, H, N)."""
    return double(xp, xp.reshape(C, (math.prod(C.shape[:-2]), *C.shape[-2:])))


def _weights(xp: Any, B: Any, poles: _Poles) -> Any:
    return xp.ones_like(poles.A) if B is None else double(xp, B)


def s4d_kernel(xp: Any, dt: Any, A: Any, C: Any, B: Any, L: int, disc: str) -> Any:
    poles = _Poles(xp, dt, A, disc, L)
    K = poles.pairs * poles.modes.sums(_merged_outputs(xp, C) * (_weights(xp, B, poles) * poles.b), L)
    return xp.reshape(K, (*C.shape[:-2], *K.shape[-2:]))


def _kernel_gradients(xp: Any, poles: _Poles, C3: Any, weights: Any, dK: Any) -> tuple[Any, Any, Any, Any]:
    """(10): gradients of log z, b, B and C from that of the kernel, dK (M, H, L)."""
    s0, s1 = poles.modes.moments(dK)
    g, b = poles.pairs * xp.conj(s0), poles.b
    g_log = poles.pairs * xp.sum(xp.conj(C3 * weights * b * s1), axis=0)
    return g_log, xp.sum(xp.conj(C3 * weights) * g, axis=0), xp.sum(xp.conj(C3 * b) * g, axis=0), xp.conj(weights * b) * g


def s4d_kernel_vjp(xp: Any, dt: Any, A: Any, C: Any, B: Any, grad: Any, L: int, disc: str) -> tuple[Any, Any, Any, Any]:
    poles = _Poles(xp, dt, A, disc, L)
    dK = xp.reshape(grad, (math.prod(C.shape[:-2]), A.shape[0], L))
    g_log, g_b, g_B, g_C = _kernel_gradients(xp, poles, _merged_outputs(xp, C), _weights(xp, B, poles), dK)
    dA, ddt = poles.gradient(g_log, g_b)
    return ddt, dA, xp.reshape(g_C, C.shape), None if B is None else g_B


def _flattened(xp: Any, u: Any, C: Any, bidirectional: bool) -> tuple[Any, Any, int]:
    """u as (rows, H, L), C as (M, H, N), the number of outputs."""
    C3 = _merged_outputs(xp, C)
    return xp.reshape(u, (math.prod(u.shape[:-2]), *u.shape[-2:])), C3, 1 if bidirectional else C3.shape[0]


def _taps(xp: Any, poles: _Poles, C3: Any, weights: Any, u: Any, bidirectional: bool) -> tuple[Any, Any]:
    """The kernels (M, H, L) and the reverse kernel or None, in the dtype of the rows."""
    K = xp.astype(poles.pairs * poles.modes.sums(C3 * (weights * poles.b), u.shape[-1]), u.dtype)
    return (K[:1, ...], K[1, ...]) if bidirectional else (K, None)


def s4d_conv(
    xp: Any, u: Any, dt: Any, A: Any, C: Any, D: Any, B: Any, initial_state: Any, disc: str, method: str, bidirectional: bool,
    return_state: bool,
) -> tuple[Any, Any]:  # fmt: skip
    u3, C3, M = _flattened(xp, u, C, bidirectional)
    rows, H, L = u3.shape
    poles = _Poles(xp, dt, A, disc, L)
    weights, modes = _weights(xp, B, poles), poles.modes
    K, K_reverse = _taps(xp, poles, C3, weights, u, bidirectional)
    D2 = None if D is None else xp.reshape(D, (M, H))
    y = fft_conv(xp, u3[:, None, ...], K, D2, K_reverse)  # (rows, M, H, L)
    s = None if initial_state is None else double(xp, xp.reshape(initial_state, (rows, *A.shape)))
    if s is not None:  # 2 Re sum C z^(l + 1) s
        from_start = C3 * poles.z * s[:, None, ...]
        y = y + 2 * xp.reshape(modes.sums(xp.reshape(from_start, (rows * M, *A.shape)), L), (rows, M, H, L))
    y = xp.reshape(y, (*u.shape[:-2], *(() if bidirectional else C.shape[:-2]), H, L))
    if not return_state:
        return y, None
    last = weights * poles.b * modes.moments(xp.flip(u3, axis=-1))[0]
    return y, xp.reshape(last if s is None else last + modes.power(L) * s, (*u.shape[:-2], *A.shape))


def s4d_conv_vjp(
    xp: Any, u: Any, dt: Any, A: Any, C: Any, D: Any, B: Any, initial_state: Any, grad: Any, grad_last: Any, disc: str, method: str,
    bidirectional: bool, return_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    u3, C3, M = _flattened(xp, u, C, bidirectional)
    rows, H, L = u3.shape
    poles = _Poles(xp, dt, A, disc, L)
    weights = _weights(xp, B, poles)
    K, K_reverse = _taps(xp, poles, C3, weights, u, bidirectional)
    grad4, D2 = xp.reshape(grad, (rows, M, H, L)), None if D is None else xp.reshape(D, (M, H))
    parts = [fft_conv_vjp(xp, u3, K[m, ...], None if D2 is None else D2[m, :], K_reverse, grad4[:, m, ...]) for m in range(M)]
    du = sum((part[0] for part in parts), zeros(xp, u3.shape, u3))
    taps = [part[1] for part in parts] + ([parts[0][3]] if bidirectional else [])
    dK = xp.stack(taps, axis=0) if taps else zeros(xp, (0, H, L), u3)
    dD = None if D is None else xp.reshape(xp.stack([part[2] for part in parts], axis=0) if parts else D, D.shape)
    g_log, g_b, g_B, g_C = _kernel_gradients(xp, poles, C3, weights, dK)
    of_states = _state_gradients(xp, poles, C3, weights, u3, initial_state, grad4, grad_last)
    g_log, g_b, g_B, g_C = (g + term for g, term in zip((g_log, g_b, g_B, g_C), of_states[2:]))
    dA, ddt = poles.gradient(g_log, g_b)
    dstart = None if initial_state is None else xp.reshape(of_states[1], initial_state.shape)
    return xp.reshape(du + of_states[0], u.shape), ddt, dA, xp.reshape(g_C, C.shape), dD, None if B is None else g_B, dstart


def _state_gradients(
    xp: Any, poles: _Poles, C3: Any, weights: Any, u3: Any, initial_state: Any, grad4: Any, grad_last: Any
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """The contributions of the states to the gradients of u, the initial state, log z, b, B and C; 0.0 without states."""
    if initial_state is None and grad_last is None:
        return (0.0,) * 6
    (rows, M, H, L), N, modes = grad4.shape, poles.A.shape[1], poles.modes
    du: Any = 0.0
    g_log, g_b, g_B, g_C = (zeros(xp, shape, poles.A) for shape in (*[(H, N)] * 3, C3.shape))
    ds = zeros(xp, (rows, H, N), poles.A)
    s = None if initial_state is None else double(xp, xp.reshape(initial_state, (rows, H, N)))
    if s is not None:  # y_l += 2 Re sum C z^(l + 1) s
        s0, s1 = (xp.reshape(x, (rows, M, H, N)) for x in modes.moments(xp.reshape(grad4, (rows * M, H, L))))
        ds = 2 * xp.sum(xp.conj(C3 * poles.z * s0), axis=1)
        g_C = 2 * xp.sum(xp.conj(s[:, None, ...] * poles.z * s0), axis=0)
        g_log = 2 * xp.sum(xp.conj(C3 * s[:, None, ...] * poles.z * (s0 + s1)), axis=(0, 1))
    if grad_last is not None:  # last = z^L s + sum_j z^(L - 1 - j) B b u_j
        g_last = double(xp, xp.reshape(grad_last, (rows, H, N)))
        s0, s1 = modes.moments(xp.flip(u3, axis=-1))
        inner = weights * poles.b * s1
        if s is not None:
            power = modes.power(L)
            inner = inner + L * power * s
            ds = ds + xp.conj(power) * g_last
        g_log = g_log + xp.sum(xp.conj(inner) * g_last, axis=0)
        g_b, g_B = (xp.sum(xp.conj(weight * s0) * g_last, axis=0) for weight in (weights, poles.b))
        du = xp.astype(xp.flip(modes.sums(xp.conj(g_last) * (weights * poles.b), L), axis=-1), u3.dtype)
    return du, ds, g_log, g_b, g_B, g_C
