"""quatrefoil.torch.nn.GatedKalmaNet: parameter names and values as in hybrid-model-factory, its states, and its options."""

import pytest

torch = pytest.importorskip("torch")

from quatrefoil.torch import nn  # noqa: E402
from ssm.kalmanet import oracle  # noqa: E402
from ssm.layers import same, shapes  # noqa: E402

pytestmark = pytest.mark.torch

F = torch.nn.functional


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
    """Reference layer, computed directly from the formulas with a dense solve."""
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
    y = torch.from_numpy(oracle.gka(*(t.numpy() for t in (q, k, v, alpha, g, g)), solver="exact"))
    y = y / torch.sqrt(y.square().mean(-1, keepdim=True) + 1e-6) * w["o_norm.weight"]
    y = y * F.silu((x @ w["g_proj.weight"].T).reshape(B, T, heads, D))
    return y.flatten(2) @ w["o_proj.weight"].T


def test_kalmanet_matches_upstream():
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
def test_kalmanet_continues_from_state(options):
    layer = nn.GatedKalmaNet(10, 4, 4, **options).double()
    x = torch.randn(2, 12, 10, dtype=torch.float64)
    whole, _, last = layer(x, use_cache=True)
    state, outputs = None, []
    for chunk in (x[:, :1], x[:, 1:2], x[:, 2:9], x[:, 9:]):
        y, _, state = layer(chunk, state, use_cache=True)
        outputs.append(y)
    same(torch.cat(outputs, 1), whole, 1e-9)
    same(state[1][0], last[1][0], 1e-9)
    assert (state[0][2] is None) == (not options.get("use_v_conv", True))


def test_kalmanet_repeats_heads():
    grouped = nn.GatedKalmaNet(10, 4, 4, num_k_heads=2, num_v_heads=1).double()
    full = nn.GatedKalmaNet(10, 4, 4).double()
    state = grouped.state_dict()
    for name, groups in (("k", 2), ("v", 4)):
        for key in (f"{name}_proj.weight", f"{name}_conv1d.weight"):
            state[key] = state[key].unflatten(0, (-1, 4)).repeat_interleave(groups, 0).flatten(0, 1)
    full.load_state_dict(state)
    x = torch.randn(2, 9, 10, dtype=torch.float64)
    same(grouped(x)[0], full(x)[0])
