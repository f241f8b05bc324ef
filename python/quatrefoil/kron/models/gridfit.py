"""The fitted state of a ``GridGP``, in one object, so that a failed fit leaves the previous one unchanged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments, _arrays
from ..._bind import check_device
from ..._progress import Report
from ..._typing import Backend
from ..gp import gp_nll
from ..gp.covariance import GridCovariance
from ..gp.device import Covariance
from ..gp.points import GridPoints, ScatteredPoints
from ..product.dense import owned
from .estimator import is_list_of_axes
from .gridmean import Mean
from .gridmodel import Data, Model, axes_of, columns_of
from .kernel_derivatives import Derivatives, derivatives_of
from .tables import Labels, is_scalar

Array = Any
_SEARCH_TOL = 1e-6  # residual of iterative solves during the search; predictions use the tol of the model


class How(NamedTuple):
    """The parameters of a ``GridGP`` that predictions use, as they were at the time of the fit."""

    logdet: str
    probes: int
    tol: float
    backend: Backend | None
    num_threads: int | None

    @property
    def kernel(self) -> tuple[Backend | None, int | None]:
        return self.backend, self.num_threads

    @property
    def solver(self) -> dict[str, Any]:
        return {"tol": self.tol, "backend": self.backend, "num_threads": self.num_threads}


class Kriging(NamedTuple):
    """Universal kriging: the coefficients β of the basis functions H, by generalised least squares from data y."""

    mean: np.ndarray  # β, (p,)
    variance: np.ndarray  # of β, (H C⁻¹ Hᵀ)⁻¹ (p, p)
    alpha: Any  # C⁻¹ Hᵀ as rows (p, N), or None
    explained: float  # the part of yᵀ C⁻¹ y that the mean explains

    @classmethod
    def from_alpha(cls, data: Data, alpha: Array) -> Kriging:
        """Computes β from ``alpha`` (1 + p, N): C⁻¹ y, and C⁻¹ of each basis function."""
        if len(data.rows) == 1:
            return cls(np.zeros(0), np.zeros((0, 0)), None, 0.0)
        products = _arrays.to_host(data.rows[1:] @ alpha.T)
        variance = np.linalg.inv((products[:, 1:] + products[:, 1:].T) / 2)
        beta = variance @ products[:, 0]
        return cls(beta, variance, alpha[1:], float(beta @ products[:, 0]))

    @property
    def weights(self) -> np.ndarray:
        """The combination (1, 1 + p) of the rows y and H that is y without its mean."""
        return np.concatenate([[1.0], -self.mean])[None]

    def residual(self, alpha: Array) -> Array:
        """C⁻¹ of y without its mean."""
        return alpha[0] if self.alpha is None else alpha[0] - _arrays.to_device_of(self.mean, alpha) @ self.alpha


class Fit:
    """Data and their model. ``solve`` adds ``mean``, ``alpha`` = C⁻¹ (y - mean), and ``kriging`` for the variance of the mean."""

    alpha: Array
    mean: Mean
    kriging: Kriging

    def __init__(self, data: Data, model: Model, how: How, seed: int, like: Labels | str | None, report: Report | None = None) -> None:
        self.data, self.model, self.how, self._seed, self._like = data, model, how, seed, like
        self.value: float | None = None  # the log-likelihood, once it is known
        self.evaluations, self.report = 0, report
        self._start: Array | None = None  # start of iterations: the solution of the last evaluation
        self.error, self._has_large_holes = 0.0, False  # of the last likelihood
        self._covariance: Covariance | None = None

    def on(self, data: Data) -> Fit:
        """A fit with the same settings for other data."""
        return Fit(data, self.model, self.how, self._seed, self._like, self.report)

    def objective(self, model: Model) -> tuple[float, np.ndarray]:
        """The negative log-likelihood with the best mean, and its gradient with respect to theta. LinAlgError if it does not exist."""
        data, how = self.data, self.how
        factors = model.factors(data)
        for k, f in enumerate(factors):
            if isinstance(f, np.ndarray) and not np.isfinite(f).all():
                raise np.linalg.LinAlgError(f"GridGP: kernels[{k}] returned NaN or infinity for theta = {model.theta}")
        covariance = model.covariance(factors, data, how.kernel)
        if isinstance(covariance, GridCovariance):
            tol, covariance.begins_deflated = max(how.tol, _SEARCH_TOL), self._has_large_holes
            values, errors, solution = covariance.likelihood(
                covariance.rows(data.rows), tol, self._start, how.logdet, how.probes, self._seed
            )
            self.error, self._has_large_holes = float(errors[0]), covariance.is_deflated
            kriging = Kriging.from_alpha(data, solution.alpha)
            value = float(values[0]) - kriging.explained / 2
            grads, dnoise = solution.combined(kriging.weights).nll_gradients(np.ones(1))
            self._start = solution.alpha if math.isfinite(value) else None
        else:
            kriging = Kriging.from_alpha(data, covariance.solved(data.rows, how.tol))
            inputs, options = (factors, data.without(kriging.mean), model.noise_at(data)), {"mask": data.mask, **how.solver}
            value, grads, dnoise = gp_nll(*inputs, grad=True, logdet=how.logdet, probes=how.probes, rng=self._seed, **options)
            value = float(value)
        self.evaluations += 1
        if self.report is not None:
            self.report(self.evaluations, -value)
        return value, model.gradient(data, factors, grads, dnoise)

    def solve(self) -> None:
        """Computes α of the data without their mean, the mean, and its kriging."""
        data, how, covariance = self.data, self.how, self.covariance
        rows = data.rows
        if isinstance(covariance, GridCovariance):
            rows, covariance.begins_deflated = covariance.rows(rows), self._has_large_holes
            (cells,) = covariance.cells
            if self._start is not None and how.logdet == "exact":  # the likelihood has used a factor of this size
                alpha = covariance.exact(cells).solve(rows)
            else:
                alpha = covariance.solve(rows, how.tol, self._start).alpha
        else:
            alpha = covariance.solved(rows, how.tol)
        self.kriging = Kriging.from_alpha(data, alpha)
        self.alpha, self.mean = self.kriging.residual(alpha), data.mean.plus(self.kriging.mean)

    @property
    def covariance(self) -> Covariance:
        """The covariance of the data, computed at first use."""
        if self._covariance is None:
            self._covariance = self.model.covariance(self.model.factors(self.data), self.data, self.how.kernel)
        return self._covariance

    def query(self, X: Any, label: str) -> Any:
        """X as a list of axes or as points."""
        if isinstance(self._like, Labels):
            X = self._like.axes_in(X, label)
        elif isinstance(X, Mapping):
            raise TypeError(f"{label}: X is a {type(X).__name__}, but fit got axes without names; pass a list, [{', '.join(self.names)}]")
        elif hasattr(X, "coords") and getattr(X, "ndim", 0) > 1:
            X = [np.asarray(X[d]) for d in X.dims]
        if len(self.data.axes) > 1:
            return [[x] if is_scalar(x) else x for x in X] if isinstance(X, (list, tuple)) else X
        is_line = X is not None and not is_list_of_axes(X) and getattr(X, "ndim", 1) == self.data.axes[0].ndim == 1
        return [X] if is_line else X

    def coordinates(self, coords: Any, label: str) -> Mapping[Any, Any]:
        """Checks the coords of a prediction that returns a Dataset."""
        if not isinstance(self._like, Labels) or not hasattr(self._like.table, "dims"):
            raise TypeError(f"{label}: coords requires a fit to a DataArray; pass the axes as a list X, [{', '.join(self.names)}]")
        if not isinstance(coords, Mapping):
            raise TypeError(f"{label}: coords is a {type(coords).__name__}, expected a dict of axes by name, {{'{self.names[0]}': values}}")
        return coords

    def ordered(self, table: Any) -> Any:
        """A DataArray with its dimensions in the order of the axes; anything else unchanged."""
        return table.transpose(*self._like.names) if hasattr(table, "dims") and isinstance(self._like, Labels) else table

    @property
    def names(self) -> list[str]:
        """The names of the axes, for error messages."""
        names = self._like.names if isinstance(self._like, Labels) else [None] * len(self.data.axes)
        return [str(name or f"x_{k + 1}") for k, name in enumerate(names)]

    def points(
        self, X: Any, label: str, derivative: tuple[int, Derivatives, int] | None = None
    ) -> tuple[list[Array], GridPoints | ScatteredPoints, tuple[int, ...]]:
        """(points per axis, the same with covariances, the shape of results). ``derivative``: an axis, its derivatives, an order."""
        model, data = self.model, self.data
        of_axes = X is None or is_list_of_axes(X)
        if X is None:
            new = list(data.axes)
        elif of_axes:
            new = axes_of(X, data.axes, label, data.kinds)
        else:
            new = columns_of(X, data.axes, self.names, label, data.kinds)
        for k, x in enumerate(new):
            check_device(label, f"X[{k}]" if of_axes else "X", x, "axes[0]", data.axes[0])
        matrices = [k(x, a) for k, x, a in zip(model.kernels, new, data.axes)]
        if derivative is not None:
            k, derivatives, order = derivative
            matrices[k] = derivatives.at(new[k][:, None] - data.axes[k], order)
        matrices[0] = model.variance * matrices[0]
        return (new, GridPoints(matrices), tuple(map(len, new))) if of_axes else (new, ScatteredPoints(matrices), (len(new[0]),))

    def derivative(self, request: Any, label: str) -> tuple[int, Derivatives, int]:
        """Converts an axis or (axis, order) to the axis, the derivatives of its covariance function, and the order."""
        both = request if isinstance(request, tuple) else (request, 1)
        if len(both) != 2:
            raise ValueError(f"{label}: derivative is {request!r}, expected an axis, or (axis, order)")
        axis, order = both
        if isinstance(axis, str) and axis in self.names:
            axis = self.names.index(axis)
        k = _arguments.integer(axis, label, "the axis of derivative", 0, len(self.data.axes) - 1)
        order = _arguments.integer(order, label, "the order of derivative", 1, 2)
        x = self.data.axes[k]
        if x.ndim != 1 or not isinstance(x, np.ndarray):
            raise ValueError(
                f"{label}: derivatives require axes of shape (n,) on the host; axes[{k}] is {_arrays.describe(x)} of shape {tuple(x.shape)}"
            )
        return k, derivatives_of(self.model.kernels[k].function, order, label), order

    def mean_at(self, new: list[Array], on_grid: bool, label: str, by: tuple[int, Derivatives, int] | None = None) -> Any:
        """The mean function, or its derivative."""
        if by is None:
            return self.mean.at(new, on_grid, label)
        return self.mean.derivative(self._column(by[0]), by[2], label)

    def _column(self, axis: int) -> int:
        """The column of the first coordinate of an axis."""
        return sum(math.prod(x.shape[1:]) for x in self.data.axes[:axis])

    def _of_mean(self, new: Sequence[Array], points: GridPoints | ScatteredPoints, by: tuple[int, Derivatives, int] | None = None) -> Array:
        """The effect (p, M) of the mean's coefficients on predictions, directly and through the data."""
        own = self.mean.basis_at(new, isinstance(points, GridPoints))
        if by is not None:
            slopes = self.mean.basis[1 + self._column(by[0])] if len(self.mean.basis) > 1 and by[2] == 1 else 0 * self.kriging.mean
            own = slopes[:, None]
        return own - points.product(points.matrices, self.how.kernel)(self.kriging.alpha)

    def variance_of_mean(self, new: list[Array], points: GridPoints | ScatteredPoints, by: tuple[int, Derivatives, int] | None) -> Array:
        """The variance (M,) of predictions from the mean's coefficients."""
        if self.kriging.alpha is None:
            return 0.0
        u = self._of_mean(new, points, by)
        return ((_arrays.to_device_of(self.kriging.variance, u) @ u) * u).sum(0)

    def samples_of_mean(
        self, new: Sequence[Array], points: GridPoints | ScatteredPoints, count: int, rng: np.random.Generator
    ) -> tuple[Array, Array] | None:
        """Samples of the mean's coefficients (count, p), and their effect on predictions (p, M)."""
        if self.kriging.alpha is None:
            return None
        u = self._of_mean(new, points)
        normal = rng.standard_normal((count, len(self.kriging.mean)))
        return _arrays.to_device_of(normal @ np.linalg.cholesky(self.kriging.variance).T, u), u

    def as_input(self, values: Array, X: Any = None, on_grid: bool = False) -> Any:
        """Converts to the kind of the data: a tensor, or on a grid of points X a table with labels."""
        if isinstance(self._like, Labels):
            return self._like.build(values, X) if on_grid else values
        return _arrays.of_kind("torch", values) if self._like == "torch" and isinstance(values, np.ndarray) else values

    def attributes(self) -> dict[str, Any]:
        """The public attributes of the estimator, which users may overwrite."""
        model = self.model
        noise = float(model.noise[0]) if model.learns_noise else owned(model.noise)
        kernels, noise_kernels = ([k.copied().function for k in both] for both in (model.kernels, model.noise_kernels))
        columns = sum(math.prod(a.shape[1:]) for a in self.data.axes)
        covariance = {"kernels_": kernels, "noise_kernels_": noise_kernels, "variance_": model.variance, "noise_": noise}
        return {"theta_": model.theta, "n_features_in_": columns, **covariance}

    def __getstate__(self) -> dict[str, Any]:
        """The state without factorisations, which can be recomputed."""
        return {name: None if name == "_covariance" else value for name, value in vars(self).items()}
