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

*Graphs* counts the graphs that `torch.compile(fullgraph=True)` traces for five decoding steps with a static cache. If there are two,
a counter of the cache is a constant in the first graph and a variable in the second one.

The last columns show how many times as long transformers' own loops take, in CPU time on one thread: for a prompt of 256 tokens, a training
step with as many, and a token after a prompt. The models have two or three layers of 256 channels in float32, and heads of published sizes,
so that projections, which are the same on both sides, take less of the time than in larger models. Ratios between 0.9 and 1.1 are within
the spread of the measurements. {machine}
`docs/_generate/gains.py` measures them again. Larger models, other precisions and compiled models are in [performance](performance.md).

| model | functions | packed sequences | graphs | prompt | training | token |
|---|---|---|--:|--:|--:|--:|
"""
_NOTES = """
These models cannot be compiled for decoding, with or without this library:

{not_compiled}

These models in transformers {transformers} give different logits with a cache and without one, with or without this library:

{faults}

Pass `position_ids` to Bamba, as `generate` does, and do not use a static cache for Inkling.
"""


def pages() -> dict[str, str]:
    tested = runpy.run_path(str(ROOT / "tests" / "ssm" / "transformers_models.py"))
    gains = json.loads((Path(__file__).parent / "gains.json").read_text())
    machine, packages = gains["machine"], gains["packages"]
    text = _TEXT.format(
        machine=f"Measured on {machine['date']} with an {machine['processor']} ({gains['isa']}), load {machine['load']:g}, torch "
        f"{packages['torch']} and transformers {packages['transformers']}; the two sides take turns."
    )
    for name, (_, functions) in tested["MODELS"].items():
        packed = "separate" if name in tested["APART"] else "error" if name in tested["HALF_APART"] else "ignored"
        graphs = "" if name in tested["NOT_COMPILED"] else 2 if name in tested["TWO_GRAPHS"] else 1
        text += f"| {name} | {', '.join(f'`{f}`' for f in functions)} | {packed} | {graphs} | "
        row = gains["rows"].get(name, {})
        text += " | ".join(f"{row[task]['ratio']:.2g}" if task in row else "" for task in ("prompt", "training", "token")) + " |\n"
    not_compiled, faults = ("\n".join(f"- {name}: {reason}." for name, reason in tested[key].items()) for key in ("NOT_COMPILED", "FAULTS"))
    return {"models.md": text + _NOTES.format(not_compiled=not_compiled, faults=faults, transformers=packages["transformers"])}
