"""The one suite: every op of every family's table x backend x dtype x case, values and gradients, against the noun's oracle."""

import numpy as np
import pytest

import quatrefoil as qf
from case import LAYOUTS, all_cases, build, call_of, flat, graded, made, op_of, vjp_of
from checks import check_gradient, check_value
from emu import backend as emulator
from namespaces import alike_cases, check_alike, composed_ops, composing, thinned
from quatrefoil._backends import native
from quatrefoil._spec import FAMILIES

CASES = all_cases()


def parametrize(test):
    test = pytest.mark.parametrize(("family", "case"), CASES, ids=[f"{f}.{c}" for f, c in CASES])(test)
    return pytest.mark.parametrize("precision", ["float32", "float64"])(test)


@parametrize
def test_value(family, case, precision, backend, rng):
    check_value(family, case, *build(family, case, rng, precision), precision)


def loops_in_single(backend, precision):
    """Numba's are the same loops in either precision, which ``test_value`` tries both of: compiling them again is most of a test's time."""
    return backend == "numba" and precision == "float32"


@parametrize
def test_gradient(family, case, precision, backend, rng):
    if loops_in_single(backend, precision):
        pytest.skip("in double precision")
    if op_of(family, case.op).adjoint is None:
        pytest.skip("not differentiable")
    check_gradient(family, case, *build(family, case, rng, precision), rng, precision)


# ---------------------------------------------------------------- backend "array", over every namespace

COMPOSED = [(family, case) for family, case in CASES if op_of(family, case.op).key in composed_ops()]


FEW = thinned(COMPOSED, 16)


@pytest.mark.parametrize(("family", "case"), FEW, ids=[f"{f}.{c}" for f, c in FEW])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_composed_value(family, case, precision, rng):
    with composing("numpy"):
        check_value(family, case, *build(family, case, rng, precision), precision)


@pytest.mark.parametrize(("family", "case", "namespace"), alike_cases(COMPOSED))
def test_composed_alike(family, case, namespace, rng):
    """Every namespace against the host's kernel, values and all of the gradients, number by number: it is the kernel that is held against
    the oracle above, whose differences would take most of the suite's time. Single precision on NumPy alone: the text is the same, and the
    others compute as NumPy does."""
    check_alike(family, case, rng, namespace)


# ---------------------------------------------------------------- the kernels for GPUs, on the host

EMULATED = [(family, case) for family, case in CASES if op_of(family, case.op).key in emulator.OPS]


def emulated(test):
    test = pytest.mark.parametrize(("family", "case"), EMULATED, ids=[f"{f}.{c}" for f, c in EMULATED])(test)
    test = pytest.mark.parametrize("precision", ["float32", "float64"])(test)
    return pytest.mark.skipif(not emulator.ASKED, reason=str(emulator.reason()))(test)


@emulated
def test_emulated_value(family, case, precision, rng):
    with qf.use_backend("emulator"):
        check_value(family, case, *build(family, case, rng, precision), precision)


@emulated
def test_emulated_gradient(family, case, precision, rng):
    if op_of(family, case.op).adjoint is None:
        pytest.skip("not differentiable")
    with qf.use_backend("emulator"):
        check_gradient(family, case, *build(family, case, rng, precision), rng, precision)


def test_every_op_is_composed():
    missing = {op.key for family in FAMILIES.values() for op in family if op.primal is None} - composed_ops()
    assert not missing
    for key in composed_ops():
        family, name = key.split(".")
        adjoint = op_of(family, name).adjoint
        assert adjoint is None or adjoint.key in composed_ops(), adjoint.key


def displaced(x):
    """The same numbers, a byte behind a place that suits them."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(displaced, x))
    return LAYOUTS["unaligned"](x) if isinstance(x, np.ndarray) else x


@parametrize
def test_unaligned(family, case, precision, backend, rng):
    """Nothing is read where no number may lie, which a sanitizer sees, and the bits stay."""
    if loops_in_single(backend, precision):
        pytest.skip("in double precision")
    if backend == "numba" and case is not next(c for f, c in CASES if f == family):
        pytest.skip("Numba compiles every op again for such arrays; one of each family is tried")
    arguments, keywords = build(family, case, rng, precision)
    op, function = op_of(family, case.op), call_of(family, case)
    expected = function(*arguments, **keywords)
    got = function(*displaced(arguments), **{k: displaced(v) for k, v in keywords.items()})
    for e, g in zip(made(expected), made(got)):
        np.testing.assert_array_equal(g, e)
    if op.adjoint is None:
        return
    inputs = arguments + [keywords.pop(a.name, None) for a in op.inputs[len(arguments) :]]
    grad = tuple(np.ones_like(e) for e in graded(op, expected))
    grad = grad if len(grad) > 1 else grad[0]
    expected = vjp_of(family, case)(*inputs, grad, **keywords)
    got = vjp_of(family, case)(*displaced(inputs), displaced(grad), **keywords)
    for e, g in zip(flat(expected), flat(got)):
        np.testing.assert_array_equal(g, e)


@pytest.mark.torch
@pytest.mark.skipif(native.reason() is not None, reason="the compiled part is missing")
@parametrize
def test_unaligned_tensors(family, case, precision, rng):
    torch = pytest.importorskip("torch")

    def tensor(x):
        if isinstance(x, (list, tuple)):
            return type(x)(tensor(item) for item in x)
        if not isinstance(x, np.ndarray):
            return x
        dtype = torch.from_numpy(np.zeros(0, x.dtype)).dtype
        return (
            torch.frombuffer(bytearray(1) + x.tobytes(), dtype=dtype, offset=1).reshape(x.shape)
            if x.size
            else torch.zeros(x.shape, dtype=dtype)
        )

    arguments, keywords = build(family, case, rng, precision)
    function = call_of(family, case)
    with qf.use_backend("native"):
        expected = function(*arguments, **keywords)
        got = function(*tensor(arguments), **{k: tensor(v) for k, v in keywords.items()})
    for e, g in zip(made(expected), made(got)):
        np.testing.assert_array_equal(g.numpy(), e)
