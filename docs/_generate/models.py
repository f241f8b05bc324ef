"""The models of transformers that take this library's functions: a table of those that the tests run."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_TEXT = """# Models of transformers

After `quatrefoil.ssm.install()` these models of `transformers` run on this library's functions on a CPU, new and existing ones alike. The
tests make each of them with random weights and compare logits, gradients, generation with a cache and padding on both sides with the
model's own loops, in float32, and in bfloat16 with float32. Packed sequences are those of one row, with `seq_idx` and `cu_seq_lens_q` as
transformers' `DataCollatorWithFlattening` gives them:

- *apart*: as if each were a row of its own (of GraniteMoeHybrid in its recurrent layers).
- *refused*: the model tells only its convolution where sequences begin, so its scan would mix them. An error says so.
- *not read*: the model does not look at them, with or without this library.

| model | functions | packed sequences |
|---|---|---|
"""


def pages() -> dict[str, str]:
    tested = runpy.run_path(str(ROOT / "tests" / "ssm" / "transformers_models.py"))
    text = _TEXT
    for name, (_, functions) in tested["MODELS"].items():
        packed = "apart" if name in tested["APART"] else "refused" if name in tested["HALF_APART"] else "not read"
        text += f"| {name} | {', '.join(f'`{f}`' for f in functions)} | {packed} |\n"
    return {"models.md": text}
