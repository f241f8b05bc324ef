"""Compute gates from a layer's raw values, as flash-linear-attention does in its kernels: (26), (27) of csrc/ssm/delta/README.md.

The functions use each array library's own operations, so that PyTorch and JAX can differentiate them.
"""

from __future__ import annotations

import math
from typing import Any

from ... import _arrays
from ..._arguments import number
from ..._bind import check_device


def log_decays(label: str, g: Any, use_gate_in_kernel: bool, A_log: Any, dt_bias: Any, lower_bound: Any = None) -> Any:
    """(26): the logarithms of decays from raw values g (B, T, HV) or (B, T, HV, K)."""
    if not use_gate_in_kernel:
        for name, value in (("A_log", A_log), ("dt_bias", dt_bias)):
            if value is not None:
                raise ValueError(f"{label}: {name} has no effect without use_gate_in_kernel=True; omit it, or set use_gate_in_kernel=True")
        return g
    if A_log is None and lower_bound is None:
        raise ValueError(f"{label}: A_log is missing; use_gate_in_kernel=True requires it, unless lower_bound is passed")
    if _arrays.kind(g) is None or len(g.shape) < 3:
        return g  # the call reports the error
    xp, heads, x = _arrays.namespace(g), tuple(g.shape[2:]), _arrays.widen(g)
    if dt_bias is not None:
        x = x + _parameter(label, "dt_bias", dt_bias, x, heads)
    rate: Any = None if A_log is None else xp.exp(_parameter(label, "A_log", A_log, x, (heads[0], *(1 for _ in heads[1:]))))
    if lower_bound is None:
        return -rate * xp.logaddexp(x, xp.zeros_like(x))
    lowest = number(lower_bound, label, "lower_bound", negative=True)
    if lowest >= 0:
        raise ValueError(f"{label}: lower_bound is {lowest}, expected a negative number, the logarithm of a decay")
    return lowest * _sigmoid(xp, x if rate is None else rate * x)


def fractions(label: str, beta: Any, use_beta_sigmoid_in_kernel: bool, allow_neg_eigval: bool) -> Any:
    """(27): beta computed from raw values."""
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise ValueError(f"{label}: allow_neg_eigval=True requires use_beta_sigmoid_in_kernel=True, because it doubles that sigmoid")
    if not use_beta_sigmoid_in_kernel or _arrays.kind(beta) is None:
        return beta
    s = _sigmoid(_arrays.namespace(beta), _arrays.widen(beta))
    return 2 * s if allow_neg_eigval else s


def _sigmoid(xp: Any, x: Any) -> Any:
    """1 / (1 + e^-x), with full relative accuracy for any x."""
    return xp.exp(-xp.logaddexp(-x, xp.zeros_like(x)))


def _parameter(label: str, name: str, value: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """One value per head, or per head and channel, in any shape that a layer uses."""
    if _arrays.kind(value) != _arrays.kind(x):
        raise TypeError(f"{label}: {name} is {_arrays.describe(value)}, expected an array of the same library as g")
    check_device(label, name, value, "g", x)
    if math.prod(value.shape) != math.prod(shape):
        raise ValueError(f"{label}: {name} has shape {tuple(value.shape)}, expected {math.prod(shape)} numbers, of shape {shape}")
    value = _arrays.widen(value)
    if value.dtype != x.dtype:
        raise TypeError(f"{label}: {name} has dtype {_arrays.dtype_name(value)}, expected {_arrays.dtype_name(x)}, like g")
    return value.reshape(shape)
