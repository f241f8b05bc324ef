"""The checks before a call: kinds, dtypes, shapes, results, ``out=``, extras. Nothing here runs a kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from . import _arrays
from ._memo import Memo
from ._spec import Arg, Extra, Op

Layout = tuple[Any, str] | None  # shape and dtype of a result; None for one that was not requested
# Passed as ``out``: a result may reuse the memory of its ``in_place_of`` argument, if the kernel can. The caller must check whether the
# result is the argument itself, and copy it back if not.
IN_PLACE: Any = object()


def check_arrays(op: Op, arrays: Sequence[Any]) -> tuple[str, list[str | None]]:
    """The kind of a call's arrays and the dtypes of its flat results; a TypeError names the invalid argument."""
    dtypes = [None if array is None else _check_dtype(op, name, arg, array, arrays) for name, arg, _, array in _required(op, arrays)]
    named = [(name, arg, dtype, array) for (name, arg, _, array), dtype in zip(op.named(arrays), dtypes) if dtype is not None]
    (first, _, _, leader), kind = named[0], str(_arrays.kind(named[0][3]))
    for name, _, _, array in named:
        other = _arrays.kind(array)
        if other != kind:
            kinds = f"{name} is a {other} array but {first} is a {kind} array"
            way = _arrays.moved(first, str(other)) if kind == "numpy" else _arrays.moved(name, kind)
            raise TypeError(f"{op.label}: {kinds}; all arrays of a call must be from one library; convert one of them: {way}")
    for name, _, _, array in named:
        check_device(op.label, name, array, first, leader)
    floating = [entry for entry in named if entry[1].dtype not in ("int", "bool", "double")]
    _check_precisions(op, floating)
    if op.primal is not None:
        return kind, dtypes[: len(dtypes) - len(op.primal.differentiable_outputs)]
    of_results = next((dtype for _, arg, dtype, _ in floating if arg.dtype == "any"), floating[0][2] if floating else "float64")
    return kind, [_arrays.in_precision(of_results, o.dtype) for o in op.outputs]


def check_device(label: str, name: str, array: Any, other: str, leader: Any) -> None:
    """Raise TypeError if two arrays are on different devices, or one is a meta tensor."""
    own, others = _arrays.device(array), _arrays.device(leader)
    if own != others:
        what = "tensors" if _arrays.kind(array) == "torch" else "arrays"
        raise TypeError(f"{label}: {name} is on {own} but {other} is on {others}; all {what} of a call must be on one device")


def check_location(label: str, name: str, array: Any, other: str, leader: Any) -> None:
    """Raise TypeError if an array is not on the device of the leader, or not of its kind."""
    if _arrays.location(array) != _arrays.location(leader):
        check_device(label, name, array, other, leader)
        raise TypeError(f"{label}: {name} is {_arrays.describe(array)} but {other} is {_arrays.describe(leader)}")


def _required(op: Op, arrays: Sequence[Any]) -> list[Any]:
    named = list(op.named(arrays))
    for name, arg, _, array in named:
        if array is None and not arg.optional:
            raise TypeError(f"{op.label}: {name} is None, expected an array")
    return named


def _check_dtype(op: Op, name: str, arg: Arg, array: Any, arrays: Sequence[Any]) -> str:
    allowed = (*_arrays.ALLOWED[arg.dtype], *(_arrays.HALF if arg.half else ()))
    kind = _arrays.kind(array)
    if kind == "jax" and arg.dtype == "int":
        allowed = ("int64", "int32")  # JAX has only int32 without jax_enable_x64
    if kind is None:
        expected = f"a NumPy, PyTorch, CuPy or JAX array of {' or '.join(allowed)}"
        fix = _fix(arg, name, array, arrays)
        raise TypeError(f"{op.label}: {name} is {_arrays.describe(array)}, expected {expected}; convert it: {fix}")
    if _arrays.layout(array) != "strided":
        raise TypeError(f"{op.label}: {name} is a tensor of layout {_arrays.layout(array)}, expected a dense one")
    dtype = _arrays.dtype_name(array)
    if dtype not in allowed:
        fix = _fix(arg, name, array, arrays)
        raise TypeError(f"{op.label}: {name} has dtype {dtype}, expected {' or '.join(allowed)}; convert it: {fix}")
    return dtype


def _fix(arg: Arg, name: str, array: Any, arrays: Sequence[Any]) -> str:
    """The code that converts an array to a dtype that this argument accepts, with the kind and precision of the other arrays."""
    others = [a for a in arrays if a is not array and _arrays.kind(a) is not None]
    like = next((dtype for dtype in map(_arrays.dtype_name, others) if dtype in _arrays.REAL + _arrays.COMPLEX), "float64")
    wanted = arg.dtype if arg.dtype != "any" else "complex" if _arrays.is_complex(array) else "real"
    return _arrays.converted(array, name, _arrays.in_precision(like, wanted), next(map(_arrays.kind, others), None))


def _check_precisions(op: Op, floating: Sequence[tuple[str, Arg, str, Any]]) -> None:
    """Check that all arrays have one precision (half is treated as single), and that "any" arguments are all real or all complex. The error
    names an array of the less frequent precision, or the later one if both are equally frequent."""
    precisions = [_arrays.in_precision(dtype, "real") for _, _, dtype, _ in floating]
    if len(set(precisions)) > 1:
        right = max(precisions, key=precisions.count)  # the first of two equally frequent ones
        other, _, others, _ = floating[precisions.index(right)]
        name, arg, dtype, array = next(f for f, precision in zip(floating, precisions) if precision != right)
        expected = [_arrays.in_precision(right, d) for d in (("real", "complex") if arg.dtype == "any" else (arg.dtype,))]
        expected += _arrays.HALF if arg.half and right == "float32" else ()
        fix = _arrays.converted(array, name, expected["complex" in dtype and len(expected) > 1])
        wanted = f"expected {' or '.join(expected)}; convert it: {fix}"
        raise TypeError(f"{op.label}: {name} has dtype {dtype} but {other} has {others}; {wanted}")
    either = [(name, _arrays.wide(dtype), dtype, array) for name, arg, dtype, array in floating if arg.dtype == "any"]
    for name, wide, dtype, array in either:
        if wide != either[0][1]:
            fix = f"expected {either[0][1]}; convert it: {_arrays.converted(array, name, either[0][1])}"
            raise TypeError(f"{op.label}: {name} has dtype {dtype} but {either[0][0]} has {either[0][2]}; {fix}")


def layout(op: Op, arrays: Sequence[Any], options: tuple[Any, ...]) -> tuple[str, list[Layout]]:
    """The kind of a call's arrays, and the shape and dtype of each of its flat results; raises an error if the call is invalid."""
    kind, dtypes = check_arrays(op, arrays)
    shapes = [None if a is None else tuple(a.shape) for a in arrays]
    try:
        results = op.infer(shapes, options)
    except ValueError as error:
        raise ValueError(f"{error}{_hint(op, shapes, arrays, options)}") from None
    return kind, [None if s is None or d is None else (s, d) for s, d in zip(results, dtypes)]


def _hint(op: Op, shapes: Sequence[Any], arrays: Sequence[Any], options: tuple[Any, ...]) -> str:
    """Suggest a change that makes the call valid: swap two axes of one array, of all arrays of the same shape, or of all arrays with at
    least three axes; add a first axis, or remove one of length 1, in one array or in all arrays of the same shape."""
    names = [name for name, *_ in op.named(arrays)]
    for shape in dict.fromkeys(s for s in shapes if s is not None):
        alike = [i for i, s in enumerate(shapes) if s == shape]
        for other, text in _other_forms(shape):
            for indices in (alike, *([i] for i in alike)):
                with contextlib.suppress(ValueError):
                    op.infer([other if i in indices else s for i, s in enumerate(shapes)], options)
                    return f"; the call would be valid with {', '.join(f'{names[i]}{text}' for i in indices)}"
    many = {i: next(_other_forms(s)) for i, s in enumerate(shapes) if s is not None and len(s) > 2}
    with contextlib.suppress(ValueError):
        op.infer([many[i][0] if i in many else s for i, s in enumerate(shapes)], options)
        return f"; the call would be valid with {', '.join(f'{names[i]}{text}' for i, (_, text) in many.items())}"
    return ""


def _other_forms(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    if len(shape) > 1:
        one, other = (1, 2) if len(shape) > 3 else (-1, -2)
        swapped = list(shape)
        swapped[one], swapped[other] = shape[other], shape[one]
        yield tuple(swapped), f".swapaxes({one}, {other})"
    yield (1, *shape), "[None]"
    for axis in (i for i, n in enumerate(shape) if n == 1):
        yield shape[:axis] + shape[axis + 1 :], f".squeeze({axis})"


def takes_half(op: Op, arrays: Sequence[Any]) -> bool:
    """Whether some of these are float16 or bfloat16 arrays, and the op accepts half precision for all of them."""
    halves = [arg.half for (_, arg, _, _), a in zip(op.named(arrays), arrays) if _arrays.is_half(a)]
    return bool(halves) and all(halves)


def narrowed(op: Op, arrays: Sequence[Any], result: Any) -> Any:
    """Convert results of a float32 computation to the caller's half types: a gradient to its input's type, a result to that of its
    ``half_type_of`` argument or of the first array."""
    if op.single:
        return _arrays.narrow(result, arrays[0]) if op.outputs[0].half else result
    like = arrays if op.primal else [op.half_type_source(o, arrays) if o.half else None for o in op.outputs]
    return tuple(map(_arrays.narrow, result, like))


def all_extras(op: Op, extras: Any) -> tuple[Any, ...]:
    """Return one extra for each that the op declares, all None if none are passed; raise TypeError if the number is wrong."""
    if isinstance(extras, (tuple, list)) and len(extras) in (0, len(op.extras)):
        return tuple(extras) or (None,) * len(op.extras)
    names = ", ".join(e.name for e in op.extras) or "none"
    got = f"a tuple of {len(extras)}" if isinstance(extras, (tuple, list)) else type(extras).__name__
    raise TypeError(f"{op.label}: expected extras ({names}) as a tuple, got {got}")


def for_kernel(op: Op, extras: Sequence[Any], backend: str, arrays: Sequence[Any]) -> list[Any]:
    """The extras for a kernel of that backend: functions unchanged, the values of memos that match this call, None for other memos."""
    return [
        None if value is None else value.value_for(backend, arrays) if isinstance(value, Memo) else _function(op, extra, value)
        for extra, value in zip(op.extras, extras)
    ]


def _function(op: Op, extra: Extra, value: Any) -> Any:
    if not extra.function:
        raise TypeError(f"{op.label}: {extra.name} is {type(value).__name__}, expected a Memo or None")
    return value


def reject_functions(op: Op, extras: Sequence[Any], tracer: str = "torch.compile, torch.func and fake tensors") -> None:
    """Raise TypeError for a function, which a compiler cannot trace."""
    for extra, value in zip(op.extras, extras):
        if value is not None and not isinstance(value, Memo):
            _function(op, extra, value)
            raise TypeError(f"{op.label}: {extra.name} is a function, which {tracer} cannot trace; call {op.label} eagerly")


def finish(op: Op, arrays: Sequence[Any], results: list[Any]) -> Any:
    """The result of the call: one array, a tuple of arrays, or gradients summed over broadcast axes."""
    if op.primal is None:
        return results[0] if op.single else tuple(results)
    for i, (_, arg, _, array) in enumerate(op.primal.named(arrays[: len(results)])):
        if arg.broadcast and results[i] is not None:
            results[i] = _arrays.sum_to_shape(results[i], array.shape)
    return results


def one_result(op: Op, layout: Sequence[Any]) -> None:
    if any(r is not None for r in layout[1:]):
        raise TypeError(f"{op.label}: out= is only for calls that return one array, but this call returns several")


def reject_jax(op: Op, kind: str) -> None:
    if kind == "jax":
        raise TypeError(f"{op.label}: out= does not accept JAX arrays, which are immutable; omit it")


def check_out(op: Op, out: Any, shape: Any, dtype: Any, arrays: Sequence[Any], kind: str = "numpy") -> None:
    """Check that ``out=`` is like the array that the call would allocate, and shares no memory with an input."""
    reject_jax(op, kind)
    if _arrays.kind(out) != kind:
        wanted = "NumPy" if kind == "numpy" else "CuPy"
        raise TypeError(f"{op.label}: out is {_arrays.describe(out)}, expected a {wanted} array like the inputs")
    if (out.dtype if kind == "numpy" else _arrays.dtype_name(out)) != dtype:
        raise TypeError(f"{op.label}: out has dtype {out.dtype}, expected {dtype}")
    if out.shape != shape:
        raise ValueError(f"{op.label}: out has shape {out.shape}, expected {shape}")
    if not out.flags.c_contiguous or not getattr(out.flags, "writeable", True):  # CuPy arrays are always writeable
        raise ValueError(f"{op.label}: out must be C-contiguous and writeable")
    may_share_memory = _arrays.namespace_of(kind).may_share_memory
    for name, _, _, array in op.named(arrays):
        if array is not None and may_share_memory(out, array):
            raise ValueError(f"{op.label}: out shares memory with {name}; pass a separate array")
