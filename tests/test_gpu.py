"""Tests on a GPU, with PyTorch and CuPy: ``pytest -m gpu``, or all of ``.ci/gpu``. A dry run tries them on the host (gpu.py)."""

import numpy as np
import pytest

import quatrefoil as qf
from call import Call
from case import (
    all_cases,
    arrays_of,
    build,
    call_of,
    call_with_adjoint,
    flat,
    op_of,
    parametrize,
    parametrize_ops,
    tolerance,
    zero_arguments,
)
from gpu import DRY, LIBRARIES, SMALL, Torch
from namespaces import check_like_the_host, composed_ops, forget_plans
from public import CALLS, ON_DEVICES, arrays
from quatrefoil import _arrays, _backends
from quatrefoil._spec import FAMILIES

pytestmark = pytest.mark.gpu

LIMIT = 20_000  # elements in a case's arguments


def _count_numbers(case):
    arguments, keywords = zero_arguments(case)
    return sum(a.size for a in flat([*arguments, *keywords.values()]))


def _cases():
    """The small cases of every op that runs on a device; with ``SMALL``, only the smallest nonempty case of each op."""
    on_devices = composed_ops() | {op.key for family in FAMILIES.values() for op in family if _on_cuda(op)}
    sized = {}
    for family, case in all_cases():
        if op_of(family, case.op).key in on_devices:
            sized.setdefault((family, case.op), []).append((_count_numbers(case), case))
    for (family, _), cases in sized.items():
        if SMALL:
            yield family, min(((n, c) for n, c in cases if n), key=lambda e: e[0])[1]
        else:
            yield from ((family, c) for n, c in cases if n <= LIMIT or n == min(m for m, _ in cases))


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
    """A call with its adjoint on the device, in a new stream."""

    def call(arguments, keywords, grads):
        with library.stream():
            return call_with_adjoint(family, case, arguments, keywords, grads, library.to_device, library.to_host)

    return call


@parametrize_ops(CASES)
@pytest.mark.parametrize("precision", ["float64"] if DRY else ["float32", "float64"])
def test_like_the_host(family, cases, precision, library, rng):
    """Values and gradients agree with the host's, relative to their norm, and a second call gives the same bits."""
    for case in cases:
        print(case)
        results = []

        def twice(*arguments, case=case, results=results):
            results.extend(run_on_device(library, family, case)(*arguments) for _ in range(2))
            return results[0]

        check_like_the_host(family, case, rng, precision, twice)
        np.testing.assert_equal(*results)


@parametrize(KERNELS)
def test_graphs(family, case, library, rng):
    """A call can be captured in a graph, and its replays give the same bits as a plain call."""
    arguments, keywords = build(family, case, rng, "float32")
    inputs, options = library.to_device(arguments), {k: library.to_device(v) for k, v in keywords.items()}
    with library.stream():
        expected = arrays_of(library.to_host(call_of(family, case)(*inputs, **options)))  # the first call may set a kernel's attributes
        result, replay = library.captured(lambda: call_of(family, case)(*inputs, **options))
        for _ in range(2):
            replay()
        np.testing.assert_equal(arrays_of(library.to_host(result)), expected)


@parametrize(FIRST)
def test_autograd(family, case, rng):
    library = Torch()
    op = op_of(family, case.op)
    if op.adjoint is None:
        pytest.skip("not differentiable")
    with library.stream():
        call = Call(family, case, rng, library.to_device)
        leaves = [t.requires_grad_() for t in call.differentiable]
        results = call.of_differentiable(*leaves)
        got = library.to_host(library.torch.autograd.grad(results, leaves, [library.torch.ones_like(y) for y in results]))
    expected = call.vjp([np.ones_like(library.to_host(y)) for y in results])
    size = np.sqrt(sum(np.linalg.norm(e) ** 2 for e in expected))
    for g, e in zip(got, expected, strict=True):
        assert g.shape == e.shape
        assert np.linalg.norm(g - e) <= 2 * tolerance(op.adjoint, "float64") * size


@pytest.fixture
def on_device(request, library):
    """A function that copies NumPy arrays to the device; its ``back`` copies them to the host."""
    if DRY:
        return request.getfixturevalue("device_tensors")

    def copy(x):
        return library.to_device(x)

    copy.back = library.to_host
    return copy


def test_boundary_value_problems(on_device, rng):
    star, box = qf.wos.Star(0.1, 0.05), qf.wos.Box([0.0, 0.0], [1.0, 1.0])
    X, c, gaussians = rng.uniform(0.1, 0.6, (5, 2)), rng.standard_normal((2, 3)), (rng.standard_normal(2), rng.random((2, 2)))

    def solved(t, boundary, **options):
        data = {"dirichlet": qf.wos.Polynomial(t(c)), "source": qf.wos.Gaussians(*t(gaussians), 0.5)}
        r = qf.wos.solve(boundary, t(X), **data, gradient=True, walks=64, rng=1, **options)
        return [r.value, r.grad, r.stderr, r.grad_stderr, r.n_walks, r.mean_steps]

    for boundary, options in ((star, {}), (box, {"screening": 2.0})):
        got, expected = [on_device.back(x) for x in solved(on_device, boundary, **options)], solved(lambda x: x, boundary, **options)
        for k in range(2):  # the same walks, except for rounding and the host's choice of balls
            assert (np.abs(got[k] - expected[k]) <= 6 * (got[k + 2] + expected[k + 2]) + 1e-3).all()
        np.testing.assert_array_equal(got[4], expected[4])
        assert (got[5] > 0).all()


@pytest.mark.parametrize("name", [name for name in ON_DEVICES if "sample" not in name])  # the sign of eigenvectors is arbitrary
def test_functions_that_are_not_ops(name, on_device):
    for got, expected in zip(arrays(CALLS[name](on_device)), arrays(CALLS[name](lambda x: x)), strict=True):
        got = got if isinstance(got, float) else on_device.back(got)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8 * np.abs(expected).max(initial=1e-300))


def test_weights_of_components(on_device):
    """The iterations agree with the host's, up to rounding errors, for a covariance with condition number 1e3."""
    x, grid = np.arange(40.0), np.linspace(0, 0.5, 30)
    y, new = np.sin(2 * np.pi * 0.17 * x) + 0.1 * np.cos(9 * x), np.linspace(0, 45, 11)

    def fitted(t, agents):
        with pytest.warns(RuntimeWarning, match="before reaching tol"):
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
    """The first steps agree with the host's, for kernels whose eigenvalues are well above the jitter."""
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
    """Every device of the machine works, whichever is current; mixing devices raises an error."""
    b = rng.standard_normal((3, 70))
    a = 0.9 * np.tanh(rng.standard_normal((3, 70)))
    expected = qf.ssm.linear_scan(a, b)
    for device in library.devices:
        library.device = device
        with library.stream():
            inputs = library.to_device([a, b])
        for within in (library.stream(), qf.use_backend("array")):
            with within:
                result = qf.ssm.linear_scan(*inputs)
                assert _arrays.device(result) == device
                np.testing.assert_allclose(library.to_host(result), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    with pytest.raises(TypeError, match=r"linear_scan: .*(on one device|from one library|is on|array)"):
        qf.ssm.linear_scan(inputs[0], library.to_other_device(inputs[1]))


def test_out_of_memory(library, rng):
    """Exhausted memory raises the library's own error, and the next call works."""
    enormous = library.enormous()
    a, b = 0.9 * np.tanh(rng.standard_normal((3, 70))), rng.standard_normal((3, 70))
    expected = qf.ssm.linear_scan(a, b)
    for _ in range(2):
        with library.stream():
            with pytest.raises(library.errors, match=r"(?i)memory|allocat"):
                qf.ssm.linear_scan(enormous[:1], enormous)
            result = library.to_host(qf.ssm.linear_scan(*library.to_device([a, b])))
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_config_names_the_device():
    if DRY or _backends.cuda._module() is None:
        pytest.skip("built without CUDA")
    assert qf.config()["cuda"]["reason"] is None
    assert "sm_" in qf.config()["cuda"]["device"]
