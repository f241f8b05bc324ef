"""Hugging Face models with and without ``install``: forward, a training step, decoding.

Both sides run the same model with the same weights. The time of the model itself is measured with stubs that immediately return arrays of
the right shape. It is a lower bound for any implementation of the functions.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ...bench._problem import Problem, installed
from .dropin import _transformers, install

LENGTH, PROMPT, TOKENS = 512, 16, 32
DECODED, PEER = f"{TOKENS} tokens after {PROMPT}", "transformers' loops"
COMMON = {"vocab_size": 512, "hidden_size": 256, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
MODELS: dict[str, dict[str, Any]] = {
    "Mamba": {"state_size": 16},
    "Mamba2": {"num_heads": 8, "head_dim": 64, "state_size": 64, "n_groups": 1, "chunk_size": 64},
    "Qwen3Next": {
        "num_hidden_layers": 4, "layer_types": 3 * ["linear_attention"] + ["full_attention"], "linear_num_key_heads": 2,
        "linear_num_value_heads": 4, "linear_key_head_dim": 64, "linear_value_head_dim": 64, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 64, "intermediate_size": 512, "num_experts": 0, "decoder_sparse_step": 1,
        "max_position_embeddings": 1024,
    },
}  # fmt: skip


def problems() -> Iterator[Problem]:
    if not installed("transformers") or not installed("torch"):
        return
    for package in ("mamba_ssm", "causal_conv1d", "fla"):
        if importlib.util.find_spec(package):
            print(f"{package} is installed and would replace the models' loops, so the models are skipped", file=sys.stderr)
            return
    for name, options in MODELS.items():
        yield from _of_model(name, options)


def _of_model(name: str, options: dict[str, Any]) -> Iterator[Problem]:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**{**COMMON, **options})).eval()
    ids = torch.randint(3, COMMON["vocab_size"], (1, LENGTH))
    by_loops, by_ours, by_stubs = _sides(model)

    def forward() -> Any:
        with torch.no_grad():
            return model(ids, use_cache=False).logits

    def training() -> Any:
        model.train()
        model.zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()
        model.eval()
        return model.get_input_embeddings().weight.grad

    def decoding() -> Any:
        return model.generate(
            ids[:, :PROMPT], attention_mask=torch.ones_like(ids[:, :PROMPT]), do_sample=False, max_new_tokens=TOKENS,
            output_scores=True, return_dict_in_generate=True,
        ).scores[-1]  # fmt: skip

    whole = f"(1, {LENGTH})"
    for what, f, size in (("forward", forward, whole), ("training step", training, whole), ("decoding", decoding, DECODED)):
        loops, rate = by_loops(f), (TOKENS, "tokens") if f is decoding else None
        parts = {"the model around free functions": by_stubs(f)}
        yield Problem("ssm", f"{name} {what}", size, by_ours(f), {PEER: loops}, loops, 1e-4, parts=parts, rate=rate)


Side = Callable[[Callable[[], Any]], Callable[[], Any]]


def _sides(model: Any) -> tuple[Side, Side, Side]:
    """Three wrappers for a run: with the model's own loops, with our functions, and with stubs.

    ``install`` searches all imported modules, which should not be timed. The wrappers exchange the contents of closure cells instead.
    """
    module = next(m for m in {type(part).__module__ for part in model.modules()} if _transformers.is_updated_module(m))
    wrappers = list(_transformers.wrappers(sys.modules[module]))
    if not wrappers:
        raise RuntimeError("bench ssm: this release of transformers selects its functions on import; the comparison needs 5.24 or later")
    cells = [cell for wrapper in wrappers for cell in wrapper.__closure__ or ()]
    loops = [cell.cell_contents for cell in cells]
    with install():
        ours = [cell.cell_contents for cell in cells]
    stubs = [_free(value) if getattr(value, "__module__", "").startswith("quatrefoil.") else value for value in ours]

    def side(contents: list[Any]) -> Side:
        def of(f: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                for cell, value in zip(cells, contents):
                    cell.cell_contents = value
                try:
                    return f()
                finally:
                    for cell, value in zip(cells, loops):
                        cell.cell_contents = value

            return run

        return of

    return side(loops), side(ours), side(stubs)


def _free(function: Any) -> Any:
    """A stub that returns results of the same shapes without computing them; the gradient of every argument is zero."""
    name = function.__name__
    if name.startswith("_"):
        return function
    result = {"selective_state_update": 1, "chunk_gated_delta_rule": 2, "fused_recurrent_gated_delta_rule": 2}.get(name, 0)

    def free(*args: Any, **kwargs: Any) -> Any:
        import torch

        y = _passed()(args[result], *(a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor) and a is not args[result]))
        if name == "selective_scan_fn" and kwargs.get("return_last_state"):
            return y, args[0].new_zeros(*args[0].shape[:2], args[2].shape[1])
        if name == "mamba_chunk_scan_combined" and kwargs.get("return_final_states"):
            return y, args[0].new_zeros(args[0].shape[0], *args[0].shape[2:], args[3].shape[-1])
        if result == 2:
            (batch, _, heads, width), keys = args[2].shape, args[1].shape[-1]
            return y, args[2].new_zeros(batch, heads, keys, width) if kwargs.get("output_final_state") else None
        return y

    return free


@functools.cache
def _passed() -> Any:
    import torch

    class Passed(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, y: Any, *others: Any) -> Any:
            ctx.save_for_backward(*others)
            return y.view_as(y)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad, *(x.new_zeros(()).expand(x.shape) if x.is_floating_point() else None for x in ctx.saved_tensors)

    return Passed.apply
