"""Tensors with a pending sign or conjugation: whatever takes a tensor sees the numbers that it stands for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from namespaces import mapped  # noqa: E402
from public import CALLS, CORE, FACTORS, arrays, parts  # noqa: E402
from tensors import lazy  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", CALLS)
def test_functions_that_are_no_ops(name):
    got, expected = (CALLS[name](kind) for kind in (lazy, lambda x: mapped(np.ndarray, lambda a: torch.from_numpy(a.copy()), x)))
    for pair in zip(arrays(got), arrays(expected), strict=True):
        np.testing.assert_array_equal(*(x.detach().resolve_conj().resolve_neg() if isinstance(x, torch.Tensor) else x for x in pair))


def test_saved_tensors(tmp_path):
    ct = qf.cheb.ChebTucker(lazy(CORE), lazy(FACTORS))
    ct.save(tmp_path / "tensor")
    again = qf.cheb.ChebTucker.load(tmp_path / "tensor")
    for got, expected in zip(parts(again), (CORE, *FACTORS)):
        np.testing.assert_array_equal(got, expected)
