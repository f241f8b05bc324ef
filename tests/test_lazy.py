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
