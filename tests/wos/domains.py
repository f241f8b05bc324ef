"""Small problems with every kind of boundary, data and option. Each function returns a boundary, points and keywords of solve."""

import functools

import numpy as np
import pytest

from case import BACKENDS
from quatrefoil import wos
from quatrefoil.wos.data.pack import _parameters
from quatrefoil.wos.data.packed import DataClass, with_arrays
from wos.query.oracle import tetrahedron
from wos.walk import oracle

every_backend = pytest.mark.parametrize("backend", [*BACKENDS, "array"], indirect=True)
quarter_or_slow = pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["quarter", "all"])
needs_native = pytest.mark.skipif(BACKENDS[0] != "native", reason="takes many walks, or tests the compiled kernels")
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
HOLE = 0.5 + 0.1 * np.array([[-1, -1], [1, -1], [0, 1.0]])
WHERE = np.array([True, False, True, True])
RINGS = [SQUARE, SQUARE * [1, 0.5], HOLE]


def u(X):
    return X[:, 0] + 2 * X[:, 1] * X[:, 0] - 0.5


def squared(X):
    return 1 + X[:, 0] ** 2


def from_disc(X):
    return np.sqrt(((X - 0.3) ** 2).sum(axis=1)) - 0.8


def cfunc(f, d=2):
    """Compile a function of points with Numba, as a C callback that takes pointers."""
    numba = pytest.importorskip("numba")
    inner, pointer = numba.njit(getattr(f, "py_func", f)), numba.types.CPointer(numba.types.float64)

    @numba.cfunc(numba.types.void(numba.types.int64, pointer, pointer))
    def of_pointers(n, x, out):
        values = inner(numba.carray(x, (n, d)))
        for i in range(n):
            out[i] = values[i]

    return of_pointers


def points_in(boundary, rng, n, clear=1e-3):
    """At most n points inside, at least ``clear`` times the boundary's extent away from it."""
    half = 1.0 if isinstance(boundary, wos.Ball) else 0.5
    X = boundary._centre[0] + half * boundary._extent[0] * rng.uniform(-1, 1, (60 * n, boundary.dimension))
    return X[wos.signed_distance(boundary, X) < -clear * boundary._extent[0]][:n]


def flux(boundary, slope, mu=0.0, u=None):
    """The flux through the closest facet, plus mu u, as a function of points."""
    corners = boundary._ends.reshape(-1, boundary.dimension, boundary.dimension)
    outward = functools.cache(lambda: wos.signed_distance(boundary, corners.mean(axis=1), gradient=True)[1])

    def h(X):
        k = wos.closest_point(boundary, np.ascontiguousarray(X, np.float64))[2]
        outflow = (slope(X) * outward()[k]).sum(axis=1)
        return (outflow if u is None else outflow + np.broadcast_to(mu, len(corners))[k] * u(X)).astype(X.dtype)

    return h


def corner(rng, n, d=2, size=0.4):
    """Points near a corner of the unit cube."""
    return rng.uniform(0.1, size, (n, d))


def bells(rng, d=2, J=2, lead=()):
    return wos.Gaussians(rng.standard_normal((*lead, J)), rng.random((*lead, J, d)), rng.uniform(0.3, 1.0, (*lead, J)))


def fourier(rng, *lead):
    return wos.Fourier(rng.standard_normal((*lead, 5)), (0.1, -0.05))


def per_vertex(rng, *shape):
    return wos.PerVertex(rng.standard_normal(shape))


def powers(rng, d=2):
    return wos.Polynomial(rng.standard_normal((2, 3, 2, 1, 2)[:d]))


def field(d=2, n=21, radius=1.0, center=0.0):
    """The distance from a ball, at n nodes along each axis of a box around it."""
    at = radius * np.linspace(-1.2, 1.2, n)
    distance = np.sqrt(sum(x * x for x in np.meshgrid(*[at] * d, indexing="ij"))) - radius
    return wos.SDF(distance, ([center + at[0]] * d, [center + at[-1]] * d))


def _polygons(rng, **options):
    X = np.stack([ring.mean(axis=0) + rng.uniform(-0.03, 0.03, (3, 2)) for ring in RINGS])
    return wos.Polygon(RINGS), X, {"dirichlet": wos.PerVertex([rng.standard_normal(len(ring)) for ring in RINGS]), **options}


def _walls_of_many(rng):
    walls = [np.arange(len(ring)) == 1 for ring in RINGS]
    return _polygons(rng, neumann=(walls, wos.PerVertex([rng.standard_normal(len(ring)) for ring in RINGS])), source=bells(rng))


DOMAINS = {
    "number": lambda rng: (wos.Ball([0.2, 0.1], 0.6), corner(rng, 6), {"dirichlet": 2.0, "source": 1.0}),
    "numbers": lambda rng: (wos.Box([0] * 3, [1, 0.5, 0.7]), corner(rng, 4, 3), {"dirichlet": rng.standard_normal(2), "screening": 3.0}),
    "fourier": lambda rng: (
        wos.Ball([0.2, 0.1], 0.6), corner(rng, 4), {"dirichlet": fourier(rng, 3), "source": bells(rng)},
    ),
    "five dimensions": lambda rng: (
        wos.Box([0] * 5, [1.0] * 5), corner(rng, 3, 5), {"dirichlet": powers(rng, 5), "source": bells(rng, 5), "screening": 2.0},
    ),
    "medium in five": lambda rng: (
        wos.Ball([0.5] * 5, 0.8), corner(rng, 3, 5),
        {
            "dirichlet": powers(rng, 5), "source": bells(rng, 5), "screening": squared,
            "diffusion": wos.Gaussians(np.array([2.0]), np.zeros((1, 5)), 1.0),
        },
    ),
    "half discs": lambda rng: (wos.Polygon(SQUARE, holes=[HOLE]), corner(rng, 5), {"dirichlet": powers(rng), "epsilon": 1e-4}),
    "star": lambda rng: (
        wos.Polygon(oracle.star(40)), oracle.star_points(rng, 4),
        {"dirichlet": fourier(rng), "source": bells(rng), "screening": 3.0},
    ),
    "grid": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 4).reshape(1, 4, 2),
        {"dirichlet": powers(rng), "source": wos.GridField(rng.standard_normal((4, 5)), ((0, 0), (1, 1)))},
    ),
    "lists": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3), {"dirichlet": [bells(rng), bells(rng, J=3)], "source": [1.0, 2.0]},
    ),
    "functions": lambda rng: (wos.Polygon(SQUARE), corner(rng, 3), {"dirichlet": u, "source": [u, squared]}),
    "polygons": _polygons,
    "mesh": lambda rng: (
        wos.TriangleMesh(*tetrahedron()), 0.6 * corner(rng, 4, 3), {"dirichlet": per_vertex(rng, 4), "source": bells(rng, 3)},
    ),
    "outside of a mesh": lambda rng: (
        wos.TriangleMesh(*tetrahedron()), 0.4 + 0.3 * rng.random((3, 3)), {"dirichlet": per_vertex(rng, 4), "exterior": True},
    ),
    "outside of a polygon": lambda rng: (
        wos.Polygon(SQUARE), 1.1 + rng.random((3, 2)), {"dirichlet": per_vertex(rng, 4), "source": bells(rng), "exterior": True},
    ),
    "outside of a box": lambda rng: (
        wos.Box([0] * 3, [1, 0.5, 0.7]), -1 - rng.random((3, 3)), {"dirichlet": bells(rng, 3), "exterior": True},
    ),
    "outside of a ball": lambda rng: (wos.Ball([0] * 3, 0.6), -1 - rng.random((3, 3)), {"dirichlet": powers(rng, 3), "exterior": True}),
    "outside of a box in four": lambda rng: (
        wos.Box([0] * 4, [1, 0.5, 0.7, 1]), -0.2 - 0.3 * rng.random((3, 4)),
        {"dirichlet": powers(rng, 4), "source": bells(rng, 4), "exterior": True},
    ),
    "field": lambda rng: (field(), oracle.disc_points(rng, 4, 0.8), {"dirichlet": powers(rng), "source": bells(rng)}),
    "field in space": lambda rng: (field(3), oracle.disc_points(rng, 4, 0.8, 3), {"dirichlet": powers(rng, 3)}),
    "field of a function": lambda rng: (
        wos.SDF(from_disc, ([-0.8] * 2, [1.4] * 2)), corner(rng, 3), {"dirichlet": powers(rng), "source": bells(rng)},
    ),
    "walls": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 4),
        {"dirichlet": per_vertex(rng, 4), "neumann": (WHERE, per_vertex(rng, 4)), "source": bells(rng)},
    ),
    "walls of many": _walls_of_many,
    "walls with functions": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 4), {"dirichlet": u, "source": u, "neumann": (WHERE, squared)},
    ),
    "robin": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3),
        {
            "dirichlet": per_vertex(rng, 4), "source": bells(rng), "neumann": (np.arange(4) == 0, per_vertex(rng, 4)),
            "robin": (np.arange(4) > 1, 2.0, fourier(rng)),
        },
    ),
    "no end": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3), {"dirichlet": per_vertex(rng, 4), "neumann": (WHERE | True, bells(rng)), "screening": 9.0},
    ),
    "walls in space": lambda rng: (
        wos.TriangleMesh(*tetrahedron()), 0.6 * corner(rng, 3, 3),
        {"dirichlet": per_vertex(rng, 4), "neumann": (WHERE, per_vertex(rng, 4)), "source": bells(rng, 3)},
    ),
    "medium": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 4), {"dirichlet": powers(rng), "source": bells(rng), "diffusion": squared, "screening": squared},
    ),
    "media": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3),
        {
            "dirichlet": fourier(rng), "source": bells(rng),
            "diffusion": wos.Gaussians(np.array([1.0, 2.0]), np.array([[0, 0], [0.5, 0.5]]), np.array([1.0, 2.0])),
            "screening": wos.GridField(rng.uniform(1, 2, (4, 4)), ((0, 0), (1, 1))),
        },
    ),
    "medium with walls": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3),
        {
            "dirichlet": powers(rng), "source": bells(rng), "neumann": (np.arange(4) == 0, powers(rng)),
            "robin": (np.arange(4) == 1, 1.5, powers(rng)), "diffusion": wos.Polynomial(np.array([[1.6, 0.3, 0.2], [1.0, 0.1, 0.0]])),
        },
    ),
    "media of many": lambda rng: (
        wos.Polygon([SQUARE, SQUARE * [1, 0.5]]), corner(rng, 3),
        {
            "dirichlet": fourier(rng), "diffusion": wos.GridField(rng.uniform(1, 2, (2, 4, 4)), ((0, 0), (1, 1))),
            "screening": wos.Gaussians(rng.uniform(1, 2, (2, 1)), np.zeros((1, 2)), 1.0),
        },
    ),
    "sobol": lambda rng: (
        wos.Polygon(oracle.star(40)), oracle.star_points(rng, 4), {"dirichlet": fourier(rng, 2), "source": bells(rng), "sampling": "sobol"},
    ),
    "sobol in half discs": lambda rng: (
        wos.Polygon(SQUARE, holes=[HOLE]), corner(rng, 5), {"dirichlet": powers(rng), "epsilon": 1e-4, "sampling": "sobol"},
    ),
    "sobol in space": lambda rng: (
        wos.TriangleMesh(*tetrahedron()), 0.6 * corner(rng, 4, 3),
        {"dirichlet": per_vertex(rng, 4), "source": bells(rng, 3), "screening": 2.0, "sampling": "sobol"},
    ),
    "shared walks": lambda rng: (
        wos.Polygon(oracle.star(40)), oracle.star_points(rng, 4),
        {"dirichlet": fourier(rng, 3), "source": bells(rng), "screening": 3.0, "shared_walks": True},
    ),
    "shared walks, functions": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3), {"dirichlet": [u, squared], "source": [squared, u], "shared_walks": True},
    ),
    "shared walks, walls": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3),
        {
            "dirichlet": per_vertex(rng, 3, 4), "source": bells(rng), "neumann": (np.arange(4) == 0, bells(rng, lead=(3,))),
            "robin": (np.arange(4) > 1, 2.0, per_vertex(rng, 3, 4)), "shared_walks": True,
        },
    ),
    "shared walks, walls in space": lambda rng: (
        wos.TriangleMesh(*tetrahedron()), 0.6 * corner(rng, 3, 3),
        {"dirichlet": powers(rng, 3), "neumann": (WHERE, per_vertex(rng, 2, 4)), "source": bells(rng, 3, lead=(2,)), "shared_walks": True},
    ),
    "shared walks, medium": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3),
        {"dirichlet": fourier(rng, 3), "source": bells(rng), "diffusion": squared, "screening": squared, "shared_walks": True},
    ),
    "shared walks, medium with walls": lambda rng: (
        wos.Polygon(SQUARE), corner(rng, 3),
        {
            "dirichlet": powers(rng), "source": bells(rng, lead=(3,)), "neumann": (np.arange(4) == 0, fourier(rng, 3)),
            "diffusion": wos.Polynomial(np.array([[1.6, 0.3, 0.2], [1.0, 0.1, 0.0]])), "shared_walks": True,
        },
    ),
}  # fmt: skip
ON_HOST = ["field of a function"]  # a compiled distance function, which devices cannot call


def moved(change, options):
    """Keywords of solve with converted data. Masks of reflecting walls stay on the host."""
    converted = {}
    for name, data in options.items():
        walls = name in ("neumann", "robin")
        converted[name] = (*data[:-1], with_arrays(data[-1], change)) if walls else with_arrays(data, change)
    return converted


def instances_of(data, d):
    """The number of instances of data in d dimensions, or None if all instances share the data."""
    if isinstance(data, list):
        return len(data)
    if isinstance(data, tuple):  # walls with their data
        return instances_of(data[-1], d)
    return max((len(x) for x, axes in _parameters(data, d) if isinstance(x, list) or x.ndim > axes), default=None)


def instance(data, b, d):
    """The data of one instance, or walls with their data."""
    if isinstance(data, tuple):
        return tuple(x if getattr(x, "dtype", np.float64) is np.dtype(bool) else instance(x, b, d) for x in data)
    if isinstance(data, list):
        return data[b]
    if isinstance(data, wos.PerVertex) and isinstance(data.values, list):
        return wos.PerVertex(data.values[b])
    axes = {id(x): n for x, n in _parameters(data, d)}
    return with_arrays(data, lambda x: x[b] if x.ndim > axes[id(x)] else x)


def problem(name, rng, dtype="float64", outside=False):
    """Boundary, points and options of solve; with ``outside``, the first point of every instance is not in the domain."""
    boundary, X, options = DOMAINS[name](rng)
    X[..., : int(outside), :] = 7.0 if "exterior" not in options else 0.1
    convert = lambda a: a.astype(dtype) if a.dtype == np.float64 else a  # noqa: E731
    return boundary, X.astype(dtype), {"walks": 4, "rng": 5, "max_steps": 40, **moved(convert, options)}


def is_linear(name):
    """Whether the value is linear in the data's parameters: there are no functions, and all parameters are arrays."""
    data = [x[-1] if isinstance(x, tuple) else x for x in (DOMAINS[name](np.random.default_rng(0))[2].get(k) for k in DATA)]
    return all(x is None or isinstance(x, (DataClass, np.ndarray)) for x in data)


DATA = ("dirichlet", "source", "neumann", "robin")
LINEAR = [name for name in DOMAINS if is_linear(name)]


def arrays_of(x):
    """All arrays in a result, including those in dictionaries and lists."""
    if isinstance(x, (tuple, list)):
        return [a for item in x for a in arrays_of(item)]
    return arrays_of(list(x.values())) if isinstance(x, dict) else [] if x is None else [x]


def of_any_kind(boundary):
    """A boundary for all array types."""
    boundary.kind = None
    return boundary
