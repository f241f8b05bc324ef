"""Weights of a grid spectral mixture product kernel: ``SlimKL``. Equation numbers refer to csrc/kron/README.md, "Mixture weights"."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from ... import _arguments, _arrays
from ..._array_tools import cholesky, chunk_slices
from ..._bind import check_location
from ..._warnings import warn
from ..mixture import gsmp_kernel
from ..product.dense import doubled, in_form_of, namespace, owned
from ..product.eigen import clamped
from .blas import one_thread
from .estimator import Estimator, determination, not_fitted
from .gridmean import average, mean_square
from .slimkl_consensus import agree, descend
from .tables import columns, kind, series_in, stacked

Array = Any
_FREQUENCIES, _NOISE = 500, 0.1
_WIDTH = 0.002  # width of components, relative to the largest frequency


class SlimKL(Estimator):
    """Gaussian process regression that learns its kernel, as weights of a grid of spectral components.

    k(x, x') = sum_i theta_i prod_p exp(-2 pi^2 std_ip^2 t_p^2) cos(2 pi means_ip t_p), t = x - x' (1). ``fit`` minimises
    y^T C^-1 y + log det C over theta >= 0 (2), with C the covariance of the data including the noise.

    Parameters
    ----------
    means : None, (A, P) or (A,), default None
        Frequencies of the components, in cycles per unit of x; (A,): the same in every dimension. None: 500 components, whose frequencies
        increase in all dimensions together, from 0 to the highest that the distinct coordinates resolve; ``np.linspace(0, 0.5, 500)`` for
        points 1 apart.
    std : None, float, (A,) or (A, P)
        Widths of the components, at least 0. None: 0.002 times the largest frequency of each dimension, 0.001 for frequencies up to 0.5.
    noise : None or float, default None
        Variance of the noise, above 0, which is not learnt. None: a tenth of the mean square of y minus its mean.
    mean : "constant", "zero" or float, default "constant"
        Subtracted from y in ``fit`` and added to predictions; "constant" is the average of y.
    tol : float
        ``fit`` stops if the objective changes by less than tol times the number of points. Weights that matter less become exactly 0
        without raising the objective (9); these components then cost nothing.
    max_iter : int
        Largest number of iterations, each a Cholesky factorisation per agent; a RuntimeWarning reports that it was reached.
    agents : int
        Number of workers to split the data among, in order. The objective is the sum of theirs, and they agree on weights.
    quantization : float
        With several agents: the relative precision of the weights that they exchange, at most 0.5. Weights are rounded at random, without
        bias, to log2(1 / quantization) bits and an exponent, never to 0. 0 does not round.
    consensus : "admm" or "primal"
        How agents agree. "admm" has multipliers for each agent. "primal" has none: all agents get the same weights and growing penalties,
        and keep no state, but they reach a minimum only in the limit (10).
    executor : concurrent.futures.Executor, optional
        Runs the agents' steps, for data on the host; a Dask client, or its ``get_executor()``, works, too. Default: one at a time.
    rng
        For ``quantization``, as in ``help(qf.conventions)``.

    Attributes
    ----------
    weights_ : (A,)
        theta, a NumPy array, as is ``objective_``.
    objective_ : (iterations,)
        (2) after each iteration; with several agents the sum of theirs.
    n_iter_ : int

    Notes
    -----
    With one agent, theta_i <- theta_i sqrt(q_i / t_i) (3), which never increases the objective. An iteration costs 3 n^2 A 2^P + n^3 flops
    per agent, less if components share frequencies; memory is a few n^2 numbers (8). Results do not depend on the executor or on the units
    of X and y. A ``fit`` that fails does not change the model. csrc/kron/README.md, "Mixture weights", describes the algorithm, the
    messages (a process receives an agent's data once), and what runs on a device. Objective and consensus: Y. Lin et al., arXiv 2309.08201.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.arange(60.0)
    >>> y = np.sin(2 * np.pi * 0.1 * x)
    >>> model = qf.kron.SlimKL(means=np.linspace(0, 0.5, 51), noise=0.01).fit(x, y)
    >>> int(model.weights_.argmax())  # the frequency 0.1
    10
    """

    weights_: NDArray[np.float64]
    objective_: NDArray[np.float64]
    n_iter_: int
    n_features_in_: int
    _seen: tuple[Array, Array, np.ndarray, np.ndarray, float]
    _mean: Any
    _kinds: list[str]
    _like: Array
    _series: tuple[Any, Any] | None  # type and index

    @_arguments.keywords(
        "SlimKL",
        **dict.fromkeys(("random_state", "seed"), "use rng"),
        **dict.fromkeys(("freqs", "frequencies"), "use means, in cycles per unit of X"),
        **dict.fromkeys(("n_components", "components", "max_freq", "freq_scale"), "use means=np.linspace(0, highest, number)"),
        **dict.fromkeys(("alpha", "noise_level", "noise_variance"), "use noise, a variance"),
    )
    def __init__(
        self,
        *,
        means: Any = None,
        std: Any = None,
        noise: float | None = None,
        mean: Literal["constant", "zero"] | float = "constant",
        tol: float = 1e-3,
        max_iter: int = 100,
        agents: int = 1,
        quantization: float = 0.0,
        consensus: Literal["admm", "primal"] = "admm",
        executor: Any = None,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.means, self.std, self.noise, self.mean, self.tol, self.max_iter = means, std, noise, mean, tol, max_iter
        self.agents, self.quantization, self.consensus = agents, quantization, consensus
        self.executor, self.rng = executor, rng

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"executor": None}

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the weights from X (n, P), or (n,) for P = 1, and y (n,), on one device; returns self.

        X may be a list, a DataFrame or an index. A pandas Series is both X, its index, and y; ``predict`` of an index then returns a
        Series. Dates count in days since 1970, and durations in days, so frequencies are in cycles per day.
        """
        label = "SlimKL.fit"
        setting = self._setting(label)
        series = series_in(X, label) if y is None else None
        X, y = (X, y) if series is None else (series.index, series)
        (x, kinds, like), targets = _points(X, label, 1), _numbers(y, label, "y")
        check_location(label, "y", targets, "X", x)
        if tuple(targets.shape) != (len(x),):
            raise ValueError(f"{label}: y has shape {tuple(targets.shape)}, expected ({len(x)},), one value per point of X")
        _arguments.finite(targets, label, "y")
        if self.executor is not None and not isinstance(x, np.ndarray):
            where = f"X is on {_arrays.device(x)}, where agents run sequentially"
            raise NotImplementedError(f"{label}: executor cannot be used, because {where}; omit it, or move X and y to the host")
        if len(x) < setting.agents:
            raise ValueError(f"{label}: agents is {setting.agents}, expected at most {len(x)}, the number of points")
        means, std = _components(self.means, self.std, x, label)
        targets = doubled(targets)
        level = self._level(targets, label)
        targets = targets - level
        if setting.noise is None:
            setting = setting._replace(noise=_NOISE * mean_square(_arrays.to_host(targets)) or 1.0)
        parts = [slice(int(i[0]), int(i[-1]) + 1) for i in np.array_split(np.arange(len(x)), setting.agents)]
        data = [(x[part, :], targets[part], means, std, setting.noise) for part in parts]
        with one_thread(max(len(d[1]) for d in data)):
            if setting.agents == 1:
                solution = descend(data[0], setting.tol, setting.max_iter)
            else:
                options = setting.tol, setting.max_iter, setting.quantization, self.executor, setting.seed
                solution = agree(data, *options, dual=self.consensus == "admm")
        if not solution.met:
            warn(f"{label}: stopped after max_iter = {setting.max_iter} iterations, before reaching tol")
        vars(self).update(  # in one step
            weights_=solution.weights,
            objective_=np.array(solution.objective),
            n_iter_=len(solution.objective),
            n_features_in_=x.shape[1],
            _seen=(x, targets, means, std, setting.noise),
            _mean=level,
            _kinds=kinds,
            _like=owned(like[:0]),
            _series=None if series is None else (type(series), series.index),
        )
        return self

    @overload
    def predict(self, X: Any = None, return_std: Literal[False] = False) -> NDArray[Any]: ...
    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(self, X: Any = None, *, return_std: Literal[True]) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(self, X: Any = None, return_std: bool = False) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...
    def predict(self, X: Any = None, return_std: bool = False) -> Any:
        """Mean (m,) of the latent function at X (m, P), or (m,) for P = 1; with ``return_std``, its standard deviation, too.

        X defaults to the points of ``fit``. If the data of ``fit`` are on a device, X and the results are, too, and results are NaN if
        a covariance is not positive definite.
        """
        label = "SlimKL.predict"
        if not hasattr(self, "weights_"):
            raise not_fitted(f"{label}: the model has no weights yet; call fit first")
        x, (table, index) = self._seen[0], self._series or (None, None)
        if X is None and index is not None:
            X = index
        at, _, like = (x, None, self._like) if X is None else _points(X, label, kinds=self._kinds)
        check_location(label, "X", at, "the X of fit", x)
        moments = _predicted(at, self._seen, self.weights_, return_std)
        moments[0] = moments[0] + self._mean
        results = [in_form_of(like, a) for a in (moments[0], *(variance**0.5 for variance in moments[1:]))]
        if table is not None and hasattr(X, "get_level_values"):
            results = [table(a, index=X) for a in results]
        return tuple(results) if return_std else results[0]

    def score(self, X: Any, y: Any = None) -> float:
        """1 - (sum of squared errors of the mean at X) / (that of the mean of y), which scikit-learn's searches maximise."""
        label = "SlimKL.score"
        if y is None:
            y = series_in(X, label)
            X = y.index
        mean = _arrays.to_host(_numbers(self.predict(X), label, "X")).astype(np.float64)
        return determination(_arrays.to_host(_numbers(y, label, "y")), mean, label)

    def _level(self, y: Array, label: str) -> Any:
        """The mean: a number, or a 0-d array on the device of y."""
        if _arguments.is_number(self.mean):
            return _arguments.number(self.mean, label, "mean", negative=True)
        if _arguments.choice(self.mean, label, "mean", ("constant", "zero")) == "zero":
            return 0.0
        return average(y) if isinstance(y, np.ndarray) else namespace(y).mean(y)

    def _precision(self, label: str) -> float:
        precision = _arguments.number(self.quantization, label, "quantization")
        if precision > 0.5:
            raise ValueError(f"{label}: quantization is {precision}, expected a relative precision of at most 0.5")
        return precision

    def _setting(self, label: str) -> _Setting:
        if self.executor is not None and not hasattr(self.executor, "submit"):
            raise TypeError(f"{label}: executor is {type(self.executor).__name__}, expected a concurrent.futures.Executor")
        if self.consensus not in ("admm", "primal"):
            raise ValueError(f"{label}: consensus is {self.consensus!r}, expected 'admm' or 'primal'")
        return _Setting(
            None if self.noise is None else _arguments.number(self.noise, label, "noise", positive=True),
            _arguments.number(self.tol, label, "tol"),
            _arguments.integer(self.max_iter, label, "max_iter", 1),
            _arguments.integer(self.agents, label, "agents", 1),
            self._precision(label),
            int(_arguments.generator(self.rng, label).integers(2**63)),
        )


class _Setting(NamedTuple):
    noise: float | None
    tol: float
    max_iter: int
    agents: int
    quantization: float
    seed: int


def _numbers(value: Any, label: str, name: str) -> Array:
    """Convert an array, or an array-like, to a real array."""
    return _arguments.host_array(value, label, name, device="keep", convert=True)


def _points(X: Any, label: str, min_points: int = 0, kinds: Sequence[str] = ()) -> tuple[Array, list[str], Array]:
    """A copy (n, P) in double precision; the kinds of its columns, checked against ``kinds``; an array of the results' kind and dtype."""
    parts = columns(X, label)
    if not parts or parts[0].ndim != 1 or len(parts[0]) < min_points:
        what = f"(n,) or (n, P){' with at least one point' if min_points else ''}"
        raise ValueError(f"{label}: X has shape {tuple(getattr(X, 'shape', np.shape(X)))}, expected {what}")
    if kinds and len(parts) != len(kinds):
        raise ValueError(f"{label}: X has {len(parts)} coordinates per point, expected {len(kinds)}, as in fit")
    x = stacked(parts, label, kinds)
    is_real = _arrays.kind(X) is not None and getattr(X.dtype, "kind", "f") in "iuf"
    return x, list(map(kind, parts)), _arguments.points_like(X, label, "X") if is_real else x


def _components(means: Any, std: Any, x: Array, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and widths as (A, P), on the host."""
    P = x.shape[1]
    mu = _resolved(_arrays.to_host(x)) if means is None else _host_numbers(means, x, label, "means")
    if mu.ndim not in (1, 2) or mu.size == 0 or mu.shape[1:] not in ((), (P,)):
        raise ValueError(f"{label}: means has shape {mu.shape}, expected (A,) or (A, {P})")
    A = len(mu)
    if std is None:
        sd = np.broadcast_to(_WIDTH * np.abs(mu).max(axis=0), (A, P))
    else:
        sd = np.array(_arguments.number(std, label, "std")) if _arguments.is_number(std) else _host_numbers(std, x, label, "std")
    if sd.shape not in ((), (A,), (A, P)):
        raise ValueError(f"{label}: std has shape {sd.shape}, expected a number, ({A},) or ({A}, {P})")
    _arguments.finite(mu, label, "means")
    _arguments.finite(sd, label, "std")
    if sd.size and sd.min() < 0:
        raise ValueError(f"{label}: std contains {sd.min()}, expected nonnegative numbers")
    mu, sd = (np.broadcast_to(a[:, None] if a.ndim == 1 else a, (A, P)).astype(np.float64) for a in (mu, sd))
    return mu, sd


def _resolved(x: np.ndarray) -> np.ndarray:
    """Frequencies (A, P) from 0 to the highest frequency of every dimension."""
    highest = [(len(np.unique(c)) - 1) / (2 * l) if l > 0 else 0.0 for c, l in zip(x.T, np.ptp(x, axis=0))]
    return np.linspace(0, 1, _FREQUENCIES)[:, None] * highest


def _host_numbers(value: Any, x: Array, label: str, name: str) -> np.ndarray:
    """The numbers of an array on the host, or on the device of x."""
    numbers = _numbers(value, label, name)
    if not isinstance(numbers, np.ndarray):
        check_location(label, name, numbers, "X", x)
    return _arrays.to_host(numbers)


def _predicted(at: Array, seen: Sequence[Any], weights: np.ndarray, return_std: bool) -> list[Array]:
    """Mean and, if requested, variance at points (m, P). Not read back from a device: NaN if the covariance is not positive definite."""
    x, y, means, std, noise = seen
    xp, on = namespace(x), np.flatnonzero(weights)
    w, mu, sd = (_arrays.to_device_of(np.ascontiguousarray(a[on]), x) for a in (weights, means, std))
    n, kernel = x.shape[0], functools.partial(gsmp_kernel, weights=w, means=mu, std=sd)
    _, inverse = cholesky(xp, kernel(x, None) + noise * xp.eye(n, dtype=x.dtype, device=x.device))
    if isinstance(inverse, np.ndarray) and not np.isfinite(inverse).all():
        raise np.linalg.LinAlgError(
            f"SlimKL.predict: the covariance is not positive definite in float64; increase the noise, which is {noise}"
        )
    alpha = xp.matmul(inverse.T, xp.matmul(inverse, y))
    parts = []
    for rows in chunk_slices(at.shape[0], n, xp):
        cross = kernel(at[rows, :], x)
        moments = [xp.matmul(cross, alpha)]
        if return_std:  # negative values are rounding errors
            moments.append(clamped(xp, float(weights.sum()) - xp.sum(xp.matmul(cross, inverse.T) ** 2, axis=1)))
        parts.append(moments)
    return [xp.concat(list(column), axis=0) for column in zip(*parts)]
