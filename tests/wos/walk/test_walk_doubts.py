"""What a result says of itself: walks that escaped, and error bars that rest on too few walks."""

import warnings

import numpy as np

from quatrefoil import wos

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
FEW = "the stderr of {} of {} points cannot be trusted: fewer than 5 of their walks carry the value"


def said(run):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in found]


def test_few_walks_that_count(backend):
    """A strong screening: most walks end before they come to the boundary, and 0 +- 0 is no answer."""
    ball, X = wos.Ball((0.0, 0.0), 1.0), np.array([[0.0, 0.0], [0.9, 0.0]])
    for g in (1.0, -2.0, np.array([3.0]), wos.Fourier(np.array([2.0, 1.0, 0.5])), wos.Gaussians(np.ones(1), np.zeros((1, 2)), 1.0)):
        (text,) = said(lambda: wos.solve(ball, X, dirichlet=g, screening=300.0, walks=1024, rng=0))  # noqa: B023
        assert FEW.format(1, 2) in text
    result = wos.solve(ball, X, dirichlet=1.0, screening=300.0, walks=64, rng=0)  # of so few walks nobody expects much
    (text,) = said(lambda: result.resume(1000))
    assert FEW.format(1, 2) in text


def test_a_small_part_of_the_boundary(backend):
    values = np.zeros(400)
    values[0] = 1.0
    t = np.linspace(0, 2 * np.pi, 401)[:-1]
    disc = wos.Polygon(np.stack([np.cos(t), np.sin(t)], axis=-1))
    (text,) = said(lambda: wos.solve(disc, np.zeros((1, 2)), dirichlet=wos.PerVertex(values), walks=300, rng=0))
    assert FEW.format(1, 1) in text


def test_one_point_in_many(backend):
    """Where u is next to nothing."""
    X = np.concatenate([np.zeros((1, 2)), np.tile([[0.9, 0.0]], (30, 1))])
    assert said(lambda: wos.solve(wos.Ball((0.0, 0.0), 1.0), X, dirichlet=1.0, screening=300.0, walks=256, rng=0)) == []


def test_ordinary_results_are_not_doubted(backend):
    X = np.array([[0.5, 0.5], [0.2, 0.3]])
    for g in (0.0, 1.0, wos.Fourier(np.array([0.0, 1.0, 0.0])), wos.PerVertex(np.array([0.0, 1.0, 0.0, 0.0])), lambda Y: Y[:, 0] - 0.5):
        assert said(lambda: wos.solve(wos.Polygon(SQUARE), X, dirichlet=g, walks=256, rng=0)) == []  # noqa: B023
    both = wos.solve(wos.Polygon(SQUARE), X, dirichlet=np.array([0.0, 1.0]), walks=256, rng=0)  # of data that are 0 the error is
    np.testing.assert_array_equal(both.value, [[0, 0], [1, 1]])
    assert (
        said(lambda: wos.solve(wos.Ball((0.0, 0.0), 1.0), np.zeros((1, 2)), dirichlet=0.0, source=1.0, screening=300.0, walks=256, rng=0))
        == []
    )


def test_escapes(backend):
    """More than one in a hundred are said, by the counter's name; one warning, whatever else is said."""
    box = ([-1.5] * 2, [1.5] * 2)
    lies = wos.SDF(lambda Y: np.minimum(100 * (np.hypot(*Y.T) - 1), 1.0), box)
    (text,) = said(lambda: wos.solve(lies, np.array([[0.5, 0.0]]), dirichlet=1.0, walks=100, rng=1))
    assert "100.0% of the walks left the domain (n_escaped)" in text
    honest = wos.SDF(lambda Y: np.hypot(*Y.T) - 1, box)
    assert said(lambda: wos.solve(honest, np.array([[0.5, 0.0]]), dirichlet=1.0, walks=100, rng=1)) == []
