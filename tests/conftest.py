import gc
import importlib.util
import inspect
import os
import sys
import zlib
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores, and spinning BLAS threads would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

import quatrefoil as qf
from case import BACKENDS
from checks import check_rejected
from children import run_python
from devices import cupy, device_tensors  # noqa: F401
from emu import backend as emulator
from quatrefoil import _arrays, _backends, _call

if emulator.ASKED:
    _backends._MODULES["emulator"] = emulator

SEED = os.environ.get("QUATREFOIL_TEST_SEED") or "0"


def pytest_configure(config):
    """Run a test that is selected by its id even if it is slow."""
    if any("::" in argument for argument in config.args) and config.option.markexpr == "not slow and not gpu":
        config.option.markexpr = "not gpu"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Exclude the items from garbage collection: they are a million objects that live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config, items):
    """Deselect tests of packages that are not installed. QUATREFOIL_TEST_SHARE=2/5 selects the second of five shards."""
    missing = [] if importlib.util.find_spec("torch") else ["torch"]
    missing += [] if emulator.ASKED else ["emulator"]
    shard, shards = map(int, os.environ.get("QUATREFOIL_TEST_SHARE", "1/1").split("/"))

    def runs(item):
        return zlib.crc32(item.nodeid.encode()) % shards == shard % shards and not any(map(item.get_closest_marker, missing))

    config.hook.pytest_deselected(items=[item for item in items if not runs(item)])
    items[:] = sorted((item for item in items if runs(item)), key=_numba_first)


def pytest_pycollect_makeitem(collector, name, obj):
    """Turn a module's table ``BAD`` into a test that each of its calls raises its error."""
    if name == "BAD" and not hasattr(collector.obj, "test_bad_input"):
        return pytest.Function.from_parent(collector, name="test_bad_input", callobj=lambda: check_rejected(obj))


def _numba_first(item):
    """Sort key: tests on Numba come first, sorted by family, with walks before the other families.

    The first of two pytest-xdist workers starts with the first eighth of the tests, so that only one worker compiles the loops of walks.
    """
    if "numba" not in item.name:
        return len(qf.FAMILIES) + 1
    named = f"{item.path.parent.as_posix()}/ {item.name.replace('.', '/')}"
    families = list(reversed(qf.FAMILIES))
    return next((i for i, family in enumerate(families) if f"/{family}/" in named or f"-{family}/" in named), len(families))


@pytest.fixture(params=BACKENDS)
def backend(request):
    with qf.use_backend(request.param):
        yield request.param


@pytest.fixture
def best_backend():
    """The default backend, for expensive tests. Other tests check op by op that the backends agree."""
    with qf.use_backend(BACKENDS[0]):
        yield BACKENDS[0]


@pytest.fixture(params=["C++", "Python"])
def entry_point(request, monkeypatch):
    """Both entry points, the compiled one and the one in Python."""
    if request.param == "C++" and _backends.native.call is None:
        pytest.skip("no compiled kernels")
    monkeypatch.setattr(_call, "run_planned", _backends.native.call if request.param == "C++" else _call.look_up_and_run)


@pytest.fixture
def seed(request):
    """An integer that depends only on the test's name. QUATREFOIL_TEST_SEED=N changes it; =fresh draws new ones in every run."""
    if SEED == "fresh":
        number = int(np.random.SeedSequence().generate_state(1)[0])
        print(f"QUATREFOIL_TEST_SEED={number} repeats this")
    else:
        number = int(SEED)
    return zlib.crc32(f"{number} {request.path.name} {request.node.name}".encode())


@pytest.fixture
def rng(seed):
    """A random generator that depends only on the test's name."""
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def torch_seed(seed):
    """Seed torch's generator like ``rng``."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Fill every output with NaN, so that a test detects elements that are never written."""

    def poisoned(shape, dtype):
        array = np.empty(shape, dtype)
        if array.dtype.kind in "fc":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(_arrays, "empty", poisoned)
    monkeypatch.setattr(_arrays, "large", poisoned)


@pytest.fixture
def example():
    """A function that imports an example by its name."""
    folder = Path(__file__).resolve().parents[1] / "examples"
    if not folder.is_dir():
        pytest.skip("needs the sources")

    def load(name):
        [file] = folder.glob(f"*/{name}.py")
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def mock_packages(tmp_path, monkeypatch):
    """A function that writes {module with slashes: source} and makes these packages importable until the end of the test."""
    names = set()

    def write(files):
        for name, source in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
            names.add(name.partition("/")[0])
        monkeypatch.syspath_prepend(tmp_path)

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]


@pytest.fixture
def printed(monkeypatch, tmp_path, capsys):
    """A function that runs an example, which saves its picture to a file, and returns the printed output."""

    def run(module, *arguments):
        pytest.importorskip("matplotlib")
        picture = tmp_path / "picture.png"
        if inspect.signature(module.main).parameters:
            module.main(*arguments, str(picture))
        else:
            monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments), str(picture)])
            module.main()
        assert picture.stat().st_size > 10_000
        return capsys.readouterr().out

    return run


@pytest.fixture
def peak_memory():
    """A function that runs ``setup`` and ``code`` in a new process; returns by how many bytes ``code`` raises its peak memory."""

    def measure(setup, code):
        script = (
            f"import gc, resource, sys\n{setup}\ndef peak():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            f"gc.collect()\nbefore = peak()\n{code}\nprint((peak() - before) * (1 if sys.platform == 'darwin' else 1024))"
        )
        return int(run_python(script).stdout.splitlines()[-1])

    return measure
