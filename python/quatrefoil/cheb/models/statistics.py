"""Means, variances and Sobol indices of Chebyshev-Tucker tensors, exact from their coefficients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ... import _arguments
from ..distributions import OUTSIDE, Distribution, distributions_of
from ..domain import to_reference
from ..transform import polynomials
from . import algebra, train
from .parts import TensorParts
from .train import TensorTrain

Order = Literal[1, 2, "total"]


class Statistics(TensorParts):
    """Methods of ``ChebTucker`` for inputs that are independent random variables."""

    __slots__ = ()

    def mean(self, axis: int | Sequence[int] | None = None, *, distributions: Sequence[Any] | None = None) -> Any:
        """Return the mean over some axes (a ``ChebTucker`` of the others) or over all (a number).

        Parameters
        ----------
        axis : int or sequence of ints, optional
            All axes by default. A negative axis counts from the end.
        distributions : one per axis of the tensor, optional
            Each is a frozen continuous distribution from ``scipy.stats``, an array of samples (N,), or None for the uniform distribution
            on the domain, which is the default. Up to a thousandth of a distribution may lie outside the domain; that part is cut off.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> from scipy import stats
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: x**2 + y, [(-9, 9), (0, 1)])
        >>> round(ct.mean(distributions=[stats.norm(), None]), 10)
        1.5
        """
        label, d = "cheb.ChebTucker.mean", len(self.factors)
        axes = tuple(range(d)) if axis is None else tuple(k % d for k in _arguments.integers(axis, None, label, "axis", -d, d - 1))
        if len(set(axes)) < len(axes):
            raise ValueError(f"{label}: axis is {axis!r}, expected distinct axes")
        inputs = _inputs(self, distributions, label)
        return self._contracted({k: _means(inputs[k], self.domain[k], len(self.factors[k]), label, k) for k in axes})

    def var(self, axis: int | Sequence[int] | None = None, *, distributions: Sequence[Any] | None = None) -> Any:
        """Return the variance over some axes, or over all axes by default; arguments as for ``mean``.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: x + 2 * y, ((0, 1), (0, 1)))
        >>> round(ct.mean(), 12), round(ct.var() * 12, 12)
        (1.5, 5.0)
        >>> ct.mean(axis=1).domain, round(ct.mean(axis=1).var() * 12, 12)
        (((0.0, 1.0),), 1.0)
        """
        if axis is None and not algebra.wants_gradient(self.core, *self.factors):
            core, exponent = _orthonormal(self, distributions, "cheb.ChebTucker.var")
            return float(np.ldexp(sums_of(core)[0], 2 * exponent))
        mean = self.mean(distributions=distributions)
        rest = self - float(mean.detach() if hasattr(mean, "detach") else mean)  # a shift does not change the variance
        partial = rest.mean(axis, distributions=distributions)
        return (rest * rest).mean(axis, distributions=distributions) - partial * partial

    def sobol(self, order: Order | None = None, *, distributions: Sequence[Any] | None = None) -> Any:
        """Return Sobol indices, fractions of the variance; NaN for a constant.

        Parameters
        ----------
        order : 1, 2 or "total", optional
            1: each input alone, (d,). 2: the interaction of each pair, (d, d), symmetric with a diagonal of zeros. "total": all terms that
            contain an input, (d,). By default the pair (1, "total").
        distributions
            As for ``mean``.

        Examples
        --------
        >>> import quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: x + y + 3 * x * y, ((-1, 1), (-1, 1)))
        >>> ct.sobol(1).round(6).tolist(), ct.sobol("total").round(6).tolist()
        ([0.2, 0.2], [0.8, 0.8])
        >>> ct.sobol(2).round(6).tolist()
        [[0.0, 0.6], [0.6, 0.0]]
        """
        label = "cheb.ChebTucker.sobol"
        return sobol_indices(*sums_of(_orthonormal(self, distributions, label)[0]), order, label)

    @_arguments.keywords("cheb.ChebTucker.sample_output", **dict.fromkeys(("n", "count", "samples", "n_samples"), "use size"))
    def sample_output(
        self, size: int, *, distributions: Sequence[Any] | None = None, rng: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Return values (size,) of the function at random inputs, for quantiles or a histogram.

        ``distributions`` as for ``mean``; ``rng`` as in ``help(qf.conventions)``.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y: x + y, ((0, 1), (0, 1)))
        >>> values = ct.sample_output(100_000, rng=0)
        >>> bool(abs(np.quantile(values, 0.02) - 0.2) < 0.01)
        True
        """
        label = "cheb.ChebTucker.sample_output"
        inputs, count = _inputs(self, distributions, label), _arguments.integer(size, label, "size", 0)
        for k, (distribution, pair) in enumerate(zip(inputs, self.domain)):
            _nodes(distribution, pair, 2, label, k)  # raises if too much of it lies outside
        X = draws_of(inputs, count, _arguments.generator(rng, label), np.array(self.domain))
        return self._on_host(label, differentiable=True)(X)


def draws_of(inputs: Sequence[Distribution], count: int, rng: np.random.Generator, box: np.ndarray | None = None) -> np.ndarray:
    """Random points (count, d); coordinates outside their intervals of the box (d, 2) are drawn again."""
    X = np.stack([distribution.quantiles(rng.random(count)) for distribution in inputs], axis=-1)
    for k, distribution in enumerate(inputs if box is not None else []):
        while (outside := (X[:, k] < box[k, 0]) | (X[:, k] > box[k, 1])).any():  # type: ignore[index]
            X[outside, k] = distribution.quantiles(rng.random(int(outside.sum())))
    return X


def sobol_indices(variance: float, sums: Callable[[Any], np.ndarray], order: Any, label: str) -> Any:
    """Sobol indices from the variance and its parts: ``sums(order)`` for order 1, 2 and "total"."""
    if order not in (None, 1, 2, "total") or isinstance(order, bool):
        raise ValueError(f"{label}: order is {order!r}, expected 1, 2 or 'total'")
    with np.errstate(invalid="ignore"):  # NaN if there is no variance
        indices = [sums(which) / np.float64(variance) for which in ((1, "total") if order is None else (order,))]
    return tuple(indices) if order is None else indices[0]


def sums_of_terms(involved: np.ndarray, squares: np.ndarray) -> tuple[float, Callable[[Any], np.ndarray]]:
    """The variance and its parts from squared coefficients (K,) and a mask (K, d) of inputs."""
    size = involved.sum(axis=1)

    def sums(order: Any) -> np.ndarray:
        if order == "total":
            return squares @ involved
        terms = involved[size == order].astype(float)
        products = (terms * squares[size == order, None]).T @ terms
        return np.diagonal(products) if order == 1 else products * (1 - np.eye(len(products)))

    return float(squares[size > 0].sum()), sums


def sums_of(core: Any) -> tuple[float, Callable[[Any], np.ndarray]]:
    """The variance and its parts from coefficients of orthonormal bases that start with 1."""
    if isinstance(core, TensorTrain):
        return train.variance(core.cores), lambda order: train.shares(core.cores, order)
    squares = core**2
    for k in range(core.ndim):
        squares = np.add.reduceat(squares, [0, 1], axis=k)
    return sums_of_terms(np.indices(squares.shape).reshape(squares.ndim, -1).T.astype(bool), squares.ravel())


def _inputs(ct: Any, distributions: Any, label: str) -> list[Distribution]:
    values = [None] * len(ct.domain) if distributions is None else _arguments.sequence(distributions, f"{label}: distributions")
    pairs = itertools.zip_longest(values, ct.domain)
    return distributions_of([pair if value is None else value for value, pair in pairs][: max(len(values), 1)], len(ct.domain), label)


def _nodes(distribution: Distribution, pair: tuple[float, float], n: int, label: str, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [-1, 1] and weights for products of two polynomials with n coefficients."""
    x, w = distribution.quadrature(n)
    within = (pair[0] <= x) & (x <= pair[1])
    if (beyond := float(w[~within].sum())) > OUTSIDE:
        raise ValueError(f"{label}: {beyond:.1%} of distribution {axis} lies outside the domain {pair}; enlarge the domain")
    return to_reference(x[within], *pair), w[within] / w[within].sum()


def _means(distribution: Distribution, pair: tuple[float, float], n: int, label: str, axis: int) -> np.ndarray:
    """The means of T_0 to T_(n-1)."""
    if distribution.is_uniform and distribution.ends == pair:
        return algebra.integral_weights(n) / 2
    t, w = _nodes(distribution, pair, n // 2 + 1, label, axis)
    return w @ polynomials(np.clip(t, -1, 1), n)


def _orthonormal(ct: Any, distributions: Any, label: str) -> tuple[Any, int]:
    """Return the core in orthonormal functions of inputs, and the exponent of its power of 2.

    The first function of each input is constant, so variances are sums of squares. The first row of each transformed factor contains its
    means. The others are the triangular factor R of a QR decomposition of the centred factor functions, and have the same inner products.
    """
    core, columns, exponent = algebra.balanced(*algebra.on_host(ct.core, ct.factors, label, differentiable=True))
    for k, (distribution, U) in enumerate(zip(_inputs(ct, distributions, label), columns)):
        first = _means(distribution, ct.domain[k], len(U), label, k) @ U
        rest = U - np.eye(len(U), 1) * first
        rows = _weighted_rows(distribution, ct.domain[k], rest, label, k)
        core = algebra.mode_multiplied(core, np.concatenate([first[None], np.linalg.qr(rows, mode="r")]), k)
    return core, exponent


def _weighted_rows(distribution: Distribution, pair: tuple[float, float], U: np.ndarray, label: str, axis: int) -> np.ndarray:
    """Factor functions at the nodes of a quadrature that is exact for their products, times the square roots of the weights."""
    if distribution.is_uniform and distribution.ends == pair:
        return algebra.on_clenshaw_curtis(U) / math.sqrt(2)
    t, w = _nodes(distribution, pair, len(U), label, axis)
    return np.sqrt(w)[:, None] * (polynomials(np.clip(t, -1, 1), len(U)) @ U)
