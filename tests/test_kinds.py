"""Lists, objects and bytes in the other order in place of an op's arrays, once per structure: an error that names the argument."""

import numpy as np
import pytest

from case import build, call_with_adjoint, parametrize_ops, structures
from namespaces import mapped
from public import one_at_a_time


def listed(x):
    return x.tolist() if x.ndim else x.astype(object)  # a number may be one of Python's


def swapped(x):
    return x.astype(x.dtype.newbyteorder() if x.dtype.itemsize > 1 else object)


@parametrize_ops(structures())
def test_wrong_kinds(family, cases, rng):
    for case in cases:
        print(case)
        given = build(family, case, rng, "float64")

        def call(t, case=case, given=given):
            return call_with_adjoint(family, case, *given, lambda i, y: np.ones_like(y), lambda x: mapped(np.ndarray, t, x))

        for wrong in (listed, swapped):
            for attempt in one_at_a_time(call, wrong):
                with pytest.raises(TypeError, match=rf"{family}\.\w+: \S+ (is|has dtype) .*, expected"):
                    attempt()
