"""Tensors with a pending sign or conjugation: whatever takes a tensor sees the numbers that it stands for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from case import made  # noqa: E402
from tensors import lazy  # noqa: E402

pytestmark = pytest.mark.torch

wos = qf.wos


def settled(x):
    if isinstance(x, (list, tuple)):
        return type(x)(map(settled, x))
    return torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x


def plain(x):
    if isinstance(x, (list, tuple)):
        return type(x)(map(plain, x))
    return x.detach().resolve_conj().resolve_neg().numpy() if isinstance(x, torch.Tensor) else x


def same(got, expected):
    for g, e in zip(made(got), made(expected), strict=True):
        np.testing.assert_array_equal(plain(g), e)


V, A = np.random.default_rng(0).standard_normal((2, 5, 4, 3))
X, POINTS = np.random.default_rng(1).uniform(-0.9, 0.9, (7, 3)), np.random.default_rng(2).uniform(0.1, 0.9, (6, 2))
CORE, FACTORS = A[:2, :2, :2].copy(), [A[:, :2, 0].copy(), V[:, :2, 1].copy(), V[:, 1:3, 2].copy()]
SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
HOLE = np.array([[0.4, 0.4], [0.6, 0.4], [0.6, 0.6]])
K = [m @ m.T + np.eye(4) for m in np.random.default_rng(3).standard_normal((2, 4, 4))]
y = np.random.default_rng(4).standard_normal((16, 2))


def solved(t, dirichlet, ring=SQUARE, **options):
    r = wos.solve(wos.Polygon(t(ring)), t(POINTS), dirichlet=dirichlet, walks=8, rng=1, **options)
    return r.value, r.stderr, r.resume(4).value


def with_hole(t):
    return wos.solve(wos.Polygon([t(SQUARE)], holes=[[t(HOLE)]]), t(POINTS[:1] / 3), dirichlet=1.0, source=1.0, walks=8, rng=1).value


def pulled(t, dirichlet, **options):
    _, d, s = wos.solve_vjp(wos.Polygon(t(SQUARE)), t(POINTS), t(POINTS[:, 0]), dirichlet=dirichlet, walks=8, rng=1, **options)
    return tuple(d.values()) + tuple(s.values())


def parts(ct):
    return (ct.core, *ct.factors)


def tucker(C, **options):
    core, factors = qf.cheb.tucker(C, **options)
    return (core, *factors)


bells = lambda t: wos.Gaussians(t(A[0, 0]), t(V[:3, 0, :2].copy()), t(np.abs(V[:3, 1, 0]) + 0.5))  # noqa: E731

# what is no op: a call on arrays, whose kind t makes
OTHERS = {
    "vals2coeffs": lambda t: qf.cheb.vals2coeffs(t(V)),
    "vals2coeffs of axes": lambda t: qf.cheb.vals2coeffs(t(V), axes=(1,)),
    "coeffs2vals": lambda t: qf.cheb.coeffs2vals(t(V)),
    "coeffs2vals_vjp": lambda t: qf.cheb.coeffs2vals_vjp(t(V), t(A)),
    "tucker": lambda t: tucker(t(V), tol=1e-3),
    "tucker of ranks": lambda t: tucker(t(V), rank=2),
    "from_values": lambda t: parts(qf.cheb.ChebTucker.from_values(t(V))),
    "from_coeffs": lambda t: parts(qf.cheb.ChebTucker.from_coeffs(t(V))),
    "ChebTucker": lambda t: qf.cheb.ChebTucker(t(CORE), t(FACTORS))(t(X)),
    "grid": lambda t: qf.cheb.ChebTucker(t(CORE), t(FACTORS)).grid(t(X[:, 0]), t(X[:, 1]), t(X[:, 2])),
    "to_full": lambda t: qf.cheb.ChebTucker(t(CORE), t(FACTORS)).to_full(),
    "operator": lambda t: qf.kron.KroneckerOperator(t(K)) @ t(y[:, 0]),
    "operator of float32": lambda t: qf.kron.KroneckerOperator(t([k.astype(np.float32) for k in K])) @ t(y[:, 0]),
    "operator on columns": lambda t: qf.kron.KroneckerOperator(t(K)).matmat(t(y)),
    "transposed": lambda t: qf.kron.KroneckerOperator(t(K)).T @ t(y[:, 0]),
    "from the left": lambda t: qf.kron.KroneckerOperator(t(K)).rmatvec(t(y[:, 0])),
    "solve": lambda t: qf.kron.KroneckerOperator(t(K)).solve(t(y)),
    "solve with noise": lambda t: qf.kron.KroneckerOperator(t(K)).solve(t(y[:, 0]), 0.5),
    "apply": lambda t: qf.kron.KroneckerOperator(t(K)).apply(lambda lam: lam * lam, t(y)),
    "logdet": lambda t: np.asarray(qf.kron.KroneckerOperator(t(K)).logdet()),
    "eigh": lambda t: qf.kron.KroneckerOperator(t(K)).eigh()[0],
    "factors": lambda t: tuple(qf.kron.KroneckerOperator(t(K)).factors),
    "diagonal": lambda t: qf.kron.KroneckerOperator(t(K)).diagonal(),
    "dense": lambda t: qf.kron.KroneckerOperator(t(K)).to_dense(),
    "walks": lambda t: solved(t, 1.0),
    "walks with a source": lambda t: solved(t, 1.0, source=1.0),
    "polygons": lambda t: solved(t, 1.0, ring=np.stack([SQUARE, 2 * SQUARE])),
    "polygon with a hole": lambda t: with_hole(t),
    "series": lambda t: solved(t, wos.Fourier(t(A[0, 0]))),
    "numbers": lambda t: solved(t, t(A[0, 0])),
    "values at vertices": lambda t: solved(t, wos.PerVertex(t(V[0, :, 0].copy()))),
    "lists of values": lambda t: solved(t, wos.PerVertex([t(V[0, :, 0].copy())]), ring=SQUARE[None]),
    "bells": lambda t: solved(t, bells(t), source=bells(t)),
    "polynomial": lambda t: solved(t, wos.Polynomial(t(V[0, :3, :2].copy())), source=wos.Polynomial(t(V[:2, :3, 0].copy()))),
    "values on a grid": lambda t: solved(t, wos.GridField(t(V[0, :3, :2].copy()), ((-1, -1), (1, 1)))),
    "gradient of a polynomial": lambda t: pulled(t, wos.Polynomial(t(V[0, :3, :2].copy()))),
    "gradient of a grid": lambda t: pulled(t, wos.GridField(t(V[0, :3, :2].copy()), ((-1, -1), (1, 1)))),
    "list": lambda t: solved(t, [wos.Fourier(t(A[0, 0])), wos.Fourier(t(A[1, 0]))]),
    "mixed list": lambda t: solved(t, [wos.Fourier(t(A[0, 0])), 2.0]),
    "gradient of a series": lambda t: pulled(t, wos.Fourier(t(A[0, 0]))),
    "gradient of bells": lambda t: pulled(t, wos.Fourier(t(A[0, 0])), source=bells(t)),
    "gradient of values": lambda t: pulled(t, wos.PerVertex(t(V[0, :, 0].copy()))),
    "a series at points": lambda t: wos.Fourier(t(A[0, 0]))(POINTS),
    "bells at points": lambda t: bells(t)(POINTS),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_are_no_ops(name, backend):
    call = OTHERS[name]
    same(call(lazy), plain(call(settled)))


def test_saved_tensors(tmp_path):
    ct = qf.cheb.ChebTucker(lazy(CORE), lazy(FACTORS))
    ct.save(tmp_path / "tensor")
    again = qf.cheb.ChebTucker.load(tmp_path / "tensor")
    for got, expected in zip(parts(again), (CORE, *FACTORS)):
        np.testing.assert_array_equal(got, expected)
