"""Layers of polynomials compared with PyTorch: a list of polynomials, then one contraction, as such layers are usually written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import cheb
from ...bench._problem import Problem, Work, autograd, double, installed
from ..orthopoly import classical, multi_indices

GOALS = {64: 5.0}  # speedup over PyTorch, forward and backward; with 256 outputs, even products at a core's peak rate allow at most 3


def problems() -> Iterator[Problem]:
    if not installed("torch"):
        return
    for N, I, K, O in ((4096, 64, 9, 64), (1024, 256, 5, 256)):
        for dtype in ("float32", "float64"):
            yield _gradient(N, I, K, O, dtype)
    for dtype in ("float32", "float64"):
        yield _products(4096, 16, 2, 64, dtype)


def products_by_torch(X: Any, W: Any, a: Any, b: Any, degrees: Any) -> Any:
    """All polynomials in one array (N, I, K), gathered for all products (N, M, I) and multiplied."""
    import torch

    P = [torch.ones_like(X) / b[0] ** 0.5]
    for k in range(1, a.numel()):
        before = P[k - 2] if k > 1 else 0
        P.append(((X - a[k - 1]) * P[k - 1] - b[k - 1] ** 0.5 * before) / b[k] ** 0.5)
    table = torch.stack(P, dim=-1)
    inputs = torch.arange(X.shape[1])
    return table[:, inputs, degrees].prod(dim=-1) @ W


def by_torch(X: Any, W: Any, a: Any, b: Any) -> Any:
    """All polynomials in one array (N, I, K), and einsum."""
    import torch

    P = [torch.ones_like(X) / b[0] ** 0.5]
    for k in range(1, W.shape[1]):
        back = b[k - 1] ** 0.5 * P[k - 2] if k > 1 else 0.0
        P.append(((X - a[k - 1]) * P[k - 1] - back) / b[k] ** 0.5)
    return torch.einsum("nik,iko->no", torch.stack(P, dim=-1), W)


def _gradient(N: int, I: int, K: int, O: int, dtype: str) -> Problem:
    """Forward and backward through autograd; the gradient of X is compared."""
    import torch

    rng = np.random.default_rng(0)
    basis = classical("legendre", K - 1)
    X, W = rng.uniform(-1, 1, (N, I)).astype(dtype), (rng.standard_normal((I, K, O)) / (I * K) ** 0.5).astype(dtype)
    grad = rng.standard_normal((N, O)).astype(dtype)
    a, b = (torch.from_numpy(v.astype(dtype)) for v in (basis.a, basis.b))
    run, numbers = autograd([X, W], grad), N * I + I * K * O + N * O
    tolerance = 4e-6 if dtype == "float32" else 1e-14

    def truth() -> Any:
        wide = double(X, W, grad)
        return cheb.poly_layer_vjp(wide[0], wide[1], basis.a, basis.b, wide[2], backend="numba")[0]

    size = f"N={N} I={I} K={K} O={O} {dtype}"
    ours = run(lambda X, W: cheb.poly_layer(X, W, a, b))
    peers = {"torch einsum": run(partial(by_torch, a=a, b=b))}
    goals = {"torch einsum": GOALS[O]} if O in GOALS else {}
    work = Work(6 * N * I * K * O, 2 * numbers * X.itemsize, dtype)
    return Problem("cheb", "poly_layer fwd+bwd", size, ours, peers, truth, tolerance, goals, 4 * tolerance, work)


def _products(N: int, I: int, degree: int, O: int, dtype: str) -> Problem:
    """Forward and backward through autograd, for all products up to a total degree; the gradient of X is compared."""
    import torch

    rng = np.random.default_rng(0)
    basis, degrees = classical("legendre", degree), multi_indices(I, degree)
    M = len(degrees)
    X, W = rng.uniform(-1, 1, (N, I)).astype(dtype), (rng.standard_normal((M, O)) / M**0.5).astype(dtype)
    grad = rng.standard_normal((N, O)).astype(dtype)
    a, b = (torch.from_numpy(v.astype(dtype)) for v in (basis.a, basis.b))
    run, rows = autograd([X, W], grad), degrees.tolist()
    tolerance = 4e-6 if dtype == "float32" else 1e-14

    def truth() -> Any:
        wide = double(X, W, grad)
        return cheb.product_layer_vjp(wide[0], wide[1], basis.a, basis.b, wide[2], rows, backend="numba")[0]

    size = f"N={N} I={I} degree={degree} O={O} {dtype}"
    ours = run(lambda X, W: cheb.product_layer(X, W, a, b, rows))
    peers = {"torch gather": run(partial(products_by_torch, a=a, b=b, degrees=torch.from_numpy(degrees)))}
    work = Work(6 * N * M * O, 2 * (N * I + M * O + N * O) * X.itemsize, dtype)
    return Problem("cheb", "product_layer fwd+bwd", size, ours, peers, truth, tolerance, {}, 4 * tolerance, work)
