"""10 000 z-scores per kind of the table in csrc/wos/README.md, or 2500 if walks take hundreds of steps.

``python -m wos.test_coverage [start of a name]`` in ``tests`` prints their statistics. z = (value - u) / stderr at points clear of the
boundary, and likewise for the components of the gradient. If walks have a skewness, the mean of n of them and its stderr are correlated,
and z has a mean of about -skewness / (2 sqrt(n)) without any bias. A bias is therefore detected from the z-scores of both halves of the
walks, each with the stderr of the other half.
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
from wos.walk.oracle import gates, slope

FEWER = ("walls in media: robin", "walls in media: cube-robin", "jumps")  # a quarter of the points: their walks take hundreds of steps
Z, EPSILON = 10_000, 1e-6  # epsilon is 1e-4 in media and with walls, 1e-5 with jumps
SHAPES = ["star", "hole", "mesh", "disc", "ball", "box", "box in space", "ball in five", "field", "field in space"]
WALLS = ["source", "robin-source", "screened-source", "cube-source", "cube-robin-source", "cube-screened-source"]
MEDIA = ["gaussians", "rippled-mesh", "polynomial", "space", "field", "four", "five"]
OUTSIDE = ["star", "box", "mesh", "ball", "box in space", "field", "field in space", "box in four", "ball in five"]
WALLS_IN_MEDIA = ["polynomial", "gaussians", "grid", "screening", "corner", "hole", "robin", "cube-rippled", "cube-robin"]


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


def of_walls_in_media(name):
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


KINDS = {  # name -> boundary, points(rng, n), options of solve, u, walks
    **{f"{name}, source": lambda name=name: inside(name) for name in SHAPES},
    **{f"{name}, source and screening": lambda name=name: inside(name, screening=5.0) for name in SHAPES},
    **{f"walls: {name}": lambda name=name: of_walls(name) for name in WALLS},
    **{f"media: {name}": lambda name=name: of_media(name) for name in MEDIA},
    **{f"walls in media: {name}": lambda name=name: of_walls_in_media(name) for name in WALLS_IN_MEDIA},
    **{f"jumps in {name}": lambda space=space: of_jumps(space) for space, name in enumerate(["the plane", "space"])},
    **{f"outside of {name}": lambda name=name: outside(name, "pole") for name in OUTSIDE},
    **{f"outside of {name}, source": lambda name=name: outside(name, "source") for name in OUTSIDE},
    **{f"outside of {name}, source and screening": lambda name=name: outside(name, "screened") for name in solid.MORE},
}


def solve_halves(name, rng):
    """The results of half of the walks and of all, the points and u."""
    boundary, points, options, u, walks = KINDS[name]()
    pairs = options.pop("gradient", True) and boundary.dimension < 4
    wanted = Z // 4 if name.startswith(FEWER) else Z
    n = -(-wanted // (1 + pairs * boundary.dimension))
    chunks = [points(rng, n)]
    while sum(map(len, chunks)) < n:
        chunks.append(points(rng, n))
    X = np.concatenate(chunks)[:n]
    options = {"epsilon": EPSILON, "walks": walks // 2, "rng": int(rng.integers(2**62)), "gradient": pairs, **options}
    half = wos.solve(boundary, X, **options)
    return half, half.resume(walks=walks // 2), X, u


def truth_of(result, X, u):
    """u (N, channels), and its gradient if the result has one."""
    return np.column_stack([u(X), *([] if result.grad is None else [slope(u, X)])])


def channels(result):
    """Values and their standard errors, (N, channels) each."""
    gradient = ([], []) if result.grad is None else ([result.grad], [result.grad_stderr])
    return np.column_stack([result.value, *gradient[0]]), np.column_stack([result.stderr, *gradient[1]])


def swapped(n, half, whole):
    """Means of the first and the last n of 2 n samples, each with the standard error of the other half: (2, N, channels) each.

    half, whole: the means and standard errors of the first half and of all samples.
    """
    (first, first_error), (mean, error) = half, whole
    last = 2 * mean - first
    m2 = 2 * n * (2 * n - 1) * error**2 - n * (n - 1) * first_error**2 - n / 2 * (last - first) ** 2
    return np.stack([first, last]), np.stack([np.sqrt(m2 / (n * (n - 1))), first_error])


def swapped_halves(half, whole):
    return swapped(half.n_walks[0] // (1 if half.grad is None else 2), channels(half), channels(whole))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_ten_thousand_z_scores(name, rng):
    half, result, X, u = solve_halves(name, rng)
    truth, (values, errors), error = truth_of(result, X, u), swapped_halves(half, result), np.zeros(1 + X.shape[1])
    error[0] = 1e-4 * name.startswith("field in space")
    for channel, (value, stderr) in enumerate(zip(*map(np.transpose, channels(result)))):
        assert abs((value - truth[:, channel]) / np.hypot(stderr, error[channel])).max() < 7
        both = values[..., channel], np.hypot(errors[..., channel], error[channel]), np.stack([truth[:, channel]] * 2)
        assert {"mean", "matched"}.isdisjoint(gates(*both, spread=False))
    assert result.n_truncated.sum() == result.n_escaped.sum() == 0


def test_skewness_does_not_look_like_a_bias(rng):
    """With stderrs swapped between halves, skewed variates show no bias, but a bias of a tenth of the stderr of all 64 is detected."""
    samples = rng.exponential(size=(2, 20000, 32)) - 1
    halves, whole = [(x.mean(axis=1), x.std(axis=1, ddof=1) / np.sqrt(32)) for x in samples], np.concatenate(samples, axis=1)
    mean, error = whole.mean(axis=1), whole.std(axis=1, ddof=1) / 8
    values, errors = swapped(32, halves[0], (mean, error))
    np.testing.assert_allclose(errors, [halves[1][1], halves[0][1]], rtol=1e-9)
    assert "mean" in gates(mean, error, 0 * mean, spread=False)
    assert "mean" not in gates(values, errors, 0 * values, spread=False)
    assert "mean" in gates(values, errors, 0 * values + 0.1 / 8, spread=False)


def main():
    print("| kind | z | mean of z | swapped | std of z | share above 3 | largest | s |\n|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in KINDS:
        if len(sys.argv) < 2 or name.startswith(sys.argv[1]):
            begin = time.process_time()
            half, result, X, u = solve_halves(name, np.random.default_rng(1))
            truth, (value, stderr), (values, errors) = truth_of(result, X, u), channels(result), swapped_halves(half, result)
            z, unbiased = (value - truth) / stderr, np.sqrt(2) * ((values - truth) / errors).mean()
            size, seconds = abs(z), time.process_time() - begin
            print(
                f"| {name} | {z.size} | {z.mean():+.3f} | {unbiased:+.3f} | {z.std():.3f} | {(size > 3).mean():.4f} | {size.max():.1f} |"
                f" {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
