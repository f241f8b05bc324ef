"""``KroneckerOperator``: a Kronecker product as a SciPy linear operator.

SciPy is imported when the class is asked for: until then its methods wait here without their base.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _backends
from ..._arguments import array, number, sequence, threads
from . import matvec

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator as Base
else:
    Base = object

Array = Any
_REAL = (np.dtype(np.float32), np.dtype(np.float64))
_CURE = "add noise, or jitter to its diagonal"


@functools.cache
def scipy_class() -> type[KroneckerOperator]:
    """The class that users get: these methods on SciPy's base, pickled as quatrefoil.kron.KroneckerOperator."""
    from scipy.sparse.linalg import LinearOperator

    names = {"__module__": "quatrefoil.kron", "__doc__": KroneckerOperator.__doc__}
    return type("KroneckerOperator", (KroneckerOperator, LinearOperator), names)


class KroneckerOperator(Base):  # type: ignore[misc]
    """K = K_1 ⊗ ... ⊗ K_d as a ``scipy.sparse.linalg.LinearOperator`` (M, N).

    ``K @ x``, ``K.T``, ``K.H``, ``K.matmat``, ``K.rmatvec`` and the rest of SciPy's operators work. The factors are
    copied and packed once, for each direction when it is first needed: this is the form to use in iterative solvers.

    Parameters
    ----------
    factors : list or tuple of (m_k, n_k)
        NumPy matrices, float32 or float64, all of one dtype.
    backend, num_threads
        As everywhere in quatrefoil; they hold for every product of this operator.

    Raises
    ------
    ValueError
        No factors, or one that is no matrix.
    TypeError
        Other kinds or dtypes, or a mix of dtypes; also from ``K @ x`` for an x that is neither float32 nor float64.

    Notes
    -----
    Vectors are (N,), flat in C order; several of them are the columns of an (N, c) matrix, as SciPy has it (a batch in
    rows, without the copies that columns cost, is what ``matvec`` takes). If K and x differ in precision, the result is
    float64.
    """

    def __init__(self, factors: Sequence[Array], *, backend: str | None = None, num_threads: int | None = None) -> None:
        if backend is not None:
            _backends.check_name(backend, "KroneckerOperator")
        if num_threads is not None:
            num_threads = threads(num_threads, "KroneckerOperator")
        self.factors = tuple(_frozen(f, i) for i, f in enumerate(sequence(factors, "KroneckerOperator")))
        first = self.factors[0].dtype
        for i, f in enumerate(self.factors):
            if f.dtype != first:
                raise TypeError(f"KroneckerOperator: factors[{i}] has dtype {f.dtype} but factors[0] has {first}; convert one of them")
        self._backend, self._num_threads = backend, num_threads
        self._plans: dict[np.dtype[Any], Any] = {}
        self._transposed: KroneckerOperator | None = None
        super().__init__(first, (math.prod(f.shape[0] for f in self.factors), math.prod(f.shape[1] for f in self.factors)))

    def __reduce__(self) -> tuple[Any, ...]:
        make = functools.partial(type(self), backend=self._backend, num_threads=self._num_threads)
        return make, (self.factors,)

    # ---- products

    def __matmul__(self, x: Any) -> Any:
        if type(x) is np.ndarray and x.ndim == 1:
            return self.matvec(x)
        return super().__matmul__(x)

    def matvec(self, x: Array) -> Array:
        """K x for x (N,) or (N, 1)."""
        if type(x) is np.ndarray and x.ndim == 1 and x.shape[0] == self.shape[1]:
            return self._rows(x)
        return super().matvec(x)

    def _matvec(self, x: Array) -> Array:
        return self._rows(np.asarray(x).reshape(-1))

    def _matmat(self, X: Array) -> Array:
        return self._rows(np.ascontiguousarray(np.asarray(X).T)).T

    def _rmatvec(self, x: Array) -> Array:
        return self._transpose()._matvec(x)

    def _rmatmat(self, X: Array) -> Array:
        return self._transpose()._matmat(X)

    def _transpose(self) -> KroneckerOperator:
        if self._transposed is None:
            flipped = self._like([f.T for f in self.factors], self.dtype)
            flipped._transposed = self
            self._transposed = flipped
        return self._transposed

    _adjoint = _transpose  # the factors are real

    def _rows(self, x: Array) -> Array:
        """x (..., N) -> (..., M), in the wider of the two precisions."""
        if x.dtype not in _REAL:
            raise TypeError(f"KroneckerOperator: x has dtype {x.dtype}, expected float32 or float64; convert it")
        dtype = self.dtype
        if x.dtype != dtype:
            dtype = _REAL[1]
            x = x.astype(dtype, copy=False)
        if (self._backend or _backends.chosen() or _backends.default()) != "native":
            factors = [f.astype(dtype, copy=False) for f in self.factors]
            return matvec(factors, x, backend=self._backend, num_threads=self._num_threads)
        plan = self._plans.get(dtype)
        if plan is None:
            core: Any = _backends.native.core()
            plan = self._plans[dtype] = core.kron.Plan([f.astype(dtype, copy=False) for f in self.factors], False)
        out = np.empty((*x.shape[:-1], self.shape[0]), dtype)
        plan.apply(x, out, self._num_threads or 0)
        return out

    # ---- dense forms

    def to_dense(self) -> Array:
        """The matrix itself, (M, N)."""
        return functools.reduce(np.kron, self.factors)

    def diagonal(self) -> Array:
        """The diagonal (N,) of a K with square factors: the outer product of their diagonals."""
        self._require_square("diagonal")
        return _outer([np.diagonal(f) for f in self.factors])

    # ---- factorisations, of each factor alone, in double precision

    def eigh(self) -> tuple[Array, KroneckerOperator]:
        """K = Q diag(lam) Q^T for symmetric factors (7): lam (N,) and Q, a KroneckerOperator.

        lam is in the order of the grid, not sorted: the Kronecker product of the factors' eigenvalues.
        ``ValueError`` if a factor is not square, not symmetric or not finite.
        """
        parts = self._eigen("eigh")
        lam = _outer([l for l, _ in parts])
        return lam.astype(self.dtype), self._like([q for _, q in parts], self.dtype)

    def solve(self, y: Array, noise: float = 0.0) -> Array:
        """x with (K + noise I) x = y, for y (N,) or (N, c).

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
            noise = 0 and a factor is singular to working precision; noise > 0 and a factor has a negative eigenvalue.
            Nothing is clamped.
        """
        noise = number(noise, "KroneckerOperator.solve", "noise")
        self._require_square("solve")
        N = self.shape[0]
        array(y, "KroneckerOperator.solve", "y", torch=False)
        if y.ndim not in (1, 2) or y.shape[0] != N:
            raise ValueError(f"KroneckerOperator.solve: y has shape {y.shape}, expected ({N},) or ({N}, c)")
        rows = np.ascontiguousarray(y.T, np.float64)
        if noise:
            lam, Q = self._spectrum
            x = Q._rows(Q._transpose()._rows(rows) / (lam + noise))
        else:
            x = self._solve_factors(rows)
        return x.astype(np.result_type(self.dtype, y.dtype), copy=False).T

    def logdet(self, noise: float = 0.0) -> float:
        """log det(K + noise I) (10), exact: from LU factors of each factor without noise, with noise from eigenvalues.

        Raises as ``solve`` does, and ``numpy.linalg.LinAlgError`` where the determinant is not positive.
        """
        noise = number(noise, "KroneckerOperator.logdet", "noise")
        self._require_square("logdet")
        if noise:
            return float(np.log(self._spectrum[0] + noise).sum())
        if self.shape[0] == 0:
            return 0.0
        total, negative = 0.0, False
        for f, (lu, pivots) in zip(self.factors, self._lu):
            others = self.shape[0] // len(f)
            diagonal = np.diagonal(lu)
            total += others * float(np.log(np.abs(diagonal)).sum())
            swaps = int(np.count_nonzero(pivots != np.arange(len(f))))
            negative ^= bool((swaps + np.count_nonzero(diagonal < 0)) * others % 2)
        if negative:
            raise np.linalg.LinAlgError("KroneckerOperator.logdet: the determinant is negative, expected a positive one")
        return total

    def _like(self, factors: Sequence[Array], dtype: Any) -> KroneckerOperator:
        cast = [f.astype(dtype, copy=False) for f in factors]
        return type(self)(cast, backend=self._backend, num_threads=self._num_threads)

    def _require_square(self, method: str) -> None:
        for i, f in enumerate(self.factors):
            if f.shape[0] != f.shape[1]:
                raise ValueError(f"KroneckerOperator.{method}: factors[{i}] has shape {f.shape}, expected a square matrix")

    def _require_finite(self, method: str) -> None:
        for i, f in enumerate(self.factors):
            if not np.isfinite(f).all():
                raise ValueError(f"KroneckerOperator.{method}: factors[{i}] has NaN or infinity in it")

    def _eigen(self, method: str) -> list[tuple[Array, Array]]:
        self._require_square(method)
        self._require_finite(method)
        for i, f in enumerate(self.factors):
            skew, size = np.abs(f - f.T).max(initial=0.0), np.abs(f).max(initial=0.0)
            if skew > len(f) * np.finfo(self.dtype).eps * size:
                raise ValueError(
                    f"KroneckerOperator.{method}: factors[{i}] is not symmetric (entries differ from their mirrors "
                    f"by {skew:.3g}); symmetrise it, or use noise=0"
                )
        return self._eigen_parts

    @functools.cached_property
    def _eigen_parts(self) -> list[tuple[Array, Array]]:
        return [tuple(np.linalg.eigh(f.astype(np.float64))) for f in self.factors]  # type: ignore[misc]

    @functools.cached_property
    def _spectrum(self) -> tuple[Array, KroneckerOperator]:
        """Eigenvalues (N,), not negative, and eigenvectors, in double precision."""
        parts = []
        for i, (lam, Q) in enumerate(self._eigen("solve or logdet with noise")):
            rounding = len(lam) * np.finfo(self.dtype).eps * np.abs(lam).max(initial=0.0)
            lowest = lam.min(initial=0.0)
            if lowest < -rounding:
                raise np.linalg.LinAlgError(
                    f"KroneckerOperator: factors[{i}] is not positive semidefinite (it has the eigenvalue "
                    f"{lowest:.3g}); add jitter to its diagonal"
                )
            parts.append((np.maximum(lam, 0.0), Q))  # what is left below 0 is rounding of a 0
        return _outer([l for l, _ in parts]), self._like([q for _, q in parts], np.float64)

    @functools.cached_property
    def _lu(self) -> list[tuple[Array, Array]]:
        self._require_finite("solve or logdet")
        return [_factorised(f, i) for i, f in enumerate(self.factors)]

    def _solve_factors(self, rows: Array) -> Array:
        if rows.size == 0:
            return rows
        shape = (*rows.shape[:-1], *[len(f) for f in self.factors])
        from scipy.linalg import lu_solve

        x, lead = rows.reshape(shape), rows.ndim - 1
        for k, factorised in enumerate(self._lu):
            front = np.moveaxis(x, lead + k, 0)
            solved = lu_solve(factorised, front.reshape(len(front), -1), check_finite=False)
            x = np.moveaxis(solved.reshape(front.shape), 0, lead + k)
        return x.reshape(rows.shape)


def _frozen(f: Any, i: int) -> Array:
    array(f, "KroneckerOperator", f"factors[{i}]", torch=False)
    if f.ndim != 2:
        raise ValueError(f"KroneckerOperator: factors[{i}] has shape {f.shape}, expected a matrix")
    copy = np.array(f, order="C", subok=False)
    copy.flags.writeable = False
    return copy


def _outer(vectors: Sequence[Array]) -> Array:
    """The Kronecker product of vectors."""
    return functools.reduce(lambda a, b: np.multiply.outer(a, b).reshape(-1), vectors)


def _factorised(f: Array, i: int) -> tuple[Array, Array]:
    """LU of a factor that is not singular to the precision it was given in."""
    if len(f) == 0:
        return np.zeros((0, 0)), np.zeros(0, np.int32)
    from scipy.linalg import lapack

    lu, pivots, info = lapack.dgetrf(f.astype(np.float64))
    if info > 0:
        raise np.linalg.LinAlgError(f"KroneckerOperator: factors[{i}] is singular (pivot {info - 1} is 0); {_CURE}")
    inverse_condition, _ = lapack.dgecon(lu, np.abs(f).sum(axis=0, dtype=np.float64).max())
    if inverse_condition < np.finfo(f.dtype).eps:
        raise np.linalg.LinAlgError(
            f"KroneckerOperator: factors[{i}] is singular to working precision (1 / condition number is {inverse_condition:.1e}); {_CURE}"
        )
    return lu, pivots
