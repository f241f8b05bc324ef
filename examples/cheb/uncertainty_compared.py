"""Means, variances and Sobol indices from few calls, compared
===========================================================

Four common test functions of uncertainty quantification, called 100, 300 and 1000 times by four libraries.

::

    python examples/cheb/uncertainty_compared.py [PICTURE]

``PolynomialChaos`` is given only the number of calls. It chooses between a sparse polynomial, a tensor train fitted to random points, and a
tensor train with adaptive points. ``ChebTucker.from_function(max_evaluations=, method="tt")`` makes the same choice. chaospy fits all terms
of a total degree by least squares to Sobol points. It is given the degree with the smallest true error, which users cannot know, among
those with at most half as many terms as calls. SALib estimates indices from Saltelli's sequences without a surrogate. PyChebyshev builds a
tensor train. It is given the largest grid and rank that its calls allow. Its moments are computed from that surrogate for uniform inputs,
because its own indices are for an arcsine distribution. The reference values come from tensor trains with tolerance 1e-12. Needs chaospy,
SALib and PyChebyshev (pip install chaospy SALib pychebyshev).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import quatrefoil as qf

CALLS = (100, 300, 1000)
Moments = tuple[float, float, np.ndarray, np.ndarray]  # mean, variance, first and total indices


def ishigami(x, y, z):  # type: ignore[no-untyped-def]
    return np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x)


def borehole(rw, r, Tu, Hu, Tl, Hl, L, Kw):  # type: ignore[no-untyped-def]
    g = np.log(r / rw)
    return 2 * np.pi * Tu * (Hu - Hl) / (g * (1 + 2 * L * Tu / (g * rw**2 * Kw) + Tu / Tl))


def otl_circuit(Rb1, Rb2, Rf, Rc1, Rc2, beta):  # type: ignore[no-untyped-def]
    Vb1, gain = 12 * Rb2 / (Rb1 + Rb2), beta * (Rc2 + 9)
    return (Vb1 + 0.74) * gain / (gain + Rf) + 11.35 * Rf / (gain + Rf) + 0.74 * Rf * gain / ((gain + Rf) * Rc1)


def wing_weight(S, W, A, L, q, l, t, N, Wd, Wp):  # type: ignore[no-untyped-def]
    c = np.cos(np.radians(L))
    return 0.036 * S**0.758 * W**0.0035 * (A / c**2) ** 0.6 * q**0.006 * l**0.04 * (100 * t / c) ** -0.3 * (N * Wd) ** 0.49 + S * Wp


FUNCTIONS: dict[str, tuple[Callable[..., Any], list[tuple[float, float]]]] = {
    "Ishigami": (ishigami, [(-math.pi, math.pi)] * 3),
    "borehole": (
        borehole,
        [(0.05, 0.15), (100, 50000), (63070, 115600), (990, 1110), (63.1, 116), (700, 820), (1120, 1680), (9855, 12045)],
    ),
    "OTL circuit": (otl_circuit, [(50, 150), (25, 70), (0.5, 3), (1.2, 2.5), (0.25, 1.2), (50, 300)]),
    "wing weight": (
        wing_weight,
        [(150, 200), (220, 300), (6, 10), (-10, 10), (16, 45), (0.5, 1), (0.08, 0.18), (2.5, 6), (1700, 2500), (0.025, 0.08)],
    ),
}


def moments(surrogate: Any) -> Moments:
    return surrogate.mean(), surrogate.var(), *surrogate.sobol()


def truth(name: str) -> Moments:
    f, box = FUNCTIONS[name]
    return moments(qf.cheb.ChebTucker.from_function(f, box, tol=1e-12, method="tt"))


def errors(estimate: Moments, exact: Moments) -> tuple[float, ...]:
    """Relative errors of mean and variance, and largest errors of first-order and total indices."""
    relative = [abs(estimate[i] / exact[i] - 1) for i in (0, 1)]
    return *map(float, relative), *(float(np.abs(estimate[i] - exact[i]).max()) for i in (2, 3))


def by_quatrefoil(f: Callable[..., Any], box: list[tuple[float, float]], calls: int, exact: Moments) -> Moments:
    return moments(qf.cheb.PolynomialChaos.from_function(f, box, max_evaluations=calls))


def by_chaospy(f: Callable[..., Any], box: list[tuple[float, float]], calls: int, exact: Moments) -> Moments:
    import chaospy

    joint = chaospy.J(*(chaospy.Uniform(*pair) for pair in box))
    X = joint.sample(calls, rule="sobol")
    y, fits = f(*X), []
    for degree in itertools.count(1):
        terms = math.comb(len(box) + degree, degree)
        if degree > 1 and 2 * terms > calls:
            break
        expansion = chaospy.generate_expansion(degree, joint, normed=True)
        coefficients = np.linalg.lstsq(np.stack([p(*X) for p in expansion], axis=1), y, rcond=None)[0]
        squares, degrees = coefficients**2, np.array([p.exponents[p.exponents.sum(axis=1).argmax()] for p in expansion])
        involved, variance = degrees > 0, squares[1:].sum()
        alone = involved.sum(axis=1) == 1
        first = np.array([squares[alone & involved[:, k]].sum() for k in range(len(box))]) / variance
        total = np.array([squares[involved[:, k]].sum() for k in range(len(box))]) / variance
        fits.append((float(coefficients[0]), float(variance), first, total))
    return min(fits, key=lambda fit: sum(math.log(e + 1e-16) for e in errors(fit, exact)))


def by_salib(f: Callable[..., Any], box: list[tuple[float, float]], calls: int, exact: Moments) -> Moments:
    from SALib.analyze import sobol as analyze
    from SALib.sample import sobol as sample

    d = len(box)
    problem = {"num_vars": d, "names": [f"x{k}" for k in range(d)], "bounds": [list(pair) for pair in box]}
    count = 2 ** int(math.log2(calls / (d + 2)))
    X = sample.sample(problem, count, calc_second_order=False, seed=0)
    y = f(*X.T)
    estimate = analyze.analyze(problem, y, calc_second_order=False, seed=0, num_resamples=2)
    return float(y.mean()), float(y.var()), np.array(estimate["S1"]), np.array(estimate["ST"])


def by_pychebyshev(f: Callable[..., Any], box: list[tuple[float, float]], calls: int, exact: Moments) -> Moments | None:
    from pychebyshev import ChebyshevTT

    best, best_calls, d = None, 0, len(box)
    for n, rank in itertools.product(range(2, 16), range(1, 6)):
        if d * n > calls:
            continue
        seen = 0

        def point(x: list[float], _: Any = None) -> float:
            nonlocal seen
            seen += 1
            if seen > calls:
                raise OverflowError
            return float(f(*x))

        tt = ChebyshevTT(point, d, [list(pair) for pair in box], [n] * d, max_rank=rank)
        with contextlib.suppress(OverflowError), contextlib.redirect_stdout(io.StringIO()):
            tt.build(verbose=False)
            if best_calls < seen <= calls:
                best, best_calls = tt, seen
    if best is None:
        return None
    return moments(qf.cheb.ChebTucker.from_function(lambda *x: best.eval_batch(np.stack(x, axis=-1)), box, tol=1e-12, method="tt"))


LIBRARIES = {
    "PolynomialChaos": by_quatrefoil,
    "chaospy": by_chaospy,
    "SALib": by_salib,
    "PyChebyshev": by_pychebyshev,
}


def draw(table: dict[tuple[str, int, str], tuple[float, ...]], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(FUNCTIONS), figsize=(13, 6), sharex=True, layout="constrained")
    for column, name in zip(axes.T, FUNCTIONS):
        for ax, which, label in zip(column, (1, 3), ("variance", "total indices")):
            for library in LIBRARIES:
                points = [(calls, max(table[name, calls, library][which], 1e-15)) for calls in CALLS if (name, calls, library) in table]
                if points:
                    ax.loglog(*zip(*points), "o-", label=library)
            ax.set(title=f"{name}: {label}")
            ax.set_xticks(CALLS, map(str, CALLS))
            ax.minorticks_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LIBRARIES))
    axes[0, 0].set_ylabel("relative error")
    axes[1, 0].set_ylabel("largest error")
    figure.supxlabel("calls to the function")
    figure.savefig(path, dpi=110)


def main(path: str | None = None) -> dict[tuple[str, int, str], tuple[float, ...]]:
    table = {}
    print(f"{'function':12} {'calls':>5} {'library':15}    mean variance    first    total")
    for name, (f, box) in FUNCTIONS.items():
        exact = truth(name)
        for calls, (library, run) in itertools.product(CALLS, LIBRARIES.items()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimate = run(f, box, calls, exact)
            if estimate is None:
                continue
            table[name, calls, library] = errors(estimate, exact)
            print(f"{name:12} {calls:5} {library:15} {' '.join(f'{e:8.1e}' for e in table[name, calls, library])}", flush=True)
    for library in list(LIBRARIES)[1:]:
        entries = [(table[*key[:2], "PolynomialChaos"], row) for key, row in table.items() if key[2] == library]
        better = [ours <= theirs for pair in entries for ours, theirs in zip(*pair)]
        print(f"PolynomialChaos is at least as accurate as {library} in {sum(better)} of {len(better)} entries")
    if path is not None:
        draw(table, path)
    return table


if __name__ == "__main__":
    main(*sys.argv[1:2])
