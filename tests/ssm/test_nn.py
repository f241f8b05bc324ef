"""The layers of quatrefoil.torch.nn: upstream's parameter names, upstream's numbers, states, gradients, bad options."""

import math
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402
from ssm import plain_torch  # noqa: E402

pytestmark = pytest.mark.torch

F = torch.nn.functional
OPS = ("s4d_conv", "s4d_step", "s4d_kernel", "s5_apply", "gka", "causal_conv1d_fn")


@pytest.fixture(params=["plain", "quatrefoil"])
def ops(request, monkeypatch):
    """The layers over plain loops in torch, and over quatrefoil's kernels: what is tested holds for both."""
    if request.param == "plain":
        for name in OPS:
            monkeypatch.setattr(qf.ssm, name, getattr(plain_torch, name))
    torch.manual_seed(int(np.random.default_rng().integers(2**31)))
    print("torch seed:", torch.initial_seed())
    return request.param


def shapes(layer):
    return {name: tuple(value.shape) for name, value in layer.state_dict().items()}


def same(x, y, tolerance=1e-10):
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


# S4D


def test_s4d_state_dict():
    layer = nn.S4D(6, d_state=8)
    assert shapes(layer) == {
        "D": (6,), "kernel.C": (6, 4, 2), "kernel.log_dt": (6,), "kernel.log_A_real": (6, 4), "kernel.A_imag": (6, 4),
        "output_linear.0.weight": (12, 6, 1), "output_linear.0.bias": (12,),
    }  # fmt: skip
    torch.testing.assert_close(layer.kernel.A_imag, math.pi * torch.arange(4.0).expand(6, 4))
    torch.testing.assert_close(layer.kernel.log_A_real, torch.full((6, 4), math.log(0.5)))
    assert ((layer.kernel.log_dt >= math.log(0.001)) & (layer.kernel.log_dt <= math.log(0.1))).all()
    assert all(p.dtype == torch.float32 for p in layer.parameters())


def upstream_s4d(state, u):
    """The pedagogical layer, written from its formulas: complex exponentials, rfft, GELU, Conv1d, GLU."""
    dt, C = torch.exp(state["kernel.log_dt"]), torch.view_as_complex(state["kernel.C"])
    A = -torch.exp(state["kernel.log_A_real"]) + 1j * state["kernel.A_imag"]
    x, L = A * dt[:, None], u.shape[-1]
    K = 2 * torch.einsum("hn,hnl->hl", C * (torch.exp(x) - 1) / A, torch.exp(x[..., None] * torch.arange(L))).real
    y = torch.fft.irfft(torch.fft.rfft(u, 2 * L) * torch.fft.rfft(K, 2 * L), 2 * L)[..., :L]
    y = F.gelu(y + u * state["D"][:, None])
    mixed = torch.einsum("oi,bil->bol", state["output_linear.0.weight"][..., 0], y) + state["output_linear.0.bias"][:, None]
    value, gate = mixed.chunk(2, dim=1)
    return value * torch.sigmoid(gate), K


@pytest.mark.parametrize("transposed", [True, False])
def test_s4d_is_upstreams(ops, transposed):
    layer, source = nn.S4D(3, 8, transposed=transposed).double(), nn.S4D(3, 8).double()
    layer.load_state_dict(source.state_dict())
    u = torch.randn(2, 3, 40, dtype=torch.float64)
    y, state = layer(u if transposed else u.mT)
    expected, K = upstream_s4d(source.state_dict(), u)
    same(y if transposed else y.mT, expected)
    same(layer.kernel(40), K)
    assert state is None


@pytest.mark.parametrize("options", [{}, {"disc": "bilinear"}, {"is_real": True}, {"init": "legs"}, {"bandlimit": 0.02}])
def test_s4d_steps_and_splits(ops, options):
    """One sample at a time, or in two pieces with the state handed on: the same output."""
    layer = nn.S4D(3, 8, **options).double()
    u = torch.randn(2, 3, 30, dtype=torch.float64)
    whole, _ = layer(u)
    state, ys = layer.default_state(2), []
    for l in range(30):
        y, state = layer.step(u[..., l], state)
        ys.append(y)
    same(torch.stack(ys, -1), whole)
    first, middle = layer(u[..., :11], layer.default_state(2))
    second, last = layer(u[..., 11:], middle)
    same(torch.cat([first, second], -1), whole)
    same(last, state)


def test_s4d_sees_the_future_where_asked_to(ops):
    layer = nn.S4D(2, 4, bidirectional=True).double()
    assert layer.kernel.C.shape == (2, 2, 2, 2)
    K = layer.kernel(9)
    u = torch.zeros(1, 2, 9, dtype=torch.float64)
    u[..., 4] = 1
    before = F.pad(K[1, :, :4].flip(-1), (0, 5))
    response = before + F.pad(K[0, :, :5], (4, 0)) + layer.D[:, None] * u
    same(layer(u)[0], layer.output_linear(F.gelu(response)))
    for call in (lambda: layer(u, layer.default_state(1)), lambda: layer.step(u[..., 0], layer.default_state(1))):
        with pytest.raises(ValueError, match="S4D: a layer that sees the future"):
            call()


def test_s4d_rate_and_bandlimit(ops):
    """At twice the sampling rate of a smooth input, rate=.5 gives nearly the same output; half of a band leaves half of the modes."""
    layer = nn.S4D(2, 4).double()
    fine = torch.sin(torch.arange(400, dtype=torch.float64) / 60).expand(1, 2, 400)
    halved, _ = layer(fine, rate=0.5)
    coarse, _ = layer(fine[..., ::2])
    other, _ = layer(fine)
    assert (halved[..., ::2] - coarse).abs().max() < 0.3 * (other[..., ::2] - coarse).abs().max()
    limited = nn.S4D(2, 8, bandlimit=1.0, dt_min=0.5, dt_max=0.5)  # cycles a sample: .5 pi n / 2 pi = n / 4 < 1/2 for n = 0, 1
    limited.kernel.C.data.fill_(1)
    assert (limited.kernel.system()[2] != 0).tolist() == [[True, True, False, False]] * 2


def test_s4d_frozen_dynamics_and_learning_rates():
    frozen = nn.S4D(2, 4, lr=0)
    assert {n for n, _ in frozen.named_buffers()} == {"kernel.log_dt", "kernel.log_A_real", "kernel.A_imag"}
    assert nn.S4D(2, 4, lr=1e-3).kernel.log_dt._optim == {"weight_decay": 0.0, "lr": 1e-3}
    assert "kernel.A_imag" not in nn.S4D(2, 4, is_real=True).state_dict()
    dropped = nn.S4D(40, 4, dropout=0.5)
    assert dropped.dropout(torch.ones(3, 40, 7)).std(-1).max() == 0  # whole channels


# S5


def test_s5_state_dict():
    names = {"Lambda_re": (4,), "Lambda_im": (4,), "B": (4, 6, 2), "D": (6,), "log_step": (4, 1)}
    assert shapes(nn.S5(6, 8)) == {**names, "C": (6, 4, 2)}
    assert shapes(nn.S5(6, 8, bidirectional=True)) == {**names, "C1": (6, 4, 2), "C2": (6, 4, 2)}
    assert shapes(nn.S5(6, 8, bidirectional=True, C_init="complex_normal")) == {**names, "C": (6, 8, 2)}
    assert shapes(nn.S5(6, 4, conj_sym=False)) == {**names, "C": (6, 4, 2)}


@pytest.mark.parametrize("blocks", [1, 2])
def test_s5_begins_as_legs(blocks):
    """Every block's poles are those of the normal part of HiPPO-LegS, or with "ptd" of all of it, perturbed."""
    size = 16 // blocks
    A, _ = qf.ssm.hippo_legs(size)
    p = np.sqrt(np.arange(size) + 0.5)
    layer = nn.S5(2, 16, blocks=blocks)
    Lambda = torch.complex(layer.Lambda_re, layer.Lambda_im).detach().numpy()
    expected = np.tile(np.linalg.eigvals(A + np.outer(p, p)), blocks)
    np.testing.assert_allclose(np.sort(np.concatenate([Lambda, Lambda.conj()]).imag), np.sort(expected.imag), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(Lambda.real, -0.5, rtol=1e-6)
    layer = nn.S5(2, 16, blocks=blocks, init="ptd", eps=0.05, conj_sym=False)
    Lambda = torch.complex(layer.Lambda_re, layer.Lambda_im).detach().numpy().reshape(blocks, size)
    assert (Lambda == Lambda[0]).all()
    assert (Lambda.real < 0).all()
    assert abs(Lambda.sum(1) - np.trace(A)).max() < 0.05 * size * np.linalg.norm(A, 2)  # |tr E| <= size ||E||


def upstream_s5(layer, u):
    """One sequence, step by step, from the formulas."""
    Lambda = torch.complex(layer.Lambda_re, layer.Lambda_im)
    B, dt = torch.view_as_complex(layer.B), torch.exp(layer.log_step[:, 0])
    poles = torch.exp(Lambda * dt)
    inputs = (1 / Lambda * (poles - 1))[:, None] * B
    x, ys = torch.zeros_like(Lambda), []
    for row in u:
        x = poles * x + inputs @ row.to(B.dtype)
        ys.append(2 * (torch.view_as_complex(layer.C) @ x).real + layer.D * row)
    return torch.stack(ys)


def test_s5_is_upstreams(ops):
    layer = nn.S5(3, 8).double()
    u = torch.randn(2, 25, 3, dtype=torch.float64)
    same(layer(u), torch.stack([upstream_s5(layer, row) for row in u]))


def test_s5_loads_arrays_of_jax(ops):
    source, layer = nn.S5(3, 8), nn.S5(3, 8)
    arrays = {name: value.numpy() for name, value in source.state_dict().items()}
    layer.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    u = torch.randn(7, 3)
    same(layer(u), source(u), 1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"discretization": "bilinear"}, {"conj_sym": False}, {"init": "ptd", "conj_sym": False}, {"clip_eigs": True}]
)
def test_s5_steps_and_splits(ops, options):
    layer = nn.S5(3, 8, **options).double()
    u = torch.randn(2, 20, 3, dtype=torch.float64)
    whole = layer(u)
    state, ys = layer.default_state(2), []
    for l in range(20):
        y, state = layer.step(u[:, l], state)
        ys.append(y)
    same(torch.stack(ys, 1), whole)
    first, middle = layer(u[:, :7], layer.default_state(2))
    second, last = layer(u[:, 7:], middle)
    same(torch.cat([first, second], 1), whole)
    same(last, state)


def test_s5_both_directions(ops):
    layer = nn.S5(3, 8, bidirectional=True).double()
    one, other = nn.S5(3, 8).double(), nn.S5(3, 8).double()
    for way, C in ((one, "C1"), (other, "C2")):
        way.load_state_dict({**{n: v for n, v in layer.state_dict().items() if n not in ("C1", "C2")}, "C": layer.state_dict()[C]})
    other.D.data.zero_()
    u = torch.randn(2, 20, 3, dtype=torch.float64)
    same(layer(u), one(u) + other(u.flip(1)).flip(1))
    with pytest.raises(ValueError, match="S5: a layer that sees the future has no state"):
        layer(u, layer.default_state(2))


def test_s5_clip_and_rescale(ops):
    layer = nn.S5(2, 4, clip_eigs=True).double()
    layer.Lambda_re.data[0] = 0.5
    assert layer.system()[0].abs().max() < 1
    layer.clip_eigs = False
    assert layer.system()[0].abs().max() > 1
    poles = layer.system()[0]
    layer.step_rescale = 2.0
    same(layer.system()[0], poles**2)


# Gated KalmaNet


def test_kalmanet_state_dict():
    assert shapes(nn.GatedKalmaNet(10, 4, num_q_heads=4, num_k_heads=2, num_v_heads=2)) == {
        "q_proj.weight": (16, 10), "k_proj.weight": (8, 10), "v_proj.weight": (8, 10), "a_proj.weight": (4, 10),
        "b_proj.weight": (4, 10), "b_proj.bias": (4,), "alpha_proj.weight": (4, 10), "alpha_proj.bias": (4,),
        "A_log": (4,), "dt_bias": (4,), "q_conv1d.weight": (16, 1, 4), "k_conv1d.weight": (8, 1, 4), "v_conv1d.weight": (8, 1, 4),
        "g_proj.weight": (16, 10), "o_norm.weight": (4,), "o_proj.weight": (10, 16),
    }  # fmt: skip
    bare = nn.GatedKalmaNet(10, 4, 2, use_beta_gate=False, use_alpha_connection=False, use_v_conv=False, use_gate=False)
    assert not {"b_proj.weight", "alpha_proj.weight", "v_conv1d.weight", "g_proj.weight"} & shapes(bare).keys()


def upstream_kalmanet(w, x, heads, D):
    """The layer by the formulas, one token and head at a time, with a direct solve."""
    B, T, _ = x.shape
    padded = {}
    for name in "qkv":
        p = F.pad(x @ w[f"{name}_proj.weight"].T, (0, 0, 3, 0))
        taps = w[f"{name}_conv1d.weight"][:, 0]
        padded[name] = F.silu(sum(p[:, j : j + T] * taps[:, j] for j in range(4))).reshape(B, T, heads, D)
    q, k, v = padded["q"], padded["k"], padded["v"]
    q, k = q / (q.norm(dim=-1, keepdim=True) + 1e-6), k / (k.norm(dim=-1, keepdim=True) + 1e-6)
    beta = torch.sigmoid(x @ w["b_proj.weight"].T + w["b_proj.bias"])[..., None] + 1e-6
    k, v = k * beta, v * beta
    alpha = torch.sigmoid(x @ w["alpha_proj.weight"].T + w["alpha_proj.bias"])
    g = -torch.exp(w["A_log"]) * F.softplus(x @ w["a_proj.weight"].T + w["dt_bias"])
    y = torch.zeros(B, T, heads, D, dtype=x.dtype)
    for b, h in np.ndindex(B, heads):
        H = U = torch.zeros(D, D, dtype=x.dtype)
        for t in range(T):
            H = torch.exp(g[b, t, h]) * H + torch.outer(k[b, t, h], k[b, t, h])
            U = torch.exp(g[b, t, h]) * U + torch.outer(v[b, t, h], k[b, t, h])
            answer = torch.linalg.solve(H + 0.02 * torch.linalg.matrix_norm(H) * torch.eye(D, dtype=x.dtype), q[b, t, h])
            y[b, t, h] = U @ (q[b, t, h] + alpha[b, t, h] * (answer - q[b, t, h])) / math.sqrt(D)
    y = y / torch.sqrt(y.square().mean(-1, keepdim=True) + 1e-6) * w["o_norm.weight"]
    y = y * F.silu((x @ w["g_proj.weight"].T).reshape(B, T, heads, D))
    return y.flatten(2) @ w["o_proj.weight"].T


def test_kalmanet_is_upstreams(ops):
    layer = nn.GatedKalmaNet(10, 4, 2, solver_type="exact").double()
    x = torch.randn(2, 13, 10, dtype=torch.float64)
    y, nothing, state = layer(x)
    same(y, upstream_kalmanet(layer.state_dict(), x, 2, 4), 1e-9)
    assert nothing is None
    assert state is None
    iterated = nn.GatedKalmaNet(10, 4, 2, num_iter=100).double()
    iterated.load_state_dict(layer.state_dict())
    same(iterated(x)[0], y, 1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_k_heads": 2, "num_v_heads": 1},
        {"use_forgetting_gate": False},
        {"use_forgetting_gate_kk": False, "use_v_conv": False},
        {"use_beta_gate": False, "use_alpha_connection": False, "use_gate": False, "conv_size": 2},
        {"gla_rescale": False, "num_iter": 0},
    ],
)
def test_kalmanet_hands_its_state_on(ops, options):
    layer = nn.GatedKalmaNet(10, 4, 4, **options).double()
    x = torch.randn(2, 12, 10, dtype=torch.float64)
    whole, _, last = layer(x, use_cache=True)
    state, pieces = None, []
    for piece in (x[:, :1], x[:, 1:2], x[:, 2:9], x[:, 9:]):
        y, _, state = layer(piece, state, use_cache=True)
        pieces.append(y)
    same(torch.cat(pieces, 1), whole, 1e-9)
    same(state[1][0], last[1][0], 1e-9)
    assert (state[0][2] is None) == (not options.get("use_v_conv", True))


def test_kalmanet_repeats_heads(ops):
    """Grouped keys and values are those of a layer whose projections are repeated."""
    grouped = nn.GatedKalmaNet(10, 4, 4, num_k_heads=2, num_v_heads=1).double()
    full = nn.GatedKalmaNet(10, 4, 4).double()
    state = grouped.state_dict()
    for name, groups in (("k", 2), ("v", 4)):
        for key in (f"{name}_proj.weight", f"{name}_conv1d.weight"):
            state[key] = state[key].unflatten(0, (-1, 4)).repeat_interleave(groups, 0).flatten(0, 1)
    full.load_state_dict(state)
    x = torch.randn(2, 9, 10, dtype=torch.float64)
    same(grouped(x)[0], full(x)[0])


# All three


LAYERS = {
    "S4D": (lambda: nn.S4D(3, 4), (2, 3, 12)),
    "S4D-real": (lambda: nn.S4D(3, 4, is_real=True), (2, 3, 12)),
    "S4D-bidirectional": (lambda: nn.S4D(3, 4, bidirectional=True), (2, 3, 12)),
    "S5": (lambda: nn.S5(3, 8), (2, 12, 3)),
    "S5-bidirectional": (lambda: nn.S5(3, 8, bidirectional=True), (2, 12, 3)),
    "GatedKalmaNet": (lambda: nn.GatedKalmaNet(6, 4, 2, solver_type="exact"), (2, 6, 6)),
}


def output_of(layer, u):
    y = layer(u)
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_reach_every_parameter(ops, name):
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


@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_near_float64(ops, name):
    make, shape = LAYERS[name]
    layer = make()
    u = torch.randn(shape)
    single = output_of(layer, u)
    assert single.dtype == torch.float32
    double = output_of(layer.double(), u.double())
    assert (single - double).abs().max() < 1e-4 * double.abs().max()


@pytest.mark.parametrize("name", ["S4D", "S5", "GatedKalmaNet"])
def test_compiled_layers(name):
    make, shape = LAYERS[name]
    layer, u = make(), torch.randn(shape)
    compiled = torch.compile(layer, backend="aot_eager")
    got = output_of(compiled, u)
    same(got, output_of(layer, u), 1e-5)
    got.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_no_sequences(name):
    make, (_, *rest) = LAYERS[name]
    assert output_of(make(), torch.zeros(0, *rest)).shape == (0, *rest)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.S4D(0), ValueError, "S4D: d_model is 0, expected at least 1"),
        (lambda: nn.S4D(2, 5), ValueError, "S4D: d_state is 5, expected an even number"),
        (lambda: nn.S4D(2, 4.0), TypeError, "S4D: d_state is 4.0, expected an integer"),
        (lambda: nn.S4D(2, disc="euler"), ValueError, "S4D: disc is 'euler', expected one of 'zoh', 'bilinear'"),
        (lambda: nn.S4D(2, init="linear"), ValueError, "S4D: init is 'linear', expected one of 'lin'"),
        (lambda: nn.S4D(2, dt_min=0), ValueError, "dt_min and dt_max are 0 and 0.1"),
        (lambda: nn.S5(2, 6, blocks=2), ValueError, "d_state is 6 with 2 blocks, expected a multiple of 2 blocks"),
        (lambda: nn.S5(2, 8, C_init="normal"), ValueError, "C_init is 'normal'"),
        (lambda: nn.S5(2, 8, init="legs"), ValueError, "init is 'legs', expected one of 'hippo', 'ptd'"),
        (lambda: nn.S5(2, 8, init="ptd"), ValueError, "it needs conj_sym=False"),
        (lambda: nn.S5(2, 8, discretization="dss"), ValueError, "discretization is 'dss'"),
        (lambda: nn.S5(2, 8, dt_max=1e-4), ValueError, "dt_min and dt_max"),
        (lambda: nn.GatedKalmaNet(8, 4, 4, num_k_heads=3), ValueError, "num_k_heads is 3, expected a divisor of 4"),
        (lambda: nn.GatedKalmaNet(8, 4, 2, bp_lambda=False), ValueError, "bp_lambda"),
        (lambda: nn.GatedKalmaNet(8, 4, 2, solver_type="cg"), ValueError, "solver_type is 'cg', expected one of 'chebyshev', 'exact'"),
        (lambda: nn.GatedKalmaNet(8, 4, 2, conv_size=0), ValueError, "conv_size is 0"),
    ],
)  # fmt: skip
def test_bad_options(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_importing_quatrefoil_imports_no_torch():
    code = "import sys, quatrefoil; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
