"""Meta tensors, which have no numbers, and a mix of devices, which is refused; tensors with a pending sign, which stand for others."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from case import adjoint_arguments, call_of, graded, made, op_of, parametrize, structures, vjp_of  # noqa: E402
from namespaces import mapped  # noqa: E402
from public import CALLS, CORE, FACTORS, arrays, one_at_a_time, parts, tensor  # noqa: E402
from tensors import lazy  # noqa: E402
from test_torch import prepare, to_torch  # noqa: E402

pytestmark = pytest.mark.torch

WITHOUT_NUMBERS = {name for name in CALLS if name.startswith("ssm.")} | {
    *(f"kron.KroneckerOperator, {of}" for of in ("products", "float32", "entries", "algebra")),
    "kron.matvec, batches",
    *("cheb.TuckerTensor", "cheb.ChebTucker", "cheb.ChebTucker, plan", "cheb.ChebTucker, calculus"),
}


def tensors(x):
    return [t for item in x for t in tensors(item)] if isinstance(x, (list, tuple)) else [x] if isinstance(x, torch.Tensor) else []


def moved(x, chosen=None):
    """The same arguments, all their tensors meta, or that of one number."""
    count = itertools.count()

    def move(x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(move, x))
        if isinstance(x, dict):
            return {name: move(value) for name, value in x.items()}
        return x.to("meta") if isinstance(x, torch.Tensor) and chosen in (None, next(count)) else x

    return move(x)


def check(call, arguments, keywords, label):
    expected = tensors(call(*arguments, **keywords))
    a, k = moved((list(arguments), keywords))
    got = tensors(call(*a, **k))
    assert [(g.device.type, g.shape, g.dtype) for g in got] == [("meta", e.shape, e.dtype) for e in expected]
    given = tensors([*arguments, *keywords.values()])
    for i in range(len(given)) if len(given) > 1 else ():
        a, k = moved((list(arguments), keywords), i)
        with pytest.raises(TypeError, match=rf"{label}\S*: .+ is on (meta but .+ is on cpu|cpu but .+ is on meta); all tensors of a call"):
            call(*a, **k)


@parametrize(structures())
def test_ops(family, case, rng):
    arguments, keywords = prepare(family, case, rng)
    op = op_of(family, case.op)
    check(lambda *a, **k: made(call_of(family, case)(*a, **k)), arguments, keywords, op.family)
    if op.adjoint is None:
        return
    inputs, options = adjoint_arguments(op, arguments, keywords)
    grads = tuple(torch.ones_like(y) for y in graded(op, call_of(family, case)(*arguments, **keywords)))
    check(vjp_of(family, case), [*inputs, grads if len(op.differentiable_outputs) > 1 else grads[0]], options, op.family)


def on_meta(x):
    return moved(to_torch(x))


@pytest.mark.parametrize("name", CALLS)
def test_functions_that_are_no_ops(name):
    """Meta results of the right shape where no number is looked at, or an error that says so; never a mix of devices."""
    call = CALLS[name]
    if name in WITHOUT_NUMBERS:
        got = arrays(call(on_meta))
        assert [(g.device.type, g.shape, g.dtype) for g in got] == [("meta", e.shape, e.dtype) for e in arrays(call(to_torch))]
    else:
        with pytest.raises(RuntimeError, match=r": \S.* is on meta; move it to the CPU"):
            call(on_meta)
    mixed = list(one_at_a_time(call, on_meta, to_torch))
    for attempt in mixed if len(mixed) > 1 and name != "cheb.TuckerTensor" else ():
        with pytest.raises((TypeError, RuntimeError), match=r"all tensors of a call|all arrays|is on meta; move it to the CPU"):
            attempt()


def test_saving_looks_at_numbers():
    with pytest.raises(RuntimeError, match=r"ChebTucker.save: core is on meta; move it to the CPU"):
        tensor(on_meta).save("/nowhere/at/all")


def test_compiled_calls_are_refused_alike():
    u, k = torch.randn(2, 3, 70), torch.randn(3, 70, device="meta")
    qf.ssm.fft_conv(u, torch.randn(3, 70))  # the first call with tensors registers the operators
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


# ---------------------------------------------------------------- tensors with a pending sign or conjugation


@pytest.mark.parametrize("name", CALLS)
def test_pending_signs_and_conjugations(name):
    """The numbers of plain tensors, to the bit, and of NumPy arrays, to rounding."""
    kinds = (lazy, lambda x: mapped(np.ndarray, lambda a: torch.from_numpy(a.copy()), x), lambda x: x)
    for results in zip(*(arrays(CALLS[name](kind)) for kind in kinds), strict=True):
        got, expected, host = (x.detach().resolve_conj().resolve_neg().numpy() if isinstance(x, torch.Tensor) else x for x in results)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(expected, host, rtol=0, atol=1e-12 * np.abs(host).max(initial=1))


def test_saved_tensors(tmp_path):
    ct = qf.cheb.ChebTucker(lazy(CORE), lazy(FACTORS))
    ct.save(tmp_path / "tensor")
    again = qf.cheb.ChebTucker.load(tmp_path / "tensor")
    for got, expected in zip(parts(again), (CORE, *FACTORS)):
        np.testing.assert_array_equal(got, expected)
