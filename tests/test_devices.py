"""Meta tensors, which have no numbers: all meta in gives meta results of the right shape and dtype, and a mix with others is refused."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from case import adjoint_arguments, call_of, graded, made, op_of, parametrize, structures, vjp_of  # noqa: E402
from test_torch import prepare  # noqa: E402

pytestmark = pytest.mark.torch

wos, ssm, cheb = qf.wos, qf.ssm, qf.cheb


def tensors(x):
    return [t for item in x for t in tensors(item)] if isinstance(x, (list, tuple)) else [x] if isinstance(x, torch.Tensor) else []


def moved(x, chosen=None):
    """The same arguments, all their tensors meta, or that of one number."""
    count = itertools.count()

    def move(x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(move, x))
        if isinstance(x, dict):
            return {name: move(value) for name, value in x.items()}
        return x.to("meta") if isinstance(x, torch.Tensor) and chosen in (None, next(count)) else x

    return move(x)


def check(call, arguments, keywords, label):
    expected = tensors(call(*arguments, **keywords))
    a, k = moved((list(arguments), keywords))
    got = tensors(call(*a, **k))
    assert [(g.device.type, g.shape, g.dtype) for g in got] == [("meta", e.shape, e.dtype) for e in expected]
    given = tensors([*arguments, *keywords.values()])
    for i in range(len(given)) if len(given) > 1 else ():
        a, k = moved((list(arguments), keywords), i)
        with pytest.raises(TypeError, match=rf"{label}\S*: .+ is on (meta but .+ is on cpu|cpu but .+ is on meta); all tensors of a call"):
            call(*a, **k)


@parametrize(structures())
def test_ops(family, case, rng):
    arguments, keywords = prepare(family, case, rng)
    op = op_of(family, case.op)
    check(lambda *a, **k: made(call_of(family, case)(*a, **k)), arguments, keywords, op.family)
    if op.adjoint is None:
        return
    inputs, options = adjoint_arguments(op, arguments, keywords)
    grads = tuple(torch.ones_like(y) for y in graded(op, call_of(family, case)(*arguments, **keywords)))
    check(vjp_of(family, case), [*inputs, grads if len(op.graded) > 1 else grads[0]], options, op.family)


def normal(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype)


Z = torch.complex128
K = [normal(4, 4), normal(3, 3)]
CORE, FACTORS = normal(2, 3), [normal(5, 2), normal(4, 3)]
OTHERS = {
    "ssm.toeplitz_matmul": (ssm.toeplitz_matmul, normal(7), normal(5), normal(5, 2)),
    "ssm.hankel_matmul": (ssm.hankel_matmul, normal(7), normal(5), normal(5)),
    "ssm.toeplitz_matmul_vjp": (ssm.toeplitz_matmul_vjp, normal(7), normal(5), normal(5, 2), normal(7, 2)),
    "ssm.hankel_matmul_vjp": (ssm.hankel_matmul_vjp, normal(3), normal(5), normal(5, 2), normal(3, 2)),
    "ssm.causal_conv1d_update": (ssm.causal_conv1d_update, normal(2, 4), normal(2, 4, 5), normal(4, 3), normal(4)),
    "ssm.s4d_conv": (ssm.s4d_step, normal(2, 4), normal(2, 4, 3, dtype=Z), normal(4).abs(), normal(4, 3, dtype=Z), normal(4, 3, dtype=Z)),
    "ssm.discretize": (lambda *a: ssm.discretize(*a, "zoh"), normal(4, dtype=Z), normal(4, 2, dtype=Z), normal(4)),
    "ssm.discretize of one step": (lambda *a: ssm.discretize(*a, "bilinear"), normal(4, dtype=Z), normal(4, dtype=Z), normal()),
    "kron.matvec": (lambda K, x: qf.kron.KroneckerOperator(K) @ x, K, normal(12)),
    "kron.rmatvec": (lambda K, x: qf.kron.KroneckerOperator(K).rmatvec(x), K, normal(12)),
    "kron.matvec of columns": (lambda K, x: qf.kron.KroneckerOperator(K).matmat(x), K, normal(12, 2)),
    "kron.matvec in float64": (lambda K, x: qf.kron.KroneckerOperator(K) @ x, K, normal(12, dtype=torch.float32)),
    "KroneckerOperator": (lambda a, b: qf.kron.KroneckerOperator([a, b]).to_dense(), *K),
    "KroneckerOperator ": (lambda a, b: qf.kron.KroneckerOperator([a, b]).diagonal(), *K),
    "cheb.tucker_eval": (lambda *a: cheb.ChebTucker(a[0], a[1:3])(a[3]), CORE, *FACTORS, torch.rand(6, 2, dtype=torch.float64)),
    "cheb.tucker_derivatives": (
        lambda *a: cheb.ChebTucker(a[0], a[1:3]).eval(a[3], 2),
        CORE,
        *FACTORS,
        torch.rand(6, 2, dtype=torch.float64),
    ),
    "cheb.ChebTucker.diff": (lambda *a: cheb.ChebTucker(a[0], a[1:]).diff(0).core, CORE, *FACTORS),
    "cheb.ChebTucker.integrate": (lambda *a: cheb.ChebTucker(a[0], a[1:]).integrate(1).core, CORE, *FACTORS),
    "cheb.ChebTucker": (lambda *a: cheb.ChebTucker(a[0], a[1:]).to_full(), CORE, *FACTORS),
}


@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_are_no_ops(name):
    call, *arguments = OTHERS[name]
    check(call, arguments, {}, r"(ssm|kron|cheb)\.")


SQUARE, POINTS = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1.0]]), torch.rand(5, 2)
VALUES = {
    "cheb.tucker: C": lambda m: cheb.tucker(m(normal(4, 3)), rank=2),
    "ChebTucker.from_values: V": lambda m: cheb.ChebTucker.from_values(m(normal(4, 3))),
    "ChebTucker.from_coeffs: C": lambda m: cheb.ChebTucker.from_coeffs(m(normal(4, 3))),
    "ChebTucker.from_cp: weights": lambda m: cheb.ChebTucker.from_cp(m(normal(2)), m(FACTORS[:1])),
    "ChebTucker.fit: X": lambda m: cheb.ChebTucker.fit(m(POINTS.double()), m(POINTS[:, 0].double()), n=2),
    "ChebTucker.round: core": lambda m: cheb.ChebTucker(m(CORE), m(FACTORS)).round(0.1),
    "ChebTucker.norm: core": lambda m: cheb.ChebTucker(m(CORE), m(FACTORS)).norm(),
    "ChebTucker.error_estimate: core": lambda m: cheb.ChebTucker(m(CORE), m(FACTORS)).error_estimate,
    "ChebTucker.__add__: core": lambda m: cheb.ChebTucker(m(CORE), m(FACTORS)) + 1,
    "ChebTucker.grid: the points of axis 0": lambda m: cheb.ChebTucker(CORE, FACTORS).grid(m(POINTS[:, 0].double()), POINTS[:, 0].double()),
    "ChebTucker.grid: core": lambda m: cheb.ChebTucker(m(CORE), m(FACTORS)).grid(POINTS[:, 0].double(), POINTS[:, 0].double()),
    "ChebTucker.save: core": lambda m: cheb.ChebTucker(m(CORE), m(FACTORS)).save("/nowhere/at/all"),
    "KroneckerOperator.solve: factors": lambda m: qf.kron.KroneckerOperator(m(K)).solve(normal(12)),
    "KroneckerOperator.solve: y": lambda m: qf.kron.KroneckerOperator(K).solve(m(normal(12))),
    "KroneckerOperator.logdet: factors": lambda m: qf.kron.KroneckerOperator(m(K)).logdet(),
    "KroneckerOperator.eigh: factors": lambda m: qf.kron.KroneckerOperator(m(K)).eigh(),
    "Polygon: vertices": lambda m: wos.Polygon(m(SQUARE)),
    "SDF: values": lambda m: wos.SDF(m(-torch.ones(2, 2)), ((0, 0), (1, 1))),
    "Star: c1": lambda m: wos.Star(m(0.1 * normal(1)), 0.0),
    "Fourier: coefficients": lambda m: wos.Fourier(m(normal(3))),
    "Polynomial: coefficients": lambda m: wos.Polynomial(m(normal(2, 3))),
    "GridField: values": lambda m: wos.GridField(m(normal(2, 3)), ((0, 0), (1, 1))),
    "PerVertex: values": lambda m: wos.PerVertex(m(normal(4))),
    "Gaussians: amplitude": lambda m: wos.Gaussians(m(normal(1)), normal(1, 2), 1.0),
    "solve: points": lambda m: wos.solve(wos.Ball([0, 0], 2), m(POINTS), dirichlet=1.0, walks=2),
    "solve: dirichlet": lambda m: wos.solve(wos.Ball([0, 0], 2), POINTS, dirichlet=m(normal(2)), walks=2),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_what_looks_at_numbers_says_so(name):
    with pytest.raises(RuntimeError, match=rf"{name}\S* is on meta; move it to the CPU|{name}\S* is on meta, where it has no numbers"):
        VALUES[name](moved)


def test_compiled_calls_are_refused_alike():
    u, k = torch.randn(2, 3, 70), torch.randn(3, 70, device="meta")
    qf.ssm.fft_conv(u, torch.randn(3, 70))  # the first call with tensors registers the operators
    operator = torch.ops.quatrefoil.ssm_fft_conv
    for a, b in ((u, k), (u.to("meta"), torch.randn(3, 70))):
        with pytest.raises(TypeError, match="all tensors of a call must be on one device"):
            operator(a, b, None, None, None, 0)
        with pytest.raises(Exception, match="all tensors of a call must be on one device"):  # torch wraps it
            torch.compile(lambda a, b: qf.ssm.fft_conv(a, b), backend="aot_eager", fullgraph=True)(a, b)
    out = torch.empty(2, 3, 70, device="meta")
    with pytest.raises((ValueError, RuntimeError), match="out"):
        qf.ssm.fft_conv(u, torch.randn(3, 70), out=out)
    np.testing.assert_array_equal(qf.ssm.fft_conv(u, torch.zeros(3, 70)), 0)
