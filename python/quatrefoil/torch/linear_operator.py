"""Kronecker products of the package ``linear_operator``, on which GPyTorch is built, computed by this library.

``import quatrefoil`` does not import this module, which requires linear_operator: use ``from quatrefoil.torch.linear_operator import
KroneckerProductLinearOperator``.
"""

from __future__ import annotations

from typing import Any

import linear_operator.operators as upstream
import torch
from linear_operator.utils.memoize import cached
from torch import Tensor

from .. import kron
from .._public import public_dir

__all__ = ["KroneckerProductAddedDiagLinearOperator", "KroneckerProductLinearOperator"]


class _Kronecker(upstream.LinearOperator):  # type: ignore[misc]
    """Solves and log-determinants by ``KroneckerOperator``, if ``_is_ours``."""

    def _is_ours(self) -> bool:
        return True

    def solve(self, right_tensor: Tensor, left_tensor: Tensor | None = None) -> Tensor:
        """As in linear_operator, by one LU factorisation per factor."""
        return _solve(self, right_tensor, left_tensor) if self._is_ours() else super().solve(right_tensor, left_tensor)

    def _solve(self, rhs: Tensor, preconditioner: Any = None, num_tridiag: int | None = 0) -> Any:
        return _solve(self, rhs) if self._is_ours() and not num_tridiag else super()._solve(rhs, preconditioner, num_tridiag)

    def inv_quad_logdet(self, inv_quad_rhs: Tensor | None = None, logdet: bool | None = False, reduce_inv_quad: bool | None = True) -> Any:
        """As in linear_operator, but exact."""
        if self._is_ours():
            return _inv_quad_logdet(self, inv_quad_rhs, logdet, reduce_inv_quad)
        return super().inv_quad_logdet(inv_quad_rhs, logdet, reduce_inv_quad)

    def _logdet(self) -> Tensor:
        return _logdet(self) if self._is_ours() else super()._logdet()

    def __add__(self, other: Any) -> Any:
        return _with_diagonal(super().__add__(other))


class KroneckerProductLinearOperator(_Kronecker, upstream.KroneckerProductLinearOperator):  # type: ignore[misc]
    """linear_operator's Kronecker product, with products, solves and log-determinants by ``KroneckerOperator``.

    Same arguments, methods and batches as ``linear_operator.operators.KroneckerProductLinearOperator``. Adding a constant to the
    diagonal returns a ``KroneckerProductAddedDiagLinearOperator``; all other results are linear_operator's own.

    Parameters
    ----------
    *linear_ops : tensors (..., m_k, n_k) or LinearOperators
        The factors; a LinearOperator is used as its dense matrix. float32 or float64.

    Raises
    ------
    numpy.linalg.LinAlgError
        In solves and log-determinants, if a factor is singular to working precision. linear_operator clamps eigenvalues at 1e-7 instead of
        raising an error. Add a diagonal, or compute in float64.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch.linear_operator import KroneckerProductLinearOperator
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    >>> K = KroneckerProductLinearOperator(A, torch.eye(3, dtype=torch.float64)).add_diagonal(torch.tensor(1.0))
    >>> quadratic, logdet = K.inv_quad_logdet(torch.ones(6, dtype=torch.float64), logdet=True)
    >>> round(quadratic.item(), 6), round(logdet.item(), 6)
    (1.5, 6.238325)
    """

    def _matmul(self, rhs: Tensor) -> Tensor:
        return _product(self, rhs, False)

    def _t_matmul(self, rhs: Tensor) -> Tensor:
        return _product(self, rhs, True)

    def add_diagonal(self, diag: Tensor) -> Any:
        """As in linear_operator."""
        return _with_diagonal(super().add_diagonal(diag))

    @cached(name="quatrefoil")
    def _kronecker(self) -> Any:
        """Our operator for one item or a batch; it caches its factorisation."""
        factors = [_symmetric(op.to_dense()) for op in self.linear_ops]
        return kron.KroneckerOperator.batch(factors) if self.batch_shape else kron.KroneckerOperator(factors)

    def _shift(self) -> float:
        return 0.0


class KroneckerProductAddedDiagLinearOperator(_Kronecker, upstream.KroneckerProductAddedDiagLinearOperator):  # type: ignore[misc]
    """linear_operator's K + D. If D = c I, solves and log-determinants use ``KroneckerOperator``, otherwise linear_operator.

    ``KroneckerProductLinearOperator`` returns it from ``add_diagonal`` and from sums with a diagonal. Gradients need no differences of
    eigenvalues, so equal eigenvalues are harmless.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch.linear_operator import KroneckerProductLinearOperator
    >>> K = KroneckerProductLinearOperator(torch.eye(2), torch.eye(3)).add_diagonal(torch.tensor(1.0))
    >>> K.solve(torch.ones(6))
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """

    def _is_ours(self) -> bool:
        return self._diag_is_constant and isinstance(self.linear_op, KroneckerProductLinearOperator)

    def _kronecker(self) -> Any:
        return self.linear_op._kronecker()

    def _shift(self) -> Tensor:
        return self.diag_tensor.diag_values.squeeze(-1)


def _symmetric(factor: Tensor) -> Tensor:
    """The factor itself, but with a symmetric gradient, because linear_operator's solves and determinants assume symmetric operators."""
    half = (factor + factor.mT) / 2
    return factor.detach() + (half - half.detach()) if factor.requires_grad else factor


def _with_diagonal(total: Any) -> Any:
    """Convert linear_operator's sum with a diagonal to our class."""
    if type(total) is not upstream.KroneckerProductAddedDiagLinearOperator:
        return total
    return KroneckerProductAddedDiagLinearOperator(total.linear_op, total.diag_tensor)


def _product(op: Any, rhs: Tensor, transpose: bool) -> Tensor:
    factors = [f.to_dense() for f in op.linear_ops]
    if rhs.ndim == 1:
        return kron.matvec(factors, rhs, transpose=transpose)
    if op.batch_shape:
        factors = [f.unsqueeze(-3) for f in factors]  # adds an axis for the columns
    return kron.matvec(factors, rhs.mT, transpose=transpose).mT


def _solve(op: Any, right: Tensor, left: Tensor | None = None) -> Tensor:
    """Solve for the columns of right (..., N, c), or a vector. Batch axes broadcast."""
    if not op.is_square:
        raise RuntimeError(f"solve requires a square operator, got one of shape {tuple(op.shape)}")
    columns, operator, noise, N = right.unsqueeze(-1) if right.ndim == 1 else right, op._kronecker(), op._shift(), op.shape[-1]
    if columns.shape[-2] != N:
        raise RuntimeError(f"right_tensor has shape {tuple(right.shape)}, which does not match an operator of shape {tuple(op.shape)}")
    batch, lead = op.batch_shape, torch.broadcast_shapes(op.batch_shape, columns.shape[:-2])
    columns = columns.expand(*lead, *columns.shape[-2:])
    outer = len(lead) - len(batch)  # batch axes that exist only in ``right`` become columns
    order = (*range(outer, len(lead) + 1), *range(outer), len(lead) + 1)
    many = columns.permute(order)
    x = operator.solve(many.reshape(*batch, N, -1), noise).reshape(many.shape).permute(*[order.index(i) for i in range(len(order))])
    x = x.squeeze(-1) if right.ndim == 1 else x
    return x if left is None else left @ x


def _logdet(op: Any) -> Tensor:
    return torch.as_tensor(op._kronecker().logdet(op._shift())).to(op.dtype)


def _inv_quad_logdet(op: Any, rhs: Tensor | None, logdet: bool | None, reduce: bool | None) -> tuple[Tensor, Tensor]:
    """The quadratic form and the log-determinant; values that are not requested are zero, as in linear_operator."""
    nothing = torch.zeros(op.batch_shape, dtype=op.dtype, device=op.device)
    if rhs is None:
        quadratic = nothing
    else:
        quadratic = (rhs * _solve(op, rhs)).sum(-1 if rhs.ndim == 1 else -2)
        quadratic = quadratic.sum(-1) if reduce and rhs.ndim > 1 else quadratic
    return quadratic, _logdet(op) if logdet else nothing


__dir__ = public_dir(__name__)
