"""All functions of symmetric matrices have the same tolerance for asymmetry."""

import numpy as np
import pytest

import quatrefoil as qf


def one(like, n):
    return np.eye(n, dtype=like.dtype)


CALLS = {
    "operator": lambda K, y: qf.kron.KroneckerOperator([K]).solve(y, 1.0),
    "process": lambda K, y: qf.kron.gp_solve([K], y, 1.0),
    "two terms": lambda K, y: qf.kron.sum_solve(K, one(K, 1), one(K, len(K)), one(K, 1), y[:, None])[:, 0],
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("n", [2, 5, 8, 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_bound(rng, call, n, dtype):
    """max(n, 8) eps of the largest entry is accepted as rounding; slightly more raises."""
    K, y = np.eye(n, dtype=dtype), rng.standard_normal(n).astype(dtype)
    bound = max(n, 8) * float(np.finfo(dtype).eps)
    K[0, 1] = bound
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(CALLS[call](K, y), y / 2, atol=2 * bound * np.abs(y).max() + 4 * eps)
    K[0, 1] = 1.01 * bound
    with pytest.raises(ValueError, match="is not symmetric"):
        CALLS[call](K, y)
