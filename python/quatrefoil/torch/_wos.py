"""Walk on Spheres under autograd: the value depends on the boundary data's parameters, and backward replays the walks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..wos.walk.problem import Prepared
    from ..wos.walk.result import State


def attach(p: Prepared, state: State, value: Any) -> Any:
    """``value`` as a function of the parameters that want a gradient; itself where none does."""
    from ..wos.walk.gradient import parameters

    wanted = parameters(p)
    if not (torch.is_grad_enabled() and any(a.requires_grad for a in wanted)):
        return value
    if isinstance(p.dirichlet.given, (list, tuple)):
        raise NotImplementedError("solve: a list of data has no gradient in this version; detach its parameters")
    return _Replay.apply(p, state, value, *wanted)


class _Replay(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, p: Prepared, state: State, value: Any, *parameters: Any) -> Any:
        ctx.p, ctx.state = p, state
        ctx.save_for_backward(*parameters)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return (None, None, None, *_Adjoint.apply(ctx.p, ctx.state, grad, *ctx.saved_tensors))


class _Adjoint(torch.autograd.Function):  # type: ignore[misc]
    """A second derivative raises: it is never silently a part of itself."""

    @staticmethod
    def forward(ctx: Any, p: Prepared, state: State, grad: Any, *parameters: Any) -> Any:
        from ..wos.walk.gradient import replay

        return tuple(replay(p, state, grad.detach()))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("the gradient of wos.solve has no derivative of its own; a second derivative is not available")
