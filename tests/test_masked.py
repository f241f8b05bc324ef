"""Masked arrays, whose mask would be lost, and complex values returned by real functions raise errors everywhere."""

import itertools
import re
import warnings

import numpy as np
import pytest

import quatrefoil as qf
from public import CALLS, CORE, POINTS, SQUARE, K, gaussians, one_at_a_time, operator
from test_entry import masked

wos, cheb = qf.wos, qf.cheb


@pytest.fixture(autouse=True)
def silent():
    """Turn NumPy's warnings about lost masks and imaginary parts into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="quatrefoil runs on Numba")  # issued once if there are no compiled kernels
        yield


Z, y = np.ones(3, complex), np.arange(16.0)


def solve(**options):
    return wos.solve(wos.Polygon(SQUARE), **{"points": POINTS, "dirichlet": 1.0, "walks": 4, "rng": 0, **options})


def itself(x):
    return x


# arguments that the calls in public.py do not convert
OTHERS = {
    "K * x": lambda: operator(itself) * masked(y),
    "x @ K": lambda: masked(y) @ operator(itself),
    "K(x)": lambda: operator(itself)(masked(y)),
    "out of K": lambda: operator(itself).matvec(y, out=masked(y)),
    "noise": lambda: operator(itself).logdet(masked(np.float64(1.0))),
    "second factor": lambda: qf.kron.KroneckerOperator([K[0], masked(K[1])]),
    "step": lambda: qf.ssm.discretize(Z, Z, np.ma.masked, "zoh"),
    "out of toeplitz_matmul": lambda: qf.ssm.toeplitz_matmul(y, y, y, out=masked(y)),
    "transfer_function": lambda: qf.ssm.transfer_function(masked(Z), Z, Z, Z),
    "transfer_function P": lambda: qf.ssm.transfer_function(Z, Z, Z, Z, P=masked(Z)),
    "rank": lambda: cheb.tucker(CORE, rank=masked(np.array([1, 1]))),
    "chebpts": lambda: cheb.chebpts(masked(np.array([3, 4]))),
    "domain": lambda: cheb.chebpts(3, masked(np.array([0.0, 1.0]))),
    "from_function": lambda: cheb.ChebTucker.from_function(lambda x: masked(x), (0, 1), n=5),
    "Ball": lambda: wos.Ball(masked(np.zeros(2)), 1.0),
    "radius": lambda: wos.Ball([0, 0], np.ma.masked),
    "Box": lambda: wos.Box([0, 0], masked(np.ones(2))),
    "box of an SDF": lambda: wos.SDF(np.ones((2, 2)), masked(np.array([[0.0, 0], [1, 1]]))),
    "dirichlet": lambda: solve(dirichlet=np.ma.masked),
    "epsilon": lambda: solve(epsilon=np.ma.masked),
    "function": lambda: solve(dirichlet=lambda Y: masked(Y[:, 0])),
    "source": lambda: solve(source=lambda Y: masked(Y[:, 0])),
    "list": lambda: solve(dirichlet=[1.0, lambda Y: masked(Y[:, 0])]),
    "center": lambda: wos.Fourier(np.ones(3), masked(np.ones(2))),
    "Fourier at points": lambda: wos.Fourier(np.ones(3))(masked(POINTS)),
    "Polynomial at points": lambda: wos.Polynomial(np.ones((2, 2)))(masked(POINTS)),
    "GridField at points": lambda: wos.GridField(np.ones((2, 2)), ((0, 0), (1, 1)))(masked(POINTS)),
    "Gaussians at points": lambda: gaussians(itself)(masked(POINTS)),
    "corner": lambda: wos.GridField(np.ones((2, 2)), (masked(np.zeros(2)), (1, 1))),
    "width": lambda: wos.Gaussians(np.ones(1), np.ones((1, 2)), np.ma.masked),
}


def masked_first(x):
    return [masked(x[0]), *x[1:]] if isinstance(x, list) else masked(x)


def test_functions_that_are_not_ops():
    calls = [
        (name, call)
        for name, function in CALLS.items()
        if name not in ("cheb.TuckerTensor", "kron.GridGP", "kron.GridGP, samples")
        for call in one_at_a_time(function, masked_first)
    ]
    for name, call in [*calls, *OTHERS.items()]:
        print(name)
        with pytest.raises(TypeError, match=r"(?i)mask"):
            call()


def of_numba(Y):
    return Y[:, 0] * 1j


def test_real_functions_with_other_dtypes():
    for where, dtype in itertools.product(("dirichlet", "source"), ("complex64", "complex128", "object")):
        text = re.escape(f"solve: {where}(X) has dtype {dtype}, expected real numbers")
        with pytest.raises(TypeError, match=text):
            solve(**{where: lambda Y: Y[:, 0].astype(dtype)})  # noqa: B023
        with pytest.raises(TypeError, match=text.replace(where, where + r"\[0\]")):
            solve(**{where: [lambda Y: Y[:, 0].astype(dtype), lambda Y: Y[:, 0]]})  # noqa: B023


def test_real_functions_that_return_complex_numbers():
    numba = pytest.importorskip("numba")
    with pytest.raises(TypeError, match=r"dirichlet.* has dtype complex128, expected real numbers"):
        solve(dirichlet=numba.njit(of_numba))
    with pytest.raises(TypeError, match="from_function: f returned complex128 values, expected real numbers"):
        cheb.ChebTucker.from_function(lambda x: x * 1j, (0, 1), n=5)
    for value in (1j, np.complex64(1), np.ones(1, complex)):
        with pytest.raises(TypeError, match="dirichlet"):
            solve(dirichlet=value)


@pytest.mark.torch
def test_functions_of_tensors():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"has dtype torch\.complex128, expected real numbers"):
        solve(dirichlet=lambda Y: torch.from_numpy(Y[:, 0] * 1j))
    value = solve(dirichlet=lambda Y: torch.from_numpy(np.ascontiguousarray(Y[:, 0]))).value
    np.testing.assert_array_equal(value, solve(dirichlet=lambda Y: Y[:, 0]).value)
