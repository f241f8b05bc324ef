"""Hugging Face models under ``install``: tiny random models, with their own PyTorch loops as the reference. Nothing is downloaded."""

import functools
import importlib.util
import inspect
import itertools
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import quatrefoil as qf  # noqa: E402
from quatrefoil.ssm.models.dropin._upstream import VERSIONS  # noqa: E402
from ssm.transformers_models import APART, COMMON, FROM_5, HALF_APART, VISION  # noqa: E402
from ssm.transformers_models import MODELS as ALL  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(any(importlib.util.find_spec(name) for name in VERSIONS), reason="the original packages are installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),  # from transformers itself
]

NEW = int(transformers.__version__.partition(".")[0]) >= 5
# The models in this release.
MODELS = {name: model for name, model in ALL.items() if hasattr(transformers, f"{name}Config") and (NEW or name not in FROM_5)}
# Functions that process whole sequences, including in training.
WHOLE = {
    "causal_conv1d_fn", "selective_scan_fn", "mamba_chunk_scan_combined", "chunk_gated_delta_rule", "chunk_kda", "linear_scan",
    "chunk_simple_gla",
}  # fmt: skip


def make_model(name, seed=None, **changes):
    options = {**MODELS[name][0], **changes}
    if seed is not None:
        torch.manual_seed(seed)
    options = {**COMMON, **options}
    if model := getattr(transformers, f"{name}ForCausalLM", None):
        kind = getattr(transformers, f"{name}TextConfig", None) or getattr(transformers, f"{name}Config")
        model = model(kind(**options)).eval()
    else:  # it is available only with vision
        config = getattr(transformers, f"{name}Config")(text_config=options, vision_config=VISION)
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
    with torch.no_grad():  # the initial weights are so small that errors would hardly change the logits
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch(side, length=21):
    """Token indices and a mask: the second of two sequences is shorter, padded on one side."""
    ids = torch.randint(3, COMMON["vocab_size"], (2, length))
    mask = torch.ones_like(ids)
    if side is not None:
        mask[1, : length // 3] = 0
        mask = mask if side == "left" else mask.flip(1)
        ids = torch.where(mask == 1, ids, COMMON["pad_token_id"])
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(autouse=True)
def _one_thread():
    """Nothing here is large enough for two threads, which would wait for each other."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def calls(monkeypatch):
    """The names of the functions of this library that were called."""
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


@pytest.mark.parametrize("name", MODELS)
def test_logits(name, calls):
    model = make_model(name)
    for side in (None, "left", "right"):
        inputs = batch(side)
        with torch.no_grad():
            expected = model(**inputs).logits
            calls.clear()
            with qf.ssm.install():
                got = model(**inputs).logits
            assert calls >= {f for f in MODELS[name][1] if f in WHOLE - {"mamba_chunk_scan_combined"}}
            again = model(**inputs).logits
        real = inputs["attention_mask"].bool()
        same(got[real], expected[real])
        assert torch.equal(again, expected)


# RecurrentGemma in 4.57 keeps the states of the last call with their graph.
@pytest.mark.parametrize("name", [name for name in MODELS if NEW or name != "RecurrentGemma"])
def test_gradients_in_training(name, calls):
    model = make_model(name).train()

    def gradients():
        model.zero_grad()
        (model(**inputs, use_cache=False).logits * weight).sum().backward()
        return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}

    for side in (None, "left"):
        inputs = batch(side)
        weight = torch.randn(*inputs["input_ids"].shape, COMMON["vocab_size"]) * inputs["attention_mask"][..., None]
        expected = gradients()
        calls.clear()
        with qf.ssm.install():
            got = gradients()
        assert calls & set(MODELS[name][1]) & WHOLE or not NEW  # older releases call fused functions, or keep loops if there is padding
        assert got.keys() == expected.keys()
        scale = max(g.abs().max() for g in expected.values())
        for key, gradient in expected.items():
            error = (got[key] - gradient).abs().max()
            assert error <= 1e-4 * gradient.abs().max() + 200 * torch.finfo(torch.float32).eps * scale, key


@pytest.mark.parametrize("name", MODELS)
def test_greedy_generation(name, calls):
    model = make_model(name)
    for side in (None, "left"):
        inputs = batch(side, 9)
        options = {"max_new_tokens": 12, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
        expected = model.generate(**inputs, **options)
        calls.clear()
        with qf.ssm.install():
            got = model.generate(**inputs, **options)
        assert calls == {*MODELS[name][1]}
        assert torch.equal(got.sequences, expected.sequences)
        for a, b in zip(got.scores, expected.scores, strict=True):
            same(a, b)


def packed(lengths):
    """One row of several sequences, as returned by transformers' collator for flash attention."""
    ids = torch.randint(3, COMMON["vocab_size"], (1, sum(lengths)))
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return ids, {
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "seq_idx": torch.repeat_interleave(torch.tensor(lengths))[None].int(),
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), bounds),
        **dict.fromkeys(("max_length_q", "max_length_k"), max(lengths)),
    }


@pytest.mark.parametrize("name", [name for name in APART if name in MODELS and "KimiLinear" in MODELS])
def test_packed_sequences_are_kept_apart(name):
    changes = {"layer_types": ["linear_attention"] * 2} if name == "GraniteMoeHybrid" else {}  # its attention mixes them
    model = make_model(name, **changes)
    ids, options = packed([9, 1, 12])
    with torch.no_grad():
        expected = torch.cat([model(part, use_cache=False).logits for part in ids.split([9, 1, 12], 1)], 1)
        with pytest.raises(ValueError, match="can't keep packed sequences apart"):
            model(ids, use_cache=False, **options)
        with qf.ssm.install():
            got = model(ids, use_cache=False, **options).logits
    same(got, expected)


@pytest.mark.parametrize("name", [name for name in HALF_APART if name in MODELS])
def test_sequences_that_the_scan_would_mix_are_rejected(name):
    model = make_model(name)
    ids, options = packed([9, 12])
    text = r"ssm\.install: transformers\.models\.\w+\.modeling_\w+ separates packed sequences \(seq_idx\) in its convolution but not"
    with torch.no_grad(), pytest.raises(ValueError, match=text), qf.ssm.install():
        model(ids, use_cache=False, **options)
    with torch.no_grad(), pytest.raises(ValueError, match="can't keep packed sequences apart"):
        model(ids, use_cache=False, **options)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16(name):
    """Results match float32 as well as the model's loops. Every token uses all experts, so rounding cannot change the choice of experts."""
    experts = {"num_experts_per_tok": 2} if "num_experts_per_tok" in MODELS[name][0] else {}
    model, inputs = make_model(name, **experts), batch("left")
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        exact = model(**inputs).logits[real]
        single = {*(model._keep_in_fp32_modules or ()), *(model._keep_in_fp32_modules_strict or ())}
        for key, x in [*model.named_parameters(), *model.named_buffers()]:
            if x.is_floating_point() and not any(part in key for part in single):
                x.data = x.bfloat16()
        own = model(**inputs).logits[real]
        with qf.ssm.install():
            got = model(**inputs).logits[real]
    assert got.dtype == own.dtype
    errors = [(logits.float() - exact).square().mean().sqrt() for logits in (got, own)]
    assert errors[0] <= 1.5 * errors[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_module_imported_meanwhile_is_put_back(name, monkeypatch):
    model = make_model(name, seed=3)
    module = next(m for m in {type(part).__module__ for part in model.modules()} if ".models." in m)
    monkeypatch.delitem(sys.modules, module)  # restored at the end: the models of other tests use it
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


def test_availability_checks_of_transformers():
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
