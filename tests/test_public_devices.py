"""One list of all public names: which take arrays on a device, which refuse them and how, which take no arrays.

Ops of the tables are tried on devices by tests/test_array.py; what has a suite of its own for devices is named with it. The rest is tried
here, by the stand-in for CuPy: the host's numbers, on the arrays' device.
"""

from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf
import stand_in
from quatrefoil import _arrays
from quatrefoil._spec import FAMILIES

ssm, kron, cheb, wos = qf.ssm, qf.kron, qf.cheb, qf.wos


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def complex_normal(*shape):
    return normal(*shape) + 1j * normal(*shape[::-1]).T


X = np.random.default_rng(0).uniform(-0.9, 0.9, (6, 2))
CHARGES = np.random.default_rng(1).uniform(-0.9, 0.9, (5, 3))
CORE, FACTORS = normal(2, 3), [normal(5, 2), normal(4, 3)]
GATES = [normal(1, 4, 2, 3), normal(1, 4, 2, 3), normal(1, 4, 2, 3)]
BETA = 1 / (1 + np.exp(normal(1, 4, 2)))


def tensor(t):
    return cheb.ChebTucker(t(CORE), t(FACTORS))


def parts(ct):
    return [ct.core, *ct.factors]


def long_part(t):
    return cheb.potential(t(CHARGES), t(normal(5)), n=17, domain=(-1, 1), tol=1e-11)


# name: the call with arrays that t has moved -> arrays
TRIED = {
    "ssm.causal_conv1d_update": lambda t: ssm.causal_conv1d_update(t(normal(2, 4)), t(normal(2, 4, 5)), t(normal(4, 3)), t(normal(4))),
    "ssm.chunk_delta_rule": lambda t: ssm.chunk_delta_rule(*t(GATES), t(BETA), output_final_state=True),
    "ssm.discretize": lambda t: ssm.discretize(t(complex_normal(4, 1)[:, 0]), t(complex_normal(4, 2)), t(abs(normal(4))), "zoh"),
    "ssm.fused_recurrent_delta_rule": lambda t: ssm.fused_recurrent_delta_rule(*t(GATES), t(BETA), output_final_state=True),
    "ssm.fused_recurrent_gated_delta_rule": lambda t: ssm.fused_recurrent_gated_delta_rule(
        *t(GATES), t(-BETA), t(BETA), output_final_state=True
    ),
    "ssm.fused_recurrent_simple_gla": lambda t: ssm.fused_recurrent_simple_gla(*t(GATES), t(-BETA), output_final_state=True),
    "ssm.hankel_matmul": lambda t: ssm.hankel_matmul(t(normal(7)), t(normal(5)), t(normal(5))),
    "ssm.hankel_matmul_vjp": lambda t: ssm.hankel_matmul_vjp(t(normal(3)), t(normal(5)), t(normal(5, 2)), t(normal(3, 2))),
    "ssm.mamba_inner_fn": lambda t: ssm.mamba_inner_fn(
        t(normal(2, 6, 5)), t(normal(3, 1, 2)), t(normal(3)), t(normal(5, 3)), t(normal(3, 1)), t(normal(4, 3)), None, t(-abs(normal(3, 2)))
    ),
    "ssm.mamba_split_conv1d_scan_combined": lambda t: ssm.mamba_split_conv1d_scan_combined(
        t(normal(1, 4, 14)), t(normal(8, 3)), t(normal(8)), t(normal(2)), t(-abs(normal(2))), t(normal(2)), 2, headdim=2
    ),
    "ssm.s4d_step": lambda t: ssm.s4d_step(
        t(normal(2, 4)), t(complex_normal(2, 4, 3)), t(abs(normal(4))), t(complex_normal(4, 3)), t(complex_normal(4, 3))
    ),
    "ssm.selective_state_update": lambda t: ssm.selective_state_update(
        t(normal(2, 3, 4)), t(normal(2, 3)), t(normal(2, 3)), t(-abs(normal(3, 4))), t(normal(2, 4)), t(normal(2, 4))
    ),
    "ssm.toeplitz_matmul": lambda t: ssm.toeplitz_matmul(t(normal(7)), t(normal(5)), t(normal(5, 2))),
    "ssm.toeplitz_matmul_vjp": lambda t: ssm.toeplitz_matmul_vjp(t(normal(7)), t(normal(5)), t(normal(5, 2)), t(normal(7, 2))),
    "cheb.tucker": lambda t: cheb.tucker(t(normal(4, 3)), rank=2),
    "cheb.TuckerTensor": lambda t: list(cheb.TuckerTensor(t(CORE), t(FACTORS))),
    "cheb.ChebTucker": lambda t: [tensor(t)(t(X)), *tensor(t).eval(t(X), 2), tensor(t).to_full(), tensor(t).plan(1e-3)(t(X))],
    "cheb.ChebTucker, calculus": lambda t: [*parts(tensor(t).diff(0)), *parts(tensor(t).integrate(1)), tensor(t).integrate()],
    "cheb.ChebTucker, algebra": lambda t: [
        (one := tensor(t) + 1.5)(t(X)), (tensor(t) - 0.5 * one)(t(X)), (tensor(t) * one)(t(X)), (-one)(t(X)), one.round(1e-3)(t(X)),
    ],
    "cheb.ChebTucker, numbers": lambda t: [tensor(t).norm(), tensor(t).error_estimate],
    "cheb.ChebTucker, grid": lambda t: tensor(t).grid(t(X[:, 0].copy()), t(X[:3, 1].copy())),
    "cheb.ChebTucker, from values": lambda t: [
        (ct := cheb.ChebTucker.from_values(t(normal(4, 3))))(t(X)), *parts(ct), cheb.ChebTucker.from_coeffs(t(normal(4, 3)))(t(X)),
    ],
    "cheb.ChebTucker, from samples": lambda t: [
        cheb.ChebTucker.from_cp(t(normal(2)), t([normal(5, 2), normal(4, 2)]))(t(X)),
        cheb.ChebTucker.from_cp(t(normal(2)), t([normal(5, 2)]), grid=[t(np.linspace(-1, 1, 5))])(t(X[:, :1].copy())),
        cheb.ChebTucker.fit(t(X), t(X[:, 0] * X[:, 1]), n=2, weights=t(abs(normal(6))))(t(X)),
    ],
    "cheb.potential": lambda t: [long_part(t)(t(CHARGES)), cheb.short_range(t(CHARGES), t(normal(5)), t(CHARGES), sog=long_part(t).sog)],
    "cheb.Potential": lambda t: long_part(t).eval(t(CHARGES), 1),
    "wos.Ball": lambda t: wos.contains(wos.Ball([0.0, 0.0], 1.0), t(X)),
    "wos.Box": lambda t: wos.signed_distance(wos.Box([0.0, 0.0], [1.0, 0.5]), t(X)),
}  # fmt: skip

MOVE = "is a CuPy array, which this function does not take; move it to the host"
# name: (a call with arrays on a device, what it says of them)
REFUSED = {
    "ssm.transfer_function": (lambda t: ssm.transfer_function(t(normal(5)), *3 * [normal(4)]), TypeError, f"s {MOVE}"),
    "cheb.orthopoly": (lambda t: cheb.orthopoly.from_samples(t(normal(9)), 2), TypeError, f"x {MOVE}"),
    "cheb.SumOfGaussians": (lambda t: cheb.SumOfGaussians(t(normal(3)), t(normal(3)), 1, 0.1, 0.1, 1.0), TypeError, f"t {MOVE}"),
    "wos.solve, cache": (
        lambda t: wos.solve(wos.Ball([0.0, 0.0], 1.0), t(X), dirichlet=1.0, cache="harmonic"),
        NotImplementedError, "cache is given, but points is on cuda:1",
    ),
}  # fmt: skip

# what has a suite of its own
ELSEWHERE = {
    "tests/kron/test_kron_devices.py": ["kron.GridGP", "kron.gp_posterior", "kron.gp_posterior_sample", "kron.gp_sample"],
    "tests/kron/product/test_operator_devices.py": ["kron.KroneckerOperator"],
    "tests/kron/gphm/test_gphm_devices.py": ["kron.GPHM", "kron.Poisson", "kron.AllenCahn", "kron.Advection"],
    "tests/kron/slimkl/test_slimkl_devices.py": ["kron.SlimKL"],
    "tests/wos/walk/test_walk_devices.py": [
        "wos.solve", "wos.solve_vjp", "wos.Result", "wos.State", "wos.NeuralOperatorLabels", "wos.Fourier", "wos.Gaussians",
        "wos.GridField", "wos.PerVertex", "wos.Polynomial", "wos.Polygon", "wos.TriangleMesh", "wos.SDF", "wos.Star",
    ],
    "tests/test_array.py": ["wos.contains", "wos.signed_distance", "wos.closest_point", "ssm.mamba_split_conv1d_scan_combined_vjp"],
}  # fmt: skip

WITHOUT_ARRAYS = {
    "ssm.PTD", "ssm.dplr_legs", "ssm.hippo_legs", "ssm.init", "ssm.ptd_init", "ssm.s4d_init", "ssm.install", "ssm.Installation",
    "cheb.chebpts", "cheb.coulomb_sog", "cheb.optimal_samples",
}  # fmt: skip


def names_of_ops():
    return {f"{op.family}.{o.name}" for family in FAMILIES.values() for op in family for o in (op, op.adjoint) if o is not None}


def test_the_list_is_whole():
    public = {f"{family}.{name}" for family in ("ssm", "kron", "cheb", "wos") for name in getattr(qf, family).__all__}
    listed = {name.partition(",")[0] for name in (*TRIED, *REFUSED)} | WITHOUT_ARRAYS | {n for names in ELSEWHERE.values() for n in names}
    assert listed - public == set()
    assert public - names_of_ops() - listed == set()
    assert all((Path(__file__).parents[1] / file).exists() for file in ELSEWHERE)


def flat(x):
    return [a for item in x for a in flat(item)] if isinstance(x, (list, tuple)) else [] if x is None else [x]


@pytest.mark.parametrize("name", TRIED)
def test_like_the_host(name, cupy):
    expected, got = flat(TRIED[name](lambda x: x)), flat(TRIED[name](cupy))
    for g, e in zip(got, expected, strict=True):
        assert isinstance(g, float) or _arrays.place(g) == "cupy@cuda:1"
        g = g if isinstance(g, float) else g.get()
        assert np.shape(g) == np.shape(e)
        np.testing.assert_allclose(g, e, rtol=0, atol=1e-9 * np.abs(e).max(initial=1e-300))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, cupy):
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call(cupy)


def test_mixed_devices(cupy):
    elsewhere = stand_in.ndarray(X[:, 0].copy(), 0)
    with pytest.raises(TypeError, match=r"cheb.ChebTucker.grid: the points of axis 0 is on cuda:0 but core is on cuda:1"):
        tensor(cupy).grid(elsewhere, elsewhere)
    with pytest.raises(TypeError, match=r"cheb.ChebTucker.fit: y is on cuda:0 but X is on cuda:1"):
        cheb.ChebTucker.fit(cupy(X), elsewhere, n=2)
    with pytest.raises(TypeError, match=r"q is on cuda:0 but X is on cuda:1"):
        cheb.potential(cupy(CHARGES), stand_in.ndarray(normal(5), 0), n=9, domain=(-1, 1), tol=1e-3)


def test_what_the_host_refuses_is_nan_there(cupy):
    """As far as nothing is read back; what is, is refused."""
    V = np.where(np.arange(12).reshape(4, 3) == 5, np.nan, 1.0)
    assert np.isnan(cheb.ChebTucker.from_values(cupy(V))(cupy(X)).get()).all()
    far = np.where(np.arange(15).reshape(5, 3) == 4, 7.0, CHARGES)
    assert np.isnan(cheb.potential(cupy(far), cupy(normal(5)), n=9, domain=(-1, 1), tol=1e-3)(cupy(CHARGES)).get()).all()
    with pytest.raises(ValueError, match=r"cheb.ChebTucker.from_cp: weights\[0\] is nan"):
        cheb.ChebTucker.from_cp(cupy(np.full(2, np.nan)), cupy([normal(5, 2)]))
