"""The private names of PyTorch that are used here, all of them, each with the public way that takes its place where a version lacks it."""

from __future__ import annotations

from typing import Any

import torch

forward_ad: Any = torch.autograd.forward_ad  # its _current_level is -1 outside of forward-mode differentiation

try:
    functorch_level = torch._C._functorch.maybe_current_level  # None outside of every torch.func transform
    dispatch_modes = torch._C._len_torch_dispatch_stack  # how many modes, fake tensors and tracers, see every operator
    _ = forward_ad._current_level
except AttributeError:  # then no call is known to be a plain one: all go where transforms are seen too, right everywhere and slower

    def functorch_level() -> int | None:
        return 0

    def dispatch_modes() -> int:
        return 0


def apply_of(function: Any) -> Any:
    """``function.apply`` without its 1.5 us of asking for transforms, for a caller who has asked."""
    try:
        return torch._C._FunctionBase.__dict__["apply"].__get__(None, function)
    except (AttributeError, KeyError):
        return function.apply


def storage_of(a: torch.Tensor) -> int:
    """A number of its memory, the same for all views of it; also of tensors that have none, as fake ones."""
    storage = a.untyped_storage()
    return int(getattr(storage, "_cdata", None) or storage.data_ptr())
