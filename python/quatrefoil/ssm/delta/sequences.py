"""Common parts of this method's ops: their definitions, shapes of packed sequences, and flash-linear-attention's keywords."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..._arguments import keywords, number
from ..._call import call, call_vjp, is_compiling, may_read_values
from ..._dims import Shape, Sizes
from ..._public import readable
from ..._spec import Arg, Op, Option, Policy, Rule
from ..._warnings import warn
from ..selective.index_arrays import ends_check, ends_of

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")

HINTS = {
    "head_first": "arrays must be (B, T, H, K): q.transpose(1, 2)",
    **dict.fromkeys(("gk", "gv"), "g (B, T, HV) has one decay per head; for one decay per key channel use chunk_kda"),
    **dict.fromkeys(("mask", "attention_mask"), "pack sequences of different lengths and pass cu_seqlens"),
}
_STATE = "B HV K V"  # with cu_seqlens, one state for each of the N sequences
HEADS, CHANNELS, VALUES = "B T HV", "B T HV K", "B T HV V"
# Arguments of flash-linear-attention that select its kernels without changing results.
_WITHOUT_EFFECT = ("safe_gate", "disable_recompute", "cu_seqlens_cpu", "chunk_indices", "chunk_size", "max_num_seqs")
_RENAMED = {"transpose_state_layout": "state_v_first"}
_UNSUPPORTED = {
    "cp_context": "a sequence cannot be split over devices",
    "return_intermediate_states": "only final states are returned; call again for parts of the sequence",
    "use_graph": "CUDA graphs are not used",
    "reverse": "reverse the tokens of all arrays instead",
}


def attention(module: str, name: str, gates: Mapping[str, str], options: tuple[Option, ...], *, optional: bool = False) -> Op:
    """The op with these gates and their dims; ``options`` come between scale and output_final_state."""
    inputs = (
        *[Arg(arg, "B T H K", half=True) for arg in ("q", "k")],
        Arg("v", "B T HV V", half=True),
        *[Arg(gate, dims, optional=optional, half=True) for gate, dims in gates.items()],
        Arg("initial_state", _STATE, optional=True, half=True),
        Arg("cu_seqlens", "N+1", optional=True, dtype="int"),
    )
    check_values = ends_check(len(inputs) - 1, 1, "must start with 0, never decrease, and end with the number of tokens")
    return Op(
        module, name, inputs,
        outputs=(Arg("o", "B T HV V", half=True), Arg("final_state", _STATE, only_if="output_final_state")),
        options=(Option("scale", float), *options, Option("output_final_state", bool)),
        rule=_shapes_of(inputs),
        policy=Policy(check_values=check_values, float32_on_gpus=True),
        tolerance=2e-6,
    )  # fmt: skip


def _shapes_of(inputs: Sequence[Arg]) -> Rule:
    def rule(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
        sizes = Sizes(label, 0, {})
        *others, initial_state, cu_seqlens = zip(inputs, shapes)
        packed = cu_seqlens[1] is not None
        state = _STATE.replace("B", "N") if packed else _STATE
        for (arg, shape), dims in [*[(pair, pair[0].dims) for pair in (*others, cu_seqlens)], (initial_state, state)]:
            if shape is not None:
                sizes.match(arg.name, dims, 0, shape)
        q, v = shapes[0], shapes[2]
        assert q is not None
        assert v is not None
        if packed and q[0] != 1:
            raise ValueError(f"{label}: q has shape {q}, expected batch size B = 1 with cu_seqlens")
        if v[2] % q[2] if q[2] else v[2]:
            raise ValueError(f"{label}: v has shape {v}, expected (B, T, HV, V) with HV a multiple of H = {q[2]} as in q")
        return [v, sizes.shape(state) if options[-1] else None]

    return rule


def gradients(
    op: Op, inputs_and_grad: Sequence[Any], scale: Any, options: tuple[Any, ...], backend: Any, num_threads: Any
) -> tuple[Any, ...]:
    """The gradients of an op whose last input is cu_seqlens."""
    label, arrays = f"{op.label}_vjp", [*inputs_and_grad] or [None]
    last = len(op.inputs) - 1
    if len(arrays) > last + 1:
        arrays[last] = ends_of(arrays[last], label, arrays[0], 1)
    factors = factor(scale, arrays[1] if len(arrays) > 1 else None, label)
    return call_vjp(op, arrays, (factors, *options), (), backend, num_threads)


def warn_of(q: Any, g: Any, initial_state: Any, label: str) -> None:
    """Warn about arrays that look like (B, H, T, K), and about decays passed in place of their logarithms, unless T < 2."""
    shape: tuple[int, ...] = tuple(getattr(q, "shape", ()))
    if len(shape) != 4 or shape[1] < 2 or is_compiling():
        return
    if shape[1] < shape[2] and initial_state is None:
        what = f"q has shape {shape}, more heads than tokens, expected (B, T, H, K)"
        warn(f"{label}: {what}; for inputs of shape (B, H, T, K) pass q.transpose(1, 2), and likewise k, v and the others")
    try:
        first = None if g is None else g[:, :16] if g.ndim > 2 else g  # 16 tokens are enough to notice
        grows = first is not None and 0 not in first.shape and may_read_values(first) and bool(first.min() > 0)
    except (AttributeError, RuntimeError, TypeError):  # not an array (the call reports it), or an array without values
        return
    if grows:
        what = "g is positive for all of the first tokens, so the state grows by a factor of e^g"
        warn(f"{label}: {what}; expected the logarithms of decays, such as log(g)")


def drop_in(op: Op) -> Callable[[Callable[Concatenate[Op, P], R]], Callable[P, R]]:
    """Bind a function's first argument to the op, and accept flash-linear-attention's other arguments.

    Arguments that only select kernels are ignored. Unsupported arguments raise an error unless they are None or False. Errors name the op.
    """

    def decorate(function: Callable[Concatenate[Op, P], R]) -> Callable[P, R]:
        bound: Any = functools.partial(readable(function), op)
        checked = keywords(op.label, **HINTS)(bound)

        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            for name in [name for name in options if name in _UNSUPPORTED or name in _WITHOUT_EFFECT]:
                value = options.pop(name)
                if name in _UNSUPPORTED and value is not None and value is not False:
                    raise ValueError(f"{op.label}: {name} is not supported: {_UNSUPPORTED[name]}")
            for old, name in [pair for pair in _RENAMED.items() if pair[0] in options]:
                if name in options:
                    raise ValueError(f"{op.label}: {old} is the old name of {name}; omit {old}")
                warn(f"{op.label}: {old} is deprecated; use {name}", DeprecationWarning)
                options[name] = options.pop(old)
            return checked(*arguments, **options)

        called.__signature__ = inspect.signature(bound)  # type: ignore[attr-defined]
        called.__annotations__ = {name: kind for name, kind in function.__annotations__.items() if name != "op"}
        return called

    return decorate


def attend(
    op: Op, arrays: Sequence[Any], scale: Any, initial_state: Any, output_final_state: Any, cu_seqlens: Any, options: tuple[Any, ...],
    state_v_first: bool, **how: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Call the op on ``arrays`` and initial_state. ``how``: out, backend, num_threads. With ``state_v_first``, states are (N, HV, V, K)."""
    q, k = arrays[:2]
    state = _swap_last_axes(initial_state) if state_v_first else initial_state
    inputs = (*arrays, state, ends_of(cu_seqlens, op.label, q, 1))
    o, last = call(op, inputs, (factor(scale, k, op.label), *options, bool(output_final_state)), (), **how)
    return o, _swap_last_axes(last) if state_v_first else last


def _swap_last_axes(state: Any) -> Any:
    """A view with the last two axes exchanged. When it is passed to the next call, exchanging them again restores the kernels' layout."""
    return state.swapaxes(-1, -2) if getattr(state, "ndim", 0) == 4 else state


def factor(scale: Any, k: Any, label: str) -> float:
    """The scale, by default 1 / sqrt(K)."""
    if scale is not None:
        return number(scale, label, "scale", negative=True)
    shape: tuple[int, ...] = getattr(k, "shape", ())
    return float(shape[-1]) ** -0.5 if len(shape) and shape[-1] else 1.0


def recurrent(op: Op, chunk: F) -> F:
    """The function ``chunk`` of an op under the name that flash-linear-attention uses for single steps, ``fused_recurrent_...``."""
    name = chunk.__name__.replace("chunk", "fused_recurrent")
    fused = drop_in(op.titled(name))(inspect.unwrap(chunk))
    first, _, rest = (inspect.getdoc(chunk) or "").replace(chunk.__name__, name).partition("\n")
    same = f"The same function as ``{chunk.__name__}``. To decode, call it with T = 1 and the last call's final state."
    fused.__doc__ = f"{first}\n\n{same}\n{rest}"
    fused.__name__ = fused.__qualname__ = name
    return fused  # type: ignore[return-value]
