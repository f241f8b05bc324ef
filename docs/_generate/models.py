"""The page of models of transformers that run on this library's functions: a table of those that the tests cover."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_TEXT = """# Models of transformers

After `quatrefoil.ssm.install()` these models of `transformers` run on this library's functions on a CPU, including models created before
the call. The tests build each of them with random weights. They compare logits, gradients, cached generation, and left and right padding
with the model's own loops: float32 with float32, and bfloat16 with float32. Packed sequences are several sequences in one row, with the
`seq_idx` and `cu_seq_lens_q` of transformers' `DataCollatorWithFlattening`:

- *separate*: each sequence is processed as if it were a row of its own (for GraniteMoeHybrid, in its recurrent layers only).
- *error*: the model passes the sequence boundaries only to its convolution, so its scan would mix the sequences; the call raises an error.
- *ignored*: the model ignores the boundaries, with or without this library.

| model | functions | packed sequences |
|---|---|---|
"""


def pages() -> dict[str, str]:
    tested = runpy.run_path(str(ROOT / "tests" / "ssm" / "transformers_models.py"))
    text = _TEXT
    for name, (_, functions) in tested["MODELS"].items():
        packed = "separate" if name in tested["APART"] else "error" if name in tested["HALF_APART"] else "ignored"
        text += f"| {name} | {', '.join(f'`{f}`' for f in functions)} | {packed} |\n"
    return {"models.md": text}
