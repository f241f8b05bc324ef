"""pytest-benchmark over the tables, op x backend, and over the nouns' problems: `python -m pytest bench`, once with `--benchmark-disable`.

Every answer is compared with the truth before it is timed. For comparisons with peers use `quatrefoil bench`; this one tracks the library
against itself (--benchmark-compare).
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from quatrefoil._spec import FAMILIES
from quatrefoil.bench._run import error, modules

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from case import EPS, all_cases, build, call_of, exact, made, op_of, oracle_of, tolerance

CASES = all_cases()


@pytest.mark.parametrize("backend", ["native", "numba"])
@pytest.mark.parametrize(("family", "case"), CASES, ids=[f"{f}.{c}" for f, c in CASES])
def test_op(benchmark, family, case, backend):
    arguments, keywords = build(family, case, np.random.default_rng(0), "float32")
    function = call_of(family, case)

    def run():
        return function(*arguments, **keywords, backend=backend, num_threads=1)

    expected = oracle_of(family, case)(*exact(arguments), **{k: exact(v) for k, v in keywords.items()})
    for got, right in zip(made(run()), made(expected), strict=True):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(right))  # where walks have no place to start
        got, right = np.nan_to_num(got), np.nan_to_num(right)
        scale = max(np.abs(right).max(initial=0), EPS["float32"])
        assert np.abs(got - right).max(initial=0) <= tolerance(op_of(family, case.op), "float32") * scale
    benchmark(run)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of peers
@pytest.mark.parametrize("name", list(modules(FAMILIES)))
def test_problems(benchmark, name):
    """All problems of a noun, one after the other."""
    problems = list(importlib.import_module(name).problems())
    for problem in problems:
        found = error(problem.ours(), np.asarray(problem.truth()))
        assert found <= problem.tolerance, f"{problem.name} {problem.size} is off by {found:.1e}, allowed {problem.tolerance:.1e}"
    benchmark.extra_info["problems"] = [f"{problem.name} {problem.size}" for problem in problems]
    benchmark(lambda: [problem.ours() for problem in problems])
