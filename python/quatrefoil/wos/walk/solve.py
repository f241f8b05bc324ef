"""Boundary value problems at the points where they are wanted, by walks. Equation numbers are those of csrc/wos/walk/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import integer, number, numbers_of, seed, threads
from ..._dispatch import call_vjp
from ..._typing import AnyArray, Array, T
from ..data import Data
from ..polygon import Ball, Polygon
from . import MAX_STEPS
from .problem import Problem, check_pairs, check_range, resolve
from .result import Result, finish
from .state import schedule


def solve(
    boundary: Polygon | Ball,
    points: Array[T],
    *,
    dirichlet: Data,
    source: Data | None = None,
    screening: float = 0.0,
    neumann: tuple[Any, Data] | None = None,
    robin: tuple[Any, Any, Data] | None = None,
    walks: int = 64,
    epsilon: float = 1e-3,
    relative: bool = True,
    max_steps: int = 1024,
    gradient: bool = False,
    rng: int | np.random.Generator | None = None,
    walk_offset: int = 0,
    backend: str | None = None,
    num_threads: int | None = None,
) -> Result[T]:
    """Solve -Δu + σu = f in the domain, u = g on its boundary or a part of it, at single points, by averaging random walks (1), (2).

    The convention of the family is -∇·(α∇u) + σu = f, u = g on the Dirichlet part, ∂u/∂n + μu = h on the rest, n pointing outward; this
    version has α = 1. B problem instances are solved at once where the boundary, the data or the points
    carry a leading B.

    Parameters
    ----------
    boundary : Polygon or Ball
    points : (N, d) or (B, N, d)
        float32 or float64, NumPy or CPU torch. (N, d) serves every instance.
    dirichlet : g
        A number, (B,) numbers, Fourier, Gaussians, PerVertex, a ``numba.njit`` function f(X (n, d)) -> (n,), a ``numba.cfunc``
        ``void(int64 n, const double* x, double* out)``, any Python callable of the same signature, or a list of B of these. Functions get
        absolute coordinates, njit functions in float64, others in the points' dtype; they may be called more than once for a point, from
        several threads, and with points of no walk. Compiled functions run without the GIL; they cannot raise.
    source : f, optional
        As dirichlet, but for PerVertex.
    screening : float
        σ >= 0, a constant.
    neumann : (where, h), optional
        ∂u/∂n = h on the segments of a Polygon where ``where`` is True: (M,) bool, NumPy or a tensor, segment k from vertex k to k + 1,
        outer ring first, then holes; (B, M) or a list of them for B polygons. h as dirichlet; PerVertex has all vertices. There the
        boundary has no value of its own: points on it are like those inside.
    robin : (where, mu, h), optional
        ∂u/∂n + μu = h likewise; mu >= 0 is a number, or one a segment as ``where`` is, and has no gradient.
    walks : int
        Walks a point.
    epsilon : float
        A walk ends this close to the boundary, at the projection on it; with ``relative`` in units of the bounding box's diagonal (Ball:
        2 r sqrt(d)).
    max_steps : int
        A walk that has made so many steps ends at its projection and is counted in ``n_truncated``. At most 2^20 - 1.
    rng : None, int or numpy.random.Generator
        The seed, 0 to 2^64 - 1; a Generator is drawn from once. ``rng=result.seed`` repeats a call.
    walk_offset : int
        Index of the first walk: runs over [0, m) and [m, n) merge to the bits of [0, n).
    gradient : bool
        Also ∇u, by the same walks (13): walks 2k and 2k + 1 leave their point in opposite directions, which takes constants out of the
        gradient exactly. ``walks`` and ``walk_offset`` must be even, and standard errors are those of the pairs.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    Result
        value, stderr, n_walks, mean_steps, n_truncated, n_escaped of shape ``points.shape[:-1]``, with B in front where the boundary or the
        data has it; with ``gradient`` grad and grad_stderr, (..., d); ``resume(extra_walks)`` and ``merge(other)``.

    Raises
    ------
    ValueError
        Shapes, numbers of instances, NaN or infinite points or numbers, epsilon <= 0, walks or max_steps < 1, screening < 0; a segment in
        both neumann and robin; neither a Dirichlet part nor μ nor a screening, so that u is free by a constant; neumann or robin with
        ``gradient``, with points that require grad, or without a Polygon; an odd number
        of walks with ``gradient``.
    TypeError
        Other dtypes; a mix of kinds; floats where integers are due.
    NotImplementedError
        Tensors that require grad where there is no gradient: vertices, a list of data of several kinds.

    Notes
    -----
    Points outside are NaN with one RuntimeWarning; a point within epsilon of the boundary is g there, with stderr 0. A NaN that a function
    returns stays in the points whose walks met it.

    Error: ``stderr`` for the walks, and a bias of the order of epsilon: u is taken up to epsilon inside the boundary. With f = 1 and zero
    data the bias at epsilon = 1e-3 can reach 1% of u, and it grows with the dimension, as the diagonal does: where it matters take 1e-4.
    Cost: about log(1/epsilon) steps a walk (11 at 1e-3), each O(1) for a polygon whatever its number of segments, by a grid of distance
    bounds and candidate lists (polygon (2)) that is kept with the boundary. Memory: 12 MB and 2 MB an instance, independent of ``walks``.
    Walks run in float32 in coordinates centred on the box and scaled by it, below a relative epsilon of 1e-5 in float64.

    With neumann or robin walks are walks on stars (wos/stars): about 15 steps at epsilon = 1e-3 with half of the boundary reflecting, each
    O(log M). A reflecting wall has no shell and no bias, but near re-entrant corners balls are at least epsilon large. A wall with μ > 0 is
    met in balls of 2% of the box, which costs hundreds of steps a walk, so that ``max_steps`` may be too few, and a bias of the order of
    μ times the square of that: about 4e-4 of u where μ times the box is 1. Where the curved side of a
    many-sided polygon reflects, small epsilons make many steps at its re-entrant corners.

    Random numbers are Philox4x32-10 with the counter (step, walk, point, instance): a walk's path depends on geometry, epsilon and those
    indices only. So the result is linear in (g, f) for one seed, has the same bits for any num_threads, and the first n points or instances
    alone give the bits that they have within the whole. Means and variances are merged pairwise over aligned ranges of walks (5), (6).

    Differentiable in the parameters of dirichlet and source, exactly for these walks; value also in points, by the estimate of ``gradient``
    from the same walks in pairs, which are walked when the gradient is asked for.

    Sources: Muller 1956; Sawhney and Crane 2020; Sawhney, Miller, Gkioulekas and Crane 2023 (walk on stars); Salmon et al. 2011 (Philox).

    Examples
    --------
    u = x in the unit square: known at x = 0, its flux 1 at x = 1, no flux through the rest.

    >>> import numpy as np
    >>> from quatrefoil import wos
    >>> square = wos.Polygon(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    >>> where = np.array([True, True, True, False])
    >>> flux = lambda X: (X[:, 0] > 1 - 1e-6).astype(X.dtype)
    >>> found = wos.solve(square, np.array([[0.3, 0.6]]), dirichlet=0.0, neumann=(where, flux), walks=4096, rng=1)
    >>> bool(abs(found.value[0] - 0.3) < 6 * found.stderr[0] + 2e-3)
    True
    """
    problem = _problem(
        "solve", boundary, points, dirichlet, source, epsilon, relative, max_steps, rng, backend, num_threads, gradient, screening,
        neumann, robin,
    )  # fmt: skip
    first, count = _range("solve", problem, walk_offset, walks)
    return finish(problem, problem.run(first, count))


def solve_vjp(
    boundary: Polygon | Ball,
    points: AnyArray,
    grad: AnyArray,
    *,
    dirichlet: Data,
    source: Data | None = None,
    walks: int = 64,
    epsilon: float = 1e-3,
    relative: bool = True,
    max_steps: int = 1024,
    rng: int,
    walk_offset: int = 0,
    screening: float = 0.0,
    neumann: tuple[Any, Data] | None = None,
    robin: tuple[Any, Any, Data] | None = None,
    gradient: bool = False,
    points_gradient: bool = True,
    backend: str | None = None,
    num_threads: int | None = None,
) -> tuple[Any, ...]:
    """Gradients of sum(grad * value) for the value of the same ``solve`` call: the walks are replayed, none is stored.

    value is linear in g for given paths, so the gradient is exact, not an estimate of one.

    Parameters
    ----------
    grad : shape of value
    rng : int
        The seed of the forward call, ``result.seed``.
    points_gradient : bool
        Whether the gradient in the points is wanted: an estimate, by the same walks in pairs.
    boundary, points, ...
        As for ``solve``.

    Returns
    -------
    grad_points : shape of points, or None
        grad times the gradient of u, summed over the instances that share the points; NaN within epsilon of the boundary, where grad is
        not 0; 0 outside.
    grad_dirichlet, grad_source : dict
        From parameter name to array: {"coefficients": ...} for Fourier, {"values": ...} for PerVertex (a list where a list was given),
        {"amplitude": ..., "center": ..., "width": ...} for Gaussians, {"value": ...} for an array of numbers, {} for a number and for
        functions.
    grad_neumann, grad_robin : dict
        Of their h, where ``neumann`` or ``robin`` was given: five results then.

    Raises
    ------
    NotImplementedError
        Lists of data. Keywords as for ``solve``.

    Notes
    -----
    Points outside contribute nothing. Cost: the forward call, and with ``points_gradient`` another one. Memory: at
    most 64 partial sums of the parameters, whatever ``walks`` is.
    """
    rng = seed(rng, "solve_vjp", "the int of result.seed")
    problem = _problem(
        "solve_vjp", boundary, points, dirichlet, source, epsilon, relative, max_steps, rng, backend, num_threads, gradient, screening,
        neumann, robin,
    )  # fmt: skip
    first, count = _range("solve_vjp", problem, walk_offset, walks)
    p = problem.ready
    of_value = numbers_of(grad, "solve_vjp", "grad")
    if of_value.shape != p.shape:
        raise ValueError(f"solve_vjp: grad has shape {of_value.shape}, expected value's {p.shape}")
    if of_value.dtype != p.dtype:
        raise TypeError(f"solve_vjp: grad has dtype {of_value.dtype} but points has {p.dtype}; convert it")
    for data in p.data:
        if data.numbers is not None and data.pull is None:
            raise NotImplementedError("solve_vjp: a list of data has no gradient here; stack its parameters, or use torch's autograd")
    group = 2 if gradient else 1
    _, sizes = schedule(first // group, count // group)
    share = np.zeros((p.B, p.N, len(sizes), 1 + (p.boundary.dimension if gradient else 0)))
    share[..., 0] = of_value.reshape(p.B, p.N, 1) * (np.array(sizes) * group / count)  # (6): the mean is linear in those of the nodes
    if p.outside is not None:
        share[np.asarray(p.outside).reshape(p.B, p.N)] = 0
    given = _arrays.of_kind(p.kind, share)
    pulled = iter(call_vjp(p.op, (*p.inputs, given), problem.options(first, count), p.extras, problem.backend, num_threads))
    found = [{} if d.pull is None else d.pull(numbers_of(next(pulled), "solve_vjp", "gradient")) for d in p.data]
    return _grad_points(problem, of_value, first, count) if points_gradient else None, *found


def _grad_points(problem: Problem, grad: np.ndarray, first: int, count: int) -> Array[Any]:
    p = problem.ready
    weight = grad.reshape(p.B, p.N, 1)
    if p.outside is not None:
        weight = np.where(np.asarray(p.outside).reshape(p.B, p.N, 1), 0, weight)
    product = np.where(weight == 0, 0, weight * np.asarray(problem.slope(first, count)))
    summed = product if problem.points.ndim == 3 else product.sum(axis=0)
    found: Array[Any] = _arrays.of_kind(p.kind, np.ascontiguousarray(summed, p.dtype))
    return found


def _range(label: str, problem: Problem, walk_offset: Any, walks: Any) -> tuple[int, int]:
    """The first walk, and how many."""
    count = integer(walks, label, "walks", 1)
    first = integer(walk_offset, label, "walk_offset", 0)
    check_range(label, first, count)
    check_pairs(label, problem.gradient, walks=count, walk_offset=first)
    return first, count


def _problem(
    label: str,
    boundary: Any,
    points: Any,
    dirichlet: Any,
    source: Any,
    epsilon: Any,
    relative: Any,
    max_steps: Any,
    rng: Any,
    backend: Any,
    num_threads: Any,
    gradient: Any,
    screening: Any,
    neumann: Any,
    robin: Any,
) -> Problem:
    if not isinstance(boundary, (Polygon, Ball)):
        raise TypeError(f"{label}: boundary is {type(boundary).__name__}, expected a Polygon or a Ball")
    epsilon, steps = number(epsilon, label, "epsilon", positive=True), integer(max_steps, label, "max_steps", 1, MAX_STEPS)
    if dirichlet is None:
        raise TypeError(f"{label}: dirichlet is None, expected boundary values")
    if num_threads is not None:
        num_threads = threads(num_threads, label)
    drawn, backend = _seed(rng, label), resolve(backend)
    if not isinstance(gradient, bool):
        raise TypeError(f"{label}: gradient is {gradient!r}, expected True or False")
    rate = number(screening, label, "screening")
    return Problem(
        boundary,
        points,
        dirichlet,
        source,
        epsilon,
        bool(relative),
        steps,
        drawn,
        backend,
        bool(gradient),
        rate,
        num_threads,
        neumann,
        robin,
    )


def _seed(rng: Any, label: str) -> int:
    if rng is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**64, dtype=np.uint64))
    return seed(rng, label)
