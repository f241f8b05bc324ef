"""The long part of 1/r on a grid of cells as a canonical sum, whose Tucker ranks the scripts of ChebTuck print: their rule, and ours."""

import math

import numpy as np
import pytest

import quatrefoil as qf

special = pytest.importorskip("scipy.special")
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


def by_their_rule(x, U, tol):
    """SVD of the columns as they are, whatever their scale; what is dropped has an absolute norm of at most tol / 3."""
    spline = qf.cheb.vals2coeffs(interpolated(x, U))
    W, sigma, _ = np.linalg.svd(spline, full_matrices=False)
    rank = int((np.sqrt(np.cumsum(sigma[::-1] ** 2)[::-1]) > tol / 3).sum())
    Z = W[:, :rank].T @ spline
    return qf.cheb.ChebTucker(np.einsum("ar,br,cr->abc", Z, Z, Z), [W[:, :rank]] * 3)


def interpolated(x, U):
    interpolate = pytest.importorskip("scipy.interpolate")
    return interpolate.CubicSpline(x, U, bc_type="not-a-knot", extrapolate=True)(qf.cheb.chebpts(POINTS))


def error_on_the_slice(ct, x, U):
    """The largest, of the largest value, in the plane of cells below the middle."""
    k = len(x) // 2 - 1
    exact = (U * U[k]) @ U.T
    return float(np.abs(ct.grid(x, x, x[k : k + 1])[:, :, 0] - exact).max() / np.abs(exact).max())


@pytest.mark.parametrize(
    ("n", "h", "terms", "published"),
    [
        (256, 0.2621, 26, 9),
        (512, 0.266, 29, 11),
        (1024, 0.266, 31, 12),
        pytest.param(2048, 0.266, 34, 13, marks=pytest.mark.slow),
        pytest.param(4096, 0.266, 37, 15, marks=pytest.mark.slow),
    ],
)
def test_ranks(n, h, terms, published):
    x, U = columns(n, h, terms)
    theirs = by_their_rule(x, U, 1e-7)
    assert theirs.rank == (published,) * 3
    ours = qf.cheb.ChebTucker.from_cp(np.ones(U.shape[1]), [U] * 3, grid=[x] * 3, n=POINTS, tol=1e-8)
    assert max(ours.rank) <= published
    # the splines' error, which both have, or tol
    assert error_on_the_slice(ours, x, U) <= max(1.01 * error_on_the_slice(theirs, x, U), 1e-8)
    # scaled columns are another sum to their rule, the same to ours
    scale = 10.0 ** np.linspace(-3, 3, U.shape[1])
    again = qf.cheb.ChebTucker.from_cp(scale**-3.0, [U * scale] * 3, grid=[x] * 3, n=POINTS, tol=1e-8)
    assert again.rank == ours.rank
