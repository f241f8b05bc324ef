"""Backend "emulator", for tests: CUDA kernels on the host. QUATREFOIL_EMULATOR=1 compiles and enables it."""

import functools
import importlib.util
import os

from emu import build

ASKED = os.environ.get("QUATREFOIL_EMULATOR", "") not in ("", "0")
OPS = [f"{method.parent.name}.{op}" for method in build.METHODS for op in build.ops(method)] if ASKED else []  # with their adjoints


def load(path):
    """Import an emulator module; pybind11 identifies modules by name, so each has its own."""
    spec = importlib.util.spec_from_file_location(f"{path}._emu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def module():
    return load(os.environ.get("QUATREFOIL_EMULATOR_MODULE") or build.build())  # the variable is the path of a module that is already built


def reason():
    return None if ASKED else "QUATREFOIL_EMULATOR=1 enables it"


def kernel(op):
    compiled = getattr(getattr(module(), op.family, None), op.name, None)
    return compiled or (
        op.policy.python_kernel and functools.partial(op.policy.python_kernel, backend="native")
    )  # on a real device, a composition runs instead
