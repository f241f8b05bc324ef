"""``GridGP``: regression on a grid in scikit-learn's manners, with cells missing and hyperparameters learnt."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from .. import _arguments, _arrays
from .._arguments import numbers_from
from .._bind import check_device
from .axis_kernel import axis_kernel
from .estimator import Estimator, determination, not_fitted
from .gp import gp_solve, nll_and_gradients, solve_and_keep
from .gp.afar import Posterior, namespace
from .gp.grid import Grid
from .gp.iterative import Iterative
from .gp.missing import Cells
from .gp.nll import exact
from .gp.points import GridPoints, ScatteredPoints, explained
from .gp.sample import gp_posterior_sample
from .gridmodel import Data, Model, axes_of, cells_of, check_mask, columns_of
from .product.afar import clamped
from .product.dense import outer


class GridGP(Estimator):
    """Gaussian process regression on a grid, with missing cells: an estimator in scikit-learn's manners.

    The covariance is variance · k_1(x_1, x_1') ... k_d(x_d, x_d'), with noise.

    Parameters
    ----------
    kernels : list of callables
        One an axis, k(x, y=None) -> (n, m). Of ``functools.partial(qf.kron.rbf, scale=0.3)`` and the like of ``matern52``,
        ``spectral_mixture`` and ``gsmp_kernel``, and of scikit-learn's kernels the hyperparameters are learnt; any other callable stays
        as it is.
    noise : float or (N,)
        Variance of the noise; learnt where it is a number, as it is where it is one a cell.
    variance : float
        Of the process, beside what the kernels give; learnt.
    optimizer : "fmin_l_bfgs_b", None, or callable
        None: the hyperparameters stay. A callable f(objective, theta, bounds) -> (theta, value) as in scikit-learn, where
        objective(theta) gives the negative log-likelihood and its gradient.
    n_restarts_optimizer : int
        Further starts: theta with normal numbers added, moved into its bounds.
    normalize_y : bool
        Take the mean of the observed values off, and divide by their standard deviation.
    logdet, probes, tol
        As in ``gp_nll``: "lanczos" for grids with so many cells missing that no Cholesky factor can be had.
    random_state : None, int, or numpy.random.Generator
        Of restarts and probes.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Attributes
    ----------
    kernels_, noise_, variance_
        As learnt.
    theta_ : (p,)
        log variance, the kernels' hyperparameters (logarithms of what must be positive), and log noise where it is learnt.
    log_marginal_likelihood_value_ : float
        At theta_.

    Notes
    -----
    An evaluation of the likelihood costs ``gp_nll`` with gradients. Axes, Y and mask on a device are computed with there: results and
    predictions lie there, as do the points that are given to ``predict``; the optimiser works on the host, so ``fit`` waits for the value
    and the gradient of every evaluation, and ``score`` for its sums. Kernels are then ours or callables of arrays there, not
    scikit-learn's. The manners are scikit-learn's: ``get_params``, ``set_params``, ``clone``, pickles, a warning with the optimiser's words
    where it did not converge; and as ``fit``, ``predict`` and ``score`` take points too, it is the last step of a ``Pipeline``, and
    ``GridSearchCV`` and ``cross_val_score`` leave cells of the grid out.

    Examples
    --------
    >>> import functools, numpy as np, quatrefoil as qf
    >>> x, y = np.linspace(0, 1, 20), np.linspace(0, 2, 30)
    >>> truth = np.sin(4 * x)[:, None] * np.cos(3 * y)
    >>> Y = truth + 0.1 * np.random.default_rng(0).standard_normal((20, 30))
    >>> seen = np.arange(600).reshape(20, 30) % 4 > 0
    >>> gp = qf.kron.GridGP([functools.partial(qf.kron.rbf, scale=0.5)] * 2, noise=0.1).fit([x, y], Y, mask=seen)
    >>> mean, std = gp.predict([x, y], return_std=True)
    >>> bool((np.abs(mean - truth) < 4 * std).all()), round(gp.noise_**0.5, 2)
    (True, 0.1)
    """

    def __init__(
        self,
        kernels: Sequence[Callable[..., Any]],
        *,
        noise: Any,
        variance: float = 1.0,
        optimizer: str | Callable[..., Any] | None = "fmin_l_bfgs_b",
        n_restarts_optimizer: int = 0,
        normalize_y: bool = False,
        logdet: str = "exact",
        probes: int = 16,
        tol: float = 1e-10,
        random_state: Any = None,
        backend: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.kernels, self.noise, self.variance, self.optimizer = kernels, noise, variance, optimizer
        self.n_restarts_optimizer, self.normalize_y = n_restarts_optimizer, normalize_y
        self.logdet, self.probes, self.tol, self.random_state = logdet, probes, tol, random_state
        self.backend, self.num_threads = backend, num_threads

    # ---- learning

    def fit(self, axes: Any, Y: Any, mask: Any = None) -> Self:
        """Learn from Y (n_1, ..., n_d) on the grid of axes, (n_k,) or (n_k, p) each; ``mask`` of Y's shape is True where it was observed.

        Or, as scikit-learn's tools call it, from an array of points (P, d) and Y (P,), NumPy: the axes are the numbers that occur in each
        column, and cells without a point were not observed. ValueError for a point that occurs twice, and for more than 100 cells a point.

        Returns self. A fit that does not converge warns with the optimiser's words.
        """
        label = "GridGP.fit"
        kernels = [axis_kernel(k, f"{label}: kernels[{i}]") for i, k in enumerate(_arguments.sequence(self.kernels, f"{label}: kernels"))]
        if isinstance(axes, np.ndarray):
            if mask is not None:
                raise ValueError(f"{label}: mask is given beside points, expected a list of axes with it, or points alone")
            self.n_features_in_ = axes.shape[-1] if axes.ndim else 0
            axes, Y, mask = cells_of(axes, Y, len(kernels), label)
        self._data = Data.checked(axes, Y, mask, self.normalize_y, label)
        if len(kernels) != len(self._data.axes):
            raise ValueError(f"{label}: {len(self._data.axes)} axes for {len(kernels)} kernels, expected one each")
        if self.optimizer is not None and self.optimizer != "fmin_l_bfgs_b" and not callable(self.optimizer):
            raise ValueError(f"{label}: optimizer is {self.optimizer!r}, expected 'fmin_l_bfgs_b', None or a callable")
        _arguments.choice(self.logdet, label, "logdet", ("exact", "lanczos"))
        rng = _arguments.generator(self.random_state, label)
        self._seed = int(rng.integers(2**62))
        self._start: np.ndarray | None = None
        self._model = Model.given(kernels, self.noise, self.variance, self._data, label)
        first = self._model.theta
        if self.optimizer is not None and len(first):
            starts = [first]
            for _ in range(_arguments.integer(self.n_restarts_optimizer, label, "n_restarts_optimizer", 0)):
                starts.append(np.clip(first + rng.standard_normal(len(first)), *self._model.bounds.T))
            found = [self._minimised(theta) for theta in starts]
            theta, _ = min(found, key=lambda f: f[1])
            self._model = self._model.at(theta)
        self.theta_ = self._model.theta
        self.kernels_, self.variance_ = [k.function for k in self._model.kernels], self._model.variance
        self.noise_ = self._model.noise if self._model.noise.shape[0] > 1 else float(self._model.noise[0])
        self._value: float | None = None
        self._alpha, solved = solve_and_keep(
            self._model.factors(self._data), self._data.y, self._model.noise_at(self._data), self._data.mask, self._start, self.tol,
            None, None, self.backend, self.num_threads,
        )  # fmt: skip
        self._grid: Grid | None = None if solved is None else solved.grid
        self._solver: Any = None if solved is None or isinstance(solved.parts[0].solver, Iterative) else solved.parts[0].solver
        return self

    @property
    def log_marginal_likelihood_value_(self) -> float:
        """At ``theta_``; computed when it is first asked for."""
        self._fitted("log_marginal_likelihood_value_")
        if self._value is None:
            self._value = float(self.log_marginal_likelihood())
        return self._value

    def log_marginal_likelihood(self, theta: Any = None, eval_gradient: bool = False) -> Any:
        """log p(Y | theta), at theta_ where none is given; with eval_gradient (value, gradient)."""
        model = self._fitted("log_marginal_likelihood")
        if theta is not None:
            theta = np.asarray(theta, np.float64)
            if theta.shape != model.theta.shape:
                raise ValueError(f"GridGP.log_marginal_likelihood: theta has shape {theta.shape}, expected {model.theta.shape}")
            model = model.at(theta)
        value, gradient = self._objective(model)
        return (-value, -gradient) if eval_gradient else -value

    def _objective(self, model: Model) -> tuple[float, np.ndarray]:
        factors = model.factors(self._data)
        value, grads, alpha, dnoise = nll_and_gradients(
            factors, self._data.y, model.noise_at(self._data), self._data.mask, start=self._start, logdet=self.logdet,
            probes=self.probes, rng=self._seed, tol=self.tol, backend=self.backend, num_threads=self.num_threads,
        )  # fmt: skip
        self._start = alpha
        return value, model.gradient(self._data, factors, grads, dnoise)

    def _minimised(self, theta: np.ndarray) -> tuple[np.ndarray, float]:
        def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
            try:
                return self._objective(self._model.at(theta))
            except np.linalg.LinAlgError:  # too far: the line search comes back
                return 1e25, np.zeros(len(theta))

        if callable(self.optimizer):
            found, value = self.optimizer(objective, theta, self._model.bounds)
            return np.asarray(found, np.float64), float(value)
        from scipy.optimize import minimize

        result = minimize(objective, theta, jac=True, method="L-BFGS-B", bounds=self._model.bounds)
        if not result.success:
            warnings.warn(f"GridGP.fit: the optimiser did not converge: {result.message}", RuntimeWarning, stacklevel=3)
        return result.x, float(result.fun)

    # ---- predictions

    def predict(self, X: Any, return_std: bool | str = False, *, samples: int = 64, rng: Any = None) -> Any:
        """The mean at X, and with return_std the standard deviation of the latent function.

        X is a list of axes, (m_k,) or (m_k, p) each: results have the shape (m_1, ..., m_d); or an array of points (P, columns of all
        axes): results are (P,). return_std="samples" takes the standard deviation from that many posterior samples, for grids with too
        many cells missing: a relative error of sqrt(1 / (2 samples)); for axes alone.
        """
        model, data = self._fitted("predict"), self._data
        if return_std not in (True, False, "samples"):
            raise ValueError(f"GridGP.predict: return_std is {return_std!r}, expected True, False or 'samples'")
        new, points, shape = self._points(X, "GridGP.predict")
        mean = points.product(points.matrices, (self.backend, self.num_threads))(self._alpha)
        mean = mean.reshape(shape) * data.scale + data.offset
        if not return_std:
            return mean
        if return_std == "samples":
            drawn = self.sample(X, _arguments.integer(samples, "GridGP.predict", "samples", 2), rng)
            return mean, ((drawn - mean) ** 2).mean(0) ** 0.5
        diagonals = [k.diagonal(x) for k, x in zip(model.kernels, new)]
        prior = functools.reduce(lambda a, b: a * b, diagonals) if isinstance(points, ScatteredPoints) else outer(diagonals)
        solver = self._exact()
        less = solver.explained(points)[0] if isinstance(solver, Posterior) else explained(solver, points)
        var = model.variance * prior - less
        return mean, (clamped(namespace(var), var) ** 0.5).reshape(shape) * data.scale

    def score(self, X: Any, Y: Any, mask: Any = None) -> float:
        """1 - (sum of squared errors of the mean at X, as in ``predict``) / (that of the mean of Y), over the True cells of ``mask``."""
        label = "GridGP.score"
        mean = self.predict(X)
        seen = None
        if mask is not None:
            check_mask(mask, label)
            seen = _arrays.to_host(mask)
            if seen.shape != mean.shape:
                raise ValueError(f"{label}: mask has shape {seen.shape}, expected {mean.shape}")
        return determination(numbers_from(Y, label, "y"), _arrays.to_host(mean), label, seen)

    def _exact(self) -> Any:
        """What gives variances, of what ``fit`` has factorised."""
        if self._solver is None:
            model, data = self._model, self._data
            if not data.on_host:
                kernel = self.backend, self.num_threads
                self._solver = Posterior(model.factors(data), model.noise_at(data), data.mask, kernel)
                return self._solver
            grid = self._grid or Grid(model.factors(data), "GridGP.predict", self.backend, self.num_threads)
            self._grid, self._solver = grid, exact(grid, model.noise, Cells(model.noise, data.mask, grid.size))
        return self._solver

    def __getstate__(self) -> dict[str, Any]:
        """Without factorisations, which can be made again."""
        return {name: None if name in ("_grid", "_solver") else value for name, value in vars(self).items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True  # what ``fit`` takes is no matrix of samples
        tags.input_tags.two_d_array = False
        return tags

    def sample(self, X: Any, size: int = 1, rng: Any = None) -> np.ndarray:
        """Samples of the posterior at X as in ``predict``: (size, m_1, ..., m_d), or (size, P) by the covariance of the P points."""
        model, data = self._fitted("sample"), self._data
        new, points, shape = self._points(X, "GridGP.sample")
        factors = model.factors(data)
        kernel: Any = {"backend": self.backend, "num_threads": self.num_threads}
        if isinstance(points, GridPoints):
            prior = [k(x) for k, x in zip(model.kernels, new)]
            prior[0] = model.variance * prior[0]
            given: Any = {"mask": data.mask, "prior_factors": prior, "tol": self.tol, **kernel}
            drawn = gp_posterior_sample(factors, points.matrices, data.y, model.noise_at(data), size=size, rng=rng, **given)
        else:
            drawn = self._scattered_samples(new, points, factors, size, rng)
        samples: np.ndarray = drawn.reshape(len(drawn), *shape) * data.scale + data.offset
        return samples

    def _scattered_samples(
        self, new: Sequence[np.ndarray], points: ScatteredPoints, factors: Sequence[np.ndarray], size: int, rng: Any
    ) -> np.ndarray:
        model, data = self._model, self._data
        count = _arguments.integer(size, "GridGP.sample", "size", 0)
        xp = namespace(data.y)
        cross = points.covariances(0, points.size)
        prior = model.variance * functools.reduce(lambda a, b: a * b, [k(x) for k, x in zip(model.kernels, new)])
        seen = cross if data.mask is None else cross * data.mask
        noise = model.noise_at(data)
        solved = gp_solve(factors, seen, noise, mask=data.mask, tol=self.tol, backend=self.backend, num_threads=self.num_threads)
        covariance = prior - cross @ solved.T
        values, vectors = xp.linalg.eigh((covariance + covariance.T) / 2)
        normal = _arrays.beside(data.y, _arguments.generator(rng, "GridGP.sample").standard_normal((count, points.size)))
        samples: np.ndarray = cross @ self._alpha + (normal * clamped(xp, values) ** 0.5) @ vectors.T
        return samples

    def _points(self, X: Any, label: str) -> tuple[list[np.ndarray], Any, tuple[int, ...]]:
        """(points of every axis, with their covariances, the shape of results)."""
        model, data = self._model, self._data
        of_axes = isinstance(X, (list, tuple))
        new = axes_of(X, data.axes, label) if of_axes else columns_of(X, data.axes, label)
        for k, x in enumerate(new):
            check_device(label, f"X[{k}]" if of_axes else "X", x, "axes[0]", data.axes[0])
        matrices = [k(x, a) for k, x, a in zip(model.kernels, new, data.axes)]
        matrices[0] = model.variance * matrices[0]
        return (new, GridPoints(matrices), tuple(map(len, new))) if of_axes else (new, ScatteredPoints(matrices), (len(new[0]),))

    def _fitted(self, method: str) -> Model:
        if not hasattr(self, "_model"):
            raise not_fitted(f"GridGP.{method}: this model is not fitted; call fit first")
        return self._model
