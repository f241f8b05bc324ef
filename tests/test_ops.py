"""The one suite: every op of every family's table x backend x dtype x case, values and gradients, against the noun's oracle."""

import pytest

from case import all_cases, build, op_of
from checks import check_gradient, check_value

CASES = all_cases()


def parametrize(test):
    test = pytest.mark.parametrize(("family", "case"), CASES, ids=[f"{f}.{c}" for f, c in CASES])(test)
    return pytest.mark.parametrize("precision", ["float32", "float64"])(test)


@parametrize
def test_value(family, case, precision, backend, rng):
    check_value(family, case, *build(family, case, rng, precision), precision)


@parametrize
def test_gradient(family, case, precision, backend, rng):
    if op_of(family, case.op).adjoint is None:
        pytest.skip("not differentiable")
    check_gradient(family, case, *build(family, case, rng, precision), rng, precision)
