"""The Kronecker product against ``np.matmul`` on reshaped views, linear_operator, pyfastkron and the Numba backend."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Work, installed

DOUBLE = (
    (6, 8, 1),
    (6, 8, 16),
    (10, 4, 1),
    (4, 32, 1),
    (3, 64, 1),
    (3, 64, 16),
    (3, 128, 1),
    (2, 512, 1),
)  # d, n, batch
SINGLE = ((10, 4, 1), (6, 8, 1), (4, 32, 1), (3, 64, 1), (2, 512, 1))
BATCH_OF_GRADIENT = 4


def problems() -> Iterator[Problem]:
    for d, n, B in DOUBLE:
        yield _product(d, n, B, np.float64)
    for d, n, B in SINGLE:
        yield _product(d, n, B, np.float32)
    yield _small(3, 8)
    yield _gradient(3, 32)
    yield _numba(3, 64)


def by_matmul(factors: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The peer to beat: a matmul an axis on (L, n, R) views, the last axis first, by a plain product; no transposes."""
    y, R = x, 1
    for f in reversed(factors):
        m, n = f.shape
        y = y.reshape(-1, n) @ f.T if R == 1 else np.matmul(f, y.reshape(-1, n, R))
        R *= m
    return y.reshape(*x.shape[:-1], R)


def _inputs(d: int, n: int, B: int, dtype: Any) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((n, n)).astype(dtype) for _ in range(d)]
    return factors, rng.standard_normal((B, n**d) if B > 1 else n**d).astype(dtype)


def _truth(factors: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """One axis after the other, the first one first, in double precision."""
    y = x.astype(float).reshape(-1, *[f.shape[1] for f in factors])
    for k, f in enumerate(factors):
        y = np.moveaxis(np.tensordot(f.astype(float), y, (1, k + 1)), 0, k + 1)
    return y.reshape(x.shape)


def _linear_operator(factors: Sequence[np.ndarray], x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Its operator is made once; it takes vectors as columns, which are made once too."""
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


def _fastkron(factors: Sequence[np.ndarray], x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Its kernels of rows, x (F_1 ⊗ ... ⊗ F_d), which are its faster ones in batches; our factors are transposed beforehand."""
    if not installed("pyfastkron"):
        return {}
    fastkronnumpy: Any = importlib.import_module("pyfastkron.fastkronnumpy")
    rows, turned = np.atleast_2d(x), [np.ascontiguousarray(f.T) for f in factors]
    if not fastkronnumpy.fastkronnumpy.isSupported(rows, turned):
        return {}
    return {"pyfastkron": lambda: fastkronnumpy.gemkm(rows, turned).reshape(x.shape)}


def _tolerance(dtype: Any) -> float:
    return 1e-13 if dtype == np.float64 else 2e-6


def _product(d: int, n: int, B: int, dtype: Any) -> Problem:
    factors, x = _inputs(d, n, B, dtype)
    peers = {"np.matmul": lambda: by_matmul(factors, x), **_linear_operator(factors, x), **_fastkron(factors, x)}
    goals = {"np.matmul": 1.5 if n <= 8 else 1.0 if n <= 128 else 0.98}
    if "linear_operator" in peers and n <= 128:
        goals["linear_operator"] = 3.0 if n <= 32 else 2.2
    if "pyfastkron" in peers:
        goals["pyfastkron"] = 1.3 if n <= 32 and dtype == np.float64 else 1.0
    size = f"{d}x{n}{f' B{B}' if B > 1 else ''} {np.dtype(dtype).name}"
    return Problem(
        "kron",
        "matvec",
        size,
        lambda: kron.matvec(factors, x),
        peers,
        lambda: _truth(factors, x),
        _tolerance(dtype),
        goals,
        work=Work(2 * d * n * x.size, 2 * x.nbytes, x.dtype.name),
    )


def _small(d: int, n: int) -> Problem:
    """A call so small that its overhead is what is measured."""
    factors, x = _inputs(d, n, 1, np.float64)
    operator = kron.KroneckerOperator(factors)
    peers = {"np.matmul": lambda: by_matmul(factors, x), **_linear_operator(factors, x)}
    goals = {"np.matmul": 1.0}
    size = f"{d}x{n} float64"
    return Problem("kron", "KroneckerOperator @", size, lambda: operator @ x, peers, lambda: _truth(factors, x), 1e-13, goals)


def _gradient(d: int, n: int) -> Problem:
    """All gradients; that of the first factor is compared. The peer too shares the products on either side."""
    factors, x = _inputs(d, n, BATCH_OF_GRADIENT, np.float64)
    grad = np.random.default_rng(1).standard_normal(x.shape)

    def by_numpy(x: np.ndarray = x, grad: np.ndarray = grad) -> np.ndarray:
        behind, R = [x], 1
        for f in factors[:0:-1]:
            y = behind[0]
            behind.insert(0, y.reshape(-1, n) @ f.T if R == 1 else np.matmul(f, y.reshape(-1, n, R)))
            R *= n
        g, gradients = grad, []
        for f, y in zip(factors, behind):
            left, right = g.reshape(-1, n, R), y.reshape(-1, n, R)
            gradients.append(np.matmul(left, right.swapaxes(1, 2)).sum(0) if R > 1 else g.reshape(-1, n).T @ y.reshape(-1, n))
            g = np.matmul(f.T, left) if R > 1 else g.reshape(-1, n) @ f
            R //= n
        first: np.ndarray = gradients[0]
        return first

    def truth() -> np.ndarray:
        y = x.reshape(-1, n, n ** (d - 1))
        for k, f in enumerate(factors[1:], start=1):
            z = y.reshape(-1, *[n] * d)
            y = np.moveaxis(np.tensordot(f, z, (1, k + 1)), 0, k + 1)
        first: np.ndarray = np.einsum("bir,bjr->ij", grad.reshape(-1, n, n ** (d - 1)), y.reshape(-1, n, n ** (d - 1)), optimize=True)
        return first

    size = f"{d}x{n} B{BATCH_OF_GRADIENT} float64"
    return Problem(
        "kron",
        "matvec_vjp",
        size,
        lambda: kron.matvec_vjp(factors, x, grad)[0][0],
        {"np.matmul": by_numpy},
        truth,
        1e-13,
    )


def _numba(d: int, n: int) -> Problem:
    factors, x = _inputs(d, n, 1, np.float64)
    peers = {"numba backend": lambda: kron.matvec(factors, x, backend="numba")}
    return Problem("kron", "matvec", f"{d}x{n} float64", lambda: kron.matvec(factors, x), peers, lambda: _truth(factors, x), 1e-13)
