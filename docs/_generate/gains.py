"""Measures the gains of transformers models, the last columns of the models page: writes ``gains.json`` next to this file.

    python docs/_generate/gains.py [MODEL ...]

Each model in the tests is built twice with the same random weights, of the sizes below. One copy runs its own loops, the other one this
library's functions, in turn and on one thread; a ratio is the median of the CPU times of the first, divided by that of the second.
Values are compared before. Models that are not named keep their rows.
"""

from __future__ import annotations

import json
import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

import quatrefoil as qf
from quatrefoil.bench import models
from quatrefoil.bench._machine import describe_machine
from quatrefoil.bench._run import error

HERE = Path(__file__).parent
# Sizes that replace those of the tests, where a model has the option: two or three layers, with heads of published sizes.
SIZES = {
    "hidden_size": 256, "intermediate_size": 512, "vocab_size": 1000, "unpadded_vocab_size": 1000, "max_position_embeddings": 1024,
    "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 64, "attention_window_size": 128, "sliding_window": 128, "sliding_window_size": 128,
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_head_dim": 64, "moe_intermediate_size": 128,
    "shared_intermediate_size": 128, "shared_expert_intermediate_size": 128, "num_experts_per_tok": 2, "state_size": 128, "num_heads": 8,
    "n_groups": 1, "chunk_size": 256, "mamba_n_heads": 8, "mamba_num_heads": 8, "mamba_d_head": 64, "mamba_head_dim": 64,
    "mamba_d_ssm": 512, "mamba_d_state": 128,
    "ssm_state_size": 128, "mamba_n_groups": 1, "mamba_ngroups": 1, "mamba_chunk_size": 256, "mamba_dt_rank": 16,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_heads": 2,
    "linear_head_dim": 128, "kv_lora_rank": 64, "q_lora_rank": 64, "qk_rope_head_dim": 32, "qk_nope_head_dim": 32, "v_head_dim": 64,
    "block_size": 64, "indexer_head_dim": 64, "index_head_dim": 64,
}  # fmt: skip
SELECTIVE = {"state_size": 16, "mamba_d_state": 16}  # states of a channel instead of a head
PROMPT, TOKENS, ROUNDS = 256, 20, 3  # tokens of a prompt, tokens in one measurement, measurements


def shape(name: str, tested: dict[str, Any]) -> models.Shape:
    options, functions = tested["MODELS"][name]
    options = {**tested["COMMON"], **options}
    sizes = SIZES | (SELECTIVE if "selective_scan_fn" in functions else {})
    changed = {key: value and sizes.get(key, value) for key, value in options.items()}  # 0 means that the model has no such part
    layers = options["num_hidden_layers"]
    return models.Shape(name, name, (layers, layers), changed, tested["VISION"])


def gain(request: models.Request) -> dict[str, Any]:
    """Ratio, its quartiles over the rounds, and both times in seconds."""
    own, ours = (models.Model(request, compiled=False) for _ in range(2))
    with qf.ssm.install():
        value = ours.value()
    if not (off := error(value, own.value())) <= models.TOLERANCE["float32"]:
        raise ArithmeticError(f"{request.shape.name} {request.task}: off by {off:.1e}")
    steps, rounds = (TOKENS, 3 * ROUNDS) if request.task == "token" else (1, ROUNDS)
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        times[0].append(sum(own.seconds() for _ in range(steps)) / steps)
        with qf.ssm.install():
            times[1].append(sum(ours.seconds() for _ in range(steps)) / steps)
    low, _, high = statistics.quantiles([a / b for a, b in zip(*times)], n=4, method="inclusive")
    seconds = [statistics.median(t) for t in times]
    return {"ratio": seconds[0] / seconds[1], "quartiles": [low, high], "seconds": seconds, "error": off}


def main(names: list[str]) -> None:
    import torch
    import transformers

    file = HERE / "gains.json"
    tested = runpy.run_path(str(HERE.parents[1] / "tests" / "ssm" / "transformers_models.py"))
    rows = json.loads(file.read_text())["rows"] if file.exists() else {}
    for name in names or tested["MODELS"]:
        rows[name] = {}
        for task in models.TASKS:
            request = models.Request(shape(name, tested), task, "float32", 1, PROMPT)
            rows[name][task] = gain(request)
            print(name, task, *(f"{x:.3g}" for x in (rows[name][task]["ratio"], *rows[name][task]["quartiles"])), flush=True)
        packages = {"torch": torch.__version__, "transformers": transformers.__version__}
        result = {"machine": describe_machine(), "packages": packages, "isa": qf.config()["isa"], "rows": rows}
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
