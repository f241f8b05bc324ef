"""Energies and forces of 10^5 charges in a box with open boundaries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...cheb.particles.bench import fmm_scale, gas
from . import Side

TITLE = "Energies and forces of 100,000 charges in an open box"
MEASURE = "largest error of a force, relative to the largest force"
QUICK = {"CHARGES": 2000, "NODES": 33, "CHECKED": 50}
CHARGES, NODES, CHECKED, TOL = 100_000, 97, 500, 1e-6


class Data(NamedTuple):
    X: np.ndarray  # (P, 3)
    q: np.ndarray  # (P,)


class Answer(NamedTuple):
    potential: np.ndarray  # (P,), from the other charges
    force: np.ndarray  # (P, 3)


def data() -> Data:
    return Data(*gas(CHARGES))


def errors(data: Data, answer: Answer) -> dict[str, float]:
    """Largest differences from direct sums at the first charges, relative to the largest values."""
    X, q = data
    r = X[:CHECKED, None] - X
    inverse = 1 / np.linalg.norm(r, axis=2, keepdims=True).clip(1e-300)
    inverse[np.arange(CHECKED), np.arange(CHECKED)] = 0
    potential, force = (q * inverse[..., 0]).sum(axis=1), q[:CHECKED, None] * ((q[:, None] * inverse**3) * r).sum(axis=1)
    pairs = ((answer.force[:CHECKED], force), (answer.potential[:CHECKED], potential))
    force_error, potential_error = (np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)
    return {"error of a force": force_error, "of a potential": potential_error}


def by_quatrefoil(data: Data) -> Answer:
    from quatrefoil import cheb

    X, q = data
    V = cheb.potential(X, q, n=NODES, domain=(-1, 1), tol=TOL / 10)
    value, slopes = V.value_and_grad(X)
    _, _, near = cheb.short_range_vjp(X, q, X, np.ones(CHARGES), sog=V.sog)
    return Answer(value + cheb.short_range(X, q, X, sog=V.sog), -q[:, None] * (slopes + near))


def by_fmm(eps: float) -> Any:
    def run(data: Data) -> Answer:
        import fmm3dpy

        X, q = data
        out = fmm3dpy.lfmm3d(eps=eps, sources=np.asfortranarray(X.T), charges=q, pg=2)
        scale = fmm_scale(fmm3dpy)
        return Answer(scale * out.pot, -q[:, None] * scale * out.grad.T)

    return run


SIDES = {
    "quatrefoil": Side(by_quatrefoil),
    "FMM3D, eps 1e-6": Side(by_fmm(1e-6), "fmm3dpy"),
    "FMM3D, eps 1e-4": Side(by_fmm(1e-4), "fmm3dpy"),
}
