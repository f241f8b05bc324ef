"""One JAX function per signature of an op. The gradient of an adjoint is the op's ``second_vjp``, or raises an error: a second derivative
is never silently zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from .._call import call
from .._spec import Op
from ._handler import TARGET
from ._site import Layout, expand, text_of


def function(op: Op, options: tuple[Any, ...], backend: str | None, num_threads: int, arguments: Layout, results: Layout) -> Any:
    """(present arrays) -> present results, compiled; works under the user's grad, vmap and jit."""
    types = [jax.ShapeDtypeStruct(*r) for r in results if r is not None]
    site = text_of(op, options, backend, num_threads, arguments, results)

    def compute(*arrays: Any) -> tuple[Any, ...]:
        return tuple(jax.ffi.ffi_call(TARGET, types, vmap_method="sequential")(*arrays, site=site))

    compute.__name__ = compute.__qualname__ = f"{op.family}_{op.name}"
    differentiable = jax.custom_vjp(compute)

    def forward(*primals: Any) -> Any:
        _reject_unsupported(op, expand(arguments, primals))
        arrays = tuple(jnp.asarray(p.value) for p in primals)  # the user's NumPy arrays have not been converted yet
        return differentiable(*arrays), arrays

    def backward(saved: Any, grads: Any) -> tuple[Any, ...]:
        vjp = _second if op.adjoint is None else _first
        arrays = expand(arguments, saved)
        gradients = vjp(op, options, backend, num_threads, arrays, expand(results, grads))
        return tuple(None if g is None else g.conj() for g, a in zip(gradients, arrays) if a is not None)

    differentiable.defvjp(forward, backward, symbolic_zeros=True)
    return jax.jit(differentiable, inline=True)


# JAX's cotangents are the conjugates of our (and autograd's) gradients, because JAX's sum of g dx has no conjugate.
def _first(op: Op, options: Any, backend: str | None, num_threads: int, arrays: Sequence[Any], cotangents: Sequence[Any]) -> Sequence[Any]:
    grads = [None if cotangents[i] is None else _instantiated(cotangents[i]).conj() for i in op.differentiable_outputs]
    assert op.adjoint is not None
    return cast(Sequence[Any], call(op.adjoint, [*arrays, *grads], options, (), None, backend, num_threads or None))


def _second(op: Op, options: Any, backend: str | None, num_threads: int, arrays: Sequence[Any], cotangents: Sequence[Any]) -> Sequence[Any]:
    assert op.primal is not None
    assert op.primal.policy.second_vjp is not None
    grads = [None if g is None or _is_zero(g) else g.conj() for g in cotangents]
    return op.primal.policy.second_vjp(arrays, grads, options, backend, num_threads or None)


def _reject_unsupported(op: Op, primals: Sequence[Any]) -> None:
    """Raise NotImplementedError if the requested gradient is not available."""
    if op.adjoint is None and (op.primal is None or op.primal.policy.second_vjp is None):
        what = f"the gradient of {op.primal.label}" if op.primal else op.label
        raise NotImplementedError(f"{what} is not differentiable: a second derivative is not available")
    for name, arg, _, primal in op.named(primals):
        if primal is not None and arg.constant and primal.perturbed:
            raise NotImplementedError(f"{op.label} is not differentiable with respect to {name}; pass jax.lax.stop_gradient({name})")


def _is_zero(x: Any) -> bool:
    return isinstance(x, jax.custom_derivatives.SymbolicZero)


def _instantiated(x: Any) -> Any:
    return jnp.zeros(x.shape, x.dtype) if _is_zero(x) else x
