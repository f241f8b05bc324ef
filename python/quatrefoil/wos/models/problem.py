"""A boundary value problem, and what can be asked of it. Equation numbers are those of csrc/wos/walk/README.md."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import numpy as np

from ..._arguments import keywords, seed
from ..._typing import Array, ArrayLike, Backend, Points, T
from .labels import NeuralOperatorLabels
from .result import Result
from .run import Run
from .settings import HINTS, Settings
from .solver import answer
from .statement import Statement
from .vjp import gradients


class Problem(Statement):
    """A boundary value problem, checked once, to be solved at any points.

    -∇·(α∇u) + σu = f in the domain, u = g on its boundary or a part of it, ∂u/∂n + μu = h on the rest; n points outward.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
        One of them, or B polygons.
    dirichlet : g
        A number, Fourier, Gaussians, Polynomial, PerVertex or GridField, or a function f(X (n, d)) -> (n,) of absolute coordinates: a
        Python callable, a ``numba.njit`` function, or a ``numba.cfunc`` ``void(int64 n, const double* x, double* out)``.
    source : f, optional
        As dirichlet, but for PerVertex. The sign is that of -Δu = f; ``qf.kron.GPHM``'s Poisson has the other one, Δu = source.
    screening : σ
        A number >= 0, or data like source with values >= 0.
    diffusion : α, optional
        Data like source with positive values and second derivatives, but for Fourier; 1 if not given.
    neumann : (where, h), optional
        ∂u/∂n = h on the segments of a Polygon, or the triangles of a closed TriangleMesh, for which ``where``, bool (M,), is True. Segment
        k runs from vertex k to k + 1, outer ring first. h is data like dirichlet.
    robin : (where, mu, h), optional
        ∂u/∂n + μu = h likewise, for a Polygon. mu >= 0 is a number or has one per segment.
    exterior : bool
        The domain is outside a Ball, a Box or a TriangleMesh in three dimensions, and u tends to 0 far away.

    Notes
    -----
    For B instances, boundary, data and points have a leading B, or a leading 1 or none at all, which serves every instance, as in NumPy:
    (B,) numbers, Fourier coefficients (B, K), a list of B data, ``where`` (B, M). What each class takes, and where gradients, devices and
    functions have limits: docs/walks.md, Data.

    A Problem never changes, copies arrays, and pickles if its functions do. It keeps the tables of reflecting walls, and its boundary the
    grids for distances: the second call of a method saves making them.

    Raises
    ------
    ValueError, TypeError
        Data that do not fit the boundary or each other; a segment in both neumann and robin; neither a Dirichlet part nor μ nor a
        screening, so that u is free by a constant. Values of functions, diffusion and screening are seen when walks run.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> heat = qf.wos.Problem(qf.wos.Ball([0.0, 0.0], 1.0), dirichlet=qf.wos.Fourier([0.0, 1.0, 0.0]), source=1.0)
    >>> heat
    Problem(Ball([0.0, 0.0], 1.0), dirichlet=Fourier(coefficients (3,), center (0.0, 0.0)), source=1.0)
    >>> u = heat.solve([[0.5, 0.0], [0.0, 0.2]], walks=4096, rng=0)  # u = x + (1 - |x|^2) / 4
    >>> bool((abs(u.value - [0.6875, 0.24]) < 5 * u.stderr + 1e-3).all())
    True
    """

    @keywords("solve", **HINTS)
    def solve(
        self,
        points: Array[T] | Points,
        *,
        walks: int = 64,
        epsilon: float = 1e-3,
        relative: bool = True,
        max_steps: int = 1024,
        gradient: bool = False,
        shared_walks: bool = False,
        cache: Literal["harmonic"] | None = None,
        rng: int | np.random.Generator | None = None,
        walk_offset: int = 0,
        rtol: float | None = None,
        atol: float | None = None,
        max_walks: int | None = None,
        executor: Executor | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> Result[T]:
        """The solution at single points by averaging random walks (1), (2), with standard errors.

        Parameters
        ----------
        points : (N, d) or (B, N, d), or (d,) for one point
            float32 or float64, NumPy, PyTorch or CuPy; on a device too. Lists and integers count as float64.
        walks : int
            Walks per point.
        epsilon : float
            A walk ends this close to the boundary, at the projection on it; with ``relative`` in units of the bounding box's diagonal.
        max_steps : int
            A walk that has made so many steps ends at its projection and is counted in ``n_truncated``. At most 2^20 - 1.
        gradient : bool
            Also ∇u (13), by pairs of walks that leave in opposite directions; ``walks`` and ``walk_offset`` are even.
        shared_walks : bool
            The same walks for B sets of data on one boundary at points (N, d), which saves most of the time: the numbers of each are those
            that it has alone, and errors are correlated between them. Not with neumann, robin, diffusion and a screening that varies.
        cache : None or "harmonic"
            "harmonic": walks from the centres of some balls serve all points in them (17). For many points without a source.
        rng : None, int or numpy.random.Generator
            The seed, 0 to 2^64 - 1; a Generator is drawn from once. ``rng=result.seed`` repeats a call.
        walk_offset : int
            Index of the first walk: runs over [0, m) and [m, n) merge to the bits of [0, n).
        rtol, atol : float, optional
            Go on until stderr <= max(atol, rtol |value|), point by point (19), in rounds of ``walks``. One that is not given is 0.
        max_walks : int
            With a tolerance, the walks per point at most, met exactly. 2^20 if not given.
        executor : concurrent.futures.Executor, optional
            Where walks are made; the bits are those of one machine.
        progress : bool or callable, optional
            Called as progress(walks so far, share left); True prints a line a second.
        backend, num_threads
            As in ``help(qf.conventions)``.

        Returns
        -------
        Result
            Of shape ``points.shape[:-1]``, with B in front if the boundary or the data have it.

        Notes
        -----
        Points outside are NaN with a RuntimeWarning; a point within epsilon of the boundary is g there, with stderr 0. The bias of epsilon,
        what stopping does to errors, costs, executors, devices and gradients: docs/walks.md.
        """
        return answer(
            self, points, Settings.checked("solve", points, rng, epsilon=epsilon, relative=relative, max_steps=max_steps, gradient=gradient,
            shared_walks=shared_walks, cache=cache, backend=backend, num_threads=num_threads), walks=walks, walk_offset=walk_offset,
            rtol=rtol, atol=atol, max_walks=max_walks, executor=executor, progress=progress,
        )  # fmt: skip

    @keywords("vjp", **HINTS)
    def vjp(
        self,
        points: ArrayLike,
        grad: ArrayLike,
        *,
        walks: int = 64,
        epsilon: float = 1e-3,
        relative: bool = True,
        max_steps: int = 1024,
        gradient: bool = False,
        shared_walks: bool = False,
        rng: int,
        walk_offset: int = 0,
        points_gradient: bool = True,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> tuple[Any, ...]:
        """Gradients of sum(grad * value), for the value of ``solve`` with the same arguments and ``rng=result.seed``.

        They are those of ``qf.wos.solve_vjp``: (grad_points, grad_dirichlet, grad_source), and of neumann and robin if there are walls.
        ``backend`` and ``num_threads``: As in ``help(qf.conventions)``.
        """
        label = self._caller or "vjp"
        settings = Settings.checked(
            label, points, seed(rng, label, "the int of result.seed"), epsilon=epsilon, relative=relative, max_steps=max_steps,
            gradient=gradient, shared_walks=shared_walks, backend=backend, num_threads=num_threads,
        )  # fmt: skip
        return gradients(Run(self, points, settings), grad, *settings.walks(label, walk_offset, walks), points_gradient, label)

    def labels(
        self,
        points: Array[T] | Points,
        *,
        walks: int = 10,
        epsilon: float = 1e-3,
        relative: bool = True,
        max_steps: int = 1024,
        gradient: bool = False,
        shared_walks: bool = False,
        rng: int | np.random.Generator | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> NeuralOperatorLabels[T]:
        """Labels at these points that get better with every epoch of a training: see ``qf.wos.NeuralOperatorLabels``.

        ``backend`` and ``num_threads``: As in ``help(qf.conventions)``.
        """
        settings = Settings.checked(
            "labels", points, rng, epsilon=epsilon, relative=relative, max_steps=max_steps, gradient=gradient,
            shared_walks=shared_walks, backend=backend, num_threads=num_threads,
        )  # fmt: skip
        return NeuralOperatorLabels._of(self, points, settings, walks, progress, "labels")
