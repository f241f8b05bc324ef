"""A polynomial layer, compared with the usual torch implementation: a list of polynomials, then one contraction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import cheb
from ...bench._problem import Problem, Work, installed
from ..orthopoly import classical

GOALS = {64: 5.0}  # torch over ours, forward and backward; with 256 outputs the products alone limit it to 3


def problems() -> Iterator[Problem]:
    for N, I, K, O in ((4096, 64, 9, 64), (1024, 256, 5, 256)):
        for dtype in (np.float32, np.float64):
            yield from _both_ways(N, I, K, O, dtype)


def by_torch(torch: Any, X: Any, W: Any, a: Any, b: Any) -> Any:
    """All polynomials (N, I, K), and einsum."""
    P = [torch.ones_like(X) / b[0] ** 0.5]
    for k in range(1, W.shape[1]):
        back = b[k - 1] ** 0.5 * P[k - 2] if k > 1 else 0.0
        P.append(((X - a[k - 1]) * P[k - 1] - back) / b[k] ** 0.5)
    return torch.einsum("nik,iko->no", torch.stack(P, dim=-1), W)


def _both_ways(N: int, I: int, K: int, O: int, dtype: Any) -> Iterator[Problem]:
    if not installed("torch"):
        return
    import torch

    rng = np.random.default_rng(0)
    basis = classical("legendre", K - 1)
    X, W = rng.uniform(-1, 1, (N, I)).astype(dtype), (rng.standard_normal((I, K, O)) / (I * K) ** 0.5).astype(dtype)
    a, b = (torch.from_numpy(v.astype(dtype)) for v in (basis.a, basis.b))
    leaves = [torch.from_numpy(v).requires_grad_() for v in (X, W)]
    grad = torch.from_numpy(rng.standard_normal((N, O)).astype(dtype))

    def both(f: Any) -> Any:
        return torch.autograd.grad(f(*leaves, a, b), leaves, grad)[0]

    def truth() -> np.ndarray:
        wide = X.astype(float), W.astype(float), grad.numpy().astype(float)
        dX: np.ndarray = cheb.poly_layer_vjp(wide[0], wide[1], basis.a, basis.b, wide[2], backend="numba")[0]
        return dX

    numbers, flops = N * I + I * K * O + N * O, 6 * N * I * K * O
    tolerance = 4e-6 if dtype == np.float32 else 1e-14
    goals = {"torch einsum": GOALS[O]} if O in GOALS else {}
    yield Problem(
        "cheb", "poly_layer fwd+bwd", f"N={N} I={I} K={K} O={O} {np.dtype(dtype).name}", lambda: both(cheb.poly_layer),
        {"torch einsum": lambda: both(lambda *given: by_torch(torch, *given))}, truth, tolerance, goals, 4 * tolerance,
        Work(flops, 2 * numbers * X.itemsize, X.dtype.name),
    )  # fmt: skip
