"""Values and gradients of every op in the tables, for every backend, case and precision.

The default backend in double precision is compared with the method's oracle; single precision and the other backends are compared with
that backend, element by element. A plain run tries every case on the compiled kernels, and one case of every structure on Numba and as a
composition; ``-m slow`` runs the remaining cases.
"""

import pytest

import quatrefoil as qf
from case import BACKENDS, all_cases, build, by_op, has_loops, in_precision, op_of, parametrize, parametrize_ops, simplest, structures
from checks import check_against, check_gradient, check_value
from emu import backend as emulator
from namespaces import check_composition, composed_ops, composing
from quatrefoil._spec import FAMILIES

COMPOSED = [(family, case) for family, case in structures() if op_of(family, case.op).key in composed_ops()]


def runs():
    """(backend, family, cases, precisions): one case per test on compiled kernels; on other backends all structures of an op, then eight
    cases per test."""
    plain, both = set(structures()), ("float32", "float64")
    for family, case in all_cases():
        yield pytest.param(BACKENDS[0], family, [case], both, id=f"{BACKENDS[0]}-{family}.{case}")
        if emulator.ASKED and op_of(family, case.op).key in emulator.OPS:
            yield pytest.param("emulator", family, [case], both, id=f"emulator-{family}.{case}")
    of_op, rest = by_op(structures()), by_op((family, case) for family, case in all_cases() if (family, case) not in plain)
    for backend in (*BACKENDS[1:], "array"):  # one precision: the loops are the same, and compilation takes most of the time
        looping = {at for at in of_op if backend == "array" or has_loops(op_of(*at))}
        for (family, op), cases in of_op.items():
            if (family, op) in looping:
                yield pytest.param(backend, family, cases, both[1:], id=f"{backend}-{family}.{op}")
        for (family, op), cases in rest.items():
            if (family, op) not in looping:
                continue
            for at in range(0, len(cases), 8):
                few = cases[at : at + 8]
                yield pytest.param(backend, family, few, both[1:], marks=pytest.mark.slow, id=f"{backend}-{family}.{op}-{few[0].name}-on")


@pytest.mark.parametrize(("backend", "family", "cases", "precisions"), list(runs()))
def test_op(backend, family, cases, precisions, rng):
    for case in cases:
        print(case)
        call = build(family, case, rng, "float64")
        with composing("numpy") if backend == "array" else qf.use_backend(backend):
            if backend == BACKENDS[0]:
                expected = check_value(family, case, *call, "float64")
                if op_of(family, case.op).adjoint is not None:
                    check_gradient(family, case, *call, rng, "float64", value=expected)
            else:
                check_against(BACKENDS[0], family, case, *call, rng, "float64")
            if "float32" in precisions:
                check_against(BACKENDS[0], family, case, *in_precision(family, case, *call, "float32"), rng, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != BACKENDS[0]])
@parametrize(simplest())
def test_single_precision(backend, family, case, rng):
    """Test each op once in single precision; the loops are otherwise tested in double precision."""
    with qf.use_backend(backend):
        check_value(family, case, *build(family, case, rng, "float32"), "float32")


NAMESPACES = [pytest.param(name, marks=pytest.mark.slow) for name in ("numpy-float32", "strict")]
NAMESPACES += [pytest.param("torch", marks=pytest.mark.torch)]


@pytest.mark.parametrize("namespace", NAMESPACES)
@parametrize_ops(COMPOSED)
def test_compositions_agree_with_kernels(family, cases, namespace, rng):
    for case in cases:
        print(case)
        check_composition(family, case, rng, namespace)


def test_every_op_is_composed():
    missing = {op.key for family in FAMILIES.values() for op in family if op.primal is None} - composed_ops()
    assert not missing
    for key in composed_ops():
        family, name = key.split(".")
        adjoint = op_of(family, name).adjoint
        assert adjoint is None or adjoint.key in composed_ops(), adjoint.key
