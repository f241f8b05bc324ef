"""Masked arrays, whose mask would be lost, and complex numbers where real ones are meant: an error, wherever an array is taken."""

import itertools
import re
import warnings

import numpy as np
import pytest

import quatrefoil as qf
from test_entry import masked

wos, cheb = qf.wos, qf.cheb


@pytest.fixture(autouse=True)
def silent():
    """No "converting a masked element to nan" and no "discarding the imaginary part": what is lost is an error before it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="quatrefoil runs on Numba")  # said once, where nothing could be compiled
        yield


K, y = [np.eye(3), np.eye(4) + 1], np.arange(12.0)
Z = np.ones(3, complex)
SQUARE, X = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), np.array([[0.5, 0.5], [0.2, 0.7]])
CORE, FACTORS = np.ones((2, 2)), [np.ones((3, 2)), np.ones((4, 2))]


def operator():
    return qf.kron.KroneckerOperator(K)


def solve(**options):
    return wos.solve(wos.Polygon(SQUARE), **{"points": X, "dirichlet": 1.0, "walks": 4, "rng": 0, **options})


OTHERS = {
    "K @ x": lambda: operator() @ masked(y),
    "K @ X": lambda: operator() @ masked(y[:, None]),
    "K * x": lambda: operator() * masked(y),
    "x @ K": lambda: masked(y) @ operator(),
    "K(x)": lambda: operator()(masked(y)),
    "K.T @ x": lambda: operator().T @ masked(y),
    "K.H @ x": lambda: operator().H @ masked(y),
    "dot": lambda: operator().dot(masked(y)),
    "matvec": lambda: operator().matvec(masked(y)),
    "matvec of a column": lambda: operator().matvec(masked(y[:, None])),
    "rmatvec": lambda: operator().rmatvec(masked(y)),
    "matmat": lambda: operator().matmat(masked(y[:, None])),
    "rmatmat": lambda: operator().rmatmat(masked(y[:, None])),
    "float32": lambda: operator() @ masked(y.astype(np.float32)),
    "K out": lambda: operator().matvec(y, out=masked(y)),
    "K.solve": lambda: operator().solve(masked(y)),
    "K.apply": lambda: operator().apply(np.sqrt, masked(y)),
    "SlimKL X": lambda: qf.kron.SlimKL(means=y, noise=1.0).fit(masked(y), y),
    "SlimKL y": lambda: qf.kron.SlimKL(means=y, noise=1.0).fit(y, masked(y)),
    "SlimKL means": lambda: qf.kron.SlimKL(means=masked(y), noise=1.0).fit(y, y),
    "SlimKL std": lambda: qf.kron.SlimKL(means=y, std=masked(y), noise=1.0).fit(y, y),
    "SlimKL points": lambda: qf.kron.SlimKL(means=y, noise=1.0, tol=1.0).fit(y, y).predict(masked(y)),
    "noise": lambda: operator().logdet(masked(np.float64(1.0))),
    "factors": lambda: qf.kron.KroneckerOperator([K[0], masked(K[1])]),
    "discretize Lambda": lambda: qf.ssm.discretize(masked(Z), Z, 0.1, "zoh"),
    "discretize B": lambda: qf.ssm.discretize(Z, masked(Z), 0.1, "zoh"),
    "discretize dt": lambda: qf.ssm.discretize(Z, Z, masked(np.ones(3)), "zoh"),
    "discretize number": lambda: qf.ssm.discretize(Z, Z, np.ma.masked, "zoh"),
    "toeplitz c": lambda: qf.ssm.toeplitz_matmul(masked(y), y, y),
    "hankel x": lambda: qf.ssm.hankel_matmul(y, y, masked(y)),
    "toeplitz out": lambda: qf.ssm.toeplitz_matmul(y, y, y, out=masked(y)),
    "transfer_function": lambda: qf.ssm.transfer_function(masked(Z), Z, Z, Z),
    "transfer_function P": lambda: qf.ssm.transfer_function(Z, Z, Z, Z, P=masked(Z)),
    "causal_conv1d_update": lambda: qf.ssm.causal_conv1d_update(np.ones((1, 2)), masked(np.ones((1, 2, 3))), np.ones((2, 3))),
    "selective_state_update": lambda: qf.ssm.selective_state_update(
        masked(np.ones((1, 2, 3))), *[np.ones((1, 2))] * 2, -np.ones((2, 3)), *[np.ones((1, 3))] * 2
    ),
    "s4d_step": lambda: qf.ssm.s4d_step(y[:3], masked(Z[:, None]), y[:3], -Z[:, None], Z[:, None]),
    "vals2coeffs": lambda: cheb.vals2coeffs(masked(CORE)),
    "tucker": lambda: cheb.tucker(masked(CORE), tol=0.1),
    "rank": lambda: cheb.tucker(CORE, rank=masked(np.array([1, 1]))),
    "chebpts": lambda: cheb.chebpts(masked(np.array([3, 4]))),
    "domain": lambda: cheb.chebpts(3, masked(np.array([0.0, 1.0]))),
    "ChebTucker": lambda: cheb.ChebTucker(masked(CORE), FACTORS),
    "ChebTucker points": lambda: cheb.ChebTucker(CORE, FACTORS)(masked(X)),
    "grid": lambda: cheb.ChebTucker(CORE, FACTORS).grid(X[:, 0], masked(X[:, 1])),
    "from_values": lambda: cheb.ChebTucker.from_values(masked(CORE)),
    "from_coeffs": lambda: cheb.ChebTucker.from_coeffs(masked(CORE)),
    "from_function": lambda: cheb.ChebTucker.from_function(lambda x: masked(x), (0, 1), n=5),
    "Polygon": lambda: wos.Polygon(masked(SQUARE)),
    "hole": lambda: wos.Polygon(SQUARE, holes=[masked(SQUARE / 2)]),
    "polygons": lambda: wos.Polygon([masked(SQUARE)]),
    "Ball": lambda: wos.Ball(masked(np.zeros(2)), 1.0),
    "Box": lambda: wos.Box([0, 0], masked(np.ones(2))),
    "SDF": lambda: wos.SDF(masked(np.ones((2, 2))), ((0, 0), (1, 1))),
    "SDF box": lambda: wos.SDF(np.ones((2, 2)), masked(np.array([[0.0, 0], [1, 1]]))),
    "radius": lambda: wos.Ball([0, 0], np.ma.masked),
    "points": lambda: solve(points=masked(X)),
    "dirichlet": lambda: solve(dirichlet=masked(np.ones(1))),
    "dirichlet number": lambda: solve(dirichlet=np.ma.masked),
    "epsilon": lambda: solve(epsilon=np.ma.masked),
    "function": lambda: solve(dirichlet=lambda Y: masked(Y[:, 0])),
    "source": lambda: solve(source=lambda Y: masked(Y[:, 0])),
    "list": lambda: solve(dirichlet=[1.0, lambda Y: masked(Y[:, 0])]),
    "Fourier": lambda: wos.Fourier(masked(np.ones(3))),
    "Fourier center": lambda: wos.Fourier(np.ones(3), masked(np.ones(2))),
    "Fourier at points": lambda: wos.Fourier(np.ones(3))(masked(X)),
    "Polynomial": lambda: wos.Polynomial(masked(np.ones((2, 2)))),
    "Polynomial at points": lambda: wos.Polynomial(np.ones((2, 2)))(masked(X)),
    "GridField": lambda: wos.GridField(masked(np.ones((2, 2))), ((0, 0), (1, 1))),
    "GridField box": lambda: wos.GridField(np.ones((2, 2)), masked(np.array([[0.0, 0], [1, 1]]))),
    "GridField corner": lambda: wos.GridField(np.ones((2, 2)), (masked(np.zeros(2)), (1, 1))),
    "GridField at points": lambda: wos.GridField(np.ones((2, 2)), ((0, 0), (1, 1)))(masked(X)),
    "PerVertex": lambda: wos.PerVertex(masked(np.ones(4))),
    "PerVertex list": lambda: wos.PerVertex([masked(np.ones(4))]),
    "amplitude": lambda: wos.Gaussians(masked(np.ones(1)), np.ones((1, 2)), 1.0),
    "center": lambda: wos.Gaussians(np.ones(1), masked(np.ones((1, 2))), 1.0),
    "width": lambda: wos.Gaussians(np.ones(1), np.ones((1, 2)), masked(np.ones(1))),
    "width number": lambda: wos.Gaussians(np.ones(1), np.ones((1, 2)), np.ma.masked),
    "Gaussians at points": lambda: wos.Gaussians(np.ones(1), np.ones((1, 2)), 1.0)(masked(X)),
    "grad": lambda: wos.solve_vjp(wos.Polygon(SQUARE), X, masked(np.ones(2)), dirichlet=1.0, rng=0),
}  # fmt: skip


def test_functions_that_are_no_ops():
    for name, call in OTHERS.items():
        print(name)
        with pytest.raises(TypeError, match=r"(?i)mask"):
            call()


def of_numba(Y):
    return Y[:, 0] * 1j


def test_real_functions_that_return_other_numbers(backend):
    for where, dtype in itertools.product(("dirichlet", "source"), ("complex64", "complex128", "object")):
        text = re.escape(f"solve: {where}(X) has dtype {dtype}, expected real numbers")
        with pytest.raises(TypeError, match=text):
            solve(**{where: lambda Y: Y[:, 0].astype(dtype)})  # noqa: B023
        with pytest.raises(TypeError, match=text.replace(where, where + r"\[0\]")):
            solve(**{where: [lambda Y: Y[:, 0].astype(dtype), lambda Y: Y[:, 0]]})  # noqa: B023


def test_real_functions_that_return_complex_numbers(backend):
    numba = pytest.importorskip("numba")
    with pytest.raises(TypeError, match=r"dirichlet.* has dtype complex128, expected real numbers"):
        solve(dirichlet=numba.njit(of_numba))
    with pytest.raises(TypeError, match="from_function: f returned complex128 values, expected real numbers"):
        cheb.ChebTucker.from_function(lambda x: x * 1j, (0, 1), n=5)
    for given in (1j, np.complex64(1), np.ones(1, complex)):
        with pytest.raises(TypeError, match="dirichlet"):
            solve(dirichlet=given)


@pytest.mark.torch
def test_functions_of_tensors(backend):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"has dtype torch\.complex128, expected real numbers"):
        solve(dirichlet=lambda Y: torch.from_numpy(Y[:, 0] * 1j))
    value = solve(dirichlet=lambda Y: torch.from_numpy(np.ascontiguousarray(Y[:, 0]))).value
    np.testing.assert_array_equal(value, solve(dirichlet=lambda Y: Y[:, 0]).value)
