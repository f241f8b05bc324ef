"""The common base of all layers: errors for wrong keywords and inputs, and initial step sizes."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from typing import Any

import torch
from torch import Tensor

from ..._arrays import describe

# Keywords of the layers -> their names in other libraries.
_OTHER_NAMES = {
    "d_state": ("N", "n", "state_size", "state_dim", "ssm_size"),
    "d_model": ("H", "h", "hidden_size", "dim", "channels", "hidden_dim", "features"),
    "hidden_size": ("d_model", "dim", "hidden_dim"),
    "num_q_heads": ("num_heads", "heads", "n_heads"),
    "headdim": ("head_dim", "d_head"),
    "head_dim": ("headdim", "d_head"),
    "in_features": ("in_dim", "input_dim"),
    "out_features": ("out_dim", "output_dim"),
}
_HINTS = {
    **dict.fromkeys(("l_max", "L", "max_len", "max_length", "seq_len"), "omit it: inputs may have any length"),
    **dict.fromkeys(("batch_first", "channels_first"), "inputs are (batch, length, channels); for S4D pass transposed=False"),
}


def initial_log_steps(name: str, dt_min: float, dt_max: float, *shape: int, device: Any = None) -> Tensor:
    """Logarithms of step sizes, log-uniform between dt_min and dt_max; errors name the layer."""
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"{name}: dt_min and dt_max are {dt_min} and {dt_max}, expected 0 < dt_min <= dt_max")
    return torch.rand(*shape, device=device) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)


class Layer(torch.nn.Module):  # type: ignore[misc]
    """A module whose error messages name the layer."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls) and cls.__module__.startswith("quatrefoil"):
            cls.__init__ = _rejecting_unknown(cls.__init__)  # type: ignore[method-assign]

    def _check_input(
        self,
        x: Any,
        like: Tensor,
        size: int,
        shape: str,
        *,
        axis: int = -1,
        ndims: tuple[int, ...] = (),
        swapped: tuple[int, str] | None = None,
        name: str = "input",
    ) -> None:
        """Raise TypeError or ValueError unless x is a tensor with the precision of ``like`` and ``size`` channels at ``axis``.

        ``swapped``: an axis that may contain the channels by mistake, and the suggested fix.
        """
        label, wanted = type(self).__name__, f"torch.{str(like.dtype).removeprefix('torch.')}"
        if not isinstance(x, Tensor):
            fix = f"convert it: torch.as_tensor({name}, dtype={wanted})"
            raise TypeError(f"{label}: {name} is {describe(x)}, expected a tensor; {fix}")
        if not x.is_floating_point() or (x.dtype == torch.float64) != (like.dtype == torch.float64):
            fix = f"convert it: {name}.to({wanted})"
            fix += f", or the layer: layer.to({x.dtype})" if x.is_floating_point() else ""
            raise TypeError(f"{label}: {name} has dtype {x.dtype}, but its parameters have {like.dtype}; {fix}")
        if (ndims and x.ndim not in ndims) or x.ndim < -axis or x.shape[axis] != size:
            at = swapped is not None and x.ndim >= 2 and x.shape[swapped[0]] == size
            hint = f"; {swapped[1]}" if swapped is not None and at else ""
            raise ValueError(f"{label}: {name} has shape {tuple(x.shape)}, expected {shape}{hint}")

    def _check_sequence(self, x: Any, like: Tensor, size: int, ndims: tuple[int, ...] = (3,)) -> None:
        """``_check_input`` for (batch, length, channels)."""
        swapped = (-2, f"for (batch, {size}, length) pass input.transpose(1, 2)")
        self._check_input(x, like, size, f"(batch, length, {size})", ndims=ndims, swapped=swapped)

    def _check_state(self, state: Any, *shape: int) -> None:
        """Raise ValueError unless ``state`` is a complex tensor of this shape."""
        known = isinstance(state, Tensor) and state.is_complex()
        if not known or tuple(state.shape) != shape:
            got = f"has shape {tuple(state.shape)}" if known else f"is {describe(state)}"
            label, fix = type(self).__name__, f"start with default_state({', '.join(map(str, shape[:1]))})"
            raise ValueError(f"{label}: state {got}, expected a complex tensor of shape {shape}; {fix}")


def _rejecting_unknown(init: Any) -> Any:
    """An ``__init__`` whose TypeError for an unknown keyword suggests a known one."""
    known = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def __init__(self: Any, *arguments: Any, **keywords: Any) -> None:
        for name in keywords:
            if name not in known:
                meant = [k for k in known if name in _OTHER_NAMES.get(k, ())] or difflib.get_close_matches(name, known, 1)
                hint = _HINTS.get(name) or (f"did you mean {meant[0]}?" if meant else f"expected {', '.join(known)}")
                raise TypeError(f"{type(self).__name__}: unknown argument {name}; {hint}")
        init(self, *arguments, **keywords)

    return __init__
