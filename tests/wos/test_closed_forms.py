"""Values and gradients agree with known solutions within their error bars, inside every kind of boundary. Outside: ``solid``."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import points_in
from wos.query.oracle import icosphere
from wos.walk.oracle import check, seed, star

RINGS = {
    "square": [[0, 0], [1, 0], [1, 1], [0, 1]],
    "corner": [[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]],
    "slab": [[0, 0], [4, 0], [4, 1], [0, 1]],
    "needle": [[0, 0], [2, 0.2], [2, 1], [1, 0.4]],
    "comb": [[0, 0], [4, 0], [4, 2], [3.5, 2], [3.5, 0.5], [2.5, 0.5], [2.5, 2], [2, 2], [2, 0.5], [0.5, 0.5], [0.5, 2], [0, 2]],
}
CENTER = np.array([0.1, -0.2, 0.15])


def of_ball(X):
    return np.sqrt(((X - CENTER[: X.shape[-1]]) ** 2).sum(axis=-1)) - 1.1


def field(d, n):
    """Distances from a ball, in a box with different sides and numbers of nodes on each axis."""
    lo, hi = np.array([-1.4, -1.5, -1.3])[:d], np.array([1.5, 1.3, 1.6])[:d]
    axes = [np.linspace(a, b, n + k) for k, (a, b) in enumerate(zip(lo, hi))]
    return of_ball(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)), (lo, hi)


BOUNDARIES = {
    **{name: lambda ring=ring: wos.Polygon(np.array(ring, float)) for name, ring in RINGS.items()},
    **{f"{name} turned": lambda ring=ring: wos.Polygon(np.array(ring, float)[::-1]) for name, ring in [*RINGS.items()][1::3]},
    "star": lambda: wos.Polygon(star(300)),
    "hole": lambda: wos.Polygon(3.0 * np.array(RINGS["square"]), holes=[np.array([[1, 0.5], [1.5, 0.5], [1.2, 1.1]])]),
    "disc": lambda: wos.Ball([3.0, -1.0], 2.0),
    "ball": lambda: wos.Ball([0.1, 0.0, -0.1], 1.0),
    "ball in five": lambda: wos.Ball([0.3, 0, 0, 0.1, 0], 1.2),
    "box": lambda: wos.Box([0.2, -0.5], [1.2, 1.0]),
    "box in space": lambda: wos.Box([0.2, -0.5, 0], [1.2, 1.0, 0.7]),
    "box in seven": lambda: wos.Box([0.0] * 7, np.linspace(0.7, 1.5, 7)),
    "mesh": lambda: wos.TriangleMesh(*icosphere(3, 0.1)),
    "field": lambda: wos.SDF(*field(2, 401)),
    "field in space": lambda: wos.SDF(*field(3, 121)),
    "function": lambda: wos.SDF(of_ball, field(2, 9)[1]),
    "function in space": lambda: wos.SDF(of_ball, field(3, 9)[1]),
}
SLOW = ["mesh", "field in space"]


def sizes(name, backend, dimension, share):
    """(points, walks). Numba's loops test every segment, and functions are called at each step.

    The mean test detects a bias of 6 / sqrt(points walks) standard deviations of a walk: 1.5 %; 2.7 % for meshes and fields in space; 5 %
    from four dimensions on and for functions; twice as much with a quarter of the walks.
    """
    if backend == "numba":
        n, walks = 30, 128 if name in ("mesh", "box in seven") else 512
    elif name == "star":
        n, walks = 300, 4096
    elif "function" in name or dimension > 3:
        n, walks = 60, 256
    else:
        n, walks = (100, 512) if name in SLOW else (150, 1024)
    return n, max(walks // share, min(walks, 256))  # with fewer walks, errors in several dimensions are not normally distributed


def check_solution(name, backend, rng, u, share, clear, **options):
    """Solve and check. The chords of a sphere's field in space cut off h^2 / 8 = 8e-5."""
    boundary = BOUNDARIES[name]()
    n, walks = sizes(name, backend, boundary.dimension, share)
    X = points_in(boundary, rng, n, clear)
    r = wos.solve(boundary, X, dirichlet=u, walks=walks, rng=seed(rng), **options)
    spread = backend == "native" and not name.startswith(("function", "field in space", *RINGS))
    check(r, X, u, spread, error=1e-4 * (name == "field in space"))


def pole(X, at):
    """|x - p|^(2 - d), or its logarithm in the plane."""
    r, d = np.linalg.norm(X - at, axis=-1), X.shape[-1]
    return np.log(r) if d == 2 else r ** (2.0 - d)


ALL_WALKS = pytest.mark.slow
HARMONIC = [
    (1e-4, False, 4),
    (1e-6, True, 4),
    *(pytest.param(*values, 1, marks=ALL_WALKS) for values in ((1e-4, False), (1e-7, False), (1e-6, True))),
]


@pytest.mark.parametrize(("epsilon", "pairs", "share"), HARMONIC)
@pytest.mark.parametrize("name", BOUNDARIES)
def test_harmonic_functions(name, epsilon, pairs, share, best_backend, rng):
    """Harmonic functions, in float32 and float64; polygons with few segments use half discs."""
    boundary = BOUNDARIES[name]()
    at = boundary._centre[0] + 0.9 * boundary._extent[0] * (2 if isinstance(boundary, wos.Ball) else 1)
    check_solution(name, best_backend, rng, lambda Y: pole(Y, at), share, 0.04, epsilon=epsilon, gradient=pairs)


def sines(X):
    """-Δ of a product of d sines is d times the product: a varying source tests the distribution of source points."""
    return np.sin(X).prod(axis=-1)


SOURCES = [
    (0.0, True, 4),
    (5.0, False, 4),
    *(pytest.param(*values, 1, marks=ALL_WALKS) for values in ((0.0, False), (0.0, True), (5.0, False), (40.0, True))),
]


@pytest.mark.parametrize(("screening", "pairs", "share"), SOURCES)
@pytest.mark.parametrize("name", ["star", "hole", "disc", "ball", "ball in five", "box", "box in seven", "mesh", "field", "function"])
def test_sources(name, screening, pairs, share, best_backend, rng):
    options = {"source": lambda Y: (Y.shape[1] + screening) * sines(Y), "screening": screening, "gradient": pairs, "epsilon": 1e-5}
    check_solution(name, best_backend, rng, sines, share, 0.1, **options)
