"""Orthonormal polynomials for a measure from samples, moments or a distribution (arbitrary polynomial chaos), and optimal sample points.

Equation numbers refer to csrc/cheb/layer/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arguments, _arrays
from .._memo import frozen
from .._public import public_dir
from .._typing import ArrayLike
from .distributions import Distribution
from .models.algebra import unit
from .models.regression import products
from .multiindex import multi_indices, table_of

__all__ = ["Basis", "classical", "from_distribution", "from_moments", "from_samples", "multi_indices", "optimal_samples"]

METHODS = ("christoffel", "dpp", "volume")
_CLASSICAL = ("legendre", "chebyshev", "hermite", "laguerre")


class Basis:
    """Polynomials p_0 to p_degree that are orthonormal with respect to a measure.

    The mean of p_j p_k is 1 for j = k, otherwise 0.

    Returned by ``from_samples``, ``from_distribution``, ``from_moments`` and ``classical``. ``basis(x)`` evaluates the polynomials by their
    recurrence (1); pass ``basis.a`` and ``basis.b`` to ``poly_layer``.

    Attributes
    ----------
    degree : int
    a, b : (degree + 1,) float64, read-only
        The recurrence (1). The last element of a belongs to the next degree; it is 0 if the measure does not determine it. b has the unit
        of x^2. Reading b raises OverflowError if it is outside the range of float64; ``basis(x)`` does not need b.
    samples : (N,) float64, read-only, or None
        The samples that define the measure.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> basis = qf.cheb.orthopoly.from_samples(np.array([-1.0, 0.0, 1.0]), 1)
    >>> basis(np.array([2.0])).round(4)  # 1, x sqrt(3/2)
    array([[1.    , 2.4495]])
    """

    __slots__ = ("__weakref__", "_b", "_unit", "a", "samples")

    a: np.ndarray
    _b: np.ndarray
    samples: np.ndarray | None

    def __init__(self, a: np.ndarray, b: np.ndarray, samples: np.ndarray | None = None, unit: float = 1.0) -> None:
        """``unit``: the unit of x in which b is stored, a power of two; a is in the caller's unit."""
        self.a, self._b, self.samples, self._unit = frozen(a), frozen(b), frozen(samples), unit

    @property
    def b(self) -> np.ndarray:
        if self._unit == 1:
            return self._b
        with np.errstate(over="ignore", under="ignore"):
            b: np.ndarray = np.concatenate([self._b[:1], self._b[1:] * self._unit * self._unit])
        if not (np.isfinite(b).all() and (b[1:] >= np.finfo(np.float64).tiny).all()):
            raise OverflowError(f"orthopoly.Basis: b is about {self._unit:.0e} squared, out of range for float64; scale the samples")
        return frozen(b)

    @property
    def degree(self) -> int:
        return len(self.a) - 1

    def __call__(self, x: ArrayLike) -> Any:
        """p_0(x) to p_degree(x): (N, degree + 1) for points x (N,), (degree + 1,) for one point. Tensors are differentiable."""
        return self._evaluated(x)[0]

    def derivative(self, x: ArrayLike) -> Any:
        """p_0'(x) to p_degree'(x), in the shape of ``basis(x)``.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> qf.cheb.orthopoly.classical("hermite", 2).derivative([2.0]).round(6)  # of 1, x, (x^2 - 1) / sqrt(2)
        array([[0.      , 1.      , 2.828427]])
        """
        return self._evaluated(x)[1]

    def _evaluated(self, x: ArrayLike) -> tuple[Any, Any]:
        points: Any = _arguments.points_like(x, "orthopoly.Basis", "x")
        host = _arguments.host_array(points, "orthopoly.Basis", "x", differentiable=True)
        if host.ndim > 1:
            raise ValueError(f"orthopoly.Basis: x has shape {host.shape}, expected (N,)")
        if _arrays.is_meta(points):
            raise RuntimeError("orthopoly.Basis: x is a meta tensor, which has no values")
        roots = np.sqrt(self._b)
        zero = points * 0
        values, slopes = [zero + float(1 / roots[0])], [zero]
        before, slope_before = zero, zero
        for k in range(self.degree):
            scale, back = float(roots[k + 1] * self._unit), float(roots[k] / roots[k + 1])
            step = (points - float(self.a[k])) / scale
            values.append(step * values[k] - back * before)
            slopes.append(values[k] / scale + step * slopes[k] - back * slope_before)
            before, slope_before = values[k], slopes[k]
        stack = _arrays.namespace(points).stack
        return stack(values, -1), stack(slopes, -1)

    def __repr__(self) -> str:
        samples = "" if self.samples is None else f", {self.samples.size} samples"
        return f"Basis(degree={self.degree}{samples})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Basis, (self.a, self._b, self.samples, self._unit)


def from_samples(x: ArrayLike, degree: int) -> Basis:
    """Compute polynomials that are orthonormal over samples: mean_i p_j(x_i) p_k(x_i) = [j = k] (7).

    Parameters
    ----------
    x : (N,)
        Finite samples of any distribution, all with equal weight; float32 or float64, computed in float64.
    degree : int
        Less than the number of distinct samples.

    Notes
    -----
    Discrete Stieltjes procedure with full reorthogonalisation, 4 N degree^2 flops. The recurrence is less accurately orthonormal if a few
    samples are far from the others: for 1000 samples in skewed clusters, in the worst of 150 draws, to 1e-12 at degree 12, 1e-7 at 20 and
    1e-4 at 25.

    Oladyshkin and Nowak, Reliability Engineering and System Safety 106 (2012) 179 (arbitrary polynomial chaos); Gautschi, *Orthogonal
    Polynomials: Computation and Approximation* (2004).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.random.default_rng(0).lognormal(size=1000)
    >>> basis = qf.cheb.orthopoly.from_samples(x, 4)
    >>> P = basis(x)
    >>> bool(np.allclose(P.T @ P / 1000, np.eye(5)))
    True
    """
    label = "orthopoly.from_samples"
    host = _arguments.host_array(x, label, "x", convert=True)
    if host.ndim != 1:
        raise ValueError(f"{label}: x has shape {host.shape}, expected (N,)")
    _arguments.finite(host, label, "x")
    samples = host.astype(np.float64)
    degree = _arguments.integer(degree, label, "degree", 0)
    distinct = np.unique(samples).size
    if degree >= distinct:
        raise ValueError(f"{label}: degree is {degree}, expected less than the {distinct} distinct samples")
    return _stieltjes(samples, np.full(samples.size, 1 / samples.size), degree, samples, label)


def from_distribution(distribution: Any, degree: int) -> Basis:
    """Compute polynomials that are orthonormal for a continuous distribution of ``scipy.stats``.

    Parameters
    ----------
    distribution : a frozen distribution, such as ``scipy.stats.beta(2, 3)``, (lo, hi), or samples (N,)
        Must have moments up to order 2 * degree.
    degree : int

    Notes
    -----
    Applies (7) to at least 321 nodes of a double exponential quadrature in the quantiles, or to Gauss nodes for a uniform distribution (lo,
    hi).

    Examples
    --------
    >>> import quatrefoil as qf
    >>> from scipy import stats
    >>> qf.cheb.orthopoly.from_distribution(stats.norm(), 3).b.round(10)  # the Hermite recurrence
    array([1., 1., 2., 3.])
    """
    label = "orthopoly.from_distribution"
    degree = _arguments.integer(degree, label, "degree", 0)
    measure = distribution if isinstance(distribution, Distribution) else Distribution(distribution, label)
    if measure.samples is not None:
        return from_samples(measure.samples, degree)
    return _stieltjes(*measure.quadrature(degree + 1), degree, None, label)


def _stieltjes(x: np.ndarray, w: np.ndarray, degree: int, samples: np.ndarray | None, label: str) -> Basis:
    """The recurrence of a discrete measure with weights that sum to 1 (7)."""
    small, exponent = unit(x)
    middle = float(w @ small)
    spread = float(np.abs(small - middle).max()) or 1.0
    t = (small - middle) / spread
    a, b = np.zeros(degree + 1), np.ones(degree + 1)
    table = np.ones((degree + 1, x.size))
    for k in range(degree + 1):
        a[k] = w @ (t * table[k] ** 2)
        if k == degree:
            break
        rest = (t - a[k]) * table[k]
        for _ in range(2):
            rest -= (table[: k + 1] @ (w * rest)) @ table[: k + 1]
        size = float(np.sqrt(w @ rest**2))
        if not size > 0:
            raise np.linalg.LinAlgError(f"{label}: the samples are too close together to distinguish degree {k + 1} from lower ones")
        b[k + 1] = size**2
        table[k + 1] = rest / size
    more = math.frexp(spread)[1]
    b[1:] *= math.ldexp(spread, -more) ** 2
    return Basis(np.ldexp(a * spread + middle, exponent), b, samples, math.ldexp(1.0, more + exponent))


def from_moments(mu: ArrayLike) -> Basis:
    """Compute the polynomials of degree up to m from 2 m + 1 raw moments, mu[j] = E x^j (8).

    Parameters
    ----------
    mu : (2 m + 1,)
        Finite, float32 or float64; mu[0] is the total mass, 1 for a probability measure.

    Raises
    ------
    numpy.linalg.LinAlgError
        No measure with more than m points has these moments, or rounding errors dominate: the matrix is ill-conditioned, and
        float64 suffices only up to degree 10 to 15.

    Notes
    -----
    Uses the Cholesky factor of the Hankel matrix, m^3 / 3 flops. Golub and Welsch, Math. Comp. 23 (1969) 221.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.cheb.orthopoly.from_moments(np.array([1, 0, 1 / 3, 0, 1 / 5])).b.round(12)  # uniform on [-1, 1]: Legendre
    array([1.        , 0.33333333, 0.26666667])
    """
    label = "orthopoly.from_moments"
    host = _arguments.host_array(mu, label, "mu", convert=True)
    if host.ndim != 1 or host.size % 2 == 0:
        raise ValueError(f"{label}: mu has shape {host.shape}, expected (2 m + 1,)")
    _arguments.finite(host, label, "mu")
    mu = host.astype(np.float64)
    m = mu.size // 2
    try:
        R = np.linalg.cholesky(mu[np.add.outer(np.arange(m + 1), np.arange(m + 1))]).T
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(
            f"{label}: the matrix of {mu.size} moments is not positive definite: they are not moments of a measure, "
            "or float64 is not accurate enough"
        ) from None
    diagonal = np.diag(R)
    ratios = np.concatenate([[0.0], np.diag(R, 1) / diagonal[:-1]])
    a = np.append(np.diff(ratios), 0.0)
    return Basis(a, np.concatenate([mu[:1], (diagonal[1:] / diagonal[:-1]) ** 2]))


def classical(name: str, degree: int) -> Basis:
    """Return the orthonormal polynomials of a named probability measure.

    Parameters
    ----------
    name : str
        "legendre": uniform on [-1, 1]; "chebyshev": 1 / (pi sqrt(1 - x^2)) on [-1, 1], p_k = sqrt(2) T_k; "hermite": standard normal;
        "laguerre": exponential with rate 1.
    degree : int

    Examples
    --------
    >>> import quatrefoil as qf
    >>> qf.cheb.orthopoly.classical("hermite", 3).b
    array([1., 1., 2., 3.])
    """
    label = "orthopoly.classical"
    _arguments.choice(name, label, "name", _CLASSICAL)
    k = np.arange(_arguments.integer(degree, label, "degree", 0, _arguments.MAX_NUMBERS) + 1, dtype=np.float64)
    if name == "laguerre":
        a, b = 2 * k + 1, k**2
    else:
        a = np.zeros(k.size)
        b = {"legendre": k**2 / (4 * k**2 - 1), "chebyshev": np.where(k == 1, 0.5, 0.25), "hermite": k.copy()}[name]
    b[0] = 1.0
    return Basis(a, b)


def optimal_samples(
    basis: Basis | Sequence[Basis],
    m: int,
    *,
    degrees: ArrayLike | None = None,
    method: str = "christoffel",
    rng: int | np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose points, with weights, from samples for weighted least squares in K polynomials (9).

    Parameters
    ----------
    basis : Basis, or one per input
        From ``from_samples``. The inputs are independent.
    m : int
        Number of points. Least squares is stable with about K log(K) points or more.
    degrees : (K, d) int, optional
        Products of the polynomials of d inputs, for example from ``multi_indices``. The default is all products whose total degree is at
        most the highest degree of the bases; for a single basis, its K = degree + 1 polynomials.
    method : str
        "christoffel": independent draws with probabilities proportional to k(x) = sum_j p_j(x)^2. "dpp": m = K distinct points of the
        projection determinantal process. "volume": those and m - K christoffel draws, shuffled, which makes weighted least squares
        unbiased.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    points (m,), or (m, d) for several bases; weights (m,)
        float64. weights = K / k(points): mean(weights g(points)) is an unbiased estimate of E g for every method.

    Notes
    -----
    A draw from k / K is a random j followed by a draw from p_j^2, input by input, so no grid of all samples is needed. For determinantal
    points, such draws are accepted or rejected, about log K of them per point: K^3 log(K) flops.

    Cohen and Migliorati, SMAI J. Comput. Math. 3 (2017) 181 (christoffel); Derezinski, Warmuth and Hsu, JMLR 23 (2022) (volume).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.random.default_rng(0).exponential(size=5000)
    >>> basis = qf.cheb.orthopoly.from_samples(x, 3)
    >>> points, weights = qf.cheb.orthopoly.optimal_samples(basis, 20, rng=1)
    >>> points.shape, bool(np.isin(points, x).all())
    ((20,), True)
    >>> points, weights = qf.cheb.orthopoly.optimal_samples([basis] * 4, 35, method="dpp", rng=1)  # 35 products of degree up to 3
    >>> points.shape
    (35, 4)
    """
    label = "orthopoly.optimal_samples"
    bases = [basis] if isinstance(basis, Basis) else list(_arguments.sequence(basis, f"{label}: basis"))
    for one in bases:
        if not isinstance(one, Basis):
            raise TypeError(f"{label}: basis is {type(one).__name__}, expected a Basis from orthopoly.from_samples, or a list of them")
        if one.samples is None:
            raise ValueError(f"{label}: the basis has no samples to choose from; create it with orthopoly.from_samples")
    _arguments.choice(method, label, "method", METHODS)
    largest = [one.degree for one in bases]
    if degrees is None:
        every = multi_indices(len(bases), max(largest))
        table = every[(every <= largest).all(axis=1)]
    else:
        table = table_of(degrees, len(bases), largest, label)
    m, size = _arguments.integer(m, label, "m", 1), len(table)
    if (method == "dpp" and m != size) or (method == "volume" and m < size):
        what = "degree + 1" if len(bases) == 1 and degrees is None else "the number of products"
        raise ValueError(f"{label}: m is {m}, expected {'' if method == 'dpp' else 'at least '}{size}, {what}, with {method!r}")
    draws = _Draws(bases, table, _arguments.generator(rng, label))
    fixed = draws.determinantal() if method != "christoffel" else np.zeros((0, len(bases)), np.int64)
    chosen = draws.rng.permutation(np.concatenate([fixed, draws.independent(m - len(fixed))]))
    points = np.stack([one.samples[i] for one, i in zip(bases, chosen.T) if one.samples is not None], axis=-1)
    return points[:, 0] if isinstance(basis, Basis) else points, size / (draws.values(chosen) ** 2).sum(axis=1)


class _Draws:
    """Draws points from the grid of all samples, as one index per input, for K products of polynomials."""

    def __init__(self, bases: Sequence[Basis], degrees: np.ndarray, rng: np.random.Generator) -> None:
        self.degrees, self.rng = degrees, rng
        self.tables = [basis(basis.samples) for basis in bases]  # type: ignore[arg-type]

    def values(self, at: np.ndarray) -> np.ndarray:
        """The products (P, K) at points (P, d)."""
        return products([table[i] for table, i in zip(self.tables, at.T)], self.degrees)

    def independent(self, count: int) -> np.ndarray:
        """Draws (count, d) with probabilities proportional to the sum of the squares of all products."""
        at = np.zeros((count, len(self.tables)), np.int64)
        which = self.degrees[self.rng.integers(len(self.degrees), size=count)]
        for axis, table in enumerate(self.tables):
            for degree in np.unique(which[:, axis]):
                rows = np.flatnonzero(which[:, axis] == degree)
                p = table[:, degree] ** 2
                at[rows, axis] = self.rng.choice(p.size, rows.size, p=p / p.sum())
        return at

    def determinantal(self) -> np.ndarray:
        """One draw (K, d) of the projection process. Independent draws are accepted with probability |u|^2, where u is the part of a
        point's normalised row of products that is orthogonal to the rows of the earlier points."""
        size = len(self.degrees)
        chosen, used = np.zeros((0, len(self.tables)), np.int64), np.zeros((0, size))
        while len(chosen) < size:
            proposals = self.independent(size)
            rows = self.values(proposals)
            rows /= np.linalg.norm(rows, axis=1)[:, None]
            for i, u, threshold in zip(proposals, rows, self.rng.random(size)):
                for _ in range(2):
                    u = u - (used @ u) @ used
                if (left := u @ u) > threshold and len(chosen) < size:
                    chosen, used = np.concatenate([chosen, i[None]]), np.concatenate([used, (u / math.sqrt(left))[None]])
        return chosen


__dir__ = public_dir(__name__)
