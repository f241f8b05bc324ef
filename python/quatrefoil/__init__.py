"""Quatrefoil: fast kernels for four families of scientific machine learning.

``qf.ssm`` state-space convolution, ``qf.kron`` Kronecker-structured Gaussian processes, ``qf.cheb`` Chebyshev-Tucker tensors,
``qf.wos`` Walk on Spheres. NumPy arrays, PyTorch tensors or JAX arrays in, the same kind out.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import _interpreter as _interpreter  # isort: skip  (before NumPy)
from . import _spec, conventions
from ._backends import use_backend
from ._config import config, get_num_threads, read_environment, set_num_threads, show_config, version
from ._public import surface

FAMILIES = tuple(_spec.FAMILIES)

read_environment()
del read_environment


if TYPE_CHECKING:
    from . import cheb, kron, ssm, wos

    __version__: str
else:  # type checkers would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name in FAMILIES or name == "torch":  # imported at its first use; in __all__ torch would hide PyTorch
            return importlib.import_module(f"quatrefoil.{name}")
        if name == "__version__":
            return version()
        raise AttributeError(f"module 'quatrefoil' has no attribute {name!r}")


__all__ = [
    "FAMILIES",
    "cheb",
    "config",
    "conventions",
    "get_num_threads",
    "kron",
    "set_num_threads",
    "show_config",
    "ssm",
    "use_backend",
    "wos",
]

_surface = surface(__name__)


def __dir__() -> list[str]:
    return [*_surface(), "torch"]
