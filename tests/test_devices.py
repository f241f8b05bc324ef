"""Meta tensors, which have no numbers: all meta in gives meta results of the right shape and dtype, and a mix with others is refused."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from case import adjoint_arguments, call_of, graded, made, op_of, parametrize, structures, vjp_of  # noqa: E402
from public import CALLS, arrays, one_at_a_time, tensor  # noqa: E402
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
