"""Walks outside: in the plane, where they always return, and in space; with sources of bounded support."""

from itertools import product

import numpy as np
import pytest
from scipy.special import exp1, gamma, gammainc, kv

from quatrefoil import wos
from quatrefoil.wos.walk.composition_domain import _end_of_chord
from wos.domains import SQUARE, bells, every_backend, field, fourier, per_vertex, quarter_or_slow
from wos.query.oracle import icosphere
from wos.test_closed_forms import RINGS
from wos.walk.oracle import check, directions, seed, star

PLANE = {
    "star": lambda: wos.Polygon(3.0 + star(300)),
    "square": lambda: wos.Polygon(SQUARE),
    "turned": lambda: wos.Polygon(SQUARE[::-1]),
    "slab": lambda: wos.Polygon(np.array(RINGS["slab"])),
    "comb": lambda: wos.Polygon(np.array(RINGS["comb"])),
    "disc": lambda: wos.Ball([1.0, -2.0], 0.5),
    "box": lambda: wos.Box([-1.0, 0.0], [1.0, 0.5]),
    "field": lambda: field(2, 61, 0.6),
    "function": lambda: wos.SDF(lambda X: np.hypot(*(X - 3.0).T) - 0.6, ([2.0, 2.3], [4.0, 4.0])),
}
SPACE = {
    "ball": lambda: wos.Ball([0.1, 0.0, -0.1], 1.0),
    "box in space": lambda: wos.Box([0.2, -0.5, 0], [1.2, 1.0, 0.7]),
    "mesh": lambda: wos.TriangleMesh(*icosphere(2, 0.1)),
    "field in space": lambda: field(3, 31, 0.6),
}
MORE = {
    "box in four": lambda: wos.Box([0.2, -0.5, 0, 0], [1.2, 1.0, 0.7, 1.0]),
    "ball in five": lambda: wos.Ball([0.1, 0.0, -0.1, 0.2, 0.0], 1.0),
}
POLE = {"comb": np.array([2.25, 0.25]), "star": np.array([3.1, 2.9])}  # a point inside, if the centre is not inside


def around(boundary, rng, n, min_distance, max_distance):
    """Points outside, from near the boundary to a few diagonals away.

    In more than three dimensions at most half a diagonal: few walks reach the boundary from afar, so error bars are unreliable.
    """
    d, size = boundary.dimension, boundary._diagonal[0]
    away = 0.2 + (max_distance ** rng.uniform(-2, 1, (8 * n, 1)) if d < 4 else 0.3 * rng.random((8 * n, 1)))
    X = boundary._centre[0] + size * away * directions(rng, 8 * n, d)
    return X[wos.signed_distance(boundary, X) > min_distance * size][:n]


def problem(name, what):
    """A boundary, keywords of solve, and u, which tends to 1 in the plane and to 0 in space; only its boundary values determine this limit.

    ``what``: a pole inside, a Gaussian source inside whose tail is outside, or a screened pole inside with a Gaussian outside.
    """
    boundary = (PLANE | SPACE | MORE)[name]()
    d, size, centre = boundary.dimension, boundary._diagonal[0], boundary._centre[0]
    by, to = (np.pad(x, (0, 4))[:d] for x in ([0.03, -0.03, 0.02], [0.6, 0.8]))
    at, away = POLE.get(name, centre + size * by), centre + 0.7 * size * to
    m, width = 2 / size, 0.7 * size

    def pole(X):
        return (size / np.linalg.norm(X - at, axis=-1)) ** (d - 2.0) if d > 2 else 1 + ((1 + 2j) * size / ((X - at) @ [1, 1j])).real

    def tail(X):  # its -Laplacian is exp(-r^2) / width^2
        r = np.linalg.norm(X - at, axis=-1) / width
        if d == 2:
            return 1 - exp1(r**2) / 4
        return (gamma(d / 2) * gammainc(d / 2, r**2) * r ** (2.0 - d) + np.exp(-(r**2))) / (2 * d - 4)

    def bell(X):
        return np.exp(-((X - away) ** 2).sum(axis=-1) / width**2)

    def screened(X):
        r = m * np.linalg.norm(X - at, axis=-1)
        return kv(d / 2 - 1, r) * r ** (1 - d / 2) + bell(X)

    def source(X):
        return bell(X) * (m * m + 2 * d / width**2 - 4 * ((X - away) ** 2).sum(axis=-1) / width**4)

    u, options = {
        "pole": (pole, {}),
        "source": (tail, {"source": wos.Gaussians(width**-2.0, at, width)}),
        "screened": (screened, {"source": source, "screening": m * m}),
    }[what]
    return boundary, {"dirichlet": u, "exterior": True, **options}, u


PROBLEMS = [
    *product([*PLANE, *SPACE, *MORE], ["pole", "source"]),
    *product(["star", "disc", "box", "ball", "box in space", "mesh", *MORE], ["screened"]),
]
FARTHEST = {"pole": 5.0, "source": 3.0, "screened": 2.0}


@quarter_or_slow
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize(("name", "what"), PROBLEMS)
def test_closed_forms(name, what, pairs, share, best_backend, rng):
    many = best_backend == "native" and name not in ("function", *MORE)  # a function in Python runs once per step, and so does NumPy
    (boundary, options, u), (n, walks) = problem(name, what), (200 // share, 1024) if many else (20, 128)
    X = around(boundary, rng, n, 0.1 if what == "screened" and boundary.dimension == 3 else 0.02, FARTHEST[what])
    r = wos.solve(boundary, X, **options, walks=walks, epsilon=1e-6, gradient=pairs, rng=seed(rng))
    check(r, X, u)
    if "ball" in name and (what, pairs) == ("pole", False):
        np.testing.assert_array_equal(r.mean_steps, 1)


def test_far_away_in_the_plane(best_backend, rng):
    """Every walk returns, so constant boundary values are exact at any distance."""
    for name in PLANE:
        boundary = PLANE[name]()
        X = boundary._centre[0] + boundary._diagonal[0] * 10 ** rng.uniform(0.5, 6, (50, 1)) * directions(rng, 50, 2)
        r = wos.solve(boundary, X, 2.5, exterior=True, walks=20, rng=seed(rng))
        np.testing.assert_array_equal(r.value, 2.5)
        np.testing.assert_array_equal(r.stderr, 0)
        assert r.n_escaped.sum() == r.n_truncated.sum() == 0
        if name == "disc":
            np.testing.assert_array_equal(r.mean_steps, 1)


def test_returns_in_more_dimensions(rng):
    """The mean of a harmonic polynomial over the points of return is its value at the image point, solid README (9)."""
    for d, k in product((4, 5, 9), (1e-9, 0.3, 0.9, 0.99, 1 - 1e-9)):
        n, e = directions(rng, 20_000, d), directions(rng, 1, d)
        y = _end_of_chord(np, np.repeat(k * e, len(n), axis=0), n, np.full(len(n), (1 - k) * (1 + k)), rng.random(len(n)))
        np.testing.assert_allclose((y**2).sum(axis=1), 1, rtol=1e-14)
        if k > 0.99:  # rare walks go far
            assert 1 < np.median(np.linalg.norm(y - e, axis=1)) / (1 - k) < d
            continue
        p, q = e[0], directions(rng, 1, d)[0]
        for values, truth in (
            (y @ p, k),
            (y @ q, k * (p @ q)),
            ((y @ p) * (y @ q) - (p @ q) / d, k * k * (p @ q) * (1 - 1 / d)),
            ((y @ p) ** 3 - 3 / (d + 2) * (y @ p), k**3 * (d - 1) / (d + 2)),
        ):
            assert abs(values.mean() - truth) < 5 * values.std() / np.sqrt(len(n)) + 1e-12


def test_a_field_is_a_source_within_its_box(best_backend, rng):
    """The hat function of one node of a grid, far from a small disc, compared with the Green's function of the exterior of the disc."""
    values = np.zeros((5, 5))
    values[2, 2] = 1.0
    hat, X = wos.GridField(values, ([2.0, -1.0], [4.0, 1.0])), np.array([[3.0, 0.0], [1.0, 1.0], [-4.0, 2.0]])
    r = wos.solve(wos.Ball([0.0, 0.0], 0.5), X, 0.0, source=hat, exterior=True, walks=20_000, epsilon=1e-6, rng=seed(rng))
    t = (np.arange(400) + 0.5) / 200 - 1
    y = np.stack(np.meshgrid(3 + 0.5 * t, 0.5 * t, indexing="ij"), axis=-1).reshape(-1, 2)
    f = hat(y) * (1 / 400) ** 2
    image = 0.25 * y / (y**2).sum(axis=1, keepdims=True)
    for x, value, stderr in zip(X, r.value, r.stderr):
        r1, r2 = (np.linalg.norm(x - z, axis=1) for z in (y + 1e-9, image))
        green = np.log(np.linalg.norm(y, axis=1) * r2 / (0.5 * r1)) / (2 * np.pi)
        assert abs(value - (green * f).sum()) < 5 * stderr + 1e-5


SCENES = {
    "polygon": lambda rng: (wos.Polygon(star(9)), {"dirichlet": per_vertex(rng, 9)}),
    "pairs": lambda rng: (wos.Polygon(SQUARE), {"dirichlet": fourier(rng), "source": bells(rng), "gradient": True}),
    "many": lambda rng: (wos.Polygon([SQUARE, 2 * SQUARE[::-1]]), {"dirichlet": bells(rng, lead=(2,)), "source": bells(rng)}),
    "disc": lambda rng: (wos.Ball([0.3, 0.2], 0.5), {"dirichlet": fourier(rng), "source": bells(rng, lead=(2,))}),
    "screened": lambda rng: (wos.Polygon(SQUARE), {"dirichlet": fourier(rng), "source": fourier(rng), "screening": 3.0}),
    "box in space": lambda rng: (wos.Box([0.0] * 3, [1.0, 1.0, 0.5]), {"dirichlet": 1.0, "source": bells(rng, 3), "gradient": True}),
    "field": lambda rng: (field(radius=0.6), {"dirichlet": fourier(rng), "source": bells(rng)}),
    "field in space": lambda rng: (field(3, radius=0.6), {"dirichlet": bells(rng, 3), "screening": 2.0, "gradient": True}),
}


@every_backend
@pytest.mark.parametrize("name", SCENES)
def test_backends_agree(name, backend, rng):
    boundary, options = SCENES[name](rng)
    X = 3.0 * directions(rng, 6, boundary.dimension)
    options = {**options, "walks": 8, "epsilon": 1e-3, "rng": 7, "exterior": True}
    result, truth = wos.solve(boundary, X, backend=backend, **options), wos.solve(boundary, X, **options)
    for mine, theirs in ((result.value, truth.value), (result.grad, truth.grad)):
        if mine is not None:
            size = np.abs(theirs).max()
            assert (np.abs(mine - theirs) < 1e-3 * size).mean() > 0.7  # a walk may end a step earlier
            np.testing.assert_allclose(mine.mean(), theirs.mean(), rtol=0, atol=size)
