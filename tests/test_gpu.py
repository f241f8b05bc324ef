"""What only a GPU can show, by the libraries whose arrays lie on one: ``pytest -m gpu``, or all of ``.ci/gpu``. In a dry run the same text
is tried on the host (gpu.py)."""

import numpy as np
import pytest

import quatrefoil as qf
from call import Call
from case import all_cases, build, call_of, call_with_adjoint, flat, made, op_of, outline, parametrize, parametrize_ops, tolerance
from gpu import DRY, LIBRARIES, Torch
from namespaces import check_like_the_host, composed_ops, forget_plans
from public import CALLS, ON_DEVICES, arrays
from quatrefoil import _arrays, _backends
from quatrefoil._spec import FAMILIES

pytestmark = pytest.mark.gpu

SMALL = 20_000  # numbers of a case's arguments


def _numbers(case):
    arguments, keywords = outline(case)
    return sum(a.size for a in flat([*arguments, *keywords.values()]))


def _cases():
    """Of every op that runs on a device the small cases; in a dry run the smallest that has numbers."""
    there = composed_ops() | ({op.key for family in FAMILIES.values() for op in family if _on_cuda(op)})
    found = {}
    for family, case in all_cases():
        if op_of(family, case.op).key in there:
            found.setdefault((family, case.op), []).append((_numbers(case), case))
    for (family, _), cases in found.items():
        if DRY:
            yield family, min(((n, c) for n, c in cases if n), key=lambda e: e[0])[1]
        else:
            yield from ((family, c) for n, c in cases if n <= SMALL or n == min(m for m, _ in cases))


def _on_cuda(op):
    return _backends.cuda.reason() is None and _backends.cuda.kernel(op) is not None


CASES = list(_cases())
FIRST = list({(family, case.op): (family, case) for family, case in reversed(CASES)}.values())
KERNELS = [(family, case) for family, case in FIRST if DRY or _on_cuda(op_of(family, case.op))]


@pytest.fixture(params=LIBRARIES)
def library(request):
    forget_plans()
    yield LIBRARIES[request.param]()
    forget_plans()


def run_on_device(library, family, case):
    """A call with its adjoint there, in a stream of its own."""

    def call(arguments, keywords, grads):
        with library.aside():
            return call_with_adjoint(family, case, arguments, keywords, grads, library.there, library.back)

    return call


@parametrize_ops(CASES)
@pytest.mark.parametrize("precision", ["float64"] if DRY else ["float32", "float64"])
def test_like_the_host(family, cases, precision, library, rng):
    """Values and gradients, number by number, relative to all of them; twice to the same bits."""
    for case in cases:
        print(case)
        found = []

        def twice(*given, case=case, found=found):
            found.extend(run_on_device(library, family, case)(*given) for _ in range(2))
            return found[0]

        check_like_the_host(family, case, rng, precision, twice)
        for first, second in zip(*found):
            for a, b in zip(first, second, strict=True):
                np.testing.assert_array_equal(a, b)


@parametrize(KERNELS)
def test_graphs(family, case, library, rng):
    """A call that is captured computes nothing, and each replay the same bits as a plain call."""
    arguments, keywords = build(family, case, rng, "float32")
    there, options = library.there(arguments), {k: library.there(v) for k, v in keywords.items()}
    with library.aside():
        expected = made(library.back(call_of(family, case)(*there, **options)))  # the first call may set an attribute of a kernel
        result, replay = library.captured(lambda: call_of(family, case)(*there, **options))
        for _ in range(2):
            replay()
        got = made(library.back(result))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@parametrize(FIRST)
def test_autograd(family, case, rng):
    """Tensors' gradients are those of the host's adjoint."""
    library = Torch()
    op = op_of(family, case.op)
    if op.adjoint is None:
        pytest.skip("not differentiable")
    with library.aside():
        call = Call(family, case, rng, library.there)
        leaves = [t.requires_grad_() for t in call.numbers]
        results = call.of_graded(*leaves)
        got = library.back(library.torch.autograd.grad(results, leaves, [library.torch.ones_like(y) for y in results]))
    expected = call.vjp([np.ones_like(library.back(y)) for y in results])
    size = np.sqrt(sum(np.linalg.norm(e) ** 2 for e in expected))
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        assert np.linalg.norm(g - e) <= 2 * tolerance(op.adjoint, "float64") * size


@pytest.fixture
def on_device(request, library):
    """What makes arrays on a device of NumPy arrays, and ``back``."""
    if DRY:
        return request.getfixturevalue("device_tensors")

    def there(x):
        return library.there(x)

    there.back = library.back
    return there


def test_what_is_around_ops(on_device, rng):
    """Boundary value problems, Kronecker systems and Gaussian processes as a whole."""
    star, box = qf.wos.Star(0.1, 0.05), qf.wos.Box([0.0, 0.0], [1.0, 1.0])
    X, c, bells = rng.uniform(0.1, 0.6, (5, 2)), rng.standard_normal((2, 3)), (rng.standard_normal(2), rng.random((2, 2)))
    factors = [a @ a.T + np.eye(len(a)) for a in (rng.standard_normal((n, n)) for n in (3, 4))]
    y, cross = rng.standard_normal(12), rng.standard_normal((2, 3))

    def solved(t, boundary, **options):
        given = {"dirichlet": qf.wos.Polynomial(t(c)), "source": qf.wos.Gaussians(*t(bells), 0.5), "gradient": True, "walks": 64, "rng": 1}
        r = qf.wos.solve(boundary, t(X), **given, **options)
        return [r.value, r.grad, r.stderr, r.grad_stderr, r.n_walks, r.mean_steps]

    def systems(t):
        K = qf.kron.KroneckerOperator(t(factors))
        found = [K.solve(t(y)), K.solve(t(y), 0.5), K.apply(lambda lam: lam / (lam + 1), t(y)), K @ t(y)]
        return [*found, *qf.kron.gp_posterior(t(factors), t([cross, factors[1]]), t(y), 0.3, prior_diag=100.0)]

    for got, expected in zip(systems(on_device), systems(lambda x: x), strict=True):
        np.testing.assert_allclose(on_device.back(got), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    assert on_device.back(qf.kron.gp_sample(on_device(factors), size=2, rng=0)).shape == (2, 12)  # eigenvectors have no sign
    for boundary, options in ((star, {}), (box, {"screening": 2.0})):
        got, expected = [on_device.back(x) for x in solved(on_device, boundary, **options)], solved(lambda x: x, boundary, **options)
        for k in range(2):  # the same walks, but for roundings and for how large the host takes their balls
            assert (np.abs(got[k] - expected[k]) <= 6 * (got[k + 2] + expected[k + 2]) + 1e-3).all()
        np.testing.assert_array_equal(got[4], expected[4])
        assert (got[5] > 0).all()


@pytest.mark.parametrize("name", [name for name in ON_DEVICES if "sample" not in name])  # by eigenvectors, which have no sign
def test_what_is_no_op(name, on_device):
    """Functions around ops, and tensors of coefficients."""
    for got, expected in zip(arrays(CALLS[name](on_device)), arrays(CALLS[name](lambda x: x)), strict=True):
        got = got if isinstance(got, float) else on_device.back(got)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8 * np.abs(expected).max(initial=1e-300))


def test_weights_of_components(on_device):
    """The path of the host's iterations, to the roundings of a covariance of condition 1e3."""
    x, grid = np.arange(40.0), np.linspace(0, 0.5, 30)
    y, new = np.sin(2 * np.pi * 0.17 * x) + 0.1 * np.cos(9 * x), np.linspace(0, 45, 11)

    def fitted(t, agents):
        with pytest.warns(RuntimeWarning, match="before tol was met"):
            model = qf.kron.SlimKL(means=grid, noise=0.05, tol=0.0, max_iter=5, agents=agents).fit(t(x), t(y))
        return model.objective_, *model.predict(t(new), return_std=True)

    for agents in (1, 2):
        (values, *got), (expected, *wanted) = fitted(on_device, agents), fitted(lambda x: x, agents)
        np.testing.assert_allclose(values, expected, rtol=1e-8)
        for g, e in zip(got, wanted, strict=True):
            np.testing.assert_allclose(on_device.back(g), e, rtol=0, atol=1e-7 * np.abs(e).max())


@pytest.mark.parametrize("optimizer", ["adam", "projection"])
@pytest.mark.parametrize("dims", [1, 2])
def test_solvers(optimizer, dims, on_device):
    """The first steps of the host, of kernels whose eigenvalues are clear of the jitter."""
    axes = [np.linspace(0, 1, 12), np.linspace(0, 1, 9) ** 1.2][:dims]
    source = np.sin(9 * sum(np.meshgrid(*axes, indexing="ij")))

    def trained(t):
        pde = qf.kron.AllenCahn(source=t(source), boundary=0.1)
        gp = qf.kron.GPHM(pde, t(axes), kind="gaussian", components=4, freq_scale=3.0, jitter=1e-3, optimizer=optimizer).fit(3)
        return gp.history_["loss"], gp.predict(t(axes))

    (losses, got), (expected, wanted) = trained(on_device), trained(lambda x: x)
    np.testing.assert_allclose(losses, expected, rtol=1e-7)
    np.testing.assert_allclose(on_device.back(got), wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_devices(library, rng):
    """On every device of the machine, whichever is the current one; a mix is an error."""
    b = rng.standard_normal((3, 70))
    a = 0.9 * np.tanh(rng.standard_normal((3, 70)))
    expected = qf.ssm.linear_scan(a, b)
    for device in library.devices:
        library.device = device
        with library.aside():
            given = library.there([a, b])
        for within in (library.aside(), qf.use_backend("array")):
            with within:
                result = qf.ssm.linear_scan(*given)
                assert _arrays.device(result) == device
                np.testing.assert_allclose(library.back(result), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    with pytest.raises(TypeError, match=r"linear_scan: .*(on one device|of one kind|is on|array)"):
        qf.ssm.linear_scan(given[0], library.elsewhere(given[1]))


def test_out_of_memory(library, rng):
    """The library's own error, and the next call is as ever."""
    enormous = library.enormous()
    a, b = 0.9 * np.tanh(rng.standard_normal((3, 70))), rng.standard_normal((3, 70))
    expected = qf.ssm.linear_scan(a, b)
    for _ in range(2):
        with library.aside():
            with pytest.raises(library.errors, match=r"(?i)memory|allocat"):
                qf.ssm.linear_scan(enormous[:1], enormous)
            result = library.back(qf.ssm.linear_scan(*library.there([a, b])))
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_config_names_the_device():
    if DRY or _backends.cuda._module() is None:
        pytest.skip("built without CUDA")
    assert qf.config()["cuda"]["reason"] is None
    assert "sm_" in qf.config()["cuda"]["device"]
