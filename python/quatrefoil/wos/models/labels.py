"""Labels for neural operators: estimates of the solution that improve with every epoch of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from ..._arguments import keywords, points_like
from ..._progress import reporter
from ..._public import missing_attribute
from ..._typing import Array, Backend, Points, T
from ..data import Data
from ..data.packed import copied
from ..mesh import Boundary
from .dataset import label_dataset
from .result import Result, solve_problem
from .run import Run
from .settings import IN_WALKS, Settings, Walks, checked
from .statement import Statement

_LABEL = "NeuralOperatorLabels"


class NeuralOperatorLabels(Generic[T]):
    """Labels u(x) for a neural operator, improved by a few more walks in every epoch.

    For training with weak supervision: B instances of -Δu + σu = f in Ω, u = g on ∂Ω at N points each, with ``walks`` more walks per point
    and epoch. The published sampler solves Δu = f; csrc/wos/README.md, "Labels for neural operators", lists all differences.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
    dirichlet : g
    source : f, optional
    points : (N, d) or (B, N, d)
    screening
        As for ``solve``.
    walks : int or Walks
        Walks per point and epoch, or a ``qf.wos.Walks``.
    rng : None, int or numpy.random.Generator
        The seed of all epochs, drawn once.
    progress : bool or callable, optional
        Progress of every epoch, as for ``solve``.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Attributes
    ----------
    result : Result or None
        The labels of the last ``epoch``; None before the first.
    epochs, walks : int
        Epochs so far; walks per point and epoch.
    seed : int
        ``solve`` with ``rng=labels.seed`` and ``walks=labels.epochs * labels.walks`` gives the same labels.

    Notes
    -----
    ``Problem.labels`` makes labels for any problem. Epoch e >= 0 uses the walks [e walks, (e + 1) walks) of every point, with the same
    seed. After E epochs, value, error bars and gradient are bitwise equal to those of one ``solve`` with E times as many walks, for any
    number of threads. The mean is merged pairwise, so it does not drift as a running float32 mean does.

    Can be pickled, with the labels and the number of epochs so far, if the functions among the data can. A callable ``progress`` is
    dropped.

    Cost: the grids of up to 64 instances are cached for later epochs. With more instances, each epoch rebuilds them, at 1 ms per grid of
    1024 segments. Memory: one copy of the labels for every 1 in the binary representation of epochs * walks.

    Raises
    ------
    ValueError, TypeError
        As for ``Problem`` and ``solve``. Values of functions are checked in the first epoch.

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

    if not TYPE_CHECKING:  # for type checkers, every name would be an attribute
        __getattr__ = missing_attribute(
            _LABEL, **dict.fromkeys(("value", "values", "stderr", "grad"), "use epoch().value, which contains the labels")
        )

        def __iter__(self, *index):
            raise TypeError(
                f"{_LABEL} is not an iterator; call epoch() in each epoch of the training: its value contains the current labels"
            )

        __next__ = __getitem__ = __iter__

    @keywords(_LABEL, missing="expected NeuralOperatorLabels(boundary, dirichlet, source, points=points)", **IN_WALKS)
    def __init__(
        self,
        boundary: Boundary,
        dirichlet: Data,
        source: Data | None = None,
        *,
        points: Array[T] | Points,
        walks: int | Walks = 10,
        screening: float = 0.0,
        rng: int | np.random.Generator | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> None:
        data = {"dirichlet": dirichlet, "source": source, "screening": screening, "diffusion": None, "neumann": None, "robin": None}
        statement = Statement._create(_LABEL, boundary, False, **data)
        self._begin(statement, points, checked(_LABEL, points, walks, rng, backend, num_threads), progress, _LABEL)

    @classmethod
    def _create(
        cls, statement: Statement, points: Any, settings: tuple[Settings, range], progress: Any, label: str
    ) -> NeuralOperatorLabels[Any]:
        """Labels of an existing problem."""
        labels: NeuralOperatorLabels[Any] = cls.__new__(cls)
        labels._begin(statement, points, settings, progress, label)
        return labels

    def _begin(self, statement: Statement, points: Any, settings: tuple[Settings, range], progress: Any, label: str) -> None:
        reporter(progress, label, "{} {}".format)  # raises errors before the first epoch
        self.seed, self.walks, self.progress, self.epochs = settings[0].seed, len(settings[1]), progress, 0
        self.result: Result[T] | None = None
        self._first: Any = statement, copied(points_like(points, label, "points")), *settings  # None after the first epoch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": self.progress if isinstance(self.progress, bool) else None}

    def epoch(self) -> Result[T]:
        """Draw ``walks`` more walks per point. Return the labels of all epochs so far."""
        if self.result is None:
            result = solve_problem(*self._first, progress=self.progress)
        else:
            result = self.result.resume(self.walks, progress=self.progress)
        self.result, self._first = result, None
        self.epochs += 1
        return result

    def dataset(self, *inputs: Any, shuffle: bool = False) -> Any:
        """A ``torch.utils.data.IterableDataset`` of (*inputs, value, stderr).

        It has one item per instance, or per point without instances. Each pass first draws an epoch of walks, so that labels improve from
        pass to pass. ``inputs`` are arrays with one entry per item. ``shuffle`` uses a new order for each pass, from PyTorch's generator.
        Use a DataLoader with ``num_workers=0``.

        ::

            loader = torch.utils.data.DataLoader(labels.dataset(features), batch_size=16)
            for epoch in range(100):
                for x, target, error in loader:
                    ...
        """
        shape = Run(*self._first[:3]).prepared.sizes.shape if self.result is None else self.result.value.shape
        return label_dataset()(self, inputs, shuffle, shape[0])

    def __repr__(self) -> str:
        return f"NeuralOperatorLabels({self.epochs} epochs of {self.walks} walks)"
