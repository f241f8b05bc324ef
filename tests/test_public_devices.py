"""The behaviour of all public names on a device: supported, rejected with an error, or without arrays.

Ops are tested on devices by tests/test_array.py, and some names by the test files listed here. The others are compared with the host here,
on the stand-in for CuPy.
"""

import contextlib
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf
import stand_in
from public import CALLS, CHARGES, ON_DEVICES, X, arrays, normal, tensor
from quatrefoil import _arrays
from quatrefoil._public import exported_names
from quatrefoil._spec import FAMILIES

ssm, kron, cheb, wos = qf.ssm, qf.kron, qf.cheb, qf.wos
MOVE = "is a CuPy array, which this function does not accept; move it to the host"
# name: (call with arrays on a device, error, text)
REJECTED = {
    "ssm.transfer_function": (lambda t: ssm.transfer_function(t(normal(5)), *3 * [normal(4)]), TypeError, f"s {MOVE}"),
    "cheb.orthopoly": (lambda t: cheb.orthopoly.from_samples(t(normal(9)), 2), TypeError, f"x {MOVE}"),
    "cheb.PolynomialChaos": (lambda t: cheb.PolynomialChaos.fit(t(normal(9, 2)), normal(9)), TypeError, f"X {MOVE}"),
    "cheb.SumOfGaussians": (lambda t: cheb.SumOfGaussians(t(normal(3)), t(normal(3)), 1, 0.1, 0.1, 1.0), TypeError, f"t {MOVE}"),
    "wos.solve, cache": (
        lambda t: wos.solve(wos.Ball([0.0, 0.0], 1.0), t(X), dirichlet=1.0, cache="harmonic"),
        NotImplementedError, "cache cannot be used, because points is on cuda:1",
    ),
}  # fmt: skip

# test files for devices: the names that they cover
ELSEWHERE = {
    "tests/kron/gphm/test_gphm_devices.py": [
        "kron.pde", "kron.PDE", "kron.Poisson", "kron.AllenCahn", "kron.Advection",
        "kron.ConvectionDiffusion", "kron.Heat", "kron.Helmholtz", "kron.Semilinear",
    ],
    "tests/wos/walk/test_walk_devices.py": [
        "wos.Problem", "wos.solve", "wos.solve_vjp", "wos.Result", "wos.State", "wos.NeuralOperatorLabels", "wos.Fourier", "wos.Gaussians",
        "wos.GridField", "wos.PerVertex", "wos.Polynomial", "wos.Polygon", "wos.TriangleMesh", "wos.SDF", "wos.Star",
    ],
    "tests/wos/walk/test_walk_operator.py": ["wos.Operator", "wos.OperatorValues"],
    "tests/test_array.py": [
        "wos.contains", "wos.signed_distance", "wos.closest_point", "wos.ClosestPoint", "ssm.mamba_split_conv1d_scan_combined_vjp",
    ],
}  # fmt: skip

WITHOUT_ARRAYS = {
    "ssm.PTD", "ssm.dplr_legs", "ssm.hippo_legs", "ssm.init", "ssm.ptd_init", "ssm.s4d_init", "ssm.install", "ssm.uninstall",
    "ssm.Installation", "ssm.fla", "ssm.mamba", "cheb.chebpts", "cheb.coulomb_sog", "cheb.optimal_samples", "cheb.Extremum",
    "cheb.PiecewiseTucker", "wos.Walks", "wos.Regions",
}  # fmt: skip


def names_of_ops():
    return {f"{op.family}.{o.name}" for family in FAMILIES.values() for op in family for o in (op, op.adjoint) if o is not None}


def test_every_public_name_is_listed():
    public = {f"{family}.{name}" for family in ("ssm", "kron", "cheb", "wos") for name in exported_names(getattr(qf, family))}
    listed = {name.partition(",")[0] for name in (*CALLS, *REJECTED)} | WITHOUT_ARRAYS | {n for names in ELSEWHERE.values() for n in names}
    assert listed - public == set()
    assert public - names_of_ops() - listed == set()
    assert all((Path(__file__).parents[1] / file).exists() for file in ELSEWHERE)


@pytest.mark.parametrize("name", ON_DEVICES)
def test_like_the_host(name, cupy):
    with stand_in.nothing_read_back() if name.startswith(("kron.K", "kron.matvec", "kron.gp_")) else contextlib.nullcontext():
        result = CALLS[name](cupy)
    for g, e in zip(arrays(result), arrays(CALLS[name](lambda x: x)), strict=True):
        assert isinstance(g, float) or _arrays.location(g) == "cupy@cuda:1"
        g = g if isinstance(g, float) else g.get()
        assert np.shape(g) == np.shape(e)
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-9 * np.abs(e).max(initial=1e-300))


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(name, cupy):
    call, error, text = REJECTED[name]
    with pytest.raises(error, match=text):
        call(cupy)


def test_mixed_devices(cupy):
    elsewhere = stand_in.ndarray(X[:, 0].copy(), 0)
    with pytest.raises(TypeError, match=r"cheb.ChebTucker.grid: points\[0\] is on cuda:0 but core is on cuda:1"):
        tensor(cupy).grid(elsewhere, elsewhere)
    with pytest.raises(TypeError, match=r"cheb.ChebTucker.fit: y is on cuda:0 but X is on cuda:1"):
        cheb.ChebTucker.fit(cupy(X), elsewhere, n=2)
    with pytest.raises(TypeError, match=r"q is on cuda:0 but X is on cuda:1"):
        cheb.potential(cupy(CHARGES), stand_in.ndarray(normal(5), 0), n=9, domain=(-1, 1), tol=1e-3)


def test_values_that_raise_on_the_host_give_nan(cupy):
    """Invalid values raise an error only if they are copied to the host."""
    V = np.where(np.arange(12).reshape(4, 3) == 5, np.nan, 1.0)
    assert np.isnan(cheb.ChebTucker.from_values(cupy(V))(cupy(X)).get()).all()
    far = np.where(np.arange(15).reshape(5, 3) == 4, 7.0, CHARGES)
    assert np.isnan(cheb.potential(cupy(far), cupy(normal(5)), n=9, domain=(-1, 1), tol=1e-3)(cupy(CHARGES)).get()).all()
    with pytest.raises(ValueError, match=r"cheb.ChebTucker.from_cp: weights\[0\] is nan"):
        cheb.ChebTucker.from_cp(cupy(np.full(2, np.nan)), cupy([normal(5, 2)]))
