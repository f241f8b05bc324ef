"""PyTorch: every op of every table as a registered operator with gradients, and the choice of the cheapest call path.

``nn`` contains layers, ``linear_operator`` contains operators for GPyTorch.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from .._public import missing, public_dir

__all__ = ["nn"]

if not TYPE_CHECKING:  # hidden from type checkers, which would otherwise accept any name

    def __getattr__(name: str) -> Any:
        if name != "nn":
            missing(__name__)(name)
        if not importlib.util.find_spec("torch"):
            raise ModuleNotFoundError("quatrefoil.torch.nn needs PyTorch: pip install 'quatrefoil[torch]'", name="torch")
        return importlib.import_module(f"{__name__}.nn")


__dir__ = public_dir(__name__)
