"""``GPHM``: parameters, training and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from .... import _arguments, _arrays
from ...._bind import check_location
from ...._progress import reporter
from ...._typing import Backend
from ...pde import PDE, on_grid
from ...product.dense import doubled, namespace
from ..blas import one_thread
from ..estimator import Estimator, is_list_of_axes, not_fitted
from . import component as _component
from .accuracy import RESOLVED, estimated, highest, warn_of_ends, warn_of_lost
from .axis import Covariance, Points, is_uniform
from .inverse import Inverse
from .loss import Params
from .optimizers import OPTIMIZERS
from .projection import norm
from .state import Learnt, State, entry, fitting, flat, units_of
from .units import HIGHEST, Units

Array = Any
_TRUTH_POINTS = 300  # per axis, for the comparison with a callable truth
_KEEPING_THE_STATE = {"learning_rate", "optimizer"}  # parameters that may change during training
_SETTLING = 50  # a residual that falls by less than a fifth in this many steps has settled


class GPHM(Estimator):
    """Solves equations with many scales by Gaussian processes that learn the scales (GP-HM).

    The solution on the grid, U, has a spectral mixture covariance K_k along every axis. U, the mixtures and two precisions are learnt
    together from a loss of the equation, the boundary values and the prior (5).

    Parameters
    ----------
    pde : Poisson, Helmholtz, Heat or another equation of ``qf.kron.pde``, or your own ``PDE``
    axes : list of (N_k,), or one of them
        Points of every axis, increasing or decreasing, at least 3; float32 or float64, on the host or a device. Uniform axes are fastest.
    kind, components : "student_t" or "gaussian", int
        The mixture, as in ``spectral_mixture``, and its size Q.
    freq_scale : float or None
        Initial frequencies are equally spaced from 0 to this, in cycles per unit of length. It should exceed the frequencies of the
        solution and be less than (N - 1) / (2 length), the highest that the grid resolves. None is 0.9 of that, axis by axis.
    boundary_weight : float
        Weight of the boundary in Adam's loss.
    jitter : float or None
        Added to the diagonals of K_k, relative to the size of u. None is 1e-6 for Adam, as published, and 1e-12 for the projection.
    learning_rate : float or None
        None is 0.01 for Adam, as published, and 0.1 / (1 + steps / 100) for the projection.
    optimizer : "projection" or "adam"
        The projection eliminates U (13)-(15) and optimises only the hyperparameters, in about a hundred steps; the result is the solution
        with the smallest residual of the equation. "adam" optimises all parameters, as published, in 10^4 to 10^6 steps.
    backend, num_threads
        As in ``help(qf.conventions)``, for the covariance functions; everything else uses NumPy and SciPy.

    Attributes
    ----------
    params : dict
        U of the grid's shape, log_tau and log_v, (), and for axis k log_weights_k, log_scales_k, freqs_k, (Q,).
    held_params : dict or None
        Parameters of the first component after ``add_smooth_component``.
    history_ : dict of lists
        "loss" before each step; with a truth in ``fit``, "error" after the steps "error_step".

    Raises
    ------
    TypeError, ValueError
        Unsupported dtypes or devices, arguments out of range, incompatible shapes, NaN or infinity in axes, source or boundary.
    numpy.linalg.LinAlgError, FloatingPointError
        A covariance that is not positive definite; a loss that is not finite. The call then does not change the solver.

    Notes
    -----
    A RuntimeWarning reports that over half of the energy of a source function has frequencies above (N - 1) / (2 length), or that the
    solution probably has frequencies above ``freq_scale``. Results do not depend on the units of length, time and u. Axes, source and
    boundary are copied. csrc/kron/gphm/README.md describes the method, its units and costs, and the use of devices.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.linspace(0, 1, 80)
    >>> pde = qf.kron.pde.Poisson(source=lambda x: -400 * np.sin(20 * x), boundary=lambda x: np.sin(20 * x))
    >>> gp = qf.kron.GPHM(pde, [x], freq_scale=10.0).fit(50)
    >>> t = np.linspace(0, 1, 301)
    >>> bool(np.abs(gp.predict([t]) - np.sin(20 * t)).max() < 1e-5)
    True
    """

    @_arguments.keywords(
        "GPHM",
        missing="pass an equation of kron.pde and its axes, e.g. GPHM(pde.Poisson(source=f, boundary=g), x)",
        **dict.fromkeys(("n_components", "Q", "num_mixtures"), "use components"),
        **dict.fromkeys(("lr", "rate"), "use learning_rate"),
        **dict.fromkeys(("grid", "domain", "x"), "use axes"),
    )
    def __init__(
        self,
        pde: PDE,
        axes: Any,
        *,
        kind: str = "student_t",
        components: int = 30,
        freq_scale: float | None = None,
        boundary_weight: float = 200.0,
        jitter: float | None = None,
        learning_rate: float | None = None,
        optimizer: str = "projection",
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.pde, self.axes, self.kind, self.components, self.freq_scale = pde, axes, kind, components, freq_scale
        self.boundary_weight, self.jitter, self.learning_rate, self.optimizer = boundary_weight, jitter, learning_rate, optimizer
        self.backend, self.num_threads = backend, num_threads
        self._begin()

    def _begin(self, pde: PDE | None = None, units: Units | None = None) -> None:
        """Sets an initial state, and copies axes and equation; ``pde`` is the equation on the grid, if known."""
        label = "GPHM"
        if not isinstance(self.pde, PDE):
            raise TypeError(f"{label}: pde is {self.pde!r}, expected Poisson(...) or another equation of qf.kron.pde")
        axes = _axes(self.axes, label)
        own = self.pde.copied()
        grid_pde = (pde or own).on([doubled(x.array) for x in axes], label)
        if pde is None and all(x.array is x.host for x in axes):
            warn_of_lost([x.host for x in axes], own)
        _arguments.choice(self.kind, label, "kind", ("student_t", "gaussian"))
        count = _arguments.integer(self.components, label, "components", 1)
        scale = np.inf if self.freq_scale is None else _arguments.number(self.freq_scale, label, "freq_scale", positive=True)
        weight = _arguments.number(self.boundary_weight, label, "boundary_weight", positive=True)
        self._check_training(label)
        jitter = OPTIMIZERS[self.optimizer].jitter if self.jitter is None else _arguments.number(self.jitter, label, "jitter")
        covariance = Covariance(self.kind, (), jitter, {"backend": self.backend, "num_threads": self.num_threads})
        if units is None:
            resolved = RESOLVED if self.freq_scale is None or self.optimizer == "projection" else np.inf
            units = Units.from_pde(grid_pde, axes, [min(scale, resolved * highest(x.host)) for x in axes])
        inner = [Points(units.axis(k, x.array), units.axis(k, x.host), x.uniform) for k, x in enumerate(axes)]
        component = _component.mixture(units.equation(grid_pde), inner, covariance, count, HIGHEST, weight)
        self.axes, self.pde, self._grid_pde = [x.array for x in axes], own, grid_pde
        self._state = State.begun(units, component)

    def _check_training(self, label: str) -> None:
        _arguments.choice(self.optimizer, label, "optimizer", tuple(OPTIMIZERS))
        if self.learning_rate is not None:
            _arguments.number(self.learning_rate, label, "learning_rate", positive=True)

    def __repr__(self) -> str:
        known = self._parameters()
        params = {n: v for n, v in self.get_params().items() if n not in ("pde", "axes") and v != known[n].default}
        grid = f"grid={tuple(self._grid_pde.source.shape)}"
        return f"GPHM({', '.join([repr(self.pde), grid, *(f'{n}={v!r}' for n, v in params.items())])})"

    def set_params(self, **params: Any) -> Self:
        """Sets parameters; returns self. learning_rate and optimizer apply to the next steps; any other restarts the training."""
        fresh = self._twin()
        super(GPHM, fresh).set_params(**params)
        if params.keys() <= _KEEPING_THE_STATE:
            fresh._check_training("GPHM.set_params")
        else:
            fresh._begin(None if params.keys() & {"pde", "axes"} else self._grid_pde)
        return self._become(fresh)

    def _twin(self) -> Self:
        """A solver with the same state."""
        fresh = object.__new__(type(self))
        fresh.__dict__.update(self.__dict__)
        return fresh

    def _become(self, other: Self) -> Self:
        self.__dict__.update(other.__dict__)
        return self

    # ---- parameters and loss

    @property
    def params(self) -> Params:
        return self._state.outer(-1)

    @property
    def held_params(self) -> Params | None:
        return self._state.outer(0) if self._state.earlier else None

    @property
    def history_(self) -> dict[str, list[Any]]:
        return {name: list(values) for name, values in self._state.history.items()}

    def value_and_grad(self, params: Mapping[str, Any] | None = None) -> tuple[float, Params]:
        """The loss (5) and its gradient (7), by the names of ``params``; absent parameters keep their current values."""
        label = "GPHM.value_and_grad"
        component, units, now = self._state.components[-1], self._state.units, self._state.now
        if params is not None:
            now |= units.inner({name: _checked(value, now, label, name) for name, value in params.items()}, component.kind)
        value, gradient = component.loss(now)
        return value + OPTIMIZERS["adam"].offset(component, units), units.gradient(gradient, component.kind)

    # ---- training

    @_arguments.keywords("GPHM.fit", **dict.fromkeys(("epochs", "iterations", "n_steps", "max_iter", "maxiter"), "use steps"))
    def fit(
        self,
        steps: int | None = None,
        *,
        progress: bool | Callable[[int, float], Any] | None = None,
        truth: Array | Callable[..., Any] | None = None,
        check_every: int = 1000,
    ) -> Self:
        """Takes ``steps`` more steps and returns self; another call continues.

        The default is 10000 steps of Adam, or 100 to 2000 steps of the projection, until the smallest residual falls by less than a
        fifth in 50 steps.

        ``progress`` is called as progress(steps so far, loss before the last one); True prints one line per second. ``truth`` is the
        solution: an array of the grid's shape, or a callable f(x) or f(x, y), compared at 300 points of every axis. Every ``check_every``
        steps and at the end ``history_`` records the relative L2 error against it, which training ignores. A call that fails or is
        interrupted changes nothing; for intermediate results call ``fit`` several times with fewer steps. A step uses one thread of
        NumPy's and SciPy's OpenBLAS, for axes of up to 2000 points.
        """
        label = "GPHM.fit"
        state, optimizer = self._state, OPTIMIZERS[self.optimizer]
        component, learnt, history = state.components[-1], state.learnt, self.history_
        count = optimizer.max_steps if steps is None else _arguments.integer(steps, label, "steps", 0)
        rate = optimizer.rate if self.learning_rate is None else float(self.learning_rate)
        every = _arguments.integer(check_every, label, "check_every", 1)
        tell = reporter(progress, label, "GPHM: step {}, loss {:.6g}".format)
        error = None if truth is None else self._error_against(truth, label)
        offset, last = optimizer.offset(component, state.units), learnt.steps + count
        rows = max(map(len, self.axes))
        if learnt.optimizer != self.optimizer and count:  # the first step of this optimizer
            with one_thread(rows):
                learnt = Learnt.at(optimizer.prepare(component, learnt.chosen), learnt.steps)._replace(optimizer=self.optimizer)
        residuals = [learnt.residual]
        while learnt.steps < last and not (steps is None and _has_settled(residuals, optimizer.min_steps)):
            with one_thread(rows):
                step = optimizer.step(component, learnt.x, learnt.moments, rate)
            learnt = learnt.after(step)
            history["loss"].append(step.loss + offset)
            residuals.append(learnt.residual)
            if error is not None and learnt.steps % every == 0 and learnt.steps < last:
                _note(history, learnt.steps, error(state._replace(learnt=learnt)))
            if tell is not None:
                tell(learnt.steps, step.loss + offset)
        done = state._replace(learnt=learnt, history=history)
        if error is not None:
            _note(history, learnt.steps, error(done))
        if self._state is not state:
            raise RuntimeError(
                f"{label}: progress, truth or another thread changed the solver during the call; change it only between calls"
            )
        self._state = done
        if not done.earlier:
            warn_of_ends(done, self.axes, optimizer.min_steps)
        return self

    def add_smooth_component(self) -> Self:
        """Adds a second process with Matern-5/2 covariance. The solution so far stays fixed, and ``fit`` trains only the second process.

        Use it for solutions with a smooth part that the mixture learns slowly. The initial length-scales are the lengths of the axes.
        Predictions are the sum. Returns self.
        """
        state = self._state
        if state.earlier:
            raise ValueError("GPHM.add_smooth_component: the solver already has a smooth component")
        self._state = state.under(_component.smooth(state.components[0], state.now, self._form(state)))
        return self

    def _error_against(self, truth: Any, label: str) -> Callable[[State], float]:
        axes = [doubled(x) for x in self.axes]
        if callable(truth):
            host = [_arrays.to_host(x) for x in axes]
            axes = [_arrays.to_device_of(np.linspace(float(x[0]), float(x[-1]), _TRUTH_POINTS), axes[0]) for x in host]
        values = on_grid(truth, axes, label, "truth")
        _arguments.finite(values, label, "truth")
        unit = self._state.units.size  # avoids overflow of squares
        size = norm(values / unit)
        if size == 0:
            raise ValueError(f"{label}: truth is 0 everywhere, so relative errors are undefined")
        if callable(truth):
            return lambda state: norm((state.predicted(axes, self._form(state)) - values) / unit) / size
        return lambda state: norm((sum(state.outer(i)["U"] for i in range(len(state.components))) - values) / unit) / size

    def report(self) -> dict[str, Any]:
        """A dict with "steps" and "loss", the loss before the last step; for the projection, "residual" (root mean square, in
        the source's units); with a truth, "error" (the final one), "best_error" and "best_step".

        Quote the final error: without the truth, the best step would be unknown.
        """
        state = self._state
        losses, errors, steps = (state.history[name] for name in ("loss", "error", "error_step"))
        report: dict[str, Any] = {"steps": state.learnt.steps, "loss": losses[-1] if losses else None}
        if state.learnt.residual < np.inf:
            report["residual"] = state.learnt.residual * state.units.size * state.units.rate
        if errors:
            best = int(np.argmin(errors))
            report |= {"error": errors[-1], "best_error": errors[best], "best_step": steps[best]}
        return report

    # ---- prediction

    @_arguments.keywords("GPHM.predict", **dict.fromkeys(("return_std", "return_cov"), "the solver has no error bars"))
    def predict(self, axes: Any = None) -> Array:
        """The solution on the grid of other axes, a list of (M_k,) or one of them: an array (M_1, ...) (12).

        A number instead of an axis is one point, and results then lack that axis. The default is the solver's own grid. Outside the grid
        the prediction tends to 0.
        """
        points, of_result = self._query(axes, "GPHM.predict")
        return self._state.predicted(points, self._form(self._state))[of_result]

    def error_estimate(self, axes: Any = None) -> np.ndarray:
        """An estimate of abs(u - predict(axes)), an array of the same shape on the host.

        The error solves the equation, linearised at the solution, with the residual as its source. It is computed by finite differences on
        twice as many points, or on the solver's points if the source or the boundary is an array. The largest difference from the
        boundary values is added. If the points resolve the solution, the largest estimate is within a factor of three of the largest
        error, or of five for ``Advection``. Takes about as long as ten steps.
        """
        points, of_result = self._query(axes, "GPHM.error_estimate")
        points = [_arrays.to_host(x) for x in points]
        return estimated(self._state, self.pde, self._grid_pde, self.axes, self._form(self._state), points)[of_result]

    def _query(self, axes: Any, label: str) -> tuple[list[Array], tuple[int | slice, ...]]:
        """Points per axis, and the index that removes the axes of single numbers from results."""
        own = self.axes
        requested = own if axes is None else axes if is_list_of_axes(axes) or (isinstance(axes, (list, tuple)) and len(own) > 1) else [axes]
        if len(requested) != len(own):
            raise ValueError(f"{label}: got {len(requested)} axes, expected {len(own)}: results are on a grid; pass a list, [x, y]")
        numbers = [_arguments.is_number(x) for x in requested]
        requested = [_arrays.to_device_of(np.array([float(x)]), own[0]) if is_one else x for x, is_one in zip(requested, numbers)]
        points = [doubled(_points(x, label, k, "the solver's axes[0]", own[0])) for k, x in enumerate(requested)]
        if not self._state.learnt.steps:
            raise not_fitted(f"{label}: the solver has not taken a step; call fit first")
        return points, tuple(0 if is_one else slice(None) for is_one in numbers)

    def _form(self, state: State) -> type[Inverse]:
        """The ``Inverse`` class of the state's optimizer, or of the solver's if the state has none yet."""
        return OPTIMIZERS[state.learnt.optimizer or self.optimizer].form

    # ---- states

    def state_dict(self) -> dict[str, np.ndarray]:
        """The state of training as arrays: ``np.savez(file, **gp.state_dict())``. Parameters are in the solver's units."""
        return {"kind": np.array(self.kind)} | self._state.saved()

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Continue from ``state_dict()``, or ``np.load(file)``, of a GPHM with the same arguments, bit for bit as if never interrupted."""
        label = "GPHM.load_state_dict"
        if (kind := str(entry(state, "kind", label))) != self.kind:
            raise ValueError(f"{label}: the state has kind {kind!r}, expected {self.kind!r}")
        fresh = self._twin()
        fresh._begin(self._grid_pde, units_of(state, len(self.axes), label))
        begun = fresh._state
        if "1.U" in state:
            first = begun.components[0]
            fresh._state = begun._replace(learnt=begun.learnt._replace(x=(x := flat(first, state, "0", label)), best=x))
            begun = fresh.add_smooth_component()._state
        fresh._state = begun.loaded(state, label)
        return self._become(fresh)

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickles, with values on the grid instead of functions, which may not be picklable."""
        return {"params": self.get_params() | {"pde": self._grid_pde}, "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        for name, value in saved["params"].items():
            setattr(self, name, value)
        self._begin()
        self.load_state_dict(saved["state"])


def _has_settled(residuals: Sequence[float], min_steps: int) -> bool:
    """Whether the smallest residual has stopped falling, after ``min_steps`` or more; Adam has no residual."""
    return len(residuals) > min_steps and math.isfinite(residuals[-1]) and residuals[-1] > 0.8 * residuals[-1 - _SETTLING]


def _note(history: dict[str, list[Any]], steps: int, error: float) -> None:
    history["error_step"].append(steps)
    history["error"].append(error)


def _checked(value: Any, now: Params, label: str, name: str) -> Array:
    """Check one parameter and return it on the device of ``now``."""
    if name not in now:
        raise ValueError(f"{label}: unknown parameter {name!r}, expected {', '.join(now)}")
    if _arguments.is_number(value):
        value = _arrays.to_device_of(np.array(float(value)), now[name])
    array = fitting(value, now, label, name)
    check_location(label, name, array, "axes[0]", now["U"])
    return array


def _points(x: Any, label: str, k: int, other: str, first: Array | None) -> Array:
    """Checked points in their own precision, on the device of the first axis."""
    numbers = _arguments.host_array(x, label, f"axes[{k}]", device="keep", convert=True)
    if numbers.ndim != 1:
        raise ValueError(f"{label}: axes[{k}] has shape {tuple(numbers.shape)}, expected (n,)")
    _arguments.finite(numbers, label, f"axes[{k}]")
    if first is not None:
        check_location(label, f"axes[{k}]", numbers, other, first)
    return numbers


def _axes(axes: Any, label: str) -> list[Points]:
    """Checked axes in their own precision, which decides whether they are uniform."""
    checked: list[Points] = []
    for k, x in enumerate(_arguments.sequence(axes if is_list_of_axes(axes) else [axes], f"{label}: axes")):
        array = _points(x, label, k, "axes[0]", checked[0].array if checked else None)
        host = np.array(_arrays.to_host(array))
        if len(host) < 3:
            raise ValueError(f"{label}: axes[{k}] has {len(host)} points, expected at least 3: two ends and an interior point")
        _arguments.finite(host, label, f"axes[{k}]")
        steps = np.diff(host)
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(f"{label}: axes[{k}] is neither increasing nor decreasing; sort its points")
        own = host if array.__class__ is np.ndarray else namespace(array).asarray(array, copy=True)
        checked.append(Points(own, host, is_uniform(host)))
    return checked
