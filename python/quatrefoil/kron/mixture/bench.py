"""Covariance functions against pairwise NumPy, scikit-learn's kernels and the Numba backend."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Work, against_numba, installed

COMPONENTS = 30
EXP, SIN_COS = 25.0, 45.0  # operations per exponential, per sine and cosine


def problems() -> Iterator[Problem]:
    yield _spectral(300, 2, uniform=True)
    yield _spectral(300, 0, uniform=True)
    yield _spectral(300, 2, uniform=False)
    yield _spectral_gradient(300, 2)
    for name in ("rbf", "matern52"):
        yield _radial(name, 1000, 1, uniform=True)
        yield _radial(name, 1000, 1, uniform=False)
        yield _radial(name, 1000, 8, uniform=False)
    yield _gsmp(300, 4, 100)
    yield against_numba(_spectral(300, 2, uniform=False))


MIXTURE: dict[str, Any] = {  # as at the start of training a solver
    "log_weights": np.full(COMPONENTS, -np.log(COMPONENTS)),
    "log_scales": np.zeros(COMPONENTS),
    "freqs": np.linspace(0, 20, COMPONENTS),
}


def _axis(n: int, uniform: bool) -> np.ndarray:
    x = np.linspace(0, 2 * np.pi, n)
    return x if uniform else x + np.random.default_rng(0).uniform(0, 1e-3, n)


def by_numpy(d: Any, log_weights: Any, log_scales: Any, freqs: Any, order: int, xp: Any = np) -> Any:
    """The student_t mixture at differences of any shape; broadcasts over components. ``xp`` is NumPy or torch."""
    d, a, m = d[..., None], 5**0.5 * xp.exp(log_scales), 2 * np.pi * freqs
    s, c = a * abs(d), xp.cos(m * d)
    E = xp.exp(-s)
    g = (1 + s + s**2 / 3) * E
    if order == 0:
        k = g * c
    else:
        first, second = -(a**2 / 3) * d * (1 + s) * E, -(a**2 / 3) * (1 + s - s**2) * E
        k = second * c - 2 * m * first * xp.sin(m * d) - m**2 * g * c
    return k @ xp.exp(log_weights)


def _work(pairs: float, flops: float, numbers: float) -> Work:
    return Work(pairs * flops, 8 * numbers, "float64")


def _spectral(n: int, order: int, uniform: bool) -> Problem:
    x = _axis(n, uniform)
    evaluations = (n if uniform else n * n) * COMPONENTS

    def exact() -> np.ndarray:
        wide = {name: a.astype(np.longdouble) for name, a in MIXTURE.items()}
        d = x.astype(np.longdouble)[:, None] - x
        return np.stack([by_numpy(row, **wide, order=order) for row in d]).astype(float)

    ours = partial(kron.spectral_mixture, x, **MIXTURE, order=order)
    peers = {"NumPy, pairwise": lambda: by_numpy(x[:, None] - x, **MIXTURE, order=order)}
    goals = {"NumPy, pairwise": 800.0} if uniform and order == 2 else {}
    tolerance = 1e-11  # rounding of the axis points, multiplied by up to 126 turns
    size, work = f"{n}{' uniform' if uniform else ''} Q{COMPONENTS}", _work(evaluations, EXP + SIN_COS + 15, n * n)
    return Problem("kron", f"spectral_mixture order {order}", size, ours, peers, exact, tolerance, goals, work=work)


def _spectral_gradient(n: int, order: int) -> Problem:
    """Gradients with respect to the hyperparameters; compares those of the frequencies. The peer sums diagonals, too."""
    x = _axis(n, True)
    grad = np.random.default_rng(1).standard_normal((n, n))

    def diagonals() -> np.ndarray:
        lags = np.subtract.outer(np.arange(n), np.arange(n)) + n - 1
        return np.bincount(lags.ravel(), grad.ravel(), 2 * n - 1)

    def by_parts(wide: type = float) -> Any:
        d = (np.arange(1 - n, n) * wide(x[1] - x[0]))[:, None]
        w, a, m = (MIXTURE[name].astype(wide) for name in ("log_weights", "log_scales", "freqs"))
        w, a, m = np.exp(w), np.sqrt(wide(5)) * np.exp(a), 2 * wide(np.pi) * m
        s, c, S = a * np.abs(d), np.cos(m * d), np.sin(m * d)
        E = np.exp(-s)
        g, first, second = (1 + s + s**2 / 3) * E, -(a**2 / 3) * d * (1 + s) * E, -(a**2 / 3) * (1 + s - s**2) * E
        by_m = (m**2 * g * d - second * d - 2 * first) * S - 2 * m * (first * d + g) * c
        return (2 * np.pi * w * (diagonals() @ by_m)).astype(float)

    def ours() -> Any:
        return kron.spectral_mixture_vjp(x, None, *MIXTURE.values(), grad, order=order)[3]

    name, size, truth = f"spectral_mixture_vjp order {order}", f"{n} uniform Q{COMPONENTS}", partial(by_parts, np.longdouble)
    return Problem("kron", name, size, ours, {"NumPy, by diagonals": by_parts}, truth, 1e-10)


def _radial(name: str, n: int, P: int, uniform: bool) -> Problem:
    rng = np.random.default_rng(0)
    x = _axis(n, uniform)[:, None] if P == 1 else rng.standard_normal((n, P))
    scale, points = 0.5 * P**0.5, x[:, 0].copy() if P == 1 else x

    def squares(z: np.ndarray) -> Any:
        """Squared distances from a matrix product, the fastest way in NumPy, though less accurate."""
        z = (z - z.mean(0)) / scale
        norms = (z * z).sum(1)
        return np.maximum(norms[:, None] + norms - 2 * (z @ z.T), 0)

    def kernel(r: np.ndarray) -> Any:
        if name == "rbf":
            return np.exp(r * -0.5)
        s = np.sqrt(5 * r)
        return (1 + s + s**2 / 3) * np.exp(-s)

    def truth() -> Any:
        d = (x.astype(np.longdouble)[:, None] - x) / np.longdouble(scale)
        return kernel((d * d).sum(-1)).astype(float)

    peers = {"NumPy": lambda: kernel(squares(x))}
    if installed("sklearn"):
        from sklearn.gaussian_process import kernels

        peers["scikit-learn"] = partial(kernels.RBF(scale) if name == "rbf" else kernels.Matern(scale, nu=2.5), x)
    size, ours = f"{n}x{P}{' uniform' if uniform else ''}", partial(getattr(kron, name), points, scale=scale)
    goals, work = {"NumPy": 5.0 if uniform else 1.0}, _work(n if uniform else n * n, EXP + 3 * P + 5, n * n)
    loose = 1e-7  # the square root of a difference that cancels
    return Problem("kron", name, size, ours, peers, truth, 1e-13, goals, loose, work)


def _gsmp(n: int, P: int, A: int) -> Problem:
    rng = np.random.default_rng(0)
    x, weights, means = rng.standard_normal((n, P)), rng.random(A), np.linspace(0, 0.5, A)

    def by_broadcasting(x: np.ndarray = x, y: np.ndarray = x, mu: np.ndarray = means) -> Any:
        t = x[:, None] - y
        return np.exp(-2 * np.pi**2 * 1e-3**2 * (t * t).sum(-1)) * (np.cos(2 * np.pi * t[..., None] * mu).prod(2) @ weights)

    def truth() -> np.ndarray:
        wide = x.astype(np.longdouble)
        return np.concatenate([by_broadcasting(row[None], wide, means.astype(np.longdouble)) for row in wide]).astype(float)

    ours = partial(kron.gsmp_kernel, x, weights=weights, means=means, std=1e-3)
    work = _work(n * n, A * P * SIN_COS + EXP, n * n)
    return Problem("kron", "gsmp_kernel", f"{n}x{P} A{A}", ours, {"NumPy": by_broadcasting}, truth, 1e-12, {"NumPy": 4.0}, work=work)
