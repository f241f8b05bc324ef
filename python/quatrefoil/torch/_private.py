"""All private names of PyTorch that are used, each with a public substitute for versions without it."""

from __future__ import annotations

from typing import Any

import torch

forward_ad: Any = torch.autograd.forward_ad  # its _current_level is -1 outside of forward-mode differentiation

try:
    functorch_level = torch._C._functorch.maybe_current_level  # None outside of every torch.func transform
    dispatch_modes = torch._C._len_torch_dispatch_stack  # how many modes, fake tensors and tracers, see every operator
    _ = forward_ad._current_level
except AttributeError:  # then every call takes the path that handles transforms, which is always right but slower

    def functorch_level() -> int | None:
        return 0

    def dispatch_modes() -> int:
        return 0


def apply_of(function: Any) -> Any:
    """``function.apply`` without its 1.5 us check for transforms, for callers that have checked."""
    try:
        return torch._C._FunctionBase.__dict__["apply"].__get__(None, function)
    except (AttributeError, KeyError):
        return function.apply


def storage_of(a: torch.Tensor) -> int:
    """A number that identifies the memory of a tensor, equal for all its views; also for fake tensors, which have none."""
    storage = a.untyped_storage()
    return int(getattr(storage, "_cdata", None) or storage.data_ptr())
