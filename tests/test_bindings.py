"""Direct calls to the compiled functions: invalid arguments raise an error before any memory is accessed.

``Op.infer`` defines which shapes are valid; the bindings make the same checks in C++ (csrc/core/host/shape_checker.hpp).
"""

import numpy as np
import pytest

import quatrefoil as qf
from case import build, call_with_adjoint, op_of, parametrize_ops, structures
from namespaces import forget_plans
from quatrefoil._backends import native

# Ops with Python kernels have no binding.
CASES = [(family, case) for family, case in structures() if op_of(family, case.op).policy.python_kernel is None]
pytestmark = pytest.mark.skipif(native.reason() is not None, reason="needs the compiled kernels")

OTHER = {
    "float32": ("float64", "complex64", "int64"),
    "float64": ("float32", "complex128", "int64"),
    "complex64": ("complex128", "float32"),
    "complex128": ("complex64", "float64"),
    "int64": ("float64", "bool"),
}


def recorded(family, case, rng, monkeypatch):
    """[(op, arguments)]: the kernel calls of an op and its adjoint."""
    calls, kernel_of = [], native.kernel

    def recording(op):
        kernel = kernel_of(op)

        def run(*arguments):
            calls.append((op, arguments))
            return kernel(*arguments)

        return run

    arguments, keywords = build(family, case, rng, "float32")
    with monkeypatch.context() as patch, qf.use_backend("native"):
        patch.setattr(native, "kernel", recording)
        forget_plans()
        call_with_adjoint(family, case, arguments, keywords, lambda i, y: np.ones_like(y))
        forget_plans()
    return calls


def misshapen(a):
    """Arrays with a longer axis, with one axis fewer, and with one axis more."""
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
    """Variants of an argument with one array changed: (argument, whether only a shape changed)."""
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


def fits(op, arguments, outputs):
    """Whether the op accepts these inputs and returns results with the shapes of these outputs."""
    options = arguments[len(op.inputs) + len(op.outputs) :][: len(op.options)]
    try:
        results = op.infer([shape(a) for a in op.flatten(arguments[: len(op.inputs)])], tuple(options))
    except ValueError:
        return False
    flat = (op.primal or op).flatten(outputs) if op.primal else outputs
    return results == [shape(a) for a in flat]


def check_rejects(op, *arguments):
    with pytest.raises((ValueError, TypeError), match=rf"^{op.key}: "):
        native.kernel(op)(*arguments)


def check_accepts(op, *arguments):
    """Check that no shape is rejected. Values may be, because changed arrays contain zeros."""
    try:
        native.kernel(op)(*arguments)
    except ValueError as error:
        if "has shape" in str(error):
            raise


def lone_precision(op):
    """The index of the argument that alone determines the precision; None if other arrays do too."""
    where = [i for i, a in enumerate((*op.inputs, *(o for o in op.outputs if o.has_gradient))) if a.dtype not in ("int", "bool", "double")]
    return where[0] if len(where) == 1 else None


def is_real(a):
    return isinstance(a, np.ndarray) and a.dtype in (np.float32, np.float64)


def other_arrays(op, arguments):
    """(index, changed argument, whether the call is still valid) for one changed argument at a time."""
    inputs, arrays = len(op.inputs), len(op.inputs) + len(op.outputs)
    for at, value in enumerate(arguments[:arrays]):
        is_input = at < inputs

        def legal(argument, at=at, is_input=is_input):
            return is_input and fits(op, (*arguments[:at], argument, *arguments[at + 1 :]), arguments[inputs:arrays])

        if value is None:
            if not is_input:
                yield at, np.zeros(3, np.float32), False
            continue
        any_precision = is_input and lone_precision(op) == at
        for other, only_shape in changed(value):
            if not (any_precision and is_real(other)):
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
def test_wrong_arguments_are_rejected(family, cases, rng, monkeypatch):
    """The bindings reject exactly the arguments that the Python rule rejects; the two are implemented separately."""
    for op, arguments in (call for case in cases for call in recorded(family, case, rng, monkeypatch)):
        others = list(other_arrays(op, arguments))
        by_dims = (op.primal or op).rule is None  # some rules leave the number of axes to the bindings
        for at, value in ((at, value) for at, value, is_right in others if is_right and by_dims):
            check_accepts(op, *arguments[:at], value, *arguments[at + 1 :])
        wrong = [(at, value) for at, value, is_right in others if not is_right]
        assert len(wrong) > 2 * len(op.inputs)
        options = len(op.inputs) + len(op.outputs)
        of_options = [(at, option, value) for at, option in enumerate(op.options, options) for value in WRONG_OPTIONS[option.type]]
        wrong += [(at, value) for at, option, value in of_options if (option.name, value) != ("seed", -1)]  # a seed may be any 64 bits
        wrong.append((len(arguments) - 1, "all"))  # num_threads
        for at, value in wrong:
            check_rejects(op, *arguments[:at], value, *arguments[at + 1 :])
        check_rejects(op, *arguments[:-1])
        check_rejects(op, *arguments, 1)
        check_rejects(op)
