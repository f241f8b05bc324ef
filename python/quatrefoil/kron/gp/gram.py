"""``gp_gram``: sums over all axes but one of products of arrays in the eigenbasis, for the gradients by the factors."""

from __future__ import annotations

import numpy as np

from ..._call import call
from ..._spec import Arg, Op
from ..._typing import Backend

GP_GRAM = Op(
    "quatrefoil.kron.gp.gram", "gp_gram",
    inputs=(Arg("x", "L n R", dtype="double"),),
    outputs=(Arg("gram", "n n", dtype="double"),),
    differentiable=False,
    tolerance=2e-5,  # plain sums of up to some thousand numbers lose about the root of that many eps
)  # fmt: skip
_BLOCK = 1 << 17  # numbers of the products that are added up at a time


def gp_gram(x: np.ndarray, *, backend: Backend | None = None, num_threads: int | None = None) -> np.ndarray:
    """sum_{l,r} x_lir x_ljr of x (L, n, R), symmetric to the last bit."""
    found: np.ndarray = call(GP_GRAM, (x,), (), (), None, backend, num_threads)
    return found


def products_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """sum_{l,r} a_lir b_ljr of arrays (L, n, R), by BLAS; where b is a it does half the work."""
    L, n, R = a.shape
    if R == 1:
        x = a.reshape(L, n)
        flat: np.ndarray = x.T @ (x if b is a else b.reshape(L, n))
        return flat
    found = np.zeros((n, n))
    step = max(1, _BLOCK // max(1, n * n))
    for i in range(0, L, step):
        part = a[i : i + step]
        found += np.matmul(part, (part if b is a else b[i : i + step]).transpose(0, 2, 1)).sum(axis=0)
    return found
