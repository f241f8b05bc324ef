"""``KroneckerOperator``: a Kronecker product as a SciPy linear operator.

SciPy is imported on the first use of the class: until then its methods have no base class.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ... import _arguments, _arrays
from ..._typing import AnyArray, Backend
from ..product.dense import outer, owned
from .operator_batch import KroneckerBatch
from .operator_functions import Functions
from .operator_products import converted, copied, on_scipy
from .operator_sum import KroneckerSum
from .operator_validation import indices, require_square


class KroneckerOperator(Functions):
    """K = K_1 ⊗ ... ⊗ K_d as a ``scipy.sparse.linalg.LinearOperator`` (M, N).

    ``K @ x``, ``K.T``, ``K.H``, ``K.matmat``, ``K.rmatvec`` and the rest of SciPy's operators work. The factors are copied, and packed
    once per direction at first use, which suits iterative solvers. Multiples, and products with operators whose factors fit, are operators
    of this class. Sums and differences are operators with ``terms``, ``to_dense``, ``diagonal`` and ``trace``, and with ``solve`` and
    ``logdet`` for two terms of two factors each. ``K[i, j]``, ``K[i]``, ``K[:5, j]`` and ``K[rows, columns]`` are entries, computed
    without the matrix.

    Parameters
    ----------
    factors : list or tuple of (m_k, n_k)
        Matrices, float32 or float64, all of one dtype and kind.
    backend, num_threads
        As in ``help(qf.conventions)``, for every product of this operator.

    Raises
    ------
    ValueError
        No factors, or one that is not a matrix.
    TypeError
        Unsupported or mixed array types or dtypes. ``K @ x`` requires a float32 or float64 x of the factors' array type.

    Notes
    -----
    Vectors are (N,), flat in C order. Several vectors are the columns of an (N, c) matrix, as in SciPy; ``qf.kron.matvec`` takes a batch in
    rows, which saves copies. If K and x differ in precision, the result is float64.

    With PyTorch factors, every method takes and returns tensors, and is differentiable in them and in the factors. Only SciPy's
    combinations of this operator with others require NumPy arrays. Factors on a device, including CuPy's, are used there, and nothing is
    read back.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = qf.kron.KroneckerOperator([np.eye(2), np.ones((3, 3))])
    >>> K @ np.arange(6.0)
    array([ 3.,  3.,  3., 12., 12., 12.])
    >>> identity = qf.kron.KroneckerOperator([np.eye(2), np.eye(3)])
    >>> (2 * K + identity).diagonal()
    array([3., 3., 3., 3., 3., 3.])
    """

    def __getitem__(self, index: Any) -> Any:
        """Entries, with NumPy's indexing: ``K[i, j]``, ``K[i]``, ``K[:5, j]``, ``K[rows, columns]``.

        Each entry is a product of d numbers. The result is an array, differentiable with PyTorch.
        """
        i, j = indices(index, self.shape)
        sizes = [tuple(f.shape) for f in self._factors]
        rows, columns = (np.unravel_index(a, shape) for a, shape in zip((i, j), zip(*sizes)))
        parts = [f[tuple(_arrays.to_device_of(np.asarray(a), f) for a in at)] for f, at in zip(self._factors, zip(rows, columns))]
        return functools.reduce(lambda a, b: a * b, parts)

    def to_dense(self) -> Any:
        """The dense matrix, (M, N)."""
        dense = functools.reduce(_arrays.namespace_of(self._kind).kron, self._factors)
        return dense if len(self._factors) > 1 else owned(dense)

    def diagonal(self) -> Any:
        """The diagonal (N,) of a K with square factors: the outer product of their diagonals."""
        require_square("diagonal", self._factors)
        diagonal = outer([f.diagonal() for f in self._factors])
        return diagonal if len(self._factors) > 1 else owned(diagonal)

    def trace(self) -> Any:
        """The trace of a K with square factors: the product of their traces."""
        require_square("trace", self._factors)
        return math.prod(f.diagonal().sum() for f in self._factors)

    @staticmethod
    def batch(factors: Sequence[AnyArray], *, backend: Backend | None = None, num_threads: int | None = None) -> KroneckerBatch:
        """A ``KroneckerBatch`` of operators, with the same methods, from factors (..., m_k, n_k) whose batch axes broadcast.

        Arguments and results have the batch axes before their own.
        """
        return KroneckerBatch(on_scipy(KroneckerOperator), factors, {"backend": backend, "num_threads": num_threads})

    # ---- arithmetic

    def __mul__(self, other: Any) -> Any:
        return self._scaled(other) if self._is_number(other) else super().__mul__(other)

    def __rmul__(self, other: Any) -> Any:
        return self._scaled(other) if self._is_number(other) else super().__rmul__(other)

    def __truediv__(self, other: Any) -> Any:
        return self._scaled(1 / other) if self._is_number(other) else super().__truediv__(other)

    def __neg__(self) -> Self:
        return self._scaled(-1.0)

    def __add__(self, other: Any) -> Any:
        is_ours = isinstance(other, (KroneckerOperator, KroneckerSum)) and other._kind == self._kind
        return on_scipy(KroneckerSum)([self]) + other if is_ours else super().__add__(other)

    def dot(self, x: Any) -> Any:
        """K x for a vector, K X for a matrix; for an operator whose factors fit, the operator of their products, else SciPy's product."""
        if not isinstance(x, KroneckerOperator) or x._kind != self._kind or len(x._factors) != len(self._factors):
            return super().dot(x)
        pairs = list(zip(self._factors, x._factors))
        if any(a.shape[1] != b.shape[0] for a, b in pairs):
            return super().dot(x)
        dtype = self._wider(x._factors[0])
        return self._with_factors([copied(converted(a, dtype) @ converted(b, dtype)) for a, b in pairs])

    def _is_number(self, value: Any) -> bool:
        """Whether this is a scalar: a real number, or a 0-d array of the factors' library."""
        if _arrays.kind(value) != self._kind:
            return _arguments.is_number(value)
        return not value.ndim and _arrays.dtype_name(value).lstrip("u").startswith(("float", "int"))

    def _scaled(self, number: Any) -> Self:
        """Multiplies the smallest factor by a number, without changing its precision."""
        k = min(range(len(self._factors)), key=lambda k: math.prod(self._factors[k].shape))
        scaled = converted(self._factors[k] * number, _arrays.dtype_name(self._factors[k]))
        return self._with_factors([copied(scaled) if i == k else f for i, f in enumerate(self._factors)])
