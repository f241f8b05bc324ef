"""Walks on stars against closed forms and finite differences; what a wrong walk would fail."""

import numpy as np
import pytest
from scipy.sparse import diags, eye, kron
from scipy.sparse.linalg import spsolve

from quatrefoil import wos
from quatrefoil._backends import native
from quatrefoil.wos.walk import walls
from wos.stars import oracle
from wos.walk.oracle import same, seed

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


def solved(name, rng, n=200, walks=2048, clear=1e-3, **changed):
    ring, options, u = PROBLEMS[name]
    X = points_in(ring, rng, n, clear)
    options = {"epsilon": EPSILON, "max_steps": 20000, **options, **changed}
    return wos.solve(wos.Polygon(ring), X, walks=walks, rng=seed(rng), **options), u(X)


@pytest.mark.parametrize("name", PROBLEMS)
def test_closed_forms(name, backend, rng):
    fast = NATIVE and backend != "numba"
    walks = (512 if "robin" in name else 2048) if fast else 128 if name == "robin-alone" else 256
    # with few walks a point near the absorbing part knows little of its own spread
    result, truth = solved(name, rng, 200 if fast else 60, walks, clear=1e-3 if walks > 1000 else 0.05)
    assert oracle.gates(result.value, result.stderr, truth, spread=False) == []
    assert (result.n_truncated == 0).all()
    assert (result.n_escaped == 0).all()


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


def test_finite_differences(backend, rng):
    n = 128
    coarse, fine = finite_differences(n // 2), finite_differences(n)
    u = fine[::2, ::2] + (fine[::2, ::2] - coarse) / 3  # Richardson
    k = rng.integers(4, n // 2 - 3, (100, 2))
    square = wos.Polygon(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    bell = wos.Gaussians(np.ones(1), np.array([[0.6, 0.3]]), 0.2)
    result = wos.solve(
        square, k / (n / 2), dirichlet=lambda X: X[:, 1] * (1 - X[:, 1]), source=bell, epsilon=EPSILON, max_steps=20000,
        neumann=(which(square.ends, 0, 1), lambda X: (X[:, 0] > 0.999999).astype(float)), robin=(which(square.ends, 2), 2.0, 1.0),
        walks=1024 if NATIVE and backend != "numba" else 128, rng=seed(rng),
    )  # fmt: skip
    bound = np.hypot(result.stderr, 2e-4)  # the differences' own error, near the corners
    assert oracle.gates(result.value, bound, u[k[:, 0], k[:, 1]], spread=False) == []


# ---------------------------------------------------------------- power: what must not pass


def fails(name, rng, walks, **changed):
    result, truth = solved(name, rng, 300, walks, **changed)
    known = result.stderr > 0
    return bool(oracle.gates(result.value[known], result.stderr[known], truth[known], spread=False))


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_wrong_problems_fail(rng):
    """A flux of the wrong sign, 5% too large, Robin's mu 15% too large, a thick shell, a source that is not there."""
    h, r = flux(RECTANGLE, wave_gradient), PROBLEMS["robin"][1]["robin"]
    assert fails("rectangle", rng, 256, neumann=(which(RECTANGLE, 0, 1, 2), lambda X: -h(X)))
    assert fails("rectangle", rng, 4096, neumann=(which(RECTANGLE, 0, 1, 2), lambda X: 1.05 * h(X)))
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


# ---------------------------------------------------------------- data, bits, gradients


def options_of_all(rng):
    """Every kind of condition and data that has numbers."""
    ring = RECTANGLE
    return {
        "dirichlet": wos.PerVertex(rng.normal(size=4)), "source": wos.Gaussians(np.ones(2), rng.uniform(0, 0.7, (2, 2)), 0.3),
        "neumann": (which(ring, 0, 1), wos.PerVertex(rng.normal(size=4))), "robin": (which(ring, 2), 1.5, wos.Fourier(rng.normal(size=5))),
    }  # fmt: skip


def test_a_constant_comes_out_exact(backend, rng):
    """u = 1 whatever reflects; with a wall that absorbs, to the accuracy of its small stars."""
    X = points_in(RING, rng, 20)
    result = wos.solve(wos.Polygon(RING), X, dirichlet=1.0, neumann=(which(RING, 0, 5, *range(25, 49)), 0.0), walks=32, rng=seed(rng))
    np.testing.assert_array_equal(result.value, 1.0)
    np.testing.assert_array_equal(result.stderr, 0.0)


def test_cuts_and_threads_give_the_same_bits(backend, rng):
    X, polygon = points_in(RECTANGLE, rng, 40), wos.Polygon(RECTANGLE)
    run = dict(rng=seed(rng), **options_of_all(rng))
    whole = wos.solve(polygon, X, walks=60, **run)
    same(whole, wos.solve(polygon, X, walks=60, num_threads=3, **run))
    same(whole, wos.solve(polygon, X, walks=23, **run).resume(37))
    same(whole, wos.solve(polygon, X, walks=17, walk_offset=43, **run).merge(wos.solve(polygon, X, walks=43, **run)))
    part = wos.solve(polygon, X[:7], walks=60, **run)
    np.testing.assert_array_equal(part.value, whole.value[:7])
    other = {**run, "robin": (run["robin"][0], 2.0, run["robin"][2])}
    with pytest.raises(ValueError, match="neumann and robin"):
        whole.merge(wos.solve(polygon, X, walks=3, walk_offset=60, **other))
    with pytest.raises(ValueError, match="robin"):
        whole.merge(wos.solve(polygon, X, walks=3, walk_offset=60, **{**run, "robin": (*run["robin"][:2], wos.Fourier(np.ones(5)))}))


def test_instances_are_those_alone(backend, rng):
    rings = [RECTANGLE, ELL[::-1].copy(), RING * 2]
    X = np.array([[0.31, 0.42], [0.9, 0.6]])
    wheres = [which(r, 0, len(r) - 1) for r in rings]
    values = [rng.normal(size=len(r)) for r in rings]
    h = [wos.PerVertex(v) for v in values]
    s = seed(rng)
    run = dict(dirichlet=0.5, source=1.0, walks=30)
    with pytest.warns(RuntimeWarning, match="outside"):
        together = wos.solve(wos.Polygon(rings), X, neumann=(wheres, h), rng=s, **run)
    assert together.value.shape == (3, 2)
    alone = wos.solve(wos.Polygon(rings[0]), X, neumann=(wheres[0], h[0]), rng=s, **run)
    np.testing.assert_array_equal(together.value[0], alone.value)
    shared = wos.solve(wos.Polygon(RECTANGLE), X, neumann=(wheres[0], np.array([0.0, 2.0])), dirichlet=0.0, rng=s, walks=30)
    np.testing.assert_array_equal(shared.value[0], 0.0)
    assert (shared.value[1] > 0).all()


def test_orientation_and_holes_do_not_matter(backend, rng):
    """The same domain, its outline and hole either way round."""
    hole = np.array([[0.3, 0.2], [0.5, 0.2], [0.5, 0.4], [0.3, 0.4]])
    X = points_in(RECTANGLE, rng, 80)
    X = X[~oracle.inside([hole], X)]
    found = []
    for outer, inner in ((RECTANGLE, hole), (RECTANGLE[::-1].copy(), hole), (RECTANGLE, hole[::-1].copy())):
        polygon = wos.Polygon(outer, holes=[inner])
        where = np.zeros(8, bool)
        middle = polygon.ends.reshape(8, 2, 2).mean(axis=1)
        where[4:] = True
        where[:4] = np.abs(middle[:4, 0] - 0.5) > 0.4  # left and right
        h = np.where(middle[:, 0] > 0.9, 1.0, 0.0)

        def flow(Y, ends=polygon.ends, h=h):
            return h[oracle.closest(ends, np.asarray(Y, float))[1]]

        found.append(wos.solve(polygon, X, dirichlet=0.0, neumann=(where, flow), walks=256, rng=seed(rng)))
    for one in found[1:]:
        z = (one.value - found[0].value) / np.hypot(one.stderr, found[0].stderr)
        assert abs(z.sum()) / np.sqrt(len(z)) < 6
        assert abs(z).max() < 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_linear_parameters(dtype, backend, rng):
    """value is linear in what is given on the boundary and in the domain: <grad, value(p)> - <grad, value(0)> = <gradient, p>."""
    X, s = points_in(RECTANGLE, rng, 9).astype(dtype), seed(rng)
    polygon = wos.Polygon(RECTANGLE)
    v, w, c, a = (rng.normal(size=n).astype(dtype) for n in (4, 4, 5, 3))
    centres = rng.uniform(0, 0.7, (3, 2)).astype(dtype)

    def given(scale):
        return dict(
            dirichlet=wos.PerVertex(scale * v), source=wos.Gaussians(scale * a, centres, 0.4),
            neumann=(which(RECTANGLE, 0, 1), wos.PerVertex(scale * w)), robin=(which(RECTANGLE, 2), 0.8, wos.Fourier(scale * c)),
            walks=21, rng=s,
        )  # fmt: skip

    one, zero = (wos.solve(polygon, X, **given(dtype(scale))).value for scale in (1, 0))
    grad = rng.normal(size=9).astype(dtype)
    points, *found = wos.solve_vjp(polygon, X, grad, points_gradient=False, **given(dtype(1)))
    assert points is None
    parts = (("values", v), ("amplitude", a), ("values", w), ("coefficients", c))
    total = sum((of[name].astype(float) * p).sum() for of, (name, p) in zip(found, parts))
    assert abs(total - (grad.astype(float) * (one - zero)).sum()) < 1e-4 * np.abs(grad).sum()
    with pytest.raises(ValueError, match="points"):
        wos.solve_vjp(polygon, X, grad, **given(dtype(1)))


@pytest.mark.torch
def test_torch(backend, rng):
    torch = pytest.importorskip("torch")
    X, s, v = points_in(RECTANGLE, rng, 9), seed(rng), rng.normal(size=4)
    run = dict(source=1.0, walks=20, rng=s)
    where = which(RECTANGLE, 0, 2)
    one = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=0.5, neumann=(where, wos.PerVertex(v)), **run)
    p = torch.tensor(v, requires_grad=True)
    polygon = wos.Polygon(torch.tensor(RECTANGLE))
    two = wos.solve(polygon, torch.tensor(X), dirichlet=0.5, neumann=(torch.tensor(where), wos.PerVertex(p)), **run)
    np.testing.assert_array_equal(one.value, two.value.detach().numpy())
    two.value.sum().backward()
    grads = wos.solve_vjp(
        wos.Polygon(RECTANGLE), X, np.ones(9), dirichlet=0.5, neumann=(where, wos.PerVertex(v)), points_gradient=False, **run
    )
    np.testing.assert_allclose(p.grad.numpy(), grads[3]["values"], rtol=1e-12)


# ---------------------------------------------------------------- what is refused


SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"neumann": (np.ones(4, bool), 0.0)}, ValueError, "all of polygon 0 reflects"),
        ({"robin": (np.ones(4, bool), 0.0, 0.0)}, ValueError, "all of polygon 0 reflects"),
        ({"neumann": (which(SQUARE, 1), 0.0), "robin": (which(SQUARE, 1), 1.0, 0.0)}, ValueError, "segment 1 is in both"),
        ({"neumann": (np.ones(5, bool), 0.0)}, ValueError, r"expected \(4,\)"),
        ({"neumann": (np.ones(4), 0.0)}, TypeError, "expected bool"),
        ({"neumann": (which(SQUARE, 1),)}, TypeError, r"\(where, h\)"),
        ({"neumann": which(SQUARE, 1)}, TypeError, r"\(where, h\)"),
        ({"robin": (which(SQUARE, 1), 1.0)}, TypeError, r"\(where, mu, h\)"),
        ({"robin": (which(SQUARE, 1), -1.0, 0.0)}, ValueError, "mu"),
        ({"robin": (which(SQUARE, 1), float("nan"), 0.0)}, ValueError, "mu"),
        ({"robin": (which(SQUARE, 1), np.full(4, -1.0), 0.0)}, ValueError, "mu"),
        ({"neumann": (which(SQUARE, 1), 0.0), "gradient": True}, ValueError, "gradient=True"),
        ({"neumann": (which(SQUARE, 1), wos.PerVertex(np.zeros(3)))}, ValueError, r"expected \(4,\)"),
    ],
)
def test_refused(given, error, text):
    with pytest.raises(error, match=text):
        wos.solve(wos.Polygon(SQUARE), np.full((1, 2), 0.5), dirichlet=0.0, walks=2, **given)


def test_a_ball_has_no_segments():
    with pytest.raises(ValueError, match="Polygon"):
        wos.solve(wos.Ball([0, 0], 1), np.zeros((1, 2)), dirichlet=0.0, neumann=(np.ones(4, bool), 0.0))


def test_nobody_reflects(backend, rng):
    """where that is False everywhere: the plain walk."""
    X, s = points_in(RECTANGLE, rng, 9), seed(rng)
    plain = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wave, walks=9, rng=s)
    same(plain, wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wave, walks=9, rng=s, neumann=(np.zeros(4, bool), 1.0)))
