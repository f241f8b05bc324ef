"""What the ops of this noun share: shapes with sequences that are packed into one, and the keywords of flash-linear-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import _arrays
from ..._arguments import integer_array, number
from ..._dims import Shape, Sizes
from ..._dispatch import may_look
from ..._spec import Arg, Rule

STATE = "B HV K V"  # with cu_seqlens: N sequences of a batch of one


def shapes_of(inputs: Sequence[Arg]) -> Rule:
    """The rule of an op whose last inputs are initial_state and cu_seqlens, and whose last option is output_final_state."""

    def rule(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
        sizes = Sizes(label, 0, {})
        *given, initial_state, cu_seqlens = zip(inputs, shapes)
        packed = cu_seqlens[1] is not None
        state = STATE.replace("B", "N") if packed else STATE
        for (arg, shape), dims in [*[(pair, pair[0].dims) for pair in (*given, cu_seqlens)], (initial_state, state)]:
            if shape is not None:
                sizes.match(arg.name, dims, 0, shape)
        q, v = shapes[0], shapes[2]
        assert q is not None
        assert v is not None
        if packed and q[0] != 1:
            raise ValueError(f"{label}: q has shape {q}, expected a batch of one, B = 1, with cu_seqlens")
        if v[2] % q[2] if q[2] else v[2]:
            raise ValueError(f"{label}: v has shape {v}, expected (B, T, HV, V) with HV a multiple of H = {q[2]} as in q")
        return [v, sizes.shape(state) if options[-1] else None]

    return rule


def factor(scale: Any, k: Any, label: str) -> float:
    """The scale; where none is given, 1 / sqrt(K)."""
    if scale is not None:
        return number(scale, label, "scale", negative=True)
    shape: tuple[int, ...] = getattr(k, "shape", ())
    return float(shape[-1]) ** -0.5 if len(shape) and shape[-1] else 1.0


def begins(cu_seqlens: Any, q: Any, label: str) -> Any:
    """cu_seqlens as int64; its numbers are looked at where that waits for nobody."""
    found = integer_array(cu_seqlens, label, "cu_seqlens")
    if found is None or len(found.shape) != 1 or _arrays.kind(q) is None or len(q.shape) < 2:
        return found  # of shapes more is said where all arrays are looked at
    at, tokens = _numbers(found), q.shape[1]
    if at is not None and (not at or at[0] != 0 or at[-1] != tokens or sorted(at) != at):
        expected = f"numbers that begin with 0, never fall, and end with the number of tokens, {tokens}"
        got = str(at) if len(at) < 20 else f"[{at[0]}, {at[1]}, ..., {at[-1]}]"
        raise ValueError(f"{label}: cu_seqlens is {got}, expected {expected}")
    return found


def _numbers(x: Any) -> list[int] | None:
    """None where they are not at hand: on a device, or in a tensor that stands for others. The kernel sees them all the same."""
    if not may_look(x):
        return None
    try:
        found: list[int] = x.tolist()
    except RuntimeError:
        return None
    return found
