"""Scattered evaluation of Tucker tensors compared with the usual methods in NumPy and PyTorch, and with the Numba backend."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from ... import cheb
from ...bench._problem import Problem, Run, Work, autograd, installed, tensors, torch_peers

POINTS = 40_000
CHUNK = 4096  # points; within 10 % of the fastest chunk for NumPy at every size here; all points at once take up to twice as long
GOALS = {(33, 8): 4.5, (65, 16): 3.2, (129, 16): 5.0}
FEW = 4000


def problems() -> Iterator[Problem]:
    for n, r in ((33, 8), (65, 16), (129, 16), (129, 40)):
        yield _eval(n, r)
    yield _eval(65, 16, "float32")
    yield _full(33, 8)
    if installed("torch"):
        for n, r in ((33, 8), (65, 16)):
            yield _gradient(n, r)
        for n, r, goal in ((33, 8, 12.0), (65, 16, 8.0), (129, 16, 12.0)):
            yield _value_and_gradient(n, r, goal)
    yield _hessian(33, 8)


Tensor = tuple[np.ndarray, list[np.ndarray], np.ndarray]  # core, factors, points


def tensor_and_points(n: int, r: int, dtype: str = "float64") -> Tensor:
    rng = np.random.default_rng(0)
    decay = 0.9 ** np.arange(n)[:, None]
    core = rng.standard_normal((r, r, r)).astype(dtype)
    return core, [(rng.standard_normal((n, r)) * decay).astype(dtype) for _ in range(3)], rng.uniform(-1, 1, (POINTS, 3)).astype(dtype)


def _size(n: int, r: int, dtype: str = "float64", points: int = POINTS) -> str:
    return f"n={n} r={r} P={points} {dtype}"


def by_numpy(core: np.ndarray, factors: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """NumPy with BLAS: three Vandermonde matrices, three products and one batched product, for CHUNK points at a time."""
    out = np.empty(len(X), X.dtype)
    rows = core.reshape(core.shape[0], -1)
    for s in range(0, len(X), CHUNK):
        A, B, C = (chebyshev.chebvander(X[s : s + CHUNK, k], len(U) - 1) @ U for k, U in enumerate(factors))
        t = (A @ rows).reshape(-1, *core.shape[1:])
        out[s : s + CHUNK] = ((t @ C[:, :, None])[:, :, 0] * B).sum(axis=1)
    return out


def by_torch(core: Any, factors: Any, X: Any) -> Any:
    """The same products, with T_k(x) = cos(k arccos x)."""
    import torch

    degrees = torch.arange(len(factors[0]), dtype=X.dtype, device=X.device)
    A, B, C = (torch.cos(torch.acos(X[:, k : k + 1]) * degrees) @ U for k, U in enumerate(factors))
    t = (A @ core.reshape(core.shape[0], -1)).reshape(-1, *core.shape[1:])
    return ((t @ C[:, :, None])[:, :, 0] * B).sum(dim=1)


def _in_chunks(core: Any, factors: Any, X: Any) -> Any:
    import torch

    return torch.cat([by_torch(core, factors, X[s : s + CHUNK]) for s in range(0, len(X), CHUNK)])


def by_cosines(core: np.ndarray, factors: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """Reference values: cosines in extended precision instead of a recurrence, at the points that the kernels read; products in float64."""
    angles = np.arccos(X.astype(np.longdouble))
    F = [np.cos(angles[:, k : k + 1] * np.arange(len(U))).astype(float) @ U.astype(float) for k, U in enumerate(factors)]
    out = np.empty(len(X))
    for s in range(0, len(X), CHUNK):
        a, b, c = (f[s : s + CHUNK] for f in F)
        t = (c @ core.reshape(-1, core.shape[-1]).T.astype(float)).reshape(-1, *core.shape[:2])
        out[s : s + CHUNK] = ((t @ b[:, :, None])[:, :, 0] * a).sum(axis=1)
    return out


def _differentiated(factors: list[np.ndarray], *axes: int) -> list[np.ndarray]:
    changed = list(factors)
    for k in axes:
        changed[k] = np.concatenate([chebyshev.chebder(changed[k]), np.zeros((1, changed[k].shape[1]))])
    return changed


def _slopes(core: np.ndarray, factors: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    return np.stack([by_cosines(core, _differentiated(factors, k), X) for k in range(3)], axis=1)


def _eval(n: int, r: int, dtype: str = "float64") -> Problem:
    arrays = tensor_and_points(n, r, dtype)
    ours = partial(cheb.tucker_eval, *arrays)
    peers: dict[str, Run] = {"numpy": partial(by_numpy, *arrays), **torch_peers({"torch": _in_chunks}, *arrays)}
    if (n, r) == (33, 8):
        peers["numba backend"] = partial(ours, backend="numba")
    goals = {"numpy": GOALS[n, r]} if (n, r) in GOALS and dtype == "float64" else {}
    tolerance, item = 2e-6 if dtype == "float32" else 4e-15, np.dtype(dtype).itemsize
    loose = 20 * tolerance  # the three-term recurrence and cos(k arccos x) lose digits near the ends
    work = Work(POINTS * (3 * n * (2 * r + 2) + 2 * r * (r * r + r + 1)), 4 * POINTS * item, dtype)
    truth = partial(by_cosines, *arrays)
    return Problem("cheb", "tucker_eval", _size(n, r, dtype), ours, peers, truth, tolerance, goals, loose, work)


def _full(n: int, r: int) -> Problem:
    """NumPy's evaluation of all coefficients, at a few points because it needs n^2 numbers per point."""
    core, factors, X = tensor_and_points(n, r)
    X, coefficients = X[:FEW], np.einsum("abc,ia,jb,kc->ijk", core, *factors, optimize=True)
    ours = partial(cheb.tucker_eval, core, factors, X)
    peers = {"chebval3d": partial(chebyshev.chebval3d, *np.ascontiguousarray(X.T), coefficients)}
    truth = partial(by_cosines, core, factors, X)
    return Problem("cheb", "tucker_eval", _size(n, r, points=FEW), ours, peers, truth, 4e-15, {"chebval3d": 500.0}, 1e-13)


ENDS = 1e-10  # peer_tolerance of gradients: arccos has an infinite slope at the ends


def _gradient(n: int, r: int) -> Problem:
    """Forward and backward in PyTorch, with gradients of core, factors and points; that of the points is compared."""
    core, factors, X = tensor_and_points(n, r)
    run = autograd([core, *factors, X], grad=np.ones(POINTS), index=4)
    ours = run(lambda core, *rest: cheb.tucker_eval(core, rest[:3], rest[3]))
    peers = {"torch autograd": run(lambda core, *rest: _in_chunks(core, rest[:3], rest[3]))}
    return Problem("cheb", "tucker_eval fwd+bwd", _size(n, r), ours, peers, partial(_slopes, core, factors, X), 1e-14, {}, ENDS)


def _value_and_gradient(n: int, r: int, goal: float) -> Problem:
    """Values, and gradients with respect to the points; PyTorch uses a forward and a backward pass. The gradients are compared."""
    core, factors, X = tensor_and_points(n, r)
    ct = cheb.ChebTucker(core, factors)
    core_tensor, factor_tensors, points = tensors([core, factors, X])

    def torch_autograd() -> Any:
        import torch

        gradients = []
        for s in range(0, POINTS, CHUNK):
            part = points[s : s + CHUNK].detach().requires_grad_()
            gradients.append(torch.autograd.grad(by_torch(core_tensor, factor_tensors, part).sum(), part)[0])
        return torch.cat(gradients)

    peers = {"torch autograd": torch_autograd}
    truth = partial(_slopes, core, factors, X)
    goals = {"torch autograd": goal}
    work = Work(POINTS * (3 * n * (4 * r + 2) + 4 * r**3 + 6 * r * r), 7 * POINTS * X.itemsize, "float64")
    return Problem("cheb", "value and gradient", _size(n, r), lambda: ct.value_and_grad(X)[1], peers, truth, 1e-14, goals, ENDS, work)


def _hessian(n: int, r: int) -> Problem:
    """Values, gradients and Hessians; NumPy needs one evaluation for each derivative. One of them is compared."""
    core, factors, X = tensor_and_points(n, r)
    ct = cheb.ChebTucker(core, factors)
    derivatives = [(), (0,), (1,), (2,), *((i, j) for i in range(3) for j in range(i, 3))]
    peers = {"numpy": lambda: [by_numpy(core, _differentiated(factors, *axes), X) for axes in derivatives][5]}
    truth = partial(by_cosines, core, _differentiated(factors, 0, 1), X)
    work = Work(POINTS * (3 * n * (6 * r + 2) + 6 * r**3 + 12 * r * r), 16 * POINTS * X.itemsize, "float64")
    return Problem("cheb", "value, gradient, Hessian", _size(n, r), lambda: ct.eval(X, 2)[2][:, 0, 1], peers, truth, 1e-14, {}, ENDS, work)
