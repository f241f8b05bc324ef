"""Tests for every layer of quatrefoil.torch.nn: gradients, precision, torch.compile, empty batches, bad options."""

import pytest

torch = pytest.importorskip("torch")

from checks import check_rejected  # noqa: E402
from children import run_python  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import LAYERS, inference, output_of, same  # noqa: E402

pytestmark = pytest.mark.torch

# Every module of quatrefoil.torch.nn: functions that create a module and its input.
MODULES = {name: (make, lambda shape=shape: torch.randn(shape)) for name, (make, shape) in LAYERS.items()}
MODULES |= {
    "PolyLayer": (lambda: nn.PolyLayer(3, 4, 2, squash=True), lambda: torch.randn(5, 3)),
    "HankelLayer": (lambda: nn.HankelLayer(3, 4), lambda: torch.randn(5, 3)),
    "TrigLayer": (lambda: nn.TrigLayer(3, 4, 2), lambda: torch.randn(5, 3)),
    "S4DKernel": (lambda: nn.S4DKernel(3, 4), lambda: 12),
}
STATEFUL = {"Mamba": lambda i: nn.Mamba(6, d_state=4, layer_idx=i), "Mamba2": lambda i: nn.Mamba2(6, d_state=4, headdim=6, layer_idx=i)}
BAD = [
    (lambda: nn.GatedKalmaNet(d_model=8), TypeError, r"GatedKalmaNet: unknown argument d_model; did you mean hidden_size\?"),
    (lambda: nn.GatedKalmaNet(8, 4, 4, num_k_heads=3), ValueError, "num_k_heads is 3, expected a divisor of 4"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, bp_lambda=False), ValueError, "bp_lambda"),
    (lambda: nn.GatedKalmaNet(8, 4, 2, solver_type="cg"), ValueError, "solver_type is 'cg', expected one of 'chebyshev', 'exact'"),
    (lambda: nn.S4D(2, N=64), TypeError, r"S4D: unknown argument N; did you mean d_state\?"),
    (lambda: nn.S4D(2, l_max=100), TypeError, "S4D: unknown argument l_max; omit it: inputs may have any length"),
    (lambda: nn.S4D(2, dropuot=0.1), TypeError, r"S4D: unknown argument dropuot; did you mean dropout\?"),
    (lambda: nn.S4D(2, 4, seed=1), TypeError, "S4D: unknown argument seed; expected d_model, d_state, "),
    (lambda: nn.S4D(2, 4)(torch.ones(3, 2, 9), torch.ones(3, 2, 2)), ValueError, r"S4D: state .* complex tensor of shape \(3, 2, 2\)"),
    (lambda: nn.S4D(2, 4).step(torch.ones(3, 2), torch.ones(2, 2) + 0j), ValueError, r"S4D: state has .*; start with default_state\(3\)"),
    (lambda: nn.S4D(2, 5), ValueError, "S4D: d_state is 5, expected an even number"),
    (lambda: nn.S4D(2, disc="euler"), ValueError, "S4D: disc is 'euler', expected one of 'zoh', 'bilinear'"),
    (lambda: nn.S4D(2, init="linear"), ValueError, "S4D: init is 'linear', expected one of 'lin'"),
    (lambda: nn.S4D(2, dt_min=0), ValueError, "dt_min and dt_max are 0 and 0.1"),
    (lambda: nn.S5(2, state_size=8), TypeError, r"S5: unknown argument state_size; did you mean d_state\?"),
    (lambda: nn.S5(2, 6, blocks=2), ValueError, r"d_state is 6 with 2 blocks, expected a multiple of 2 \* blocks"),
    (lambda: nn.S5(2, 8, C_init="normal"), ValueError, "C_init is 'normal'"),
    (lambda: nn.S5(2, 8, init="legs"), ValueError, "init is 'legs', expected one of 'hippo', 'ptd'"),
    (lambda: nn.S5(2, 8, init="ptd"), ValueError, "requires conj_sym=False"),
    (lambda: nn.S5(2, 8, discretization="dss"), ValueError, "discretization is 'dss'"),
    (lambda: nn.S5(2, 8, dt_max=1e-4), ValueError, "dt_min and dt_max"),
    (lambda: nn.Mamba(0), ValueError, "Mamba: d_model is 0, expected at least 1"),
    (lambda: nn.Mamba(4, d_state=2.5), TypeError, "Mamba: d_state is 2.5, expected an integer"),
    (lambda: nn.Mamba(4, dt_init="ones"), ValueError, "Mamba: dt_init is 'ones', expected one of 'random', 'constant'"),
    (lambda: nn.Mamba(4, dt_min=0.2), ValueError, "Mamba: dt_min and dt_max are 0.2 and 0.1"),
    (lambda: nn.Mamba(4, expand=0), ValueError, r"Mamba: expand is 0, expected expand \* d_model"),
    (lambda: nn.Mamba(4).step(torch.zeros(2, 3, 4), None, None), ValueError, r"Mamba\.step: hidden_states has shape \(2, 3, 4\)"),
    (lambda: nn.Mamba(4)(torch.zeros(2, 3, 4), object()), ValueError, "Mamba: layer_idx is None, expected the layer's number"),
    (lambda: nn.Mamba2(6), ValueError, r"Mamba2: d_ssm .* is 12, expected a multiple of headdim \* ngroups = 64; headdim=4 would be valid"),
    (lambda: nn.Mamba2(6, headdim=2, d_ssm=14), ValueError, "Mamba2: d_ssm is 14, expected at most 12"),
    (lambda: nn.Mamba2(64, A_init_range=(0, 1)), ValueError, r"Mamba2: A_init_range is \(0, 1\)"),
    (lambda: nn.Mamba2(64, process_group=object()), ValueError, "Mamba2: process_group is not supported"),
    (lambda: nn.Mamba2(64, dt_max=0.0001), ValueError, "Mamba2: dt_min and dt_max are 0.001 and 0.0001"),
    (lambda: nn.Mamba2(64).step(torch.zeros(2, 3, 64), None, None), ValueError, r"Mamba2\.step: hidden_states has shape \(2, 3, 64\)"),
    (lambda: nn.Mamba2(64)(torch.zeros(2, 3, 64), cu_seqlens=torch.tensor([0, 3])), ValueError, "with cu_seqlens, expected one item"),
]


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_reach_every_parameter(name):
    make, shape = LAYERS[name]
    layer = make().double()
    u = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters())

    def f(u, *parameters):
        return output_of(lambda x: torch.func.functional_call(layer, dict(zip(names, parameters)), (x,)), u).square().sum()

    inputs = (u, *(v.detach().requires_grad_() for v in values))
    gradients = torch.autograd.grad(f(*inputs), inputs)
    for key, gradient in zip(("u", *names), gradients):
        assert gradient.abs().max() > 0, key
    assert torch.autograd.gradcheck(f, inputs, eps=1e-6, atol=1e-4, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("sizes", ["dynamic", "marked", "fixed"])
def test_compiled_modules(name, sizes):
    """One graph serves any batch and length: sizes marked as dynamic must not become constants."""
    make, draw = MODULES[name]
    layer, u = make(), draw()
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True if sizes == "dynamic" else None)
    axes = () if not isinstance(u, torch.Tensor) else (0,) if u.ndim == 2 else (0, 2 if name.startswith("S4D") else 1)
    for extra in (0,) if sizes == "fixed" else (9, 15):
        x = torch.randn([n + extra * (i in axes) for i, n in enumerate(u.shape)]) if axes else u + extra
        for axis in axes if sizes == "marked" else ():
            torch._dynamo.mark_dynamic(x, axis)
        got = output_of(compiled, x)
        same(got, output_of(layer, x), 1e-5)
        layer.zero_grad()
        got.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", ["Mamba", "Mamba2"])
@pytest.mark.parametrize("spoil", [lambda s: s[:1], lambda s: s.float(), lambda s: s[..., :-1]], ids=["items", "dtype", "states"])
def test_a_step_that_fails_changes_no_state(name, spoil):
    """Neither of the two states may change; otherwise a retry would process the token twice."""
    make, shape = LAYERS[name]
    layer, u = make().double(), torch.randn(shape, dtype=torch.float64)
    conv_state, ssm_state = layer.allocate_inference_cache(shape[0])
    with torch.no_grad():
        layer(u[:, :3], cache=(conv_state, ssm_state))
        before, wrong = conv_state.clone(), spoil(ssm_state).clone()
        calls = [lambda: layer.step(u[:, 3:4], conv_state, wrong)]
        if wrong.dtype == u.dtype or name == "Mamba2":
            calls.append(lambda: layer(u[:, 3:], cache=(conv_state, wrong)))
        for call in calls:
            before_calls = wrong.clone()
            with pytest.raises((ValueError, TypeError)):
                call()
            torch.testing.assert_close(conv_state, before, rtol=0, atol=0)
            torch.testing.assert_close(wrong, before_calls, rtol=0, atol=0)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_step_in_half_precision_has_the_step_sizes_of_the_whole(half):
    """dt_bias is between -7 and -2. In bfloat16, a sum with it would change step sizes by up to 1.6 %."""
    torch.manual_seed(3)
    layer, u = nn.Mamba2(16, d_state=8, headdim=8).to(half), torch.randn(2, 1, 16, dtype=half)
    whole, step = layer.allocate_inference_cache(2), layer.allocate_inference_cache(2)
    with torch.no_grad():
        layer(u, cache=whole)
        layer.step(u, *step)
    torch.testing.assert_close(step, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_no_sequences_and_no_samples(name):
    make, shape = LAYERS[name]
    for at in (0, list(shape).index(max(shape[1:]), 1)):
        layer, u = make(), torch.zeros([0 if i == at else n for i, n in enumerate(shape)], requires_grad=True)
        y = output_of(layer, u)
        assert y.shape == u.shape
        y.sum().backward()
        assert u.grad.shape == u.shape


@pytest.mark.parametrize("name", STATEFUL)
def test_states_are_kept_as_upstream_does(name):
    layers = [STATEFUL[name](i).double() for i in range(2)]
    u = torch.randn(3, 9, 6, dtype=torch.float64)
    whole, params = layers[1](layers[0](u)), inference()
    with torch.no_grad():
        for _ in range(2):  # the second round starts from the beginning
            params.seqlen_offset, outputs = 0, []
            for chunk in (u[:, :4], u[:, 4:5], u[:, 5:]):
                outputs.append(layers[1](layers[0](chunk, inference_params=params), inference_params=params))
                params.seqlen_offset += chunk.shape[1]
            same(torch.cat(outputs, 1), whole, 1e-11)
    assert {*params.key_value_memory_dict} == {0, 1}
    with pytest.raises(ValueError, match=f"{name}: inference_params has states of 3 sequences, but the input has 2"):
        layers[0](u[:2], inference_params=params)
    with pytest.raises(ValueError, match=f"{name}: inference_params has no states for layer 3, but its seqlen_offset is 9"):
        STATEFUL[name](3).double()(u, inference_params=params)


@pytest.mark.parametrize("name", STATEFUL)
def test_gradients_do_not_pass_through_caches(name):
    layer, u = STATEFUL[name](0).double(), torch.randn(2, 8, 6, dtype=torch.float64, requires_grad=True)
    cache = layer.allocate_inference_cache(2)
    y = torch.cat([layer(u[:, :3], cache=cache), layer(u[:, 3:], cache=cache)], 1)
    assert not any(state.requires_grad for state in cache)
    (gradient,) = torch.autograd.grad(y[:, 3:].sum(), u)
    assert bool((gradient[:, :3] == 0).all())
    assert bool((gradient[:, 3:] != 0).all())


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", STATEFUL)
def test_caches_of_half_precision(name, half):
    layer, u = STATEFUL[name](0).to(half), torch.randn(2, 9, 6, dtype=half)
    conv_state, ssm_state = layer.allocate_inference_cache(2)
    assert (conv_state.dtype, ssm_state.dtype) == (half, torch.float32)
    assert {state.dtype for state in layer.allocate_inference_cache(2, dtype=half)} == {half}
    with torch.no_grad():
        whole, outputs = layer(u), [layer(u[:, :4], cache=(conv_state, ssm_state))]
        outputs += [layer.step(u[:, t : t + 1], conv_state, ssm_state)[0] for t in range(4, 9)]
    got = torch.cat(outputs, 1)
    assert got.dtype == half
    assert (got.float() - whole.float()).abs().max() <= 16 * torch.finfo(half).eps * whole.float().abs().max()


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision(name, half):
    """The system is computed in float32; the remaining error is the rounding of parameters, inputs and intermediate results."""
    make, draw = MODULES[name]
    layer, u = make(), draw()
    single, expected = output_of(layer, u), output_of(layer.double(), u.double() if isinstance(u, torch.Tensor) else u)
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() < 1e-4 * expected.abs().max()
    layer = layer.float().half() if half == torch.float16 else layer.float().bfloat16()
    assert {p.dtype for p in layer.parameters()} == {half}
    u = u.to(half).requires_grad_() if isinstance(u, torch.Tensor) else u
    got = output_of(layer, u)
    assert got.dtype == half
    assert (got - expected).abs().max() < 32 * torch.finfo(half).eps * expected.abs().max()
    got.float().square().sum().backward()
    for x in (*([u] if isinstance(u, torch.Tensor) else []), *layer.parameters()):
        assert x.grad.dtype == half
        assert x.grad.isfinite().all()
    wide = output_of(layer.float(), u.float() if isinstance(u, torch.Tensor) else u)
    assert (got.float() - wide).abs().max() < 16 * torch.finfo(half).eps * wide.abs().max()


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(name, half):
    """Under autocast, matrix products give half precision; systems, states, parameters and gradients stay in float32."""
    make, draw = MODULES[name]
    layer, u = make(), draw()
    expected = output_of(layer, u)
    with torch.autocast("cpu", dtype=half):
        got = output_of(layer, u)
    assert got.dtype in (half, torch.float32)
    assert (got.float() - expected).abs().max() < 32 * torch.finfo(half).eps * expected.abs().max()
    got.float().square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is None or parameter.grad.dtype == torch.float32
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert any(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("name", [name for name in MODULES if "-" not in name])
def test_export(name):
    make, draw = MODULES[name]
    layer, u = make().eval(), draw()
    exported = torch.export.export(layer, (u,)).module()
    other = draw()
    same(output_of(exported, other), output_of(layer, other), 1e-5)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16, None])
@pytest.mark.parametrize("name", ["S4D", "S5"])
def test_steps_of_half_precision(name, half):
    layer = {"S4D": lambda: nn.S4D(4, 8), "S5": lambda: nn.S5(4, 8)}[name]().to(half or torch.float64)
    u = torch.randn(2, 5, 4, dtype=half or torch.float64)
    state = layer.default_state(2)
    assert state.dtype == (torch.complex64 if half else torch.complex128)
    whole = output_of(layer, u.transpose(1, 2) if name == "S4D" else u)
    for t in range(5):
        y, state = layer.step(u[:, t], state)
        expected = whole[..., t] if name == "S4D" else whole[:, t]
        assert y.dtype == u.dtype
        assert (y - expected).abs().max() <= 16 * torch.finfo(u.dtype).eps * whole.abs().max()
    if name == "S4D":
        assert layer.kernel(7).dtype == u.dtype


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_inputs_are_named_as_the_layer_names_them(name):
    make, shape = LAYERS[name]
    layer, (axis, size) = make(), (1, shape[1]) if name.startswith("S4D") else (2, shape[2])
    u, label = torch.randn(2, 9, size) if axis == 2 else torch.randn(2, size, 9), type(layer).__name__
    wrong = [
        (u.mT, ValueError, r"input has shape .*, expected \(batch, .*; for \(batch, .*\) (pass|construct)"),
        (u[..., :1, :1], ValueError, r"input has shape \(2, 1, 1\), expected \(batch, \w+, \w+\)$"),
        (u.long(), TypeError, r"input has dtype torch.int64, .*; convert it: input.to\(torch.float32\)$"),
        (u.double(), TypeError, r"input has dtype torch.float64, .*, or the layer: layer.to\(torch.float64\)"),
        (u.numpy(), TypeError, r"input is a numpy array of float32, .*: torch.as_tensor\(input, dtype=torch.float32\)"),
    ]
    check_rejected([(lambda x=x: layer(x), error, f"^{label}: {text}") for x, error, text in wrong])


def test_sizes_are_printed():
    assert repr(nn.S4D(3, 4)).startswith("S4D(\n  3, d_state=4, transposed=True")
    assert repr(nn.S5(3, 8)) == "S5(3, d_state=8)"


def test_layers_name_the_missing_package():
    run_python("""
    import importlib.util, quatrefoil as qf
    importlib.util.find_spec = lambda name: None
    try:
        from quatrefoil.torch import nn
    except ModuleNotFoundError as error:
        assert "pip install 'quatrefoil[torch]'" in str(error)
    """)
