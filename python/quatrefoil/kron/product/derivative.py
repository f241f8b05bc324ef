"""The derivative of h(K) y in the factors of K, without trouble where eigenvalues are equal. README (12)-(14)."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .packed import Packed

if TYPE_CHECKING:
    from .operator import KroneckerOperator

_ROUNDINGS = 4.0  # of a difference of two sums, beside the sizes of their terms


class Function:
    """h(K) for symmetric factors by eigenvalues l_k and eigenvectors Q_k, ``parts``, in double precision; ``values`` (N,) are those of
    h, ``slopes`` those of h'."""

    def __init__(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], kernel: tuple[Any, Any]) -> None:
        self._parts, self._Q = parts, Packed([q for _, q in parts], *kernel)

    def __call__(self, values: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Rows (..., N) -> h(K) y."""
        result: np.ndarray = self._Q(values * self._Q(y, True))
        return result

    def adjoint(
        self, values: np.ndarray, slopes: np.ndarray, y: np.ndarray, grad: np.ndarray
    ) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Rows y and grad (..., N) -> gradients of the factors, of the values and of y."""
        turned_y, turned_grad = (self._Q(np.atleast_2d(a), True) for a in (y, grad))
        dfactors = []
        for k, (_, q) in enumerate(self._parts):
            M = _varied(k, [l for l, _ in self._parts], values, slopes, turned_y, turned_grad)
            dfactors.append(q @ ((M + M.T) / 2) @ q.T)
        return dfactors, (turned_y * turned_grad).sum(axis=0), self._Q(values * turned_grad).reshape(y.shape)


def _varied(
    k: int, eigenvalues: Sequence[np.ndarray], values: np.ndarray, slopes: np.ndarray, y: np.ndarray, grad: np.ndarray
) -> np.ndarray:
    """M (n_k, n_k) of (13), for rows y and grad in the eigenbasis; (14) says which of its two forms."""
    shape = tuple(map(len, eigenvalues))

    def unfolded(rows: np.ndarray) -> np.ndarray:
        first = np.moveaxis(rows.reshape(len(rows), *shape), k + 1, 0)
        found: np.ndarray = first.reshape(shape[k], first.size // max(shape[k], 1))
        return found

    others = functools.reduce(np.multiply.outer, [l**0 if i == k else l for i, l in enumerate(eigenvalues)]).reshape(-1)
    v, g = unfolded(y), unfolded(grad)
    weighed_v, weighed_g = unfolded(values * y), unfolded(values * grad)
    limit = (unfolded(others * slopes * grad) @ v.T + g @ unfolded(others * slopes * y).T) / 2
    apart = np.subtract.outer(eigenvalues[k], eigenvalues[k])
    sizes = np.multiply.outer(_norms(weighed_g), _norms(v)) + np.multiply.outer(_norms(g), _norms(weighed_v))
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = (weighed_g @ v.T - g @ weighed_v.T) / apart
        lost = _ROUNDINGS * np.finfo(np.float64).eps * sizes / np.abs(apart)
        is_lost = (apart == 0) | (np.abs(quotient - limit) <= lost)
    found: np.ndarray = np.where(is_lost, limit, quotient)
    return found


def _norms(rows: np.ndarray) -> np.ndarray:
    norms: np.ndarray = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms


# ---- PyTorch


def out_of_compilation(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, which torch.compile does not look into."""
    import torch

    found: Callable[..., Any] = torch.compiler.disable(function) if "torch._dynamo" in sys.modules else function
    return found


def differentiated(h: Callable[[Any], Any], lam: Any) -> tuple[Any, Any, Any]:
    """h(lam) for a tensor of eigenvalues, and h' there twice: the same numbers where h takes the eigenvalues one by one."""
    import torch

    has_slope = []

    def floating(lam: Any) -> Any:
        found = h(lam)
        has_slope.append(isinstance(found, torch.Tensor) and found.shape == lam.shape and found.is_floating_point())
        return found if has_slope[0] else lam

    values, pull = torch.func.vjp(floating, lam)
    if not has_slope[0]:  # bools, integers, and what is to be refused
        zero = torch.zeros_like(lam)
        return h(lam), zero, zero
    uneven = torch.from_numpy(2.0 ** (np.random.default_rng(0).permutation(len(lam)) % 4))  # which round nothing in any precision
    slopes, again = (pull(w.to(values.dtype))[0].detach() / w for w in (torch.ones_like(uneven), uneven))
    return values, slopes, again


def decomposed(operator: KroneckerOperator, factors: Sequence[Any]) -> tuple[Any, ...]:
    """Tensors without a gradient: the eigenvalues (N,), then l_k and Q_k of every factor. Within torch.func too, unlike on the host."""
    found: tuple[Any, ...] = _decomposed().apply(operator, *factors)
    return found


def applied(kernel: tuple[Any, Any], factors: Sequence[Any], parts: Sequence[Any], values: Any, slopes: Sequence[Any], y: Any) -> Any:
    """h(K) y for rows y; differentiable in factors too. ``parts`` as ``decomposed`` has them, ``slopes`` as ``differentiated``."""
    return _applied().apply((kernel, len(factors)), *slopes, values, y, *parts, *factors)


def _numbers(tensors: Sequence[Any]) -> list[np.ndarray]:
    return [t.detach().resolve_neg().numpy() for t in tensors]


def _looped(of: Any, info: Any, in_dims: Any, setting: Any, *tensors: Any) -> Any:
    """One call per item: always right, whatever the axes mean."""
    import torch

    calls, dims = [], in_dims[1:]
    for i in range(info.batch_size):
        calls.append(of.apply(setting, *[a if d is None else a.select(d, i) for a, d in zip(tensors, dims)]))
    if isinstance(calls[0], torch.Tensor):
        return torch.stack(calls), 0
    return tuple(map(torch.stack, zip(*calls))), (0,) * len(calls[0])


@functools.cache
def _decomposed() -> Any:
    import torch

    class Decomposed(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(operator: KroneckerOperator, *factors: Any) -> Any:
            lam, parts = operator._decomposed_factors(_numbers(factors))
            return tuple(torch.tensor(a) for a in (lam, *itertools.chain(*parts)))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.mark_non_differentiable(*output)
            ctx.count = len(inputs)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return (None,) * ctx.count

        @staticmethod
        def vmap(info: Any, in_dims: Any, *given: Any) -> Any:
            return _looped(Decomposed, info, in_dims, *given)

    return Decomposed


@functools.cache
def _adjoint() -> Any:
    import torch

    class Adjoint(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(setting: Any, grad: Any, slopes: Any, values: Any, y: Any, *parts_and_factors: Any) -> Any:
            dfactors, *others = _function(setting, parts_and_factors).adjoint(*_numbers((values, slopes, y, grad)))
            return tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in (*others, *dfactors))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            raise NotImplementedError(
                "the gradient of KroneckerOperator.apply has no derivative of its own; a second derivative is not available"
            )

        @staticmethod
        def vmap(info: Any, in_dims: Any, *given: Any) -> Any:
            return _looped(Adjoint, info, in_dims, *given)

    return Adjoint


@functools.cache
def _applied() -> Any:
    import torch

    class Applied(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(setting: Any, slopes: Any, again: Any, values: Any, y: Any, *parts_and_factors: Any) -> Any:
            _require_one_by_one(*_numbers((slopes, again)))
            function = _function(setting, parts_and_factors)
            return torch.from_numpy(np.ascontiguousarray(function(*_numbers((values, y)))))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.setting, slopes, _, values, y, *rest = inputs
            ctx.dtype = rest[-1].dtype
            ctx.save_for_backward(slopes, values, y, *rest)  # factors too: the adjoint has no derivative in them, and must be asked

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            dvalues, dy, *dfactors = _adjoint().apply(ctx.setting, grad, *ctx.saved_tensors)
            nothing = (None,) * (2 * len(dfactors))
            return None, None, None, dvalues, dy, *nothing, *[d.to(ctx.dtype) for d in dfactors]

        @staticmethod
        def vmap(info: Any, in_dims: Any, *given: Any) -> Any:
            return _looped(Applied, info, in_dims, *given)

    return Applied


def _function(setting: Any, tensors: Sequence[Any]) -> Function:
    """``tensors`` are l_k and Q_k of every factor; others may follow."""
    kernel, count = setting
    parts = _numbers(tensors[: 2 * count])
    return Function(list(zip(parts[::2], parts[1::2])), kernel)


def _require_one_by_one(slopes: np.ndarray, again: np.ndarray) -> None:
    if not np.allclose(slopes, again, rtol=1e-6, atol=0, equal_nan=True):
        raise ValueError(
            "KroneckerOperator.apply: a value of h depends on other eigenvalues than its own; expected a function of each where a "
            "factor requires grad"
        )
