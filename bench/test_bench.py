"""pytest-benchmark over op x backend: `python -m pytest bench --benchmark-only`. The answer is asserted before it is timed.

For comparisons with peers use `quatrefoil bench`; this one tracks the library against itself (--benchmark-compare).
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from test_ops import CASES, EPS, build, exact, tolerance


@pytest.mark.parametrize("backend", ["native", "numba"])
@pytest.mark.parametrize(("family", "case"), CASES, ids=[f"{f}.{c}" for f, c in CASES])
def test_op(benchmark, family, case, backend):
    arguments, keywords = build(family, case, np.random.default_rng(0), "float32")
    op = getattr(getattr(qf, family).OPS, case.op)

    def run():
        return getattr(getattr(qf, family), case.op)(*arguments, **keywords, backend=backend, num_threads=1)

    oracle = getattr(importlib.import_module(f"oracles.{family}"), case.op)
    expected = oracle(*exact(arguments), **{k: exact(v) for k, v in keywords.items()})
    scale = max(np.abs(expected).max(initial=0), EPS["float32"])
    assert np.abs(run() - expected).max(initial=0) <= tolerance(op, "float32") * scale
    benchmark(run)
