"""First and second derivatives of covariance functions of one coordinate, for predictions of derivatives. m = 2π f."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import mixture

Array = Any  # NumPy's
Numbers = Mapping[str, Any]  # hyperparameters, arrays by name


class Derivatives(NamedTuple):
    """``at(d, order)`` is k^(order)(d), order 1 or 2. ``variances`` of f' and f'' are -k''(0) and k''''(0), if they exist."""

    at: Callable[[Array, int], Array]
    variances: tuple[float, ...]


def _matern32(p: Numbers) -> Derivatives:
    a = math.sqrt(3) / p["scale"].item()

    def at(d: Array, order: int) -> Array:
        s = a * np.abs(d)
        return -a * a * (d if order == 1 else 1 - s) * np.exp(-s)

    return Derivatives(at, (a * a,))


def _rational_quadratic(p: Numbers) -> Derivatives:
    c, alpha = 1 / p["scale"].item() ** 2, p["alpha"].item()

    def at(d: Array, order: int) -> Array:
        log = np.log1p(c * d * d / (2 * alpha))
        slope = -c * np.exp(-(alpha + 1) * log)
        return d * slope if order == 1 else slope + (c * d) ** 2 * (1 + 1 / alpha) * np.exp(-(alpha + 2) * log)

    return Derivatives(at, (c, 3 * c * c * (1 + 1 / alpha)))


def _periodic(p: Numbers) -> Derivatives:
    c, w = 1 / p["scale"].item() ** 2, 2 * math.pi / p["period"].item()

    def at(d: Array, order: int) -> Array:
        sine, cosine = np.sin(w * d), np.cos(w * d)
        return (-w * c * sine if order == 1 else w * w * c * (c * sine * sine - cosine)) * np.exp(c * (cosine - 1))

    return Derivatives(at, (w * w * c, w**4 * c * (1 + 3 * c)))


def _spectral_mixture(p: Numbers, kind: str = "student_t") -> Derivatives:
    w, m = np.exp(p["log_weights"]), 2 * math.pi * p["freqs"]
    if kind == "gaussian":
        r = np.exp(p["log_scales"])
        variances = 2 * r + m * m, 12 * r * (r + m * m) + m**4
    else:
        a = 5 * np.exp(2 * p["log_scales"])  # (sqrt(5) r)^2
        variances = a / 3 + m * m, a * a + 2 * a * m * m + m**4

    def at(d: Array, order: int) -> Array:
        return mixture.spectral_mixture_lags(d.reshape(-1), **p, kind=kind, order=order).reshape(d.shape)

    return Derivatives(at, (float(w @ variances[0]), float(w @ variances[1])))


def _at_frequency_0(log_scale: float, kind: str) -> Derivatives:
    """The envelope of a single component, with weight 1 and frequency 0."""
    return _spectral_mixture({"log_weights": np.zeros(1), "log_scales": np.array([log_scale]), "freqs": np.zeros(1)}, kind)


def _gsmp_kernel(p: Numbers) -> Derivatives:
    positive = p["weights"] > 0
    std = np.maximum(np.broadcast_to(p["std"], p["weights"].shape)[positive], 1e-150)
    log_scales = np.log(2 * math.pi**2) + 2 * np.log(std)
    return _spectral_mixture(
        {"log_weights": np.log(p["weights"][positive]), "log_scales": log_scales, "freqs": p["means"].reshape(-1)[positive]}, "gaussian"
    )


_FORMS: dict[Any, Callable[..., Derivatives]] = {
    mixture.rbf: lambda p: _at_frequency_0(-math.log(2) - 2 * np.log(p["scale"].item()), "gaussian"),
    mixture.matern32: _matern32,
    mixture.matern52: lambda p: _at_frequency_0(-np.log(p["scale"].item()), "student_t"),
    mixture.periodic: _periodic,
    mixture.rational_quadratic: _rational_quadratic,
    mixture.spectral_mixture: _spectral_mixture,
    mixture.gsmp_kernel: _gsmp_kernel,
}


def derivatives_of(function: Any, order: int, label: str) -> Derivatives:
    """The derivatives of one of our covariance functions in a ``functools.partial``."""
    form = _FORMS.get(getattr(function, "func", None))
    if form is None:
        what = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
        known = ", ".join(f.__name__ for f in _FORMS)
        raise TypeError(f"{label}: derivatives are available only for {known}, but this axis has {what}")
    others = ("backend", "num_threads", "kind")
    numbers = {n: np.asarray(v, np.float64) for n, v in function.keywords.items() if n not in others}
    derivatives = form(numbers, *[v for n, v in function.keywords.items() if n == "kind"])
    if order > len(derivatives.variances):
        raise ValueError(f"{label}: functions with the covariance {function.func.__name__} have no derivative of order {order}")
    return derivatives
