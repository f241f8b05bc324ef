"""Walks on stars against closed forms and finite differences; what a wrong walk would fail."""

import numpy as np
import pytest
from scipy.sparse import diags, eye, kron
from scipy.sparse.linalg import spsolve

from quatrefoil import wos
from quatrefoil._backends import native
from quatrefoil.wos.walk import walls
from wos.stars import oracle
from wos.walk.oracle import seed

NATIVE = native.reason() is None
EPSILON = 1e-4


def sides(ring):
    return np.concatenate([ring, np.roll(ring, -1, axis=0)], axis=1)


def outward(ring, X):
    """The normal of the nearest side of a ring that runs counter-clockwise."""
    segs = sides(ring)
    _, k, _, _ = oracle.closest(segs, np.asarray(X, float))
    e = segs[k, 2:] - segs[k, :2]
    return np.stack([e[:, 1], -e[:, 0]], axis=1) / np.hypot(*e.T)[:, None]


def flux(ring, gradient, mu=0.0, u=None):
    def h(X):
        found = (gradient(X) * outward(ring, X)).sum(axis=-1)
        return found + mu * u(X) if u is not None else found

    return h


def columns(*parts):
    return np.stack(parts, axis=-1)


def wave(X):
    return np.cosh(X[..., 0]) * np.cos(X[..., 1])


def wave_gradient(X):
    return columns(np.sinh(X[..., 0]) * np.cos(X[..., 1]), -np.cosh(X[..., 0]) * np.sin(X[..., 1]))


def bowl(X):
    return X[..., 0] ** 2 + X[..., 0] * X[..., 1] - 2 * X[..., 1] ** 2 + 1


def bowl_gradient(X):
    return columns(2 * X[..., 0] + X[..., 1], X[..., 0] - 4 * X[..., 1])


def saddle(X):
    return X[..., 0] ** 2 - X[..., 1] ** 2


def decay(X):
    return np.exp(1.5 * X[..., 0] - X[..., 1])  # its Laplacian is 3.25 times itself


def decay_gradient(X):
    return decay(X)[..., None] * [1.5, -1.0]


def pole(X):
    return np.log(np.hypot(X[..., 0], X[..., 1]))


def pole_gradient(X):
    return X / (X**2).sum(axis=-1, keepdims=True)


RECTANGLE = oracle.rectangle()
QUARTER = oracle.sector(0, 1, np.pi / 2, 300)
RING = oracle.sector(0.4, 1, 0.7 * np.pi, 24)
ELL = np.array([[0.0, 0], [0, -1], [1, -1], [1, 1], [-1, 1], [-1, 0]])  # the corner at 0 is re-entrant


def which(ring, *segments):
    found = np.zeros(len(ring), bool)
    found[list(segments)] = True
    return found


def problems():
    """Name -> ring, keywords of solve, u."""
    r, q, a, e = RECTANGLE, QUARTER, RING, ELL
    radii, last = which(q, len(q) - 2, len(q) - 1), len(a) - 1
    inner = which(a, *range(25, last))
    both = {"neumann": (which(r, 0, 1), flux(r, wave_gradient)), "robin": (which(r, 2), 1.5, flux(r, wave_gradient, 1.5, wave))}
    several = np.array([0.0, 0.5, 2.0, 1.0])

    def mixed_mu(X):
        mu = several[oracle.closest(sides(r), np.asarray(X, float))[1]]
        return flux(r, wave_gradient)(X) + mu * wave(X)

    return {
        "rectangle": (r, {"dirichlet": wave, "neumann": (which(r, 0, 1, 2), flux(r, wave_gradient))}, wave),
        "source": (r, {"dirichlet": bowl, "source": 2.0, "neumann": (which(r, 1, 3), flux(r, bowl_gradient))}, bowl),
        "quarter": (q, {"dirichlet": saddle, "neumann": (radii, 0.0)}, saddle),
        "ring": (a, {"dirichlet": pole, "neumann": (inner | which(a, 24, last), flux(a, pole_gradient))}, pole),
        "corner": (e, {"dirichlet": oracle.corner_solution, "neumann": (which(e, 0, 5), 0.0)}, oracle.corner_solution),
        "screened": (r, {"dirichlet": decay, "screening": 3.25, "neumann": (which(r, 0, 2, 3), flux(r, decay_gradient))}, decay),
        "screened-endless": (r, {"dirichlet": 0.0, "screening": 3.25, "neumann": (which(r, 0, 1, 2, 3), flux(r, decay_gradient))}, decay),
        "screened-source": (
            r,
            {"dirichlet": bowl, "screening": 9.0, "source": lambda X: 2 + 9 * bowl(X), "neumann": (which(r, 0, 2), flux(r, bowl_gradient))},
            bowl,
        ),
        "robin": (r, {"dirichlet": wave, "robin": (which(r, 1, 2), 1.0, flux(r, wave_gradient, 1.0, wave))}, wave),
        "robin-source": (r, {"dirichlet": bowl, "source": 2.0, "robin": (which(r, 0), 3.0, flux(r, bowl_gradient, 3.0, bowl))}, bowl),
        "robin-and-neumann": (r, {"dirichlet": wave, **both}, wave),
        "robin-alone": (r, {"dirichlet": 0.0, "robin": (which(r, 0, 1, 2, 3), several, mixed_mu)}, wave),
        "robin-screened": (
            r, {"dirichlet": decay, "screening": 3.25, "robin": (which(r, 0, 1), 2.0, flux(r, decay_gradient, 2.0, decay))}, decay,
        ),
    }  # fmt: skip


PROBLEMS = problems()


def points_in(ring, rng, n, clear=1e-3):
    low, high = ring.min(axis=0), ring.max(axis=0)
    X = rng.uniform(low, high, (20 * n, 2))
    X = X[oracle.inside([ring], X)]
    return X[oracle.closest(sides(ring), X)[0] > clear][:n]


def from_absorbing(name, X):
    """Distances of the part of the boundary that absorbs; infinite where there is none."""
    ring, options, _ = PROBLEMS[name]
    reflects = sum(options[kind][0].astype(int) for kind in ("neumann", "robin") if kind in options)
    rest = sides(ring)[reflects == 0]
    return oracle.closest(rest, X)[0] if len(rest) else np.full(len(X), np.inf)


def solved(name, rng, n=200, walks=2048, clear=1e-3, **changed):
    ring, options, u = PROBLEMS[name]
    X = points_in(ring, rng, 2 * n, clear)
    X = X[from_absorbing(name, X) > 0.05][:n]  # closer, few walks know little of their own spread
    options = {"epsilon": EPSILON, "max_steps": 20000, **options, **changed}
    return wos.solve(wos.Polygon(ring), X, walks=walks, rng=seed(rng), **options), u(X)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.slow
def test_closed_forms(name, best_backend, rng):
    fast = NATIVE and best_backend != "numba"
    walks = 128 if name == "robin-alone" else (512 if "robin" in name or name == "ring" else 2048) if fast else 256
    result, truth = solved(name, rng, 200 if fast else 60, walks, clear=1e-3 if walks > 1000 else 0.05)
    assert oracle.gates(result.value, result.stderr, truth, spread=False) == []
    assert (result.n_truncated == 0).all()
    assert (result.n_escaped == 0).all()


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.parametrize("name", ["corner", "ring", "screened-source", "robin-source"])
@pytest.mark.slow
def test_close_to_the_absorbing_part(name, rng):
    """Where most walks end at once, and the few others are all that differs from the value there."""
    ring, options, u = PROBLEMS[name]
    X = points_in(ring, rng, 2000, 2e-3)
    X = X[from_absorbing(name, X) < 0.05][:8]
    epsilon = 1e-5
    result = wos.solve(wos.Polygon(ring), X, walks=2**17, rng=seed(rng), epsilon=epsilon, max_steps=20000, **options)
    assert oracle.gates(result.value, np.hypot(result.stderr, epsilon), u(X), spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.parametrize("parts", [3, 9, 30])
def test_sides_in_many_pieces(parts, rng):
    """Walls of one line do not hide each other: on a wall cut in pieces, turned so that no coordinate is exact."""
    t, angle = np.arange(parts)[:, None] / parts, rng.uniform(0, 7)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    ends = sides(RECTANGLE)
    ring = (ends[:, None, :2] + t * (ends[:, None, 2:] - ends[:, None, :2])).reshape(-1, 2) @ turn.T
    where = np.arange(4 * parts) < 3 * parts
    X = np.concatenate(
        [np.column_stack([rng.uniform(0.3, 1, 100), np.full(100, 0.7)]), np.column_stack([np.ones(100), rng.uniform(0.1, 0.6, 100)])]
    )
    h = flux(RECTANGLE, wave_gradient)
    r = wos.solve(
        wos.Polygon(ring), X @ turn.T, dirichlet=lambda Y: wave(Y @ turn), neumann=(where, lambda Y: h(Y @ turn)), walks=2048,
        epsilon=EPSILON, max_steps=20000, rng=seed(rng),
    )  # fmt: skip
    known = r.n_walks > 0  # on the wall, or within epsilon outside
    assert known.all()
    assert oracle.gates(r.value, r.stderr, wave(X), spread=False) == []


def finite_differences(n):
    """-Laplace u = bell, on (0, 1)^2: u = y (1 - y) at x = 0, du/dn = 0 at y = 0, du/dn = 1 at x = 1, du/dn + 2 u = 1 at y = 1."""
    h = 1 / n
    second = diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n + 1, n + 1)).tolil()
    second[0, 1] = second[n, n - 1] = 2
    robin = second.copy()
    robin[n, n] -= 2 * h * 2
    at = np.arange(n + 1) * h
    x, y = np.meshgrid(at, at, indexing="ij")
    A = (kron(second, eye(n + 1)) + kron(eye(n + 1), robin)).tocsr() / h**2
    f = -np.exp(-((x - 0.6) ** 2 + (y - 0.3) ** 2) / 0.04)
    f[n] -= 2 / h
    f[:, n] -= 2 / h
    known = np.zeros((n + 1, n + 1), bool)
    known[0] = True
    u = np.where(known, y * (1 - y), 0.0)
    free = ~known.ravel()
    u.ravel()[free] = spsolve(A[free][:, free], f.ravel()[free] - (A @ u.ravel())[free])
    return u


def test_finite_differences(best_backend, rng):
    n = 128
    coarse, fine = finite_differences(n // 2), finite_differences(n)
    u = fine[::2, ::2] + (fine[::2, ::2] - coarse) / 3  # Richardson
    k = rng.integers(4, n // 2 - 3, (100, 2))
    square = wos.Polygon(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    bell = wos.Gaussians(np.ones(1), np.array([[0.6, 0.3]]), 0.2)
    result = wos.solve(
        square, k / (n / 2), dirichlet=lambda X: X[:, 1] * (1 - X[:, 1]), source=bell, epsilon=EPSILON, max_steps=20000,
        neumann=(which(square.ends, 0, 1), lambda X: (X[:, 0] > 0.999999).astype(float)), robin=(which(square.ends, 2), 2.0, 1.0),
        walks=1024 if NATIVE and best_backend != "numba" else 128, rng=seed(rng),
    )  # fmt: skip
    bound = np.hypot(result.stderr, 2e-4)  # the differences' own error, near the corners
    assert oracle.gates(result.value, bound, u[k[:, 0], k[:, 1]], spread=False) == []


# ---------------------------------------------------------------- power: what must not pass


def fails(name, rng, walks, **changed):
    result, truth = solved(name, rng, 300, walks, **changed)
    known = result.stderr > 0
    return bool(oracle.gates(result.value[known], result.stderr[known], truth[known], spread=False))


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.slow
def test_wrong_problems_fail(rng):
    """A flux of the wrong sign, 10% too large, Robin's mu 15% too large, a thick shell, a source that is not there."""
    h, r = flux(RECTANGLE, wave_gradient), PROBLEMS["robin"][1]["robin"]
    assert fails("rectangle", rng, 256, neumann=(which(RECTANGLE, 0, 1, 2), lambda X: -h(X)))
    assert fails("rectangle", rng, 4096, neumann=(which(RECTANGLE, 0, 1, 2), lambda X: 1.1 * h(X)))
    assert fails("robin", rng, 512, robin=(r[0], 1.15, r[2]))
    assert fails("quarter", rng, 2048, epsilon=0.05)
    assert fails("source", rng, 512, source=None)


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_silhouettes_count(rng, monkeypatch):
    """Without re-entrant corners, and with a test for them that is strict: on a wall one of the two signs is that of 0."""
    honest = walls._corners

    def none(*given):
        corners, owner = honest(*given)
        return corners[:0], owner[:0]

    def strict(*given):
        corners, owner = honest(*given)
        corners = corners.copy()
        corners[:, :2] += 2e-5 * (corners[:, 2:4] + corners[:, 4:6])  # both signs are negative on both walls
        return corners, owner

    monkeypatch.setattr(walls, "_corners", none)
    assert fails("corner", rng, 4096)
    monkeypatch.setattr(walls, "_corners", strict)
    assert fails("corner", rng, 8192)
