"""Derivatives, integrals, norms, sums and products of Chebyshev-Tucker tensors. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Self

import numpy as np

from ... import _arguments, _arrays
from ..tucker import raised
from . import algebra
from .parts import TensorParts
from .train import TensorTrain

_AXIS = dict.fromkeys(("axes", "dim", "dims"), "use axis")


class Calculus(TensorParts):
    """Methods of ``ChebTucker`` that return new tensors or numbers."""

    __slots__ = ()
    __array_ufunc__ = None  # makes ``numpy_number * ct`` call the methods of this class

    @_arguments.keywords("cheb.ChebTucker.diff", **_AXIS, **dict.fromkeys(("order", "n", "degree"), "use m"))
    def diff(self, axis: int, m: int = 1) -> Self:
        """Return the m-th derivative along an axis, which then has max(n - m, 1) coefficients (13).

        A negative axis counts from the end. Differentiable in core and factors. The factors of the result are not orthonormal. Each
        derivative loses about a factor n^2 of accuracy at the ends of the domain.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: np.sin(x) * y**2, ((0, 1), (0, 1)))
        >>> X = np.array([[0.5, 0.25]])
        >>> float(ct.diff(0)(X)[0] - np.cos(0.5) * 0.25**2).__abs__() < 1e-9
        True
        """
        label = "cheb.ChebTucker.diff"
        k = _axis(axis, len(self.factors), label)
        U = self.factors[k]
        lo, hi = self._domain[2 * k : 2 * k + 2]
        for _ in range(_arguments.integer(m, label, "m", 0)):
            U = algebra.derivative(U) * (2 / (hi - lo))
        return self._with(self.core, [*self.factors[:k], U, *self.factors[k + 1 :]])

    @_arguments.keywords("cheb.ChebTucker.integrate", **_AXIS)
    def integrate(self, axis: int | Sequence[int] | None = None) -> Any:
        """Integrate over some axes, or over all of them by default (14).

        ``axis`` is an int, or a sequence or array of ints; a negative one counts from the end. Returns a ``ChebTucker`` of the other axes.
        The integral over all axes is a float, or for PyTorch tensors a 0-d tensor. Differentiable in core and factors.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: np.exp(x) * y, ((0, 1), (0, 2)))
        >>> round(ct.integrate(), 10) == round(2 * (np.e - 1), 10)
        True
        >>> ct.integrate(1).domain
        ((0.0, 1.0),)
        """
        label, d = "cheb.ChebTucker.integrate", len(self.factors)
        if axis is None:
            axes: tuple[int, ...] = tuple(range(d))
        else:
            axes = tuple(_axis(k, d, label) for k in _arguments.integers(axis, None, label, "axis"))
            if len(set(axes)) < len(axes):
                raise ValueError(f"{label}: axis is {axis!r}, expected distinct axes")
        widths = [hi - lo for lo, hi in self.domain]
        return self._contracted({k: algebra.integral_weights(self.factors[k].shape[0]) * (widths[k] / 2) for k in axes})

    def norm(self) -> Any:
        """Return the L2 norm over the domain, a float, or a 0-d tensor if the tensors require a gradient (15).

        Accurate to a few eps of the largest term. If a gradient is required, the norm is computed as the square root of a sum that may
        cancel. It is then accurate to 1e-8 of the terms, and not differentiable at 0.
        """
        widths = np.subtract(self._domain[1::2], self._domain[::2])
        return algebra.norm(self.core, self.factors) * float(np.prod(np.sqrt(widths / 2)))

    @_arguments.keywords("cheb.ChebTucker.round", missing="such as ct.round(1e-8)")
    def round(self, tol: float) -> Self:
        """Compress to ``tol``, relative in the Frobenius norm of the coefficients, with orthonormal factors (10).

        Ranks are chosen as in ``qf.cheb.tucker``; n does not change. A tol below 4 eps of float64 is raised to that value, with a warning.
        Truncation has no gradient: tensors that require one raise NotImplementedError.
        """
        label = "cheb.ChebTucker.round"
        tol = raised(_arguments.number(tol, label, "tol"), np.dtype(np.float64), label)
        return self._with(*algebra.rounded(self.core, self.factors, tol, label))

    @property
    def error_estimate(self) -> float:
        """The norm of the last coefficients of all axes (an eighth of each, at least two), relative to the norm of all (11).

        About equal to the interpolation error if coefficients decay steadily, and larger if they decay fast. It is large for a polynomial
        of degree n - 1, although n coefficients represent it exactly. Truncation errors are not included. For the result of
        ``from_function`` it is at least the largest error at the test points, relative to the largest |f|; for that of ``fit`` it is the
        held-out error.
        """
        if self._measured is not None:
            return self._measured
        return algebra.error_estimate(*algebra.on_host(self.core, self.factors, "cheb.ChebTucker.error_estimate", differentiable=True))

    def __add__(self, other: Any) -> Any:
        """Add a number or a tensor on the same domain, and round to 1e-14 (float32: 5e-7) of the norm.

        The result has the larger n. Sums of tensors that require a gradient are differentiable and not rounded: their ranks add up.
        """
        if _arguments.is_number(other):
            value = _arguments.number(other, "cheb.ChebTucker", "the added number", negative=True)
            parts = algebra.constant(value, self.core, self.factors)
        elif isinstance(other, Calculus):
            _check_pair(self, other)
            parts = other.core, list(other.factors)
        else:
            return NotImplemented
        core, factors = algebra.added(self.core, self.factors, *parts)
        if not algebra.wants_gradient(core, *factors):
            core, factors = algebra.rounded(core, factors, algebra.EXACT[_arrays.dtype_name(factors[0])], "cheb.ChebTucker.__add__")
        return self._with(core, factors)

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __neg__(self) -> Self:
        return self._with(-self.core, self.factors)

    def __pos__(self) -> Self:
        return self

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, Calculus) or _arguments.is_number(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        """Multiply by a number or a function: n_1 + n_2 - 1 coefficients per axis, rounded to 1e-14 (float32: 5e-7).

        Functions are multiplied on the full grid, or column by column if there are fewer pairs of columns than grid points (12). Products
        of tensors that require a gradient are differentiable and not rounded: their ranks multiply.
        """
        if _arguments.is_number(other):
            return self._with(self.core * _arguments.number(other, "cheb.ChebTucker", "a factor", negative=True), self.factors)
        if not isinstance(other, Calculus):
            return NotImplemented
        _check_pair(self, other)
        return self._with(*algebra.multiplied(self.core, self.factors, other.core, other.factors, "cheb.ChebTucker.__mul__"))

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __pow__(self, power: float) -> Any:
        """Raise to a power: by rounded products for nonnegative integers, otherwise resampled to 1e-10; values must be finite."""
        if not _arguments.is_number(power):
            return NotImplemented
        if power < 0 or power != int(power):
            exponent = _arguments.number(power, "cheb.ChebTucker", "the power", negative=True)
            return self.compose(lambda f: _power(f, exponent))
        n = int(power)
        half = self ** (n // 2) if n > 1 else None
        return self if n == 1 else self * 0 + 1 if half is None else half * half * self if n % 2 else half * half

    def __truediv__(self, other: Any) -> Any:
        """Divide by a nonzero number, or by a function without zeros in the domain, resampled to 1e-10."""
        if isinstance(other, Calculus):
            _check_pair(self, other)
            return self.compose(_divided, other)
        if not _arguments.is_number(other):
            return NotImplemented
        if other == 0:
            raise ZeroDivisionError("cheb.ChebTucker: division by zero")
        return self._with(self.core / _arguments.number(other, "cheb.ChebTucker", "a divisor", negative=True), self.factors)

    def __rtruediv__(self, other: Any) -> Any:
        if not _arguments.is_number(other):
            return NotImplemented
        numerator = _arguments.number(other, "cheb.ChebTucker", "the numerator", negative=True)
        return self.compose(lambda f: _divided(numerator, f))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or convert core and factors, like ``torch.Tensor.to``. NumPy arrays become tensors; the autograd graph is preserved."""
        import torch

        if args and isinstance(args[0], (str, ModuleType)) and getattr(args[0], "__name__", args[0]) in ("torch", "numpy"):
            raise TypeError(f"cheb.ChebTucker.to: got {args[0]!r}, expected a PyTorch dtype or device, such as torch.float64 or 'cpu'")

        def moved(array: Any) -> Any:
            return (torch.tensor(array) if isinstance(array, np.ndarray) else array).to(*args, **kwargs)

        core = TensorTrain(list(map(moved, self.core.cores))) if isinstance(self.core, TensorTrain) else moved(self.core)
        return self._with(core, list(map(moved, self.factors)))

    def _on_host(self, label: str, differentiable: bool = False) -> Self:
        """Return the same tensor with float64 NumPy arrays."""
        core, factors = algebra.on_host(self.core, self.factors, label, differentiable)
        if isinstance(core, TensorTrain):
            return self._with(TensorTrain([G.astype(np.float64) for G in core.cores]), [U.astype(np.float64) for U in factors])
        return self._with(core.astype(np.float64), [U.astype(np.float64) for U in factors])

    def _with(self, core: Any, factors: Sequence[Any]) -> Self:
        """Return a tensor with this core and these factors on the same domain."""
        return type(self)(core, list(factors), domain=self._domain)

    def _contracted(self, weights: dict[int, np.ndarray]) -> Any:
        """Sum the coefficients of some axes with weights (n,): return a tensor of the other axes, or a number if none is left."""
        core, factors = algebra.contracted(self.core, self.factors, weights)
        if not factors:
            return float(core) if isinstance(core, np.ndarray) else core
        return type(self)(core, factors, domain=tuple(pair for k, pair in enumerate(self.domain) if k not in weights))


def _divided(numerator: Any, denominator: np.ndarray) -> np.ndarray:
    """Divide without a warning for infinite values, which ``compose`` reports as errors."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / denominator


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.power(values, exponent)


def _axis(axis: Any, d: int, label: str) -> int:
    if isinstance(axis, (list, tuple)):
        raise TypeError(
            f"{label}: axis is {axis!r}, expected an integer; for several axes differentiate one after the other, ct.diff(0).diff(1)"
        )
    k = _arguments.integer(axis, label, "axis")
    if not -d <= k < d:
        raise ValueError(f"{label}: axis is {k}, out of range for {d} axes")
    return k % d


def _check_pair(one: Calculus, other: Calculus) -> None:
    if one._domain != other._domain:
        raise ValueError(f"cheb.ChebTucker: the domains are {one.domain} and {other.domain}, expected equal domains")
    if type(one.factors[0]) is not type(other.factors[0]) or one.core.dtype != other.core.dtype:
        both = f"{_arrays.describe(one.factors[0])} and {_arrays.describe(other.factors[0])}"
        raise TypeError(f"cheb.ChebTucker: the operands are {both}, expected the same library and dtype")
    if isinstance(one.core, TensorTrain) != isinstance(other.core, TensorTrain):
        raise TypeError(
            "cheb.ChebTucker: one core is a tensor train and the other an array; convert one of them, for example with TensorTrain.dense"
        )
