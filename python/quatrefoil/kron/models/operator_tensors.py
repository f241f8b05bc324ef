"""``solve`` and ``logdet`` of a ``KroneckerOperator`` with gradients, for autograd and torch.func: README (15), (16)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..._call import call_vjp
from ..product import MATVEC, RMATVEC, batches
from ..product.dense import namespace
from .derivative import looped, numbers, once, tensor
from .factorisation import Factorisation

Factorise = Callable[[Sequence[Any]], Factorisation]


def solved(factorise: Factorise, noise: Any, rows: Any, factors: Sequence[Any]) -> Any:
    """Compute (K + noise I)^-1 x for rows x (..., N), in double precision; noise is a 0-d float64 tensor, or None for LU factors."""
    return _solved().apply((factorise, False), noise, rows, *factors)


def log_determinant(factorise: Factorise, noise: Any, factors: Sequence[Any]) -> Any:
    """log det(K + noise I), a 0-d float64 tensor; noise as in ``solved``."""
    return _log_determinant().apply(factorise, noise, *factors)


def _number(noise: Any) -> Any:
    return None if noise is None else numbers([noise])[0]


@functools.cache
def _solved() -> Any:
    import torch

    class Solved(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(setting: Any, noise: Any, rows: Any, *factors: Any) -> Any:
            factorise, transpose = setting
            return tensor(factorise(numbers(factors)).solved(numbers([rows])[0], _number(noise), transpose))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.setting, noise, _, *factors = inputs
            ctx.save_for_backward(noise, output, *factors)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (factorise, transpose), (noise, x, *factors) = ctx.setting, ctx.saved_tensors
            z = Solved.apply((factorise, not transpose), noise, grad, *factors)
            wide = [f.double() for f in factors]
            if batches.is_batch(factors):
                dfactors = batches.factor_gradients(namespace(x), wide, *((z, -x) if transpose else (x, -z)))
            else:
                dfactors, _ = call_vjp(RMATVEC if transpose else MATVEC, (wide, x, -z), (), ())
            if noise is not None:  # K is symmetric
                dfactors = [(d + d.mT) / 2 for d in dfactors]
            dnoise = None if noise is None else -(z * x).sum(tuple(range(noise.ndim, x.ndim)))
            return None, dnoise, z, *[d.sum_to_size(f.shape).to(f.dtype) for d, f in zip(dfactors, factors)]

    return looped(Solved)


@functools.cache
def _log_determinant() -> Any:
    import torch

    class Gradient(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(factorise: Factorise, noise: Any, *factors: Any) -> Any:
            dfactors, dnoise = factorise(numbers(factors)).logdet_gradient(_number(noise))
            return tuple(torch.as_tensor(a).to(f.dtype) for a, f in zip((*dfactors, dnoise), (*factors, noise)) if f is not None)

    gradient = once(Gradient, "logdet")

    class LogDeterminant(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(factorise: Factorise, noise: Any, *factors: Any) -> Any:
            return torch.as_tensor(factorise(numbers(factors)).logdet(_number(noise)), dtype=torch.float64)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.factorise, noise, *factors = inputs
            ctx.save_for_backward(noise, *factors)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            noise, *factors = ctx.saved_tensors
            *dfactors, last = gradient.apply(ctx.factorise, noise, *factors)
            dnoise, dfactors = (None, [*dfactors, last]) if noise is None else ((grad * last).sum_to_size(noise.shape), dfactors)
            return None, dnoise, *[(grad[..., None, None] * d).sum_to_size(f.shape).to(f.dtype) for d, f in zip(dfactors, factors)]

    return looped(LogDeterminant)
