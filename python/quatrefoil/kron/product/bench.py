"""The Kronecker product against ``np.matmul`` on reshaped views, linear_operator and pyfastkron."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Run, Work, installed

# d, n, batch
DOUBLE = ((6, 8, 1), (6, 8, 16), (10, 4, 1), (4, 32, 1), (3, 64, 1), (3, 64, 16), (3, 128, 1), (2, 512, 1))
SINGLE = ((10, 4, 1), (6, 8, 1), (4, 32, 1), (3, 64, 1), (2, 512, 1))
BATCH_OF_GRADIENT = 4


def problems() -> Iterator[Problem]:
    for d, n, B in DOUBLE:
        yield _product(d, n, B)
    for d, n, B in SINGLE:
        yield _product(d, n, B, "float32")
    yield _small(3, 8)
    yield _gradient(3, 32)


def by_matmul(factors: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The strongest peer: one matmul per axis on (L, n, R) views, without transposes, from the last axis, which takes a plain product."""
    y, R = x, 1
    for f in reversed(factors):
        m, n = f.shape
        y = y.reshape(-1, n) @ f.T if R == 1 else np.matmul(f, y.reshape(-1, n, R))
        R *= m
    return y.reshape(*x.shape[:-1], R)


def _inputs(d: int, n: int, B: int = 1, dtype: str = "float64") -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((n, n)).astype(dtype) for _ in range(d)]
    return factors, rng.standard_normal((B, n**d) if B > 1 else n**d).astype(dtype)


def _truth(factors: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Axis by axis, from the first one, in double precision."""
    y = x.astype(float).reshape(-1, *[f.shape[1] for f in factors])
    for k, f in enumerate(factors):
        y = np.moveaxis(np.tensordot(f.astype(float), y, (1, k + 1)), 0, k + 1)
    return y.reshape(x.shape)


def _linear_operator(factors: Sequence[np.ndarray], x: np.ndarray) -> dict[str, Run]:
    """Sets up the operator and its argument, a matrix of columns, beforehand."""
    if not installed("linear_operator"):
        return {}
    import torch
    from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator

    operator = KroneckerProductLinearOperator(*[DenseLinearOperator(torch.from_numpy(f)) for f in factors])
    columns = torch.from_numpy(x).mT.contiguous() if x.ndim > 1 else torch.from_numpy(x)[:, None]

    def run() -> Any:
        with torch.no_grad():
            y = operator.matmul(columns).mT
        return y if x.ndim > 1 else y[0]

    return {"linear_operator": run}


def _fastkron(factors: Sequence[np.ndarray], x: np.ndarray) -> dict[str, Run]:
    """Uses the kernels for rows, x (F_1 ⊗ ... ⊗ F_d), which are faster for batches; transposes the factors beforehand."""
    if not installed("pyfastkron"):
        return {}
    fastkronnumpy: Any = importlib.import_module("pyfastkron.fastkronnumpy")
    rows, transposed = np.atleast_2d(x), [np.ascontiguousarray(f.T) for f in factors]
    if not fastkronnumpy.fastkronnumpy.isSupported(rows, transposed):
        return {}
    return {"pyfastkron": lambda: fastkronnumpy.gemkm(rows, transposed).reshape(x.shape)}


def _product(d: int, n: int, B: int = 1, dtype: str = "float64") -> Problem:
    factors, x = _inputs(d, n, B, dtype)
    peers: dict[str, Run] = {"np.matmul": partial(by_matmul, factors, x), **_linear_operator(factors, x), **_fastkron(factors, x)}
    goals = {"np.matmul": 1.5 if n <= 8 else 1.0 if n <= 128 else 0.98, "pyfastkron": 1.3 if n <= 32 and dtype == "float64" else 1.0}
    if n <= 128:
        goals["linear_operator"] = 3.0 if n <= 32 else 2.2
    size = f"{d}x{n}{f' B{B}' if B > 1 else ''} {dtype}"
    ours = partial(kron.matvec, factors, x)
    truth = partial(_truth, factors, x)
    work = Work(2 * d * n * x.size, 2 * x.nbytes, dtype)
    return Problem("kron", "matvec", size, ours, peers, truth, 1e-13 if dtype == "float64" else 2e-6, goals, work=work)


def _small(d: int, n: int) -> Problem:
    """A small call, to measure its overhead."""
    factors, x = _inputs(d, n)
    operator = kron.KroneckerOperator(factors)
    peers: dict[str, Run] = {"np.matmul": partial(by_matmul, factors, x), **_linear_operator(factors, x)}
    truth = partial(_truth, factors, x)
    return Problem("kron", "KroneckerOperator @", f"{d}x{n} float64", lambda: operator @ x, peers, truth, 1e-13, {"np.matmul": 1.0})


def _gradient(d: int, n: int) -> Problem:
    """All gradients; compares that of the first factor. The peer, too, reuses partial products of x and of the gradient."""
    factors, x = _inputs(d, n, BATCH_OF_GRADIENT)
    grad = np.random.default_rng(1).standard_normal(x.shape)

    def by_numpy() -> Any:
        products, R = [x], 1  # X^(1), ..., X^(d) of README (4)
        for f in factors[:0:-1]:
            y = products[0]
            products.insert(0, y.reshape(-1, n) @ f.T if R == 1 else np.matmul(f, y.reshape(-1, n, R)))
            R *= n
        g, gradients = grad, []
        for f, y in zip(factors, products):
            left, right = g.reshape(-1, n, R), y.reshape(-1, n, R)
            gradients.append(np.matmul(left, right.swapaxes(1, 2)).sum(0) if R > 1 else g.reshape(-1, n).T @ y.reshape(-1, n))
            g = np.matmul(f.T, left) if R > 1 else g.reshape(-1, n) @ f
            R //= n
        return gradients[0]

    def truth() -> Any:
        y = _truth([np.eye(n), *factors[1:]], x)
        return np.einsum("bir,bjr->ij", *(v.reshape(-1, n, n ** (d - 1)) for v in (grad, y)), optimize=True)

    size = f"{d}x{n} B{BATCH_OF_GRADIENT} float64"
    return Problem("kron", "matvec_vjp", size, lambda: kron.matvec_vjp(factors, x, grad)[0][0], {"np.matmul": by_numpy}, truth, 1e-13)
