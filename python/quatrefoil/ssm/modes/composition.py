"""Sums over modes and over time as array operations: baby and giant steps in double precision, one matrix product per channel."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import arange, complex_of, conj, double, in_chunks, is_complex, resized, zeros


def _steps(L: int) -> tuple[int, int]:
    """The numbers of baby and giant steps, which are about equal."""
    J = 1 << (max(L - 1, 0).bit_length() + 1) // 2
    return J, -(-L // J)


class Modes:
    """log z of every mode, (H, N): the real part, and the phase as a sum of two doubles."""

    def __init__(self, xp: Any, re: Any, phase: Any, rest: Any = None) -> None:
        self.xp, self.re = xp, re
        self.top = xp.astype(xp.astype(phase, xp.float32), xp.float64)  # few bits, so that l * top is exact
        self.rest = phase - self.top if rest is None else (phase - self.top) + rest

    def powers(self, t: Any, channels: slice = slice(None)) -> Any:
        """z^t for T values of t: (H, N, T)."""
        xp = self.xp
        re, top, rest = (x[channels, :, None] * t for x in (self.re, self.top, self.rest))
        size = xp.exp(re)
        return complex_of(xp, size * xp.cos(top), size * xp.sin(top)) * complex_of(xp, xp.cos(rest), xp.sin(rest))

    def power(self, t: int) -> Any:
        """z^t: (H, N)."""
        return self.powers(arange(self.xp, 1, self.re) + float(t))[:, :, 0]

    def _tables(self, L: int, channels: slice) -> tuple[Any, Any]:
        """Baby steps (H, N, J) and giant steps (H, N, I)."""
        J, count = _steps(L)
        return self.powers(arange(self.xp, J, self.re), channels), self.powers(arange(self.xp, count, self.re) * float(J), channels)

    def _by_channels(self, compute: Any, M: int, L: int) -> Any:
        """Call ``compute`` for a few channels at a time, so that the tables and their products stay small."""
        (H, N), (J, count) = self.re.shape, _steps(L)
        return in_chunks(self.xp, compute, H, 4 * N * (M * count + J + count) + 4 * M * L, axis=1)

    def sums(self, c: Any, L: int, real: bool = True) -> Any:
        """sum_n c_n z_n^l or its real part (6), (7): (M, H, N) -> (M, H, L)."""
        xp, (M, H) = self.xp, c.shape[:2]
        if 0 in (M, H, L):
            return zeros(xp, (M, H, L), self.re, None if real else xp.complex128)

        def compute(channels: slice) -> Any:
            baby, giant = self._tables(L, channels)
            weighted = c[:, channels, :, None] * giant  # (M, H, N, I)
            if real:
                weighted = xp.concat([xp.real(weighted), -xp.imag(weighted)], axis=-2)
                baby = xp.concat([xp.real(baby), xp.imag(baby)], axis=-2)
            y = xp.matmul(xp.matrix_transpose(weighted), baby)  # (M, H, I, J)
            return xp.reshape(y, (*y.shape[:2], y.shape[2] * y.shape[3]))[..., :L]

        return self._by_channels(compute, M, L)

    def moments(self, g: Any) -> tuple[Any, Any]:
        """sum_l g_l z^l and sum_l l g_l z^l (8), (9): (M, H, L) -> two of (M, H, N)."""
        xp, (M, H, L), N = self.xp, g.shape, self.re.shape[1]
        if 0 in (M, H, L):
            nothing = zeros(xp, (M, H, N), self.re, xp.complex128)
            return nothing, nothing
        J, count = _steps(L)

        def compute(channels: slice) -> tuple[Any, Any]:
            part = resized(xp, double(xp, g[:, channels, :]), J * count)
            rows = xp.reshape(part, (*part.shape[:2], count, J))
            baby, giant = (xp.matrix_transpose(table) for table in self._tables(L, channels))  # (H, J, N), (H, I, N)
            index = arange(xp, J, self.re)
            T, T1 = (_products(xp, rows, table) for table in (baby, index[:, None] * baby))
            begins = (arange(xp, count, self.re) * float(J))[:, None]
            return xp.sum(T * giant, axis=-2), xp.sum((T * begins + T1) * giant, axis=-2)

        s0, s1 = self._by_channels(compute, M, L)
        return s0, s1


def _products(xp: Any, rows: Any, table: Any) -> Any:
    """The matrix product of real or complex rows with a complex table."""
    if is_complex(xp, rows):
        return xp.matmul(rows, table)
    N = table.shape[-1]
    both = xp.matmul(rows, xp.concat([xp.real(table), xp.imag(table)], axis=-1))
    return complex_of(xp, both[..., :N], both[..., N:])


def _rows(xp: Any, x: Any, lead: int) -> Any:
    """x as (M, H, ...); H is the product of the ``lead`` axes before the last one."""
    before = x.ndim - 1 - lead
    return xp.reshape(x, (math.prod(x.shape[:before]), math.prod(x.shape[before:-1]), x.shape[-1]))


def _poles(xp: Any, x: Any) -> Modes:
    flat = double(xp, xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])))
    return Modes(xp, xp.real(flat), xp.imag(flat))


def log_vandermonde_complex(xp: Any, v: Any, x: Any, L: int) -> Any:
    return xp.reshape(_poles(xp, x).sums(_rows(xp, v, x.ndim - 1), L, real=False), (*v.shape[:-1], L))


def log_vandermonde(xp: Any, v: Any, x: Any, L: int) -> Any:
    return xp.reshape(2 * _poles(xp, x).sums(_rows(xp, v, x.ndim - 1), L), (*v.shape[:-1], L))


def log_vandermonde_complex_vjp(xp: Any, v: Any, x: Any, grad: Any, L: int) -> tuple[Any, Any]:
    lead = x.ndim - 1
    s0, s1 = _poles(xp, x).moments(conj(xp, _rows(xp, grad, lead)))
    return xp.reshape(xp.conj(s0), v.shape), xp.reshape(xp.sum(xp.conj(_rows(xp, v, lead) * s1), axis=0), x.shape)


def log_vandermonde_vjp(xp: Any, v: Any, x: Any, grad: Any, L: int) -> tuple[Any, Any]:
    return log_vandermonde_complex_vjp(xp, v, x, 2 * grad, L)


def log_vandermonde_transpose(xp: Any, u: Any, v: Any, x: Any, L: int) -> Any:
    lead = x.ndim - 1
    return xp.reshape(_rows(xp, v, lead) * _poles(xp, x).moments(_rows(xp, u, lead))[0], v.shape)


def _transpose_gradient(xp: Any, u: Any, v: Any, x: Any, grad: Any, L: int) -> tuple[Any, Any, Any]:
    lead, real = x.ndim - 1, not is_complex(xp, u)
    modes, v3, g = _poles(xp, x), _rows(xp, v, lead), double(xp, _rows(xp, grad, lead))
    s0, s1 = modes.moments(_rows(xp, u, lead))
    du = modes.sums(xp.conj(g) * v3, L, real)
    dx = xp.sum(g * xp.conj(v3 * s1), axis=0)
    return xp.reshape(conj(xp, du), u.shape), xp.reshape(g * xp.conj(s0), v.shape), xp.reshape(dx, x.shape)


log_vandermonde_transpose_complex = log_vandermonde_transpose
log_vandermonde_transpose_vjp = log_vandermonde_transpose_complex_vjp = _transpose_gradient


def broadcast_rows(xp: Any, a: Any, rows: tuple[int, ...]) -> Any:
    return xp.broadcast_to(a, (*rows, a.shape[-1]))


def broadcast_rows_vjp(xp: Any, a: Any, grad: Any, rows: tuple[int, ...]) -> tuple[Any]:
    return (grad,)
