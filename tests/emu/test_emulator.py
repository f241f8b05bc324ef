"""CUDA kernels under the emulator: the same bits for any order of threads, and no superfluous barrier."""

import re
import types

import numpy as np
import pytest

import quatrefoil as qf
from case import all_cases, arrays_of, build, op_of, parametrize, with_gradients
from emu import backend as emulator
from emu import build as emu_build
from namespaces import forget_plans
from quatrefoil import _arrays, _backends

pytestmark = pytest.mark.emulator

ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
CASES = [(family, case) for family, case in all_cases() if op_of(family, case.op).key in emulator.OPS]


def results(family, case, arguments, keywords):
    """The arrays of the result and of the gradients."""
    value, gradients = with_gradients(family, case, arguments, keywords)
    return [*value, *gradients]


@pytest.fixture(autouse=True)
def in_order_again():
    yield
    emulator.module().run_in_order(0, 1)


@parametrize(CASES)
def test_any_order_gives_the_same_bits(family, case, rng):
    inputs, run = build(family, case, rng, "float32"), emulator.module().run_in_order
    with qf.use_backend("emulator"):
        first, *others = (run(order, int(rng.integers(2**31))) or results(family, case, *inputs) for order in ORDERS.values())
    for other in others:
        np.testing.assert_equal(other, first)


def test_an_op_has_its_adjoint():
    for method in emu_build.METHODS:
        for name in emu_build.ops(method):
            op = op_of(method.parent.name, name.removesuffix("_vjp"))
            assert op.adjoint is None or op.adjoint.key in emulator.OPS, op.key
            assert hasattr(getattr(emulator.module(), method.parent.name), name)


def files_of(method):
    """The kernel files of a method, and the headers of core/cuda that they include."""
    own = sorted(method.glob("cuda*"))
    used = {name for path in own for name in re.findall(r'^#include "(core/cuda/\w+\.hpp)"', path.read_text(), re.M)}
    return [*own, *sorted(emu_build.CSRC / name for name in used)]


BARRIERS = [
    (method, path, match.start())
    for method in emu_build.METHODS
    for path in files_of(method)
    for match in re.finditer(r"^ +__syncthreads\(\);", path.read_text(), re.M)
]


@pytest.mark.parametrize(
    ("method", "path", "at"), BARRIERS, ids=[f"{n.name}-{p.name}-{p.read_text().count(chr(10), 0, at) + 1}" for n, p, at in BARRIERS]
)
def test_a_barrier_that_is_left_out_is_noticed(method, path, at, rng, monkeypatch):
    """In some case of the method, the emulator raises an error, or results contain NaN or depend on the order of threads."""
    text = path.read_text()
    family = method.parent.name
    cases = [case for f, case in CASES if f == family and op_of(f, case.op).method == method.name]
    planted = emulator.load(emu_build.build(planted=(path, text[:at] + text[at:].replace("__syncthreads();", "", 1), method)))
    monkeypatch.setattr(emulator, "module", lambda: planted)
    forget_plans()  # plans store kernels

    def shows(case):
        call = (family, case, *build(family, case, rng, "float64"))
        with qf.use_backend("emulator"):
            try:
                first, *others = (planted.run_in_order(order, 7) or results(*call) for order in ORDERS.values())
            except NotImplementedError:
                raise
            except RuntimeError:
                return True
        return any(not np.array_equal(a, b) for other in others for a, b in zip(first, other)) or any(np.isnan(a).any() for a in first)

    try:
        assert any(map(shows, cases))
    finally:
        forget_plans()


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("options", [{"num_iter": 64}, {"solver": "exact"}, {"num_iter": 0}], ids=["chebyshev", "exact", "none"])
def test_states_that_gka_begins_with(tokens, options, rng):
    """Initial states (no case has them) in every order, compared with the host; the skew part of H_0 has no effect."""
    B, heads, D = 2, 2, 9
    q, k, v = rng.standard_normal((3, B, tokens, heads, D)) / np.sqrt(D)
    alpha, g, gk = rng.uniform(size=(3, B, tokens, heads)) * np.array([1, -0.1, -0.1])[:, None, None, None]
    roots, skew, U = rng.standard_normal((3, B, heads, D, D))
    state = (roots @ roots.swapaxes(-1, -2) / D + skew - skew.swapaxes(-1, -2), U)
    keywords = {"ridge_strength": 0.1, "initial_state": state, "output_final_state": True, **options}
    grads = (rng.standard_normal(q.shape), *rng.standard_normal((2, B, heads, D, D)))

    def everything():
        value = qf.ssm.gka(q, k, v, alpha, g, gk, **keywords)
        return [*arrays_of(value), *qf.ssm.gka_vjp(q, k, v, alpha, g, gk, grads, **keywords)]

    expected = everything()
    with qf.use_backend("emulator"):
        first, *others = (emulator.module().run_in_order(order, 7) or everything() for order in ORDERS.values())
    for e, a, *more in zip(expected, first, *others, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=2e-13 * np.abs(e).max(initial=0))  # 1000 eps, for a condition number of 11
        for b in more:
            np.testing.assert_array_equal(a, b)


class Array(np.ndarray):
    """A NumPy array that the library treats as CuPy's."""


@pytest.fixture
def for_cupy(monkeypatch):
    class Device:
        id = 1
        entered = 0

        def __enter__(self):
            self.entered += 1

        def __exit__(self, *error):
            pass

    device, kind = Device(), _arrays.kind
    monkeypatch.setattr(Array, "device", device, raising=False)
    monkeypatch.setattr(_arrays, "kind", lambda x: "cupy" if isinstance(x, Array) else kind(x))
    monkeypatch.setattr(_arrays, "device", lambda x: "cuda:1" if isinstance(x, Array) else "cpu")
    library = types.SimpleNamespace(empty=lambda shape, dtype: np.empty(shape, dtype).view(Array), may_share_memory=np.may_share_memory)
    monkeypatch.setitem(__import__("sys").modules, "cupy", library)
    monkeypatch.setattr(_backends.cuda, "reason", lambda: None)
    monkeypatch.setattr(_backends.cuda, "kernel", emulator.kernel)
    forget_plans()
    yield device
    forget_plans()


def test_cupy_arrays_reach_a_kernel(for_cupy, rng):
    a, b, grad = (0.9 * rng.standard_normal(shape) for shape in ((1, 70), (3, 70), (3, 70)))
    arrays = [x.view(Array) for x in (a, b, grad)]
    got = qf.ssm.linear_scan(*arrays[:2])
    assert isinstance(got, Array)
    assert for_cupy.entered == 1
    np.testing.assert_allclose(got, qf.ssm.linear_scan(a, b), rtol=0, atol=1e-12 * np.abs(got).max())
    out = np.empty_like(arrays[1])
    assert qf.ssm.linear_scan(*arrays[:2], out=out) is out
    np.testing.assert_array_equal(out, got)
    da, db = qf.ssm.linear_scan_vjp(*arrays)
    for g, e in zip((da, db), qf.ssm.linear_scan_vjp(a, b, grad)):
        assert isinstance(g, Array)
        assert g.shape == e.shape
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-11 * np.abs(e).max())


def test_rows_that_the_host_rejects_are_nan(for_cupy, rng):
    """The first item that names a row uses it. Items with a repeated or invalid row get NaN and change no state."""
    state, x, dt, B, C = (rng.standard_normal(shape) for shape in ((3, 2, 4), (5, 2), (5, 2), (5, 4), (5, 4)))
    A, rows, dt = -np.exp(rng.standard_normal((2, 4))), np.array([1, 1, 3, -1, 0]), abs(dt)
    out, after = qf.ssm.selective_state_step(*(a.view(Array) for a in (state, x, dt, A, B, C)), state_batch_indices=rows.view(Array))
    expected, expected_after = qf.ssm.selective_state_step(state, x, dt, A, B, C, state_batch_indices=np.array([1, -1, -1, -1, 0]))
    expected[1:3] = np.nan
    for got, wanted in ((out, expected), (after, expected_after)):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=0, atol=1e-13 * np.abs(expected_after).max())


@pytest.mark.parametrize("ends", [[1, 20, 40], [0, 20, 39], [0, 30, 20, 40], [0, -5, 40], [0, 99, 40], [40]], ids=str)
def test_sequences_that_the_host_rejects_make_nan(ends, for_cupy, rng):
    """Only the kernel reads ``cu_seqlens``, and invalid entries do not make it access memory outside the arrays."""
    ends, N = np.array(ends), len(ends) - 1
    q, k, v = (rng.standard_normal((1, 40, 2, n)) for n in (4, 4, 3))
    g, beta, state = -rng.uniform(size=(1, 40, 2)), rng.uniform(size=(1, 40, 2)), rng.standard_normal((N, 2, 4, 3))
    inputs = [x.astype(np.float32).view(Array) for x in (q, k, v, g, beta, state)] + [ends.view(Array)]
    keywords = {"initial_state": inputs[5], "cu_seqlens": inputs[6], "output_final_state": True}
    o, final = qf.ssm.chunk_gated_delta_rule(*inputs[:5], **keywords)
    gradients = qf.ssm.chunk_gated_delta_rule_vjp(*inputs, (np.ones_like(o), np.ones_like(final)), output_final_state=True)
    for got in (o, final, *gradients):
        assert np.isnan(got).all()


@pytest.mark.parametrize("ends", [[1, 20, 40], [0, 20, 39], [0, 30, 20, 40], [0, -5, 40], [0, 99, 40]], ids=str)
def test_cuts_that_the_host_rejects_make_nan(ends, for_cupy, rng):
    shapes = {"x": (1, 40, 2, 3), "dt": (1, 40, 2), "A": (2,), "B": (1, 40, 1, 4), "C": (1, 40, 1, 4)}
    shapes |= {"D": (2,), "z": (1, 40, 2, 3), "dt_bias": (2,), "initial_states": (1, 2, 3, 4)}
    inputs = [rng.standard_normal(s).astype(np.float32).view(Array) for s in shapes.values()]
    options = {"chunk_size": 16, "dt_softplus": True, "return_final_states": True, "return_varlen_states": True}
    states = inputs[5:9]
    results = qf.ssm.mamba_chunk_scan_combined(
        *inputs[:5], D=states[0], z=states[1], dt_bias=states[2], initial_states=states[3], cu_seqlens=np.array(ends).view(Array), **options
    )
    grads = tuple(np.ones_like(r) for r in results)
    gradients = qf.ssm.mamba_chunk_scan_combined_vjp(*inputs, None, np.array(ends).view(Array), grads, **options)
    for got in (*results, *gradients):
        assert np.isnan(got).all()


@pytest.mark.torch
def test_tensors_reach_a_kernel(rng):
    torch = pytest.importorskip("torch")
    a, b = (torch.from_numpy(0.9 * rng.standard_normal(shape)).requires_grad_() for shape in ((1, 70), (3, 70)))
    with qf.use_backend("emulator"):
        h = qf.ssm.linear_scan(a, b)
        h.square().sum().backward()
    expected = qf.ssm.linear_scan(a.detach(), b.detach())
    torch.testing.assert_close(h, expected, rtol=0, atol=float(1e-12 * expected.abs().max()))
    da, db = qf.ssm.linear_scan_vjp(a.detach(), b.detach(), 2 * expected)
    for got, wanted in ((a.grad, da), (b.grad, db)):
        torch.testing.assert_close(got, wanted, rtol=0, atol=float(1e-11 * wanted.abs().max()))
