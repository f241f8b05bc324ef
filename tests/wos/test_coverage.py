"""At least 10 000 z-scores per kind of the coverage table of csrc/wos/README.md. ``python -m wos.test_coverage [start of a name]`` in
``tests`` prints them.

z = (value - u) / stderr at points clear of the boundary, with the components of the gradient if there is one.
"""

import sys
import time

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import points_in
from wos.media import test_media as media
from wos.solid import test_outside as solid
from wos.stars import test_stars as walls
from wos.test_closed_forms import BOUNDARIES, sines
from wos.test_regions import CORE, CUBE, INNER, OUTER, clear_points, core_problem
from wos.walk.oracle import check, slope

FEWER = ("walls in media: robin", "walls in media: cube-robin", "jumps")  # a quarter of the points: their walks take hundreds of steps
Z, EPSILON = 10_000, 1e-6  # in media and with walls 1e-4
SHAPES = ["star", "hole", "mesh", "disc", "ball", "box", "box in space", "ball in five", "field", "field in space"]
IN_WALLS = ["source", "robin-source", "screened-source", "cube-source", "cube-robin-source", "cube-screened-source"]
IN_MEDIA = ["gaussians", "rippled-mesh", "polynomial", "space", "field"]
OUTSIDE = ["star", "box", "mesh", "ball", "box in space", "field", "field in space"]
BOTH = ["polynomial", "gaussians", "grid", "screening", "corner", "hole", "robin", "cube-rippled", "cube-robin"]


def inside(name, walks=256, **options):
    boundary = BOUNDARIES[name]()
    rate = options.get("screening", 0.0)
    data = {"dirichlet": sines, "source": lambda Y: (Y.shape[1] + rate) * sines(Y), **options}
    return boundary, lambda rng, n: points_in(boundary, rng, n, 0.06), data, sines, walks


def of_walls(name):
    boundary, options, u = walls.PROBLEMS[name]
    options = {**options, "gradient": False, "epsilon": 1e-4, "max_steps": 20000}
    return boundary, lambda rng, n: walls.points(name, rng, n, 0.05, 0.05), options, u, 64 if "robin" in name else 128


def of_media(name):
    boundary, _, options, u = media.PROBLEMS[name]
    return boundary, lambda rng, n: media.points(name, rng, n), {**options, "epsilon": 1e-4}, u, 256


def of_both(name):
    """Many walks, because their skewness shifts the mean of z: by 0.1 with 256 walks of `grid`."""
    boundary, options, u = walls.PROBLEMS[f"medium-{name}"]
    options = {**options, "gradient": "robin" not in name, "epsilon": 1e-4, "max_steps": 20000}
    return boundary, lambda rng, n: points_in(boundary, rng, n, 0.08), options, u, 1024


def of_jumps(space):
    domain, core = (CUBE, INNER) if space else (OUTER, CORE)
    problem, u = core_problem((1.0, 3.0), domain, core)
    options = {name: getattr(problem, name) for name in ("dirichlet", "source", "diffusion")}
    return domain, lambda rng, n: clear_points(rng, n, domain, core), {**options, "epsilon": 1e-5, "max_steps": 20000}, u, 256


def outside(name, what):
    boundary, options, u = solid.problem(name, what)
    return boundary, lambda rng, n: solid.around(boundary, rng, n, 0.05, 3.0), options, u, 256


KINDS = {
    **{f"{name}, source": lambda name=name: inside(name) for name in SHAPES},
    **{f"{name}, source and screening": lambda name=name: inside(name, screening=5.0) for name in SHAPES},
    **{f"walls: {name}": lambda name=name: of_walls(name) for name in IN_WALLS},
    **{f"media: {name}": lambda name=name: of_media(name) for name in IN_MEDIA},
    **{f"walls in media: {name}": lambda name=name: of_both(name) for name in BOTH},
    **{f"jumps in {name}": lambda space=space: of_jumps(space) for space, name in enumerate(["the plane", "space"])},
    **{f"outside of {name}": lambda name=name: outside(name, "pole") for name in OUTSIDE},
    **{f"outside of {name}, source": lambda name=name: outside(name, "source") for name in OUTSIDE},
}


def scores(name, rng):
    """The result, its points and u."""
    boundary, points, options, u, walks = KINDS[name]()
    pairs = options.pop("gradient", True) and boundary.dimension < 4
    wanted = Z // 4 if name.startswith(FEWER) else Z
    n = -(-wanted // (1 + pairs * boundary.dimension))
    chunks = [points(rng, n)]
    while sum(map(len, chunks)) < n:
        chunks.append(points(rng, n))
    X = np.concatenate(chunks)[:n]
    options = {"epsilon": EPSILON, "walks": walks, "rng": int(rng.integers(2**62)), "gradient": pairs, **options}
    return wos.solve(boundary, X, **options), X, u


def z_of(result, X, u):
    slopes = [] if result.grad is None else [(result.grad - slope(u, X)) / result.grad_stderr]
    return np.concatenate([x.reshape(-1) for x in ((result.value - u(X)) / result.stderr, *slopes)])


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_ten_thousand_z_scores(name, rng):
    result, X, u = scores(name, rng)
    check(result, X, u, error=1e-4 * name.startswith("field in space"))


def main():
    print("| kind | z | mean of z | std of z | share above 3 | largest | s |\n|---|--:|--:|--:|--:|--:|--:|")
    for name in KINDS:
        if len(sys.argv) < 2 or name.startswith(sys.argv[1]):
            begin = time.process_time()
            z = z_of(*scores(name, np.random.default_rng(1)))
            size, seconds = abs(z), time.process_time() - begin
            print(
                f"| {name} | {len(z)} | {z.mean():+.3f} | {z.std():.3f} | {(size > 3).mean():.4f} | {size.max():.1f} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
