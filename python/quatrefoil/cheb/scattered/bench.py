"""Scattered evaluation of Tucker tensors, compared with matrix products by NumPy's BLAS and by torch, and with the Numba backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from ... import cheb
from ...bench._problem import Problem, Work, installed

POINTS = 40_000
CHUNK = 4096  # points: within 10 % of the fastest for NumPy on every size here; all points at once are up to twice as slow
GOALS = {(33, 8): 4.5, (65, 16): 3.2, (129, 16): 5.0}
FEW = 4000


def problems() -> Iterator[Problem]:
    yield _eval(33, 8, np.float64)
    yield _eval(65, 16, np.float64)
    yield _eval(129, 16, np.float64)
    yield _eval(129, 40, np.float64)
    yield _eval(65, 16, np.float32)
    yield _full(33, 8)
    for n, r in ((33, 8), (65, 16)):
        yield from _gradient(n, r)
    for n, r, goal in ((33, 8, 12.0), (65, 16, 8.0), (129, 16, 12.0)):
        yield from _value_and_gradient(n, r, goal)
    yield from _hessian(33, 8)


def _tensor(n: int, r: int, dtype: Any) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    decay = 0.9 ** np.arange(n)[:, None]
    core = rng.standard_normal((r, r, r)).astype(dtype)
    return core, [(rng.standard_normal((n, r)) * decay).astype(dtype) for _ in range(3)], rng.uniform(-1, 1, (POINTS, 3)).astype(dtype)


def contracted(core: Any, A: Any, B: Any, C: Any) -> Any:
    """A core with functions (P, r) of its three axes: one matrix product, one batched product, for NumPy and torch."""
    t = (A @ core.reshape(core.shape[0], -1)).reshape(-1, *core.shape[1:])
    return ((t @ C[:, :, None])[:, :, 0] * B).sum(1)


def by_numpy(core: np.ndarray, factors: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """NumPy's BLAS: three Vandermonde matrices and their products with the factors, a chunk of points at a time."""
    out = np.empty(len(X), X.dtype)
    for s in range(0, len(X), CHUNK):
        F = [chebyshev.chebvander(X[s : s + CHUNK, k], len(U) - 1) @ U for k, U in enumerate(factors)]
        out[s : s + CHUNK] = contracted(core, *F)
    return out


def by_torch(torch: Any, core: Any, factors: Any, X: Any) -> Any:
    """torch: T_k(x) = cos(k arccos x), and the same products."""
    F = (torch.cos(torch.acos(X[:, k : k + 1]) * torch.arange(len(U), dtype=X.dtype)) @ U for k, U in enumerate(factors))
    return contracted(core, *F)


def _chunks(f: Callable[[Any], Any], torch: Any, X: Any) -> Any:
    return torch.cat([f(X[s : s + CHUNK]) for s in range(0, len(X), CHUNK)])


def truth(core: np.ndarray, factors: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """Cosines in extended precision, products in float64."""
    angles = np.arccos(X.astype(np.longdouble))
    F = [np.cos(angles[:, k : k + 1] * np.arange(len(U))).astype(float) @ U.astype(float) for k, U in enumerate(factors)]
    parts = [contracted(core.astype(float), *(f[s : s + CHUNK] for f in F)) for s in range(0, len(X), CHUNK)]
    return np.concatenate(parts)


def _gradients(core: np.ndarray, factors: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    return np.stack([truth(core, _differentiated(factors, k), X) for k in range(3)], axis=1)


def _eval(n: int, r: int, dtype: Any) -> Problem:
    core, factors, X = _tensor(n, r, dtype)
    peers: dict[str, Callable[[], Any]] = {"numpy": lambda: by_numpy(core, factors, X)}
    if installed("torch"):
        import torch

        tensors = torch.from_numpy(core), [torch.from_numpy(U) for U in factors], torch.from_numpy(X)
        peers["torch"] = lambda: _chunks(lambda x: by_torch(torch, tensors[0], tensors[1], x), torch, tensors[2])
    if (n, r) == (33, 8):
        peers["numba backend"] = lambda: cheb.tucker_eval(core, factors, X, backend="numba")
    goals = {"numpy": GOALS[n, r]} if (n, r) in GOALS and dtype == np.float64 else {}
    size = f"n={n} r={r} P={POINTS} {np.dtype(dtype).name}"
    tolerance = 2e-6 if dtype == np.float32 else 4e-15
    return Problem(
        "cheb",
        "tucker_eval",
        size,
        lambda: cheb.tucker_eval(core, factors, X),
        peers,
        lambda: truth(core, factors, X),
        tolerance,
        goals,
        20 * tolerance,  # the three-term recurrence and cos(k arccos x) lose digits near the ends
        Work(POINTS * (3 * n * (2 * r + 2) + 2 * r * (r * r + r + 1)), 4 * POINTS * X.itemsize, X.dtype.name),
    )


def _full(n: int, r: int) -> Problem:
    """NumPy's own evaluation of all coefficients, at few points because it needs arrays of n^2 numbers per point."""
    core, factors, X = _tensor(n, r, np.float64)
    X, coefficients = X[:FEW], np.einsum("abc,ia,jb,kc->ijk", core, *factors, optimize=True)
    x, y, z = (np.ascontiguousarray(X[:, k]) for k in range(3))
    return Problem(
        "cheb",
        "tucker_eval",
        f"n={n} r={r} P={FEW} float64",
        lambda: cheb.tucker_eval(core, factors, X),
        {"chebval3d": lambda: chebyshev.chebval3d(x, y, z, coefficients)},
        lambda: truth(core, factors, X),
        4e-15,
        {"chebval3d": 500.0},
        1e-13,
    )


def _gradient(n: int, r: int) -> Iterator[Problem]:
    """Forward and backward through torch, gradients of core, factors and points; compared by that of the points."""
    if not installed("torch"):
        return
    import torch

    core, factors, X = _tensor(n, r, np.float64)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (core, *factors, X)]
    weights = torch.ones(POINTS, dtype=torch.float64)

    def both_ways(f: Callable[..., Any]) -> Any:
        return torch.autograd.grad(f(leaves[0], leaves[1:4], leaves[4]), leaves, weights)[4]

    def torch_way(c: Any, U: Any, x: Any) -> Any:
        return _chunks(lambda part: by_torch(torch, c, U, part), torch, x)

    yield Problem(
        "cheb",
        "tucker_eval fwd+bwd",
        f"n={n} r={r} P={POINTS} float64",
        lambda: both_ways(cheb.tucker_eval),
        {"torch autograd": lambda: both_ways(torch_way)},
        lambda: _gradients(core, factors, X),
        1e-14,
        {},
        1e-10,  # arccos has an infinite slope at the ends
    )


def _value_and_gradient(n: int, r: int, goal: float) -> Iterator[Problem]:
    """Values and gradients in the points, by torch's autograd forward and backward; compared by gradients."""
    if not installed("torch"):
        return
    import torch

    core, factors, X = _tensor(n, r, np.float64)
    ct = cheb.ChebTucker(core, factors)
    tensors, points = [torch.from_numpy(a) for a in (core, *factors)], torch.from_numpy(X).requires_grad_()

    def torch_way() -> Any:
        gradients = []
        for s in range(0, POINTS, CHUNK):
            part = points[s : s + CHUNK].detach().requires_grad_()
            gradients.append(torch.autograd.grad(by_torch(torch, tensors[0], tensors[1:], part).sum(), part)[0])
        return torch.cat(gradients)

    yield Problem(
        "cheb",
        "value and gradient",
        f"n={n} r={r} P={POINTS} float64",
        lambda: ct.value_and_grad(X)[1],
        {"torch autograd": torch_way},
        lambda: _gradients(core, factors, X),
        1e-14,
        {"torch autograd": goal},
        1e-10,  # arccos has an infinite slope at the ends
        Work(POINTS * (3 * n * (4 * r + 2) + 4 * r**3 + 6 * r * r), 7 * POINTS * X.itemsize, X.dtype.name),
    )


def _hessian(n: int, r: int) -> Iterator[Problem]:
    """Values, gradients and Hessians, with one NumPy evaluation per derivative. Compared by one of them."""
    core, factors, X = _tensor(n, r, np.float64)
    ct = cheb.ChebTucker(core, factors)

    def numpy_way() -> Any:
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        return [by_numpy(core, _differentiated(factors, *axes), X) for axes in [(), (0,), (1,), (2,), *pairs]][5]

    yield Problem(
        "cheb",
        "value, gradient, Hessian",
        f"n={n} r={r} P={POINTS} float64",
        lambda: ct.eval(X, 2)[2][:, 0, 1],
        {"numpy": numpy_way},
        lambda: truth(core, _differentiated(factors, 0, 1), X),
        1e-14,
        {},
        1e-10,
        Work(POINTS * (3 * n * (6 * r + 2) + 6 * r**3 + 12 * r * r), 16 * POINTS * X.itemsize, X.dtype.name),
    )


def _differentiated(factors: list[np.ndarray], *axes: int) -> list[np.ndarray]:
    changed = list(factors)
    for k in axes:
        changed[k] = np.concatenate([chebyshev.chebder(changed[k]), np.zeros((1, changed[k].shape[1]))])
    return changed
