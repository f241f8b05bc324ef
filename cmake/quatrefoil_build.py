"""The build backend, based on scikit-build-core.

If the kernels cannot be built, the wheel contains the compiler's message instead, unless QUATREFOIL_REQUIRE_NATIVE=1 or GPU kernels are
requested; then a failed compilation is an error.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

RECORD = Path("build/failure/quatrefoil/_build_failure.py")  # an editable installation reads it there
INSTALL = "xcode-select --install" if sys.platform == "darwin" else "apt install g++ python3-dev"
HOOK = """
import json, sys
from scikit_build_core import build
hook, arguments = json.loads(sys.argv[1])
print("built:", getattr(build, hook)(*arguments))
"""


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _build("build_wheel", wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _build("build_editable", wheel_directory, config_settings, metadata_directory)


def _build(hook, *arguments):
    wheel, printed = _run(hook, arguments, {})
    settings = arguments[1] or {}
    wants_cuda = _is_on(os.environ.get("QUATREFOIL_CUDA", "")) or _is_on(str(settings.get("cmake.define.QUATREFOIL_CUDA", "")))
    if wheel is None and not (wants_cuda or _is_set("QUATREFOIL_PURE") or _is_set("QUATREFOIL_REQUIRE_NATIVE")):
        error = first_error(printed)
        print(f"*** the compiled kernels cannot be built; making a wheel that runs on Numba: {error}", flush=True)
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(f"# Written by the build, which failed.\nerror = {error!r}\n", encoding="utf-8")
        include = f"{RECORD.as_posix()}=quatrefoil/{RECORD.name}"
        wheel, _ = _run(hook, arguments, {"QUATREFOIL_PURE": "1", "SKBUILD_WHEEL_FORCE_INCLUDE": include})
    if wheel is None:
        raise SystemExit(1)
    return wheel


def _run(hook, arguments, variables):
    """Run a scikit-build-core hook in a process; return the wheel's name, None on failure, and the output."""
    command = [sys.executable, "-u", "-c", HOOK, json.dumps([hook, arguments])]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **variables},
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    return (lines[-1].removeprefix("built: ") if process.wait() == 0 else None), lines


def first_error(lines):
    """Return a missing tool, else the first error of a compiler, a linker or CMake, else the last line."""
    printed = " ".join(" ".join(lines).split())
    if missing := re.search(r"Could not find (the )?compiler .*?CXX: (?P<tried>\S+)\.(\s|$)|No CMAKE_CXX_COMPILER could be found", printed):
        tried = missing["tried"] or "c++, g++, clang++"
        if os.environ.get("CXX"):  # otherwise scikit-build-core has named one
            return f"no C++ compiler found: CXX names {tried}, which does not exist here; unset it, or name one that does"
        return f"no C++ compiler found (tried {tried}): {INSTALL}"
    if re.search(r"Python\.h: No such file|Could NOT find Python.*Development", printed):
        return f"Python's headers are not installed: {INSTALL}"
    for line in lines:
        if re.search(r"\berror:|undefined reference|cannot find -l", line):
            return line.replace(os.getcwd() + os.sep, "").strip()
    for i, line in enumerate(lines):
        if line.startswith("CMake Error"):  # its text follows, indented, up to an empty line that does not follow a colon
            text = line.removesuffix(" (message):")
            for more in lines[i + 1 :]:
                if more.startswith(" "):
                    text += " " + more.strip()
                elif more or not text.endswith(":"):
                    break
            return text
    return next((line.strip() for line in reversed(lines) if line.strip()), "the build printed nothing")


def _is_set(variable):
    return _is_on(os.environ.get(variable, ""))


def _is_on(value):
    return value.lower() not in ("", "0", "false", "off", "no", "n", "f")
