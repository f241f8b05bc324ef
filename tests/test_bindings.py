"""The compiled functions called directly: whatever does not fit is refused before any memory is touched, argument by argument.

What fits, the op's own rule says (``Op.infer``); the bindings know the same by letters (csrc/core/host/fit.hpp).
"""

import numpy as np
import pytest

import quatrefoil as qf
from case import build, call_with_adjoint, op_of, parametrize_ops, structures
from quatrefoil._backends import native
from quatrefoil._spec import FAMILIES

CASES = [
    (family, case) for family, case in structures() if op_of(family, case.op).policy.python_kernel is None
]  # the others have no binding
pytestmark = pytest.mark.skipif(native.reason() is not None, reason="no native part")

OTHER = {
    "float32": ("float64", "complex64", "int64"),
    "float64": ("float32", "complex128", "int64"),
    "complex64": ("complex128", "float32"),
    "complex128": ("complex64", "float64"),
    "int64": ("float64", "bool"),
}


def recorded(family, case, rng, monkeypatch):
    """What the kernels of an op and of its adjoint are called with: (op, arguments)."""
    calls, find = [], native.kernel

    def kernel(op):
        found = find(op)

        def record(*given):
            calls.append((op, given))
            return found(*given)

        return record

    arguments, keywords = build(family, case, rng, "float32")
    with monkeypatch.context() as patch, qf.use_backend("native"):
        patch.setattr(native, "kernel", kernel)
        for each in FAMILIES[family]:  # an option or a dtype may choose another op than the one of that name
            each.plans.clear()
        call_with_adjoint(family, case, arguments, keywords, lambda i, y: np.ones_like(y))
        for each in FAMILIES[family]:
            each.plans.clear()
    return calls


def misshapen(a):
    """The array with an axis longer, an axis less, an axis more."""
    for axis in range(a.ndim):
        shape = list(a.shape)
        shape[axis] += 1
        yield np.zeros(shape, a.dtype)
    if a.ndim:
        yield np.zeros(a.shape[1:], a.dtype)
    yield np.zeros((1, *a.shape), a.dtype)
    yield np.zeros((2, *a.shape), a.dtype)


def mistyped(a):
    for dtype in OTHER[str(a.dtype)]:
        yield np.zeros(a.shape, dtype)
    yield from ("no array", [1.0])


def unwritable(a):
    frozen = a.copy()
    frozen.flags.writeable = False
    yield frozen
    if a.size > 1:
        yield np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[..., ::2]


def changed(value):
    """An argument, an array or a list of them, with one array changed: (the argument, whether its shape is all that changed)."""
    if not isinstance(value, list):
        yield from ((a, True) for a in misshapen(value))
        yield from ((a, False) for a in mistyped(value))
        return
    yield value[:-1], True
    yield [*value, value[-1]], True
    yield [*value[:-1], None], False
    for i, item in enumerate(value):
        yield from (([*value[:i], a, *value[i + 1 :]], only_shape) for a, only_shape in changed(item))


def shape(a):
    return None if a is None else a.shape


def fits(op, given, outputs):
    """Whether the op's rule takes these inputs and gives results of the shapes of these outputs."""
    options = given[len(op.inputs) + len(op.outputs) :][: len(op.options)]
    try:
        results = op.infer([shape(a) for a in op.flatten(given[: len(op.inputs)])], tuple(options))
    except ValueError:
        return False
    flat = (op.primal or op).flatten(outputs) if op.primal else outputs
    return results == [shape(a) for a in flat]


def refuse(op, *given):
    with pytest.raises((ValueError, TypeError), match=rf"^{op.key}: "):
        native.kernel(op)(*given)


def take(op, *given):
    """No shape is refused; numbers may be, as changed arrays hold zeros."""
    try:
        native.kernel(op)(*given)
    except ValueError as refused:
        if "has shape" in str(refused):
            raise


def lone_precision(op):
    """The place of the one argument that alone says in which precision the op computes; None where results or others say it too."""
    places = [i for i, a in enumerate((*op.inputs, *(o for o in op.outputs if o.has_gradient))) if a.dtype not in ("int", "bool", "double")]
    return places[0] if len(places) == 1 else None


def is_real(a):
    return isinstance(a, np.ndarray) and a.dtype in (np.float32, np.float64)


def other_arrays(op, given):
    """(place, argument, whether it fits the others) of arguments that are changed one at a time."""
    inputs, arrays = len(op.inputs), len(op.inputs) + len(op.outputs)
    for at, value in enumerate(given[:arrays]):
        is_input = at < inputs

        def legal(argument, at=at, is_input=is_input):
            return is_input and fits(op, (*given[:at], argument, *given[at + 1 :]), given[inputs:arrays])

        if value is None:
            if not is_input:
                yield at, np.zeros(3, np.float32), False
            continue
        free = is_input and lone_precision(op) == at  # float32 or float64, whatever the others are
        for other, only_shape in changed(value):
            if not (free and is_real(other)):
                yield at, other, only_shape and legal(other)
        if not is_input and not isinstance(value, list):
            yield from ((at, wrong, False) for wrong in unwritable(value))
        yield at, None, is_input and op.inputs[at].optional and legal(None)


WRONG_OPTIONS = {
    int: (-1, "no number"),
    str: ("no such name", 1),
    float: ("no number",),
    bool: ("yes",),
    "floats": ("none", (0.0,)),
    "ints": ("none", (0.5,), (99,), (-1,), (0, 0)),
}


@parametrize_ops(CASES)
def test_what_does_not_fit_is_refused(family, cases, rng, monkeypatch):
    """And what fits is taken: the rule in Python and that of the bindings are written apart."""
    for op, given in (call for case in cases for call in recorded(family, case, rng, monkeypatch)):
        others = list(other_arrays(op, given))
        by_dims = (op.primal or op).rule is None  # some rules leave ranks to the bindings
        for at, value in ((at, value) for at, value, is_right in others if is_right and by_dims):
            take(op, *given[:at], value, *given[at + 1 :])
        wrong = [(at, value) for at, value, is_right in others if not is_right]
        assert len(wrong) > 2 * len(op.inputs)
        options = len(op.inputs) + len(op.outputs)
        of_options = [(at, option, value) for at, option in enumerate(op.options, options) for value in WRONG_OPTIONS[option.type]]
        wrong += [(at, value) for at, option, value in of_options if (option.name, value) != ("seed", -1)]  # any 64 bits
        wrong.append((len(given) - 1, "all"))  # num_threads
        for at, value in wrong:
            refuse(op, *given[:at], value, *given[at + 1 :])
        refuse(op, *given[:-1])
        refuse(op, *given, 1)
        refuse(op)
