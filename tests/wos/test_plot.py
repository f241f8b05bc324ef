"""Pictures: what is drawn is what there is."""

import numpy as np
import pytest

from quatrefoil import wos

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SQUARE = np.array([[0, 0], [2, 0], [2, 1], [0, 1.0]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_boundaries():
    polygons = wos.Polygon(np.stack([SQUARE, 3 * SQUARE]), holes=[[], [SQUARE[:3] * 0.2 + 0.5]])
    for instance, segments, right in ((0, 4, 2), (1, 7, 6)):
        ax = polygons.plot(instance=instance, color="red")
        (lines,) = ax.collections
        assert len(lines.get_segments()) == segments
        assert ax.get_xlim()[1] == pytest.approx(1.03 * right)
    same = polygons.plot(ax)
    assert same is ax
    assert len(ax.collections) == 2
    circle = np.concatenate(wos.Ball([1.0, 2.0], 3.0).plot().collections[0].get_segments())
    np.testing.assert_allclose(np.hypot(*(circle - [1, 2]).T), 3.0)
    sphere = wos.Ball([0.0, 1.0, 0.0], 2.0)
    np.testing.assert_allclose(np.linalg.norm(sphere._outline(0) - [0, 1, 0], axis=-1), 2.0)
    assert sphere.plot().name == "3d"
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mesh = wos.TriangleMesh(corners, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]))
    edges = mesh._outline(0)
    assert sorted({tuple(sorted(map(tuple, e.tolist()))) for e in edges}) == sorted(
        {tuple(sorted((tuple(a), tuple(b)))) for a in corners.tolist() for b in corners.tolist() if a != b}
    )
    assert mesh.plot().name == "3d"
    with pytest.raises(ValueError, match="instance"):
        polygons.plot(instance=2)


def test_results(rng):
    X = rng.uniform([0.1, 0.1], [1.9, 0.9], (30, 2))
    r = wos.solve(wos.Polygon(SQUARE), X, dirichlet=[1.0, lambda Y: Y[:, 0]], walks=8, gradient=True, rng=1)
    for what in ("value", "stderr"):
        _, points = r.plot(what, instance=1).collections
        np.testing.assert_allclose(points.get_offsets(), X)
        np.testing.assert_allclose(points.get_array(), getattr(r, what)[1])
    arrows = r.plot("grad", instance=1).collections[1]
    np.testing.assert_allclose(arrows.U, r.grad[1, :, 0])
    inside = wos.solve(wos.Ball([0.0, 0.0, 0.0], 1.0), np.zeros((1, 3)), dirichlet=1.0, walks=2, rng=1)
    assert len(inside.plot().collections) == 2
    with pytest.raises(ValueError, match=r"expected one of value, stderr$"):
        inside.plot("grad")
    with pytest.raises(ValueError, match="what is 'error'"):
        r.plot("error")


@pytest.mark.torch
def test_tensors(rng):
    torch = pytest.importorskip("torch")
    X = torch.from_numpy(rng.uniform(0.1, 0.9, (5, 2))).requires_grad_()
    r = wos.solve(wos.Polygon(torch.from_numpy(SQUARE)), X, dirichlet=1.0, walks=4, rng=1)
    np.testing.assert_allclose(r.plot().collections[1].get_array(), 1.0)
