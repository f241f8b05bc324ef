"""``gp_spectrum``: one pass over an array in the eigenbasis, for the likelihood of a full grid and its gradients."""

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
    "quatrefoil.kron.gp.spectrum", "gp_spectrum",
    inputs=(Arg("values", "n_", sequence=True, dtype="double"), Arg("z", "n_x", dtype="double")),
    outputs=(Arg("weighted", "n_x", dtype="double"), Arg("shares", "S", dtype="double"), Arg("sums", "4", dtype="double")),
    options=(Option("noise", float),),
    rule=_shapes,
    differentiable=False,
    tolerance=2e-5,  # plain sums of up to some thousand numbers lose about the root of that many eps
)  # fmt: skip


def gp_spectrum(
    values: Sequence[np.ndarray], z: np.ndarray, *, noise: float, backend: Backend | None = None, num_threads: int | None = None
) -> Any:
    """Of λ = l_1 ⊗ ... ⊗ l_d, ``values`` (n_k,) above 0, and z (N,), with a = z / (λ + noise):

    a sqrt(λ) (N,); the sums of λ / (λ + noise) over all axes but one, for every axis, (n_1 + ... + n_d,); and (4,): z·a, the sum of
    log(λ + noise), a·a, the sum of 1 / (λ + noise).
    """
    return call(GP_SPECTRUM, (*values, z), (float(noise),), (), None, backend, num_threads)
