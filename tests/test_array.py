"""Backend "array" where its arrays are: on devices that this machine need not have, and as tensors through PyTorch's doors."""

import sys

import numpy as np
import pytest

import quatrefoil as qf
from case import all_cases, build, call_of, graded, made, op_of, outline, scales, tolerance, vjp_of
from namespaces import WALKS, check_alike, composed_ops, composing, forget_plans, mapped, thinned
from quatrefoil import _array_tools, _arrays, _backends

CASES = [(family, case) for family, case in all_cases() if op_of(family, case.op).key in composed_ops()]


def _of_its_own(family, case):
    """(what a composition may branch on: options, absent arguments, numbers of axes; how much work it is)."""
    arguments, keywords = outline(case)
    arrays = [a for x in (*arguments, *keywords.values()) for a in (x if isinstance(x, list) else [x]) if isinstance(a, np.ndarray)]
    options = [(k, v) for k, v in keywords.items() if isinstance(v, (bool, str))]
    empty = any(a.size == 0 for a in arrays)
    ranks = [x.ndim if isinstance(x, np.ndarray) else len(x) if isinstance(x, list) else None for x in arguments]
    return (family, case.op, empty, str(ranks), str(sorted(keywords)), str(options)), sum(a.size for a in arrays)


def _one_of_each(cases):
    """The least case of each kind, of an op five at most."""
    least = {}
    for entry in cases:
        key, work = _of_its_own(*entry)
        least[key] = min(least.get(key, (work, entry)), (work, entry), key=lambda e: e[0])
    found = {}
    for key, (work, entry) in least.items():
        found.setdefault(key[:3], []).append((work, entry))
    return [entry for few in found.values() for _, entry in sorted(few, key=lambda e: e[0])[:5]]


# to make a case of random walks takes long, and to walk one by one
OF_WALKS = [entry for entry in CASES if f"{entry[0]}.{entry[1].op}" in WALKS]
ONE_OF_EACH = _one_of_each([entry for entry in CASES if entry not in OF_WALKS])
SHORT_WALKS = [entry for entry in OF_WALKS if str(entry[1]) in ("walk-small", "stars-cut-off", "media-cut-off")]
FIRST = list({(family, case.op): (family, case) for family, case in [*reversed(CASES), *SHORT_WALKS]}.values())  # a case of every op


def over(cases):
    return pytest.mark.parametrize(("family", "case"), cases, ids=[f"{f}.{c}" for f, c in cases])


def adjoint_of(family, case, arguments, keywords, result, convert):
    """The adjoint's arguments and options, for gradients made of the result; None where there is no adjoint."""
    op = op_of(family, case.op)
    if op.adjoint is None:
        return None
    names = {a.name for a in op.inputs}
    inputs = arguments + [keywords.get(a.name) for a in op.inputs[len(arguments) :]]
    grads = tuple(convert(np.ones(tuple(y.shape), _arrays.dtype_name(y))) for y in graded(op, result))
    return [*inputs, grads if len(op.graded) > 1 else grads[0]], {k: v for k, v in keywords.items() if k not in names}


def listed(gradients):
    return tuple(g for x in gradients for g in (x if isinstance(x, list) else [x]))


def where(result):
    """Device, dtype and shape of every array of a result."""
    return [(_arrays.device(a), _arrays.dtype_name(a), tuple(a.shape)) for a in made(result)]


def check_near(got, expected, limit, scale=None):
    """Two results that both may be off by the op's tolerance, and are summed in another order."""
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    got, expected = np.nan_to_num(got), np.nan_to_num(expected)
    scale = np.abs(expected).max(initial=0) if scale is None else scale
    assert np.abs(got - expected).max(initial=0) <= 4 * limit * scale


# ---------------------------------------------------------------- CUDA tensors that have a shape, a dtype and a device, and no numbers


@pytest.mark.torch
@over(ONE_OF_EACH + thinned(OF_WALKS, 24))
def test_cuda_tensors_stay_on_their_device(family, case, fake_cuda, rng):
    arguments, keywords = build(family, case, rng, "float32")
    with composing("numpy"):
        expected = call_of(family, case)(*arguments, **keywords)
        adjoint = adjoint_of(family, case, arguments, keywords, expected, np.asarray)
        gradients = adjoint and vjp_of(family, case)(*adjoint[0], **adjoint[1])
    forget_plans()
    got = call_of(family, case)(*fake_cuda(arguments), **{k: fake_cuda(v) for k, v in keywords.items()})
    assert where(got) == [("cuda:0", *rest) for _, *rest in where(expected)]
    if adjoint:
        got = vjp_of(family, case)(*fake_cuda(adjoint[0]), **adjoint[1])
        assert where(listed(got)) == [("cuda:0", *rest) for _, *rest in where(listed(gradients))]


@pytest.mark.torch
def test_what_cannot_run_on_a_device_says_so(fake_cuda, monkeypatch):
    A, x = np.zeros((3, 3)), np.zeros((2, 9))
    on_cuda = fake_cuda([A, x])
    with pytest.raises(TypeError, match=r"kron.matvec: the arrays are on cuda:0, where backend 'native' does not run; leave the choice"):
        qf.kron.matvec([on_cuda[0]] * 2, on_cuda[1], backend="native")
    with qf.use_backend("numba"), pytest.raises(TypeError, match=r"on cuda:0, where backend 'numba' does not run"):
        qf.kron.matvec([on_cuda[0]] * 2, on_cuda[1])
    with pytest.raises(TypeError, match=r"x is on cpu but factors\[0\] is on cuda:0; all tensors of a call must be on one device"):
        qf.kron.matvec([on_cuda[0]] * 2, on_cuda[1].cpu())
    monkeypatch.setattr(_backends.array, "kernel", lambda op: None)
    with pytest.raises(NotImplementedError, match=r"no backend can run this \(cuda: built without CUDA: .*; array: has no"):
        qf.kron.matvec([on_cuda[0]] * 2, on_cuda[1])


@pytest.mark.torch
def test_a_missing_package_is_named(monkeypatch):
    torch = pytest.importorskip("torch")
    A = torch.eye(3)
    forget_plans()
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    monkeypatch.delitem(sys.modules, "array_api_compat.torch", raising=False)
    with pytest.raises(
        ModuleNotFoundError, match=r"backend 'array' needs array-api-compat for torch arrays: pip install 'quatrefoil\[torch\]'"
    ):
        qf.kron.matvec([A], A, backend="array")
    np.testing.assert_array_equal(qf.kron.matvec([np.eye(3)], np.ones(3), backend="array"), np.ones(3))


@pytest.mark.torch
def test_what_stands_around_ops_stays_on_the_device(fake_cuda):
    """Boundaries are made on the host, and brought to the points."""
    mesh = qf.wos.TriangleMesh(np.eye(4, 3), np.array([[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]]))
    q, C = fake_cuda([np.zeros((5, 2), np.float32), np.zeros((4, 3, 5))])
    with pytest.raises(TypeError, match="boundary was built from a numpy array but q is a torch array"):
        qf.wos.contains(mesh, fake_cuda(np.zeros((5, 3))))
    for boundary in (qf.wos.Star(0.1, 0.05), qf.wos.Ball([0.0, 0.0], 1.0), qf.wos.Box([0.0, 0.0], [1.0, 2.0])):
        assert where(qf.wos.contains(boundary, q)) == [("cuda:0", "bool", (5,))]
        assert where(qf.wos.signed_distance(boundary, q)) == [("cuda:0", "float32", (5,))]
        assert where(qf.wos.closest_point(boundary, q)[:2]) == [("cuda:0", "float32", (5,)), ("cuda:0", "float32", (5, 2))]
    core, factors = qf.cheb.tucker(C, rank=2)
    assert where((core, *factors)) == [("cuda:0", "float64", s) for s in ((2, 2, 2), (4, 2), (3, 2), (5, 2))]


# ---------------------------------------------------------------- CPU tensors, through every door


def tensors(x):
    torch = sys.modules["torch"]
    return mapped(np.ndarray, lambda a: torch.from_numpy(a.copy()), x)


@pytest.mark.torch
@over(FIRST)
def test_tensors_by_every_door(family, case, rng):
    """The kernel's numbers: without gradients, with them, under torch.func and by the registered operator."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    arguments, keywords = build(family, case, rng, "float64")
    function, op = call_of(family, case), op_of(family, case.op)
    expected = function(*arguments, **keywords)
    keywords = {k: tensors(v) for k, v in keywords.items()}
    adjoint = adjoint_of(family, case, tensors(arguments), keywords, expected, tensors)
    gradients = adjoint and listed(vjp_of(family, case)(*adjoint[0], **adjoint[1]))

    def near(got, wanted, limit, sizes=None):
        assert len(got) == len(wanted)
        for g, e, size in zip(got, wanted, sizes or [None] * len(got)):
            check_near(g.detach().numpy(), np.asarray(e), limit, size)

    leaves = []

    def leaf(t):
        leaves.append(t.requires_grad_(t.is_floating_point() or t.is_complex()))
        return t

    with qf.use_backend("array"):
        near(made(function(*tensors(arguments), **keywords)), made(expected), tolerance(op, "float64"), scales(op, expected))
        if not adjoint:
            return
        inputs = mapped(torch.Tensor, lambda t: t.clone(), adjoint[0][:-1])
        constant = {a.name for a in op.inputs if not a.has_gradient}
        given = [x if a.name in constant else mapped(torch.Tensor, leaf, x) for a, x in zip(op.inputs, inputs)]
        result = function(
            *given[: len(arguments)],
            **{a.name: x for a, x in zip(op.inputs[len(arguments) :], given[len(arguments) :]) if x is not None},
            **adjoint[1],
        )
        near(
            torch.autograd.grad(graded(op, result), leaves, [torch.ones_like(y) for y in graded(op, result)]),
            gradients,
            tolerance(op.adjoint, "float64"),
        )
        near(listed(vjp_of(family, case)(*adjoint[0], **adjoint[1])), gradients, tolerance(op.adjoint, "float64"))


# ---------------------------------------------------------------- CuPy: its planner, with arrays of array-api-strict in its place


@over(FIRST)
def test_cupy_arrays(family, case, strict_for_cupy, rng, door):
    there, back = strict_for_cupy
    arguments, keywords = build(family, case, rng, "float64")
    op = op_of(family, case.op)
    expected = call_of(family, case)(*arguments, **keywords)
    adjoint = adjoint_of(family, case, arguments, keywords, expected, np.asarray)
    got = back(call_of(family, case)(*there(arguments), **{k: there(v) for k, v in keywords.items()}))
    pairs = [(made(got), made(expected), tolerance(op, "float64"), scales(op, expected))]
    if adjoint:
        got = vjp_of(family, case)(*there(adjoint[0]), **adjoint[1])
        got, expected = listed(back(got)), listed(vjp_of(family, case)(*adjoint[0], **adjoint[1]))
        pairs.append((got, expected, tolerance(op.adjoint, "float64"), [None] * len(expected)))
    for got, expected, limit, sizes in pairs:
        for g, e, size in zip(got, expected, sizes, strict=True):
            check_near(g, e, limit, size)


def test_cupy_arrays_are_no_host_arrays(strict_for_cupy):
    there, _ = strict_for_cupy
    A, x = there([np.eye(3), np.ones(3)])
    with pytest.raises(TypeError, match=r"the arrays are on cuda:1, where backend 'native' does not run"):
        qf.kron.matvec([A], x, backend="native")
    with pytest.raises(TypeError, match=r"x is a numpy array but factors\[0\] is a cupy array"):
        qf.kron.matvec([A], np.ones(3))
    out = there(np.zeros(3))
    assert qf.kron.matvec([A], x, out=out) is out
    with pytest.raises(TypeError, match=r"out is .* expected a CuPy array like the inputs"):
        qf.kron.matvec([A], x, out=np.zeros(3))
    with pytest.raises(ValueError, match=r"out overlaps x"):
        qf.kron.matvec([A], x, out=x)


# ---------------------------------------------------------------- results of their own


@pytest.mark.parametrize("library", ["numpy", pytest.param("torch", marks=pytest.mark.torch)])
def test_results_share_no_memory(library, monkeypatch):
    """Whatever a composition returns: its inputs, one array twice, views that are no piece of memory."""
    x = np.arange(6.0).reshape(2, 3)
    A = np.eye(3)
    if library == "torch":
        pytest.importorskip("array_api_compat")
        torch = pytest.importorskip("torch")
        A, x = torch.from_numpy(A), torch.from_numpy(x)
    forget_plans()
    with qf.use_backend("array"), monkeypatch.context() as patch:
        patch.setattr(
            _backends.array,
            "kernel",
            lambda op: (lambda xp, K, x: x) if op.name == "matvec" else lambda xp, K, x, g: ([g[:1] + 0 * K[0]], g),
        )
        y = qf.kron.matvec([A], x)
        y += 1
        _, dx = qf.kron.matvec_vjp([A], x, x)
        dx += 1
        assert (np.asarray(x) == np.arange(6.0).reshape(2, 3)).all()
        patch.setattr(_backends.array, "kernel", lambda op: lambda xp, K, x: xp.broadcast_to(x[:1, :1], x.shape))
        forget_plans()
        y = qf.kron.matvec([A], x)
        y[0, 0] = 7
        assert np.asarray(y).tolist() == [[7, 0, 0], [0, 0, 0]]
    forget_plans()


# ---------------------------------------------------------------- what compositions do beside computing


@over(ONE_OF_EACH + SHORT_WALKS)
def test_pieces(family, case, monkeypatch, rng):
    """Whatever goes in pieces, because it takes memory, may go one by one."""
    monkeypatch.setattr(_array_tools, "PIECE", 1)
    check_alike(family, case, rng, "numpy")


def test_scans_with_factors_that_overflow():
    """A product of many coefficients beside a state 0 is 0, and a NaN stays in its scan, from its time on."""
    a, b = np.full((3, 70), 1e200), np.zeros((3, 70))
    a[1, 40], a[2] = np.nan, 0.5
    b[2, 0] = 1
    h = qf.ssm.linear_scan(a, b, backend="array")
    assert (h[0] == 0).all()
    assert (h[1, :40] == 0).all()
    assert np.isnan(h[1, 40:]).all()
    np.testing.assert_array_equal(h[2], 0.5 ** np.arange(70))
    assert (qf.ssm.linear_scan(a[:1, :1], b[:1], backend="array") == 0).all()  # a constant
    grown = qf.ssm.linear_scan(np.full((1, 1), 2.0), np.ones((1, 1100)), backend="array")
    assert np.isposinf(grown[0, 1025:]).all()
    np.testing.assert_array_equal(grown[0, :52], 2.0 ** np.arange(1, 53) - 1)


# ---------------------------------------------------------------- what is built on ops


def _normal(rng, *shape):
    return rng.standard_normal(shape)


def _poles(rng, *shape):
    return -rng.uniform(0.5, 1.5, shape) + 1j * rng.uniform(-3, 3, shape)


def _kronecker(rng, t):
    K = qf.kron.KroneckerOperator(t([_normal(rng, 4, 4), _normal(rng, 3, 5)]))
    x, y = t([_normal(rng, 20, 2), _normal(rng, 12)])
    return [K @ x, K.T @ y, K @ x[:, 0], y @ K, K.matmat(x)]


def _products(rng, t):
    c, r, x = t([_normal(rng, 7), _normal(rng, 5), _normal(rng, 5, 2)])
    return [qf.ssm.toeplitz_matmul(c, r, x), *qf.ssm.hankel_matmul_vjp(c, r, x, t(_normal(rng, 7, 2)))]


def _update(rng, t):
    state = t(_normal(rng, 4, 3, 5))
    rows, start = t([np.array([2, -1, 0]), np.array([1, 0, 7])])
    arrays = t([_normal(rng, 3, 3)])
    weight, bias = t([_normal(rng, 3, 4), _normal(rng, 3)])
    out = qf.ssm.causal_conv1d_update(arrays[0], state, weight, bias, "silu", start, rows)
    return [out, state]


def _state_update(rng, t):
    state = t(_normal(rng, 4, 2, 3, 5))
    (rows,) = t([np.array([2, -1, 0])])
    arrays = t([_normal(rng, *s) for s in ((3, 2, 3), (3, 2, 3), (2, 3, 5), (3, 2, 5), (3, 2, 5), (2, 3), (3, 2, 3), (2, 3))])
    out = qf.ssm.selective_state_update(state, *arrays, True, rows)
    return [out, state]


def _step(rng, t):
    H, N = 3, 4
    arrays = [_normal(rng, 2, H), _normal(rng, 2, H, N) + 0j, rng.uniform(0.1, 0.3, H), _poles(rng, H, N), _poles(rng, H, N)]
    return list(qf.ssm.s4d_step(*t(arrays)))


def _selective_pairs(rng, t):
    A, B = _poles(rng, 3, 2), _normal(rng, 2, 2, 20)
    arrays = t([_normal(rng, 2, 3, 10), abs(_normal(rng, 2, 3, 10)), A, B, B])
    return [qf.ssm.selective_scan_fn(*arrays), *qf.ssm.selective_scan_fn_vjp(*arrays, t(_normal(rng, 2, 3, 10)))]


def _layer(rng, t):
    return [
        qf.ssm.s5_apply(
            t(_normal(rng, 2, 9, 3)), *qf.ssm.discretize(*t([_poles(rng, 4), _poles(rng, 4, 3)]), 0.1, "zoh"), t(_poles(rng, 3, 4))
        )
    ]


def _chebyshev(rng, t):
    core, *factors = t([_normal(rng, 2, 3), _normal(rng, 6, 2), _normal(rng, 5, 3)])
    ct, X = qf.cheb.ChebTucker(core, factors), t(rng.uniform(-1, 1, (7, 2)))
    return [ct(X), *ct.eval(X, 2), ct.diff(0).core, ct.integrate(1).core, ct.to_full(), ct.plan(1e-6)(X)]


def _likelihood(rng, t):
    roots = [_normal(rng, n, n + 2) for n in (3, 4)]
    factors = [a @ a.T for a in roots]
    return [f(t(factors), t(_normal(rng, 12)), 0.5) for f in (qf.kron.gp_nll, qf.kron.gp_solve)]


BUILT = [_kronecker, _products, _update, _state_update, _step, _selective_pairs, _layer, _chebyshev, _likelihood]


@pytest.mark.torch
@pytest.mark.parametrize("build_and_run", BUILT)
def test_what_is_built_on_ops(build_and_run, rng):
    """With tensors, and with what stands for CuPy arrays below: the numbers of the host's kernels."""
    pytest.importorskip("torch")
    seed = int(rng.integers(2**31))
    expected = build_and_run(np.random.default_rng(seed), lambda x: x)
    with qf.use_backend("array"):
        got = build_and_run(np.random.default_rng(seed), tensors)
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == tensors(e).dtype
        np.testing.assert_allclose(g.numpy(), e, rtol=0, atol=1e-12 * np.abs(e).max())


@pytest.mark.torch
@pytest.mark.parametrize("build_and_run", BUILT)
def test_what_is_built_on_ops_stays_on_its_device(build_and_run, fake_cuda, rng):
    for result in build_and_run(rng, fake_cuda):
        assert result.device.type == "cuda"


def _modules():
    nn = pytest.importorskip("quatrefoil.torch.nn")
    return {
        "S4D": (nn.S4D(4, 6, bidirectional=True), (2, 4, 30)),
        "S4D-real": (nn.S4D(4, 6, is_real=True, disc="bilinear", method="scan"), (2, 4, 30)),
        "S5": (nn.S5(4, 6), (2, 30, 4)),
        "S5-both": (nn.S5(4, 6, bidirectional=True, discretization="bilinear"), (2, 30, 4)),
        "PolyLayer": (nn.PolyLayer(4, 3, 5), (2, 30, 4)),
        "GatedKalmaNet": (nn.GatedKalmaNet(8, head_dim=4, num_q_heads=2), (2, 9, 8)),
        "GatedKalmaNet-exact": (nn.GatedKalmaNet(8, head_dim=4, num_q_heads=2, solver_type="exact"), (2, 9, 8)),
    }


NAMES = ["S4D", "S4D-real", "S5", "S5-both", "PolyLayer", "GatedKalmaNet", "GatedKalmaNet-exact"]


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_modules(name):
    """Values and gradients of all parameters, in double precision."""
    torch = pytest.importorskip("torch")
    module, shape = _modules()[name]
    module = module.double()
    u = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def run():
        y = module(u)
        y = y[0] if isinstance(y, tuple) else y
        wanted = [u, *module.parameters()]
        return y, torch.autograd.grad((y**2).sum(), wanted)

    expected, gradients = run()
    with qf.use_backend("array"):
        got, others = run()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11 * float(expected.detach().abs().max()))
    for a, b in zip(others, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * max(float(b.abs().max()), 1e-3))


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_modules_stay_on_their_device(name, request):
    torch = pytest.importorskip("torch")
    module, shape = _modules()[name]
    parameters = {n: p.detach().numpy() for n, p in (*module.named_parameters(), *module.named_buffers())}
    fake = request.getfixturevalue("fake_cuda")
    given = {n: fake(p) for n, p in parameters.items()}
    y = torch.func.functional_call(module, given, (fake(np.zeros(shape, np.float32)),))
    y = y[0] if isinstance(y, tuple) else y
    assert (y.device.type, tuple(y.shape)[:2]) == ("cuda", shape[:2])
