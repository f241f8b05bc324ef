"""Plots show the boundary and the results."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import SQUARE, field
from wos.query.oracle import tetrahedron

pytest.importorskip("matplotlib").use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

RECTANGLE = SQUARE * [2, 1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(boundary):
    """The ends of all lines."""
    return np.concatenate(boundary.plot().collections[0].get_segments())


def test_boundaries():
    polygons = wos.Polygon(np.stack([RECTANGLE, 3 * RECTANGLE]), holes=[[], [RECTANGLE[:3] * 0.2 + 0.5]])
    for instance, segments, right in ((0, 4, 2), (1, 7, 6)):
        ax = polygons.plot(instance=instance, color="red")
        assert len(ax.collections[0].get_segments()) == segments
        assert ax.get_xlim()[1] == pytest.approx(1.03 * right)
    assert polygons.plot(ax) is ax
    assert len(ax.collections) == 2
    np.testing.assert_allclose(np.hypot(*(drawn(wos.Ball([1.0, 2.0], 3.0)) - [1, 2]).T), 3.0)
    np.testing.assert_allclose(np.hypot(*drawn(field()).T), 1, atol=2e-2)
    np.testing.assert_allclose(np.sort(drawn(wos.Box([0, 0], [2, 1])), axis=0), np.repeat([[0, 0], [2, 1]], 4, axis=0))


def test_boundaries_in_space():
    sphere, mesh = wos.Ball([0.0, 1.0, 0.0], 2.0), wos.TriangleMesh(*tetrahedron())
    np.testing.assert_allclose(np.linalg.norm(sphere._outline(0) - [0, 1, 0], axis=-1), 2.0)
    edges = {tuple(sorted(map(tuple, e.tolist()))) for e in mesh._outline(0)}
    corners = sorted(map(tuple, mesh.vertices.tolist()))
    assert edges == {(a, b) for a in corners for b in corners if a < b}
    assert wos.Box([0, 0, 0], [1, 1, 1])._outline(0).shape == (12, 2, 3)
    assert sphere.plot().name == mesh.plot().name == "3d"


def test_results(rng):
    X = rng.uniform([0.1, 0.1], [1.9, 0.9], (30, 2))
    r = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=[1.0, lambda Y: Y[:, 0]], walks=8, gradient=True, rng=1)
    for what in ("value", "stderr"):
        _, points = r.plot(what, instance=1).collections
        np.testing.assert_allclose(points.get_offsets(), X)
        np.testing.assert_allclose(points.get_array(), getattr(r, what)[1])
    np.testing.assert_allclose(r.plot("grad", instance=1).collections[1].U, r.grad[1, :, 0])
    inside = wos.solve(wos.Ball([0.0, 0.0, 0.0], 1.0), np.zeros((1, 3)), dirichlet=1.0, walks=2, rng=1)
    assert len(inside.plot().collections) == 2
    for call, text in (
        (lambda: inside.plot("grad"), r"expected one of value, stderr$"),
        (lambda: r.plot("error"), "what is 'error'"),
        (lambda: wos.Polygon(RECTANGLE).plot(instance=2), "instance"),
        (field(3).plot, "an SDF in three dimensions has no lines to draw"),
        (wos.Box([0.0] * 4, [1.0] * 4).plot, "in 4 dim"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.torch
def test_tensors(rng):
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(rng.uniform(0.1, 0.9, (5, 2))).requires_grad_()
    r = wos.solve(wos.Polygon(torch.from_numpy(RECTANGLE)), X, dirichlet=1.0, walks=4, rng=1)
    np.testing.assert_allclose(r.plot().collections[1].get_array(), 1.0)
