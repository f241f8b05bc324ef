"""The page of Hugging Face models that run on this library's functions: a table of those that the tests cover."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_TEXT = """# Hugging Face models

After `quatrefoil.ssm.install()` these models of `transformers` run on this library's functions on a CPU, including models created before
the call. The tests build each of them with random weights. They compare logits, gradients, cached generation, and left and right padding
with the model's own loops: float32 with float32, and bfloat16 with float32. Packed sequences are several sequences in one row, with the
`seq_idx` and `cu_seq_lens_q` of transformers' `DataCollatorWithFlattening`:

- *separate*: each sequence is processed as if it were a row of its own (for GraniteMoeHybrid, in its recurrent layers only).
- *error*: the model passes the sequence boundaries only to its convolution, so its scan would mix the sequences; the call raises an error.
- *ignored*: the model ignores the boundaries, with or without this library.

The last three columns are the time of transformers' own loops divided by ours: for a prompt of 512 tokens, for a training step with 512
tokens, and for one token after a prompt. They were measured in float32, on one thread, with a few layers of the published size, by
`quatrefoil bench models --json bench/results`. Other processors, precisions and compiled models are in [performance](performance.md).

| model | functions | packed sequences | prompt | training | token |
|---|---|---|--:|--:|--:|
"""


def gains() -> dict[tuple[str, str], str]:
    """(model, task) -> the ratio of the newest results."""
    ratios = {}
    for file in sorted((ROOT / "bench" / "results").glob("*.json")):
        for row in json.loads(file.read_text()).get("rows", []):
            theirs = row["peers"].get("transformers", {})
            if row["family"] == "models" and "float32, threads: 1" in row["size"] and "ratio" in theirs:
                ratios[row["model"], row["task"]] = f"{theirs['ratio']:.2g}"
    return ratios


def pages() -> dict[str, str]:
    tested = runpy.run_path(str(ROOT / "tests" / "ssm" / "transformers_models.py"))
    text, ratios = _TEXT, gains()
    for name, (_, functions) in tested["MODELS"].items():
        packed = "separate" if name in tested["APART"] else "error" if name in tested["HALF_APART"] else "ignored"
        text += f"| {name} | {', '.join(f'`{f}`' for f in functions)} | {packed} | "
        text += " | ".join(ratios.get((name, task), "") for task in ("prompt", "training", "token")) + " |\n"
    return {"models.md": text}
