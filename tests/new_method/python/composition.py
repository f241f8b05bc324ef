"""Exponential decay as array operations."""

from __future__ import annotations

from typing import Any

from ..._array_tools import arange


def _factors(xp: Any, x: Any, rate: Any) -> tuple[Any, Any]:
    """l and e^{-rate l}, (L,) and (H, L)."""
    l = xp.astype(arange(xp, x.shape[-1], x), x.dtype)
    return l, xp.exp(-rate[:, None] * l)


def decay_apply(xp: Any, x: Any, rate: Any) -> Any:
    return _factors(xp, x, rate)[1] * x


def decay_apply_vjp(xp: Any, x: Any, rate: Any, grad: Any) -> tuple[Any, Any]:
    l, factors = _factors(xp, x, rate)
    dx = factors * grad
    return dx, -xp.sum(l * x * dx, axis=(*range(x.ndim - 2), x.ndim - 1))
