"""Derivatives of h(K) y with respect to the factors of K, exact where eigenvalues are equal: README (12)-(14)."""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..product.dense import namespace, outer
from ..product.packed import PackedFactors

Array = Any
Decompose = Callable[[Sequence[Any]], tuple[Any, list[tuple[Any, Any]]]]  # factors -> eigenvalues (N,), (l_k, Q_k) of each
_ROUNDINGS = 4.0  # rounding error of a difference of two sums, in eps of their sizes


class Function:
    """h(K) for symmetric factors with eigenvalues l_k and eigenvectors Q_k, ``parts``, in double precision and array-API terms. ``values``
    (N,) are the values of h, ``slopes`` those of h'."""

    def __init__(self, xp: Any, parts: Sequence[tuple[Array, Array]], kernel: tuple[Any, Any]) -> None:
        self._xp, self._parts, self._Q = xp, parts, PackedFactors([q for _, q in parts], *kernel)

    def __call__(self, values: Array, y: Array) -> Array:
        """Rows (..., N) -> h(K) y."""
        return self._Q(values * self._Q(y, True))

    def adjoint(self, values: Array, slopes: Array, y: Array, grad: Array) -> tuple[list[Array], Array, Array]:
        """Rows y and grad (..., N) -> gradients of the factors, of the values and of y."""
        xp, N = self._xp, y.shape[-1]
        turned_y, turned_grad = (self._Q(xp.reshape(a, (math.prod(a.shape[:-1]), N)), True) for a in (y, grad))
        dfactors = []
        for k, (_, q) in enumerate(self._parts):
            M = _varied(xp, k, [l for l, _ in self._parts], values, slopes, turned_y, turned_grad)
            dfactors.append(q @ ((M + M.T) / 2) @ q.T)
        return dfactors, xp.sum(turned_y * turned_grad, axis=0), xp.reshape(self._Q(values * turned_grad), y.shape)


def _varied(xp: Any, k: int, eigenvalues: Sequence[Array], values: Array, slopes: Array, y: Array, grad: Array) -> Array:
    """M (n_k, n_k) of (13), for rows y and grad in the eigenbasis; (14) chooses between its two forms."""
    shape = tuple(l.shape[0] for l in eigenvalues)
    order = (k + 1, *[i for i in range(len(shape) + 1) if i != k + 1])

    def unfolded(rows: Array) -> Array:
        first = xp.permute_dims(xp.reshape(rows, (rows.shape[0], *shape)), order)
        return xp.reshape(first, (shape[k], math.prod(first.shape[1:])))

    others = outer([xp.ones_like(l) if i == k else l for i, l in enumerate(eigenvalues)])
    v, g = unfolded(y), unfolded(grad)
    weighted_v, weighted_g = unfolded(values * y), unfolded(values * grad)
    limit = (unfolded(others * slopes * grad) @ v.T + g @ unfolded(others * slopes * y).T) / 2
    apart = eigenvalues[k][:, None] - eigenvalues[k]
    sizes = _norms(xp, weighted_g)[:, None] * _norms(xp, v) + _norms(xp, g)[:, None] * _norms(xp, weighted_v)
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = (weighted_g @ v.T - g @ weighted_v.T) / apart
        lost = _ROUNDINGS * float(np.finfo(np.float64).eps) * sizes / xp.abs(apart)
        is_lost = (apart == 0) | (xp.abs(quotient - limit) <= lost)
    return xp.where(is_lost, limit, quotient)


def _norms(xp: Any, rows: Array) -> Array:
    """Norms of rows, which are scaled because their squares may exceed the range of float64."""
    if 0 in rows.shape:
        return xp.sqrt(xp.sum(rows, axis=1))
    size = xp.max(xp.abs(rows), axis=1)
    rows = rows / xp.where(size > 0, size, xp.ones_like(size))[:, None]
    return size * xp.sqrt(xp.sum(rows * rows, axis=1))


# ---- PyTorch


def out_of_compilation(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, excluded from torch.compile, whose gradients of decompositions divide by 0 where eager mode does not."""
    import torch

    return torch.compiler.disable(function) if "torch._dynamo" in sys.modules else function


def differentiated(h: Callable[[Any], Any], lam: Any) -> tuple[Any, Any, Any]:
    """h(lam) for a tensor of eigenvalues, and h' computed twice. The two agree if h maps each eigenvalue separately; on a device h' is NaN
    where they differ."""
    import torch

    has_slope = []

    def floating(lam: Any) -> Any:
        values = h(lam)
        has_slope.append(isinstance(values, torch.Tensor) and values.shape == lam.shape and values.is_floating_point())
        return values if has_slope[0] else lam

    values, pull = torch.func.vjp(floating, lam)
    if not has_slope[0]:  # bools, integers, and values that a later check rejects
        zero = torch.zeros_like(lam)
        return h(lam), zero, zero
    uneven = _arrays.to_device_of(2.0 ** (np.random.default_rng(0).permutation(len(lam)) % 4), lam)  # products with powers of two are exact
    slopes, again = (pull(w.to(values.dtype))[0].detach() / w for w in (torch.ones_like(uneven), uneven))
    if not _arrays.on_host(lam):
        slopes = torch.where(torch.isclose(slopes, again, rtol=1e-6, atol=0, equal_nan=True), slopes, torch.full_like(slopes, math.nan))
    return values, slopes, again


def decomposed(decompose: Decompose, factors: Sequence[Any]) -> tuple[Any, ...]:
    """Return tensors without gradients, even in torch.func: the eigenvalues (N,), then l_k and Q_k of every factor."""
    return _decomposed().apply(decompose, *factors)


def applied(kernel: tuple[Any, Any], factors: Sequence[Any], parts: Sequence[Any], values: Any, slopes: Sequence[Any], y: Any) -> Any:
    """h(K) y for rows y, differentiable in factors, too. ``parts`` come from ``decomposed``, ``slopes`` from ``differentiated``."""
    return _applied().apply((kernel, len(factors)), *slopes, values, y, *parts, *factors)


def numbers(tensors: Sequence[Any]) -> list[Any]:
    """Detached tensors, as NumPy arrays unless on a device."""
    plain = [t.detach().resolve_neg() for t in tensors]
    return [t.numpy() for t in plain] if _arrays.on_host(plain[0]) else plain


def tensor(array: Any) -> Any:
    """A tensor from a result computed with ``numbers``."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array.contiguous()


def looped(function: Any) -> Any:
    """Gives an autograd function a ``vmap`` that calls it once per item, which is correct for any axes."""
    import torch

    def vmap(info: Any, in_dims: Any, setting: Any, *tensors: Any) -> Any:
        calls, dims = [], in_dims[1:]
        for i in range(info.batch_size):
            calls.append(function.apply(setting, *[a if d is None else a.select(d, i) for a, d in zip(tensors, dims)]))
        if isinstance(calls[0], torch.Tensor):
            return torch.stack(calls), 0
        return tuple(map(torch.stack, zip(*calls))), (0,) * len(calls[0])

    function.vmap = staticmethod(vmap)
    return function


def once(function: Any, what: str) -> Any:
    """``looped``, for a gradient that cannot itself be differentiated."""

    def backward(ctx: Any, *grads: Any) -> Any:
        problem = "is not differentiable: a second derivative is not available"
        raise NotImplementedError(f"the gradient of KroneckerOperator.{what} {problem}")

    function.setup_context, function.backward = staticmethod(lambda ctx, inputs, output: None), staticmethod(backward)
    return looped(function)


@functools.cache
def _decomposed() -> Any:
    import torch

    class Decomposed(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(decompose: Decompose, *factors: Any) -> Any:
            lam, parts = decompose(numbers(factors))
            arrays = (lam, *itertools.chain(*parts))
            return tuple(torch.tensor(a) if isinstance(a, np.ndarray) else a.clone() for a in arrays)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.mark_non_differentiable(*output)
            ctx.count = len(inputs)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return (None,) * ctx.count

    return looped(Decomposed)


@functools.cache
def _adjoint() -> Any:
    import torch

    class Adjoint(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(setting: Any, grad: Any, slopes: Any, values: Any, y: Any, *parts_and_factors: Any) -> Any:
            dfactors, *others = _function(setting, parts_and_factors).adjoint(*numbers((values, slopes, y, grad)))
            return tuple(map(tensor, (*others, *dfactors)))

    return once(Adjoint, "apply")


@functools.cache
def _applied() -> Any:
    import torch

    class Applied(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(setting: Any, slopes: Any, again: Any, values: Any, y: Any, *parts_and_factors: Any) -> Any:
            _require_one_by_one(*numbers((slopes, again)))
            return tensor(_function(setting, parts_and_factors)(*numbers((values, y))))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.setting, slopes, _, values, y, *rest = inputs
            ctx.dtype = rest[-1].dtype
            ctx.save_for_backward(slopes, values, y, *rest)  # factors, too, so that a second derivative raises an error

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            dvalues, dy, *dfactors = _adjoint().apply(ctx.setting, grad, *ctx.saved_tensors)
            nothing = (None,) * (2 * len(dfactors))
            return None, None, None, dvalues, dy, *nothing, *[d.to(ctx.dtype) for d in dfactors]

    return looped(Applied)


def _function(setting: Any, tensors: Sequence[Any]) -> Function:
    """The function from l_k and Q_k of every factor; other tensors may follow."""
    kernel, count = setting
    parts = numbers(tensors[: 2 * count])
    return Function(namespace(parts[0]), list(zip(parts[::2], parts[1::2])), kernel)


def _require_one_by_one(slopes: Any, again: Any) -> None:
    """ValueError on the host; on a device ``differentiated`` returns NaN instead."""
    if isinstance(slopes, np.ndarray) and not np.allclose(slopes, again, rtol=1e-6, atol=0, equal_nan=True):
        raise ValueError(
            "KroneckerOperator.apply: a value of h depends on several eigenvalues; if a factor requires grad, h must "
            "act on each eigenvalue separately"
        )
