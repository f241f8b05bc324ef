"""``KroneckerOperator``: a Kronecker product as a SciPy linear operator.

SciPy is imported when the class is asked for: until then its methods wait here without their base.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from ... import _arrays
from ..product.dense import outer, owned
from .operator_functions import Functions
from .operator_validation import require_square

_made: dict[str, type[KroneckerOperator]] = {}


def scipy_class() -> type[KroneckerOperator]:
    """The class that users get: these methods on SciPy's base, pickled as quatrefoil.kron.KroneckerOperator. There is one of it, whichever
    thread comes first."""
    from scipy.sparse.linalg import LinearOperator

    names = {"__module__": "quatrefoil.kron", "__doc__": KroneckerOperator.__doc__}
    return _made.get("class") or _made.setdefault("class", type("KroneckerOperator", (KroneckerOperator, LinearOperator), names))


class KroneckerOperator(Functions):
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

    With PyTorch factors every method takes and returns tensors, differentiable in them and in the factors. What SciPy
    makes of an operator, sums and multiples, takes NumPy arrays alone. Factors on a device, CuPy's too, are computed with
    there, and nothing is read back.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = qf.kron.KroneckerOperator([np.eye(2), np.ones((3, 3))])
    >>> K @ np.arange(6.0)
    array([ 3.,  3.,  3., 12., 12., 12.])
    """

    def to_dense(self) -> Any:
        """The matrix itself, (M, N)."""
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
