"""What the user's process can rely on: imports, settings, interrupts, memory and floating-point modes."""

import json
import threading
import time

import numpy as np
import pytest

import quatrefoil as qf
from children import run_python


def child(code, **environment):
    """(exit code, stdout, stderr) of code in a new interpreter."""
    done = run_python(code, check=False, **environment)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


NATIVE = qf.config()["isas"] != []
needs_native = pytest.mark.skipif(not NATIVE, reason="needs the compiled kernels")


def test_import_loads_no_heavy_library_and_no_family():
    code = """
    import sys, quatrefoil as qf
    print(sorted({m.split(".")[0] for m in sys.modules} & {"torch", "numba", "cupy", "scipy", "matplotlib", "jax", "dask"}))
    for family in qf.FAMILIES:
        before = "quatrefoil." + family in sys.modules
        print(family, before, getattr(qf, family).__name__)
    """
    assert child(code)[1].splitlines() == ["[]", *[f"{family} False quatrefoil.{family}" for family in qf.FAMILIES]]


def test_config_is_json_and_states_reasons():
    config = qf.config()
    assert json.loads(json.dumps(config)) == config
    assert set(config) == {"version", "backend", "reason", "isa", "isas", "isas_built", "num_threads", "cuda", "packages"}
    assert config["reason"]
    assert config["cuda"]["reason"]
    code, out, _ = child("from quatrefoil.cli import main; main(['info']) or main(['--version'])")
    assert code == 0
    assert f"backend: {config['backend']}" in out
    assert out.endswith(f"\nquatrefoil {qf.__version__}")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QUATREFOIL_BACKEND", "fortran"),
        ("QUATREFOIL_ISA", "v9"),
        ("QUATREFOIL_NUM_THREADS", "0"),
        ("QUATREFOIL_NUM_THREADS", "2147483648"),
        ("QUATREFOIL_NUM_THREADS", "٣"),
        ("QUATREFOIL_NUM_THREADS", "1" * 5000),
    ],
)
def test_an_unavailable_choice_raises_at_import(variable, value):
    code, _, error = child("import quatrefoil", **{variable: value})
    assert code == 1
    last = error.splitlines()[-1]
    assert last.startswith("ValueError")
    assert variable in last
    assert value in last
    assert "available" in last or "expected" in last


def test_forced_choices():
    code = "import quatrefoil as qf; c = qf.config(); print(c['backend'], c['num_threads'])"
    assert child(code, QUATREFOIL_BACKEND="numba", QUATREFOIL_NUM_THREADS=3)[1] == "numba 3"
    assert child(code, QUATREFOIL_NUM_THREADS="002147483647", QUATREFOIL_BACKEND="numba")[1] == "numba 2147483647"
    for isa in qf.config()["isas"]:
        assert child("import quatrefoil as qf; print(qf.config()['isa'])", QUATREFOIL_ISA=isa, QUATREFOIL_BACKEND="native")[1] == isa


@pytest.mark.parametrize("value", ["", "²", "4,2"])
def test_invalid_omp_num_threads_is_ignored(value):
    positive = "import quatrefoil as qf; print(qf.get_num_threads() >= 1)"
    got, out, error = child(positive, OMP_NUM_THREADS=value, QUATREFOIL_NUM_THREADS="")
    assert (got, out) == (0, "True"), error


def test_set_num_threads():
    before = qf.get_num_threads()
    try:
        qf.set_num_threads(5)
        assert qf.get_num_threads() == 5
        with pytest.raises(ValueError, match="num_threads"):
            qf.set_num_threads(0)  # more in test_arguments.py
        assert qf.get_num_threads() == 5
    finally:
        qf.set_num_threads(before)


def test_use_backend_is_local_to_its_thread():
    seen = []
    with qf.use_backend("numba"):
        from quatrefoil import _backends

        thread = threading.Thread(target=lambda: seen.append(_backends.chosen()))
        thread.start()
        thread.join()
        assert _backends.chosen() == "numba"
    assert seen == [None]
    assert _backends.chosen() is None
    with pytest.raises(ValueError, match="unknown backend"), qf.use_backend("fortran"):
        pass


def test_flush_to_zero_is_left_alone():
    code = """
    import numpy as np, quatrefoil as qf
    x = np.full((3, 100), 1e-40, np.float32)
    qf.ssm.fft_conv(x, x); qf.ssm.linear_scan(x, x)
    tiny = np.float32(1e-40)
    print(tiny * np.float32(0.5) > 0)
    """
    assert child(code)[1] == "True"


@needs_native
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormal_numbers_are_zero(threads, dtype):
    """An Intel processor takes about 150 cycles per subnormal number, so decaying sequences would take ten times as long."""
    b = np.zeros((64, 3000), dtype)
    b[:, 0] = 1
    y = qf.ssm.linear_scan(np.full((), 0.5, dtype), b, backend="native", num_threads=threads)
    expected = np.ldexp(dtype(1), -np.arange(3000))
    expected[expected < np.finfo(dtype).tiny] = 0
    np.testing.assert_array_equal(y, np.broadcast_to(expected, y.shape))


@needs_native
@pytest.mark.parametrize("threads", [1, 3])
def test_interrupts_are_handled(threads):
    """A signal interrupts a long call, and the next call works. The time limit only catches a signal that is never handled."""
    code = f"""
    import os, signal, threading, numpy as np, quatrefoil as qf
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in children of a background shell
    u, k = np.ones((64, 64, 65536), "f"), np.ones((64, 65536), "f")
    threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            qf.ssm.fft_conv(u, k, num_threads={threads})
    except KeyboardInterrupt:
        pass
    y = qf.ssm.fft_conv(u[:1, :1], k[:1])
    assert np.isfinite(y).all()
    print("ok")
    """
    start = time.monotonic()
    assert child(code, QUATREFOIL_BACKEND="native")[1] == "ok"
    assert time.monotonic() - start < 60


def test_memory_stays_flat(rng):
    resource = pytest.importorskip("resource")
    u, k = rng.standard_normal((2, 64)), rng.standard_normal((2, 64))
    for _ in range(2000):
        qf.ssm.fft_conv(u, k)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10000):
        qf.ssm.fft_conv(u, k)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


def test_plans_are_bounded(rng):
    from quatrefoil._call import MAX_PLANS
    from quatrefoil.ssm import OPS

    for n in range(MAX_PLANS + 10):
        qf.ssm.linear_scan(np.zeros((1, n + 1)), np.zeros((1, n + 1)), backend="native" if NATIVE else None)
    assert len(OPS.linear_scan.plans) <= MAX_PLANS


def test_no_writable_home_for_the_numba_cache(tmp_path):
    code = """
    import numpy as np, quatrefoil as qf
    print(qf.ssm.fft_conv(np.ones((1, 100)), np.ones((1, 100)), backend='numba')[0, -1].round(6))
    """
    code, out, error = child(code, NUMBA_CACHE_DIR="/proc/nowhere", HOME="/proc/nowhere")
    assert (code, out) == (0, "100.0"), error


@pytest.mark.torch
@needs_native
def test_null_pointers_are_rejected():
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode

    from quatrefoil._backends.native import _core

    with FakeTensorMode():
        fake = torch.empty(1, 70)
    with pytest.raises(TypeError, match=r"memory|DLPack|CPU"):
        _core.ssm.fft_conv(fake, fake, None, None, fake, 1)
