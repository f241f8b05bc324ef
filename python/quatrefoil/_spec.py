"""What an op is: names, shapes, options. One small table a noun, gathered by its family; everything generic reads it.

A shape is a string of dims, capital letters as in the docstrings, ``"... H L"``: _dims.py says what may stand there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ._dims import Shape, Sizes

Rule = Callable[[str, Sequence[Shape | None], tuple[Any, ...]], Sequence[Shape | None]]
Check = Callable[[str, Sequence[Shape | None], tuple[Any, ...]], None]


@dataclass(frozen=True)
class Arg:
    """One array argument or result.

    ``many``: a sequence of arrays. ``broadcast``: its shape may be any that broadcasts; the rule of the op says to what. ``half``: float16
    and bfloat16 are taken too, computed in float32; a result that says so comes back in the half type of the argument that ``like`` names,
    or of the first. ``over``: a result that may lie in the memory of the argument ``like`` where the caller allows it (``IN_PLACE``), for
    the kernel reads a number before it writes there. ``when``: the option that asks for this result; without it there is none. ``title``:
    what errors call it where that is not its name. ``constant``: there is no gradient in it, as in integers; asking for one is an error.
    """

    name: str
    dims: str
    optional: bool = False
    many: bool = False
    broadcast: bool = False
    # or "complex"; "any" is either, the same one for all arguments that say so. One precision for all of these. "double": float64 whatever
    # the precision of the others; "int": int64; "bool"
    dtype: str = "real"
    half: bool = False
    constant: bool = False
    when: str | None = None
    like: str | None = None
    over: bool = False
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
    """What a kernel gets beside arrays and options, and may do without: a memo, or a user's function. No part of a call's signature.

    A ``Memo`` saves time and never changes a bit: where torch traces it is dropped, and the kernel makes its own. A function cannot be
    traced: where torch does, it is refused.
    """

    name: str
    function: bool = False


@dataclass(frozen=True, eq=False)
class Op:
    """An operation: arrays in, arrays out. Its adjoint, where it has one, is an op too, derived here and implemented like any other.

    ``module`` is the ``__name__`` of the module that makes it, ``quatrefoil.<family>.<noun>`` or one in that folder: it says where the
    kernels are, ``quatrefoil._core.<family>.<name>`` and ``quatrefoil.<family>.<noun>._numba.<name>``.

    With more than one output a call returns a tuple; an output that the options do not ask for is None for the kernel, the caller and the
    adjoint alike. A kernel is called with the inputs, the outputs, the options, the
    extras and num_threads, one after the other. The adjoint has the same options and extras.
    """

    module: str
    name: str
    inputs: tuple[Arg, ...]
    outputs: tuple[Arg, ...]
    options: tuple[Option, ...] = ()
    extras: tuple[Any, ...] = ()  # an Extra each; a bare name is a memo's
    differentiable: bool = True
    check: Check | None = None  # what dims cannot say; runs once they fit, raises ValueError
    # what a compiled kernel checks of its arrays' values, for the loops and compositions that replace it: (label, inputs, options)
    check_values: Callable[[str, Sequence[Any], tuple[Any, ...]], None] | None = None
    rule: Rule | None = None  # checks the inputs' shapes and gives the outputs', where these are no dims at all
    tolerance: float = 4e-7  # float32, relative to the largest value; float64 scales with eps
    # the kernel of every backend of the host where it is array code over NumPy and SciPy, which is told the backend
    host: Callable[..., Any] | None = None
    host_adjoint: Callable[..., Any] | None = None  # the adjoint's
    # the adjoint of the adjoint, made of other ops, for torch: (arrays of the adjoint, gradients of its results or None for 0, options,
    # backend, num_threads) -> gradients of those arrays, None for 0
    second: Callable[..., list[Any]] | None = None
    # of one shape per argument, a list of them for a sequence: whether a GPU's kernel leaves such arrays to the composition of the
    # library's own functions, where nobody names a backend
    declines: Callable[[Sequence[Any]], bool] | None = None
    float32_on_gpus: bool = False  # its kernels for GPUs are of single precision: double precision is composed there
    title: str | None = None  # what errors call it where that is not its name: one of the ops behind a function
    primal: Op | None = None
    plans: dict[Any, Any] = field(default_factory=dict, repr=False)
    adjoint: Op | None = field(init=False, repr=False)
    family: str = field(init=False)
    noun: str = field(init=False)
    twin: str = field(init=False, repr=False)  # the module of its Numba kernel
    # what every call asks for: made once
    key: str = field(init=False)  # "ssm.fft_conv"
    label: str = field(init=False)  # the same with the title
    single: bool = field(init=False, repr=False)  # the result is one array, not a sequence of which some may be absent
    many: int | None = field(init=False, repr=False)  # the index of the argument that is a sequence
    graded: tuple[int, ...] = field(init=False, repr=False)  # the indices of the results that the adjoint takes gradients of
    over: tuple[int | None, ...] = field(init=False, repr=False)  # of every result the index of the argument in whose memory it may lie

    def __post_init__(self) -> None:
        root, family, noun, *_ = self.module.split(".")
        object.__setattr__(self, "family", family)
        object.__setattr__(self, "noun", noun)
        object.__setattr__(self, "twin", f"{root}.{family}.{noun}._numba")
        object.__setattr__(self, "extras", tuple(Extra(e) if isinstance(e, str) else e for e in self.extras))
        object.__setattr__(self, "graded", tuple(i for i, o in enumerate(self.outputs) if o.has_gradient))
        names = [a.name for a in self.inputs]
        object.__setattr__(self, "over", tuple(names.index(o.like) if o.over and o.like else None for o in self.outputs))
        adjoint = None
        if self.differentiable and self.primal is None:
            results = [self.outputs[i] for i in self.graded]
            grads = tuple(
                Arg("grad" if len(results) == 1 else f"grad_{o.name}", o.dims, optional=i > 0, dtype=o.dtype, half=o.half)
                for i, o in enumerate(results)
            )
            adjoint = Op(
                self.module, f"{self.name}_vjp", self.inputs + grads,
                tuple(Arg(f"d{a.name}", a.dims, a.optional, a.many, a.broadcast, a.dtype, a.half, a.constant) for a in self.inputs),
                self.options, self.extras, differentiable=False, tolerance=5 * self.tolerance, host=self.host_adjoint, primal=self,
                check_values=self.check_values,
                declines=self.declines, float32_on_gpus=self.float32_on_gpus, title=self.title and f"{self.title}_vjp",
            )  # fmt: skip
        object.__setattr__(self, "adjoint", adjoint)
        object.__setattr__(self, "single", self.primal is None and len(self.outputs) == 1)
        object.__setattr__(self, "many", next((i for i, a in enumerate(self.inputs) if a.many), None))
        object.__setattr__(self, "key", f"{family}.{self.name}")
        object.__setattr__(self, "label", f"{family}.{self.title or self.name}")

    def titled(self, title: str) -> Op:
        """The same op behind another function, which its errors name."""
        return replace(self, title=title, plans={})

    def split(self, flat: Sequence[Any]) -> list[Any]:
        """Flat arrays -> one entry per argument, the sequence as a list."""
        if self.many is None:
            return list(flat)
        first, behind = self.span(len(flat))
        return [*flat[:first], list(flat[first:behind]), *flat[behind:]]

    def span(self, count: int) -> tuple[int, int]:
        """Where among ``count`` flat arrays the sequence begins and ends; (0, 0) where there is none."""
        return (0, 0) if self.many is None else (self.many, self.many + count - (len(self.inputs) - 1))

    def flatten(self, arguments: Sequence[Any]) -> list[Any]:
        """One entry per argument -> flat arrays."""
        at = self.many
        return list(arguments) if at is None else [*arguments[:at], *arguments[at], *arguments[at + 1 :]]

    def named(self, flat: Sequence[Any]) -> Iterator[tuple[str, Arg, int, Any]]:
        """(name, argument, number within a sequence, value) of every flat array."""
        for arg, value in zip(self.inputs, self.split(flat)):
            if arg.many:
                for i, item in enumerate(value):
                    yield f"{arg.name}[{i}]", arg, i + 1, item
            else:
                yield arg.title or arg.name, arg, 0, value

    def infer(self, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
        """Shapes of the flat inputs -> shapes of the flat outputs (None for what is not made), or ValueError."""
        if self.primal is None:
            return list(self.rule(self.label, shapes, options) if self.rule else self._from_dims(shapes, options))
        primal = self.primal
        count = len(shapes) - len(primal.graded)
        made = primal.infer(shapes[:count], options)
        results = [made[i] for i in primal.graded]
        for arg, expected, got in zip(self.inputs[len(primal.inputs) :], results, shapes[count:]):
            if got != expected:
                what = f"{expected}, the shape of the result" if expected is not None else "none: that result was not asked for"
                raise ValueError(f"{self.label}: {arg.name} {'is missing' if got is None else f'has shape {got}'}, expected {what}")
        # what is broadcast gets its gradient in the full shape; the dispatcher sums it
        full = results[0]
        return [
            None if s is None or not arg.has_gradient else full if arg.broadcast else s
            for (_, arg, _, _), s in zip(primal.named(shapes[:count]), shapes[:count])
        ]

    def _from_dims(self, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
        given = {o.name: value for o, value in zip(self.options, options)}
        sizes = Sizes(self.label, len(shapes) - len(self.inputs) + 1 if self.many is not None else 0, given)
        # the sequence first: it gives the other arguments their dims; last those with two batches, of which others say one
        entries = sorted(zip(self.named(shapes), shapes), key=lambda e: (not e[0][1].many, e[0][1].dims.count("...") > 1))
        for (name, arg, number, _), shape in entries:
            if shape is not None:
                sizes.match(name, arg.dims, number, shape)
        if self.check:
            self.check(self.label, shapes, options)
        return [None if o.when and not given[o.when] else sizes.shape(o.dims) for o in self.outputs]

    def likeness(self, output: Arg, arrays: Sequence[Any]) -> Any:
        """The argument whose half type that result takes."""
        return arrays[0] if output.like is None else next(x for name, _, _, x in self.named(arrays) if name == output.like)

    def makes(self, arrays: Sequence[Any], options: tuple[Any, ...]) -> list[bool]:
        """Which of the flat outputs a call with these flat arrays has."""
        if self.primal is not None:
            inputs = list(self.primal.named(arrays[: len(arrays) - len(self.primal.graded)]))
            return [array is not None and arg.has_gradient for _, arg, _, array in inputs]
        given = {o.name: value for o, value in zip(self.options, options)}
        return [not o.when or bool(given[o.when]) for o in self.outputs]


class Family:
    """The ops of one family, by name; adjoints included. Made once, in the family's ``__init__``, from its nouns' tables."""

    def __init__(self, module: str, *tables: Sequence[Op]) -> None:
        for op in (op for table in tables for op in table):
            setattr(self, op.name, op)
            if op.adjoint:
                setattr(self, op.adjoint.name, op.adjoint)
        FAMILIES.loaded[module.split(".")[1]] = self

    def __getattr__(self, name: str) -> Op:  # for type checkers: the ops are plain attributes, found before this is asked
        raise AttributeError(f"no op {name!r}; there are {', '.join(vars(self))}")

    def __iter__(self) -> Iterator[Op]:
        return iter(vars(self).values())


class _Families(Mapping[str, Family]):
    """The families by name. A family is imported when it is first looked up."""

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
