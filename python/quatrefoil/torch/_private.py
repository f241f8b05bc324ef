"""All private names of PyTorch that this package uses, each with a substitute for versions that lack it."""

from __future__ import annotations

from typing import Any

import torch

forward_ad: Any = torch.autograd.forward_ad  # its _current_level is -1 outside of forward-mode differentiation

try:
    functorch_level = torch._C._functorch.maybe_current_level  # None outside any torch.func transform
    dispatch_modes = torch._C._len_torch_dispatch_stack  # the number of active modes, such as fake tensors and tracers
    _ = forward_ad._current_level
except AttributeError:  # every call then takes the path for transforms, which is always correct but slower

    def functorch_level() -> int | None:
        return 0

    def dispatch_modes() -> int:
        return 0


def apply_of(function: Any) -> Any:
    """``function.apply`` without its check for transforms, which takes 1.5 us, for callers that have checked already."""
    try:
        return torch._C._FunctionBase.__dict__["apply"].__get__(None, function)
    except (AttributeError, KeyError):
        return function.apply


def storage_of(a: torch.Tensor) -> int:
    """A number that identifies the memory of a tensor and all its views. It also works for fake tensors, which have no memory."""
    storage = a.untyped_storage()
    return int(getattr(storage, "_cdata", None) or storage.data_ptr())
