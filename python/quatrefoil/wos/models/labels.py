"""Labels for neural operators: estimates of the solution that get better with every epoch of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import numpy as np

from ..._arguments import integer, points_like
from ..._progress import reporter
from ..._typing import Array, Backend, Points, T
from ..data import Data
from ..data.packed import copied
from ..mesh import Boundary
from ..walk import check_pairs
from .result import Result
from .settings import Settings
from .solver import answer
from .statement import Statement

_LABEL = "NeuralOperatorLabels"
_DIRICHLET_ONLY = {"diffusion": None, "neumann": None, "robin": None}


class NeuralOperatorLabels(Generic[T]):
    """Labels u(x) for a neural operator: a few walks an epoch, and the mean of all so far.

    For training by weak supervision: B instances of -Δu + σu = f in Ω, u = g on ∂Ω at N points each, ``walks`` more per point and epoch.
    Mind the sign: the published sampler solves Δu = f. csrc/wos/README.md lists what else differs, "Labels for neural operators".

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
    dirichlet : g
    source : f, optional
    points : (N, d) or (B, N, d)
        All as for ``solve``.
    walks : int
        Walks a point in an epoch; an even number with ``gradient``.
    epsilon, relative, max_steps, gradient, shared_walks, screening
        As for ``solve``.
    rng : None, int or numpy.random.Generator
        The seed of all epochs, drawn once.
    progress : bool or callable, optional
        Of every epoch, as for ``solve``.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Attributes
    ----------
    result : Result or None
        The labels so far, as ``epoch`` returned them last; None before the first epoch.
    epochs : int
        How many there were.
    seed : int
        ``solve`` with ``rng=labels.seed`` and ``walks=labels.epochs * walks`` has these very labels.

    Notes
    -----
    ``Problem.labels`` makes those of any problem. Epoch e, from 0 on, takes the walks [e walks, (e + 1) walks) of every point, all of one
    seed: after E epochs value, error bars and gradient have the bits of one ``solve`` with E times as many walks, on any number of threads.
    The mean is merged pairwise, so it does not drift as a running mean in float32 does.

    It pickles with its labels and its place in the sequence, if functions among the data do; a callable as ``progress`` is left out.

    Cost: each instance keeps its grid for later epochs if there are at most 64 of them; otherwise an epoch builds grids anew, 1 ms each
    at 1024 segments. Memory: the labels, for each one in the binary representation of epochs * walks (pairs, with gradient).

    Raises
    ------
    ValueError, TypeError
        As ``Problem`` and ``solve``; for values of functions in the first epoch.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> star = qf.wos.Star(np.array([0.1, -0.2]), np.array([0.0, 0.1]))
    >>> g = qf.wos.Fourier(np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.25]]))
    >>> labels = qf.wos.NeuralOperatorLabels(star, g, 1.0, points=np.array([[0.0, 0.0], [0.3, 0.1]]), walks=10, rng=0)
    >>> for epoch in range(3):
    ...     target = labels.epoch().value
    >>> target.shape
    (2, 2)
    >>> once = qf.wos.solve(star, np.array([[0.0, 0.0], [0.3, 0.1]]), dirichlet=g, source=1.0, walks=30, rng=0)
    >>> bool((target == once.value).all())
    True
    """

    def __init__(
        self,
        boundary: Boundary,
        dirichlet: Data,
        source: Data | None = None,
        *,
        points: Array[T] | Points,
        walks: int = 10,
        epsilon: float = 1e-3,
        relative: bool = True,
        max_steps: int = 1024,
        gradient: bool = False,
        shared_walks: bool = False,
        screening: float = 0.0,
        rng: int | np.random.Generator | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._begin(
            Statement._of(_LABEL, boundary, False, **_DIRICHLET_ONLY, dirichlet=dirichlet, source=source, screening=screening), points,
            Settings.checked(_LABEL, points, rng, epsilon=epsilon, relative=relative, max_steps=max_steps, gradient=gradient,
            shared_walks=shared_walks, backend=backend, num_threads=num_threads), walks, progress, _LABEL,
        )  # fmt: skip

    @classmethod
    def _of(cls, statement: Statement, points: Any, settings: Settings, walks: Any, progress: Any, label: str) -> NeuralOperatorLabels[Any]:
        """Those of a problem that was made before."""
        made: NeuralOperatorLabels[Any] = cls.__new__(cls)
        made._begin(statement, points, settings, walks, progress, label)
        return made

    def _begin(self, statement: Statement, points: Any, settings: Settings, walks: Any, progress: Any, label: str) -> None:
        self.walks = integer(walks, label, "walks", 1)
        check_pairs(label, settings.gradient, walks=self.walks)
        reporter(progress, label, "{} {}".format)  # its errors come before the first epoch
        self.seed, self.progress, self.epochs = settings.seed, progress, 0
        self.result: Result[T] | None = None
        self._first: Any = statement, copied(points_like(points, label, "points")), settings  # of the first epoch; later the result's

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": self.progress if isinstance(self.progress, bool) else None}

    def epoch(self) -> Result[T]:
        """Draws the next ``walks`` walks of every point; returns the labels of all epochs so far."""
        if self.result is None:
            found = answer(*self._first, walks=self.walks, progress=self.progress)
        else:
            found = self.result.resume(self.walks, progress=self.progress)
        self.result, self._first = found, None
        self.epochs += 1
        return found

    def __repr__(self) -> str:
        return f"NeuralOperatorLabels({self.epochs} epochs of {self.walks} walks)"
