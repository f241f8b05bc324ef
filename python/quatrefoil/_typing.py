"""What signatures call an array. Type checkers need neither torch nor CuPy to read it.

``u: Array[T]`` is an array with u[...] of type T: a NumPy array, a torch tensor, a CuPy array, a JAX array, and no list, number or string.
Where T is returned, the result is of the argument's own kind. u[...] and not u, because it leaves behind what a result need not share: the
number of axes in the types of NumPy, a subclass such as ``torch.nn.Parameter``.
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
    """A data frame, a series."""

    def __array__(self) -> Any: ...


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import TypeVar as WithDefault

    T = WithDefault("T", bound="Array[Any]", default=NDArray[np.float64])  # one kind of array in a signature, real where there are two
else:
    T = TypeVar("T", bound="Array[Any]")
Z = TypeVar("Z", bound="Array[Any]")  # the complex arrays beside them
AnyArray: TypeAlias = Array[Any]
Backend: TypeAlias = Literal["native", "cuda", "array", "numba"]
ArrayLike: TypeAlias = AnyArray | Convertible | Sequence[Any] | float  # an array, or what NumPy makes one of
Points: TypeAlias = Sequence[float] | Sequence[Sequence[float]]  # lists in place of an array of points
Given: TypeAlias = Array[T] | Sequence[Array[T] | None] | None  # to an adjoint: an input, a list of them, one that is absent
