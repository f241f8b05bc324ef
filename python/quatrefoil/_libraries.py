"""Registers the planners for PyTorch and JAX. The code for each is imported on the first call with one of its arrays."""

from __future__ import annotations

import sys
from typing import Any

from ._call import PLANNERS, Planner
from ._plans import Plan


def _torch_plan(*request: Any) -> Plan:
    from .torch import _route

    PLANNERS["torch"] = _route.PLANNER
    return _route.PLANNER.plan(*request)


def _torch_traced(*request: Any) -> Any:
    from .torch import _route  # PLANNERS is not updated: if torch.compile restarts, it must take the same path again

    return _route.traced(*request)


def _torch_is_tracing() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def _jax_plan(*request: Any) -> Plan:
    from .jax import _route

    PLANNERS["jax"] = _route.PLANNER
    return _route.PLANNER.plan(*request)


PLANNERS["torch"] = Planner(_torch_plan, _torch_traced, _torch_is_tracing)
PLANNERS["jax"] = Planner(_jax_plan)
