"""Decoding steps under ``torch.compile``: one graph without breaks for all tokens, and states updated in place."""

import inspect

import pytest

torch = pytest.importorskip("torch")
dynamo = pytest.importorskip("torch._dynamo.testing")

import quatrefoil as qf  # noqa: E402
from quatrefoil import _bind  # noqa: E402
from ssm.layers import LAYERS, same  # noqa: E402
from ssm.test_transformers import make_model  # noqa: E402
from ssm.transformers_models import COMMON, FAULTS, MODELS, NOT_COMPILED, TWO_GRAPHS  # noqa: E402

transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")]
STATIC = hasattr(transformers, "StaticCache") and int(transformers.__version__.partition(".")[0]) >= 5
FEW = ("Mamba", "Mamba2", "Qwen3_5", "KimiLinear", "Lfm2")  # one per kernel; the others are slow tests


def marks(name):
    if name in FEW:
        return ()
    reason = NOT_COMPILED.get(name)
    return (pytest.mark.slow, pytest.mark.xfail(reason=reason, strict=True)) if reason else (pytest.mark.slow,)


def counted():
    """A compiler that does not generate code, and counts graphs."""
    torch._dynamo.reset()
    return dynamo.CompileCounterWithBackend("aot_eager")


@torch.no_grad()
def test_the_operators_of_a_graph_are_planned_once(monkeypatch):
    """Later calls with the same signature skip the checks, which take longer than a small kernel."""
    scan, x = torch.compile(qf.ssm.linear_scan, backend=counted(), fullgraph=True), torch.rand(3, 41)
    expected, checked, layout = scan(x, x), [], _bind.layout
    monkeypatch.setattr(_bind, "layout", lambda op, *rest: checked.append(op) or layout(op, *rest))
    for _ in range(3):
        assert torch.equal(scan(x, x), expected)
    assert checked == []
    torch.ops.quatrefoil.ssm_linear_scan(x[:, :7], x[:, :7], None, False, 1, None, 0)
    assert len(checked) == 1


@torch.no_grad()
@pytest.mark.parametrize("name", ["Mamba", "Mamba2", "Mamba2-parts"])
def test_a_step_of_a_block_is_one_graph(name):
    make, shape = LAYERS[name]
    layer, u, compiler = make(), torch.randn(shape), counted()
    expected, cache = layer(u), layer.allocate_inference_cache(shape[0])
    step = torch.compile(layer.step, backend=compiler, fullgraph=True)
    steps = [step(u[:, t : t + 1], *cache) for t in range(shape[1])]
    same(torch.cat([y for y, *_ in steps], 1), expected, 1e-5)
    assert compiler.frame_count == 1
    assert all(a is b for _, *states in steps for a, b in zip(states, cache, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("name", ["DeltaNet", "GatedDeltaNet", "KimiDeltaAttention"])
def test_a_token_of_a_layer_with_a_dict_of_states_is_one_graph(name):
    make, shape = LAYERS[name]
    layer, u, compiler, states = make(), torch.randn(shape[0], 9, shape[2]), counted(), {}
    layer.layer_idx = 0
    expected = layer(u)[0]
    first, _, states = layer(u[:, :5], past_key_values=states, use_cache=True)
    for state in states[0]["conv_state"]:  # with memory of its own: a view of the prompt would need another graph
        assert state.untyped_storage().nbytes() == state.nbytes
    token = torch.compile(layer, backend=compiler, fullgraph=True)
    tokens = [token(u[:, t : t + 1], past_key_values=states, use_cache=True)[0] for t in range(5, 9)]
    same(torch.cat([first, *tokens], 1), expected, 1e-5)
    assert compiler.frame_count == 1


def decoded(model, ids, compiler=None, positions=False):
    """Logits of the tokens after a prompt of nine, with a static cache. ``positions``: pass positions too, as ``generate`` does."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    options = {"use_cache": True, name: transformers.StaticCache(config=model.config, max_cache_len=32)}

    def place(begin, end):
        return {"position_ids": torch.arange(begin, end)[None]} if positions else {}

    model(ids[:, :9], **options, **place(0, 9))
    token = torch.compile(model, backend=compiler, fullgraph=True) if compiler else model
    return torch.cat([token(ids[:, t : t + 1], **options, **place(t, t + 1)).logits for t in range(9, ids.shape[1])], 1)


def copied_offset(cache, layer_idx=0):
    """``Cache.get_query_offset`` as a tensor that ``Cache.update`` does not change."""
    return cache.get_seq_length(layer_idx) + 0


@torch.no_grad()
@pytest.mark.skipif(not STATIC, reason="no static cache of recurrent states")
@pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in MODELS if hasattr(transformers, f"{n}ForCausalLM")])
def test_a_token_of_transformers_is_one_graph(name, monkeypatch):
    if name in FAULTS:
        monkeypatch.setattr(transformers.Cache, "get_query_offset", copied_offset, raising=False)
    model, ids, compiler = make_model(name), torch.randint(3, COMMON["vocab_size"], (1, 14)), counted()
    expected = model(ids, use_cache=False).logits[:, 9:]
    with qf.ssm.install():
        got = decoded(model, ids, compiler, positions=name in FAULTS)
    same(got, expected, 1e-4 * float(expected.abs().max()))
    assert compiler.frame_count == (2 if name in TWO_GRAPHS else 1)
