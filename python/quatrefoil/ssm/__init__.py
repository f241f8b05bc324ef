"""State-space convolution. H channels, L length; equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from .._dispatch import call, call_vjp
from .._spec import Arg, Family, Op, Option, Shape

__all__ = ["fft_conv", "fft_conv_vjp", "linear_scan", "linear_scan_vjp"]

Array = Any


def _scan_shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape]:
    a, b, h0 = shapes
    assert a is not None
    assert b is not None
    _, axis = options
    if not b:
        raise ValueError(f"{label}: b has no axes, expected at least one to scan along")
    if not 0 <= axis < len(b):
        raise ValueError(f"{label}: axis is out of range for b of shape {b}")
    if len(a) > len(b) or any(m not in (1, n) for m, n in zip(a[::-1], b[::-1])):
        raise ValueError(f"{label}: a has shape {a}, which does not broadcast to b's {b}")
    start = b[:axis] + b[axis + 1 :]
    if h0 is not None and h0 != start:
        raise ValueError(f"{label}: h0 has shape {h0}, expected {start}: b's shape without axis {axis}")
    return [b]


OPS = Family(
    Op(
        "ssm", "fft_conv",
        inputs=(Arg("u", "... H L"), Arg("k", "H Lk"), Arg("D", "H", optional=True), Arg("k_reverse", "H Lr", optional=True)),
        outputs=(Arg("y", "... H L"),),
        tolerance=5e-7,
    ),
    Op(
        "ssm", "linear_scan",
        inputs=(
            Arg("a", "...", broadcast=True, dtype="any"),
            Arg("b", "...", dtype="any"),
            Arg("h0", "...", optional=True, dtype="any"),
        ),
        outputs=(Arg("h", "...", dtype="any"),),
        options=(Option("reverse", bool), Option("axis", int)),
        rule=_scan_shapes,
        tolerance=2e-6,
    ),
)  # fmt: skip


def fft_conv(
    u: Array,
    k: Array,
    D: Array | None = None,
    *,
    k_reverse: Array | None = None,
    out: Array | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """Causal convolution of every channel with a kernel of its own, y_l = sum_{j<=l} k_{l-j} u_j + D u_l (1).

    Never circular: nothing wraps around, whatever L and Lk are. With ``k_reverse`` the future is seen too,
    + sum_{j>l} k_reverse_{j-l-1} u_j (2): its first tap has lag 1, as in state-spaces/s4, and it costs nothing more.

    Parameters
    ----------
    u : (..., H, L)
        Input; float32 or float64.
    k : (H, Lk)
        Kernel. Taps beyond L are not used; no taps (Lk = 0) give zeros.
    D : (H,), optional
        Skip connection.
    k_reverse : (H, Lr), optional
        Kernel of the anticausal half.
    out, backend, num_threads
        As everywhere in quatrefoil.

    Returns
    -------
    y : (..., H, L)

    Raises
    ------
    ValueError
        Shapes that do not fit.
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in u, k, D, k_reverse. Cost: O(L log L) a row by a right-angle FFT, 3 transforms of a length {3, 4, 5} 2^n >= L for
    a batch of one; memory 4 such lengths a thread. Error: at most 5e-7 of max|y| in float32, 1e-15 in float64. A NaN stays in its batch
    item and channel (within it, it may reach earlier times).
    """
    return call(OPS.fft_conv, (u, k, D, k_reverse), (), out, backend, num_threads)


def fft_conv_vjp(*inputs_and_grad: Array | None, backend: str | None = None, num_threads: int | None = None) -> tuple[Array, ...]:
    """Gradients of ``fft_conv``: ``(u, k[, D[, k_reverse]], grad)``, grad (..., H, L) -> (du, dk[, dD][, dk_reverse]) (3).

    One more transform a row than forward; the batch is summed in its order.
    """
    return call_vjp(OPS.fft_conv, inputs_and_grad, (), backend, num_threads)


def linear_scan(
    a: Array,
    b: Array,
    h0: Array | None = None,
    *,
    reverse: bool = False,
    axis: int = -1,
    out: Array | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """First-order linear recurrence h_t = a_t h_{t-1} + b_t along one axis (4).

    Parameters
    ----------
    a : broadcasts to b
        Coefficients, real or complex as b is.
    b : (..., L, ...)
        Inputs; float32, float64, complex64 or complex128.
    h0 : b's shape without ``axis``, optional
        State before the first step; 0 if absent.
    reverse : bool
        h_t = a_t h_{t+1} + b_t; h0 then enters at the end.
    axis : int
        The time axis.

    Returns
    -------
    h : b's shape

    Raises
    ------
    ValueError, TypeError
        Shapes that do not broadcast; dtypes other than those above, or mixed.

    Notes
    -----
    Differentiable in a, b, h0. Reads a and b once, writes h once; any length. Nothing is divided, so a = 0 (a reset) and underflow are
    exact. A NaN stays in its own scan, from its time on.
    """
    return call(OPS.linear_scan, (a, b, h0), (bool(reverse), _axis(axis, b)), out, backend, num_threads)


def linear_scan_vjp(
    *inputs_and_grad: Array | None, reverse: bool = False, axis: int = -1, backend: str | None = None, num_threads: int | None = None
) -> tuple[Array, ...]:
    """Gradients of ``linear_scan``: ``(a, b[, h0], grad)`` -> (da, db[, dh0]) (5), (6). The states are recomputed, not stored."""
    b = inputs_and_grad[1] if len(inputs_and_grad) > 2 else None
    return call_vjp(OPS.linear_scan, inputs_and_grad, (bool(reverse), _axis(axis, b)), backend, num_threads)


def _axis(axis: int, b: Array) -> int:
    try:
        at = operator.index(axis)
    except TypeError:
        raise TypeError(f"ssm.linear_scan: axis must be an integer, got {axis!r}") from None
    return at if at >= 0 else at + len(getattr(b, "shape", ()))
