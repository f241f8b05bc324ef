"""Alternative argument shapes of a long convolution: a single row, a kernel shared by all channels, a kernel per item."""

from __future__ import annotations

import math
from typing import Any

from ... import _arrays


def is_usual(u: Any, k: Any, k_reverse: Any) -> bool:
    """Whether k is (H, Lk), or the arguments are invalid and the op itself reports the error."""
    if _arrays.kind(u) is None or _arrays.kind(k) is None:
        return True
    return bool(k.ndim == 2 and u.ndim > 1 and (k_reverse is None or getattr(k_reverse, "ndim", 2) == 2))


class Form:
    """Reshapes u, k, D and k_reverse for the op, and its results for the caller."""

    def __init__(self, label: str, u: Any, k: Any, D: Any, k_reverse: Any) -> None:
        self.u, self.k, self.D = u, k, D
        self._check(label, k_reverse)
        *self.lead, L = u.shape
        self.is_row, self.is_shared = u.ndim == 1, k.ndim == 1 < u.ndim
        if self.is_shared and D is None:
            self.shape: tuple[int, ...] = (math.prod(self.lead), 1, L)
        else:
            self.shape = (*self.lead[:-1], *(self.lead[-1:] or [1]), L) if self.is_shared or self.is_row else (math.prod(self.lead), L)
        self.arrays = (u.reshape(self.shape), self._taps(k), self._skip(), self._taps(k_reverse))

    def _check(self, label: str, k_reverse: Any) -> None:
        u, k, D = self.u, self.k, self.D
        if u.ndim == 0 or (k.ndim != 1 and (k.ndim != u.ndim or k.shape[:-1] != u.shape[:-1])):
            expected = "(Lk,), (H, Lk) or (..., H, Lk) with the leading axes of u"
            raise ValueError(
                f"{label}: k has shape {tuple(k.shape)} and u has shape {tuple(u.shape)}, expected u (L,) or (..., H, L) and k {expected}"
            )
        if k_reverse is not None and tuple(getattr(k_reverse, "shape", ()))[:-1] != tuple(k.shape[:-1]):
            shape = tuple(getattr(k_reverse, "shape", ()))
            raise ValueError(f"{label}: k_reverse has shape {shape}, expected the shape of k, {tuple(k.shape)}, except for the last axis")
        if D is not None and tuple(getattr(D, "shape", ())) != tuple(u.shape[:-1][-1:]):
            expected = f"({u.shape[-2]},), one number per channel" if u.ndim > 1 else "(), one number, because u has no channels"
            raise ValueError(f"{label}: D has shape {tuple(getattr(D, 'shape', ()))}, expected {expected}")

    def _taps(self, k: Any) -> Any:
        if k is None:
            return None
        if not (self.is_row or self.is_shared):
            return k.reshape((self.shape[0], k.shape[-1]))
        return k[None] if self.D is None or self.is_row else _arrays.namespace(k).broadcast_to(k, (self.lead[-1], k.shape[-1]))

    def _skip(self) -> Any:
        if self.D is None or self.is_shared:
            return self.D
        return self.D.reshape((1,)) if self.is_row else _arrays.namespace(self.D).broadcast_to(self.D, self.lead).reshape((self.shape[0],))

    def shaped_out(self, label: str, out: Any) -> Any:
        """``out`` as a view in the shape of the op's result."""
        kind = _arrays.kind(out)
        if kind is None:  # absent, or an error that the op reports
            return out
        if tuple(out.shape) != tuple(self.u.shape):
            raise ValueError(f"{label}: out has shape {tuple(out.shape)}, expected {tuple(self.u.shape)}")
        if kind != "jax" and not (out.is_contiguous() if kind == "torch" else out.flags.c_contiguous):
            raise ValueError(f"{label}: out must be C-contiguous and writeable")
        return out.reshape(self.shape)

    def gradients(self, results: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of u and k, and those of D and k_reverse if they are present."""
        du, dk, *others = results
        dD = [self._skip_gradient(others.pop(0))] if self.D is not None else []
        return du.reshape(self.u.shape), self._taps_gradient(dk), *dD, *map(self._taps_gradient, others)

    def _taps_gradient(self, dk: Any) -> Any:
        if self.is_row or (self.is_shared and self.D is None):
            return dk[0]
        return dk.sum(0) if self.is_shared else dk.reshape((*self.lead, dk.shape[-1]))

    def _skip_gradient(self, dD: Any) -> Any:
        if self.is_shared:
            return dD
        return dD.reshape(()) if self.is_row else dD.reshape((math.prod(self.lead[:-1]), self.lead[-1])).sum(0)
