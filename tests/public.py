"""Calls to public functions and objects that are not ops; ``t`` converts their NumPy arrays.

Used by the tests of lazy tensors, meta tensors, devices, masks and layouts.
"""

import functools
import itertools

import numpy as np

import quatrefoil as qf

ssm, kron, cheb, wos = qf.ssm, qf.kron, qf.cheb, qf.wos


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def complex_normal(*shape):
    return normal(*shape) + 1j * normal(*shape[::-1]).T


X = np.random.default_rng(0).uniform(-0.9, 0.9, (6, 2))
CHARGES = np.random.default_rng(1).uniform(-0.9, 0.9, (5, 3))
CORE, FACTORS, V = normal(2, 3), [normal(5, 2), normal(4, 3)], normal(4, 3)
GATES, BETA = [normal(1, 4, 2, 3)] * 3, 1 / (1 + np.exp(normal(1, 4, 2)))
ROWS = [np.array([1, 0, 7]), np.array([2, -1, 0])]  # starts of ring buffers, row indices of states
K, Y = [a @ a.T + np.eye(4) for a in normal(2, 4, 4)], normal(16, 2)
GRID, TABLE = np.linspace(-1, 1, 4), normal(4, 4)
SEEN = Y[:, 1] > -1
POINTS = np.random.default_rng(2).uniform(0.1, 0.9, (6, 2))
SQUARE, HOLE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), np.array([[0.4, 0.4], [0.6, 0.4], [0.6, 0.6]])
BOX = ((-1, -1), (1, 1))


def parts(ct):
    return [ct.core, *ct.factors]


def tensor(t):
    return cheb.ChebTucker(t(CORE), t(FACTORS))


def operator(t):
    return kron.KroneckerOperator(t(K))


def slim(t):
    return kron.SlimKL(means=t(np.arange(4.0) / 8), std=t(np.full(4, 0.1)), noise=1.0, tol=1.0).fit(t(Y[:, 0].copy()), t(Y[:, 1].copy()))


def grid_gp(t):
    kernels = [functools.partial(kron.rbf, scale=1.0)] * 2
    return kron.GridGP(kernels, noise=0.1, variance=1.0, optimizer=None).fit(t([GRID, GRID]), t(TABLE), t(TABLE > -1))


def poisson(t):
    return kron.GPHM(kron.Poisson(source=t(GRID), boundary=t(GRID)), t([GRID]), components=3, jitter=1e-2, optimizer="adam")


def long_part(t):
    return cheb.potential(t(CHARGES), t(normal(5)), n=17, domain=(-1, 1), tol=1e-11)


def solved(t, dirichlet, polygon=None, **options):
    polygon = wos.Polygon(t(SQUARE)) if polygon is None else polygon
    r = wos.solve(polygon, t(POINTS), dirichlet=dirichlet, walks=8, rng=1, **options)
    return r.value, r.stderr


def data_gradients(t, dirichlet, **options):
    _, d, s = wos.solve_vjp(wos.Polygon(t(SQUARE)), t(POINTS), t(POINTS[:, 0].copy()), dirichlet=dirichlet, walks=8, rng=1, **options)
    return *d.values(), *s.values()


def gaussians(t):
    return wos.Gaussians(t(normal(3)), t(normal(3, 2)), t(abs(normal(3)) + 0.5))


def field(t):
    return wos.GridField(t(V), t(np.array(BOX, float)))


CALLS = {
    "ssm.causal_conv1d_update": lambda t: ssm.causal_conv1d_update(t(normal(2, 4)), t(normal(2, 4, 5)), t(normal(4, 3)), t(normal(4))),
    "ssm.causal_conv1d_update, rows": lambda t: [
        state := t(normal(4, 3, 5)), ssm.causal_conv1d_update(t(normal(3, 3)), state, t(normal(3, 4)), t(normal(3)), "silu", *t(ROWS))
    ],
    "ssm.chunk_delta_rule": lambda t: ssm.chunk_delta_rule(*t(GATES), t(BETA), output_final_state=True),
    "ssm.discretize": lambda t: ssm.discretize(t(complex_normal(4, 1)[:, 0].copy()), t(complex_normal(4, 2)), t(abs(normal(4))), "zoh"),
    "ssm.fused_recurrent_delta_rule": lambda t: ssm.fused_recurrent_delta_rule(*t(GATES), t(BETA), output_final_state=True),
    "ssm.fused_recurrent_gated_delta_rule": lambda t: ssm.fused_recurrent_gated_delta_rule(
        *t(GATES), t(-BETA), t(BETA), output_final_state=True
    ),
    "ssm.chunk_rwkv7": lambda t: ssm.chunk_rwkv7(*t([GATES[0], -abs(GATES[0]), *GATES[:2]]), *t([-GATES[0], 0.1 * GATES[0]])),
    "ssm.fused_recurrent_dplr_delta_rule": lambda t: ssm.fused_recurrent_dplr_delta_rule(
        *t(GATES), *t([-GATES[0], 0.1 * GATES[0], -abs(GATES[0])]), output_final_state=True
    ),
    "ssm.fused_recurrent_gdn2": lambda t: ssm.fused_recurrent_gdn2(
        *t(GATES), t(GATES[0]), *t([BETA[..., None] * np.ones(3)] * 2), use_gate_in_kernel=True, lower_bound=-5.0, dt_bias=t(normal(6))
    ),
    "ssm.fused_recurrent_kda": lambda t: ssm.fused_recurrent_kda(
        *t(GATES), t(GATES[0]), t(BETA), output_final_state=True, state_v_first=True, use_gate_in_kernel=True, A_log=t(normal(2)),
        dt_bias=t(normal(6)), use_beta_sigmoid_in_kernel=True,
    ),
    "ssm.fused_recurrent_simple_gla": lambda t: ssm.fused_recurrent_simple_gla(*t(GATES), t(-BETA), output_final_state=True),
    "ssm.hankel_matmul": lambda t: ssm.hankel_matmul(t(normal(7)), t(normal(5)), t(normal(5))),
    "ssm.hankel_matmul_vjp": lambda t: ssm.hankel_matmul_vjp(t(normal(3)), t(normal(5)), t(normal(5, 2)), t(normal(3, 2))),
    "ssm.mamba_inner_fn": lambda t: ssm.mamba_inner_fn(
        t(normal(2, 6, 5)), t(normal(3, 1, 2)), t(normal(3)), t(normal(5, 3)), t(normal(3, 1)), t(normal(4, 3)), t(normal(4)),
        t(-abs(normal(3, 2))), None, None, t(normal(3)), t(normal(3)), t(normal(2)), t(normal(2)),
        b_rms_weight=t(normal(2)), c_rms_weight=t(normal(2)), dt_rms_weight=t(normal(3)),
    ),
    "ssm.mamba_split_conv1d_scan_combined": lambda t: ssm.mamba_split_conv1d_scan_combined(
        t(normal(1, 4, 14)), t(normal(8, 3)), t(normal(8)), t(normal(2)), t(-abs(normal(2))), t(normal(2)), 2, t(normal(1, 2, 2, 2)),
        t(ROWS[0][:1].repeat(4)[None]), headdim=2, return_final_states=True,
    ),
    "ssm.s4d_step": lambda t: ssm.s4d_step(
        t(normal(2, 4)), t(complex_normal(2, 4, 3)), t(abs(normal(4))), t(complex_normal(4, 3)), t(complex_normal(4, 3))
    ),
    "ssm.selective_state_update": lambda t: ssm.selective_state_update(
        t(normal(2, 3, 4)), t(normal(2, 3)), t(normal(2, 3)), t(-abs(normal(3, 4))), t(normal(2, 4)), t(normal(2, 4))
    ),
    "ssm.selective_state_update, rows": lambda t: [
        state := t(normal(4, 2, 3, 5)),
        ssm.selective_state_update(
            state, t(normal(3, 2, 3)), t(normal(3, 2, 3)), t(-abs(normal(2, 3, 5))), t(normal(3, 2, 5)), t(normal(3, 2, 5)),
            t(normal(2, 3)), t(normal(3, 2, 3)), t(normal(2, 3)), True, t(ROWS[1]),
        ),
    ],
    "ssm.selective_scan_fn, complex": lambda t: ssm.selective_scan_fn(
        t(normal(2, 3, 10)), t(abs(normal(2, 3, 10))), t(-abs(complex_normal(3, 2).real) + 1j * normal(3, 2)), *t([normal(2, 2, 20)] * 2)
    ),
    "ssm.exponential_integrator": lambda t: ssm.exponential_integrator(t(-abs(normal(5))), lambda u: -(u**3), t(normal(2, 5)), 0.1, 7),
    "ssm.toeplitz_matmul": lambda t: ssm.toeplitz_matmul(t(normal(7)), t(normal(5)), t(normal(5, 2))),
    "ssm.toeplitz_matmul_vjp": lambda t: ssm.toeplitz_matmul_vjp(t(normal(7)), t(normal(5)), t(normal(5, 2)), t(normal(7, 2))),
    "kron.KroneckerOperator, products": lambda t: [
        operator(t) @ t(Y[:, 0].copy()), operator(t).matmat(t(Y)), operator(t).rmatvec(t(Y[:, 0].copy())), operator(t).T @ t(Y),
        operator(t).H @ t(Y[:, 0].copy()), operator(t).dot(t(Y)), operator(t).matvec(t(Y[:, :1].copy())), operator(t).rmatmat(t(Y)),
    ],
    "kron.KroneckerOperator, float32": lambda t: operator(t) @ t(Y[:, 0].astype(np.float32)),
    "kron.KroneckerOperator, entries": lambda t: [
        (op := kron.KroneckerOperator([t(K[0]), t(K[1])])).to_dense(), op.diagonal(), *op.factors,
    ],
    "kron.KroneckerOperator, systems": lambda t: [operator(t).solve(t(Y)), operator(t).solve(t(Y[:, 0].copy()), 0.5)],
    "kron.KroneckerOperator, functions": lambda t: operator(t).apply(lambda lam: lam * lam, t(Y)),
    "kron.KroneckerOperator, spectrum": lambda t: [operator(t).logdet(), operator(t).eigh()[0]],
    "kron.KroneckerOperator, decompositions": lambda t: [operator(t).inverse().to_dense(), operator(t).cholesky().to_dense()],
    "kron.KroneckerOperator, algebra": lambda t: [
        (2.0 * (op := kron.KroneckerOperator([t(K[0]), t(K[1])])) - op @ op) @ t(Y), op[1], op[2:4, [0, 1]], op.svd()[1],
        (op / 3 + op)[::2], t(Y[:, 0].copy()) @ -op, (op + op).diagonal(), (op + op).T.to_dense(), op.trace(),
    ],
    "kron.matvec, batches": lambda t: kron.matvec([t(np.stack(K)), t(K[0])], t(Y.T.copy())),
    "kron.KroneckerBatch": lambda t: [
        (batch := kron.KroneckerOperator.batch([t(np.stack(K)), t(K[0])])) @ t(Y.T.copy()), batch.solve(t(Y.T.copy()), 0.5), batch.logdet(),
        batch.solve(t(Y.T.copy()), t(np.array([0.1, 0.3]))), batch.logdet(t(np.array([0.1, 0.3]))), batch.eigh()[0], batch.trace(),
    ],
    "kron.SlimKL": lambda t: [*slim(t).predict(t(Y[:, 1].copy()), return_std=True), slim(t).score(t(Y[:, 0].copy()), t(Y[:, 1].copy()))],
    "kron.gp_posterior": lambda t: [
        *kron.gp_posterior(t(K), t([K[0][:2], K[1]]), t(Y.T.copy()), t(abs(Y[:, 0])), prior_diag=t(np.full(8, 9.0))),
        *kron.gp_posterior(t(K), t([K[0][:2], K[1]]), t(Y[:, 0].copy()), 0.5, mask=t(SEEN), prior_diag=t([np.full(2, 9.0), np.ones(4)])),
    ],
    "kron.gp_sample": lambda t: [kron.gp_sample(t(K), noise=0.1, size=3, rng=7), kron.gp_sample(t(K), noise=t(abs(Y[:, 0])), rng=7)],
    "kron.gp_posterior_sample": lambda t: kron.gp_posterior_sample(
        t(K), t([K[0][:2], K[1]]), t(Y[:, 0].copy()), t(abs(Y[:, 1])), mask=t(SEEN), prior_factors=t([K[0][:2, :2].copy(), K[1]]), rng=7,
    ),
    "kron.GridGP": lambda t: [
        (gp := grid_gp(t)).predict(t(Y[:3].copy())), *gp.predict(t([Y[:3, 0], Y[:2, 1]]), True), gp.score(t([GRID, GRID]), t(TABLE)),
    ],
    "kron.GridGP, samples": lambda t: [(gp := grid_gp(t)).sample(t(Y[:3].copy()), 2, rng=1), gp.sample(t([Y[:3, 0], Y[:2, 1]]), rng=1)],
    "kron.GPHM": lambda t: [
        (solver := poisson(t)).value_and_grad()[0], *solver.value_and_grad()[1].values(), solver.fit(1).predict(t([GRID])),
    ],
    "cheb.tucker": lambda t: [(result := cheb.tucker(t(V), rank=2)).core, *result.factors],
    "cheb.TuckerTensor": lambda t: list(cheb.TuckerTensor(t(CORE), t(FACTORS))),
    "cheb.TensorTrain": lambda t: list(cheb.TensorTrain(t([normal(1, 2, 3), normal(3, 2, 1)])).cores),
    "cheb.ChebTucker": lambda t: [tensor(t)(t(X)), *tensor(t).eval(t(X), 2), tensor(t).to_full()],
    "cheb.ChebTucker, plan": lambda t: tensor(t).plan(1e-3)(t(X)),
    "cheb.ChebTucker, calculus": lambda t: [*parts(tensor(t).diff(0)), *parts(tensor(t).integrate(1))],
    "cheb.ChebTucker, sums": lambda t: [(tensor(t) + 1.5)(t(X)), (tensor(t) - 0.5 * tensor(t))(t(X)), tensor(t).round(1e-3)(t(X))],
    "cheb.ChebTucker, product": lambda t: (tensor(t) * -tensor(t))(t(X)),
    "cheb.ChebTucker, numbers": lambda t: [tensor(t).norm(), tensor(t).error_estimate, tensor(t).integrate()],
    "cheb.ChebTucker, grid": lambda t: tensor(t).grid(t(X[:, 0].copy()), t(X[:3, 1].copy())),
    "cheb.ChebTucker, from values": lambda t: parts(cheb.ChebTucker.from_values(t(V))),
    "cheb.ChebTucker, from coefficients": lambda t: parts(cheb.ChebTucker.from_coeffs(t(V))),
    "cheb.ChebTucker, from a sum": lambda t: parts(cheb.ChebTucker.from_cp(t(normal(2)), t([normal(5, 2), normal(4, 2)]))),
    "cheb.ChebTucker, from a sum of samples": lambda t: cheb.ChebTucker.from_cp(
        t(normal(2)), t([normal(5, 2)]), grid=[t(np.linspace(-1, 1, 5))]
    )(t(X[:, :1].copy())),
    "cheb.ChebTucker, from samples": lambda t: cheb.ChebTucker.fit(t(X), t(X[:, 0] * X[:, 1]), n=2, weights=t(abs(normal(6))))(t(X)),
    "cheb.Potential": lambda t: [long_part(t)(t(CHARGES)), *long_part(t).eval(t(CHARGES), 1)],
    "cheb.potential, short range": lambda t: cheb.short_range(t(CHARGES), t(normal(5)), t(CHARGES), sog=long_part(t).sog),
    "wos.Ball": lambda t: wos.contains(wos.Ball([0.0, 0.0], 1.0), t(X)),
    "wos.Box": lambda t: wos.signed_distance(wos.Box([0.0, 0.0], [1.0, 0.5]), t(X)),
    "wos.Polygon": lambda t: solved(t, 1.0, source=1.0),
    "wos.Polygon, several": lambda t: solved(t, 1.0, wos.Polygon(t(np.stack([SQUARE, 2 * SQUARE])))),
    "wos.Polygon, hole": lambda t: solved(t, 1.0, wos.Polygon([t(SQUARE)], holes=[[t(HOLE)]]), source=1.0),
    "wos.SDF": lambda t: solved(t, 1.0, wos.SDF(t(np.pad(np.full((2, 3), -0.4), 1, constant_values=0.4)), ((-1, -1), (3, 3)))),
    "wos.Fourier": lambda t: [*solved(t, wos.Fourier(t(normal(3)))), *data_gradients(t, wos.Fourier(t(normal(3))))],
    "wos.Fourier, at points": lambda t: wos.Fourier(t(normal(3)))(POINTS),
    "wos.Fourier, list": lambda t: solved(t, [wos.Fourier(t(normal(3))), wos.Fourier(t(normal(5))), 2.0]),
    "wos.PerVertex": lambda t: [*solved(t, wos.PerVertex(t(normal(4)))), *data_gradients(t, wos.PerVertex(t(normal(4))))],
    "wos.PerVertex, list": lambda t: solved(t, wos.PerVertex([t(normal(4))]), wos.Polygon(t(SQUARE[None].copy()))),
    "wos.Gaussians": lambda t: [
        *solved(t, gaussians(t), source=gaussians(t)), *data_gradients(t, 1.0, source=gaussians(t)), gaussians(t)(POINTS),
    ],
    "wos.Polynomial": lambda t: [*solved(t, wos.Polynomial(t(V)), source=wos.Polynomial(t(V))), *data_gradients(t, wos.Polynomial(t(V)))],
    "wos.GridField": lambda t: [*solved(t, field(t)), *data_gradients(t, field(t))],
    "wos.solve": lambda t: solved(t, t(normal(6))),
}  # fmt: skip
# Walks on devices are tested in tests/wos.
ON_DEVICES = [name for name in CALLS if name.startswith(("ssm.", "kron.", "cheb.", "wos.Ball", "wos.Box"))]


def one_at_a_time(call, change, otherwise=lambda x: x):
    """For each array of a call, yield the call with that array passed through ``change`` and the others through ``otherwise``."""
    count = 0

    def counted(x):
        nonlocal count
        count += 1
        return otherwise(x)

    call(counted)
    for chosen in range(count):
        at = itertools.count()
        yield lambda at=at, chosen=chosen: call(lambda x: change(x) if next(at) == chosen else otherwise(x))


def arrays(x):
    """The arrays and scalars of a nested result, in order."""
    return [a for item in x for a in arrays(item)] if isinstance(x, (list, tuple)) else [] if x is None else [x]
