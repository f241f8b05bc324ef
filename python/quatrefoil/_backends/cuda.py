"""The GPU kernels of quatrefoil-cuda13 or quatrefoil-cuda12, or of an installation with QUATREFOIL_CUDA=1."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any, cast

from .._spec import Op

INSTALL = "pip install 'quatrefoil[cuda13]' (or [cuda12] for older drivers), or with nvcc in a checkout: QUATREFOIL_CUDA=1 pip install ."

# Operations that have kernels, as do their adjoints. This list makes them known even if no extension module is installed.
KERNELS = frozenset(
    [
        "cheb.tucker_derivatives",
        "cheb.tucker_eval",
        "kron.matvec",
        "kron.rmatvec",
        "ssm.causal_conv1d_fn",
        "ssm.chunk_gated_delta_rule",
        "ssm.chunk_simple_gla",
        "ssm.fft_conv",
        "ssm.gka",
        "ssm.linear_scan",
        "ssm.log_vandermonde",
        "ssm.log_vandermonde_complex",
        "ssm.log_vandermonde_transpose",
        "ssm.log_vandermonde_transpose_complex",
        "ssm.mamba_chunk_scan_combined",
        "ssm.s4d_kernel",
        "ssm.s5_apply",
        "ssm.selective_scan_fn",
        "ssm.selective_state_step",
        "wos.walk",
    ]
)


@functools.cache
def _modules() -> dict[str, Any]:
    """The installed extension modules, by distribution. Importing them needs no driver."""
    names = {"quatrefoil": "quatrefoil._cuda", **{f"quatrefoil-cuda{n}": f"quatrefoil_cuda{n}._cuda" for n in (13, 12)}}
    exists = importlib.util.find_spec
    return {name: importlib.import_module(path) for name, path in names.items() if exists(path.partition(".")[0]) and exists(path)}


@functools.cache
def _module() -> Any:
    """The extension module in use, or None if none has quatrefoil's version.

    Among the modules of quatrefoil's version, it is the first that finds a device, or the first one if none does.
    """
    fitting = [module for name, module in _modules().items() if not _mismatch(name, module)]
    return next((module for module in fitting if not module.why_no_device()), fitting[0] if fitting else None)


def _mismatch(name: str, module: Any) -> str | None:
    own = module.version if name == "quatrefoil" else importlib.metadata.version("quatrefoil")
    return None if module.version == own else f"{name} has version {module.version}, but quatrefoil has {own}; install '{name}=={own}'"


@functools.cache
def reason() -> str | None:
    """Why no device of this machine runs the kernels; None if one does."""
    if _module() is None:
        wrong = [text for name, module in _modules().items() if (text := _mismatch(name, module))]
        return wrong[0] if wrong else f"installed without GPU kernels: {INSTALL}"
    missing = _module().why_no_device()
    if missing:
        return f"no GPU can be used: {missing}"
    lacking = [_lacks(at) for at in range(_module().device_count())]
    return None if None in lacking else lacking[0]


def lacks(device: str) -> str | None:
    """Why that device ("cuda:1") does not run the kernels; None if it does. Machines may mix architectures."""
    return reason() if _module() is None or not device.startswith("cuda:") else _lacks(int(device[5:]))


@functools.cache
def _lacks(at: int) -> str | None:
    have = _module().capability(at)
    if any(_runs(arch, have) for arch in archs()):
        return None
    return f"{_name(at)} cannot run the GPU kernels, which were built for {', '.join(archs())}"


def _runs(arch: str, have: int) -> bool:
    """Whether code for an architecture runs on a device: machine code within its major version, PTX on all later devices."""
    number, _, kind = arch.partition("-")
    wanted = int(number)
    return have >= wanted and (kind != "real" or have // 10 == wanted // 10)


def kernel(op: Op) -> Callable[..., Any] | None:
    return cast(Callable[..., Any] | None, getattr(getattr(_module(), op.family, None), op.name, None))


def has_kernel(op: Op) -> bool:
    """Whether there is a kernel for an operation, installed or not."""
    return op.key.removesuffix("_vjp") in KERNELS


def archs() -> list[str]:
    """The architectures of the kernels, in CMake's notation: "90-real" has only machine code; "90" also has PTX for later GPUs."""
    return _module().archs.split() if _module() else []


def device() -> str | None:
    """The name of the first device; None if none can be used."""
    return None if reason() else _name(0)


def _name(at: int) -> str:
    return f"{_module().device_name(at)} (sm_{_module().capability(at)})"
