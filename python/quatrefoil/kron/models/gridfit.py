"""The fitted state of a ``GridGP``, one object: a fit that fails leaves the previous one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._bind import check_device
from ..._typing import Backend
from ..gp import nll_and_gradients, solve_and_keep
from ..gp.covariance import GridCovariance
from ..gp.device import Covariance, covariance_of
from ..gp.points import GridPoints, ScatteredPoints
from ..product.dense import owned
from .estimator import is_list_of_axes
from .gridmodel import Data, Model, axes_of, columns_of
from .tables import Labels, is_scalar

Array = Any


class How(NamedTuple):
    """The parameters of a ``GridGP`` that its predictions need, as they were when it was fitted."""

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


class Fit:
    """Data and the model for them. After ``solve``: ``alpha`` = C⁻¹ y, and what has solved it, for variances."""

    alpha: Array

    def __init__(self, data: Data, model: Model, how: How, seed: int, like: Labels | str | None) -> None:
        self.data, self.model, self.how, self._seed, self._like = data, model, how, seed, like
        self.value: float | None = None  # the log-likelihood, once it is known
        self._start: Array | None = None  # of iterations: the solution of the last evaluation
        self._covariance: Covariance | None = None

    def objective(self, model: Model) -> tuple[float, np.ndarray]:
        """The negative log-likelihood and its gradient by theta; LinAlgError if there is none."""
        factors = model.factors(self.data)
        for k, f in enumerate(factors):
            if isinstance(f, np.ndarray) and not np.isfinite(f).all():
                raise np.linalg.LinAlgError(f"GridGP: kernels[{k}] gives NaN or infinity for theta = {model.theta}")
        value, grads, alpha, dnoise = nll_and_gradients(
            factors, self.data.y, model.noise_at(self.data), self.data.mask, start=self._start, logdet=self.how.logdet,
            probes=self.how.probes, rng=self._seed, **self.how.solver,
        )  # fmt: skip
        self._start = alpha if math.isfinite(value) else None
        return value, model.gradient(self.data, factors, grads, dnoise)

    def solve(self) -> None:
        data, how = self.data, self.how
        if self._start is not None and how.logdet == "exact" and isinstance(self.covariance, GridCovariance):
            (cells,) = self.covariance.cells
            self.alpha = self.covariance.exact(cells).solve(data.y[None])[0]  # the likelihood has taken a factor of this size
            return
        self.alpha, solution = solve_and_keep(
            self.model.factors(data), data.y, self.model.noise_at(data), data.mask, self._start, how.tol, None, None, *how.kernel
        )
        if solution is not None:
            self._covariance = solution.covariance

    @property
    def covariance(self) -> Covariance:
        """Of the data: what ``solve`` has used, or made when it is first needed."""
        if self._covariance is None:
            model, data = self.model, self.data
            self._covariance = covariance_of("GridGP", model.factors(data), model.noise_at(data), data.mask, *self.how.kernel)
        return self._covariance

    def asked(self, X: Any, label: str) -> Any:
        """X as a list of axes or as points."""
        if isinstance(self._like, Labels):
            X = self._like.axes_in(X, label)
        elif isinstance(X, Mapping):
            raise TypeError(f"{label}: X is a {type(X).__name__}, but fit had no names of axes; give a list, [{', '.join(self.names)}]")
        elif hasattr(X, "coords") and getattr(X, "ndim", 0) > 1:
            X = [np.asarray(X[d]) for d in X.dims]
        if len(self.data.axes) > 1:
            return [[x] if is_scalar(x) else x for x in X] if isinstance(X, (list, tuple)) else X
        is_line = X is not None and not is_list_of_axes(X) and getattr(X, "ndim", 1) == self.data.axes[0].ndim == 1
        return [X] if is_line else X

    def ordered(self, table: Any) -> Any:
        """A DataArray with its dimensions in the order of the axes."""
        return table.transpose(*self._like.names) if hasattr(table, "dims") and isinstance(self._like, Labels) else table

    @property
    def names(self) -> list[str]:
        """Of the axes, for errors."""
        given = self._like.names if isinstance(self._like, Labels) else [None] * len(self.data.axes)
        return [str(name or f"x_{k + 1}") for k, name in enumerate(given)]

    def points(self, X: Any, label: str) -> tuple[list[Array], GridPoints | ScatteredPoints, tuple[int, ...]]:
        """(points of every axis, with their covariances, the shape of results)."""
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
        matrices[0] = model.variance * matrices[0]
        return (new, GridPoints(matrices), tuple(map(len, new))) if of_axes else (new, ScatteredPoints(matrices), (len(new[0]),))

    def answer(self, values: Array, X: Any = None, on_grid: bool = False) -> Any:
        """As the data came: as a tensor, or on a grid of points X as a table with labels."""
        if isinstance(self._like, Labels):
            return self._like.of(values, X) if on_grid else values
        return _arrays.of_kind("torch", values) if self._like == "torch" and isinstance(values, np.ndarray) else values

    def attributes(self) -> dict[str, Any]:
        """The public attributes of the estimator, which users may write to."""
        model = self.model
        noise = float(model.noise[0]) if model.learns_noise else owned(model.noise)
        kernels = [k.copied().function for k in model.kernels]
        columns = sum(math.prod(a.shape[1:]) for a in self.data.axes)
        return {"theta_": model.theta, "kernels_": kernels, "variance_": model.variance, "noise_": noise, "n_features_in_": columns}

    def __getstate__(self) -> dict[str, Any]:
        """Without factorisations, which can be recomputed."""
        return {name: None if name == "_covariance" else value for name, value in vars(self).items()}
