"""``GridGP``: regression on a grid with missing cells and learnt hyperparameters, as a scikit-learn estimator."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from ... import _arguments, _arrays
from ..._progress import reporter
from ..._typing import Backend
from ..._warnings import warn
from ..gp.points import GridPoints, ScatteredPoints
from ..gp.sample import PosteriorSampler, joined
from ..product.dense import namespace, outer
from ..product.eigen import clamped
from .axis_kernel import Kernel, axis_kernels
from .blas import one_thread
from .estimator import Estimator, determination, is_list_of_axes, not_fitted
from .gridfit import Fit, How
from .gridmodel import Data, Model, cells_of, mask_of
from .search import best_model
from .tables import dataset, unlabelled

Rng: TypeAlias = int | np.random.Generator | None
_SAMPLES_TOL = 1e-4  # residual of solves for a standard deviation from samples, which has an error of 1 / sqrt(2 samples)
_PROGRESS = "GridGP.fit: evaluation {}, log-likelihood {:.8g}, {:.1f} s"
_MAX_EXACT = 2000  # cells; an evaluation with a larger Cholesky factor takes seconds
Coordinates: TypeAlias = Callable[[Any], Any] | Callable[[Any, Any], Any] | Callable[[Any, Any, Any], Any] | Callable[..., Any]
Derivative: TypeAlias = int | str | tuple[int | str, int] | None
Real: TypeAlias = NDArray[np.float64]  # also stands for arrays on a device, whose types are unknown to type checkers


class PredictOptions(TypedDict, total=False):
    """Keywords of ``GridGP.predict``."""

    derivative: Derivative
    samples: int
    rng: Rng


class GridGP(Estimator):
    """Gaussian process regression on a grid with missing cells, as a scikit-learn estimator.

    The covariance is variance · k_1(x_1, x_1') ... k_d(x_d, x_d') plus noise; the mean is known or estimated.

    Parameters
    ----------
    kernels : None, name, callable, or list of them, default None
        k(x, y=None) -> (n, m), one per axis or one for all, or a dict by the names of a table's axes. Names are "rbf" and "matern12" to
        "matern52"; None is "matern52". Hyperparameters are learnt for kernels of ``qf.kron`` in a ``functools.partial``, such as
        ``partial(qf.kron.rbf, scale=0.3)``, and for scikit-learn's. Kernels without a scale start from the best of 1, 0.3, 0.1 and 0.03
        times the length of the axis. Other callables are used unchanged.
    noise : None, float or (N,), default None
        Variance of the noise: a starting value (None: a tenth of the variance of the data), or fixed values per cell.
    noise_kernels : None, or as kernels, default None
        Learnt correlations of the noise along each axis, for structured noise, confounders, or correlated tasks; "white" is independent
        noise. The covariance of the noise is then noise · s_1(x_1, x_1') ... s_d(x_d, x_d'). This requires a single value of noise, and
        arrays on the host. None in a list is "matern52", which is smoother than most noise: choose "matern12".
    variance : None or float, default None
        Starting value of the process variance; None means the variance of the data.
    mean : "constant", "linear", "zero", number or callable, default "constant"
        A constant or linear function of the coordinates is estimated by generalised least squares (universal kriging); standard deviations
        and samples include its uncertainty. Otherwise a known mean: "zero", a number, or f(x_1, ..., x_d).
    optimizer : "fmin_l_bfgs_b", None, or callable
        None keeps the initial hyperparameters. A callable is f(objective, theta, bounds) -> (theta, value) as in scikit-learn.
    n_restarts_optimizer : int
        Further searches, from starts drawn uniformly in the bounds or, without bounds, normally around the first start.
    logdet : None, "exact" or "lanczos"
        As in ``gp_nll``. None is "exact" if that takes a Cholesky factor of at most 2000 cells, or if Y is on a device.
    probes, tol
        As in ``gp_nll``.
    rng : None, int, or numpy.random.Generator
        For restarts and probes.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Attributes
    ----------
    kernels_, noise_kernels_, noise_, variance_
        The learnt covariance; ``noise_kernels_`` is empty without ``noise_kernels``.
    theta_ : (p,)
        log variance, the hyperparameters of kernels and noise_kernels (logarithms of positive ones), and log noise if it is learnt.
    log_marginal_likelihood_value_ : float

    Notes
    -----
    A RuntimeWarning reports that the search did not converge, or that a hyperparameter ended at a bound because the data hardly determine
    it. An evaluation of the likelihood costs as much as ``gp_nll`` with gradients. A ``fit`` that fails or is interrupted does not change
    the model. Results do not depend on the units of axes and Y. The tutorial on grids has more on bounds, dates, devices and threads.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, y = np.linspace(0, 1, 20), np.linspace(0, 2, 30)
    >>> truth = 15 + np.sin(4 * x)[:, None] * np.cos(3 * y)
    >>> Y = truth + 0.1 * np.random.default_rng(0).standard_normal((20, 30))
    >>> Y.flat[::4] = np.nan  # missing
    >>> mean, std = qf.kron.GridGP().fit([x, y], Y).predict([x, y], return_std=True)
    >>> bool((np.abs(mean - truth) < 4 * std).all())
    True
    """

    _hints: ClassVar = {
        **dict.fromkeys(
            ("length_scales_", "length_scale_", "scales_", "kernel_"), "use kernels_[0].keywords['scale'], and so on for each axis"
        ),
        **dict.fromkeys(("sample_y", "posterior", "rsample"), "use sample(X, size)"),
    }
    theta_: Real
    kernels_: list[Any]
    noise_kernels_: list[Any]
    noise_: Any
    variance_: float
    n_features_in_: int

    @_arguments.keywords(
        "GridGP",
        positional="pass kernels as one list, GridGP([kernel_1, kernel_2]), and other arguments by keyword",
        **dict.fromkeys(("kernel", "covariance", "covar_module"), "use kernels, one per axis or one for all"),
        **dict.fromkeys(("random_state", "seed", "random_seed"), "use rng"),
        **dict.fromkeys(("alpha", "noise_level", "noise_variance", "sigma"), "use noise, a variance"),
        **dict.fromkeys(("second", "residual_kernels", "noise_kernel", "noise_covariance"), "use noise_kernels, one per axis"),
        **dict.fromkeys(("mean_module", "mean_function"), "use mean"),
        normalize_y="mean='constant' subtracts the average, and the initial noise and variance come from the data",
    )
    def __init__(
        self,
        kernels: Kernel | Sequence[Kernel] = None,
        *,
        noise: Any = None,
        noise_kernels: Kernel | Sequence[Kernel] = None,
        variance: float | None = None,
        mean: Literal["zero", "constant", "linear"] | Coordinates = "constant",
        optimizer: Literal["fmin_l_bfgs_b"] | Callable[..., Any] | None = "fmin_l_bfgs_b",
        n_restarts_optimizer: int = 0,
        logdet: Literal["exact", "lanczos"] | None = None,
        probes: int = 16,
        tol: float = 1e-8,
        rng: Rng = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.kernels, self.noise, self.noise_kernels, self.variance = kernels, noise, noise_kernels, variance
        self.mean, self.optimizer = mean, optimizer
        self.n_restarts_optimizer, self.logdet, self.probes, self.tol, self.rng = n_restarts_optimizer, logdet, probes, tol, rng
        self.backend, self.num_threads = backend, num_threads

    # ---- learning

    def fit(self, axes: Any, Y: Any = None, mask: Any = None, *, progress: bool | Callable[[int, float], Any] | None = None) -> Self:
        """Learn from Y (n_1, ..., n_d) on the grid of axes, a list of (n_k,) or (n_k, p); NaN marks missing cells.

        ``mask``, of Y's shape, is True where a cell was observed. An xarray ``DataArray``, or a pandas ``DataFrame`` or ``Series`` whose
        index has one level per axis, replaces both axes and Y; ``predict`` then returns the same kind of table.

        Axes may be dates (NumPy, pandas or Python objects, or ISO strings) or durations. Both are converted to days: dates to days since
        1970, in UTC if they have a time zone, and pandas periods by their start. ``predict`` then requires dates or durations on that axis;
        numbers raise TypeError.

        Or pass points (P, d) and Y (P,), as scikit-learn's tools do: the axes are the distinct numbers in each column, and cells without a
        point are missing. A single axis, (n,), is an array of points, too. A repeated point, or more than 100 cells per point, raises
        ValueError.

        If the likelihood is estimated (``logdet``) and there are more than 100,000 cells, the search starts on a thinned grid.

        ``progress`` is called as progress(evaluations of the likelihood so far, last log-likelihood); True prints a line per second.

        Returns self.
        """
        label, labels, kind = "GridGP.fit", None, _arrays.kind(Y)
        if Y is None:
            axes, Y, labels = unlabelled(axes, label)
        if not is_list_of_axes(axes):
            if mask is not None:
                what = "expected points and their values; pass axes of a grid as a list: fit([x, t], Y, mask)"
                raise ValueError(f"{label}: got a mask for points, {what}")
            axes, Y, mask = cells_of(axes, Y, label)
        data = Data.checked(axes, Y, mask, self.mean, label)
        names = labels.names if labels else ()
        kernels = axis_kernels(self.kernels, len(data.axes), label, names)
        if self.optimizer is not None and self.optimizer != "fmin_l_bfgs_b" and not callable(self.optimizer):
            raise ValueError(f"{label}: optimizer is {self.optimizer!r}, expected 'fmin_l_bfgs_b', None or a callable")
        restarts = _arguments.integer(self.n_restarts_optimizer, label, "n_restarts_optimizer", 0)
        rng = _arguments.generator(self.rng, label)
        if data.is_constant and self.optimizer is not None:
            warn(f"{label}: Y equals its mean everywhere, so there is nothing to learn")
        noise_kernels = self.noise_kernels
        of_noise = [] if noise_kernels is None else axis_kernels(noise_kernels, len(data.axes), label, names, "noise_kernels")
        models = Model.starts(kernels, of_noise, self.noise, self.variance, data, label)
        cells, logdet = models[0].factor_rows(data), _arguments.choice(self.logdet, label, "logdet", (None, "exact", "lanczos"))
        logdet = logdet or ("lanczos" if cells > _MAX_EXACT and data.on_host else "exact")
        how = How(logdet, self.probes, self.tol, self.backend, self.num_threads)
        begin = time.monotonic()
        report = reporter(progress, label, lambda count, value: _PROGRESS.format(count, value, time.monotonic() - begin))
        fit = Fit(data, models[0], how, int(rng.integers(2**62)), kind if labels is None else labels, report)
        with one_thread(max(cells, *map(len, data.axes))):
            if self.optimizer is not None and len(fit.model.theta) and data.spread:
                fit.model = best_model(fit, models, self.optimizer, restarts, rng)
            fit.solve()
        fit.report = None
        vars(self).update(_fit=fit, **fit.attributes())  # one step, so an interrupt leaves the old fit or the new one
        return self

    @property
    def log_marginal_likelihood_value_(self) -> float:
        """The log-likelihood at ``theta_``, computed at first use."""
        fit = self._fitted("log_marginal_likelihood_value_")
        if fit.value is None:
            fit.value = float(self.log_marginal_likelihood())
        return fit.value

    @overload
    def log_marginal_likelihood(self, theta: Any = None, eval_gradient: Literal[False] = False) -> float: ...
    @overload
    def log_marginal_likelihood(self, theta: Any, eval_gradient: Literal[True]) -> tuple[float, Real]: ...
    @overload
    def log_marginal_likelihood(self, theta: Any = None, *, eval_gradient: Literal[True]) -> tuple[float, Real]: ...
    def log_marginal_likelihood(self, theta: Any = None, eval_gradient: bool = False) -> Any:
        """log p(Y | theta), by default at theta_; with eval_gradient, (value, gradient)."""
        fit = self._fitted("log_marginal_likelihood")
        model = fit.model
        if theta is not None:
            theta = np.asarray(theta, np.float64)
            if theta.shape != model.theta.shape:
                raise ValueError(f"GridGP.log_marginal_likelihood: theta has shape {theta.shape}, expected {model.theta.shape}")
            model = model.at(theta)
        value, gradient = fit.objective(model)
        return (-value, -gradient) if eval_gradient else -value

    # ---- predictions

    @overload
    def predict(self, X: Any = None, return_std: Literal[False] = False, **options: Unpack[PredictOptions]) -> Real: ...
    @overload
    def predict(self, X: Any, return_std: Literal[True, "samples"], **options: Unpack[PredictOptions]) -> tuple[Real, Real]: ...
    @overload
    def predict(self, X: Any = None, *, return_std: Literal[True, "samples"], **options: Unpack[PredictOptions]) -> tuple[Real, Real]: ...
    @overload
    def predict(self, X: Any = None, return_std: bool | str = False, **options: Unpack[PredictOptions]) -> Real | tuple[Real, Real]: ...
    @overload
    def predict(
        self, X: None = None, return_std: bool | str = False, *, coords: Mapping[Any, Any], **options: Unpack[PredictOptions]
    ) -> Any: ...
    @_arguments.keywords(
        "GridGP.predict", return_cov="use sample, which draws from the posterior", return_var="use return_std", n_samples="use samples",
        **dict.fromkeys(("x", "t", "time", "lat", "lon", "y"), "pass axes by name as a dict: predict({'x': ..., 'time': ...})"),
    )  # fmt: skip
    def predict(
        self,
        X: Any = None,
        return_std: bool | str = False,
        *,
        coords: Mapping[Any, Any] | None = None,
        derivative: Derivative = None,
        samples: int = 64,
        rng: Rng = None,
    ) -> Any:
        """The mean at X, and with return_std the standard deviation of the latent function.

        **A list is axes, an array is points.** A list [x, t], with (m_k,) or (m_k, p) for each axis, or a number for an axis of one point,
        returns arrays (m_1, ..., m_d). Points (P, columns of all axes), an array or a DataFrame, return (P,). The default X is the grid of
        ``fit``. After a ``fit`` to tensors, results are tensors. After a ``fit`` to a DataArray, DataFrame or Series, X may also be such a
        table, or a dict of axes by name, and results on a grid are such tables. With ``coords``, a dict of axes by name, the result is an
        xarray ``Dataset`` of ``mean`` and, with return_std, ``std``; absent axes are taken from ``fit``.

        ``derivative`` predicts the derivative along an axis, given by number or name, or as (axis, order) with order 1 or 2, per unit of
        the axis. The axis must be (n,), on the host, and its covariance function one of qf.kron and smooth enough.

        return_std="samples" computes the standard deviation from ``samples`` posterior samples, with a relative error of
        sqrt(1 / (2 samples)). Use it if there are too many missing cells for a Cholesky factor.
        """
        fit = self._fitted("predict")
        if coords is not None:
            if X is not None:
                raise ValueError("GridGP.predict: got both X and coords, expected only one")
            table = fit.coordinates(coords, "GridGP.predict")
            predicted: Any = self.predict(table, return_std, derivative=derivative, samples=samples, rng=rng)
            return dataset(predicted if return_std else (predicted,))
        model = fit.model
        if not isinstance(return_std, (bool, np.bool_, str)):
            raise TypeError(
                f"GridGP.predict: return_std is {_arrays.describe(return_std)}; pass axes as one list: predict([{', '.join(fit.names)}])"
            )
        if return_std not in (True, False, "samples"):
            raise ValueError(f"GridGP.predict: return_std is {return_std!r}, expected True, False or 'samples'")
        X = fit.query(X, "GridGP.predict")
        by = None if derivative is None else fit.derivative(derivative, "GridGP.predict")
        if by is not None and return_std == "samples":
            raise ValueError("GridGP.predict: samples of derivatives are not available; expected return_std=True or False")
        new, points, shape = fit.points(X, "GridGP.predict", by)
        on_grid = isinstance(points, GridPoints)

        def as_input(values: Any) -> Any:
            return fit.as_input(values, X, on_grid)

        latent = points.product(points.matrices, fit.how.kernel)(fit.alpha)
        mean = latent.reshape(shape) + fit.mean_at(new, on_grid, "GridGP.predict", by)
        if not return_std:
            return as_input(mean)
        if return_std == "samples":
            count = _arguments.integer(samples, "GridGP.predict", "samples", 2)
            blocks = _samples(fit, new, points, count, rng, max(fit.how.tol, _SAMPLES_TOL))
            squares = sum(((block - latent) ** 2).sum(0) for block in blocks)
            return as_input(mean), as_input(((squares / count) ** 0.5).reshape(shape))
        diagonals = [k.diagonal(x) for k, x in zip(model.kernels, new)]
        if by is not None:
            diagonals[by[0]] = np.full(len(new[by[0]]), by[1].variances[by[2] - 1])
        prior = outer(diagonals) if on_grid else functools.reduce(lambda a, b: a * b, diagonals)
        var = model.variance * prior - fit.covariance.explained(points)[0] + fit.variance_of_mean(new, points, by)
        return as_input(mean), as_input((clamped(namespace(var), var) ** 0.5).reshape(shape))

    def score(self, X: Any, Y: Any = None, mask: Any = None) -> float:
        """1 - (sum of squared errors of the mean at X, as in ``predict``) / (that of the mean of Y), over observed cells.

        These are the cells that are not NaN and where ``mask``, if given, is True. As in scikit-learn's ``r2_score``, a constant Y scores 1
        if all predictions equal it, else 0. Fewer than two values score NaN, with a warning. A table with labels replaces both X and Y.
        """
        label = "GridGP.score"
        if Y is None:
            X, Y, _ = unlabelled(self._fitted("score").ordered(X), label)
        predicted = self.predict(X)
        mean = np.asarray(predicted) if _arrays.kind(predicted) is None else _arrays.to_host(predicted)
        values = _arguments.host_array(Y, label, "y", device="copy", convert=True)
        observed = None if mask is None else _arrays.to_host(mask_of(mask, label))
        if observed is not None and observed.shape != mean.shape:
            raise ValueError(f"{label}: mask has shape {observed.shape}, expected {mean.shape}")
        if np.isnan(values).any() and values.shape == mean.shape:
            observed = ~np.isnan(values) & (True if observed is None else observed)
        return determination(values, mean, label, observed)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True  # ``fit`` takes axes instead of a matrix of samples
        tags.input_tags.two_d_array = False
        return tags

    @_arguments.keywords("GridGP.sample", **dict.fromkeys(("n_samples", "num_samples"), "use size"), random_state="use rng", seed="use rng")
    def sample(self, X: Any = None, size: int = 1, rng: Rng = None) -> Real:
        """Samples of the posterior at X as in ``predict``: (size, m_1, ..., m_d), or (size, P), drawn jointly for the P points.

        After a ``fit`` to a DataArray, samples on a grid are a DataArray with a first dimension ``sample``.
        """
        if _arguments.is_number(X):
            raise TypeError(f"GridGP.sample: X is {X}, expected axes or points; pass the number of samples as size={X}")
        fit, label = self._fitted("sample"), "GridGP.sample"
        count = _arguments.integer(size, label, "size", 0)
        X = fit.query(X, label)
        new, points, shape = fit.points(X, label)
        samples = joined(_samples(fit, new, points, count, rng, fit.how.tol), count).reshape(count, *shape)
        on_grid = isinstance(points, GridPoints)
        samples += fit.mean_at(new, on_grid, label)  # in place, because samples may fill the memory
        return fit.as_input(samples, X, on_grid)

    def _fitted(self, method: str) -> Fit:
        fit: Fit | None = vars(self).get("_fit")
        if fit is None:
            raise not_fitted(f"GridGP.{method}: this model is not fitted; call fit first")
        return fit


def _samples(fit: Fit, new: Sequence[np.ndarray], points: GridPoints | ScatteredPoints, count: int, rng: Any, tol: float) -> Iterator[Any]:
    """``count`` posterior samples without the mean function, in blocks (b, points)."""
    model, data, generator = fit.model, fit.data, _arguments.generator(rng, "GridGP.sample")
    of_mean = fit.samples_of_mean(new, points, count, generator)
    if isinstance(points, ScatteredPoints):
        blocks = iter([_scattered_samples(fit, new, points, count, generator)])
    else:
        prior = [k(x) for k, x in zip(model.kernels, new)]
        prior[0] = model.variance * prior[0]
        covariance, y = fit.covariance, data.without(fit.kriging.mean)
        sampler = PosteriorSampler(covariance, covariance.factors, points.matrices, y, data.mask, prior, tol)
        blocks = sampler.blocks(count, generator)
    end = 0
    for block in blocks:
        begin, end = end, end + len(block)
        yield block if of_mean is None else block + of_mean[0][begin:end] @ of_mean[1]


def _scattered_samples(fit: Fit, new: Sequence[np.ndarray], points: ScatteredPoints, count: int, rng: np.random.Generator) -> np.ndarray:
    model, data = fit.model, fit.data
    xp = namespace(data.y)
    cross = points.covariances(0, points.size)
    prior = model.variance * functools.reduce(lambda a, b: a * b, [k(x) for k, x in zip(model.kernels, new)])
    seen = cross if data.mask is None else cross * data.mask
    covariance = prior - cross @ fit.covariance.solved(seen, fit.how.tol).T
    values, vectors = xp.linalg.eigh((covariance + covariance.T) / 2)
    normal = _arrays.to_device_of(rng.standard_normal((count, points.size)), data.y)
    return cross @ fit.alpha + (normal * clamped(xp, values) ** 0.5) @ vectors.T
