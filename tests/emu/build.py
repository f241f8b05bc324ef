"""build.py [address | thread]: compile the CUDA kernels and their bindings for the host, as module _emu, and print its path.

With a sanitizer, only the kernels are instrumented. Needs g++ and pybind11. Unchanged sources are not compiled again.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC, EMU = ROOT / "csrc", ROOT / "tests" / "emu"
METHODS = [method.parent for method in sorted(CSRC.glob("*/*/cuda.cu"))]  # as in CMake
WARNINGS = "-Wall -Wextra -Wno-ignored-attributes -Wno-psabi -Wno-attributes"
DEFINITIONS = ["QF_EMULATOR", "QF_DEVICE", "QF_MODULE=_emu", 'QUATREFOIL_VERSION=""', 'QF_ARCHS=""']
FLAGS = ["-std=c++17", "-O1", "-g1", "-U_FORTIFY_SOURCE", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", *WARNINGS.split()]
FLAGS += [f"-D{name}" for name in DEFINITIONS] + ["-I", str(CSRC), "-I", str(EMU)]


def ops(method):
    """The ops with kernels in a method's cuda.cu."""
    text = (method / "cuda.cu").read_text()
    return re.search(r'^const char\* const ops =\s+((?:"[^"]*"\s*)+);', text, re.M)[1].replace('"', " ").split()


def sources():
    shared = [f"py/{name}.cpp" for name in ("device_module", "device_memory", "caster", "dlpack")]
    shared += ["core/host/shape_checker.cpp", "core/cuda/device.cu"]
    return [
        *(CSRC / name for name in shared),
        *sorted(CSRC.glob("core/run/*.cpp")),
        EMU / "binding.cpp",
        *(method / name for method in METHODS for name in ("bind.cpp", "cuda.cu")),
    ]


def is_new(target):
    """Whether an object is newer than all of its sources."""
    listed = target.with_suffix(".d")
    if not target.exists() or not listed.exists():
        return False
    files = listed.read_text().partition(":")[2].replace("\\\n", " ").split()
    return all(os.path.exists(f) and os.path.getmtime(f) < target.stat().st_mtime for f in files)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")


def build(sanitize="", planted=None, folder=None):
    """Build the module and return its path. ``planted``: (file, text to compile in its place, method whose kernels use it)."""
    import pybind11

    folder = Path(folder or ROOT / "build" / "emulator")
    folder.mkdir(parents=True, exist_ok=True)
    methods = f"#define QF_EACH_METHOD(X) {' '.join(f'X({method.parent.name}, {method.name})' for method in METHODS)}\n"
    listed = folder / "device_methods.hpp"
    if not listed.exists() or listed.read_text() != methods:
        listed.write_text(methods)
    includes = ["-I", folder, "-I", sysconfig.get_path("include"), "-I", pybind11.get_include()]
    flags = [*FLAGS, *includes]
    sanitized = [f"-fsanitize={sanitize}"] if sanitize else []
    mark = f"-{sanitize}" if sanitize else ""
    if planted:
        mark = f"-planted-{planted[2].name}-{hashlib.sha1(planted[1].encode()).hexdigest()[:12]}"

    def compiled(path):
        is_kernel = path.suffix == ".cu"
        target = folder / ("-".join(path.relative_to(ROOT).parts) + (f"{mark}.o" if sanitize and is_kernel else ".o"))
        extra = []
        if planted and path == planted[2] / "cuda.cu":  # or a header, which is found first
            text = folder / f"text{mark}" / planted[0].relative_to(CSRC)
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(planted[1])
            target, extra = text.parent / "cuda.o", ["-O0", "-g0", "-I", folder / f"text{mark}"]
            path = text if planted[0] == path else path
        if extra or not is_new(target):
            own = ["-DQF_ISA=cuda", *(["-O0"] if sanitize == "address" else []), *sanitized] if is_kernel else ["-DQF_ISA=common"]
            run(["g++", *extra[2:], *flags, *extra[:2], *own, "-MMD", "-x", "c++", "-c", path, "-o", target])
        return target

    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = sorted(
                pool.map(compiled, sources()), key=lambda o: (o.parent == folder, ".cu" not in o.name)
            )  # the linker uses the first copy
        module = folder / f"_emu{mark}.so"
        if planted or not module.exists() or any(o.stat().st_mtime > module.stat().st_mtime for o in objects):
            run(["g++", "-shared", *sanitized, *objects, "-o", module, "-lpthread"])
    return module


if __name__ == "__main__":
    print(build(*sys.argv[1:]))
