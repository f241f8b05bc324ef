"""``GPHM``: parameters, training and prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ... import _arguments, _arrays
from ..._bind import check_beside
from ..._progress import reporter
from ..estimator import Estimator
from . import component as _component
from .axis import Covariance, Points
from .inverse import Inverse
from .loss import Params
from .optimizers import OPTIMIZERS, Moments, Step
from .pde import PDE, doubled, on_grid
from .projection import norm

Array = Any
_TRUTH_POINTS = 300  # of every axis, at which a callable truth is compared
_KEEPING_THE_STATE = {"learning_rate", "optimizer"}  # parameters that a solution in the making may change


class GPHM(Estimator):
    """Solves equations whose solutions have many scales, by Gaussian processes that learn them (GP-HM).

    The solution on the grid, U, has a spectral mixture covariance K_k along every axis; U, the mixtures and two precisions are learnt
    together from a loss of the equation, the boundary values and the prior (5).

    Parameters
    ----------
    pde : Poisson, AllenCahn or Advection
    axes : list of (N_k,)
        Points of every axis, increasing or decreasing, at least 3; float32 or float64. Uniform ones cost least. On a device too: see Notes.
    kind : "student_t" or "gaussian"
        The mixture, as in ``spectral_mixture``.
    components : int
        Of the mixture, Q.
    freq_scale : float
        Frequencies begin equally spaced from 0 to this, in cycles a unit of length. It should exceed those of the solution, and be less
        than (N - 1) / (2 length), which is what the grid resolves: above, solutions that are wrong between the points fit as well. The
        projection begins within 0.9 of that.
    boundary_weight : float
        Of the boundary's part of Adam's loss.
    jitter : float or None
        Added to the diagonals of K_k. None is 1e-6 for Adam, as published, and 1e-12 for the projection, whose errors grow about as its
        square root; which of them, is settled where training begins.
    learning_rate : float or None
        Of Adam's steps. None is 0.01, as published, and 0.1 for the projection, which divides it by 1 + steps / 100.
    optimizer : "projection" or "adam"
        The projection takes for U what the equation and the edges leave of the covariances' own functions, (13) to (15), and steps on the
        hyperparameters alone, some hundred times. Among its solutions it keeps the one with the least residual of the equation at all
        points, which needs no truth. Or Adam on all parameters, as published: for 10^4 to 10^6 steps. ``set_params`` may go on with the
        other one.
    backend, num_threads
        As in ``help(qf.conventions)``, of the covariance functions; NumPy's and SciPy's libraries do the rest.

    Attributes
    ----------
    params : dict
        U of the grid's shape, log_tau and log_v, (), and for axis k log_weights_k, log_scales_k, freqs_k, (Q,): copies of what ``fit``
        learns. The projection does without log_tau and log_v.
    held_params : dict or None
        Those of the first component after ``add_smooth_component``.
    history_ : dict of lists
        "loss" before each step, for the projection the prior's part alone; "error" after the steps "error_step", where a truth was given to
        ``fit``.

    Raises
    ------
    TypeError
        Other dtypes, arrays on other devices than the first axis.
    ValueError
        Arguments out of range, shapes that do not fit, NaN or infinity in axes, source or boundary.
    numpy.linalg.LinAlgError
        A covariance that is not positive definite at the parameters.
    FloatingPointError
        A loss that is not finite. After either error ``params`` are those where it happened: a ``state_dict()`` from before goes back.

    Notes
    -----
    A step of Adam costs a Cholesky factorisation and two solves an axis, and products with D, by halves 6 N^3 operations for N^2 unknowns,
    from N = 400 Fourier transforms instead; and 4 N Q evaluations of the kernel's lags; where the axis is not uniform 4 N^2 Q evaluations
    and 20 N^3 operations. With one axis N^3 / 3. A step of the projection takes an eigendecomposition an axis, 9 N^3, and 25 m^3 for the m
    functions that the kernel has (m^3 on one axis): three to four times as long as Adam's at N = 400 x 400, eight times at 400.

    Axes on a device, CUDA tensors or CuPy's arrays, are read once; source, boundary, ``truth`` and the points of predictions are then
    numbers, arrays there or functions of such, and ``params`` and predictions are arrays there. K and D are whole matrices, a step of Adam
    costs 20 N^3 operations an axis. Nobody looks at source and boundary: NaN shows in the loss, as does a covariance that is not positive
    definite, both by a FloatingPointError. A step of Adam waits once, for the loss. One of the projection reads every axis's eigenvalues,
    the hyperparameters, the loss with the residual, and on two axes Sylvester's equation, which the host solves; with a reaction
    the residual of every step of Newton's and an array of coordinates for every product of GMRES. ``state_dict`` holds NumPy arrays, so
    that a state goes from a device to the host, and back.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.linspace(0, 1, 80)
    >>> pde = qf.kron.Poisson(source=lambda x: -400 * np.sin(20 * x), boundary=lambda x: np.sin(20 * x))
    >>> gp = qf.kron.GPHM(pde, [x], freq_scale=10.0).fit(50)
    >>> t = np.linspace(0, 1, 301)
    >>> bool(np.abs(gp.predict([t]) - np.sin(20 * t)).max() < 1e-5)
    True
    """

    def __init__(
        self,
        pde: PDE,
        axes: Sequence[Any],
        *,
        kind: str = "student_t",
        components: int = 30,
        freq_scale: float = 20.0,
        boundary_weight: float = 200.0,
        jitter: float | None = None,
        learning_rate: float | None = None,
        optimizer: str = "projection",
        backend: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        self.pde, self.axes, self.kind, self.components, self.freq_scale = pde, axes, kind, components, freq_scale
        self.boundary_weight, self.jitter, self.learning_rate, self.optimizer = boundary_weight, jitter, learning_rate, optimizer
        self.backend, self.num_threads = backend, num_threads
        self._start()

    def _start(self) -> None:
        label = "GPHM"
        if not isinstance(self.pde, PDE):
            raise TypeError(f"{label}: pde is {self.pde!r}, expected Poisson(...), AllenCahn(...) or Advection(...)")
        axes = _axes(self.axes, label)
        self._grid_pde = self.pde.on([x.here for x in axes], label)
        _arguments.choice(self.kind, label, "kind", ("student_t", "gaussian"))
        count = _arguments.integer(self.components, label, "components", 1)
        scale = _arguments.number(self.freq_scale, label, "freq_scale", positive=True)
        weight = _arguments.number(self.boundary_weight, label, "boundary_weight", positive=True)
        self._check_training(label)
        optimizer = OPTIMIZERS[self.optimizer]
        jitter = optimizer.jitter if self.jitter is None else _arguments.number(self.jitter, label, "jitter")
        settings = {"backend": self.backend, "num_threads": self.num_threads}
        covariance = Covariance(self.kind, self._grid_pde.order, jitter, settings)
        self._components = [_component.mixture(self._grid_pde, axes, covariance, count, scale, weight, optimizer.resolved)]
        self._held: list[Params] = []
        self._learnt = _Learnt.at(self._components[-1].flat(self._components[-1].initial))
        self.history_: dict[str, list[Any]] = {"loss": [], "error_step": [], "error": []}

    def _check_training(self, label: str) -> None:
        _arguments.choice(self.optimizer, label, "optimizer", tuple(OPTIMIZERS))
        if self.learning_rate is not None:
            _arguments.number(self.learning_rate, label, "learning_rate", positive=True)

    def __repr__(self) -> str:
        known = self._parameters()
        given = {n: v for n, v in self.get_params().items() if n not in ("pde", "axes") and v != known[n].default}
        return (
            f"GPHM({', '.join([repr(self.pde), f'grid={tuple(self._grid_pde.source.shape)}', *(f'{n}={v!r}' for n, v in given.items())])})"
        )

    def set_params(self, **params: Any) -> Self:
        """Other parameters; returns self. learning_rate and optimizer hold for the next steps; any other begins from the start."""
        super().set_params(**params)
        if params.keys() <= _KEEPING_THE_STATE:
            self._check_training("GPHM.set_params")
        else:
            self._start()
        return self

    # ---- parameters and loss

    @property
    def params(self) -> Params:
        component = self._components[-1]
        return component.copies(component.named(self._learnt.found))

    @property
    def held_params(self) -> Params | None:
        return self._components[0].copies(self._held[0]) if self._held else None

    def value_and_grad(self, params: Mapping[str, Any] | None = None) -> tuple[float, Params]:
        """The loss (5) and its gradient (7), by the names of ``params``; those that are not given are the present ones."""
        label = "GPHM.value_and_grad"
        now = self._components[-1].named(self._learnt.found)
        if params is not None:
            for name, value in params.items():
                now[name] = _checked(value, now, label, name)
        return self._components[-1].loss(now)

    # ---- training

    def fit(
        self,
        steps: int | None = None,
        *,
        progress: bool | Callable[[int, float], Any] | None = None,
        truth: Array | Callable[..., Any] | None = None,
        check_every: int = 1000,
    ) -> Self:
        """``steps`` more steps, None: 100 of the projection or 10000 of Adam; called again it goes on. Returns self.

        ``progress`` is called as progress(steps so far, loss before the last one); True prints a line a second. ``truth`` is the solution:
        an array of the grid's shape, or a callable f(x) or f(x, y), compared at 300 points of every axis; every ``check_every`` steps and
        at the end the relative L2 error against it goes to ``history_`` (never into the training). An interrupt leaves whole steps.
        """
        label = "GPHM.fit"
        component, optimizer = self._components[-1], OPTIMIZERS[self.optimizer]
        count = optimizer.steps if steps is None else _arguments.integer(steps, label, "steps", 0)
        rate = optimizer.rate if self.learning_rate is None else float(self.learning_rate)
        every = _arguments.integer(check_every, label, "check_every", 1)
        tell = reporter(progress, label, "GPHM: step {}, loss {:.6g}".format)
        error = None if truth is None else self._error_against(truth, label)
        if self._learnt.optimizer != self.optimizer and count:  # one that has not begun
            x = optimizer.prepare(component, self._learnt.found)
            self._learnt = _Learnt.at(x, self._learnt.steps)._replace(optimizer=self.optimizer)
        losses = self.history_["loss"]
        last = self._learnt.steps + count
        while self._learnt.steps < last:
            now = self._learnt
            del losses[now.steps :]  # of a step that was interrupted
            step = optimizer.step(component, now.x, now.moments, rate)
            losses.append(step.loss)
            self._learnt = now.after(step)
            if error is not None and (now.steps + 1) % every == 0 and now.steps + 1 < last:
                self._note(error())
            if tell is not None:
                tell(now.steps + 1, step.loss)
        if error is not None:
            self._note(error())
        return self

    def add_smooth_component(self) -> Self:
        """A second process with Matern-5/2 covariance on top of the solution, which is held from here on; ``fit`` goes on with it alone.

        For solutions with a smooth part that the mixture finds slowly. Predictions are the sum. Returns self.
        """
        if self._held:
            raise ValueError("GPHM.add_smooth_component: there is one already")
        params = self.params
        made = _component.smooth(self._components[0], params, self._form())
        self._components, self._held = [*self._components, made], [params]
        self._learnt = _Learnt.at(made.flat(made.initial), self._learnt.steps)
        return self

    def _error_against(self, truth: Any, label: str) -> Callable[[], float]:
        axes = [a.here for a in self._components[0].loss.axes]
        if callable(truth):
            ends = [(a.x[0], a.x[-1]) for a in self._components[0].loss.axes]
            axes = [_arrays.beside(axes[0], np.linspace(*end, _TRUTH_POINTS)) for end in ends]
        values = on_grid(truth, axes, label, "truth")
        _arguments.finite(values, label, "truth")
        size = norm(values)
        if size == 0:
            raise ValueError(f"{label}: truth is 0 everywhere, to which no error is relative")
        if callable(truth):
            return lambda: norm(self._predicted(axes) - values) / size
        return lambda: norm(sum(p["U"] for p in (*self._held, self.params)) - values) / size

    def _note(self, error: float) -> None:
        self.history_["error_step"].append(self._learnt.steps)
        self.history_["error"].append(error)

    def report(self) -> dict[str, Any]:
        """Steps, the loss before the last one, for the projection the residual (root mean square, in the source's units), and where a truth
        was given the final error, beside it the best one and its step.

        The final error is the result: nobody who needs a solver knows which step was best.
        """
        losses, errors = self.history_["loss"], self.history_["error"]
        found: dict[str, Any] = {"steps": self._learnt.steps, "loss": losses[-1] if losses else None}
        if self._learnt.residual < np.inf:
            found["residual"] = self._learnt.residual
        if errors:
            best = int(np.argmin(errors))
            found |= {"error": errors[-1], "best_error": errors[best], "best_step": self.history_["error_step"][best]}
        return found

    # ---- prediction

    def predict(self, axes: Sequence[Any]) -> Array:
        """The solution on the grid of other axes, (M_k,) each: an array (M_1, ...) (12). Inside the grid: outside it tends to 0."""
        label = "GPHM.predict"
        given = _arguments.sequence(axes, f"{label}: axes")
        if len(given) != len(self._grid_pde.source.shape):
            raise ValueError(f"{label}: {len(given)} axes, expected {len(self._grid_pde.source.shape)}")
        first = self._components[0].loss.axes[0].here
        return self._predicted([doubled(_points(x, label, k, "the solver's axes[0]", first)) for k, x in enumerate(given)])

    def _predicted(self, axes: Sequence[Array]) -> Array:
        parts = [c.predict(p, axes, self._form()) for c, p in zip(self._components, (*self._held, self.params))]
        return sum(parts[1:], parts[0])

    def _form(self) -> type[Inverse]:
        """How covariances are inverted for the solution as it is."""
        return OPTIMIZERS[self._learnt.optimizer or self.optimizer].form

    # ---- states

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that training changes, as arrays: ``np.savez(file, **gp.state_dict())``."""
        moments, component, host = self._learnt.moments, self._components[-1], _host_copy
        state = {"kind": np.array(self.kind), "optimizer": np.array(self._learnt.optimizer), "steps": np.array(self._learnt.steps)}
        state |= {"adam.first": host(moments.first), "adam.second": host(moments.second), "adam.steps": np.array(moments.steps)}
        for i, params in enumerate((*self._held, component.named(self._learnt.x))):
            state |= {f"{i}.{name}": host(value) for name, value in params.items()}
        if self._learnt.residual < np.inf:
            state |= {f"best.{name}": host(value) for name, value in component.named(self._learnt.best).items()}
            state["best.residual"] = np.array(self._learnt.residual)
        return state | {f"history.{name}": np.array(values, float) for name, values in self.history_.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Go on from ``state_dict()``, or ``np.load(file)``, of a GPHM with the same arguments: the same bits as without the stop."""
        label = "GPHM.load_state_dict"
        fresh = type(self)(self.pde, self.axes, **{n: v for n, v in self.get_params().items() if n not in ("pde", "axes")})
        if (kind := str(_entry(state, "kind", label))) != self.kind:
            raise ValueError(f"{label}: a state of kind {kind!r}, expected {self.kind!r}")
        if "1.U" in state:
            fresh._learnt = _Learnt.at(fresh._loaded(state, "0", label))
            fresh.add_smooth_component()
        x = fresh._loaded(state, str(len(fresh._held)), label)
        first, second = (np.array(_entry(state, f"adam.{n}", label), np.float64) for n in ("first", "second"))
        if not first.shape == second.shape == tuple(x.shape):
            raise ValueError(f"{label}: adam.first and adam.second have shapes {first.shape} and {second.shape}, expected {tuple(x.shape)}")
        moments = Moments(_arrays.beside(x, first), _arrays.beside(x, second), int(_entry(state, "adam.steps", label)))
        best, residual = x, np.inf
        if "best.residual" in state:
            best, residual = fresh._loaded(state, "best", label), float(state["best.residual"])
        steps, optimizer = int(_entry(state, "steps", label)), str(_entry(state, "optimizer", label))
        fresh._learnt = _Learnt(x, moments, steps, optimizer, best, residual)
        for name in fresh.history_:
            values = np.asarray(_entry(state, f"history.{name}", label))
            fresh.history_[name] = [int(v) for v in values] if name == "error_step" else [float(v) for v in values]
        self.__dict__.update(fresh.__dict__)
        return self

    def _loaded(self, state: Mapping[str, Any], prefix: str, label: str) -> Array:
        now = self._components[-1].initial
        found = {name: _fitting(np.asarray(_entry(state, f"{prefix}.{name}", label)), now, label, name) for name in now}
        return self._components[-1].flat({name: _arrays.beside(now[name], value) for name, value in found.items()})

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: the equation by its numbers on the grid, for functions may not be picklable."""
        kept = self.get_params() | {"pde": self._grid_pde}
        return {"given": kept, "state": self.state_dict()}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        for name, value in kept["given"].items():
            setattr(self, name, value)
        self._start()
        self.load_state_dict(kept["state"])


class _Learnt(NamedTuple):
    """What steps change, replaced as one: an interrupt finds the old or the new."""

    x: Array  # the learnt component's parameters
    moments: Moments
    steps: int  # of all components
    optimizer: str  # that the moments are of; "" before the first step
    best: Array  # the x of least residual, where the optimizer goes by it
    residual: float  # of best; infinite without one

    @classmethod
    def at(cls, x: Array, steps: int = 0) -> _Learnt:
        return cls(x, Moments.none(x), steps, "", x, np.inf)

    @property
    def found(self) -> Array:
        return self.best if self.residual < np.inf else self.x

    def after(self, step: Step) -> _Learnt:
        best, residual = (self.x, step.residual) if step.residual < self.residual else (self.best, self.residual)
        return self._replace(x=step.x, moments=step.moments, steps=self.steps + 1, best=best, residual=residual)


def _entry(state: Mapping[str, Any], name: str, label: str) -> Any:
    if name not in state:
        raise ValueError(f"{label}: the state has no {name!r}; expected the state_dict() of a GPHM with the same arguments")
    return state[name]


def _host_copy(a: Array) -> np.ndarray:
    return np.array(_arrays.to_host(a))


def _checked(value: Any, now: Params, label: str, name: str) -> Array:
    """One parameter, as ``params`` has it, where that is."""
    if name not in now:
        raise ValueError(f"{label}: unknown parameter {name!r}, expected {', '.join(now)}")
    if _arguments.is_number(value):
        value = _arrays.beside(now[name], np.array(float(value)))
    found = _fitting(value, now, label, name)
    check_beside(label, name, found, "axes[0]", now["U"])
    return found


def _fitting(value: Any, now: Params, label: str, name: str) -> Array:
    """A copy in double precision."""
    found = _arguments.numbers_here(value, label, name)
    if tuple(found.shape) != tuple(now[name].shape):
        raise ValueError(f"{label}: {name} has shape {tuple(found.shape)}, expected {tuple(now[name].shape)}")
    _arguments.finite(found, label, name)
    return doubled(found)


def _points(x: Any, label: str, k: int, other: str, first: Array | None) -> Array:
    """As they came, beside the first axis."""
    numbers = _arguments.numbers_here(x, label, f"axes[{k}]")
    if numbers.ndim != 1:
        raise ValueError(f"{label}: axes[{k}] has shape {tuple(numbers.shape)}, expected (n,)")
    _arguments.finite(numbers, label, f"axes[{k}]")
    if first is not None:
        check_beside(label, f"axes[{k}]", numbers, other, first)
    return numbers


def _axes(axes: Any, label: str) -> list[Points]:
    """In their own precision, which says what uniform means."""
    found: list[Points] = []
    for k, x in enumerate(_arguments.sequence(axes, f"{label}: axes")):
        here = _points(x, label, k, "axes[0]", found[0].here if found else None)
        host = np.array(_arrays.to_host(here))
        if len(host) < 3:
            raise ValueError(f"{label}: axes[{k}] has {len(host)} points, expected at least 3: two ends and one between")
        _arguments.finite(host, label, f"axes[{k}]")
        steps = np.diff(host)
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(f"{label}: axes[{k}] is neither increasing nor decreasing, expected points in their order")
        found.append(Points(host if here.__class__ is np.ndarray else here, host))
    return found
