import importlib.util
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores, and threads of a BLAS that spin would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

import quatrefoil as qf
from case import Case, op_of
from devices import cupy, fake_cuda, strict_for_cupy, tensors_afar  # noqa: F401
from emu import backend as emulator
from quatrefoil import _arrays, _backends, _dispatch
from quatrefoil._spec import FAMILIES

if emulator.ASKED:
    _backends._MODULES["emulator"] = emulator


SHARE, OF_A_PLAIN_RUN = "QUATREFOIL_TEST_SHARE", 8
NOUNS = list(dict.fromkeys((op.family, op.noun) for family in FAMILIES.values() for op in family))  # those of a family one after the other
FUNCTIONS = {op.name: (op.family, op.noun) for family in FAMILIES.values() for op in family} | dict.fromkeys(
    ("solve", "solve_vjp"), ("wos", "walk")
)


def available_backends():
    return [name for name in ("native", "numba") if _backends.reason(name) is None]


def noun_of(item):
    """(family, noun) whose kernels a test calls: its case's, those of the function that its name begins with, or its folder's."""
    case, named = item.callspec.params.get("case"), str(item.callspec.params.get("name")).partition(" ")[0]
    if isinstance(case, Case):
        family = item.callspec.params["family"]
        return family, op_of(family, case.op).noun
    return FUNCTIONS.get(named) or item.path.parts[-3:-1]


def drawn_by(item):
    """What decides whether a share has this test, None where every share has it: its name, if it is one of many cases or costs much. On
    Numba it is the noun and the precision: so a share compiles a share of the kernels, not some cases of each."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("backend") == "numba":
        noun = noun_of(item)
        if noun in NOUNS:
            return NOUNS.index(noun) + 3 * (params.get("precision") == "float32")
        if noun[0] in FAMILIES:  # without kernels of its own, it uses others'
            return zlib.crc32(noun[1].encode())
    return zlib.crc32(item.name.encode()) if "[" in item.name or item.get_closest_marker("costly") else None


def pytest_collection_modifyitems(config, items):
    """QUATREFOIL_TEST_SHARE=2/5: a second fifth of what takes the time, for whoever has no time for all of it."""
    if not (wanted := os.environ.get(SHARE)):
        return
    part, parts = map(int, wanted.split("/"))
    kept, dropped = [], []
    for item in items:
        key = drawn_by(item)
        (kept if key is None or key % parts == part % parts else dropped).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_configure(config):
    config.addinivalue_line("markers", "torch: needs PyTorch; -m torch runs all of these")
    config.addinivalue_line("markers", "costly: has no cases, but takes a second or more: a share has some of these")
    plain = config.args_source is config.ArgsSource.TESTPATHS and not config.option.keyword
    if plain and config.option.markexpr == "not slow and not gpu" and "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ.setdefault(SHARE, f"{random.randint(1, OF_A_PLAIN_RUN)}/{OF_A_PLAIN_RUN}")  # which workers inherit


def pytest_terminal_summary(terminalreporter):
    if SHARE in os.environ:
        terminalreporter.write_line(f"share of the cases: {os.environ[SHARE]}; {SHARE}=1/1 takes all")


@pytest.fixture(params=available_backends())
def backend(request):
    with qf.use_backend(request.param):
        yield request.param


@pytest.fixture
def best_backend():
    """One of them: for statistics and layouts, which cost much and where the other does the same by the tests of every op."""
    with qf.use_backend(available_backends()[0]):
        yield available_backends()[0]


@pytest.fixture(params=["C++", "Python"])
def door(request, monkeypatch):
    """Either way from a public function to its plan."""
    if request.param == "C++" and _backends.native.call is None:
        pytest.skip("no compiled part")
    monkeypatch.setattr(_dispatch, "_run", _backends.native.call if request.param == "C++" else _dispatch.look_up_and_run)


@pytest.fixture
def rng(request):
    """Fresh numbers in every run; the seed is printed when a test fails, and QUATREFOIL_TEST_SEED repeats it."""
    seed = int(os.environ.get("QUATREFOIL_TEST_SEED") or np.random.SeedSequence().generate_state(1)[0])
    request.node.user_properties.append(("seed", seed))
    print(f"rng seed: {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Every output starts as NaN, so that what a kernel leaves unwritten shows."""

    def poisoned(shape, dtype):
        array = np.empty(shape, dtype)
        if array.dtype.kind in "fc":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(_arrays, "empty", poisoned)
    monkeypatch.setattr(_arrays, "large", poisoned)


@pytest.fixture
def example():
    """An example's module, by its name."""
    folder = Path(__file__).resolve().parents[1] / "examples"
    if not folder.is_dir():
        pytest.skip("the sources are not here")

    def load(name):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def peak_memory():
    """How many bytes more a process holds at its peak while it runs some code, after a setup that is not counted."""

    def measure(setup, code):
        script = (
            f"import resource\n{setup}\ndef peak():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            f"import gc; gc.collect()\nbefore = peak()\n{code}\nprint((peak() - before) * (1 if sys_platform == 'darwin' else 1024))"
        )
        script = f"import sys\nsys_platform = sys.platform\n{script}"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return int(done.stdout.splitlines()[-1])

    return measure
