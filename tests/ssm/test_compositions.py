"""The functions of qf.ssm that are no ops with PyTorch: half precision by way of float32. Their numbers: ``test_devices.py``."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from namespaces import mapped  # noqa: E402
from public import CALLS, arrays  # noqa: E402

pytestmark = pytest.mark.torch

SSM = [name for name in CALLS if name.startswith("ssm.")]


def to_torch(x, convert=lambda t: t):
    return mapped(np.ndarray, lambda a: convert(torch.from_numpy(a.copy())), x)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in SSM if "update" in name or "rule" in name or "gla" in name])
def test_half_precision_is_computed_in_float32(backend, name, half):
    def of_half(t):
        return t.to(half) if t.is_floating_point() else t

    def in_float32(t):
        return of_half(t).float() if t.is_floating_point() else t

    got, expected = (arrays(CALLS[name](lambda x, convert=convert: to_torch(x, convert))) for convert in (of_half, in_float32))
    assert got[0].dtype == half
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b.to(a.dtype))
