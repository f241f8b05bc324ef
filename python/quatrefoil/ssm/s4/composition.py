"""S4 kernels and sums over simple poles as array operations, in double precision.

The recurrence (4), (5) becomes powers of its real matrix, computed by squaring: 2 sqrt(L) vectors and a matrix product give the L outputs,
and the adjoint takes the same steps in reverse.
"""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import chunk_slices, complex_of, double, in_chunks, resized, zeros


def cauchy_mult(xp: Any, v: Any, z: Any, w: Any, symmetric: bool) -> Any:
    """(1), for a few points at a time."""
    v2, w2, z = _flat(xp, v), _flat(xp, w), double(xp, z)

    def compute(points: slice) -> Any:
        return sum(xp.sum(a[..., None] / (z[points] - b[..., None]), axis=-2) for a, b in _both(xp, v2, w2, symmetric))

    y = in_chunks(xp, compute, z.shape[0], math.prod(v2.shape), axis=-1)
    return xp.reshape(y, (*v.shape[:-1], z.shape[0]))


def _flat(xp: Any, x: Any) -> Any:
    return double(xp, xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])))


def _both(xp: Any, v: Any, w: Any, symmetric: bool) -> list[tuple[Any, Any]]:
    return [(v, w), (xp.conj(v), xp.conj(w))] if symmetric else [(v, w)]


def cauchy_mult_vjp(xp: Any, v: Any, z: Any, w: Any, grad: Any, symmetric: bool) -> tuple[Any, Any, Any]:
    """(2), (3)."""
    v2, w2, z2, g = _flat(xp, v), _flat(xp, w), double(xp, z), _flat(xp, grad)
    dv, dw, of_z = zeros(xp, v2.shape, v2), zeros(xp, v2.shape, v2), []
    for points in chunk_slices(z2.shape[0], math.prod(v2.shape), xp):
        part, slope = g[:, None, points], 0.0
        for i, (a, b) in enumerate(_both(xp, v2, w2, symmetric)):
            c = 1 / (z2[points] - b[..., None])  # (rows, N, points)
            by_pole = a[..., None] * c * c
            to_v, to_w = (xp.sum(xp.conj(x) * part, axis=-1) for x in (c, by_pole))
            dv, dw = (total + (xp.conj(x) if i else x) for total, x in ((dv, to_v), (dw, to_w)))
            slope = slope + xp.sum(by_pole, axis=1)
        of_z.append(-xp.sum(xp.conj(slope) * g[:, points], axis=0))
    return xp.reshape(dv, v.shape), xp.concat(of_z), xp.reshape(dw, w.shape)


class _Powers:
    """A^(2^k) of real matrices A (H, n, n), and their gradients."""

    def __init__(self, xp: Any, A: Any, count: int) -> None:
        self.xp, self.powers = xp, [A]
        for _ in range(1, count):
            self.powers.append(xp.matmul(self.powers[-1], self.powers[-1]))
        self.gradients = [zeros(xp, A.shape, A) for _ in self.powers]

    def columns(self, x: Any, first: int, count: int, transposed: bool = False) -> Any:
        """x, B x, B^2 x, ... with B = A^(2^first), or B^T if ``transposed``: (H, n) -> (H, n, 2^count)."""
        result = x[..., None]
        for k in range(first, first + count):
            power = self.xp.matrix_transpose(self.powers[k]) if transposed else self.powers[k]
            result = self.xp.concat([result, self.xp.matmul(power, result)], axis=-1)
        return result

    def columns_back(self, columns: Any, grad: Any, first: int, count: int, transposed: bool = False) -> Any:
        """The gradient of x from that of the columns; adds to the gradients of the powers."""
        xp = self.xp
        for k in reversed(range(first, first + count)):
            n = grad.shape[-1] // 2
            low, high = grad[..., :n], grad[..., n:]
            of_power = xp.matmul(high, xp.matrix_transpose(columns[..., :n]))
            self.gradients[k] = self.gradients[k] + (xp.matrix_transpose(of_power) if transposed else of_power)
            back = self.powers[k] if transposed else xp.matrix_transpose(self.powers[k])
            grad = low + xp.matmul(back, high)
        return grad[..., 0]

    def power(self, L: int) -> list[Any]:
        """The partial products of the powers that make up A^L, L > 0; the last is A^L."""
        products: list[Any] = []
        for k in _bits(L):
            products.append(self.xp.matmul(products[-1], self.powers[k]) if products else self.powers[k])
        return products

    def power_back(self, products: list[Any], grad: Any, L: int) -> None:
        xp = self.xp
        for i, k in reversed(list(enumerate(_bits(L)))):
            self.gradients[k] = self.gradients[k] + (xp.matmul(xp.matrix_transpose(products[i - 1]), grad) if i else grad)
            grad = xp.matmul(grad, xp.matrix_transpose(self.powers[k]))

    def gradient(self) -> Any:
        xp, total = self.xp, self.gradients[-1]
        for P, own in zip(reversed(self.powers[:-1]), reversed(self.gradients[:-1])):
            T = xp.matrix_transpose(P)
            total = own + xp.matmul(total, T) + xp.matmul(T, total)
        return total


def _bits(L: int) -> list[int]:
    return [k for k in range(L.bit_length()) if L >> k & 1]


class Parameters:
    """(4): the coefficients of the recurrence (5), (H, N) for some channels."""

    def __init__(self, xp: Any, dt: Any, Lambda: Any, P: Any, B: Any, Q: Any) -> None:
        self.xp, self.step, self.Lambda = xp, double(xp, dt)[:, None], double(xp, Lambda)
        half = self.step / 2 * self.Lambda
        self.P, self.B = double(xp, P), double(xp, B)
        self.Q = self.P if Q is None else double(xp, Q)
        self.D = 1 / (1 - half)
        self.E = (1 + half) * self.D
        self.q = 2 * xp.conj(self.Q) * self.D
        self.coupling, self.input = (xp.sum(xp.real(self.q * x), axis=-1, keepdims=True) for x in (self.P, self.B))
        self.strength = self.step / (1 + self.step / 2 * self.coupling)
        self.p = self.strength * self.D * self.P
        self.unscaled = self.D * self.B - self.p * self.input / 2


class _System(Parameters):
    """(5) as K_l = c A^l b with a real matrix A; L > 0."""

    def __init__(self, xp: Any, inputs: tuple[Any, ...], channels: slice, L: int, truncated: bool) -> None:
        dt, Lambda, P, B, C, Q = (None if x is None else x[channels, ...] for x in inputs)
        super().__init__(xp, dt, Lambda, P, B, Q)
        self.L, self.truncated = L, truncated
        self.baby = (L - 1).bit_length() // 2  # 2^giant blocks of 2^baby steps
        self.giant = (L - 1).bit_length() - self.baby
        self.A = _Powers(xp, self._matrix(), max(self.baby + self.giant, L.bit_length() if truncated else 1))
        self.b, self.c = self._column(self.step * self.unscaled), self._row(double(xp, C))
        if truncated:
            self.whole = self.A.power(L)
            self.rest = xp.eye(self.whole[-1].shape[-1], dtype=xp.float64, device=self.c.device) - self.whole[-1]
            self.c = xp.linalg.solve(xp.matrix_transpose(self.rest), self.c[..., None])[..., 0]
        self.X, self.R = self.A.columns(self.b, 0, self.baby), self.A.columns(self.c, self.baby, self.giant, transposed=True)

    def _column(self, x: Any) -> Any:
        return self.xp.concat([self.xp.real(x), self.xp.imag(x)], axis=-1)

    def _row(self, x: Any) -> Any:
        """A real row whose product with the real column of y is Re sum x y."""
        return self.xp.concat([self.xp.real(x), -self.xp.imag(x)], axis=-1)

    def _matrix(self) -> Any:
        xp, N = self.xp, self.E.shape[-1]
        eye = xp.eye(N, dtype=xp.float64, device=self.E.device)
        re, im = (part(self.E)[..., None] * eye for part in (xp.real, xp.imag))
        whole = xp.concat([xp.concat([re, -im], axis=-1), xp.concat([im, re], axis=-1)], axis=-2)
        return whole - self._column(self.p)[..., :, None] * self._row(self.q)[..., None, :]

    def kernel(self) -> Any:
        K = self.xp.matmul(self.xp.matrix_transpose(self.R), self.X)
        return 2 * self.xp.reshape(K, (K.shape[0], K.shape[1] * K.shape[2]))[..., : self.L]

    def gradient(self, grad: Any) -> tuple[Any, Any, Any, Any, Any]:
        """(7), (8): the gradients of E, p, q, c and b."""
        xp, N = self.xp, self.E.shape[-1]
        g = xp.reshape(resized(xp, 2 * grad, self.R.shape[-1] * self.X.shape[-1]), (grad.shape[0], self.R.shape[-1], self.X.shape[-1]))
        db = self.A.columns_back(self.X, xp.matmul(self.R, g), 0, self.baby)
        dc = self.A.columns_back(self.R, xp.matmul(self.X, xp.matrix_transpose(g)), self.baby, self.giant, transposed=True)
        if self.truncated:
            dc = xp.linalg.solve(self.rest, dc[..., None])[..., 0]
            self.A.power_back(self.whole, self.c[..., :, None] * dc[..., None, :], self.L)
        dA = self.A.gradient()
        eye, im = xp.eye(N, dtype=xp.float64, device=dA.device), slice(N, 2 * N)
        of_re = xp.sum((dA[..., :N, :N] + dA[..., im, im]) * eye, axis=-1)
        of_im = xp.sum((dA[..., im, :N] - dA[..., :N, im]) * eye, axis=-1)
        dp = -xp.matmul(dA, self._row(self.q)[..., None])[..., 0]
        dq = -xp.matmul(xp.matrix_transpose(dA), self._column(self.p)[..., None])[..., 0]
        gp, gb = (complex_of(xp, x[..., :N], x[..., N:]) for x in (dp, db))
        gq, gc = (complex_of(xp, x[..., :N], -x[..., N:]) for x in (dq, dc))
        return complex_of(xp, of_re, of_im), gp, gq, gc, gb


def _numbers(N: int, L: int) -> int:
    """The number of elements in one channel's matrices and vectors."""
    return 16 * N * N * (L.bit_length() + 2) + 8 * N * math.isqrt(2 * L) + L


def s4_kernel(xp: Any, dt: Any, Lambda: Any, P: Any, B: Any, C: Any, Q: Any, L: int, truncated: bool) -> Any:
    H, N = Lambda.shape
    if 0 in (H, N, L):
        return zeros(xp, (H, L), dt)

    def compute(channels: slice) -> Any:
        return _System(xp, (dt, Lambda, P, B, C, Q), channels, L, truncated).kernel()

    return in_chunks(xp, compute, H, _numbers(N, L))


def s4_kernel_vjp(
    xp: Any, dt: Any, Lambda: Any, P: Any, B: Any, C: Any, Q: Any, grad: Any, L: int, truncated: bool
) -> tuple[Any, Any, Any, Any, Any, Any]:
    H, N = Lambda.shape
    if 0 in (H, N, L):
        nothing = zeros(xp, (H, N), Lambda)
        return zeros(xp, (H,), dt), nothing, nothing, nothing, nothing, None if Q is None else nothing

    def compute(channels: slice) -> tuple[Any, ...]:
        system = _System(xp, (dt, Lambda, P, B, C, Q), channels, L, truncated)
        return input_gradients(xp, system, double(xp, grad[channels, :]))

    ddt, dLambda, dP, dB, dC, dQ = in_chunks(xp, compute, H, 2 * _numbers(N, L))
    return ddt, dLambda, dP + dQ if Q is None else dP, dB, dC, None if Q is None else dQ


def input_gradients(xp: Any, s: Any, grad: Any) -> tuple[Any, ...]:
    """(6), for ``Parameters`` with a method ``gradient``."""

    def inner(a: Any, b: Any) -> Any:
        return xp.sum(xp.real(xp.conj(a) * b), axis=-1, keepdims=True)

    gE, gp, gq, gc, gb = s.gradient(grad)
    gp = gp - s.step * s.input / 2 * gb
    g_input = -s.step / 2 * inner(gb, s.p)
    g_strength = inner(gp, s.D * s.P)
    damping = s.strength / s.step
    g_product = -g_strength * s.step * damping**2
    g_coupling = s.step / 2 * g_product
    gq = gq + g_input * xp.conj(s.B) + g_coupling * xp.conj(s.P)
    gD = s.step * xp.conj(s.B) * gb + s.strength * xp.conj(s.P) * gp + 2 * s.Q * gq
    g_half = xp.conj(s.D * s.D) * (gD + 2 * gE)
    dP = s.strength * xp.conj(s.D) * gp + xp.conj(s.q) * g_coupling
    dB = s.step * xp.conj(s.D) * gb + xp.conj(s.q) * g_input
    total = inner(s.Lambda, g_half) / 2 + inner(gb, s.unscaled) + g_strength * damping + g_product * s.coupling / 2
    return total[:, 0], s.step / 2 * g_half, dP, dB, gc, 2 * s.D * xp.conj(gq)
