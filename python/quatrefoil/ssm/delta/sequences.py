"""What the ops of this noun share: shapes with sequences that are packed into one, and the keywords of flash-linear-attention."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..._arguments import number
from ..._dims import Shape, Sizes
from ..._spec import Arg, Rule

F = TypeVar("F", bound=Callable[..., Any])

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


def recurrent(chunk: F, compute: Callable[..., Any]) -> F:
    """``chunk`` under flash-linear-attention's name for single steps, ``fused_recurrent_...``: its signature and documentation, and
    ``compute``, whose errors say that name."""
    name = chunk.__name__.replace("chunk", "fused_recurrent")

    @functools.wraps(chunk)
    def fused(*arguments: Any, **options: Any) -> Any:
        return compute(*arguments, **options)

    first, _, rest = (inspect.getdoc(chunk) or "").replace(chunk.__name__, name).partition("\n")
    same = f"The same function as ``{chunk.__name__}``, for decoding too: a call with T = 1 and the last call's final state."
    fused.__doc__ = f"{first}\n\n{same}\n{rest}"
    fused.__name__ = fused.__qualname__ = name
    return fused  # type: ignore[return-value]
