"""Models of transformers under ``install``: tiny random ones, whose own loops in PyTorch are the reference. Nothing is downloaded."""

import functools
import importlib.util
import inspect
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import quatrefoil as qf  # noqa: E402
from quatrefoil.ssm.models.dropin._upstream import VERSIONS  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(any(importlib.util.find_spec(name) for name in VERSIONS), reason="the packages themselves are here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),  # transformers' own
]

COMMON = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 20, "max_position_embeddings": 64}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 6, "mamba_n_groups": 2, "mamba_chunk_size": 8}
STEP = ("causal_conv1d_fn", "causal_conv1d_update", "selective_state_update")
DELTA = ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule")
# Name -> its options, and the functions that it takes.
MODELS = {
    "Mamba": ({"state_size": 4}, (*STEP, "selective_scan_fn")),
    "FalconMamba": ({"state_size": 4}, (*STEP, "selective_scan_fn")),
    "Mamba2": ({"num_heads": 4, "head_dim": 8, "state_size": 6, "n_groups": 2, "chunk_size": 8}, (*STEP, "mamba_chunk_scan_combined")),
    "Bamba": ({**ATTENTION, **MAMBA2, "attn_layer_indices": [1]}, (*STEP, "mamba_chunk_scan_combined")),
    "Jamba": (
        {**ATTENTION, **EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 2},
        (*STEP, "selective_scan_fn"),
    ),
    "Zamba": (
        {
            **ATTENTION, "num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "hybrid"], "n_mamba_heads": 2,
            "mamba_d_state": 4, "mamba_dt_rank": 2,
        },
        (*STEP, "selective_scan_fn"),
    ),
    "Qwen3Next": (
        {
            **ATTENTION, **EXPERTS, "head_dim": 8, "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6, "linear_value_head_dim": 4,
            "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "decoder_sparse_step": 2,
        },
        ("causal_conv1d_fn", "causal_conv1d_update", *DELTA),
    ),
    "KimiLinear": (
        {
            **ATTENTION, "num_local_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "kv_lora_rank": 8,
            "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "linear_head_dim": 6, "linear_num_heads": 2,
            "layer_types": ["linear_attention", "full_attention"],
        },
        ("causal_conv1d_fn", "causal_conv1d_update", "chunk_kda", "fused_recurrent_kda"),
    ),
}  # fmt: skip
MODELS = {name: model for name, model in MODELS.items() if hasattr(transformers, f"{name}Config")}  # of this release
WHOLE = {"causal_conv1d_fn", "selective_scan_fn", "mamba_chunk_scan_combined", "chunk_gated_delta_rule", "chunk_kda"}


def made(name, seed=None):
    options, _ = MODELS[name]
    torch.manual_seed(torch.seed() if seed is None else seed)
    config = getattr(transformers, f"{name}Config")(**{**COMMON, **options})
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():  # the initial weights are so small that logits would say little
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch(side, length=21):
    """Token numbers and a mask: of two sequences the second is shorter, its padding on one side."""
    ids = torch.randint(3, COMMON["vocab_size"], (2, length))
    mask = torch.ones_like(ids)
    if side is not None:
        mask[1, : length // 3] = 0
        mask = mask if side == "left" else mask.flip(1)
        ids = torch.where(mask == 1, ids, COMMON["pad_token_id"])
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(autouse=True)
def _one_thread():
    """Nothing here is large enough for two, which would wait for each other."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def taken(monkeypatch):
    """The names of this library's functions that were called."""
    names = set()
    for function in {f for _, functions in MODELS.values() for f in functions}:
        own = getattr(qf.ssm, function)

        @functools.wraps(own)
        def noted(*args, _own=own, **kwargs):
            names.add(_own.__name__)
            return _own(*args, **kwargs)

        noted.__signature__ = inspect.signature(own)
        monkeypatch.setattr(qf.ssm, function, noted)
    return names


def same(got, expected):
    """Both sides are float32, and sum in different orders."""
    assert got.shape == expected.shape
    scale = expected.abs().max().clamp(min=1e-6)
    assert (got - expected).abs().max() <= 200 * torch.finfo(torch.float32).eps * scale


@pytest.mark.parametrize("side", [None, "left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_logits(name, side, taken):
    model, inputs = made(name), batch(side)
    with torch.no_grad():
        expected = model(**inputs).logits
        with qf.ssm.install():
            got = model(**inputs).logits
        assert taken >= {f for f in MODELS[name][1] if f in WHOLE - {"mamba_chunk_scan_combined"}}
        again = model(**inputs).logits
    real = inputs["attention_mask"].bool()
    same(got[real], expected[real])
    assert torch.equal(again, expected)


@pytest.mark.parametrize("side", [None, "left"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_in_training(name, side, taken):
    model, inputs = made(name).train(), batch(side)
    weight = torch.randn(*inputs["input_ids"].shape, COMMON["vocab_size"]) * inputs["attention_mask"][..., None]

    def gradients():
        model.zero_grad()
        (model(**inputs, use_cache=False).logits * weight).sum().backward()
        return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}

    expected = gradients()
    with qf.ssm.install():
        got = gradients()
    assert taken & (WHOLE - {"causal_conv1d_fn"})
    assert got.keys() == expected.keys()
    scale = max(g.abs().max() for g in expected.values())
    for key, gradient in expected.items():
        error = (got[key] - gradient).abs().max()
        assert error <= 1e-4 * gradient.abs().max() + 200 * torch.finfo(torch.float32).eps * scale, key


@pytest.mark.parametrize("side", [None, "left"])
@pytest.mark.parametrize("name", MODELS)
def test_greedy_generation(name, side, taken):
    model, inputs = made(name), batch(side, 9)
    options = {"max_new_tokens": 12, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
    expected = model.generate(**inputs, **options)
    with qf.ssm.install():
        got = model.generate(**inputs, **options)
    assert taken == {*MODELS[name][1]}
    assert torch.equal(got.sequences, expected.sequences)
    for a, b in zip(got.scores, expected.scores, strict=True):
        same(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_a_module_imported_meanwhile_is_put_back(name, monkeypatch):
    model = made(name, seed=3)
    module = next(m for m in {type(part).__module__ for part in model.modules()} if ".models." in m)
    monkeypatch.delitem(sys.modules, module)  # and back in the end: it is that of the other tests' models
    with qf.ssm.install():
        fresh = importlib.import_module(module)
        twin = getattr(fresh, type(model).__name__)(model.config).eval()
        twin.load_state_dict(model.state_dict())
        inputs = batch(None)
        with torch.no_grad():
            got = twin(**inputs).logits
    with torch.no_grad():
        expected, after = model(**inputs).logits, twin(**inputs).logits
    same(got, expected)
    assert torch.equal(after, expected)


def test_what_is_available():
    questions = transformers.utils.import_utils
    names = ("is_mamba_ssm_available", "is_mamba_2_ssm_available", "is_causal_conv1d_available", "is_flash_linear_attention_available")
    before = [getattr(questions, name) for name in names]
    assert not any(ask() for ask in before)
    with qf.ssm.install():
        assert all(getattr(questions, name)() for name in names)
        assert all(getattr(transformers.utils, name)() for name in names if hasattr(transformers.utils, name))
    with qf.ssm.install("causal_conv1d"):
        assert [getattr(questions, name)() for name in names] == [False, False, True, False]
    assert [getattr(questions, name) for name in names] == before
