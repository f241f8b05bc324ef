"""Gradients of walks on stars: closed forms, near and on walls, bits, torch; what a wrong gradient would fail."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from wos.stars import oracle
from wos.stars.test_stars import (
    EPSILON,
    PROBLEMS,
    RECTANGLE,
    RING,
    bowl_gradient,
    decay_gradient,
    flux,
    points_in,
    pole_gradient,
    wave,
    wave_gradient,
    which,
)
from wos.stars.test_stars_data import options_of_all
from wos.walk.oracle import same, seed

NATIVE = native.reason() is None


def corner_gradient(X):
    """Of r^(2/3) cos(2 theta / 3)."""
    theta = np.mod(np.arctan2(X[..., 1], X[..., 0]) + np.pi / 2, 2 * np.pi)
    r = np.hypot(X[..., 0], X[..., 1])
    of_r, of_theta = 2 / 3 * r ** (-1 / 3) * np.cos(2 * theta / 3), -2 / 3 * r ** (-1 / 3) * np.sin(2 * theta / 3)
    c, s = X[..., 0] / r, X[..., 1] / r
    return np.stack([of_r * c - of_theta * s, of_r * s + of_theta * c], axis=-1)


GRADIENTS = {
    "rectangle": wave_gradient, "source": bowl_gradient, "ring": pole_gradient, "corner": corner_gradient, "screened": decay_gradient,
    "screened-source": bowl_gradient, "robin-and-neumann": wave_gradient, "robin-screened": decay_gradient,
}  # fmt: skip


def failed(name, rng, walks, n=200, factor=1.0, **changed):
    """The gates that a gradient, times a factor, does not pass; its value's too."""
    ring, options, u = PROBLEMS[name]
    X = points_in(ring, rng, n, 0.05)
    options = {"epsilon": EPSILON, "max_steps": 20000, **options, **changed}
    result = wos.solve(wos.Polygon(ring), X, walks=walks, rng=seed(rng), gradient=True, **options)
    truth, found = GRADIENTS[name](X), oracle.gates(result.value, result.stderr, u(X), spread=False)
    for i in range(2):
        found += oracle.gates(factor * result.grad[:, i], factor * result.grad_stderr[:, i], truth[:, i], spread=False)
    return found


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.slow
def test_closed_forms(name, best_backend, rng):
    fast, slow = NATIVE and best_backend != "numba", "robin" in name or name == "ring"
    assert failed(name, rng, (512 if slow else 1024) if fast else 256, (40 if slow else 100) if fast else 30) == []


def of_linear(boundary, X, where, walks, s):
    """u = x where the sides reflect: its gradient and the error of that."""
    c = np.zeros((2,) * X.shape[1])
    c[(1, *[0] * (X.shape[1] - 1))] = 1.0
    r = wos.solve(boundary, X, dirichlet=wos.Polynomial(c), neumann=(where, 0.0), walks=walks, epsilon=EPSILON, gradient=True, rng=s)
    return r.grad, r.grad_stderr


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.slow
def test_wrong_gradients_fail(rng):
    """10% too large, 10% too small; without the source in the first ball, without the flux."""
    X = rng.uniform(0.1, [0.9, 0.6], (200, 2))
    grad, bar = of_linear(wos.Polygon(RECTANGLE), X, which(RECTANGLE, 0, 2), 4096, seed(rng))
    for factor in (1.1, 0.9):
        assert oracle.gates(factor * grad[:, 0], factor * bar[:, 0], np.ones(200), spread=False)
    assert oracle.gates(grad[:, 0], bar[:, 0], np.ones(200), spread=False) == []
    assert failed("source", rng, 1024, source=None)
    assert failed("rectangle", rng, 1024, neumann=(which(RECTANGLE, 0, 1, 2), 0.0))


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_close_to_walls(rng):
    """At ten and at a hundred epsilon from a reflecting wall: the first ball is that small, the error that large."""
    ring, options, u = PROBLEMS["rectangle"]
    for away in (1e-3, 1e-2):
        x = rng.uniform(0.2, 0.8, 40)
        X = np.stack([x, np.full(40, away)], axis=1)
        r = wos.solve(wos.Polygon(ring), X, walks=2048, epsilon=EPSILON, gradient=True, rng=seed(rng), **options)
        for i in range(2):
            assert oracle.gates(r.grad[:, i], r.grad_stderr[:, i], wave_gradient(X)[:, i], spread=False) == []
        assert oracle.gates(r.value, r.stderr, u(X), spread=False) == []
        assert (r.grad_stderr > 0).all()


def test_on_walls_there_is_a_value_and_no_gradient(backend, rng):
    """Within epsilon of a wall, and outside of it by rounding; within epsilon of the absorbing part g, as ever."""
    ring, options, u = PROBLEMS["rectangle"]
    polygon, shell = wos.Polygon(ring), 1e-3 * np.hypot(1, 0.7)
    on = np.array([[0.5, 0.0], [1.0, 0.3], [0.4, 0.7], [0.6, 0.9 * shell], [0.3, -1e-9], [1 - 0.5 * shell, 0.5]])
    off = np.array([[0.6, 1.1 * shell], [0.5, 0.35]])
    absorbed = np.array([[0.5 * shell, 0.3]])
    X, s = np.concatenate([on, off, absorbed]), seed(rng)
    r = wos.solve(polygon, X, walks=256, gradient=True, rng=s, **options)
    assert np.isnan(r.grad[:6]).all()
    assert np.isnan(r.grad_stderr[:6]).all()
    assert np.isfinite(r.grad[6:8]).all()
    assert np.isnan(r.grad[8]).all()
    assert r.stderr[8] == 0
    assert oracle.gates(r.value[:8], np.hypot(r.stderr[:8], 1e-3), u(X[:8]), spread=False) == []
    plain = wos.solve(polygon, X[:6], walks=256, rng=s, **options)  # walks that have no first ball are those of the value alone
    np.testing.assert_allclose(r.value[:6], plain.value, rtol=1e-12)


def test_a_constant_has_no_gradient(backend, rng):
    where = which(RING, 0, 5, *range(25, 49))
    X = points_in(RING, rng, 20, 0.02)
    result = wos.solve(wos.Polygon(RING), X, dirichlet=1.0, neumann=(where, 0.0), walks=32, gradient=True, rng=seed(rng))
    np.testing.assert_array_equal(result.value, 1.0)
    np.testing.assert_allclose(result.grad, 0.0, atol=1e-12)
    run = dict(neumann=(where, 1.0), walks=64, gradient=True, rng=seed(rng))
    low, high = (wos.solve(wos.Polygon(RING), X, dirichlet=lambda Y, c=c: Y[:, 0] + c, **run) for c in (0.0, 100.0))
    np.testing.assert_allclose(high.grad, low.grad, rtol=0, atol=1e-2)
    np.testing.assert_allclose(high.grad_stderr, low.grad_stderr, rtol=1e-2, atol=1e-3)


def same_gradients(a, b):
    same(a, b)
    for name in ("grad", "grad_stderr"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_cuts_and_threads_give_the_same_bits(backend, rng):
    X, polygon = np.concatenate([points_in(RECTANGLE, rng, 30), [[0.5, 0.0]]]), wos.Polygon(RECTANGLE)
    run = dict(rng=seed(rng), gradient=True, **options_of_all(rng))
    whole = wos.solve(polygon, X, walks=60, **run)
    same_gradients(whole, wos.solve(polygon, X, walks=60, num_threads=3, **run))
    same_gradients(whole, wos.solve(polygon, X, walks=22, **run).resume(38))
    same_gradients(whole, wos.solve(polygon, X, walks=18, walk_offset=42, **run).merge(wos.solve(polygon, X, walks=42, **run)))
    for text, options in (("walks is 3", {"walks": 3}), ("walk_offset is 1", {"walks": 2, "walk_offset": 1})):
        with pytest.raises(ValueError, match=text):
            wos.solve(polygon, X, **options, **run)


def test_gradients_of_parameters_in_pairs(backend, rng):
    """value is linear in what is given: <grad, value(p)> - <grad, value(0)> = <gradient, p>, by pairs too."""
    X, s = np.concatenate([points_in(RECTANGLE, rng, 6), [[0.5, 0.0]]]), seed(rng)
    polygon = wos.Polygon(RECTANGLE)
    v, w, c, a = (rng.normal(size=n) for n in (4, 4, 5, 3))
    centres, grad = rng.uniform(0, 0.7, (3, 2)), rng.normal(size=7)

    def given(scale):
        return dict(
            dirichlet=wos.PerVertex(scale * v), source=wos.Gaussians(scale * a, centres, 0.4), gradient=True,
            neumann=(which(RECTANGLE, 0, 1), wos.PerVertex(scale * w)), robin=(which(RECTANGLE, 2), 0.8, wos.Fourier(scale * c)),
            walks=22, rng=s,
        )  # fmt: skip

    one, zero = (wos.solve(polygon, X, **given(scale)).value for scale in (1.0, 0.0))
    _, *found = wos.solve_vjp(polygon, X, grad, points_gradient=False, **given(1.0))
    parts = (("values", v), ("amplitude", a), ("values", w), ("coefficients", c))
    total = sum((of[name] * p).sum() for of, (name, p) in zip(found, parts))
    assert abs(total - (grad * (one - zero)).sum()) < 1e-4 * np.abs(grad).sum()


def test_points(backend, rng):
    """The gradient of the value in the points is that of the pairs; NaN on walls where it is asked for."""
    X, s = points_in(RECTANGLE, rng, 9, 0.02), seed(rng)
    run = dict(rng=s, walks=24, **options_of_all(rng))
    pairs = wos.solve(wos.Polygon(RECTANGLE), X, gradient=True, **run)
    grad = rng.normal(size=9)
    found = wos.solve_vjp(wos.Polygon(RECTANGLE), X, grad, **run)[0]
    np.testing.assert_allclose(found, grad[:, None] * pairs.grad, rtol=1e-12)
    wall = wos.solve_vjp(wos.Polygon(RECTANGLE), np.array([[0.5, 0.0], [0.4, 0.0]]), np.array([1.0, 0.0]), **run)[0]
    assert np.isnan(wall[0]).all()
    np.testing.assert_array_equal(wall[1], 0.0)


@pytest.mark.torch
def test_points_of_torch(backend, rng):
    torch = pytest.importorskip("torch")
    X, s = points_in(RECTANGLE, rng, 9, 0.02), seed(rng)
    where, h = which(RECTANGLE, 0, 1, 2), flux(RECTANGLE, wave_gradient)
    pairs = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wave, neumann=(where, h), walks=24, gradient=True, rng=s)
    p = torch.tensor(X, requires_grad=True)
    polygon = wos.Polygon(torch.tensor(RECTANGLE))
    value = wos.solve(polygon, p, dirichlet=wave, neumann=(torch.tensor(where), h), walks=24, rng=s).value
    (2 * value).sum().backward()
    np.testing.assert_allclose(p.grad.numpy(), 2 * pairs.grad, rtol=1e-12)


def test_a_walk_beyond_a_wall_by_rounding_goes_back():
    """A ray along a wall meets its line far behind a point that lies beyond it by rounding: the wall counts as met where the point is."""
    pytest.importorskip("numba")
    from quatrefoil.wos.stars import _numba_facets, _numba_walls

    wall = np.array([[0.0, 0, 1, 0, 0, 0]])  # the domain is above
    for place, met in ((0.5, 0), (1.5, -1)):
        found, t = _numba_walls._hit(wall, place, -5e-14, 1.0, -1e-4, 2.0, -1, 1e30)
        assert found == met
        assert t == (0.0 if met == 0 else 2.0)
    triangle = np.array([[0.0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]])  # its corners go to the left seen from below
    d = np.array([1.0, 0, -1e-4])
    for place, met in ((0.2, 0), (1.5, -1)):
        found, t = _numba_facets._hit(_numba_facets._frames(triangle), np.array([place, 0.3, -5e-14]), d, 2.0, -1, 1e30)
        assert found == met
