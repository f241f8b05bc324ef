"""The types of arrays in signatures. Type checkers need neither torch nor CuPy to read them.

``u: Array[T]`` is an array with u[...] of type T: a NumPy array, a torch tensor, a CuPy array or a JAX array, but not a list, number or
string. A result of type T has the same kind as the argument. T is the type of u[...], not of u, because some properties of u do not apply
to a result: the number of axes in NumPy's types, a subclass such as ``torch.nn.Parameter``.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Array(Protocol[T_co]):
    @property
    def ndim(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, index: EllipsisType, /) -> T_co: ...


class Convertible(Protocol):
    """An object that NumPy converts to an array, such as a data frame or a series."""

    def __array__(self) -> Any: ...


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import TypeVar as WithDefault

    T = WithDefault("T", bound="Array[Any]", default=NDArray[np.float64])  # the array type of a signature; if it has two, the real one
else:
    T = TypeVar("T", bound="Array[Any]")
Z = TypeVar("Z", bound="Array[Any]")  # the complex array type of a signature
AnyArray: TypeAlias = Array[Any]
Backend: TypeAlias = Literal["native", "cuda", "array", "numba"]
ArrayLike: TypeAlias = AnyArray | Convertible | Sequence[Any] | float  # an array, or a value that NumPy converts to one
Points: TypeAlias = Sequence[float] | Sequence[Sequence[float]]  # lists instead of an array of points
InputOrGrad: TypeAlias = Array[T] | Sequence[Array[T] | None] | None  # argument of an adjoint: an input, a list of inputs, or an absent one
