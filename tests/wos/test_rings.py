"""The rings of a polygon: valid and invalid holes, and values that differ between rings."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from checks import check_rejected
from quatrefoil import wos
from wos.domains import SQUARE
from wos.walk.oracle import circle

U = np.array([[0, 0], [3, 0], [3, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3.0]])
BAR = SQUARE * [2, 0.2] + [0.5, 2]  # across the notch of U, with all of its vertices inside
ROOM = wos.Polygon(3 * SQUARE, holes=[SQUARE + 1])
X = np.array([[0.5, 0.5], [2.5, 1.5], [1.5, 0.9999]])  # the last point is next to the hole


def test_holes_must_lie_in_the_outline():
    inside, at_vertices = SQUARE + 1, np.array([[1, 1], [3, 1], [4, 1.5], [3, 2], [1, 2]])
    check_rejected([
        (lambda: wos.Polygon(3 * SQUARE, [inside, SQUARE + 2.5]), ValueError, r"polygon 0: holes\[1\] crosses the outline, expected"),
        (lambda: wos.Polygon(U, [BAR]), ValueError, r"holes\[0\] crosses the outline"),
        (lambda: wos.Polygon([SQUARE, 3 * SQUARE], [[], SQUARE + 5]), ValueError, r"polygon 1: holes\[0\] lies outside the outline"),
        (lambda: wos.Polygon(3 * SQUARE, [at_vertices]), ValueError, r"holes\[0\] lies outside the outline"),
        (lambda: wos.Polygon(SQUARE, [3 * SQUARE - 1]), ValueError, r"holes\[0\] lies outside the outline"),
    ])  # fmt: skip
    corner = SQUARE
    for hole in (corner, inside, 1.5 + circle(400)):
        rotation = np.array([[0.8, -0.6], [0.6, 0.8]])  # rounds the coordinates where the first hole touches the outline
        for move in (lambda x: x, lambda x: 1e-3 * x @ rotation + 7):  # noqa: B023
            assert wos.contains(wos.Polygon(move(3 * SQUARE), [move(hole)]), move(np.array([[2.9, 2.9], [0.9, 0.9]]))).tolist()[0]
    both = wos.Polygon(3 * SQUARE, SQUARE + 1)
    np.testing.assert_array_equal(both.vertices, 3 * SQUARE)
    np.testing.assert_array_equal(both.holes, [SQUARE + 1])


def solve(per_ring, points=X, boundary=ROOM, **options):
    return wos.solve(boundary, points, dirichlet_per_ring=per_ring, **{"walks": 64, "rng": 1, **options})


def hole_only(Y):
    return (abs(Y - 1.5).max(axis=1) < 1).astype(Y.dtype)


def test_numbers_vertices_and_functions_agree(backend):
    """Values are exact on the boundary, and equal elsewhere for the same walks."""
    at_vertices = wos.PerVertex(np.repeat([0.0, 1.0], 4))
    more = [{}, {"neumann": (np.arange(8) == 0, 0.0)}, {"source": 1.0}, {"executor": ThreadPoolExecutor(2)}]
    for options in more if backend == "native" else more[:1]:
        expected = wos.solve(ROOM, X, dirichlet=at_vertices, walks=64, rng=1, backend=backend, **options)
        if not options:
            assert set(expected.state.mean.ravel()) >= {1.0}
        for data in (
            [0, 1], np.array([0, 1]), [0.0, wos.PerVertex([1, 1, 1, 1])], [wos.Fourier([0]), 1], [0, hole_only],
            [lambda Y: 0 * Y[:, 0], wos.PerVertex([1, 1, 1, 1])],
        ):  # fmt: skip
            result = solve(data, backend=backend, **options)
            np.testing.assert_allclose(result.value, expected.value, rtol=0, atol=1e-15)
    assert solve([0, 1], X[2], backend=backend).value == 1.0
    again = pickle.loads(pickle.dumps(solve([0, 1], backend=backend))).resume(64)
    np.testing.assert_array_equal(again.value, solve([0, 1], walks=128, backend=backend).value)
    later = solve([0, 1], backend=backend, walk_offset=64)
    np.testing.assert_array_equal(solve([0, 1], backend=backend).merge(later).value, again.value)


def test_gradients(backend):
    def pulled(**data):
        return wos.solve_vjp(ROOM, X, np.ones(3), walks=64, rng=1, backend=backend, **data)[1]["values"]

    outline, hole = np.split(pulled(dirichlet=wos.PerVertex(np.repeat([0.0, 1.0], 4))), 2)
    np.testing.assert_allclose(pulled(dirichlet_per_ring=np.array([0.0, 1.0])), [outline.sum(), hole.sum()], rtol=1e-14)
    number, vertices = pulled(dirichlet_per_ring=[0, wos.PerVertex(np.ones(4))])
    np.testing.assert_allclose(number, outline.sum(), rtol=1e-14)
    np.testing.assert_allclose(vertices, hole, rtol=1e-14)


@pytest.mark.torch
def test_gradients_of_tensors():
    torch = pytest.importorskip("torch")
    both = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    expected = wos.solve_vjp(ROOM, X, np.ones(3), dirichlet_per_ring=np.array([0.0, 1.0]), walks=64, rng=1)[1]["values"]
    for data in (both, [both[0], both[1]], [both[0], wos.PerVertex(both[1].expand(4))]):
        (gradient,) = torch.autograd.grad(solve(data, torch.from_numpy(X)).value.sum(), both)
        np.testing.assert_allclose(gradient, expected, rtol=1e-13)
    with pytest.raises(NotImplementedError, match=r"dirichlet_per_ring\[1\] requires grad, and some ring has data other"):
        solve([0, wos.Fourier(both[:1])], torch.from_numpy(X))


def test_what_is_rejected():
    def plain(dirichlet, boundary=ROOM, **options):
        return wos.solve(boundary, X, dirichlet=dirichlet, **options)

    check_rejected([
        (lambda: plain([0, 1]), ValueError, "dirichlet is a list, .*For the rings of one polygon pass dirichlet_per_ring. For B problems"),
        (lambda: plain((1.0,), wos.Ball([0, 0], 4)), ValueError, "dirichlet is a list"),
        (lambda: plain([hole_only, hole_only]), ValueError, "dirichlet is a list"),
        (lambda: plain(0, source=[0, 1]), ValueError, r"source is a list, but no other argument has a leading B. For B .*points\[None\]"),
        (lambda: solve([0, 1, 2]), ValueError, "has 3 entries, but the polygon has 2 rings, the outline and 1 hole: expected"),
        (lambda: solve(1.0), ValueError, r"has shape \(\), expected \(R,\)"),
        (lambda: solve([0, None]), ValueError, r"dirichlet_per_ring\[1\] is None"),
        (lambda: solve([0, "1"]), TypeError, r"dirichlet_per_ring\[1\] is str"),
        (lambda: solve([0, np.zeros(2)]), ValueError, r"dirichlet_per_ring\[1\] is data of several instances"),
        (lambda: solve([0, wos.PerVertex([1, 2])]), ValueError, r"\[1\].values has shape \(2,\), but the ring has 4 vertices"),
        (lambda: solve([0, 1], dirichlet=1.0), ValueError, "got both"),
        (lambda: solve([0], boundary=wos.Ball([0, 0], 2)), ValueError, "requires a single Polygon"),
        (lambda: solve([0, 1], boundary=wos.Polygon([3 * SQUARE] * 2, [[SQUARE + 1]] * 2)), ValueError, "requires a single Polygon"),
    ])  # fmt: skip
    rings = r"dirichlet=0.0, or a function such as dirichlet=lambda X: X\[:, 0\], or dirichlet_per_ring=\[0, 1\] for the outline, then"
    check_rejected([
        (lambda: wos.solve(ROOM, X), TypeError, f"dirichlet is None, expected boundary values: {rings}"),
        (lambda: plain({"outer": 0, "hole": 1}), TypeError, f"dirichlet is a dict, expected boundary values: {rings}"),
        (lambda: wos.solve(wos.Ball([0, 0], 1), X), TypeError, r"a function such as dirichlet=lambda X: X\[:, 0\]$"),
    ])  # fmt: skip
    assert plain(np.array([0, 1])).value.shape == wos.solve(ROOM, X[None], dirichlet=[0, 1]).value.shape == (2, 3)
