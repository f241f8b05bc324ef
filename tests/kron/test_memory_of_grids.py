"""Memory of products and likelihoods of large grids, excluding their arguments, in units of one vector (N,)."""

import math

import pytest

from quatrefoil._backends import native

pytestmark = pytest.mark.skipif(native.reason() is not None, reason="the compiled kernels are missing")

SETUP = """
import numpy as np, quatrefoil as qf
rng = np.random.default_rng(0)
qf.kron.matvec([np.eye(3)] * 2, np.ones(9))
qf.kron.gp_nll([np.eye(3)] * 2, np.ones(9), 0.1, mask=np.arange(9) > 0, grad=True)
"""
SLACK = 2 << 20  # bytes: panels and Python itself


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((80, 81, 79), (80, 81, 79)),
        pytest.param((21,) * 5, (21,) * 5, marks=pytest.mark.slow),
        ((709, 711), (709, 711)),  # each factor has the size of the array
        pytest.param((40, 160, 300), (300, 160, 40), marks=pytest.mark.slow),
        pytest.param((300, 160, 50), (50, 160, 300), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_products(peak_memory, shape, sizes):
    out, inputs = 8 * math.prod(shape), 8 * math.prod(sizes)
    setup = f"{SETUP}factors, x, z = [rng.standard_normal(s) for s in zip({shape}, {sizes})], np.ones({inputs // 8}), np.ones({out // 8})"
    assert peak_memory(setup, "y = qf.kron.matvec(factors, x)") <= out + max(out, inputs) + SLACK
    assert peak_memory(setup, "y = qf.kron.matvec(factors, z, transpose=True)") <= inputs + max(out, inputs) + SLACK


@pytest.mark.parametrize(
    ("sizes", "code", "arrays"),
    [
        pytest.param((128, 127, 130), "", 6, marks=pytest.mark.slow),
        ((64, 63, 65), "mask=seen, ", 14),  # the correction for missing cells also has columns of this size
        pytest.param((128, 127, 130), "mask=seen, ", 14, marks=pytest.mark.slow),
        # eight arrays per factor: copies, eigenvectors, their parity blocks and gradients
        pytest.param((1000, 1000), "", 6 + 2 * 8, marks=pytest.mark.slow),
    ],
)
def test_likelihoods(peak_memory, sizes, code, arrays):
    N = math.prod(sizes)
    setup = f"{SETUP}covariances = [qf.kron.matern12(np.linspace(0, 1, n), scale=0.3) for n in {sizes}]\nx = rng.standard_normal({N})\n"
    setup += f"seen = np.arange({N}) % ({N} // 40) > 0\nfirst = np.linalg.eigh(covariances[0])"
    peak = peak_memory(setup, f"result = qf.kron.gp_nll(covariances, x, 0.1, {code}grad=True)")
    assert peak <= arrays * 8 * N + SLACK


SAMPLES = """
import numpy as np, quatrefoil as qf
from quatrefoil.kron.gp import sample
sample._BLOCK_BYTES = 1 << 20  # one sample
axes = [np.linspace(0, 1, n) for n in (40, 41, 39)]
Y = np.random.default_rng(0).standard_normal((40, 41, 39))
Y[::3, ::4] = np.nan
gp = qf.kron.GridGP(optimizer=None, noise=0.5).fit(axes, Y)
gp.predict(return_std="samples", samples=2, rng=0)
gp.sample(size=1, rng=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", ["gp.predict(return_std='samples', samples={}, rng=0)", "gp.sample(size={}, rng=0).mean()"])
def test_samples(peak_memory, code):
    """Samples are computed in blocks: many need no more memory than few, plus the result."""
    few, many = (peak_memory(SAMPLES, code.format(count)) for count in (2, 40))
    result = 38 * 8 * 40 * 41 * 39 if "sample(" in code else 0
    assert many <= few + result + SLACK
