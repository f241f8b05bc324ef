"""Consensus between the agents of ``SlimKL``. Equation numbers refer to csrc/kron/README.md, "Mixture weights"."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .slimkl_components import EPS
from .slimkl_worker import Bound, Worker

_UNEVEN, _STEP = 10.0, 2.0  # ratio of residuals of ADMM that changes a penalty, and the factor of the change
_AGREED = 0.1  # disagreement of agents, relative to the length of the last step, at which the next iteration starts
_MAX_MEETINGS = 100  # per iteration
_MIN = 1e-8  # minimum weight relative to the largest if the bound is 0, because steps cannot leave 0
# Largest penalty * theta^2 for rounded weights; largest penalty * theta^2 / sqrt(iterations) without multipliers.
_CURVED, _GROWING = 1.0, 0.5


def positive_root(cube: np.ndarray, square: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """The largest root of cube x^3 + square x^2 - constant, the positive one if constant > 0; cube > 0, constant >= 0.

    Newton's method from above, where the polynomial is convex: monotone, from a start within a factor of 2.
    """
    number, exponent = np.frexp(constant / cube)
    side = np.ldexp(np.cbrt(np.ldexp(number, exponent % 3)), exponent // 3)  # NumPy's cube root of 8 x is not always twice that of x
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(square > 0, np.fmin(side, np.sqrt(constant / square)), side - square / cube)
        for _ in range(60):
            slope = (3 * cube * x + 2 * square) * x
            lower = np.where(slope > 0, x - ((cube * x + square) * x * x - constant) / slope, x)
            if not (lower < x).any():
                break
            x = np.where(lower < x, lower, x)
    return np.maximum(x, 0)


def rounded(a: np.ndarray, precision: float, rng: np.random.Generator) -> np.ndarray:
    """Rounds each nonnegative number to a multiple of ``precision`` (at most 1/2) times the power of two above the number.

    Each is rounded up or down at random, with mean ``a``. A precision of 0 does not round.
    """
    if precision == 0:
        return a
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.floor(mantissa / precision + rng.random(a.shape)) * precision, exponent)


class Message(NamedTuple):
    """The input of a step, whose size does not depend on the number of points."""

    anchor: np.ndarray  # weights at which the objective is majorised, (A,) like the next three; components of weight 0 are omitted
    consensus: np.ndarray
    multipliers: np.ndarray  # or (1,) zeros
    penalty: np.ndarray
    quantization: float
    seed: tuple[int, ...]


class Reply(NamedTuple):
    weights: np.ndarray  # (A,)
    objective: float  # of this agent, at the anchor


# Agents in the process with their data, by fit and number. Old fits are dropped, because an executor does not report the end of a fit.
_MAX_FITS = 4
_workers: OrderedDict[str, dict[int, Worker]] = OrderedDict()
_lock = threading.Lock()


def _enter(fit: str, number: int, data: tuple[Any, ...]) -> Worker:
    agent = Worker(*data)
    with _lock:
        _workers.setdefault(fit, {})[number] = agent
        _workers.move_to_end(fit)
        while len(_workers) > _MAX_FITS:
            _workers.popitem(last=False)
    return agent


def set_up(fit: str, number: int, data: tuple[Any, ...]) -> np.ndarray:
    """Stores the data of an agent; returns its initial weights."""
    return _enter(fit, number, data).start()


def step(fit: str, number: int, message: Message) -> Reply | None:
    """(4) by an agent; None if this process does not have its data."""
    with _lock:
        agent = _workers.get(fit, {}).get(number)
    return None if agent is None else _moved(agent, message)


def set_up_and_step(fit: str, number: int, data: tuple[Any, ...], message: Message) -> Reply:
    """``step`` in a process that does not have the data."""
    return _moved(_enter(fit, number, data), message)


def _moved(agent: Worker, message: Message) -> Reply:
    at, penalty = agent.weigh(message.anchor), message.penalty
    root = positive_root(penalty, at.t + message.multipliers - penalty * message.consensus, message.anchor**2 * at.q)
    weights = np.where(message.anchor > 0, root, 0)
    return Reply(rounded(weights, message.quantization, np.random.default_rng(message.seed)), at.objective)


def forget(fit: str) -> None:
    with _lock:
        _workers.pop(fit, None)


class _Team:
    """The agents of one fit, run by an executor, or one at a time in this process."""

    def __init__(self, data: Sequence[tuple[Any, ...]], executor: Any) -> None:
        self._fit, self._data, self._executor = uuid.uuid4().hex, data, executor

    def start(self) -> np.ndarray:
        return np.stack(self._all(set_up, [(self._fit, j, data) for j, data in enumerate(self._data)]))

    def step(self, messages: Sequence[Message]) -> tuple[np.ndarray, float]:
        """The agents' weights (N, A), and the sum of their objectives."""
        replies = self._all(step, [(self._fit, j, message) for j, message in enumerate(messages)])
        new = [j for j, reply in enumerate(replies) if reply is None]  # in processes without their data
        again = self._all(set_up_and_step, [(self._fit, j, self._data[j], messages[j]) for j in new])
        for j, reply in zip(new, again):
            replies[j] = reply
        return np.stack([r.weights for r in replies]), sum(r.objective for r in replies)

    def _all(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._executor is None:
            return [function(*c) for c in calls]
        futures = [self._executor.submit(function, *c) for c in calls]
        try:
            return [f.result() for f in futures]
        except BaseException:
            for f in futures:
                f.cancel()
            raise

    def close(self) -> None:
        """Frees the data in this process; other processes drop them with later fits."""
        forget(self._fit)


class Solution(NamedTuple):
    weights: np.ndarray
    objective: list[float]  # after each iteration
    met: bool  # whether the tolerance was met


class _Consensus:
    """Weights that the agents of a team agree on, by ADMM, or with multipliers of 0."""

    def __init__(self, team: _Team, bound: Bound, quantization: float, seed: int, dual: bool) -> None:
        start = team.start()
        self._bound, self._on, self._dual, self._iterations = bound, np.ones(start.shape[1], bool), dual, 0
        self._team, self._precision, self._seed, self._meetings = team, quantization, seed, 0
        self.weights, self._multipliers = start.mean(axis=0), np.zeros_like(start[:, : None if dual else 1])
        self._within = _AGREED * float(np.linalg.norm(self.weights))
        self._penalty = 4 / self.weights**2  # the majoriser's curvature, 2 q / theta, if q = t = 2 / theta, as for rank 2 and little noise

    def _anchor(self) -> np.ndarray:
        """The weights at the start of an iteration. Those that take part are raised above 0, because steps cannot leave 0."""
        return np.where(self._on, np.maximum(self.weights, self._bound.weight or _MIN * float(self.weights.max())), 0)

    def objective(self, exact: bool = False) -> float:
        """The objective at the weights if ``exact``, else at the start of the next iteration."""
        return self._meet(self.weights if exact else self._anchor())[1]

    def _meet(self, anchor: np.ndarray) -> tuple[np.ndarray, float]:
        self._meetings += 1
        common, seed = (anchor, self.weights), (self._seed, self._meetings)
        return self._team.step([Message(*common, m, self._penalty, self._precision, (*seed, j)) for j, m in enumerate(self._multipliers)])

    def minimise(self) -> None:
        """Minimises the majoriser at the current weights: (4) to (6) until the agents agree."""
        start, anchor, root = self.weights, self._anchor(), len(self._multipliers) ** 0.5
        jitter = 2 * self._precision * root * start  # change of a component by rounding
        largest = self._largest_penalty(start)
        self._penalty = np.minimum(self._penalty, largest)
        for _ in range(_MAX_MEETINGS):
            zeta, _ = self._meet(anchor)
            before, mean = self.weights, np.maximum((zeta + self._multipliers / self._penalty).mean(axis=0), 0)
            self.weights = rounded(mean, self._precision, np.random.default_rng((self._seed, self._meetings)))
            apart, moved = np.linalg.norm(zeta - self.weights, axis=0), root * np.abs(self.weights - before)
            if self._dual:
                self._multipliers = self._multipliers + self._penalty * (zeta - mean)
            if max(self._dual * np.linalg.norm(apart), np.linalg.norm(moved)) <= root * self._within + np.linalg.norm(jitter):
                break
            self._penalty = np.minimum(_balanced(self._penalty, apart, moved, jitter), largest)
        self._on &= (self.weights > self._bound.weight) | (self.weights * (1 + self._bound.slack) ** 0.5 > anchor)
        self.weights = np.where(self._on, self.weights, 0)
        lengths = _AGREED * np.linalg.norm(self.weights - start), EPS**0.5 * np.linalg.norm(start)  # f changes with the square of a step
        self._within = float(max(lengths))

    def _largest_penalty(self, theta: np.ndarray) -> np.ndarray:
        """The largest penalty: (10), or for rounded weights 1 / theta^2, because (6) misses steps below the jitter, and a larger penalty
        would stop progress."""
        self._iterations += 1
        limit = _GROWING * self._iterations**0.5 if not self._dual else _CURVED if self._precision else np.inf
        with np.errstate(divide="ignore"):
            return limit / theta**2

    def recall(self) -> bool:
        """Restores components that grow from the bound in another step; returns whether there were any."""
        out, before = ~self._on, self.weights
        if not out.any():
            return False
        self._on, self.weights = np.ones_like(out), np.where(out, self._bound.weight, before)
        self.minimise()
        self._on = ~out | (self.weights > self._bound.weight * (1 + self._bound.slack) ** 0.5)
        self.weights = np.where(self._on, self.weights, 0) if (back := bool(self._on[out].any())) else before
        return back


def agree(
    data: Sequence[tuple[Any, ...]], tol: float, max_iter: int, quantization: float, executor: Any, seed: int, dual: bool
) -> Solution:
    """(3) for the sum of the objectives of several agents, with one entry of ``data`` each; consensus finds each minimum."""
    team, points = _Team(data, executor), sum(len(part[1]) for part in data)
    try:
        consensus = _Consensus(team, Bound.from_tolerance(tol, points, data[0][-1], len(data[0][2])), quantization, seed, dual)
        objective, settled = [consensus.objective()], False
        while not settled and len(objective) <= max_iter:
            consensus.minimise()
            objective.append(consensus.objective())
            settled = is_settled(objective, tol, points) and not consensus.recall()
        objective[-1] = consensus.objective(exact=True)
        return Solution(consensus.weights, objective[1:], settled)
    finally:
        team.close()


def _balanced(penalty: np.ndarray, apart: np.ndarray, moved: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """(6): raises a component's penalty if its agents disagree much more than their mean moves; lowers it if the mean moves much more."""
    more, less = (apart > _UNEVEN * moved) & (apart > jitter), (moved > _UNEVEN * apart) & (moved > jitter)
    return np.where(more, penalty * _STEP, np.where(less, penalty / _STEP, penalty))


def is_settled(objective: Sequence[float], tol: float, points: int) -> bool:
    """Whether the last change per point is small; the objective itself depends on the unit of the data."""
    return abs(objective[-1] - objective[-2]) < tol * points


def descend(data: tuple[Any, ...], tol: float, max_iter: int) -> Solution:
    """(3), by one agent with all data."""
    agent, points = Worker(*data), len(data[1])
    theta = agent.start()
    bound, at = Bound.from_tolerance(tol, points, data[-1], len(theta)), agent.weigh(theta)
    objective = [at.objective]
    for _ in range(max_iter):
        gone = (theta <= bound.weight) & ((1 + bound.slack) * at.q <= at.t)
        theta = np.where(gone, 0, theta * np.sqrt(at.q / at.t))
        at = agent.weigh(theta)
        objective.append(at.objective)
        if is_settled(objective, tol, points):
            every = at if theta.all() else agent.weigh(theta, every=True)
            back = (theta == 0) & (every.q > (1 + bound.slack) * every.t)
            if not back.any():
                return Solution(theta, objective[1:], True)
            theta = np.where(back, bound.weight, theta)
            at = agent.weigh(theta)
    return Solution(theta, objective[1:], False)
