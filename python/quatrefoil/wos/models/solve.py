"""Defines and solves a problem in one call. Equation numbers refer to csrc/wos/walk/README.md."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import numpy as np

from ..._arguments import keywords
from ..._typing import Array, ArrayLike, Backend, Points, T
from ..data import Data, PerRingData
from ..mesh import Boundary
from ..regions import Regions
from .per_ring import NAME, PerRing
from .problem import Problem
from .result import Result
from .settings import HINTS, Walks


@keywords("solve", **HINTS)
def solve(
    boundary: Boundary,
    points: Array[T] | Points,
    dirichlet: Data | None = None,
    *,
    dirichlet_per_ring: PerRingData | None = None,
    source: Data | None = None,
    screening: float | Data = 0.0,
    diffusion: Data | Regions | None = None,
    neumann: tuple[Any, Data] | None = None,
    robin: tuple[Any, Any, Data] | None = None,
    walks: int = 64,
    epsilon: float | None = None,
    relative: bool = True,
    max_steps: int = 1024,
    gradient: bool = False,
    exterior: bool = False,
    shared_walks: bool = False,
    cache: Literal["harmonic"] | None = None,
    rng: int | np.random.Generator | None = None,
    walk_offset: int = 0,
    sampling: Literal["random", "sobol"] = "random",
    rtol: float | None = None,
    atol: float | None = None,
    max_walks: int | None = None,
    executor: Executor | None = None,
    progress: bool | Callable[[int, float], Any] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Result[T]:
    """Solve a boundary value problem at points, with standard errors and without a mesh.

    Equivalent to ``Problem(boundary, dirichlet=dirichlet, ...).solve(points, ...)``. Averages random walks (1), (2) to solve -∇·(α∇u) + σu
    = f in the domain, with u = g on its boundary or a part of it, and ∂u/∂n + μu = h on the rest.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
    points : (N, d) or (B, N, d), or (d,) for one point
    dirichlet : g
        Boundary values: a number, Fourier, Gaussians, Polynomial, PerVertex, GridField, or a function f(X (n, d)) -> (n,).
    dirichlet_per_ring : list of R numbers or data, or (R,), optional
        Alternative to dirichlet, for one Polygon: the values on its outline, then on each of its holes. A PerVertex has one value per
        vertex of its ring. Numbers and PerVertex have gradients; other data are evaluated as functions.
    source, screening, diffusion, neumann, robin, exterior
        As for ``Problem``: f, σ, α, (where, h), (where, mu, h), and whether the domain is the exterior.
    walks, epsilon, relative, max_steps, gradient, shared_walks, walk_offset, sampling
        As for ``Walks``.
    cache, rng, rtol, atol, max_walks, executor, progress
        As for ``Problem.solve``.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    Result
        value, stderr, n_walks, mean_steps, n_truncated and n_escaped have shape ``points.shape[:-1]``, or (B, N) if the points (N, d) are
        shared by B instances. With ``gradient``, grad and grad_stderr have shape (..., d). Methods: ``resume(extra_walks)`` and
        ``merge(other)``.

    Notes
    -----
    Points outside give NaN and a RuntimeWarning. For errors, costs, stopping, executors, devices and gradients, see docs/walks.md.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, g = qf.wos.Ball([0.0, 0.0], 1.0), qf.wos.Fourier(np.array([1.0, 2.0, 0.0]))  # u = 1 + 2 x
    >>> r = qf.wos.solve(disc, np.array([[0.0, 0.0], [0.5, 0.0], [0.9, 0.0]]), dirichlet=g, atol=0.01, walks=1024, rng=1)
    >>> bool((r.stderr <= 0.01).all()), r.n_walks.tolist() == sorted(r.n_walks.tolist(), reverse=True)
    (True, True)

    A room around a pillar of temperature 1, with outer walls of temperature 0:

    >>> room = qf.wos.Polygon([[0, 0], [3, 0], [3, 3], [0, 3]], holes=[[[1, 1], [2, 1], [2, 2], [1, 2]]])
    >>> warm = qf.wos.solve(room, [[0.99, 1.5], [0.01, 1.5]], dirichlet_per_ring=[0, 1], walks=1024, rng=1)
    >>> warm.value.round(1).tolist()
    [1.0, 0.0]
    """
    return Problem._create(
        "solve", boundary, exterior, dirichlet=_or_per_ring(dirichlet, dirichlet_per_ring, "solve"), source=source, screening=screening,
        diffusion=diffusion, neumann=neumann, robin=robin,
    ).solve(
        points, Walks(walks, epsilon=epsilon, relative=relative, max_steps=max_steps, gradient=gradient, shared_walks=shared_walks,
        walk_offset=walk_offset, sampling=sampling), rng=rng, rtol=rtol, atol=atol, max_walks=max_walks, cache=cache,
        executor=executor, progress=progress, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def solve_vjp(
    boundary: Boundary,
    points: ArrayLike,
    grad: ArrayLike,
    *,
    dirichlet: Data | None = None,
    dirichlet_per_ring: PerRingData | None = None,
    source: Data | None = None,
    walks: int = 64,
    epsilon: float | None = None,
    relative: bool = True,
    max_steps: int = 1024,
    rng: int,
    walk_offset: int = 0,
    sampling: Literal["random", "sobol"] = "random",
    screening: float | Data = 0.0,
    diffusion: Data | Regions | None = None,
    neumann: tuple[Any, Data] | None = None,
    robin: tuple[Any, Any, Data] | None = None,
    gradient: bool = False,
    exterior: bool = False,
    shared_walks: bool = False,
    points_gradient: bool = True,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Any, ...]:
    """Gradients of a solution with respect to its data and points, from replayed walks.

    These are gradients of sum(grad * value) for the value of the same ``solve`` call. For given paths the value is linear in g, f and h, so
    the gradients are exact for these walks. Nothing is stored per walk.

    Parameters
    ----------
    grad : shape of value
    rng : int
        The seed of the forward call: ``result.seed``.
    points_gradient : bool
        Whether to compute the gradient with respect to the points: an estimate from the same walks in pairs.
    boundary, points, ...
        As for ``solve``.

    Returns
    -------
    grad_points : shape of points, or None
        grad times the gradient of u, summed over the instances that share the points. 0 outside; NaN within epsilon of the boundary if grad
        is not 0.
    grad_dirichlet, grad_source : dict
        Maps parameter names to arrays: {"coefficients": ...} for Fourier and Polynomial, {"values": ...} for GridField and PerVertex (a
        list if a list was passed), {"amplitude": ..., "center": ..., "width": ...} for Gaussians, {"value": ...} for an array of numbers,
        {} for a number and for functions. For ``dirichlet_per_ring`` {"values": one per ring}, a list if a list was passed.
    grad_neumann, grad_robin : dict
        The same for their h, only if ``neumann`` or ``robin`` was passed; the call then returns five results.

    Raises
    ------
    NotImplementedError
        For lists of data, and for the combinations of keywords that ``solve`` does not support.

    Notes
    -----
    Points outside contribute nothing. On a device, the parameters' gradients are assembled on the host, so the call waits for the device.
    Cost: one forward call, two with ``points_gradient``. Memory: at most 64 partial sums of the parameters, for any ``walks``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, x = qf.wos.Ball((0, 0), 1), np.array([[0.5, 0.0]])
    >>> g = qf.wos.Fourier(np.array([0.0, 1.0, 0.0]))
    >>> u = qf.wos.solve(disc, x, dirichlet=g, walks=1000, rng=0)
    >>> dx, dg, df = qf.wos.solve_vjp(disc, x, np.ones(1), dirichlet=g, walks=1000, rng=u.seed)
    >>> dx.shape
    (1, 2)
    """
    return Problem._create(
        "solve_vjp", boundary, exterior, dirichlet=_or_per_ring(dirichlet, dirichlet_per_ring, "solve_vjp"), source=source,
        screening=screening, diffusion=diffusion, neumann=neumann, robin=robin,
    ).vjp(
        points, grad, Walks(walks, epsilon=epsilon, relative=relative, max_steps=max_steps, gradient=gradient, shared_walks=shared_walks,
        walk_offset=walk_offset, sampling=sampling), rng=rng, points_gradient=points_gradient, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def _or_per_ring(dirichlet: Any, per_ring: Any, label: str) -> Any:
    """The boundary values from whichever of the two arguments was passed."""
    if per_ring is None:
        return dirichlet
    if dirichlet is not None:
        raise ValueError(f"{label}: got both dirichlet and {NAME}, expected one of them")
    return PerRing(per_ring, label)
