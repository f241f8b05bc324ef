import os
import subprocess
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores, and threads of a BLAS that spin would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil import _arrays, _backends, _dispatch


def available_backends():
    return [name for name in ("native", "numba") if _backends.reason(name) is None]


def pytest_configure(config):
    config.addinivalue_line("markers", "torch: needs PyTorch; -m torch runs all of these")


@pytest.fixture(params=available_backends())
def backend(request):
    with qf.use_backend(request.param):
        yield request.param


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
