"""Test cases of the ops, and helpers that the suites share.

A case creates float64 or complex128 arguments, and the suite casts them. Cases and oracles are in the method's folder.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from quatrefoil import _backends
from quatrefoil._spec import FAMILIES

BACKENDS = [name for name in ("native", "numba") if _backends.reason(name) is None]  # on the host, the default first
# Numba compiles on the first call, which takes longer than the rest of a test.
first_backend_or_slow = pytest.mark.parametrize(
    "backend", [*BACKENDS[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in BACKENDS[1:])], indirect=True
)
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def has_loops(op):
    """Whether Numba has loops for an op; without them backend "numba" runs its composition."""
    return _backends.numba.kernel(op) is not None or op.policy.python_kernel is not None


def precisions(backend):
    """The precisions to test: only one on Numba, because compiling for a second one would take most of the time."""
    return [np.float32, np.float64] if backend == "native" else [np.float64]


@dataclass(frozen=True)
class Case:
    op: str  # its name in the family's table
    name: str
    make: Callable[[np.random.Generator], tuple[list[Any], dict[str, Any]]]  # -> positional arguments (None if absent), keywords
    # Makes modified positional arguments valid again; needed if the op does not accept all values.
    valid: Callable[[list[Any]], list[Any]] | None = None
    # Makes resized positional arguments valid again; needed if some of them are indices.
    fitted: Callable[[list[Any]], list[Any]] | None = None
    longest: int | None = None  # largest size of a letter in random calls, if larger sizes would lose all accuracy or take too long

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"


@functools.cache
def case_modules():
    """(family, module ``cases``) of every method with ops."""
    methods = dict.fromkeys((op.family, op.method) for family in FAMILIES.values() for op in family)
    return [(family, importlib.import_module(f"{family}.{method}.cases")) for family, method in methods]


@functools.cache
def all_cases():
    """All cases, as pairs (family, case)."""
    return [(family, case) for family, module in case_modules() for case in module.CASES]


def promised(name):
    """Parametrize over (family, op, promise): the entries of the table with that name in the ``cases`` modules."""
    promises = [(family, op, promise) for family, module in case_modules() for op, promise in getattr(module, name, {}).items()]
    return pytest.mark.parametrize(("family", "op", "promise"), promises, ids=[f"{family}.{op}" for family, op, _ in promises])


def chosen_cases(family, op, names):
    """The cases of an op by name; ``names`` are separated by spaces."""
    cases = [case for f, case in all_cases() if (f, case.op) == (family, op) and case.name in names.split()]
    assert len(cases) == len(names.split())
    return cases


def parametrize(cases):
    return pytest.mark.parametrize(("family", "case"), cases, ids=[f"{f}.{c}" for f, c in cases])


def by_op(cases):
    """Pairs (family, case) -> {(family, op): cases}."""
    of_op = {}
    for family, case in cases:
        of_op.setdefault((family, case.op), []).append(case)
    return of_op


def parametrize_ops(cases):
    """Parametrize over ops: each test receives a family and a list of cases of one op."""
    of_op = by_op(cases)
    return pytest.mark.parametrize(("family", "cases"), [(f, c) for (f, _), c in of_op.items()], ids=[f"{f}.{op}" for f, op in of_op])


def op_of(family, name):
    return getattr(FAMILIES[family], name)


def call_of(family, case, suffix=""):
    """The public function of an op or, if it has none, the function in the ``ops`` module of the family's tests."""
    module = importlib.import_module(op_of(family, case.op).module)
    name = case.op + suffix
    return getattr(module if hasattr(module, name) else importlib.import_module(f"{family}.ops"), name)


def vjp_of(family, case):
    return call_of(family, case, "_vjp")


def oracle_of(family, case):
    return getattr(importlib.import_module(f"{family}.{op_of(family, case.op).method}.oracle"), case.op)


def adjoint_arguments(op, arguments, keywords):
    """The (inputs, options) of the adjoint, from the arguments of a call."""
    inputs = [*arguments, *(keywords.get(a.name) for a in op.inputs[len(arguments) :])]
    return inputs, {name: value for name, value in keywords.items() if name not in {a.name for a in op.inputs}}


def call_with_adjoint(family, case, arguments, keywords, grads, convert=lambda x: x, to_numpy=lambda x: x):
    """(arrays of the result, arrays of the gradients). ``grads``: (index of a differentiable result, its array) -> its gradient.

    ``convert`` turns NumPy arrays into arrays of the library under test, and ``to_numpy`` turns them back.
    """
    op = op_of(family, case.op)
    result = to_numpy(call_of(family, case)(*convert(arguments), **{name: convert(x) for name, x in keywords.items()}))
    if op.adjoint is None:
        return arrays_of(result), []
    inputs, options = adjoint_arguments(op, arguments, keywords)
    grad = tuple(grads(i, y) for i, y in enumerate(differentiable_results(op, result)))
    options = {name: convert(x) for name, x in options.items()}
    grad = convert(grad if len(op.differentiable_outputs) > 1 else grad[0])
    gradients = to_numpy(vjp_of(family, case)(*convert(inputs), grad, **options))
    return arrays_of(result), list(flat(gradients))


def with_gradients(family, case, arguments, keywords, convert=lambda x: x, to_numpy=lambda x: x):
    """``call_with_adjoint`` with fixed gradients of the results."""

    def grad(i, y):
        return (np.arange(y.size) % 7 - 3.0).reshape(y.shape).astype(y.dtype)

    return call_with_adjoint(family, case, arguments, keywords, grad, convert, to_numpy)


def tolerance(op, precision):
    return op.tolerance * EPS[precision] / EPS["float32"]


class ShapesOnly(np.random.Generator):
    """The generator that ``zero_arguments`` passes to a case. A case that searches for points away from ties skips the search."""


@functools.cache
def zero_arguments(case):
    """The arguments and keywords of a case with all values 0, which take no memory. Used to choose among cases."""

    def zeros(x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(zeros, x))
        return np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x, np.ndarray) else x

    arguments, keywords = case.make(ShapesOnly(np.random.PCG64(0)))
    return [zeros(x) for x in arguments], {name: zeros(x) for name, x in keywords.items()}


def _structure(family, case):
    """(key, size) of a case, or None if an array is empty.

    Cases that differ only in sizes and values have the same key. The size is (number of axes of length 1, number of elements).
    """
    arguments, keywords = zero_arguments(case)
    names = [a.name for a in op_of(family, case.op).inputs]
    by_name = {**dict(zip(names, arguments)), **keywords}
    arrays = [(name, a) for name, x in by_name.items() for a in (x if isinstance(x, (list, tuple)) else [x]) if isinstance(a, np.ndarray)]
    options = sorted((name, x) for name, x in by_name.items() if isinstance(x, (bool, str)) or name == "order")  # order of derivatives
    size = [n for _, a in arrays for n in a.shape].count(1), sum(a.size for _, a in arrays)
    key = family, case.op, tuple((name, a.ndim, a.dtype.kind) for name, a in arrays), tuple(options)
    return (key, size) if all(a.size for _, a in arrays) else None


@functools.cache
def structures():
    """[(family, case)]: for each structure of each op, its smallest case, preferring cases with few axes of length 1.

    The structure of a call is everything that its path to a kernel may depend on: which arguments are present, their numbers of axes, and
    the options.
    """
    smallest = {}
    for family, case in all_cases():
        if structure := _structure(family, case):
            key, size = structure
            if key not in smallest or size < smallest[key][0]:
                smallest[key] = size, family, case
    return [(family, case) for _, family, case in smallest.values()]


@functools.cache
def simplest():
    """[(family, case)]: one case per op: the one named "small", or the smallest one, preferring few axes of length 1."""
    smallest = {}
    for family, case in all_cases():
        if structure := _structure(family, case):
            rank = case.name != "small", *structure[1]
            if (family, case.op) not in smallest or rank < smallest[family, case.op][0]:
                smallest[family, case.op] = rank, case
    return [(family, case) for (family, _), (_, case) in smallest.items()]


def build(family, case, rng, precision):
    return in_precision(family, case, *case.make(rng), precision)


def in_precision(family, case, arguments, keywords, precision):
    """The arguments and keywords of a call, with floating-point arrays converted to that precision."""
    dtypes = {"f": np.dtype(precision), "c": np.dtype({"float32": "complex64", "float64": "complex128"}[precision])}
    double = {a.name for a in op_of(family, case.op).inputs if a.dtype == "double"}
    names = [a.name for a in op_of(family, case.op).inputs]

    def cast(x):
        if isinstance(x, (list, tuple)) and x and isinstance(x[0], np.ndarray):
            return [cast(item) for item in x]
        return x.astype(dtypes[x.dtype.kind]) if isinstance(x, np.ndarray) and x.dtype.kind in "fc" else x

    positional = [x if name in double else cast(x) for name, x in zip(names, arguments)]
    return positional, {name: x if name in double else cast(x) for name, x in keywords.items()}


def exact(x):
    """The same values in double precision, for the oracle."""
    if type(x) in (list, tuple):
        return type(x)(map(exact, x))
    if isinstance(x, np.ndarray) and x.dtype.kind in "fc":
        return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    return x


def arrays_of(result):
    """The arrays of a result: a single one, or all that are present in a (nested) tuple."""
    return [a for r in result if r is not None for a in arrays_of(r)] if isinstance(result, tuple) else [result]


def scales(op, value):
    """The scale of rounding errors in each array of a result: its largest absolute value.

    Sums of squares about a mean also have errors from up to nine samples, each multiplied by the derivative 2 (sample - mean).
    """
    sizes = [max(np.abs(np.nan_to_num(a)).max(initial=0), np.finfo(np.float64).tiny) for a in arrays_of(value)]
    if [output.name for output in op.outputs[:2]] == ["mean", "m2"]:
        sizes[1] += 6 * sizes[1] ** 0.5 * sizes[0]
    return sizes


def differentiable_results(op, value):
    """The arrays of a result that have gradients."""
    results = arrays_of(value)
    return results if len(op.differentiable_outputs) == len(op.outputs) else [results[i] for i in op.differentiable_outputs]


def flat(arguments):
    for x in arguments:
        if isinstance(x, (list, tuple)):
            yield from flat(x)
        elif isinstance(x, np.ndarray) and x.dtype.kind in "fc":
            yield x


def complex_normal(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def perturbed(x, rng, eps):
    """The same values, each changed by a relative error of at most ``eps``."""
    if isinstance(x, (list, tuple)) and list(flat([x])):
        return type(x)(perturbed(a, rng, eps) for a in x)
    return x * (1 + eps * rng.uniform(-1, 1, x.shape)) if isinstance(x, np.ndarray) and x.dtype.kind in "fc" else x


def worst(got, expected):
    return float(np.abs(got - expected).max() / np.abs(expected).max())


LAYOUTS = {
    "reversed": lambda x: x[..., ::-1].copy()[..., ::-1],
    "fortran": np.asfortranarray,
    "stepped": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "read-only": lambda x: np.require(x.copy(), requirements="C"),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "shifted": lambda x: np.concatenate([np.zeros(3, x.dtype), x.ravel()])[3:].reshape(x.shape),
    "transposed": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1),
}
