"""The long part of 1/r on a grid of cells as a canonical sum: ranks no larger than those that the scripts of ChebTuck print."""

import math

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import quatrefoil as qf

special = pytest.importorskip("scipy.special")
interpolate = pytest.importorskip("scipy.interpolate")
POINTS = 257  # Chebyshev points of the splines: they resolve the narrowest column


def columns(n, h, terms):
    """Averages of w_k^(1/3) exp(-t_k^2 x^2) over n equal cells of [-1, 1], of the wide Gaussians, and the cells' centres."""
    u = h * np.arange(math.ceil(terms / 2) - 3)
    t, w = np.sinh(u[1:]), 2 / math.sqrt(math.pi) * h * np.cosh(u)
    w[0] /= 2
    width = 2 / n
    x = -1 + width * (np.arange(n) + 0.5)
    averages = math.sqrt(math.pi) / (2 * t * width) * (special.erf(np.outer(x + width / 2, t)) - special.erf(np.outer(x - width / 2, t)))
    return x, np.column_stack([np.ones(n), averages]) * w ** (1 / 3)


@pytest.mark.parametrize(
    ("n", "h", "terms", "published"),
    [
        (256, 0.2621, 26, 9),
        (1024, 0.266, 31, 12),
        pytest.param(2048, 0.266, 34, 13, marks=pytest.mark.slow),
        pytest.param(4096, 0.266, 37, 15, marks=pytest.mark.slow),
    ],
)
def test_ranks(n, h, terms, published):
    """Of columns scaled in any way, to tol of the sum of splines: in the plane of cells below the middle."""
    x, U = columns(n, h, terms)
    scale = 10.0 ** np.linspace(-3, 3, U.shape[1])
    splines = qf.cheb.vals2coeffs(interpolate.CubicSpline(x, U)(qf.cheb.chebpts(POINTS)), axes=0)
    S, k = chebyshev.chebval(x, splines).T, n // 2 - 1
    exact = (S * S[k]) @ S.T
    for s in (np.ones_like(scale), scale):
        ct = qf.cheb.ChebTucker.from_cp(s**-3.0, [U * s] * 3, grid=[x] * 3, n=POINTS, tol=1e-8)
        assert max(ct.rank) <= published
        assert np.abs(ct.grid(x, x, x[k : k + 1])[:, :, 0] - exact).max() <= 1e-8 * exact.max()
