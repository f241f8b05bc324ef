"""Tables of operations: names, shapes, options. Each method has a table, its family gathers the tables, and all generic code reads them.

A shape is a string of dims, capital letters as in the docstrings, ``"... H L"``; _dims.py defines the notation.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ._dims import Shape, Sizes

Rule = Callable[[str, Sequence[Shape | None], tuple[Any, ...]], Sequence[Shape | None]]
Check = Callable[[str, Sequence[Shape | None], tuple[Any, ...]], None]


@dataclass(frozen=True)
class Arg:
    """One array argument or result.

    ``sequence``: a sequence of arrays. ``broadcast``: any shape that broadcasts to the one that the op's rule returns. ``half``: float16
    and bfloat16 are accepted too and computed in float32; a result with ``half`` has the half type of the argument ``half_type_of``, or of
    the first. ``in_place_of``: the argument whose memory a result may reuse if the caller allows it (``IN_PLACE``), because the kernel
    reads each element before it overwrites it. ``only_if``: the option that requests this result; without it the result is absent.
    ``title``: its name in errors, if different. ``constant``: it has no gradient, like integers; requesting one raises an error.
    """

    name: str
    dims: str
    optional: bool = False
    sequence: bool = False
    broadcast: bool = False
    # "real", "complex", or "any": real or complex, the same for all "any" arguments. All arguments of these kinds have one precision.
    # "double": float64, independent of the others; "int": int64; "bool"
    dtype: str = "real"
    half: bool = False
    constant: bool = False
    only_if: str | None = None
    half_type_of: str | None = None
    in_place_of: str | None = None
    title: str | None = None

    @property
    def has_gradient(self) -> bool:
        return not self.constant and self.dtype not in ("int", "bool")


@dataclass(frozen=True)
class Option:
    """A keyword that is not an array; ``type`` is bool, int, float, str, ``"floats"`` or ``"ints"``."""

    name: str
    type: Any


@dataclass(frozen=True)
class Extra:
    """An optional argument of a kernel that is not part of a call's signature: a memo, or a user's function.

    A ``Memo`` saves time and never changes the bits of a result: tracing drops it, and the kernel computes its own. Tracing raises an error
    for a function.
    """

    name: str
    function: bool = False


@dataclass(frozen=True)
class Policy:
    """Settings of individual methods that differ from the default behaviour of the backends.

    ``python_kernel``, ``python_adjoint``: array code with NumPy and SciPy that serves as the kernel of every host backend and receives
    ``backend``. ``second_vjp``: the adjoint of the adjoint, composed of other ops, for torch and JAX: (arrays of the adjoint, gradients of
    its results or None for 0, options, backend, num_threads) -> gradients of those arrays, None for 0. ``check_values``: the checks of
    values in a compiled kernel, for the loops and compositions that replace it: (label, inputs, options). ``prefers_library``: receives one
    shape per argument (a list for a sequence); if it returns True, a GPU call without ``backend`` uses the composition.
    ``float32_on_gpus``: the GPU kernels have single precision only; double precision uses the composition.
    """

    python_kernel: Callable[..., Any] | None = None
    python_adjoint: Callable[..., Any] | None = None
    second_vjp: Callable[..., list[Any]] | None = None
    check_values: Callable[[str, Sequence[Any], tuple[Any, ...]], None] | None = None
    prefers_library: Callable[[Sequence[Any]], bool] | None = None
    float32_on_gpus: bool = False


@dataclass(frozen=True, eq=False)
class Op:
    """An operation: arrays in, arrays out. Its adjoint, if it has one, is an op too, derived here and implemented like any other.

    ``module`` is the ``__name__`` of the module that defines it, ``quatrefoil.<family>.<method>`` or a module in that folder. The kernels
    are ``quatrefoil._core.<family>.<name>``, and ``<name>`` in the ``loops`` and ``composition`` of the method.

    With several outputs a call returns a tuple. An output that the options do not request is None for the kernel, the caller and the
    adjoint. A kernel is called with the inputs, the outputs, the options, the extras and num_threads. The adjoint has the same
    options and extras.
    """

    module: str
    name: str
    inputs: tuple[Arg, ...]
    outputs: tuple[Arg, ...]
    options: tuple[Option, ...] = ()
    extras: tuple[Any, ...] = ()  # Extras; a bare name means a memo
    differentiable: bool = True
    check: Check | None = None  # conditions in addition to dims, checked after them; raises ValueError
    rule: Rule | None = None  # checks the inputs' shapes and returns the outputs' shapes, if dims cannot express them
    tolerance: float = 4e-7  # float32, relative to the largest value; float64 scales with eps
    policy: Policy = Policy()
    title: str | None = None  # its name in errors, if a function has several ops
    primal: Op | None = None
    plans: dict[Any, Any] = field(default_factory=dict, repr=False)
    adjoint: Op | None = field(init=False, repr=False)
    family: str = field(init=False)
    method: str = field(init=False)
    # derived once for all calls
    key: str = field(init=False)  # "ssm.fft_conv"
    label: str = field(init=False)  # the same with the title, for errors
    single: bool = field(init=False, repr=False)  # the result is one array, not a sequence with optional entries
    sequence_arg: int | None = field(init=False, repr=False)  # index of the argument that is a sequence
    differentiable_outputs: tuple[int, ...] = field(init=False, repr=False)  # results whose gradients the adjoint accepts
    in_place_of: tuple[int | None, ...] = field(init=False, repr=False)  # per result, the argument whose memory it may reuse

    def __post_init__(self) -> None:
        _, family, method, *_ = self.module.split(".")
        names = [a.name for a in self.inputs]
        differentiable = tuple(i for i, o in enumerate(self.outputs) if o.has_gradient)
        derived = dict(
            family=family, method=method, extras=tuple(Extra(e) if isinstance(e, str) else e for e in self.extras),
            key=f"{family}.{self.name}", label=f"{family}.{self.title or self.name}",
            single=self.primal is None and len(self.outputs) == 1,
            sequence_arg=next((i for i, a in enumerate(self.inputs) if a.sequence), None),
            differentiable_outputs=differentiable,
            in_place_of=tuple(names.index(o.in_place_of) if o.in_place_of else None for o in self.outputs),
            adjoint=self._adjoint([self.outputs[i] for i in differentiable]) if self.differentiable and self.primal is None else None,
        )  # fmt: skip
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def _adjoint(self, results: Sequence[Arg]) -> Op:
        grads = tuple(
            Arg("grad" if len(results) == 1 else f"grad_{o.name}", o.dims, optional=i > 0, dtype=o.dtype, half=o.half)
            for i, o in enumerate(results)
        )
        gradients = tuple(Arg(f"d{a.name}", a.dims, a.optional, a.sequence, a.broadcast, a.dtype, a.half, a.constant) for a in self.inputs)
        return Op(
            self.module, f"{self.name}_vjp", self.inputs + grads, gradients, self.options, self.extras, differentiable=False,
            tolerance=5 * self.tolerance, policy=replace(self.policy, python_kernel=self.policy.python_adjoint, second_vjp=None),
            title=self.title and f"{self.title}_vjp", primal=self,
        )  # fmt: skip

    def implementation(self, file: str) -> Callable[..., Any] | None:
        """This op's function in the method's ``loops`` or ``composition``, if there is one."""
        folder = ".".join(self.module.split(".")[:3])
        module = f"{folder}.{file}"
        if module not in sys.modules and not (hasattr(importlib.import_module(folder), "__path__") and importlib.util.find_spec(module)):
            return None
        return getattr(importlib.import_module(module), self.name, None)

    def titled(self, title: str) -> Op:
        """The same op under the name of a different function, for errors."""
        return replace(self, title=title, plans={})

    def split(self, flat: Sequence[Any]) -> list[Any]:
        """Flat arrays -> one entry per argument, the sequence as a list."""
        if self.sequence_arg is None:
            return list(flat)
        begin, end = self.span(len(flat))
        return [*flat[:begin], list(flat[begin:end]), *flat[end:]]

    def span(self, count: int) -> tuple[int, int]:
        """The start and end of the sequence among ``count`` flat arrays; (0, 0) without a sequence."""
        return (0, 0) if self.sequence_arg is None else (self.sequence_arg, self.sequence_arg + count - (len(self.inputs) - 1))

    def flatten(self, arguments: Sequence[Any]) -> list[Any]:
        """One entry per argument -> flat arrays."""
        at = self.sequence_arg
        return list(arguments) if at is None else [*arguments[:at], *arguments[at], *arguments[at + 1 :]]

    def named(self, flat: Sequence[Any]) -> Iterator[tuple[str, Arg, int, Any]]:
        """(name, argument, index, value) of every flat array.

        The index counts from 1 in the sequence and is 0 for other arguments.
        """
        for arg, value in zip(self.inputs, self.split(flat)):
            if arg.sequence:
                for i, item in enumerate(value):
                    yield f"{arg.name}[{i}]", arg, i + 1, item
            else:
                yield arg.title or arg.name, arg, 0, value

    def infer(self, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
        """Shapes of the flat inputs -> shapes of the flat outputs (None for absent ones), or ValueError."""
        if self.primal is None:
            return list(self.rule(self.label, shapes, options) if self.rule else self._from_dims(shapes, options))
        primal = self.primal
        count = len(shapes) - len(primal.differentiable_outputs)
        outputs = primal.infer(shapes[:count], options)
        results = [outputs[i] for i in primal.differentiable_outputs]
        for arg, expected, got in zip(self.inputs[len(primal.inputs) :], results, shapes[count:]):
            if got != expected:
                what = f"{expected}, the shape of the result" if expected is not None else "None, because that result was not requested"
                raise ValueError(f"{self.label}: {arg.name} {'is None' if got is None else f'has shape {got}'}, expected {what}")
        # gradients of broadcast arguments have the full shape; the caller sums them
        full = results[0]
        return [
            None if s is None or not arg.has_gradient else full if arg.broadcast else s
            for (_, arg, _, _), s in zip(primal.named(shapes[:count]), shapes[:count])
        ]

    def _from_dims(self, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
        values = {o.name: value for o, value in zip(self.options, options)}
        sizes = Sizes(self.label, len(shapes) - len(self.inputs) + 1 if self.sequence_arg is not None else 0, values)
        # The sequence comes first, because it determines dims of the other arguments. Arguments with two batches come last, because others
        # determine one of the batches.
        entries = sorted(zip(self.named(shapes), shapes), key=lambda e: (not e[0][1].sequence, e[0][1].dims.count("...") > 1))
        for (name, arg, number, _), shape in entries:
            if shape is not None:
                sizes.match(name, arg.dims, number, shape)
        if self.check:
            self.check(self.label, shapes, options)
        return [None if o.only_if and not values[o.only_if] else sizes.shape(o.dims) for o in self.outputs]

    def half_type_source(self, output: Arg, arrays: Sequence[Any]) -> Any:
        """The argument whose half type a result has."""
        like = output.half_type_of or output.in_place_of
        return arrays[0] if like is None else next(x for name, _, _, x in self.named(arrays) if name == like)

    def present_outputs(self, arrays: Sequence[Any], options: tuple[Any, ...]) -> list[bool]:
        """Which of the flat outputs are present in a call with these flat arrays."""
        if self.primal is not None:
            inputs = list(self.primal.named(arrays[: len(arrays) - len(self.primal.differentiable_outputs)]))
            return [array is not None and arg.has_gradient for _, arg, _, array in inputs]
        values = {o.name: value for o, value in zip(self.options, options)}
        return [not o.only_if or bool(values[o.only_if]) for o in self.outputs]


class Family:
    """The ops of one family by name, with adjoints. The family's package creates it from the tables of its methods."""

    def __init__(self, module: str, *tables: Sequence[Op]) -> None:
        for op in (op for table in tables for op in table):
            setattr(self, op.name, op)
            if op.adjoint:
                setattr(self, op.adjoint.name, op.adjoint)
        FAMILIES.loaded[module.split(".")[1]] = self

    def __getattr__(self, name: str) -> Op:  # for type checkers: ops are plain attributes, found before this is called
        raise AttributeError(f"no op {name!r}; available: {', '.join(vars(self))}")

    def __iter__(self) -> Iterator[Op]:
        return iter(vars(self).values())


class _Families(Mapping[str, Family]):
    """The families by name, imported when first looked up."""

    names = ("ssm", "kron", "cheb", "wos")

    def __init__(self) -> None:
        self.loaded: dict[str, Family] = {}

    def __getitem__(self, name: str) -> Family:
        if name not in self.names:
            raise KeyError(name)
        importlib.import_module(f"quatrefoil.{name}")
        return self.loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


FAMILIES = _Families()
