"""Rational filters compared with SciPy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import scipy.signal

from ... import ssm
from ...bench._problem import Problem, Work

LFILTER = "scipy.signal.lfilter"


def problems() -> Iterator[Problem]:
    yield _filter(1, 20_000, 2, "float64", 1.0)
    yield _filter(64, 1_000, 2, "float64", 4.0)
    yield _filter(64, 20_000, 2, "float32", 4.0)
    yield _filter(64, 20_000, 8, "float64", 4.0)


def _filter(rows: int, length: int, order: int, dtype: str, goal: float) -> Problem:
    rng = np.random.default_rng(0)
    half = 0.8 * np.exp(1j * rng.uniform(0.2, 3, order // 2))
    a = np.poly(np.concatenate([half, half.conj()])).real
    arrays = [v.astype(dtype) for v in (rng.standard_normal(order + 1), a, rng.standard_normal((rows, length)))]
    size, x = f"({rows}, {length}) order {order} {dtype}", arrays[2]
    ours, peer = partial(ssm.arma_filter, *arrays), partial(scipy.signal.lfilter, *arrays)
    truth = partial(scipy.signal.lfilter, *(v.astype(np.longdouble) for v in arrays))
    tolerance, loose = (2e-6, 1e-4) if dtype == "float32" else (1e-12, 1e-10)
    work = Work((4 * order + 2) * x.size, 2 * x.nbytes, dtype)
    return Problem("ssm", "arma_filter", size, ours, {LFILTER: peer}, truth, tolerance, {LFILTER: goal}, loose, work)
