"""Covariance functions against pairwise NumPy, scikit-learn's kernels and the Numba backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Work

COMPONENTS = 30
EXP, SIN_COS = 25.0, 45.0  # operations of an exponential, of sine and cosine


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
    yield _numba(300)


def _mixture() -> dict[str, Any]:
    """Where the training of a solver starts."""
    Q = COMPONENTS
    return {"log_weights": np.full(Q, np.log(1 / Q)), "log_scales": np.zeros(Q), "freqs": np.linspace(0, 20, Q)}


def _axis(n: int, uniform: bool) -> np.ndarray:
    x = np.linspace(0, 2 * np.pi, n)
    return x if uniform else x + np.random.default_rng(0).uniform(0, 1e-3, n)


def by_numpy(d: Any, log_weights: Any, log_scales: Any, freqs: Any, order: int, xp: Any = np) -> Any:
    """The student_t mixture at differences of any shape: what one writes with broadcasting, a component the last axis; ``xp``: of torch
    for tensors."""
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


def _exact(x: np.ndarray, parameters: dict[str, np.ndarray], order: int) -> np.ndarray:
    wide = {name: a.astype(np.longdouble) for name, a in parameters.items()}
    d = x.astype(np.longdouble)[:, None] - x
    return np.stack([by_numpy(row, **wide, order=order) for row in d]).astype(float)


def _work(pairs: float, flops: float, numbers: float) -> Work:
    return Work(pairs * flops, 8 * numbers, "float64")


def _spectral(n: int, order: int, uniform: bool) -> Problem:
    x, parameters = _axis(n, uniform), _mixture()
    peers: dict[str, Callable[[], Any]] = {"NumPy, pairwise": lambda: by_numpy(x[:, None] - x, **parameters, order=order)}
    evaluations = (n if uniform else n * n) * COMPONENTS
    return Problem(
        "kron",
        f"spectral_mixture order {order}",
        f"{n}{' uniform' if uniform else ''} Q{COMPONENTS}",
        lambda: kron.spectral_mixture(x, **parameters, order=order),
        peers,
        lambda: _exact(x, parameters, order),
        1e-11,  # the roundings of the axis, in up to 126 turns
        {"NumPy, pairwise": 800.0} if uniform and order == 2 else {},
        work=_work(evaluations, EXP + SIN_COS + 15, n * n),
    )


def _spectral_gradient(n: int, order: int) -> Problem:
    """The gradients of the hyper-parameters, of which those of the frequencies are compared; the peer too adds up diagonals."""
    x, parameters = _axis(n, True), _mixture()
    grad = np.random.default_rng(1).standard_normal((n, n))

    def diagonals() -> np.ndarray:
        lags = np.subtract.outer(np.arange(n), np.arange(n)) + n - 1
        sums: np.ndarray = np.bincount(lags.ravel(), grad.ravel(), 2 * n - 1)
        return sums

    def by_parts(wide: type = float) -> np.ndarray:
        d = (np.arange(1 - n, n) * wide(x[1] - x[0]))[:, None]
        a, m, w = (f(parameters[name].astype(wide)) for f, name in ((np.exp, "log_scales"), (np.asarray, "freqs"), (np.exp, "log_weights")))
        a, m = np.sqrt(wide(5)) * a, 2 * wide(np.pi) * m
        s, c, S = a * np.abs(d), np.cos(m * d), np.sin(m * d)
        E = np.exp(-s)
        g, first, second = (1 + s + s**2 / 3) * E, -(a**2 / 3) * d * (1 + s) * E, -(a**2 / 3) * (1 + s - s**2) * E
        by_m = (m**2 * g * d - second * d - 2 * first) * S - 2 * m * (first * d + g) * c
        found: np.ndarray = (2 * np.pi * w * (diagonals() @ by_m)).astype(float)
        return found

    inputs = (x, None, *parameters.values(), grad)
    return Problem(
        "kron",
        f"spectral_mixture_vjp order {order}",
        f"{n} uniform Q{COMPONENTS}",
        lambda: kron.spectral_mixture_vjp(*inputs, order=order)[3],
        {"NumPy, by diagonals": by_parts},
        lambda: by_parts(np.longdouble),
        1e-10,
    )


def _radial(name: str, n: int, P: int, uniform: bool) -> Problem:
    rng = np.random.default_rng(0)
    x = _axis(n, uniform)[:, None] if P == 1 else rng.standard_normal((n, P))
    scale, points = 0.5 * P**0.5, x[:, 0].copy() if P == 1 else x
    ours = getattr(kron, name)

    def square(z: np.ndarray) -> np.ndarray:
        """By the product of matrices: the fastest that NumPy has, at the price of digits."""
        z = (z - z.mean(0)) / scale
        norms = (z * z).sum(1)
        found: np.ndarray = np.maximum(norms[:, None] + norms - 2 * (z @ z.T), 0)
        return found

    def of_square(r: np.ndarray) -> np.ndarray:
        if name == "rbf":
            return np.exp(r * -0.5)
        s = np.sqrt(5 * r)
        k: np.ndarray = (1 + s + s**2 / 3) * np.exp(-s)
        return k

    def truth() -> np.ndarray:
        d = (x.astype(np.longdouble)[:, None] - x) / np.longdouble(scale)
        return of_square((d * d).sum(-1)).astype(float)

    return Problem(
        "kron",
        name,
        f"{n}x{P}{' uniform' if uniform else ''}",
        lambda: ours(points, scale=scale),
        {"NumPy": lambda: of_square(square(x)), **_sklearn(name, x, scale)},
        truth,
        1e-13,
        {"NumPy": 5.0 if uniform else 1.0},
        peer_tolerance=1e-7,  # the root of a square that cancels
        work=_work(n if uniform else n * n, EXP + 3 * P + 5, n * n),
    )


def _sklearn(name: str, x: np.ndarray, scale: float) -> dict[str, Callable[[], Any]]:
    try:
        from sklearn.gaussian_process import kernels
    except ImportError:
        return {}
    kernel = kernels.RBF(scale) if name == "rbf" else kernels.Matern(scale, nu=2.5)
    return {"scikit-learn": lambda: kernel(x)}


def _gsmp(n: int, P: int, A: int) -> Problem:
    rng = np.random.default_rng(0)
    x, weights, means = rng.standard_normal((n, P)), rng.random(A), np.linspace(0, 0.5, A)

    def by_broadcasting(x: np.ndarray = x, y: np.ndarray = x, mu: np.ndarray = means) -> np.ndarray:
        t = x[:, None] - y
        decay = np.exp(-2 * np.pi**2 * 1e-3**2 * (t * t).sum(-1))
        k: np.ndarray = decay * (np.cos(2 * np.pi * t[..., None] * mu).prod(2) @ weights)
        return k

    def truth() -> np.ndarray:
        wide = x.astype(np.longdouble)
        rows = [by_broadcasting(row[None], wide, means.astype(np.longdouble)) for row in wide]
        return np.concatenate(rows).astype(float)

    return Problem(
        "kron",
        "gsmp_kernel",
        f"{n}x{P} A{A}",
        lambda: kron.gsmp_kernel(x, weights=weights, means=means, std=1e-3),
        {"NumPy": by_broadcasting},
        truth,
        1e-12,
        {"NumPy": 4.0},
        work=_work(n * n, A * P * SIN_COS + EXP, n * n),
    )


def _numba(n: int) -> Problem:
    x, parameters = _axis(n, False), _mixture()
    return Problem(
        "kron",
        "spectral_mixture order 2",
        f"{n} Q{COMPONENTS}",
        lambda: kron.spectral_mixture(x, **parameters, order=2),
        {"numba backend": lambda: kron.spectral_mixture(x, **parameters, order=2, backend="numba")},
        lambda: _exact(x, parameters, 2),
        1e-11,
    )
