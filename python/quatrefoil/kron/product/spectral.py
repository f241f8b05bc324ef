"""What a ``KroneckerOperator`` does by factorising each of its factors, in double precision: solve, logdet, eigh, apply.

Equation numbers are those of csrc/kron/product/README.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from ... import _arguments, _arrays, _backends, _bind
from ..._spec import Op
from ..._typing import Array, Backend, T
from . import MATVEC, RMATVEC, derivative
from .afar import Factorised
from .dense import CURE, exponent, factorised, log_determinant, not_negative, product_of, products, require_symmetric, singular_axis

if TYPE_CHECKING:
    from .operator import KroneckerOperator


class Spectral:
    """The methods of ``KroneckerOperator`` that factorise; the products are that class's."""

    _factors: tuple[Any, ...]
    _kind: str
    _host: KroneckerOperator | None
    _backend: Backend | None
    _num_threads: int | None
    _held: tuple[list[int], KroneckerOperator] | None = None
    _afar: Factorised | None = None

    if TYPE_CHECKING:  # what the operator brings
        shape: tuple[int, int]
        dtype: Any

        def _rows(self, op: Op, x: Any, out: Any = None) -> Any: ...
        def _of(self, factors: Sequence[Any]) -> KroneckerOperator: ...
        def _anew(self, factors: Sequence[Any]) -> KroneckerOperator: ...

    def eigh(self) -> tuple[Any, KroneckerOperator]:
        """K = Q diag(lam) Q^T for symmetric factors (7): lam (N,) and Q, a KroneckerOperator.

        lam is in the order of the grid, not sorted: the Kronecker product of the factors' eigenvalues.
        ``ValueError`` if a factor is not square, not symmetric or not finite; on a device lam is NaN where one is not the latter two.
        """
        if not self._is_here:
            there = self._there("eigh")
            return self._in(there.values, _arrays.dtype_name(self._factors[0])), self._of(
                [self._in(p.vectors, _arrays.dtype_name(f)) for p, f in zip(there.parts, self._factors)]
            )
        if self._kind != "numpy":
            lam, Q = self._on_host("eigh").eigh()
            return self._like_mine(lam), self._anew(list(map(self._like_mine, Q.factors)))
        parts = self._eigen("eigh")
        lam = products([l for l, _ in parts])
        return lam.astype(self.dtype), self._like([q for _, q in parts], self.dtype)

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
        if self._is_table(y):
            return self.solve(y.reshape(-1), noise).reshape(y.shape)
        if not self._is_here:
            return self._solved_there(y, noise, label)
        host = _arguments.numbers_of(y, label, "y")
        self._check_kind(y, label)
        if self._kind != "numpy":
            return self._like_mine(self._on_host("solve").solve(host, noise))
        noise = _arguments.number(noise, label, "noise")
        self._require_square("solve")
        self._check_columns(y, label)
        rows = np.ascontiguousarray(y.T, np.float64)
        if noise:
            lam, Q = self._spectrum(noise)
            x = Q._rows(MATVEC, Q._rows(RMATVEC, rows) / (lam + noise))
        else:
            x = self._solve_factors(rows)
        return x.astype(np.result_type(self.dtype, y.dtype), copy=False).T

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
        if self._is_table(y):
            return self.apply(h, y.reshape(-1)).reshape(y.shape)
        self._check_function(h, y, label)
        rows = self._in(_turned(y), "float64")
        if any(getattr(f, "requires_grad", False) for f in self._factors):
            made = derivative.out_of_compilation(self._applied)(h, rows, label)
        elif not self._is_here:
            there = self._there("apply")
            made = there.filtered(self._checked(h(there.values), label), rows)
        else:
            host = self._on_host("apply")
            host._eigen("apply")
            lam, Q = host._eigensystem
            if self._kind != "numpy":  # tensors of this very call: within torch.func all are that call's own
                Q = self._of(list(map(self._like_mine, Q.factors)))
            values = self._checked(h(self._like_mine(lam.copy())), label)
            made = Q._rows(MATVEC, values * Q._rows(RMATVEC, rows))
        wanted = "float64" if "float64" in (_arrays.dtype_name(y), _arrays.dtype_name(self._factors[0])) else "float32"
        return _turned(self._in(made, wanted))

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
        self._check_function(h, y, label)
        _arguments.real_array(grad, label, "grad")
        if grad.shape != y.shape:
            raise ValueError(f"{label}: grad has shape {grad.shape}, expected {y.shape}, as y")
        if self._is_here:
            parts, (lam, _), xp = self._eigen("apply_vjp"), self._eigensystem, np
        else:
            there = self._there("apply_vjp")
            parts, lam, xp = [(p.values, p.vectors) for p in there.parts], there.values, there.xp
        values, slopes = self._checked(h(lam.copy()), label), self._checked(slope(lam.copy()), label, "slope")
        rows = [self._in(_turned(a), "float64") for a in (y, grad)]
        dfactors, dvalues, dy = derivative.Function(xp, parts, (self._backend, self._num_threads)).adjoint(values, slopes, *rows)
        return [d.astype(self.dtype, copy=False) for d in dfactors], dvalues, _turned(dy).astype(y.dtype, copy=False)

    def _applied(self, h: Callable[[Any], Any], rows: Any, label: str) -> Any:
        """Where a factor requires a gradient."""
        lam, *parts = derivative.decomposed(cast("KroneckerOperator", self), self._factors)
        values, *slopes = derivative.differentiated(h, lam)
        kernel = self._backend, self._num_threads
        return derivative.applied(kernel, self._factors, parts, self._checked(values, label), slopes, rows)

    def _check_function(self, h: Any, y: Any, label: str) -> None:
        if not callable(h):
            raise TypeError(f"{label}: h is {type(h).__name__}, expected a function of the eigenvalues")
        self._check_columns(y, label)
        self._require_square(label.partition(".")[2])

    def _decomposed_factors(self, factors: Sequence[np.ndarray]) -> tuple[np.ndarray, list[tuple[Any, Any]]]:
        """Eigenvalues (N,), and those and the eigenvectors of every factor, for the numbers of this operator's tensors: they are kept
        until others come, as they may where torch.func maps."""
        if not self._is_here:
            there = self._there("apply", factors)
            return there.values, [(p.values, p.vectors) for p in there.parts]
        at = [f.__array_interface__["data"][0] for f in factors]
        if self._held is None or self._held[0] != at:
            host = self._anew(factors)
            host._eigen("apply")
            self._held = at, host
        host = self._held[1]
        return host._eigensystem[0], host._eigen_parts

    def _checked(self, values: Any, label: str, name: str = "h") -> Any:
        """What ``name`` made of the eigenvalues, in double precision."""
        N = self.shape[0]
        _arguments.refuse_masked(values, label, f"{name}(lam)")
        if _arrays.kind(values) != self._kind:
            raise TypeError(f"{label}: {name} gave {_arrays.describe(values)}, expected a {self._kind} array of {N} real numbers")
        if not self._is_here:
            _bind.check_device(label, f"{name}(lam)", values, "factors[0]", self._factors[0])
        if tuple(values.shape) != (N,):
            raise ValueError(f"{label}: {name} gave an array of shape {tuple(values.shape)}, expected ({N},), a number an eigenvalue")
        if not _arrays.dtype_name(values).lstrip("u").startswith(("float", "int", "bool", "bfloat")):
            raise TypeError(f"{label}: {name} gave {_arrays.describe(values)}, expected real numbers")
        return self._in(values, "float64")

    def _in(self, array: Any, dtype: str) -> Any:
        """An array of this operator's kind in that precision."""
        return array.astype(dtype, copy=False) if self._kind != "torch" else array.to(getattr(_arrays.namespace_of(self._kind), dtype))

    def logdet(self, noise: float = 0.0) -> Any:
        """log det(K + noise I) (10), exact, a float: from LU factors of each factor without noise, with noise from eigenvalues.

        Raises as ``solve`` does, and ``numpy.linalg.LinAlgError`` where the determinant is not positive. On a device it stays there, a
        float64 array without axes, and is NaN where the host would raise because of numbers.
        """
        if not self._is_here:
            return self._there("logdet").logdet(_arguments.number(noise, "KroneckerOperator.logdet", "noise"))
        if self._kind != "numpy":
            return float(self._on_host("logdet").logdet(noise))
        noise = _arguments.number(noise, "KroneckerOperator.logdet", "noise")
        self._require_square("logdet")
        if noise:
            self._spectrum(noise)  # raises if there is no logarithm
            return log_determinant([np.maximum(l, 0) for l, _ in self._eigen_parts], noise)
        if self.shape[0] == 0:
            return 0.0
        total, negative = 0.0, False
        for f, (lu, pivots) in zip(self._factors, self._lu):
            others = self.shape[0] // len(f)
            diagonal = np.diagonal(lu)
            total += others * float(np.log(np.abs(diagonal)).sum())
            swaps = int(np.count_nonzero(pivots != np.arange(len(f))))
            negative ^= bool((swaps + np.count_nonzero(diagonal < 0)) * others % 2)
        if negative:
            raise np.linalg.LinAlgError("KroneckerOperator.logdet: the determinant is negative, expected a positive one")
        return total

    def _check_kind(self, y: Any, label: str) -> None:
        if _arrays.kind(y) != self._kind:
            raise TypeError(f"{label}: y is a {_arrays.kind(y)} array but factors[0] is a {self._kind} array; they must be of one kind")

    @property
    def _is_here(self) -> bool:
        """Whether the factors are on the host."""
        return self._kind == "numpy" or _arrays.on_host(self._factors[0])

    def _there(self, method: str, factors: Sequence[Any] | None = None) -> Factorised:
        """What is kept of factors on a device, in which nobody wants a gradient; or of these ones, which are detached."""
        self._require_square(method)
        given, kernel = self._factors if factors is None else factors, (self._backend, self._num_threads)
        for i, f in enumerate(given):
            _arguments.numbers_here(f, f"KroneckerOperator.{method}", f"factors[{i}]")
        if factors is not None:
            return Factorised(_backends.array.namespace(self._kind), factors, kernel)
        if self._afar is None:
            self._afar = Factorised(_backends.array.namespace(self._kind), given, kernel)
        return self._afar

    def _solved_there(self, y: Any, noise: Any, label: str) -> Any:
        noise = _arguments.number(noise, label, "noise")
        self._check_columns(y, label)
        _arguments.numbers_here(y, label, "y")
        there, rows = self._there("solve"), self._in(_turned(y), "float64")
        x = there.filtered(1 / there.with_noise(noise), rows) if noise else there.solved(rows if y.ndim == 2 else rows[None])
        wanted = "float64" if "float64" in (_arrays.dtype_name(y), _arrays.dtype_name(self._factors[0])) else "float32"
        return self._in(x.T if y.ndim == 2 else x.reshape(y.shape), wanted)

    def _is_table(self, y: Any) -> bool:
        """Whether y has the shape of the grid; its first axis tells it from columns (N, c)."""
        sizes = tuple(f.shape[1] for f in self._factors)
        return _arrays.kind(y) is not None and tuple(y.shape) == sizes and sizes[0] != self.shape[1]

    def _check_columns(self, y: Any, label: str) -> None:
        _arguments.real_array(y, label, "y")
        self._check_kind(y, label)
        _bind.check_device(label, "y", y, "factors[0]", self._factors[0])
        N = self.shape[0]
        if y.ndim not in (1, 2) or y.shape[0] != N:
            sizes = tuple(f.shape[1] for f in self._factors)
            wanted = f"({N},) or ({N}, c)" + (f" or {sizes}" if len(sizes) > 1 else "")
            raise ValueError(f"{label}: y has shape {tuple(y.shape)}, expected {wanted}")

    def _on_host(self, method: str) -> KroneckerOperator:
        """The same with NumPy factors, and what it keeps."""
        if self._kind == "numpy":
            return cast("KroneckerOperator", self)
        host = [_arguments.numbers_of(f, f"KroneckerOperator.{method}", f"factors[{i}]") for i, f in enumerate(self._factors)]
        if self._host is None:
            self._host = self._anew(host)
        return self._host

    def _like_mine(self, array: np.ndarray) -> Any:
        """A NumPy result as the kind of array that the factors are."""
        return _arrays.of_kind(self._kind, array if array.flags.writeable else array.copy())

    def _like(self, factors: Sequence[Any], dtype: Any) -> KroneckerOperator:
        return self._anew([f.astype(dtype, copy=False) for f in factors])

    def _require_square(self, method: str) -> None:
        for i, f in enumerate(self._factors):
            if f.shape[0] != f.shape[1]:
                raise ValueError(f"KroneckerOperator.{method}: factors[{i}] has shape {f.shape}, expected a square matrix")

    def _require_finite(self, method: str) -> None:
        for i, f in enumerate(self._factors):
            if not np.isfinite(f).all():
                raise ValueError(f"KroneckerOperator.{method}: factors[{i}] has NaN or infinity in it")

    def _eigen(self, method: str) -> list[tuple[Any, Any]]:
        self._require_square(method)
        self._require_finite(method)
        for i, f in enumerate(self._factors):
            name = f"KroneckerOperator.{method}: factors[{i}]"
            require_symmetric(f, np.finfo(self.dtype).eps, name, "symmetrise it, or use noise=0")
        return self._eigen_parts

    @functools.cached_property
    def _eigen_parts(self) -> list[tuple[Any, Any]]:
        return [tuple(np.linalg.eigh(f.astype(np.float64))) for f in self._factors]  # type: ignore[misc]

    @functools.cached_property
    def _eigensystem(self) -> tuple[Any, KroneckerOperator]:
        """Eigenvalues (N,) as they are, and eigenvectors, in double precision."""
        return products([l for l, _ in self._eigen_parts]), self._like([q for _, q in self._eigen_parts], np.float64)

    def _spectrum(self, noise: float) -> tuple[Any, KroneckerOperator]:
        """Eigenvalues (N,) of K, not negative, and eigenvectors, in double precision; LinAlgError if K + noise I is singular."""
        lam, Q, least = self._semidefinite
        if noise <= least:
            raise np.linalg.LinAlgError(
                f"KroneckerOperator: a factor is singular to working precision and the noise is {noise:.3g}, expected more than eps times "
                f"the largest eigenvalue of the product, {least:.3g}; {CURE}"
            )
        return lam, Q

    @functools.cached_property
    def _semidefinite(self) -> tuple[Any, KroneckerOperator, float]:
        """As ``_spectrum``, and the noise up to which K + noise I is singular to working precision."""
        eps, parts = float(np.finfo(self.dtype).eps), self._eigen("solve or logdet with noise")
        values = [not_negative(lam, eps, f"KroneckerOperator: factors[{i}]") for i, (lam, _) in enumerate(parts)]
        least = eps * product_of([l.max(initial=0.0) for l in values]) if singular_axis(values, eps) is not None else -1.0
        return products(values), self._like([q for _, q in parts], np.float64), least

    @functools.cached_property
    def _lu(self) -> list[tuple[Any, Any]]:
        self._require_finite("solve or logdet")
        return [factorised(f, i) for i, f in enumerate(self._factors)]

    def _solve_factors(self, rows: Any) -> Any:
        if rows.size == 0:
            return rows
        shape = (*rows.shape[:-1], *[len(f) for f in self._factors])
        from scipy.linalg import lu_solve

        x, lead = rows.reshape(shape), rows.ndim - 1
        exponents = list(map(exponent, self._factors))
        far = sum(map(abs, exponents)) > 500  # factor by factor x might leave the range of float64 and come back
        for k, (lu, pivots) in enumerate(self._lu):
            front = np.moveaxis(x, lead + k, 0)
            own = pivots.copy()  # SciPy counts them up to LAPACK's and back, in place: other threads read ours
            front = np.ldexp(front, exponents[k]) if far else front
            solved = lu_solve((lu, own), front.reshape(len(front), -1), check_finite=False)
            x = np.moveaxis(solved.reshape(front.shape), 0, lead + k)
        return np.ldexp(x, -sum(exponents)).reshape(rows.shape) if far else x.reshape(rows.shape)


def _turned(x: Any) -> Any:
    """Columns as rows, or back; a vector as it is."""
    return x.T if x.ndim == 2 else x
