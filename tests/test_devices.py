"""Meta tensors, mixed devices, and tensors with a pending negation or conjugation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from case import adjoint_arguments, arrays_of, build, call_of, differentiable_results, op_of, parametrize, structures, vjp_of  # noqa: E402
from namespaces import mapped  # noqa: E402
from public import CALLS, CORE, FACTORS, arrays, one_at_a_time, parts, tensor  # noqa: E402
from tensors import lazy, plain, to_numpy  # noqa: E402

pytestmark = pytest.mark.torch

READS_NO_VALUES = {name for name in CALLS if name.startswith("ssm.") and name != "ssm.exponential_integrator"} | {  # it reads values
    *(f"kron.KroneckerOperator, {part}" for part in ("products", "float32", "entries", "algebra")),
    "kron.matvec, batches",
    *("cheb.TuckerTensor", "cheb.TensorTrain", "cheb.ChebTucker", "cheb.ChebTucker, plan", "cheb.ChebTucker, calculus"),
}


def tensors(x):
    return [t for item in x for t in tensors(item)] if isinstance(x, (list, tuple)) else [x] if isinstance(x, torch.Tensor) else []


def on_meta(x):
    return mapped(torch.Tensor, lambda t: t.to("meta"), plain(x))


def check(call, arguments, keywords, label):
    def run(change):
        return tensors(call(*mapped(np.ndarray, change, arguments), **{n: mapped(np.ndarray, change, x) for n, x in keywords.items()}))

    assert [(g.device.type, g.shape, g.dtype) for g in run(on_meta)] == [("meta", e.shape, e.dtype) for e in run(plain)]
    mixed = list(one_at_a_time(run, on_meta, plain))
    for attempt in mixed if len(mixed) > 1 else ():
        with pytest.raises(TypeError, match=rf"{label}\S*: .+ is on (meta but .+ is on cpu|cpu but .+ is on meta); all tensors of a call"):
            attempt()


@parametrize(structures())
def test_ops(family, case, rng):
    arguments, keywords = build(family, case, rng, "float64")
    op, compute = op_of(family, case.op), call_of(family, case)
    check(lambda *a, **k: arrays_of(compute(*a, **k)), arguments, keywords, op.family)
    if op.adjoint is None:
        return
    inputs, options = adjoint_arguments(op, arguments, keywords)
    grads = tuple(np.ones_like(y) for y in differentiable_results(op, compute(*arguments, **keywords)))
    check(vjp_of(family, case), [*inputs, grads if len(op.differentiable_outputs) > 1 else grads[0]], options, op.family)


@pytest.mark.parametrize("name", CALLS)
def test_functions_that_are_not_ops(name):
    """Meta results have the right shape, or an error says that values are read; mixing devices always raises an error."""
    call = CALLS[name]
    if name in READS_NO_VALUES:
        got = arrays(call(on_meta))
        assert [(g.device.type, g.shape, g.dtype) for g in got] == [("meta", e.shape, e.dtype) for e in arrays(call(plain))]
    else:
        with pytest.raises(RuntimeError, match=r": \S.* is on meta; move it to the CPU"):
            call(on_meta)
    mixed = list(one_at_a_time(call, on_meta, plain))
    for attempt in mixed if len(mixed) > 1 and name != "cheb.TuckerTensor" else ():
        with pytest.raises((TypeError, RuntimeError), match=r"all tensors of a call|all arrays|is on meta; move it to the CPU"):
            attempt()


def test_saving_reads_values():
    with pytest.raises(RuntimeError, match=r"ChebTucker.save: core is on meta; move it to the CPU"):
        tensor(on_meta).save("/nowhere/at/all")


def test_compiled_calls_raise_the_same_errors():
    u, k = torch.randn(2, 3, 70), torch.randn(3, 70, device="meta")
    qf.ssm.fft_conv(u, torch.randn(3, 70))  # the first call on tensors registers the operators
    operator = torch.ops.quatrefoil.ssm_fft_conv
    for a, b in ((u, k), (u.to("meta"), torch.randn(3, 70))):
        with pytest.raises(TypeError, match="all tensors of a call must be on one device"):
            operator(a, b, None, None, None, 0)
        with pytest.raises(Exception, match="all tensors of a call must be on one device"):  # torch wraps it
            torch.compile(lambda a, b: qf.ssm.fft_conv(a, b), backend="aot_eager", fullgraph=True)(a, b)
    out = torch.empty(2, 3, 70, device="meta")
    with pytest.raises((ValueError, RuntimeError), match="out"):
        qf.ssm.fft_conv(u, torch.randn(3, 70), out=out)
    np.testing.assert_array_equal(qf.ssm.fft_conv(u, torch.zeros(3, 70)), 0)


@pytest.mark.parametrize("name", CALLS)
def test_pending_signs_and_conjugations(name):
    """Results have the same bits as for plain tensors and, up to rounding, the same values as for NumPy arrays."""
    for results in zip(*(arrays(CALLS[name](kind)) for kind in (lazy, plain, lambda x: x)), strict=True):
        got, expected, numpy_result = map(to_numpy, results)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(expected, numpy_result, rtol=0, atol=1e-12 * np.abs(numpy_result).max(initial=1))


def test_saved_tensors(tmp_path):
    ct = qf.cheb.ChebTucker(lazy(CORE), lazy(FACTORS))
    ct.save(tmp_path / "tensor")
    again = qf.cheb.ChebTucker.load(tmp_path / "tensor")
    np.testing.assert_equal(parts(again), [CORE, *FACTORS])
