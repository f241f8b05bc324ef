"""What every op is tested on, and what the suites share. A case makes float64 or complex128 arguments, the suite casts them; cases and
oracles lie in the noun's folder."""

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

BACKENDS = [name for name in ("native", "numba") if _backends.reason(name) is None]  # of the host, the default first
# on the others everything is compiled at its first call, which takes longer than the rest of the test
first_backend_or_slow = pytest.mark.parametrize(
    "backend", [*BACKENDS[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in BACKENDS[1:])], indirect=True
)
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def has_loops(op):
    """Whether Numba has loops for an op; without them backend "numba" runs its composition."""
    return _backends.numba.kernel(op) is not None or op.policy.python_kernel is not None


def precisions(backend):
    """Those that a test tries: compiling Numba's loops for a second one would be most of its time."""
    return [np.float32, np.float64] if backend == "native" else [np.float64]


@dataclass(frozen=True)
class Case:
    op: str  # its name in the family's table
    name: str
    make: Callable[[np.random.Generator], tuple[list[Any], dict[str, Any]]]  # -> positional arguments (None where absent), keywords
    # what moved arguments go through, where not all numbers are valid: positional arguments -> positional arguments
    valid: Callable[[list[Any]], list[Any]] | None = None
    # what arguments of other sizes go through, where some of their numbers are places in others: positional arguments -> the same
    fitted: Callable[[list[Any]], list[Any]] | None = None
    longest: int | None = None  # size that random calls may give a letter, where more would leave no digits or take too long

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"


@functools.cache
def case_modules():
    """(family, module) of every noun that has an op in the table."""
    nouns = dict.fromkeys((op.family, op.noun) for family in FAMILIES.values() for op in family)
    return [(family, importlib.import_module(f"{family}.{noun}.cases")) for family, noun in nouns]


@functools.cache
def all_cases():
    """(family, case) of every noun."""
    return [(family, case) for family, module in case_modules() for case in module.CASES]


def promised(name):
    """(family, op, what its module of cases promises under that name): parameters of a test."""
    promises = [(family, op, what) for family, module in case_modules() for op, what in getattr(module, name, {}).items()]
    return pytest.mark.parametrize(("family", "op", "promise"), promises, ids=[f"{family}.{op}" for family, op, _ in promises])


def chosen_cases(family, op, names):
    """The cases of an op that have these names, separated by spaces."""
    cases = [case for f, case in all_cases() if (f, case.op) == (family, op) and case.name in names.split()]
    assert len(cases) == len(names.split())
    return cases


def parametrize(cases):
    return pytest.mark.parametrize(("family", "case"), cases, ids=[f"{f}.{c}" for f, c in cases])


def by_op(cases):
    """{(family, op): its cases} of pairs (family, case)."""
    of_op = {}
    for family, case in cases:
        of_op.setdefault((family, case.op), []).append(case)
    return of_op


def parametrize_ops(cases):
    """Parametrize over ops: a test gets a family and the list of those cases that one op has."""
    of_op = by_op(cases)
    return pytest.mark.parametrize(("family", "cases"), [(f, c) for (f, _), c in of_op.items()], ids=[f"{f}.{op}" for f, op in of_op])


def op_of(family, name):
    return getattr(FAMILIES[family], name)


def call_of(family, case, suffix=""):
    """The function of the op, from the module that makes the op, or from the tests of the family."""
    module = importlib.import_module(op_of(family, case.op).module)
    name = case.op + suffix
    return getattr(module if hasattr(module, name) else importlib.import_module(f"{family}.ops"), name)


def vjp_of(family, case):
    return call_of(family, case, "_vjp")


def oracle_of(family, case):
    return getattr(importlib.import_module(f"{family}.{op_of(family, case.op).noun}.oracle"), case.op)


def adjoint_arguments(op, arguments, keywords):
    """(inputs, options): what the adjoint of a call takes before and after the gradients of the results."""
    inputs = [*arguments, *(keywords.get(a.name) for a in op.inputs[len(arguments) :])]
    return inputs, {name: value for name, value in keywords.items() if name not in {a.name for a in op.inputs}}


def call_with_adjoint(family, case, arguments, keywords, grads, there=lambda x: x, back=lambda x: x):
    """The arrays of a result, and of the gradients. ``grads`` maps the number of a graded result and its array to its gradient;
    ``there`` and ``back`` map NumPy arrays to those of the call, and back."""
    op = op_of(family, case.op)
    result = back(call_of(family, case)(*there(arguments), **{name: there(x) for name, x in keywords.items()}))
    if op.adjoint is None:
        return made(result), []
    inputs, options = adjoint_arguments(op, arguments, keywords)
    grad = tuple(grads(i, y) for i, y in enumerate(graded(op, result)))
    options = {name: there(x) for name, x in options.items()}
    gradients = back(vjp_of(family, case)(*there(inputs), there(grad if len(op.differentiable_outputs) > 1 else grad[0]), **options))
    return made(result), list(flat(gradients))


def with_gradients(family, case, arguments, keywords, there=lambda x: x, back=lambda x: x):
    """(arrays of the result, arrays of the gradients), for gradients of the results that are the same at each call."""

    def grad(i, y):
        return (np.arange(y.size) % 7 - 3.0).reshape(y.shape).astype(y.dtype)

    return call_with_adjoint(family, case, arguments, keywords, grad, there, back)


def tolerance(op, precision):
    return op.tolerance * EPS[precision] / EPS["float32"]


class ShapesOnly(np.random.Generator):
    """The generator that `outline` passes to a case: a case that looks for points clear of ties may take the first ones."""


@functools.cache
def outline(case):
    """Return arguments and keywords of the right shapes and dtypes that hold zeros and take no memory, to choose among cases."""

    def bare(x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(bare, x))
        return np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x, np.ndarray) else x

    arguments, keywords = case.make(ShapesOnly(np.random.PCG64(0)))
    return [bare(x) for x in arguments], {name: bare(x) for name, x in keywords.items()}


def _structure(family, case):
    """(what two cases that differ in sizes and numbers alone have in common, (axes of length 1, numbers) of this one); None if an array is
    empty."""
    arguments, keywords = outline(case)
    names = [a.name for a in op_of(family, case.op).inputs]
    given = {**dict(zip(names, arguments)), **keywords}
    arrays = [(name, a) for name, x in given.items() for a in (x if isinstance(x, (list, tuple)) else [x]) if isinstance(a, np.ndarray)]
    options = sorted((name, x) for name, x in given.items() if isinstance(x, (bool, str)) or name == "order")  # of derivatives
    size = [n for _, a in arrays for n in a.shape].count(1), sum(a.size for _, a in arrays)
    key = family, case.op, tuple((name, a.ndim, a.dtype.kind) for name, a in arrays), tuple(options)
    return (key, size) if all(a.size for _, a in arrays) else None


@functools.cache
def structures():
    """[(family, case)]: the smallest case of every structure of every op, one with few axes of length 1. A structure is which arguments are
    there, how many axes they have, and the options: what the way into a kernel may depend on."""
    found = {}
    for family, case in all_cases():
        if known := _structure(family, case):
            key, size = known
            if key not in found or size < found[key][0]:
                found[key] = size, family, case
    return [(family, case) for _, family, case in found.values()]


@functools.cache
def simplest():
    """[(family, case)]: one case of every op, that named "small" or a small one with few axes of length 1."""
    found = {}
    for family, case in all_cases():
        if known := _structure(family, case):
            rank = case.name != "small", *known[1]
            if (family, case.op) not in found or rank < found[family, case.op][0]:
                found[family, case.op] = rank, case
    return [(family, case) for (family, _), (_, case) in found.items()]


def build(family, case, rng, precision):
    return in_precision(family, case, *case.make(rng), precision)


def in_precision(family, case, arguments, keywords, precision):
    """The arguments and keywords of a call, floating-point arrays in that precision."""
    dtypes = {"f": np.dtype(precision), "c": np.dtype({"float32": "complex64", "float64": "complex128"}[precision])}
    double = {a.name for a in op_of(family, case.op).inputs if a.dtype == "double"}
    names = [a.name for a in op_of(family, case.op).inputs]

    def cast(x):
        if isinstance(x, (list, tuple)) and x and isinstance(x[0], np.ndarray):
            return [cast(item) for item in x]
        return x.astype(dtypes[x.dtype.kind]) if isinstance(x, np.ndarray) and x.dtype.kind in "fc" else x

    return (
        [x if name in double else cast(x) for name, x in zip(names, arguments)],
        {name: x if name in double else cast(x) for name, x in keywords.items()},
    )


def exact(x):
    """The same numbers in double precision: the oracle sees what the op saw."""
    if isinstance(x, list):
        return [exact(item) for item in x]
    if isinstance(x, np.ndarray) and x.dtype.kind in "fc":
        return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    return x


def made(result):
    """The arrays of a result: one, or those of a tuple, pairs of states included, that were asked for."""
    return [a for r in result if r is not None for a in made(r)] if isinstance(result, tuple) else [result]


def scales(op, value):
    """What rounding errors of each array of a result are relative to: its largest number; of sums of squares about a mean also what errors
    of up to nine samples make of them, which come in as 2 (sample - mean)."""
    sizes = [max(np.abs(np.nan_to_num(a)).max(initial=0), np.finfo(np.float64).tiny) for a in made(value)]
    if [output.name for output in op.outputs[:2]] == ["mean", "m2"]:
        sizes[1] += 6 * sizes[1] ** 0.5 * sizes[0]
    return sizes


def graded(op, value):
    """Of the arrays of a result those that have gradients."""
    results = made(value)
    return results if len(op.differentiable_outputs) == len(op.outputs) else [results[i] for i in op.differentiable_outputs]


def flat(arguments):
    for x in arguments:
        if isinstance(x, (list, tuple)):
            yield from flat(x)
        elif isinstance(x, np.ndarray) and x.dtype.kind in "fc":
            yield x


def complex_normal(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def nudged(x, rng, eps):
    """The same numbers, each within a rounding error of what it was."""
    if isinstance(x, (list, tuple)) and list(flat([x])):
        return type(x)(nudged(a, rng, eps) for a in x)
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
