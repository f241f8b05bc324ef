"""A boundary value problem and its solutions, gradients and labels. Equation numbers refer to csrc/wos/walk/README.md."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import numpy as np

from ..._arguments import keywords, seed
from ..._typing import Array, ArrayLike, Backend, Points, T
from .labels import NeuralOperatorLabels
from .operator import Operator
from .result import Result, solve_problem
from .run import Run
from .settings import IN_WALKS, Walks, checked
from .statement import Statement
from .vjp import gradients


class Problem(Statement):
    """A boundary value problem, checked once, that can be solved at any points.

    -∇·(α∇u) + σu = f in the domain, u = g on its boundary or a part of it, ∂u/∂n + μu = h on the rest; n points outward.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
        A single boundary, or B polygons.
    dirichlet : g
        A number, Fourier, Gaussians, Polynomial, PerVertex or GridField, or a function f(X (n, d)) -> (n,) of absolute coordinates: a
        Python callable, a ``numba.njit`` function, or a ``numba.cfunc`` ``void(int64 n, const double* x, double* out)``.
    source : f, optional
        As dirichlet, except PerVertex. The equation is -Δu = f; the Poisson equation of ``qf.kron.GPHM`` has the opposite sign, Δu =
        source.
    screening : σ
        A number >= 0, or data like source with values >= 0.
    diffusion : α, optional
        Data like source, except Fourier, positive and twice differentiable; the default is 1. ``Regions`` for one that jumps.
    neumann : (where, h), optional
        ∂u/∂n = h on the segments of a Polygon, or the triangles of a closed TriangleMesh, for which ``where``, bool (M,), is True. Segment
        k runs from vertex k to k + 1, starting with the outer ring. Alternatively ``where`` is a function of points (n, d) that is constant
        on each segment or triangle: ``(lambda X: X[:, 0] == 0, 0.0)``. h is data like dirichlet, and does not contain α.
    robin : (where, mu, h), optional
        ∂u/∂n + μu = h on these segments or triangles. mu >= 0 is a number or has one value per segment or triangle.
    exterior : bool
        Whether the domain is outside the boundary. Far away u tends to 0; in the plane without screening it tends to a constant. Without
        screening a source must have bounded support: Gaussians, or a GridField that is 0 on the faces of its box.

    Notes
    -----
    For B instances, boundary, data and points have a leading axis B: (B,) numbers, Fourier coefficients (B, K), a list of B data
    objects, ``where`` (B, M). Arguments without this axis, or with an axis of length 1, are broadcast to all instances.
    docs/walks.md, Data, describes what each class accepts, and the limits of gradients, devices and functions.

    A Problem is immutable, copies arrays, and can be pickled if its functions can. It caches the tables of reflecting walls, and its
    boundary caches the grids for distances, so that later calls need not build them.

    Raises
    ------
    ValueError, TypeError
        For data that do not match the boundary or each other; for a segment in both neumann and robin; without a Dirichlet part, μ or
        screening, because u is then known only up to a constant. Values of functions, diffusion and screening are checked when walks run.

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

    @keywords("solve", **IN_WALKS)
    def solve(
        self,
        points: Array[T] | Points,
        walks: int | Walks = 64,
        *,
        rng: int | np.random.Generator | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        max_walks: int | None = None,
        cache: Literal["harmonic"] | None = None,
        executor: Executor | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> Result[T]:
        """Solve at individual points by averaging random walks (1), (2), with standard errors.

        Parameters
        ----------
        points : (N, d) or (B, N, d), or (d,) for one point
            float32 or float64, NumPy, PyTorch or CuPy, on the host or on a device. Lists and integers are treated as float64.
        walks : int or Walks
            Walks per point, or a ``qf.wos.Walks``, which also sets epsilon and whether to compute ∇u.
        rng : None, int or numpy.random.Generator
            The seed, 0 to 2^64 - 1. A Generator is used once to draw the seed. ``rng=result.seed`` repeats a call.
        rtol, atol : float, optional
            Continue until stderr <= max(atol, rtol |value|), point by point (19), in rounds of ``walks``. If only one of them is passed,
            the other is 0.
        max_walks : int
            With a tolerance, the largest number of walks per point. The default is 2^20.
        cache : None or "harmonic"
            "harmonic" starts walks at the centres of a few balls and uses them for all points in these balls (17). This saves time if there
            are many points. The problem must have no source.
        executor : concurrent.futures.Executor, optional
            Runs the walks. The result has the same bits as without it.
        progress : bool or callable, optional
            Called as progress(walks so far, fraction left). True prints one line per second.
        backend, num_threads
            As in ``help(qf.conventions)``.

        Returns
        -------
        Result
            Of shape (N,), or () for one point; (B, N), or (B,), if the boundary, the data or the points have instances.

        Notes
        -----
        Points outside give NaN and a RuntimeWarning. A point within epsilon of the boundary has the value g, with stderr 0. docs/walks.md
        describes the bias of epsilon, the effect of tolerances on errors, costs, executors, devices and gradients.
        """
        has_tolerance = not (rtol is None and atol is None)
        settings, indices = checked("solve", points, walks, rng, backend, num_threads, cache, has_tolerance)
        return solve_problem(
            self, points, settings, indices, rtol=rtol, atol=atol, max_walks=max_walks, executor=executor, progress=progress
        )

    @keywords("vjp", **IN_WALKS)
    def vjp(
        self,
        points: ArrayLike,
        grad: ArrayLike,
        walks: int | Walks = 64,
        *,
        rng: int,
        points_gradient: bool = True,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> tuple[Any, ...]:
        """Gradients of sum(grad * value), for the value of ``solve`` with the same walks and ``rng=result.seed``.

        Returns the results of ``qf.wos.solve_vjp``: (grad_points, grad_dirichlet, grad_source), and those for neumann and robin if there
        are walls. ``backend`` and ``num_threads`` are as in ``help(qf.conventions)``.
        """
        label = self._caller or "vjp"
        settings, indices = checked(label, points, walks, seed(rng, label, "the int of result.seed"), backend, num_threads)
        return gradients(Run(self, points, settings), grad, indices, points_gradient, label)

    @keywords("labels", **IN_WALKS)
    def labels(
        self,
        points: Array[T] | Points,
        walks: int | Walks = 10,
        *,
        rng: int | np.random.Generator | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> NeuralOperatorLabels[T]:
        """Labels at these points that improve with every epoch of training.

        See ``qf.wos.NeuralOperatorLabels``. ``backend`` and ``num_threads`` are as in ``help(qf.conventions)``.
        """
        return NeuralOperatorLabels._create(self, points, checked("labels", points, walks, rng, backend, num_threads), progress, "labels")

    @keywords("operator", **IN_WALKS)
    def operator(
        self,
        points: Array[T] | Points,
        walks: int | Walks = 64,
        *,
        rng: int | np.random.Generator | None = None,
        backend: Backend | None = None,
        num_threads: int | None = None,
    ) -> Operator:
        """The solution at points (N, d) as a linear map of boundary values, sources and fluxes.

        See ``qf.wos.Operator``. The values of the problem's g, f and h do not matter, only whether it has a source, ``neumann`` and
        ``robin``. Requires a single boundary, inside or outside, and a single μ, diffusion and screening. ``gradient`` is not supported.
        ``backend`` and ``num_threads`` are as in ``help(qf.conventions)``.
        """
        settings, indices = checked("operator", points, walks, rng, backend, num_threads)
        return Operator._create(self, points, settings, indices, "operator")
