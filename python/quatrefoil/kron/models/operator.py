"""``KroneckerOperator``: a Kronecker product as a SciPy linear operator.

SciPy is imported when the class is asked for: until then its methods wait here without their base.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ... import _arguments, _arrays, _backends, _bind
from ..._call import call
from ..._spec import Arg, Op
from ..._typing import AnyArray, Array, Backend, T
from ..product import MATVEC, RMATVEC
from ..product.dense import outer, owned
from ..product.packed import memos
from . import derivative
from .factorisation import Factorisation, factorisation
from .operator_validation import check_columns, check_function, check_values, is_table, require_square

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as Base
else:
    Base = object

_DOUBLE = np.dtype(np.float64)

# the arrays that make one: checked like any call's, never run
_PARTS = Op(__name__, "KroneckerOperator", (Arg("factors", "m_ n_", sequence=True),), (Arg("K", "m_x n_x"),), differentiable=False)


_made: dict[str, type[KroneckerOperator]] = {}


def scipy_class() -> type[KroneckerOperator]:
    """The class that users get: these methods on SciPy's base, pickled as quatrefoil.kron.KroneckerOperator. There is one of it, whichever
    thread comes first."""
    from scipy.sparse.linalg import LinearOperator

    names = {"__module__": "quatrefoil.kron", "__doc__": KroneckerOperator.__doc__}
    return _made.get("class") or _made.setdefault("class", type("KroneckerOperator", (KroneckerOperator, LinearOperator), names))


class KroneckerOperator(Base):  # type: ignore[misc]
    """K = K_1 ⊗ ... ⊗ K_d as a ``scipy.sparse.linalg.LinearOperator`` (M, N).

    ``K @ x``, ``K.T``, ``K.H``, ``K.matmat``, ``K.rmatvec`` and the rest of SciPy's operators work. The factors are
    copied, and packed once, for each direction when it is first needed: this is the form to use in iterative solvers.

    Parameters
    ----------
    factors : list or tuple of (m_k, n_k)
        Matrices, float32 or float64, all of one dtype and one kind.
    backend, num_threads
        As in ``help(qf.conventions)``; they hold for every product of this operator.

    Raises
    ------
    ValueError
        No factors, or one that is not a matrix.
    TypeError
        Other kinds or dtypes, or a mix of them; also from ``K @ x`` for an x that is neither float32 nor float64, or of
        another kind than the factors.

    Notes
    -----
    Vectors are (N,), flat in C order; several of them are the columns of an (N, c) matrix, as SciPy has it (a batch in
    rows, without the copies that columns cost, is what ``matvec`` takes). If K and x differ in precision, the result is
    float64.

    With PyTorch factors products take and give tensors, differentiable in x and in the factors, and so are ``to_dense``,
    ``diagonal`` and ``apply``. ``solve``, ``logdet`` and ``eigh`` have no gradient; these three raise NotImplementedError
    where a factor requires one. What SciPy makes of an operator, sums and multiples, takes NumPy arrays alone. Factors on a device, CuPy's
    too, are computed with there, and nothing is read back.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = qf.kron.KroneckerOperator([np.eye(2), np.ones((3, 3))])
    >>> K @ np.arange(6.0)
    array([ 3.,  3.,  3., 12., 12., 12.])
    """

    @_arguments.keywords(
        "KroneckerOperator",
        "the factors are one list, KroneckerOperator([K1, K2]), and the noise goes to its methods: K.solve(y, noise=0.1)",
        noise="give it to the methods: K.solve(y, noise=0.1), K.logdet(noise=0.1)",
    )
    def __init__(self, factors: Sequence[AnyArray], *, backend: Backend | None = None, num_threads: int | None = None) -> None:
        if backend is not None:
            _backends.check_name(backend, "KroneckerOperator")
        if num_threads is not None:
            num_threads = _arguments.threads(num_threads, "KroneckerOperator")
        given = _arguments.sequence(factors, "KroneckerOperator")
        kind, _ = _bind.layout(_PARTS, given, ())
        self._keep(tuple(map(_copied, given)), kind, backend, num_threads)

    def _keep(self, factors: tuple[Any, ...], kind: str, backend: Backend | None, num_threads: int | None) -> None:
        """``factors`` are this operator's own: nobody else can write to them."""
        self._factors, self._kind, self._backend, self._num_threads = factors, kind, backend, num_threads
        self._kernel, (self._forward, self._backward) = (backend, num_threads), memos(len(factors))
        self._transposed: KroneckerOperator | None = None
        self._factorised: Factorisation | None = None
        self._mapped: tuple[list[int], Factorisation] | None = None
        self._dtype = factors[0].dtype
        sizes = [tuple(f.shape) for f in factors]
        super().__init__(_arrays.dtype_name(factors[0]), (math.prod([m for m, _ in sizes]), math.prod([n for _, n in sizes])))
        self._row = self.shape[1:]

    def _of(self, factors: Sequence[Any]) -> KroneckerOperator:
        """An operator like this one of other factors, which are not copied."""
        made = object.__new__(type(self))
        made._keep(tuple(factors), self._kind, self._backend, self._num_threads)
        return made

    def _anew(self, factors: Sequence[Any]) -> KroneckerOperator:
        """An operator like this one of other factors, which are checked and copied."""
        return type(self)(factors, backend=self._backend, num_threads=self._num_threads)

    @property
    def factors(self) -> tuple[Any, ...]:
        """The factors: NumPy arrays that are read-only, or copies of the tensors."""
        return self._factors if self._kind == "numpy" else tuple(map(_copied, self._factors))

    def __reduce__(self) -> tuple[Any, ...]:
        make = functools.partial(type(self), backend=self._backend, num_threads=self._num_threads)
        return make, (self._factors,)

    # ---- products

    @overload  # NumPy's types hold the precision, which may be that of K
    def __matmul__(self, x: np.ndarray) -> np.ndarray: ...
    @overload
    def __matmul__(self, x: Array[T]) -> T: ...
    @overload
    def __matmul__(self, x: Any) -> Any: ...
    def __matmul__(self, x: Any) -> Any:
        if x.__class__ is np.ndarray and x.shape == self._row and x.dtype == self._dtype:  # what users time
            return call(MATVEC, (*self._factors, x), (), self._forward, None, self._backend, self._num_threads)
        return super().__matmul__(x) if self._kind == "numpy" or np.isscalar(x) else self.dot(x)

    def __add__(self, other: Any) -> Any:
        if _arguments.is_number(other):
            cure = f"K.solve(y, noise={other}) and K.logdet(noise={other}) are those of K + {other} I"
            raise TypeError(f"KroneckerOperator: K + {other} is no operator; {cure}")
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
        return self._rows(RMATVEC, x)  # whose rows are what is multiplied from the left

    _rdot = rdot  # its name before SciPy 1.18

    def _matvec(self, x: Any) -> Any:
        return self._rows(MATVEC, np.asarray(x).reshape(-1))

    def _matmat(self, X: Any) -> Any:
        return self._columns(MATVEC, np.asarray(X))

    def _rmatvec(self, x: Any) -> Any:
        return self._rows(RMATVEC, np.asarray(x).reshape(-1))

    def _rmatmat(self, X: Any) -> Any:
        return self._columns(RMATVEC, np.asarray(X))

    def _transpose(self) -> KroneckerOperator:
        if self._transposed is None:
            flipped = self._of([f.transpose(1, 0) for f in self._factors])
            flipped._transposed = self
            self._transposed = flipped
        return self._transposed

    _adjoint = _transpose  # the factors are real

    def _is_for_scipy(self, x: Any) -> bool:
        """Numbers, operators and lists are, and arrays where no tensor is in the game: SciPy makes NumPy arrays of what it gets."""
        _arguments.refuse_masked(x, "KroneckerOperator", "x")
        kind = _arrays.kind(x)
        return kind in (None, "numpy") if self._kind == "numpy" else kind is None and (np.isscalar(x) or hasattr(x, "matvec"))

    def _vector(self, op: Op, x: Any, out: Any) -> Any:
        length = self.shape[op is MATVEC]
        if out is not None or (x.__class__ is np.ndarray and x.shape == (length,)):
            return self._rows(op, x, out)
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
    def _wide(self) -> KroneckerOperator:
        """The same in double precision."""
        if self.dtype == _DOUBLE:
            return self
        return self._wide_numpy if self._kind == "numpy" else self._of(list(map(_arrays.double, self._factors)))

    @functools.cached_property
    def _wide_numpy(self) -> KroneckerOperator:
        return self._anew(list(map(_arrays.double, self._factors)))

    # ---- by factorising the factors

    def _factorisation(self, method: str) -> Factorisation:
        """Of factors that must be square, and in which nobody wants a gradient."""
        require_square(method, self._factors)
        plain: Sequence[Any] = self._factors
        if self._kind != "numpy":
            plain = [_arguments.host_or_device_numbers(f, f"KroneckerOperator.{method}", f"factors[{i}]") for i, f in enumerate(plain)]
        if self._factorised is None:
            self._factorised = factorisation(plain, self._kernel)
        return self._factorised

    def eigh(self) -> tuple[Any, KroneckerOperator]:
        """K = Q diag(lam) Q^T for symmetric factors (7): lam (N,) and Q, a KroneckerOperator.

        lam is in the order of the grid, not sorted: the Kronecker product of the factors' eigenvalues.
        ``ValueError`` if a factor is not square, not symmetric or not finite; on a device lam is NaN where one is not the latter two.
        """
        lam, parts = self._factorisation("eigh").eigen("KroneckerOperator.eigh")
        dtype = _arrays.dtype_name(self._factors[0])
        return self._of_mine(_in(owned(lam), dtype)), self._anew([self._of_mine(_in(q, dtype)) for _, q in parts])

    @overload
    def solve(self, y: np.ndarray, noise: float = 0.0) -> np.ndarray: ...
    @overload
    def solve(self, y: Array[T], noise: float = 0.0) -> T: ...
    def solve(self, y: Any, noise: float = 0.0) -> Any:
        """x with (K + noise I) x = y, for y (N,), (N, c) or of the grid's shape, (n_1, ..., n_d).

        Without noise by an LU factorisation of each factor (8), symmetric or not. With noise > 0 by (9), an
        eigendecomposition of each, which must be symmetric and, up to rounding, positive semidefinite. Either is made
        once and kept.

        Raises
        ------
        ValueError
            A factor that is not square or not finite, or not symmetric where noise > 0; noise < 0; a y of another
            length.
        TypeError
            y neither float32 nor float64.
        numpy.linalg.LinAlgError
            A factor is singular to working precision and the noise is 0, or not above eps times the largest eigenvalue of K, with eps
            of the factors' precision; noise > 0 and a factor has a negative eigenvalue. Nothing is clamped.

        Notes
        -----
        On a device no number is looked at: x is NaN where the host would raise because of numbers, unless the array library raises
        before (a factor that is exactly singular). LU factors are not kept there.
        """
        label = "KroneckerOperator.solve"
        if is_table(y, self._factors):
            return self.solve(y.reshape(-1), noise).reshape(y.shape)
        check_columns(label, y, self._factors)
        plain, noise = _arguments.host_or_device_numbers(y, label, "y"), _arguments.number(noise, label, "noise")
        x = self._factorisation("solve").solved(_in(_turned(plain), "float64"), noise)
        return self._of_mine(_turned(_in(x, self._wider(y))))

    def logdet(self, noise: float = 0.0) -> Any:
        """log det(K + noise I) (10), exact, a float: from LU factors of each factor without noise, with noise from eigenvalues.

        Raises as ``solve`` does, and ``numpy.linalg.LinAlgError`` where the determinant is not positive. On a device it stays there, a
        float64 array without axes, and is NaN where the host would raise because of numbers.
        """
        return self._factorisation("logdet").logdet(_arguments.number(noise, "KroneckerOperator.logdet", "noise"))

    def apply(self, h: Callable[[Any], Any], y: Any) -> Any:
        """h(K) y = Q (h(lam) * (Q^T y)) for symmetric factors (11): y (N,), (N, c) or (n_1, ..., n_d) -> the same shape.

        Parameters
        ----------
        h : callable
            Gets the eigenvalues (N,) in the order of the grid, as ``eigh`` has them but in float64, and gives as many
            real numbers: ``np.sqrt``, ``lambda lam: lam / (lam + c)``. With PyTorch factors it gets a tensor. What it
            gives is used as it is: a NaN or infinity in it goes to all of the result. On a device the eigenvalues are there, and
            NaN where a factor is not symmetric or not finite.
        y : (N,) or (N, c)
            As in ``solve``.

        Raises
        ------
        ValueError
            A factor that is not square, not symmetric or not finite; a y of another length; values of another shape; a factor
            that requires a gradient where h does not take the eigenvalues one by one, as ``lam / lam.max()``.
        TypeError
            y neither float32 nor float64, or of another kind than the factors; values that are no real numbers.

        Notes
        -----
        Two products with Q a call, one call of h, and the eigendecompositions once. An eigenvalue that should be 0 may
        be a rounding of it below 0: a square root wants ``np.maximum(lam, 0)``.

        With PyTorch differentiable in y, by autograd in whatever h computes with, and in the factors (12)-(14), by h and h'
        alone: equal eigenvalues are harmless, where ``torch.linalg.eigh`` divides by 0. The gradient of a factor is symmetric, its
        entries taken as free. ``apply_vjp`` is that of NumPy.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> K = qf.kron.KroneckerOperator([np.diag([1.0, 4.0]), np.eye(2)])
        >>> K.apply(np.sqrt, np.ones(4))
        array([1., 1., 2., 2.])
        """
        label = "KroneckerOperator.apply"
        if is_table(y, self._factors):
            return self.apply(h, y.reshape(-1)).reshape(y.shape)
        check_function(label, h, y, self._factors)
        rows = _in(_turned(y), "float64")
        if any(getattr(f, "requires_grad", False) for f in self._factors):
            made = derivative.out_of_compilation(self._applied)(h, rows, label)
        else:
            factors = self._factorisation("apply")
            lam, _ = factors.eigen(label)
            made = factors.filtered(self._checked(h(self._of_mine(owned(lam))), label), rows)
        return _turned(_in(made, self._wider(y)))

    def apply_vjp(self, h: Callable[[Any], Any], slope: Callable[[Any], Any], y: Any, grad: Any) -> tuple[list[Any], Any, Any]:
        """Gradients of ``apply`` for NumPy or CuPy factors: grad, of y's shape, is that of its result -> ([gradient of every factor],
        gradient of h's values (N,), gradient of y) (12)-(14).

        ``slope`` is the derivative h', as h a function of the eigenvalues (N,), one by one: ``lambda lam: c / (lam + c) ** 2``. The
        gradient of a factor is symmetric. From that of the values follow those of whatever h computes with. Two products with Q
        and four sums of N n_k products a factor; about ten arrays like y in float64. Errors are those of ``apply``.
        """
        label = "KroneckerOperator.apply_vjp"
        if self._kind == "torch":
            raise TypeError(f"{label}: the factors are torch arrays, expected NumPy arrays; of tensors autograd finds the gradients")
        if not callable(slope):
            raise TypeError(f"{label}: slope is {type(slope).__name__}, expected a function of the eigenvalues")
        check_function(label, h, y, self._factors)
        _arguments.real_array(grad, label, "grad")
        if grad.shape != y.shape:
            raise ValueError(f"{label}: grad has shape {grad.shape}, expected {y.shape}, as y")
        factors = self._factorisation("apply_vjp")
        lam, parts = factors.eigen(label)
        values, slopes = self._checked(h(owned(lam)), label), self._checked(slope(owned(lam)), label, "slope")
        rows = [_in(_turned(a), "float64") for a in (y, grad)]
        dfactors, dvalues, dy = derivative.Function(factors.xp, parts, self._kernel).adjoint(values, slopes, *rows)
        return [d.astype(self.dtype, copy=False) for d in dfactors], dvalues, _turned(dy).astype(y.dtype, copy=False)

    def _applied(self, h: Callable[[Any], Any], rows: Any, label: str) -> Any:
        """``apply`` if a factor requires a gradient."""
        lam, *parts = derivative.decomposed(self._decomposed, self._factors)
        values, *slopes = derivative.differentiated(h, lam)
        return derivative.applied(self._kernel, self._factors, parts, self._checked(values, label), slopes, rows)

    def _decomposed(self, factors: Sequence[Any]) -> tuple[Any, list[tuple[Any, Any]]]:
        """Eigenvalues (N,), and l_k and Q_k, of the operator's factors or an item's under torch.func.vmap. The host keeps the last."""
        if not isinstance(factors[0], np.ndarray):
            return factorisation(factors, self._kernel).eigen("KroneckerOperator.apply")
        at = [f.__array_interface__["data"][0] for f in factors]
        if self._mapped is None or self._mapped[0] != at:
            self._mapped = at, factorisation(factors, self._kernel)
        return self._mapped[1].eigen("KroneckerOperator.apply")

    def _checked(self, values: Any, label: str, name: str = "h") -> Any:
        """What ``name`` made of the eigenvalues, in double precision."""
        check_values(label, name, values, self._factors)
        return _in(values, "float64")

    def _of_mine(self, array: Any) -> Any:
        """Numbers of a factorisation as an array of the factors' kind."""
        return _arrays.of_kind(self._kind, array) if isinstance(array, np.ndarray) else array

    def _wider(self, y: Any) -> str:
        """The wider of the precisions of y and the factors."""
        return "float64" if "float64" in (_arrays.dtype_name(y), _arrays.dtype_name(self._factors[0])) else "float32"

    # ---- dense forms

    def to_dense(self) -> Any:
        """The matrix itself, (M, N)."""
        dense = functools.reduce(_arrays.namespace_of(self._kind).kron, self._factors)
        return dense if len(self._factors) > 1 else owned(dense)

    def diagonal(self) -> Any:
        """The diagonal (N,) of a K with square factors: the outer product of their diagonals."""
        require_square("diagonal", self._factors)
        diagonal = outer([f.diagonal() for f in self._factors])
        return diagonal if len(self._factors) > 1 else owned(diagonal)


def _copied(f: Any) -> Any:
    """The operator's own factor: frozen if NumPy, a tensor that keeps its graph if not."""
    if _arrays.kind(f) == "torch":
        return f.clone() if f.is_contiguous() else f.contiguous()
    if not isinstance(f, np.ndarray):
        return f.copy()
    copy = np.array(f, order="C", subok=False)
    copy.flags.writeable = False
    return copy


def _turned(x: Any) -> Any:
    """Columns as rows, or back; a vector as it is."""
    return x.T if x.ndim == 2 else x


def _in(array: Any, dtype: str) -> Any:
    """An array of any kind in that precision."""
    if array.__class__ is not np.ndarray and _arrays.kind(array) == "torch":
        return array.to(getattr(_arrays.namespace(array), dtype))
    return array.astype(dtype, copy=False)
