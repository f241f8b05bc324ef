"""Exponential decay against NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work


def problems() -> Iterator[Problem]:
    yield _problem((8, 256, 4096))


def _problem(shape: tuple[int, ...]) -> Problem:
    rng = np.random.default_rng(0)
    x, rate = rng.standard_normal(shape, np.float32), rng.uniform(0, 0.1, shape[-2]).astype(np.float32)

    def by_numpy(dtype: Any = np.float32) -> Any:
        return np.exp(-rate[:, None].astype(dtype) * np.arange(shape[-1], dtype=dtype)) * x

    work = Work(2 * x.size, 2 * x.nbytes, exps=x.size)
    peers, truth = {"numpy": by_numpy}, lambda: by_numpy(np.float64)
    return Problem("ssm", "decay_apply", str(shape), lambda: ssm.decay_apply(x, rate), peers, truth, 1e-5, work=work)
