"""Boundary value problems at the points where they are wanted, by walks. Equation numbers are those of csrc/wos/walk/README.md."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

import numpy as np

from ... import _arrays
from ..._arguments import arrays_like, choice, drawn_seed, integer, keywords, number, numbers_here, refuse_tracing, seed, threads
from ..._bind import check_device
from ..._call import call_vjp
from ..._typing import Array, ArrayLike, Backend, Points, T
from ..data import Data, PerRing, PerRingData
from ..mesh import Boundary
from ..region import check_boundary
from . import MAX_STEPS, check_pairs
from .adaptive import Rule
from .adjoint import of_points, shares
from .draw import Draw
from .medium import is_data
from .per_ring import expected_for
from .piece import to_numpy
from .problem import Problem, check_on_host, check_range, resolve
from .result import Result, finish
from .state import schedule

_HINTS = {
    **dict.fromkeys(("seed", "random_state", "key", "generator"), "use rng"),
    **dict.fromkeys(("n_walks", "num_walks", "samples", "n_samples", "nwalks"), "use walks"),
    **dict.fromkeys(("g", "boundary_values", "bc"), "use dirichlet"),
    **dict.fromkeys(("f", "rhs"), "use source"),
    **dict.fromkeys(("eps", "tol", "tolerance"), "use atol or rtol for the standard error, epsilon for the shell at the boundary"),
}


@keywords("solve", **_HINTS)
def solve(
    boundary: Boundary,
    points: Array[T] | Points,
    dirichlet: Data | None = None,
    *,
    dirichlet_per_ring: PerRingData | None = None,
    source: Data | None = None,
    screening: float | Data = 0.0,
    diffusion: Data | None = None,
    neumann: tuple[Any, Data] | None = None,
    robin: tuple[Any, Any, Data] | None = None,
    walks: int = 64,
    epsilon: float = 1e-3,
    relative: bool = True,
    max_steps: int = 1024,
    gradient: bool = False,
    exterior: bool = False,
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
    """Solve a boundary value problem at single points, without a mesh, with standard errors.

    -∇·(α∇u) + σu = f in the domain, u = g on its boundary or a part of it, ∂u/∂n + μu = h on the rest.

    By averaging random walks (1), (2); n points outward. B problem instances are solved at once where the boundary, the data or the points
    carry a leading B; a leading 1 serves all of them, as in NumPy.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
    points : (N, d) or (B, N, d), or (d,) for one point
        float32 or float64, NumPy, PyTorch or CuPy; on a device too, see Notes. Lists and integers count as float64. (N, d) serves every
        instance.
    dirichlet : g
        The values on the boundary: a number, Fourier, Gaussians, Polynomial, PerVertex, GridField, or a function f(X (n, d)) -> (n,). That
        is any Python callable, a ``numba.njit`` function, or a ``numba.cfunc`` ``void(int64 n, const double* x, double* out)``. For B
        problems: an array of (B,) numbers, or a list of B of these if boundary, points or other data have a leading B too. For a polygon
        with holes, one value for each ring: ``dirichlet_per_ring``.
        Functions get absolute coordinates, njit functions in float64, others in the points' dtype; they may be called more than once for a
        point and from several threads, with points of the closed domain (boundary data: of its boundary) but for rounding, 1e-7 of the box.
        Compiled functions run without the GIL; they cannot raise.
    dirichlet_per_ring : list of R numbers or data, or (R,), optional
        Instead of dirichlet, for one Polygon: the values on its outline, then on each of its holes. PerVertex has the vertices of its ring.
        Numbers and PerVertex have gradients; other data are called as functions.
    source : f, optional
        As dirichlet, but for PerVertex. The sign is that of -Δu = f; ``qf.kron.GPHM``'s Poisson has the other one, Δu = source.
    screening : σ
        A number >= 0, or data like source with values >= 0, which is walked through as a diffusion is.
    diffusion : α, optional
        Data like source with positive values, but for Fourier; 1 if not given. It must have second derivatives: those of Polynomial and
        Gaussians are exact; a GridField's are second differences at its nodes, linear between them, for it samples a smooth field and the
        kinks between its cells are not meant (its box should hold the domain); a function's are differences with a step of 1e-3 of the
        bounding box's diagonal, so it is called so far outside of the domain, in float64, and details as small are lost. A constant with
        bells: a bell whose width is large.
    neumann : (where, h), optional
        ∂u/∂n = h on the segments of a Polygon where ``where`` is True: (M,) bool, NumPy or a tensor, segment k from vertex k to k + 1,
        outer ring first, then holes; (B, M) or a list of them for B polygons. Or on those triangles of a closed TriangleMesh, (M,) as its
        ``triangles``. h as dirichlet; PerVertex has all vertices. There the boundary has no value of its own: points on it are like those
        inside.
    robin : (where, mu, h), optional
        ∂u/∂n + μu = h likewise, of a Polygon; mu >= 0 is a number, or one a segment as ``where`` is, and has no gradient.
    walks : int
        Walks a point.
    epsilon : float
        A walk ends this close to the boundary, at the projection on it; with ``relative`` in units of the bounding box's diagonal (Ball:
        2 r sqrt(d); SDF: its box).
    max_steps : int
        A walk that has made so many steps ends at its projection and is counted in ``n_truncated``. At most 2^20 - 1.
    rng : None, int or numpy.random.Generator
        The seed, 0 to 2^64 - 1; a Generator is drawn from once. ``rng=result.seed`` repeats a call.
    walk_offset : int
        Index of the first walk: runs over [0, m) and [m, n) merge to the bits of [0, n).
    gradient : bool
        Also ∇u, by the same walks (13): walks 2k and 2k + 1 leave their point in opposite directions, which takes constants out of the
        gradient exactly. ``walks`` and ``walk_offset`` must be even, and standard errors are those of the pairs. NaN within epsilon of the
        boundary, of reflecting walls too, where the value is as ever; near a wall the gradient's error grows as 1 / distance.
    exterior : bool
        The domain is outside a Ball, a Box or a TriangleMesh in three dimensions, and u tends to 0 far away: Laplace's equation only,
        without a source and a screening. Points inside are NaN. A walk that has gone beyond a sphere around the boundary comes back to it
        or ends at infinity with the value 0 (solid (4), (5)), which is no escape.
    cache : None or "harmonic"
        "harmonic": walks that leave the centres of some balls serve all points in them, where u is a sum of harmonics (17). For many points
        in one domain, without a source and without a gradient; a walk a point costs about as much as without. The error bars of single
        points are right, but errors of points that are close to each other are correlated.
    rtol, atol : float, optional
        Go on until stderr <= max(atol, rtol |value|), point by point (19), in rounds of ``walks``. A tolerance that is not given is 0. A
        third of the values miss by more than one standard error: halve tolerances for 95 %. Notes say what stopping does.
    max_walks : int
        With a tolerance, the walks of a point at most, met exactly: the last round is cut. 2^20 if not given.
    executor : concurrent.futures.Executor, optional
        Where walks are made: threads, processes (of ``spawn``), Dask's ``client.get_executor()``, or any other. The bits are those of one
        machine, for any way to cut the work and any order of answers; see Notes.
    progress : bool or callable, optional
        Called as progress(walks so far, share left) of the walks or, with a tolerance, the points; True prints a line a second.
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
        Shapes, numbers of instances, NaN or infinite points or numbers, epsilon <= 0, walks or max_steps < 1, screening < 0 or diffusion
        <= 0 at a point where it was looked at, diffusion or screening that require grad, either of them, but for a number as screening,
        with neumann, robin or cache; an odd number of walks with ``gradient``, rtol or atol < 0, max_walks < walks; a segment in both
        neumann and robin; neither a Dirichlet part nor μ nor a screening, so that u is free by a constant; neumann or robin with
        ``cache``; neumann without a Polygon or a closed TriangleMesh, robin without a Polygon.
    TypeError
        Other dtypes; a mix of kinds; floats where integers are due; what the executor's workers cannot be sent.
    NotImplementedError
        Tensors that require grad where there is no gradient: vertices, a list of data of several kinds, all of them with an executor.
        Tensors inside ``torch.func``; ``torch.compile`` that may not break its graph here.
    RuntimeError
        A worker died, and its executor does not repeat what was lost.

    Notes
    -----
    Points outside are NaN with one RuntimeWarning; a point within epsilon of the boundary is g there, with stderr 0. A NaN that a function
    returns stays in the points whose walks met it. Other RuntimeWarnings, one per call: more than 1% of the walks escaped (``n_escaped``);
    the stderr of more than 5% of the points cannot be trusted, because fewer than 5 of their walks carry the value (seen where all data are
    known to have one sign, from 100 walks on; walk README, Doubts).

    Data may have any size that float64 holds: walks know u in units of a power of two, which the data decide and which changes no bit of
    ordinary ones. What functions return is not known before: their values are summed as they are, and where the squares of u leave float64,
    beyond 1e-144 to 1e144, a RuntimeWarning says that stderr may be 0 or infinite. On a device units are 1: there, float32 holds 1e-37 to
    1e37.

    Error: ``stderr`` for the walks, and a bias, for u is taken up to epsilon inside the boundary: at most about half of epsilon times the
    largest |∂u/∂n|. Near the boundary that may be much of u. With f = 1 and zero data in a square it is below 0.15 epsilon times the
    diagonal (times f and the side) everywhere: at 1e-3 0.2% of u in the middle, but 3.4% at a fiftieth of the side from both sides of a
    corner and 15% nearer to it (walk README, Measured). Epsilon grows with the dimension, as the diagonal does: where it matters take 1e-4.
    In a polygon of long segments without source and screening walks end on the segments themselves, but for the corners: by half discs,
    walk (24), in 3 to 6 steps whatever epsilon is.
    Cost: about log(1/epsilon) steps a walk (11 at 1e-3), each O(1) for a polygon whatever its number of segments, by a grid of distance
    bounds and candidate lists (polygon (2)) that is kept with the boundary. For a mesh likewise (mesh (6)): its cells are filled as walks
    come by, at most 2 million of them. Memory: 12 MB and 2 MB an instance, independent of ``walks``.
    Ball and Box may have more than three dimensions. Data are numbers, Gaussians, Polynomial and functions there, and walks run in float64,
    one after the other: 0.1 us a step in 7 dimensions.
    Walks run in float32 in coordinates centred on the box and scaled by it, below a relative epsilon of 1e-5 in float64.

    With neumann or robin walks are walks on stars (wos/stars): about 15 steps at epsilon = 1e-3 with half of the boundary reflecting, each
    O(log M). A reflecting wall has no shell and no bias, but near re-entrant corners balls are at least epsilon large. A wall with μ > 0 is
    met in balls of 2% of the box, which costs hundreds of steps a walk, so that ``max_steps`` may be too few, and a bias of the order of
    μ times the square of that: about 4e-4 of u where μ times the box is 1. Where the curved side of a
    many-sided polygon reflects, small epsilons make many steps at its re-entrant corners; of a mesh likewise at its re-entrant edges.
    A mesh's walls cost 1 to 2 us a triangle in every call, which also fills its grid's cells again.

    With a diffusion, or a screening that varies, walks are those of U = sqrt(α) u in a medium of constant screening (wos/media), which
    jump inside their balls too and then change their weight. The constant is a bound of |σ'|, σ' = σ/α + Δ sqrt(α) / sqrt(α): found for
    every instance, in about 1 ms, from 4096 points of the domain and 1024 of the boundary, where α and σ are checked too, with a quarter
    of the range to spare. Where σ' is larger, answers stay right and errors grow: such jumps are counted, and a RuntimeWarning says how
    many. Steps grow with the bound times the square of the domain's size, and so do errors where σ' is negative: α should not vary by
    orders of magnitude.

    On a device: walks run where the points lie, as do the data's arrays, and so do the results. A boundary is made on the host, of arrays
    that are there or are read back, and its tables are copied to the device once and kept with it. Functions get arrays of the device, in
    backend "array". Nothing is read back but one flag every 32 steps in that backend; so nobody is warned of points outside and of jumps
    beyond the bound, NaN and infinity in points and data are not looked for, and a point that is not finite is NaN. With a diffusion, or a
    screening that varies, their numbers, or what their functions give for the 5000 points, are read back once, and the points with
    ``gradient`` too. With rtol or atol values and errors are read back after every round. There are no executor and cache, and no list of
    data of several kinds but functions: NotImplementedError.

    Random numbers are Philox4x32-10 with the counter (step, walk, point, instance): a walk's path depends on geometry, epsilon and those
    indices only, and where half discs are taken on there being none of source and screening (``source=0.0`` takes the paths of any source).
    So the result is linear in (g, f) for one seed, has the same bits for any num_threads, and the first n points or instances alone give
    the bits that they have within the whole. Means and variances are merged pairwise over aligned ranges of walks (5), (6).

    Stopping: a point with n walks has the bits of a plain call with ``walks=n``, and n_walks says n. But n depends on the walks: a point
    stops early where they happen to lie close together. So errors are a little larger than ``stderr`` says, in mean square 1.16 times
    with rounds of 16 walks and 1.05 times with 64 in the case measured (csrc/wos/walk/README.md), 11 times with 4; and the value has a
    bias of -skewness / sqrt(n) standard errors, and 2 rtol more where rtol decides (20). Walks that are all alike, as of boundary data
    that are 0 in most places, have the error 0; such a point takes 1000 walks at least. A value that is not finite stops. A round costs
    about 0.1 ms beside its walks: choose ``walks`` so that a round of all points makes some ten thousand. The walks of points that have
    stopped are not drawn again; ``resume`` gives each point as many more, from where it ended.

    Executors: a task is some points of up to 64 instances, or, where a single point has more than 2^20 walks and no tolerance, an aligned
    range of them: about 0.3 s of one thread. It carries its part of the boundary and data once; a process keeps the last four boundaries
    with their grids, and compiled functions. Tasks run on ``num_threads`` threads each: give 1 where every core has a process of its own.
    Functions must pickle; lambdas and closures do where cloudpickle is installed. A task depends on nothing but what it was sent, so an
    executor may run it again: Dask does where a worker dies. Bits are those of one instruction set: where machines differ, set
    ``QUATREFOIL_ISA``.

    Differentiable in the parameters of dirichlet, source and h, exactly for these walks; value also in points, by the estimate of
    ``gradient`` from the same walks in pairs, which are walked when the gradient is asked for: NaN where that is.

    Sources: Muller 1956; Sawhney and Crane 2020; Sawhney, Seyb, Jarosz and Crane 2022 (diffusion); Sawhney, Miller, Gkioulekas and Crane
    2023 (walk on stars); Salmon et al. 2011 (Philox).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, g = qf.wos.Ball([0.0, 0.0], 1.0), qf.wos.Fourier(np.array([1.0, 2.0, 0.0]))  # u = 1 + 2 x
    >>> r = qf.wos.solve(disc, np.array([[0.0, 0.0], [0.5, 0.0], [0.9, 0.0]]), dirichlet=g, atol=0.01, walks=1024, rng=1)
    >>> bool((r.stderr <= 0.01).all()), r.n_walks.tolist() == sorted(r.n_walks.tolist(), reverse=True)
    (True, True)
    >>> bool((r.resume(1000).n_walks == r.n_walks + 1000).all())
    True

    u = x in the unit square: known at x = 0, its flux 1 at x = 1, no flux through the rest.

    >>> square = qf.wos.Polygon(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    >>> where = np.array([True, True, True, False])
    >>> flux = lambda X: (X[:, 0] > 1 - 1e-6).astype(X.dtype)
    >>> found = qf.wos.solve(square, np.array([[0.3, 0.6]]), dirichlet=0.0, neumann=(where, flux), walks=4096, rng=1)
    >>> bool(abs(found.value[0] - 0.3) < 6 * found.stderr[0] + 2e-3)
    True

    A room around a pillar of temperature 1, whose outer walls have temperature 0:

    >>> room = qf.wos.Polygon([[0, 0], [3, 0], [3, 3], [0, 3]], holes=[[[1, 1], [2, 1], [2, 2], [1, 2]]])
    >>> warm = qf.wos.solve(room, [[0.99, 1.5], [0.01, 1.5]], dirichlet_per_ring=[0, 1], walks=1024, rng=1)
    >>> warm.value.round(1).tolist()
    [1.0, 0.0]

    u = exp(-x), with the diffusion exp(2x) and the source exp(x).

    >>> through = qf.wos.solve(
    ...     disc, np.array([[0.2, 0.1]]), dirichlet=lambda X: np.exp(-X[:, 0]), source=lambda X: np.exp(X[:, 0]),
    ...     diffusion=lambda X: np.exp(2 * X[:, 0]), walks=4096, rng=1,
    ... )
    >>> bool(abs(through.value[0] - np.exp(-0.2)) < 6 * through.stderr[0] + 2e-3)
    True
    """
    problem = _problem(
        "solve", boundary, points, dirichlet, dirichlet_per_ring, rng, backend, num_threads, source=source, epsilon=epsilon,
        relative=relative, max_steps=max_steps, gradient=gradient, screening=screening, neumann=neumann, robin=robin, diffusion=diffusion,
        exterior=exterior,
    )  # fmt: skip
    if cache is not None:
        if any(x is not None for x in (rtol, atol, executor, progress)):
            raise ValueError("solve: with a cache rtol, atol, executor and progress have no meaning yet; leave them out")
        problem.cache = choice(cache, "solve", "cache", (None, "harmonic"))
        _check_cache(problem)
        check_on_host("solve", "cache", problem)
    first, count = _range("solve", problem, walk_offset, walks)
    rule = Rule.of("solve", rtol, atol, count, max_walks, problem.ready.dtype)
    if rule is not None:
        check_pairs("solve", problem.gradient, max_walks=rule.most)
    return finish(problem, Draw.of(problem, executor, progress, "solve").all(first, count, rule))


def solve_vjp(
    boundary: Boundary,
    points: ArrayLike,
    grad: ArrayLike,
    *,
    dirichlet: Data | None = None,
    dirichlet_per_ring: PerRingData | None = None,
    source: Data | None = None,
    walks: int = 64,
    epsilon: float = 1e-3,
    relative: bool = True,
    max_steps: int = 1024,
    rng: int,
    walk_offset: int = 0,
    screening: float | Data = 0.0,
    diffusion: Data | None = None,
    neumann: tuple[Any, Data] | None = None,
    robin: tuple[Any, Any, Data] | None = None,
    gradient: bool = False,
    exterior: bool = False,
    points_gradient: bool = True,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Any, ...]:
    """Gradients of a solution by data and points: the walks are replayed, none is stored.

    Those of sum(grad * value) for the value of the same ``solve`` call.

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
        From parameter name to array: {"coefficients": ...} for Fourier and Polynomial, {"values": ...} for GridField and PerVertex (a list
        where a list was given),
        {"amplitude": ..., "center": ..., "width": ...} for Gaussians, {"value": ...} for an array of numbers, {} for a number and for
        functions. Of ``dirichlet_per_ring`` {"values": one per ring, a list where a list was given}.
    grad_neumann, grad_robin : dict
        Of their h, where ``neumann`` or ``robin`` was given: five results then.

    Raises
    ------
    NotImplementedError
        Lists of data. Keywords as for ``solve``.

    Notes
    -----
    Points outside contribute nothing. On a device the parameters' gradients are put together on the host, which waits for them. Cost: the
    forward call, and with ``points_gradient`` another one. Memory: at most 64 partial sums of the parameters, whatever ``walks`` is.

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
    rng = seed(rng, "solve_vjp", "the int of result.seed")
    problem = _problem(
        "solve_vjp", boundary, points, dirichlet, dirichlet_per_ring, rng, backend, num_threads, source=source, epsilon=epsilon,
        relative=relative, max_steps=max_steps, gradient=gradient, screening=screening, neumann=neumann, robin=robin, diffusion=diffusion,
        exterior=exterior,
    )  # fmt: skip
    first, count = _range("solve_vjp", problem, walk_offset, walks)
    p = problem.ready
    of_value = numbers_here(arrays_like((problem.points, grad), "solve_vjp", ("points", "grad"))[1], "solve_vjp", "grad")
    if tuple(of_value.shape) != p.shape:
        raise ValueError(f"solve_vjp: grad has shape {tuple(of_value.shape)}, expected value's {p.shape}")
    if (dtype := _arrays.dtype_name(of_value)) != p.dtype.name:
        raise TypeError(f"solve_vjp: grad has dtype {dtype} but points has {p.dtype}; convert it")
    if not p.on_host or not isinstance(of_value, np.ndarray):
        check_device("solve_vjp", "grad", grad, "points", problem.points)
    graded = p.data if p.medium is None else p.data[:2]
    for data in graded:
        if data.numbers is not None and data.pull is None:
            raise NotImplementedError("solve_vjp: a list of data has no gradient here; stack its parameters, or use torch's autograd")
    group = 2 if gradient else 1
    _, sizes = schedule(first // group, count // group)
    given = shares(p, of_value, np.array(sizes) * group / count, p.boundary.dimension if gradient else 0)
    whole = problem.whole
    pulled = iter(call_vjp(p.op, (*whole.inputs, given), whole.options(first, count), p.extras, p.backend, num_threads))
    found = [{} if d.pull is None else d.pull(to_numpy(next(pulled))) for d in graded]
    return of_points(problem, of_value, first, count) if points_gradient else None, *found


def _check_cache(problem: Problem) -> None:
    p = problem.ready
    if p.mixed is not None:
        raise ValueError("solve: a cache does not go with neumann or robin: leave it out")
    if p.medium is not None:
        raise ValueError("solve: a cache does not go with a diffusion, or a screening that is no number: leave it out")
    if problem.exterior or p.boundary.dimension > 3:
        raise ValueError("solve: a cache is for domains inside a boundary in two or three dimensions: leave it out")
    if p.source.kind != "none" or problem.gradient:
        raise ValueError("solve: with a cache there is neither a source nor a gradient: u must be harmonic, or screened without a source")
    if len(p.shape) + problem.one_point != 1:
        raise ValueError(f"solve: with a cache there is one instance, got results of shape {p.shape}; call it for every instance")
    if any(getattr(x, "requires_grad", False) for x in (problem.points, p.dirichlet.numbers)):
        raise NotImplementedError("solve: with a cache there is no gradient in points and data; detach them, or leave the cache out")


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
    dirichlet_per_ring: Any,
    rng: Any,
    backend: Any,
    num_threads: Any,
    **options: Any,
) -> Problem:
    refuse_tracing(label)
    check_boundary(boundary, label)
    if dirichlet_per_ring is not None:
        if dirichlet is not None:
            raise ValueError(f"{label}: dirichlet and dirichlet_per_ring are both given; leave one of them out")
        dirichlet = PerRing(dirichlet_per_ring)
    elif dirichlet is None or isinstance(dirichlet, dict):
        raise TypeError(f"{label}: dirichlet is {'a dict' if dirichlet else dirichlet}, expected boundary values: {expected_for(boundary)}")
    options["epsilon"] = number(options["epsilon"], label, "epsilon", positive=True)
    options["max_steps"] = integer(options["max_steps"], label, "max_steps", 1, MAX_STEPS)
    if not is_data(options["screening"]):
        options["screening"] = number(options["screening"], label, "screening")
    for name in ("gradient", "exterior"):
        if not isinstance(options[name], bool):
            raise TypeError(f"{label}: {name} is {options[name]!r}, expected True or False")
    options["relative"] = bool(options["relative"])
    if num_threads is not None:
        num_threads = threads(num_threads, label)
    return Problem(
        boundary, points, dirichlet, seed=drawn_seed(rng, label), backend=resolve(backend, points), num_threads=num_threads, **options
    )  # fmt: skip
