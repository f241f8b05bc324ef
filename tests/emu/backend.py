"""The kernels for GPUs, run on the host: a backend of the tests, "emulator". QUATREFOIL_EMULATOR=1 asks for it, and compiles it first."""

import functools
import importlib.util
import os

from emu import build

ASKED = os.environ.get("QUATREFOIL_EMULATOR", "") not in ("", "0")
OPS = [f"{noun.parent.name}.{op}" for noun in build.NOUNS for op in build.ops(noun)] if ASKED else []  # with their adjoints


def load(path):
    """The emulator's module that lies there; pybind11 knows modules by name, so each has its own."""
    spec = importlib.util.spec_from_file_location(f"{path}._emu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def module():
    return load(os.environ.get("QUATREFOIL_EMULATOR_MODULE") or build.build())  # a variable names one that has been built before


def reason():
    return None if ASKED else "QUATREFOIL_EMULATOR=1 asks for it"


def kernel(op):
    found = getattr(getattr(module(), op.family, None), op.name, None)
    return found or (
        op.policy.python_kernel and functools.partial(op.policy.python_kernel, backend="native")
    )  # on a device those are composed
