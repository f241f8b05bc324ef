"""Tucker decompositions with prescribed factors, and of tensors with unknown entries, in float64 on the host."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._warnings import warn
from ..transform import mode_product
from .methods import Parts, decompose, signed

STAGES = (1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94)  # ranks before the requested ones
WARM, LONG_WARM = 5, 100  # decompositions before L-BFGS in each stage: with growing ranks, and with the given ranks alone
EXACT = 1e-9  # distance to the known entries below which the second start is skipped
FEW_STEPS, MAX_STEPS = 100, 1000  # maximum number of steps per stage, and in the last one
MAX_GRADIENT = 1e-5  # largest entry of the gradient, relative to the norm of the known entries, at which the last stage has converged

Bases = dict[int, tuple[np.ndarray, np.ndarray]]


def bases_of(fixed: Mapping[int, np.ndarray], label: str) -> Bases:
    """The QR decompositions of prescribed factors."""
    bases: Bases = {}
    for axis, U in fixed.items():
        bases[axis] = np.linalg.qr(U)
        diagonal = np.abs(np.diagonal(bases[axis][1]))
        if not diagonal.min() > len(U) * np.finfo(np.float64).eps * diagonal.max():
            raise ValueError(f"{label}: fixed[{axis}] has linearly dependent columns, expected full rank")
    return bases


def with_fixed_factors(C: np.ndarray, tol: float | None, ranks: Sequence[int], method: str, bases: Bases, label: str) -> Parts:
    """The core and the factors that are not prescribed, from C projected onto the columns of the prescribed ones."""
    small = _projected(C, bases)
    if tol is not None:
        total, left, projection = float(np.linalg.norm(C)), float(np.linalg.norm(small)), small
        for axis, (Q, _) in bases.items():
            projection = mode_product(projection, Q, axis)
        missed = float(np.linalg.norm(C - projection))  # a difference of squared norms would not resolve less than 1e-8
        if missed > tol * total:
            raise ValueError(f"{label}: the fixed factors alone miss {missed / total:.1e} of C, more than tol = {tol:g}")
        tol = math.sqrt((tol * total) ** 2 - missed**2) / left if left else tol
    core, factors = _decomposed(small, tol, ranks, method)
    return _in_prescribed_columns(core, bases), factors


def _projected(C: np.ndarray, bases: Bases) -> np.ndarray:
    for axis, (Q, _) in bases.items():
        C = mode_product(C, Q.T, axis)
    return C


def _in_prescribed_columns(core: np.ndarray, bases: Bases) -> np.ndarray:
    for axis, (_, R) in bases.items():
        core = mode_product(core, np.linalg.inv(R), axis)
    return core


def _decomposed(small: np.ndarray, tol: float | None, ranks: Sequence[int], method: str) -> Parts:
    parts = decompose(small, tol, ranks, method) if any(ranks) else (small, [np.zeros((n, 0)) for n in small.shape])
    assert parts is not None
    return parts


def completed(C: np.ndarray, known: np.ndarray, tol: float, ranks: Sequence[int], method: str, bases: Bases, label: str) -> Parts:
    """Find the decomposition nearest to the known entries, which have norm 1, by quasi-Newton steps in core and factors.

    Takes the better of two starts: the given ranks, or small ranks that grow to them. Each stage of a start begins with decompositions of
    C, in which the unknown entries are taken from the previous decomposition.
    """
    descent = _Descent(C, known, tol, {axis: Q for axis, (Q, _) in bases.items()})
    last = max(ranks, default=0)
    fits = []
    for stages, warm in (((last,), LONG_WARM), ((*(r for r in STAGES if r < last), last), WARM)):
        tensor = np.where(known, C, C[known].mean())
        for limit in stages:
            for _ in range(warm):
                core, factors = _decomposed(_projected(tensor, bases), None, [min(r, limit) for r in ranks], method)
                tensor = np.where(known, C, descent.full(core, factors))
            core, factors = descent.run(core, factors, MAX_STEPS if limit == last else FEW_STEPS)
            tensor = np.where(known, C, descent.full(core, factors))
        fits.append((descent.missed, descent.gradient_norm, core, factors))
        if descent.missed <= max(tol, EXACT):
            break
    _, gradient_norm, core, factors = min(fits, key=lambda result: result[0])
    if gradient_norm > MAX_GRADIENT:
        what = f"{label}: not converged: a better fit of the known entries exists (gradient {gradient_norm:.1e})"
        warn(f"{what}; use smaller ranks or more known entries")
    axes = [k for k, r in enumerate(ranks) if r]
    for k in axes:
        factors[k], R = np.linalg.qr(factors[k])
        core = mode_product(core, R, k)
    core, factors = signed(core, axes, factors)
    return _in_prescribed_columns(core, bases), factors


class _Descent:
    """L-BFGS for half the squared distance to the known entries, in the core and all factors except the constant ones."""

    def __init__(self, C: np.ndarray, known: np.ndarray, tol: float, constant: dict[int, np.ndarray]) -> None:
        self.values, self.known, self.tol, self.constant = np.where(known, C, 0), known, tol, constant
        self.gradient_norm = self.missed = 0.0

    def matrices(self, factors: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
        return self.constant | {k: U for k, U in enumerate(factors) if U.shape[1]}

    def full(self, core: np.ndarray, factors: Sequence[np.ndarray], skipped: int = -1) -> np.ndarray:
        for k, U in self.matrices(factors).items():
            core = mode_product(core, U, k) if k != skipped else core
        return core

    def run(self, core: np.ndarray, factors: list[np.ndarray], steps: int) -> Parts:
        from scipy.optimize import minimize

        axes = [k for k, U in enumerate(factors) if U.shape[1]]
        shapes = [core.shape, *(factors[k].shape for k in axes)]
        cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

        def parts_of(x: np.ndarray) -> Parts:
            first, *rest = (part.reshape(shape) for part, shape in zip(np.split(x, cuts), shapes))
            columns = list(factors)
            for k, U in zip(axes, rest):
                columns[k] = U
            return first, columns

        def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
            G, columns = parts_of(x)
            residual = np.where(self.known, self.full(G, columns) - self.values, 0)
            back = residual
            for k, U in self.matrices(columns).items():
                back = mode_product(back, U.T, k)
            parts = [back]
            for k in axes:
                others = [j for j in range(residual.ndim) if j != k]
                parts.append(np.tensordot(residual, self.full(G, columns, skipped=k), (others, others)))
            return 0.5 * float(np.vdot(residual, residual)), np.concatenate([part.ravel() for part in parts])

        def stop_within_tol(intermediate_result: Any) -> None:
            if 2 * intermediate_result.fun <= self.tol**2:
                raise StopIteration

        x = np.concatenate([core.ravel(), *(factors[k].ravel() for k in axes)])
        options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 30, "ftol": 1e-28, "gtol": 1e-12}
        x = minimize(value_and_gradient, x, jac=True, method="L-BFGS-B", callback=stop_within_tol, options=options).x
        half, gradient = value_and_gradient(x)
        self.missed, self.gradient_norm = math.sqrt(2 * half), float(np.abs(gradient).max())
        return parts_of(x)


def check_known(known: np.ndarray, axes: Sequence[int], ranks: Sequence[int], label: str) -> None:
    """Raise ValueError if the known entries cannot determine the unknowns of a decomposition."""
    for axis in axes:
        counts = np.moveaxis(known, axis, 0).reshape(known.shape[axis], -1).sum(axis=1)
        if not counts.all():
            raise ValueError(f"{label}: mask has no known entry at index {int(counts.argmin())} of axis {axis}, expected one per slice")
    core = tuple(r or n for r, n in zip(ranks, known.shape))
    unknowns = math.prod(core) + sum(ranks[k] * (known.shape[k] - ranks[k]) for k in axes)
    if known.sum() < unknowns:
        raise ValueError(
            f"{label}: mask has {known.sum()} known entries, expected at least {unknowns}, the number of parameters at rank {core}"
        )
