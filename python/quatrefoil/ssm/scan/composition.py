"""Linear recurrences as array operations: log2 L rounds compose L, L/2, ... steps in pairs, and as many rounds fill in the states."""

from __future__ import annotations

from typing import Any

from ..._array_tools import complex_of, conj, double, imag, is_complex, real, two_product, two_sum, zeros


def _at(x: Any, axis: int, times: slice) -> Any:
    return x[(*[slice(None)] * axis, times, ...)]


def _every_other(x: Any, axis: int, first: int) -> Any:
    """Every second step, starting with ``first``; unchanged if constant in time."""
    return x if x.shape[axis] == 1 else _at(x, axis, slice(first, x.shape[axis], 2))


def _applied(xp: Any, a: Any, x: Any) -> Any:
    """The product a x, with 0 wherever x is 0, even if a (a product of coefficients) has overflowed."""
    return xp.where(x == 0, x, a * x)


class _Constant:
    """Powers 1, 2, 4, ... of a time-invariant coefficient, in double-double arithmetic because rounding errors accumulate."""

    def __init__(self, xp: Any, a: Any) -> None:
        self.xp, self.is_complex = xp, is_complex(xp, a)
        a = double(xp, a)
        self.re, self.im = ((part(xp, a), zeros(xp, a.shape, real(xp, a))) for part in (real, imag))

    def as_dtype_of(self, b: Any) -> Any:
        xp = self.xp
        return xp.astype(complex_of(xp, self.re[0], self.im[0]) if self.is_complex else self.re[0], b.dtype)

    def square(self) -> None:
        re = self._product(self.re, self.re)
        if self.is_complex:
            square = self._product(self.im, self.im)
            self.im = self._product((2 * self.re[0], 2 * self.re[1]), self.im)
            s, e = two_sum(re[0], -square[0])
            re = self._normalised(s, e + (re[1] - square[1]))
        self.re = re

    def _product(self, a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
        p, e = two_product(a[0], b[0])
        return self._normalised(p, e + (a[0] * b[1] + a[1] * b[0]))

    def _normalised(self, s: Any, e: Any) -> tuple[Any, Any]:
        """The sum as a normalised double-double; on overflow, only the high part is infinite."""
        total, e = two_sum(s, e)
        is_finite = self.xp.isfinite(e)
        return self.xp.where(is_finite, total, s), self.xp.where(is_finite, e, self.xp.zeros_like(e))


def _composed(xp: Any, a: Any, b: Any, start: Any, axis: int, constant: _Constant | None) -> Any:
    """h_t = a_t h_{t-1} + b_t; ``start`` has length 1 along ``axis``. Composing steps 2i and 2i + 1 gives every second state."""
    L = b.shape[axis]
    if L == 1:
        return b + _applied(xp, a, start)
    n = L // 2
    a0, a1, b0, b1 = (_every_other(x, axis, first) for x in (a, b) for first in (0, 1))
    if constant:
        constant.square()
        paired = constant.as_dtype_of(b)
    else:
        paired = a1 * _at(a0, axis, slice(0, n))
    odd = _composed(xp, paired, b1 + _applied(xp, a1, _at(b0, axis, slice(0, n))), start, axis, constant)
    before = xp.concat([start, _at(odd, axis, slice(0, L - n - 1))], axis=axis)
    even = b0 + _applied(xp, a0, before)
    h = xp.stack([_at(even, axis, slice(0, n)), odd], axis=axis + 1)
    h = xp.reshape(h, (*b.shape[:axis], 2 * n, *b.shape[axis + 1 :]))
    return xp.concat([h, _at(even, axis, slice(n, n + 1))], axis=axis) if L % 2 else h


def scan(xp: Any, a: Any, b: Any, start: Any, axis: int, reverse: bool = False) -> Any:
    """h_t = a_t h_{t-1} + b_t (1); a broadcasts to b. ``start`` has the shape of b without the axis, or is None for 0."""
    if 0 in b.shape:
        return b
    a = xp.reshape(a, (*[1] * (b.ndim - a.ndim), *a.shape))
    h0 = zeros(xp, (*b.shape[:axis], 1, *b.shape[axis + 1 :]), b) if start is None else xp.expand_dims(start, axis=axis)
    b = b + 0 * a  # a NaN in a propagates even from a zero state
    if reverse:
        a, b = (x if x.shape[axis] == 1 else xp.flip(x, axis=axis) for x in (a, b))
    h = _composed(xp, a, b, h0, axis, _Constant(xp, a) if a.shape[axis] == 1 < b.shape[axis] else None)
    return xp.flip(h, axis=axis) if reverse else h


def scan_adjoint(xp: Any, a: Any, b: Any, start: Any, grad: Any, axis: int, reverse: bool = False) -> tuple[Any, Any, Any, Any]:
    """Return the states, and the gradients with respect to a (in the shape of b), b and ``start`` (2), (3)."""
    if 0 in b.shape:
        return b, b, b, zeros(xp, (*b.shape[:axis], *b.shape[axis + 1 :]), b)
    a = conj(xp, xp.reshape(a, (*[1] * (b.ndim - a.ndim), *a.shape)))
    if reverse:
        a, b, grad = (x if x.shape[axis] == 1 else xp.flip(x, axis=axis) for x in (a, b, grad))
    h = scan(xp, conj(xp, a), b, start, axis)
    h0 = zeros(xp, (*b.shape[:axis], 1, *b.shape[axis + 1 :]), b) if start is None else xp.expand_dims(start, axis=axis)
    before = xp.concat([h0, _at(h, axis, slice(0, b.shape[axis] - 1))], axis=axis)
    first, L = _at(a, axis, slice(0, 1)), b.shape[axis]
    later = a if a.shape[axis] != L or L == 1 else xp.concat([_at(a, axis, slice(1, L)), first], axis=axis)
    mu = scan(xp, later, grad, None, axis, reverse=True)
    da, db, dstart = mu * conj(xp, before), mu, _at(first * _at(mu, axis, slice(0, 1)), axis, slice(0, 1))
    if reverse:
        h, da, db = (xp.flip(x, axis=axis) for x in (h, da, db))
    return h, da, db, xp.squeeze(dstart, axis=axis)


def linear_scan(xp: Any, a: Any, b: Any, h0: Any, reverse: bool, axis: int) -> Any:
    return scan(xp, a, b, h0, axis, reverse)


def linear_scan_vjp(xp: Any, a: Any, b: Any, h0: Any, grad: Any, reverse: bool, axis: int) -> tuple[Any, Any, Any]:
    _, da, db, dh0 = scan_adjoint(xp, a, b, h0, grad, axis, reverse)
    return da, db, None if h0 is None else dh0
