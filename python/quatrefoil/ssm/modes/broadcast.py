"""Broadcasts all axes except the last, for rows that several items share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Backend

_KNOWN = _arrays.REAL + _arrays.COMPLEX


def _shape(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape]:
    (a,), (rows,) = shapes, options
    assert a is not None
    if len(a) - 1 > len(rows) or any(m not in (1, n) for m, n in zip(a[-2::-1], rows[::-1])):
        raise ValueError(f"{label}: a has shape {a}, expected leading axes that broadcast to {rows}")
    return [(*rows, a[-1])]


def _spread(a: np.ndarray, b: np.ndarray, rows: Any, num_threads: int, *, backend: Backend) -> None:
    b[...] = a


def _gather(a: np.ndarray, grad: np.ndarray, da: np.ndarray, rows: Any, num_threads: int, *, backend: Backend) -> None:
    da[...] = grad


# Unlike broadcast_to of NumPy or PyTorch, an op sums its gradient to the same bits in both libraries and for any number of threads.
BROADCAST_ROWS = Op(
    __name__, "broadcast_rows",
    inputs=(Arg("a", "... N", broadcast=True, dtype="any"),),
    outputs=(Arg("b", "... N", dtype="any"),),
    options=(Option("rows", "ints"),),
    rule=_shape,
    policy=Policy(python_kernel=_spread, python_adjoint=_gather),
)  # fmt: skip


def broadcast_rows(*arrays: Any) -> tuple[Any, ...]:
    """Broadcast all axes except the last. Arrays with incompatible axes are unchanged: the op that receives them reports the error."""
    rows = [tuple(getattr(a, "shape", ()))[:-1] for a in arrays]
    if len(set(rows)) == 1 or any(_arrays.kind(a) is None or a.ndim == 0 or _arrays.dtype_name(a) not in _KNOWN for a in arrays):
        return arrays
    try:
        common = tuple(np.broadcast_shapes(*rows))
    except ValueError:
        return arrays
    return tuple(a if r == common else call(BROADCAST_ROWS, (a,), (common,)) for a, r in zip(arrays, rows))


def per_channel(dt: Any, *arrays: Any) -> tuple[Any, ...]:
    """Broadcast modes (N,), shared by all channels, to (H, N), with H from the step sizes dt (H,). Other arrays are unchanged."""
    H = tuple(getattr(dt, "shape", ()))
    shared = (len(H) == getattr(a, "ndim", 0) == 1 and str(getattr(a, "dtype", "")).removeprefix("torch.") in _KNOWN for a in arrays)
    return tuple(call(BROADCAST_ROWS, (a,), (H,)) if is_shared else a for a, is_shared in zip(arrays, shared))


def call_vjp_per_channel(
    op: Op, arguments: Sequence[Any], options: tuple[Any, ...], backend: Any, num_threads: int | None
) -> tuple[Any, ...]:
    """``call_vjp`` for an op whose (H, N) arguments may have shape (N,)."""
    *inputs, grad = arguments
    dt = next((a for arg, a in zip(op.inputs, inputs) if arg.name == "dt"), None)
    wide = [per_channel(dt, a)[0] if arg.dims.endswith("H N") else a for arg, a in zip(op.inputs, inputs)]
    gradients = call_vjp(op, (*wide, *inputs[len(wide) :], grad), options, (), backend, num_threads)
    return tuple(gradient_of_rows(a, d) for a, d in zip((a for a in inputs if a is not None), gradients))


def gradient_of_rows(a: Any, gradient: Any) -> Any:
    """The gradient of an array, from that of its broadcast form."""
    rows = tuple(gradient.shape)[:-1]
    return gradient if tuple(a.shape)[:-1] == rows else call_vjp(BROADCAST_ROWS, (a, gradient), (rows,))[0]
