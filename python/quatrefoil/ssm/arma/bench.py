"""Rational filters against SciPy's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.signal

from ... import ssm
from ...bench._problem import Problem, Work

LFILTER = "scipy.signal.lfilter"


def problems() -> Iterator[Problem]:
    yield _filter(1, 20_000, 2, np.float64, 1.0)
    yield _filter(64, 1_000, 2, np.float64, 4.0)
    yield _filter(64, 20_000, 2, np.float32, 4.0)
    yield _filter(64, 20_000, 8, np.float64, 4.0)


def _filter(rows: int, length: int, order: int, dtype: Any, goal: float | None = None) -> Problem:
    rng = np.random.default_rng(0)
    half = 0.8 * np.exp(1j * rng.uniform(0.2, 3, order // 2))
    a = np.poly(np.concatenate([half, half.conj()])).real.astype(dtype)
    b, x = rng.standard_normal(order + 1).astype(dtype), rng.standard_normal((rows, length)).astype(dtype)

    def truth() -> Any:
        return scipy.signal.lfilter(b.astype(np.longdouble), a.astype(np.longdouble), x.astype(np.longdouble))

    single = dtype == np.float32
    return Problem(
        "ssm", "arma_filter", f"({rows}, {length}) order {order} {np.dtype(dtype).name}", lambda: ssm.arma_filter(b, a, x),
        {LFILTER: lambda: scipy.signal.lfilter(b, a, x)}, truth, 2e-6 if single else 1e-12, {} if goal is None else {LFILTER: goal},
        1e-4 if single else 1e-10, Work((4 * order + 2) * x.size, 2 * x.nbytes, np.dtype(dtype).name),
    )  # fmt: skip
