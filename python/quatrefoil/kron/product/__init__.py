"""Products with Kronecker matrices. Factors K_1..K_d are (m_k, n_k), M = prod m_k, N = prod n_k.

Equation numbers refer to csrc/kron/product/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._arguments import sequence
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Policy
from ..._typing import Array, Backend, T
from . import batches

_FACTORS = Arg("factors", "m_ n_", sequence=True)

_LIBRARY_FROM = 17  # from this many rows or columns, a GPU's BLAS takes about half as long as the kernel; estimated, not measured


def _prefers_library(shapes: Sequence[Any]) -> bool:
    return any(max(f) >= _LIBRARY_FROM for f in shapes[0])


MATVEC = Op(
    __name__, "matvec", inputs=(_FACTORS, Arg("x", "... n_x")), outputs=(Arg("y", "... m_x"),), extras=("packed",),
    policy=Policy(prefers_library=_prefers_library),
    tolerance=2e-6,
)  # fmt: skip
RMATVEC = Op(
    __name__, "rmatvec", inputs=(_FACTORS, Arg("x", "... m_x")), outputs=(Arg("y", "... n_x"),), extras=("packed",),
    policy=Policy(prefers_library=_prefers_library),
    tolerance=2e-6,
)  # fmt: skip
OPS = (MATVEC, RMATVEC)


def matvec(
    factors: Sequence[Array[T]],
    x: Array[T],
    *,
    transpose: bool = False,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Kronecker matrix times vector, y = (K_1 ⊗ ... ⊗ K_d) x, without forming the matrix (1).

    x is an (n_1, ..., n_d) array in C order, flattened, and so is y, with the sizes m_k. Every row of a batch is a vector.

    Parameters
    ----------
    factors : list or tuple of (m_k, n_k)
        One matrix per axis, at least one; float32 or float64, any strides, square or not. Each may be a batch, (..., m_k, n_k).
    x : (..., N)
        Vectors; (..., M) with ``transpose``. Leading axes broadcast with those of batches of factors.
    transpose : bool
        Multiply by (K_1 ⊗ ... ⊗ K_d)^T = K_1^T ⊗ ... ⊗ K_d^T.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., M)
        (..., N) with ``transpose``. An empty sum (some n_k = 0) is 0.

    Raises
    ------
    ValueError
        No factors, or incompatible shapes.
    TypeError
        Unsupported dtypes, or mixed array types or dtypes.
    MemoryError
        The result or the workspace does not fit into memory.

    Notes
    -----
    Differentiable in factors and x. Cost: 2 N sum n_k operations per vector if the factors are square; axes that shrink go first, those
    that grow last (3). Memory: only the result if the factors are square, otherwise at most two more arrays, none larger than x or y.
    Error: a few eps sqrt(sum n_k) of the result's norm. A NaN in x stays in its vector. ``KroneckerOperator`` packs factors once for many
    products. A batch of factors takes one matrix product per axis for short vectors, and one call per item for long ones.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B, x = np.eye(2), np.ones((3, 3)), np.arange(6.0)
    >>> qf.kron.matvec([A, B], x)
    array([ 3.,  3.,  3., 12., 12., 12.])
    >>> qf.kron.matvec([np.stack([A, 2 * A]), B], x)  # two operators
    array([[ 3.,  3.,  3., 12., 12., 12.],
           [ 6.,  6.,  6., 24., 24., 24.]])
    """
    op = RMATVEC if transpose else MATVEC
    matrices = sequence(factors, op.label)
    if batches.is_batch(matrices):
        return batches.product(op, matrices, x, transpose, out, backend, num_threads)
    return call(op, (*matrices, x), (), (None,), out, backend, num_threads)


def matvec_vjp(
    factors: Sequence[Array[T]],
    x: Array[T],
    grad: Array[T],
    *,
    transpose: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[list[T], T]:
    """Gradients of ``matvec``.

    ``grad`` (..., M) is the gradient of y -> ([gradient of every factor], gradient of x) (4)-(6).

    Takes 2 d - 1 mode products and d sums over all axes but one. The batch is summed in order, in double precision. Memory: d + 1 arrays of
    the size of one vector, or of a chunk of the batch of about 2 MiB.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> A, B, x = np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]), np.arange(4.0)
    >>> (dA, dB), dx = qf.kron.matvec_vjp([A, B], x, np.ones(4))
    >>> dx
    array([4., 6., 4., 6.])
    """
    op = RMATVEC if transpose else MATVEC
    dfactors, dx = call_vjp(op, (sequence(factors, op.label), x, grad), (), (), backend, num_threads)
    return dfactors, dx
