"""Chebyshev-Tucker tensors with various inputs: one point, coordinates, lists, integers, functions with other arguments."""

import math

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected

ChebTucker = qf.cheb.ChebTucker
UNIT = ((0, 1), (0, 1))
f = ChebTucker.from_function(lambda x, y: np.exp(x) * (1 + y), UNIT)
line = ChebTucker.from_function(np.sin, (0, 1))
X, x = np.random.default_rng(0).uniform(0, 1, (16, 2)), np.linspace(0, 1, 5)
A, B = np.meshgrid(x, x, indexing="ij")


def stacked(*coordinates):
    return np.stack(np.broadcast_arrays(*coordinates), axis=-1).reshape(-1, len(coordinates))


CALLS = {  # call, the points that it denotes, the shape of its values
    "a point": (lambda f: f([0, 0.5]), [[0, 0.5]], ()),
    "an array (d,)": (lambda f: f(X[0]), X[:1], ()),
    "numbers": (lambda f: f(0, 0.5), [[0, 0.5]], ()),
    "lists": (lambda f: f([[0, 1], [1, 0], [0, 0]]), [[0, 1], [1, 0], [0, 0]], (3,)),
    "integers": (lambda f: f(np.eye(2, dtype=int)), np.eye(2), (2,)),
    "coordinates": (lambda f: f(X[:, 0], X[:, 1]), X, (16,)),
    "a line": (lambda f: f(x, 0.5), stacked(x, 0.5), (5,)),
    "a grid": (lambda f: f(x[:, None], x), stacked(A, B), (5, 5)),
    "an image": (lambda f: f(np.stack([A, B], -1)), stacked(A, B), (5, 5)),
    "nothing": (lambda f: f(np.zeros((0, 2))), np.zeros((0, 2)), (0,)),
}  # fmt: skip


def test_calls(backend):
    for evaluate in (f, f.plan(1e-6)):
        for name, (call, points, shape) in CALLS.items():
            print(name)
            with qf.use_backend(backend):
                result = call(evaluate)
            assert result.shape == shape
            assert isinstance(result, np.ndarray if shape else np.float64)
            np.testing.assert_array_equal(np.ravel(result), evaluate(np.array(points, float)))
    for point in (0.5, x, x[:, None], [0.5], [[0.5], [0.25]]):
        expected = np.sin(point).reshape(np.shape(point)[:1])
        np.testing.assert_allclose(line(point), expected, atol=1e-14)
    for result, expected in zip(f.value_and_grad(X[:, 0], 0.5), f.value_and_grad(stacked(X[:, 0], 0.5))):
        np.testing.assert_array_equal(result, expected)
    value, gradient = f.value_and_grad([0.5, 0.25])
    assert gradient.shape == (2,)
    np.testing.assert_allclose([value, *gradient], np.exp(0.5) * np.array([1.25, 1.25, 1.0]), rtol=1e-12)
    assert [a.shape for a in f.eval(np.stack([A, B], -1), 2)] == [(5, 5), (5, 5, 2), (5, 5, 2, 2)]
    np.testing.assert_allclose(f.grid([0, 1], x), f([[0], [1]], x), rtol=1e-14)
    out = np.empty((5, 5))
    assert f(A, B, out=out) is not None
    np.testing.assert_array_equal(out, f(A, B))


def test_calls_keep_the_dtype():
    single = ChebTucker(f.core.astype(np.float32), [U.astype(np.float32) for U in f.factors], domain=UNIT)
    for result in (single([0, 0.5]), single(0, 0.5), single([[0, 1]]), single(X[:, 0].astype(np.float32), 0)):
        assert result.dtype == np.float32
    check_rejected([
        (lambda: single(X), TypeError, r"X has dtype float64, but core has float32; convert it: X.astype\(np.float32\)"),
        (lambda: single(X[:, 0], 0), TypeError, r"x has dtype float64, but core has float32; convert it: x.astype\(np.float32\)"),
        (lambda: f(X[:, 0], X[:, 1].astype(np.float32)), TypeError, "y has dtype float32, but core has float64; convert it"),
        (lambda: f(X * 1j), TypeError, "X has dtype complex128"),
        (lambda: f([0.5, None]), TypeError, "X is None, expected a list or array of numbers"),
        (lambda: f(0.5, True), TypeError, "y is True"),
        (lambda: f(0.5), ValueError, r"X has shape \(\), expected \(P, 2\), \(2,\) for one point, or 2 arrays of coordinates"),
        (lambda: f([0, 0, 0]), ValueError, r"X has shape \(3,\)"),
        (lambda: f(0, 0, 0), TypeError, "got 3 arrays of coordinates, expected 2, one per axis"),
        (lambda: f(x, X[:, 0]), ValueError, r"the coordinates have shapes \(5,\), \(16,\), expected shapes that broadcast"),
        (lambda: f(2, 0), ValueError, r"cheb.ChebTucker: X\[0, 0\] is 2, expected .* within .* of axis 0; ct.eval\(X, extrapolate"),
    ])  # fmt: skip


def test_builders():
    for ct, at, expected in (
        (ChebTucker.from_values([[1, 2], [3, 4]], UNIT), (0.5, 0.5), 2.5),
        (ChebTucker.from_coeffs([[1, 0], [0, 2]]), (0.5, 0.5), 1.5),
        (ChebTucker.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [1, 1, 1, 1], n=1, domain=(0, 1)), (0.5, 0.25), 1.0),
        (ChebTucker.fit(X, X @ [[1], [2]]), (0.5, 0.25), 1.0),
        (ChebTucker.fit([0, 0.5, 1], [1, 2, 3], n=2), (0.25,), 1.5),
        (ChebTucker.fit([0, 0.5, 1], [1, 2, 3]), (0.25,), 1.5),
        (ChebTucker.from_cp([2], [[[0], [1]], [[1], [0]]]), (0.5, 0.1), 1.0),
        (ChebTucker([[1]], [[[1], [2]], [[1]]]), (0.5, 0.1), 2.0),
    ):
        assert ct.core.dtype == np.float64
        np.testing.assert_allclose(ct(*at), expected, rtol=1e-12)


WRONG_FUNCTIONS = [
    (lambda x, y: math.sin(x) * y, "f failed on arrays: .*; f takes scalars: pass np.vectorize(f)"),
    (lambda x, y: x if x > y else y, "f failed on arrays: .*; f takes scalars: pass np.vectorize(f)"),
    (lambda x, y: np.linalg.norm([x, y]), "a single number although f is not constant for .*; f takes scalars: pass np.vectorize(f)"),
    (lambda X: X[:, 0] * X[:, 1], "f takes points (P, 2): pass lambda x, y: f(np.stack([x, y], -1))"),
    (lambda X: (X**2).sum(axis=1), "f takes points (P, 2): pass lambda x, y: f(np.stack([x, y], -1))"),
    (lambda p: float(p[0] * p[1]), "f takes one point: pass np.vectorize(lambda x, y: f(np.array([x, y])))"),
    (lambda x, y: [a * b for a, b in zip(x, y)], "f returned a list of [0-9]+ numbers, expected an array"),
]


def test_errors_suggest_how_to_wrap_other_functions():
    for wrong, text in WRONG_FUNCTIONS:
        for n in (None, 5):
            with pytest.raises((TypeError, ValueError), match=text.replace("(", r"\(").replace(")", r"\)").replace("[x, y]", r"\[x, y\]")):
                ChebTucker.from_function(wrong, UNIT, n=n)
    for function in (
        np.vectorize(lambda x, y: math.exp(x) * (1 + y)),
        lambda x, y: (lambda X: np.exp(X[:, 0]) * (1 + X[:, 1]))(np.stack([x, y], -1)),
        np.vectorize(lambda x, y: (lambda p: math.exp(p[0]) * (1 + p[1]))(np.array([x, y]))),
    ):
        np.testing.assert_allclose(ChebTucker.from_function(function, UNIT)(X), f(X), rtol=1e-9)
    with pytest.raises(KeyError, match="mine"):
        ChebTucker.from_function(lambda x, y: {}["mine"], UNIT)


def test_a_domain_for_every_argument():
    assert ChebTucker.from_function(lambda x, y, z: x * y + z, (0, 1)).domain == ((0.0, 1.0),) * 3
    assert ChebTucker.from_function(lambda x, y=2: x * y).domain == ((-1.0, 1.0),)


@pytest.mark.torch
def test_tensors():
    torch = pytest.importorskip("torch")
    g, at = f.to(torch.float32), torch.tensor([0.5, 0.25], requires_grad=True)
    for value in (g([0.5, 0.25]), g(0.5, 0.25), g(at), g(at[0], 0.25), g(*at)):
        assert (value.dtype, value.shape) == (torch.float32, ())
        np.testing.assert_allclose(value.detach(), f(0.5, 0.25), rtol=1e-6)
    (slope,) = torch.autograd.grad(g(*at), at)
    np.testing.assert_allclose(slope, f.value_and_grad([0.5, 0.25])[1], rtol=1e-5)
    with pytest.raises(TypeError, match=r"X is a numpy array of float64, but core is a torch array .*: torch.as_tensor\(X\)"):
        g(X)
    for call in (f, f.value_and_grad, lambda X: f(X[:, 0], X[:, 1]), lambda X: f.grid(*X.T)):
        with pytest.raises(TypeError, match=r"torch array of float32.*; convert the ChebTucker: ct = ct.to\(torch.float32\)"):
            call(torch.tensor(X, dtype=torch.float32))
    for library in ("torch", torch, "numpy"):
        with pytest.raises(TypeError, match=r"cheb.ChebTucker.to: got .*, expected a PyTorch dtype or device, such as torch.float64"):
            f.to(library)
    with pytest.raises(TypeError, match=r"f takes tensors: pass lambda x, y: f\(\*map\(torch.from_numpy, \(x, y,\)\)\)"):
        ChebTucker.from_function(lambda x, y: torch.sin(x) * y, UNIT)
