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
from case import all_cases, build, op_of, parametrize
from checks import check_gradient, check_value

CASES = all_cases()
BACKENDS = ["native", "numba"]


@pytest.mark.parametrize("backend", BACKENDS)
@parametrize(CASES)
def test_op(benchmark, family, case, backend):
    arguments, keywords = build(family, case, np.random.default_rng(0), "float32")
    benchmark(check_value(family, case, arguments, keywords, "float32", backend))


@pytest.mark.parametrize("backend", BACKENDS)
@parametrize([(f, c) for f, c in CASES if op_of(f, c.op).adjoint])
def test_adjoint(benchmark, family, case, backend):
    rng = np.random.default_rng(0)
    arguments, keywords = build(family, case, rng, "float32")
    benchmark(check_gradient(family, case, arguments, keywords, rng, "float32", backend))


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
