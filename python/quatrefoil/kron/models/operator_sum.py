"""Sums of Kronecker products."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Self

from ..._spec import Op
from ..twoterm import sum_logdet, sum_solve
from .operator_products import Products, as_rows
from .operator_validation import check_columns, is_table


class KroneckerSum(Products):
    """The sum of several ``KroneckerOperator``s, as returned by ``+`` and ``-``.

    It is also a SciPy ``LinearOperator``. A product takes one product per term, and is differentiable with PyTorch in all factors.
    Multiplication by a scalar scales every term.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = qf.kron.KroneckerOperator([np.eye(2), np.ones((2, 2))])
    >>> S = K + 0.5 * qf.kron.KroneckerOperator([np.eye(2), np.eye(2)])
    >>> S @ np.arange(4.0)
    array([1. , 1.5, 6. , 6.5])
    """

    def __init__(self, terms: Sequence[Any]) -> None:
        first = terms[0]
        for i, term in enumerate(terms):
            if term.shape != first.shape:
                raise ValueError(
                    f"KroneckerOperator: term {i} of the sum has shape {term.shape}, expected {first.shape}, like the other terms"
                )
        self._terms, self._kind, self._row = tuple(terms), first._kind, None
        self._transposed = None
        super(Products, self).__init__(max(str(t.dtype) for t in terms), first.shape)

    @property
    def terms(self) -> tuple[Any, ...]:
        """The operators that are added."""
        return self._terms

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.reduce, (operator.add, self._terms)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Products) and other._kind == self._kind:
            return type(self)((*self._terms, *(other.terms if isinstance(other, KroneckerSum) else (other,))))
        return super().__add__(other)

    def __mul__(self, other: Any) -> Any:
        return self._each(lambda t: t * other) if self._terms[0]._is_number(other) else super().__mul__(other)

    def __rmul__(self, other: Any) -> Any:
        return self * other if self._terms[0]._is_number(other) else super().__rmul__(other)

    def __truediv__(self, other: Any) -> Any:
        return self._each(lambda t: t / other)

    def __neg__(self) -> Self:
        return self._each(operator.neg)

    def __getitem__(self, index: Any) -> Any:
        """Entries, with the indexing of a ``KroneckerOperator``."""
        return self._total(lambda t: t[index])

    def to_dense(self) -> Any:
        """The dense matrix, (M, N)."""
        return self._total(lambda t: t.to_dense())

    def diagonal(self) -> Any:
        """The diagonal (N,) of terms with square factors."""
        return self._total(lambda t: t.diagonal())

    def trace(self) -> Any:
        """The trace of terms with square factors."""
        return self._total(lambda t: t.trace())

    def solve(self, y: Any) -> Any:
        """Solve (K + S) x = y with ``sum_solve``, for two terms of two factors each.

        S must be positive definite; y is (N,), (N, c) or (n_1, n_2).
        """
        K1, K2, S1, S2 = self._two_terms("solve")
        if is_table(y, (K1, K2)):
            return sum_solve(K1, K2, S1, S2, y)
        check_columns("KroneckerSum.solve", y, (K1, K2))
        rows = as_rows(y)
        return as_rows(sum_solve(K1, K2, S1, S2, rows.reshape(*rows.shape[:-1], len(K1), len(K2))).reshape(rows.shape))

    def logdet(self) -> Any:
        """log det(K + S) for two terms as in ``solve``, by ``sum_logdet``."""
        return sum_logdet(*self._two_terms("logdet"))

    def _two_terms(self, method: str) -> Any:
        factors = [t._factors for t in self._terms]
        if [len(f) for f in factors] != [2, 2] or len({tuple(f.shape for f in term) for term in factors}) > 1:
            fix = "for other sums use scipy.sparse.linalg.cg, which accepts this operator"
            raise NotImplementedError(f"KroneckerSum.{method}: expected two terms of two factors each, of the same shapes; {fix}")
        return factors[0] + factors[1]

    def _each(self, function: Callable[[Any], Any]) -> Self:
        return type(self)([function(t) for t in self._terms])

    def _total(self, function: Callable[[Any], Any]) -> Any:
        return functools.reduce(operator.add, map(function, self._terms))

    def _rows(self, op: Op, x: Any, out: Any = None) -> Any:
        first, *others = self._terms
        total = first._rows(op, x, out)
        for term in others:
            product = term._rows(op, x)
            total = total + product if out is None else total.__iadd__(product)
        return total

    def _transpose(self) -> Self:
        if self._transposed is None:
            self._transposed = self._each(lambda t: t.T)
            self._transposed._transposed = self
        return self._transposed

    _adjoint = _transpose
