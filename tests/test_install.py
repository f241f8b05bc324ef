"""Messages and fallbacks of an installation without usable kernels. .ci/install tests real installations."""

import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import pytest

from children import run_python
from quatrefoil import _backends

ERROR = "csrc/core/isa.cpp:14:26: error: invalid cpu feature string"
UNSET = dict.fromkeys(("QUATREFOIL_BACKEND", "QUATREFOIL_ISA", "QUATREFOIL_NUM_THREADS"), "")
CALL = "qf.ssm.linear_scan(np.ones((2, 8)), np.ones((2, 8)))"


@pytest.fixture
def build(monkeypatch, tmp_path):
    """Import cmake/quatrefoil_build.py in an empty folder, without scikit-build-core."""
    monkeypatch.chdir(tmp_path)
    for name in ("QUATREFOIL_PURE", "QUATREFOIL_REQUIRE_NATIVE", "QUATREFOIL_CUDA"):
        monkeypatch.delenv(name, raising=False)
    hooks = ("build_sdist", "get_requires_for_build_editable", "get_requires_for_build_sdist", "get_requires_for_build_wheel")
    scikit = types.SimpleNamespace(build=types.SimpleNamespace(**dict.fromkeys(hooks)))
    monkeypatch.setitem(sys.modules, "scikit_build_core", scikit)
    monkeypatch.setitem(sys.modules, "scikit_build_core.build", scikit.build)
    spec = importlib.util.spec_from_file_location("quatrefoil_build", Path(__file__).parents[1] / "cmake" / "quatrefoil_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def attempts(build, monkeypatch):
    """The environment variables of every attempt to build; only attempts without the kernels succeed."""
    seen = []

    def run(hook, arguments, variables):
        seen.append(variables)
        pure = "QUATREFOIL_PURE" in variables
        return ("a-py3-none-any.whl" if pure else None), ["[1/9] Building", "FAILED: isa.cpp.o", f"{os.getcwd()}/{ERROR}", "ninja: stopped"]

    monkeypatch.setattr(build, "_run", run)
    return seen


INSTALL = "apt install g++ python3-dev"
HEADERS = f"Python's headers are not installed: {INSTALL}"
KILLED = "g++: fatal error: Killed signal terminated program cc1plus"
OUTPUTS = {  # output of a build: the reported error
    f"[1/2] Building\nFAILED: x\ng++ -c x\n{ERROR}\nb.cpp:1:1: error: another": ERROR,
    "FAILED: x\nx.cpp:1:10: fatal error: vector: No such file": "x.cpp:1:10: fatal error: vector: No such file",
    "x.cpp:1:10: fatal error: Python.h: No such file": HEADERS,
    KILLED: KILLED,
    "[9/9] Linking\n/usr/bin/ld: a.o: undefined reference to `f'": "/usr/bin/ld: a.o: undefined reference to `f'",
    "CMake Error at CMakeLists.txt:2 (project):\n  No CMAKE_CXX_COMPILER could be found.\n\n  Tell CMake": (
        f"no C++ compiler found (tried c++, g++, clang++): {INSTALL}"
    ),
    "CMake Error at D.cmake:48 (message):\n  Could not find the compiler specified in the environment\n  variable CXX:\n\n  g++.\n": (
        f"no C++ compiler found (tried g++): {INSTALL}"
    ),
    "CMake Error at F.cmake:230 (message):\n  Could NOT find Python (missing: Python_INCLUDE_DIRS Development.Module)": HEADERS,
    "CMake Error at D.cmake:48 (message):\n  Wrong:\n\n  this.\n\nCall": "CMake Error at D.cmake:48 Wrong: this.",
    "CMake Error at T.cmake:7 (message):\n  The compiler\n\n    c.cpp:1: error: no": "c.cpp:1: error: no",
    "Traceback\nCMakeNotFoundError: Could not find CMake\n\n": "CMakeNotFoundError: Could not find CMake",
}


def test_first_error(build, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build, "INSTALL", INSTALL)
    for printed, expected in OUTPUTS.items():
        assert build.first_error(printed.split("\n")) == expected
    monkeypatch.setenv("CXX", "clang++-99")
    printed = "CMake Error:\n  Could not find compiler set in environment variable CXX:\n\n  clang++-99."
    error = build.first_error(printed.split("\n"))
    assert error.startswith("no C++ compiler found: CXX names clang++-99, which does not exist here; unset it")


def test_failed_build_is_recorded_in_a_numba_wheel(build, attempts):
    assert build.build_wheel("wheels") == "a-py3-none-any.whl"
    assert attempts == [{}, {"QUATREFOIL_PURE": "1", "SKBUILD_WHEEL_FORCE_INCLUDE": f"{build.RECORD}=quatrefoil/_build_failure.py"}]
    names = {}
    exec(build.RECORD.read_text(), names)
    assert names["error"] == ERROR


@pytest.mark.parametrize("value", ["1", "true", "ON", "", "0", "false", "off"])
def test_a_native_build_can_be_required(build, attempts, monkeypatch, value):
    monkeypatch.setenv("QUATREFOIL_REQUIRE_NATIVE", value)
    if value in ("1", "true", "ON"):
        with pytest.raises(SystemExit):
            build.build_editable("wheels")
        assert attempts == [{}]
    else:
        assert build.build_wheel("wheels")


def test_a_failed_build_with_cuda_is_an_error(build, attempts, monkeypatch):
    assert build.build_wheel("wheels", {"cmake.define.QUATREFOIL_CUDA": "OFF"})
    with pytest.raises(SystemExit):
        build.build_wheel("wheels", {"cmake.define.QUATREFOIL_CUDA": "ON"})
    monkeypatch.setenv("QUATREFOIL_CUDA", "1")
    with pytest.raises(SystemExit):
        build.build_editable("wheels")
    assert [list(a) for a in attempts] == [[], ["QUATREFOIL_PURE", "SKBUILD_WHEEL_FORCE_INCLUDE"], [], []]


def run(code, failure=ERROR, warnings="always", **environment):
    """Run code without the compiled kernels. ``failure``: the recorded error of the build; None if no kernels were requested."""
    script = f"""
import importlib.machinery, importlib.util, sys, types

find = importlib.util.find_spec
def hidden(name, package=None):
    if name == "quatrefoil._core":
        return None
    if name == "quatrefoil._build_failure":
        return sys.modules.get(name) and importlib.machinery.ModuleSpec(name, None)
    return find(name, package)

importlib.util.find_spec = hidden
failure = {failure!r}
if failure:
    sys.modules["quatrefoil._build_failure"] = types.SimpleNamespace(error=failure)
import numpy as np
import quatrefoil as qf
{code}
"""
    return run_python(script, options=("-W", warnings), **UNSET | environment)


def test_one_warning_at_the_first_call():
    done = run(f"print('imported', file=sys.stderr)\n{CALL}\n{CALL.replace('8', '9')}\nqf.ssm.hippo_legs(4)")
    before, after = done.stderr.split("imported\n")
    assert before == ""
    assert after.count("RuntimeWarning") == 1
    assert ERROR in after
    assert after.startswith("<string>:")  # the caller's line
    assert "numba" not in after.partition("RuntimeWarning")[0]


BY_CHOICE = f"with qf.use_backend('numba'): {CALL}\n{CALL[:-1]}, backend='numba')\nqf.config(); qf.show_config()"


@pytest.mark.parametrize(
    ("code", "failure", "environment"),
    [(CALL, ERROR, {"QUATREFOIL_BACKEND": "numba"}), (BY_CHOICE, ERROR, {}), (CALL, None, {})],
    ids=["environment", "choice", "pure"],
)
def test_no_warning_if_numba_was_requested(code, failure, environment):
    assert run(code, failure, **environment).stderr == ""


TOO_OLD = """
import importlib.machinery, sys, types

core = types.ModuleType("quatrefoil._core")
core.isas, core.isas_built = list, {built}
core.__spec__ = importlib.machinery.ModuleSpec(core.__name__, None)
sys.modules[core.__name__] = core
import quatrefoil as qf
import numpy as np
"""


def on_an_old_processor(code, built=("v4", "v3", "v2"), **environment):
    return run_python(TOO_OLD.format(built=built) + code, check=False, options=("-W", "always"), **UNSET | environment)


@pytest.mark.skipif(_backends.reason("native") is not None, reason="needs a working installation")
def test_a_warning_at_import_on_an_old_processor():
    """Uses a stand-in for the compiled kernels; .ci/wheel imports the real ones on an emulated processor."""
    text = "the compiled kernels cannot be used: they are for x86-64-v4, v3, v2, which this processor does not support"
    done = on_an_old_processor(
        f"print('imported', file=sys.stderr)\nprint(qf.config()['backend'], qf.config()['isas'])\nqf.show_config()\n{CALL}"
    )
    before, after = done.stderr.split("imported\n")
    assert before.startswith("<string>:8: RuntimeWarning: quatrefoil runs on Numba: " + text)  # the line that imports quatrefoil
    assert after == ""
    assert done.stdout.startswith("numba []\n")
    assert f"reason: no compiled kernels: {text}" in done.stdout
    assert "isas_built: v4, v3, v2" in done.stdout
    assert "reinstall" not in done.stderr  # reinstalling would not help


def test_the_warning_says_how_to_reinstall():
    done = on_an_old_processor("print(qf.config()['backend'])", built=("v4",))
    assert done.stdout == "numba\n"
    assert "for x86-64-v4, which this processor does not support" in done.stderr
    assert "QUATREFOIL_ISAS=all pip install --force-reinstall --no-cache-dir ." in done.stderr


@pytest.mark.parametrize(("variable", "value"), [("QUATREFOIL_ISA", "v3"), ("QUATREFOIL_BACKEND", "native")])
def test_unavailable_choices_on_an_old_processor_raise(variable, value):
    done = on_an_old_processor("", **{variable: value})
    assert done.returncode == 1
    assert "which this processor does not support" in done.stderr


def test_no_warning_on_an_old_processor_if_numba_was_requested():
    done = on_an_old_processor(CALL, QUATREFOIL_BACKEND="numba")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("failure", [ERROR, None])
def test_the_reason_is_reported(failure):
    code = """
import json
print(json.dumps(qf.config()))
qf.show_config()
try: qf.use_backend("native").__enter__()
except ValueError as e: print(e)
"""
    config, *shown, error = run(code, failure).stdout.splitlines()
    assert json.loads(config)["backend"] == "numba"
    for text in (json.loads(config)["reason"], "\n".join(shown), error):
        assert (failure or "QUATREFOIL_PURE=1") in text
