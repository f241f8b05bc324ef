"""Programs compiled by JAX: their contents, memory, caches, threads and devices."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", minversion="0.5")

import jax.numpy as jnp  # noqa: E402

import quatrefoil as qf  # noqa: E402
from children import in_threads, run_python  # noqa: E402
from quatrefoil.jax import _functions, _handler, _site  # noqa: E402
from traced import assert_same, double_precision, scan_arrays  # noqa: E402, F401


def test_nothing_is_copied(monkeypatch, rng):
    seen = []
    wrap = _handler._arrays

    def record(*request):
        seen.append([x.ctypes.data for x in wrap(*request)])
        return wrap(*request)

    a, b = scan_arrays(rng, (64, 1000))
    compute = jax.jit(qf.ssm.linear_scan)
    compute(a, b).block_until_ready()
    monkeypatch.setattr(_handler, "_arrays", record)
    y = compute(a, b).block_until_ready()
    assert seen == [[a.unsafe_buffer_pointer(), b.unsafe_buffer_pointer()], [y.unsafe_buffer_pointer()]]


def test_a_signature_is_traced_and_parsed_once(monkeypatch, rng):
    a, b = scan_arrays(rng, (3, 77))
    traced, read = [], []
    make, read_text = _functions.function, _site.site_of
    monkeypatch.setattr("quatrefoil.jax._route.function", lambda *request: traced.append(request) or make(*request))
    monkeypatch.setattr(_handler, "site_of", lambda text: read.append(text) or read_text(text))
    runs = 0

    @jax.jit
    def compute(a, b):
        nonlocal runs
        runs += 1
        return qf.ssm.linear_scan(a, b)

    for _ in range(5):
        compute(a, b).block_until_ready()
        qf.ssm.linear_scan(a, b).block_until_ready()
    assert runs == 1
    assert len(traced) == 2  # once by jit, once without it
    assert len(set(read)) == 1 and len(read) == 10  # noqa: PT018


def test_options_threads_and_backends_are_part_of_the_program(rng):
    a, b = scan_arrays(rng)
    x, y = np.asarray(a), np.asarray(b)
    for options in ({}, {"reverse": True}, {"axis": 0}, {"num_threads": 2}, {"backend": "numba"}, {"backend": "array"}):
        assert_same(jax.jit(lambda a, b, o=options: qf.ssm.linear_scan(a, b, **o))(a, b), qf.ssm.linear_scan(x, y, **options))
    with qf.use_backend("numba"):
        program = jax.jit(lambda a, b: qf.ssm.linear_scan(a, b)).lower(a, b)  # the backend at the time of tracing
    assert "numba" in program.as_text()


def test_an_object_is_compiled_like_a_function(rng):
    core, factors, x = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((2, 3), (5, 3), (4, 2)))
    tensor = qf.cheb.ChebTucker(core, [factors[:, :2], factors], domain=(-5, 5))
    for _ in range(2):
        assert_same(jax.jit(tensor)(x), tensor(x))


def test_several_threads_at_once(rng):
    a, b = scan_arrays(rng, (16, 300))
    expected = qf.ssm.linear_scan(np.asarray(a), np.asarray(b))
    compute = jax.jit(lambda a, b: qf.ssm.linear_scan(a, b) + qf.ssm.linear_scan(a, b, num_threads=1))

    def work(i):
        for _ in range(50):
            np.testing.assert_array_equal(compute(a, b), 2 * expected)

    in_threads(4, work)


def test_unexpected_buffers_are_rejected(rng):
    site = _site.text_of(qf.ssm.OPS.linear_scan, (False, 0), None, 0, [((3,), "float32"), ((3,), "float32"), None], [((3,), "float32")])
    for shape, dtype in (((4,), np.float32), ((3,), np.float64), ((1, 3), np.float32)):
        compute = jax.ffi.ffi_call(_handler.TARGET, [jax.ShapeDtypeStruct((3,), np.float32)])
        with pytest.raises(jax.errors.JaxRuntimeError, match="XLA passed a buffer"):
            jax.block_until_ready(compute(jnp.zeros(shape, dtype), jnp.zeros(3, np.float32), site=site))


def test_a_cached_program_runs_in_another_process(tmp_path):
    code = """
    import jax, numpy as np, quatrefoil as qf
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    a = jax.numpy.linspace(0, 1, 60).reshape(3, 20)
    y = jax.jit(lambda a: qf.ssm.linear_scan(a, a, reverse=True))(a)
    assert np.array_equal(y, qf.ssm.linear_scan(np.asarray(a), np.asarray(a), reverse=True))
    """
    programs = []
    for _ in range(2):
        run_python(code, JAX_COMPILATION_CACHE_DIR=str(tmp_path))
        programs.append(sorted(p.name for p in tmp_path.iterdir() if "lambda" in p.name and "atime" not in p.name))
    assert programs[0]
    assert programs[0] == programs[1]


def test_arrays_spread_over_devices_and_a_process_that_ends_while_one_computes():
    code = """
    import jax, numpy as np, quatrefoil as qf
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    a = np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 15)
    spread = jax.device_put(a, NamedSharding(Mesh(jax.devices(), ("d",)), PartitionSpec("d")))
    for compute in (qf.ssm.linear_scan, jax.jit(qf.ssm.linear_scan)):
        assert np.array_equal(compute(spread, spread), qf.ssm.linear_scan(a, a))
    big = jax.numpy.ones((200, 20000))
    for _ in range(20):
        qf.ssm.linear_scan(big, big)
    """
    run_python(code, XLA_FLAGS="--xla_force_host_platform_device_count=2")


def test_jax_is_not_imported_without_jax_arrays():
    code = "import sys, numpy as np, quatrefoil as qf; qf.ssm.linear_scan(*np.ones((2, 3, 4))); print('jax' in sys.modules)"
    assert run_python(code).stdout.strip() == "False"
