"""Random problems with known solutions: domains, data, options and units are drawn, and the z-scores of results are checked.

An exact solution u on a domain of size L defines the problem: u = g on the boundary, f = -Δu + σu inside, h = ∂u/∂n on walls. The checks
allow the documented bias of the shell: half of epsilon times the steepest slope of u.
"""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
from numpy.polynomial import polynomial
from scipy.signal import convolve

from quatrefoil import wos
from wos.domains import SQUARE, flux
from wos.query.oracle import cube, icosphere
from wos.walk.oracle import circle, same
from wos.walk.oracle import polynomial as evaluate


@contextlib.contextmanager
def expected_warnings():
    """Ignore warnings that some draws legitimately cause."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "solve: .* (points? lies?|cannot be trusted|epsilon is as large)", RuntimeWarning)
        yield


def unit(rng, most=12):
    """1 or a power of ten, usually between 1e-12 and 1e12."""
    return 1.0 if rng.random() < 0.3 else 10.0 ** int(rng.integers(-most, most + 1) if rng.random() < 0.3 else rng.integers(-12, 13))


def star(rng):
    M = int(rng.integers(5, 40))
    r = 1 + rng.uniform(0, 0.4) * np.cos(2 * np.pi * rng.integers(2, 5) * np.arange(M) / M)
    return r[:, None] * circle(M)


def domain(rng, L):
    """A random boundary of size L near 0."""
    rings = {"star": star(rng), "square": SQUARE, "holes": 3 * SQUARE, "bow tie": SQUARE[[0, 2, 1, 3]]}
    kind = rng.choice([*rings, "ball", "box", "cube", "icosahedron"])
    shift, turn, d = rng.uniform(-1, 1), rng.choice([-1, 1]), int(rng.integers(2, 5))
    if kind in rings:
        return wos.Polygon(L * (rings[kind] + shift)[::turn], holes=[L * (SQUARE + 1 + shift)[::turn]] * (kind == "holes"))
    if kind in ("cube", "icosahedron"):
        V, F = cube() if kind == "cube" else icosphere(0)
        return wos.TriangleMesh(L * (V + shift), F)
    c = L * shift * np.ones(d)
    return wos.Ball(c, L * rng.uniform(0.5, 2)) if kind == "ball" else wos.Box(c, c + L * rng.uniform(0.5, 2, d))


def points(rng, boundary):
    n = int(rng.choice([0, 1, 1, 3, 10]))
    X = boundary._centre[0] + boundary._extent[0] * rng.uniform(-0.5, 0.5, (n, boundary.dimension))
    return X[wos.signed_distance(boundary, X) < -0.03 * boundary._extent[0]] if rng.random() < 0.8 else X


def solution(rng, d, L, s):
    """Coefficients c[i, j, ...] of u = sum c (x / L)^i (y / L)^j ...: a harmonic or any polynomial of size s."""
    c = rng.normal(size=(3,) * d) * (np.indices((3,) * d).sum(axis=0) <= rng.choice([0, 1, 2, 2]))
    if rng.random() < 0.5:  # choose the coefficient of the last square so that u is harmonic
        last = tuple(2 if i == d - 1 else 0 for i in range(d))
        c[last] = -sum(c[tuple(2 if j == i else 0 for j in range(d))] for i in range(d - 1))
    return s * c


def slope(c, X):
    return np.stack([evaluate(X, polynomial.polyder(c, axis=i)) for i in range(X.shape[1])], axis=-1)


def laplacian(c):
    total = np.zeros_like(c)
    for axis in range(c.ndim):
        second = np.moveaxis(polynomial.polyder(c, 2, axis=axis), axis, 0)
        np.moveaxis(total, axis, 0)[: len(second)] += second
    return total


def as_data(rng, c, L, function, boundary=None):
    """A polynomial in x / L as data of a random kind, equal everywhere or on the boundary."""
    if function:
        return lambda Y: evaluate(Y / L, c).astype(Y.dtype)
    degree = np.indices(c.shape).sum(axis=0)
    if not c[degree > 0].any() and rng.random() < 0.7:
        return float(c.reshape(-1)[0])
    if isinstance(boundary, (wos.Polygon, wos.TriangleMesh)) and not c[degree > 1].any() and rng.random() < 0.8:
        return wos.PerVertex(evaluate((boundary.vertices if boundary.dimension == 3 else boundary._ends[:, :2]) / L, c))
    return wos.Polynomial(c * float(L) ** -degree)


def _problem(rng):
    L, s = unit(rng), unit(rng, 120)
    boundary = domain(rng, L)
    d = boundary.dimension
    X = points(rng, boundary)
    c, epsilon = solution(rng, d, L, s), float(rng.choice([1e-3, 1e-4, 1e-6]))
    sigma = float(rng.choice([0.0, 0.0, 0.5, 5.0])) / L**2
    f = (sigma * L**2 * c - laplacian(c)) / L**2
    g = as_data(rng, c, L, rng.random() < 0.4, boundary)
    options = {"dirichlet": g, "epsilon": epsilon, "gradient": bool(rng.random() < 0.4), "screening": sigma}
    if f.any() or rng.random() < 0.3:
        options["source"] = as_data(rng, f, L, rng.random() < 0.4)
    if isinstance(boundary, (wos.Polygon, wos.TriangleMesh)) and rng.random() < 0.3:
        options["neumann"] = _walls(rng, boundary, c, L, d)
    return boundary, X, c, L, options


def _walls(rng, boundary, c, L, d):
    """Random reflecting facets."""
    corners = boundary._ends.reshape(-1, d, d)
    where = rng.random(len(corners)) < 0.4
    where[int(rng.integers(len(corners)))] = False
    if d == 2 and len(corners) == 4 and abs(np.linalg.det(corners).sum()) < 1e-6 * boundary._extent[0] ** 2:  # two sides of a bow tie cross
        where &= corners[:, 0, 0] == corners[:, 1, 0]
    return where, flux(boundary, lambda Y: slope(c, Y / L) / L)


def _z(result, X, c, boundary, L, epsilon):
    """The largest z-scores of the value and gradient, beyond the bias of the shell."""
    inside = np.isfinite(result.value)
    if not inside.any():
        return 0.0, 0.0
    size, span = np.abs(c).sum(), np.abs(X / L).max()
    steep = np.abs(slope(c, X / L)).sum(axis=1).max() + size * (span + boundary._extent[0] / L)
    shell = 0.5 * epsilon * boundary._diagonal[0] / L * steep + 1e-5 * size * (1 + span**2)
    least = 1e-9 * size + 1e-300
    z = (np.abs(result.value - evaluate(X / L, c)) - shell)[inside] / np.maximum(result.stderr[inside], least)
    if result.grad is None:
        return z.max(), 0.0
    known = np.isfinite(result.grad).all(axis=1)
    room = np.maximum(-wos.signed_distance(boundary, X)[known, None] / L, 1e-3)
    of_grad = (np.abs(result.grad * L - slope(c, X / L))[known] - 8 * shell / room) / np.maximum(result.grad_stderr[known] * L, least)
    return z.max(), of_grad.max(initial=0.0)


def _checked(result, X, c, boundary, L, epsilon):
    """Check that z-scores are below 6. If not, repeat with thirty times as many walks: error bars from few walks are unreliable."""
    if len(X) and max(_z(result, X, c, boundary, L, epsilon)) > 6:
        result = result.resume(30 * int(result.n_walks.max()))
        z = _z(result, X, c, boundary, L, epsilon)
        assert max(z) < 6, f"z of value and gradient {z}: {result.value}, stderr {result.stderr}, exact {evaluate(X / L, c)}"


def solutions(rng, backend):
    """Values and gradients of problems with exact solutions."""
    boundary, X, c, L, options = _problem(rng)
    if backend == "numba":
        X = X[:2]
    walks = (40, 100) if backend == "numba" else (200, 400) if "neumann" in options or boundary.dimension > 3 else (300, 1500)
    run = {"walks": 2 * int(rng.integers(*walks)), "walk_offset": 2 * int(rng.integers(20)), "rng": int(rng.integers(2**63))}
    with expected_warnings():
        _checked(wos.solve(boundary, X, backend=backend, **run, **options), X, c, boundary, L, options["epsilon"])


def stopping(rng, backend):
    """With a tolerance, a point has the result of a plain solve with as many walks. It stops after the first round in which its error is
    small enough, or after the last round."""
    boundary, X, c, _, options = _problem(rng)
    X, most = X[: 2 if backend == "numba" else 9], 2 * int(rng.integers(40, 101))
    rule = {"rtol": 0.2, "atol": 0.03 * float(np.abs(c).sum())}
    rule.pop(rng.choice([*rule, ""]), None)
    more = {"walks": 32, "rng": int(rng.integers(2**63)), "backend": backend, "walk_offset": 2 * int(rng.integers(20)), **options}
    with expected_warnings():
        result = wos.solve(boundary, X, max_walks=most, **rule, **more)
        rounds = [*range(32, most, 32), most]
        assert set(result.n_walks.tolist()) <= {0, *rounds}
        for n in rounds:
            plain = wos.solve(boundary, X, **{**more, "walks": n})
            same(result, plain, result.n_walks == n)
            enough = ~(plain.stderr > np.maximum(rule.get("atol", 0), rule.get("rtol", 0) * np.abs(plain.value)))
            enough &= (plain.state.fold()[1][:, 0] != 0) | (plain.mean_steps == 0)  # a few equal walks are not treated as converged
            assert n == most or (enough == (result.n_walks <= n))[result.n_walks >= n].all()


def interrupts(rng, backend):
    """Exceptions from functions and ``progress`` reach the caller. Earlier results stay valid, and later calls are unaffected."""
    boundary, X, c, L, options = _problem(rng)
    X = X[:3] if len(X) else boundary._centre + 0 * boundary._extent[0]
    options.pop("neumann", None)
    error, where = rng.choice([KeyError, KeyboardInterrupt, SystemExit, MemoryError]), str(rng.choice(["dirichlet", "source", "progress"]))
    fuse = [int(rng.integers(0, 4))]

    def fails(Y):
        fuse[0] -= 1
        if fuse[0] < 0:
            raise error("mine")
        return evaluate(Y / L, c).astype(Y.dtype)

    run = {**options, "walks": 16, "rng": 3, "backend": backend}
    broken = {**run, where: (lambda walks, left: fails(X)) if where == "progress" else fails}
    with expected_warnings():
        before, again = (wos.solve(boundary, X, **run) for _ in range(2))
        try:
            for _ in range(4):
                wos.solve(boundary, X, **broken)
        except error as caught:
            if str(caught).strip("'") != "mine":
                raise
        same(before.resume(16), again.resume(16))
        same(wos.solve(boundary, X, **run), before)


def media(rng, backend):
    """-∇·(α∇u) + σu = f with α = a (1 + b·x / L)^2, in random units. With walls, α varies by less than a factor of three."""
    L, s, a = unit(rng), unit(rng, 120), unit(rng, 120)
    boundary = domain(rng, L)
    d = boundary.dimension
    if d > 3:
        return
    X, c = points(rng, boundary)[: 2 if backend == "numba" else 10], solution(rng, d, L, s)
    kind = rng.choice(["neumann", "robin", "none", "none"]) if isinstance(boundary, (wos.Polygon, wos.TriangleMesh)) else "none"
    b = (
        (0.3 if kind == "none" else 0.08)
        * rng.uniform(-1, 1, d)
        / np.abs(np.stack([boundary._centre[0] + boundary._extent[0], boundary._centre[0] - boundary._extent[0]]) / L).max()
    )
    sigma, epsilon = float(rng.choice([0.0, 1.0])), 1e-4

    def alpha(Y):
        return a * (1 + (Y / L) @ b) ** 2

    def source(Y):
        y = Y / L
        root = 1 + y @ b
        return a * (-2 * root * (slope(c, y) @ b) - root**2 * evaluate(y, laplacian(c)) + sigma * evaluate(y, c)) / L**2

    root = np.zeros((2,) * d)  # 1 + b·y
    root[(0,) * d], root[tuple(np.eye(d, dtype=int))] = 1.0, b
    table = a * convolve(root, root, method="direct")
    diffusion = alpha if rng.random() < 0.5 else wos.Polynomial(table * float(L) ** -np.indices(table.shape).sum(axis=0))
    options = {"dirichlet": as_data(rng, c, L, rng.random() < 0.5), "source": source, "screening": sigma * a / L**2, "diffusion": diffusion}
    if kind == "neumann":
        options["neumann"] = _walls(rng, boundary, c, L, d)
    elif kind == "robin":
        where, mu = _walls(rng, boundary, c, L, d)[0], rng.uniform(0, 2) / L
        options["robin"] = where, mu, flux(boundary, lambda Y: slope(c, Y / L) / L, mu, lambda Y: evaluate(Y / L, c))
    run = {"walks": 200 if backend == "native" else 40, "epsilon": epsilon, "backend": backend, "rng": int(rng.integers(2**63))}
    with expected_warnings():
        _checked(wos.solve(boundary, X, **options, **run), X, c, boundary, L, epsilon)


def regions(rng, backend):
    """α jumps at a rectangle or a box with half side lengths h: u = s (1 + v / α) with a v that is 0 there, in random units."""
    d, L, s, a = int(rng.integers(2, 4)), unit(rng), unit(rng, 120), unit(rng)
    h, ratio, epsilon = rng.uniform(0.25, 0.7, d), float(rng.choice([0.2, 0.5, 3.0])), 1e-4
    c = np.ones((2,) * d) * (np.indices((2,) * d).sum(axis=0) < 2)  # 1 + x + y ...
    for axis, half in enumerate(h):
        c = np.apply_along_axis(lambda row, half=half: np.convolve(row, [-(half**2), 0, 1]), axis, c)
    V, F = cube() if d == 3 else (SQUARE, None)
    domain, core = (wos.Polygon(side * (2 * V - 1) * L) if d == 2 else wos.TriangleMesh(side * (2 * V - 1) * L, F) for side in (1.0, h))
    X = L * rng.uniform(-0.9, 0.9, (int(rng.integers(0, 4)), d))

    def u(Y):
        return s * (1 + evaluate(Y / L, c) / np.where(wos.contains(core, Y), ratio, 1.0))

    data = {
        "dirichlet": lambda Y: (s * (1 + evaluate(Y / L, c))).astype(Y.dtype),
        "source": lambda Y: (-s * a / L**2 * evaluate(Y / L, laplacian(c))).astype(Y.dtype),
        "diffusion": wos.Regions(a, [(core, a * ratio)]),
    }
    with expected_warnings():
        r = wos.Problem(domain, **data).solve(
            X, wos.Walks(50, epsilon=epsilon, max_steps=20000), rng=int(rng.integers(2**63)), backend=backend
        )
        size = np.abs(c).sum() * s
        for _ in range(2):
            z = (np.abs(r.value - u(X)) - 10 * epsilon * size / ratio) / np.maximum(r.stderr, 1e-9 * size)
            if z.max(initial=0.0) < 6:
                return
            r = r.resume(3000)
    assert z.max() < 6, f"z {z}: {r.value}, stderr {r.stderr}, exact {u(X)}"


ATTACKS = [solutions, stopping, interrupts, media, regions]
