"""Sparse polynomial chaos: functions of many independent random inputs, fitted to few samples."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from ... import _arguments
from ..._memo import frozen
from ..._typing import ArrayLike
from .. import orthopoly
from ..distributions import Distribution, distributions_of, points_of
from ..domain import box_of, shaped
from ..transform import chebpts, coeffs2vals
from . import budget, regression, trainfit
from .function import MAX_VALUES, Function
from .sampling import ROUNDING
from .statistics import Order, draws_of, sobol_indices, sums_of, sums_of_terms
from .train import TensorTrain

_HINTS = {
    **dict.fromkeys(("domain", "bounds", "ranges", "dist", "joint"), "use distributions=[(lo, hi), scipy.stats.norm(), samples, ...]"),
    **dict.fromkeys(("degree", "order", "n", "p"), "omit it: the samples determine the degree"),
    **dict.fromkeys(("n_samples", "budget", "N", "evaluations"), "use max_evaluations"),
}


class PolynomialChaos:
    """A polynomial chaos: a surrogate of a costly function, with its statistics.

    A sum of a few products of polynomials that are orthonormal for the inputs, f(x) = sum_j coefficients[j] prod_k p_(degrees[j, k])(x_k),
    or a tensor train of coefficients, whichever predicts unused values better. ``fit`` builds one from samples, ``from_function`` from a
    limited number of calls. To meet a tolerance with thousands of calls use ``ChebTucker.from_function``.

    Attributes
    ----------
    degrees : (K, d) int, read-only, or None for a tensor train
    coefficients : (K,) float64, read-only, or a TensorTrain over the degrees of the inputs
    bases : tuple of orthopoly.Basis, one per input
    inputs : tuple of the distributions
    error_estimate : float
        Root mean square of the cross-validation errors, relative to the standard deviation of the samples; for an adaptive train the
        largest error at its test points, relative to the standard deviation.
    n_evaluations : int
        Number of samples of the fit, or of calls.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> from scipy import stats
    >>> def model(x, y, z):
    ...     return 1 + x + 2 * y * z
    >>> chaos = qf.cheb.PolynomialChaos.from_function(model, [(-1, 1), stats.norm(), stats.norm()], max_evaluations=60)
    >>> round(chaos.mean(), 8), round(chaos.var(), 8)
    (1.0, 4.33333333)
    >>> chaos.sobol("total").round(6).tolist()
    [0.076923, 0.923077, 0.923077]
    >>> chaos(0.5, 1.0, 2.0).round(8)
    np.float64(5.5)
    """

    __slots__ = ("__weakref__", "bases", "coefficients", "degrees", "error_estimate", "inputs", "n_evaluations")

    def __init__(
        self,
        degrees: np.ndarray | None,
        coefficients: np.ndarray | TensorTrain,
        bases: Sequence[orthopoly.Basis],
        inputs: Sequence[Distribution],
        error_estimate: float,
        n_evaluations: int,
    ) -> None:
        self.inputs = tuple(inputs)
        self.degrees, self.coefficients, self.bases = frozen(degrees), frozen(coefficients), tuple(bases)
        self.error_estimate, self.n_evaluations = error_estimate, n_evaluations

    @classmethod
    @_arguments.keywords("cheb.PolynomialChaos.fit", missing="expected PolynomialChaos.fit(X, y)", **_HINTS)
    def fit(cls, X: ArrayLike, y: ArrayLike, distributions: Sequence[Any] | None = None) -> Self:
        """Fit by sparse regression.

        Parameters
        ----------
        X : (P, d)
            Points drawn from the distributions, or distributed like them.
        y : (P,)
            Values of f at X.
        distributions : one per input, optional
            (lo, hi) for a uniform distribution, a frozen continuous distribution of ``scipy.stats``, or samples (N,). By default uniform on
            the bounding box of X.

        Notes
        -----
        The bases are total degrees and hyperbolic crosses with exponents 0.75 and 0.5, from small to large, with up to 3000 terms each. In
        each basis terms are chosen one at a time by orthogonal least squares. Their number minimises the error of ten-fold
        cross-validation, in which the choice is part of the fit. The basis with the smallest error is used. A fit takes a few seconds: 1e10
        flops, 4e10 from 1000 samples on.

        For three or more inputs, tensor trains of growing ranks start from the sparse fit and are improved by regularised Gauss-Newton
        steps while their leave-one-out error decreases. The best train is used if its error is less than half that of the sparse fit:
        products of many inputs are a train of low rank, but have very many terms.

        Blatman and Sudret, J. Comput. Phys. 230 (2011) 2345; Luthen, Marelli and Sudret, SIAM/ASA J. Uncertainty Quantification 9 (2021)
        593.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> X = np.random.default_rng(0).uniform(-1, 1, (80, 6))
        >>> chaos = qf.cheb.PolynomialChaos.fit(X, np.exp(X[:, 0]) + X[:, 1] * X[:, 2], [(-1, 1)] * 6)
        >>> bool(abs(chaos.mean() - np.sinh(1)) < 1e-6), chaos.error_estimate < 1e-4
        (True, True)
        """
        label = "cheb.PolynomialChaos.fit"
        x, values = _samples(X, y, label)
        pairs = np.array(box_of(x)).reshape(-1, 2).tolist() if distributions is None else distributions
        return cls._fitted(x, values, distributions_of(pairs, x.shape[1], label), label)

    @classmethod
    @_arguments.keywords(
        "cheb.PolynomialChaos.from_function", missing="expected from_function(f, distributions, max_evaluations=)", **_HINTS
    )
    def from_function(
        cls,
        f: Callable[..., Any],
        distributions: Sequence[Any],
        *,
        max_evaluations: int,
        executor: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
    ) -> Self:
        """Build an approximation from at most ``max_evaluations`` calls to f.

        With up to 60 calls per input, with one or two inputs, or if an input is not uniform, this is ``fit`` to the values at ``points``.
        Otherwise a line along each axis is sampled first. If one of them is smooth but needs a polynomial of degree above 25, which random
        points do not determine, the calls are along such lines, and the result is an adaptive tensor train, as from
        ``ChebTucker.from_function(f, domain, method="tt")``. The same applies to more than 30 times as many calls as the lines take, a few
        thousand. Otherwise the remaining calls are at ``points``.

        f takes d arrays (P,) of coordinates and returns real numbers (P,), or a tuple or list of such arrays, one per output; then the
        result is a list. ``executor``, ``checkpoint`` and ``progress`` are as for ``ChebTucker.from_function``. With an executor or a
        checkpoint, f is called with numbers, one point at a time. A larger ``max_evaluations`` with the same checkpoint uses new points.
        """
        label = "cheb.PolynomialChaos.from_function"
        inputs = distributions_of(distributions, None, label)
        count = _arguments.integer(max_evaluations, label, "max_evaluations", 2)
        uniform = all(distribution.is_uniform for distribution in inputs)
        box = [end for distribution in inputs for end in (distribution.ends if uniform else (0.0, 1.0))]
        function = Function(f, box, label, cache_size=MAX_VALUES, executor=executor, checkpoint=checkpoint, progress=progress)
        trains = budget.trains(function, count, ROUNDING) if uniform else None
        results: Any
        if trains is None:
            x = budget.samples(function, inputs, count)
            results = [cls._fitted(x, y, inputs, label) for y in function(*x.T)]
        else:
            results = [cls._of_tensor(*parts, inputs, float(error)) for parts, error in zip(trains[0], trains[1] * function.scale)]
        for chaos in results:
            chaos.n_evaluations = function.count
        return results if function.outputs is not None else results[0]

    @staticmethod
    @_arguments.keywords("cheb.PolynomialChaos.points", missing="expected points(distributions, count)", **_HINTS)
    def points(distributions: Sequence[Any], count: int) -> np.ndarray:
        """Return points (count, d) for ``fit``: a fixed Latin hypercube of low discrepancy in the quantiles of the inputs.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> from scipy import stats
        >>> inputs = [stats.norm(), (0, 2)]
        >>> X = qf.cheb.PolynomialChaos.points(inputs, 40)
        >>> chaos = qf.cheb.PolynomialChaos.fit(X, X[:, 0] ** 2 * X[:, 1], inputs)
        >>> round(chaos.mean(), 6)
        1.0
        """
        label = "cheb.PolynomialChaos.points"
        return points_of(distributions_of(distributions, None, label), _arguments.integer(count, label, "count", 2))

    @classmethod
    def _fitted(cls, x: np.ndarray, y: np.ndarray, inputs: Sequence[Distribution], label: str) -> Self:
        bases = [_basis(distribution, label) for distribution in inputs]
        tables = [basis(column) for basis, column in zip(bases, x.T)]
        degrees, coefficients, error = trainfit.best(tables, y)
        return cls(degrees, coefficients, bases, inputs, error, y.size)

    @classmethod
    def _of_tensor(cls, core: TensorTrain, factors: Sequence[np.ndarray], inputs: Sequence[Distribution], error: float) -> Self:
        """A chaos from a train in Chebyshev polynomials on the ranges of uniform inputs, whose largest error is ``error``."""
        bases = [orthopoly.from_distribution(distribution, len(U) - 1) for distribution, U in zip(inputs, factors)]
        for k, (basis, distribution, U) in enumerate(zip(bases, inputs, factors)):
            t = chebpts(len(U))
            values = basis(distribution.quantiles((1 + t) / 2))
            core = core.mode_product(np.linalg.solve(values, coeffs2vals(U, 0)), k)
        chaos = cls(None, core, bases, inputs, error, 0)
        spread = math.sqrt(chaos.var())
        chaos.error_estimate = error / spread if spread else 0.0
        return chaos

    def __call__(self, *X: Any) -> Any:
        """Evaluate at points X (P, d) -> (P,), at one point (d,), or at d coordinates: numbers or arrays that broadcast."""
        x, shape = self._points(X, "cheb.PolynomialChaos")
        return shaped(self._values([basis(column) for basis, column in zip(self.bases, x.T)]), shape)

    def value_and_grad(self, *X: Any) -> tuple[Any, Any]:
        """Evaluate f and its gradient (P, d) at points as in ``__call__``.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> X = np.random.default_rng(0).uniform(-1, 1, (50, 3))
        >>> chaos = qf.cheb.PolynomialChaos.fit(X, X[:, 0] ** 2 * X[:, 1], [(-1, 1)] * 3)
        >>> chaos.value_and_grad([0.5, 2.0, 0.0])[1][:2].round(8)
        array([2.  , 0.25])
        """
        x, shape = self._points(X, "cheb.PolynomialChaos.value_and_grad")
        tables = [basis(column) for basis, column in zip(self.bases, x.T)]
        slopes = [basis.derivative(column) for basis, column in zip(self.bases, x.T)]
        if isinstance(self.coefficients, TensorTrain):
            gradient = self.coefficients.gradients(self._cut(tables), self._cut(slopes))[0]
        else:
            changed = [[slope if j == k else table for j, (table, slope) in enumerate(zip(tables, slopes))] for k in range(len(tables))]
            gradient = [self._values(tables_of_k) for tables_of_k in changed]
        return shaped(self._values(tables), shape), shaped(np.stack(gradient, axis=-1), shape)

    def mean(self) -> float:
        """Return the mean."""
        if isinstance(self.coefficients, TensorTrain):
            return float(np.linalg.multi_dot([G[:, 0] for G in self.coefficients.cores])[0, 0])
        return float(self.coefficients[~self.degrees.any(axis=1)].sum())

    def var(self) -> float:
        """Return the variance: the sum of the squares of all coefficients except that of the constant."""
        return self._sums()[0]

    def sobol(self, order: Order | None = None) -> Any:
        """Return Sobol indices like ``ChebTucker.sobol``: order 1, 2 or "total", by default the pair (1, "total")."""
        return sobol_indices(*self._sums(), order, "cheb.PolynomialChaos.sobol")

    def sample_output(self, size: int, *, rng: int | np.random.Generator | None = None) -> np.ndarray:
        """Return values (size,) at random inputs, for quantiles or a histogram of the output; ``rng`` as in ``help(qf.conventions)``."""
        label = "cheb.PolynomialChaos.sample_output"
        return self(draws_of(self.inputs, _arguments.integer(size, label, "size", 0), _arguments.generator(rng, label)))

    def __repr__(self) -> str:
        if isinstance(self.coefficients, TensorTrain):
            return f"PolynomialChaos({len(self.bases)} inputs, {self.coefficients!r})"
        terms, d = self.degrees.shape
        return f"PolynomialChaos({d} inputs, {terms} terms of degree up to {int(self.degrees.sum(axis=1).max())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.degrees, self.coefficients, self.bases, self.inputs, self.error_estimate, self.n_evaluations)

    def _points(self, X: tuple[Any, ...], label: str) -> tuple[np.ndarray, tuple[int, ...]]:
        d = len(self.bases)
        arrays = [_arguments.host_array(x, label, "X", convert=True).astype(np.float64) for x in X]
        x = arrays[0] if len(arrays) == 1 else np.stack(np.broadcast_arrays(*arrays), axis=-1)
        if x.ndim == 0 or x.shape[-1] != d:
            raise ValueError(f"{label}: X has shape {x.shape}, expected (P, {d}), ({d},) for one point, or {d} arrays of coordinates")
        return x.reshape(-1, d), x.shape[:-1]

    def _values(self, tables: Sequence[np.ndarray]) -> np.ndarray:
        """Values (P,) from the polynomials (P, degree + 1) of each input."""
        if isinstance(self.coefficients, TensorTrain):
            return self.coefficients.values(self._cut(tables))
        return regression.products(tables, self.degrees) @ self.coefficients

    def _cut(self, tables: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert isinstance(self.coefficients, TensorTrain)
        return [table[:, :n] for table, n in zip(tables, self.coefficients.shape)]

    def _sums(self) -> tuple[float, Callable[[Any], np.ndarray]]:
        if isinstance(self.coefficients, TensorTrain):
            return sums_of(self.coefficients)
        return sums_of_terms(self.degrees.astype(bool), self.coefficients**2)


def _samples(X: Any, y: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, d) and values (P,) in float64."""
    x, values = (_arguments.host_array(a, label, name, convert=True).astype(np.float64) for a, name in ((X, "X"), (y, "y")))
    if x.ndim != 2 or values.shape != x.shape[:1] or len(x) < 2:
        raise ValueError(f"{label}: X has shape {x.shape} and y has {values.shape}, expected (P, d) and (P,) with at least 2 samples")
    for array, name in ((x, "X"), (values, "y")):
        _arguments.finite(array, label, name)
    return x, values


def _basis(distribution: Distribution, label: str) -> orthopoly.Basis:
    degree = regression.MAX_DEGREE
    if distribution.samples is not None:
        return orthopoly.from_samples(distribution.samples, min(degree, np.unique(distribution.samples).size - 1))
    return orthopoly.from_distribution(distribution, degree)
