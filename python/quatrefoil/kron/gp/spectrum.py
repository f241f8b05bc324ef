"""Sums over arrays in the eigenbasis, for the likelihood of a full grid and its gradients: ``gp_spectrum`` and ``gp_gram``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._call import call
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import Backend


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> Sequence[Shape | None]:
    *values, z = shapes
    sizes = []
    for k, shape in enumerate(values):
        if shape is None or len(shape) != 1:
            raise ValueError(f"{label}: values[{k}] has shape {shape}, expected (n_{k + 1},)")
        sizes.append(shape[0])
    if z != (math.prod(sizes),):
        raise ValueError(f"{label}: z has shape {z}, expected ({math.prod(sizes)},)")
    return [z, (sum(sizes),), (4,)]


GP_SPECTRUM = Op(
    __name__, "gp_spectrum",
    inputs=(Arg("values", "n_", sequence=True, dtype="double"), Arg("z", "n_x", dtype="double")),
    outputs=(Arg("weighted", "n_x", dtype="double"), Arg("shrinkages", "S", dtype="double"), Arg("sums", "4", dtype="double")),
    options=(Option("noise", float),),
    rule=_shapes,
    differentiable=False,
    tolerance=2e-5,  # plain sums of n numbers have rounding errors of about sqrt(n) eps; n is a few thousand
)  # fmt: skip
GP_GRAM = Op(
    __name__, "gp_gram",
    inputs=(Arg("x", "L n R", dtype="double"),),
    outputs=(Arg("gram", "n n", dtype="double"),),
    differentiable=False,
    tolerance=2e-5,  # plain sums of n numbers have rounding errors of about sqrt(n) eps; n is a few thousand
)  # fmt: skip
_BLOCK = 1 << 17  # numbers in a batch of matrix products (n, n), 1 MiB; each batch is summed at once


def gp_spectrum(
    values: Sequence[np.ndarray], z: np.ndarray, *, noise: float, backend: Backend | None = None, num_threads: int | None = None
) -> Any:
    """Sums over the spectrum λ = l_1 ⊗ ... ⊗ l_d, for ``values`` l_k (n_k,) above 0 and z (N,), with a = z / (λ + noise).

    Returns ``a sqrt(λ)`` (N,); for every axis the sums of λ / (λ + noise) over all other axes, (n_1 + ... + n_d,); and (4,) numbers: z·a,
    the sum of log(λ + noise), a·a, and the sum of 1 / (λ + noise).
    """
    return call(GP_SPECTRUM, (*values, z), (float(noise),), (), None, backend, num_threads)


def gp_gram(x: np.ndarray, *, backend: Backend | None = None, num_threads: int | None = None) -> np.ndarray:
    """sum_{l,r} x_lir x_ljr for x (L, n, R), bitwise symmetric."""
    return call(GP_GRAM, (x,), (), (), None, backend, num_threads)


def cross_gram(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """sum_{l,r} a_lir b_ljr for arrays (L, n, R), by BLAS."""
    L, n, R = a.shape
    if R == 1:
        return a.reshape(L, n).T @ b.reshape(L, n)
    sums = np.zeros((n, n))
    step = max(1, _BLOCK // max(1, n * n))
    for i in range(0, L, step):
        sums += np.matmul(a[i : i + step], b[i : i + step].transpose(0, 2, 1)).sum(axis=0)
    return sums
