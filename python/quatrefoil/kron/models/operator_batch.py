"""Batches of Kronecker products."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from ... import _arguments, _arrays
from ..product import MATVEC, RMATVEC, batches
from ..product.dense import namespace
from .factorisation import Factorisation
from .operator_functions import as_tensor, is_differentiated, plain
from .operator_products import converted, copied
from .operator_tensors import log_determinant, solved

_LABEL = "KroneckerOperator.batch"


def _of_items(name: str, what: str) -> Callable[[KroneckerBatch], Any]:
    """A method that calls the method ``name`` of every item."""

    def method(self: KroneckerBatch) -> Any:
        return self._mapped(lambda K: getattr(K, name)())

    method.__name__, method.__qualname__, method.__doc__ = name, f"KroneckerBatch.{name}", what
    return method


class KroneckerBatch:
    """A batch of ``KroneckerOperator``s, as returned by ``KroneckerOperator.batch``.

    The leading axes of the factors (..., m_k, n_k) broadcast to B. The methods are the same as for one operator, with the axes B before all
    arrays: ``K @ x`` and ``K.solve(y)`` take (*B, N) or (*B, N, c), ``K.logdet()`` is (*B,), and ``K.eigh()`` returns (*B, N) and a batch.
    The noise is a number, or one per item, (*B,). ``K[b]`` is one operator, or a part of the batch. Gradients are as for one operator.
    Multiples, and products of batches, are batches. Sums and differences support products, ``diagonal``, ``trace`` and ``to_dense``;
    those of two terms with two factors each also support ``solve`` and ``logdet``.

    Products, ``solve`` and ``logdet`` with short vectors treat all items together. Everything else takes one call per item, and so does a
    batch with an item that cannot be solved, to raise its error.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = qf.kron.KroneckerOperator.batch([np.stack([np.eye(2), 2 * np.eye(2)]), 3 * np.eye(2)])
    >>> y = np.full((2, 4), 6.0)
    >>> K.solve(y)
    array([[2., 2., 2., 2.],
           [1., 1., 1., 1.]])
    >>> K.logdet(noise=1.0).round(3)
    array([5.545, 7.784])
    """

    def __init__(self, make: Callable[..., Any], factors: Sequence[Any], options: dict[str, Any]) -> None:
        for i, f in enumerate(_arguments.sequence(factors, _LABEL)):
            _arguments.real_array(f, _LABEL, f"factors[{i}]")
            if f.ndim < 2:
                raise ValueError(f"{_LABEL}: factors[{i}] has shape {tuple(f.shape)}, expected (..., m_{i + 1}, n_{i + 1})")
        self.factors = tuple(map(copied, factors))
        self.batch_shape = batches.batch_shape(self.factors)
        if not math.prod(self.batch_shape):
            raise ValueError(f"{_LABEL}: the factors have batch axes {self.batch_shape}, expected no axis of length 0")
        self._make, self._options = make, options
        sizes = [math.prod(f.shape[axis] for f in self.factors) for axis in (-2, -1)]
        self.dtype, self.shape = self.factors[0].dtype, (*self.batch_shape, *sizes)
        make([f[(0,) * (f.ndim - 2)] for f in self.factors], **options)  # checks them

    @functools.cached_property
    def _whole(self) -> Factorisation:
        """The factorisation of all items together, without gradients."""
        return Factorisation([plain(f, _LABEL, f"factors[{i}]") for i, f in enumerate(self.factors)], (None, None))

    def _at_once(self, arrays: Sequence[Any], tracked: Callable[[], Any], untracked: Callable[[], Any]) -> Any:
        """The result of ``tracked`` if autograd records the factors or arrays, else of ``untracked``. None if one call per item is needed:
        for long vectors or rectangular factors, or to raise the error of an item."""
        sizes = [(f.shape[-2], f.shape[-1]) for f in self.factors]
        if self.shape[-1] > batches.SMALL or any(m != n for m, n in sizes):
            return None
        try:
            _ = self._whole  # fails within torch.func, where numbers cannot be read
            result = tracked() if is_differentiated((*self.factors, *arrays)) else untracked()
        except (np.linalg.LinAlgError, NotImplementedError):
            return None
        return result if not _arrays.on_host(result) or np.isfinite(plain(result, _LABEL, "result")).all() else None

    @functools.cached_property
    def _items(self) -> np.ndarray:
        """An array of operators."""
        items = np.empty(self.batch_shape, object)
        spread = batches.spread(self.factors, self.batch_shape)
        for at in np.ndindex(self.batch_shape):
            items[at] = self._make([f[at] for f in spread], **self._options)
        return items

    def _with_factors(self, factors: Sequence[Any]) -> Self:
        return type(self)(self._make, factors, self._options)

    @property
    def T(self) -> Self:
        """The transposes."""
        return self._with_factors([namespace(f).matrix_transpose(f) for f in self.factors])

    def __getitem__(self, index: Any) -> Any:
        """Indexes the batch axes: an operator, or a batch."""
        result = self._items[index]
        if not isinstance(result, np.ndarray):
            return result
        return self._with_factors([f[index] for f in batches.spread(self.factors, self.batch_shape)])

    # ---- arithmetic

    __array_ufunc__ = None  # in arithmetic, NumPy arrays defer to this class

    def __mul__(self, number: Any) -> Any:
        """The product with a number, or with one per item, (*B,)."""
        return self._mapped(lambda K, c: K * c, number)

    def __rmul__(self, number: Any) -> Any:
        return self * number

    def __truediv__(self, number: Any) -> Any:
        return self._mapped(lambda K, c: K / c, number)

    def __neg__(self) -> Any:
        return self * -1.0

    def __add__(self, other: Any) -> Any:
        return KroneckerBatchSum([self, other]) if isinstance(other, KroneckerBatch) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, KroneckerBatch) else NotImplemented

    def __matmul__(self, x: Any) -> Any:
        if type(x) is KroneckerBatch and len(x.factors) == len(self.factors):
            return self._with_factors([a @ b for a, b in zip(self.factors, x.factors)])
        return self._product(x, False)

    def matvec(self, x: Any) -> Any:
        """``K @ x``: x (*B, N) or (*B, N, c) -> (*B, M) or (*B, M, c)."""
        return self._product(x, False)

    def rmatvec(self, x: Any) -> Any:
        """``K.T @ x``."""
        return self._product(x, True)

    def _product(self, x: Any, transpose: bool) -> Any:
        self._require_batch("@", "x", x)
        if self.shape[-2 if transpose else -1] > batches.SMALL or x.ndim > len(self.batch_shape) + 2:
            return self._mapped(lambda K, x: K.T @ x if transpose else K @ x, x)
        op, factors, options = RMATVEC if transpose else MATVEC, self.factors, self._options
        if x.ndim == len(self.batch_shape) + 1:
            return batches.product(op, factors, x, transpose, None, **options)
        xp = namespace(x)
        rows = batches.product(op, [f[..., None, :, :] for f in factors], xp.matrix_transpose(x), transpose, None, **options)
        return xp.matrix_transpose(rows)

    def solve(self, y: Any, noise: Any = 0.0) -> Any:
        """Solve (K_b + noise I) x_b = y_b for x (*B, ...)."""
        self._require_batch("solve", "y", y)
        checked = self._noise("solve", noise)
        axes, N = len(self.batch_shape), self.shape[-1]
        if tuple(y.shape[axes:]) == (N,) or y.shape[axes] != N:  # vectors or tables
            rows = y.reshape(*self.batch_shape, 1, math.prod(y.shape[axes:]))
        else:
            rows = namespace(y).matrix_transpose(y) if y.ndim == axes + 2 else y
        if rows.ndim == axes + 2 and rows.shape[-1] == N and _arrays.kind(y) == _arrays.kind(self.factors[0]):
            wide, dtype = converted(rows, "float64"), max(_arrays.dtype_name(y), _arrays.dtype_name(self.factors[0]))
            tracked = lambda: solved(lambda _: self._whole, as_tensor(checked, self.factors[0]), wide, self.factors)  # noqa: E731
            untracked = lambda: self._whole.solved(plain(wide, _LABEL, "y"), plain(checked, _LABEL, "noise"))  # noqa: E731
            x = self._at_once((y, checked), tracked, untracked)
            if x is not None:
                x = converted(_arrays.to_device_of(x, y) if isinstance(x, np.ndarray) else x, dtype)
                return x.reshape(y.shape) if rows.shape[-2] == 1 else namespace(x).matrix_transpose(x)
        return self._mapped(lambda K, noise, y: K.solve(y, noise), noise, y)

    def logdet(self, noise: Any = 0.0) -> Any:
        """log det(K_b + noise I), (*B,)."""
        checked = self._noise("logdet", noise)
        tracked = lambda: log_determinant(lambda _: self._whole, as_tensor(checked, self.factors[0]), self.factors)  # noqa: E731
        y = self._at_once((checked,), tracked, lambda: self._whole.logdet(plain(checked, _LABEL, "noise")))
        if y is None:
            return self._mapped(lambda K, noise: K.logdet(noise), noise)
        return _arrays.to_device_of(y, self.factors[0]) if isinstance(y, np.ndarray) else y

    def apply(self, h: Callable[[Any], Any], y: Any) -> Any:
        """h(K_b) y_b, for a function h of the eigenvalues (N,) of one item."""
        self._require_batch("apply", "y", y)
        return self._mapped(lambda K, y: K.apply(h, y), y)

    eigh = _of_items("eigh", "Eigenvalues (*B, N), and eigenvectors, a batch.")
    svd = _of_items("svd", "U, a batch; s (*B, R); V^T, a batch.")
    inverse = _of_items("inverse", "The inverses, a batch.")
    cholesky = _of_items("cholesky", "The Cholesky factors, a batch.")
    diagonal = _of_items("diagonal", "The diagonals (*B, N).")
    trace = _of_items("trace", "The traces (*B,).")
    to_dense = _of_items("to_dense", "The matrices (*B, M, N).")

    def _require_batch(self, method: str, name: str, array: Any) -> None:
        _arguments.real_array(array, f"KroneckerBatch.{method}", name)
        if tuple(array.shape[: len(self.batch_shape)]) != self.batch_shape or array.ndim == len(self.batch_shape):
            raise ValueError(
                f"KroneckerBatch.{method}: {name} has shape {tuple(array.shape)}, expected the leading batch axes {self.batch_shape}"
            )

    def _noise(self, method: str, noise: Any) -> Any:
        """Check the noise. Return None if it is the number 0, otherwise a number, or an array in double precision."""
        if _arrays.kind(noise) is None:
            return _arguments.number(noise, f"KroneckerBatch.{method}", "noise") or None
        if noise.ndim and tuple(noise.shape) != self.batch_shape:
            raise ValueError(f"KroneckerBatch.{method}: noise has shape {tuple(noise.shape)}, expected a number or {self.batch_shape}")
        _arguments.real_array(noise, f"KroneckerBatch.{method}", "noise")
        kind = _arrays.kind(self.factors[0])
        if _arrays.kind(noise) not in (kind, "numpy"):
            raise TypeError(f"KroneckerBatch.{method}: noise is a {_arrays.kind(noise)} array but the factors are {kind} arrays")
        return converted(noise, "float64")

    def _mapped(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """One call per item; 0-d arguments are shared."""
        calls = []
        for at in np.ndindex(self.batch_shape):
            calls.append(function(self._items[at], *[a[at] if getattr(a, "ndim", 0) else a for a in arrays]))
        return self._stacked(calls)

    def _stacked(self, results: list[Any]) -> Any:
        """Combines the results of all items: arrays and numbers to arrays with leading batch axes, operators to batches."""
        first = results[0]
        if isinstance(first, tuple):
            return tuple(self._stacked(list(part)) for part in zip(*results))
        if hasattr(first, "factors"):
            return self._with_factors([self._stacked(list(part)) for part in zip(*[K.factors for K in results])])
        stacked = batches.stacked(results, self.batch_shape)
        return _arrays.to_device_of(stacked, self.factors[0]) if _arrays.kind(first) is None else stacked


class KroneckerBatchSum(KroneckerBatch):
    """A batch of ``KroneckerSum``s, with one call per item."""

    def __init__(self, terms: Sequence[KroneckerBatch]) -> None:
        first, self.terms = terms[0], [t for term in terms for t in getattr(term, "terms", [term])]
        for i, term in enumerate(terms):
            if term.shape != first.shape:
                raise ValueError(f"{_LABEL}: term {i} of the sum has shape {term.shape}, expected {first.shape}, like the other terms")
        self.factors, self.batch_shape, self.shape, self.dtype = first.factors, first.batch_shape, first.shape, first.dtype

    @functools.cached_property
    def _items(self) -> np.ndarray:
        items = np.empty(self.batch_shape, object)
        for at in np.ndindex(self.batch_shape):
            items[at] = self[at]
        return items

    @property
    def T(self) -> Self:
        return type(self)([t.T for t in self.terms])

    def __getitem__(self, index: Any) -> Any:
        return functools.reduce(operator.add, [t[index] for t in self.terms])

    def __mul__(self, number: Any) -> Self:
        return type(self)([t * number for t in self.terms])

    def __truediv__(self, number: Any) -> Self:
        return type(self)([t / number for t in self.terms])

    def _product(self, x: Any, transpose: bool) -> Any:
        self._require_batch("@", "x", x)
        return self._mapped(lambda K, x: K.T @ x if transpose else K @ x, x)

    def solve(self, y: Any) -> Any:  # type: ignore[override]
        """As ``KroneckerSum.solve``."""
        self._require_batch("solve", "y", y)
        return self._mapped(lambda K, y: K.solve(y), y)

    def logdet(self) -> Any:  # type: ignore[override]
        """As ``KroneckerSum.logdet``."""
        return self._mapped(lambda K: K.logdet())
