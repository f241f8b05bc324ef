"""Piecewise functions with kinks, jumps and singular ends, compared with closed forms and SciPy's quadrature."""

import pickle

import numpy as np
import pytest
from scipy import integrate

import quatrefoil as qf
from checks import check_rejected

PiecewiseTucker = qf.cheb.PiecewiseTucker
UNIT = [(0, 1)]

FUNCTIONS = {
    "a root": (np.sqrt, UNIT, {"singular": {0: "lo"}}),
    "a power": (lambda x: x**0.3 * np.cos(3 * x), [(0, 2)], {"singular": {0: "lo"}}),
    "x log x": (lambda x: x * np.log(np.where(x > 0, x, 1)), UNIT, {"singular": {0: "lo"}}),
    "the upper end": (lambda x: (-x) ** 0.4, [(-3, 0)], {"singular": {0: "hi"}}),
    "half a circle": (lambda x: np.sqrt(np.maximum(1 - x * x, 0)), [(-1, 1)], {"singular": {0: "both"}}),
    "a jump": (lambda x, y: np.where(x > 0.25, np.exp(x), -y), [(0, 1), (0, 2)], {"special_points": {0: [0.25]}}),
    "both": (lambda x, y: np.abs(x - 0.3) * np.sqrt(y), [(0, 1), (0, 2)], {"special_points": {0: [0.3]}, "singular": {-1: "lo"}}),
    "kinks along two axes": (
        lambda x, y, z: np.maximum(x - 0.37, 0) * np.exp(y * z) + np.abs(z - 0.5) * y,
        [(0, 1)] * 3,
        {"special_points": {0: [0.37], 2: [0.5]}},
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_gradients_and_integrals(rng, name):
    f, domain, where = FUNCTIONS[name]
    ct = PiecewiseTucker.from_function(f, domain, tol=1e-9, **where)
    d = len(domain)
    lo, hi = np.array(domain, float).T
    X = lo + (hi - lo) * rng.random((500, d)) ** 3
    size = np.abs(f(*X.T)).max()
    np.testing.assert_allclose(ct(X), f(*X.T), rtol=0, atol=2e-8 * size)
    np.testing.assert_allclose(ct(*X.T), ct(X), rtol=1e-14)
    assert ct.error_estimate < 1e-8
    assert ct.n_evaluations < 3000
    inner = lo + (hi - lo) * (0.1 + 0.8 * rng.random((50, d)))
    inner = inner[[all(abs(x - p) > 1e-3 for p in (0.3, 0.25, 0.37, 0.5) for x in row) for row in inner]]
    value, gradient = ct.value_and_grad(inner)
    np.testing.assert_array_equal(value, ct(inner))
    for k in range(d):
        step = 1e-6 * np.eye(d)[k]
        np.testing.assert_allclose(gradient[:, k], (f(*(inner + step).T) - f(*(inner - step).T)) / 2e-6, rtol=1e-5, atol=1e-5 * size)
    breaks = {k % d: p for k, p in where.get("special_points", {}).items()}
    if d < 3:
        options = [{"points": breaks[k], "limit": 200} if k in breaks else {"limit": 200} for k in range(d)]
        exact = [integrate.nquad(lambda *x, p=p: float(f(*map(np.float64, x))) ** p, domain, opts=options)[0] for p in (1, 2)]
        volume = np.prod(hi - lo)
        np.testing.assert_allclose([ct.integrate(), ct.mean() * volume], [exact[0]] * 2, rtol=1e-6)
        np.testing.assert_allclose(ct.var(), exact[1] / volume - (exact[0] / volume) ** 2, rtol=1e-5)


def test_extrema_and_form():
    ct = PiecewiseTucker.from_function(lambda x, y: np.abs(x - 0.3) + (y - 1) ** 2, [(0, 1), (0, 2)], special_points={0: [0.3]})
    low, high = ct.minimize(), ct.maximize()
    np.testing.assert_allclose([low.value, *low.point], [0, 0.3, 1], atol=1e-7)
    np.testing.assert_allclose([high.value, high.point[0]], [1.7, 1], atol=1e-7)
    assert ct.breaks == ((0, 0.3, 1), (0, 2))
    assert "2 pieces" in repr(ct)
    again = pickle.loads(pickle.dumps(ct))
    assert again(0.7, 0.5) == ct(0.7, 0.5)
    assert ct([0.7, 0.5]).shape == ()


def test_error_for_a_kink_suggests_a_fix():
    cures = [
        (lambda x, y: np.abs(x - 0.3) + y, r"along axis 0 are too few near x0 = 0\.3 .*special_points={0: \[0\.3\]}\)"),
        (lambda x, y: x + np.sqrt(y), r"along axis 1 .* near x1 = .*, or PiecewiseTucker.from_function\(f, domain, singular={1: \"lo\"}\)"),
        (lambda x, y: x * np.sqrt(1 - y), r"singular={1: \"hi\"}"),
        (lambda x, y: np.abs(x - y), "at other positions on other lines.* in which its kinks are at fixed values"),
    ]
    check_rejected([(lambda f=f: qf.cheb.ChebTucker.from_function(f, [(0, 1)] * 2, tol=1e-8), ValueError, text) for f, text in cures])


def test_checkpoints(tmp_path):
    calls = []

    def f(x):
        calls.append(x)
        if len(calls) == 12:
            raise RuntimeError("stopped")
        return abs(x - 0.3)

    make = {"special_points": {0: [0.3]}, "checkpoint": tmp_path / "values"}
    with pytest.raises(RuntimeError, match="stopped"):
        PiecewiseTucker.from_function(f, [(0, 1)], **make)
    ct = PiecewiseTucker.from_function(f, [(0, 1)], **make)
    assert len(calls) == ct.n_evaluations + 1
    np.testing.assert_allclose(ct(np.array([0.1, 0.9])), [0.2, 0.6], atol=1e-12)


def test_bad_input():
    make = PiecewiseTucker.from_function
    ct = make(np.abs, [(-1, 1)], special_points={0: [0]})
    check_rejected([
        (lambda: make(np.abs, [(-1, 1)], special_points=[0.3]), TypeError, "special_points is list, expected a mapping"),
        (lambda: make(np.abs, [(-1, 1)], special_points={0: [2]}), ValueError, r"expected increasing numbers within \(-1"),
        (lambda: make(np.abs, [(-1, 1)], special_points={1: [0]}), ValueError, "an axis of special_points is 1"),
        (lambda: make(np.abs, [(-1, 1)], singular={0: "left"}), ValueError, r"singular\[0\] is 'left'"),
        (lambda: make(lambda x: np.abs(x - 0.1), [(0, 1)], special_points={0: [0.5]}), ValueError, r"in the box \[0, 0.5\]: f is not"),
        (lambda: make(lambda x: np.where(x > 0, x, np.nan), [(0, 1)], singular={0: "lo"}), ValueError, "expected a finite number"),
        (lambda: ct(2.0), ValueError, r"point 0 has 2.0 on axis 0, expected a number within the domain"),
        (lambda: ct(np.nan), ValueError, "point 0 has nan"),
    ])  # fmt: skip
