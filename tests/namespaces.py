"""Run compositions of backend "array" in other namespaces: NumPy arrays go in and come out.

array-api-strict has only the functions of the standard, and rejects mixed devices. The arrays of a call are not on the default device,
so an array created without ``device=`` raises an error, as it would on a GPU.
"""

import contextlib

import numpy as np
import pytest

import quatrefoil as qf
from case import build, call_with_adjoint, exact, in_precision, op_of
from checks import check_numbers
from quatrefoil import _backends
from quatrefoil._spec import FAMILIES

array = _backends.array


def _strict():
    xp = pytest.importorskip("array_api_strict")
    device, host = xp.Device("device1"), xp.Device("CPU_DEVICE")
    return xp, lambda x: xp.asarray(x.copy(), device=device), lambda x: np.asarray(x.to_device(host))


def _torch():
    torch, xp = pytest.importorskip("torch"), pytest.importorskip("array_api_compat.torch")
    return xp, lambda x: torch.from_numpy(x.copy()), lambda x: x.resolve_conj().resolve_neg().numpy()


def mapped(kind, function, x):
    """Apply ``function`` to all objects of a type in nested lists and tuples."""
    if isinstance(x, (list, tuple)):
        return type(x)(mapped(kind, function, item) for item in x)
    return function(x) if isinstance(x, kind) else x


def forget_plans():
    for family in FAMILIES.values():
        for op in family:
            op.plans.clear()


@contextlib.contextmanager
def composing(name):
    """Let backend "array" compute in the namespace ``name``: NumPy arguments are converted to it, and results back to NumPy."""
    composition_of = array.kernel
    if name != "numpy":
        xp, convert, to_numpy = _strict() if name == "strict" else _torch()

        def converting(op):
            compute = composition_of(op)

            def run(_, *arguments):
                return mapped(object, lambda r: None if r is None else to_numpy(r), compute(xp, *mapped(np.ndarray, convert, arguments)))

            return compute and run

        array.kernel = converting
    forget_plans()  # plans store compositions
    try:
        with qf.use_backend("array"):
            yield
    finally:
        array.kernel = composition_of
        forget_plans()


def composed_ops():
    """The keys of all ops and adjoints that have a composition."""
    return {op.key for family in FAMILIES.values() for op in family if array.kernel(op)}


def check_composition(family, case, rng, namespace):
    """Compare the results and gradients of a composition with those of the host kernel, relative to their norm."""
    name, _, precision = namespace.partition("-")

    def composed(*arguments):
        with composing(name):
            return call_with_adjoint(family, case, *arguments)

    check_like_the_host(family, case, rng, precision or "float64", composed)


def check_like_the_host(family, case, rng, precision, call):
    """Like ``check_composition``, for any ``call(arguments, keywords, gradients of results)`` that returns (results, gradients)."""
    arguments, keywords = build(family, case, rng, precision)
    drawn = {}

    def grads(i, y):
        if i not in drawn:
            drawn[i] = np.asarray(rng.standard_normal(y.shape) + (1j * rng.standard_normal(y.shape) if np.iscomplexobj(y) else 0))
            drawn[i] = in_precision(family, case, [drawn[i]], {}, precision)[0][0]
        return drawn[i] if y.dtype in (np.float32, np.complex64) or precision == "float64" else exact(drawn[i])

    got = call(arguments, keywords, grads)
    wide = in_precision(family, case, arguments, keywords, "float64")  # the same values
    expected = call_with_adjoint(family, case, *wide, grads)
    op = op_of(family, case.op)
    check_numbers(op, got[0], expected[0], precision)
    check_numbers(
        op.adjoint, got[1], expected[1], precision,
        lambda: call_with_adjoint(family, case, *wide, lambda i, y: np.abs(z := grads(i, y)).astype(z.dtype))[1],
    )  # fmt: skip
