"""Forks, resource limits, exits, subinterpreters and the Numba cache, each in a separate process."""

import os
import sys

import pytest

import quatrefoil as qf
from children import run_python

needs_native = pytest.mark.skipif(qf.config()["isas"] == [], reason="needs the compiled kernels")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
sanitized = "san" in os.environ.get("LD_PRELOAD", "")


@needs_native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(sanitized, reason="GCC 12's libasan does not hold its allocator's locks across a fork")
@pytest.mark.parametrize("load", ["tables", "memory", "pool", "grids"])
@pytest.mark.slow
def test_forks_under_load(load):
    """A forked child can compute even if a different thread of its parent held a lock."""
    code = """
    import os, signal, sys, threading, time, numpy as np, quatrefoil as qf
    ones, half = np.ones((1, 1 << 17), "f"), np.full((), 0.5, "f")
    def tables(threads):
        for n in range(100, 2000, 7):
            qf.ssm.fft_conv(ones[:, :n], ones[:, :n])
    def memory(threads):
        qf.ssm.linear_scan(half, ones)
    def pool(threads):
        qf.ssm.fft_conv(np.ones((64, 3000), "f"), np.ones((64, 3000), "f"), num_threads=threads)
    t = np.linspace(0, 6.28, 3001)[:-1]
    ring, polygons = np.stack([np.cos(t), np.sin(t)], 1), [None]
    def walks():
        qf.wos.solve(polygons[0], np.zeros((1, 2)), dirichlet=1.0, walks=1, rng=0)
    def grids(threads):
        polygons[0] = qf.wos.Polygon(ring)  # builds its grid now; the child uses it too
        walks()
    load, done = {"tables": tables, "memory": memory, "pool": pool, "grids": grids}[sys.argv[1]], threading.Event()
    def work():
        while not done.is_set():
            load(3)
    tables(1), memory(1), pool(2), grids(1)  # first calls take locks of Python itself
    for _ in range(3):
        threading.Thread(target=work).start()
    for k in range(100 if sys.argv[1] == "grids" else 300):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # ends a child that hangs
            qf.ssm.fft_conv(ones[:, :5000], ones[:, :5000])  # needs a new table
            memory(1), pool(2), walks()
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        if status:
            print("child", k, "ended with", status, flush=True)
            break
    else:
        print("ok", flush=True)
    done.set()
    os._exit(0)
    """
    done = run_python(code, load)
    assert done.stdout.strip() == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_threads_and_memory():
    code = """
    import os, numpy as np, quatrefoil as qf
    u, k, half, b = *np.random.rand(2, 64, 5000).astype("f"), np.full((), 0.5, "f"), np.random.rand(1 << 18).astype("f")
    def compute():
        return qf.ssm.fft_conv(u, k, num_threads=4), qf.ssm.linear_scan(half, b)
    results = compute()
    expected = [x.copy() for x in results]
    compute()  # leaves a block of memory in the pool
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if all(map(np.array_equal, compute(), expected)) else 1)
        assert os.waitpid(pid, 0)[1] == 0
    assert all(map(np.array_equal, results, expected)) and all(map(np.array_equal, compute(), expected))
    """
    run_python(code)


@needs_native
@linux
@pytest.mark.skipif(sanitized, reason="a sanitizer maps far more than any limit")
@pytest.mark.parametrize("op", ["fft_conv", "fft_conv_vjp"])
def test_little_memory_means_fewer_threads_or_a_memory_error(op):
    code = """
    import resource, sys, numpy as np, quatrefoil as qf
    u, k = np.ones((8, 8, 4096), "f"), np.ones((8, 4096), "f")
    arguments = (u, k) if sys.argv[1] == "fft_conv" else (u, k, None, None, u)
    function = getattr(qf.ssm, sys.argv[1])
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    outcomes = set()
    for room in range(1, 100, 4):  # MiB; a thread takes 8 for its stack, an arena 64 or 128
        resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), resource.RLIM_INFINITY))
        try:
            function(*arguments, num_threads=8)
            outcomes.add("done")
        except MemoryError:
            outcomes.add("MemoryError")
    print(*sorted(outcomes))
    """
    done = run_python(code, op, QUATREFOIL_BACKEND="native")
    assert set(done.stdout.split()) <= {"done", "MemoryError"}
    assert "done" in done.stdout


@needs_native
@pytest.mark.parametrize("op", ["fft_conv", "short", "solve"])
def test_an_exit_while_a_daemon_thread_computes(op):
    code = """
    import sys, threading, numpy as np, quatrefoil as qf
    u, k, started = np.ones((16, 65536), "f"), np.ones((16, 65536), "f"), threading.Event()
    def once():
        if sys.argv[1] == "fft_conv":
            return qf.ssm.fft_conv(u, k, num_threads=2)
        if sys.argv[1] == "short":
            return [qf.ssm.fft_conv(u[:1, :99], k[:1, :99]) for _ in range(100)]
        ball, X = qf.wos.Ball([0.0, 0.0], 1.0), np.zeros((4, 2))  # many points per call to the function: NumPy copies without the GIL
        return qf.wos.solve(ball, X, dirichlet=lambda x: x[:, 0], walks=65536, num_threads=2, backend="native")
    def work():
        while True:
            once()
            started.set()
    threading.Thread(target=work, daemon=True).start()
    started.wait()
    """
    for _ in range(2):
        done = run_python(code, op, QUATREFOIL_BACKEND="native")
        assert done.stderr == ""


def test_a_sub_interpreter_is_rejected():
    code = """
    import importlib
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
            break
        except ImportError:
            continue
    else:
        raise SystemExit("no subinterpreters")
    for kind in ({"isolated": False}, {}) if name == "_xxsubinterpreters" else ({"config": "legacy"}, {}):
        try:
            other = interpreters.create(*kind.values()) if "config" in kind else interpreters.create(**kind)
        except TypeError:
            continue
        failed = None
        try:
            failed = interpreters.run_string(other, "import quatrefoil")
        except Exception as e:
            failed = e
        assert "ImportError" in repr(failed) or "ImportError" in str(getattr(failed, "type", "")), repr(failed)
        assert "quatrefoil cannot be imported in a subinterpreter" in str(failed) or "subinterpreter" in str(failed.msg)
        interpreters.destroy(other)
    print("ok")
    """
    done = run_python(code, check=False)
    if "no subinterpreters" in done.stderr:
        pytest.skip("needs subinterpreters")
    assert done.stdout.strip() == "ok", done.stderr


@pytest.mark.slow
def test_long_compilations_are_announced_once(tmp_path):
    code = """
    import io, sys, numpy as np, quatrefoil as qf
    from quatrefoil._backends import numba
    numba.PATIENCE, sys.stderr = 1e-3, io.StringIO()
    for dtype in (np.float32, np.float64):
        qf.ssm.linear_scan(np.ones((1, 9), dtype), np.ones((1, 9), dtype), backend="numba")
    print(sys.stderr.getvalue().count(numba.NOTICE))
    """
    assert [run_python(code, NUMBA_CACHE_DIR=tmp_path).stdout.strip() for _ in range(2)] == ["1", "0"]


@linux
@pytest.mark.parametrize("trouble", ["full", "corrupt"])
def test_problems_with_the_numba_cache_give_one_warning(trouble, tmp_path):
    code = """
    import resource, sys, numpy as np, quatrefoil as qf
    if sys.argv[1] == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file may grow
    x = np.ones((1, 100))
    print(qf.ssm.linear_scan(x, x, backend="numba")[0, -1])
    """
    cache = tmp_path / "cache"
    if trouble == "corrupt":
        run_python(code, "none", NUMBA_CACHE_DIR=cache)
        for file in cache.rglob("*.nb[ic]"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = run_python(code, trouble, NUMBA_CACHE_DIR=cache)
    assert done.stdout.split() == ["100.0"]
    assert done.stderr.count("RuntimeWarning: quatrefoil cannot cache its Numba kernels and compiles them in ev") == 1, done.stderr
    if trouble == "corrupt":  # the cache has been repaired
        assert run_python(code, "none", NUMBA_CACHE_DIR=cache).stderr == ""
