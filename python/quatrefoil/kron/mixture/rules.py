"""Shape rules, checks of values, and conversion of numbers to arrays, shared by the ops of covariance functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import finite, is_number, number
from ..._dims import Shape, Sizes
from ..._spec import Arg, Op, Option, Policy

# A float64 sum of terms that may cancel, with exponentials and phases of a few radians; float32 arrays are computed in float64 too.
TOLERANCE = 2e-6


def _rule(inputs: tuple[Arg, ...]) -> Callable[..., Sequence[Shape | None]]:
    """The usual dims; the result is (N, M), with M = N without y."""

    def shapes_of(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> Sequence[Shape | None]:
        sizes = Sizes(label, 0, {})
        for arg, shape in zip(inputs, shapes):
            if shape is not None:
                sizes.match(arg.name, arg.dims, 0, shape)
        x, y = shapes[0], shapes[1]
        assert x is not None
        return [(x[0], (x if y is None else y)[0])]

    return shapes_of


_POSITIVE, _NONNEGATIVE = ("scale", "alpha", "period"), ("weights", "std")


def check_values(inputs: tuple[Arg, ...], label: str, arrays: Sequence[Any], options: tuple[Any, ...]) -> None:
    for arg, a in zip(inputs, arrays):
        finite(a, label, arg.name, positive=arg.name in _POSITIVE, nonnegative=arg.name in _NONNEGATIVE)


def op(name: str, inputs: tuple[Arg, ...], options: tuple[Option, ...] = ()) -> Op:
    return Op(
        __package__, name, inputs=inputs, outputs=(Arg("K", "N M"),), options=options,
        rule=_rule(inputs), tolerance=TOLERANCE, policy=Policy(check_values=partial(check_values, inputs)),
    )  # fmt: skip


def as_array(value: Any, x: Any, label: str, name: str, *, positive: bool) -> Any:
    """A number as an array of x's kind and dtype; an array unchanged."""
    if not is_number(value):
        return value
    checked = number(value, label, name, positive=positive)
    kind = _arrays.kind(x)
    if kind is None or _arrays.dtype_name(x) not in _arrays.REAL:
        return np.asarray(checked)  # the call will reject x
    return x.new_full((), checked) if kind == "torch" else _arrays.to_device_of(np.full((), checked, x.dtype), x)
