"""Methods of ``KroneckerOperator`` that factorise the factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, overload

import numpy as np

from ... import _arguments, _arrays
from ..._typing import Array, T
from ..product.dense import namespace, outer, owned
from . import derivative, operator_tensors
from .factorisation import Factorisation, factorisation
from .operator_products import Products, as_rows, converted
from .operator_validation import check_columns, check_function, check_values, is_table, require_square


class Functions(Products):
    """Systems, determinants and functions of ``KroneckerOperator``."""

    def _factorisation(self, method: str) -> Factorisation:
        """The factorisation of square factors, without gradients."""
        require_square(method, self._factors)
        factors: Sequence[Any] = self._factors
        if self._kind != "numpy":
            factors = [plain(f, f"KroneckerOperator.{method}", f"factors[{i}]") for i, f in enumerate(factors)]
        if self._factorised is None:
            self._factorised = factorisation(factors, self._kernel)
        return self._factorised

    def _computed(self, method: str, compute: Callable[[Factorisation], Any]) -> Any:
        """Applies ``compute`` to the factorisation. Under autograd, it uses PyTorch functions after the checks on the host."""
        if not self._is_differentiated():
            return compute(self._factorisation(method))
        require_square(method, self._factors)
        if _arrays.on_host(self._factors[0]):

            def check(factors: Sequence[Any]) -> tuple[Any, list[Any]]:
                compute(self._factorise(factors))
                return factors[0], []

            derivative.out_of_compilation(derivative.decomposed)(check, self._factors)
        return derivative.out_of_compilation(compute)(Factorisation(self._factors, self._kernel))

    def _is_differentiated(self, *others: Any) -> bool:
        """Whether autograd records operations on the factors and others."""
        return self._kind == "torch" and is_differentiated((*self._factors, *others))

    def _noise(self, noise: Any, label: str) -> Any:
        """The noise as a number, or as a tensor in double precision if it requires a gradient; None for 0, which needs no eigenvalues."""
        if self._kind == "torch" and getattr(noise, "requires_grad", False):
            if noise.ndim:
                raise TypeError(f"{label}: noise has shape {tuple(noise.shape)}, expected a number")
            if self._is_differentiated(noise):
                return noise.double()
            noise = noise.detach()
        return _arguments.number(noise, label, "noise") or None

    def eigh(self) -> tuple[Any, Self]:
        """K = Q diag(lam) Q^T for symmetric factors (7): lam (N,) and Q, a KroneckerOperator.

        lam is in the order of the grid, not sorted: the Kronecker product of the factors' eigenvalues. ``ValueError`` if a factor is not
        square, not symmetric or not finite; on a device, lam is NaN in the latter two cases. Differentiable with PyTorch. Gradients of
        functions of lam that do not depend on the order of equal eigenvalues are exact. Those of Q come from ``torch.linalg.eigh`` and are
        infinite if a factor has equal eigenvalues; ``apply`` does not have this limit.
        """
        lam, parts = self._computed("eigh", lambda f: f.eigen("KroneckerOperator.eigh"))
        return self._of_mine(converted(owned(lam), _arrays.dtype_name(self._factors[0]))), self._with([q for _, q in parts])

    def inverse(self) -> Self:
        """K^-1 = K_1^-1 ⊗ ... ⊗ K_d^-1 (8), a KroneckerOperator.

        For right-hand sides ``solve`` is more accurate. Exceptions are as for ``solve`` without noise. Differentiable with PyTorch.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> K = qf.kron.KroneckerOperator([np.diag([1.0, 2.0]), np.diag([4.0, 8.0])])
        >>> K.inverse().diagonal()
        array([0.25  , 0.125 , 0.125 , 0.0625])
        """
        return self._with(self._computed("inverse", lambda f: f.inverses()))

    def cholesky(self) -> Self:
        """Return L with K = L L^T (17), a KroneckerOperator of lower triangular factors.

        The factors must be symmetric and positive definite.

        ``L @ z`` of standard normal z has the covariance K. Differentiable with PyTorch.

        Raises
        ------
        ValueError
            A factor that is not square, not symmetric or not finite.
        numpy.linalg.LinAlgError
            A factor that is not positive definite. On a device L is NaN instead.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> K = qf.kron.KroneckerOperator([np.diag([1.0, 4.0]), np.diag([9.0, 16.0])])
        >>> K.cholesky().diagonal()
        array([3., 4., 6., 8.])
        """
        return self._with(self._computed("cholesky", lambda f: f.choleskys("KroneckerOperator.cholesky")))

    def svd(self) -> tuple[Self, Any, Self]:
        """K = U diag(s) V^T for factors of any shape (18): U and V^T, KroneckerOperators, and s, not negative.

        The reduced decomposition of every factor: with r_k = min(m_k, n_k) and R their product, U is (M, R), s (R,) and V^T (R, N). s is in
        the order of the grid, not sorted: the Kronecker product of the factors' singular values. Differentiable with PyTorch, as ``eigh``
        is.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> K = qf.kron.KroneckerOperator([np.ones((2, 1)), np.diag([3.0, 4.0])])
        >>> U, s, Vt = K.svd()
        >>> s.round(3)
        array([5.657, 4.243])
        """
        xp = namespace(self._factors[0])
        for i, f in enumerate(self._factors):
            if isinstance(f, np.ndarray) and not np.isfinite(f).all():
                raise ValueError(f"KroneckerOperator.svd: factors[{i}] contains NaN or infinity")
        svd = derivative.out_of_compilation(xp.linalg.svd) if self._kind == "torch" else xp.linalg.svd
        U, s, Vt = zip(*[svd(converted(f, "float64"), full_matrices=False) for f in self._factors])
        return self._with(U), converted(owned(outer(s)), _arrays.dtype_name(self._factors[0])), self._with(Vt)

    def _with(self, factors: Sequence[Any]) -> Self:
        """An operator like this one, from computed factors, in its precision."""
        return self._anew([self._of_mine(converted(f, _arrays.dtype_name(self._factors[0]))) for f in factors])

    @overload
    def solve(self, y: np.ndarray, noise: Any = 0.0) -> np.ndarray: ...
    @overload
    def solve(self, y: Array[T], noise: Any = 0.0) -> T: ...
    def solve(self, y: Any, noise: Any = 0.0) -> Any:
        """Solve (K + noise I) x = y for x, for y (N,), (N, c) or of the grid's shape, (n_1, ..., n_d).

        Without noise, uses an LU factorisation of each factor (8), symmetric or not. With noise > 0, uses an eigendecomposition of each
        (9); factors must then be symmetric and, up to rounding, positive semidefinite. Both are computed once and cached.

        Raises
        ------
        ValueError
            A factor that is not square, not finite, or with noise > 0 not symmetric; noise < 0; a y of the wrong length.
        TypeError
            y neither float32 nor float64.
        numpy.linalg.LinAlgError
            A factor is singular to working precision, and the noise is at most eps times the largest eigenvalue of K, eps that of the
            factors' precision; or noise > 0 and a factor has a negative eigenvalue, beyond rounding errors of 0.

        Notes
        -----
        Differentiable with PyTorch in y, the factors and a noise that is a 0-d tensor, by one more solve (15), even at equal eigenvalues.
        With noise > 0, the gradient of a factor is symmetric.

        On a device no value is read: instead of errors that depend on values, x is NaN, or the array library raises its own error for an
        exactly singular factor. LU factors on a device are not cached.
        """
        label = "KroneckerOperator.solve"
        if is_table(y, self._factors):
            return self.solve(y.reshape(-1), noise).reshape(y.shape)
        check_columns(label, y, self._factors)
        noise = self._noise(noise, label)
        if self._is_differentiated(y, noise):
            solve = derivative.out_of_compilation(operator_tensors.solved)
            x = solve(self._factorise, as_tensor(noise, self._factors[0]), converted(as_rows(y), "float64"), self._factors)
        else:
            x = self._factorisation("solve").solved(converted(as_rows(plain(y, label, "y")), "float64"), noise)
        return self._of_mine(as_rows(converted(x, self._wider(y))))

    def logdet(self, noise: Any = 0.0) -> Any:
        """log det(K + noise I) (10), exact, a float: from LU factors without noise, from eigenvalues with noise.

        Exceptions are as for ``solve``, and ``numpy.linalg.LinAlgError`` if the determinant is not positive. On a device the result is a
        0-d float64 array, NaN instead of errors that depend on values. Differentiable with PyTorch in the factors and the noise (16); the
        result is then a float64 tensor.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> K = qf.kron.KroneckerOperator([np.diag([1.0, 4.0]), np.eye(2)])
        >>> round(K.logdet(noise=1.0), 4)  # 2 log 10
        4.6052
        """
        noise = self._noise(noise, "KroneckerOperator.logdet")
        if not self._is_differentiated(noise):
            return self._factorisation("logdet").logdet(noise)
        require_square("logdet", self._factors)
        return derivative.out_of_compilation(operator_tensors.log_determinant)(
            self._factorise, as_tensor(noise, self._factors[0]), self._factors
        )

    def apply(self, h: Callable[[Any], Any], y: Any) -> Any:
        """h(K) y = Q (h(lam) * (Q^T y)) for symmetric factors (11): y (N,), (N, c) or (n_1, ..., n_d) -> the same shape.

        Parameters
        ----------
        h : callable
            Maps the eigenvalues (N,), in float64 and in the order of the grid, to as many real numbers, such as ``np.sqrt`` or
            ``lambda lam: lam / (lam + c)``. With PyTorch factors it receives a tensor. On a device it receives a device array, which is
            NaN if a factor is not symmetric or not finite. A NaN or infinity in its result spreads to the whole of h(K) y.
        y : (N,) or (N, c)
            As in ``solve``.

        Raises
        ------
        ValueError
            A factor that is not square, not symmetric or not finite; a y of the wrong length; values of the wrong shape; a factor that
            requires a gradient although h does not map each eigenvalue separately, such as ``lam / lam.max()``.
        TypeError
            y neither float32 nor float64, or not of the factors' kind; values that are not real numbers.

        Notes
        -----
        A call takes two products with Q and one call to h; eigendecompositions are cached. Rounding may make a zero eigenvalue negative, so
        take square roots of ``np.maximum(lam, 0)``.

        Differentiable with PyTorch in y, in the parameters of h by autograd, and in the factors from h and h' (12)-(14), even at equal
        eigenvalues, where ``torch.linalg.eigh`` divides by 0. The gradient of a factor is symmetric, with its entries treated as
        independent. For NumPy there is ``apply_vjp``.

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
        rows = converted(as_rows(y), "float64")
        if any(getattr(f, "requires_grad", False) for f in self._factors):
            result = derivative.out_of_compilation(self._applied)(h, rows, label)
        else:
            factors = self._factorisation("apply")
            lam, _ = factors.eigen(label)
            result = factors.filtered(self._checked(h(self._of_mine(owned(lam))), label), rows)
        return as_rows(converted(result, self._wider(y)))

    def apply_vjp(self, h: Callable[[Any], Any], slope: Callable[[Any], Any], y: Any, grad: Any) -> tuple[list[Any], Any, Any]:
        """Gradients of ``apply`` for NumPy or CuPy factors: grad, of y's shape, is the gradient of the result -> ([gradient of every
        factor], gradient of h's values (N,), gradient of y) (12)-(14).

        ``slope`` is the derivative h', a function of the eigenvalues (N,), too: ``lambda lam: c / (lam + c) ** 2``. The gradient of a
        factor is symmetric. Gradients of the parameters of h follow from that of its values. Takes two products with Q, four sums of N n_k
        products per factor, and about ten float64 arrays like y. Exceptions are as for ``apply``.
        """
        label = "KroneckerOperator.apply_vjp"
        if self._kind == "torch":
            raise TypeError(f"{label}: the factors are torch arrays, expected NumPy arrays; for tensors use autograd")
        if not callable(slope):
            raise TypeError(f"{label}: slope is {type(slope).__name__}, expected a function of the eigenvalues")
        check_function(label, h, y, self._factors)
        _arguments.real_array(grad, label, "grad")
        if grad.shape != y.shape:
            raise ValueError(f"{label}: grad has shape {grad.shape}, expected {y.shape}, like y")
        factors = self._factorisation("apply_vjp")
        lam, parts = factors.eigen(label)
        values, slopes = self._checked(h(owned(lam)), label), self._checked(slope(owned(lam)), label, "slope")
        rows = [converted(as_rows(a), "float64") for a in (y, grad)]
        dfactors, dvalues, dy = derivative.Function(factors.xp, parts, self._kernel).adjoint(values, slopes, *rows)
        return [d.astype(self.dtype, copy=False) for d in dfactors], dvalues, as_rows(dy).astype(y.dtype, copy=False)

    def _applied(self, h: Callable[[Any], Any], rows: Any, label: str) -> Any:
        """``apply`` if a factor requires a gradient."""
        lam, *parts = derivative.decomposed(lambda factors: self._factorise(factors).eigen(label), self._factors)
        values, *slopes = derivative.differentiated(h, lam)
        return derivative.applied(self._kernel, self._factors, parts, self._checked(values, label), slopes, rows)

    def _factorise(self, factors: Sequence[Any]) -> Factorisation:
        """Factorises the operator's factors, or those of an item under torch.func.vmap. Caches the last result on the host."""
        if not isinstance(factors[0], np.ndarray):
            return factorisation(factors, self._kernel)
        at = [f.__array_interface__["data"][0] for f in factors]
        if self._mapped is None or self._mapped[0] != at:
            self._mapped = at, factorisation(factors, self._kernel)
        return self._mapped[1]

    def _checked(self, values: Any, label: str, name: str = "h") -> Any:
        """Checks the values that ``name`` returned for the eigenvalues; returns them in double precision."""
        check_values(label, name, values, self._factors)
        return converted(values, "float64")

    def _of_mine(self, array: Any) -> Any:
        """The numbers of a factorisation, as an array of the factors' kind."""
        return _arrays.of_kind(self._kind, array) if isinstance(array, np.ndarray) else array

    def _wider(self, y: Any) -> str:
        """The wider precision of y and the factors."""
        return "float64" if "float64" in (_arrays.dtype_name(y), _arrays.dtype_name(self._factors[0])) else "float32"


def is_differentiated(arrays: Sequence[Any]) -> bool:
    """Whether autograd records operations on arrays, the first of which is a factor of an operator."""
    return any(getattr(a, "requires_grad", False) for a in arrays) and bool(_arrays.namespace(arrays[0]).is_grad_enabled())


def as_tensor(noise: Any, factor: Any) -> Any:
    """The noise as a tensor for autograd; None unchanged."""
    is_tensor = noise is None or _arrays.kind(noise) == _arrays.kind(factor)
    return noise if is_tensor else _arrays.to_device_of(np.asarray(noise), factor)


def plain(array: Any, label: str, name: str) -> Any:
    """An array without its graph, as a NumPy array unless on a device; numbers and None unchanged."""
    return array if _arrays.kind(array) is None else _arguments.host_array(array, label, name, device="keep", differentiable=True)
