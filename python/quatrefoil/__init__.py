"""Quatrefoil: fast kernels for four families of methods in scientific machine learning.

``qf.ssm``: state-space models, filters and linear attention; start with ``s4d_conv``, ``fft_conv``, or the layers of ``qf.torch.nn``.
``qf.kron``: Gaussian processes on grids and Kronecker products; start with ``GridGP().fit([x, t], table)``.
``qf.cheb``: smooth functions of several variables; start with ``ChebTucker.from_function(f, domain)``.
``qf.wos``: boundary value problems by random walks; start with ``solve(Polygon(outline), points, dirichlet=0.0)``.

NumPy arrays, PyTorch tensors or JAX arrays go in, and the same kind comes out. ``help(qf.conventions)`` lists the rules for all functions.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import _interpreter as _interpreter  # isort: skip  (before NumPy)
from . import _libraries as _libraries
from . import _spec, conventions
from ._backends import use_backend
from ._config import config, get_num_threads, read_environment, set_num_threads, show_config, version
from ._public import exported_names, missing, public_dir

FAMILIES = tuple(_spec.FAMILIES)

read_environment()
del read_environment


if TYPE_CHECKING:
    from . import cheb, kron, ssm, wos

    __version__: str
else:  # hidden from type checkers, which would otherwise accept any name

    def __getattr__(name: str) -> Any:
        if name in FAMILIES or name == "torch":  # imported at first use; torch is not in __all__, where it would hide PyTorch
            return importlib.import_module(f"quatrefoil.{name}")
        if name == "__version__":
            return version()
        homes = [f"quatrefoil.{f}.{name}" for f in FAMILIES if name[:1] not in ("", "_") and name in exported_names(__getattr__(f))]
        hints = {name: f"use {' or '.join(homes)}"} if homes else {"nn": "layers are in quatrefoil.torch.nn"}
        return missing(__name__, **hints)(name)


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

_public_dir = public_dir(__name__)


def __dir__() -> list[str]:
    return [*_public_dir(), "torch"]
