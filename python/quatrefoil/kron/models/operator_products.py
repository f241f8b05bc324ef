"""A Kronecker product as a SciPy linear operator: its factors, and products with them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import numpy as np

from ... import _arguments, _arrays, _backends, _bind
from ..._call import call
from ..._spec import Arg, Op
from ..._typing import AnyArray, Array, Backend, T
from ..product import MATVEC, RMATVEC
from ..product.packed import memos
from .factorisation import Factorisation

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as Base
else:
    Base = object

_DOUBLE = np.dtype(np.float64)

# Checks the factors as the arguments of a call; never run.
_PARTS = Op(__name__, "KroneckerOperator", (Arg("factors", "m_ n_", sequence=True),), (Arg("K", "m_x n_x"),), differentiable=False)


P = TypeVar("P", bound="Products")
_classes: dict[type, type] = {}


class Products(Base):  # type: ignore[misc]
    """The constructor and the products of ``KroneckerOperator``."""

    @_arguments.keywords(
        "KroneckerOperator",
        "pass the factors as one list, KroneckerOperator([K1, K2]), and noise to the methods: K.solve(y, noise=0.1)",
        noise="pass noise to the methods: K.solve(y, noise=0.1), K.logdet(noise=0.1)",
    )
    def __init__(self, factors: Sequence[AnyArray], *, backend: Backend | None = None, num_threads: int | None = None) -> None:
        if backend is not None:
            _backends.check_name(backend, "KroneckerOperator")
        if num_threads is not None:
            num_threads = _arguments.threads(num_threads, "KroneckerOperator")
        matrices = _arguments.sequence(factors, "KroneckerOperator")
        kind, _ = _bind.layout(_PARTS, matrices, ())
        self._keep(tuple(map(copied, matrices)), kind, backend, num_threads)

    def _keep(self, factors: tuple[Any, ...], kind: str, backend: Backend | None, num_threads: int | None) -> None:
        """Sets the state; ``factors`` are private copies."""
        self._factors, self._kind, self._backend, self._num_threads = factors, kind, backend, num_threads
        self._kernel, (self._forward, self._backward) = (backend, num_threads), memos(len(factors))
        self._transposed: Self | None = None
        self._factorised: Factorisation | None = None
        self._mapped: tuple[list[int], Factorisation] | None = None
        self._dtype = factors[0].dtype
        sizes = [tuple(f.shape) for f in factors]
        super().__init__(_arrays.dtype_name(factors[0]), (math.prod([m for m, _ in sizes]), math.prod([n for _, n in sizes])))
        self._row = self.shape[1:]

    def _with_factors(self, factors: Sequence[Any]) -> Self:
        """An operator like this one, from other factors, which are not copied."""
        operator = object.__new__(type(self))
        operator._keep(tuple(factors), self._kind, self._backend, self._num_threads)
        return operator

    def _anew(self, factors: Sequence[Any]) -> Self:
        """An operator like this one, from other factors, which are checked and copied."""
        return type(self)(factors, backend=self._backend, num_threads=self._num_threads)

    @property
    def factors(self) -> tuple[Any, ...]:
        """The factors: read-only NumPy arrays, or copies of the tensors."""
        return self._factors if self._kind == "numpy" else tuple(map(copied, self._factors))

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), backend=self._backend, num_threads=self._num_threads), (self._factors,)

    # ---- products

    @overload  # NumPy's types include the precision, which may come from K
    def __matmul__(self, x: np.ndarray) -> np.ndarray: ...
    @overload
    def __matmul__(self, x: Array[T]) -> T: ...
    @overload
    def __matmul__(self, x: Any) -> Any: ...
    def __matmul__(self, x: Any) -> Any:
        if x.__class__ is np.ndarray and x.shape == self._row and x.dtype == self._dtype:  # fast path
            return call(MATVEC, (*self._factors, x), (), self._forward, None, self._backend, self._num_threads)
        return super().__matmul__(x) if self._kind == "numpy" or np.isscalar(x) else self.dot(x)

    def __add__(self, other: Any) -> Any:
        if _arguments.is_number(other):
            fix = f"for K + {other} I use K.solve(y, noise={other}) and K.logdet(noise={other})"
            raise TypeError(f"KroneckerOperator: K + {other} is not an operator; {fix}")
        return super().__add__(other)

    __radd__ = __add__

    @overload
    def matvec(self, x: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray: ...
    @overload
    def matvec(self, x: Array[T], *, out: Array[T] | None = None) -> T: ...
    def matvec(self, x: Any, *, out: Any = None) -> Any:
        """K x for x (N,) or (N, 1); ``out`` is as in ``help(qf.conventions)``, for x (N,)."""
        return self._vector(MATVEC, x, out)

    def rmatvec(self, x: Any, *, out: Any = None) -> Any:
        """K^T x for x (M,) or (M, 1); ``out`` is as in ``help(qf.conventions)``, for x (M,)."""
        return self._vector(RMATVEC, x, out)

    def matmat(self, X: Any) -> Any:
        """K X for X (N, c)."""
        return super().matmat(X) if self._is_for_scipy(X) else self._columns(MATVEC, X)

    def rmatmat(self, X: Any) -> Any:
        """K^T X for X (M, c)."""
        return super().rmatmat(X) if self._is_for_scipy(X) else self._columns(RMATVEC, X)

    def dot(self, x: Any) -> Any:
        """K x for a vector, K X for a matrix, or SciPy's product of two operators."""
        if self._is_for_scipy(x):
            return super().dot(x)
        return self._rows(MATVEC, x) if getattr(x, "ndim", 1) == 1 else self._columns(MATVEC, x)

    def rdot(self, x: Any) -> Any:
        """x K for a vector, X K for a matrix, or SciPy's product of two operators."""
        if self._is_for_scipy(x):
            above: Any = super()
            return above.rdot(x) if hasattr(above, "rdot") else above._rdot(x)
        return self._rows(RMATVEC, x)  # (x K)^T = K^T x^T, for each row of x

    _rdot = rdot  # its name before SciPy 1.18

    def _matvec(self, x: Any) -> Any:
        return self._rows(MATVEC, np.asarray(x).reshape(-1))

    def _matmat(self, X: Any) -> Any:
        return self._columns(MATVEC, np.asarray(X))

    def _rmatvec(self, x: Any) -> Any:
        return self._rows(RMATVEC, np.asarray(x).reshape(-1))

    def _rmatmat(self, X: Any) -> Any:
        return self._columns(RMATVEC, np.asarray(X))

    def _transpose(self) -> Self:
        if self._transposed is None:
            flipped = self._with_factors([f.transpose(1, 0) for f in self._factors])
            flipped._transposed = self
            self._transposed = flipped
        return self._transposed

    _adjoint = _transpose  # the factors are real

    def _is_for_scipy(self, x: Any) -> bool:
        """Whether SciPy handles x: numbers, operators and lists; and NumPy arrays, if the factors are NumPy arrays."""
        _arguments.reject_masked(x, "KroneckerOperator", "x")
        kind = _arrays.kind(x)
        return kind in (None, "numpy") if self._kind == "numpy" else kind is None and (np.isscalar(x) or hasattr(x, "matvec"))

    def _vector(self, op: Op, x: Any, out: Any) -> Any:
        length = self.shape[op is MATVEC]
        if out is not None or (x.__class__ is np.ndarray and x.shape == (length,)):
            return self._rows(op, x, out)
        if x.__class__ is np.ndarray and x.shape == (length, 1):  # SciPy 1.20 will refuse these
            return self._rows(op, x[:, 0], None)[:, None]
        if self._is_for_scipy(x):
            return super().matvec(x) if op is MATVEC else super().rmatvec(x)
        if _arrays.kind(x) is not None and tuple(x.shape) not in ((length,), (length, 1)):
            raise ValueError(f"KroneckerOperator.{op.name}: x has shape {tuple(x.shape)}, expected ({length},) or ({length}, 1)")
        return self._columns(op, x) if getattr(x, "ndim", 1) == 2 else self._rows(op, x)

    def _columns(self, op: Op, X: Any) -> Any:
        if _arrays.kind(X) is not None and X.ndim != 2:
            raise ValueError(f"KroneckerOperator: X has shape {tuple(X.shape)}, expected a matrix whose columns are vectors")
        return self._rows(op, getattr(X, "T", X)).T

    def _rows(self, op: Op, x: Any, out: Any = None) -> Any:
        """x (..., N) -> (..., M), in the wider of the two precisions."""
        if _arrays.kind(x) == self._kind and x.dtype != self._dtype and _arrays.dtype_name(x) in _arrays.REAL:
            return self._wide._rows(op, _arrays.double(x), out)
        return call(op, (*self._factors, x), (), self._forward if op is MATVEC else self._backward, out, self._backend, self._num_threads)

    @property
    def _wide(self) -> Self:
        """The operator in double precision."""
        if self.dtype == _DOUBLE:
            return self
        return self._wide_numpy if self._kind == "numpy" else self._with_factors(list(map(_arrays.double, self._factors)))

    @functools.cached_property
    def _wide_numpy(self) -> Self:
        return self._anew(list(map(_arrays.double, self._factors)))


def copied(f: Any) -> Any:
    """A copy of a factor: read-only if NumPy; a tensor keeps its graph."""
    if _arrays.kind(f) == "torch":
        return f.clone() if f.is_contiguous() else f.contiguous()
    if not isinstance(f, np.ndarray):
        return f.copy()
    copy = np.array(f, order="C", subok=False)
    copy.flags.writeable = False
    return copy


def as_rows(x: Any) -> Any:
    """Columns as rows, or back; a vector unchanged."""
    return x.T if x.ndim == 2 else x


def converted(array: Any, dtype: str) -> Any:
    """An array of any kind in that precision."""
    if array.__class__ is not np.ndarray and _arrays.kind(array) == "torch":
        return array.to(getattr(_arrays.namespace(array), dtype))
    return array.astype(dtype, copy=False)


def on_scipy(methods: type[P]) -> type[P]:
    """The public class: these methods on SciPy's base. All threads get the same one."""
    from scipy.sparse.linalg import LinearOperator

    names = {"__module__": "quatrefoil.kron", "__doc__": methods.__doc__}
    return _classes.get(methods) or _classes.setdefault(methods, type(methods.__name__, (methods, LinearOperator), names))
